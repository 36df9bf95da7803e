//! A streamed print while it is collected.

use std::time::Duration;

use bytes::Bytes;

use super::suitability::Suitability;
use crate::gcode::Line;
use crate::model::Capabilities;

/// OctoPrint adds a numbered M400 behind the last line and then falls silent (octoprint.md 8.2 B).
const SILENCE_AFTER_END: Duration = Duration::from_secs(5);
/// A stream that stops elsewhere, without a pause of the host, was given up.
const SILENCE: Duration = Duration::from_secs(60);
const PIECE: usize = 64 * 1024;
/// Larger than any real file; the library has a limit of its own.
const MAX_BYTES: u64 = 1 << 30;

#[derive(Debug, Default)]
pub struct Assembly {
    buffer: Vec<u8>,
    bytes: u64,
    last: Duration,
    ends: bool,
    paused: bool,
    trouble: Option<String>,
    suitability: Suitability,
}

impl Assembly {
    /// Keeps the text of a line that means nothing to us.
    pub fn keep(&mut self, body: &[u8], now: Duration) {
        self.suitability.pass();
        self.store(body, now);
    }

    /// Keeps a line and remembers what tells for or against printing it.
    pub fn take(&mut self, line: &Line, body: &[u8], now: Duration) {
        self.suitability.take(line);
        self.store(body, now);
        self.ends = line.code() == Some(('M', 400));
    }

    fn store(&mut self, body: &[u8], now: Duration) {
        self.buffer.extend_from_slice(body);
        self.buffer.push(b'\n');
        self.bytes += body.len() as u64 + 1;
        self.last = now;
        self.ends = false;
        self.paused = false;
        if self.bytes > MAX_BYTES {
            self.buffer.clear();
            self.trouble = Some("the file is larger than 1 GiB.".to_owned());
        }
    }

    /// The host's pause script came: silence means nothing until it goes on.
    pub fn host_pauses(&mut self) {
        self.paused = true;
    }

    /// When the silence will have lasted long enough.
    pub fn deadline(&self) -> Option<Duration> {
        // An M400 elsewhere in the file is no end.
        let whole = self.ends && self.suitability.complete();
        (!self.paused).then(|| self.last + if whole { SILENCE_AFTER_END } else { SILENCE })
    }

    pub fn due(&self, now: Duration) -> bool {
        self.trouble.is_some() || self.deadline().is_some_and(|at| now >= at)
    }

    /// What can be written away.
    pub fn full_piece(&mut self) -> Option<Bytes> {
        (self.buffer.len() >= PIECE).then(|| std::mem::take(&mut self.buffer).into())
    }

    /// The rest of a file that may be printed.
    ///
    /// # Errors
    /// What is against it, as the end of a sentence.
    pub fn verdict(&mut self, caps: &Capabilities) -> Result<Bytes, String> {
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        self.suitability.verdict(self.ends, caps)?;
        Ok(std::mem::take(&mut self.buffer).into())
    }
}
