//! What the printer's answers teach: what was done, what was refused, and whether it may be controlled at all.

use std::time::Duration;

use tokio::time::Instant;

use super::{PUSHALL_GAP, Session};
use crate::drivers::bambu::control;
use crate::drivers::bambu::pending::{Effect, Pending};
use crate::drivers::bambu::wire::Ack;
use crate::model::{Command, Control, Seen};

/// A rejection on the screen belongs to a command of ours this long (bambu.md 4.8).
const REJECTION: Duration = Duration::from_secs(10);

impl Session<'_> {
    pub(super) fn learn_permission(&mut self, rejection_was_shown: bool) {
        let tree = self.memory.reports.tree();
        let recent = self.commanded.is_some_and(|at| at.elapsed() < REJECTION);
        if recent && !rejection_was_shown && control::rejection_shown(tree) {
            self.reject_all();
            return;
        }
        if self.rejected {
            return;
        }
        match control::from_reports(tree, self.memory.row) {
            Some(control) => self.set_control(control, false),
            None if self.memory.row.controllable => {
                let unknown_model = Control::ReadOnly(control::UNKNOWN_MODEL.to_owned());
                if self.state.state().control == unknown_model {
                    self.set_control(Control::Unknown, false);
                }
            }
            None => {}
        }
    }

    /// Only what this driver set itself is changed: the configuration may forbid control as well.
    pub(super) fn set_control(&self, control: Control, only_learned: bool) {
        let current = self.state.state().control.clone();
        let ours = match &current {
            Control::ReadOnly(text) => text == control::GATE || text == control::UNKNOWN_MODEL,
            Control::Unknown | Control::Allowed => !only_learned,
        };
        if ours && current != control {
            self.state.control(control);
        }
    }

    /// The printer wants signatures: everything under way is refused for the same reason.
    fn reject_all(&mut self) {
        self.rejected = true;
        (self.memory.digestion, self.memory.echo) = (None, None);
        self.set_control(Control::ReadOnly(control::GATE.to_owned()), false);
        for pending in self.pending.take_all() {
            pending.fail(control::refusal());
        }
        if let Some(pending) = self.settling.take().and_then(|settling| settling.pending) {
            pending.fail(control::refusal());
        }
    }

    pub(super) fn acknowledged(&mut self, ack: &Ack) {
        let foreign = control::rejects(ack) && ack.sequence.is_some();
        match self.pending.acknowledge(ack) {
            // Another client's rejection teaches as well, without anything of ours under way.
            Effect::Nothing if foreign => self.reject_all(),
            Effect::Nothing => {}
            Effect::Refused(pending, error) => {
                self.answered();
                if pending.starts_job {
                    (self.memory.digestion, self.memory.echo) = (None, None);
                }
                pending.fail(error);
                if control::rejects(ack) {
                    self.reject_all();
                }
            }
            Effect::Done(pending) => {
                self.answered();
                if let Some(echo) = self.memory.echo.as_mut().filter(|_| pending.starts_job) {
                    echo.taken();
                }
                // `ledctrl` passes the gate, so only `print` commands prove the permission (bambu.md 4.8).
                if ack.success == Some(true) && ack.category == "print" {
                    self.set_control(Control::Allowed, false);
                }
                self.settle_or_confirm(pending);
            }
        }
    }

    fn answered(&mut self) {
        self.unanswered = 0;
        self.memory.acknowledged = true;
    }

    fn settle_or_confirm(&mut self, pending: Box<Pending>) {
        match pending.marker {
            Some(marker) => self.settle(pending, marker),
            None => {
                self.ask_what_deltas_hide(&pending.request.command);
                pending.confirm(Seen::Acknowledged);
            }
        }
    }

    /// Small models tell what is homed, and most options, in complete reports only (bambu.md 3.2).
    pub(super) fn ask_what_deltas_hide(&mut self, done: &Command) {
        if matches!(
            done,
            Command::Home(_) | Command::MotorsOff | Command::SetAutoRefill(_) | Command::SetOption { .. }
        ) {
            self.full_report_due = Some(Instant::now().max(self.pushall_at + PUSHALL_GAP));
        }
    }
}
