//! Builds `push_status` and `get_version` in the shape of the captured reports, with live values laid over them.
//!
//! A field is only written where the captured report of the model has it, and in the type it has there: so presence
//! and types equal the real printer's (dossier 3.4, 3.7, 3.8, 3.10, 3.11). What cannot be simulated keeps its value.

use serde_json::{Map, Value, json};

use super::ams::{EXTERNAL, NOTHING, Unit};
use super::models::{Chamber, Quirk};
use super::printer::Printer;
use crate::sim::physics::Stage;

type Object = Map<String, Value>;

/// Writes `value` where the template has `key`, as text where the template has text.
fn put(map: &mut Object, key: &str, value: impl Into<Value>) {
    if let Some(slot) = map.get_mut(key) {
        let value = value.into();
        *slot = match (&*slot, value) {
            (Value::String(_), Value::Number(number)) => Value::String(number.to_string()),
            (Value::Number(_), Value::String(text)) => {
                text.parse::<i64>().map_or(Value::String(text), Value::from)
            }
            (_, value) => value,
        };
    }
}

/// Whole numbers as integers, others in the 1/32 °C steps of the P1.
fn degrees(value: f64) -> Value {
    let value = (value * 32.0).round() / 32.0;
    if value.fract() == 0.0 { json!(value as i64) } else { json!(value) }
}

/// Low half actual, high half target (dossier 3.7).
fn packed(actual: f64, target: f64) -> i64 {
    (actual.round().max(0.0) as i64 & 0xFFFF) | ((target.round().max(0.0) as i64) << 16)
}

/// The whole report, without `msg`.
pub(super) fn full(p: &Printer) -> Object {
    let mut map = p.template.clone();
    job(&mut map, p);
    progress(&mut map, p);
    temperatures(&mut map, p);
    settings(&mut map, p);
    if let Some(Value::Object(device)) = map.get_mut("device") {
        device_block(device, p);
    }
    ams(&mut map, p);
    map.remove("msg");
    map.insert("command".into(), "push_status".into());
    map
}

fn job(map: &mut Object, p: &Printer) {
    let state = p.gcode_state();
    let none = |text: &str| if text.is_empty() { "0".to_owned() } else { text.to_owned() };
    put(map, "gcode_state", state);
    put(map, "gcode_file", p.job.gcode_file.as_str());
    put(map, "file", p.job.gcode_file.as_str());
    put(map, "subtask_name", p.job.subtask_name.as_str());
    put(map, "task_id", none(&p.job.task_id));
    put(map, "subtask_id", none(&p.job.subtask_id));
    put(map, "project_id", none(&p.job.project_id));
    put(map, "profile_id", none(&p.job.profile_id));
    put(map, "job_id", none(&p.job.subtask_id));
    let idle = if p.model.ram_path { "" } else { "idle" };
    put(map, "print_type", if p.machine.stage.busy() { p.job.print_type } else { idle });
    put(map, "plate_idx", p.job.plate);
    put(map, "plate_id", p.job.plate);
    put(map, "gcode_file_prepare_percent", p.prepare_percent());
    put(map, "prepare_per", p.prepare_percent());
    // 0, 4, 6 and 7 are captured; other states are not known, so a pause keeps showing 4.
    let number = match state {
        "IDLE" => 0,
        "FINISH" => 6,
        "FAILED" => 7,
        _ => 4,
    };
    put(map, "state", number);
    let legacy = match state {
        "RUNNING" | "PREPARE" => 2,
        "PAUSE" => 3,
        _ => 1,
    };
    put(map, "mc_print_stage", legacy);
    put(map, "mc_stage", legacy);
    put(map, "mc_print_sub_stage", 0);
    put(map, "stg_cur", p.stage());
    put(map, "stg", p.stages.clone());
    put(map, "s_obj", p.job.skipped.clone());
    put(map, "print_error", p.print_error);
    put(map, "mc_print_error_code", p.print_error.to_string());
    put(map, "fail_reason", p.print_error.to_string());
    let hms: Vec<Value> = p.hms.iter().map(|h| json!({"attr": h.attr, "code": h.code})).collect();
    put(map, "hms", hms);
    let mapping = p.job.mapping.iter().map(|tray| match tray {
        128.. => *tray << 8,
        0.. => ((tray / 4) << 8) | (tray % 4),
        _ => 65535,
    });
    put(map, "mapping", mapping.collect::<Vec<i64>>());
}

