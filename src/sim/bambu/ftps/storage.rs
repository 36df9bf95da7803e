//! The storage card: FTP names to files below one folder, never above it; listings as the printer prints them.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A view of the storage with a current directory.
pub(super) struct Storage {
    root: PathBuf,
    /// Relative to the root.
    current: PathBuf,
}

impl Storage {
    pub fn new(root: PathBuf) -> Self {
        Self { root, current: PathBuf::new() }
    }

    /// The current directory as PWD prints it.
    pub fn current(&self) -> String {
        format!("/{}", self.current.display())
    }

    /// Where `name` leads, relative to the root; `None` above it.
    fn resolve(&self, name: &str) -> Option<PathBuf> {
        let mut path = if name.starts_with('/') { PathBuf::new() } else { self.current.clone() };
        for part in Path::new(name).components() {
            match part {
                Component::Normal(part) => path.push(part),
                Component::ParentDir if !path.pop() => return None,
                _ => {}
            }
        }
        Some(path)
    }

    /// The file behind `name`; `PermissionDenied` above the root.
    pub fn path(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.resolve(name).ok_or(io::ErrorKind::PermissionDenied)?;
        Ok(self.root.join(path))
    }

    pub fn enter(&mut self, name: &str) -> io::Result<()> {
        let path = self.resolve(name).ok_or(io::ErrorKind::PermissionDenied)?;
        if !self.root.join(&path).is_dir() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.current = path;
        Ok(())
    }

    pub fn exists(&self, name: &str) -> bool {
        self.path(name).is_ok_and(|path| path.exists())
    }

    pub fn size(&self, name: &str) -> Option<u64> {
        let meta = fs::metadata(self.path(name).ok()?).ok()?;
        meta.is_file().then_some(meta.len())
    }

    /// `yyyymmddHHMMSS`.
    pub fn modified(&self, name: &str) -> Option<String> {
        let meta = fs::metadata(self.path(name).ok()?).ok()?;
        Some(local(meta.modified().ok()?).strftime("%Y%m%d%H%M%S").to_string())
    }

    pub fn delete(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name)?)
    }

    pub fn make(&self, name: &str) -> io::Result<()> {
        fs::create_dir(self.path(name)?)
    }

    pub fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_dir(self.path(name)?)
    }

    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from)?, self.path(to)?)
    }

    /// Lines of LIST (dossier 5.3), or names of NLST: whole paths where `whole` says so.
    pub fn list(&self, name: &str, long: bool, whole: bool) -> io::Result<String> {
        // Clients send `-a` and the like in front of the path.
        let name = name.split_whitespace().find(|word| !word.starts_with('-')).unwrap_or("");
        let path = self.path(name)?;
        let mut out = String::new();
        let mut entries: Vec<_> = if path.is_file() {
            return self.line(&path, long).map(|line| format!("{line}\r\n"));
        } else {
            fs::read_dir(&path)?.filter_map(Result::ok).map(|entry| entry.path()).collect()
        };
        entries.sort();
        for entry in entries {
            let line = if long || !whole {
                self.line(&entry, long)?
            } else {
                format!("/{}", entry.strip_prefix(&self.root).unwrap_or(&entry).display())
            };
            out.push_str(&line);
            out.push_str("\r\n");
        }
        Ok(out)
    }

    fn line(&self, path: &Path, long: bool) -> io::Result<String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !long {
            return Ok(name.into_owned());
        }
        let meta = fs::metadata(path)?;
        let kind = if meta.is_dir() { 'd' } else { '-' };
        let time = local(meta.modified()?);
        let stamp = time.strftime("%b %d %H:%M");
        Ok(format!("{kind}rwxr-xr-x    1 0        0        {:>10} {stamp} {name}", meta.len()))
    }
}

fn local(time: SystemTime) -> jiff::Zoned {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let stamp = Timestamp::from_second(seconds as i64).unwrap_or(Timestamp::UNIX_EPOCH);
    stamp.to_zoned(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_lead_above_the_root() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("cache")).unwrap();
        fs::write(folder.path().join("cache/a b.3mf"), b"1234").unwrap();
        let mut storage = Storage::new(folder.path().to_owned());
        assert!(storage.path("../x").is_err());
        assert!(storage.path("/cache/../../x").is_err());
        storage.enter("cache").unwrap();
        assert_eq!((storage.current().as_str(), storage.size("a b.3mf")), ("/cache", Some(4)));
        assert!(storage.path("../../x").is_err());
        assert_eq!(storage.list("", false, true).unwrap(), "/cache/a b.3mf\r\n");
        assert!(storage.list("/cache", true, false).unwrap().starts_with("-rwxr-xr-x    1 0        0"));
    }
}
