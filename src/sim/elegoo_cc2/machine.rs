//! What the simulated CC2 does: its machine, sub-states, operations, late answers and deltas.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::canvas::{Canvas, Swap, SwapView};
use super::outgoing::Outgoing;
use super::registry::{Limits, Registry};
use super::{Options, faults};
use crate::sim::elegoo_life::unix_now;
use crate::sim::elegoo_storage::{Storage, Sum};
use crate::sim::physics::{Machine, Run, Stage};
use crate::sim::traffic::{Log, Received};

/// Tasks kept in the history (dossier 3.6, method 1036).
const HISTORY: usize = 50;
/// Speed factors of modes 0 to 3 (dossier 3.7).
const SPEEDS: [f64; 4] = [0.5, 1.0, 1.3, 1.6];

/// A routine that holds the idle machine: homing, levelling, loading.
#[derive(Debug, Clone)]
pub struct Operation {
    pub status: i64,
    /// Passed through one after the other.
    pub subs: &'static [i64],
    pub began: f64,
    /// Simulated seconds.
    pub lasts: f64,
    pub end: OperationEnd,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OperationEnd {
    Nothing,
    Homed,
    MeshMade,
    Loaded,
    Unloaded,
    TrayLoaded(i64),
    TrayUnloaded,
}

/// A file on its way in.
#[derive(Debug, Clone)]
pub struct Transfer {
    pub name: String,
    /// Of what was received.
    pub sum: Sum,
    pub received: u64,
    pub touched: f64,
    pub complete: bool,
}

/// One task of method 1036.
#[derive(Debug, Clone)]
pub struct Task {
    pub id: String,
    pub name: String,
    /// 1 completed, 2 stopped, 4 running.
    pub status: i64,
    pub begin: u64,
    pub end: u64,
    /// 0 none, 1 captured, 2 rendered.
    pub video: i64,
}

impl Task {
    pub fn video_url(&self) -> String {
        format!("/local/timelapse/{}.mp4", self.id)
    }
}

/// Counters that tests judge a client by.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Counters {
    pub starts_received: u32,
    pub starts_accepted: u32,
    /// Files received whole and verified.
    pub uploads: u32,
    pub chunks: u32,
    /// Heartbeats answered.
    pub pings: u32,
    /// Requests lost to a burst, and requests of clients that were not registered.
    pub swallowed: u32,
    pub muted: u32,
    pub registrations: u32,
    pub registrations_refused: u32,
    /// Requests for access-code or firmware methods, which no client may send.
    pub forbidden: Vec<String>,
    /// What a careful client does not do.
    pub violations: Vec<String>,
}

/// Everything behind the lock.
#[derive(Default)]
pub struct Core {
    pub options: Options,
    pub machine: Machine,
    pub registry: Registry,
    /// Part, auxiliary, chamber fan, 0 to 255.
    pub fans: [f64; 3],
    pub led: i64,
    pub speed_mode: i64,
    pub position: [f64; 3],
    pub homed: bool,
    pub host_name: String,
    pub file: String,
    pub uuid: String,
    /// The id of the run before.
    pub last_uuid: String,
    pub layers_known: bool,
    /// The job is filmed.
    pub timelapse: bool,
    pub print_duration: f64,
    pub mesh: bool,
    pub detected: bool,
    pub exceptions: Vec<i64>,
    pub paused_sub: i64,
    pub stopped: bool,
    pub recovery: Option<Run>,
    pub canvas: Canvas,
    pub swap: Option<Swap>,
    pub swaps_due: Vec<(f64, i64)>,
    /// Trays of the job by tool.
    pub mapping: Vec<i64>,
    pub operation: Option<Operation>,
    pub transfer: Option<Transfer>,
    pub history: Vec<Task>,
    pub counters: Counters,
    pub log: Log,
    pub faults: faults::Active,
    /// Simulated seconds since the start.
    pub now: f64,
    pub(super) stage: Stage,
    pub(super) since: f64,
    pub outgoing: Outgoing,
}

impl Core {
    pub fn new(options: &Options) -> Self {
        Self {
            led: 1,
            speed_mode: 1,
            position: [52.5, 264.0, 80.0],
            host_name: options.host_name.clone(),
            mesh: true,
            detected: true,
            paused_sub: 2502,
            options: options.clone(),
            ..Self::default()
        }
    }

