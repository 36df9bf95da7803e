//! When lines of G-code are executed: by the step number set behind them, which small models tell in complete reports
//! only (bambu.md 3.2, 4.3).

use std::time::Duration;

use tokio::time::Instant;

use super::{PUSHALL_GAP, Session};
use crate::drivers::bambu::encode;
use crate::drivers::bambu::field::{at, int};
use crate::drivers::bambu::pending::Pending;
use crate::drivers::bambu::stages;
use crate::drivers::bambu::wire::{Extent, StateFields};
use crate::model::{Command, PrinterState, Seen};

/// How long G-code may run until its marker is no longer waited for; with the acknowledgement below the 310 s after
/// which the command path of `printer` gives up.
const SETTLE: Duration = Duration::from_secs(290);
/// How long a complete report is waited for that tells of homed axes once they were: who goes on at once (`G28`, then a
/// move) would be refused by what the report before says.
const TOLD: Duration = Duration::from_secs(15);
/// A printer that never showed a marker is not waited for beyond so many complete reports without one.
const UNMARKED: u32 = 3;
/// After so many commands whose marker stayed out, none is waited for until one is seen.
const UNMARKED_RUNS: u32 = 3;
const NOT_TOLD: &str = "The printer did not tell when it had executed this.";

/// Lines of G-code that were taken and whose marker is awaited.
pub(super) struct Settling {
    /// `None` when it was answered already, and only the marker is still looked for.
    pub pending: Option<Box<Pending>>,
    marker: i64,
    since: Instant,
    until: Instant,
    /// Complete reports that were asked for, and those of an idle printer that came without the marker.
    asked: u32,
    unmarked: u32,
    /// The axes were not homed before, and a command to home them is what is awaited.
    homes: bool,
    /// The marker has come back; only the complete report that tells of homed axes is still awaited.
    marked: bool,
}

impl Settling {
    /// When the next complete report is asked for: many printers tell the step nowhere else (bambu.md 3.2).
    fn ask_at(&self, first: Duration) -> Instant {
        let times = match self.asked {
            0 => 1,
            1 => 3,
            more => 6 * (more - 1),
        };
        self.since + first * times
    }
}

impl Session<'_> {
    /// Waits for the marker of a command that was acknowledged.
    pub(super) fn settle(&mut self, pending: Box<Pending>, marker: i64) {
        if let Some(old) = self.settling.take().and_then(|settling| settling.pending) {
            old.confirm(Seen::Acknowledged);
        }
        let homes = matches!(pending.request.command, Command::Home(_)) && !homed(&pending.before);
        let since = Instant::now();
        let until = since + SETTLE;
        let pending = Some(pending);
        self.settling =
            Some(Settling { pending, marker, since, until, asked: 0, unmarked: 0, homes, marked: false });
    }

    /// The step number that we set behind the lines has come back: they are executed. So they are where axes that were
    /// not homed are, by a complete report of later.
    pub(super) fn follow_marker(&mut self, fields: &StateFields) {
        let told = fields.fields.get("stg_cur").and_then(int);
        let nested = fields.fields.get("stage").and_then(|stage| int(at(stage, "/_id")));
        if [told, nested].into_iter().flatten().any(|step| stages::MARKERS.contains(&step)) {
            (self.memory.markers_work, self.memory.markers_fail) = (true, false);
        }
        let Some(settling) = &mut self.settling else { return };
        let marked = [told, nested].contains(&Some(settling.marker));
        let state = self.state.state();
        let complete = fields.extent != Extent::Delta && settling.asked > 0;
        if settling.marked {
            if homed(&state) || fields.extent != Extent::Delta {
                self.settled();
            }
            return;
        }
        if marked
            && settling.homes
            && settling.pending.is_some()
            && fields.extent == Extent::Delta
            && !homed(&state)
        {
            let now = Instant::now();
            (settling.marked, settling.until) = (true, settling.until.min(now + TOLD));
            self.full_report_due = Some(now.max(self.pushall_at + PUSHALL_GAP));
            return;
        }
        if marked || (settling.homes && complete && homed(&state)) {
            self.settled();
            return;
        }
        if complete && !state.device.job.stage.active() {
            // Some printers tell everything each second: that is one answer to one question.
            settling.unmarked = settling.asked.min(settling.unmarked + 1);
        }
        if settling.unmarked >= UNMARKED
            && !self.memory.markers_work
            && let Some(mut pending) = settling.pending.take()
        {
            pending.note = Some(NOT_TOLD.into());
            pending.confirm(Seen::Acknowledged);
            self.memory.unmarked_runs += 1;
            self.memory.markers_fail = self.memory.unmarked_runs >= UNMARKED_RUNS;
        }
    }

    fn settled(&mut self) {
        let Some(settling) = self.settling.take() else { return };
        if let Some(pending) = settling.pending {
            if !settling.marked {
                self.ask_what_deltas_hide(&pending.request.command);
            }
            pending.confirm(Seen::Effect);
        }
        self.tell(&encode::clear_marker());
    }

    /// When something follows for the lines under way from time alone.
    pub(super) fn settle_deadline(&self) -> Option<Instant> {
        let first = self.shared.config.timing.settle;
        self.settling.as_ref().map(|settling| match settling.pending {
            Some(_) if !settling.marked => settling.until.min(settling.ask_at(first)),
            _ => settling.until,
        })
    }

    pub(super) fn check_settling(&mut self, now: Instant) {
        let first = self.shared.config.timing.settle;
        let Some(settling) = &mut self.settling else { return };
        if settling.marked {
            if settling.until <= now {
                self.settled();
            }
        } else if settling.until <= now {
            self.memory.markers_fail = !self.memory.markers_work;
            if let Some(mut pending) = self.settling.take().and_then(|settling| settling.pending) {
                pending.note = Some(NOT_TOLD.into());
                pending.confirm(Seen::Acknowledged);
            }
        } else if settling.pending.is_some() && settling.ask_at(first) <= now {
            settling.asked += 1;
            self.full_report_due = Some(now.max(self.pushall_at + PUSHALL_GAP));
        }
    }
}

fn homed(state: &PrinterState) -> bool {
    state.device.motion.homed.is_some_and(|homed| homed.x && homed.y && homed.z)
}
