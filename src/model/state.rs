//! The snapshot of one printer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Control, Fault, FilamentSystem, Job, Link};

/// Degrees Celsius, always finite.
pub type Celsius = f64;
/// Millimetres, always finite.
pub type Millimeters = f64;
/// 0.0 to 1.0; converted to percent, bytes or duty only at the edges.
pub type Ratio = f64;
/// Seconds since 1970-01-01 UTC by the gateway's clock (printer clocks are wrong in LAN mode: bambu.md T32).
pub type UnixSeconds = f64;

/// One immutable snapshot: what every front end reads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PrinterState {
    /// The connection to the printer.
    pub link: Link,
    /// Whether the printer accepts our commands.
    pub control: Control,
    /// What the printer reported last, reduced by its driver. Kept for display while the link is down.
    pub device: Device,
    /// The job as the gateway tells it: phases, latched end figures (design D5).
    pub job: Job,
}

impl PrinterState {
    /// True when values are current and commands are taken.
    pub fn online(&self) -> bool {
        self.link.phase == super::LinkPhase::Online
    }

    /// Nothing may move and no other job may start: a job is under way, here or at the printer.
    pub fn printing(&self) -> bool {
        self.job.phase.active() || self.device.job.stage.active()
    }

    /// Faults of the device and of the link, worst first.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.device.faults.iter()
    }
}

/// What the printer itself says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    pub identity: Identity,
    pub activity: Activity,
    /// Why the machine takes no order at all, after an emergency stop for example, and what helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
    pub job: DeviceJob,
    /// By tool number; index 0 is the main (right) nozzle.
    pub nozzles: Vec<Nozzle>,
    /// Index into `nozzles` of the tool in use.
    pub active_tool: usize,
    pub bed: Heater,
    pub chamber: Heater,
    pub fans: BTreeMap<FanId, Fan>,
    /// Where there is an air duct.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub air_mode: Option<AirMode>,
    pub lights: BTreeMap<LightId, Light>,
    pub motion: Motion,
    pub speed: Speed,
    pub filament: FilamentSystem,
    /// Active faults of the device, worst first, without duplicates.
    pub faults: Vec<Fault>,
    pub storage: Storage,
    pub network: Network,
    pub camera: CameraState,
    /// True while the front door is open.
    pub door_open: Option<bool>,
    /// Settings of the printer that are simply on or off.
    pub options: BTreeMap<PrintOption, bool>,
}

/// Who the printer says it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// "Bambu Lab P1S", "Centauri Carbon 2".
    pub model: Option<String>,
    pub firmware: Option<String>,
    /// The name its owner gave it.
    pub name: Option<String>,
    /// A newer firmware the printer knows of.
    pub firmware_available: Option<String>,
}

/// What the machine does apart from a job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Activity {
    #[default]
    Unknown,
    Idle,
    /// A job is under way.
    Job,
    /// Busy with something else, in plain words ("levelling the bed"); refuses jobs meanwhile.
    Busy(String),
    /// Its firmware is being replaced: nothing but a stop is sent to it.
    Updating,
}

impl Activity {
    /// What the machine does apart from a job, in plain words.
    pub fn occupation(&self) -> Option<&str> {
        match self {
            Activity::Busy(what) => Some(what),
            Activity::Updating => Some("updating its firmware"),
            Activity::Unknown | Activity::Idle | Activity::Job => None,
        }
    }
}

/// The job as the printer tells it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceJob {
    pub stage: DeviceStage,
    /// The step within the stage.
    pub detail: Option<StageDetail>,
    /// File name or path as the printer tells it.
    pub file: Option<String>,
    /// Title shown on the printer's screen.
    pub title: Option<String>,
    /// The printer's own id of this run; a fresh one means a fresh run.
    pub token: Option<String>,
    /// Plate within the archive, from 1.
    pub plate: Option<u32>,
    pub progress: Option<Ratio>,
    /// Seconds.
    pub remaining_s: Option<f64>,
    /// Seconds since the start including pauses, where the printer counts them.
    pub total_s: Option<f64>,
    /// Seconds of printing without pauses, where the printer counts them.
    pub print_s: Option<f64>,
    /// Layer being printed, from 1; 0 before the first.
    pub layer: Option<u32>,
    pub total_layers: Option<u32>,
    /// Millimetres of filament used by this run.
    pub filament_used_mm: Option<Millimeters>,
    /// Why the run failed, in plain words.
    pub reason: Option<String>,
    /// Identifiers of objects that are skipped.
    pub skipped: Vec<u32>,
    /// Slot that feeds each filament of the job, where the printer tells.
    pub mapping: Vec<Option<super::SlotId>>,
}

