//! SDCP commands of the simulated CC1 (dossier 2.9): closed list, exact payloads, everything else is a crash.

use std::fs;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::faults::Answers;
use super::machine::Core;
use super::{Shared, report};
use crate::sim::elegoo_storage::{PARTIAL, base_name};
use crate::sim::physics::Stage;

/// The root of the USB stick.
const STICK: &str = "/usb";

/// What a text frame leads to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Frames for the sender, in order.
    pub frames: Vec<String>,
    /// New push period asked for with Cmd 512.
    pub subscribe: Option<Duration>,
    /// The frame kills the process.
    pub crash: bool,
}

/// The payload does not fit the command.
struct Malformed;

type Reply = Result<Value, Malformed>;

/// Takes one text frame from `client`.
pub fn receive(shared: &Shared, client: &str, text: &str) -> Outcome {
    if text == "ping" {
        return Outcome { frames: vec!["pong".to_owned()], ..Outcome::default() };
    }
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    let inner = parsed.as_ref().and_then(|frame| frame.get("Data"));
    let command = inner.and_then(|data| data.get("Cmd")).and_then(Value::as_i64);
    let body = inner.and_then(|data| data.get("Data")).and_then(Value::as_object);
    let request = inner.and_then(|data| data.get("RequestID")).and_then(Value::as_str).unwrap_or_default();
    let (Some(command), Some(body)) = (command, body) else { return offence(shared, text) };
    shared.core().record(client, command, Value::Object(body.clone()));
    if shared.core().faults.swallows(command) {
        return Outcome::default();
    }
    match answer(shared, command, body) {
        Err(Malformed) => offence(shared, text),
        Ok(data) => {
            let reply = |data| report::response(&shared.options, command, request, data).to_string();
            let frames = match command {
                0 | 1 => two_frames(shared, command, data, reply),
                _ => vec![reply(data)],
            };
            let subscribe = (command == 512).then(|| {
                let period = body.get("TimePeriod").and_then(Value::as_u64).unwrap_or(1000);
                Duration::from_millis(period.clamp(100, 60_000))
            });
            Outcome { frames, subscribe, crash: false }
        }
    }
}

/// The answer to Cmd 0 or 1: Ack and content.
fn two_frames(shared: &Shared, command: i64, ack: Value, reply: impl Fn(Value) -> String) -> Vec<String> {
    let (key, frame) = match command {
        0 => ("Status", status_frame(shared)),
        _ => ("Attributes", attributes_frame(shared)),
    };
    let how = shared.core().faults.answers;
    match how {
        Answers::TwoFrames => vec![reply(ack), frame],
        Answers::FrameOnly => vec![frame],
        Answers::AckOnly => vec![reply(ack)],
        Answers::Combined => {
            let content: Value = serde_json::from_str(&frame).unwrap_or_default();
            vec![reply(json!({"Ack": 0, key: content.get(key)}))]
        }
    }
}

/// The status frame of this moment.
pub fn status_frame(shared: &Shared) -> String {
    report::status(&shared.core()).to_string()
}

/// The attributes frame of this moment.
pub fn attributes_frame(shared: &Shared) -> String {
    let viewers = shared.viewers.read().open;
    let free = if shared.core().faults.disk_full {
        0
    } else {
        shared.options.capacity.saturating_sub(shared.storage.used())
    };
    report::attributes(&shared.core(), free, viewers).to_string()
}

fn offence(shared: &Shared, text: &str) -> Outcome {
    let frame: String = text.chars().take(2000).collect();
    let mut core = shared.core();
    core.counters.offences.push(frame);
    let crash = core.counters.offences.len() > shared.options.tolerated_offences;
    Outcome { crash, ..Outcome::default() }
}

fn ack(code: i64) -> Reply {
    Ok(json!({"Ack": code}))
}

