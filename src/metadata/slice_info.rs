//! The XML and JSON entries of a sliced 3MF (dossier bambu 5.6); one bad field loses only that field.

use std::collections::BTreeMap;
use std::str::FromStr;

use roxmltree::{Document, Node, ParsingOptions};
use serde_json::Value;

use super::types::{FilamentUse, ObjectInfo, PlateInfo};

/// Elements and texts in one XML entry; a plate with a thousand objects has a few thousand.
const MAX_NODES: u32 = 200_000;
const MAX_OBJECTS: usize = 4096;

/// One `<plate>` of `slice_info.config`.
pub(super) struct SlicedPlate {
    /// What it says, without the G-code's own figures.
    pub(super) info: PlateInfo,
    /// Printer code (`C12`).
    pub(super) printer_model_id: Option<String>,
}

/// Reads `Metadata/slice_info.config`; text that is no XML gives nothing.
pub(super) fn plates(xml: &[u8]) -> Vec<SlicedPlate> {
    with_document(xml, |document| {
        let plates = document.descendants().filter(|node| node.has_tag_name("plate"));
        plates.filter_map(plate).collect()
    })
}

/// Plate names of `Metadata/model_settings.config`, by plate number.
pub(super) fn plate_names(xml: &[u8]) -> BTreeMap<u32, String> {
    with_document(xml, |document| {
        let plates = document.descendants().filter(|node| node.has_tag_name("plate"));
        let named = plates.filter_map(|node| {
            let values = values(node);
            let name = values.get("plater_name").filter(|name| !name.is_empty())?;
            Some((parsed(values.get("plater_id").copied())?, (*name).to_owned()))
        });
        named.collect()
    })
}

/// The version of the slicer in the header of `slice_info.config`.
pub(super) fn client_version(xml: &[u8]) -> Option<String> {
    with_document(xml, |document| {
        let mut items = document.descendants().filter(|node| node.has_tag_name("header_item"));
        let version = items.find(|node| node.attribute("key") == Some("X-BBL-Client-Version"));
        version.and_then(|node| node.attribute("value")).filter(|text| !text.is_empty()).map(str::to_owned)
    })
}

/// Reads an XML entry within limits; the default where it is damaged or hostile.
pub(super) fn with_document<T: Default>(xml: &[u8], read: impl FnOnce(&Document<'_>) -> T) -> T {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let Ok(text) = std::str::from_utf8(xml) else { return T::default() };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Document::parse_with_options(text, options).map(|document| read(&document)).unwrap_or_default()
}

fn values<'a>(node: Node<'a, '_>) -> BTreeMap<&'a str, &'a str> {
    let items = node.children().filter(|child| child.has_tag_name("metadata"));
    items.filter_map(|item| Some((item.attribute("key")?, item.attribute("value")?))).collect()
}

fn parsed<T: FromStr>(text: Option<&str>) -> Option<T> {
    text?.trim().parse().ok()
}

fn amount(text: Option<&str>) -> Option<f64> {
    parsed(text).filter(|amount: &f64| amount.is_finite() && *amount >= 0.0)
}

fn plate(node: Node<'_, '_>) -> Option<SlicedPlate> {
    let values = values(node);
    let get = |key: &str| values.get(key).copied().filter(|value| !value.is_empty());
    let of_tag =
        |tag: &'static str| node.children().filter(move |child| child.has_tag_name(tag)).take(MAX_OBJECTS);
    let filaments = of_tag("filament").filter_map(filament).collect();
    let objects = of_tag("object").map(|child| ObjectInfo {
        identify_id: parsed(child.attribute("identify_id")),
        name: child.attribute("name").unwrap_or_default().to_owned(),
        skipped: child.attribute("skipped") == Some("true"),
        polygon: Vec::new(),
    });
    let info = PlateInfo {
        index: parsed(get("index"))?,
        estimated_time_s: amount(get("prediction")).and_then(super::gcode::seconds),
        weight_g: amount(get("weight")),
        nozzle_diameters: get("nozzle_diameters").map(diameters).unwrap_or_default(),
        bed_type: get("curr_bed_type").map(str::to_owned),
        label_object_enabled: get("label_object_enabled").and_then(|text| text.parse().ok()),
        filaments,
        objects: objects.collect(),
        ..PlateInfo::default()
    };
    Some(SlicedPlate { info, printer_model_id: get("printer_model_id").map(str::to_owned) })
}

fn diameters(text: &str) -> Vec<f64> {
    text.split(',').filter_map(|text| amount(Some(text))).take(8).collect()
}

fn filament(node: Node<'_, '_>) -> Option<FilamentUse> {
    let text = |name: &str| node.attribute(name).filter(|text| !text.is_empty()).map(str::to_owned);
    Some(FilamentUse {
        id: parsed(node.attribute("id"))?,
        kind: text("type"),
        color: text("color"),
        used_m: amount(node.attribute("used_m")),
        used_g: amount(node.attribute("used_g")),
        tray_info_idx: text("tray_info_idx"),
        nozzle_group: parsed(node.attribute("group_id")),
    })
}

/// Adds what `plate_N.json` says: bed type, and the objects' outlines.
///
/// Outlines are joined to the objects of `slice_info.config` by name and order, since names repeat.
pub(super) fn add_layout(plate: &mut PlateInfo, json: &[u8]) {
    let Ok(layout) = serde_json::from_slice::<Value>(json) else { return };
    if plate.bed_type.is_none() {
        plate.bed_type = layout.get("bed_type").and_then(Value::as_str).map(str::to_owned);
    }
    if plate.nozzle_diameters.is_empty() {
        plate.nozzle_diameters = layout.get("nozzle_diameter").and_then(Value::as_f64).into_iter().collect();
    }
    let Some(boxes) = layout.get("bbox_objects").and_then(Value::as_array) else { return };
    let is_listed = !plate.objects.is_empty();
    for entry in boxes.iter().take(MAX_OBJECTS) {
        let name = entry.get("name").and_then(Value::as_str).unwrap_or_default();
        let Some(polygon) = entry.get("bbox").and_then(rectangle) else { continue };
        let free = |object: &&mut ObjectInfo| object.polygon.is_empty() && object.name == name;
        match plate.objects.iter_mut().find(free) {
            Some(object) => object.polygon = polygon,
            // Without a list in slice_info the outlines are the list; their ids are not those for skipping.
            None if !is_listed => {
                plate.objects.push(ObjectInfo { name: name.to_owned(), polygon, ..ObjectInfo::default() })
            }
            None => {}
        }
    }
}

fn rectangle(value: &Value) -> Option<Vec<[f64; 2]>> {
    let corners: Vec<f64> = value.as_array()?.iter().filter_map(Value::as_f64).collect();
    match corners.as_slice() {
        &[left, front, right, back] => Some(vec![[left, front], [right, front], [right, back], [left, back]]),
        _ => None,
    }
}
