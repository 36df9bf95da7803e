//! Folders, moves and deletions. Each is done on disk first, then in the index, then told.

use std::path::PathBuf;

use super::index::{self, Found, event};
use super::names::{self, Content};
use super::replace::Replaces;
use super::serve::stored;
use super::{Entry, Library, LibraryAction, LibraryError, LibraryEvent, disk};

pub(super) fn missing(path: &str) -> LibraryError {
    LibraryError::NotFound(format!("There is no file or folder \"{path}\"."))
}

impl Library {
    /// Makes a folder, and those above it.
    ///
    /// # Errors
    /// [`LibraryError::Exists`] where something of that name is.
    pub async fn make_directory(&self, path: &str) -> Result<Entry, LibraryError> {
        let (library, path) = (self.clone(), path.to_owned());
        self.to_its_end(async move { library.make_directory_now(&path).await }).await
    }

    async fn make_directory_now(&self, path: &str) -> Result<Entry, LibraryError> {
        if let Some(path) = names::on_printer(path) {
            return self.make_remote_directory(&path).await;
        }
        let path = names::clean_local(path)?;
        self.ready().await;
        let _change = self.inner.changing.lock().await;
        if self.index().find(&path).is_some() {
            return Err(LibraryError::Exists(format!("\"{path}\" exists already.")));
        }
        let modified = self.on_disk("create the folder", &path, std::fs::create_dir_all).await?;
        let entry = index::directory_entry(&path, modified);
        let mut events = {
            let mut index = self.index();
            let events = index.add_parents(&path, modified);
            index.add_directory(&path, modified);
            events
        };
        events.push(event(LibraryAction::CreateDirectory, entry.clone()));
        self.tell(events);
        Ok(entry)
    }

    /// Does something to a path on disk; returns its time of change afterwards, 0 if it is gone.
    pub(super) async fn on_disk(
        &self,
        what: &'static str,
        path: &str,
        work: impl FnOnce(PathBuf) -> std::io::Result<()> + Send + 'static,
    ) -> Result<f64, LibraryError> {
        let (root, path) = (self.inner.root.clone(), path.to_owned());
        self.run(move || {
            disk::check_parents(&root, &path)?;
            let absolute = root.join(&path);
            work(absolute.clone()).map_err(|error| disk::failed(what, &error))?;
            disk::sync_directory(absolute.parent().unwrap_or(&root));
            Ok(disk::stat(&absolute).map_or(0.0, |(_, modified)| modified))
        })
        .await?
    }

    /// Removes a folder; with `force` also one that holds files.
    ///
    /// # Errors
    /// [`LibraryError::Exists`] for a folder that is not empty, [`LibraryError::InUse`] for one that holds the file being
    /// printed.
    pub async fn remove_directory(&self, path: &str, force: bool) -> Result<Entry, LibraryError> {
        let (library, path) = (self.clone(), path.to_owned());
        self.to_its_end(async move { library.remove_directory_now(&path, force).await }).await
    }

    async fn remove_directory_now(&self, path: &str, force: bool) -> Result<Entry, LibraryError> {
        if let Some(path) = names::on_printer(path) {
            return self.remove_remote_directory(&path).await;
        }
        let path = names::clean_local(path)?;
        self.ready().await;
        let _change = self.inner.changing.lock().await;
        if self.index().find(&path) != Some(Found::Directory) {
            return Err(missing(&path));
        }
        let (files, folders) = {
            let index = self.index();
            (index.files_below(&path), index.directories_below(&path))
        };
        if !force && (!files.is_empty() || folders.len() > 1) {
            return Err(LibraryError::Exists(format!("The folder \"{path}\" is not empty.")));
        }
        self.refuse_in_use(&path)?;
        self.on_disk("remove the folder", &path, std::fs::remove_dir_all).await?;
        let mut events = Vec::new();
        {
            let mut index = self.index();
            for file in &files {
                index.remove(file);
            }
            for folder in &folders {
                index.remove_directory(folder);
            }
        }
        for file in &files {
            self.forget(file);
        }
        let entry = index::directory_entry(&path, 0.0);
        events.push(event(LibraryAction::DeleteDirectory, entry.clone()));
        self.tell(events);
        Ok(entry)
    }

    /// Deletes a file. Of an archive with several plates a published plate is only taken off the list; with its last
    /// plate goes the archive.
    ///
    /// # Errors
    /// [`LibraryError::InUse`] for the file being printed.
    pub async fn delete(&self, path: &str) -> Result<Entry, LibraryError> {
        let (library, path) = (self.clone(), path.to_owned());
        self.to_its_end(async move { library.delete_now(&path).await }).await
    }

