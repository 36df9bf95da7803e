//! Everything that blocks: walking, hashing, extracting, pictures, free space.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use md5::Digest;

use super::index::Picture;
use super::names::{self, Content};
use super::{DiskUsage, LibraryError};
use crate::metadata::{self, FileMetadata, MetadataError};
use crate::model::UnixSeconds;
use crate::printer::SENDING;

/// Folders below folders that are walked into.
const MAX_DEPTH: usize = 32;
/// Files of one kind kept in the cache.
const CACHED_FILES: usize = 16;

/// Makes the directories, and removes what an earlier run left half received.
pub fn prepare(root: &Path) -> Result<(), LibraryError> {
    let library = format!("create the library {}", root.display());
    fs::create_dir_all(root).map_err(|error| failed(&library, &error))?;
    let incoming = root.join(names::INCOMING);
    if incoming.exists() {
        fs::remove_dir_all(&incoming).map_err(|error| failed("clear the library", &error))?;
    }
    own_directories(root)
}

/// Makes the directories of the library's own; somebody who cleans up by hand takes them along. What is made above them
/// is private, as the state folder is.
pub fn own_directories(root: &Path) -> Result<(), LibraryError> {
    for name in [names::INCOMING, names::CACHE] {
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(root.join(name));
        made.map_err(|error| failed("create the library", &error))?;
    }
    Ok(())
}

/// What of the file system's own error the caller answers.
pub fn failed(what: &str, error: &io::Error) -> LibraryError {
    match error.kind() {
        io::ErrorKind::NotFound => {
            LibraryError::NotFound(format!("Could not {what}: it is not there any more."))
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LibraryError::Full(format!(
            "Could not {what}: the gateway's disk is full. Delete files and try again."
        )),
        _ => LibraryError::Failed(format!("Could not {what}: {error}.")),
    }
}

/// Total, used and free bytes of the file system of a path; zeros where it does not tell.
pub fn usage(path: &Path) -> DiskUsage {
    let Ok(stat) = nix::sys::statvfs::statvfs(path) else { return DiskUsage::default() };
    let bytes = |blocks: u64| blocks.saturating_mul(wide(stat.fragment_size()));
    let total = bytes(wide(stat.blocks()));
    let used = total.saturating_sub(bytes(wide(stat.blocks_free())));
    DiskUsage { total, used, free: bytes(wide(stat.blocks_available())) }
}

/// The system's counts have 32 or 64 bits, depending on the processor.
fn wide(count: impl Into<u64>) -> u64 {
    count.into()
}

/// What a walk over the disk found: paths relative to the root.
#[derive(Debug, Default)]
pub struct Walked {
    /// Path, size, time of change.
    pub files: Vec<(String, u64, UnixSeconds)>,
    pub directories: Vec<(String, UnixSeconds)>,
}

/// Finds all files that can be named; hidden ones, links and names that no client could write are passed over.
pub fn walk(root: &Path) -> Walked {
    let mut found = Walked::default();
    let mut open = vec![(String::new(), 0)];
    while let Some((directory, depth)) = open.pop() {
        let Ok(entries) = fs::read_dir(root.join(&directory)) else { continue };
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(SENDING)) {
                // Nothing is being sent yet: a killed gateway left it.
                drop(fs::remove_file(entry.path()));
                continue;
            }
            let Some(path) = entry.file_name().to_str().map(|name| names::join(&directory, name)) else {
                continue;
            };
            let (Ok(path), Ok(kind), Ok(data)) =
                (names::clean_local(&path), entry.file_type(), entry.metadata())
            else {
                continue;
            };
            if kind.is_dir() && depth < MAX_DEPTH {
                found.directories.push((path.clone(), modified(&data)));
                open.push((path, depth + 1));
            } else if kind.is_file() {
                found.files.push((path, data.len(), modified(&data)));
            }
        }
    }
    found
}

