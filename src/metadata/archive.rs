//! Zip archives with caps on everything; the only file that knows the zip crate.

use std::io::{self, Read, Seek, SeekFrom, Write};

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::types::MetadataError;

/// A project with 36 plates has about 10 entries each.
const MAX_ENTRIES: usize = 4096;
const MAX_NAME_BYTES: usize = 512;
/// Everything that is read into memory from one archive, together.
const MEMORY_BUDGET: u64 = 64 * 1024 * 1024;
/// One plate's G-code as a stream.
pub(super) const MAX_STREAM_BYTES: u64 = 4 * 1024 * 1024 * 1024 - 1;
/// Deflate reaches 1032 at most; G-code stays below 20. Small entries may be blank pictures.
const MAX_RATIO: u64 = 200;
const RATIO_FREE_BYTES: u64 = 1024 * 1024;
const END_RECORD_BYTES: u64 = 22;
const MAX_COMMENT_BYTES: u64 = 65_535;

/// An archive whose directory has been checked.
pub(super) struct Archive<R> {
    zip: ZipArchive<R>,
    names: Vec<String>,
    budget: u64,
}

impl<R: Read + Seek> Archive<R> {
    /// Reads the directory.
    pub(super) fn open(reader: R) -> Result<Self, MetadataError> {
        Self::open_with(reader, checked_name)
    }

    /// As [`Self::open`], for packages whose entries may be named from the root: `/3D/model.gcode`.
    pub(super) fn open_package(reader: R) -> Result<Self, MetadataError> {
        Self::open_with(reader, |raw| {
            let rooted = raw.first() == Some(&b'/');
            let name = checked_name(raw.strip_prefix(b"/").unwrap_or(raw))?;
            Ok(if rooted { format!("/{name}") } else { name })
        })
    }

    fn open_with(
        mut reader: R,
        checked_name: impl FnMut(&[u8]) -> Result<String, MetadataError>,
    ) -> Result<Self, MetadataError> {
        check_entry_count(&mut reader)?;
        let zip = ZipArchive::new(reader).map_err(directory_error)?;
        if zip.len() > MAX_ENTRIES {
            return Err(too_many(zip.len()));
        }
        // Readers disagree about which of two entries of one name counts.
        if zip.has_duplicate_names() {
            return Err(MetadataError::Limit { reason: "two entries have the same name".into() });
        }
        let names = zip.file_names_raw().map(checked_name).collect::<Result<Vec<_>, _>>()?;
        Ok(Archive { zip, names, budget: MEMORY_BUDGET })
    }

    /// Names of all entries.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Stated length of an entry in bytes; zero if there is none.
    pub(super) fn size(&mut self, name: &str) -> u64 {
        self.zip.by_name(name).map_or(0, |entry| entry.size())
    }

    /// The whole content of an entry of at most `cap` bytes, checked by its CRC.
    pub(super) fn read(&mut self, name: &str, cap: u64) -> Result<Option<Vec<u8>>, MetadataError> {
        let mut bytes = Vec::new();
        if !self.names.iter().any(|known| known == name) {
            return Ok(None);
        }
        if self.budget < cap && self.size(name) > self.budget {
            let reason = format!("its settings and pictures unpack to more than {MEMORY_BUDGET} bytes");
            return Err(MetadataError::Limit { reason });
        }
        self.copy(name, cap.min(self.budget), &mut bytes)?;
        self.budget = self.budget.saturating_sub(bytes.len() as u64);
        Ok(Some(bytes))
    }

    /// At most the first `length` bytes of an entry; the CRC is not checked.
    pub(super) fn head(&mut self, name: &str, length: u64) -> Result<Vec<u8>, MetadataError> {
        let mut bytes = Vec::new();
        let length = length.min(self.budget);
        let entry = self.zip.by_name(name).map_err(|error| entry_error(name, error))?;
        entry.take(length).read_to_end(&mut bytes).map_err(|error| damaged(name, &error))?;
        self.budget = self.budget.saturating_sub(bytes.len() as u64);
        Ok(bytes)
    }

