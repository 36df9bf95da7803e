//! The watch over a start that was sent, until the printer's own report shows the job, it begins, or its time is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::intent::Intent;
use super::start::{End, cancelled, failed};
use crate::model::{Fault, JobPhase, PrinterState, Severity};

/// A printer that took a start shows the file within this time (bambu.md 4.5).
const LANDING: Duration = Duration::from_secs(90);
/// A printer that shows the file begins within this time (bambu.md 4.5; a P1P parses for up to 135 s).
const BEGINNING: Duration = Duration::from_secs(300);

/// What the newest snapshot says about a start.
enum Sight {
    /// Nothing of it yet.
    Nothing,
    /// The printer shows the file, but does not print yet.
    Landed,
    /// It is over for us: running, ended, or replaced by another job.
    Settled,
    Broken(End),
}

impl Inner {
    /// Watches a start that an earlier gateway may have sent.
    pub async fn watch_restored(self: Arc<Self>, intent: Intent, serial: u64, abort: CancellationToken) {
        let lost = "The gateway was restarted as this print was being started, and the printer shows nothing of it. It \
                    was not started again: look at the printer.";
        let result = tokio::select! {
            () = self.cancel.cancelled() => return,
            result = self.watch_start(&intent, serial, &abort, None, lost) => result,
        };
        self.settle(&intent, serial, result.err()).await;
    }

    pub(super) async fn seen_running(&self, serial: u64) {
        let mut watch = self.printer.watch();
        let running = |state: &Arc<PrinterState>| {
            state.job.serial != serial
                || !matches!(state.job.phase, JobPhase::Transferring | JobPhase::Starting)
        };
        if watch.wait_for(running).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the printer's report shows the job, and then until it begins. Time counts only while the printer
    /// can be heard.
    pub(super) async fn watch_start(
        &self,
        intent: &Intent,
        serial: u64,
        abort: &CancellationToken,
        known_faults: Option<&[Fault]>,
        lost: &str,
    ) -> Result<(), End> {
        let mut watch = self.printer.watch();
        let (mut since, mut landed, mut was_online, mut aborting) = (Instant::now(), false, true, false);
        loop {
            let state = watch.borrow_and_update().clone();
            match sight(&state, intent, serial, known_faults) {
                Sight::Settled => return Ok(()),
                Sight::Broken(end) => return Err(end),
                Sight::Landed if !landed => (landed, since) = (true, Instant::now()),
                _ => {}
            }
            if state.online() && !was_online {
                since = Instant::now();
            }
            was_online = state.online();
            let deadline = since + if landed { BEGINNING } else { LANDING };
            tokio::select! {
                changed = watch.changed() => if changed.is_err() { return Ok(()); },
                () = abort.cancelled(), if !aborting => {
                    aborting = true;
                    self.printer.writer().job(|job| if job.serial == serial {
                        job.requested = Some(JobPhase::Cancelling);
                    });
                }
                () = tokio::time::sleep_until(deadline), if was_online => {
                    if aborting {
                        self.unseen.remember(intent.token);
                    }
                    return Err(match (landed, aborting) {
                        (_, true) => cancelled(),
                        (false, _) => failed(lost),
                        (true, _) => failed("The printer accepted the file, but did not begin to print."),
                    });
                }
            }
        }
    }
}

/// `known_faults` are those of before the start; `None` after a restart, when only the printer's own end counts.
fn sight(state: &PrinterState, intent: &Intent, serial: u64, known_faults: Option<&[Fault]>) -> Sight {
    if state.job.serial != serial || state.job.phase != JobPhase::Starting {
        return Sight::Settled;
    }
    let serious = state.device.faults.iter().filter(|fault| fault.severity >= Severity::Serious);
    let fresh = known_faults.and_then(|known| serious.clone().find(|fault| !fault.is_among(known)));
    if let Some(fault) = fresh {
        return Sight::Broken(failed(fault.line()));
    }
    let job = &state.device.job;
    let ours = job.token.as_deref() == Some(intent.token.to_string().as_str());
    if ours { Sight::Landed } else { Sight::Nothing }
}
