//! What the library tells of files, and why it refuses.

use std::path::PathBuf;

use thiserror::Error;

use crate::metadata::{self, FileMetadata};
use crate::model::UnixSeconds;

/// Why a library operation did not work, by what the caller answers.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum LibraryError {
    #[error("{0}")]
    NotFound(String),
    /// The folder that something should go into is not there.
    #[error("{0}")]
    NoFolder(String),
    #[error("{0}")]
    BadName(String),
    /// The content is not what it claims to be, or does not match its checksum.
    #[error("{0}")]
    BadFile(String),
    #[error("{0}")]
    Checksum(String),
    /// Something is being printed or protected.
    #[error("{0}")]
    InUse(String),
    /// Something else is in the way: a name that is taken, a folder that is not empty.
    #[error("{0}")]
    Exists(String),
    #[error("{0}")]
    Full(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    Offline(String),
    /// This printer does not do that.
    #[error("{0}")]
    Unsupported(String),
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
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
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
    pub metadata: FileMetadata,
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
    pub fn object_id(&self, name: &str) -> Option<u32> {
        let named = metadata::named_objects(&self.metadata, self.plate);
        named.into_iter().find(|object| object.name.eq_ignore_ascii_case(name)).map(|object| object.id)
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

/// What one library may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LibraryLimits {
    /// Bytes of one uploaded file.
    pub max_upload: u64,
    /// Bytes that stay free on the gateway's disk.
    pub min_free: u64,
}

impl Default for LibraryLimits {
    /// Moonraker's own upload limit of 1 GiB (moonraker.md 2.8), and 256 MiB left for everything else.
    fn default() -> Self {
        Self { max_upload: 1 << 30, min_free: 256 << 20 }
    }
}