/// Where the printer says its job is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceStage {
    #[default]
    Unknown,
    Idle,
    /// File taken: unpacking, heating, levelling.
    Preparing,
    Printing,
    Pausing,
    Paused,
    Resuming,
    Cancelling,
    Finished,
    Cancelled,
    Failed,
}

impl DeviceStage {
    /// A job holds the machine.
    pub fn active(self) -> bool {
        use DeviceStage::*;
        matches!(self, Preparing | Printing | Pausing | Paused | Resuming | Cancelling)
    }

    /// The job is over and its end is still shown.
    pub fn ended(self) -> bool {
        matches!(self, DeviceStage::Finished | DeviceStage::Cancelled | DeviceStage::Failed)
    }
}

/// A step of the preparation or print, e.g. "bed levelling".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageDetail {
    /// The printer's number of the step.
    pub code: i64,
    /// In plain words.
    pub text: String,
}

/// A heated or measured body. `target` is `None` where nothing heats it or the printer does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Heater {
    pub actual: Option<Celsius>,
    pub target: Option<Celsius>,
}

/// One tool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Nozzle {
    pub heater: Heater,
    pub diameter_mm: Option<Millimeters>,
    /// "hardened steel".
    pub material: Option<String>,
    /// "standard", "high flow".
    pub flow: Option<String>,
    /// Filament is at the extruder.
    pub filament_detected: Option<bool>,
}

/// Where the air duct leads the air.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AirMode {
    /// Fresh air through the chamber.
    Cooling,
    /// The chamber stays warm and its air is filtered.
    Heating,
    /// Air is drawn out, for laser and cutter.
    Exhaust,
}

/// The fans that printers of this class have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FanId {
    Part,
    Auxiliary,
    AuxiliaryLeft,
    Chamber,
    Hotend,
    Controller,
    Circulation,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Fan {
    pub speed: Option<Ratio>,
    /// Revolutions per minute.
    pub rpm: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LightId {
    Chamber,
    Work,
    Bed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Light {
    pub on: bool,
    pub flashing: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Motion {
    /// X, Y, Z as the printer reports them; most do not.
    pub position: Option<[Millimeters; 3]>,
    pub homed: Option<Homed>,
    /// mm/s.
    pub velocity: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Homed {
    pub x: bool,
    pub y: bool,
    pub z: bool,
}

impl Homed {
    pub const ALL: Homed = Homed { x: true, y: true, z: true };

    /// These axes and those of `other`.
    pub fn and(self, other: Self) -> Self {
        Self { x: self.x || other.x, y: self.y || other.y, z: self.z || other.z }
    }
}

/// The speed setting.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// 1.0 = 100 %.
    pub factor: Option<f64>,
    /// The vendor's name of the level, e.g. "Sport".
    pub level: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Storage {
    pub present: Option<bool>,
    pub total_bytes: Option<u64>,
    pub free_bytes: Option<u64>,
    /// Readable but damaged or write-protected: a sentence that says what to do.
    pub trouble: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Wi-Fi signal in dBm.
    pub wifi_dbm: Option<i32>,
    pub wired: Option<bool>,
    pub ip: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraKind {
    #[default]
    None,
    /// JPEG frames, one after the other.
    Jpeg,
    /// H.264 over RTSP.
    H264,
}

/// The printer's own settings of its camera; the frames live in the camera room.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CameraState {
    pub recording: Option<bool>,
    pub timelapse: Option<bool>,
    /// Why no picture can be had, in plain words with the remedy.
    pub blocked: Option<String>,
}

/// Settings of a printer that are on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrintOption {
    AutoRecovery,
    FilamentTangleDetection,
    NozzleBlobDetection,
    AirPrintDetection,
    PromptSound,
    AutoSwitchFilament,
    BuildPlateMarker,
    FirstLayerInspection,
    SpaghettiDetection,
    PileUpDetection,
    NozzleClumpDetection,
    AiAirPrintDetection,
    PlateAlignment,
    AllowSkippingParts,
    Timelapse,
    CameraRecording,
    AmsReadOnInsert,
    AmsReadAtStart,
    AmsEstimateRemaining,
}
