//! The serial dialogue as a state machine without I/O: bytes, states, results and time go in, bytes and effects come out.
//!
//! Exactly one `ok` goes out for every line that came in, in order (rule 1 of octoprint.md): each line makes one [`Reply`],
//! and only [`Dialogue::settle`] writes it. A reply may be held back (rule 5); lines that arrive meanwhile wait, except
//! that emergency words act when they are read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::catalog::Catalog;
use super::codes::answers;
use super::host::Host;
use super::lines::{RawLine, Splitter};
use super::prompt::Prompt;
use super::session::Session;
use crate::config::{SerialStop, StreamedPrints};
use crate::gcode::translate::FilamentWord;
use crate::gcode::{Line, ParseError, parse};
use crate::jobs::StartRequest;
use crate::model::{Capabilities, Command, PrinterState};

/// How long the `ok` of M400 is held: with an immediate one OctoPrint's pause hangs for 10 s (rule 5).
const M400_HOLD: Duration = Duration::from_millis(150);
/// Bytes that may wait for a client which does not read; beyond, they are dropped with the session.
const MAX_OUT: usize = 4 * 1024 * 1024;
/// Lines that may wait for a held reply before reading stops.
const MAX_WAITING: usize = 256;

/// What is known while an input is processed.
#[derive(Clone)]
pub struct View {
    pub state: Arc<PrinterState>,
    pub caps: Arc<Capabilities>,
    /// Since the port was opened.
    pub now: Duration,
    /// Seconds since 1970, for the job's figures.
    pub unix: f64,
}

/// What the outer loop must do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Send(Command),
    Pause,
    Resume,
    Cancel,
    /// Gives up starts that are asked for and not under way yet.
    Withdraw,
    /// Takes an emergency stop of another door back and looks at the printer anew.
    Restart,
    /// Words about filament that need what the gateway keeps of it.
    Filament(Vec<FilamentWord>),
    /// Starts the library's file.
    Start(Box<StartRequest>),
    Delete {
        path: String,
        short: String,
    },
    RefreshFiles,
    BeginWrite(String),
    Write(Bytes),
    EndWrite,
    AbortWrite,
    /// Ends the write of a streamed print and starts it.
    FinishStream,
}

/// What came of an effect; errors are sentences for the user.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    /// With what the user should know although it worked.
    Sent(Result<Option<String>, String>),
    Paused(Result<(), String>),
    Resumed(Result<(), String>),
    Cancelled(Result<(), String>),
    Started(Result<(), String>),
    Deleted {
        short: String,
        result: Result<(), String>,
    },
    /// The end of a write, or its failure at any time before.
    Written(Result<(), String>),
    Streamed(Result<(), String>),
}

/// What ends a line.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    Ok,
    /// `ok` and the report behind it.
    OkWith(String),
    /// Written when the time has come.
    OkAt(Duration),
    /// Written when the effect is done, or at this time at the latest.
    OkWhenDone(Duration),
}

#[derive(Debug, Clone, Copy)]
struct Held {
    until: Duration,
    for_effect: bool,
}

/// One serial port's dialogue, over all sessions of its clients.
#[derive(Default)]
pub struct Dialogue {
    pub(super) streamed: StreamedPrints,
    /// What M112 does.
    pub(super) stop: SerialStop,
    pub(super) session: Session,
    pub(super) host: Host,
    pub(super) catalog: Catalog,
    pub(super) prompt: Prompt,
    splitter: Splitter,
    waiting: VecDeque<RawLine>,
    held: Option<Held>,
    /// The library is behind with a file: lines wait.
    stands: bool,
    /// Pushed lines that must not come before the reply under way.
    after_reply: Vec<String>,
    out: Vec<u8>,
    pub(super) effects: Vec<Effect>,
}

impl Dialogue {
    pub fn new(streamed: StreamedPrints, catalog: Catalog) -> Self {
        Self { streamed, catalog, ..Self::default() }
    }

