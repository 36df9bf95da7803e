//! What no front end may ask for, applied once for all of them.
//!
//! In this order: is there a link, may we control, can the printer do it, is it safe now, is the value sane.

use super::supervise::PrinterSettings;
use crate::model::{
    Activity, Capabilities, Command, CommandError, Control, FilamentOperation, HeaterCaps, JobPhase,
    LinkPhase, PrinterState,
};

/// What counts as a speed, as a factor of the sliced one. Klipper as well refuses 0 (`M220`).
pub const SPEEDS: std::ops::RangeInclusive<f64> = 0.1..=3.0;

/// Checks one command against the newest state.
///
/// # Errors
/// The reason for the refusal, in words for the user.
pub fn check(
    command: &Command,
    state: &PrinterState,
    caps: &Capabilities,
    settings: &PrinterSettings,
) -> Result<(), CommandError> {
    check_link(command, state)?;
    check_permission(command, state, settings)?;
    check_ability(command, caps, settings)?;
    check_moment(command, state)?;
    check_values(command, state, caps)
}

fn check_link(command: &Command, state: &PrinterState) -> Result<(), CommandError> {
    match state.link.phase {
        LinkPhase::Online => Ok(()),
        // A stale link may still carry a stop.
        LinkPhase::Stale if command.urgent() => Ok(()),
        _ => {
            let why = state.link.fault.as_ref().map_or_else(
                || "The printer is not connected yet.".to_owned(),
                |fault| format!("The printer is not connected: {}", fault.sentence()),
            );
            Err(CommandError::Offline(format!("{why} \"{}\" was not sent.", command.name())))
        }
    }
}

fn check_permission(
    command: &Command,
    state: &PrinterState,
    settings: &PrinterSettings,
) -> Result<(), CommandError> {
    if matches!(command, Command::Refresh) {
        return Ok(());
    }
    match &state.control {
        Control::ReadOnly(reason) => Err(CommandError::NotAllowed(reason.clone())),
        _ if settings.read_only => {
            Err(CommandError::NotAllowed(format!("Printer \"{}\" is read-only.", settings.name)))
        }
        _ => Ok(()),
    }
}

fn check_ability(
    command: &Command,
    caps: &Capabilities,
    settings: &PrinterSettings,
) -> Result<(), CommandError> {
    let able = match command {
        Command::SkipObjects(_) => caps.control.skip_objects,
        Command::SetNozzle { tool, .. } => *tool < caps.nozzles.len(),
        Command::SetBed { .. } => caps.bed.max.is_some(),
        Command::SetChamber { .. } => caps.chamber.is_some_and(|chamber| chamber.max.is_some()),
        Command::SetFan { fan, .. } => caps.fans.contains(fan),
        Command::SetLight { light, .. } => caps.lights.contains(light),
        Command::SetAirMode(mode) => caps.air_modes.contains(mode),
        Command::SetSpeed { .. } => !caps.speed_levels.is_empty(),
        Command::Home(axes) => {
            caps.motion.home && (caps.motion.home_axes || *axes == crate::model::Axes::ALL)
        }
        Command::Jog { .. } | Command::MoveTo { .. } => caps.motion.jog,
        Command::Extrude { .. } => caps.motion.extrude,
        Command::MotorsOff => caps.motion.motors_off,
        Command::SelectTool(tool) => caps.control.select_tool && *tool < caps.nozzles.len(),
        Command::LoadFilament(_) => caps.filament.load,
        Command::UnloadFilament => caps.filament.unload,
        Command::EditSlot { .. } => caps.filament.edit,
        Command::ReadTag(_) => caps.filament.read_tag,
        Command::SelectFlowProfile { .. } => caps.filament.flow_profile,
        Command::FilamentAction(_) => caps.filament.recover,
        Command::SetAutoRefill(_) => caps.filament.auto_refill,
        Command::Calibrate(wanted) => !wanted.is_empty() && wanted.is_subset(&caps.calibrations),
        Command::SetOption { option, .. } => caps.options.contains(option),
        Command::SetNozzleType { .. } => caps.control.set_nozzle,
        Command::Buzz(mode) => caps.control.buzzer && *mode <= 2,
        Command::ClearFault { .. } => caps.control.clear_fault,
        Command::Gcode(_) => caps.control.raw_gcode,
        Command::RawVendor(_) if !settings.allow_vendor => {
            return Err(CommandError::NotAllowed(
                "The vendor's own messages are switched off: set allow_vendor_json = true for this printer."
                    .into(),
            ));
        }
        Command::RawVendor(_) => caps.control.raw_vendor,
        // What every printer has a way for, and drying, which the unit decides and not the printer.
        Command::StartJob(_)
        | Command::Pause
        | Command::Resume
        | Command::Cancel
        | Command::EmergencyStop
        | Command::StartDrying { .. }
        | Command::StopDrying { .. }
        | Command::Refresh => true,
    };
    if able { Ok(()) } else { Err(CommandError::unsupported(command.name())) }
}

