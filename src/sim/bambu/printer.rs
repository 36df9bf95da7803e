//! The simulated printer itself: its machine, its job, its errors and settings, in Bambu's words. No sockets.

use serde_json::{Map, Value};

use super::ams::Ams;
use super::gcode::Queue;
use super::job::{Job, Pending};
use super::models::Model;
use super::truth::Counters;
use crate::sim::physics::{Machine, Stage};

/// One entry of `hms`: `attr` and `code` as in dossier 3.9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hms {
    pub attr: u32,
    pub code: u32,
}

/// HMS 0500_0500_0001_0007: an unsigned command was refused (dossier 4.8).
pub(super) const VERIFY_FAILED: Hms = Hms { attr: 0x0500_0500, code: 0x0001_0007 };

/// `print_error` values (dossier 3.9).
pub(super) mod error {
    pub const CANCELLED: u32 = 0x0300_400C;
    pub const UNREADABLE_FILE: u32 = 0x0500_4003;
    pub const BUSY: u32 = 0x0500_4004;
    pub const WRONG_NOZZLE: u32 = 0x0500_4047;
    pub const EXTERNAL_RUNOUT: u32 = 0x0300_8015;
    pub const MAPPING: u32 = 0x0700_8012;
    pub const NO_AMS: u32 = 0x07FF_8012;
}

/// `stg_cur` values (dossier 3.6).
pub(super) mod stage {
    pub const PRINTING: i64 = 0;
    pub const LEVELLING: i64 = 1;
    pub const BED_HEATING: i64 = 2;
    pub const SWEEPING: i64 = 3;
    pub const RUNOUT: i64 = 6;
    pub const NOZZLE_HEATING: i64 = 7;
    pub const HOMING: i64 = 13;
    pub const CLEANING: i64 = 14;
    pub const USER_PAUSE: i64 = 16;
    pub const AMS_LOST: i64 = 26;
    pub const GCODE_PAUSE: i64 = 30;
}

/// Everything the printer knows, rebuilt by a power cycle.
#[derive(Debug)]
pub(super) struct Printer {
    pub model: &'static Model,
    pub serial: String,
    /// `print` object of the captured report of this model: decides which fields exist and of which type they are.
    pub template: Map<String, Value>,
    pub machine: Machine,
    /// Real seconds since power-on: the clock of everything that is protocol and not physics.
    pub wall: f64,
    /// Simulated seconds since power-on.
    pub sim: f64,
    pub job: Job,
    pub pending: Option<Pending>,
    /// `stg_cur` claimed by `M1002 gcode_claim_action`.
    pub claimed: Option<i64>,
    /// `stg_cur` while paused.
    pub pause_stage: i64,
    pub stages: Vec<i64>,
    pub print_error: u32,
    pub error_clears_at: Option<f64>,
    pub hms: Vec<Hms>,
    /// Part, auxiliary, chamber; 0 to 255.
    pub fans: [u8; 3],
    pub lights: Vec<(String, String)>,
    pub speed_level: u8,
    pub chamber_target: f64,
    pub ams: Ams,
    pub queue: Queue,
    /// Bits of `home_flag` that options set (dossier 3.10).
    pub home_flag: u32,
    /// Bits of `cfg` (dossier 3.11).
    pub cfg: u64,
    pub xcam: Map<String, Value>,
    pub ipcam: Map<String, Value>,
    pub nozzle_type: Option<String>,
    pub nozzle_diameter: f64,
    pub airduct_mode: i64,
    pub gated: bool,
    pub door_open: bool,
    pub storage: bool,
    /// get_version names neither product nor project.
    pub anonymous: bool,
    /// An external start that takes this many real seconds longer (fault `delayed_start`).
    pub start_delay: f64,
    /// `M1002 gcode_claim_action` does nothing.
    pub ignores_claims: bool,
    /// `subtask_id` keeps what it was when a job comes.
    pub keeps_ids: bool,
    /// What deltas keep showing of progress until the next job prints: percent, minutes, layer, layers.
    pub shown: (i64, i64, i64, i64),
    pub sequence: u64,
    pub counters: Counters,
}

