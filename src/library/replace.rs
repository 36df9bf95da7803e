//! Where a moved or copied file goes, and what becomes of the one that was there.

use super::change::remove_pictures;
use super::index::Found;
use super::{Library, LibraryError, LibraryEvent, names};

/// Which files a file may replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replaces {
    Nothing,
    /// One that was named as the destination, not one that happens to have that name in the folder.
    ByName,
    AnyFile,
}

impl Library {
    /// Where a file or folder goes: into `to` where that is a folder. A file takes the place of another one as it does
    /// at Moonraker (file_manager.py: `shutil.move`, `shutil.copy2`), a folder or a plate of an archive never.
    pub(super) fn destination(
        &self,
        from: &str,
        to: &str,
        replaces: Replaces,
    ) -> Result<String, LibraryError> {
        let to = names::clean_directory(to)?;
        let into = self.index().is_directory(&to);
        let to = if into { names::join(&to, names::split(from).1) } else { to };
        let to = names::clean_local(&to)?;
        let taken = self.index().find(&to);
        let may = match replaces {
            Replaces::Nothing => false,
            Replaces::ByName => !into,
            Replaces::AnyFile => true,
        };
        match taken {
            None => {}
            Some(Found::File(_)) if may && to != from => self.refuse_in_use(&to)?,
            Some(_) => return Err(LibraryError::Exists(format!("\"{to}\" exists already."))),
        }
        let parent = names::split(&to).0;
        if !self.index().is_directory(parent) {
            return Err(LibraryError::NoFolder(format!("There is no folder \"{parent}\".")));
        }
        Ok(to)
    }

    /// What is known of a file in whose place another one was just put goes, with its pictures and plates.
    pub(super) async fn displace(&self, path: &str) -> Vec<LibraryEvent> {
        let (gone, events) = self.index().remove(path);
        if let Some(row) = gone {
            let pictures = row.pictures();
            let file = self.absolute(path);
            drop(self.run(move || remove_pictures(&file, &pictures)).await);
            self.forget(path);
        }
        events
    }
}
