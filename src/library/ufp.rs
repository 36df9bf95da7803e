//! Cura's packages: what is kept of one is its G-code and its picture, as at Moonraker,
//! and the material.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::{LibraryError, LibraryLimits, disk};
use crate::metadata::ufp::{self, Beside};

/// Puts the G-code of a package in the place of the package; returns what else the package holds.
///
/// # Errors
/// [`LibraryError::BadFile`] for what is no such package or unpacks to more than is taken or has room.
pub fn unpack(package: &Path, limits: LibraryLimits) -> Result<Beside, LibraryError> {
    let failed = |error: std::io::Error| disk::failed("unpack the file", &error);
    let folder = package.parent().unwrap_or(package);
    let usage = disk::usage(folder);
    let room = if usage.total > 0 { usage.free.saturating_sub(limits.min_free) } else { u64::MAX };
    let mut packed = BufReader::new(File::open(package).map_err(failed)?);
    let mut gcode = tempfile::Builder::new().prefix("upload-").tempfile_in(folder).map_err(failed)?;
    let beside =
        ufp::unpack(&mut packed, limits.max_upload.min(room), &mut gcode).map_err(disk::metadata_error)?;
    gcode.as_file().sync_all().map_err(failed)?;
    gcode.persist(package).map_err(|error| failed(error.error))?;
    Ok(beside)
}
