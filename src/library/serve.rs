//! Records and bytes of entries, and what the job room asks of a file.

use std::path::PathBuf;
use std::sync::Arc;

use super::index::{self, FileRow, Found, event};
use super::names::{self, Content};
use super::{Entry, FileRecord, Library, LibraryAction, LibraryError, LibraryEvent, disk};
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

fn unknown(path: &str) -> LibraryError {
    LibraryError::NotFound(format!("There is no file \"{path}\"."))
}

impl Library {
    /// The record of a printable file, or of an archive.
    ///
    /// # Errors
    /// [`LibraryError::NotFound`], [`LibraryError::BadFile`] with the reason why it cannot be printed.
    pub async fn record(&self, path: &str) -> Result<Arc<FileRecord>, LibraryError> {
        let path = names::clean(path)?;
        if names::remote_path(&path).is_some() {
            return self.remote_record(&path).map(Arc::new);
        }
        let (found, row) = self.read_row(&path).await?;
        let (plate, metadata) = match &found {
            Found::Plate { plate, .. } => {
                (Some(*plate), row.metadata.as_ref().map(|m| index::of_plate(m, *plate)))
            }
            _ => (None, row.metadata.clone()),
        };
        let entry = self.index().entry(&path).ok_or_else(|| unknown(&path))?;
        let print = row.prints.get(&plate.unwrap_or(0));
        Ok(Arc::new(FileRecord {
            entry,
            uuid: match plate {
                Some(plate) if row.published.len() > 1 => format!("{}-{plate}", row.uuid),
                _ => row.uuid.clone(),
            },
            metadata: metadata.unwrap_or_default(),
            thumbnails: row.thumbnail_entries(plate),
            plate,
            source: self.absolute(stored(&found)),
            print_start_time: print.map(|print| print.0),
            job_id: print.map(|print| print.1.clone()),
        }))
    }

