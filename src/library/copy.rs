//! Copies of files and folders: on disk first, then in the index, then told.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::change::{missing, same_content};
use super::index::{self, FileRow, Found, event};
use super::names;
use super::replace::Replaces;
use super::serve::stored;
use super::{Entry, Library, LibraryAction, LibraryError, disk};

impl Library {
    /// Copies a file or folder; into `to` where that is a folder. Of an archive's published plate the archive, with
    /// that plate alone on the list. Returns the new entry.
    ///
    /// # Errors
    /// [`LibraryError::Exists`] for a destination that is taken by anything but a file, [`LibraryError::InUse`] for a
    /// file there that is being printed, [`LibraryError::Full`].
    pub async fn copy(&self, from: &str, to: &str) -> Result<Entry, LibraryError> {
        let (library, from, to) = (self.clone(), from.to_owned(), to.to_owned());
        self.to_its_end(async move { library.copy_now(&from, &to).await }).await
    }

    async fn copy_now(&self, from: &str, to: &str) -> Result<Entry, LibraryError> {
        let from = names::clean_local(from)?;
        self.ready().await;
        let _change = self.inner.changing.lock().await;
        let found = self.index().find(&from).ok_or_else(|| missing(&from))?;
        let file = matches!(found, Found::File(_));
        let replaces = if file { Replaces::AnyFile } else { Replaces::Nothing };
        let to = self.destination(&from, to, replaces)?;
        match &found {
            Found::Directory => self.copy_directory(&from, &to).await,
            Found::File(file) => {
                same_content(&from, &to)?;
                self.copy_file(file, &to, None).await
            }
            Found::Plate { plate, .. } => {
                same_content(&from, &to)?;
                let to = names::with_suffix(names::stem(&to), ".gcode.3mf");
                if self.index().find(&to).is_some() {
                    return Err(LibraryError::Exists(format!("\"{to}\" exists already.")));
                }
                self.copy_file(stored(&found), &to, Some(*plate)).await
            }
        }
    }

    async fn copy_file(&self, source: &str, to: &str, only: Option<u32>) -> Result<Entry, LibraryError> {
        let Some(row) = self.index().row(source).cloned() else { return Err(missing(source)) };
        self.check_free(row.size).await?;
        let known = self.index().row(to).is_some();
        let (incoming, copied) = (self.absolute(names::INCOMING), self.absolute(source));
        let modified = self
            .on_disk("copy the file", to, move |to| {
                let temporary = tempfile::NamedTempFile::new_in(incoming)?;
                fs::copy(copied, temporary.path())?;
                temporary.as_file().sync_all()?;
                // A file that nobody has listed yet is not replaced.
                let placed = if known { temporary.persist(to) } else { temporary.persist_noclobber(to) };
                placed.map(drop).map_err(|error| error.error)
            })
            .await?;
        let mut row = of_its_own(row, modified);
        row.published.clear();
        row.thumbnails.clear();
        if let Some(only) = only {
            let others = row.metadata.take().unwrap_or_default().plates;
            row.hidden = others.iter().map(|plate| plate.index).filter(|plate| *plate != only).collect();
            row.chosen_plate = Some(only);
        }
        // Extracted again for pictures of its own.
        row.metadata = None;
        let action = if known { LibraryAction::ModifyFile } else { LibraryAction::CreateFile };
        let mut events = self.displace(to).await;
        events.push(event(action, row.entry(to)));
        events.extend(self.index().put(to, row));
        self.tell(events);
        self.look_into(to).await?;
        let listed =
            only.and_then(|only| self.index().row(to).and_then(|row| row.published.get(&only).cloned()));
        let shown = listed.as_deref().unwrap_or(to);
        self.index().entry(shown).ok_or_else(|| missing(shown))
    }

