//! The printer's internal storage: list and delete over the link, upload and download over HTTP (elegoo.md 2.10, 2.11).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use md5::{Digest, Md5};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::multipart::{Form, Part};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, SeekFrom};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::codes;
use super::sdcp::Sdcp;
use super::{Cc1Config, Timing};
use crate::drivers::elegoo::door::Door;
use crate::drivers::elegoo::field::{as_int, int, list, num, text};
use crate::drivers::elegoo::http::{self, authority};
use crate::drivers::elegoo::names::{safe_name, same_file};
use crate::metadata;
use crate::model::text::base_name;
use crate::printer::{FileError, PrinterFiles, ProgressFn, RemoteFile};

/// Bytes of one request (elegoo.md 2.10).
const CHUNK: usize = 1 << 20;
/// One chunk with its answer: the printer computes and prints at the same time.
const CHUNK_LIMIT: Duration = Duration::from_secs(60);
/// Other requests of the link may come first.
const ASK: Duration = Duration::from_secs(25);
/// The check after an upload (elegoo.md 2.10).
const CHECK: Duration = Duration::from_secs(60);
const DOWNLOAD_IDLE: Duration = Duration::from_secs(20);
/// Unfinished uploads on the printer's disk.
const PARTIAL: &str = ".cbdtmp";
/// Longest answer of the upload handler.
const MAX_REPLY: usize = 16 << 10;

/// The file room of one printer.
pub struct Cc1Files {
    config: Cc1Config,
    timing: Timing,
    door: Arc<Door<Sdcp>>,
    client: reqwest::Client,
    /// One operation at a time.
    turn: Mutex<()>,
}

/// Why one chunk did not arrive.
enum ChunkError {
    /// Worth another try.
    Again(FileError),
    /// The printer wants the file from its beginning.
    Restart(FileError),
    Final(FileError),
}

impl Cc1Files {
    pub(super) fn new(config: Cc1Config, timing: Timing, door: Arc<Door<Sdcp>>) -> Self {
        Self { config, timing, door, client: http::upload_client(), turn: Mutex::new(()) }
    }

    async fn list_files(&self) -> Result<Vec<RemoteFile>, FileError> {
        let data = self.door.ask(Sdcp::ListFiles, ASK).await?;
        Ok(list(&data, "FileList").iter().filter_map(remote_file).collect())
    }

    async fn send_file(&self, job: &Upload<'_>) -> Result<(), FileError> {
        let prepared = self.prepare(job).await?;
        let size = prepared.size;
        self.check_room(size)?;
        let errors_before = self.door.seen().file_errors.0;
        let mut tries = 0;
        loop {
            match self.send_chunks(job, &prepared).await {
                Ok(()) => break,
                Err(ChunkError::Restart(_) | ChunkError::Again(_)) if tries == 0 => tries += 1,
                Err(ChunkError::Restart(e) | ChunkError::Again(e) | ChunkError::Final(e)) => return Err(e),
            }
        }
        self.verify(job.name, size, errors_before, job.cancel).await
    }

