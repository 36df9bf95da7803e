//! AMS commands, and the categories `system`, `camera`, `xcam` and `update` (dossier 4.4, 4.6).

use serde_json::{Value, json};

use super::super::ams::{EXTERNAL, NOTHING, Slot};
use super::super::models::{Quirk, Reporting};
use super::super::printer::Printer;
use super::{Object, Taken, number, object, text};
use crate::sim::physics::Stage;

/// Runs one command of the remaining categories.
pub(super) fn run(p: &mut Printer, category: &str, command: &str, request: &Object) -> Taken {
    match (category, command) {
        ("system", "ledctrl") => {
            let (node, mode) = (text(request, "led_node"), text(request, "led_mode"));
            // A light that does not exist is acknowledged all the same (dossier 3.8).
            if let Some(light) = p.lights.iter_mut().find(|light| light.0 == node) {
                light.1 = mode.to_owned();
            }
            Taken::Ok
        }
        ("system", "set_accessories") => accessories(p, request),
        ("system", "get_accessories") => Taken::With(object(json!({
            "accessory_type": "nozzle",
            "nozzle_diameter": p.nozzle_diameter,
            "nozzle_type": p.nozzle_type.clone().unwrap_or_else(|| text(&p.template, "nozzle_type").to_owned()),
        }))),
        ("system", "uiop") => {
            p.print_error = 0;
            Taken::Ok
        }
        ("camera", "ipcam_record_set") => ipcam(p, "ipcam_record", request),
        ("camera", "ipcam_timelapse") => ipcam(p, "timelapse", request),
        ("camera", "ipcam_get_media_info") => {
            Taken::With(object(json!({ "is_enough": true, "file_count": 0 })))
        }
        ("xcam", "xcam_control_set") => {
            let module = text(request, "module_name").to_owned();
            let on = request.get("control").or_else(|| request.get("enable")).and_then(Value::as_bool);
            if let (true, Some(on)) = (p.xcam.contains_key(&module), on) {
                p.xcam.insert(module, on.into());
            }
            set_detector(p, module_bit(text(request, "module_name")), on);
            if let (true, Some(level)) =
                (p.xcam.contains_key("halt_print_sensitivity"), request.get("halt_print_sensitivity"))
            {
                p.xcam.insert("halt_print_sensitivity".into(), level.clone());
            }
            Taken::Ok
        }
        ("update" | "system", _) => Taken::Ok,
        _ => Taken::Silent,
    }
}

/// Bit of a detector in the decimal `xcam.cfg` (dossier 3.8).
fn module_bit(module: &str) -> Option<u32> {
    let known = [
        ("spaghetti_detector", 7),
        ("pileup_detector", 10),
        ("clump_detector", 13),
        ("airprint_detector", 16),
        ("plate_offset_switch", 20),
    ];
    known.iter().find(|(name, _)| *name == module).map(|(_, bit)| *bit)
}

fn set_detector(p: &mut Printer, bit: Option<u32>, on: Option<bool>) {
    let known = p.xcam.get("cfg").and_then(Value::as_u64);
    if let (Some(bits), Some(bit), Some(on)) = (known, bit, on) {
        p.xcam.insert("cfg".into(), (bits & !(1 << bit) | u64::from(on) << bit).into());
    }
}

fn accessories(p: &mut Printer, request: &Object) -> Taken {
    if let Some(diameter) = request.get("nozzle_diameter").and_then(Value::as_f64) {
        p.nozzle_diameter = diameter;
    }
    if let Some(kind) = request.get("nozzle_type").and_then(Value::as_str) {
        p.nozzle_type = Some(kind.to_owned());
    }
    Taken::Ok
}

fn ipcam(p: &mut Printer, key: &str, request: &Object) -> Taken {
    if p.ipcam.contains_key(key) {
        p.ipcam.insert(key.to_owned(), text(request, "control").into());
    }
    Taken::Ok
}

/// Loads a tray, the external spool or nothing; while a job prints only a paused one allows it.
pub(super) fn change(p: &mut Printer, target: u32) -> Taken {
    let busy = p.machine.stage.busy() && p.machine.stage != Stage::Paused;
    if busy || p.ams.changing() {
        return Taken::Refused("printer is busy");
    }
    let known = matches!(target, EXTERNAL | NOTHING) || p.ams.slot(target).is_some_and(|s| s.spool.is_some());
    if !known {
        return Taken::Refused("no filament in the slot");
    }
    let cold = p.machine.nozzle().is_some_and(|nozzle| nozzle.target < 170.0);
    p.ams.begin(target, cold);
    Taken::Ok
}

pub(super) fn ams_control(p: &mut Printer, param: &str) -> Taken {
    match param {
        "resume" | "done" => {
            if p.ams.retry() {
                p.print_error = 0;
                p.hms.clear();
                p.machine.resume();
            }
        }
        "reset" | "abort" => p.ams.stop(),
        "pause" => {}
        _ => return Taken::Refused("bad param"),
    }
    Taken::Ok
}

