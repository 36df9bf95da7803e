//! Cura's own package (`.ufp`): an archive with the G-code of one print and a picture of it.
//!
//! Its writer puts a slash before the names of entries, as in the Open Packaging Conventions, or none (Ultimaker's
//! libCharon; moonraker `metadata.py`, `UFP_MODEL_PATH`).

use std::io::{Read, Seek, Write};

use super::archive::Archive;
use super::types::{MetadataError, Thumbnail};

const GCODE: &str = "3D/model.gcode";
const PICTURE: &str = "Metadata/thumbnail.png";
const PICTURE_CAP: u64 = 4 * 1024 * 1024;

/// Writes the G-code of a package, of at most `cap` bytes and checked by its CRC; returns the picture, if there is one.
///
/// # Errors
/// [`MetadataError`] for what is damaged, hostile, too large or no such package; after an error what was written is not
/// to be used.
pub fn unpack<R: Read + Seek, W: Write>(
    reader: &mut R,
    cap: u64,
    writer: &mut W,
) -> Result<Option<Thumbnail>, MetadataError> {
    let mut archive = Archive::open_package(reader)?;
    let named = |archive: &Archive<_>, wanted: &str| {
        let known = archive.names().iter().find(|name| name.strip_prefix('/').unwrap_or(name) == wanted);
        known.cloned()
    };
    let Some(gcode) = named(&archive, GCODE) else {
        return Err(MetadataError::Damaged { entry: GCODE.to_owned(), reason: "it has none".to_owned() });
    };
    archive.copy(&gcode, cap, writer)?;
    // The print does not need it.
    let picture = named(&archive, PICTURE).and_then(|name| archive.read(&name, PICTURE_CAP).ok().flatten());
    Ok(picture.map(|png| Thumbnail { plate: 1, width: 0, height: 0, png }))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn package(entries: &[(&str, &[u8])]) -> Cursor<Vec<u8>> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in entries {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        Cursor::new(zip.finish().unwrap().into_inner())
    }

    #[test]
    fn the_gcode_and_the_picture_come_out_however_they_are_named() {
        for slash in ["/", ""] {
            let names = [format!("{slash}3D/model.gcode"), format!("{slash}Metadata/thumbnail.png")];
            let mut packed =
                package(&[(&names[0], b"G28\n"), (&names[1], b"png"), ("/[Content_Types].xml", b"<x/>")]);
            let mut gcode = Vec::new();
            let picture = unpack(&mut packed, 100, &mut gcode).unwrap();
            assert_eq!(
                (gcode.as_slice(), picture.unwrap().png.as_slice()),
                (b"G28\n".as_slice(), b"png".as_slice())
            );
        }
    }

    #[test]
    fn what_is_no_package_or_too_much_is_refused() {
        let refused =
            |mut packed: Cursor<Vec<u8>>, cap| unpack(&mut packed, cap, &mut Vec::new()).unwrap_err();
        let other = refused(package(&[("3D/3dmodel.model", b"x")]), 100);
        assert!(matches!(other, MetadataError::Damaged { .. }), "{other}");
        let large = refused(package(&[("/3D/model.gcode", &[b'G'; 200])]), 100);
        assert!(matches!(large, MetadataError::Limit { .. }), "{large}");
        let bomb = refused(package(&[("/3D/model.gcode", &vec![b' '; 8 << 20])]), 1 << 30);
        assert!(matches!(bomb, MetadataError::Limit { .. }), "{bomb}");
        for name in ["//etc/passwd", "/../x", "a\\b"] {
            let escaping = refused(package(&[("3D/model.gcode", b"G28"), (name, b"x")]), 100);
            assert!(matches!(escaping, MetadataError::UnsafeName { .. }), "{name}: {escaping}");
        }
        assert!(matches!(refused(Cursor::new(b"G28\n".to_vec()), 100), MetadataError::Truncated { .. }));
    }
}
