//! `moongate upload`, `files`, `console`: what a printer holds and says.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{FlushArg, tcflush};
use nix::unistd::{getpgrp, tcgetpgrp};
use reqwest::multipart::{Form, Part};
use serde_json::Value;

use super::client::{ANSWER, Client, ClientError, GatewayArgs};
use super::patience::Patience;
use super::while_read;
use super::words::{Progress, harmless, size, table, tell, text};
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
    if rows.is_empty() {
        let name = harmless(&args.printer);
        tell(format_args!("{name} has no files; `moongate upload FILE --printer {name}` sends one."));
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
    let shown = async {
        tokio::select! {
            ended = follow(args, client) => ended,
            () = refuse_what_is_typed(), if !args.once => Ok(ExitCode::SUCCESS),
        }
    };
    while_read(Box::pin(shown)).await
}

/// Says of what is typed at the terminal that it goes nowhere. Returns at the end of the input (Ctrl-D); never where
/// there is no terminal.
async fn refuse_what_is_typed() {
    let typed = std::io::stdin();
    if !typed.is_terminal() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK).await;
        let waiting = poll(&mut [PollFd::new(typed.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO);
        // What a shell runs in the background would be stopped for reading.
        if waiting != Ok(1) || tcgetpgrp(&typed) != Ok(getpgrp()) {
            continue;
        }
        if !nix::unistd::read(&typed, &mut [0; 4096]).is_ok_and(|length| length > 0) {
            return;
        }
        // Of many lines that were pasted one answer is enough.
        let _terminal_gone = tcflush(&typed, FlushArg::TCIFLUSH);
        complain!(
            "nothing is sent: this shows a console. G-code is typed into that of Mainsail or Fluidd, or into the serial port."
        );
    }
}

async fn follow(args: &ConsoleArgs, client: &Client) -> Result<ExitCode, ClientError> {
    let mut last: Option<ConsoleLine> = None;
    let mut patience = Patience::new(client);
    loop {
        let after = last.as_ref().map_or(0.0, |line| line.time);
        let path = |away| {
            let after = if away { 0.0 } else { after };
            Client::of(&args.printer, &format!("/moongate/console?after={after}"))
        };
        let ask = async |away| client.get::<Vec<ConsoleLine>>(&path(away)).await;
        let answer = patience.ask(ask).await?;
        let mut lines = answer.told;
        if let Some(last) = last.as_ref().filter(|_| answer.after_absence) {
            lines = unseen(lines, last);
        }
        last = lines.last().cloned().or(last);
        for line in &lines {
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

/// What was said after `last`; all of it where that is not among it: a gateway that was started again has a new
/// console, and perhaps another clock.
fn unseen(mut lines: Vec<ConsoleLine>, last: &ConsoleLine) -> Vec<ConsoleLine> {
    match lines.iter().rposition(|line| line == last) {
        Some(at) => lines.split_off(at + 1),
        None => lines,
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

    #[test]
    fn after_an_absence_every_line_is_shown_once() {
        let line =
            |time: f64, text: &str| ConsoleLine { time, text: text.to_owned(), speaker: Speaker::Answer };
        let (a, b, c) = (line(10.0, "a"), line(10.0, "b"), line(11.0, "c"));
        let kept = vec![a.clone(), b.clone(), c.clone()];
        assert_eq!(unseen(kept.clone(), &a), [b, c.clone()], "the same console, lines of one moment");
        assert_eq!(unseen(kept, &c), []);
        let fresh = vec![line(3.0, "d")];
        assert_eq!(unseen(fresh.clone(), &c), fresh, "a new console, and a clock that was set back");
    }

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
