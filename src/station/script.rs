//! Runs a script of G-code against a printer, line by line, and tells what came of each (Klipper's manner).
//!
//! A script ends at its first refusal. An unknown word is told and does not end it, as Klipper does.

use std::time::Duration;

use super::{Station, filament_words};
pub use crate::gcode::translate::help::{Fitted, Word, codes, words};
use crate::gcode::translate::{Context, Intent, JobWord, Query, Session, Wait, help, translate};
use crate::gcode::{Line, parse};
use crate::jobs::{OVERRIDABLE, StartError, StartRequest, UNMAPPED};
use crate::model::{
    Capabilities, Command, CommandError, FilamentSystem, JobPhase, Outcome, PrinterState, Seen,
};

/// Longest script in bytes; the front ends' own are far below.
const MAX_SCRIPT: usize = 256 * 1024;
/// How long M109, M190 and M191 wait.
const HEATING: Duration = Duration::from_secs(20 * 60);
/// Degrees within which a wait is over.
const REACHED: f64 = 2.0;

/// Something to show on the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Information.
    Info(String),
    /// A machine-readable answer such as M105's, shown as it is.
    Raw(String),
    /// A refusal.
    Error(String),
}

/// Runs all lines in order.
///
/// # Errors
/// The first refusal; it has also been passed to `reply`.
pub async fn run_script(
    station: &Station,
    session: &mut Session,
    script: &str,
    reply: &mut (dyn FnMut(Reply) + Send),
) -> Result<(), CommandError> {
    if script.len() > MAX_SCRIPT {
        return Err(CommandError::Invalid(format!("A script may have at most {MAX_SCRIPT} bytes.")));
    }
    let stops = station.printer.stops();
    for text in script.lines() {
        let done = match parse(text.as_bytes()) {
            // What the lines before have waited for may have been stopped meanwhile.
            _ if station.printer.stops() != stops => Err(stopped()),
            Ok(line) => run_line(station, session, &line, reply).await,
            Err(error) => Err(CommandError::Invalid(error.to_string())),
        };
        if let Err(error) = done {
            reply(Reply::Error(error.to_string()));
            return Err(error);
        }
    }
    Ok(())
}

fn stopped() -> CommandError {
    CommandError::Busy("An emergency stop came; the rest of the script was not run.".to_owned())
}

async fn run_line(
    station: &Station,
    session: &mut Session,
    line: &Line,
    reply: &mut (dyn FnMut(Reply) + Send),
) -> Result<(), CommandError> {
    let (state, caps) = (station.printer.state(), station.printer.capabilities());
    match translate(line, session, Context { state: &state, caps: &caps }) {
        Intent::Nothing => Ok(()),
        Intent::Do(commands) => {
            let (mut seen, mut told) = (Seen::Effect, false);
            let stops = station.printer.stops();
            for command in commands {
                if station.printer.stops() != stops {
                    return Err(stopped());
                }
                let outcome = send(station, command).await?;
                (seen, told) = (seen.min(outcome.seen), told || outcome.note.is_some());
                note(outcome, reply);
            }
            let name = head(line);
            if !told && help::is_button(&name, &caps, Fitted::of(&state)) {
                reply(Reply::Info(followed(&name, seen)));
            }
            Ok(())
        }
        Intent::DoAndWait(command, wait) => {
            note(send(station, command).await?, reply);
            wait_for(station, wait).await
        }
        Intent::Ask(query) => {
            for text in answer(query, session, &state, &caps) {
                reply(Reply::Raw(text));
            }
            Ok(())
        }
        Intent::Job(word) => job(station, word, reply).await,
        Intent::Filament(words) => filament_words::run(station, words, reply).await,
        Intent::Note(text) => {
            if !text.is_empty() {
                reply(Reply::Info(text));
            }
            Ok(())
        }
        Intent::Refuse(reason) => Err(CommandError::Unsupported(reason)),
        Intent::Unknown => {
            reply(Reply::Info(format!("Unknown command:\"{}\"", head(line))));
            Ok(())
        }
    }
}

/// What came of a device feature: most of them show nowhere else.
fn followed(name: &str, seen: Seen) -> String {
    match seen {
        Seen::Effect => format!("{name}: done."),
        Seen::Acknowledged => format!("{name}: the printer has taken the order."),
        Seen::Sent => format!("{name}: sent; the printer does not answer to this."),
    }
}

/// The word that stands at the head of a line.
pub fn head(line: &Line) -> String {
    line.command.as_ref().map_or_else(|| line.to_string(), ToString::to_string)
}

