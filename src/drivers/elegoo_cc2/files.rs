//! The printer's internal storage: list and delete over MQTT, upload and download over HTTP (elegoo.md 3.13).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, SeekFrom};
use tokio::sync::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::encode::{Call, LIST_PAGE};
use super::wire::error_code;
use super::{Cc2Config, Timing, codes};
use crate::drivers::elegoo::door::{AskError, Door};
use crate::drivers::elegoo::field::{int, list, num, text};
use crate::drivers::elegoo::http::{self, authority};
use crate::drivers::elegoo::names::{safe_name, same_file};
use crate::model::text::base_name;
use crate::printer::{FileError, PrinterFiles, ProgressFn, RemoteFile};

/// Bytes of one request (elegoo.md 3.13).
const CHUNK: usize = 1 << 20;
const CHUNK_LIMIT: Duration = Duration::from_secs(60);
/// A request of the link with its turn behind others.
const ASK: Duration = Duration::from_secs(40);
const CHECK: Duration = Duration::from_secs(60);
const DOWNLOAD_IDLE: Duration = Duration::from_secs(20);
/// After HTTP 429 or a busy answer.
const TOO_FAST: Duration = Duration::from_secs(2);
/// Attempts at one chunk.
const CHUNK_TRIES: u32 = 3;
/// Unfinished uploads on the printer's disk.
const PARTIAL: &str = ".cbdtmp";
const MAX_REPLY: usize = 16 << 10;
/// Files beyond this are not listed: no storage holds so many.
const MAX_FILES: u64 = 10_000;

/// The file room of one printer.
pub struct Cc2Files {
    config: Cc2Config,
    timing: Timing,
    door: Arc<Door<Call>>,
    client: reqwest::Client,
    /// One operation at a time.
    turn: Mutex<()>,
}

/// What one upload needs on its way.
struct Upload<'a> {
    local: &'a Path,
    name: &'a str,
    md5: &'a str,
    size: u64,
    progress: &'a ProgressFn,
    cancel: &'a CancellationToken,
}

impl Cc2Files {
    pub(super) fn new(config: Cc2Config, timing: Timing, door: Arc<Door<Call>>) -> Self {
        Self { config, timing, door, client: http::upload_client(), turn: Mutex::new(()) }
    }

    async fn list_files(&self) -> Result<Vec<RemoteFile>, FileError> {
        let mut files = Vec::new();
        let mut offset = 0;
        loop {
            let page = self.door.ask(Call::ListFiles(offset), ASK).await.map_err(|error| match error {
                // 01.03.02.51 never answers this method (elegoo.md 3.6).
                AskError::Timeout => FileError::Unsupported(
                    "The firmware of the printer does not list its files; update it to see them.".to_owned(),
                ),
                other => told(other),
            })?;
            let items = list(&page, "file_list");
            files.extend(items.iter().filter_map(remote_file));
            offset += LIST_PAGE;
            let total = int(&page, "total").and_then(|total| u64::try_from(total).ok()).unwrap_or(0);
            if items.is_empty() || offset >= total.min(MAX_FILES) {
                return Ok(files);
            }
        }
    }

    async fn send_file(&self, job: &Upload<'_>) -> Result<(), FileError> {
        if let Some(free) = self.door.seen().free
            && free < job.size
        {
            return Err(FileError::Full(format!(
                "The printer has {} MB free and the file has {} MB; delete files at the printer.",
                free >> 20,
                job.size.div_ceil(1 << 20)
            )));
        }
        let broken = |error: io::Error| FileError::Failed(format!("The file cannot be read: {error}."));
        let mut file = tokio::fs::File::open(job.local).await.map_err(broken)?;
        let mut offset = 0;
        while offset < job.size {
            file.seek(SeekFrom::Start(offset)).await.map_err(broken)?;
            let mut chunk = Vec::with_capacity(CHUNK);
            (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await.map_err(broken)?;
            if chunk.is_empty() {
                return Err(FileError::Failed("The file became shorter while it was sent.".to_owned()));
            }
            let length = chunk.len() as u64;
            tokio::select! {
                () = job.cancel.cancelled() => return Err(FileError::Cancelled),
                sent = self.send_chunk(job, offset, chunk) => sent?,
            }
            offset += length;
            (job.progress)(offset);
        }
        tokio::select! {
            () = job.cancel.cancelled() => Err(FileError::Cancelled),
            verified = self.verify(job) => verified,
        }
    }

    /// A chunk with the wrong place, a busy printer or a broken connection is sent again (elegoo.md 3.13).
    async fn send_chunk(&self, job: &Upload<'_>, offset: u64, chunk: Vec<u8>) -> Result<(), FileError> {
        let chunk = bytes::Bytes::from(chunk);
        let mut tries = 1;
        loop {
            let error = match self.put(job, offset, chunk.clone()).await {
                Ok((200, body)) => match serde_json::from_slice::<Value>(&body) {
                    Ok(reply) => match error_code(&reply) {
                        0 => return Ok(()),
                        1000 => return Err(self.wrong_code()),
                        code @ (9001 | 9002 | 9004 | 9008) => {
                            return Err(FileError::Failed(codes::error(code)));
                        }
                        code => FileError::Failed(codes::error(code)),
                    },
                    Err(_) => FileError::Failed("The printer's answer to the upload is not JSON.".to_owned()),
                },
                Ok((401 | 403, _)) => return Err(self.wrong_code()),
                Ok((429, _)) => FileError::Busy("The printer does not take a file at the moment.".to_owned()),
                Ok((404, _)) => {
                    return Err(FileError::Unsupported(
                        "The printer has no upload page; is \"LAN Only\" mode on?".to_owned(),
                    ));
                }
                Ok((status, _)) => {
                    FileError::Failed(format!("The printer answers the upload with HTTP status {status}."))
                }
                Err(error) => {
                    FileError::Failed(format!("The printer did not take the file: {}.", error.without_url()))
                }
            };
            if tries >= CHUNK_TRIES {
                return Err(error);
            }
            tries += 1;
            sleep(TOO_FAST.min(self.timing.spacing)).await;
        }
    }

    fn wrong_code(&self) -> FileError {
        FileError::NotAllowed("The printer refuses the access code for uploads.".to_owned())
    }

    async fn put(
        &self,
        job: &Upload<'_>,
        offset: u64,
        chunk: bytes::Bytes,
    ) -> reqwest::Result<(u16, Vec<u8>)> {
        let url = format!("http://{}/upload", authority(&self.config.host, self.config.ports.http));
        let last = offset + (chunk.len() as u64).saturating_sub(1);
        let mut reply = self
            .client
            .put(url)
            .header("Content-Type", "application/octet-stream")
            .header("Content-Range", format!("bytes {offset}-{last}/{}", job.size))
            .header("X-File-Name", job.name)
            .header("X-File-MD5", job.md5)
            .header("X-Token", self.config.code().expose())
            .body(chunk)
            .timeout(CHUNK_LIMIT)
            .send()
            .await?;
        let mut body = Vec::new();
        while let Some(piece) = reply.chunk().await? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_REPLY {
                break;
            }
        }
        Ok((reply.status().as_u16(), body))
    }

