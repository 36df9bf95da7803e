//! Payloads the simulated CC2 sends: exactly the keys of `fixtures/elegoo/*/cc2-*`.

use serde_json::{Map, Value, json};

use super::Options;
use super::machine::{Core, Task};
use crate::sim::elegoo_storage::{Entry, VIDEO};
use crate::sim::physics::Stage;

/// `cc2-discovery-reply`.
pub fn discovery(options: &Options, id: &Value) -> Value {
    json!({"id": id, "result": {"host_name": options.host_name, "machine_model": options.model.name,
        "sn": options.serial, "token_status": 1, "lan_status": i64::from(options.lan_only)}})
}

/// `cc2-1001-attributes`.
pub fn attributes(core: &Core) -> Value {
    json!({"error_code": 0, "hostname": core.host_name, "machine_model": core.options.model.name,
        "sn": core.options.serial, "ip": core.options.bind.to_string(), "protocol_version": "1.0.0",
        "hardware_version": "", "software_version": {"ota_version": core.options.firmware,
        "mcu_version": "00.00.00.00", "soc_version": ""}})
}

/// `cc2-1002-status-idle`; integers where the value is whole, as the captures show.
pub fn status(core: &Core) -> Value {
    let (status, sub) = core.codes();
    let machine = &core.machine;
    let view = core.swap_view();
    let (nozzle, target) = machine.nozzles.first().map_or((0.0, 0.0), |n| (n.actual, n.target));
    let mut exceptions = core.exceptions.clone();
    if view.is_some_and(|view| view.out_of_filament) {
        exceptions.push(1211);
    }
    let detected = core.detected && view.is_none_or(|view| view.detected);
    let [x, y, z] = core.position.map(rounded);
    let [part, auxiliary, chamber] = core.fans.map(rounded);
    let full = |on: bool| if on { 255 } else { 0 };
    let progress =
        machine.run.as_ref().filter(|_| !core.file.is_empty()).map_or(0, |r| (r.progress() * 100.0) as i64);
    json!({
        "error_code": 0,
        "gcode_move": {"speed": 3000, "speed_mode": core.speed_mode, "x": x, "y": y, "z": z, "extruder": 0},
        "extruder": {"temperature": rounded(nozzle), "target": rounded(target), "filament_detect_enable": 1,
            "filament_detected": i64::from(detected)},
        "heater_bed": {"temperature": rounded(machine.bed.actual), "target": rounded(machine.bed.target)},
        "fans": {"fan": {"speed": part}, "aux_fan": {"speed": auxiliary}, "box_fan": {"speed": chamber},
            "controller_fan": {"speed": full(status == 2)}, "heater_fan": {"speed": full(nozzle > 50.0)}},
        "machine_status": {"status": status, "sub_status": sub, "sub_status_reason_code": 0,
            "exception_status": exceptions, "progress": progress},
        "print_status": print_status(core),
        "led": {"status": core.led},
        "tool_head": {"homed_axes": if core.homed { "xyz" } else { "" }},
        "ztemperature_sensor": {"temperature": rounded(machine.chamber.actual), "measured_max_temperature": 0,
            "measured_min_temperature": 0},
        "external_device": {"camera": true, "u_disk": core.faults.usb_stick, "type": if core.options.canvas && core.canvas.connected { "0303" } else { "" }}})
}

fn print_status(core: &Core) -> Value {
    let run = core.machine.run.as_ref().filter(|_| !core.file.is_empty());
    let state = match core.machine.stage {
        _ if run.is_none() => "",
        Stage::Pausing | Stage::Paused => "paused",
        Stage::Finished => "complete",
        Stage::Cancelled => "cancelled",
        _ => "printing",
    };
    let speed = core.machine.speed.max(0.5);
    let keeps = core.options.keeps_id_for;
    let old_id = keeps > 0.0 && run.is_none_or(|run| run.elapsed < keeps);
    json!({"state": state, "filename": core.file,
        "current_layer": run.filter(|_| core.layers_known).map_or(0, |run| run.layer()),
        "print_duration": core.print_duration as i64,
        "remaining_time_sec": run.map_or(0, |run| run.remaining(speed) as i64),
        "total_duration": run.map_or(0, |run| run.elapsed as i64),
        "uuid": if old_id { &core.last_uuid } else { &core.uuid }, "bed_mesh_detect": core.mesh, "filament_detect": false, "enable": true})
}

/// One decimal; an integer where nothing is left behind the point.
fn rounded(value: f64) -> Value {
    let tenth = (value * 10.0).round() / 10.0;
    if tenth.fract() == 0.0 { json!(tenth as i64) } else { json!(tenth) }
}

/// `cc2-6000-delta`: the envelope around changed leaves.
pub fn push(id: i64, mut delta: Value) -> Value {
    if let Some(map) = delta.as_object_mut() {
        map.insert("error_code".to_owned(), json!(0));
    }
    json!({"id": id, "method": 6000, "result": delta})
}

/// Changed leaves only; arrays and scalars as a whole. `None` when nothing changed.
pub fn difference(old: &Value, new: &Value) -> Option<Value> {
    let (Some(before), Some(after)) = (old.as_object(), new.as_object()) else {
        return (old != new).then(|| new.clone());
    };
    let mut changed = Map::new();
    for (key, value) in after {
        let part = match before.get(key) {
            Some(previous) => difference(previous, value),
            None => Some(value.clone()),
        };
        if let Some(part) = part {
            changed.insert(key.clone(), part);
        }
    }
    (!changed.is_empty()).then_some(Value::Object(changed))
}

/// The common part of `cc2-response-1044-filelist` and `cc2-response-1046-filedetail`.
pub fn file(entry: &Entry, task_count: usize, last: u64) -> Value {
    let colours: Vec<Value> = entry
        .facts
        .colours
        .iter()
        .zip(entry.facts.types.iter())
        .enumerate()
        .map(|(t, (colour, name))| json!({"color": colour, "name": name, "t": t}))
        .collect();
    json!({"filename": entry.name, "size": entry.size, "layer": entry.facts.layers.unwrap_or(0),
        "print_time": entry.facts.seconds.unwrap_or(0.0) as u64,
        "total_filament_used": entry.facts.grams.unwrap_or(0.0), "color_map": colours,
        "create_time": entry.created, "last_print_time": last, "total_print_times": task_count})
}

/// One entry of `cc2-response-1036-history`.
pub fn task(core: &Core, task: &Task) -> Value {
    let id = if core.options.history_ids_differ { format!("task-{}", task.id) } else { task.id.clone() };
    json!({"task_id": id, "task_name": task.name, "task_status": task.status, "begin_time": task.begin,
        "end_time": task.end, "time_lapse_video_status": task.video,
        "time_lapse_video_url": if task.video == 0 { String::new() } else { task.video_url() },
        "time_lapse_video_size": if task.video == 2 { VIDEO.len() } else { 0 }, "time_lapse_video_duration": 0})
}
