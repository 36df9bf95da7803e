//! Plain G-code: which part of a file is read, and what the slicers' settings mean.
//!
//! Only the first 512 KiB and the last 128 KiB are read, so the time does not depend on the file's length.
//! A layer count that no comment states is counted in files that fit into this, and otherwise computed from
//! heights as Moonraker does.

use std::io::{Read, Seek, SeekFrom};

use super::comments::Comments;
use super::types::{FilamentUse, FileMetadata, MetadataError, PlateInfo};

const HEAD_BYTES: u64 = 512 * 1024;
const TAIL_BYTES: u64 = 128 * 1024;
/// A printer has a few nozzles, a project a few dozen filaments.
pub(super) const MAX_LIST: usize = 256;

/// Reads head and tail of a G-code file.
pub(super) fn read<R: Read + Seek>(reader: &mut R) -> Result<FileMetadata, MetadataError> {
    let size = reader.seek(SeekFrom::End(0))?;
    let mut found = Comments::default();
    let whole = size <= HEAD_BYTES + TAIL_BYTES;
    let head = part(reader, 0, if whole { size } else { HEAD_BYTES })?;
    found.scan(&head, 0);
    if !whole {
        let start = size - TAIL_BYTES;
        let tail = part(reader, start, TAIL_BYTES)?;
        // The first line of the tail is a piece of one.
        let cut = tail.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let first_command = found.first_command;
        found.scan(tail.get(cut..).unwrap_or_default(), start + cut as u64);
        // A head without any command leaves the first one somewhere in the part that was not read.
        found.first_command = first_command;
    }
    let mut metadata = interpret(&mut found, whole);
    metadata.size = size;
    metadata.gcode_start_byte = found.first_command;
    metadata.gcode_end_byte = found.behind_last_command;
    let plate = plate(&metadata, &mut found);
    metadata.plates = vec![plate];
    Ok(metadata)
}

