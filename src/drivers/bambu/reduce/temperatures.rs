//! Nozzles, bed and chamber (bambu.md 3.7, 3.8).

use serde_json::Value;

use super::Source;
use crate::drivers::bambu::field::{at, bits32, list, num, packed, small, text};
use crate::drivers::bambu::models::Chamber;
use crate::model::{Heater, Nozzle};

/// The extruder in use: 0 right (main), 1 left.
pub(super) fn active_tool(source: Source<'_>) -> usize {
    let current = bits32(source.at("/device/extruder/state")).map(|state| (state >> 4) & 0xF);
    if source.row.dual() { current.unwrap_or(0) as usize } else { 0 }
}

pub(super) fn nozzles(source: Source<'_>) -> Vec<Nozzle> {
    let active = active_tool(source);
    (0..source.row.nozzles).map(|tool| nozzle(source, tool, tool == active)).collect()
}

fn nozzle(source: Source<'_>, tool: usize, active: bool) -> Nozzle {
    let extruder = by_id(source.at("/device/extruder/info"), tool);
    let fitted = by_id(source.at("/device/nozzle/info"), tool);
    let kind =
        text(at(fitted, "/type")).or_else(|| active.then(|| text(source.at("/nozzle_type"))).flatten());
    let plain = |pointer| if active { num(source.at(pointer)) } else { None };
    let diameter = num(at(fitted, "/diameter")).or_else(|| plain("/nozzle_diameter"));
    let heater = match packed(at(extruder, "/temp")) {
        Some((actual, target)) => Heater { actual: Some(actual), target: Some(target) },
        None => Heater { actual: plain("/nozzle_temper"), target: plain("/nozzle_target_temper") },
    };
    Nozzle {
        heater,
        diameter_mm: diameter.filter(|mm| (0.05..5.0).contains(mm)).map(|mm| (mm * 100.0).round() / 100.0),
        material: kind.as_deref().and_then(material),
        flow: kind.as_deref().and_then(flow),
        filament_detected: filament(source, extruder),
    }
}

/// Bit 1: filament at the extruder (bambu.md 3.12); printers without the block have one sensor for one nozzle.
fn filament(source: Source<'_>, extruder: &Value) -> Option<bool> {
    match bits32(at(extruder, "/info")) {
        Some(bits) => Some(bits & 2 != 0),
        None if source.row.dual() => None,
        None => small::<u8>(source.at("/hw_switch_state")).map(|state| state != 0),
    }
}

fn by_id(elements: &Value, id: usize) -> &Value {
    list(elements)
        .iter()
        .find(|element| small::<usize>(at(element, "/id")) == Some(id))
        .unwrap_or(&Value::Null)
}

/// The wall material by word or by the digits of a code such as `HS01-0.4` (bambu.md 3.8).
fn material(kind: &str) -> Option<String> {
    let word = match kind {
        "stainless_steel" | "hardened_steel" | "tungsten_carbide" => kind.replace('_', " "),
        code => match code.get(2..4)? {
            "00" => "stainless steel".to_owned(),
            "01" => "hardened steel".to_owned(),
            "05" => "tungsten carbide".to_owned(),
            _ => return None,
        },
    };
    Some(word)
}

/// The flow class by the second letter of the code; letters that no source explains stay unknown.
fn flow(kind: &str) -> Option<String> {
    let code = kind.strip_prefix('H')?;
    let word = match code.chars().next()? {
        'S' => "standard",
        'H' | 'E' => "high flow",
        'U' => "TPU",
        _ => return None,
    };
    Some(word.to_owned())
}

pub(super) fn bed(source: Source<'_>) -> Heater {
    let block = packed(source.at("/device/bed/info/temp")).or_else(|| packed(source.at("/device/bed_temp")));
    match block {
        Some((actual, target)) => Heater { actual: Some(actual), target: Some(target) },
        None => {
            Heater { actual: num(source.at("/bed_temper")), target: num(source.at("/bed_target_temper")) }
        }
    }
}

pub(super) fn chamber(source: Source<'_>) -> Heater {
    let heated = match source.row.chamber {
        Chamber::Faked => return Heater::default(),
        Chamber::Measured => false,
        Chamber::Heated { .. } => true,
    };
    let block = ["/device/ctc/info/temp", "/info/temp", "/device/cham_temp"];
    let reading = block.iter().find_map(|pointer| packed(source.at(pointer)));
    match reading {
        Some((actual, target)) => Heater { actual: Some(actual), target: heated.then_some(target) },
        None => Heater {
            actual: num(source.at("/chamber_temper")),
            target: if heated { num(source.at("/ctt")) } else { None },
        },
    }
}
