//! Records and bytes of entries.

use std::path::PathBuf;
use std::sync::Arc;

use super::index::{self, FileRow, Found, event};
use super::names::{self, Content};
use super::{Entry, FileRecord, Library, LibraryAction, LibraryError, LibraryEvent, disk};
use crate::metadata;

pub(super) fn unknown(path: &str) -> LibraryError {
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

    /// Takes notice of what somebody did to a file by hand: other content is read anew, a file that is gone is no longer
    /// listed.
    pub(super) async fn notice(&self, path: &str) -> Result<(), LibraryError> {
        self.ready().await;
        let file = match self.index().find(path) {
            None | Some(Found::Directory) => return Ok(()),
            Some(found) => stored(&found).to_owned(),
        };
        let absolute = self.absolute(&file);
        let looked = self.run(move || std::fs::symlink_metadata(absolute)).await?;
        match looked {
            Ok(data) => {
                let known = |row: &FileRow| row.is_content(data.len(), disk::modified(&data));
                if self.index().row(&file).is_some_and(|row| !known(row)) {
                    self.rescanned(&file).await?;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let _change = self.inner.changing.lock().await;
                // Not while it is being replaced.
                if !self.absolute(&file).exists() {
                    let (_row, events) = self.index().remove(&file);
                    self.tell(events);
                }
            }
            // Whoever reads the file tells why that fails.
            Err(_) => {}
        }
        Ok(())
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
    pub(super) async fn read_row(&self, path: &str) -> Result<(Found, FileRow), LibraryError> {
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
