//! The file as it goes to the printer: its firmware reads layers, time and height from comments at the head, which some
//! slicers do not write (elegoo.md 2.12).

use std::io;
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};

use crate::metadata;
use crate::printer::{ProgressFn, SENDING};

/// A file ready to be sent; a rewritten one is removed when this is dropped.
pub(super) struct Prepared {
    original: PathBuf,
    rewritten: Option<tempfile::NamedTempFile>,
    /// Lower-case hex of what is sent.
    pub md5: String,
    /// Bytes of the same.
    pub size: u64,
}

impl Prepared {
    pub fn path(&self) -> &Path {
        self.rewritten.as_ref().map_or(&self.original, |file| file.path())
    }
}

/// Makes a file ready, with the header comments added where they are wanted and missing. Blocks.
///
/// # Errors
/// The file cannot be read, or its copy not be written.
pub(super) fn prepare(
    local: PathBuf,
    md5: String,
    add_comments: bool,
    progress: &ProgressFn,
) -> io::Result<Prepared> {
    let size = std::fs::metadata(&local)?.len();
    if add_comments && let Some((rewritten, md5)) = with_comments(&local, progress)? {
        let size = rewritten.as_file().metadata()?.len();
        return Ok(Prepared { original: local, rewritten: Some(rewritten), md5, size });
    }
    Ok(Prepared { original: local, rewritten: None, md5, size })
}

/// Hashes what it writes, and tells that it lives: a gigabyte on a slow card takes minutes.
struct Hashing<'a, W> {
    inner: W,
    hash: Md5,
    progress: &'a ProgressFn,
}

impl<W: io::Write> io::Write for Hashing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or(bytes));
        (self.progress)(0);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A copy with the missing header comments, and its MD5; `None` if nothing is missing or nothing is known.
fn with_comments(
    local: &Path,
    progress: &ProgressFn,
) -> io::Result<Option<(tempfile::NamedTempFile, String)>> {
    let mut file = std::fs::File::open(local)?;
    let Ok(facts) = metadata::read(&mut file) else { return Ok(None) };
    let missing = metadata::inject::missing(&mut file, &facts).unwrap_or_default();
    if missing.is_empty() {
        return Ok(None);
    }
    let folder = local.parent().map_or_else(std::env::temp_dir, Path::to_owned);
    let mut copy = tempfile::Builder::new().prefix(SENDING).tempfile_in(folder)?;
    let mut writer = Hashing { inner: copy.as_file_mut(), hash: Md5::new(), progress };
    metadata::inject::copy(&mut file, &facts, &mut writer).map_err(io::Error::other)?;
    let md5 = writer.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some((copy, md5)))
}
