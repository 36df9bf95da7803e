//! The redb file: one table from (space, key) to JSON text, and one that says which form the file has. The only file
//! that knows redb.
//!
//! Forms: 0 (before they were counted) and 1 are laid out alike. A change of the layout gets the next number and a step
//! in [`Disk::load`] that reads the form before it; the first commit writes the new one.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::InMemoryBackend;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use serde::de::IgnoredAny;

const VALUES: TableDefinition<'_, (&str, &str), &str> = TableDefinition::new("values");

/// Facts of the file itself; `form` is the only one.
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
const FORM_KEY: &str = "form";
/// The newest form that this program reads, and the one that it writes.
const FORM: u64 = 1;

/// Bytes of pages that redb may keep. All values are in memory already; without a bound the whole file would be too, a
/// second time (redb's own is 1 GiB).
const CACHE: usize = 2 << 20;

/// One key to write, or to remove where there is no value.
pub struct Change {
    pub space: String,
    pub key: String,
    /// JSON text.
    pub value: Option<Arc<str>>,
}

pub struct Disk {
    /// `None` after a failed write: redb refuses everything then until it is opened anew.
    database: Option<Database>,
    opener: Opener,
    /// `None` in memory.
    path: Option<PathBuf>,
}

type Opener = Box<dyn Fn() -> Result<Database, String> + Send>;

/// All values as JSON text, by space and key.
pub type Spaces = BTreeMap<String, BTreeMap<String, Arc<str>>>;

impl Disk {
    pub fn open(path: &Path) -> Result<Self, String> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| unusable(&error))?;
        }
        // Made here for its mode: the file holds keys of clients. redb takes an empty file as a new one.
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| unusable(&error))?;
        let path = path.to_owned();
        let file = path.clone();
        Ok(Self { path: Some(path), ..Self::with(Box::new(move || open_file(&file)))? })
    }

    pub fn in_memory() -> Result<Self, String> {
        Self::with(Box::new(|| {
            let backend = InMemoryBackend::new();
            Database::builder().create_with_backend(backend).map_err(|error| error.to_string())
        }))
    }

    pub fn with(opener: Opener) -> Result<Self, String> {
        Ok(Self { database: Some(opener()?), opener, path: None })
    }

    /// Reads everything; a value that is no JSON is left out and told in the log.
    pub fn load(&self) -> Result<Spaces, String> {
        let Some(database) = &self.database else { return Err("it is not open".to_owned()) };
        let read = std::panic::catch_unwind(AssertUnwindSafe(|| match form_of(database)? {
            newer if newer > FORM => Ok(Err(newer)),
            _ => read_all(database).map(Ok),
        }));
        read.map_err(|_panic| damaged("its structure is broken"))?
            .map_err(|error: redb::Error| damaged(&error.to_string()))?
            .map_err(|newer| {
                format!(
                    "a newer moongate wrote it (form {newer}; this one reads up to {FORM}). Nothing was changed: install the newer version again, or restore the backup that was made before it"
                )
            })
    }

    /// Gives back the space of what was removed; the size of the file in bytes before and after, 0 in memory.
    pub fn compact(&mut self) -> Result<(u64, u64), String> {
        let before = self.size();
        let mut database = match self.database.take() {
            Some(database) => database,
            None => (self.opener)()?,
        };
        let compacted = database.compact().map_err(|error| error.to_string());
        self.database = Some(database);
        compacted.map(|_anything| (before, self.size()))
    }

    fn size(&self) -> u64 {
        self.path.as_ref().and_then(|path| std::fs::metadata(path).ok()).map_or(0, |facts| facts.len())
    }

    /// All or nothing; on disk when it returns.
    pub fn write(&mut self, changes: &[Change]) -> Result<(), String> {
        let database = match self.database.take() {
            Some(database) => database,
            None => (self.opener)()?,
        };
        write_all(&database, changes).map_err(|error| error.to_string())?;
        self.database = Some(database);
        Ok(())
    }
}

fn open_file(path: &Path) -> Result<Database, String> {
    open_with(path, |path| Database::builder().set_cache_size(CACHE).create(path))
}

fn open_with(
    path: &Path,
    open: impl FnOnce(&Path) -> Result<Database, DatabaseError>,
) -> Result<Database, String> {
    let new = std::fs::metadata(path).is_ok_and(|facts| facts.len() == 0);
    // A damaged file may break an assumption inside the library: that is an error to tell, not the end of us.
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| open(path)));
    opened.map_err(|_panic| damaged("its structure is broken"))?.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => {
            "another gateway is using it. Stop that one, or set another state_dir here".to_owned()
        }
        // The system's own refusals have a number; redb's of a file that is none of its own have not.
        DatabaseError::Storage(redb::StorageError::Io(error)) if error.raw_os_error().is_some() => {
            if new {
                // What was begun would be taken for a damaged database by the next start.
                let _nothing_to_lose = OpenOptions::new().write(true).open(path).and_then(|it| it.set_len(0));
            }
            unusable(&error)
        }
        other => damaged(&other.to_string()),
    })
}

