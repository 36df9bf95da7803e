//! Requests to the simulated CC2 (dossier 3.4 to 3.6): registration, heartbeat and the method table.

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::machine::{Core, OperationEnd};
use super::outgoing::Wait;
use super::{Shared, Unregistered, files, report};
use crate::sim::elegoo_storage::base_name;
use crate::sim::physics::Stage;

/// Access-code and firmware management: no client may ever send these.
const FORBIDDEN: [i64; 5] = [1039, 1049, 1050, 1053, 1063];

/// How a request is answered.
pub enum Reply {
    Now(Value),
    /// `error_code` 0 when the mechanics are done.
    Later(Wait),
    /// Never.
    Mute,
}

pub fn code(error: i64) -> Reply {
    Reply::Now(json!({"error_code": error}))
}

/// Takes a publish of MQTT session `session`.
pub fn receive(shared: &Shared, session: u64, topic: &str, payload: &[u8]) {
    let Some(rest) = topic.strip_prefix(&format!("elegoo/{}/", shared.core().options.serial)) else { return };
    let Ok(message) = serde_json::from_slice::<Value>(payload) else { return };
    let mut core = shared.core();
    if core.faults.silent() {
        return;
    }
    if rest == "api_register" {
        register(&mut core, session, &message);
    } else if let Some(client) = rest.strip_suffix("/api_request") {
        request(shared, &mut core, session, client, &message);
    }
}

fn register(core: &mut Core, session: u64, message: &Value) {
    let word = |key| message.get(key).and_then(Value::as_str).unwrap_or_default();
    let (client, request) = (word("client_id"), word("request_id"));
    let limits = core.limits();
    let welcome = !core.faults.refuse_registration
        && !client.is_empty()
        && core.registry.register(client, session, &limits, Instant::now());
    let error = if client.is_empty() {
        "fail"
    } else if welcome {
        core.counters.registrations += 1;
        "ok"
    } else {
        core.counters.registrations_refused += 1;
        "too many clients"
    };
    let topic = format!("elegoo/{}/{request}/register_response", core.options.serial);
    core.send(topic, json!({"client_id": client, "error": error}).to_string());
}

fn request(shared: &Shared, core: &mut Core, session: u64, client: &str, message: &Value) {
    let (now, limits) = (Instant::now(), core.limits());
    let known = core.registry.knows(client, session, &limits, now);
    if message.get("type").and_then(Value::as_str) == Some("PING") {
        // One more message on the topic that bears only so many.
        if core.registry.swallows(&limits, now) {
            core.counters.swallowed += 1;
        } else if known {
            core.registry.ping(client, now);
            core.counters.pings += 1;
            if !core.faults.no_pongs {
                let topic = format!("elegoo/{}/{client}/api_response", core.options.serial);
                core.send(topic, json!({"type": "PONG"}).to_string());
            }
        }
        return;
    }
    let id = message.get("id").cloned().unwrap_or(Value::Null);
    let Some(method) = message.get("method").and_then(Value::as_i64) else { return };
    let params = message.get("params").cloned().unwrap_or(Value::Null);
    core.record(client, method, params.clone());
    if !known {
        core.counters.muted += 1;
        if core.options.unregistered == Unregistered::Error1000 {
            core.respond(client, &id, method, json!({"error_code": 1000}));
        }
        return;
    }
    let lost = core.faults.swallow.iter().position(|lost| *lost == method);
    if lost.is_some() || core.registry.swallows(&limits, now) {
        lost.map(|at| core.faults.swallow.remove(at));
        core.counters.swallowed += 1;
        return;
    }
    if FORBIDDEN.contains(&method) {
        core.counters.forbidden.push(message.to_string());
    }
    let empty = Map::new();
    let reply = match params.as_object().or(params.is_null().then_some(&empty)) {
        Some(params) => answer(shared, core, method, params),
        None => code(1003),
    };
    if let Some(at) = core.faults.lose_answers.iter().position(|lost| *lost == method) {
        core.faults.lose_answers.remove(at);
        return;
    }
    match reply {
        Reply::Now(result) => core.respond(client, &id, method, result),
        Reply::Later(wait) => core.respond_later(client, &id, method, wait),
        Reply::Mute => {}
    }
}

