//! M28 and M29: a file from the host into the library, as plain text.

use std::time::Duration;

use bytes::Bytes;

use super::dialogue::{Dialogue, Effect, Reply, View};
use super::numbers::number_and_body;
use super::stream::Mode;
use crate::gcode::Line;

const PIECE: usize = 64 * 1024;
/// The end of a write is waited for so long; the host's patience is 30 s (octoprint.md 4).
const FINISH: Duration = Duration::from_secs(20);

/// A file under way.
#[derive(Debug, Default)]
pub(super) struct Writing {
    buffer: Vec<u8>,
    /// A line of it came, or its numbers began anew.
    begun: bool,
}

impl Writing {
    /// True once, and only before the first line.
    pub fn counts_anew(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }
}

impl Dialogue {
    /// M28. The answer "Writing to file" comes in any case: without it OctoPrint hangs (octoprint.md 8.3).
    pub(super) fn begin_write(&mut self, argument: &str, view: &View) -> Reply {
        let name = argument.trim().trim_start_matches('/');
        self.push(format!("Writing to file: {name}"));
        let binary = name.starts_with("B1 ") || name.starts_with("b1 ");
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        if binary || stem.is_empty() {
            self.refuse_write("Name the file, and send it as text: binary transfer is not supported.", view);
            return Reply::Ok;
        }
        self.session.armed = false;
        self.session.mode = Mode::Writing(Writing::default());
        self.effects.push(Effect::BeginWrite(format!("{stem}.gcode")));
        Reply::Ok
    }

    pub(super) fn writing(&mut self, line: &Line, bytes: &[u8], view: &View) -> Option<Reply> {
        if line.code() == Some(('M', 29)) {
            return Some(self.end_write(view));
        }
        if line.number.is_none() && matches!(line.code(), Some(('M', 105 | 27 | 112))) {
            return None;
        }
        let Mode::Writing(writing) = &mut self.session.mode else {
            if matches!(line.code(), Some(('M', 20 | 115))) {
                self.session.mode = Mode::Normal;
                return None;
            }
            return Some(Reply::Ok);
        };
        writing.begun = true;
        writing.buffer.extend_from_slice(number_and_body(bytes).1);
        writing.buffer.push(b'\n');
        if writing.buffer.len() >= PIECE {
            let piece = Bytes::from(std::mem::take(&mut writing.buffer));
            self.effects.push(Effect::Write(piece));
        }
        Some(Reply::Ok)
    }

    /// A line of the file that is no G-code of ours: kept if it is text.
    pub(super) fn write_unknown(&mut self, bytes: &[u8], body: &[u8], view: &View) -> Reply {
        if bytes.iter().any(|byte| *byte < b' ' && *byte != b'\t') {
            self.effects.push(Effect::AbortWrite);
            self.refuse_write(
                "The file is not plain text; send archives from the slicer to moongate instead.",
                view,
            );
            return Reply::Ok;
        }
        if let Mode::Writing(writing) = &mut self.session.mode {
            writing.begun = true;
            writing.buffer.extend_from_slice(body);
            writing.buffer.push(b'\n');
        }
        Reply::Ok
    }

    fn refuse_write(&mut self, why: &str, view: &View) {
        self.notify(why, view);
        self.push("// action:cancel".to_owned());
        self.session.mode = Mode::RefusedWrite;
    }

    fn end_write(&mut self, view: &View) -> Reply {
        match std::mem::take(&mut self.session.mode) {
            Mode::Writing(writing) => {
                self.effects.push(Effect::Write(writing.buffer.into()));
                self.effects.push(Effect::EndWrite);
                Reply::OkWhenDone(view.now + FINISH)
            }
            _ => {
                self.push("Done saving file.".to_owned());
                Reply::Ok
            }
        }
    }

    /// The library has the file, or refused it, perhaps in the middle.
    pub(super) fn write_ended(&mut self, result: Result<(), String>, view: &View) {
        match (result, &self.session.mode) {
            (Ok(()), _) => {}
            (Err(error), Mode::Writing(_)) => {
                self.refuse_write(&format!("The file was not stored: {error}"), view)
            }
            (Err(error), Mode::Assembling(_)) => {
                self.notify(&format!("The streamed print was given up: {error}"), view);
                self.push("// action:cancel".to_owned());
                self.session.mode = Mode::Refusing;
                return;
            }
            (Err(error), _) => self.notify(&format!("The file was not stored: {error}"), view),
        }
        if !self.session.mode.busy() {
            self.push("Done saving file.".to_owned());
        }
        self.effects.push(Effect::RefreshFiles);
        self.effect_done(view);
    }
}
