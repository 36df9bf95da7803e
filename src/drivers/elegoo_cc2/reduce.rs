//! The merged status of the Centauri Carbon 2 into the model (pure; elegoo.md 3.7 to 3.12).

use serde_json::Value;

use super::codes;
use super::models::SPEEDS;
use crate::drivers::elegoo::canvas;
use crate::drivers::elegoo::field::{as_int, count, flag, int, list, num, percent, text};
use crate::drivers::elegoo::runs::Runs;
use crate::model::text::base_name;
use crate::model::{
    Activity, Device, DeviceJob, DeviceStage, Fan, FanId, Fault, FaultAction, FaultSource, Heater, Homed,
    Light, LightId, Nozzle, Severity, Slot, SlotId, StageDetail,
};

/// `speed_mode` flickers per move on 02.01.00.00: a mode counts once it has held this long, in seconds.
const SPEED_HOLDS: f64 = 5.0;
/// Progress from which a job that went idle unseen was complete (elegoo.md 3.9).
const COMPLETE_FROM: f64 = 0.99;

/// What later reports need to know of earlier ones. Lives as long as the driver.
#[derive(Debug, Default)]
pub struct Memory {
    pub runs: Runs,
    uuid: Option<String>,
    file: Option<String>,
    last_progress: f64,
    speed: SpeedMode,
    /// The mode our user chose for this job.
    pub wanted_mode: Option<i64>,
    swapping: bool,
    /// Layers of a file by method 1046, for slicers that do not write them into the status.
    layers: Option<(String, u32)>,
    layers_asked: Option<String>,
    held: bool,
    verdict: Option<DeviceStage>,
    last_sub: i64,
}

#[derive(Debug, Default)]
struct SpeedMode {
    shown: Option<i64>,
    candidate: Option<(i64, f64)>,
}

impl SpeedMode {
    fn seen(&mut self, mode: i64, now: f64, wanted: Option<i64>) -> Option<i64> {
        let held = self.candidate.filter(|(candidate, _)| *candidate == mode).map(|(_, since)| now - since);
        if self.shown.is_none() || wanted == Some(mode) || held.is_some_and(|held| held >= SPEED_HOLDS) {
            self.shown = Some(mode);
        }
        if held.is_none() {
            self.candidate = Some((mode, now));
        }
        self.shown
    }
}

/// What the link should do about a status.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wish {
    /// Ask the history how this run ended; until [`Memory::judge`] is called the job counts as under way.
    pub history: Option<String>,
    /// Ask for the layers of this file.
    pub file_info: Option<String>,
    /// Send this speed mode again: a tool change reset it (elegoo.md 3.7).
    pub speed: Option<u8>,
    /// Read the Canvas now.
    pub canvas: bool,
}

impl Memory {
    /// A new link: what was not watched is not known.
    pub fn reconnected(&mut self) {
        self.held = false;
        self.verdict = None;
        self.speed = SpeedMode::default();
        self.swapping = false;
        self.layers_asked = None;
    }

    /// The history's word on the run that ended; `None` where it has none.
    pub fn judge(&mut self, stage: Option<DeviceStage>) {
        self.held = false;
        self.verdict = Some(stage.unwrap_or(DeviceStage::Unknown));
    }

    /// Method 1046 told the layers of `file`.
    pub fn learn_layers(&mut self, file: &str, info: &Value) {
        let layers = ["layer", "TotalLayers", "total_layer"].iter().find_map(|key| count(info, key));
        if let Some(layers) = layers.filter(|layers| *layers > 0) {
            self.layers = Some((file.to_owned(), layers));
        }
    }
}

/// How a run ended by `history_task_list` (1036). 2 and 3 are read both ways by clients: both count as stopped, and
/// the run is told as cancelled only if somebody asked for it (elegoo.md 3.13).
pub fn verdict(result: &Value, uuid: &str) -> Option<DeviceStage> {
    let tasks = list(result, "history_task_list");
    let task = tasks.iter().rev().find(|task| text(task, "task_id") == Some(uuid))?;
    match int(task, "task_status")? {
        1 => Some(DeviceStage::Finished),
        2 | 3 => Some(DeviceStage::Cancelled),
        _ => None,
    }
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
        job.reduce(device, memory, &mut wish);
        device.activity = activity(job.code, device);
    }
    speed(part(["gcode_move", "gcode_move_inf"]), &job, device, memory, now, &mut wish);
    filament(status, &job, device);
    exceptions(&job, device, now);
    if codes::canvas_changed(sub) && memory.last_sub != sub {
        wish.canvas = true;
    }
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
    if let Some(info) = status.get("canvas_info") {
        canvas::reduce(info, &mut device.filament);
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

/// The parts of the status that tell of the job.
struct Job<'a> {
    code: i64,
    sub: i64,
    machine: &'a Value,
    print: &'a Value,
}