fn answer(shared: &Shared, core: &mut Core, method: i64, params: &Map<String, Value>) -> Reply {
    let writes = matches!(method, 1020..=1035 | 2001..=2004);
    if core.stopped && writes {
        return code(1009);
    }
    match method {
        1001 => Reply::Now(report::attributes(core)),
        1002 => Reply::Now(report::status(core)),
        1003..=1006 => Reply::Now(subset(core, method)),
        1007 => {
            core.emergency_stop();
            code(0)
        }
        1020 => start(shared, core, params),
        1021..=1023 => lifecycle(shared, core, method),
        1024..=1027 | 1032..=1035 => routine(core, method, params),
        1028 => heat(core, params),
        1029 => match params.get("power").and_then(Value::as_i64) {
            Some(power @ (0 | 1)) => {
                core.led = power;
                code(0)
            }
            _ => code(1003),
        },
        1030 => fans(core, params),
        1031 => speed(core, params),
        1036 | 1038 | 1042 | 1043 => housekeeping(shared, core, method, params),
        1044 | 1047 if is_mute(core) => Reply::Mute,
        1044..=1048 => files::answer(shared, core, method, params),
        1051 => render(core, params),
        1061 | 2006 => code(0),
        1062 => code(1100),
        1019 | 1054..=1058 | 2007 => code(1003),
        2001..=2005 => canvas(core, method, params),
        method if FORBIDDEN.contains(&method) => code(1003),
        _ => code(1001),
    }
}

/// History, camera address, host name.
fn housekeeping(shared: &Shared, core: &mut Core, method: i64, params: &Map<String, Value>) -> Reply {
    match method {
        1036 => Reply::Now(json!({"error_code": 0,
            "history_task_list": core.history.iter().map(|task| report::task(core, task)).collect::<Vec<_>>()})),
        1038 => match strings(params.get("list")) {
            Some(doomed) => {
                core.history.retain(|task| !doomed.contains(&task.id));
                code(0)
            }
            None => code(1003),
        },
        1042 if is_mute(core) => Reply::Mute,
        1042 => {
            let port = shared.addresses.get().map_or(8080, |at| at.camera.port());
            let url = format!("http://{}:{port}/?action=stream", core.options.bind);
            Reply::Now(json!({"error_code": 0, "url": url}))
        }
        1043 => match params.get("hostname").and_then(Value::as_str) {
            Some(name) if !name.is_empty() => {
                core.host_name = name.to_owned();
                code(0)
            }
            _ => code(1003),
        },
        _ => code(1001),
    }
}

/// 1042, 1044 and 1047 are not answered by 01.03.02.51 (dossier 3.6).
fn is_mute(core: &Core) -> bool {
    core.options.firmware == "01.03.02.51"
}

/// 1003 to 1006 answer parts of 1002; their exact fields are unknown.
fn subset(core: &Core, method: i64) -> Value {
    let status = report::status(core);
    let key = match method {
        1003 => "machine_status",
        1004 => "fans",
        1005 => "print_status",
        _ => "tool_head",
    };
    json!({"error_code": 0, key: status.get(key).cloned().unwrap_or(Value::Null)})
}

fn start(shared: &Shared, core: &mut Core, params: &Map<String, Value>) -> Reply {
    core.counters.starts_received += 1;
    if core.faults.busy_starts > 0 {
        core.faults.busy_starts -= 1;
        return code(1009);
    }
    let (Some(name), Some(medium)) =
        (params.get("filename").and_then(Value::as_str), params.get("storage_media").and_then(Value::as_str))
    else {
        return code(1003);
    };
    let config = match params.get("config") {
        None => Map::new(),
        Some(Value::Object(config)) => config.clone(),
        Some(_) => return code(1003),
    };
    let on = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    let Some(slots) = slot_map(config.get("slot_map")) else { return code(1003) };
    let storage = match shared.medium(core, Some(medium)) {
        Ok(storage) => storage,
        Err(error) => return code(error),
    };
    if core.busy() {
        return code(1009);
    }
    if base_name(name).as_deref() != Some(name) {
        core.violation(format!("start of {name:?}, which is not a bare name"));
    }
    let Some(entry) = storage.find(name) else { return code(1021) };
    if !entry.facts.commands {
        return code(1014);
    }
    match config.get("print_layout").map(|layout| layout.as_str()) {
        None | Some(Some("A")) => {}
        Some(Some("B")) => return code(1026),
        Some(_) => return code(1003),
    }
    if !core.detected && slots.is_empty() {
        return code(109);
    }
    if !core.start_job(&entry.name, storage, on("printer_check") || on("bedlevel_force")) {
        return code(1009);
    }
    core.counters.starts_accepted += 1;
    core.timelapse = on("delay_video");
    core.canvas.active = slots.first().copied().unwrap_or(core.canvas.active);
    let count = slots.len() as f64;
    core.swaps_due = slots.iter().enumerate().skip(1).map(|(n, tray)| (n as f64 / count, *tray)).collect();
    core.detected |= !slots.is_empty();
    core.mapping = slots;
    Reply::Later(Wait::Started)
}

