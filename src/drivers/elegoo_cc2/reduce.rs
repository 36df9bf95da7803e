//! The merged status of the Centauri Carbon 2 into the model (pure; elegoo.md 3.7 to 3.12); the job is [`super::job`].

use serde_json::Value;

use super::codes;
use super::job::Job;
pub use super::job::{Memory, history, videos};
use crate::drivers::elegoo::canvas;
use crate::drivers::elegoo::field::{as_int, flag, int, list, num, text};
use crate::drivers::elegoo::orders::SPEEDS;
use crate::model::{
    Activity, Device, DeviceStage, Fan, FanId, Fault, FaultAction, FaultSource, Heater, Homed, Light,
    LightId, Nozzle, Severity, Slot, SlotId,
};

/// `machine_status.status` while the firmware is replaced (elegoo.md 3.9).
const UPDATING: i64 = 9;
const HALTED: &str = "The printer is in emergency stop; switch it off and on.";

/// What the link should do about a status.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wish {
    /// Ask the history how this run ended (its id, empty where the printer gave none); until [`Memory::judge`] is called
    /// the job counts as under way.
    pub history: Option<String>,
    /// Ask the history for the run of an earlier gateway; until [`Memory::recall`] is called no job is told.
    pub past: bool,
    /// Ask for the layers of this file.
    pub file_info: Option<String>,
    /// Send this speed mode again: a tool change reset it (elegoo.md 3.7).
    pub speed: Option<u8>,
    /// Read the Canvas now.
    pub canvas: bool,
}

/// Takes the merged status document.
pub fn status(status: &Value, device: &mut Device, memory: &mut Memory, now: f64) -> Wish {
    let null = Value::Null;
    let part = |keys: [&str; 2]| keys.iter().find_map(|key| status.get(*key)).unwrap_or(&null);
    let machine = part(["machine_status", "machine_status"]);
    let (code, sub) = (int(machine, "status"), int(machine, "sub_status").unwrap_or(0));
    let print = part(["print_status", "print_status"]);
    let mut wish = Wish::default();
    heat_and_air(status, device);
    movement(part(["gcode_move", "gcode_move_inf"]), part(["tool_head", "toolhead"]), device);
    let job = Job { code: code.unwrap_or(-1), sub, machine, print };
    if code.is_some() {
        device.halted = (job.code == 14).then(|| HALTED.to_owned());
        job.reduce(device, memory, now, &mut wish);
        device.activity = activity(job.code, device);
    }
    speed(part(["gcode_move", "gcode_move_inf"]), &job, device, memory, now, &mut wish);
    filament(status, &job, device);
    exceptions(&job, device, now);
    // A tool change in mid-print names no slot when it ends (elegoo.md 3.9).
    let swapped = codes::swapping(memory.last_sub) && !codes::swapping(sub);
    wish.canvas |= swapped || (codes::canvas_changed(sub) && memory.last_sub != sub);
    memory.last_sub = sub;
    wish
}

fn heat_and_air(status: &Value, device: &mut Device) {
    if device.nozzles.is_empty() {
        device.nozzles.push(Nozzle::default());
    }
    let heater = |key: &str, into: &mut Heater| {
        if let Some(part) = status.get(key) {
            into.actual = num(part, "temperature").or(into.actual);
            into.target = num(part, "target").or(into.target);
        }
    };
    if let Some(nozzle) = device.nozzles.first_mut() {
        heater("extruder", &mut nozzle.heater);
    }
    heater("heater_bed", &mut device.bed);
    heater("ztemperature_sensor", &mut device.chamber);
    device.chamber.target = None;
    for (key, id) in [
        ("fan", FanId::Part),
        ("aux_fan", FanId::Auxiliary),
        ("box_fan", FanId::Chamber),
        ("heater_fan", FanId::Hotend),
        ("controller_fan", FanId::Controller),
    ] {
        let Some(fan) = status.get("fans").and_then(|fans| fans.get(key)) else { continue };
        let speed = num(fan, "speed").map(|speed| (speed / 255.0).clamp(0.0, 1.0));
        device.fans.insert(id, Fan { speed, rpm: num(fan, "rpm") });
    }
    if let Some(on) = status.get("led").and_then(|led| flag(led, "status")) {
        device.lights.insert(LightId::Chamber, Light { on, flashing: false });
    }
}

fn movement(gcode: &Value, head: &Value, device: &mut Device) {
    if let (Some(x), Some(y), Some(z)) = (num(gcode, "x"), num(gcode, "y"), num(gcode, "z")) {
        device.motion.position = Some([x, y, z]);
    }
    // mm/min on the wire (elegoo.md 3.7).
    device.motion.velocity = num(gcode, "speed").map(|speed| speed / 60.0).or(device.motion.velocity);
    if let Some(axes) = head.get("homed_axes").and_then(Value::as_str) {
        let has = |axis: char| axes.to_ascii_lowercase().contains(axis);
        device.motion.homed = Some(Homed { x: has('x'), y: has('y'), z: has('z') });
    }
}

fn speed(gcode: &Value, job: &Job<'_>, device: &mut Device, memory: &mut Memory, now: f64, wish: &mut Wish) {
    if !device.job.stage.active() {
        memory.wanted_mode = None;
        memory.swapping = false;
    }
    let Some(mode) = int(gcode, "speed_mode") else { return };
    let shown = memory.speed.seen(mode, now, memory.wanted_mode);
    let level = shown.and_then(|mode| usize::try_from(mode).ok()).and_then(|mode| SPEEDS.get(mode));
    if let Some((percent, name)) = level {
        device.speed.factor = Some(f64::from(*percent) / 100.0);
        device.speed.level = Some((*name).to_owned());
    }
    if device.job.stage != DeviceStage::Printing {
        return;
    }
    if codes::swapping(job.sub) {
        memory.swapping = true;
    } else if job.sub == 2075 && std::mem::take(&mut memory.swapping) {
        let wanted = memory.wanted_mode.filter(|wanted| *wanted != mode);
        wish.speed = wanted.and_then(|wanted| u8::try_from(wanted).ok());
    }
}