    /// A client opened the port: the session begins anew, what is known of jobs stays.
    pub fn opened(&mut self) {
        self.closed();
        self.session.open = true;
    }

    /// The last client has gone.
    pub fn closed(&mut self) {
        if self.session.mode.writes() {
            self.effects.push(Effect::AbortWrite);
        }
        self.session = Session::default();
        self.forget_host();
        self.prompt.new_session();
        self.catalog.forget_told();
        self.splitter = Splitter::default();
        self.waiting.clear();
        self.held = None;
        self.after_reply.clear();
        self.out.clear();
    }

    /// A new client believes nothing. An M25 of the old one was a pause, whatever it might have become.
    pub(super) fn forget_host(&mut self) {
        if self.host.pause_decided.is_some() {
            self.effects.push(Effect::Pause);
        }
        self.host.new_session();
    }

    /// What the client sent.
    pub fn bytes(&mut self, bytes: &[u8], view: &View) {
        // Bytes without an opening: the watch missed it.
        self.session.open = true;
        for raw in self.splitter.push(bytes) {
            self.emergency(&raw, view);
            self.waiting.push_back(raw);
        }
        self.pump(view);
        self.reconcile(view);
    }

    /// The client is past its handshake and not occupied with a file.
    pub(super) fn can_tell(&self) -> bool {
        self.session.open && self.session.identified && !self.session.mode.busy()
    }

