//! Folders, moves and new names on the printer's own storage. The printer does it first, then the cached listing shows
//! it: nothing is listed anew for it (bambu.md T26).

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::listing::Listed;
use super::names::{self, Content};
use super::remote::file_error;
use super::{Entry, EntryKind, Library, LibraryError};
use crate::printer::{FileError, RemoteFile};

/// A short operation on the printer's storage is given up after this.
const DEADLINE: Duration = Duration::from_secs(60);

impl Library {
    /// Makes a folder on the printer's storage.
    pub(super) async fn make_remote_directory(&self, path: &str) -> Result<Entry, LibraryError> {
        self.remote_root_known().await?;
        let stored = self.free_remote(path)?;
        self.at_printer("make the folder", |files| files.make_directory(stored.clone())).await?;
        let made = RemoteFile { path: stored, directory: true, ..RemoteFile::default() };
        self.change_listing(|files| files.push(made));
        self.remote_entry(path)
    }

    /// Removes an empty folder of the printer's storage; never one that holds files, whatever was asked.
    pub(super) async fn remove_remote_directory(&self, path: &str) -> Result<Entry, LibraryError> {
        self.remote_root_known().await?;
        let listed = self.any_listed(path)?;
        if listed.entry.kind != EntryKind::Directory {
            return Err(LibraryError::NotFound(format!("\"{path}\" is no folder.")));
        }
        if self.remote_entries().iter().any(|entry| names::split(&entry.path).0 == path) {
            return Err(LibraryError::Exists(format!("The folder \"{path}\" on the printer is not empty.")));
        }
        self.at_printer("remove the folder", |files| files.remove_directory(listed.stored.clone())).await?;
        self.forget_remote(&listed.stored);
        Ok(Entry { size: 0, modified: 0.0, ..listed.entry })
    }

    /// Moves or renames a file or folder within the printer's storage.
    pub(super) async fn rename_remote(&self, from: &str, to: &str) -> Result<Entry, LibraryError> {
        if names::remote_path(from).is_none() || names::remote_path(to).is_none() {
            return Err(LibraryError::BadName(
                "Files do not move between the gateway and the printer: print one to send it there, download one \
                 to have it here."
                    .to_owned(),
            ));
        }
        self.remote_root_known().await?;
        let listed = self.any_listed(from)?;
        self.refuse_printing(from, &listed)?;
        let into = self.any_listed(to).is_ok_and(|there| there.entry.kind == EntryKind::Directory);
        let to =
            if into || to == names::PRINTER { names::join(to, names::split(from).1) } else { to.to_owned() };
        let stored = renamed(&listed, &self.free_remote(&to)?)?;
        let old = listed.stored.clone();
        self.at_printer("move the file", |files| files.rename(old.clone(), stored.clone())).await?;
        self.change_listing(|files| {
            for file in files.iter_mut() {
                let path = file.path.trim_start_matches('/');
                if names::is_below(path, old.trim_start_matches('/')) {
                    let rest = path.get(old.trim_start_matches('/').len()..).unwrap_or_default();
                    file.path = format!("{stored}{rest}");
                }
            }
        });
        self.remote_entry(&to)
    }

    /// The path on the storage for something new, in a folder that exists.
    fn free_remote(&self, path: &str) -> Result<String, LibraryError> {
        let stored = names::remote_path(path).filter(|stored| !stored.is_empty());
        let stored =
            stored.ok_or_else(|| LibraryError::BadName(format!("\"{path}\" cannot be replaced.")))?;
        if self.any_listed(path).is_ok() {
            return Err(LibraryError::Exists(format!("\"{path}\" exists already.")));
        }
        let parent = names::split(path).0;
        let there = parent == names::PRINTER
            || self.any_listed(parent).is_ok_and(|listed| listed.entry.kind == EntryKind::Directory);
        if there {
            Ok(stored.to_owned())
        } else {
            Err(LibraryError::NoFolder(format!("There is no folder \"{parent}\" on the printer.")))
        }
    }

    fn remote_entry(&self, path: &str) -> Result<Entry, LibraryError> {
        self.any_listed(path).map(|listed| listed.entry)
    }

    async fn at_printer(
        &self,
        what: &str,
        operation: impl FnOnce(&dyn crate::printer::PrinterFiles) -> BoxFuture<'_, Result<(), FileError>>,
    ) -> Result<(), LibraryError> {
        if !self.files_caps().arrange {
            return Err(LibraryError::Unsupported(
                "This printer does not arrange its files by command.".to_owned(),
            ));
        }
        let files = self.inner.printer.files().clone();
        let late = |_late| LibraryError::Failed(format!("The printer did not {what} in time."));
        tokio::time::timeout(DEADLINE, operation(&*files)).await.map_err(late)?.map_err(file_error)
    }
}

/// Where a file goes on the storage: an archive that is shown as G-code keeps the ending it has there.
fn renamed(listed: &Listed, to: &str) -> Result<String, LibraryError> {
    if listed.entry.kind == EntryKind::Directory {
        return Ok(to.to_owned());
    }
    let shown = names::content(&listed.entry.path);
    if names::content(to) != shown {
        return Err(LibraryError::BadName("The new name must keep the file's ending.".to_owned()));
    }
    if listed.archive && shown == Content::Gcode {
        let (folder, name) = names::split(to);
        let ending = listed.stored.get(names::stem(&listed.stored).len()..).unwrap_or(".3mf");
        return Ok(names::join(folder, &names::with_suffix(names::stem(name), ending)));
    }
    Ok(to.to_owned())
}
