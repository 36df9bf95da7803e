//! `moongate timelapse`: the recordings of a printer, listed and fetched.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::client::{ANSWER, Client, ClientError, GatewayArgs};
use super::words::{harmless, size, table, tell, text};

#[derive(Debug, clap::Args)]
pub struct TimelapseArgs {
    /// The printer whose recordings are listed.
    pub printer: String,
    /// A file of the list to fetch; a `.mp4` that was not made yet is made now, which needs ffmpeg.
    pub file: Option<String>,
    /// Where to write it, a file or a folder; else below its own name here.
    #[arg(long, short)]
    pub output: Option<PathBuf>,
    /// Print the list as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

pub async fn timelapse(args: &TimelapseArgs, client: &Client) -> Result<ExitCode, ClientError> {
    if let Some(file) = &args.file {
        let encoded = percent_encoding::utf8_percent_encode(file, crate::url::PATH).to_string();
        let path = Client::of(&args.printer, &format!("/server/files/timelapse/{encoded}"));
        let name = Path::new(file).file_name().map(PathBuf::from);
        let name = name.unwrap_or_else(|| PathBuf::from("timelapse"));
        let output = match &args.output {
            Some(folder) if folder.is_dir() => folder.join(name),
            Some(output) => output.clone(),
            None => name,
        };
        let absent = |error: ClientError| match error.code() {
            Some("404") => ClientError::Failed(format!(
                "there is no timelapse \"{file}\"; `moongate timelapse {}` lists them.",
                args.printer
            )),
            _ => error,
        };
        let written = fetch(client, &path, &output).await.map_err(absent)?;
        println!("{} ({})", output.display(), size(written));
        return Ok(ExitCode::SUCCESS);
    }
    let answer: Value = client.get(&Client::of(&args.printer, "/server/files/list?root=timelapse")).await?;
    let list = answer.pointer("/result").cloned().unwrap_or_default();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&list).unwrap_or_default());
        return Ok(ExitCode::SUCCESS);
    }
    let rows = list.as_array().into_iter().flatten().map(|file| {
        let bytes = file.pointer("/size").and_then(Value::as_u64).unwrap_or(0);
        let modified = file.pointer("/modified").and_then(Value::as_f64).unwrap_or(0.0);
        vec![text(file, "/path").to_owned(), size(bytes), super::files::time(modified)]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        let name = harmless(&args.printer);
        tell(format_args!("{name} has no timelapses; with `timelapse = true` each print of it makes one."));
    }
    print!("{}", table(rows));
    Ok(ExitCode::SUCCESS)
}

/// Writes what comes to a file, which appears when it is whole; returns its bytes.
async fn fetch(client: &Client, path: &str, output: &Path) -> Result<u64, ClientError> {
    let unwritable = |error: std::io::Error| {
        ClientError::Failed(format!("{} cannot be written: {error}.", output.display()))
    };
    let response = client.send(client.request(Method::GET, path)).await?;
    let mut part = output.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let whole = async {
        let mut file = tokio::fs::File::create(&part).await.map_err(unwritable)?;
        let (mut pieces, mut written) = (response.bytes_stream(), 0);
        while let Some(piece) = tokio::time::timeout(ANSWER, pieces.next())
            .await
            .map_err(|_| client.silent(format!("nothing more came for {} s", ANSWER.as_secs())))?
        {
            let piece =
                piece.map_err(|error| ClientError::Failed(format!("the gateway broke off: {error}.")))?;
            written += piece.len() as u64;
            file.write_all(&piece).await.map_err(unwritable)?;
        }
        file.flush().await.map_err(unwritable)?;
        tokio::fs::rename(&part, output).await.map_err(unwritable)?;
        Ok(written)
    };
    let written = whole.await;
    if written.is_err() {
        let _never_made = tokio::fs::remove_file(&part).await;
    }
    written
}
