//! `CurrentStatus` and `PrintInfo.Status` of the simulated CC1 (dossier 2.5, 2.6).

use super::machine::Core;
use super::tick::TRANSFER_SHOWN;
use crate::sim::physics::Stage;

impl Core {
    /// `CurrentStatus` and `PrintInfo.Status` (dossier 2.5 and 2.6).
    pub fn codes(&self) -> (Vec<i64>, i64) {
        let sub = self.sub_status();
        if self.homing() {
            return (vec![9], 1);
        }
        let job = self.machine.stage.busy() || (self.stage == Stage::Finished && !self.file.is_empty());
        let current = match &self.transfer {
            Some(_) if job => vec![2, 1],
            Some(transfer) if transfer.complete && self.now - transfer.touched > TRANSFER_SHOWN => vec![8],
            Some(_) => vec![2],
            None => vec![i64::from(job)],
        };
        (current, sub)
    }

    pub(super) fn sub_status(&self) -> i64 {
        let spent = self.now - self.since;
        let parked = self.options.is_v14();
        match self.machine.stage {
            Stage::Idle => 0,
            Stage::Loading if spent < 1.0 => 18,
            Stage::Loading if spent < 4.5 => 1,
            Stage::Loading => 21,
            Stage::Heating => 16,
            Stage::Printing if self.swap.is_some() => match self.swap {
                Some((began, _)) if self.now - began > 10.0 => 26,
                _ => 25,
            },
            Stage::Homing => 20,
            Stage::Levelling | Stage::Printing if parked => 20,
            Stage::Levelling if spent + 1.5 < self.machine.pace.levelling => 15,
            Stage::Levelling => 19,
            Stage::Printing => 13,
            Stage::Pausing => 5,
            Stage::Paused => 6,
            Stage::Resuming => 12,
            Stage::Cancelling if (3.0..7.0).contains(&spent) => 1,
            Stage::Cancelling if (7.0..8.0).contains(&spent) => 21,
            Stage::Cancelling => 7,
            Stage::Finished if self.options.forgets_completion && self.file.is_empty() => 0,
            Stage::Finished => 9,
            Stage::Cancelled => 8,
            Stage::Failed => 14,
        }
    }
}