impl Job<'_> {
    fn begun(&self) -> bool {
        num(self.print, "print_duration").is_some_and(|seconds| seconds > 0.0)
    }

    /// elegoo.md 3.9 and 4.1.
    fn stage(&self, before: DeviceStage) -> DeviceStage {
        let word = text(self.print, "state").unwrap_or_default();
        match self.code {
            2 => self.printing_stage(word),
            15 => DeviceStage::Paused,
            14 if before.active() || before == DeviceStage::Failed => DeviceStage::Failed,
            1 if self.sub == 2077 || word == "complete" => DeviceStage::Finished,
            1 if self.sub == 2504 || word == "cancelled" => DeviceStage::Cancelled,
            1 if word == "error" => DeviceStage::Failed,
            // A file that arrives, or a tool that changes, beside a job does not end it.
            3..=13 if before.active() && matches!(word, "printing" | "paused") => before,
            _ => DeviceStage::Idle,
        }
    }

    fn printing_stage(&self, word: &str) -> DeviceStage {
        match self.sub {
            2077 => DeviceStage::Finished,
            2401 => DeviceStage::Resuming,
            2501 => DeviceStage::Pausing,
            2502 | 2505 | 2506 | 2403 => DeviceStage::Paused,
            2503 => DeviceStage::Cancelling,
            2504 => DeviceStage::Cancelled,
            2075 | 2402 => DeviceStage::Printing,
            _ if word == "paused" => DeviceStage::Paused,
            _ if word == "cancelled" => DeviceStage::Cancelling,
            // Every other step belongs to the warm-up before the first extrusion, to the print after it.
            _ if self.begun() => DeviceStage::Printing,
            _ => DeviceStage::Preparing,
        }
    }

    fn reduce(&self, device: &mut Device, memory: &mut Memory, wish: &mut Wish) {
        let before = device.job.stage;
        let file = text(self.print, "filename").map(|name| base_name(name).to_owned());
        let uuid = text(self.print, "uuid").map(str::to_owned);
        let mut stage = self.stage(before);
        if before == DeviceStage::Cancelling && stage == DeviceStage::Idle {
            stage = DeviceStage::Cancelled;
        }
        let asked = self.missed_end(&mut stage, before, memory);
        if memory.held {
            wish.history = asked;
            return;
        }
        if stage.active() {
            memory.uuid = uuid.clone().or(memory.uuid.take().filter(|_| before.active()));
            memory.file = file.clone().or(memory.file.take().filter(|_| before.active()));
            memory.last_progress = percent(self.machine, "progress").unwrap_or(0.0);
        }
        let token = memory.runs.token(uuid.as_deref(), file.as_deref(), stage.active());
        device.job = DeviceJob { stage, token, ..self.figures(stage) };
        if stage.active() || stage.ended() {
            device.job.file.clone_from(&memory.file);
            device.job.total_layers = device.job.total_layers.or_else(|| layers_of(memory));
        }
        if stage.active()
            && device.job.total_layers.is_none()
            && let Some(file) = &device.job.file
            && memory.layers_asked.as_ref() != Some(file)
        {
            memory.layers_asked = Some(file.clone());
            wish.file_info = Some(file.clone());
        }
    }

    /// 2077 lasts briefly: a job that went idle without it is judged by its progress, else by the history.
    fn missed_end(
        &self,
        stage: &mut DeviceStage,
        before: DeviceStage,
        memory: &mut Memory,
    ) -> Option<String> {
        let missed = before.active() && *stage == DeviceStage::Idle && matches!(self.code, 0 | 1);
        if !missed {
            memory.held = false;
            memory.verdict = None;
            return None;
        }
        if memory.last_progress >= COMPLETE_FROM {
            *stage = DeviceStage::Finished;
            return None;
        }
        if let Some(verdict) = memory.verdict.take() {
            if verdict != DeviceStage::Unknown {
                *stage = verdict;
            }
            return None;
        }
        let uuid = memory.uuid.clone()?;
        let ask = !memory.held;
        memory.held = true;
        ask.then_some(uuid)
    }

    fn figures(&self, stage: DeviceStage) -> DeviceJob {
        if !stage.active() && !stage.ended() {
            return DeviceJob::default();
        }
        let running = stage.active();
        let seconds = |key| num(self.print, key).filter(|seconds| *seconds >= 0.0);
        let quiet = stage == DeviceStage::Printing && self.sub == 2075;
        DeviceJob {
            detail: codes::step(self.sub)
                .filter(|_| running && !quiet)
                .map(|text| StageDetail { code: self.sub, text: text.to_owned() })
                .or_else(|| self.recovery()),
            progress: percent(self.machine, "progress").filter(|_| running),
            remaining_s: seconds("remaining_time_sec").filter(|_| running),
            // Elapsed wall time, not the estimate some clients take it for (elegoo.md 3.7).
            total_s: seconds("total_duration"),
            print_s: seconds("print_duration"),
            layer: count(self.print, "current_layer").filter(|_| running),
            total_layers: count(self.print, "total_layer").filter(|layers| *layers > 0),
            reason: (stage == DeviceStage::Failed && self.code == 14)
                .then(|| "The printer was halted by an emergency stop; switch it off and on.".to_owned()),
            ..DeviceJob::default()
        }
    }

    fn recovery(&self) -> Option<StageDetail> {
        (self.code == 15).then(|| StageDetail {
            code: 15,
            text: "power failed during the print: resume or cancel it".to_owned(),
        })
    }
}

fn layers_of(memory: &Memory) -> Option<u32> {
    let (file, layers) = memory.layers.as_ref()?;
    (memory.file.as_ref() == Some(file)).then_some(*layers)
}

fn activity(code: i64, device: &Device) -> Activity {
    match codes::activity(code) {
        _ if device.job.stage.active() => Activity::Job,
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
        push_fault(&mut faults, device, code.to_string(), severity, text, now);
    }
    if job.code == 14 {
        let text = "The printer is in emergency stop; switch it off and on.";
        push_fault(&mut faults, device, "status 14".to_owned(), Severity::Fatal, text, now);
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
    faults.push(Fault {
        code,
        source: if paused { FaultSource::Job } else { FaultSource::Device },
        severity,
        module: None,
        text: text.to_owned(),
        link: None,
        actions: if paused { vec![FaultAction::Resume, FaultAction::Cancel] } else { Vec::new() },
        since,
    });
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
