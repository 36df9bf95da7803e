//! What a sliced file says about itself: G-code headers and footers, 3MF archives, thumbnails.
//!
//! Pure functions over `Read + Seek`, bounded in memory and time whatever the file holds; the callers run
//! them off the runtime's threads. Must not know: printers, drivers, clients, the library's folders.
//!
//! | part | owns |
//! |---|---|
//! | `types` | [`FileMetadata`] and its parts: units of Moonraker's metadata, absent when unknown |
//! | `comments` | one pass over G-code text: settings, markers, thumbnails blocks, byte positions |
//! | `gcode` | plain G-code: which part of a file is read, what the slicers' settings mean |
//! | `archive` | the only file that knows the zip crate; all caps on archives |
//! | `three_mf`, `slice_info` | the entries of a sliced 3MF (dossier bambu 5.6, 5.7) |
//! | `bed` | the names of build plates |
//! | `thumbnails` | the picture set that Moonraker clients expect |
//! | `package` | wrapping plain G-code into a `.gcode.3mf` (unverified on hardware) |
//! | `inject` | header comments that a Centauri Carbon reads and some slicers leave out |

mod archive;
mod bed;
mod comments;
mod gcode;
pub mod inject;
mod objects;
pub mod package;
mod slice_info;
#[cfg(test)]
mod tests;
mod three_mf;
pub mod thumbnails;
mod types;
pub mod ufp;

use std::io::{Read, Seek, SeekFrom, Write};

pub use bed::bed_key;
pub use objects::{NamedObject, named_objects};
pub use types::{FilamentUse, FileMetadata, MetadataError, ObjectInfo, PlateInfo, Thumbnail};

/// Reads what a file says about itself; archives are told from G-code by their first bytes.
///
/// # Errors
/// [`MetadataError`] for archives that are damaged, hostile or not sliced, and for reading errors. Plain
/// text always succeeds, with few fields when it holds nothing that is known.
pub fn read<R: Read + Seek>(reader: &mut R) -> Result<FileMetadata, MetadataError> {
    if is_archive(reader)? { three_mf::read(reader) } else { gcode::read(reader) }
}

/// Whether the first bytes are those of a zip archive.
///
/// # Errors
/// Reading errors only.
pub fn is_archive<R: Read + Seek>(reader: &mut R) -> Result<bool, MetadataError> {
    let mut magic = Vec::with_capacity(4);
    reader.rewind()?;
    reader.by_ref().take(4).read_to_end(&mut magic)?;
    reader.seek(SeekFrom::Start(0))?;
    Ok(magic == b"PK\x03\x04" || magic == b"PK\x05\x06")
}

/// Writes the G-code of one plate (numbered from 1) of a sliced 3MF, checked against the archive's CRC and
/// against the `.md5` entry beside it, if any; returns the bytes written.
///
/// # Errors
/// [`MetadataError`]; after an error what was written is not to be used.
pub fn extract_plate<R: Read + Seek, W: Write>(
    reader: &mut R,
    plate: u32,
    writer: &mut W,
) -> Result<u64, MetadataError> {
    three_mf::extract_plate(reader, plate, writer)
}
