//! Everything a front end can ask of a printer, and what comes back.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{AirMode, Calibration, Celsius, Color, FanId, LightId, Millimeters, PrintOption, Ratio, SlotId};

/// Some of X, Y, Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axes {
    pub x: bool,
    pub y: bool,
    pub z: bool,
}

impl Axes {
    pub const ALL: Axes = Axes { x: true, y: true, z: true };
}

/// What to do around a print, where the printer offers it; `None` leaves the printer's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StartOptions {
    pub bed_levelling: Option<bool>,
    pub flow_calibration: Option<bool>,
    pub vibration_calibration: Option<bool>,
    pub first_layer_inspection: Option<bool>,
    pub timelapse: Option<bool>,
    pub nozzle_offset_calibration: Option<bool>,
    /// Smooth (B) side of the build plate, where the printer asks.
    pub smooth_plate: Option<bool>,
    /// The build plate on the printer ("textured_plate", or in a slicer's words), where the printer wants it.
    pub bed_type: Option<String>,
}

/// Starts a file that is on the printer's storage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StartJob {
    /// Path on the printer's storage as its file room lists it, without a leading slash.
    pub remote_path: String,
    /// Title for the printer's screen.
    pub title: String,
    /// Plate within the archive, from 1.
    pub plate: u32,
    /// Fresh decimal number below 2^31 that identifies this run where the printer echoes it.
    pub token: u32,
    /// Lower-case hex MD5 of the file, where known.
    pub md5: Option<String>,
    /// Slot for each filament of the whole project, by index; `None` for filaments the plate does not use.
    pub mapping: Vec<Option<SlotId>>,
    pub options: StartOptions,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SlotEdit {
    pub material: Option<String>,
    pub name: Option<String>,
    pub brand: Option<String>,
    pub color: Option<Color>,
    pub nozzle_min: Option<Celsius>,
    pub nozzle_max: Option<Celsius>,
    /// The vendor's filament profile id.
    pub profile: Option<String>,
    /// Forget what is known of the slot.
    pub clear: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DryRequest {
    pub temperature: Celsius,
    pub hours: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilamentAction {
    /// Try the stuck step again, or go on after the user helped.
    Resume,
    Reset,
    Abort,
    Done,
}

/// A closed list: each driver decides on each of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Prints a file that is on the printer's storage.
    StartJob(Box<StartJob>),
    /// The running job waits until [`Self::Resume`].
    Pause,
    /// A paused job goes on.
    Resume,
    /// The job ends for good.
    Cancel,
    /// Stops everything by the fastest way the printer has; jumps every queue.
    EmergencyStop,
    /// Objects of the running job, by the ids its file gives them, are printed no further.
    SkipObjects(Vec<u32>),
    /// 0 switches off.
    SetNozzle { tool: usize, target: Celsius },
    /// As [`Self::SetNozzle`].
    SetBed { target: Celsius },
    /// As [`Self::SetNozzle`].
    SetChamber { target: Celsius },
    /// 0 switches off.
    SetFan { fan: FanId, speed: Ratio },
    /// On or off: no printer here dims.
    SetLight { light: LightId, on: bool },
    /// Where the air duct sends the air.
    SetAirMode(AirMode),
    /// 1.0 = 100 %; printers with levels take the nearest.
    SetSpeed { factor: f64 },
    /// Finds the ends of these axes.
    Home(Axes),
    /// Relative move in mm; `feed` in mm/s.
    Jog { delta: [Millimeters; 3], feed: Option<f64> },
    /// Move to coordinates in mm, where one is named; `feed` in mm/s. Drivers are given the way there, as [`Self::Jog`].
    MoveTo { place: [Option<Millimeters>; 3], feed: Option<f64> },
    /// Positive extrudes; `feed` in mm/s.
    Extrude { length: Millimeters, feed: Option<f64> },
    /// The axes can be moved by hand, and are no longer homed.
    MotorsOff,
    /// The nozzle, by its number from 0, that loading and extruding are for.
    SelectTool(usize),
    /// From this slot to the nozzle.
    LoadFilament(SlotId),
    /// From the nozzle back into its slot.
    UnloadFilament,
    /// What lies in a slot, as a person says.
    EditSlot { slot: SlotId, edit: Box<SlotEdit> },
    /// Reads the tag of the spool in this slot.
    ReadTag(SlotId),
    /// Uses a stored flow calibration with the filament of a slot; `None` is the printer's default.
    SelectFlowProfile { slot: SlotId, profile: Option<u32> },
    /// Goes on, or not, with a filament change that waits for a person.
    FilamentAction(FilamentAction),
    /// An equal spool takes over when one runs empty.
    SetAutoRefill(bool),
    /// A filament unit, by its number, heats its spools.
    StartDrying { unit: u16, request: DryRequest },
    /// Ends what [`Self::StartDrying`] began.
    StopDrying { unit: u16 },
    /// Routines that the printer runs by itself.
    Calibrate(BTreeSet<Calibration>),
    /// A setting of the printer that outlives the job.
    SetOption { option: PrintOption, on: bool },
    /// Diameter in mm and the material's name ("hardened_steel").
    SetNozzleType { tool: usize, diameter: Millimeters, material: String },
    /// Sounds the buzzer in one of the printer's own ways; 0 is silence.
    Buzz(u8),
    /// Takes a fault off the screen, by its code; `None` is the one shown.
    ClearFault { code: Option<String> },
    /// Lines for the printer's own interpreter; done when it has executed them, where it tells.
    Gcode(Vec<String>),
    /// The vendor's own message, for experts who switched it on.
    RawVendor(serde_json::Value),
    /// Asks for a complete report.
    Refresh,
}

impl Command {
    /// Jumps the queue of commands of its printer.
    pub fn urgent(&self) -> bool {
        matches!(self, Command::EmergencyStop | Command::Cancel | Command::Pause)
    }

    /// A setting that takes effect at once and moves nothing; it does not wait behind what moves.
    pub fn setting(&self) -> bool {
        matches!(
            self,
            Command::SetNozzle { .. }
                | Command::SetBed { .. }
                | Command::SetChamber { .. }
                | Command::SetFan { .. }
                | Command::SetLight { .. }
                | Command::SetAirMode(_)
                | Command::SetSpeed { .. }
                | Command::SetOption { .. }
                | Command::SetAutoRefill(_)
                | Command::SkipObjects(_)
                | Command::Buzz(_)
                | Command::ClearFault { .. }
                | Command::Refresh
        )
    }

    /// For logs and refusals: "pause", "set bed temperature".
    pub fn name(&self) -> &'static str {
        match self {
            Command::StartJob(_) => "start print",
            Command::Pause => "pause",
            Command::Resume => "resume",
            Command::Cancel => "cancel",
            Command::EmergencyStop => "emergency stop",
            Command::SkipObjects(_) => "skip objects",
            Command::SetNozzle { .. } => "set nozzle temperature",
            Command::SetBed { .. } => "set bed temperature",
            Command::SetChamber { .. } => "set chamber temperature",
            Command::SetFan { .. } => "set fan",
            Command::SetLight { .. } => "set light",
            Command::SetAirMode(_) => "set air mode",
            Command::SetSpeed { .. } => "set speed",
            Command::Home(_) => "home",
            Command::Jog { .. } | Command::MoveTo { .. } => "move",
            Command::Extrude { .. } => "extrude",
            Command::MotorsOff => "motors off",
            Command::SelectTool(_) => "select tool",
            Command::LoadFilament(_) => "load filament",
            Command::UnloadFilament => "unload filament",
            Command::EditSlot { .. } => "edit slot",
            Command::ReadTag(_) => "read spool tag",
            Command::SelectFlowProfile { .. } => "select flow profile",
            Command::FilamentAction(_) => "filament action",
            Command::SetAutoRefill(_) => "set auto refill",
            Command::StartDrying { .. } => "start drying",
            Command::StopDrying { .. } => "stop drying",
            Command::Calibrate(_) => "calibrate",
            Command::SetOption { .. } => "set option",
            Command::SetNozzleType { .. } => "set nozzle type",
            Command::Buzz(_) => "sound the buzzer",
            Command::ClearFault { .. } => "clear fault",
            Command::Gcode(_) => "send G-code",
            Command::RawVendor(_) => "send vendor message",
            Command::Refresh => "refresh",
        }
    }
}