    /// The file as it goes to the printer: with the header comments added, where they are wanted and missing.
    async fn prepare(&self, job: &Upload<'_>) -> Result<Prepared, FileError> {
        let local = job.local.to_owned();
        let md5 = job.md5.to_owned();
        let add = self.config.add_header_comments;
        let work = move || prepare(local, md5, add);
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_panic| FileError::Failed("Reading the file failed.".to_owned()))?
            .map_err(|error| FileError::Failed(format!("The file cannot be read: {error}.")))
    }

    fn check_room(&self, size: u64) -> Result<(), FileError> {
        match self.door.seen().free {
            Some(free) if free < size => Err(FileError::Full(format!(
                "The printer has {} MB free and the file has {} MB; delete files at the printer.",
                free >> 20,
                size.div_ceil(1 << 20)
            ))),
            _ => Ok(()),
        }
    }

    async fn send_chunks(&self, job: &Upload<'_>, prepared: &Prepared) -> Result<(), ChunkError> {
        let broken = |error: io::Error| {
            ChunkError::Final(FileError::Failed(format!("The file cannot be read: {error}.")))
        };
        let mut file = tokio::fs::File::open(prepared.path()).await.map_err(broken)?;
        let transfer = uuid::Uuid::new_v4().simple().to_string();
        let mut offset = 0;
        while offset < prepared.size {
            file.seek(SeekFrom::Start(offset)).await.map_err(broken)?;
            let mut chunk = Vec::with_capacity(CHUNK);
            (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await.map_err(broken)?;
            if chunk.is_empty() {
                return Err(ChunkError::Final(FileError::Failed(
                    "The file became shorter while it was sent.".to_owned(),
                )));
            }
            let length = chunk.len() as u64;
            let first = self.send_chunk(job, prepared, &transfer, offset, chunk.clone()).await;
            match first {
                Err(ChunkError::Again(_)) => self.send_chunk(job, prepared, &transfer, offset, chunk).await?,
                other => other?,
            }
            offset += length;
            (job.progress)(offset);
        }
        Ok(())
    }

    async fn send_chunk(
        &self,
        job: &Upload<'_>,
        prepared: &Prepared,
        transfer: &str,
        offset: u64,
        chunk: Vec<u8>,
    ) -> Result<(), ChunkError> {
        let url =
            format!("http://{}/uploadFile/upload", authority(&self.config.host, self.config.ports.http));
        let part = Part::bytes(chunk)
            .file_name(job.name.to_owned())
            .mime_str("application/octet-stream")
            .map_err(|error| ChunkError::Final(FileError::Failed(error.to_string())))?;
        // The order is the vendor's (elegoo.md 2.10).
        let form = Form::new()
            .text("Check", "1")
            .text("S-File-MD5", prepared.md5.clone())
            .text("Offset", offset.to_string())
            .text("Uuid", transfer.to_owned())
            .text("TotalSize", prepared.size.to_string())
            .part("File", part);
        let talk = async {
            let mut reply = self.client.post(url).multipart(form).timeout(CHUNK_LIMIT).send().await?;
            let mut body = Vec::new();
            while let Some(piece) = reply.chunk().await? {
                body.extend_from_slice(&piece);
                if body.len() > MAX_REPLY {
                    break;
                }
            }
            Ok::<_, reqwest::Error>((reply.status().as_u16(), body))
        };
        let answer = tokio::select! {
            () = job.cancel.cancelled() => return Err(ChunkError::Final(FileError::Cancelled)),
            answer = talk => answer,
        };
        match answer {
            Ok((status, body)) => judge_chunk(status, &body),
            Err(error) => Err(ChunkError::Again(FileError::Failed(format!(
                "The printer did not take the file: {}.",
                error.without_url()
            )))),
        }
    }

    /// The printer checks the file after the last answer (elegoo.md 2.10): wait until it shows neither, then look.
    async fn verify(
        &self,
        name: &str,
        size: u64,
        errors_before: u64,
        cancel: &CancellationToken,
    ) -> Result<(), FileError> {
        let settle = async {
            tokio::time::sleep(self.timing.after_upload).await;
            let now = self.door.seen().reports;
            self.door.settled(now, CHECK).await?;
            tokio::time::sleep(self.timing.after_upload).await;
            Ok::<_, FileError>(())
        };
        tokio::select! {
            () = cancel.cancelled() => return Err(FileError::Cancelled),
            settled = settle => settled?,
        }
        let (errors, code) = self.door.seen().file_errors;
        if errors > errors_before {
            let why = if code == 1 { "its checksum differs" } else { "its format is not accepted" };
            return Err(FileError::Failed(format!(
                "The printer rejects the file after the transfer: {why}."
            )));
        }
        let files = self.list_files().await?;
        match files.iter().find(|file| same_file(&file.path, name)) {
            Some(file) if file.size == size => Ok(()),
            Some(file) => Err(FileError::Failed(format!(
                "The printer holds {} of {size} bytes of the file; send it again.",
                file.size
            ))),
            None => {
                Err(FileError::Failed("The printer does not list the file after the transfer.".to_owned()))
            }
        }
    }

    async fn delete_file(&self, name: &str) -> Result<(), FileError> {
        self.not_printing(name, "deleted")?;
        let data =
            self.door.ask(Sdcp::Delete(vec![name.to_owned()]), ASK).await.map_err(|error| match error {
                crate::drivers::elegoo::door::AskError::Refused(_) => {
                    FileError::NotFound(format!("The printer did not delete \"{name}\"; it may not exist."))
                }
                other => other.into(),
            })?;
        if list(&data, "ErrData").is_empty() {
            return Ok(());
        }
        Err(FileError::Failed(format!("The printer did not delete \"{name}\".")))
    }

    /// The firmware reads the file while it prints.
    fn not_printing(&self, name: &str, what: &str) -> Result<(), FileError> {
        match self.door.seen().printing {
            Some(file) if same_file(&file, name) => {
                Err(FileError::Busy(format!("\"{name}\" is being printed and cannot be {what}.")))
            }
            _ => Ok(()),
        }
    }

    async fn fetch(&self, name: &str, local: &Path, progress: &ProgressFn) -> Result<(), FileError> {
        let failed = |error: io::Error| FileError::Failed(format!("The download failed: {error}."));
        let target = format!("/downloadFile/local/{}", utf8_percent_encode(name, NON_ALPHANUMERIC));
        let mut reply = http::get(&self.config.host, self.config.ports.http, &target, DOWNLOAD_IDLE)
            .await
            .map_err(failed)?;
        match reply.status {
            200 => {}
            404 => return Err(FileError::NotFound(format!("The printer does not hand out \"{name}\"."))),
            status => {
                return Err(FileError::Failed(format!("The printer answers with HTTP status {status}.")));
            }
        }
        let mut file = tokio::fs::File::create(local).await.map_err(failed)?;
        let mut received = 0;
        while let Some(piece) = reply.piece(DOWNLOAD_IDLE).await.map_err(failed)? {
            file.write_all(&piece).await.map_err(failed)?;
            received += piece.len() as u64;
            progress(received);
        }
        file.flush().await.map_err(failed)
    }
}