/// Sends one command; a cancel and an emergency stop also end transfers and starts that are under way, a pause waits
/// for them and a resume withdraws such a pause.
pub async fn send(station: &Station, command: Command) -> Result<Outcome, CommandError> {
    match command {
        Command::Cancel => station.jobs.cancel().await,
        Command::Pause => station.jobs.pause().await,
        Command::Resume => station.jobs.resume().await,
        Command::EmergencyStop => station.jobs.emergency_stop().await,
        Command::Refresh => {
            station.printer.reconnect();
            if station.printer.state().online() {
                station.printer.send(Command::Refresh).await
            } else {
                Ok(Outcome::noted(Seen::Sent, "Trying to connect to the printer."))
            }
        }
        command => station.printer.send(command).await,
    }
}

/// Takes an emergency stop back and looks at the printer anew; nothing at the printer is restarted.
///
/// # Errors
/// The printer cannot be asked, and there was nothing to take back.
pub async fn restart(station: &Station) -> Result<Outcome, CommandError> {
    const TAKEN_BACK: &str = "The emergency stop is taken back: prints may start again.";
    let released = station.jobs.release();
    match send(station, Command::Refresh).await {
        Ok(outcome) if released => Ok(Outcome::noted(outcome.seen, TAKEN_BACK)),
        Err(error) if released => Ok(Outcome::noted(Seen::Sent, format!("{TAKEN_BACK} {error}"))),
        answer => answer,
    }
}

pub(super) fn note(outcome: Outcome, reply: &mut (dyn FnMut(Reply) + Send)) {
    if let Some(text) = outcome.note {
        reply(Reply::Info(text));
    }
}

async fn job(
    station: &Station,
    word: JobWord,
    reply: &mut (dyn FnMut(Reply) + Send),
) -> Result<(), CommandError> {
    let outcome = match word {
        JobWord::Pause | JobWord::PauseWord => send(station, Command::Pause).await?,
        JobWord::Resume => send(station, Command::Resume).await?,
        JobWord::StartOrResume
            if station.printer.state().job.phase == JobPhase::Paused || station.jobs.pause_waits() =>
        {
            send(station, Command::Resume).await?
        }
        JobWord::Cancel => send(station, Command::Cancel).await?,
        JobWord::Restart => restart(station).await?,
        JobWord::Forget => {
            station.jobs.forget_ended();
            return Ok(());
        }
        JobWord::Print { file, plate, overrides } => {
            let request = StartRequest { file: file.clone(), plate, overrides, ..StartRequest::default() };
            station.jobs.start(request).await.map_err(|error| start_refused(station, &file, error))?;
            return Ok(());
        }
        JobWord::Exclude(name) => exclude(station, &name).await?,
        JobWord::Progress(_) => {
            let state = station.printer.state();
            let text = if state.job.phase.active() {
                format!("SD printing {:.1} %", state.job.progress * 100.0)
            } else {
                "Not SD printing.".to_owned()
            };
            reply(Reply::Raw(text));
            return Ok(());
        }
        JobWord::Mount | JobWord::Unmount => return Ok(()),
        _ => {
            return Err(CommandError::Unsupported(
                "Choose and start files by the file list, or with SDCARD_PRINT_FILE FILENAME=.".to_owned(),
            ));
        }
    };
    note(outcome, reply);
    Ok(())
}

fn start_refused(station: &Station, file: &str, error: StartError) -> CommandError {
    match error {
        StartError::Command(error) => error,
        other => CommandError::Invalid(refusal(file, &other, &station.printer.state().device.filament)),
    }
}

/// Why a start was refused; where a line can help, with that line.
pub fn refusal(file: &str, error: &StartError, filament: &FilamentSystem) -> String {
    match error {
        StartError::Objection { code, text } if OVERRIDABLE.contains(&code.as_str()) => {
            format!("{text} To print it as it is: SDCARD_PRINT_FILE FILENAME=\"{file}\" OVERRIDE={code}")
        }
        StartError::Objection { code, text } if code == UNMAPPED => {
            let filled = filament.slots().enumerate().find(|(_, slot)| slot.present != Some(false));
            let remedy = match filled {
                Some((gate, slot)) => format!(
                    "If slot {} feeds it: MMU_TTG_MAP MAP=\"{gate}\" and start it again; several are named in the \
                     order of the file's filaments, as in MAP=\"0,1\".",
                    slot.id
                ),
                None => "All slots are empty: load a spool first.".to_owned(),
            };
            format!("{text} {remedy}")
        }
        other => other.to_string(),
    }
}

