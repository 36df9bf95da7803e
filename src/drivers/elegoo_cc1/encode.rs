//! Commands of the gateway as requests to the printer (pure; elegoo.md 2.9 and 4).

use super::sdcp::{Axis, Disk, HomeAxes, Parameter, Sdcp, StartPrint};
use crate::drivers::elegoo::canvas::slot_map;
use crate::drivers::elegoo::orders::{self, nearest_speed, takes_speed, whole};
use crate::drivers::elegoo::place::{Medium, Place};
use crate::drivers::elegoo::work;
use crate::model::{Axes, Command, CommandError, DeviceStage, FanId, LightId, PrinterState, StartJob};

/// The requests of one command.
pub type Plan = work::Plan<Sdcp>;

/// At most 120 characters: clients cut what is told with it at 255.
const NO_EMERGENCY_STOP: &str = "No emergency stop by network: the print stops within tens of seconds, the heaters are off. In danger, cut the power.";

/// Plans a command, or says why it is not sent.
///
/// # Errors
/// Unsupported by this protocol, or refused because the firmware would ignore it now.
pub fn plan(command: &Command, state: &PrinterState) -> Result<Plan, CommandError> {
    let stage = state.device.job.stage;
    match command {
        Command::StartJob(job) => Plan::one(Sdcp::Start(start(job)?)),
        Command::Pause => lifecycle(Sdcp::Pause, stage),
        Command::Resume => lifecycle(Sdcp::Resume, stage),
        Command::Cancel => lifecycle(Sdcp::Stop, stage),
        Command::EmergencyStop => Ok(emergency(stage)),
        Command::SetNozzle { target, .. } => Plan::one(Sdcp::Set(Parameter::Nozzle(degrees(*target)))),
        Command::SetBed { target } => Plan::one(Sdcp::Set(Parameter::Bed(degrees(*target)))),
        Command::SetFan { fan, speed } => {
            let percent = whole(speed * 100.0, 100.0) as u8;
            Plan::one(Sdcp::Set(match fan {
                FanId::Part => Parameter::PartFan(percent),
                FanId::Auxiliary => Parameter::AuxiliaryFan(percent),
                FanId::Chamber => Parameter::ChamberFan(percent),
                _ => return Err(CommandError::unsupported("set this fan")),
            }))
        }
        Command::SetLight { light: LightId::Chamber, on } => Plan::one(Sdcp::Set(Parameter::Light(*on))),
        Command::SetSpeed { factor } => {
            takes_speed(stage)?;
            let (_, percent) = nearest_speed(*factor);
            Plan::one(Sdcp::Set(Parameter::Speed(percent)))
        }
        Command::Home(axes) => home(*axes),
        Command::Jog { delta, .. } => orders::jog([Axis::X, Axis::Y, Axis::Z], *delta, Sdcp::Jog),
        Command::Refresh => Ok(Plan::of(vec![Sdcp::Attributes, Sdcp::Status])),
        Command::SkipObjects(_)
        | Command::SetChamber { .. }
        | Command::SetLight { .. }
        | Command::MoveTo { .. }
        | Command::Extrude { .. }
        | Command::MotorsOff
        | Command::SelectTool(_)
        | Command::LoadFilament(_)
        | Command::UnloadFilament
        | Command::EditSlot { .. }
        | Command::ReadTag(_)
        | Command::FilamentAction(_)
        | Command::SetAutoRefill(_)
        | Command::SetAirMode(_)
        | Command::SelectFlowProfile { .. }
        | Command::StartDrying { .. }
        | Command::StopDrying { .. }
        | Command::Calibrate(_)
        | Command::SetOption { .. }
        | Command::SetNozzleType { .. }
        | Command::Buzz(_)
        | Command::ClearFault { .. }
        | Command::Gcode(_)
        | Command::RawVendor(_) => Err(CommandError::unsupported(command.name())),
    }
}

fn start(job: &StartJob) -> Result<StartPrint, CommandError> {
    let (disk, file) = match Place::of(&job.remote_path) {
        Place::Job(Medium::Internal, file) if !file.is_empty() => (Disk::Local, file),
        Place::Job(Medium::Usb, file) if !file.is_empty() => (Disk::Usb, file),
        _ => return Err(CommandError::Invalid("No file that can be printed was named.".to_owned())),
    };
    Ok(StartPrint {
        disk,
        file,
        level_first: job.options.bed_levelling.unwrap_or(false),
        smooth_plate: job.options.smooth_plate.unwrap_or(false),
        timelapse: job.options.timelapse.unwrap_or(false),
        slot_map: slot_map(&job.mapping)?,
    })
}

/// A stop under way cannot be changed any more (elegoo.md 2.9); a pause or resume under way is waited for.
fn lifecycle(step: Sdcp, stage: DeviceStage) -> Result<Plan, CommandError> {
    if stage != DeviceStage::Cancelling {
        return Plan::one(step);
    }
    Err(CommandError::Busy(
        "The printer is stopping and ignores other orders until that is done; try again in a moment."
            .to_owned(),
    ))
}

fn emergency(stage: DeviceStage) -> Plan {
    let mut steps = Vec::new();
    if stage.active() || stage == DeviceStage::Unknown {
        steps.push(Sdcp::Stop);
    }
    steps.extend([Sdcp::Set(Parameter::Nozzle(0)), Sdcp::Set(Parameter::Bed(0))]);
    Plan { steps, note: Some(NO_EMERGENCY_STOP), all_steps: true }
}

fn home(axes: Axes) -> Result<Plan, CommandError> {
    let wire = match (axes.x, axes.y, axes.z) {
        (true, true, true) => HomeAxes::Xyz,
        (true, true, false) => HomeAxes::Xy,
        (true, false, false) => HomeAxes::X,
        (false, true, false) => HomeAxes::Y,
        (false, false, true) => HomeAxes::Z,
        (false, false, false) => return Err(CommandError::Invalid("No axis was named.".to_owned())),
        _ => {
            return Err(CommandError::Invalid(
                "This printer homes X, Y, Z, X and Y, or all axes; choose one of these.".to_owned(),
            ));
        }
    };
    Plan::one(Sdcp::Home(wire))
}

fn degrees(target: f64) -> u16 {
    whole(target, 320.0) as u16
}