fn progress(map: &mut Object, p: &Printer) {
    let (percent, minutes, layer, layers) = p.shown;
    put(map, "mc_percent", percent);
    put(map, "percent", percent);
    put(map, "mc_remaining_time", minutes);
    put(map, "remain_time", minutes);
    put(map, "layer_num", layer);
    put(map, "total_layer_num", layers);
    if let Some(Value::Object(model)) = map.get_mut("3D") {
        put(model, "layer_num", layer);
        put(model, "total_layer_num", layers);
    }
    let printed = p.machine.run.as_ref().map_or(0.0, |run| run.printed);
    let line = if p.machine.stage.busy() { (printed * 20.0) as i64 } else { 0 };
    put(map, "mc_print_line_number", line);
}

fn temperatures(map: &mut Object, p: &Printer) {
    if let Some(nozzle) = p.machine.nozzles.get(p.machine.active_nozzle) {
        put(map, "nozzle_temper", degrees(nozzle.actual));
        put(map, "nozzle_target_temper", degrees(nozzle.target));
    }
    put(map, "bed_temper", degrees(p.machine.bed.actual));
    put(map, "bed_target_temper", degrees(p.machine.bed.target));
    if p.model.chamber != Chamber::Fake {
        put(map, "chamber_temper", degrees(p.machine.chamber.actual.round()));
        put(map, "ctt", degrees(p.chamber_target));
        if let Some(Value::Object(info)) = map.get_mut("info") {
            put(info, "temp", packed(p.machine.chamber.actual, p.chamber_target));
        }
    }
    let gear = |fan: u8| (f64::from(fan) * 15.0 / 255.0).round() as i64;
    let [part, aux, chamber] = p.fans;
    put(map, "cooling_fan_speed", gear(part));
    put(map, "big_fan1_speed", gear(aux));
    put(map, "big_fan2_speed", gear(chamber));
    put(map, "fan_gear", u32::from(part) | u32::from(aux) << 8 | u32::from(chamber) << 16);
    let hot = p.machine.nozzles.iter().any(|nozzle| nozzle.actual > 50.0);
    put(map, "heatbreak_fan_speed", if hot { 15 } else { 0 });
}

fn settings(map: &mut Object, p: &Printer) {
    put(map, "sequence_id", p.sequence);
    put(map, "spd_lvl", p.speed_level);
    put(map, "spd_mag", p.speed_percent());
    let lights: Vec<Value> =
        p.lights.iter().map(|(node, mode)| json!({"node": node, "mode": mode})).collect();
    put(map, "lights_report", lights);
    let mut flag = p.home_flag & !0x300 | if p.machine.homed { 0b111 } else { 0 };
    flag |= u32::from(p.storage) << 8;
    let x1 = matches!(p.model.prefix, "00M" | "00W" | "03W");
    flag |= u32::from(p.door_open && x1) << 23;
    put(map, "home_flag", flag as i32);
    put(map, "sdcard", p.storage);
    bits(map, "cfg", |_| p.cfg);
    bits(map, "fun", |fun| fun & !(1 << 29) | u64::from(p.gated) << 29);
    bits(map, "stat", |stat| stat & !(1 << 23) | u64::from(p.door_open) << 23);
    put(map, "xcam", p.xcam.clone());
    put(map, "ipcam", p.ipcam.clone());
    put(map, "nozzle_diameter", p.nozzle_diameter.to_string());
    if let Some(kind) = &p.nozzle_type {
        put(map, "nozzle_type", kind.as_str());
    }
    let wobble = (p.wall / 4.0) as i64 % 4;
    put(map, "wifi_signal", format!("-{}dBm", 44 + wobble));
    put(map, "hw_switch_state", i64::from(p.ams.now != NOTHING));
}

/// Changes a hex field in place, keeping the case the model uses.
fn bits(map: &mut Object, key: &str, change: impl Fn(u64) -> u64) {
    let Some(text) = map.get(key).and_then(Value::as_str) else { return };
    let Ok(old) = u64::from_str_radix(text, 16) else { return };
    let new = change(old);
    let lower = text.chars().any(|c| c.is_ascii_lowercase());
    let text = if lower { format!("{new:x}") } else { format!("{new:X}") };
    map.insert(key.to_owned(), text.into());
}