fn answer(shared: &Shared, command: i64, body: &Map<String, Value>) -> Reply {
    if matches!(command, 0 | 1 | 129 | 130 | 131 | 134 | 320 | 324) && !body.is_empty() {
        return Err(Malformed);
    }
    let mut core = shared.core();
    if core.machine.stage.busy() && matches!(command, 134 | 192 | 255 | 322 | 387 | 401 | 402) {
        core.violation(format!("command {command} while a job holds the machine"));
        if matches!(command, 401 | 402) {
            return ack(1);
        }
    }
    match command {
        0 | 1 | 134 => ack(0),
        128 => start(shared, &mut core, body),
        129 => Ok(job_ack(core.pause())),
        130 => Ok(job_ack(core.cancel())),
        131 => Ok(job_ack(core.resume())),
        192 => {
            core.name = text(body, "Name")?.to_owned();
            ack(0)
        }
        255 => abort_transfer(shared, &mut core, body),
        258..=260 | 320..=322 => library(shared, &mut core, command, body),
        324 if shared.options.is_v14() => Ok(report::canvas(&core)),
        386 => video(shared, &mut core, body),
        387 => {
            core.timelapse = flag(body, "Enable")?;
            ack(0)
        }
        401 => jog(&mut core, body),
        402 => match text(body, "Axis")? {
            "X" | "Y" | "Z" | "XY" | "XYZ" => {
                core.home();
                core.machine.homed = true;
                ack(0)
            }
            _ => Err(Malformed),
        },
        403 => parameters(shared, &mut core, body),
        512 => number(body, "TimePeriod").and_then(|_| ack(0)),
        _ => Err(Malformed),
    }
}

/// Files and history.
fn library(shared: &Shared, core: &mut Core, command: i64, body: &Map<String, Value>) -> Reply {
    match command {
        258 => {
            let root = text(body, "Url")?.trim_end_matches('/');
            let files = match root {
                "/local" => shared.storage.list(),
                STICK if core.faults.usb_stick => shared.stick.list(),
                _ => Vec::new(),
            };
            let files: Vec<Value> = files.iter().map(|entry| report::file(entry, root)).collect();
            Ok(json!({"Ack": 0, "FileList": files}))
        }
        259 => delete(shared, core, body),
        260 => Ok(match shared.storage.find(text(body, "Url")?) {
            Some(entry) => {
                json!({"Ack": 0, "FileInfo": {"EstTime": entry.facts.seconds.unwrap_or(0.0) as u64,
                "EstWeight": entry.facts.grams.unwrap_or(0.0)}})
            }
            None => json!({"Ack": 2}),
        }),
        320 => Ok(json!({"Ack": 0,
            "HistoryData": core.history.iter().map(|record| record.task.clone()).collect::<Vec<_>>()})),
        321 => {
            let wanted = strings(body, "Id")?;
            let found = core.history.iter().filter(|record| wanted.contains(&record.task));
            let details: Vec<Value> = found.map(|record| report::detail(&shared.options, record)).collect();
            Ok(json!({"Ack": 0, "HistoryDetailList": details}))
        }
        322 => {
            let doomed = strings(body, "Id")?;
            core.history.retain(|record| !doomed.contains(&record.task));
            ack(0)
        }
        _ => Err(Malformed),
    }
}

fn job_ack(job: bool) -> Value {
    json!({"Ack": i64::from(!job)})
}

fn start(shared: &Shared, core: &mut Core, body: &Map<String, Value>) -> Reply {
    core.counters.starts_received += 1;
    let file = text(body, "Filename")?;
    number(body, "StartLayer")?;
    let calibrate = flag(body, "Calibration_switch")? == 1;
    let platform = flag(body, "PrintPlatformType")?;
    let timelapse = flag(body, "Tlp_Switch")?;
    let slots =
        body.get("slot_map").map_or(Ok(&[][..]), |map| map.as_array().map(Vec::as_slice).ok_or(Malformed))?;
    for slot in slots {
        let slot = slot.as_object().ok_or(Malformed)?;
        for key in ["t", "canvas_id", "tray_id"] {
            number(slot, key)?;
        }
    }
    if core.faults.busy_starts > 0 {
        core.faults.busy_starts -= 1;
        return ack(1);
    }
    if core.busy() {
        return ack(1);
    }
    let name = base_name(file).unwrap_or_default();
    if core.corrupt.contains(&name) {
        return ack(3);
    }
    let storage = match file.strip_prefix(STICK) {
        Some(_) if core.faults.usb_stick => &shared.stick,
        Some(_) => return ack(2),
        None => &shared.storage,
    };
    let Some(entry) = storage.find(&name) else { return ack(2) };
    if !entry.facts.commands {
        return ack(6);
    }
    if !core.start_job(&name, storage, calibrate) {
        return ack(1);
    }
    core.platform = platform;
    core.timelapse = timelapse;
    let first = slots.first().and_then(|slot| slot.get("tray_id")).and_then(Value::as_i64);
    core.active_tray = first.unwrap_or(core.active_tray);
    core.counters.starts_accepted += 1;
    ack(0)
}

