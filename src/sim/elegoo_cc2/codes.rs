//! Status and sub-status of the simulated CC2 (dossier 3.9).

use super::machine::Core;
use crate::sim::physics::Stage;

impl Core {
    /// `machine_status.status` and `.sub_status` (dossier 3.9).
    pub fn codes(&self) -> (i64, i64) {
        if self.stopped {
            return (14, 0);
        }
        if self.recovery.is_some() {
            return (15, 0);
        }
        if self.machine.stage.busy() || !self.file.is_empty() {
            return (2, self.sub_status());
        }
        if self.machine.stage == Stage::Finished && self.now - self.since < self.options.renders_for {
            return (12, 0);
        }
        if let Some(operation) = &self.operation {
            let part = (self.now - operation.began) / operation.lasts.max(0.001);
            let step = (part * operation.subs.len() as f64) as usize;
            let sub = operation.subs.get(step).or(operation.subs.last()).copied();
            return (operation.status, sub.unwrap_or(0));
        }
        if self.transfer.is_some() { (11, 3000) } else { (1, 0) }
    }

    pub(super) fn sub_status(&self) -> i64 {
        let spent = self.now - self.since;
        match self.machine.stage {
            Stage::Loading => 2410,
            Stage::Heating if !self.machine.bed.reached() => 1405,
            Stage::Heating => 1045,
            Stage::Homing if spent > self.machine.pace.homing - 1.0 => 2802,
            Stage::Homing => 2801,
            Stage::Levelling if spent > self.machine.pace.levelling - 1.0 => 2902,
            Stage::Levelling => 2901,
            Stage::Printing => self.swap_view().map_or(2075, |view| view.sub_status),
            Stage::Pausing => 2501,
            Stage::Paused => self.paused_sub,
            Stage::Resuming if spent > self.machine.pace.resuming - 1.0 => 2402,
            Stage::Resuming => 2401,
            Stage::Cancelling => 2503,
            Stage::Cancelled => 2504,
            Stage::Finished => 2077,
            Stage::Idle | Stage::Failed => 0,
        }
    }
}