impl Printer {
    /// A printer just switched on. The tables are compiled in, so a bad fixture gives an empty template and the
    /// tests below notice.
    pub fn new(model: &'static Model, serial: &str, gated: bool) -> Self {
        let template = print_object(model.report);
        let part = |key: &str| template.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
        let lights = template.get("lights_report").and_then(Value::as_array).map(|list| {
            let word = |light: &Value, key: &str| {
                light.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            list.iter().map(|light| (word(light, "node"), word(light, "mode"))).collect()
        });
        let number = |key: &str| template.get(key).and_then(Value::as_i64).unwrap_or(0);
        let cfg = template.get("cfg").and_then(Value::as_str).unwrap_or("0");
        Self {
            model,
            serial: serial.to_owned(),
            machine: Machine::new(model.nozzles),
            wall: 0.0,
            sim: 0.0,
            job: Job::default(),
            pending: None,
            claimed: None,
            pause_stage: stage::USER_PAUSE,
            stages: Vec::new(),
            print_error: 0,
            error_clears_at: None,
            hms: Vec::new(),
            fans: [0; 3],
            lights: lights.unwrap_or_default(),
            speed_level: 2,
            chamber_target: 0.0,
            ams: Ams::from_template(&template),
            queue: Queue::default(),
            home_flag: number("home_flag") as u32 & !0b111 & !(1 << 23),
            cfg: u64::from_str_radix(cfg, 16).unwrap_or(0),
            xcam: part("xcam"),
            ipcam: part("ipcam"),
            nozzle_type: None,
            nozzle_diameter: 0.4,
            airduct_mode: 0,
            gated,
            door_open: false,
            storage: true,
            start_delay: 0.0,
            ignores_claims: false,
            keeps_ids: false,
            anonymous: false,
            shown: (0, 0, 0, 0),
            sequence: 2021,
            counters: Counters::default(),
            template,
        }
    }

    /// Power cut: job, errors, targets and claimed stages are lost; spools and settings stay.
    pub fn power_cycle(&mut self) {
        let fresh = Printer::new(self.model, &self.serial, self.gated);
        let old = std::mem::replace(self, fresh);
        self.machine.bed.actual = old.machine.bed.actual;
        for (new, was) in self.machine.nozzles.iter_mut().zip(&old.machine.nozzles) {
            new.actual = was.actual;
        }
        self.ams = old.ams;
        self.ams.stop();
        self.cfg = old.cfg;
        self.home_flag = old.home_flag & !0b111;
        self.nozzle_type = old.nozzle_type;
        self.nozzle_diameter = old.nozzle_diameter;
        self.door_open = old.door_open;
        self.storage = old.storage;
        self.counters = old.counters;
    }

    /// `gcode_state` (dossier 3.5).
    pub fn gcode_state(&self) -> &'static str {
        match self.machine.stage {
            Stage::Idle => "IDLE",
            Stage::Loading => "PREPARE",
            Stage::Heating | Stage::Homing | Stage::Levelling | Stage::Printing => "RUNNING",
            Stage::Pausing | Stage::Cancelling => "RUNNING",
            Stage::Paused | Stage::Resuming => "PAUSE",
            Stage::Finished => "FINISH",
            Stage::Cancelled | Stage::Failed => "FAILED",
        }
    }

    /// `stg_cur` (dossier 3.6).
    pub fn stage(&self) -> i64 {
        match self.machine.stage {
            Stage::Heating if !self.machine.bed.reached() => stage::BED_HEATING,
            Stage::Heating => stage::NOZZLE_HEATING,
            Stage::Homing => stage::HOMING,
            Stage::Levelling => stage::LEVELLING,
            Stage::Printing if self.job.print_type == "system" => self.calibration_stage(),
            Stage::Printing | Stage::Pausing | Stage::Cancelling | Stage::Loading => {
                self.claimed.or(self.ams.stage()).unwrap_or(stage::PRINTING)
            }
            Stage::Paused | Stage::Resuming => self.pause_stage,
            Stage::Idle | Stage::Finished | Stage::Cancelled | Stage::Failed => {
                self.claimed.or(self.ams.stage()).unwrap_or(self.model.idle_stage)
            }
        }
    }

