//! Requests to the printer (pure; elegoo.md 3.6, 3.10). A closed list: the methods that manage the access code or the
//! firmware (1039, 1049, 1050, 1053, 1063) cannot be written.

use std::time::Duration;

use serde::Serialize;

use crate::drivers::elegoo::canvas::{SlotMapEntry, slot_map};
use crate::drivers::elegoo::orders::{self, nearest_speed, takes_speed, whole};
use crate::drivers::elegoo::place::{Medium, Place};
use crate::drivers::elegoo::work;
use crate::model::{
    Calibration, Command, CommandError, FanId, Filament, LightId, PrinterState, SlotEdit, SlotId, StartJob,
};

/// Every request that is ever sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    SystemInfo,
    FullStatus,
    EmergencyStop,
    Start(StartPrint),
    Pause,
    Cancel,
    Resume,
    LoadExternal,
    UnloadExternal,
    Home,
    /// Axis and mm.
    Move(&'static str, f64),
    /// Whole °C.
    Nozzle(u16),
    /// Whole °C.
    Bed(u16),
    Light(bool),
    /// Key and 0 to 255.
    Fan(&'static str, u8),
    /// 0 to 3.
    Speed(u8),
    Level,
    Resonances,
    Pid,
    Diagnose {
        resonances: bool,
        pid: bool,
        level: bool,
    },
    History,
    /// Offset.
    ListFiles(Medium, u64),
    FileInfo(Medium, String),
    Delete(Medium, String),
    /// Renders the video of this address.
    ExportVideo(String),
    DiskVolume,
    /// Canvas and tray.
    LoadTray(u16, u8),
    UnloadTray(u16, u8),
    EditTray(Box<TrayEdit>),
    AutoRefill(bool),
    Canvas,
}

/// Files asked for with one 1044 (as in the captured request).
pub const LIST_PAGE: u64 = 50;

/// `storage_media` (elegoo.md 3.10).
fn media(medium: Medium) -> &'static str {
    match medium {
        Medium::Internal => "local",
        Medium::Usb => "u-disk",
    }
}

/// Parameters of 1020.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StartPrint {
    pub medium: Medium,
    pub file: String,
    pub timelapse: bool,
    pub level_first: bool,
    pub smooth_plate: bool,
    pub slot_map: Vec<SlotMapEntry>,
}

/// Parameters of 2003; the write keys differ from the read keys (elegoo.md 3.6).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrayEdit {
    pub canvas_id: u16,
    pub tray_id: u8,
    pub brand: String,
    pub filament_type: String,
    pub filament_name: String,
    pub filament_code: String,
    pub filament_color: String,
    pub filament_min_temp: u16,
    pub filament_max_temp: u16,
}

impl Call {
    /// The number on the wire.
    pub fn method(&self) -> i64 {
        match self {
            Call::SystemInfo => 1001,
            Call::FullStatus => 1002,
            Call::EmergencyStop => 1007,
            Call::Start(_) => 1020,
            Call::Pause => 1021,
            Call::Cancel => 1022,
            Call::Resume => 1023,
            Call::LoadExternal => 1024,
            Call::UnloadExternal => 1025,
            Call::Home => 1026,
            Call::Move(..) => 1027,
            Call::Nozzle(_) | Call::Bed(_) => 1028,
            Call::Light(_) => 1029,
            Call::Fan(..) => 1030,
            Call::Speed(_) => 1031,
            Call::Level => 1032,
            Call::Resonances => 1033,
            Call::Pid => 1034,
            Call::Diagnose { .. } => 1035,
            Call::History => 1036,
            Call::ListFiles(..) => 1044,
            Call::FileInfo(..) => 1046,
            Call::Delete(..) => 1047,
            Call::DiskVolume => 1048,
            Call::ExportVideo(_) => 1051,
            Call::LoadTray(..) => 2001,
            Call::UnloadTray(..) => 2002,
            Call::EditTray(_) => 2003,
            Call::AutoRefill(_) => 2004,
            Call::Canvas => 2005,
        }
    }

    /// How long an answer takes: motion is answered when it ends (elegoo.md 3.5).
    pub fn limit(&self) -> Duration {
        Duration::from_secs(match self.method() {
            1020..=1023 => 90,
            1024 | 1025 | 1032..=1034 | 1051 | 2001 | 2002 => 300,
            1026 => 50,
            1027 => 25,
            1035 => 7200,
            _ => 10,
        })
    }

    /// Sent at once, whatever was sent just before.
    pub fn urgent(&self) -> bool {
        matches!(self, Call::EmergencyStop | Call::Pause | Call::Cancel)
    }

