//! What must be seen one by one, beside the state snapshots.

use serde::{Deserialize, Serialize};

use super::{CommandError, Fault, Job, LinkPhase, UnixSeconds};

/// Who spoke a console line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// A client's command.
    Client,
    /// An answer or information.
    Answer,
    /// A refusal or fault.
    Error,
}

/// A line of the shared console.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsoleLine {
    pub time: UnixSeconds,
    pub speaker: Speaker,
    pub text: String,
}

/// Small, as channels hold room for many from the start.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    LinkChanged(LinkPhase),
    /// A job became active; for Gateway jobs when its transfer or start begins.
    JobStarted(Box<Job>),
    /// The printing stopped for a while, by whomever.
    JobPaused(Box<Job>),
    JobResumed(Box<Job>),
    /// A job ended while we watched.
    JobEnded(Box<Job>),
    FaultRaised(Box<Fault>),
    FaultCleared(Box<Fault>),
    /// To be said on the console.
    Console(Box<ConsoleLine>),
    /// Is on the console already: what a client asked, or why it was refused.
    Said(Box<ConsoleLine>),
    /// A command came to its end, by its name; refusals included.
    CommandDone {
        command: &'static str,
        error: Option<Box<CommandError>>,
    },
    /// The printer's own storage changed, or our view of it.
    PrinterFilesChanged,
    /// The capabilities changed: object lists must be read anew.
    CapabilitiesChanged,
}
