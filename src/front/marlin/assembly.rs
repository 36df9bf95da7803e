//! A streamed print while it is collected, and whether it may be printed at all.

use std::time::Duration;

use bytes::Bytes;

use crate::gcode::Line;
use crate::model::Capabilities;

/// OctoPrint adds a numbered M400 behind the last line and then falls silent (octoprint.md 8.2 B).
const SILENCE_AFTER_END: Duration = Duration::from_secs(5);
/// A stream that stops elsewhere, without a pause of the host, was given up.
const SILENCE: Duration = Duration::from_secs(60);
const PIECE: usize = 64 * 1024;
/// Larger than any real file; the library has a limit of its own.
const MAX_BYTES: u64 = 1 << 30;
/// Millimetres a slicer may place a purge line outside the build volume.
const MARGIN: f64 = 20.0;
/// Lines before the end among which a whole file switches its heaters off.
const END_LINES: u64 = 400;

#[derive(Debug, Default)]
pub struct Assembly {
    buffer: Vec<u8>,
    bytes: u64,
    lines: u64,
    last: Duration,
    ends: bool,
    paused: bool,
    relative: bool,
    heads: std::collections::BTreeSet<String>,
    extrusions: u64,
    /// Number of the last line that switched the nozzle off.
    off_at: Option<u64>,
    trouble: Option<String>,
    farthest: [f64; 3],
    hottest: [f64; 2],
}

impl Assembly {
    /// Keeps the text of a line that means nothing to us.
    pub fn keep(&mut self, body: &[u8], now: Duration) {
        self.buffer.extend_from_slice(body);
        self.buffer.push(b'\n');
        self.bytes += body.len() as u64 + 1;
        self.lines += 1;
        self.last = now;
        self.ends = false;
        self.paused = false;
        if self.bytes > MAX_BYTES {
            self.buffer.clear();
            self.trouble = Some("the file is larger than 1 GiB.".to_owned());
        }
    }

    /// Keeps a line and remembers what tells for or against printing it.
    pub fn take(&mut self, line: &Line, body: &[u8], now: Duration) {
        const HEADS: usize = 500;
        self.keep(body, now);
        let Some(command) = &line.command else { return };
        if self.heads.len() < HEADS {
            self.heads.insert(command.to_string());
        }
        match line.code() {
            Some(('M', 400)) => self.ends = true,
            Some(('G', 90)) => self.relative = false,
            Some(('G', 91)) => self.relative = true,
            Some(('G', 0..=3)) => self.moved(line),
            Some(('M', 104 | 109)) => {
                let target = line.value('S').or(line.value('R')).unwrap_or(0.0);
                self.hottest[0] = self.hottest[0].max(target);
                if target == 0.0 {
                    self.off_at = Some(self.lines);
                }
            }
            Some(('M', 140 | 190)) => {
                self.hottest[1] = self.hottest[1].max(line.value('S').or(line.value('R')).unwrap_or(0.0));
            }
            _ => {}
        }
    }

    fn moved(&mut self, line: &Line) {
        self.extrusions += u64::from(line.value('E').is_some_and(|e| e > 0.0));
        if self.relative {
            return;
        }
        for (axis, far) in ['X', 'Y', 'Z'].into_iter().zip(&mut self.farthest) {
            *far = far.max(line.value(axis).unwrap_or(0.0));
        }
    }

    /// The host's pause script came: silence means nothing until it goes on.
    pub fn host_pauses(&mut self) {
        self.paused = true;
    }

    /// When the silence will have lasted long enough.
    pub fn deadline(&self) -> Option<Duration> {
        (!self.paused).then(|| self.last + if self.ends { SILENCE_AFTER_END } else { SILENCE })
    }

    pub fn due(&self, now: Duration) -> bool {
        self.trouble.is_some() || self.deadline().is_some_and(|at| now >= at)
    }

    /// What can be written away.
    pub fn full_piece(&mut self) -> Option<Bytes> {
        (self.buffer.len() >= PIECE).then(|| std::mem::take(&mut self.buffer).into())
    }

    /// The rest of a file that may be printed, or what is against it. Comments are stripped by the host, so the judgement
    /// rests on the words and numbers of the file itself.
    pub fn verdict(&mut self, caps: &Capabilities, markers: &[String]) -> Result<Bytes, String> {
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        let complete = self.ends
            && self.extrusions > 0
            && self.off_at.is_some_and(|line| self.lines.saturating_sub(line) <= END_LINES);
        if !complete {
            return Err(
                "it is not complete: its end, where the nozzle is switched off, did not come.".to_owned()
            );
        }
        if !markers.iter().any(|marker| self.heads.contains(marker)) {
            return Err(format!(
                "it was not sliced for the {} {}: none of {} is in it. Slice it with the profile of this printer.",
                caps.vendor,
                caps.model,
                markers.join(", ")
            ));
        }
        for ((far, size), axis) in self.farthest.iter().zip(caps.volume_mm).zip(["X", "Y", "Z"]) {
            if *far > size + MARGIN {
                return Err(format!("it goes to {axis} {far:.0} mm, but the printer ends at {size:.0} mm."));
            }
        }
        let nozzle = caps.nozzles.first().and_then(|nozzle| nozzle.max).unwrap_or(0.0);
        let [hottest_nozzle, hottest_bed] = self.hottest;
        if hottest_nozzle > nozzle || hottest_bed > caps.bed.max.unwrap_or(0.0) {
            return Err(format!(
                "it heats the nozzle to {hottest_nozzle:.0} and the bed to {hottest_bed:.0} °C, more than the printer takes."
            ));
        }
        Ok(std::mem::take(&mut self.buffer).into())
    }
}
