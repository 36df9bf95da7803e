//! `moongate upload`, `files`, `console`: what a printer holds and says.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::multipart::{Form, Part};
use serde_json::Value;

use super::client::{ANSWER, Client, ClientError, GatewayArgs};
use super::until_stopped;
use super::words::{Progress, harmless, size, table, text};
use crate::model::{ConsoleLine, Speaker, UnixSeconds};

/// Between two looks at a console.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub struct UploadArgs {
    /// A file on this machine.
    pub file: PathBuf,
    /// The printer whose library takes it.
    #[arg(long, short)]
    pub printer: String,
    /// Folder of the library.
    #[arg(long)]
    pub folder: Option<String>,
    /// Print where the file is now as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

pub async fn upload(args: &UploadArgs, client: &Client) -> Result<ExitCode, ClientError> {
    let path = send(client, &args.printer, &args.file, args.folder.as_deref()).await?;
    if args.json {
        println!("{}", serde_json::json!({"path": path}));
    } else {
        println!("{}: {path}", args.printer);
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends a file into the library, streamed; returns its path there.
pub async fn send(
    client: &Client,
    printer: &str,
    file: &Path,
    folder: Option<&str>,
) -> Result<String, ClientError> {
    let unreadable =
        |error: std::io::Error| ClientError::Failed(format!("{} cannot be read: {error}.", file.display()));
    // Before it is opened: that of a pipe waits for its other end.
    let facts = tokio::fs::metadata(file).await.map_err(unreadable)?;
    if !facts.is_file() {
        return Err(ClientError::Failed(format!("{} is a folder or no ordinary file.", file.display())));
    }
    let opened = tokio::fs::File::open(file).await.map_err(unreadable)?;
    let length = facts.len();
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.contains(char::is_control) {
        return Err(ClientError::Failed(format!(
            "the name {name:?} holds characters that no file in a library may have: rename the file."
        )));
    }
    let progress = Arc::new(Mutex::new(Progress::new(format!("upload {name}"))));
    let taken = Arc::new(AtomicU64::new(0));
    let (shown, counted) = (progress.clone(), taken.clone());
    let pieces = tokio_util::io::ReaderStream::with_capacity(opened, 256 << 10).inspect(move |piece| {
        let bytes = piece.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let sent = counted.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let part = sent as f64 / length.max(1) as f64;
        shown.lock().unwrap_or_else(PoisonError::into_inner).set(part, &size(sent));
    });
    let part = Part::stream_with_length(reqwest::Body::wrap_stream(pieces), length).file_name(name);
    let mut form = Form::new().text("root", "gcodes").part("file", part);
    if let Some(folder) = folder {
        form = form.text("path", folder.to_owned());
    }
    let path = Client::of(printer, "/server/files/upload");
    let sending = client.send(client.request(reqwest::Method::POST, &path).multipart(form));
    let sending = while_it_moves(sending, &taken)
        .await
        .unwrap_or_else(|| Err(client.silent(format!("it took nothing more for {} s", ANSWER.as_secs()))));
    progress.lock().unwrap_or_else(PoisonError::into_inner).end();
    let answer: Value = client.decode(sending?).await?;
    let stored = answer.pointer("/result/item/path").or_else(|| answer.pointer("/item/path"));
    stored
        .and_then(Value::as_str)
        .map(ToOwned::to_owned)
        .ok_or_else(|| ClientError::Failed("the gateway does not say where it put the file.".to_owned()))
}

/// `None` where neither the end comes nor `taken` changes for as long as any answer may take. A file of any size may be
/// sent, at any speed.
async fn while_it_moves<T>(sending: impl Future<Output = T>, taken: &AtomicU64) -> Option<T> {
    tokio::pin!(sending);
    let mut before = None;
    loop {
        if let Ok(done) = tokio::time::timeout(ANSWER, &mut sending).await {
            return Some(done);
        }
        let now = taken.load(Ordering::Relaxed);
        if before.replace(now) == Some(now) {
            return None;
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct FilesArgs {
    /// The printer whose files are listed.
    pub printer: String,
    /// Print the list as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

pub async fn files(args: &FilesArgs, client: &Client) -> Result<ExitCode, ClientError> {
    let path = Client::of(&args.printer, "/server/files/list?root=gcodes");
    let answer: Value = client.get(&path).await?;
    let list = answer.pointer("/result").cloned().unwrap_or_default();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&list).unwrap_or_default());
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = Vec::new();
    for file in list.as_array().into_iter().flatten() {
        let bytes = file.pointer("/size").and_then(Value::as_u64).unwrap_or(0);
        let modified = file.pointer("/modified").and_then(Value::as_f64).unwrap_or(0.0);
        rows.push(vec![text(file, "/path").to_owned(), size(bytes), time(modified)]);
    }
    print!("{}", table(rows));
    Ok(ExitCode::SUCCESS)
}

/// In this machine's time zone.
pub fn time(at: UnixSeconds) -> String {
    let stamp = jiff::Timestamp::from_millisecond((at * 1000.0) as i64).unwrap_or_default();
    stamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[derive(Debug, clap::Args)]
pub struct ConsoleArgs {
    /// The printer whose console is shown.
    pub printer: String,
    /// Show what was said so far and end.
    #[arg(long)]
    pub once: bool,
    /// One JSON object per line.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

pub async fn console(args: &ConsoleArgs, client: &Client) -> Result<ExitCode, ClientError> {
    until_stopped(follow(args, client)).await.unwrap_or(Ok(ExitCode::SUCCESS))
}

async fn follow(args: &ConsoleArgs, client: &Client) -> Result<ExitCode, ClientError> {
    let mut after = 0.0;
    loop {
        let path = Client::of(&args.printer, &format!("/moongate/console?after={after}"));
        let lines: Vec<ConsoleLine> = client.get(&path).await?;
        for line in &lines {
            after = line.time;
            if args.json {
                println!("{}", crate::model::text::json(line));
            } else {
                println!("{} {} {}", time(line.time), sign(line.speaker), harmless(&line.text));
            }
        }
        if args.once {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn sign(speaker: Speaker) -> char {
    match speaker {
        Speaker::Client => '>',
        Speaker::Answer => ' ',
        Speaker::Error => '!',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_moves_may_take_for_ever_and_one_that_stands_ends() {
        let taken = AtomicU64::new(0);
        let slow = async {
            for _ in 0..20 {
                tokio::time::sleep(ANSWER / 2).await;
                taken.fetch_add(1, Ordering::Relaxed);
            }
            7
        };
        assert_eq!(while_it_moves(slow, &taken).await, Some(7));
        assert_eq!(while_it_moves(std::future::pending::<()>(), &taken).await, None);
    }
}