/// Finds the object of this name among those of the running file.
async fn exclude(station: &Station, name: &str) -> Result<Outcome, CommandError> {
    let state = station.printer.state();
    let Some(file) = state.job.file.clone().filter(|_| state.job.phase.active()) else {
        return Err(CommandError::Invalid("No print with known objects is under way.".to_owned()));
    };
    let record =
        station.library.record(&file).await.map_err(|error| CommandError::Invalid(error.to_string()))?;
    match record.object_id(name) {
        Some(id) => send(station, Command::SkipObjects(vec![id])).await,
        None => Err(CommandError::Invalid(format!("The print has no object called \"{name}\"."))),
    }
}

async fn wait_for(station: &Station, wait: Wait) -> Result<(), CommandError> {
    let mut watch = station.printer.watch();
    let follow = async {
        loop {
            let state = watch.borrow_and_update().clone();
            if reached(wait, &state) {
                return Ok(());
            }
            if !state.online() {
                return Err(CommandError::Offline("The connection was lost while heating.".to_owned()));
            }
            if watch.changed().await.is_err() {
                return Err(CommandError::Offline("The gateway is shutting down.".to_owned()));
            }
        }
    };
    tokio::time::timeout(HEATING, follow).await.unwrap_or_else(|_late| {
        Err(CommandError::Timeout("The temperature was not reached in 20 minutes.".to_owned()))
    })
}

/// True where the temperature is there, or the target was changed meanwhile by somebody else.
pub fn reached(wait: Wait, state: &PrinterState) -> bool {
    let (heater, target) = match wait {
        Wait::Nozzle { tool, target } => (state.device.nozzles.get(tool).map(|n| n.heater), target),
        Wait::Bed { target } => (Some(state.device.bed), target),
        Wait::Chamber { target } => (Some(state.device.chamber), target),
    };
    let Some(heater) = heater else { return true };
    let retargeted = heater.target.is_some_and(|now| (now - target).abs() > REACHED);
    retargeted || heater.actual.is_some_and(|actual| actual >= target - REACHED)
}

/// Answers a question from the known state, one entry per line.
pub fn answer(query: Query, session: &Session, state: &PrinterState, caps: &Capabilities) -> Vec<String> {
    match query {
        Query::Temperatures => vec![temperatures(state)],
        Query::Position => {
            let [x, y, z] = session.position(state).map(|at| at.unwrap_or(0.0));
            vec![format!("X:{x:.3} Y:{y:.3} Z:{z:.3} E:0.000")]
        }
        Query::Firmware => vec![format!(
            "FIRMWARE_NAME:moongate FIRMWARE_VERSION:{} MACHINE_TYPE:{} {}",
            env!("CARGO_PKG_VERSION"),
            caps.vendor,
            caps.model
        )],
        Query::Endstops => vec!["The printer does not report its endstops.".to_owned()],
        Query::PrintTime => {
            let seconds = state.job.total_seconds(crate::printer::clock::unix_now()) as u64;
            vec![format!("Print time: {}h {}m {}s", seconds / 3600, seconds / 60 % 60, seconds % 60)]
        }
        Query::Status => status(state),
    }
}

/// `T:215.0 /215.0 B:60.0 /60.0 C:35.0 /0.0`, as M105 has it; what is not reported is absent.
pub fn temperatures(state: &PrinterState) -> String {
    let device = &state.device;
    let mut parts = Vec::new();
    let mut add = |name: String, heater: crate::model::Heater| {
        if let Some(actual) = heater.actual {
            parts.push(format!("{name}:{actual:.1} /{:.1}", heater.target.unwrap_or(0.0)));
        }
    };
    if let Some(active) = device.nozzles.get(device.active_tool) {
        add("T".to_owned(), active.heater);
    }
    if device.nozzles.len() > 1 {
        for (tool, nozzle) in device.nozzles.iter().enumerate() {
            add(format!("T{tool}"), nozzle.heater);
        }
    }
    add("B".to_owned(), device.bed);
    add("C".to_owned(), device.chamber);
    parts.join(" ")
}

fn status(state: &PrinterState) -> Vec<String> {
    let job = &state.job;
    let mut lines = vec![format!("Link: {:?}. Job: {:?}.", state.link.phase, job.phase)];
    if let Some(fault) = &state.link.fault {
        lines.push(fault.sentence());
    }
    if let crate::model::Control::ReadOnly(reason) = &state.control {
        lines.push(reason.clone());
    }
    lines.extend(job.detail.clone());
    lines.extend(state.device.faults.iter().map(crate::model::Fault::line));
    lines
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
