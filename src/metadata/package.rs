//! Wraps plain G-code into a minimal `.gcode.3mf` (design D12).
//!
//! **Unverified on hardware.** No source documents the least archive a printer accepts; this is the safest
//! set of dossier bambu 5.7: content types, relations, an empty model, the G-code with its MD5, the two
//! configuration files and the plate's layout. The G-code gets the block guards without which a P1S hangs
//! at unpacking (dossier bambu 4.5, rule 6); commands are never changed.

use std::fmt::Write as _;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::archive::{ArchiveWriter, MAX_STREAM_BYTES};
use super::three_mf::Hashing;
use super::types::{FilamentUse, FileMetadata, MetadataError};

const GCODE_ENTRY: &str = "Metadata/plate_1.gcode";
/// Guards stand before the first command; settings blocks are about 30 kB long.
const GUARD_SEARCH_BYTES: u64 = 512 * 1024;

const CONTENT_TYPES: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
 <Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
 <Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/>
 <Default Extension="gcode" ContentType="text/x.gcode"/>
</Types>
"#;
const RELATIONS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">
 <Relationship Target="/3D/3dmodel.model" Id="rel-1" Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/>
</Relationships>
"#;
const MODEL: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<model unit="millimeter" xml:lang="en-US" xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02">
 <metadata name="Application">moongate</metadata>
 <resources/>
 <build/>
</model>
"#;

/// Writes the archive for a plain G-code file and returns the writer.
///
/// `metadata` is that of the G-code; `printer_model_id` is the code of the target (`C12`), which a printer
/// may compare with its own.
///
/// # Errors
/// [`MetadataError`] for reading and writing errors and for files of 4 GiB and more.
pub fn wrap<R: Read + Seek, W: Write + Seek>(
    gcode: &mut R,
    metadata: &FileMetadata,
    printer_model_id: Option<&str>,
    writer: W,
) -> Result<W, MetadataError> {
    let size = gcode.seek(SeekFrom::End(0))?;
    if size >= MAX_STREAM_BYTES {
        return Err(MetadataError::Limit {
            reason: format!("{size} bytes of G-code are too many for a plate"),
        });
    }
    let guards = Guards::find(gcode)?;
    gcode.rewind()?;
    let mut archive = ArchiveWriter::new(writer);
    archive.entry("[Content_Types].xml")?.write_all(CONTENT_TYPES.as_bytes())?;
    archive.entry("_rels/.rels")?.write_all(RELATIONS.as_bytes())?;
    archive.entry("3D/3dmodel.model")?.write_all(MODEL.as_bytes())?;
    let entry = archive.entry(GCODE_ENTRY)?;
    let mut hashing = Hashing::new(entry);
    hashing.write_all(guards.before(metadata).as_bytes())?;
    io::copy(gcode, &mut hashing)?;
    hashing.write_all(guards.after().as_bytes())?;
    let digest = hashing.digest();
    archive.entry("Metadata/plate_1.gcode.md5")?.write_all(digest.as_bytes())?;
    archive
        .entry("Metadata/slice_info.config")?
        .write_all(slice_info(metadata, printer_model_id).as_bytes())?;
    archive.entry("Metadata/model_settings.config")?.write_all(model_settings().as_bytes())?;
    archive.entry("Metadata/plate_1.json")?.write_all(layout(metadata).as_bytes())?;
    archive.finish()
}

/// Which block guards a G-code file has.
struct Guards {
    header: bool,
    config: bool,
    executable: bool,
}

impl Guards {
    fn find<R: Read + Seek>(gcode: &mut R) -> Result<Self, MetadataError> {
        let mut head = Vec::new();
        gcode.rewind()?;
        gcode.by_ref().take(GUARD_SEARCH_BYTES).read_to_end(&mut head)?;
        let mut guards = Guards { header: false, config: false, executable: false };
        for line in head.split(|byte| *byte == b'\n') {
            match line.trim_ascii() {
                b"; HEADER_BLOCK_START" => guards.header = true,
                b"; CONFIG_BLOCK_START" => guards.config = true,
                b"; EXECUTABLE_BLOCK_START" => guards.executable = true,
                _ => {}
            }
        }
        Ok(guards)
    }