const SPOOL_FIELDS: [&str; 6] =
    ["tray_info_idx", "tray_color", "tray_type", "nozzle_temp_min", "nozzle_temp_max", "setting_id"];

/// Copies the fields a tray has, numbers as the text the tray shows.
fn describe(spool: &mut Object, request: &Object) {
    for key in SPOOL_FIELDS {
        let (Some(slot), Some(value)) = (spool.get_mut(key), request.get(key)) else { continue };
        *slot = match (&*slot, value) {
            (Value::String(_), Value::Number(number)) => number.to_string().into(),
            (_, value) => value.clone(),
        };
    }
    if let (Some(Value::Array(colours)), Some(colour)) = (spool.get_mut("cols"), request.get("tray_color")) {
        *colours = vec![colour.clone()];
    }
}

pub(super) fn filament(p: &mut Printer, request: &Object) -> Taken {
    let unit = number(request, "ams_id").unwrap_or(-1);
    if matches!(unit, 254 | 255) {
        // `tray_id` 0 fails on a P1S (dossier 4.6); 254 is what Studio sends.
        if number(request, "tray_id") == Some(0) && p.model.reporting == Reporting::Delta {
            return Taken::Refused("invalid tray_id");
        }
        describe(&mut p.ams.external, request);
        return Taken::Ok;
    }
    let slot = number(request, "slot_id").or_else(|| number(request, "tray_id"));
    match find(p, unit, slot) {
        Some(Slot { spool: Some(spool), .. }) => {
            describe(spool, request);
            p.ams.version += 1;
            Taken::Ok
        }
        Some(_) => Taken::Refused("tray is empty"),
        None => Taken::Refused("invalid tray_id"),
    }
}

fn find(p: &mut Printer, unit: i64, slot: Option<i64>) -> Option<&mut Slot> {
    let slot = usize::try_from(slot?).ok()?;
    p.ams.units.iter_mut().find(|u| i64::from(u.id) == unit)?.slots.get_mut(slot)
}

pub(super) fn rfid(p: &mut Printer, request: &Object) -> Taken {
    let id = number(request, "ams_id").unwrap_or(-1);
    let slot = number(request, "slot_id").and_then(|slot| usize::try_from(slot).ok());
    let index = p.ams.units.iter().position(|unit| i64::from(unit.id) == id);
    let (Some(index), Some(slot)) = (index, slot) else { return Taken::Refused("invalid slot") };
    let Some(unit) = p.ams.units.get(index).filter(|unit| slot < unit.slots.len()) else {
        return Taken::Refused("invalid slot");
    };
    if unit.tray_number(slot) == p.ams.now {
        return Taken::Refused("tray is loaded");
    }
    p.ams.reading = Some((index, slot, 4.0));
    Taken::Ok
}

pub(super) fn user_setting(p: &mut Printer, request: &Object) -> Taken {
    // As asked, as shown in `ams`, and the bit of `cfg` (dossier 3.11).
    let keys = [
        ("startup_read_option", "power_on_flag", 1),
        ("tray_read_option", "insert_flag", 0),
        ("calibrate_remain_flag", "calibrate_remain_flag", 17),
    ];
    for (asked, shown, bit) in keys {
        if let Some(on) = request.get(asked).and_then(Value::as_bool) {
            p.cfg = p.cfg & !(1 << bit) | u64::from(on) << bit;
        }
        if let (Some(on), true) =
            (request.get(asked).and_then(Value::as_bool), p.ams.shape.contains_key(shown))
        {
            p.ams.shape.insert(shown.to_owned(), on.into());
        }
        if asked == "calibrate_remain_flag"
            && let Some(on) = request.get(asked).and_then(Value::as_bool)
        {
            p.home_flag = p.home_flag & !(1 << 7) | u32::from(on) << 7;
        }
    }
    Taken::Ok
}

/// Only AMS 2 Pro and AMS HT can dry.
pub(super) fn dry(p: &mut Printer, request: &Object) -> Taken {
    if p.model.has(Quirk::IgnoresDrying) {
        return Taken::Ok;
    }
    let id = number(request, "ams_id").unwrap_or(-1);
    let Some(unit) = p.ams.units.iter_mut().find(|unit| i64::from(unit.id) == id) else {
        return Taken::Refused("no such AMS");
    };
    let limit = match unit.kind() {
        3 => 65,
        4 => 85,
        _ => return Taken::Refused("this AMS cannot dry"),
    };
    if number(request, "mode") == Some(0) {
        unit.drying = None;
        return Taken::Ok;
    }
    let heat = number(request, "temp").unwrap_or(0);
    let hours = number(request, "duration").unwrap_or(0);
    if !(45..=limit).contains(&heat) || !(1..=48).contains(&hours) {
        return Taken::Refused("temperature or duration out of range");
    }
    unit.drying = Some((hours as f64 * 60.0, heat, text(request, "filament").to_owned()));
    Taken::Ok
}
