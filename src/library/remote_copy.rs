//! Copies of files that lie on the printer: fetched when somebody wants their bytes, and kept in the cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::listing::{Listed, identity};
use super::names::{self, Content};
use super::remote::file_error;
use super::{Library, LibraryError, disk};
use crate::metadata::FileMetadata;

/// A download without a byte for this long is given up.
const IDLE_DEADLINE: Duration = Duration::from_secs(60);
/// A file on the printer is read before a print if it is no larger, and here within this time: who starts it waits.
const READ_SIZE: u64 = 64 << 20;
const READ_DEADLINE: Duration = Duration::from_secs(20);

impl Library {
    /// What a file on the printer holds, by a copy of it; the printer itself does not tell.
    ///
    /// # Errors
    /// The file cannot be fetched soon, or is nothing that can be printed.
    pub async fn read_remote(&self, path: &str) -> Result<FileMetadata, LibraryError> {
        let listed = self.listed(path)?;
        if listed.size > READ_SIZE {
            return Err(LibraryError::Failed(
                "The file is too large to be fetched before a print.".to_owned(),
            ));
        }
        let late = |_late| LibraryError::Failed("The printer does not hand out the file soon.".to_owned());
        let copy = tokio::time::timeout(READ_DEADLINE, self.remote_copy(&listed)).await.map_err(late)??;
        let content = if listed.archive { Content::Archive } else { Content::Gcode };
        let read = self.run(move || disk::extract(&copy, content)).await??;
        Ok(FileMetadata { size: listed.size, ..read.metadata })
    }

    /// A local copy of a file on the printer.
    pub(super) async fn open_remote(&self, path: &str) -> Result<PathBuf, LibraryError> {
        let listed = self.listed(path)?;
        let copy = self.remote_copy(&listed).await?;
        if listed.archive && names::content(path) == Content::Gcode {
            return self.unpacked(copy, &format!("printer-{}-1.gcode", identity(&listed)), 1).await;
        }
        Ok(copy)
    }

    /// The file as it lies on the printer, kept in the cache.
    async fn remote_copy(&self, listed: &Listed) -> Result<PathBuf, LibraryError> {
        if !self.files_caps().download {
            return Err(LibraryError::Unsupported("This printer does not hand out its files.".to_owned()));
        }
        let extension = if listed.archive { "3mf" } else { "gcode" };
        let cache = self.inner.root.join(names::CACHE);
        let copy = cache.join(format!("printer-{}.{extension}", identity(listed)));
        if !copy.exists() {
            self.check_free(listed.size).await?;
            self.fetch(listed, &copy).await?;
            disk::evict(&cache);
        }
        Ok(copy)
    }

    async fn fetch(&self, listed: &Listed, copy: &Path) -> Result<(), LibraryError> {
        let partial = copy.with_extension(format!("{}.part", uuid::Uuid::new_v4().simple()));
        let cancel = self.inner.cancel.child_token();
        // However this ends, also by a client that leaves: the transfer ends and the part of a file goes.
        let _stop = cancel.clone().drop_guard();
        let guard = tempfile::TempPath::try_from_path(partial.clone())
            .map_err(|e| disk::failed("fetch the file", &e))?;
        let moved = Arc::new(tokio::sync::Notify::new());
        let progress = {
            let moved = moved.clone();
            Arc::new(move |_bytes: u64| moved.notify_one())
        };
        let files = self.inner.printer.files().clone();
        let download = files.download(listed.stored.clone(), partial, progress, cancel.clone());
        watched(download, &moved, &cancel).await?.map_err(file_error)?;
        guard.persist(copy).map_err(|error| disk::failed("fetch the file", &error.error))
    }
}

/// Waits for a transfer as long as it moves.
async fn watched<T>(
    work: impl Future<Output = T>,
    moved: &tokio::sync::Notify,
    cancel: &CancellationToken,
) -> Result<T, LibraryError> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            still = tokio::time::timeout(IDLE_DEADLINE, moved.notified()) => if still.is_err() {
                cancel.cancel();
                return Err(LibraryError::Failed("The printer stopped sending the file.".to_owned()));
            }
        }
    }
}