    /// The whole tree appears at once: it is made beside the library and then moved into place.
    async fn copy_directory(&self, from: &str, to: &str) -> Result<Entry, LibraryError> {
        if names::is_below(to, from) {
            return Err(LibraryError::BadName(format!("\"{from}\" cannot be copied into itself.")));
        }
        let copied = |path: &str| format!("{to}{}", path.strip_prefix(from).unwrap_or_default());
        let tree = self.tree(from);
        for path in tree.folders.iter().chain(tree.rows.iter().map(|(path, _)| path)) {
            names::clean_local(&copied(path))?;
        }
        self.check_free(tree.rows.iter().map(|(_, row)| row.size).sum()).await?;
        let (incoming, source, parts) =
            (self.absolute(names::INCOMING), self.absolute(from), tree.parts(from));
        let modified = self
            .on_disk("copy the folder", to, move |to| {
                let temporary = tempfile::tempdir_in(incoming)?;
                let made = temporary.path().join("copy");
                copy_tree(&source, &made, &parts)?;
                fs::rename(made, to)
            })
            .await?;
        let mut events = Vec::new();
        {
            let mut index = self.index();
            for folder in &tree.folders {
                index.add_directory(&copied(folder), modified);
                let entry = index::directory_entry(&copied(folder), modified);
                events.push(event(LibraryAction::CreateDirectory, entry));
            }
            for (path, row) in &tree.rows {
                let Ok((_, modified)) = disk::stat(&self.absolute(&copied(path))) else { continue };
                let mut row = of_its_own(row.clone(), modified);
                row.published.values_mut().for_each(|listed| *listed = copied(listed));
                events.push(event(LibraryAction::CreateFile, row.entry(&copied(path))));
                events.extend(index.put(&copied(path), row));
            }
        }
        for (path, _) in &tree.rows {
            self.keep(&copied(path));
        }
        self.tell(events);
        Ok(index::directory_entry(to, modified))
    }

    fn tree(&self, folder: &str) -> Tree {
        let index = self.index();
        let mut folders = index.directories_below(folder);
        folders.sort();
        let rows = index.files_below(folder).into_iter();
        let rows = rows.filter_map(|path| index.row(&path).cloned().map(|row| (path, row))).collect();
        Tree { folders, rows }
    }
}

/// A folder as the index knows it, itself and what lies above first.
struct Tree {
    folders: Vec<String>,
    rows: Vec<(String, FileRow)>,
}

/// The same, relative to the folder.
struct Parts {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
    pictures: Vec<PathBuf>,
}

impl Tree {
    fn parts(&self, from: &str) -> Parts {
        let below =
            |path: &str| PathBuf::from(path.strip_prefix(from).unwrap_or_default().trim_start_matches('/'));
        let pictures = self.rows.iter().flat_map(|(path, row)| {
            let folder = below(path).parent().unwrap_or(Path::new("")).join(names::THUMBNAILS);
            row.thumbnails.values().flatten().map(move |picture| folder.join(&picture.name))
        });
        Parts {
            folders: self.folders.iter().map(|path| below(path)).collect(),
            files: self.rows.iter().map(|(path, _)| below(path)).collect(),
            pictures: pictures.collect(),
        }
    }
}

fn copy_tree(source: &Path, made: &Path, parts: &Parts) -> io::Result<()> {
    for folder in &parts.folders {
        fs::create_dir_all(made.join(folder))?;
    }
    for file in &parts.files {
        let target = made.join(file);
        fs::copy(source.join(file), &target)?;
        fs::File::open(&target)?.sync_all()?;
    }
    for picture in &parts.pictures {
        let target = made.join(picture);
        let folder = target.parent().map_or(Ok(()), fs::create_dir_all);
        if let Err(error) = folder.and_then(|()| fs::copy(source.join(picture), &target)) {
            tracing::debug!(?picture, %error, "A picture was not copied.");
        }
    }
    Ok(())
}

/// The row of a copy: the content is the same, its prints are not.
fn of_its_own(mut row: FileRow, modified: f64) -> FileRow {
    row.modified = modified;
    row.uuid = uuid::Uuid::new_v4().to_string();
    row.prints.clear();
    row
}
