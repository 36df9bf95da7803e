//! M25 means pause, or is the first half of a cancel; what follows decides (rule 12).

use std::time::Duration;

use super::dialogue::{Dialogue, Effect, Reply, View};
use super::host::{Stage, Wanted};
use super::push::BURST;
use crate::config::SerialStop;
use crate::model::{Command, DeviceStage, JobPhase};

/// A cancel's `M26 S0` comes within a few ms (octoprint.md 6.3).
const DECIDE: Duration = Duration::from_millis(300);
/// A printer that prints shows a pause within this time; longer than any command of it may take.
const PAUSES: Duration = Duration::from_secs(40);
/// M112 comes twice; once is enough.
const STOP_AGAIN: Duration = Duration::from_secs(5);

impl Dialogue {
    /// M25.
    pub(super) fn pause_word(&mut self, view: &View) -> Reply {
        if matches!(self.host.stage, Stage::Running | Stage::Starting) {
            let report = self.host.report(view);
            self.push(report);
            self.host.pause_decided.get_or_insert(view.now + DECIDE);
        } else if self.steers_unseen(view) {
            self.host.pause_decided.get_or_insert(view.now + DECIDE);
        }
        Reply::Ok
    }

    /// The host shows no job, but there is one: a host that asks for no list is told of none. After a stop its M25 is the
    /// rest of its own, and means nothing.
    fn steers_unseen(&self, view: &View) -> bool {
        let job = &view.state.job;
        self.host.stage == Stage::Idle
            && job.phase.active()
            && view.now >= self.host.swallow_until
            && self.host.cancelled != Some(job.serial)
    }

    /// M400: after M25 it says that a pause is meant.
    pub(super) fn finish_moves(&mut self, view: &View) -> Reply {
        if self.host.pause_decided.is_some() {
            self.pause(view);
        }
        self.hold_m400(view)
    }

    pub(super) fn pause_timer(&mut self, view: &View) {
        if self.host.pause_decided.is_some_and(|at| view.now >= at) {
            self.pause(view);
        }
    }

    fn pause(&mut self, view: &View) {
        self.host.pause_decided = None;
        if self.host.stage == Stage::Idle {
            return self.effects.push(Effect::Pause);
        }
        let underway = matches!(view.state.job.phase, JobPhase::Transferring | JobPhase::Starting);
        if self.host.stage == Stage::Starting || underway {
            self.notify("The job has not begun at the printer yet; it is paused as soon as it begins.", view);
        }
        if self.host.stage == Stage::Starting {
            self.host.pause_early = true;
            return;
        }
        self.host.stage = Stage::Paused;
        if view.state.job.phase != JobPhase::Paused {
            self.host.wanted = Some(Wanted::Pause);
            self.host.pause_due = Some(view.now + PAUSES);
            self.effects.push(Effect::Pause);
        }
    }

    /// The job that the host paused before it was there is there: the job room pauses it as soon as it can be.
    pub(super) fn pause_begun(&mut self, view: &View) {
        self.host.pause_early = false;
        self.pause(view);
    }

    /// The host shows a pause that the printer has not made, and nobody says why: it must not believe in it for good. A
    /// printer that still prepares has all the time it needs.
    pub(super) fn pause_overdue(&mut self, view: &View) {
        if self.host.pause_due.is_none_or(|due| view.now < due) {
            return;
        }
        let waits = self.host.wanted == Some(Wanted::Pause);
        self.host.pause_due = waits.then_some(view.now + PAUSES);
        if waits && view.state.device.job.stage == DeviceStage::Printing && view.state.online() {
            self.host.wanted = None;
            self.host.pause_due = None;
            self.host.stage = Stage::Running;
            self.notify("The printer has not paused; it goes on printing. Press pause again.", view);
            self.push("// action:resumed".to_owned());
        }
    }

    /// M24 of a job that the host sees paused.
    pub(super) fn resume(&mut self, view: &View) {
        self.host.stage = Stage::Running;
        self.host.pause_early = false;
        let waits = self.host.wanted == Some(Wanted::Pause);
        if waits || matches!(view.state.job.phase, JobPhase::Paused | JobPhase::Pausing) {
            self.host.wanted = Some(Wanted::Resume);
            self.effects.push(Effect::Resume);
        }
    }

    /// M26 S0 behind M25, or M524: stop, and show nothing of that job any more (rule 8).
    pub(super) fn cancel(&mut self, view: &View) {
        let job = &view.state.job;
        self.host.cancelled = match (self.host.stage, self.host.serial) {
            (Stage::Starting, None) if job.serial <= self.host.start_base => Some(self.host.start_base + 1),
            (_, serial) => serial.or(Some(job.serial)),
        };
        self.host.end();
        self.host.refused_at = None;
        self.host.swallow_until = view.now + BURST;
        self.effects.push(Effect::Cancel);
    }

    /// M112, once however often it comes; told to the next client, for this one leaves.
    pub(super) fn emergency_stop(&mut self, view: &View) {
        if self.session.last_stop.is_some_and(|at| view.now < at + STOP_AGAIN) {
            return;
        }
        self.session.last_stop = Some(view.now);
        // Also a start that is only asked for.
        let active = view.state.job.phase.active() || self.host.stage == Stage::Starting;
        // The heaters-off lines behind it are meant where nothing else is done.
        if active || self.stop == SerialStop::Stop {
            self.host.swallow_until = view.now + BURST;
        }
        let told = match self.stop {
            SerialStop::Stop => {
                self.effects.push(Effect::Send(Command::EmergencyStop));
                "was passed to the printer"
            }
            SerialStop::Cancel if active => {
                self.effects.push(Effect::Cancel);
                "cancelled the print, as pty_m112 is set"
            }
            SerialStop::Cancel | SerialStop::Disconnect => "did nothing to the printer, as pty_m112 is set",
        };
        self.prompt.carry(&format!("An emergency stop (M112) came over the serial port and {told}."));
    }
}
