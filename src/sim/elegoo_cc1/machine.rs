//! What the simulated CC1 does: its machine, the walk through the SDCP states, file check, history.

use std::collections::HashSet;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use uuid::Uuid;

use super::super::elegoo_storage::{PARTIAL, Storage, file_md5};
use super::super::physics::{Machine, Stage};
use super::super::traffic::{Log, Received};
use super::{Options, report};

/// Simulated seconds a paused printer keeps its nozzle hot (dossier 2.9, "targets change by themselves").
const PAUSED_HOT: f64 = 30.0;
/// Nozzle target and part fan after that.
const PAUSED_NOZZLE: f64 = 140.0;
/// Simulated seconds of the upload check: transfer shown, then check shown (dossier 2.10).
const TRANSFER_SHOWN: f64 = 0.5;
const CHECK_SHOWN: f64 = 2.0;
/// Simulated seconds after which an abandoned upload is forgotten.
const TRANSFER_TIMEOUT: f64 = 120.0;
/// History ring of the firmware (dossier 2.11).
const HISTORY: usize = 50;

/// A file on its way in.
#[derive(Debug, Clone)]
pub struct Transfer {
    pub uuid: String,
    pub name: String,
    pub md5: String,
    pub received: u64,
    pub verify: bool,
    /// Simulated time of the last chunk.
    pub touched: f64,
    /// All bytes are there.
    pub complete: bool,
}

/// One line of history (Cmd 321).
#[derive(Debug, Clone)]
pub struct Record {
    pub task: String,
    pub name: String,
    pub begin: u64,
    pub end: u64,
    /// 1 finished, 2 error, 3 cancelled, 4 running.
    pub status: i64,
    pub layer: u32,
    pub layers: u32,
    pub seconds: u64,
    pub reason: i64,
    pub md5: String,
}

/// One Canvas tray.
#[derive(Debug, Clone)]
pub struct Tray {
    pub kind: &'static str,
    pub colour: &'static str,
    pub status: i64,
}

/// Counters that tests judge a client by.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    pub starts_received: u32,
    pub starts_accepted: u32,
    pub uploads: u32,
    pub chunks: u32,
    pub crashed: Option<String>,
    pub offences: Vec<String>,
    pub violations: Vec<String>,
}

/// Everything behind the lock.
pub struct Core {
    pub options: Options,
    pub machine: Machine,
    /// Part, auxiliary, chamber fan, percent.
    pub fans: [f64; 3],
    pub light: i64,
    pub rgb: Value,
    pub speed_pct: i64,
    pub position: [f64; 3],
    pub name: String,
    pub task: String,
    pub file: String,
    pub total_layer: u32,
    pub total_ticks: u64,
    pub layers_known: bool,
    pub ticks: f64,
    pub error_number: i64,
    pub platform: i64,
    pub timelapse: i64,
    pub video: bool,
    pub active_tray: i64,
    pub trays: Vec<Tray>,
    pub transfer: Option<Transfer>,
    pub corrupt: HashSet<String>,
    pub history: Vec<Record>,
    pub counters: Counters,
    pub log: Log,
    pub faults: super::faults::Active,
    /// Simulated seconds since the start.
    pub now: f64,
    pub powered: bool,
    stage: Stage,
    since: f64,
    homing_until: f64,
    swap: Option<(f64, i64)>,
    reason: i64,
    outbox: Vec<String>,
}

