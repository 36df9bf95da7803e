//! The roots of the file tree: the library is `gcodes`; `config` holds files of the web UIs; `logs` what was logged and
//! said (moonraker.md 2.8).

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use super::super::Endpoint;
use super::super::error::RpcError;
use crate::model::text::base_name;

/// Where files of `config` are written before they take their place; never listed, emptied at each start.
const INCOMING: &str = ".incoming";
/// Entries of a folder that are listed at most, and how deep.
const LARGEST_LISTING: usize = 5000;
const DEEPEST: usize = 8;

/// Which root a path begins with, and the rest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root<'a> {
    Library(&'a str),
    Config(&'a str),
    Logs(&'a str),
    Timelapse(&'a str),
    /// The pictures of the recordings, one by one.
    Frames(&'a str),
}

impl<'a> Root<'a> {
    /// Splits `gcodes/sub/a.gcode`; Mainsail names the files of a root folder for an archive `gcodes//a.gcode`.
    pub fn of(path: &'a str) -> Option<Self> {
        let path = path.trim_start_matches('/');
        let (root, rest) = path.split_once('/').unwrap_or((path, ""));
        let rest = rest.trim_matches('/');
        match root {
            "gcodes" => Some(Root::Library(rest)),
            "config" => Some(Root::Config(rest)),
            "logs" => Some(Root::Logs(rest)),
            "timelapse" => Some(Root::Timelapse(rest)),
            "timelapse_frames" => Some(Root::Frames(rest)),
            _ => None,
        }
    }
}

/// A file or folder below `config` or `timelapse`.
pub struct Item {
    pub path: String,
    pub directory: bool,
    pub size: u64,
    pub modified: f64,
}

impl Item {
    pub fn described(&self, permissions: &str) -> Value {
        json!({"path": self.path, "root": "config", "modified": self.modified, "size": self.size, "permissions": permissions})
    }
}

/// `rw` where there is a folder for it.
pub fn config_permissions(endpoint: &Endpoint) -> &'static str {
    if endpoint.config_root.is_some() { "rw" } else { "r" }
}

/// Where a path below `config` lies on disk.
///
/// # Errors
/// 400 for a path that leaves the folder or where there is no such folder.
pub fn config_path(endpoint: &Endpoint, path: &str) -> Result<PathBuf, RpcError> {
    let root = endpoint.config_root.as_ref();
    let root = root.ok_or_else(|| RpcError::bad_request("Invalid root request: config"))?;
    let plain = |part: &str| !matches!(part, "." | "..") && !part.contains(['\\', '\0']);
    if !path.split('/').all(plain) || path.starts_with('/') {
        return Err(RpcError::bad_request(format!("Cannot write to path: {path}")));
    }
    let on_disk = if path.is_empty() { root.clone() } else { root.join(path) };
    if is_inside(root, &on_disk) {
        return Ok(on_disk);
    }
    Err(RpcError::bad_request(format!("Cannot write to path: {path}")))
}

/// False where a link on the way leads out of the root. What does not exist yet is judged by the folder it would be in.
fn is_inside(root: &Path, path: &Path) -> bool {
    let existing = path.ancestors().find(|place| place.symlink_metadata().is_ok());
    let real = existing.and_then(|place| place.canonicalize().ok());
    real.zip(root.canonicalize().ok()).is_some_and(|(real, root)| real.starts_with(root))
}

/// What lies below a folder of `config`; recursively for a flat list. Links are not followed.
pub async fn config_items(endpoint: &Endpoint, path: &str, recursive: bool) -> Result<Vec<Item>, RpcError> {
    if endpoint.config_root.is_none() {
        return if path.is_empty() { Ok(Vec::new()) } else { Err(no_directory(path)) };
    }
    let start = config_path(endpoint, path)?;
    let base = path.to_owned();
    let listed = tokio::task::spawn_blocking(move || {
        let mut items = Vec::new();
        walk(&start, &base, if recursive { DEEPEST } else { 0 }, &mut items).map(|()| items)
    });
    match listed.await {
        Ok(Ok(items)) => Ok(items),
        _ => Err(no_directory(&format!("config/{path}"))),
    }
}

/// Bytes that stay free on the gateway's disk whatever is kept below `config`.
const RESERVED: u64 = 256 << 20;

/// Refuses what would fill the gateway's disk.
///
/// # Errors
/// 507.
pub async fn check_free(endpoint: &Endpoint, bytes: u64) -> Result<(), RpcError> {
    let disk = endpoint.station.library.disk_usage().await;
    if disk.total > 0 && disk.free < bytes.saturating_add(RESERVED) {
        return Err(RpcError::new(507, "The gateway's disk is nearly full. Delete files and try again."));
    }
    Ok(())
}

pub fn no_directory(path: &str) -> RpcError {
    RpcError::bad_request(format!("Directory does not exist ({path})"))
}

/// For a path whose root there is not, that it is not there; otherwise what else is to be said.
pub fn unknown_root(path: &str) -> Option<RpcError> {
    let root = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    Root::of(path).is_none().then(|| RpcError::bad_request(format!("Invalid root path ({root})")))
}

fn walk(folder: &Path, base: &str, depth: usize, items: &mut Vec<Item>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let Ok(entry) = entry else { continue };
        let (Ok(facts), Ok(name)) = (entry.metadata(), entry.file_name().into_string()) else { continue };
        if facts.is_symlink() || items.len() >= LARGEST_LISTING || base.is_empty() && name == INCOMING {
            continue;
        }
        let path = if base.is_empty() { name } else { format!("{base}/{name}") };
        if facts.is_dir() && depth > 0 {
            walk(&entry.path(), &path, depth - 1, items)?;
        }
        items.push(item(path, &facts));
    }
    Ok(())
}

fn item(path: String, facts: &std::fs::Metadata) -> Item {
    let modified = facts.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Item {
        path,
        directory: facts.is_dir(),
        size: facts.len(),
        modified: modified.map_or(0.0, |time| time.as_secs_f64()),
    }
}

/// One file or folder of `config`.
pub async fn config_item(endpoint: &Endpoint, path: &str) -> Result<Item, RpcError> {
    let on_disk = config_path(endpoint, path)?;
    let missing = |_gone| RpcError::bad_request(format!("Invalid file path: config/{path}"));
    let facts = tokio::fs::symlink_metadata(&on_disk).await.map_err(missing)?;
    Ok(item(path.to_owned(), &facts))
}

/// Where a move or copy below `config` ends: in an existing folder it keeps its name.
async fn config_target(endpoint: &Endpoint, source: &str, dest: &str) -> Result<(PathBuf, String), RpcError> {
    let folder = config_item(endpoint, dest).await.is_ok_and(|item| item.directory);
    let dest = match folder {
        true => {
            format!("{}/{}", dest.trim_end_matches('/'), base_name(source)).trim_start_matches('/').to_owned()
        }
        false => dest.to_owned(),
    };
    Ok((config_path(endpoint, &dest)?, dest))
}

/// Moves a file or folder below `config`.
///
/// # Errors
/// 400 for what does not exist or leaves the folder.
pub async fn move_config(endpoint: &Endpoint, source: &str, dest: &str) -> Result<Item, RpcError> {
    config_item(endpoint, source).await?;
    let (on_disk, dest) = config_target(endpoint, source, dest).await?;
    let refused = |error: std::io::Error| RpcError::bad_request(format!("{source} cannot be moved: {error}"));
    tokio::fs::rename(config_path(endpoint, source)?, on_disk).await.map_err(refused)?;
    config_item(endpoint, &dest).await
}

/// Copies one file below `config`.
///
/// # Errors
/// 400 for what does not exist, is a folder or leaves the root, 507 where the disk is nearly full.
pub async fn copy_config(endpoint: &Endpoint, source: &str, dest: &str) -> Result<Item, RpcError> {
    let item = config_item(endpoint, source).await?;
    check_free(endpoint, item.size).await?;
    let (on_disk, dest) = config_target(endpoint, source, dest).await?;
    let refused =
        |error: std::io::Error| RpcError::bad_request(format!("{source} cannot be copied: {error}"));
    let from = tokio::fs::File::open(config_path(endpoint, source)?).await.map_err(refused)?;
    store(endpoint, from.into_std().await, on_disk).await.map_err(refused)?;
    config_item(endpoint, &dest).await
}

/// Removes what an earlier gateway had begun to write below `config`.
pub fn sweep(root: &Path) {
    match std::fs::remove_dir_all(root.join(INCOMING)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::debug!(?root, %error, "Half files of the web interfaces stay.");
        }
        _ => {}
    }
}

/// Makes what `source` holds the file at `target`, a path of [`config_path`].
///
/// # Errors
/// The disk's; the file that was there is whole then.
pub async fn store(
    endpoint: &Endpoint,
    mut source: impl Read + Send + 'static,
    target: PathBuf,
) -> io::Result<()> {
    let root = endpoint.config_root.clone().ok_or(io::ErrorKind::NotFound)?;
    tokio::task::spawn_blocking(move || replace(&root, &mut source, &target))
        .await
        .map_err(io::Error::other)?
}

/// On disk before it gets its name: neither a full disk nor a power cut may cost the user the file that was there.
fn replace(root: &Path, source: &mut impl Read, target: &Path) -> io::Result<()> {
    let incoming = root.join(INCOMING);
    std::fs::create_dir_all(&incoming)?;
    // What a link within the folder leads to is written, not the link.
    let target = target.canonicalize().unwrap_or_else(|_new| target.to_owned());
    // As any new file, and not as temporary ones, which their owner alone may read.
    let mode = std::fs::Permissions::from_mode(0o666);
    let mut temporary = tempfile::Builder::new().permissions(mode).tempfile_in(&incoming)?;
    io::copy(source, temporary.as_file_mut())?;
    if let Ok(old) = target.metadata() {
        temporary.as_file().set_permissions(old.permissions())?;
    }
    temporary.as_file().sync_all()?;
    temporary.persist(&target).map_err(|error| error.error)?;
    let folder = target.parent().unwrap_or(root);
    if let Err(error) = std::fs::File::open(folder).and_then(|folder| folder.sync_all()) {
        tracing::debug!(?folder, %error, "A folder cannot be synced.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_at_their_root() {
        assert_eq!(Root::of("gcodes/sub/a.gcode"), Some(Root::Library("sub/a.gcode")));
        assert_eq!(Root::of("/gcodes/"), Some(Root::Library("")));
        assert_eq!(Root::of("gcodes//a.gcode"), Some(Root::Library("a.gcode")));
        assert_eq!(Root::of("config"), Some(Root::Config("")));
        assert_eq!(Root::of("nope/a"), None);
    }

    /// A disk that is full after so many bytes.
    struct Fails(&'static [u8]);

    impl Read for Fails {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() { Err(io::ErrorKind::StorageFull.into()) } else { self.0.read(into) }
        }
    }

    #[test]
    fn a_file_that_cannot_be_replaced_stays_whole_and_a_replaced_one_keeps_its_mode() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("sub.json");
        std::fs::write(&file, b"the old one").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(replace(root.path(), &mut Fails(b"half"), &file).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"the old one");
        let link = root.path().join("link.json");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(root.path(), &mut b"new".as_slice(), &link).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(link.is_symlink());
        let mut listed = Vec::new();
        assert_eq!(std::fs::read_dir(root.path().join(INCOMING)).unwrap().count(), 0, "nothing half is left");
        walk(root.path(), "", DEEPEST, &mut listed).unwrap();
        let names: Vec<&str> = listed.iter().map(|item| item.path.as_str()).collect();
        assert_eq!(names, ["sub.json"]);
        sweep(root.path());
        assert!(!root.path().join(INCOMING).exists());
    }
}
