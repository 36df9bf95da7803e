//! What the job room asks of a file, and what it says of one.

use std::path::PathBuf;

use super::index::Found;
use super::names::{self, Content};
use super::serve::{stored, unknown};
use super::{Library, LibraryError, disk};
use crate::metadata::{self, FileMetadata};
use crate::model::UnixSeconds;

/// What the job room needs to know of a file before it starts it.
#[derive(Debug, Clone)]
pub struct JobFile {
    /// As it was asked for.
    pub path: String,
    /// The file on the gateway's disk; `None` for a file on the printer.
    pub local: Option<PathBuf>,
    /// Its path in the library, or on the printer's storage.
    pub stored: String,
    pub archive: bool,
    /// The plate that the listed entry stands for.
    pub plate: Option<u32>,
    /// The plate named at the upload of the archive.
    pub chosen_plate: Option<u32>,
    pub size: u64,
    pub uuid: String,
    /// Of the whole file, all plates; empty for files on the printer.
    pub metadata: FileMetadata,
}

impl Library {
    /// Refuses to touch what is being printed, or a folder that holds it.
    pub(super) fn refuse_in_use(&self, path: &str) -> Result<(), LibraryError> {
        let state = self.inner.printer.state();
        let Some(printing) = state.job.file.as_deref().filter(|_| state.job.phase.active()) else {
            return Ok(());
        };
        let index = self.index();
        let file = |path: &str| {
            index.find(path).map_or(path.to_owned(), |found| match found {
                Found::Directory => path.to_owned(),
                found => stored(&found).to_owned(),
            })
        };
        if names::is_below(&file(printing), &file(path)) {
            return Err(LibraryError::InUse(format!("\"{path}\" is being printed.")));
        }
        Ok(())
    }

    /// What the job room needs of a listed file.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub async fn job_file(&self, path: &str) -> Result<JobFile, LibraryError> {
        let path = names::clean(path)?;
        if names::remote_path(&path).is_some() {
            return self.remote_job_file(&path).await;
        }
        // What is checked before a start must be what the printer gets.
        self.notice(&path).await?;
        let (found, row) = self.read_row(&path).await?;
        let plate = match &found {
            Found::Plate { plate, .. } => Some(*plate),
            _ => None,
        };
        if row.size == 0 {
            return Err(LibraryError::BadFile("The file is empty.".to_owned()));
        }
        let file = stored(&found).to_owned();
        Ok(JobFile {
            path,
            local: Some(self.absolute(&file)),
            stored: file,
            archive: row.content == Content::Archive,
            plate,
            chosen_plate: row.chosen_plate,
            size: row.size,
            uuid: row.uuid,
            metadata: row.metadata.unwrap_or_default(),
        })
    }

    /// The path under which a plate of an archive is listed.
    pub fn plate_path(&self, archive: &str, plate: u32) -> Option<String> {
        self.index().row(archive)?.published.get(&plate).cloned()
    }

    /// Lower-case hex MD5 of any file on the gateway's disk.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn md5(&self, file: PathBuf) -> Result<String, LibraryError> {
        let relative =
            file.strip_prefix(&self.inner.root).ok().and_then(|path| path.to_str()).map(str::to_owned);
        let row = relative.as_deref().and_then(|path| self.index().row(path).cloned());
        let content = row.as_ref().map(|row| row.uuid.clone());
        if let Some(known) = row.and_then(|row| row.md5) {
            return Ok(known);
        }
        let md5 = self
            .run(move || disk::digest_of::<md5::Md5>(&file))
            .await?
            .map_err(|e| disk::failed("read the file", &e))?;
        if let Some(path) = relative
            && let Some(row) = self.index().row_mut(&path).filter(|row| Some(&row.uuid) == content.as_ref())
        {
            row.md5 = Some(md5.clone());
        }
        Ok(md5)
    }

    /// The plain G-code of a job wrapped into an archive (design D12), as a file of the cache.
    ///
    /// # Errors
    /// The file cannot be read or is too large, or the disk is full.
    pub async fn packaged(&self, job: &JobFile) -> Result<PathBuf, LibraryError> {
        let model = self.inner.printer.capabilities().slicer_names.first().cloned();
        let (root, name) = (
            self.inner.root.clone(),
            format!("{}-{}.gcode.3mf", job.uuid, model.as_deref().unwrap_or_default()),
        );
        let (local, metadata) = (job.local.clone().unwrap_or_default(), job.metadata.clone());
        self.check_free(job.size).await?;
        self.run(move || {
            disk::cached(&root, &name, |writer| {
                let mut file =
                    std::fs::File::open(&local).map_err(|error| disk::failed("read the file", &error))?;
                metadata::package::wrap(&mut file, &metadata, model.as_deref(), writer)
                    .map_err(disk::metadata_error)?;
                Ok(())
            })
        })
        .await?
    }

    /// The G-code of one plate of a job's archive, as a file of the cache.
    ///
    /// # Errors
    /// The archive is damaged or the disk is full.
    pub async fn plate_gcode(&self, job: &JobFile, plate: u32) -> Result<PathBuf, LibraryError> {
        let local = job.local.clone().ok_or_else(|| unknown(&job.path))?;
        self.unpacked(local, &format!("{}-{plate}.gcode", job.uuid), plate).await
    }

    /// Notes that a file is being printed.
    pub fn mark_started(&self, path: &str, plate: Option<u32>, at: UnixSeconds, job_id: &str) {
        let found = self.index().find(path);
        let (file, key) = match found {
            Some(Found::File(file)) => {
                let archive = names::content(&file) == Content::Archive;
                (file, if archive { plate.unwrap_or(0) } else { 0 })
            }
            Some(Found::Plate { archive, plate }) => (archive, plate),
            _ => return,
        };
        if let Some(row) = self.index().row_mut(&file) {
            row.prints.insert(key, (at, job_id.to_owned()));
        }
        self.keep(&file);
    }
}
