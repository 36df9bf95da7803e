//! The simulated CC2 as time goes by.

use super::machine::{Core, OperationEnd};
use crate::sim::elegoo_life::unix_now;
use crate::sim::physics::{Run, Stage};

/// Simulated seconds a finished upload keeps the machine in status 11.
const TRANSFER_SHOWN: f64 = 1.0;
/// Simulated seconds after which an abandoned upload is forgotten.
const TRANSFER_TIMEOUT: f64 = 120.0;

impl Core {
    pub fn tick(&mut self, dt: f64) {
        self.now += dt;
        if self.swap.is_some() {
            self.machine.speed = 0.0;
        }
        self.machine.tick(dt);
        let stage = self.machine.stage;
        if stage != self.stage {
            self.enter(stage);
        }
        if stage == Stage::Printing {
            self.print_duration += dt;
        }
        self.homed |= self.machine.homed;
        self.work_on_swaps();
        self.end_operation();
        self.end_transfer();
        self.move_head();
        let shown = self.now - self.since;
        if !self.file.is_empty()
            && (stage == Stage::Finished && shown >= self.options.completion_shown
                || stage == Stage::Cancelled && shown >= 1.0)
        {
            self.clear_job();
        }
        self.answer_pending();
        self.push();
    }

    pub(super) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.since = self.now;
        match stage {
            Stage::Printing => self.fans = [255.0, 0.0, 25.5],
            Stage::Finished | Stage::Cancelled | Stage::Failed => {
                self.close_task(if stage == Stage::Finished { 1 } else { 2 });
                self.fans = [0.0; 3];
                self.position = [52.5, 264.0, 80.0];
                self.swap = None;
                self.swaps_due.clear();
                if stage == Stage::Failed {
                    self.clear_job();
                }
            }
            _ => {}
        }
    }

    pub(super) fn clear_job(&mut self) {
        self.file.clear();
        if !self.uuid.is_empty() {
            self.last_uuid = std::mem::take(&mut self.uuid);
        }
        self.print_duration = 0.0;
    }

    pub(super) fn close_task(&mut self, status: i64) {
        let uuid = self.uuid.clone();
        if let Some(task) = self.history.iter_mut().find(|task| task.id == uuid) {
            task.status = status;
            task.end = unix_now();
            task.video = i64::from(self.timelapse);
        }
    }

    pub(super) fn work_on_swaps(&mut self) {
        if let Some(swap) = self.swap
            && self.swap_view().is_none()
        {
            self.canvas.active = swap.tray;
            self.swap = None;
            self.set_speed(1);
        }
        let progress = self.machine.run.as_ref().map_or(0.0, Run::progress);
        if self.machine.stage == Stage::Printing
            && self.swaps_due.first().is_some_and(|(at, _)| progress >= *at)
        {
            let (_, tray) = self.swaps_due.remove(0);
            self.swap(tray);
        }
    }

    pub(super) fn end_operation(&mut self) {
        let Some(operation) = &self.operation else { return };
        if self.now - operation.began < operation.lasts {
            return;
        }
        match operation.end {
            OperationEnd::Nothing => {}
            OperationEnd::Homed => {
                self.homed = true;
                self.position = [128.0, 128.0, 10.0];
            }
            OperationEnd::MeshMade => self.mesh = true,
            OperationEnd::Loaded => self.detected = true,
            OperationEnd::Unloaded => self.detected = false,
            OperationEnd::TrayLoaded(tray) => {
                self.canvas.active = tray;
                self.detected = true;
            }
            OperationEnd::TrayUnloaded => {
                self.canvas.active = -1;
                self.detected = false;
            }
        }
        self.operation = None;
    }

    pub(super) fn end_transfer(&mut self) {
        let over = self.transfer.as_ref().is_some_and(|transfer| {
            self.now - transfer.touched > if transfer.complete { TRANSFER_SHOWN } else { TRANSFER_TIMEOUT }
        });
        if over {
            self.transfer = None;
        }
    }

    pub(super) fn move_head(&mut self) {
        if let Some((x, y)) = self.swap_view().and_then(|view| view.head) {
            let [_, _, z] = self.position;
            self.position = [x, y, z];
        } else if self.machine.stage == Stage::Printing
            && let Some(run) = &self.machine.run
        {
            let turn = self.now * 0.7;
            self.position =
                [128.0 + 10.0 * turn.cos(), 128.0 + 10.0 * turn.sin(), 0.2 * f64::from(run.layer().max(1))];
        }
    }
}