    fn before(&self, metadata: &FileMetadata) -> String {
        let mut text = String::new();
        if !self.header {
            text.push_str("; HEADER_BLOCK_START\n");
            if let Some(time) = metadata.estimated_time_s {
                let time = super::inject::duration_text(time);
                let _ = writeln!(text, "; model printing time: {time}; total estimated time: {time}");
            }
            if let Some(layers) = metadata.layer_count {
                let _ = writeln!(text, "; total layer number: {layers}");
            }
            if let Some(height) = metadata.object_height {
                let _ = writeln!(text, "; max_z_height: {height:.2}");
            }
            text.push_str("; HEADER_BLOCK_END\n\n");
        }
        // OrcaSlicer for other vendors writes its settings block behind the commands; here it would be cut off.
        if !self.config {
            text.push_str("; CONFIG_BLOCK_START\n; CONFIG_BLOCK_END\n\n");
        }
        if !self.executable {
            text.push_str("; EXECUTABLE_BLOCK_START\n");
        }
        text
    }

    fn after(&self) -> &'static str {
        if self.executable { "" } else { "\n; EXECUTABLE_BLOCK_END\n" }
    }
}

fn slice_info(metadata: &FileMetadata, printer_model_id: Option<&str>) -> String {
    let mut values = vec![("index", "1".to_owned())];
    values.extend(printer_model_id.map(|id| ("printer_model_id", id.to_owned())));
    let diameters: Vec<String> = metadata.nozzle_diameters.iter().map(f64::to_string).collect();
    if !diameters.is_empty() {
        values.push(("nozzle_diameters", diameters.join(",")));
    }
    values.extend(metadata.estimated_time_s.map(|time| ("prediction", time.to_string())));
    values.extend(metadata.filament_weight_total.map(|weight| ("weight", format!("{weight:.2}"))));
    values.extend([("outside", "false".to_owned()), ("label_object_enabled", "false".to_owned())]);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<config>\n <plate>\n");
    for (key, value) in values {
        let _ = writeln!(text, "  <metadata key=\"{key}\" value=\"{}\"/>", escaped(&value));
    }
    for filament in used_filaments(metadata) {
        let kind = filament.kind.as_deref().map(escaped).unwrap_or_default();
        let color = filament.color.as_deref().map(escaped).unwrap_or_default();
        let (metres, grams) = (filament.used_m.unwrap_or(0.0), filament.used_g.unwrap_or(0.0));
        let _ = writeln!(
            text,
            "  <filament id=\"{}\" tray_info_idx=\"\" type=\"{kind}\" color=\"{color}\" \
             used_m=\"{metres:.2}\" used_g=\"{grams:.2}\"/>",
            filament.id
        );
    }
    text.push_str(" </plate>\n</config>\n");
    text
}

/// Slicers list unused filaments with a length of zero; the printer would want a slot for each.
fn used_filaments(metadata: &FileMetadata) -> impl Iterator<Item = &FilamentUse> {
    let filaments = metadata.plates.iter().flat_map(|plate| &plate.filaments);
    filaments.filter(|filament| filament.used_m != Some(0.0))
}

fn model_settings() -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<config>\n <plate>\n  \
         <metadata key=\"plater_id\" value=\"1\"/>\n  <metadata key=\"plater_name\" value=\"\"/>\n  \
         <metadata key=\"gcode_file\" value=\"{GCODE_ENTRY}\"/>\n </plate>\n</config>\n"
    )
}

fn layout(metadata: &FileMetadata) -> String {
    let ids: Vec<u32> = used_filaments(metadata).filter_map(|filament| filament.id.checked_sub(1)).collect();
    let mut layout = serde_json::json!({
        "bbox_objects": [],
        "filament_ids": ids,
        "filament_colors": metadata.filament_colors,
        "is_seq_print": false,
    });
    if let (Some(map), Some(diameter)) = (layout.as_object_mut(), metadata.nozzle_diameters.first()) {
        map.insert("nozzle_diameter".into(), serde_json::json!(diameter));
    }
    layout.to_string()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
