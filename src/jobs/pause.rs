//! Pause and resume: the one place for a pause that comes before the printer can take it.
//!
//! A pause asked for while the file is sent, the start lands or the printer prepares is kept and said to the printer as
//! soon as it can take it, once more if the printer lets it pass. A resume, a cancel or the end of the job withdraws it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Inner, Jobs};
use crate::model::{Command, CommandError, DeviceStage, Job, JobPhase, Outcome, PrinterState, Seen, Speaker};

/// How long a client that waits for an answer is kept waiting; the pause itself is kept on.
const PATIENCE: Duration = Duration::from_secs(30);
const KEPT: &str = "The job has not begun at the printer yet; it is paused as soon as it begins.";
const WITHDRAWN: &str = "The pause was withdrawn before it took effect.";

type Told = Option<Result<Outcome, CommandError>>;

/// A pause that waits for its moment.
pub struct Waiting {
    serial: u64,
    withdrawn: CancellationToken,
    told: watch::Receiver<Told>,
}

impl Jobs {
    /// Pauses. A job that the printer does not show yet, or only reads, is paused as soon as the printer takes it; after
    /// half a minute the outcome says so and the pause is kept.
    ///
    /// # Errors
    /// As [`crate::printer::PrinterHandle::send`], and [`CommandError::Invalid`] where the job ended first.
    pub async fn pause(&self) -> Result<Outcome, CommandError> {
        let pausing = self.pause_however_late();
        tokio::pin!(pausing);
        match tokio::time::timeout(PATIENCE, &mut pausing).await {
            Ok(outcome) => outcome,
            // The printer was told: whether it paused shows within the time that a pause may take.
            Err(_late) if !self.pause_waits() || prints(&self.inner.printer.state()) => pausing.await,
            Err(_late) => Ok(Outcome::noted(Seen::Sent, KEPT)),
        }
    }

    /// As [`Self::pause`], answered only when the pause took effect, failed or was withdrawn.
    ///
    /// # Errors
    /// As [`Self::pause`].
    pub async fn pause_however_late(&self) -> Result<Outcome, CommandError> {
        let state = self.inner.printer.state();
        if !begins(&state.job) {
            return self.inner.printer.send(Command::Pause).await;
        }
        let mut told = self.inner.pause_when_it_begins(state.job.serial);
        let closing = || CommandError::Offline("The gateway is shutting down.".to_owned());
        let told = told.wait_for(Option::is_some).await.map_err(|_closed| closing())?.clone();
        told.unwrap_or_else(|| Err(closing()))
    }

    /// Goes on with a paused job, or withdraws a pause that still waits for the job to begin.
    ///
    /// # Errors
    /// As [`crate::printer::PrinterHandle::send`].
    pub async fn resume(&self) -> Result<Outcome, CommandError> {
        let waited = self.inner.withdraw_pause();
        let at_the_printer =
            matches!(self.inner.printer.state().job.phase, JobPhase::Paused | JobPhase::Pausing);
        if waited && !at_the_printer {
            return Ok(Outcome::noted(Seen::Effect, WITHDRAWN));
        }
        self.inner.printer.send(Command::Resume).await
    }

    /// A pause of the job under way waits for its moment.
    pub fn pause_waits(&self) -> bool {
        self.inner.waiting().is_some()
    }
}

/// Not yet at the moves, also while a pause is under way already.
fn begins(job: &Job) -> bool {
    use JobPhase::{Pausing, Preparing, Starting, Transferring};
    matches!(job.phase, Transferring | Starting | Preparing | Pausing)
}

/// The printer is at the moves of the job, so that nothing keeps a pause waiting.
fn prints(state: &PrinterState) -> bool {
    !matches!(state.job.phase, JobPhase::Transferring | JobPhase::Starting)
        && state.device.job.stage == DeviceStage::Printing
}

impl Inner {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True where a pause waited.
    pub fn withdraw_pause(&self) -> bool {
        let waiting = self.waiting().take();
        waiting.inspect(|waiting| waiting.withdrawn.cancel()).is_some()
    }

