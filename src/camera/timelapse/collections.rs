//! Archives that a user had made of recordings: kept beside them until the user deletes them.

use std::io;
use std::path::PathBuf;

use tokio::fs;

use super::{Timelapses, entries};
use crate::model::UnixSeconds;

const SUFFIX: &str = ".zip";
/// Bytes of a name.
const LONGEST: usize = 255;

/// One archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Collection {
    pub name: String,
    pub bytes: u64,
    pub modified: UnixSeconds,
}

impl Timelapses {
    /// All archives; a missing folder is an empty list.
    ///
    /// # Errors
    /// The disk's error.
    pub async fn collections(&self) -> io::Result<Vec<Collection>> {
        let mut found = Vec::new();
        let Some(mut entries) = entries(&self.inner.folder).await? else { return Ok(found) };
        while let Some(entry) = entries.next_entry().await? {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Ok(data) = entry.metadata().await else { continue };
            if plain(&name) && data.is_file() {
                let since = data.modified()?.duration_since(std::time::UNIX_EPOCH);
                let modified = since.map_or(0.0, |since| since.as_secs_f64());
                found.push(Collection { name, bytes: data.len(), modified });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Where an archive lies.
    ///
    /// # Errors
    /// A bad name, or no such archive.
    pub async fn collection(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.collection_path(name)?;
        if fs::symlink_metadata(&path).await?.is_file() { Ok(path) } else { Err(unknown()) }
    }

    /// Takes an archive in; one of that name is replaced.
    ///
    /// # Errors
    /// A bad name, or the disk's error.
    pub async fn keep_collection(&self, name: &str, mut archive: fs::File) -> io::Result<Collection> {
        let path = self.collection_path(name)?;
        fs::create_dir_all(&self.inner.folder).await?;
        let _one_at_a_time = self.inner.encoding.lock().await;
        let temporary = self.inner.folder.join("collection.part");
        let mut file = fs::File::create(&temporary).await?;
        tokio::io::copy(&mut archive, &mut file).await?;
        file.sync_all().await?;
        fs::rename(&temporary, &path).await?;
        let known = self.collections().await?;
        known.into_iter().find(|known| known.name == name).ok_or_else(unknown)
    }

    /// Removes an archive.
    ///
    /// # Errors
    /// A bad or unknown name, or the disk's error.
    pub async fn remove_collection(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.collection(name).await?).await
    }

    fn collection_path(&self, name: &str) -> io::Result<PathBuf> {
        if plain(name) {
            Ok(self.inner.folder.join(name))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of an archive"))
        }
    }
}

fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such archive")
}

/// A file name that cannot leave the folder.
fn plain(name: &str) -> bool {
    let stem = name.strip_suffix(SUFFIX).unwrap_or_default();
    !stem.is_empty()
        && name.len() <= LONGEST
        && !name.starts_with('.')
        && !name.chars().any(|c| c.is_control() || "/\\".contains(c))
}

#[cfg(test)]
mod tests {
    use super::super::{Choices, Limits};
    use super::*;

    #[tokio::test]
    async fn archives_lie_beside_the_recordings_and_cannot_leave() {
        let folder = tempfile::tempdir().unwrap();
        let timelapses = Timelapses::new(folder.path().join("t"), Limits::default(), Choices::default());
        assert!(timelapses.collections().await.unwrap().is_empty());
        let source = folder.path().join("source");
        std::fs::write(&source, b"PK").unwrap();
        let made = timelapses.keep_collection("all of it.zip", fs::File::open(&source).await.unwrap()).await;
        assert_eq!(made.unwrap().bytes, 2);
        assert_eq!(timelapses.collections().await.unwrap().len(), 1);
        assert!(timelapses.list().await.unwrap().is_empty(), "it is no recording");
        assert_eq!(std::fs::read(timelapses.collection("all of it.zip").await.unwrap()).unwrap(), b"PK");
        for name in ["../x.zip", ".zip", ".x.zip", "a/b.zip", "x.mp4", "none.zip"] {
            assert!(timelapses.collection(name).await.is_err(), "{name}");
        }
        timelapses.remove_collection("all of it.zip").await.unwrap();
        assert!(timelapses.collections().await.unwrap().is_empty());
    }
}
