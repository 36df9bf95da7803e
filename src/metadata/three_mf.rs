//! Sliced 3MF archives (`.gcode.3mf`): the entries of dossier bambu 5.6, in the meaning of 5.7.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use md5::{Digest, Md5};
use serde_json::Value;

use super::archive::{Archive, MAX_STREAM_BYTES};
use super::comments::Comments;
use super::gcode::MAX_LIST;
use super::slice_info::{self, SlicedPlate};
use super::types::{FilamentUse, FileMetadata, MetadataError, PlateInfo, Thumbnail};

const CONFIG_CAP: u64 = 8 * 1024 * 1024;
const PICTURE_CAP: u64 = 4 * 1024 * 1024;
const MD5_CAP: u64 = 1024;
/// Holds the header and the settings block of every slicer seen.
const GCODE_HEAD_BYTES: u64 = 128 * 1024;
/// The slicers offer at most 36 plates.
const MAX_PLATES: usize = 64;

/// Reads the metadata of all plates; the general fields describe the plate of the lowest number.
pub(super) fn read<R: Read + Seek>(reader: &mut R) -> Result<FileMetadata, MetadataError> {
    let size = reader.seek(SeekFrom::End(0))?;
    let mut archive = Archive::open(reader)?;
    let entries = sliced_plates(&archive)?;
    let config = |archive: &mut Archive<_>, name: &str| -> Result<Vec<u8>, MetadataError> {
        Ok(archive.read(name, CONFIG_CAP)?.unwrap_or_default())
    };
    let slice_info = config(&mut archive, "Metadata/slice_info.config")?;
    let mut sliced: BTreeMap<u32, SlicedPlate> =
        slice_info::plates(&slice_info).into_iter().map(|plate| (plate.info.index, plate)).collect();
    let names = slice_info::plate_names(&config(&mut archive, "Metadata/model_settings.config")?);
    let settings = config(&mut archive, "Metadata/project_settings.config")?;

    let mut metadata: Option<FileMetadata> = None;
    for (&index, entry) in &entries {
        let stated = sliced.remove(&index);
        let model_id = stated.as_ref().and_then(|plate| plate.printer_model_id.clone());
        let mut plate = stated.map_or_else(PlateInfo::default, |plate| plate.info);
        let mut head = gcode_head(&mut archive, entry)?;
        complete_plate(&mut archive, index, entry, &head, &mut plate)?;
        check_whole(&mut archive, entry)?;
        plate.name = names.get(&index).cloned();
        if metadata.is_none() {
            add_settings(&mut head, &settings);
            add_plate(&mut head, &plate);
            head.size = size;
            head.printer_model_id = model_id;
            head.slicer_version = head.slicer_version.or_else(|| slice_info::client_version(&slice_info));
        }
        let pictures = pictures(&mut archive, index)?;
        let metadata = metadata.get_or_insert(head);
        metadata.plates.push(plate);
        metadata.thumbnails.extend(pictures);
    }
    metadata.ok_or(MetadataError::NotSliced)
}

/// The G-code entries by plate number.
fn sliced_plates<R: Read + Seek>(archive: &Archive<R>) -> Result<BTreeMap<u32, String>, MetadataError> {
    let numbered = archive.names().iter().filter_map(|name| {
        let number = name.strip_prefix("Metadata/plate_")?.strip_suffix(".gcode")?;
        let number = number.parse().ok().filter(|number| *number > 0)?;
        Some((number, name.clone()))
    });
    let plates: BTreeMap<u32, String> = numbered.collect();
    match plates.len() {
        0 => Err(MetadataError::NotSliced),
        count if count > MAX_PLATES => {
            let reason = format!("it has {count} plates, at most {MAX_PLATES} are accepted");
            Err(MetadataError::Limit { reason })
        }
        _ => Ok(plates),
    }
}

fn gcode_head<R: Read + Seek>(archive: &mut Archive<R>, entry: &str) -> Result<FileMetadata, MetadataError> {
    let mut found = Comments::default();
    found.scan(&archive.head(entry, GCODE_HEAD_BYTES)?, 0);
    // Only the beginning was seen: its last layer says nothing about the height of the object.
    found.last_z = None;
    found.thumbnails.clear();
    let whole = archive.size(entry) <= GCODE_HEAD_BYTES;
    Ok(super::gcode::interpret(&mut found, whole))
}