    async fn delete_now(&self, path: &str) -> Result<Entry, LibraryError> {
        let path = names::clean(path)?;
        if names::remote_path(&path).is_some() {
            return self.delete_remote(&path).await;
        }
        self.ready().await;
        let _change = self.inner.changing.lock().await;
        let (found, entry) = {
            let index = self.index();
            (
                index.find(&path).ok_or_else(|| missing(&path))?,
                index.entry(&path).ok_or_else(|| missing(&path))?,
            )
        };
        self.refuse_in_use(&path)?;
        let entry = Entry { size: 0, modified: 0.0, ..entry };
        match &found {
            Found::Directory => return Err(LibraryError::BadName(format!("\"{path}\" is a folder."))),
            Found::Plate { archive, plate } if self.plates_listed(archive) > 1 => self.hide(archive, *plate),
            found => self.delete_file(stored(found)).await?,
        }
        Ok(entry)
    }

    fn plates_listed(&self, archive: &str) -> usize {
        self.index().row(archive).map_or(0, |row| row.published.len())
    }

    fn hide(&self, archive: &str, plate: u32) {
        let events = {
            let mut index = self.index();
            let Some(mut row) = index.row(archive).cloned() else { return };
            row.hidden.insert(plate);
            index.put(archive, row)
        };
        self.keep(archive);
        self.tell(events);
    }

    async fn delete_file(&self, file: &str) -> Result<(), LibraryError> {
        let Some(row) = self.index().row(file).cloned() else { return Err(missing(file)) };
        let pictures = row.pictures();
        self.on_disk("delete the file", file, move |path| {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            remove_pictures(&path, &pictures);
            Ok(())
        })
        .await?;
        let (gone, mut events) = self.index().remove(file);
        if let Some(row) = gone {
            let entry = Entry { size: 0, modified: 0.0, ..row.entry(file) };
            events.insert(0, event(LibraryAction::DeleteFile, entry));
        }
        self.forget(file);
        self.tell(events);
        Ok(())
    }

    /// Moves a file or directory; into `to` where that is a directory. Returns the new entry.
    ///
    /// # Errors
    /// [`LibraryError::InUse`] for what is being printed, also at the destination; [`LibraryError::Exists`] for a
    /// destination that is taken, unless it is a file that was named and that another file replaces.
    pub async fn rename(&self, from: &str, to: &str) -> Result<Entry, LibraryError> {
        let (library, from, to) = (self.clone(), from.to_owned(), to.to_owned());
        self.to_its_end(async move { library.rename_now(&from, &to).await }).await
    }

    async fn rename_now(&self, from: &str, to: &str) -> Result<Entry, LibraryError> {
        if names::on_printer(from).is_some() || names::on_printer(to).is_some() {
            return self.rename_remote(&names::clean(from)?, &names::clean_directory(to)?).await;
        }
        let from = names::clean_local(from)?;
        self.ready().await;
        let _change = self.inner.changing.lock().await;
        let found = self.index().find(&from).ok_or_else(|| missing(&from))?;
        self.refuse_in_use(&from)?;
        let file = matches!(found, Found::File(_));
        let replaces = if file { Replaces::ByName } else { Replaces::Nothing };
        let to = self.destination(&from, to, replaces)?;
        match found {
            Found::Directory => self.move_directory(&from, &to).await,
            Found::File(_) => {
                same_content(&from, &to)?;
                self.move_file(&from, &to).await
            }
            Found::Plate { archive, plate } => self.move_plate(&from, &to, &archive, plate).await,
        }
    }

    async fn move_directory(&self, from: &str, to: &str) -> Result<Entry, LibraryError> {
        if names::is_below(to, from) {
            return Err(LibraryError::BadName(format!("\"{from}\" cannot be moved into itself.")));
        }
        let modified = self.move_on_disk(from, to).await?;
        let moved = |path: &str| format!("{to}{}", path.strip_prefix(from).unwrap_or_default());
        let files = self.index().files_below(from);
        {
            let mut index = self.index();
            for folder in index.directories_below(from) {
                index.remove_directory(&folder);
                index.add_directory(&moved(&folder), modified);
            }
            for file in &files {
                let (row, _) = index.remove(file);
                if let Some(mut row) = row {
                    for path in row.published.values_mut() {
                        *path = moved(path);
                    }
                    index.put(&moved(file), row);
                }
            }
        }
        for file in &files {
            self.forget(file);
            self.keep(&moved(file));
        }
        let entry = index::directory_entry(to, modified);
        self.tell([LibraryEvent {
            source: Some(from.to_owned()),
            ..event(LibraryAction::MoveDirectory, entry.clone())
        }]);
        Ok(entry)
    }

    async fn move_on_disk(&self, from: &str, to: &str) -> Result<f64, LibraryError> {
        let source = self.absolute(from);
        let (root, checked) = (self.inner.root.clone(), from.to_owned());
        self.run(move || disk::check_parents(&root, &checked)).await??;
        self.on_disk("move", to, move |to| {
            std::fs::rename(&source, to)?;
            disk::sync_directory(source.parent().unwrap_or(&source));
            Ok(())
        })
        .await
    }

