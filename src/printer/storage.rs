//! The printer's own storage, as its driver offers it.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::model::UnixSeconds;

/// An entry of the printer's own storage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoteFile {
    /// Path from the root of the storage, without a leading slash.
    pub path: String,
    pub size: u64,
    pub directory: bool,
    pub modified: Option<UnixSeconds>,
}

/// Why a file operation at the printer did not work, by what the caller does about it.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum FileError {
    #[error("{0}")]
    Offline(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    NotAllowed(String),
    #[error("{0}")]
    Full(String),
    #[error("{0}")]
    BadName(String),
    #[error("{0}")]
    Busy(String),
    #[error("{0}")]
    Unsupported(String),
    #[error("cancelled")]
    Cancelled,
    #[error("{0}")]
    Failed(String),
}

/// Begins the names of copies that a driver makes beside a file to send them: what a killed gateway left of them is
/// nobody's.
pub const SENDING: &str = ".sending-";

/// Called with the number of bytes that went through; with 0 as long as the file is made ready.
pub type ProgressFn = Arc<dyn Fn(u64) + Send + Sync>;

/// The printer's own storage. One operation at a time; a second one waits its turn or fails with Busy.
pub trait PrinterFiles: Send + Sync {
    /// Everything a user can print or fetch, folders included. Costly at the printer: callers cache.
    fn list(&self) -> BoxFuture<'_, Result<Vec<RemoteFile>, FileError>>;

    /// Somebody looks at the files, perhaps at a listing of before: a printer that does not tell by itself what is
    /// plugged in is asked for it, where that is cheap. A change is told as [`crate::model::Event::PrinterFilesChanged`].
    fn look(&self) {}

    /// Whether an upload that ends well went over one connection of its own from its first byte to its last: the printer
    /// was on all the time then, whatever happened to the link meanwhile.
    fn unbroken(&self) -> bool {
        false
    }

    /// Sends a local file; done only when the printer holds all of it. `md5` is lower-case hex of the whole file.
    fn upload(
        &self,
        local: PathBuf,
        remote: String,
        md5: String,
        progress: ProgressFn,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<(), FileError>>;

    /// Fetches a file into `local`, which is created.
    fn download(
        &self,
        remote: String,
        local: PathBuf,
        progress: ProgressFn,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<(), FileError>>;

    fn delete(&self, remote: String) -> BoxFuture<'_, Result<(), FileError>>;

    /// Renames or moves a file or folder within the printer's storage; the folder of `to` must exist.
    fn rename(&self, _from: String, _to: String) -> BoxFuture<'_, Result<(), FileError>> {
        unsupported("This printer does not rename its files by command.")
    }

    /// Makes one folder; the one above it must exist.
    fn make_directory(&self, _remote: String) -> BoxFuture<'_, Result<(), FileError>> {
        unsupported("This printer does not make folders by command.")
    }

    /// Removes an empty folder.
    fn remove_directory(&self, _remote: String) -> BoxFuture<'_, Result<(), FileError>> {
        unsupported("This printer does not remove folders by command.")
    }

    /// The path at which an uploaded job file of this name belongs, made of characters the printer accepts.
    fn job_path(&self, name: &str) -> String;
}

fn unsupported(text: &'static str) -> BoxFuture<'static, Result<(), FileError>> {
    Box::pin(async move { Err(FileError::Unsupported(text.to_owned())) })
}
