//! Files that the host sends line by line: recognised, and then refused or assembled (design D11, octoprint.md 8).
//!
//! OctoPrint numbers its lines only during the handshake and while it streams a file. So a numbered line after the
//! handshake is a line of a file, unless this host numbers everything (`alwaysSendChecksum`); then only a line number
//! reset after the handshake says so.

use std::time::Duration;

use super::assembly::Assembly;
use super::dialogue::{Dialogue, Effect, Reply, View};
use crate::config::StreamedPrints;
use crate::gcode::Line;
use crate::model::Control;

/// What a file's lines are for.
#[derive(Debug, Default)]
pub(super) enum Mode {
    #[default]
    Normal,
    /// Numbered lines are acknowledged and thrown away until others come.
    Refusing,
    /// A streamed print is collected.
    Assembling(Box<Assembly>),
    /// M28: a file for the library.
    Writing(super::write::Writing),
    /// M28 was refused: everything up to M29 is thrown away.
    RefusedWrite,
}

impl Mode {
    /// The host is busy with a file; nothing about jobs is pushed.
    pub fn busy(&self) -> bool {
        !matches!(self, Mode::Normal)
    }

    /// Lines are kept, so none may be missing.
    pub fn collects(&self) -> bool {
        matches!(self, Mode::Assembling(_) | Mode::Writing(_))
    }

    /// A file is open in the library.
    pub fn writes(&self) -> bool {
        self.collects()
    }

    pub fn deadline(&self) -> Option<Duration> {
        match self {
            Mode::Assembling(assembly) => assembly.deadline(),
            _ => None,
        }
    }
}

/// Signs of a host that moves the machine itself without numbering its lines.
#[derive(Debug, Default)]
pub(super) struct Flood {
    since: Duration,
    count: u32,
}

/// More printing moves than this in a second are a print, not a hand at the buttons.
const FLOOD_MOVES: u32 = 20;

impl Flood {
    /// Counts printing moves. `Some(true)` at the one that is too many, `Some(false)` for those behind it.
    fn counts(&mut self, line: &Line, now: Duration) -> Option<bool> {
        const FORGOTTEN: Duration = Duration::from_secs(5);
        let printing_move =
            matches!(line.code(), Some(('G', 1..=3))) && line.flag('E') && (line.flag('X') || line.flag('Y'));
        if !printing_move {
            return None;
        }
        let told = self.count > FLOOD_MOVES && now < self.since + FORGOTTEN;
        if now > self.since + Duration::from_secs(1) {
            *self = Self { since: now, count: if told { FLOOD_MOVES + 1 } else { 0 } };
        }
        self.count += 1;
        (self.count > FLOOD_MOVES).then_some(!told)
    }
}

/// Words of the host itself that come at any time, also numbered between the lines of a file: questions, and the rest of
/// a handshake when a print was begun in the middle of it.
fn is_poll(line: &Line) -> bool {
    matches!(line.code(), Some(('M', 20 | 21 | 27 | 105 | 112 | 155 | 876)))
}

/// What OctoPrint sends after each cancel, also numbered behind a number reset (octoprint.md 6.3).
fn is_last_word(line: &Line) -> bool {
    match line.code() {
        Some(('M', 18 | 84 | 107 | 108)) => true,
        Some(('M', 104 | 106 | 140)) => line.value('S') == Some(0.0),
        _ => false,
    }
}

/// M115 opens a handshake; `M115 U` is a version check that slicers write into files.
fn is_hello(line: &Line) -> bool {
    line.code() == Some(('M', 115)) && !line.flag('U')
}

impl Dialogue {
    /// M110: numbers begin anew, so a file begins, or the host does.
    pub(super) fn numbers_reset(&mut self) {
        // Pronterface counts anew behind its M28, before the first line of the file.
        if let Mode::Writing(writing) = &mut self.session.mode
            && writing.counts_anew()
        {
            return;
        }
        match self.session.mode {
            Mode::Assembling(_) | Mode::Writing(_) => self.drop_write(),
            Mode::Refusing | Mode::RefusedWrite => self.session.mode = Mode::Normal,
            Mode::Normal => {}
        }
        self.session.armed = self.session.past_handshake();
    }

    /// Takes the line if it belongs to a file.
    pub(super) fn file_mode(&mut self, line: &Line, bytes: &[u8], view: &View) -> Option<Reply> {
        if matches!(self.session.mode, Mode::Writing(_) | Mode::RefusedWrite) {
            return self.writing(line, bytes, view);
        }
        let numbered = line.number.is_some();
        if numbered && is_hello(line) {
            self.leave_file_mode();
            return None;
        }
        match &mut self.session.mode {
            Mode::Refusing if numbered && !is_poll(line) => return Some(Reply::Ok),
            Mode::Refusing if !numbered => self.session.mode = Mode::Normal,
            Mode::Assembling(_) => return self.assemble(line, bytes, view),
            _ => {}
        }
        // After a stop or cancel the host may number its last words.
        let last_words = view.now < self.host.swallow_until && (!self.session.armed || is_last_word(line));
        if numbered && self.session.past_handshake() && !last_words && self.is_stream(line) {
            return Some(self.begin_stream(line, bytes, view));
        }
        let first = self.session.flood.counts(line, view.now)?;
        if first {
            self.refuse_stream("it moves the machine by itself", view);
            // Its lines have no numbers to go by.
            self.session.mode = Mode::Normal;
        }
        Some(Reply::Ok)
    }

