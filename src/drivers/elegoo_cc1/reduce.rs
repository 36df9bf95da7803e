//! Reports of the Centauri Carbon into the model (pure; elegoo.md 2.4 to 2.8).

use serde_json::Value;

use super::codes;
pub use super::history::{Verdict, history, newest_runs, verdict, videos};
use super::wire::current_status;
use crate::drivers::elegoo::field::{as_num, count, flag, int, num, percent, seconds, text};
use crate::drivers::elegoo::figures::{Figures, Reckoning};
use crate::drivers::elegoo::orders::SPEEDS;
use crate::drivers::elegoo::runs::{PastRun, Runs};
use crate::model::text::base_name;
use crate::model::{
    Activity, Device, DeviceJob, DeviceStage, Fan, FanId, Fault, FaultSource, Heater, Homed, Light, LightId,
    Nozzle, Severity, StageDetail,
};

/// Key names that a firmware bug turned into hex dumps of `TotalExtrusion` and `CurrentExtrusion`.
const TOTAL_EXTRUSION: [&str; 2] = ["54 6F 74 61 6C 45 78 74 72 75 73 69 6F 6E 00", "TotalExtrusion"];
const CURRENT_EXTRUSION: [&str; 2] =
    ["43 75 72 72 65 6E 74 45 78 74 72 75 73 69 6F 6E 00", "CurrentExtrusion"];

/// What later frames need to know of earlier ones. Lives as long as the driver.
#[derive(Debug, Default)]
pub struct Memory {
    pub runs: Runs,
    /// `TaskId` of the last active job; the printer clears its own at the end.
    task: Option<String>,
    file: Option<String>,
    /// A stop of the run with this id was seen: the homing inside it is not a new preparation (elegoo.md 2.6).
    cancelling: Option<Option<String>>,
    reckoning: Reckoning,
    /// Homing was seen and has not ended.
    homing: bool,
    homed: Homed,
    /// The axes of a homing of ours that was acknowledged, and the reports since in which nothing homes.
    homing_asked: Option<(Homed, u8)>,
    /// The verdict of the history for a job whose end was missed or has no reason yet.
    verdict: Option<Verdict>,
    /// An end is held back until the history was asked.
    held: bool,
    /// What the history says of an earlier gateway's run.
    past: Option<PastRun>,
    /// The printer took a start and then rejected its file: the code of the frame, and when it came.
    pub file_error: Option<(i64, f64)>,
}

/// How long a rejected file is shown, in seconds: the printer tells of it once, and never that it is over.
const REJECTED: f64 = 60.0;

/// What the link should do about a status.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wish {
    /// Ask the history how this run ended; until [`Memory::judge`] is called the job counts as under way.
    pub history: Option<String>,
    /// Ask the history for the run of an earlier gateway; until [`Memory::recall`] is called no job is told.
    pub past: bool,
}

impl Memory {
    /// The printer took a start and then said this of its file.
    pub fn rejects_file(&mut self, code: i64, now: f64) {
        self.file_error = Some((code, now));
    }

    /// A new link: what was not watched is not known.
    pub fn reconnected(&mut self) {
        self.homing = false;
        self.homed = Homed::default();
        self.homing_asked = None;
        self.cancelling = None;
        self.held = false;
        self.verdict = None;
    }

    /// The stage with the homing of a cancel as a part of it. A cancel that was not carried out, and a run that began while
    /// nobody looked, are none.
    fn within_a_cancel(&mut self, stage: DeviceStage, sub: i64, task: Option<&str>) -> DeviceStage {
        let of = self.cancelling.as_ref().map(Option::as_deref);
        let another = matches!((of, task), (Some(Some(of)), Some(task)) if of != task);
        match stage {
            DeviceStage::Cancelling => {
                self.cancelling = Some(task.map(str::to_owned));
                stage
            }
            DeviceStage::Preparing if of.is_some() && !another && matches!(sub, 1 | 21) => {
                DeviceStage::Cancelling
            }
            _ => {
                self.cancelling = None;
                stage
            }
        }
    }

    /// The printer acknowledged that it homes these axes; it may be done before a report tells of it.
    pub fn homes(&mut self, axes: Homed) {
        self.homing_asked = Some((axes, 0));
    }

    /// A homing of ours, or one that was seen, is not over yet.
    pub fn is_homing(&self) -> bool {
        self.homing || self.homing_asked.is_some()
    }

    /// The history's word on the run of an earlier gateway; an empty history where it could not be read.
    pub fn recall(&mut self, history: &[PastRun]) {
        self.past = self.runs.recall(history);
    }

    /// The end of an earlier gateway's run has reached those who follow the printer, who look from Online on.
    pub fn told(&mut self) {
        self.past = None;
    }