/// Makes the video of the pictures that a job left.
fn render(core: &mut Core, params: &Map<String, Value>) -> Reply {
    let Some(url) = params.get("url").and_then(Value::as_str) else { return code(1003) };
    match core.history.iter_mut().find(|task| task.video > 0 && task.video_url() == url) {
        Some(task) => {
            task.video = 2;
            Reply::Now(json!({"error_code": 0, "url": url}))
        }
        None => code(1020),
    }
}

/// Trays in the order of the file's tools; `None` when the map is malformed.
fn slot_map(value: Option<&Value>) -> Option<Vec<i64>> {
    let Some(value) = value else { return Some(Vec::new()) };
    let number = |slot: &Value, key: &str| slot.get(key).and_then(Value::as_i64);
    value
        .as_array()?
        .iter()
        .map(|slot| number(slot, "t").and(number(slot, "canvas_id")).and_then(|_| number(slot, "tray_id")))
        .collect()
}

fn lifecycle(shared: &Shared, core: &mut Core, method: i64) -> Reply {
    if core.recovery.is_some() {
        return match method {
            1023 if core.recover(&shared.storage) => Reply::Later(Wait::Running),
            1022 => {
                core.recovery = None;
                core.file.clear();
                code(0)
            }
            _ => code(1010),
        };
    }
    let stage = core.machine.stage;
    if !stage.busy() {
        return code(1010);
    }
    if matches!(stage, Stage::Pausing | Stage::Resuming | Stage::Cancelling) {
        return code(1009);
    }
    match method {
        1021 if core.machine.pause() => {
            core.paused_sub = 2502;
            Reply::Later(Wait::Paused)
        }
        1022 if core.machine.cancel() => Reply::Later(Wait::Ended),
        1023 if stage == Stage::Paused && !core.detected => code(109),
        1023 if core.resume() => Reply::Later(Wait::Running),
        _ => code(1010),
    }
}

fn routine(core: &mut Core, method: i64, params: &Map<String, Value>) -> Reply {
    if method == 1027 {
        return travel(core, params);
    }
    if core.busy() {
        return code(1009);
    }
    match method {
        1024 => core.operate(3, &[1133, 1134, 1135, 1136], 40.0, OperationEnd::Loaded),
        1025 => core.operate(4, &[1142, 1143, 1144, 1145], 40.0, OperationEnd::Unloaded),
        1026 => core.operate(10, &[2801, 2801, 2801, 2802], 12.0, OperationEnd::Homed),
        1032 => core.operate(5, &[2901, 2901, 2901, 2902], 60.0, OperationEnd::MeshMade),
        1033 => core.operate(7, &[5934, 5934, 5935], 60.0, OperationEnd::Nothing),
        1034 => core.operate(6, &[1503, 1504, 1505], 60.0, OperationEnd::Nothing),
        _ => core.operate(8, &[0], 120.0, OperationEnd::Nothing),
    }
    Reply::Later(Wait::Operation)
}

fn travel(core: &mut Core, params: &Map<String, Value>) -> Reply {
    let axis = match params.get("axes").and_then(Value::as_str) {
        Some("x") => 0,
        Some("y") => 1,
        Some("z") => 2,
        _ => return code(1003),
    };
    let Some(distance) = params.get("distance").and_then(Value::as_f64) else { return code(1003) };
    if core.machine.stage.busy() {
        core.violation("move while a job holds the machine");
    }
    if core.busy() {
        return code(1009);
    }
    if !core.homed {
        core.violation("move before homing");
        return code(9999);
    }
    if let Some(place) = core.position.get_mut(axis) {
        *place = (*place + distance).clamp(0.0, 265.0);
    }
    Reply::Later(Wait::Until(core.now + 1.5))
}

