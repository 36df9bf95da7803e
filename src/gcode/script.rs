//! Scripts of extended G-code from front ends: the contract between them and the translator.
//!
//! Only the print control words are translated here; the translator replaces this file.

use super::translate::Session;
use crate::jobs::StartRequest;
use crate::model::{Capabilities, Command, CommandError, PrinterState};
use crate::station::Station;

/// What a script says while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Information in plain words.
    Info(String),
    /// An answer in the form a host parses, such as temperatures after M105.
    Raw(String),
    /// A refusal that does not end the script.
    Error(String),
}

/// Runs a script line by line; returns when the last one is done.
///
/// # Errors
/// The first refusal ends the script; it has also been passed to `reply`.
pub async fn run_script(
    station: &Station,
    _session: &mut Session,
    script: &str,
    reply: &mut (dyn FnMut(Reply) + Send),
) -> Result<(), CommandError> {
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default().to_ascii_uppercase();
        let done = match word.as_str() {
            "PAUSE" => station.printer.send(Command::Pause).await.map(drop),
            "RESUME" => station.printer.send(Command::Resume).await.map(drop),
            "CANCEL_PRINT" => station.jobs.cancel().await.map(drop),
            "SDCARD_RESET_FILE" => {
                station.jobs.forget_ended();
                Ok(())
            }
            "SDCARD_PRINT_FILE" => start(station, line).await,
            _ => {
                reply(Reply::Info(format!("Unknown command:\"{word}\"")));
                Ok(())
            }
        };
        if let Err(error) = done {
            reply(Reply::Error(error.to_string()));
            return Err(error);
        }
    }
    Ok(())
}

async fn start(station: &Station, line: &str) -> Result<(), CommandError> {
    let file = line.split_once("FILENAME=").map(|(_, name)| name.trim().trim_matches('"').to_owned());
    let file = file.ok_or_else(|| CommandError::Invalid("SDCARD_PRINT_FILE needs FILENAME=".to_owned()))?;
    let request = StartRequest { file, ..StartRequest::default() };
    station.jobs.start(request).await.map_err(|error| CommandError::Invalid(error.to_string()))
}

/// Commands that are understood, with a sentence of help.
pub fn command_help(_caps: &Capabilities, _state: &PrinterState) -> Vec<(String, String)> {
    [
        ("PAUSE", "Pauses the print"),
        ("RESUME", "Resumes the paused print"),
        ("CANCEL_PRINT", "Cancels the print"),
        ("SDCARD_PRINT_FILE", "Starts a file of the library: FILENAME=name"),
        ("SDCARD_RESET_FILE", "Forgets the last job"),
    ]
    .map(|(name, help)| (name.to_owned(), help.to_owned()))
    .to_vec()
}

/// Commands that front ends show as buttons, besides print control.
pub fn macros(_caps: &Capabilities, _state: &PrinterState) -> Vec<String> {
    Vec::new()
}
