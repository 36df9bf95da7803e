//! Which commands wait for their effect in the printer's state, for how long, and how it is recognised (design D6).

use std::time::Duration;

use crate::model::{
    Command, CommandError, FaultSource, FilamentOperation, JobPhase, LinkPhase, PrinterState, Severity,
};

/// What the newest snapshot says about a command under way.
#[derive(Debug, PartialEq)]
pub enum Progress {
    Waiting,
    Seen,
    Refused(CommandError),
}

/// Targets within this many °C are the same.
const SAME_TEMPERATURE: f64 = 1.0;

/// How long to wait for the effect; `None` for commands whose effect no printer shows.
pub fn wait_for(command: &Command) -> Option<Duration> {
    let seconds = match command {
        // A pause finishes the moves under way: 10 to 20 s seen (bambu.md 4.2), parking on top (elegoo.md 2.9).
        Command::Pause => 45,
        Command::Resume => 60,
        // A stop parks and homes first: tens of seconds (elegoo.md 2.9).
        Command::Cancel => 90,
        Command::SetNozzle { .. } | Command::SetBed { .. } | Command::SetChamber { .. } => 10,
        Command::SetLight { .. } | Command::SetSpeed { .. } | Command::SetAirMode(_) => 8,
        // Some firmware acknowledges drying and does nothing (bambu.md T30); checking the spools comes first.
        Command::StartDrying { .. } | Command::StopDrying { .. } => 20,
        // A head with two nozzles moves to switch them.
        Command::SelectTool(_) => 30,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}

/// Why the reports may not show yet what was wanted, and what helps.
pub fn hindrance(command: &Command, now: &PrinterState) -> Option<String> {
    // A printer that waits for the user takes a resume and goes on waiting.
    if *command == Command::Resume {
        let fault = now
            .device
            .faults
            .iter()
            .max_by_key(|fault| (fault.severity, fault.source == FaultSource::Job))?;
        return Some(format!("It still tells: {} ({})", fault.text, fault.code));
    }
    let busy = !matches!(now.device.filament.operation, FilamentOperation::Idle | FilamentOperation::Stuck);
    (matches!(command, Command::SetNozzle { .. }) && busy).then(|| {
        "It is handling filament and heats for that by itself: set it again when that is done.".to_owned()
    })
}

/// What the user should know of an order that was carried out too late.
pub fn overtaken(command: &Command, before: &PrinterState, now: &PrinterState) -> Option<&'static str> {
    let complete = *command == Command::Cancel
        && before.job.phase.active()
        && now.job.serial == before.job.serial
        && now.job.phase == JobPhase::Complete;
    complete.then_some("The print was complete before it could be cancelled.")
}

/// Compares the newest snapshot with what the command wanted, and with the faults of before.
pub fn look(command: &Command, before: &PrinterState, now: &PrinterState) -> Progress {
    if !matches!(now.link.phase, LinkPhase::Online | LinkPhase::Stale) {
        return Progress::Refused(CommandError::Offline(format!(
            "The connection was lost while \"{}\" was under way; look at the printer before trying again.",
            command.name()
        )));
    }
    if reached(command, now) {
        return Progress::Seen;
    }
    if matches!(command, Command::Pause | Command::Resume) && !now.job.phase.active() {
        return Progress::Refused(CommandError::Invalid(format!(
            "The print ended ({:?}) before \"{}\" took effect.",
            now.job.phase,
            command.name()
        )));
    }
    let fresh = now
        .device
        .faults
        .iter()
        .find(|fault| fault.severity >= Severity::Serious && !fault.is_among(&before.device.faults));
    match fresh {
        Some(fault) => {
            Progress::Refused(CommandError::Refused { code: fault.code.clone(), text: fault.text.clone() })
        }
        None => Progress::Waiting,
    }
}

/// Whether the reports show what was wanted and was not so before the command.
pub fn appeared(command: &Command, before: &PrinterState, now: &PrinterState) -> bool {
    wait_for(command).is_some()
        && look(command, before, before) == Progress::Waiting
        && look(command, before, now) == Progress::Seen
}

fn reached(command: &Command, now: &PrinterState) -> bool {
    let job = &now.job;
    match command {
        Command::Pause => job.phase == JobPhase::Paused,
        Command::Resume => job.requested.is_none() && job.phase.active() && job.phase != JobPhase::Paused,
        Command::Cancel => !job.phase.active(),
        Command::SetNozzle { tool, target } => {
            same(now.device.nozzles.get(*tool).and_then(|nozzle| nozzle.heater.target), *target)
        }
        Command::SetBed { target } => same(now.device.bed.target, *target),
        Command::SetChamber { target } => same(now.device.chamber.target, *target),
        Command::SetLight { light, on } => now.device.lights.get(light).is_some_and(|light| light.on == *on),
        Command::SetAirMode(mode) => now.device.air_mode == Some(*mode),
        Command::SelectTool(tool) => now.device.active_tool == *tool,
        Command::StartDrying { unit, .. } => dries(now, *unit) == Some(true),
        Command::StopDrying { unit } => dries(now, *unit) == Some(false),
        Command::SetSpeed { factor } => now.device.speed.factor.is_some_and(|f| (f - factor).abs() < 0.011),
        _ => true,
    }
}