fn part<R: Read + Seek>(reader: &mut R, start: u64, length: u64) -> Result<Vec<u8>, MetadataError> {
    let mut bytes = Vec::new();
    reader.seek(SeekFrom::Start(start))?;
    reader.by_ref().take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn plate(metadata: &FileMetadata, found: &mut Comments) -> PlateInfo {
    let lengths = numbers(found.get("filament used [mm]"));
    let filaments = (0..metadata.filament_types.len().max(lengths.len())).map(|at| FilamentUse {
        id: u32::try_from(at + 1).unwrap_or(u32::MAX),
        kind: metadata.filament_types.get(at).cloned(),
        color: metadata.filament_colors.get(at).cloned(),
        used_m: lengths.get(at).map(|length| length / 1000.0),
        used_g: metadata.filament_weights.get(at).copied(),
        ..FilamentUse::default()
    });
    PlateInfo {
        index: 1,
        gcode_size: metadata.size,
        estimated_time_s: metadata.estimated_time_s,
        weight_g: metadata.filament_weight_total,
        layer_count: metadata.layer_count,
        object_height: metadata.object_height,
        nozzle_diameters: metadata.nozzle_diameters.clone(),
        bed_type: metadata.bed_type.clone(),
        label_object_enabled: metadata.label_object_enabled,
        filaments: filaments.collect(),
        objects: std::mem::take(&mut found.objects),
        ..PlateInfo::default()
    }
}

/// Gives the settings of all slicers one meaning; `whole` if every line of the file was seen.
pub(super) fn interpret(found: &mut Comments, whole: bool) -> FileMetadata {
    let layer_height = number(found.first(&["layer_height", "layer height"]));
    let (slicer, slicer_version) = found.slicer.take().unzip();
    let mut metadata = FileMetadata {
        slicer,
        slicer_version: slicer_version.flatten(),
        layer_height,
        first_layer_height: first_layer_height(found, layer_height),
        first_layer_extr_temp: list_head(
            found,
            &["first_layer_temperature", "nozzle_temperature_initial_layer"],
        )
        .or_else(|| found.first_targets.get(&104).copied()),
        first_layer_bed_temp: bed_temperature(found).or_else(|| found.first_targets.get(&140).copied()),
        chamber_temp: list_head(found, &["chamber_temperature", "chamber_temperatures"])
            .filter(|temperature| *temperature > 0.0),
        nozzle_diameters: numbers(found.get("nozzle_diameter")),
        filament_names: texts(found.get("filament_settings_id")),
        filament_types: texts(found.get("filament_type")),
        filament_colors: texts(found.first(&["filament_colour", "extruder_colour"])),
        filament_temps: numbers(found.first(&["temperature", "nozzle_temperature"])),
        filament_change_count: found
            .first(&["total filament change", "total toolchanges"])
            .and_then(|count| count.parse().ok()),
        printer_model: found.first(&["printer_model", "target_machine.name"]).map(str::to_owned),
        bed_type: found.get("curr_bed_type").map(str::to_owned),
        thumbnails: std::mem::take(&mut found.thumbnails),
        label_object_enabled: found.labels.then_some(true),
        ..FileMetadata::default()
    };
    let times = &["estimated printing time (normal mode)", "total estimated time", "model printing time"];
    metadata.estimated_time_s = found.first(times).and_then(duration);
    filament_amounts(found, &mut metadata);
    extent(found, whole, &mut metadata);
    if metadata.slicer.as_deref() == Some("Cura") {
        cura(found, &mut metadata);
    }
    metadata
}

/// A first layer height may be a percentage of the layer height (PrusaSlicer).
fn first_layer_height(found: &Comments, layer_height: Option<f64>) -> Option<f64> {
    let text = found.first(&["first_layer_height", "initial_layer_print_height"])?;
    match text.strip_suffix('%') {
        Some(percent) => Some(number(Some(percent))? * layer_height? / 100.0),
        None => number(Some(text)),
    }
}

/// OrcaSlicer and its relatives keep one temperature per build plate type.
fn bed_temperature(found: &Comments) -> Option<f64> {
    let key = match found.get("curr_bed_type").map(str::to_ascii_lowercase).as_deref() {
        Some(bed) if bed.contains("textured") => "textured_plate_temp_initial_layer",
        Some(bed) if bed.contains("supertack") => "supertack_plate_temp_initial_layer",
        Some(bed) if bed.contains("engineering") => "eng_plate_temp_initial_layer",
        Some(bed) if bed.contains("cool") => "cool_plate_temp_initial_layer",
        _ => "hot_plate_temp_initial_layer",
    };
    list_head(found, &["first_layer_bed_temperature", key])
}

fn filament_amounts(found: &Comments, metadata: &mut FileMetadata) {
    let lengths = numbers(found.first(&["filament used [mm]", "total filament length [mm]"]));
    metadata.filament_weights = numbers(found.first(&["filament used [g]", "total filament weight [g]"]));
    metadata.filament_total_mm = (!lengths.is_empty()).then(|| lengths.iter().sum());
    let sum = || (!metadata.filament_weights.is_empty()).then(|| metadata.filament_weights.iter().sum());
    metadata.filament_weight_total = number(found.get("total filament used [g]")).or_else(sum);
    metadata.referenced_tools = match found.get("filament") {
        // Bambu's header lists the filaments in use, from 1: `; filament: 1,3`.
        Some(list) => {
            list.split(',').filter_map(|id| id.trim().parse::<u32>().ok()?.checked_sub(1)).collect()
        }
        None if lengths.len() > 1 => used_tools(&lengths),
        None => Vec::new(),
    };
}

fn used_tools(amounts: &[f64]) -> Vec<u32> {
    let tools = amounts.iter().zip(0..).filter(|(amount, _)| **amount > 0.0);
    tools.map(|(_, tool)| tool).take(MAX_LIST).collect()
}

fn extent(found: &Comments, whole: bool, metadata: &mut FileMetadata) {
    let positive = |height: Option<f64>| height.filter(|height| *height > 0.0);
    metadata.object_height = positive(number(found.get("max_z_height")))
        .or(positive(found.last_z))
        .or(positive(number(found.get("maxz"))));
    let stated = found.first(&["total layer number", "total layers count", "total_layers", "layer_count"]);
    let counted = found.last_layer.map(|last| last.saturating_add(1)).or(Some(found.layers));
    metadata.layer_count = stated
        .and_then(|count| count.parse().ok())
        .or(counted.filter(|count| whole && *count > 0))
        .or_else(|| layers_from_heights(metadata));
}

fn layers_from_heights(metadata: &FileMetadata) -> Option<u32> {
    let (height, layer) = (metadata.object_height?, metadata.layer_height?);
    let first = metadata.first_layer_height.unwrap_or(layer);
    let layers = ((height - first) / layer).round() + 1.0;
    // The cast saturates; the range is checked first.
    (1.0..1e6).contains(&layers).then_some(layers as u32)
}

/// Cura's own header; CuraEngine run by itself leaves placeholders there (limits of an empty box). It names no filament:
/// who wants it puts lines of this form into the start G-code, as Moonraker reads them (moonraker `metadata.py`).
fn cura(found: &Comments, metadata: &mut FileMetadata) {
    // Cura leaves a word in braces that it does not know as it is.
    let named = |key: &str| found.get(key).filter(|text| !text.contains('{'));
    if metadata.filament_types.is_empty() {
        metadata.filament_types = texts(named("filament type"));
    }
    if metadata.filament_names.is_empty() {
        metadata.filament_names = texts(named("filament name"));
    }
    let is_placeholder = number(found.get("maxx")).is_some_and(|maximum| maximum < -1e6);
    let stated = number(found.get("time")).filter(|time| !is_placeholder && *time > 0.0);
    metadata.estimated_time_s = stated.or(found.time_elapsed).and_then(seconds);
    if is_placeholder {
        metadata.layer_height = None;
        return;
    }
    let lengths: Vec<f64> = found
        .get("filament used")
        .map(|list| list.split(',').filter_map(|length| number(length.trim().strip_suffix('m'))).collect())
        .unwrap_or_default();
    metadata.filament_total_mm = (!lengths.is_empty()).then(|| lengths.iter().sum::<f64>() * 1000.0);
    if lengths.len() > 1 {
        metadata.referenced_tools = used_tools(&lengths);
    }
}

/// `1d 2h 3m 4s` in seconds.
fn duration(text: &str) -> Option<u64> {
    let mut total: f64 = 0.0;
    for part in text.split_whitespace() {
        let (amount, unit) = part.split_at_checked(part.len().checked_sub(1)?)?;
        let factor = match unit {
            "d" => 86_400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            _ => return None,
        };
        total += number(Some(amount))? * factor;
    }
    seconds(total)
}

/// Whole seconds of a duration that a print can have (up to about three years).
pub(super) fn seconds(value: f64) -> Option<u64> {
    (0.0..1e8).contains(&value).then_some(value.round() as u64)
}

fn number(text: Option<&str>) -> Option<f64> {
    text?.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

fn numbers(text: Option<&str>) -> Vec<f64> {
    let parts = text.unwrap_or_default().split([',', ';']).map_while(|part| number(Some(part)));
    parts.take(MAX_LIST).collect()
}

fn list_head(found: &Comments, keys: &[&str]) -> Option<f64> {
    numbers(found.first(keys)).first().copied()
}

/// `A;B`, `"A";"B"`.
fn texts(text: Option<&str>) -> Vec<String> {
    let Some(text) = text else { return Vec::new() };
    let parts = text.split(';').map(|part| part.trim().trim_matches('"').to_owned());
    let list: Vec<String> = parts.take(MAX_LIST).collect();
    if list.iter().all(String::is_empty) { Vec::new() } else { list }
}