fn device_block(device: &mut Object, p: &Printer) {
    let bed = packed(p.machine.bed.actual, p.machine.bed.target);
    put(device, "bed_temp", bed);
    if let Some(Value::Object(info)) = device.get_mut("bed").and_then(|b| b.get_mut("info")) {
        put(info, "temp", bed);
    }
    let chamber = packed(p.machine.chamber.actual, p.chamber_target);
    put(device, "cham_temp", chamber);
    if let Some(Value::Object(ctc)) = device.get_mut("ctc") {
        put(ctc, "state", if p.chamber_target > p.machine.chamber.actual { 2 } else { 0 });
        if let Some(Value::Object(info)) = ctc.get_mut("info") {
            put(info, "temp", chamber);
        }
    }
    if let Some(Value::Object(extruder)) = device.get_mut("extruder") {
        extruders(extruder, p);
    }
    if let Some(Value::Object(airduct)) = device.get_mut("airduct") {
        put(airduct, "modeCur", p.airduct_mode);
        for part in airduct.get_mut("parts").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(part) = part.as_object_mut() else { continue };
            let fan = match part.get("id").and_then(Value::as_i64) {
                Some(16) => p.fans[0],
                Some(32 | 160) => p.fans[1],
                Some(48) => p.fans[2],
                _ => 0,
            };
            let percent = i64::from(fan) * 100 / 255;
            put(part, "state", percent);
            put(part, "tar_state", percent);
        }
    }
    let nozzles = device.get_mut("nozzle").and_then(|n| n.get_mut("info")).and_then(Value::as_array_mut);
    for entry in nozzles.into_iter().flatten().filter_map(Value::as_object_mut) {
        put(entry, "diameter", p.nozzle_diameter);
    }
}

fn extruders(extruder: &mut Object, p: &Printer) {
    let count = p.machine.nozzles.len() as i64;
    let active = p.machine.active_nozzle as i64;
    put(extruder, "state", count | active << 4 | active << 8);
    let list = extruder.get_mut("info").and_then(Value::as_array_mut);
    for entry in list.into_iter().flatten().filter_map(Value::as_object_mut) {
        let id = entry.get("id").and_then(Value::as_i64).unwrap_or(0);
        let Some(nozzle) = usize::try_from(id).ok().and_then(|id| p.machine.nozzles.get(id)) else {
            continue;
        };
        put(entry, "temp", packed(nozzle.actual, nozzle.target));
        let mine = id == active;
        let none = if id == 1 { 0xFEFF } else { 0xFFFF };
        let slot = |tray: u32| match tray {
            _ if !mine => none,
            NOTHING => none,
            EXTERNAL => (if id == 1 { 254 } else { 255 }) << 8,
            tray => p.ams.locate(tray).map_or(none, |(unit, slot)| {
                p.ams.units.get(unit).map_or(none, |unit| i64::from(unit.id) << 8 | slot as i64)
            }),
        };
        put(entry, "filam_bak", if mine { super::feed::backups(&p.ams.units) } else { Vec::new() });
        put(entry, "snow", slot(p.ams.now));
        put(entry, "spre", slot(p.ams.previous));
        put(entry, "star", slot(p.ams.target));
        put(entry, "stat", if mine { status(p) } else { 0 });
        put(entry, "info", 8 | if mine && p.ams.now != NOTHING { 0b10 } else { 0 });
    }
}

/// `ams_status`: the step under way, 0x300 while a job prints from the AMS.
fn status(p: &Printer) -> i64 {
    match p.ams.status() {
        Some(step) => i64::from(step),
        None if p.machine.stage.busy() && p.machine.stage != Stage::Loading => 0x300,
        None => 0,
    }
}