impl Core {
    pub fn new(options: &Options) -> Self {
        Self {
            machine: Machine::new(1),
            fans: [0.0; 3],
            light: 1,
            rgb: serde_json::json!([0, 0, 0]),
            speed_pct: 100,
            position: [202.0, 264.5, 24.59],
            name: options.name.clone(),
            task: String::new(),
            file: String::new(),
            total_layer: 0,
            total_ticks: 0,
            layers_known: false,
            ticks: 0.0,
            error_number: 0,
            platform: 0,
            timelapse: 0,
            video: false,
            active_tray: -1,
            trays: [("PLA", "#2850DF"), ("PLA", "#FFFFFF"), ("PETG", "#F32FF8"), ("?", "")]
                .map(|(kind, colour)| Tray { kind, colour, status: i64::from(kind != "?") })
                .to_vec(),
            transfer: None,
            corrupt: HashSet::new(),
            history: Vec::new(),
            counters: Counters::default(),
            log: Log::default(),
            faults: super::faults::Active::default(),
            now: 0.0,
            powered: true,
            stage: Stage::Idle,
            since: 0.0,
            homing_until: -1.0,
            swap: None,
            reason: 0,
            outbox: Vec::new(),
            options: options.clone(),
        }
    }

    pub fn violation(&mut self, what: impl Into<String>) {
        if self.counters.violations.len() < 200 {
            self.counters.violations.push(what.into());
        }
    }

    pub fn record(&mut self, client: &str, number: i64, body: Value) {
        let at = self.now;
        self.log.push(Received { at, client: client.to_owned(), number, body });
    }

    pub fn take_outbox(&mut self) -> Vec<String> {
        std::mem::take(&mut self.outbox)
    }

    pub fn crash(&mut self, frame: &str) {
        if self.counters.crashed.is_none() {
            self.counters.crashed = Some(frame.to_owned());
        }
        self.lose_print(19);
    }

    pub fn power_cut(&mut self) {
        self.powered = false;
        self.lose_print(19);
        self.machine.homed = false;
    }

    pub fn powered_on(&mut self) {
        self.powered = true;
        self.machine.power_cycle();
        self.enter(Stage::Idle);
    }

    /// The job is gone without a trace but a history record.
    fn lose_print(&mut self, reason: i64) {
        if self.machine.stage.busy() {
            self.close_record(2, reason);
        }
        self.machine.power_cycle();
        self.clear_job();
        self.transfer = None;
        self.video = false;
        self.fans = [0.0; 3];
        self.stage = Stage::Idle;
    }

    /// A job holds the machine, or a manual movement does.
    pub fn busy(&self) -> bool {
        self.machine.stage.busy() || self.homing() || self.transfer.is_some()
    }

    pub fn homing(&self) -> bool {
        self.now < self.homing_until
    }

    pub fn home(&mut self) {
        self.homing_until = self.now + 8.0;
    }

    /// Attributes are pushed to a new connection only now (dossier 2.3).
    pub fn pushes_attributes(&self) -> bool {
        let (current, sub) = self.codes();
        match current.first() {
            Some(0) => !matches!(sub, 8 | 14),
            Some(1) => !matches!(sub, 5 | 6 | 7 | 8 | 14),
            _ => false,
        }
    }

    /// Begins a job on a stored file.
    pub fn start_job(&mut self, name: &str, storage: &Storage, calibrate: bool) -> bool {
        let Some(entry) = storage.find(name) else { return false };
        self.machine.pace.loading = 6.0;
        self.machine.pace.homing = 2.0;
        self.machine.pace.levelling = if calibrate { 12.0 } else { 4.0 };
        self.machine.pace.cancelling = 14.0;
        if !self.machine.start(&entry.name, entry.facts.plan.clone()) {
            return false;
        }
        self.machine.speed = 1.0;
        self.speed_pct = 100;
        self.total_layer = entry.facts.layers.unwrap_or(0);
        self.total_ticks = entry.facts.seconds.unwrap_or(0.0) as u64;
        self.layers_known = entry.facts.layer_comments;
        self.ticks = 0.0;
        self.error_number = 0;
        self.reason = 0;
        self.file = entry.name.clone();
        self.task = Uuid::new_v4().to_string();
        let md5 = storage.path(&entry.name).and_then(|p| file_md5(&p).ok()).unwrap_or_default();
        self.history.insert(
            0,
            Record {
                task: self.task.clone(),
                name: entry.name,
                begin: unix_now(),
                end: 0,
                status: 4,
                layer: 0,
                layers: self.total_layer,
                seconds: self.total_ticks,
                reason: 0,
                md5,
            },
        );
        self.history.truncate(HISTORY);
        self.enter(Stage::Loading);
        true
    }