/// What one upload needs on its way.
struct Upload<'a> {
    local: &'a Path,
    name: &'a str,
    md5: &'a str,
    progress: &'a ProgressFn,
    cancel: &'a CancellationToken,
}

/// A file ready to be sent; a rewritten one is removed when this is dropped.
struct Prepared {
    original: PathBuf,
    rewritten: Option<tempfile::NamedTempFile>,
    md5: String,
    size: u64,
}

impl Prepared {
    fn path(&self) -> &Path {
        self.rewritten.as_ref().map_or(&self.original, |file| file.path())
    }
}

fn prepare(local: PathBuf, md5: String, add_comments: bool) -> io::Result<Prepared> {
    let size = std::fs::metadata(&local)?.len();
    if add_comments && let Some(rewritten) = with_comments(&local)? {
        let size = rewritten.as_file().metadata()?.len();
        let mut hash = Md5::new();
        io::copy(&mut std::fs::File::open(rewritten.path())?, &mut hash)?;
        let md5 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        return Ok(Prepared { original: local, rewritten: Some(rewritten), md5, size });
    }
    Ok(Prepared { original: local, rewritten: None, md5, size })
}

/// A copy with the missing header comments; `None` if nothing is missing or nothing is known.
fn with_comments(local: &Path) -> io::Result<Option<tempfile::NamedTempFile>> {
    let mut file = std::fs::File::open(local)?;
    let Ok(facts) = metadata::read(&mut file) else { return Ok(None) };
    let missing = metadata::inject::missing(&mut file, &facts).unwrap_or_default();
    if missing.is_empty() {
        return Ok(None);
    }
    let folder = local.parent().map_or_else(std::env::temp_dir, Path::to_owned);
    let mut copy = tempfile::NamedTempFile::new_in(folder)?;
    metadata::inject::copy(&mut file, &facts, copy.as_file_mut()).map_err(io::Error::other)?;
    Ok(Some(copy))
}

/// `code` is text; an empty or foreign body is a failure (elegoo.md 2.10).
fn judge_chunk(status: u16, body: &[u8]) -> Result<(), ChunkError> {
    let reply: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if status == 200 && text(&reply, "code") == Some("000000") {
        return Ok(());
    }
    let code = list(&reply, "messages").first().and_then(|m| m.get("message")).and_then(as_int);
    let why = code.map_or("it gives no reason", codes::upload_refusal);
    let error =
        FileError::Failed(format!("The printer did not take the file (HTTP status {status}): {why}."));
    Err(match code {
        Some(-1 | -2) => ChunkError::Restart(error),
        Some(-3) => ChunkError::Final(error),
        _ => ChunkError::Again(error),
    })
}

fn remote_file(item: &Value) -> Option<RemoteFile> {
    let path = text(item, "name")?;
    let name = path.strip_prefix("/local/").unwrap_or(path).trim_start_matches('/');
    if name.is_empty() || name.ends_with(PARTIAL) {
        return None;
    }
    Some(RemoteFile {
        path: name.to_owned(),
        size: int(item, "FileSize").and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        directory: int(item, "type") == Some(0),
        modified: num(item, "CreateTime").filter(|time| *time > 0.0),
    })
}

impl PrinterFiles for Cc1Files {
    fn list(&self) -> BoxFuture<'_, Result<Vec<RemoteFile>, FileError>> {
        self.list_files().boxed()
    }

    fn upload(
        &self,
        local: PathBuf,
        remote: String,
        md5: String,
        progress: ProgressFn,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<(), FileError>> {
        async move {
            let name = safe_name(&remote);
            self.door.check()?;
            self.not_printing(&name, "replaced")?;
            let _turn = tokio::select! {
                () = cancel.cancelled() => return Err(FileError::Cancelled),
                turn = self.turn.lock() => turn,
            };
            let job = Upload { local: &local, name: &name, md5: &md5, progress: &progress, cancel: &cancel };
            self.send_file(&job).await
        }
        .boxed()
    }

    fn download(
        &self,
        remote: String,
        local: PathBuf,
        progress: ProgressFn,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<(), FileError>> {
        async move {
            let _turn = self.turn.lock().await;
            let name = base_name(&remote).to_owned();
            let result = tokio::select! {
                () = cancel.cancelled() => Err(FileError::Cancelled),
                result = self.fetch(&name, &local, &progress) => result,
            };
            if result.is_err() {
                let _absent = tokio::fs::remove_file(&local).await;
            }
            result
        }
        .boxed()
    }

    fn delete(&self, remote: String) -> BoxFuture<'_, Result<(), FileError>> {
        async move {
            let name = base_name(&remote).to_owned();
            if name.is_empty() {
                return Err(FileError::BadName("No file was named.".to_owned()));
            }
            self.delete_file(&name).await
        }
        .boxed()
    }

    fn job_path(&self, name: &str) -> String {
        safe_name(name)
    }
}
