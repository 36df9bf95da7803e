//! What a listing of the printer's storage shows below `printer/` (pure).

use std::collections::BTreeMap;

use md5::{Digest, Md5};

use super::names::{self, Content};
use super::{Entry, EntryKind, disk};
use crate::model::{FileCaps, UnixSeconds};
use crate::printer::RemoteFile;

/// A file or folder of the listing, as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    pub entry: Entry,
    /// Path on the printer's storage.
    pub stored: String,
    pub size: u64,
    /// As the printer tells it.
    pub modified: Option<UnixSeconds>,
    pub archive: bool,
}

/// One name for one content on the printer, as far as a listing tells.
pub fn identity(listed: &Listed) -> String {
    let text = format!("{}\n{}\n{:?}", listed.stored, listed.size, listed.modified);
    disk::hex(&Md5::digest(text.as_bytes()))
}

/// The entries of a listing: an archive is listed for download, and beside it as G-code to print.
///
/// What the printer gives no date for is dated `undated`.
pub fn view(files: &[RemoteFile], caps: &FileCaps, undated: UnixSeconds) -> BTreeMap<String, Listed> {
    let mut entries = BTreeMap::new();
    let usable =
        files.iter().filter_map(|file| Some((names::clean(file.path.trim_start_matches('/')).ok()?, file)));
    for (path, file) in usable.clone() {
        let content = names::content(&path);
        let kind = match content {
            _ if file.directory => EntryKind::Directory,
            Content::Gcode if caps.gcode => EntryKind::Printable,
            _ => EntryKind::Other,
        };
        let file = (file, undated);
        add(&mut entries, names::join(names::PRINTER, &path), kind, file, content == Content::Archive);
    }
    for (path, file) in
        usable.filter(|(path, file)| !file.directory && names::content(path) == Content::Archive)
    {
        if !caps.archives {
            continue;
        }
        let (directory, name) = names::split(&path);
        let directory = names::join(names::PRINTER, directory);
        let candidates =
            names::plate_names(name, 1, true).map(|name| names::join(directory.trim_end_matches('/'), &name));
        if let Some(free) = candidates.into_iter().find(|path| !entries.contains_key(path)) {
            add(&mut entries, free, EntryKind::Printable, (file, undated), true);
        }
    }
    entries
}

fn add(
    entries: &mut BTreeMap<String, Listed>,
    path: String,
    kind: EntryKind,
    (file, undated): (&RemoteFile, UnixSeconds),
    archive: bool,
) {
    let modified = file.modified.unwrap_or(undated);
    let entry = Entry { path: path.clone(), kind, size: file.size, modified, on_printer: true };
    entries.insert(
        path,
        Listed { entry, stored: file.path.clone(), size: file.size, modified: file.modified, archive },
    );
}