    pub fn limits(&self) -> Limits {
        Limits {
            clients: self.options.client_limit,
            ttl: self.options.registration_ttl,
            dead_slot: self.options.dead_slot,
            burst_window: self.options.burst_window,
            burst_deaf: self.options.burst_deaf,
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

    pub fn power_cut(&mut self) {
        if self.machine.stage.busy() {
            self.recovery = self.machine.run.clone();
        }
        self.machine.power_cycle();
        self.homed = false;
        self.stopped = false;
        self.swap = None;
        self.operation = None;
        self.transfer = None;
        self.exceptions.clear();
        self.outgoing = Outgoing::default();
        self.registry.clear();
        self.stage = Stage::Idle;
    }

    pub fn powered_on(&mut self) {
        self.speed_mode = 1;
        self.fans = [0.0; 3];
    }

    /// A job, an operation, an upload or an emergency stop holds the machine.
    pub fn busy(&self) -> bool {
        self.machine.stage.busy()
            || self.operation.is_some()
            || self.transfer.is_some()
            || self.stopped
            || self.recovery.is_some()
    }

    /// Begins a job on a stored file; `level` says whether the bed is levelled first.
    pub fn start_job(&mut self, name: &str, storage: &Storage, level: bool) -> bool {
        let Some(entry) = storage.find(name) else { return false };
        self.machine.pace.loading = 3.0;
        self.machine.pace.levelling = if level { 20.0 } else { 1.0 };
        self.machine.pace.cancelling = 12.0;
        self.machine.pace.pausing = 4.0;
        if !self.machine.start(&entry.name, entry.facts.plan.clone()) {
            return false;
        }
        self.set_speed(1);
        self.exceptions.clear();
        self.layers_known = entry.facts.layer_commands;
        self.print_duration = 0.0;
        self.paused_sub = 2502;
        self.file = entry.name.clone();
        let before = std::mem::replace(&mut self.uuid, Uuid::new_v4().to_string());
        if !before.is_empty() {
            self.last_uuid = before;
        }
        let (id, begin) = (self.uuid.clone(), unix_now());
        self.history.push(Task { id, name: entry.name, status: 4, begin, end: 0, video: 0 });
        if self.history.len() > HISTORY {
            self.history.remove(0);
        }
        self.enter(Stage::Loading);
        true
    }

    /// Goes on after a power cut where the print had stopped.
    pub fn recover(&mut self, storage: &Storage) -> bool {
        let Some(run) = self.recovery.take() else { return false };
        let done = self.start_job(&run.file, storage, false);
        if done && let Some(current) = &mut self.machine.run {
            current.printed = run.printed;
        }
        done
    }

    pub fn resume(&mut self) -> bool {
        let plan = self.machine.run.as_ref().map_or(0.0, |run| run.plan.nozzle);
        if self.machine.stage == Stage::Paused
            && let Some(nozzle) = self.machine.nozzle()
        {
            nozzle.target = plan;
            let gap = (plan - nozzle.actual).max(0.0) / nozzle.heat_rate;
            self.machine.pace.resuming = 4.0 + gap;
            self.exceptions.clear();
        }
        self.machine.resume()
    }

    /// Runout (2505) or Canvas fault (2506).
    pub fn interrupt(&mut self, sub: i64, exception: i64) -> bool {
        let done = self.machine.pause();
        if done {
            self.paused_sub = sub;
            self.exceptions = vec![exception];
        }
        done
    }

    pub fn emergency_stop(&mut self) {
        if self.machine.stage.busy() {
            self.close_task(2);
        }
        self.machine.power_cycle();
        self.stage = Stage::Idle;
        self.clear_job();
        self.homed = false;
        self.operation = None;
        self.swap = None;
        self.stopped = true;
    }

    pub fn set_speed(&mut self, mode: i64) {
        self.speed_mode = mode;
        let factor = usize::try_from(mode).ok().and_then(|mode| SPEEDS.get(mode)).copied();
        self.machine.speed = factor.unwrap_or(1.0);
    }

    pub fn swap(&mut self, tray: i64) -> bool {
        let possible = self.machine.stage == Stage::Printing && self.swap.is_none();
        if possible {
            self.set_speed(1);
            self.swap = Some(Swap { began: self.now, tray });
        }
        possible
    }

    pub fn swap_view(&self) -> Option<SwapView> {
        self.swap.and_then(|swap| Swap::view(self.now - swap.began))
    }

    pub fn operate(&mut self, status: i64, subs: &'static [i64], lasts: f64, end: OperationEnd) {
        self.operation = Some(Operation { status, subs, began: self.now, lasts, end });
    }
}