    /// Extracts the record anew.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub async fn rescan(&self, path: &str) -> Result<Arc<FileRecord>, LibraryError> {
        let clean = names::clean(path)?;
        if names::remote_path(&clean).is_some() {
            return self.record(path).await;
        }
        self.ready().await;
        let file = self.rescanned(&clean).await?;
        self.look_into(&file).await?;
        self.record(path).await
    }

    /// Forgets what is known of a file's content, or takes in one that was put there by hand.
    async fn rescanned(&self, path: &str) -> Result<String, LibraryError> {
        let _change = self.inner.changing.lock().await;
        let found = self.index().find(path);
        let file = match found {
            Some(Found::Directory) => return Err(unknown(path)),
            Some(found) => stored(&found).to_owned(),
            None => path.to_owned(),
        };
        let absolute = self.absolute(&file);
        let root = self.inner.root.clone();
        let parents = file.clone();
        let (size, modified) = self
            .run(move || {
                disk::check_parents(&root, &parents)?;
                match std::fs::symlink_metadata(&absolute) {
                    Ok(data) if data.is_file() => Ok((data.len(), disk::modified(&data))),
                    _ => Err(unknown(&parents)),
                }
            })
            .await??;
        let fresh = FileRow::new(names::content(&file), size, modified);
        let mut index = self.index();
        let events = match index.row_mut(&file) {
            Some(row) => {
                let same = row.is_content(size, modified);
                row.metadata = None;
                row.problem = None;
                if !same {
                    (row.size, row.modified, row.uuid, row.md5) = (size, modified, fresh.uuid, None);
                }
                Vec::new()
            }
            None => {
                let mut events = index.add_parents(&file, modified);
                events.push(event(LibraryAction::CreateFile, fresh.entry(&file)));
                events.extend(index.put(&file, fresh));
                events
            }
        };
        drop(index);
        self.tell(events);
        Ok(file)
    }

    /// A file on disk with the bytes of an entry: G-code text for a published plate, a PNG for `.thumbs/` paths, a
    /// fetched copy for files on the printer.
    ///
    /// # Errors
    /// [`LibraryError::NotFound`], [`LibraryError::BadFile`] for damaged archives, [`LibraryError::Offline`].
    pub async fn open(&self, path: &str) -> Result<PathBuf, LibraryError> {
        if let Some(picture) = self.picture(path)? {
            return Ok(picture);
        }
        let path = names::clean(path)?;
        if names::remote_path(&path).is_some() {
            return self.open_remote(&path).await;
        }
        self.ready().await;
        let found = self.index().find(&path).ok_or_else(|| unknown(&path))?;
        match found {
            Found::Directory => Err(unknown(&path)),
            Found::File(file) => {
                let root = self.inner.root.clone();
                self.run(move || disk::check_parents(&root, &file).map(|()| root.join(file))).await?
            }
            Found::Plate { archive, plate } => {
                let uuid =
                    self.index().row(&archive).map(|row| row.uuid.clone()).ok_or_else(|| unknown(&path))?;
                self.unpacked(self.absolute(&archive), &format!("{uuid}-{plate}.gcode"), plate).await
            }
        }
    }

    /// The G-code of one plate as a file of the cache.
    pub(super) async fn unpacked(
        &self,
        archive: PathBuf,
        cache_name: &str,
        plate: u32,
    ) -> Result<PathBuf, LibraryError> {
        let (root, name) = (self.inner.root.clone(), cache_name.to_owned());
        self.run(move || {
            disk::cached(&root, &name, |writer| {
                let file = std::fs::File::open(&archive)
                    .map_err(|error| disk::failed("read the archive", &error))?;
                let mut file = std::io::BufReader::new(file);
                metadata::extract_plate(&mut file, plate, writer).map_err(disk::metadata_error)?;
                Ok(())
            })
        })
        .await?
    }

    /// `Some` for a picture in a `.thumbs` folder.
    fn picture(&self, path: &str) -> Result<Option<PathBuf>, LibraryError> {
        let (directory, name) = names::split(path);
        let (parent, folder) = names::split(directory);
        if folder != names::THUMBNAILS {
            return Ok(None);
        }
        let (parent, name) = (names::clean_directory(parent)?, names::clean(name)?);
        let relative = names::join(&names::join(&parent, names::THUMBNAILS), &name);
        let absolute = self.absolute(&relative);
        match std::fs::symlink_metadata(&absolute) {
            Ok(data) if data.is_file() => Ok(Some(absolute)),
            _ => Err(unknown(path)),
        }
    }

    /// The row behind a listed path, looked into if nobody did yet.
    async fn read_row(&self, path: &str) -> Result<(Found, FileRow), LibraryError> {
        self.ready().await;
        let found = match self.index().find(path) {
            None | Some(Found::Directory) => return Err(unknown(path)),
            Some(found) => found,
        };
        let file = stored(&found).to_owned();
        if self.index().row(&file).is_some_and(FileRow::unread) {
            self.look_into(&file).await?;
        }
        let row = self.index().row(&file).cloned().ok_or_else(|| unknown(path))?;
        match (&row.problem, row.content) {
            (Some(problem), _) => Err(LibraryError::BadFile(problem.clone())),
            (None, Content::Other) => {
                Err(LibraryError::BadFile(format!("\"{path}\" is no file for printing.")))
            }
            (None, _) => Ok((found, row)),
        }
    }

    /// Extracts a file's record, once.
    pub(super) async fn look_into(&self, file: &str) -> Result<(), LibraryError> {
        let _one = self.inner.extracting.lock().await;
        let Some(row) = self.index().row(file).filter(|row| row.unread()).cloned() else { return Ok(()) };
        let absolute = self.absolute(file);
        let (directory, name) = names::split(file);
        let (directory, name) = (self.absolute(directory), name.to_owned());
        let work = move || {
            let extracted = disk::extract(&absolute, row.content)?;
            let pictures = disk::write_pictures(&directory, &name, extracted.pictures)
                .inspect_err(|error| tracing::warn!(%error, "The pictures of a file cannot be stored."))
                .unwrap_or_default();
            Ok((extracted.metadata, pictures))
        };
        let result = self.run(work).await?;
        if let Err(error @ (LibraryError::Failed(_) | LibraryError::Full(_) | LibraryError::NotFound(_))) =
            result
        {
            return Err(error);
        }
        let events = {
            let mut index = self.index();
            let Some(mut row) = index.row(file).filter(|row| row.unread()).cloned() else { return Ok(()) };
            match &result {
                Ok((metadata, pictures)) => {
                    row.metadata = Some(metadata.clone());
                    row.thumbnails = pictures.clone();
                }
                Err(error) => row.problem = Some(error.to_string()),
            }
            let entry = row.entry(file);
            let mut events = vec![event(LibraryAction::ModifyFile, entry)];
            events.extend(index.put(file, row));
            events
        };
        self.keep(file);
        self.keep_displaced(&events);
        self.tell(events);
        result.map(drop)
    }

    /// Remembers the rows of archives whose plates got other names.
    pub(super) fn keep_displaced(&self, events: &[LibraryEvent]) {
        for event in events.iter().filter(|event| event.action == LibraryAction::MoveFile) {
            let found = self.index().find(&event.entry.path);
            if let Some(Found::Plate { archive, .. }) = found {
                self.keep(&archive);
            }
        }
    }

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

/// The path of the file on disk.
pub(super) fn stored(found: &Found) -> &str {
    match found {
        Found::File(path) => path,
        Found::Plate { archive, .. } => archive,
        Found::Directory => "",
    }
}

impl index::Index {
    /// What of a file can be printed; a plate asked for comes first.
    pub(super) fn printable_of(&self, path: &str, plate: Option<u32>) -> Vec<Entry> {
        let Some(row) = self.row(path) else { return Vec::new() };
        if row.content == Content::Gcode {
            return vec![row.entry(path)];
        }
        let mut plates: Vec<(&u32, &String)> = row.published.iter().collect();
        plates.sort_by_key(|(number, _)| (Some(**number) != plate, **number));
        plates.into_iter().map(|(number, path)| row.plate_entry(path, *number)).collect()
    }
}
