//! The files of one printer on the gateway's disk, and the printer's own storage shown below `printer/` (design D4).
//!
//! Paths are relative to the library, with `/`, without a leading slash, in UTF-8. Each plate of a sliced archive
//! `cube.gcode.3mf` is published as a G-code entry of its own: `cube.gcode`, or `cube_plate_2.gcode` and so on, with
//! collisions resolved stably; the archive itself stays listed for download.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::broadcast;

use crate::model::UnixSeconds;

/// Why a library operation did not work, by what the caller answers.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum LibraryError {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    BadName(String),
    /// The content is not what it claims to be, or does not match its checksum.
    #[error("{0}")]
    BadFile(String),
    #[error("{0}")]
    Checksum(String),
    /// Printing at the moment, or not empty, or exists already.
    #[error("{0}")]
    InUse(String),
    #[error("{0}")]
    Full(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    Offline(String),
    #[error("{0}")]
    Failed(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file that can be printed as it is listed: G-code, or a published plate of an archive.
    Printable,
    /// A file for download only, e.g. the archive behind published plates.
    Other,
    Directory,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub path: String,
    pub kind: EntryKind,
    pub size: u64,
    pub modified: UnixSeconds,
    /// On the printer's own storage.
    pub on_printer: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUsage {
    pub total: u64,
    pub used: u64,
    pub free: u64,
}

/// A stored picture of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct ThumbnailEntry {
    pub width: u32,
    pub height: u32,
    pub size: u64,
    /// Relative to the directory of the file: `.thumbs/cube-300x300.png`.
    pub relative_path: String,
}

/// What is known of a printable file; extracted once, off the hot path.
#[derive(Debug, Clone)]
pub struct FileRecord {
    pub entry: Entry,
    /// Fresh for each content.
    pub uuid: String,
    /// Of the plate that the entry stands for.
    pub metadata: crate::metadata::FileMetadata,
    pub thumbnails: Vec<ThumbnailEntry>,
    /// Plate of the archive that the entry stands for.
    pub plate: Option<u32>,
    /// The file on disk that is sent to the printer.
    pub source: PathBuf,
    /// When it was last printed, and the history id of that job.
    pub print_start_time: Option<UnixSeconds>,
    pub job_id: Option<String>,
}

impl FileRecord {
    /// The identifier by which the printer skips the object of this name.
    pub fn object_id(&self, _name: &str) -> Option<u32> {
        None
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LibraryAction {
    CreateFile,
    ModifyFile,
    MoveFile,
    DeleteFile,
    CreateDirectory,
    MoveDirectory,
    DeleteDirectory,
}

/// A change, told after it can be read.
#[derive(Debug, Clone, PartialEq)]
pub struct LibraryEvent {
    pub action: LibraryAction,
    pub entry: Entry,
    /// Where it was before, for moves.
    pub source: Option<String>,
}

/// A file that is being received.
pub struct Upload {}

/// What came of an upload.
#[derive(Debug, Clone, PartialEq)]
pub struct Uploaded {
    /// The file as it was sent.
    pub entry: Entry,
    /// What of it can be printed; the first one (or the plate asked for) is what `print=true` starts.
    pub printable: Vec<Entry>,
}

impl Upload {
    /// Takes the next piece; refuses when the file grows beyond the limit or the disk is full.
    pub async fn write(&mut self, _piece: Bytes) -> Result<(), LibraryError> {
        todo!()
    }

    /// Checks the content and moves it into place at once; on any error nothing is left behind.
    /// `sha256` is lower-case hex; `plate` is remembered for the start.
    pub async fn finish(self, _sha256: Option<&str>, _plate: Option<u32>) -> Result<Uploaded, LibraryError> {
        todo!()
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Library {}

impl Library {
    /// The directory on the gateway's disk, absolute.
    pub fn root(&self) -> &Path {
        todo!()
    }

    /// Everything, recursively, without hidden files.
    pub async fn list(&self) -> Result<Vec<Entry>, LibraryError> {
        todo!()
    }

    /// What one directory holds; `""` is the library itself.
    pub async fn directory(&self, _path: &str) -> Result<Vec<Entry>, LibraryError> {
        todo!()
    }

    pub async fn disk_usage(&self) -> DiskUsage {
        todo!()
    }

    /// The record of a printable file, or of an archive.
    pub async fn record(&self, _path: &str) -> Result<Arc<FileRecord>, LibraryError> {
        todo!()
    }

    /// Extracts the record anew.
    pub async fn rescan(&self, _path: &str) -> Result<Arc<FileRecord>, LibraryError> {
        todo!()
    }

    /// A file on disk with the bytes of an entry: G-code text for a published plate, a PNG for `.thumbs/` paths, a
    /// fetched copy for files on the printer.
    pub async fn open(&self, _path: &str) -> Result<PathBuf, LibraryError> {
        todo!()
    }

    /// Begins to receive a file; `directory` is created.
    pub async fn begin_upload(&self, _directory: &str, _name: &str) -> Result<Upload, LibraryError> {
        todo!()
    }

    pub async fn make_directory(&self, _path: &str) -> Result<Entry, LibraryError> {
        todo!()
    }

    pub async fn remove_directory(&self, _path: &str, _force: bool) -> Result<Entry, LibraryError> {
        todo!()
    }

    /// Moves a file or directory; into `to` where that is a directory. Returns the new entry.
    pub async fn rename(&self, _from: &str, _to: &str) -> Result<Entry, LibraryError> {
        todo!()
    }

    pub async fn copy(&self, _from: &str, _to: &str) -> Result<Entry, LibraryError> {
        todo!()
    }

    pub async fn delete(&self, _path: &str) -> Result<Entry, LibraryError> {
        todo!()
    }

    pub fn events(&self) -> broadcast::Receiver<LibraryEvent> {
        todo!()
    }
}