    /// The printer must have left "receiving a file" and must know the file by its whole size.
    async fn verify(&self, job: &Upload<'_>) -> Result<(), FileError> {
        sleep(self.timing.after_upload).await;
        // A delta can get lost: ask.
        self.door.ask(Call::FullStatus, ASK).await.map_err(told)?;
        let now = self.door.seen();
        if now.transferring {
            self.door.settled(now.reports, CHECK).await?;
        }
        match self.door.ask(Call::FileInfo(job.name.to_owned()), ASK).await {
            Ok(info) => match int(&info, "size").and_then(|size| u64::try_from(size).ok()) {
                Some(size) if size != job.size => Err(FileError::Failed(format!(
                    "The printer holds {size} of {} bytes of the file; send it again.",
                    job.size
                ))),
                _ => Ok(()),
            },
            Err(AskError::Refused(code)) => Err(FileError::Failed(format!(
                "The file is not there after the transfer. {}",
                codes::error(code)
            ))),
            // The printer confirmed every chunk and the checksum of the whole: a mute method does not undo that.
            Err(AskError::Timeout) => Ok(()),
            Err(other) => Err(told(other)),
        }
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
        let target = format!(
            "/download?X-Token={}&file_name={}",
            utf8_percent_encode(self.config.code().expose(), NON_ALPHANUMERIC),
            utf8_percent_encode(name, NON_ALPHANUMERIC)
        );
        let mut reply = http::get(&self.config.host, self.config.ports.http, &target, DOWNLOAD_IDLE)
            .await
            .map_err(failed)?;
        match reply.status {
            200 => {}
            401 | 403 => return Err(self.wrong_code()),
            // Early firmware has no download page (elegoo.md 3.13).
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

fn told(error: AskError) -> FileError {
    match error {
        AskError::Refused(1009) => FileError::Busy(codes::error(1009)),
        AskError::Refused(code @ (1002 | 1021)) => FileError::NotFound(codes::error(code)),
        AskError::Refused(code) => FileError::Failed(codes::error(code)),
        other => other.into(),
    }
}

fn remote_file(item: &Value) -> Option<RemoteFile> {
    let name = text(item, "filename")?.trim_start_matches('/');
    if name.is_empty() || name.ends_with(PARTIAL) {
        return None;
    }
    Some(RemoteFile {
        path: name.to_owned(),
        size: int(item, "size").and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        directory: text(item, "type") == Some("folder"),
        modified: num(item, "create_time").filter(|time| *time > 0.0),
    })
}

impl PrinterFiles for Cc2Files {
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
            let size = tokio::fs::metadata(&local)
                .await
                .map_err(|error| FileError::Failed(format!("The file cannot be read: {error}.")))?
                .len();
            let job =
                Upload { local: &local, name: &name, md5: &md5, size, progress: &progress, cancel: &cancel };
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
            self.not_printing(&name, "deleted")?;
            match self.door.ask(Call::Delete(name), ASK).await {
                Ok(_) => Ok(()),
                Err(AskError::Timeout) => Err(FileError::Unsupported(
                    "The firmware of the printer does not answer; the file may still be there.".to_owned(),
                )),
                Err(error) => Err(told(error)),
            }
        }
        .boxed()
    }

    fn job_path(&self, name: &str) -> String {
        safe_name(name)
    }
}