fn heat(core: &mut Core, params: &Map<String, Value>) -> Reply {
    let wanted = |key| params.get(key).map(|value: &Value| value.as_f64());
    let (nozzle, bed) = (wanted("extruder"), wanted("heater_bed"));
    if nozzle.is_none() && bed.is_none() || nozzle == Some(None) || bed == Some(None) {
        return code(1003);
    }
    let model = core.options.model;
    if let Some(Some(target)) = nozzle {
        check_range(core, "extruder", target, model.nozzle_limit);
        if let Some(heater) = core.machine.nozzle() {
            heater.target = target.clamp(0.0, model.nozzle_limit);
        }
    }
    if let Some(Some(target)) = bed {
        check_range(core, "heater_bed", target, model.bed_limit);
        core.machine.bed.target = target.clamp(0.0, model.bed_limit);
    }
    code(0)
}

fn check_range(core: &mut Core, what: &str, value: f64, limit: f64) {
    if !(0.0..=limit).contains(&value) {
        core.violation(format!("{what} {value} is outside 0..{limit}"));
    }
}

fn fans(core: &mut Core, params: &Map<String, Value>) -> Reply {
    let mut any = false;
    for (key, place) in ["fan", "aux_fan", "box_fan"].into_iter().zip(0_usize..) {
        let Some(value) = params.get(key) else { continue };
        let Some(speed) = value.as_f64() else { return code(1003) };
        check_range(core, key, speed, 255.0);
        if let Some(fan) = core.fans.get_mut(place) {
            *fan = speed.clamp(0.0, 255.0);
        }
        any = true;
    }
    code(if any { 0 } else { 1003 })
}

fn speed(core: &mut Core, params: &Map<String, Value>) -> Reply {
    match params.get("mode").and_then(Value::as_i64) {
        Some(mode @ 0..=3) if core.machine.stage == Stage::Printing => {
            core.set_speed(mode);
            code(0)
        }
        Some(0..=3) => code(1010),
        _ => code(1003),
    }
}

fn canvas(core: &mut Core, method: i64, params: &Map<String, Value>) -> Reply {
    let tray = params.get("tray_id").and_then(Value::as_i64);
    let unit = params.get("canvas_id").and_then(Value::as_i64);
    match method {
        2001 | 2002 => {
            let Some(tray) = tray.filter(|id| (0..4).contains(id) && unit == Some(0)) else {
                return code(1003);
            };
            if core.busy() {
                return code(1009);
            }
            if method == 2001 {
                core.operate(3, &[1150, 1151, 1152, 1155, 1156, 1157], 60.0, OperationEnd::TrayLoaded(tray));
            } else {
                core.operate(4, &[1160, 1161, 1163, 1164, 1165], 60.0, OperationEnd::TrayUnloaded);
            }
            Reply::Later(Wait::Operation)
        }
        2003 => code(if unit == Some(0) && edit_tray(core, params).is_some() { 0 } else { 1003 }),
        2004 => match params.get("auto_refill").and_then(Value::as_bool) {
            Some(on) => {
                core.canvas.auto_refill = on;
                code(0)
            }
            None => code(1003),
        },
        _ => Reply::Now(json!({"error_code": 0, "canvas_info": core.canvas.info()})),
    }
}

/// Note the write keys: `filament_min_temp`, where 2005 reads `min_nozzle_temp` (dossier 3.6).
fn edit_tray(core: &mut Core, params: &Map<String, Value>) -> Option<()> {
    let word = |key: &str| params.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| params.get(key).and_then(Value::as_i64);
    let edited = (
        word("brand")?,
        word("filament_type")?,
        word("filament_name")?,
        word("filament_code")?,
        word("filament_color")?,
        number("filament_min_temp")?,
        number("filament_max_temp")?,
    );
    let tray = core.canvas.tray(number("tray_id")?)?;
    (tray.brand, tray.kind, tray.name, tray.code, tray.colour, tray.min_temp, tray.max_temp) = edited;
    Some(())
}

/// A list of strings.
pub fn strings(value: Option<&Value>) -> Option<Vec<String>> {
    value?.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}