    /// True while so much waits that nothing more should be read.
    pub fn full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING
    }

    /// A new snapshot of the printer.
    pub fn changed(&mut self, view: &View) {
        self.follow_faults(view);
        self.reconcile(view);
    }

    /// Time has passed.
    pub fn tick(&mut self, view: &View) {
        if let Some(held) = self.held
            && view.now >= held.until
        {
            self.release(view);
        }
        self.pause_timer(view);
        self.stream_timer(view);
        if self.session.temperatures.due(view.now) {
            let report = answers::temperatures(view);
            self.push(format!(" {report}"));
        }
        if self.session.progress.due(view.now) {
            let report = self.host.report(view);
            self.push(report);
        }
        if self.session.positions.due(view.now) {
            let position = self.position(view);
            self.push(position);
        }
        self.reconcile(view);
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Option<Duration> {
        [
            self.held.map(|held| held.until),
            // What the host cannot be told now waits for the next change, not for the clock.
            self.host.deadline(!self.can_tell()),
            self.session.mode.deadline().filter(|_| !self.stands),
            self.session.temperatures.deadline(),
            self.session.progress.deadline(),
            self.session.positions.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Ends a reply that was held for an effect.
    pub(super) fn effect_done(&mut self, view: &View) {
        if self.held.is_some_and(|held| held.for_effect) {
            self.release(view);
        }
    }

    fn release(&mut self, view: &View) {
        self.held = None;
        self.settle(Reply::Ok);
        self.pump(view);
    }

    /// Whether lines wait for the library.
    pub fn stands(&self) -> bool {
        self.stands
    }

    /// Lines wait from now on, or no longer; emergency words do not. The host's own time limit is 30 s (octoprint.md 4).
    pub fn stand(&mut self, stands: bool, view: &View) {
        self.stands = stands;
        self.pump(view);
        self.reconcile(view);
    }

    fn pump(&mut self, view: &View) {
        while self.held.is_none() && !self.stands {
            let Some(raw) = self.waiting.pop_front() else { break };
            let greet = self.session.identified && !self.session.greeted;
            let reply = self.raw_line(&raw, view);
            self.settle(reply);
            if greet {
                // The first line after the handshake: whoever looks at a printer that is away learns why.
                self.session.greeted = true;
                self.follow_faults(view);
            }
        }
    }

    /// The only place that writes `ok`.
    fn settle(&mut self, reply: Reply) {
        match reply {
            Reply::Ok => self.write("ok"),
            Reply::OkWith(report) => self.write(&format!("ok {report}")),
            Reply::OkAt(until) => return self.held = Some(Held { until, for_effect: false }),
            Reply::OkWhenDone(until) => return self.held = Some(Held { until, for_effect: true }),
        }
        for line in std::mem::take(&mut self.after_reply) {
            self.write(&line);
        }
    }

    fn raw_line(&mut self, raw: &RawLine, view: &View) -> Reply {
        let RawLine::Text(bytes) = raw else {
            self.push("echo:Unknown command: \"(line too long)\"".to_owned());
            return Reply::Ok;
        };
        match parse(bytes) {
            Ok(line) => self.parsed(&line, bytes, view),
            Err(ParseError::ChecksumMismatch { number, .. }) => self.resend("checksum mismatch", number),
            Err(ParseError::ChecksumFormat | ParseError::LineNumber) => self.resend("format error", None),
            // A file may hold lines that only its printer understands.
            Err(error) => match self.file_line(bytes, view) {
                Some(reply) => reply,
                None => {
                    tracing::debug!(%error, "Line not understood.");
                    self.unknown(bytes)
                }
            },
        }
    }

    pub(super) fn unknown(&mut self, bytes: &[u8]) -> Reply {
        let text = super::notice::plain(&String::from_utf8_lossy(bytes));
        self.push(format!("echo:Unknown command: \"{text}\""));
        Reply::Ok
    }

    fn parsed(&mut self, line: &Line, bytes: &[u8], view: &View) -> Reply {
        if line.code() == Some(('M', 110)) {
            self.session.last_number = line.value('N').map(|n| i64::from(n as i32)).or(line.number);
            self.numbers_reset();
            return Reply::Ok;
        }
        if line.number.is_none() {
            self.session.seen_plain = true;
        }
        if let Some(reply) = line.number.and_then(|number| self.count(number)) {
            return reply;
        }
        if let Some(reply) = self.file_mode(line, bytes, view) {
            return reply;
        }
        self.code(line, bytes, view)
    }

    /// Emergency words act when they are read, whatever waits before them.
    fn emergency(&mut self, raw: &RawLine, view: &View) {
        let RawLine::Text(bytes) = raw else { return };
        let contains = |word: &[u8]| bytes.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
        if !contains(b"M112") && !contains(b"M876") {
            return;
        }
        let Ok(line) = parse(bytes) else { return };
        match line.code() {
            Some(('M', 112)) => {
                self.emergency_stop(view);
                self.session.acted.push_back(('M', 112));
            }
            Some(('M', 876)) if !self.session.mode.collects() => {
                if let Some(choice) = line.value('S') {
                    self.choose(choice as usize, view);
                }
                self.session.acted.push_back(('M', 876));
            }
            _ => {}
        }
    }

    /// M400's answer.
    pub(super) fn hold_m400(&self, view: &View) -> Reply {
        Reply::OkAt(view.now + M400_HOLD)
    }

    /// A line to the client, unless nobody is there.
    pub(super) fn push(&mut self, line: String) {
        self.write(&line);
    }

    /// A line that must come after the reply to the line being processed.
    pub(super) fn push_after(&mut self, line: String) {
        self.after_reply.push(line);
    }

    fn write(&mut self, line: &str) {
        if !self.session.open {
            return;
        }
        if self.out.len() > MAX_OUT {
            tracing::warn!("The serial client does not read; its pending lines were dropped.");
            self.out.clear();
        }
        self.out.extend_from_slice(line.as_bytes());
        self.out.push(b'\n');
    }

    /// Bytes for the client that are not written yet.
    pub fn output(&self) -> &[u8] {
        &self.out
    }

    /// The first `count` bytes of the output were written.
    pub fn written(&mut self, count: usize) {
        self.out.drain(..count.min(self.out.len()));
    }

    /// What is to be done since the last call.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }
}
