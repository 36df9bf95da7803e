//! From a line to what it asks of the printer: the one translator behind the pty, Moonraker and the REST twin.
//!
//! Pure: a [`Session`] holds the modes of one sender, the state and capabilities say what is possible, and an
//! [`Intent`] comes out. A code that cannot be mapped is never answered as if it had worked (design D10).
//!
//! | part | owns |
//! |---|---|
//! | `codes`, `motion` | the classic codes G, M and T; moves and the modes around them |
//! | `extended` | Klipper's named commands |
//! | `features` | macros for what a printer can do beyond them |
//! | `mmu` | the words of the filament panels |
//! | `drying` | what may be asked of a dryer, for both of them |
//! | [`help`] | the words that work on a printer, with help and parameters |

mod codes;
mod drying;
mod extended;
mod features;
pub mod help;
mod mmu;
mod motion;
#[cfg(test)]
mod tests;

pub(crate) use extended::{fan_name, light_name};

use crate::model::{Capabilities, Celsius, Command, LightId, PrinterState, SlotId};

use super::line::{Command as Head, Line};

/// What a line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Intent {
    /// Nothing to do, nothing to say: comments, modes, texts for a display that does not exist.
    Nothing,
    /// Send these, in order.
    Do(Vec<Command>),
    /// Send the target, then wait for the temperature, in the front end's manner.
    DoAndWait(Command, Wait),
    /// Answer from the known state.
    Ask(Query),
    /// The job: files, start, progress.
    Job(JobWord),
    /// Filament: what is sent to the printer and what the gateway keeps, in order.
    Filament(Vec<FilamentWord>),
    /// Done, or without effect by its nature, with something to tell.
    Note(String),
    /// Known, but this printer has no way to do it.
    Refuse(String),
    /// Nobody knows this word.
    Unknown,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wait {
    Nozzle { tool: usize, target: Celsius },
    Bed { target: Celsius },
    Chamber { target: Celsius },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// M105
    Temperatures,
    /// M114
    Position,
    /// M115
    Firmware,
    /// M119
    Endstops,
    /// M31
    PrintTime,
    /// STATUS and the like: what the printer does, in words.
    Status,
}

/// Words about files and jobs; the front end resolves names as it lists them.
#[derive(Debug, Clone, PartialEq)]
pub enum JobWord {
    /// M20; flags of the line are the front end's.
    List,
    /// M21
    Mount,
    /// M22
    Unmount,
    /// M23
    Select(String),
    /// M24: start, or resume a paused print.
    StartOrResume,
    /// M32, SDCARD_PRINT_FILE: select and start. The plate, where one is named, and the guards to go past, by code.
    Print {
        file: String,
        plate: Option<u32>,
        overrides: Vec<String>,
    },
    /// M25: pause, or in some dialects the first half of a cancel.
    PauseWord,
    /// M26 S<byte>
    Seek(u64),
    /// M27; `S<seconds>` where given.
    Progress(Option<u64>),
    /// M28
    BeginWrite(String),
    /// M29
    EndWrite,
    /// M30
    Delete(String),
    Pause,
    Resume,
    Cancel,
    /// SDCARD_RESET_FILE: forget the end of the last job.
    Forget,
    /// EXCLUDE_OBJECT: skip the object of this name.
    Exclude(String),
    /// RESTART, FIRMWARE_RESTART: take an emergency stop back and look at the printer anew.
    Restart,
}

/// A step of a word about filament.
#[derive(Debug, Clone, PartialEq)]
pub enum FilamentWord {
    Send(Command),
    /// The slot that the next load means.
    Select(SlotId),
    /// The slot of this tool.
    SelectTool(usize),
    /// Load what is selected.
    LoadSelected,
    /// Read the tag of what is selected.
    CheckSelected,
    /// Load the slot of this tool.
    ChangeTool(usize),
    /// For the next print.
    MapTools(Vec<(usize, SlotId)>),
    /// The whole map of the next print, by tool.
    Map(Vec<SlotId>),
    ResetMap,
    /// Whether tools that nobody mapped are matched at the start, or printed as the map shows them.
    Automap(bool),
    /// What each slot has fed.
    Stats,
    /// Something to tell beside the rest.
    Tell(String),
    /// The spool of the inventory that is in a slot.
    Spool {
        slot: SlotId,
        spool: Option<u32>,
    },
    /// Look for the tags in the inventory again.
    RefreshSpools,
    /// Make a spool in the inventory from what the slot is known to hold.
    CreateSpool(SlotId),
}

/// The modes of one sender of G-code.
#[derive(Debug, Clone, Default)]
pub struct Session {
    relative: bool,
    extrude_relative: bool,
    inches: bool,
    /// mm/s of the last F word.
    feed: Option<f64>,
    /// Where our own moves have brought the head, for printers that do not report it.
    commanded: [Option<f64>; 3],
    extruded: f64,
    saved: std::collections::BTreeMap<String, (bool, bool)>,
}

impl Session {
    /// X, Y, Z as reported by the printer, else as commanded by this sender, else `None`.
    pub fn position(&self, state: &PrinterState) -> [Option<f64>; 3] {
        match state.device.motion.position {
            Some([x, y, z]) => [Some(x), Some(y), Some(z)],
            None => self.commanded,
        }
    }
}

/// What is known of the printer while a line is translated.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub state: &'a PrinterState,
    pub caps: &'a Capabilities,
}

/// Translates one line and moves the session's modes on.
pub fn translate(line: &Line, session: &mut Session, context: Context<'_>) -> Intent {
    match &line.command {
        None if line.words.is_empty() => Intent::Nothing,
        None => motion::linear(line, session, context),
        Some(Head::Code { letter: 'G', code, .. }) => codes::g(*code, line, session, context),
        Some(Head::Code { letter: 'M', code, .. }) => codes::m(*code, line, session, context),
        Some(Head::Code { .. }) => Intent::Unknown,
        Some(Head::Tool(tool)) => codes::tool(*tool, context),
        Some(Head::Extended(name)) => extended::named(name, line, session, context),
        // @ commands are for the host program that sent them.
        Some(Head::Host(_)) => Intent::Nothing,
    }
}

/// A command if the printer can do it, else the refusal in words.
fn able(can: bool, command: impl FnOnce() -> Command, what: &str) -> Intent {
    if can { Intent::Do(vec![command()]) } else { Intent::Refuse(format!("This printer cannot {what}.")) }
}

/// Passes a line on to printers that take G-code; unknown elsewhere.
fn pass_on(line: &Line, caps: &Capabilities) -> Intent {
    if !caps.control.raw_gcode {
        return Intent::Unknown;
    }
    let bare = Line { number: None, checksummed: false, comment: None, ..line.clone() };
    Intent::Do(vec![Command::Gcode(vec![bare.to_string()])])
}

/// The light that "the light" means: the chamber's, else the only one.
fn main_light(caps: &Capabilities) -> Option<LightId> {
    caps.lights.get(&LightId::Chamber).or_else(|| caps.lights.first()).copied()
}