    async fn move_file(&self, from: &str, to: &str) -> Result<Entry, LibraryError> {
        let modified = self.move_on_disk(from, to).await?;
        let displaced = self.displace(to).await;
        let pictures = self.move_pictures(from, to).await;
        let (entry, mut events) = {
            let mut index = self.index();
            let (row, mut events) = index.remove(from);
            events.extend(displaced);
            let Some(mut row) = row else { return Err(missing(from)) };
            row.published.clear();
            row.modified = modified;
            row.thumbnails = pictures;
            let entry = row.entry(to);
            events.extend(index.put(to, row));
            (entry, events)
        };
        self.forget(from);
        self.keep(to);
        let told =
            LibraryEvent { source: Some(from.to_owned()), ..event(LibraryAction::MoveFile, entry.clone()) };
        events.insert(0, told);
        self.keep_displaced(&events);
        self.tell(events);
        Ok(entry)
    }

    /// The pictures follow their file under its new name; one that cannot is left out.
    async fn move_pictures(
        &self,
        from: &str,
        to: &str,
    ) -> std::collections::BTreeMap<u32, Vec<index::Picture>> {
        let mut pictures = self.index().row(from).map(|row| row.thumbnails.clone()).unwrap_or_default();
        let folder = |path: &str| self.absolute(names::split(path).0).join(names::THUMBNAILS);
        let (old, new, name) = (folder(from), folder(to), names::split(to).1.to_owned());
        let moving = self.run(move || {
            for (plate, set) in &mut pictures {
                set.retain_mut(|picture| {
                    let plate = (*plate > 0).then_some(*plate);
                    let fresh = names::thumbnail_name(&name, plate, picture.width, picture.height);
                    let moved = std::fs::create_dir_all(&new)
                        .and_then(|()| std::fs::rename(old.join(&picture.name), new.join(&fresh)));
                    picture.name = fresh;
                    moved.is_ok()
                });
            }
            pictures
        });
        moving.await.unwrap_or_default()
    }

    /// Within its folder a plate gets another name; out of it goes the archive, if it holds no other plate.
    async fn move_plate(
        &self,
        from: &str,
        to: &str,
        archive: &str,
        plate: u32,
    ) -> Result<Entry, LibraryError> {
        same_content(from, to)?;
        if names::split(from).0 != names::split(to).0 {
            if self.plates_listed(archive) > 1 {
                return Err(LibraryError::BadName(format!(
                    "\"{from}\" is one plate of \"{archive}\": move the archive instead."
                )));
            }
            let beside = names::join(names::split(to).0, names::split(archive).1);
            if self.index().find(&beside).is_some() {
                return Err(LibraryError::Exists(format!("\"{beside}\" exists already.")));
            }
            self.move_file(archive, &beside).await?;
            let listed = self.index().row(&beside).and_then(|row| row.published.get(&plate).cloned());
            return match listed {
                Some(listed) if listed != to => self.name_plate(&listed, to, &beside, plate),
                _ => self.index().entry(to).ok_or_else(|| missing(to)),
            };
        }
        self.name_plate(from, to, archive, plate)
    }

    fn name_plate(&self, from: &str, to: &str, archive: &str, plate: u32) -> Result<Entry, LibraryError> {
        let entry = {
            let mut index = self.index();
            let Some(mut row) = index.row(archive).cloned() else { return Err(missing(archive)) };
            row.published.insert(plate, to.to_owned());
            let old = index.row(archive).cloned();
            index.put(archive, row);
            match index.entry(to) {
                Some(entry) => entry,
                None => {
                    if let Some(old) = old {
                        index.put(archive, old);
                    }
                    return Err(LibraryError::Exists(format!("\"{to}\" exists already.")));
                }
            }
        };
        self.keep(archive);
        let told =
            LibraryEvent { source: Some(from.to_owned()), ..event(LibraryAction::MoveFile, entry.clone()) };
        self.tell([told]);
        Ok(entry)
    }
}

pub(super) fn same_content(from: &str, to: &str) -> Result<(), LibraryError> {
    if names::content(from) == names::content(to) || names::content(from) == Content::Other {
        return Ok(());
    }
    Err(LibraryError::BadName(format!(
        "\"{}\" needs the same ending as \"{}\": the content stays what it is.",
        names::split(to).1,
        names::split(from).1
    )))
}

pub(super) fn remove_pictures(file: &std::path::Path, names: &[String]) {
    let Some(folder) = file.parent().map(|parent| parent.join(names::THUMBNAILS)) else { return };
    for name in names {
        if let Err(error) = std::fs::remove_file(folder.join(name)) {
            tracing::debug!(name, %error, "A picture stays.");
        }
    }
    // Only an empty folder goes.
    drop(std::fs::remove_dir(folder));
}