    fn calibration_stage(&self) -> i64 {
        match self.machine.run.as_ref().map_or(0.0, |run| run.progress()) {
            p if p < 0.33 => stage::CLEANING,
            p if p < 0.66 => stage::SWEEPING,
            _ => stage::LEVELLING,
        }
    }

    /// Lets `real` seconds go by, `speed` times as much for the machine.
    pub fn tick(&mut self, real: f64, speed: f64) {
        self.wall += real;
        let steps = (real * speed / 0.5).ceil().clamp(1.0, 600.0);
        let dt = real * speed / steps;
        for _ in 0..steps as u32 {
            self.sim += dt;
            let before = self.machine.stage;
            self.machine.tick(dt);
            self.ams_tick(dt);
            self.feed();
            self.run_queue();
            self.follow(before);
        }
        self.start_pending();
        if self.error_clears_at.is_some_and(|at| self.wall >= at) {
            self.error_clears_at = None;
            self.print_error = 0;
        }
        self.remember_progress();
    }

    /// What a change of the machine's stage means outside the machine.
    fn follow(&mut self, before: Stage) {
        let now = self.machine.stage;
        if now == before {
            return;
        }
        match now {
            Stage::Heating if before == Stage::Loading => self.load_job_filament(),
            Stage::Cancelled => {
                self.print_error = error::CANCELLED;
                self.error_clears_at = Some(self.wall + 2.0);
                self.after_job();
            }
            Stage::Failed | Stage::Finished => self.after_job(),
            _ => {}
        }
        if now.busy() {
            let stage = self.stage();
            if stage > 0 && !self.stages.contains(&stage) {
                self.stages.push(stage);
            }
        }
    }

    fn after_job(&mut self) {
        self.machine.heaters_off();
        self.fans = [0; 3];
        self.claimed = None;
        self.queue.clear();
        self.ams.stop();
    }

    fn remember_progress(&mut self) {
        let Some(run) = &self.machine.run else { return };
        let (percent, left) = ((run.progress() * 100.0) as i64, run.remaining(self.machine.speed));
        let (layer, layers) = (i64::from(run.layer()), i64::from(run.plan.layers));
        match self.machine.stage {
            Stage::Heating | Stage::Homing | Stage::Levelling | Stage::Printing => {
                self.shown = (percent.min(99), (left / 60.0).ceil() as i64, layer, layers);
            }
            Stage::Finished => self.shown = (100, 0, layers, layers),
            _ => {}
        }
    }

    /// Stops the job with an error that stays on the screen.
    pub fn fail(&mut self, error: u32) {
        let before = self.machine.stage;
        self.machine.fail();
        self.print_error = error;
        self.error_clears_at = None;
        self.follow(before);
    }

    /// Pauses with a reason; false when nothing runs.
    pub fn pause(&mut self, stage: i64) -> bool {
        let paused = self.machine.pause();
        if paused {
            self.pause_stage = stage;
        }
        paused
    }

    /// Adds an HMS entry once.
    pub fn raise(&mut self, hms: Hms) {
        if !self.hms.contains(&hms) {
            self.hms.push(hms);
        }
    }

    /// Speed profile 1 to 4 (dossier 3.5: 50, 100, 124, 166 %).
    pub fn set_speed_level(&mut self, level: u8) {
        self.speed_level = level;
        self.machine.speed = f64::from(self.speed_percent()) / 100.0;
    }

    /// `spd_mag`.
    pub fn speed_percent(&self) -> u16 {
        match self.speed_level {
            1 => 50,
            3 => 124,
            4 => 166,
            _ => 100,
        }
    }
}

/// The object under `print` of a captured payload.
pub(super) fn print_object(text: &str) -> Map<String, Value> {
    let Ok(Value::Object(mut root)) = serde_json::from_str(text) else { return Map::new() };
    match root.remove("print") {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}