pub fn modified(data: &fs::Metadata) -> UnixSeconds {
    let since = data.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// Size and time of change of a file.
pub fn stat(path: &Path) -> io::Result<(u64, UnixSeconds)> {
    let data = fs::metadata(path)?;
    Ok((data.len(), modified(&data)))
}

/// What was read out of a file: its metadata without pictures, and by plate (0: plain G-code) the pictures.
#[derive(Default)]
pub struct Extracted {
    pub metadata: FileMetadata,
    pub pictures: BTreeMap<u32, Vec<metadata::Thumbnail>>,
}

impl Extracted {
    /// With what the package of the file holds where the file itself says nothing.
    pub fn or_beside(mut self, beside: metadata::ufp::Beside) -> Self {
        if let Some(material) = beside.material {
            self.metadata.or_material(&material);
        }
        let Some(picture) = beside.picture.filter(|_| self.pictures.is_empty()) else { return self };
        match metadata::thumbnails::moonraker_set(&picture) {
            Ok(set) => drop(self.pictures.insert(0, set)),
            Err(error) => tracing::debug!(%error, "A picture is left out."),
        }
        self
    }
}

/// Looks into a file that claims to be G-code or a sliced archive.
///
/// # Errors
/// [`LibraryError::BadFile`] where the content is something else, with what to do.
pub fn extract(path: &Path, content: Content) -> Result<Extracted, LibraryError> {
    let opened = File::open(path).map_err(|error| failed("read the file", &error))?;
    let mut file = BufReader::new(opened);
    check_content(&mut file, content).map_err(|error| failed("read the file", &error))??;
    let mut metadata = metadata::read(&mut file).map_err(metadata_error)?;
    let mut pictures = BTreeMap::new();
    let plates: Vec<u32> = metadata.plates.iter().map(|plate| plate.index).collect();
    let key = |plate: u32| if content == Content::Archive { plate } else { 0 };
    for plate in plates {
        let Some(picture) = metadata.picture(plate) else { continue };
        match metadata::thumbnails::moonraker_set(picture) {
            Ok(set) => drop(pictures.insert(key(plate), set)),
            Err(error) => tracing::debug!(?path, plate, %error, "A picture is left out."),
        }
    }
    metadata.thumbnails = Vec::new();
    Ok(Extracted { metadata, pictures })
}

fn check_content(file: &mut (impl Read + Seek), content: Content) -> io::Result<Result<(), LibraryError>> {
    let mut head = Vec::new();
    file.rewind()?;
    file.by_ref().take(4096).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    let archive = head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06");
    // A new file of a web page's editor is G-code without a line.
    let why = if head.is_empty() && content == Content::Archive {
        "The file is empty."
    } else if head.starts_with(b"GCDE") {
        "The file is binary G-code: switch off \"Supports binary G-code\" in the slicer's printer settings and slice it \
         again."
    } else if archive && content == Content::Gcode {
        "The file is a 3MF archive although its name ends in .gcode: give it a name that ends in .gcode.3mf."
    } else if !archive && content == Content::Archive {
        "The file is no 3MF archive although its name says so."
    } else if !archive && head.contains(&0) {
        "The file is no G-code: it holds binary data."
    } else {
        return Ok(Ok(()));
    };
    Ok(Err(LibraryError::BadFile(why.to_owned())))
}

pub fn metadata_error(error: MetadataError) -> LibraryError {
    match error {
        MetadataError::Io(error) => failed("read the file", &error),
        other => LibraryError::BadFile(sentence(&other.to_string())),
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

/// Writes the pictures of a file beside it.
pub fn write_pictures(
    directory: &Path,
    file_name: &str,
    pictures: BTreeMap<u32, Vec<metadata::Thumbnail>>,
) -> io::Result<BTreeMap<u32, Vec<Picture>>> {
    let mut written = BTreeMap::new();
    if pictures.is_empty() {
        return Ok(written);
    }
    let directory = directory.join(names::THUMBNAILS);
    fs::create_dir_all(&directory)?;
    for (plate, set) in pictures {
        let mut kept = Vec::new();
        for picture in set {
            let number = (plate > 0).then_some(plate);
            let name = names::thumbnail_name(file_name, number, picture.width, picture.height);
            fs::write(directory.join(&name), &picture.png)?;
            kept.push(Picture {
                width: picture.width,
                height: picture.height,
                size: picture.png.len() as u64,
                name,
            });
        }
        written.insert(plate, kept);
    }
    Ok(written)
}

/// Lower-case hex digest of a whole file.
pub fn digest_of<D: Digest>(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = D::new();
    let mut piece = vec![0; 256 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(piece.get(..count).unwrap_or_default()),
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// A file of the cache, made by `make` if it is not there; the oldest of the others go.
pub fn cached(
    root: &Path,
    name: &str,
    make: impl FnOnce(&mut BufWriter<File>) -> Result<(), LibraryError>,
) -> Result<PathBuf, LibraryError> {
    let directory = root.join(names::CACHE);
    let path = directory.join(name);
    if path.exists() {
        return Ok(path);
    }
    let failing = |error: io::Error| failed("prepare the file", &error);
    fs::create_dir_all(&directory).map_err(failing)?;
    let mut temporary = tempfile::NamedTempFile::new_in(&directory).map_err(failing)?;
    {
        let mut writer = BufWriter::new(temporary.as_file_mut().try_clone().map_err(failing)?);
        make(&mut writer)?;
        writer.flush().map_err(failing)?;
    }
    // A name must not last over a power cut where the content does not: half a file would be printed.
    temporary.as_file().sync_all().map_err(failing)?;
    temporary.persist(&path).map_err(|error| failing(error.error))?;
    evict(&directory);
    Ok(path)
}

/// Keeps the newest files of the cache.
pub fn evict(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut files: Vec<(UnixSeconds, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| Some((modified(&entry.metadata().ok()?), entry.path())))
        .collect();
    files.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (_, path) in files.into_iter().skip(CACHED_FILES) {
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!(?path, %error, "A cached file stays.");
        }
    }
}

/// Makes a rename last over a power cut.
pub fn sync_directory(directory: &Path) {
    if let Err(error) = File::open(directory).and_then(|directory| directory.sync_all()) {
        tracing::debug!(?directory, %error, "A folder cannot be synced.");
    }
}

/// Fails where a folder on the way is a link or no folder: what lies behind it is not ours.
pub fn check_parents(root: &Path, path: &str) -> Result<(), LibraryError> {
    let mut at = root.to_owned();
    let (directory, _) = names::split(path);
    for name in directory.split('/').filter(|name| !name.is_empty()) {
        at.push(name);
        match fs::symlink_metadata(&at) {
            Ok(data) if data.is_dir() => {}
            Ok(_) => return Err(LibraryError::BadName(format!("\"{name}\" in \"{path}\" is no folder."))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("open the folder", &error)),
        }
    }
    Ok(())
}