/// Unpacks the G-code into nothing: a damaged plate is to be refused before the printer meets it.
fn check_whole<R: Read + Seek>(archive: &mut Archive<R>, entry: &str) -> Result<(), MetadataError> {
    archive.copy(entry, MAX_STREAM_BYTES, &mut io::sink()).map(drop)
}

fn complete_plate<R: Read + Seek>(
    archive: &mut Archive<R>,
    index: u32,
    entry: &str,
    head: &FileMetadata,
    plate: &mut PlateInfo,
) -> Result<(), MetadataError> {
    plate.index = index;
    plate.gcode_size = archive.size(entry);
    plate.gcode_entry = Some(entry.to_owned());
    plate.md5 = archive.read(&format!("{entry}.md5"), MD5_CAP)?.and_then(|text| digest_text(&text));
    plate.layer_count = head.layer_count;
    plate.object_height = head.object_height;
    plate.estimated_time_s = plate.estimated_time_s.or(head.estimated_time_s);
    plate.weight_g = plate.weight_g.or(head.filament_weight_total);
    if let Some(layout) = archive.read(&format!("Metadata/plate_{index}.json"), CONFIG_CAP)? {
        slice_info::add_layout(plate, &layout);
    }
    Ok(())
}

/// 32 hex digits, in upper case.
fn digest_text(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let is_digest = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| text.to_ascii_uppercase())
}

fn pictures<R: Read + Seek>(archive: &mut Archive<R>, plate: u32) -> Result<Vec<Thumbnail>, MetadataError> {
    let mut pictures = Vec::new();
    for name in [format!("Metadata/plate_{plate}.png"), format!("Metadata/plate_{plate}_small.png")] {
        let Some(png) = archive.read(&name, PICTURE_CAP)? else { continue };
        if let Some((width, height)) = super::thumbnails::png_size(&png) {
            pictures.push(Thumbnail { plate, width, height, png });
        }
    }
    Ok(pictures)
}

/// Fills what the G-code's own settings block left open from `project_settings.config`.
fn add_settings(metadata: &mut FileMetadata, json: &[u8]) {
    let Ok(settings) = serde_json::from_slice::<Value>(json) else { return };
    let texts = |key: &str| -> Vec<String> { list(settings.get(key)).take(MAX_LIST).collect() };
    let numbers =
        |key: &str| -> Vec<f64> { texts(key).iter().filter_map(|text| text.parse().ok()).collect() };
    let first = |key: &str| numbers(key).first().copied().filter(|number| number.is_finite());
    metadata.layer_height = metadata.layer_height.or_else(|| first("layer_height"));
    metadata.first_layer_height = metadata.first_layer_height.or_else(|| first("initial_layer_print_height"));
    let nozzle = first("nozzle_temperature_initial_layer");
    metadata.first_layer_extr_temp = metadata.first_layer_extr_temp.or(nozzle);
    metadata.chamber_temp =
        metadata.chamber_temp.or_else(|| first("chamber_temperatures").filter(|t| *t > 0.0));
    metadata.printer_model =
        metadata.printer_model.take().or_else(|| texts("printer_model").into_iter().next());
    metadata.bed_type = metadata.bed_type.take().or_else(|| texts("curr_bed_type").into_iter().next());
    let fill = |list: &mut Vec<String>, key: &str| {
        if list.is_empty() {
            *list = texts(key);
        }
    };
    fill(&mut metadata.filament_names, "filament_settings_id");
    fill(&mut metadata.filament_types, "filament_type");
    fill(&mut metadata.filament_colors, "filament_colour");
    if metadata.nozzle_diameters.is_empty() {
        metadata.nozzle_diameters = numbers("nozzle_diameter");
    }
    if metadata.filament_temps.is_empty() {
        metadata.filament_temps = numbers("nozzle_temperature");
    }
    let tools = texts("physical_extruder_map");
    metadata.nozzle_groups = tools.iter().map_while(|tool| tool.parse().ok()).collect();
}