    /// Ignored while pausing, resuming or stopping, as the firmware does; false without a job.
    pub fn pause(&mut self) -> bool {
        self.machine.pause();
        self.machine.stage.busy()
    }

    pub fn resume(&mut self) -> bool {
        if self.machine.stage == Stage::Paused {
            let plan = self.machine.run.as_ref().map_or(0.0, |run| run.plan.nozzle);
            if let Some(nozzle) = self.machine.nozzle() {
                nozzle.target = plan;
                let gap = (plan - nozzle.actual).max(0.0) / nozzle.heat_rate;
                self.machine.pace.resuming = 2.0 + gap;
            }
            self.machine.resume();
        }
        self.machine.stage.busy()
    }

    pub fn cancel(&mut self) -> bool {
        let lost = self.machine.stage == Stage::Levelling && std::mem::take(&mut self.faults.lose_stop);
        if !lost && !matches!(self.machine.stage, Stage::Pausing | Stage::Resuming) {
            self.machine.cancel();
        }
        self.machine.stage.busy()
    }

    /// The runout sensor or the Canvas stops the print.
    pub fn interrupt(&mut self, reason: i64) -> bool {
        self.reason = reason;
        self.machine.pause()
    }

    pub fn swap(&mut self, tray: i64) -> bool {
        let printing = self.machine.stage == Stage::Printing;
        if printing {
            self.swap = Some((self.now, tray));
        }
        printing
    }

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

    fn enter(&mut self, stage: Stage) {
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

    fn clear_job(&mut self) {
        self.file.clear();
        self.task.clear();
    }

    fn close_record(&mut self, status: i64, reason: i64) {
        let layer = self.machine.run.as_ref().map_or(0, super::super::physics::Run::layer);
        let task = self.task.clone();
        if let Some(record) = self.history.iter_mut().find(|record| record.task == task) {
            record.status = status;
            record.reason = reason;
            record.layer = layer;
            record.end = unix_now();
        }
    }

    fn cool_while_paused(&mut self, stage: Stage) {
        if stage == Stage::Paused
            && self.now - self.since > PAUSED_HOT
            && let Some(nozzle) = self.machine.nozzle()
            && nozzle.target > PAUSED_NOZZLE
        {
            nozzle.target = PAUSED_NOZZLE;
            self.fans = [0.0, 0.0, 20.0];
        }
    }

    fn end_swap(&mut self) {
        if let Some((began, tray)) = self.swap
            && self.now - began > 12.0
        {
            self.active_tray = tray;
            self.swap = None;
        }
    }

    fn move_head(&mut self) {
        if self.machine.stage == Stage::Printing
            && let Some(run) = &self.machine.run
        {
            let turn = self.now * 0.7;
            let z = 0.2 * f64::from(run.layer().max(1));
            self.position = [128.0 + 10.0 * turn.cos(), 128.0 + 10.0 * turn.sin(), z];
        }
    }

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

    fn sub_status(&self) -> i64 {
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

    fn work_on_transfer(&mut self, storage: &Storage) {
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
        let right = !transfer.verify || file_md5(&partial).is_ok_and(|md5| md5 == transfer.md5);
        if right && fs::rename(&partial, &path).is_ok() {
            self.corrupt.remove(&transfer.name);
            self.counters.uploads += 1;
        } else {
            let _ = fs::remove_file(&partial);
            self.corrupt.insert(transfer.name);
            self.outbox.push(report::error(&self.options, 1).to_string());
        }
    }
}

/// Unix seconds.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