fn abort_transfer(shared: &Shared, core: &mut Core, body: &Map<String, Value>) -> Reply {
    let (uuid, _) = (text(body, "Uuid")?, text(body, "FileName")?);
    let code = match &core.transfer {
        None => 1,
        Some(transfer) if transfer.complete => 2,
        Some(transfer) if transfer.uuid != uuid => 3,
        Some(transfer) => {
            if let Some(partial) = shared.storage.path(&format!("{}{PARTIAL}", transfer.name)) {
                let _ = fs::remove_file(partial);
            }
            0
        }
    };
    if code == 0 {
        core.transfer = None;
    }
    ack(code)
}

/// Full paths in `FileList`; `FolderList` may be absent (pycentauri leaves it out), `Url` is ignored.
fn delete(shared: &Shared, core: &mut Core, body: &Map<String, Value>) -> Reply {
    let files = strings(body, "FileList")?;
    if body.contains_key("FolderList") {
        strings(body, "FolderList")?;
    }
    let mut failed = Vec::new();
    for file in files {
        let name = base_name(&file).unwrap_or_default();
        if core.machine.stage.busy() && core.file == name {
            core.violation(format!("deletes {name}, which is being printed"));
            failed.push(file);
            continue;
        }
        if core.faults.refuse_delete {
            failed.push(file);
            continue;
        }
        let storage = match file.strip_suffix(&name).map(|root| root.trim_end_matches('/')) {
            Some("/local") => Some(&shared.storage),
            Some(STICK) if core.faults.usb_stick => Some(&shared.stick),
            _ => None,
        };
        let path = storage.and_then(|storage| storage.path(&name));
        let gone = path.is_some_and(|path| fs::remove_file(path).is_ok());
        if !gone {
            failed.push(file);
        }
    }
    Ok(json!({"Ack": i64::from(!failed.is_empty()), "ErrData": failed}))
}

fn video(shared: &Shared, core: &mut Core, body: &Map<String, Value>) -> Reply {
    let on = flag(body, "Enable")? == 1;
    if core.faults.no_camera {
        return ack(2);
    }
    core.video = on;
    if !on {
        core.faults.leaked_viewers = 0;
        return ack(0);
    }
    if core.faults.leaked_viewers >= shared.options.camera_limit {
        return ack(1);
    }
    let port = shared.addresses.get().map_or(3031, |at| at.camera.port());
    Ok(json!({"Ack": 0, "VideoUrl": format!("{}:{port}/video", shared.options.bind)}))
}

fn jog(core: &mut Core, body: &Map<String, Value>) -> Reply {
    let axis = match text(body, "Axis")? {
        "X" => 0,
        "Y" => 1,
        "Z" => 2,
        _ => return Err(Malformed),
    };
    let step = number(body, "Step")?;
    if !core.machine.homed {
        core.violation("jog before homing");
    }
    if let Some(place) = core.position.get_mut(axis) {
        *place = (*place + step).clamp(0.0, 265.0);
    }
    ack(0)
}