fn check_moment(command: &Command, state: &PrinterState) -> Result<(), CommandError> {
    let busy = |why: &str| Err(CommandError::Busy(why.to_owned()));
    let phase = state.job.phase;
    // A printer that loses its thread in the middle of an update may not start again.
    let harmless_then = command.urgent() || matches!(command, Command::Refresh | Command::StartJob(_));
    if state.device.activity == Activity::Updating && !harmless_then {
        return busy(&format!(
            "The printer is updating its firmware; \"{}\" was not sent. Try again when it is done.",
            command.name()
        ));
    }
    if let Some(why) = &state.device.halted
        && !(command.urgent() || matches!(command, Command::Refresh))
    {
        return busy(&format!("{why} \"{}\" was not sent.", command.name()));
    }
    match command {
        Command::StartJob(_) => {
            if state.device.job.stage.active() || (phase.active() && phase != JobPhase::Starting) {
                return busy("The printer is busy with a job; a second one is never started.");
            }
            if let Some(what) = state.device.activity.occupation() {
                return busy(&format!("The printer is {what}; start the job when it is done."));
            }
            Ok(())
        }
        Command::Pause if !phase.active() => Err(CommandError::Invalid("Nothing is printing.".into())),
        Command::Pause if matches!(phase, JobPhase::Transferring | JobPhase::Starting) => {
            busy("The job has not begun at the printer yet; cancel it or wait.")
        }
        Command::Resume if !matches!(phase, JobPhase::Paused | JobPhase::Pausing | JobPhase::Resuming) => {
            Err(CommandError::Invalid("The print is not paused.".into()))
        }
        Command::SkipObjects(_) if !phase.active() => {
            Err(CommandError::Invalid("Nothing is printing.".into()))
        }
        Command::FilamentAction(_) if !filament_waits(state) => Err(CommandError::Invalid(
            "No filament change is under way or stuck, no print is paused and the printer shows no fault: nothing waits \
             for this answer."
                .into(),
        )),
        Command::Home(_)
        | Command::Jog { .. }
        | Command::MoveTo { .. }
        | Command::MotorsOff
        | Command::Calibrate(_)
        | Command::SelectTool(_)
            if state.printing() =>
        {
            busy("Nothing moves by command while a job is under way.")
        }
        Command::Extrude { .. } | Command::LoadFilament(_) | Command::UnloadFilament
            if state.printing() && phase != JobPhase::Paused =>
        {
            busy("Filament is not moved by command while printing; pause first.")
        }
        Command::ReadTag(_) if state.printing() && phase != JobPhase::Paused => {
            busy("A tag is not read while printing, for the spool is turned to read it; pause first.")
        }
        Command::Gcode(lines) if state.printing() => match lines.iter().find(|line| !harmless(line)) {
            Some(line) => busy(&format!(
                "\"{}\" may move the machine and a job is under way: only temperatures, fans, speed, flow and messages \
                 are changed by G-code then.",
                line.trim()
            )),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Whether the printer may wait for somebody to say how its filament goes on: not each question of its screen is
/// told as a stuck change, so a fault or a pause of any kind counts.
fn filament_waits(state: &PrinterState) -> bool {
    state.device.filament.operation != FilamentOperation::Idle
        || state.job.phase == JobPhase::Paused
        || !state.device.faults.is_empty()
}

/// True for G-code that moves nothing, whatever the printer, and leaves the running job's moves what they are: all else
/// may do the one or the other, for vendors have words of their own, some of which shake the machine, and
/// modes (G91, G92, M83) hold for the lines of the job as well.
fn harmless(line: &str) -> bool {
    let line = line.trim_start().to_ascii_uppercase();
    let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).count();
    let (letter, rest) = match line.chars().next() {
        // Nothing, or a remark.
        None | Some(';') => return true,
        Some(letter @ ('G' | 'M')) => (letter, line.get(1..).unwrap_or_default()),
        Some(_) => return false,
    };
    let (number, behind) = rest.split_at_checked(digits(rest)).unwrap_or_default();
    let Ok(number) = number.parse::<u32>() else { return false };
    if behind.starts_with('.') {
        return false;
    }
    match letter {
        'G' => number == 4,
        _ => matches!(
            number,
            // Progress, reports.
            27 | 73 | 105 | 114 | 115 | 117 | 118 | 155 | 400
            // Heat and fans.
            | 104 | 106 | 107 | 109 | 140 | 141 | 190 | 191
            // Limits, speed, flow, pressure advance.
            | 201..=205 | 220 | 221 | 900
        ),
    }
}

fn check_values(command: &Command, state: &PrinterState, caps: &Capabilities) -> Result<(), CommandError> {
    match command {
        Command::SetNozzle { tool, target } => heat("nozzle", *target, caps.nozzles.get(*tool).copied()),
        Command::SetBed { target } => heat("bed", *target, Some(caps.bed)),
        Command::SetChamber { target } => heat("chamber", *target, caps.chamber),
        Command::SetFan { speed, .. } if !(0.0..=1.0).contains(speed) => {
            Err(CommandError::Invalid(format!("A fan runs at 0 to 100 %, not at {:.0} %.", speed * 100.0)))
        }
        Command::SetSpeed { factor } if !SPEEDS.contains(factor) => {
            Err(CommandError::Invalid("The speed must be between 10 and 300 %.".into()))
        }
        Command::Jog { delta, .. } => jog(*delta, state, caps),
        Command::Extrude { length, .. } => extrude(*length, state, caps),
        Command::Gcode(lines)
            if lines.iter().any(|line| line.trim_start().to_ascii_uppercase().starts_with("M302")) =>
        {
            Err(CommandError::NotAllowed("Cold extrusion (M302) is never passed on.".into()))
        }
        Command::StartJob(job) if job.remote_path.is_empty() => {
            Err(CommandError::Invalid("No file was named.".into()))
        }
        _ => Ok(()),
    }
}

fn heat(what: &str, target: f64, caps: Option<HeaterCaps>) -> Result<(), CommandError> {
    let max = caps.and_then(|caps| caps.max).unwrap_or(0.0);
    if target.is_finite() && (0.0..=max).contains(&target) {
        return Ok(());
    }
    Err(CommandError::Invalid(format!("The {what} takes 0 to {max:.0} °C, not {target:.0}.")))
}

fn jog(delta: [f64; 3], state: &PrinterState, caps: &Capabilities) -> Result<(), CommandError> {
    if delta.iter().any(|d| !d.is_finite()) || delta.iter().zip(caps.volume_mm).any(|(d, max)| d.abs() > max)
    {
        return Err(CommandError::Invalid("The move is longer than the machine.".into()));
    }
    let homed = state.device.motion.homed.unwrap_or_default();
    let needs = [homed.x, homed.y, homed.z];
    if delta.iter().zip(needs).any(|(d, homed)| *d != 0.0 && !homed) {
        return Err(CommandError::Invalid("Home first: the printer does not know where it is.".into()));
    }
    let Some(position) = state.device.motion.position else { return Ok(()) };
    let leaves = position.iter().zip(delta).zip(caps.volume_mm).any(|((at, d), max)| {
        let (before, after) = (beyond(*at, max), beyond(at + d, max));
        after > VOLUME_SLACK_MM && after >= before && d != 0.0
    });
    if leaves { Err(CommandError::Invalid("The move would leave the build volume.".into())) } else { Ok(()) }
}

/// How far beyond the build volume a coordinate may lie, in mm: reported positions are rounded.
const VOLUME_SLACK_MM: f64 = 1.0;

/// The distance of a coordinate from the range 0 to `max`, in mm. A head parked outside may only come nearer.
fn beyond(at: f64, max: f64) -> f64 {
    (-at).max(at - max).max(0.0)
}

fn extrude(length: f64, state: &PrinterState, caps: &Capabilities) -> Result<(), CommandError> {
    if !length.is_finite() || length.abs() > 200.0 {
        return Err(CommandError::Invalid("At most 200 mm of filament are moved at once.".into()));
    }
    let actual = state.device.nozzles.get(state.device.active_tool).and_then(|nozzle| nozzle.heater.actual);
    if actual.is_some_and(|actual| actual >= caps.min_extrude) {
        return Ok(());
    }
    Err(CommandError::Invalid(format!(
        "The nozzle must be at {:.0} °C or more to move filament; heat it first.",
        caps.min_extrude
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Axes, FanId, Fault, FaultSource, FilamentAction, Homed, Link, MotionCaps, Nozzle, Severity, StartJob,
    };

    fn settings() -> PrinterSettings {
        PrinterSettings { name: "p".into(), title: "P".into(), read_only: false, allow_vendor: false }
    }

    fn caps() -> Capabilities {
        Capabilities {
            volume_mm: [256.0; 3],
            nozzles: vec![HeaterCaps { max: Some(300.0) }],
            bed: HeaterCaps { max: Some(100.0) },
            fans: [FanId::Part].into(),
            motion: MotionCaps { home: true, jog: true, extrude: true, ..MotionCaps::default() },
            control: crate::model::ControlCaps { raw_gcode: true, ..Default::default() },
            filament: crate::model::FilamentCaps { read_tag: true, ..Default::default() },
            min_extrude: 170.0,
            ..Capabilities::default()
        }
    }

    fn state(phase: JobPhase) -> PrinterState {
        let mut state = PrinterState {
            link: Link { phase: LinkPhase::Online, ..Link::default() },
            ..PrinterState::default()
        };
        state.job.phase = phase;
        state.device.motion.homed = Some(Homed::ALL);
        state.device.nozzles = vec![Nozzle::default()];
        state
    }

    fn verdict(command: Command, phase: JobPhase) -> Result<(), CommandError> {
        check(&command, &state(phase), &caps(), &settings())
    }

    #[test]
    fn a_filament_change_is_answered_where_one_may_wait() {
        let mut caps = caps();
        caps.filament.recover = true;
        let verdict = |state: &PrinterState| {
            check(&Command::FilamentAction(FilamentAction::Done), state, &caps, &settings())
        };
        for phase in [JobPhase::Idle, JobPhase::Printing, JobPhase::Complete] {
            assert!(matches!(verdict(&state(phase)), Err(CommandError::Invalid(_))), "{phase:?}");
        }
        assert_eq!(verdict(&state(JobPhase::Paused)), Ok(()));
        for operation in [FilamentOperation::Stuck, FilamentOperation::Loading, FilamentOperation::Purging] {
            let mut changing = state(JobPhase::Idle);
            changing.device.filament.operation = operation;
            assert_eq!(verdict(&changing), Ok(()));
        }
        let mut asked = state(JobPhase::Idle);
        let question = "Has the filament come out of the nozzle?";
        asked.device.faults = vec![Fault::new(FaultSource::Job, Severity::Warning, "07FF_8012", question)];
        assert_eq!(verdict(&asked), Ok(()));
    }

    #[test]
    fn nothing_moves_while_printing() {
        let moving = [
            Command::Home(Axes::ALL),
            Command::Jog { delta: [1.0, 0.0, 0.0], feed: None },
            Command::Gcode(vec!["M400".into(), " g1 x5".into()]),
            Command::Gcode(vec!["T1".into()]),
            Command::Gcode(vec!["M104 S200".into(), "M970.3 Q1 A7 B30".into()]),
            Command::Gcode(vec!["M974 Q1 S2 P0".into()]),
            Command::Gcode(vec!["N3 G1 X5".into()]),
            Command::Gcode(vec!["G91".into()]),
            Command::Gcode(vec!["G92 E0".into()]),
            Command::ReadTag(crate::model::SlotId::External(0)),
            Command::StartJob(Box::new(StartJob { remote_path: "a.gcode".into(), ..StartJob::default() })),
        ];
        for command in moving {
            assert!(
                matches!(verdict(command.clone(), JobPhase::Printing), Err(CommandError::Busy(_))),
                "{command:?}"
            );
            assert_eq!(verdict(command, JobPhase::Idle), Ok(()));
        }
        let gentle =
            Command::Gcode(vec!["M104 S200".into(), "G4 P10".into(), "M106S255".into(), "; rest".into()]);
        assert_eq!(verdict(gentle, JobPhase::Printing), Ok(()));
    }

    #[test]
    fn a_second_start_is_refused_in_every_phase_of_a_job() {
        use JobPhase::*;
        let start =
            || Command::StartJob(Box::new(StartJob { remote_path: "a".into(), ..StartJob::default() }));
        for phase in [Transferring, Preparing, Printing, Pausing, Paused, Resuming, Cancelling] {
            assert!(matches!(verdict(start(), phase), Err(CommandError::Busy(_))), "{phase:?}");
        }
        for phase in [Idle, Starting, Complete, Cancelled, Failed] {
            assert_eq!(verdict(start(), phase), Ok(()), "{phase:?}");
        }
    }

    #[test]
    fn heat_stays_within_the_limits() {
        for target in [-1.0, 301.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(
                verdict(Command::SetNozzle { tool: 0, target }, JobPhase::Idle),
                Err(CommandError::Invalid(_))
            ));
        }
        assert_eq!(verdict(Command::SetNozzle { tool: 0, target: 300.0 }, JobPhase::Printing), Ok(()));
        assert!(matches!(
            verdict(Command::SetChamber { target: 40.0 }, JobPhase::Idle),
            Err(CommandError::Unsupported(_))
        ));
    }

    #[test]
    fn cold_extrusion_and_unhomed_moves_are_refused() {
        assert!(verdict(Command::Extrude { length: 5.0, feed: None }, JobPhase::Idle).is_err());
        let mut unhomed = state(JobPhase::Idle);
        unhomed.device.motion.homed = None;
        let jog = Command::Jog { delta: [0.0, 0.0, 5.0], feed: None };
        assert!(check(&jog, &unhomed, &caps(), &settings()).is_err());
    }

    #[test]
    fn a_head_parked_outside_may_only_come_back() {
        let mut parked = state(JobPhase::Idle);
        parked.device.motion.position = Some([128.0, 265.0, -3.0]);
        let jog = |delta| check(&Command::Jog { delta, feed: None }, &parked, &caps(), &settings());
        for back in [[0.0, -1.0, 0.0], [0.0, -100.0, 0.0], [0.0, 0.0, 1.0], [10.0, 0.0, 0.0]] {
            assert_eq!(jog(back), Ok(()), "{back:?}");
        }
        for away in
            [[0.0, 1.0, 0.0], [0.0, 0.0, -0.1], [0.0, -1.0, -1.0], [130.0, 0.0, 0.0], [-130.0, 0.0, 0.0]]
        {
            assert!(matches!(jog(away), Err(CommandError::Invalid(_))), "{away:?}");
        }
    }

    #[test]
    fn a_printer_that_updates_its_firmware_is_left_alone() {
        let mut updating = state(JobPhase::Idle);
        updating.device.activity = Activity::Updating;
        let judged = |command: Command| check(&command, &updating, &caps(), &settings());
        for command in [
            Command::Home(Axes::ALL),
            Command::SetNozzle { tool: 0, target: 200.0 },
            Command::SetFan { fan: FanId::Part, speed: 1.0 },
            Command::Gcode(vec!["M104 S200".into()]),
            Command::StartJob(Box::new(StartJob { remote_path: "a.gcode".into(), ..StartJob::default() })),
        ] {
            let refused = judged(command);
            assert!(
                matches!(&refused, Err(CommandError::Busy(text)) if text.contains("updating its firmware")),
                "{refused:?}"
            );
        }
        assert_eq!(judged(Command::EmergencyStop), Ok(()));
        assert_eq!(judged(Command::Refresh), Ok(()));
    }

    #[test]
    fn a_halted_printer_gets_no_order_but_a_stop() {
        let mut halted = state(JobPhase::Idle);
        halted.device.halted = Some("Halted; switch it off and on.".into());
        let judged = |command: Command| check(&command, &halted, &caps(), &settings());
        let start = StartJob { remote_path: "a.gcode".into(), ..StartJob::default() };
        for command in [Command::Home(Axes::ALL), Command::StartJob(Box::new(start))] {
            let refused = judged(command);
            assert!(
                matches!(&refused, Err(CommandError::Busy(text)) if text.starts_with("Halted; switch it off and on.")),
                "{refused:?}"
            );
        }
        assert_eq!(judged(Command::EmergencyStop), Ok(()));
        assert_eq!(judged(Command::Refresh), Ok(()));
    }

    #[test]
    fn a_dead_link_or_a_read_only_printer_takes_nothing() {
        let mut down = state(JobPhase::Printing);
        down.link.phase = LinkPhase::Backoff;
        assert!(matches!(check(&Command::Pause, &down, &caps(), &settings()), Err(CommandError::Offline(_))));
        let mut gated = state(JobPhase::Printing);
        gated.control = Control::ReadOnly("Developer Mode is off.".into());
        assert!(matches!(
            check(&Command::Pause, &gated, &caps(), &settings()),
            Err(CommandError::NotAllowed(_))
        ));
    }
}
