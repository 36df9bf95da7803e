//! One command as the messages that make the printer do it: pure (bambu.md 4).
//!
//! What is refused here is refused before anything is sent; values were checked by the guard of `printer`.

mod filament;
mod gcode;
mod settings;

use serde_json::{Map, Value, json};

use super::field::{at, bit, hex, text};
use super::models::{Chamber, ChamberCommand, ModelRow, SPEEDS};
use super::start::{self, UrlForm};
use crate::model::{Axes, Calibration, Command, CommandError, Device};

pub(super) use gcode::clear_marker;
use gcode::lines as gcode_lines;

/// What an encoder may look at.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub device: &'a Device,
    pub tree: &'a Value,
    pub row: &'static ModelRow,
    /// How a started file is named to the printer.
    pub url: UrlForm,
    /// The step number that shows that lines of G-code were executed.
    pub marker: i64,
    /// A job is under way, be it that its start was only sent.
    pub job_under_way: bool,
}

impl Context<'_> {
    fn fun(&self, index: u32) -> bool {
        hex(at(self.tree, "/fun")).is_some_and(|bits| bit(bits, index))
    }
}

/// One message to the request topic; the link adds `sequence_id`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    pub category: String,
    pub body: Map<String, Value>,
    /// The printer acknowledges it (bambu.md 4.1).
    pub answered: bool,
}

impl Message {
    pub fn new(category: &str, command: &str, fields: Value) -> Self {
        let mut body = Map::new();
        body.insert("command".to_owned(), Value::String(command.to_owned()));
        if let Value::Object(fields) = fields {
            body.extend(fields);
        }
        Self { category: category.to_owned(), body, answered: true }
    }

    pub fn print(command: &str, fields: Value) -> Self {
        Self::new("print", command, fields)
    }

    pub fn unanswered(self) -> Self {
        Self { answered: false, ..self }
    }

    /// Some firmware carries it out without an acknowledgement (bambu.md 4.1: some xcam sets).
    pub fn may_be_silent(&self) -> bool {
        self.category == "xcam"
    }

    /// The JSON to publish, under this sequence number.
    pub fn payload(&self, sequence: u32) -> Value {
        let mut body = self.body.clone();
        body.insert("sequence_id".to_owned(), Value::String(sequence.to_string()));
        let mut envelope = Map::new();
        envelope.insert(self.category.clone(), Value::Object(body));
        Value::Object(envelope)
    }
}

/// What to send for one command.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// Sent one after the other at once; the command is acknowledged when all are.
    pub messages: Vec<Message>,
    /// Ends with a marker that tells when the lines were executed.
    pub settles: bool,
    /// If the target is not shown a few seconds later: the same with a code that waits (bambu.md 4.3).
    pub fallback: Option<HeatFallback>,
    pub note: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct HeatFallback {
    /// `None` is the bed.
    pub tool: Option<usize>,
    pub target: f64,
    pub message: Message,
}

impl From<Message> for Plan {
    fn from(message: Message) -> Self {
        Self { messages: vec![message], settles: false, fallback: None, note: None }
    }
}

impl Plan {
    fn several(messages: Vec<Message>) -> Self {
        Self { messages, settles: false, fallback: None, note: None }
    }
}

type Encoded = Result<Plan, CommandError>;

/// Encodes one command for this printer in its present state.
///
/// # Errors
/// What this printer cannot do or must not be asked now, in words for the user.
pub(super) fn encode(command: &Command, context: &Context<'_>) -> Encoded {
    if !context.row.controllable && !matches!(command, Command::Refresh) {
        return Err(CommandError::NotAllowed(super::control::UNKNOWN_MODEL.to_owned()));
    }
    match command {
        Command::StartJob(job) => start::project_file(job, context),
        Command::Pause => pause(context),
        Command::Resume => Ok(job_control("resume")),
        Command::Cancel => Ok(job_control("stop")),
        Command::EmergencyStop => Ok(gcode::emergency(context)),
        Command::SkipObjects(objects) => skip_objects(objects),
        Command::SetNozzle { tool, target } => Ok(gcode::set_nozzle(*tool, *target, context.row)),
        Command::SetBed { target } => Ok(gcode::set_bed(*target, context.row)),
        Command::SetChamber { target } => set_chamber(*target, context.row),
        Command::SetFan { fan, speed } => gcode::set_fan(*fan, *speed),
        Command::SetLight { light, on } => Ok(settings::light(*light, *on, context.row)),
        Command::SetAirMode(mode) => settings::air_mode(*mode),
        Command::SetSpeed { factor } => set_speed(*factor),
        Command::Home(axes) => home(*axes, context),
        Command::Jog { delta, feed } => Ok(gcode::jog(*delta, *feed)),
        Command::MoveTo { .. } => Err(CommandError::unsupported(command.name())),
        Command::Extrude { length, feed } => Ok(gcode::extrude(*length, *feed)),
        Command::MotorsOff => Ok(gcode_lines("M84").into()),
        Command::SelectTool(tool) => {
            Ok(Message::print("select_extruder", json!({ "extruder_index": tool })).into())
        }
        Command::LoadFilament(slot) => filament::load(*slot, context),
        Command::UnloadFilament => filament::unload(context),
        Command::EditSlot { slot, edit } => filament::edit(*slot, edit, context),
        Command::ReadTag(slot) => filament::read_tag(*slot, context),
        Command::SelectFlowProfile { slot, profile } => filament::flow_profile(*slot, *profile, context),
        Command::FilamentAction(action) => Ok(filament::action(*action)),
        Command::SetAutoRefill(on) => {
            Ok(Message::print("print_option", json!({ "auto_switch_filament": on })).into())
        }
        Command::StartDrying { unit, request } => filament::start_drying(*unit, *request, context),
        Command::StopDrying { unit } => filament::stop_drying(*unit, context),
        Command::Calibrate(wanted) => calibrate(wanted),
        Command::SetOption { option, on } => Ok(settings::option(*option, *on, context)),
        Command::SetNozzleType { tool, diameter, material } => {
            settings::nozzle_type(*tool, *diameter, material, context.row)
        }
        Command::Buzz(mode) => Ok(Message::print("buzzer_ctrl", json!({ "mode": mode })).into()),
        Command::ClearFault { code } => settings::clear_fault(code.as_deref(), context),
        Command::Gcode(lines) => gcode::pass_on(lines, context),
        Command::RawVendor(value) => settings::raw(value, context),
        Command::Refresh => Ok(pushall().into()),
    }
}