/// The file may be good: what is wrong is the disk, or who may use it.
fn unusable(error: &std::io::Error) -> String {
    let remedy = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "Make room on that disk",
        ErrorKind::ReadOnlyFilesystem => "Make that disk writable, or set another state_dir",
        ErrorKind::PermissionDenied => "Give it to the gateway's user, or set another state_dir",
        _ => "Check state_dir in [gateway]",
    };
    format!("{error}. {remedy}")
}

fn form_of(database: &Database) -> Result<u64, redb::Error> {
    match database.begin_read()?.open_table(ABOUT) {
        Ok(about) => Ok(about.get(FORM_KEY)?.map_or(0, |form| form.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn read_all(database: &Database) -> Result<Spaces, redb::Error> {
    let mut spaces = Spaces::new();
    let read = database.begin_read()?;
    let table = match read.open_table(VALUES) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(spaces),
        Err(error) => return Err(error.into()),
    };
    for row in table.iter()? {
        let (key, value) = row?;
        let (space, key) = key.value();
        match serde_json::from_str::<IgnoredAny>(value.value()) {
            Ok(_json) => {
                spaces.entry(space.to_owned()).or_default().insert(key.to_owned(), value.value().into());
            }
            Err(error) => {
                tracing::warn!(space, key, %error, "A stored value cannot be read and is left out.")
            }
        }
    }
    Ok(spaces)
}

fn write_all(database: &Database, changes: &[Change]) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut about = write.open_table(ABOUT)?;
        if about.get(FORM_KEY)?.is_none_or(|form| form.value() != FORM) {
            about.insert(FORM_KEY, FORM)?;
        }
        let mut table = write.open_table(VALUES)?;
        for change in changes {
            let key = (change.space.as_str(), change.key.as_str());
            match &change.value {
                Some(value) => table.insert(key, &**value)?,
                None => table.remove(key)?,
            };
        }
    }
    write.commit()?;
    Ok(())
}

fn damaged(what: &str) -> String {
    format!("{what}. Move the file away to begin with an empty one, or restore it from a backup")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a value, in the given form.
    fn file(form: Option<u64>) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.redb");
        let database = Database::create(&path).expect("made");
        let write = database.begin_write().expect("begun");
        write.open_table(VALUES).expect("a table").insert(("s", "k"), "7").expect("in");
        if let Some(form) = form {
            write.open_table(ABOUT).expect("a table").insert(FORM_KEY, form).expect("in");
        }
        write.commit().expect("on disk");
        (folder, path)
    }

    #[test]
    fn the_form_before_is_read_and_becomes_the_present_one() {
        let (_folder, path) = file(None);
        let mut disk = Disk::open(&path).expect("opened");
        assert_eq!(&*disk.load().expect("read")["s"]["k"], "7");
        let change = Change { space: "s".to_owned(), key: "new".to_owned(), value: Some("8".into()) };
        disk.write(&[change]).expect("written");
        drop(disk);
        assert_eq!(form_of(&Database::open(&path).expect("opened")).expect("read"), FORM);
        let both = Disk::open(&path).expect("opened").load().expect("read");
        assert_eq!((&*both["s"]["k"], &*both["s"]["new"]), ("7", "8"));
    }

    #[test]
    fn a_disk_that_is_full_leaves_no_half_a_database() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.redb");
        std::fs::write(&path, "").expect("an empty file");
        let full = || DatabaseError::Storage(std::io::Error::from_raw_os_error(28).into());
        let why = open_with(&path, |path| {
            std::fs::write(path, "begun").expect("written");
            Err(full())
        });
        let why = why.expect_err("refused");
        assert!(why.contains("Make room") && !why.contains("Move the file away"), "{why}");
        Disk::open(&path).expect("as if nothing had been");
        let (_folder, good) = file(None);
        open_with(&good, |_| Err(full())).expect_err("refused");
        let kept = Disk::open(&good).expect("opened").load().expect("read");
        assert_eq!(&*kept["s"]["k"], "7", "what is there stays");
    }

    #[test]
    fn a_form_of_tomorrow_is_refused_and_left_alone() {
        let (_folder, path) = file(Some(FORM + 1));
        let why = crate::store::Store::open(&path).err().expect("refused").to_string();
        assert!(why.contains("a newer moongate wrote it (form 2; this one reads up to 1)"), "{why}");
        assert!(why.contains("state.redb") && why.contains("install the newer version"), "{why}");
        assert_eq!(
            Disk::open(&path).expect("opened").database.map(|it| form_of(&it).expect("read")),
            Some(2)
        );
    }
}