fn filament(status: &Value, job: &Job<'_>, device: &mut Device) {
    match status.get("canvas_info") {
        // Pushes can still carry the trays of a Canvas that was pulled out.
        _ if has_canvas(status) == Some(false) => canvas::gone(&mut device.filament),
        Some(info) => canvas::reduce(info, &mut device.filament),
        None => {}
    }
    let operation = codes::filament_operation(job.sub);
    device.filament.operation = match device.job.stage {
        DeviceStage::Idle | DeviceStage::Unknown if !matches!(job.code, 3 | 4 | 13) => Default::default(),
        _ => operation,
    };
    let detected = status.get("extruder").and_then(|extruder| flag(extruder, "filament_detected"));
    if let (Some(nozzle), Some(detected)) = (device.nozzles.first_mut(), detected) {
        // During a tool change the sensor goes 1, 0, 1: no runout (elegoo.md 3.9).
        let trusted = device.job.stage != DeviceStage::Printing || detected;
        nozzle.filament_detected =
            if trusted { Some(detected) } else { nozzle.filament_detected.or(Some(true)) };
    }
    device.filament.external = vec![Slot {
        present: device.nozzles.first().and_then(|nozzle| nozzle.filament_detected),
        ..Slot::empty(SlotId::External(0))
    }];
}

fn activity(code: i64, device: &Device) -> Activity {
    match codes::activity(code) {
        _ if device.job.stage.active() => Activity::Job,
        None if code == UPDATING => Activity::Updating,
        Some(what) => Activity::Busy(what.to_owned()),
        None if code == 1 || code == 2 => Activity::Idle,
        None => Activity::Unknown,
    }
}

fn exceptions(job: &Job<'_>, device: &mut Device, now: f64) {
    let mut faults: Vec<Fault> = Vec::new();
    // Only a pause for it makes an empty tray a fault while printing (elegoo.md 3.9).
    let swap = device.job.stage.active() && device.job.stage != DeviceStage::Paused;
    for code in list(job.machine, "exception_status").iter().filter_map(as_int).take(32) {
        if code == 0 || (swap && codes::normal_in_swap(code)) {
            continue;
        }
        let (severity, text) = codes::exception(code);
        push_fault(&mut faults, device, code.to_string(), severity, &text, now);
    }
    if job.code == 14 {
        push_fault(&mut faults, device, "status 14".to_owned(), Severity::Fatal, HALTED, now);
    }
    if job.sub == 2506 && faults.is_empty() {
        let text = "The CANVAS stopped the print; look at the printer's screen.";
        push_fault(&mut faults, device, "2506".to_owned(), Severity::Serious, text, now);
    }
    faults.sort_by_key(|fault| std::cmp::Reverse(fault.severity));
    device.faults = faults;
}

fn push_fault(
    faults: &mut Vec<Fault>,
    device: &Device,
    code: String,
    severity: Severity,
    text: &str,
    now: f64,
) {
    if faults.iter().any(|fault| fault.code == code) {
        return;
    }
    let paused = device.job.stage == DeviceStage::Paused;
    let since = device.faults.iter().find(|fault| fault.code == code).map_or(now, |fault| fault.since);
    let (source, actions) = if paused {
        (FaultSource::Job, vec![FaultAction::Resume, FaultAction::Cancel])
    } else {
        (FaultSource::Device, Vec::new())
    };
    faults.push(Fault { actions, since, ..Fault::new(source, severity, code, text) });
}

/// Takes the result of 1001, or a push of 6008.
pub fn attributes(info: &Value, device: &mut Device) -> Option<String> {
    let word = |key| text(info, key).map(str::to_owned);
    let identity = &mut device.identity;
    identity.name = word("hostname").or_else(|| word("host_name")).or(identity.name.take());
    identity.model = word("machine_model").or(identity.model.take());
    let version = info.get("software_version").and_then(|version| text(version, "ota_version"));
    identity.firmware = version.map(str::to_owned).or(identity.firmware.take());
    device.network.ip = word("ip").or(device.network.ip.take());
    word("machine_model")
}

/// A USB stick is plugged in; `None` where the status does not tell.
pub fn has_stick(status: &Value) -> Option<bool> {
    flag(status.get("external_device")?, "u_disk")
}

/// A Canvas is attached unless the type is empty or "0" (elegoo.md 3.7); `None` where the status does not tell.
pub fn has_canvas(status: &Value) -> Option<bool> {
    let kind = status.get("external_device")?.get("type")?;
    match kind {
        Value::String(kind) => Some(!matches!(kind.trim(), "" | "0")),
        other => as_int(other).map(|kind| kind != 0),
    }
}

/// Figures of 1048.
pub fn disk(result: &Value, device: &mut Device) -> Option<u64> {
    let bytes = |key| int(result, key).and_then(|bytes| u64::try_from(bytes).ok());
    let total = bytes("total_bytes")?;
    let free = bytes("free_bytes").or_else(|| Some(total.saturating_sub(bytes("used_bytes")?)));
    device.storage.present = Some(true);
    device.storage.total_bytes = Some(total);
    device.storage.free_bytes = free;
    free
}