/// Asks for a complete report (fixture request-pushall). Not acknowledged.
pub(super) fn pushall() -> Message {
    Message::new("pushing", "pushall", json!({ "version": 1, "push_target": 1 })).unanswered()
}

/// Wakes the reporting of a silent printer; cheaper than a complete report (bambu.md 2.3).
pub(super) fn push_start() -> Message {
    Message::new("pushing", "start", json!({})).unanswered()
}

/// Asks for the module list (fixture request-get_version).
pub(super) fn get_version() -> Message {
    Message::new("info", "get_version", json!({})).unanswered()
}

/// While the printer only reads the job there are no moves that could be held: a pause would be lost.
fn pause(context: &Context<'_>) -> Encoded {
    match text(at(context.tree, "/gcode_state")).as_deref() {
        Some("PREPARE" | "SLICING") => {
            Err(CommandError::Busy("The printer still reads the job; pause when it has begun.".to_owned()))
        }
        _ => Ok(job_control("pause")),
    }
}

fn job_control(command: &str) -> Plan {
    Message::print(command, json!({ "param": "" })).into()
}

/// Most objects that a job may have for single ones to be skipped (bambu.md 4.2).
const MAX_SKIPPED: usize = 64;

fn skip_objects(objects: &[u32]) -> Encoded {
    if objects.is_empty() || objects.len() > MAX_SKIPPED {
        return Err(CommandError::Invalid(format!(
            "Between 1 and {MAX_SKIPPED} objects can be skipped at once."
        )));
    }
    Ok(Message::print("skip_objects", json!({ "obj_list": objects, "timestamp": 0 })).into())
}

/// Below this the chamber heater counts as off (bambu.md 3.7).
const CHAMBER_MIN: f64 = 40.0;

fn set_chamber(target: f64, row: &ModelRow) -> Encoded {
    if target > 0.0 && target < CHAMBER_MIN {
        return Err(CommandError::Invalid(format!(
            "The chamber is heated to {CHAMBER_MIN:.0} °C or more; 0 switches the heater off."
        )));
    }
    let wanted = target.round() as i64;
    match row.chamber {
        Chamber::Heated { by: ChamberCommand::SetCtt, .. } => {
            Ok(Message::print("set_ctt", json!({ "ctt_val": wanted, "temper_check": true })).into())
        }
        Chamber::Heated { by: ChamberCommand::M141, .. } => {
            Ok(gcode_lines(&format!("M141 S{wanted}")).into())
        }
        Chamber::Measured | Chamber::Faked => Err(CommandError::unsupported("heat its chamber")),
    }
}

fn set_speed(factor: f64) -> Encoded {
    let level = SPEEDS
        .iter()
        .zip(1_u8..)
        .min_by(|((_, a), _), ((_, b), _)| (a - factor).abs().total_cmp(&(b - factor).abs()));
    let Some((_, level)) = level else { return Err(CommandError::unsupported("change its speed")) };
    Ok(Message::print("print_speed", json!({ "param": level.to_string() })).into())
}

/// Only all axes together: partial homing lets the bed rise into the toolhead (bambu.md T35).
fn home(axes: Axes, context: &Context<'_>) -> Encoded {
    if axes != Axes::ALL {
        return Err(CommandError::Unsupported(
            "This printer homes all axes together only; single axes could collide.".to_owned(),
        ));
    }
    const BACK_TO_CENTER: u32 = 32;
    if context.fun(BACK_TO_CENTER) {
        return Ok(Message::print("back_to_center", json!({})).into());
    }
    Ok(gcode::settling("G28", context))
}

fn calibrate(wanted: &std::collections::BTreeSet<Calibration>) -> Encoded {
    let mut option = 0_u32;
    for calibration in wanted {
        option |= match calibration {
            Calibration::Lidar => 1,
            Calibration::BedLevelling => 1 << 1,
            Calibration::Vibration => 1 << 2,
            Calibration::MotorNoise => 1 << 3,
            Calibration::NozzleOffset => 1 << 4,
            Calibration::HighTemperatureBed => 1 << 5,
            Calibration::NozzleClumping => 1 << 6,
            Calibration::Pid => return Err(CommandError::unsupported("tune its heaters by command")),
        };
    }
    Ok(Message::print("calibration", json!({ "option": option })).into())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
