//! What the simulated CC2 does: its machine, sub-states, operations, late answers and deltas.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::canvas::{Canvas, Swap, SwapView};
use super::outgoing::Outgoing;
use super::registry::{Limits, Registry};
use super::{Options, faults};
use crate::sim::elegoo_storage::Storage;
use crate::sim::physics::{Machine, Run, Stage};
use crate::sim::traffic::{Log, Received};

/// Simulated seconds a finished upload keeps the machine in status 11.
const TRANSFER_SHOWN: f64 = 1.0;
/// Simulated seconds after which an abandoned upload is forgotten.
const TRANSFER_TIMEOUT: f64 = 120.0;
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
}

/// Counters that tests judge a client by.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    pub starts_received: u32,
    pub starts_accepted: u32,
    pub uploads: u32,
    pub chunks: u32,
    pub swallowed: u32,
    pub muted: u32,
    pub registrations: u32,
    pub registrations_refused: u32,
    pub forbidden: Vec<String>,
    pub violations: Vec<String>,
}

/// Everything behind the lock.
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
    pub layers_known: bool,
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
    stage: Stage,
    since: f64,
    pub outgoing: Outgoing,
}

impl Core {
    pub fn new(options: &Options) -> Self {
        Self {
            machine: Machine::new(1),
            registry: Registry::default(),
            fans: [0.0; 3],
            led: 1,
            speed_mode: 1,
            position: [52.5, 264.0, 80.0],
            homed: false,
            host_name: options.host_name.clone(),
            file: String::new(),
            uuid: String::new(),
            layers_known: false,
            print_duration: 0.0,
            mesh: true,
            detected: true,
            exceptions: Vec::new(),
            paused_sub: 2502,
            stopped: false,
            recovery: None,
            canvas: Canvas::default(),
            swap: None,
            swaps_due: Vec::new(),
            mapping: Vec::new(),
            operation: None,
            transfer: None,
            history: Vec::new(),
            counters: Counters::default(),
            log: Log::default(),
            faults: faults::Active::default(),
            now: 0.0,
            stage: Stage::Idle,
            since: 0.0,
            outgoing: Outgoing::default(),
            options: options.clone(),
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
        self.uuid = Uuid::new_v4().to_string();
        let (id, begin) = (self.uuid.clone(), unix_now());
        self.history.push(Task { id, name: entry.name, status: 4, begin, end: 0 });
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

    fn enter(&mut self, stage: Stage) {
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

    fn clear_job(&mut self) {
        self.file.clear();
        self.uuid.clear();
        self.print_duration = 0.0;
    }

    fn close_task(&mut self, status: i64) {
        let uuid = self.uuid.clone();
        if let Some(task) = self.history.iter_mut().find(|task| task.id == uuid) {
            task.status = status;
            task.end = unix_now();
        }
    }

    fn work_on_swaps(&mut self) {
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

    fn end_operation(&mut self) {
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

    fn end_transfer(&mut self) {
        let over = self.transfer.as_ref().is_some_and(|transfer| {
            self.now - transfer.touched > if transfer.complete { TRANSFER_SHOWN } else { TRANSFER_TIMEOUT }
        });
        if over {
            self.transfer = None;
        }
    }

    fn move_head(&mut self) {
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
        if let Some(operation) = &self.operation {
            let part = (self.now - operation.began) / operation.lasts.max(0.001);
            let step = (part * operation.subs.len() as f64) as usize;
            let sub = operation.subs.get(step).or(operation.subs.last()).copied();
            return (operation.status, sub.unwrap_or(0));
        }
        if self.transfer.is_some() { (11, 3000) } else { (1, 0) }
    }

    fn sub_status(&self) -> i64 {
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

/// Unix seconds.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Seconds from now, capped at a day.
pub fn after(seconds: f64) -> Instant {
    Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0))
}