    /// The outcome of the one pause of this job, asked for now or before.
    fn pause_when_it_begins(self: &Arc<Self>, serial: u64) -> watch::Receiver<Told> {
        let mut waiting = self.waiting();
        if let Some(waiting) = waiting.as_ref().filter(|waiting| waiting.serial == serial) {
            return waiting.told.clone();
        }
        let (tell, told) = watch::channel(None);
        let withdrawn = CancellationToken::new();
        let old = waiting.replace(Waiting { serial, withdrawn: withdrawn.clone(), told: told.clone() });
        if let Some(old) = old {
            old.withdrawn.cancel();
        }
        let inner = self.clone();
        self.tasks.spawn(async move { inner.carry_pause(serial, withdrawn, tell).await });
        told
    }

    async fn carry_pause(&self, serial: u64, withdrawn: CancellationToken, tell: watch::Sender<Told>) {
        let outcome = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return,
            () = withdrawn.cancelled() => {
                self.forget_request(serial);
                Ok(Outcome::noted(Seen::Effect, WITHDRAWN))
            }
            outcome = self.pause_at_its_moment(serial) => outcome,
        };
        {
            let mut waiting = self.waiting();
            if waiting.as_ref().is_some_and(|waiting| waiting.serial == serial) && !withdrawn.is_cancelled() {
                *waiting = None;
            }
        }
        // Nobody waits for the answer any more: the console is where it is looked for.
        if let (Err(error), 0) = (&outcome, tell.receiver_count()) {
            self.printer.writer().console(Speaker::Error, format!("The print was not paused: {error}"));
        }
        tell.send_replace(Some(outcome));
    }

    /// What a withdrawn pause had asked for is not shown any more.
    fn forget_request(&self, serial: u64) {
        self.printer.writer().job(|job| {
            if job.serial == serial && job.requested == Some(JobPhase::Pausing) {
                job.requested = None;
            }
        });
    }

    async fn pause_at_its_moment(&self, serial: u64) -> Result<Outcome, CommandError> {
        let mut watch = self.printer.watch();
        let link = watch.borrow().link.made;
        loop {
            let before = watch.borrow_and_update().clone();
            // What was asked for over a connection that is lost is not said over another one (design D7).
            if !before.link.holds(link) {
                return Err(CommandError::Offline(
                    "The connection to the printer was lost before the print could be paused; pause it again.".to_owned(),
                ));
            }
            if before.job.serial != serial || !before.job.phase.active() {
                return Err(CommandError::Invalid(
                    "The print was over before it could be paused.".to_owned(),
                ));
            }
            if !matches!(before.job.phase, JobPhase::Transferring | JobPhase::Starting) {
                match self.say_pause(&before).await {
                    // Printers that prepare say that nothing prints yet (elegoo.md, code 1010), or are busy.
                    Err(CommandError::Busy(_) | CommandError::Invalid(_) | CommandError::Refused { .. })
                        if begins(&before.job) => {}
                    result => return result,
                }
            }
            // Asked again at each step of the preparation, not at each report.
            let further = |now: &Arc<PrinterState>| {
                now.job.serial != serial
                    || !now.link.holds(link)
                    || now.job.phase != before.job.phase
                    || now.device.job.stage != before.device.job.stage
                    || now.job.detail != before.job.detail
            };
            if watch.wait_for(further).await.is_err() {
                return Err(CommandError::Offline("The gateway is shutting down.".to_owned()));
            }
        }
    }

    /// A printer that unpacks or heats may let a pause pass; it is said once more when the print begins.
    async fn say_pause(&self, before: &PrinterState) -> Result<Outcome, CommandError> {
        let saying = self.printer.send(Command::Pause);
        tokio::pin!(saying);
        if before.device.job.stage == DeviceStage::Printing {
            return saying.await;
        }
        let mut watch = self.printer.watch();
        let prints = |now: &Arc<PrinterState>| now.device.job.stage == DeviceStage::Printing;
        tokio::select! {
            biased;
            outcome = &mut saying => return outcome,
            _prints = watch.wait_for(prints) => {}
        }
        match self.printer.send(Command::Pause).await {
            Ok(outcome) => Ok(outcome),
            Err(error) => {
                tracing::debug!(%error, "The repeated pause was not taken.");
                saying.await
            }
        }
    }
}
