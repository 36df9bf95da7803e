//! Commands that were sent and wait for the printer's acknowledgement (bambu.md 4.1).

use std::sync::Arc;

use tokio::time::Instant;

use super::control;
use super::wire::Ack;
use crate::model::{CommandError, Outcome, PrinterState, Seen};
use crate::printer::{Request, effect};

/// One command with the sequence numbers of its messages that are not acknowledged yet.
pub(super) struct Pending {
    pub request: Request,
    /// Sequence number and command name of each message.
    pub open: Vec<(String, String)>,
    pub until: Instant,
    /// What the printer showed before.
    pub before: Arc<PrinterState>,
    /// Shows its execution by this step number.
    pub marker: Option<i64>,
    pub note: Option<String>,
    /// An answer came that neither accepts nor refuses (P1S 01.10).
    pub bare: bool,
    /// Some firmware does not acknowledge it (bambu.md 4.1): silence is neither an error nor a deaf printer.
    pub optional: bool,
    pub starts_job: bool,
    /// The job that this starts is under way.
    pub job_seen: bool,
}

/// What an acknowledgement did.
pub(super) enum Effect {
    /// Not ours, or not the last one.
    Nothing,
    /// The command is acknowledged completely.
    Done(Box<Pending>),
    Refused(Box<Pending>, CommandError),
}

#[derive(Default)]
pub(super) struct PendingList {
    list: Vec<Pending>,
}

impl PendingList {
    pub fn push(&mut self, pending: Pending) {
        self.list.push(pending);
    }

    /// Matches by sequence number; a refusal without one by its command (fixture ack-extrusion_cali_get).
    pub fn acknowledge(&mut self, ack: &Ack) -> Effect {
        let fits = |(sequence, command): &(String, String)| match (&ack.sequence, &ack.command) {
            (Some(theirs), _) => theirs == sequence,
            (None, Some(theirs)) => theirs == command,
            (None, None) => false,
        };
        let Some(index) = self.list.iter().position(|pending| pending.open.iter().any(fits)) else {
            return Effect::Nothing;
        };
        if let Some(error) = control::refused(ack) {
            return Effect::Refused(Box::new(self.list.remove(index)), error);
        }
        let Some(pending) = self.list.get_mut(index) else { return Effect::Nothing };
        pending.open.retain(|message| !fits(message));
        pending.bare |= ack.success.is_none();
        if pending.open.is_empty() {
            Effect::Done(Box::new(self.list.remove(index)))
        } else {
            Effect::Nothing
        }
    }

    /// The job that was started is under way.
    pub fn see_job(&mut self) {
        self.list.iter_mut().filter(|pending| pending.starts_job).for_each(|pending| pending.job_seen = true);
    }

    /// Takes out the commands whose time is up.
    pub fn overdue(&mut self, now: Instant) -> Vec<Pending> {
        self.list.extract_if(.., |pending| pending.until <= now).collect()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.list.iter().map(|pending| pending.until).min()
    }

    pub fn take_all(&mut self) -> Vec<Pending> {
        std::mem::take(&mut self.list)
    }
}

impl Pending {
    /// Answers as far as the printer confirmed it.
    pub fn confirm(self, seen: Seen) {
        let seen = if self.bare { seen.min(Seen::Sent) } else { seen };
        self.request.answer(Ok(Outcome { seen, note: self.note }));
    }

    pub fn fail(self, error: CommandError) {
        self.request.answer(Err(error));
    }

    /// A printer that acknowledges nothing: its reports alone tell what it did.
    pub fn unconfirmed(mut self) {
        self.note = Some(
            "This printer does not acknowledge commands: whether it took this one shows in its reports only."
                .into(),
        );
        self.confirm(Seen::Sent);
    }

    /// The printer said neither yes nor no to what not all firmware answers.
    pub fn unanswered(mut self) {
        self.note =
            Some("The printer did not acknowledge this, as some firmware does not: its reports tell.".into());
        self.confirm(Seen::Sent);
    }

    /// Whether the reports show that the printer did it.
    pub fn carried_out(&self, now: &PrinterState) -> bool {
        self.job_seen || effect::appeared(&self.request.command, &self.before, now)
    }

    /// No answer in time.
    pub fn time_out(self, seconds: u64) {
        let name = self.request.command.name();
        let text = if self.starts_job {
            format!(
                "The printer did not acknowledge \"{name}\" within {seconds} s. It may still start: look at the \
                 printer; the start is not sent again."
            )
        } else {
            format!("The printer did not acknowledge \"{name}\" within {seconds} s.")
        };
        self.fail(CommandError::Timeout(text));
    }
}