/// How far a command was followed (design D6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// Handed to the printer.
    Sent,
    /// The printer acknowledged it.
    Acknowledged,
    /// Its effect is in the printer's state.
    Effect,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub seen: Seen,
    /// What the user should know although it worked, e.g. "speed set to 124 % (Sport): this printer has levels only".
    pub note: Option<String>,
}

impl Outcome {
    pub fn new(seen: Seen) -> Self {
        Self { seen, note: None }
    }

    pub fn noted(seen: Seen, note: impl Into<String>) -> Self {
        Self { seen, note: Some(note.into()) }
    }
}

/// Why a command did not work. Small and closed: each front end has one function that turns it into its own form.
#[derive(Debug, Clone, PartialEq, Error, Serialize, Deserialize)]
pub enum CommandError {
    #[error("{0}")]
    Offline(String),
    #[error("{0}")]
    Unsupported(String),
    #[error("{0}")]
    NotAllowed(String),
    #[error("{0}")]
    Busy(String),
    #[error("{0}")]
    Invalid(String),
    /// The printer refused, with its own code and reason.
    #[error("{text} ({code})")]
    Refused { code: String, text: String },
    #[error("{0}")]
    Timeout(String),
    #[error("internal error: {0}")]
    Internal(String),
}

impl CommandError {
    /// "this printer cannot {what}".
    pub fn unsupported(what: &str) -> Self {
        Self::Unsupported(format!("this printer cannot {what}"))
    }
}