    fn params(&self) -> Params<'_> {
        match self {
            Call::Start(start) => Params::Start {
                storage_media: media(start.medium),
                filename: &start.file,
                config: StartConfig {
                    delay_video: start.timelapse,
                    printer_check: start.level_first,
                    print_layout: if start.smooth_plate { "B" } else { "A" },
                    bedlevel_force: false,
                    slot_map: &start.slot_map,
                },
            },
            Call::Home => Params::Home { homed_axes: "xyz" },
            Call::Move(axis, distance) => Params::Move { axes: axis, distance: *distance },
            Call::Nozzle(target) => Params::Nozzle { extruder: *target },
            Call::Bed(target) => Params::Bed { heater_bed: *target },
            Call::Light(on) => Params::Light { power: u8::from(*on) },
            Call::Fan(key, speed) => Params::Fan(std::iter::once((*key, *speed)).collect()),
            Call::Speed(mode) => Params::Speed { mode: *mode },
            Call::Diagnose { resonances, pid, level } => {
                Params::Diagnose { ringing_optimize: *resonances, pid_check: *pid, auto_bed_leveling: *level }
            }
            Call::ListFiles(medium, offset) => {
                Params::List { storage_media: media(*medium), offset: *offset, limit: LIST_PAGE }
            }
            Call::FileInfo(medium, name) => Params::File { storage_media: media(*medium), filename: name },
            Call::Delete(medium, name) => Params::Delete { storage_media: media(*medium), file_path: [name] },
            Call::ExportVideo(url) => Params::Video { url },
            Call::DiskVolume => Params::Disk { storage_media: "local" },
            Call::LoadTray(canvas, tray) | Call::UnloadTray(canvas, tray) => {
                Params::Tray { canvas_id: *canvas, tray_id: *tray }
            }
            Call::EditTray(edit) => Params::Edit(edit),
            Call::AutoRefill(on) => Params::Refill { auto_refill: *on },
            _ => Params::Empty {},
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Params<'a> {
    Empty {},
    Start { storage_media: &'static str, filename: &'a str, config: StartConfig<'a> },
    Home { homed_axes: &'static str },
    Move { axes: &'static str, distance: f64 },
    Nozzle { extruder: u16 },
    Bed { heater_bed: u16 },
    Light { power: u8 },
    Fan(std::collections::BTreeMap<&'static str, u8>),
    Speed { mode: u8 },
    Diagnose { ringing_optimize: bool, pid_check: bool, auto_bed_leveling: bool },
    List { storage_media: &'static str, offset: u64, limit: u64 },
    File { storage_media: &'static str, filename: &'a str },
    Video { url: &'a str },
    Delete { storage_media: &'static str, file_path: [&'a str; 1] },
    Disk { storage_media: &'static str },
    Tray { canvas_id: u16, tray_id: u8 },
    Edit(&'a TrayEdit),
    Refill { auto_refill: bool },
}

#[derive(Serialize)]
struct StartConfig<'a> {
    delay_video: bool,
    printer_check: bool,
    print_layout: &'static str,
    bedlevel_force: bool,
    slot_map: &'a [SlotMapEntry],
}

#[derive(Serialize)]
struct Envelope<'a> {
    id: i64,
    method: i64,
    params: Params<'a>,
}

/// The payload of one request.
///
/// # Errors
/// Only if JSON itself fails.
pub fn payload(id: i64, call: &Call) -> serde_json::Result<String> {
    serde_json::to_string(&Envelope { id, method: call.method(), params: call.params() })
}

/// The requests of one command.
pub type Plan = work::Plan<Call>;

const AFTER_EMERGENCY_STOP: &str =
    "The printer halts at once. It must be switched off and on before it prints again.";

/// Plans a command, or says why it is not sent.
///
/// # Errors
/// Unsupported by this protocol, or invalid now.
pub fn plan(command: &Command, state: &PrinterState) -> Result<Plan, CommandError> {
    let one = Plan::one;
    let stage = state.device.job.stage;
    match command {
        Command::StartJob(job) => one(Call::Start(start(job)?)),
        Command::Pause => one(Call::Pause),
        Command::Resume => one(Call::Resume),
        Command::Cancel => one(Call::Cancel),
        Command::EmergencyStop => {
            Ok(Plan { note: Some(AFTER_EMERGENCY_STOP), ..Plan::of(vec![Call::EmergencyStop]) })
        }
        Command::SetNozzle { target, .. } => one(Call::Nozzle(whole(*target, 320.0) as u16)),
        Command::SetBed { target } => one(Call::Bed(whole(*target, 125.0) as u16)),
        Command::SetFan { fan, speed } => one(Call::Fan(fan_key(*fan)?, whole(speed * 255.0, 255.0) as u8)),
        Command::SetLight { light: LightId::Chamber, on } => one(Call::Light(*on)),
        Command::SetSpeed { factor } => {
            takes_speed(stage)?;
            let (mode, _) = nearest_speed(*factor);
            one(Call::Speed(mode))
        }
        Command::Home(_) => one(Call::Home),
        Command::Jog { delta, .. } => orders::jog(["x", "y", "z"], *delta, Call::Move),
        Command::LoadFilament(SlotId::External(_)) => one(Call::LoadExternal),
        Command::LoadFilament(SlotId::Unit { unit, slot }) => one(Call::LoadTray(*unit, *slot)),
        Command::UnloadFilament => one(match state.device.filament.active {
            Some(SlotId::Unit { unit, slot }) => Call::UnloadTray(unit, slot),
            _ => Call::UnloadExternal,
        }),
        Command::EditSlot { slot, edit } => one(Call::EditTray(Box::new(tray_edit(*slot, edit, state)?))),
        Command::SetAutoRefill(on) => one(Call::AutoRefill(*on)),
        Command::Calibrate(wanted) => one(calibration(wanted)?),
        Command::Refresh => one(Call::FullStatus),
        Command::SkipObjects(_)
        | Command::SetChamber { .. }
        | Command::SetLight { .. }
        | Command::MoveTo { .. }
        | Command::Extrude { .. }
        | Command::MotorsOff
        | Command::SelectTool(_)
        | Command::ReadTag(_)
        | Command::FilamentAction(_)
        | Command::SetAirMode(_)
        | Command::SelectFlowProfile { .. }
        | Command::StartDrying { .. }
        | Command::StopDrying { .. }
        | Command::SetOption { .. }
        | Command::SetNozzleType { .. }
        | Command::Buzz(_)
        | Command::ClearFault { .. }
        | Command::Gcode(_)
        | Command::RawVendor(_) => Err(CommandError::unsupported(command.name())),
    }
}

fn start(job: &StartJob) -> Result<StartPrint, CommandError> {
    let (medium, file) = match Place::of(&job.remote_path) {
        Place::Job(medium, file) if !file.is_empty() => (medium, file),
        _ => return Err(CommandError::Invalid("No file that can be printed was named.".to_owned())),
    };
    Ok(StartPrint {
        medium,
        file,
        timelapse: job.options.timelapse.unwrap_or(false),
        level_first: job.options.bed_levelling.unwrap_or(false),
        smooth_plate: job.options.smooth_plate.unwrap_or(false),
        slot_map: slot_map(&job.mapping)?,
    })
}

fn fan_key(fan: FanId) -> Result<&'static str, CommandError> {
    match fan {
        FanId::Part => Ok("fan"),
        FanId::Auxiliary => Ok("aux_fan"),
        FanId::Chamber => Ok("box_fan"),
        _ => Err(CommandError::unsupported("set this fan")),
    }
}

fn calibration(wanted: &std::collections::BTreeSet<Calibration>) -> Result<Call, CommandError> {
    let has = |calibration| wanted.contains(&calibration);
    let (level, resonances, pid) =
        (has(Calibration::BedLevelling), has(Calibration::Vibration), has(Calibration::Pid));
    match (level, resonances, pid) {
        (false, false, false) => Err(CommandError::unsupported("run this calibration")),
        (true, false, false) => Ok(Call::Level),
        (false, true, false) => Ok(Call::Resonances),
        (false, false, true) => Ok(Call::Pid),
        _ => Ok(Call::Diagnose { resonances, pid, level }),
    }
}

/// All keys are sent: what the edit leaves out stays as the printer knows it.
fn tray_edit(slot: SlotId, edit: &SlotEdit, state: &PrinterState) -> Result<TrayEdit, CommandError> {
    let SlotId::Unit { unit, slot: tray } = slot else {
        return Err(CommandError::unsupported("describe the external spool"));
    };
    let known = state.device.filament.slot(slot).and_then(|slot| slot.filament.clone()).unwrap_or_default();
    let base = if edit.clear { Filament::default() } else { known };
    let word = |new: &Option<String>, old: Option<String>| new.clone().or(old).unwrap_or_default();
    let color =
        edit.color.or(base.color).map_or("#FFFFFF".to_owned(), |color| format!("#{}", color.rgb_hex()));
    let heat = |new: Option<f64>, old: Option<f64>| whole(new.or(old).unwrap_or(0.0), 320.0) as u16;
    let material = word(&edit.material, base.material);
    if material.is_empty() && !edit.clear {
        return Err(CommandError::Invalid("Name the material of the slot, e.g. PLA.".to_owned()));
    }
    Ok(TrayEdit {
        canvas_id: unit,
        tray_id: tray,
        brand: word(&edit.brand, base.brand),
        filament_name: edit.name.clone().or(base.name).unwrap_or_else(|| material.clone()),
        filament_type: material,
        filament_code: word(&edit.profile, base.profile),
        filament_color: color,
        filament_min_temp: heat(edit.nozzle_min, base.nozzle_min),
        filament_max_temp: heat(edit.nozzle_max, base.nozzle_max),
    })
}
