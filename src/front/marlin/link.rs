//! The stable name of a pty: a symbolic link, replaced in one step, guarded by a lock against a second gateway.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::PtyError;

/// Targets a link of ours can have; a link to anything else was made by somebody else.
const PTS: &str = "/dev/pts/";
/// Sticky and writable by everybody: the kernel follows foreign links there only for their owner
/// (`fs.protected_symlinks`, octoprint.md 1.4).
const STICKY_SHARED: u32 = 0o1002;

/// A published link. Removed when dropped, if it is still ours.
#[derive(Debug)]
pub struct Link {
    path: PathBuf,
    target: PathBuf,
    _lock: Flock<File>,
}

impl Link {
    /// Points `path` to `target`; a stale link of an earlier gateway is replaced.
    ///
    /// # Errors
    /// The directory cannot be used, another gateway serves the link, or something that is not ours is in the way.
    pub fn publish(path: &Path, target: &Path) -> Result<Self, PtyError> {
        let failed = |what: &str, error: io::Error| PtyError::Link {
            path: path.to_owned(),
            reason: format!("{what}: {error}"),
        };
        let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
        else {
            return Err(PtyError::Link {
                path: path.to_owned(),
                reason: "it must be a file name inside a directory".to_owned(),
            });
        };
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        fs::create_dir_all(directory).map_err(|error| failed("its directory cannot be created", error))?;
        warn_if_shared(directory);
        let lock = lock(path, &directory.join(format!(".{name}.lock")))?;
        refuse_foreign(path)?;
        let fresh = directory.join(format!(".{name}.{}", std::process::id()));
        let _absent = fs::remove_file(&fresh);
        std::os::unix::fs::symlink(target, &fresh)
            .and_then(|()| fs::rename(&fresh, path))
            .map_err(|error| failed("it cannot be created", error))?;
        Ok(Self { path: path.to_owned(), target: target.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if fs::read_link(&self.path).is_ok_and(|target| target == self.target) {
            let _gone = fs::remove_file(&self.path);
        }
    }
}

/// Held as long as the link; the file stays behind empty, for removing it would open a race.
fn lock(path: &Path, file: &Path) -> Result<Flock<File>, PtyError> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o644).open(file).map_err(
        |error| PtyError::Link {
            path: path.to_owned(),
            reason: format!("its lock {} cannot be opened: {error}", file.display()),
        },
    )?;
    Flock::lock(opened, FlockArg::LockExclusiveNonblock)
        .map_err(|_held| PtyError::InUse { path: path.to_owned() })
}

fn refuse_foreign(path: &Path) -> Result<(), PtyError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(PtyError::Link {
                path: path.to_owned(),
                reason: format!("it cannot be examined: {error}"),
            });
        }
    };
    let what = if !found.file_type().is_symlink() {
        "a file that is not a link".to_owned()
    } else {
        match fs::read_link(path) {
            Ok(target) if target.starts_with(PTS) => return Ok(()),
            Ok(target) => format!("a link to {}", target.display()),
            Err(error) => format!("a link that cannot be read ({error})"),
        }
    };
    Err(PtyError::Foreign { path: path.to_owned(), what })
}

fn warn_if_shared(directory: &Path) {
    let mode = fs::metadata(directory).map_or(0, |found| found.permissions().mode());
    if mode & STICKY_SHARED == STICKY_SHARED {
        tracing::warn!(
            directory = %directory.display(),
            "The link to the serial port is in a directory shared by all users; programs of other users may not be \
             able to follow it. Use a directory of its own such as /run/moongate."
        );
    }
}