    /// Ends the wait for the history; `None` where it knew nothing.
    pub fn judge(&mut self, verdict: Option<Verdict>) {
        self.held = false;
        self.verdict = Some(verdict.unwrap_or(Verdict { stage: DeviceStage::Unknown, reason: None }));
    }
}

/// Takes one `Status` object.
pub fn status(status: &Value, device: &mut Device, memory: &mut Memory, now: f64) -> Wish {
    heaters(status, device);
    fans_and_light(status, device);
    motion(status, device, memory);
    let codes = current_status(status);
    let info = status.get("PrintInfo").cloned().unwrap_or(Value::Null);
    let wish = job(&codes, &info, device, memory, now);
    activity(&codes, device);
    memory.file_error = memory
        .file_error
        .filter(|(_, since)| !device.job.stage.active() && (0.0..REJECTED).contains(&(now - since)));
    faults(&info, memory.file_error, device, now);
    if let Some(percent) = int(&info, "PrintSpeedPct").filter(|percent| *percent > 0) {
        let name = SPEEDS.iter().find(|(known, _)| i64::from(*known) == percent).map(|(_, name)| *name);
        device.speed.factor = Some(percent as f64 / 100.0);
        device.speed.level = name.map(str::to_owned);
    }
    if let Some(on) = flag(status, "TimeLapseStatus") {
        device.camera.timelapse = Some(on);
    }
    wish
}

/// `[target, actual]` where the value is a list, else actual with the target beside it (elegoo.md 2.4).
fn heater(status: &Value, actual: &str, target: &str, into: &mut Heater) {
    let wanted = num(status, target);
    match status.get(actual) {
        Some(Value::Array(pair)) => {
            *into = Heater {
                actual: pair.get(1).and_then(as_num).or(into.actual),
                target: pair.first().and_then(as_num).or(wanted),
            };
        }
        Some(value) => {
            *into = Heater { actual: as_num(value).or(into.actual), target: wanted.or(into.target) }
        }
        None => into.target = wanted.or(into.target),
    }
}

fn heaters(status: &Value, device: &mut Device) {
    if device.nozzles.is_empty() {
        device.nozzles.push(Nozzle::default());
    }
    if let Some(nozzle) = device.nozzles.first_mut() {
        heater(status, "TempOfNozzle", "TempTargetNozzle", &mut nozzle.heater);
    }
    heater(status, "TempOfHotbed", "TempTargetHotbed", &mut device.bed);
    heater(status, "TempOfBox", "", &mut device.chamber);
    // There is no chamber heater, whatever target is told (elegoo.md 2.4).
    device.chamber.target = None;
}

fn fans_and_light(status: &Value, device: &mut Device) {
    if let Some(fans) = status.get("CurrentFanSpeed") {
        for (keys, fan) in [
            (["ModelFan", "ModeFan"], FanId::Part),
            (["AuxiliaryFan", "AuxFan"], FanId::Auxiliary),
            (["BoxFan", "ChamberFan"], FanId::Chamber),
        ] {
            if let Some(speed) = keys.iter().find_map(|key| percent(fans, key)) {
                device.fans.insert(fan, Fan { speed: Some(speed), rpm: None });
            }
        }
    }
    if let Some(on) = status.get("LightStatus").and_then(|light| flag(light, "SecondLight")) {
        device.lights.insert(LightId::Chamber, Light { on, flashing: false });
    }
}

fn motion(status: &Value, device: &mut Device, memory: &mut Memory) {
    let position = text(status, "CurrenCoord").or_else(|| text(status, "CurrentCoord")).and_then(coordinates);
    if position.is_some() {
        device.motion.position = position;
    }
    let homing = current_status(status).contains(&9);
    // The first report after the acknowledgement may have been on its way before the homing began.
    let unseen = matches!(memory.homing_asked, Some((_, 1..))) && !homing;
    if memory.homing && !homing || unseen {
        // The screen homes all axes; the printer itself does not tell which.
        let axes = memory.homing_asked.take().map_or(Homed::ALL, |(axes, _)| axes);
        memory.homed = memory.homed.and(axes);
    }
    if let Some((_, calm)) = &mut memory.homing_asked {
        *calm += u8::from(!homing);
    }
    memory.homing = homing;
    device.motion.homed = Some(memory.homed);
}

fn coordinates(text: &str) -> Option<[f64; 3]> {
    let mut parts = text.split(',').map(|part| part.trim().parse::<f64>().ok().filter(|n| n.is_finite()));
    let position = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(position)
}