    /// A line that the parser does not know, inside a file.
    pub(super) fn file_line(&mut self, bytes: &[u8], view: &View) -> Option<Reply> {
        let (number, body) = super::numbers::number_and_body(bytes);
        if let Some(reply) = number.and_then(|number| self.count(number)) {
            return Some(reply);
        }
        match &mut self.session.mode {
            Mode::Normal => None,
            Mode::Refusing => number.map(|_| Reply::Ok),
            Mode::RefusedWrite => Some(Reply::Ok),
            Mode::Writing(_) => Some(self.write_unknown(bytes, body, view)),
            Mode::Assembling(assembly) => {
                number?;
                assembly.keep(body, view.now);
                self.pass_on();
                Some(Reply::Ok)
            }
        }
    }

    fn is_stream(&mut self, line: &Line) -> bool {
        // A host that numbers everything numbers this as well, behind the same number reset as a print's first line.
        let upload = line.code() == Some(('M', 28));
        if self.session.armed {
            return !is_poll(line) && !upload;
        }
        // What follows the handshake at once shows whether this host numbers everything.
        if !self.session.seen_plain {
            self.session.numbers_all = true;
        }
        !self.session.numbers_all && !is_poll(line) && !upload
    }

    fn begin_stream(&mut self, line: &Line, bytes: &[u8], view: &View) -> Reply {
        let from_the_start = std::mem::take(&mut self.session.armed);
        if let Some(why) = self.against_streams(from_the_start, view) {
            self.refuse_stream(why, view);
            return Reply::Ok;
        }
        self.session.mode = Mode::Assembling(Box::default());
        self.effects.push(Effect::BeginWrite(String::new()));
        self.notify(
            "The file is being collected for the printer, which cannot print line by line. The print starts when \
             OctoPrint has sent all of it.",
            view,
        );
        self.assemble(line, bytes, view).unwrap_or(Reply::Ok)
    }

    /// Why no stream can become a print now, whatever is in it.
    fn against_streams(&self, from_the_start: bool, view: &View) -> Option<&'static str> {
        let files = &view.caps.files;
        let read_only = matches!(view.state.control, Control::ReadOnly(_));
        let reasons = [
            (self.streamed == StreamedPrints::Refuse, "it is set to refuse them"),
            (!from_the_start, "the beginning of the file is missing"),
            (!view.state.online(), "the printer is not connected"),
            (!(files.gcode || files.archives), "this printer takes no files from the gateway"),
            (read_only, "the printer does not permit control"),
            (view.state.printing(), "the printer is busy"),
        ];
        reasons.into_iter().find_map(|(holds, why)| holds.then_some(why))
    }

    /// Ends the host's print before anything has moved (octoprint.md 8.2 A).
    fn refuse_stream(&mut self, why: &str, view: &View) {
        self.notify(
            &format!(
                "This printer cannot print files streamed by OctoPrint ({why}). Choose a file from the printer's \
                 storage, or send it from the slicer to moongate."
            ),
            view,
        );
        self.push("// action:cancel".to_owned());
        self.session.mode = Mode::Refusing;
        self.host.swallow_until = view.now + super::push::BURST;
    }

    fn assemble(&mut self, line: &Line, bytes: &[u8], view: &View) -> Option<Reply> {
        let Mode::Assembling(assembly) = &mut self.session.mode else { return None };
        if line.code() == Some(('M', 108)) {
            self.drop_write();
            self.notify("The streamed print was cancelled; nothing of it reached the printer.", view);
            self.session.mode = Mode::Refusing;
            return Some(Reply::Ok);
        }
        // OctoPrint's pause asks where the machine is, numbered as the file's lines are, and waits for the answer
        // (octoprint.md 5.3). The M400 before it is kept: it may be the one that ends a file.
        let pauses =
            line.code() == Some(('M', 114)) || (line.number.is_none() && line.code() == Some(('M', 400)));
        if pauses {
            assembly.host_pauses();
        }
        if pauses || line.number.is_none() || is_poll(line) {
            return None;
        }
        assembly.take(line, super::numbers::number_and_body(bytes).1, view.now);
        self.pass_on();
        Some(Reply::Ok)
    }

    /// Hands collected bytes to the library in large pieces.
    fn pass_on(&mut self) {
        if let Mode::Assembling(assembly) = &mut self.session.mode
            && let Some(piece) = assembly.full_piece()
        {
            self.effects.push(Effect::Write(piece));
        }
    }

    pub(super) fn stream_timer(&mut self, view: &View) {
        // The host may be silent because it waits for the library.
        let waits = self.stands();
        let Mode::Assembling(assembly) = &mut self.session.mode else { return };
        if waits || !assembly.due(view.now) {
            return;
        }
        match assembly.verdict(&view.caps) {
            Ok(rest) => {
                self.session.mode = Mode::Normal;
                self.effects.push(Effect::Write(rest));
                self.effects.push(Effect::FinishStream);
            }
            Err(why) => {
                self.drop_write();
                self.notify(&format!("The streamed print was not started: {why}"), view);
            }
        }
    }

    fn leave_file_mode(&mut self) {
        if self.session.mode.writes() {
            self.drop_write();
        }
        self.session.mode = Mode::Normal;
    }

    /// Throws away what was collected.
    pub(super) fn drop_write(&mut self) {
        self.effects.push(Effect::AbortWrite);
        self.session.mode = Mode::Normal;
    }
}
