//! What the simulated CC1 does: its machine, the walk through the SDCP states, file check, history.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::super::elegoo_life::unix_now;
use super::super::elegoo_storage::{Storage, Sum, file_md5};
use super::super::physics::{Machine, Stage};
use super::super::traffic::{Log, Received};
use super::Options;

/// History ring of the firmware (dossier 2.11).
const HISTORY: usize = 50;

/// A file on its way in.
#[derive(Debug, Clone)]
pub struct Transfer {
    pub uuid: String,
    pub name: String,
    pub md5: String,
    /// Of what was received.
    pub sum: Sum,
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
    /// A timelapse video is there.
    pub video: bool,
}

impl Record {
    pub fn video_url(&self) -> String {
        format!("/local/timelapse/{}.mp4", self.task)
    }
}

/// One Canvas tray.
#[derive(Debug, Clone)]
pub struct Tray {
    pub kind: &'static str,
    pub colour: &'static str,
    pub status: i64,
}

/// Counters that tests judge a client by.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Counters {
    pub starts_received: u32,
    pub starts_accepted: u32,
    /// Files received whole and verified.
    pub uploads: u32,
    pub chunks: u32,
    /// The frame that killed the process.
    pub crashed: Option<String>,
    /// Frames the real firmware does not survive.
    pub offences: Vec<String>,
    /// What a careful client does not do, though the printer survives it.
    pub violations: Vec<String>,
}

/// Everything behind the lock.
#[derive(Default)]
pub struct Core {
    pub options: Options,
    pub machine: Machine,
    /// Part, auxiliary, chamber fan, percent.
    pub fans: [f64; 3],
    pub light: i64,
    pub light_switched: Option<Instant>,
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
    /// Digests of the files that were received, by name.
    pub sums: HashMap<String, String>,
    pub history: Vec<Record>,
    pub counters: Counters,
    pub log: Log,
    pub faults: super::faults::Active,
    /// Simulated seconds since the start.
    pub now: f64,
    pub powered: bool,
    pub(super) stage: Stage,
    pub(super) since: f64,
    pub(super) homing_until: f64,
    pub(super) swap: Option<(f64, i64)>,
    pub(super) reason: i64,
    pub(super) outbox: Vec<String>,
}

impl Core {
    pub fn new(options: &Options) -> Self {
        Self {
            light: 1,
            rgb: serde_json::json!([0, 0, 0]),
            speed_pct: 100,
            position: [202.0, 264.5, 24.59],
            name: options.name.clone(),
            active_tray: -1,
            trays: [("PLA", "#2850DF"), ("PLA", "#FFFFFF"), ("PETG", "#F32FF8"), ("?", "")]
                .map(|(kind, colour)| Tray { kind, colour, status: i64::from(kind != "?") })
                .to_vec(),
            powered: true,
            homing_until: -1.0,
            options: options.clone(),
            ..Self::default()
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
        let of_disk = || storage.path(&entry.name).and_then(|p| file_md5(&p).ok()).unwrap_or_default();
        let md5 = self.sums.get(&entry.name).cloned().unwrap_or_else(of_disk);
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
                video: false,
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
}
