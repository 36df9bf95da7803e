//! The file room of both printers: turns, names, guards and chunks are the same; the requests are each driver's own
//! (elegoo.md 2.10, 2.11, 3.13).

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::door::{AskError, Seen};
use super::http::Reply;
use super::names::{safe_name, same_file};
use super::place::{self, Medium, Place};
use crate::printer::{FileError, PrinterFiles, ProgressFn, RemoteFile};

/// Bytes of one request of an upload (elegoo.md 2.10, 3.13).
const CHUNK: usize = 1 << 20;
/// One chunk with its answer: the printer computes and prints at the same time.
pub const CHUNK_LIMIT: Duration = Duration::from_secs(60);
/// The printer's check of a transferred file (elegoo.md 2.10).
pub const CHECK: Duration = Duration::from_secs(60);
/// A download without a byte for so long is given up.
pub const DOWNLOAD_IDLE: Duration = Duration::from_secs(20);
/// Unfinished uploads on the printer's disk.
const PARTIAL: &str = ".cbdtmp";

/// What one printer says to the file operations.
pub trait Storage: Send + Sync + 'static {
    /// # Errors
    /// Offline.
    fn check(&self) -> Result<(), AskError>;

    fn seen(&self) -> Seen;

    /// See [`PrinterFiles::look`].
    fn look(&self) {}

    fn list(&self) -> impl Future<Output = Result<Vec<RemoteFile>, FileError>> + Send;

    /// Sends the file and waits until the printer holds all of it.
    fn send(&self, job: &Upload<'_>) -> impl Future<Output = Result<(), FileError>> + Send;

    /// Opens the download of one file.
    fn fetch(&self, place: &Place) -> impl Future<Output = Result<Reply, FileError>> + Send;

    fn remove(&self, medium: Medium, name: &str) -> impl Future<Output = Result<(), FileError>> + Send;

    /// Where job files go.
    fn job_medium(&self) -> Medium {
        Medium::Internal
    }
}

/// What one upload needs on its way.
pub struct Upload<'a> {
    pub local: &'a Path,
    pub medium: Medium,
    pub name: &'a str,
    pub md5: &'a str,
    pub progress: &'a ProgressFn,
}

/// The file room of one printer; one transfer at a time.
pub struct Files<S> {
    storage: S,
    turn: Mutex<()>,
}

impl<S: Storage> Files<S> {
    pub fn new(storage: S) -> Self {
        Self { storage, turn: Mutex::new(()) }
    }

    /// The firmware reads the file while it prints.
    fn not_printing(&self, name: &str, what: &str) -> Result<(), FileError> {
        match self.storage.seen().printing {
            Some(file) if same_file(&file, name) => {
                Err(FileError::Busy(format!("\"{name}\" is being printed and cannot be {what}.")))
            }
            _ => Ok(()),
        }
    }

    async fn save(&self, place: &Place, local: &Path, progress: &ProgressFn) -> Result<(), FileError> {
        let failed = |error: io::Error| FileError::Failed(format!("The download failed: {error}."));
        let mut reply = self.storage.fetch(place).await?;
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

impl<S: Storage> PrinterFiles for Files<S> {
    fn list(&self) -> BoxFuture<'_, Result<Vec<RemoteFile>, FileError>> {
        self.storage.list().boxed()
    }

    fn look(&self) {
        self.storage.look();
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
            let Place::Job(medium, name) = Place::of(&remote) else {
                return Err(FileError::Unsupported("Videos are made by the printer only.".to_owned()));
            };
            let name = safe_name(&name);
            self.storage.check()?;
            self.not_printing(&name, "replaced")?;
            let job = Upload { local: &local, medium, name: &name, md5: &md5, progress: &progress };
            let work = async {
                let _turn = self.turn.lock().await;
                self.storage.send(&job).await
            };
            tokio::select! {
                () = cancel.cancelled() => Err(FileError::Cancelled),
                sent = work => sent,
            }
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
            let place = Place::of(&remote);
            let result = tokio::select! {
                () = cancel.cancelled() => Err(FileError::Cancelled),
                result = self.save(&place, &local, &progress) => result,
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
            let Place::Job(medium, name) = Place::of(&remote) else {
                return Err(FileError::Unsupported("Videos are deleted at the printer's screen.".to_owned()));
            };
            if name.is_empty() {
                return Err(FileError::BadName("No file was named.".to_owned()));
            }
            self.not_printing(&name, "deleted")?;
            self.storage.remove(medium, &name).await
        }
        .boxed()
    }

    fn job_path(&self, name: &str) -> String {
        place::path(self.storage.job_medium(), &safe_name(name))
    }
}

/// Why one chunk of an upload did not arrive.
#[derive(Debug)]
pub enum ChunkError {
    /// Worth another try.
    Again(FileError),
    /// The printer wants the file from its beginning.
    Restart(FileError),
    Final(FileError),
}

impl From<FileError> for ChunkError {
    fn from(error: FileError) -> Self {
        ChunkError::Final(error)
    }
}

/// A file in the pieces in which it is sent.
pub struct Chunks {
    file: tokio::fs::File,
    offset: u64,
    size: u64,
}

impl Chunks {
    /// # Errors
    /// The file cannot be read.
    pub async fn open(path: &Path, size: u64) -> Result<Self, FileError> {
        Ok(Self { file: tokio::fs::File::open(path).await.map_err(unreadable)?, offset: 0, size })
    }

    /// The next piece with its place; `None` behind the last.
    ///
    /// # Errors
    /// The file cannot be read, or has become shorter.
    pub async fn next(&mut self) -> Result<Option<(u64, Bytes)>, FileError> {
        let left = self.size - self.offset;
        if left == 0 {
            return Ok(None);
        }
        let mut chunk = Vec::with_capacity(CHUNK);
        let wanted = left.min(CHUNK as u64);
        (&mut self.file).take(wanted).read_to_end(&mut chunk).await.map_err(unreadable)?;
        if chunk.len() as u64 != wanted {
            return Err(FileError::Failed("The file became shorter while it was sent.".to_owned()));
        }
        let offset = self.offset;
        self.offset += wanted;
        Ok(Some((offset, chunk.into())))
    }
}

/// The local file fails.
pub fn unreadable(error: io::Error) -> FileError {
    FileError::Failed(format!("The file cannot be read: {error}."))
}

/// # Errors
/// Full, if the printer said that it has less room than `size` bytes.
pub fn check_room(seen: &Seen, size: u64) -> Result<(), FileError> {
    match seen.free {
        Some(free) if free < size => Err(FileError::Full(format!(
            "The printer has {} MB free and the file has {} MB; delete files at the printer.",
            free >> 20,
            size.div_ceil(1 << 20)
        ))),
        _ => Ok(()),
    }
}

/// Why the check after a transfer did not come to an end.
pub fn unsettled(error: AskError) -> FileError {
    match error {
        AskError::Timeout => FileError::Failed(format!(
            "The printer still checks the file {} s after the transfer; look at its screen and try again.",
            CHECK.as_secs()
        )),
        other => other.into(),
    }
}

/// The name of a listed file; `None` for an upload that was never finished.
pub fn listed_name(path: &str) -> Option<String> {
    let name = path.trim_start_matches('/');
    (!name.is_empty() && !name.ends_with(PARTIAL)).then(|| name.to_owned())
}
