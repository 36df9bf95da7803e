//! Whose turn it is: one start at a time, and the same start said twice is one.

use tokio::sync::MutexGuard;

use super::{Inner, StartError};
use crate::model::{CommandError, JobOrigin, JobPhase};
use crate::printer::clock::unix_now;

/// Seconds within which the same start is no second one.
const SAID_TWICE: f64 = 15.0;

/// Whether a start may be decided.
pub enum Turn<'a> {
    Ours(MutexGuard<'a, ()>),
    /// The same start is under way, as the job of this number.
    Begun(u64),
}

impl Inner {
    /// The right to decide, unless this start is under way already.
    pub(super) async fn turn(&self, file: &str) -> Result<Turn<'_>, StartError> {
        let gate = loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            let gate = self.gate.lock().await;
            match self.under_way() {
                None => break gate,
                Some((serial, begun, true)) if begun == file => return Ok(Turn::Begun(serial)),
                Some((_, begun, true)) => return Err(busy(&begun).into()),
                // The last start is just being settled.
                Some((_, _, false)) => {
                    drop(gate);
                    settled.await;
                }
            }
        };
        Ok(self.just_begun(file).map_or(Turn::Ours(gate), Turn::Begun))
    }

    /// The job that this start asks for once more: slicers upload with `print=true` and then start the file too
    /// (moonraker.md 6, OrcaSlicer #15032).
    fn just_begun(&self, file: &str) -> Option<u64> {
        let job = &self.printer.state().job;
        let same = job.origin == JobOrigin::Gateway && job.file.as_deref() == Some(file);
        let fresh = job.started_at.is_some_and(|at| unix_now() - at < SAID_TWICE);
        let begins = matches!(job.phase, JobPhase::Preparing | JobPhase::Printing);
        (same && fresh && begins).then_some(job.serial)
    }

    /// The start under way: its serial, its file, and whether it still waits for its fate.
    fn under_way(&self) -> Option<(u64, String, bool)> {
        let state = self.printer.state();
        let active = self.active();
        let active = active.as_ref()?;
        let waits = matches!(state.job.phase, JobPhase::Transferring | JobPhase::Starting);
        let open = waits && state.job.serial == active.serial && !active.abort.is_cancelled();
        Some((active.serial, active.file.clone(), open))
    }
}

pub fn busy(file: &str) -> CommandError {
    CommandError::Busy(format!("\"{file}\" is just being started; a second job is never started."))
}