fn ams(map: &mut Object, p: &Printer) {
    put(map, "ams_status", status(p));
    put(map, "ams_rfid_status", if p.ams.reading.is_some() { 2 } else { 0 });
    put(map, "filam_bak", super::feed::backups(&p.ams.units));
    put(map, "vt_tray", p.ams.external.clone());
    let id = p.ams.external.get("id");
    for slot in map.get_mut("vir_slot").and_then(Value::as_array_mut).into_iter().flatten() {
        if slot.get("id") == id {
            *slot = Value::Object(p.ams.external.clone());
        }
    }
    if !map.contains_key("ams") {
        return;
    }
    let mut ams = p.ams.shape.clone();
    let (mut units, mut trays) = (0u32, 0u32);
    let mut list = Vec::new();
    for unit in &p.ams.units {
        units |= 1 << unit.unit_bit();
        let filled = unit.slots.iter().enumerate().filter(|(_, slot)| slot.spool.is_some());
        trays |= filled.fold(0, |bits, (slot, _)| bits | 1 << unit.tray_bit(slot));
        list.push(Value::Object(unit_block(unit)));
    }
    let reading = p.ams.reading.and_then(|(unit, slot, _)| Some(1 << p.ams.units.get(unit)?.tray_bit(slot)));
    let hex = |value: u32| format!("{value:x}");
    put(&mut ams, "ams_exist_bits", hex(units));
    put(&mut ams, "ams_exist_bits_raw", hex(units));
    put(&mut ams, "tray_exist_bits", hex(trays));
    put(&mut ams, "tray_is_bbl_bits", hex(trays));
    put(&mut ams, "tray_read_done_bits", hex(trays | p.ams.read_done));
    put(&mut ams, "tray_reading_bits", hex(reading.unwrap_or(0)));
    put(&mut ams, "tray_now", p.ams.now.to_string());
    put(&mut ams, "tray_pre", p.ams.previous.to_string());
    put(&mut ams, "tray_tar", p.ams.target.to_string());
    put(&mut ams, "version", p.ams.version);
    if p.template.get("ams").is_some_and(|shape| shape.get("ams").is_some()) {
        ams.insert("ams".into(), list.into());
    }
    map.insert("ams".into(), ams.into());
}

fn unit_block(unit: &Unit) -> Object {
    let mut map = unit.shape.clone();
    put(&mut map, "temp", format!("{:.1}", unit.temperature));
    let minutes = unit.drying.as_ref().map_or(0, |(minutes, _, _)| minutes.ceil() as i64);
    put(&mut map, "dry_time", minutes);
    bits(&mut map, "info", |info| {
        let info = info & !0xF0 & !(0xF << 22);
        if unit.drying.is_some() { info | 2 << 4 | 1 << 22 } else { info }
    });
    if let Some(Value::Object(setting)) = map.get_mut("dry_setting") {
        let (_, heat, filament) = unit.drying.clone().unwrap_or((0.0, -1, String::new()));
        put(setting, "dry_temperature", heat);
        put(setting, "dry_filament", filament);
        put(setting, "dry_duration", if heat < 0 { -1 } else { minutes / 60 });
    }
    let trays = unit.slots.iter().enumerate().map(|(index, slot)| {
        let mut tray = slot.spool.clone().unwrap_or_default();
        tray.insert("id".into(), index.to_string().into());
        if slot.has_state {
            // Bit 0 = spool present: 11 known spool, 10 empty with remembered data (dossier 3.12).
            tray.insert("state".into(), if slot.spool.is_some() { 11 } else { 10 }.into());
        }
        Value::Object(tray)
    });
    map.insert("tray".into(), trays.collect::<Vec<_>>().into());
    map
}

/// The answer to `get_version`, with this printer's name, firmware and serial.
pub(super) fn versions(p: &Printer, sequence_id: Value) -> Value {
    let mut answer: Value = serde_json::from_str(p.model.versions).unwrap_or_default();
    let Some(info) = answer.get_mut("info").and_then(Value::as_object_mut) else { return Value::Null };
    info.insert("command".into(), "get_version".into());
    info.insert("sequence_id".into(), sequence_id);
    let Some(list) = info.get_mut("module").and_then(Value::as_array_mut) else { return Value::Null };
    for (index, module) in list.iter_mut().filter_map(Value::as_object_mut).enumerate() {
        if module.get("name").and_then(Value::as_str) == Some("ota") {
            put(module, "sn", p.serial.as_str());
            put(module, "sw_ver", p.model.firmware);
            put(module, "product_name", p.model.product_name);
        } else if module.get("sn").and_then(Value::as_str) == Some("REDACTED") {
            put(module, "sn", format!("00X00A{index:09}"));
        }
        if module.get("project_name").and_then(Value::as_str).is_some_and(|name| !name.is_empty()) {
            put(module, "project_name", p.model.code);
        }
        if p.anonymous {
            module.remove("product_name");
            module.remove("project_name");
        }
    }
    if p.model.has(Quirk::UnlistedAms) {
        list.push(json!({"name": "n3f/0", "sw_ver": "03.00.21.29", "hw_ver": "N3F05",
            "loader_ver": "00.00.00.00", "sn": "19C06A000000001", "product_name": "AMS 2 Pro (1)",
            "visible": true, "flag": 0}));
    }
    answer
}