/// `CurrentStatus` and `PrintInfo.Status` as a stage (elegoo.md 2.6); `None` where the job goes on as it was.
fn stage(codes: &[i64], sub: i64, has_file: bool, before: DeviceStage) -> DeviceStage {
    // The vendor SDK skips a transfer that runs beside a job; a job is one wherever its 1 stands.
    let printing = codes.contains(&1);
    let idle = codes.first().is_none_or(|code| *code == 0);
    // A transfer or filament change that hides the 1 does not end a job that is still named.
    let goes_on = before.active() && has_file && !idle;
    match sub {
        8 => DeviceStage::Cancelled,
        9 => DeviceStage::Finished,
        14 => DeviceStage::Failed,
        5 if printing || has_file => DeviceStage::Pausing,
        6 if printing || has_file => DeviceStage::Paused,
        7 if printing || has_file => DeviceStage::Cancelling,
        _ if !printing && !goes_on => DeviceStage::Idle,
        12 => DeviceStage::Resuming,
        1 | 10 | 11 | 15..=19 | 21 | 22 => DeviceStage::Preparing,
        _ => DeviceStage::Printing,
    }
}

fn job(codes: &[i64], info: &Value, device: &mut Device, memory: &mut Memory, now: f64) -> Wish {
    let sub = int(info, "Status").unwrap_or(0);
    let file = text(info, "Filename").map(|name| base_name(name).to_owned());
    let task = text(info, "TaskId").filter(|id| *id != "0").map(str::to_owned);
    let before = device.job.stage;
    let mut stage = stage(codes, sub, file.is_some() || task.is_some(), before);
    let shown = shown(info);
    let fresh = memory.reckoning.fresh(shown);
    // 20 is the end of the warm-up on V1.1 and the whole job on V1.4.46: layers or progress tell (elegoo.md 2.6).
    if stage == DeviceStage::Printing && matches!(sub, 0 | 20) && !fresh.begun() {
        stage = DeviceStage::Preparing;
    }
    stage = memory.within_a_cancel(stage, sub, task.as_deref());
    if memory.runs.is_unseen() {
        if stage == DeviceStage::Idle {
            return Wish { past: true, ..Wish::default() };
        }
        memory.runs.seen();
    }
    let mut reason = device.job.reason.take().filter(|_| stage == before);
    let mut total_s = None;
    if let Some(past) = memory.past.clone().filter(|_| stage == DeviceStage::Idle) {
        stage = past.end.unwrap_or(stage);
        memory.file = Some(past.file);
        (reason, total_s) = (past.reason, past.lasted);
    }
    let wish = end_of_job(&mut stage, &mut reason, before, device, memory);
    if before.active() && !stage.active() {
        // The motors are released at the end of a job (elegoo.md 2.9).
        memory.homed = Homed::default();
    }
    if stage.active() && !memory.held {
        memory.task = task.clone().or(memory.task.take().filter(|_| before.active()));
        memory.file = file.clone().or(memory.file.take().filter(|_| before.active()));
    }
    let clear = if memory.held { DeviceStage::Unknown } else { stage };
    let token = memory.runs.token(task.as_deref(), file.as_deref(), clear);
    if memory.held {
        return wish;
    }
    memory.reckoning.begin_anew(device.job.token.as_deref(), token.as_deref());
    let run = memory.reckoning.follow((before, stage), shown, fresh, now);
    let printed = memory.reckoning.printed();
    device.job = DeviceJob { stage, reason, token, total_s, ..figures(info, run, sub, stage, printed) };
    if stage.active() || stage.ended() {
        device.job.file.clone_from(&memory.file);
    }
    wish
}

/// An end that was missed, or that came without a reason, is held until the history was asked.
fn end_of_job(
    stage: &mut DeviceStage,
    reason: &mut Option<String>,
    before: DeviceStage,
    device: &Device,
    memory: &mut Memory,
) -> Wish {
    let unclear = before.active() && matches!(*stage, DeviceStage::Idle | DeviceStage::Failed);
    if !unclear {
        memory.held = false;
        memory.verdict = None;
        return Wish::default();
    }
    if let Some(verdict) = memory.verdict.take() {
        if *stage == DeviceStage::Idle && verdict.stage != DeviceStage::Unknown {
            *stage = verdict.stage;
        }
        *reason = verdict.reason;
        return Wish::default();
    }
    if device.job.stage == DeviceStage::Cancelling && *stage == DeviceStage::Idle {
        *stage = DeviceStage::Cancelled;
        return Wish::default();
    }
    match &memory.task {
        Some(task) => {
            let ask = !memory.held;
            memory.held = true;
            Wish { history: ask.then(|| task.clone()), past: false }
        }
        None => Wish::default(),
    }
}

fn shown(info: &Value) -> Figures {
    Figures {
        progress: percent(info, "Progress").or_else(|| by_layers(info)),
        layer: count(info, "CurrentLayer"),
        seconds: seconds(info, "CurrentTicks"),
    }
}

