//! The simulated CC1 as time goes by.

use std::fs;

use super::machine::Core;
use super::report;
use crate::sim::elegoo_life::unix_now;
use crate::sim::elegoo_storage::{PARTIAL, Storage};
use crate::sim::physics::{Run, Stage};

/// Simulated seconds a paused printer keeps its nozzle hot (dossier 2.9, "targets change by themselves").
const PAUSED_HOT: f64 = 30.0;
/// Nozzle target and part fan after that.
const PAUSED_NOZZLE: f64 = 140.0;
/// Simulated seconds of the upload check: transfer shown, then check shown (dossier 2.10).
pub(super) const TRANSFER_SHOWN: f64 = 0.5;
const CHECK_SHOWN: f64 = 2.0;
/// Simulated seconds after which an abandoned upload is forgotten.
const TRANSFER_TIMEOUT: f64 = 120.0;

impl Core {
    pub fn tick(&mut self, dt: f64, storage: &Storage) {
        self.now += dt;
        self.machine.tick(dt);
        let stage = self.machine.stage;
        if stage != self.stage {
            self.enter(stage);
        }
        let held = matches!(stage, Stage::Pausing | Stage::Paused | Stage::Resuming | Stage::Cancelling);
        if stage.busy() && !held {
            self.ticks += dt;
        }
        self.cool_while_paused(stage);
        self.end_swap();
        self.work_on_transfer(storage);
        self.move_head();
        if stage == Stage::Finished && self.now - self.since > 1.0 && !self.file.is_empty() {
            self.clear_job();
        }
    }

    pub(super) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.since = self.now;
        match stage {
            Stage::Printing => self.fans = [58.0, 0.0, 68.0],
            Stage::Finished => {
                self.close_record(1, 0);
                self.fans = [0.0; 3];
                self.position = [202.0, 264.5, 24.59];
            }
            Stage::Cancelled => {
                self.close_record(3, 0);
                self.clear_job();
                self.ticks = 0.0;
                self.fans = [0.0; 3];
                self.position = [202.0, 264.5, 24.59];
            }
            Stage::Failed => {
                let reason = self.reason;
                self.close_record(2, reason);
                self.clear_job();
                self.fans = [0.0; 3];
            }
            _ => {}
        }
    }

    pub(super) fn clear_job(&mut self) {
        self.file.clear();
        self.task.clear();
    }

    pub(super) fn close_record(&mut self, status: i64, reason: i64) {
        let layer = self.machine.run.as_ref().map_or(0, Run::layer);
        let task = self.task.clone();
        if let Some(record) = self.history.iter_mut().find(|record| record.task == task) {
            record.status = status;
            record.reason = reason;
            record.layer = layer;
            record.end = unix_now();
            record.video = self.timelapse == 1;
        }
    }

    pub(super) fn cool_while_paused(&mut self, stage: Stage) {
        if stage == Stage::Paused
            && self.now - self.since > PAUSED_HOT
            && let Some(nozzle) = self.machine.nozzle()
            && nozzle.target > PAUSED_NOZZLE
        {
            nozzle.target = PAUSED_NOZZLE;
            self.fans = [0.0, 0.0, 20.0];
        }
    }

    pub(super) fn end_swap(&mut self) {
        if let Some((began, tray)) = self.swap
            && self.now - began > 12.0
        {
            self.active_tray = tray;
            self.swap = None;
        }
    }

    pub(super) fn move_head(&mut self) {
        if self.machine.stage == Stage::Printing
            && let Some(run) = &self.machine.run
        {
            let turn = self.now * 0.7;
            let z = 0.2 * f64::from(run.layer().max(1));
            self.position = [128.0 + 10.0 * turn.cos(), 128.0 + 10.0 * turn.sin(), z];
        }
    }

    pub(super) fn work_on_transfer(&mut self, storage: &Storage) {
        let Some(transfer) = self.transfer.clone() else { return };
        let age = self.now - transfer.touched;
        if !transfer.complete {
            if age > TRANSFER_TIMEOUT {
                self.transfer = None;
            }
            return;
        }
        if age < TRANSFER_SHOWN + CHECK_SHOWN {
            return;
        }
        self.transfer = None;
        let Some(path) = storage.path(&transfer.name) else { return };
        let Some(partial) = storage.path(&format!("{}{PARTIAL}", transfer.name)) else { return };
        let sum = transfer.sum.text();
        let right = !transfer.verify || sum == transfer.md5;
        if right && fs::rename(&partial, &path).is_ok() {
            self.corrupt.remove(&transfer.name);
            self.sums.insert(transfer.name, sum);
            self.counters.uploads += 1;
        } else {
            let _ = fs::remove_file(&partial);
            self.corrupt.insert(transfer.name);
            self.outbox.push(report::error(&self.options, 1).to_string());
        }
    }
}