/// A setting is a text, a number or a list of them.
fn list(value: Option<&Value>) -> Box<dyn Iterator<Item = String> + '_> {
    match value {
        Some(Value::Array(items)) => Box::new(items.iter().flat_map(|item| list(Some(item)))),
        Some(Value::String(text)) => Box::new(std::iter::once(text.clone())),
        Some(Value::Number(number)) => Box::new(std::iter::once(number.to_string())),
        _ => Box::new(std::iter::empty()),
    }
}

/// Lets the plate's own figures win over those of the whole project.
///
/// Names, types and colours stay those of the project, one per filament in id order, so that a filament's
/// `id - 1` is the index; those that the project does not tell are taken of the filaments the plate uses.
fn add_plate(metadata: &mut FileMetadata, plate: &PlateInfo) {
    metadata.estimated_time_s = plate.estimated_time_s;
    metadata.label_object_enabled = plate.label_object_enabled.or(metadata.label_object_enabled);
    metadata.bed_type = plate.bed_type.clone().or(metadata.bed_type.take());
    if !plate.nozzle_diameters.is_empty() {
        metadata.nozzle_diameters.clone_from(&plate.nozzle_diameters);
    }
    let used = &plate.filaments;
    if used.is_empty() {
        return;
    }
    let sum = |amounts: Vec<f64>| (!amounts.is_empty()).then(|| amounts.iter().sum::<f64>());
    let lengths = sum(used.iter().filter_map(|filament| filament.used_m).collect());
    metadata.filament_total_mm = lengths.map(|metres| metres * 1000.0).or(metadata.filament_total_mm);
    let weights: Vec<f64> = used.iter().filter_map(|filament| filament.used_g).collect();
    if !weights.is_empty() {
        metadata.filament_weights = weights_by_id(used);
    }
    metadata.filament_weight_total = sum(weights).or(plate.weight_g).or(metadata.filament_weight_total);
    metadata.referenced_tools = used.iter().filter_map(|filament| filament.id.checked_sub(1)).collect();
    metadata.name_filaments(used);
}

/// One weight per filament of the project, zero for those that this plate does not use.
fn weights_by_id(used: &[FilamentUse]) -> Vec<f64> {
    let mut weights = Vec::new();
    for filament in used {
        let Some(at) = filament.id.checked_sub(1).map(|at| at as usize).filter(|at| *at < MAX_LIST) else {
            continue;
        };
        if weights.len() <= at {
            weights.resize(at + 1, 0.0);
        }
        if let Some(weight) = weights.get_mut(at) {
            *weight += filament.used_g.unwrap_or(0.0);
        }
    }
    weights
}

/// See [`super::extract_plate`].
pub(super) fn extract_plate<R: Read + Seek, W: Write>(
    reader: &mut R,
    plate: u32,
    writer: &mut W,
) -> Result<u64, MetadataError> {
    let mut archive = Archive::open(reader)?;
    let plates = sliced_plates(&archive)?;
    let Some(entry) = plates.get(&plate) else {
        let available = plates.keys().map(u32::to_string).collect::<Vec<_>>().join(", ");
        return Err(MetadataError::NoSuchPlate { plate, available });
    };
    let stated = archive.read(&format!("{entry}.md5"), MD5_CAP)?.and_then(|text| digest_text(&text));
    let mut hashing = Hashing::new(writer);
    let written = archive.copy(entry, MAX_STREAM_BYTES, &mut hashing)?;
    if stated.is_some_and(|stated| stated != hashing.digest()) {
        return Err(MetadataError::ChangedAfterSlicing { plate });
    }
    Ok(written)
}

/// Passes bytes on and keeps their MD5.
pub(super) struct Hashing<'a, W> {
    inner: &'a mut W,
    hash: Md5,
}

impl<'a, W: Write> Hashing<'a, W> {
    pub(super) fn new(inner: &'a mut W) -> Self {
        Hashing { inner, hash: Md5::new() }
    }

    /// Upper case hex, as the `.md5` entries have it.
    pub(super) fn digest(self) -> String {
        data_encoding::HEXUPPER.encode(&self.hash.finalize())
    }
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