/// `printed` as [`Reckoning::printed`].
fn figures(info: &Value, run: Figures, sub: i64, stage: DeviceStage, printed: bool) -> DeviceJob {
    if stage == DeviceStage::Idle || stage == DeviceStage::Unknown {
        return DeviceJob::default();
    }
    let elapsed = run.seconds;
    let known = |key| seconds(info, key).filter(|total| *total > 0.0 && (printed || !stage.active()));
    let estimate = known("TotalTicks");
    let remaining = match (elapsed, estimate) {
        (Some(elapsed), Some(estimate)) if stage.active() => Some((estimate - elapsed).max(0.0)),
        _ => None,
    };
    let extruded =
        |keys: [&str; 2]| keys.iter().find_map(|key| num(info, key)).filter(|length| *length >= 0.0);
    DeviceJob {
        detail: codes::step(sub)
            // Looking for foreign objects and changing filament happen in the middle of a print.
            .filter(|_| stage.active() && (stage != DeviceStage::Printing || matches!(sub, 23..=26)))
            .map(|text| StageDetail { code: sub, text: text.to_owned() }),
        // The figures of a job that ended are stale or cleared (elegoo.md 2.4): the job keeps its own.
        progress: run.progress.filter(|_| stage.active()),
        remaining_s: remaining,
        print_s: elapsed.filter(|_| stage.active()),
        layer: run.layer.filter(|_| stage.active()),
        total_layers: known("TotalLayer").and_then(|_| count(info, "TotalLayer")),
        filament_used_mm: extruded(TOTAL_EXTRUSION).or_else(|| extruded(CURRENT_EXTRUSION)),
        ..DeviceJob::default()
    }
}

/// Some who speak for the printer (proxies, simulators) leave `Progress` out.
fn by_layers(info: &Value) -> Option<f64> {
    let total = count(info, "TotalLayer").filter(|total| *total > 0)?;
    Some((f64::from(count(info, "CurrentLayer")?) / f64::from(total)).clamp(0.0, 1.0))
}

fn activity(codes: &[i64], device: &mut Device) {
    let busy = codes.iter().find_map(|code| codes::activity(*code));
    device.activity = match busy {
        _ if device.job.stage.active() => Activity::Job,
        Some(what) => Activity::Busy(what.to_owned()),
        None if codes.is_empty() => Activity::Unknown,
        None => Activity::Idle,
    };
}

/// `rejected`: what the printer said of the file of a start, and when.
fn faults(info: &Value, rejected: Option<(i64, f64)>, device: &mut Device, now: f64) {
    let number = int(info, "ErrorNumber").filter(|code| *code != 0);
    let number = number.map(|code| (format!("ErrorNumber {code}"), codes::error_number(code), now));
    let rejected = rejected.map(|(code, at)| (format!("sdcp/error {code}"), codes::file_error(code), at));
    let Some((id, text, at)) = number.or(rejected) else {
        device.faults.clear();
        return;
    };
    let since = device.faults.iter().find(|fault| fault.code == id).map_or(at, |fault| fault.since);
    device.faults = vec![Fault { since, ..Fault::new(FaultSource::Job, Severity::Serious, id, text) }];
}

/// Who the printer says it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Identification {
    /// A USB stick is plugged in.
    pub usb: Option<bool>,
    pub machine_name: Option<String>,
    pub mainboard_id: Option<String>,
    pub mac: Option<String>,
    pub firmware: Option<String>,
}

/// Takes one `Attributes` object.
pub fn attributes(attributes: &Value, device: &mut Device) -> Identification {
    let word = |key| text(attributes, key).map(str::to_owned);
    let identity = &mut device.identity;
    identity.name = word("Name").or(identity.name.take());
    identity.firmware = word("FirmwareVersion").or(identity.firmware.take());
    identity.model = word("MachineName").or(identity.model.take());
    device.network.ip = word("MainboardIP").or(device.network.ip.take());
    if let Some(status) = text(attributes, "NetworkStatus") {
        device.network.wired = Some(status == "eth");
    }
    if let Some(free) = int(attributes, "RemainingMemory").and_then(|bytes| u64::try_from(bytes).ok()) {
        device.storage.present = Some(true);
        device.storage.free_bytes = Some(free);
    }
    if let Some(present) = flag(attributes, "CameraStatus") {
        device.camera.blocked =
            (!present).then(|| "The printer reports no camera; check its cable.".to_owned());
    }
    Identification {
        usb: flag(attributes, "UsbDiskStatus"),
        machine_name: word("MachineName"),
        mainboard_id: word("MainboardID"),
        mac: word("MainboardMAC"),
        firmware: word("FirmwareVersion"),
    }
}
