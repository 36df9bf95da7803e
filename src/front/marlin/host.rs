//! What the host has been told of the job, and what it did to it: the byte arithmetic and latches of rules 7 to 13.

use std::time::Duration;

use super::catalog::Listed;
use super::dialogue::View;
use crate::model::JobPhase;

/// Where progress by time and progress by the printer differ more than this, the elapsed time is not the job's.
const TIME_TRUSTED: f64 = 0.2;

/// What the host believes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stage {
    #[default]
    Idle,
    /// M24 was acknowledged; the printer does not show the job yet.
    Starting,
    Running,
    Paused,
}

/// A command of the host whose effect is not seen yet; meanwhile its belief is ahead of the printer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Pause,
    Resume,
}

#[derive(Debug, Default)]
pub struct Host {
    pub stage: Stage,
    /// The job it sees.
    pub serial: Option<u64>,
    /// What it selected last; cleared by a failed M23 (rule 20).
    pub selected: Option<Listed>,
    /// The last M23 failed: what M24 means then is not known.
    pub select_failed: bool,
    /// An M23 was accepted while a job was shown.
    pub begins_again: bool,
    /// It knows why its job pauses: it was told, or asked for it by name.
    pub pause_known: bool,
    /// Library path of the job it sees.
    pub path: Option<String>,
    /// N of the progress.
    pub size: u64,
    /// X of the progress, as told last.
    pub byte: u64,
    /// M25 came; until then it may still turn out to be a cancel.
    pub pause_decided: Option<Duration>,
    pub wanted: Option<Wanted>,
    /// Until then a pause must be seen at a printer that prints; later the host is told the truth.
    pub pause_due: Option<Duration>,
    /// The host sees its job paused, but nobody else sees the job yet: the pause is passed on when it is there.
    pub pause_early: bool,
    /// The newest job before its own start.
    pub start_base: u64,
    /// The job that was started through this port.
    pub owned: Option<u64>,
    /// The job that it cancelled, not to be shown again (rule 8).
    pub cancelled: Option<u64>,
    /// Until then the commands that follow every cancel are swallowed (rule 13).
    pub swallow_until: Duration,
    /// Until then nothing about jobs is pushed: the host is still busy with the last push.
    pub quiet_until: Option<Duration>,
    /// Until then, or its next M27, the host may still be "Starting": what it is told of a pause or an end is lost on it.
    pub settles: Option<Duration>,
    /// A refused M24 is told as a stop at this time.
    pub refused_at: Option<Duration>,
    /// The job for which the host was asked to list the files again.
    pub asked_to_list: Option<u64>,
}

impl Host {
    /// A new client believes nothing; what it owns and cancelled stays.
    pub fn new_session(&mut self) {
        *self = Self { owned: self.owned, cancelled: self.cancelled, ..Self::default() };
    }

    /// A job begins to be shown.
    pub fn begin(&mut self, stage: Stage, file: &Listed, serial: Option<u64>, byte: u64) {
        self.end();
        self.stage = stage;
        self.serial = serial;
        self.path.clone_from(&file.path);
        self.size = file.size.max(1);
        self.byte = byte;
    }

    pub fn end(&mut self) {
        self.stage = Stage::Idle;
        self.serial = None;
        self.path = None;
        self.pause_decided = None;
        self.wanted = None;
        self.pause_early = false;
        self.settles = None;
        (self.begins_again, self.pause_known) = (false, false);
        self.pause_due = None;
    }

    /// True while the host may not yet be told more of the job that it begins to show.
    pub fn settling(&self, now: Duration) -> bool {
        self.settles.is_some_and(|until| now < until)
    }

    /// The host's screen says Paused.
    pub fn shows_paused(&self) -> bool {
        self.stage == Stage::Paused || self.pause_early
    }

    /// The line of M27.
    pub fn report(&mut self, view: &View) -> String {
        if self.stage == Stage::Idle {
            return "Not SD printing".to_owned();
        }
        self.advance(view);
        format!("SD printing byte {}/{}", self.byte, self.size)
    }

    /// Brings the byte up to date; it never falls, stands still while paused or unreachable, and reaches N only at the end.
    pub fn advance(&mut self, view: &View) {
        let job = &view.state.job;
        let moving = self.stage == Stage::Running
            && self.pause_decided.is_none()
            && self.wanted.is_none()
            && !self.pause_early
            && self.serial == Some(job.serial)
            && job.phase == JobPhase::Printing
            && view.state.online();
        if moving {
            let byte = (part_done(view) * self.size as f64) as u64;
            self.byte = self.byte.max(byte.min(self.size.saturating_sub(1)));
        }
    }

    /// True while the burst after a cancel is to be expected, or another's print must be protected from it.
    pub fn protects(&self, view: &View) -> bool {
        let foreign = view.state.printing() && self.owned != Some(view.state.job.serial);
        view.now < self.swallow_until || foreign
    }

    /// When time decides something; `busy`: while nothing can be told, a refused start waits.
    pub fn deadline(&self, busy: bool) -> Option<Duration> {
        [
            self.pause_decided,
            self.refused_at.filter(|_| !busy),
            self.quiet_until,
            self.settles,
            self.pause_due,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// Elapsed of elapsed and remaining, so that the host's linear estimate is the printer's own (octoprint.md 6).
pub fn part_done(view: &View) -> f64 {
    let job = &view.state.job;
    let reported = job.progress.clamp(0.0, 1.0);
    let elapsed = job.print_seconds(view.unix);
    match job.remaining_s.filter(|remaining| remaining.is_finite() && *remaining >= 0.0) {
        Some(remaining) if elapsed + remaining > 0.0 => {
            let by_time = elapsed / (elapsed + remaining);
            if (by_time - reported).abs() <= TIME_TRUSTED { by_time } else { reported }
        }
        _ => reported,
    }
}
