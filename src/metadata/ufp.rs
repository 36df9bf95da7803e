//! Cura's own package (`.ufp`): an archive with the G-code of one print, a picture of it and the profiles of its
//! materials.
//!
//! Its writer puts a slash before the names of entries, as in the Open Packaging Conventions, or none (Ultimaker's
//! libCharon; moonraker `metadata.py`, `UFP_MODEL_PATH`). The materials are those of all extruders that are switched on,
//! each once, and nothing says which is whose (Cura 4.13, `UFPWriter.py`).

use std::io::{Read, Seek, Write};

use roxmltree::Node;

use super::archive::Archive;
use super::slice_info::with_document;
use super::types::{MetadataError, Thumbnail};

const GCODE: &str = "3D/model.gcode";
const PICTURE: &str = "Metadata/thumbnail.png";
const PICTURE_CAP: u64 = 4 * 1024 * 1024;
const MATERIALS: &str = "Materials/";
const MATERIAL_SUFFIX: &str = ".fdm_material";
/// Cura's own profiles have about 10 kB.
const MATERIAL_CAP: u64 = 1024 * 1024;
/// Bytes of a material's name.
const MAX_NAME: usize = 64;
/// More materials are not looked at than printers have extruders.
const MAX_MATERIALS: usize = 32;

/// What a package holds beside its G-code.
#[derive(Debug, Default)]
pub struct Beside {
    /// The picture of the print.
    pub picture: Option<Thumbnail>,
    /// The material (`PLA`) of all filaments; absent where there are several, or none is named.
    pub material: Option<String>,
}

/// Writes the G-code of a package, of at most `cap` bytes and checked by its CRC; returns what else is known of it.
///
/// # Errors
/// [`MetadataError`] for what is damaged, hostile, too large or no such package; after an error what was written is not
/// to be used.
pub fn unpack<R: Read + Seek, W: Write>(
    reader: &mut R,
    cap: u64,
    writer: &mut W,
) -> Result<Beside, MetadataError> {
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
    let picture = picture.map(|png| Thumbnail { plate: 1, width: 0, height: 0, png });
    Ok(Beside { picture, material: material(&mut archive) })
}

/// The one material that all profiles name.
fn material<R: Read + Seek>(archive: &mut Archive<R>) -> Option<String> {
    let profile = |name: &&String| {
        let name = name.strip_prefix('/').unwrap_or(name);
        name.starts_with(MATERIALS) && name.ends_with(MATERIAL_SUFFIX)
    };
    let profiles: Vec<String> = archive.names().iter().filter(profile).cloned().collect();
    if profiles.len() > MAX_MATERIALS {
        return None;
    }
    let mut named = profiles.iter().map(|name| named(&archive.read(name, MATERIAL_CAP).ok()??));
    let first = named.next()??;
    named.all(|other| other.as_ref() == Some(&first)).then_some(first)
}

/// What the profile of a material calls it: `PLA`, whoever made it and whatever its colour.
fn named(profile: &[u8]) -> Option<String> {
    with_document(profile, |document| {
        let path = ["metadata", "name", "material"];
        let node = path.iter().try_fold(document.root_element(), |node, tag| child(node, tag))?;
        let material = node.text()?.trim();
        (!material.is_empty() && material.len() <= MAX_NAME).then(|| material.to_owned())
    })
}

fn child<'a, 'input>(node: Node<'a, 'input>, tag: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.tag_name().name() == tag)
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
            let beside = unpack(&mut packed, 100, &mut gcode).unwrap();
            assert_eq!(beside.material, None);
            assert_eq!(
                (gcode.as_slice(), beside.picture.unwrap().png.as_slice()),
                (b"G28\n".as_slice(), b"png".as_slice())
            );
        }
    }

    /// As Cura 4.13 writes it.
    fn profile(material: &str) -> Vec<u8> {
        let xml = r#"<?xml version='1.0' encoding='utf-8'?>
<fdmmaterial xmlns="http://www.ultimaker.com/material" version="1.3">
  <metadata>
    <name>
      <brand>Generic</brand>
      <material>NAME</material>
      <color>Generic</color>
      <label>Label</label>
    </name>
    <color_code>#ffc924</color_code>
  </metadata>
</fdmmaterial>"#;
        xml.replace("NAME", material).into_bytes()
    }

    #[test]
    fn the_material_is_known_where_all_profiles_name_the_same() {
        let found = |profiles: &[&[u8]]| {
            let names: Vec<String> =
                (0..profiles.len()).map(|number| format!("/Materials/m{number}.xml.fdm_material")).collect();
            let mut entries: Vec<(&str, &[u8])> = vec![("/3D/model.gcode", b"G28\n")];
            entries.extend(names.iter().map(String::as_str).zip(profiles.iter().copied()));
            unpack(&mut package(&entries), 100, &mut Vec::new()).unwrap().material
        };
        let (pla, petg) = (profile("PLA"), profile("PETG"));
        assert_eq!(found(&[&pla]).as_deref(), Some("PLA"));
        assert_eq!(found(&[&pla, &pla]).as_deref(), Some("PLA"));
        assert_eq!(found(&[&pla, &petg]), None, "nothing says which extruder has which");
        assert_eq!(found(&[&pla, b"<broken"]), None);
        let deep = "<a>".repeat(149_000) + &"</a>".repeat(149_000);
        let declared = [b"<!DOCTYPE f [<!ENTITY a \"PLA\">]>".to_vec(), profile("&a;")].concat();
        let long = profile(&"X".repeat(65));
        for nothing in
            [profile(""), long, b"<fdmmaterial/>".to_vec(), vec![0xff; 9], deep.into_bytes(), declared]
        {
            assert_eq!(found(&[&nothing]), None);
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