/// Whether a filament unit dries or is about to; `None` for one that cannot.
fn dries(now: &PrinterState, unit: u16) -> Option<bool> {
    let unit = now.device.filament.units.iter().find(|known| known.id == unit)?;
    Some(unit.dryer.as_ref()?.phase.heats())
}

fn same(reported: Option<f64>, wanted: f64) -> bool {
    reported.is_some_and(|reported| (reported - wanted).abs() <= SAME_TEMPERATURE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Fault, Heater, Link};

    fn online() -> PrinterState {
        PrinterState { link: Link { phase: LinkPhase::Online, ..Link::default() }, ..PrinterState::default() }
    }

    fn a_fault() -> Fault {
        Fault::new(FaultSource::Job, Severity::Serious, "0300_8013", "stuck")
    }

    #[test]
    fn a_target_is_seen_when_the_report_shows_it() {
        let command = Command::SetBed { target: 60.0 };
        let before = online();
        let mut now = online();
        assert_eq!(look(&command, &before, &now), Progress::Waiting);
        now.device.bed = Heater { actual: Some(24.0), target: Some(60.0) };
        assert_eq!(look(&command, &before, &now), Progress::Seen);
    }

    #[test]
    fn a_cancel_that_came_too_late_says_so() {
        let (mut before, mut now) = (online(), online());
        before.job.phase = JobPhase::Printing;
        now.job.phase = JobPhase::Complete;
        let told = overtaken(&Command::Cancel, &before, &now);
        assert!(told.is_some_and(|told| told.contains("complete")));
        assert_eq!(overtaken(&Command::Pause, &before, &now), None);
        now.job.phase = JobPhase::Cancelled;
        assert_eq!(overtaken(&Command::Cancel, &before, &now), None);
        now.job.phase = JobPhase::Complete;
        now.job.serial += 1;
        assert_eq!(overtaken(&Command::Cancel, &before, &now), None, "another print");
    }

    #[test]
    fn a_resume_that_shows_nothing_names_what_the_printer_waits_for() {
        let mut now = online();
        assert_eq!(hindrance(&Command::Resume, &now), None);
        let fault = |code: &str, severity: Severity, text: &str| Fault {
            severity,
            code: code.to_owned(),
            text: text.to_owned(),
            ..a_fault()
        };
        now.device.faults.push(fault("0700_8011", Severity::Serious, "The filament has run out."));
        let health = fault("HMS_1", Severity::Serious, "Put a new spool in.");
        now.device.faults.push(Fault { source: FaultSource::Device, ..health });
        now.device.faults.push(fault("1", Severity::Info, "A tip."));
        assert_eq!(
            hindrance(&Command::Resume, &now).as_deref(),
            Some("It still tells: The filament has run out. (0700_8011)")
        );
        assert_eq!(hindrance(&Command::Pause, &now), None);
    }

    #[test]
    fn a_printer_that_loads_filament_heats_by_itself() {
        let mut now = online();
        let off = Command::SetNozzle { tool: 0, target: 0.0 };
        assert_eq!(hindrance(&off, &now), None);
        now.device.filament.operation = FilamentOperation::Loading;
        assert!(hindrance(&off, &now).is_some_and(|why| why.contains("set it again")));
        assert_eq!(hindrance(&Command::SetBed { target: 0.0 }, &now), None, "its bed is not heated for that");
        now.device.filament.operation = FilamentOperation::Stuck;
        assert_eq!(hindrance(&off, &now), None, "it waits for the user");
    }

    #[test]
    fn only_a_new_fault_refuses() {
        let fault = a_fault();
        let mut before = online();
        before.job.phase = JobPhase::Printing;
        let mut now = before.clone();
        now.device.faults.push(fault.clone());
        assert!(matches!(
            look(&Command::Pause, &before, &now),
            Progress::Refused(CommandError::Refused { .. })
        ));
        before.device.faults.push(fault);
        assert_eq!(look(&Command::Pause, &before, &now), Progress::Waiting);
    }

    #[test]
    fn a_print_that_ends_was_not_paused() {
        let mut before = online();
        before.job.phase = JobPhase::Printing;
        let mut now = before.clone();
        now.job.phase = JobPhase::Complete;
        assert!(matches!(look(&Command::Pause, &before, &now), Progress::Refused(CommandError::Invalid(_))));
        now.job.phase = JobPhase::Paused;
        assert_eq!(look(&Command::Pause, &before, &now), Progress::Seen);
    }

    #[test]
    fn a_lost_link_is_not_waited_for() {
        let mut now = online();
        now.link.phase = LinkPhase::Backoff;
        assert!(matches!(
            look(&Command::Cancel, &online(), &now),
            Progress::Refused(CommandError::Offline(_))
        ));
    }
}