    /// Streams an entry of at most `cap` bytes, checked by its CRC; returns the bytes written.
    pub(super) fn copy<W: Write>(
        &mut self,
        name: &str,
        cap: u64,
        writer: &mut W,
    ) -> Result<u64, MetadataError> {
        let entry = self.zip.by_name(name).map_err(|error| entry_error(name, error))?;
        let packed = entry.compressed_size();
        // What is stated may be a lie: the limit holds for what really comes out.
        let by_ratio = packed.saturating_mul(MAX_RATIO).max(RATIO_FREE_BYTES);
        let limit = cap.min(by_ratio);
        if entry.size() > limit {
            return Err(too_big(name, cap));
        }
        let mut limited = entry.take(limit.saturating_add(1));
        let mut buffer = vec![0; 64 * 1024];
        let mut total: u64 = 0;
        loop {
            let count = match limited.read(&mut buffer) {
                Ok(0) => return Ok(total),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(damaged(name, &error)),
            };
            total = total.saturating_add(count as u64);
            if total > limit {
                return Err(too_big(name, cap));
            }
            writer.write_all(buffer.get(..count).unwrap_or_default())?;
        }
    }
}

/// The number of entries stands in the end record; it is looked at before the directory is loaded.
fn check_entry_count<R: Read + Seek>(reader: &mut R) -> Result<(), MetadataError> {
    let size = reader.seek(SeekFrom::End(0))?;
    reader.seek(SeekFrom::Start(size.saturating_sub(END_RECORD_BYTES + MAX_COMMENT_BYTES)))?;
    let mut tail = Vec::new();
    reader.by_ref().take(END_RECORD_BYTES + MAX_COMMENT_BYTES).read_to_end(&mut tail)?;
    reader.rewind()?;
    let Some(at) = tail.windows(4).rposition(|bytes| bytes == b"PK\x05\x06") else {
        return Err(MetadataError::Truncated { reason: "no directory at its end".into() });
    };
    match tail.get(at + 10..at + 12) {
        Some(&[low, high]) if usize::from(u16::from_le_bytes([low, high])) > MAX_ENTRIES => {
            Err(too_many(usize::from(u16::from_le_bytes([low, high]))))
        }
        _ => Ok(()),
    }
}

fn checked_name(raw: &[u8]) -> Result<String, MetadataError> {
    let Ok(name) = std::str::from_utf8(raw) else {
        // Old archivers write names in their own code page; such an entry is none that we read.
        return Ok(String::from_utf8_lossy(raw).into_owned());
    };
    if raw.len() > MAX_NAME_BYTES {
        return Err(unsafe_name(raw, "too long"));
    }
    let escapes =
        name.starts_with('/') || name.contains(['\\', '\0']) || name.split('/').any(|part| part == "..");
    if escapes || name.get(1..2) == Some(":") {
        return Err(unsafe_name(raw, "a path that leads outside of it"));
    }
    Ok(name.to_owned())
}

fn unsafe_name(raw: &[u8], problem: &'static str) -> MetadataError {
    MetadataError::UnsafeName { name: String::from_utf8_lossy(raw).chars().take(80).collect(), problem }
}

fn too_many(count: usize) -> MetadataError {
    MetadataError::Limit { reason: format!("it has {count} entries, at most {MAX_ENTRIES} are accepted") }
}

fn too_big(name: &str, cap: u64) -> MetadataError {
    let reason =
        format!("{name:?} unpacks to more than {cap} bytes or to more than {MAX_RATIO} times its size");
    MetadataError::Limit { reason }
}

fn damaged(name: &str, error: &io::Error) -> MetadataError {
    MetadataError::Damaged { entry: name.to_owned(), reason: error.to_string() }
}

fn directory_error(error: ZipError) -> MetadataError {
    match error {
        ZipError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => MetadataError::Io(error),
        error => MetadataError::Truncated { reason: error.to_string() },
    }
}

fn entry_error(name: &str, error: ZipError) -> MetadataError {
    let entry = name.to_owned();
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => MetadataError::Encrypted { entry },
        error => MetadataError::Damaged { entry, reason: error.to_string() },
    }
}

/// Writes an archive entry by entry.
pub(super) struct ArchiveWriter<W: Write + Seek> {
    zip: ZipWriter<W>,
}

impl<W: Write + Seek> ArchiveWriter<W> {
    pub(super) fn new(writer: W) -> Self {
        ArchiveWriter { zip: ZipWriter::new(writer) }
    }

    /// Begins an entry; what is written to the returned writer is its content.
    pub(super) fn entry(&mut self, name: &str) -> Result<&mut impl Write, MetadataError> {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        self.zip.start_file(name, options).map_err(write_error)?;
        Ok(&mut self.zip)
    }

    /// Writes the directory.
    pub(super) fn finish(self) -> Result<W, MetadataError> {
        self.zip.finish().map_err(write_error)
    }
}

fn write_error(error: ZipError) -> MetadataError {
    match error {
        ZipError::Io(error) => MetadataError::Io(error),
        error => MetadataError::Io(io::Error::other(error.to_string())),
    }
}