/// Cmd 403: one purpose per request, known keys only.
fn parameters(shared: &Shared, core: &mut Core, body: &Map<String, Value>) -> Reply {
    let heats = ["TempTargetNozzle", "TempTargetHotbed", "TempTargetBox"];
    let purposes = usize::from(body.keys().any(|key| heats.contains(&key.as_str())))
        + body.keys().filter(|key| !heats.contains(&key.as_str())).count();
    if purposes == 0 {
        return Err(Malformed);
    }
    if purposes > 1 {
        core.violation("403 with more than one purpose");
    }
    let deaf = shared.options.firmware == "V1.1.29" && core.machine.stage.busy();
    for (key, value) in body {
        match key.as_str() {
            "TempTargetNozzle" | "TempTargetHotbed" | "TempTargetBox" => {
                let wanted = value.as_f64().ok_or(Malformed)?;
                if !deaf {
                    heat(core, key, wanted);
                }
            }
            "TargetFanSpeed" => fans(core, value)?,
            "LightStatus" => light(core, value, deaf)?,
            "PrintSpeedPct" => {
                let percent = value.as_i64().ok_or(Malformed)?;
                if matches!(percent, 50 | 100 | 130 | 160) && core.machine.stage == Stage::Printing {
                    core.speed_pct = percent;
                    core.machine.speed = percent as f64 / 100.0;
                }
            }
            _ => return Err(Malformed),
        }
    }
    ack(0)
}

fn heat(core: &mut Core, key: &str, wanted: f64) {
    let model = core.options.model;
    let limit = if key == "TempTargetNozzle" { model.nozzle_limit } else { model.bed_limit };
    if !(0.0..=limit).contains(&wanted) {
        core.violation(format!("{key} {wanted} is outside 0..{limit}"));
    }
    let wanted = wanted.clamp(0.0, limit);
    match key {
        "TempTargetNozzle" => {
            if let Some(nozzle) = core.machine.nozzle() {
                nozzle.target = wanted;
            }
        }
        "TempTargetHotbed" => core.machine.bed.target = wanted,
        _ => {}
    }
}

fn fans(core: &mut Core, value: &Value) -> Result<(), Malformed> {
    let wanted = value.as_object().filter(|map| !map.is_empty()).ok_or(Malformed)?;
    for (key, percent) in wanted {
        let percent = percent.as_f64().ok_or(Malformed)?.clamp(0.0, 100.0);
        let place = match key.as_str() {
            "ModelFan" => 0,
            "AuxiliaryFan" => 1,
            "BoxFan" => 2,
            _ => return Err(Malformed),
        };
        if let Some(fan) = core.fans.get_mut(place) {
            *fan = percent;
        }
    }
    Ok(())
}

fn light(core: &mut Core, value: &Value, deaf: bool) -> Result<(), Malformed> {
    let wanted = value.as_object().ok_or(Malformed)?;
    let on = flag(wanted, "SecondLight")?;
    let rgb = wanted.get("RgbLight").map(|rgb| rgb.as_array().map(Vec::len).ok_or(Malformed)).transpose()?;
    if rgb.is_some_and(|length| length != 3) {
        return Err(Malformed);
    }
    // A second toggle right behind the first gets lost (dossier 2.9).
    let early = core.light_switched.is_some_and(|at| at.elapsed() < core.options.light_rest);
    if !deaf && !early {
        core.light = on;
        core.light_switched = Some(Instant::now());
    }
    Ok(())
}

fn text<'a>(body: &'a Map<String, Value>, key: &str) -> Result<&'a str, Malformed> {
    body.get(key).and_then(Value::as_str).ok_or(Malformed)
}

fn number(body: &Map<String, Value>, key: &str) -> Result<f64, Malformed> {
    body.get(key).and_then(Value::as_f64).ok_or(Malformed)
}

/// 0 or 1; a boolean is accepted as the captured light request shows.
fn flag(body: &Map<String, Value>, key: &str) -> Result<i64, Malformed> {
    match body.get(key) {
        Some(Value::Bool(on)) => Ok(i64::from(*on)),
        Some(Value::Number(n)) => n.as_i64().filter(|n| matches!(n, 0 | 1)).ok_or(Malformed),
        _ => Err(Malformed),
    }
}

fn strings(body: &Map<String, Value>, key: &str) -> Result<Vec<String>, Malformed> {
    let list = body.get(key).and_then(Value::as_array).ok_or(Malformed)?;
    list.iter().map(|item| item.as_str().map(str::to_owned).ok_or(Malformed)).collect()
}
