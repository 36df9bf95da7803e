//! AMS units, their slots, and the filament change sequence with its `ams_status` steps (dossier 3.12, 4.6).

use serde_json::{Map, Value};

use super::models::FILLED_AMS;
use super::printer::{Hms, Printer, print_object, stage};
use crate::sim::physics::Stage;

/// A slot of a unit. `spool` holds the tray fields of a real report, without `id` and `state`.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub spool: Option<Map<String, Value>>,
    /// Newer firmware sends `state`; bit 0 = spool present.
    pub has_state: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub id: u32,
    /// Unit fields of the real report, without `tray`.
    pub shape: Map<String, Value>,
    pub slots: Vec<Slot>,
    /// °C
    pub temperature: f64,
    /// Minutes of drying left, and its °C target.
    pub drying: Option<(f64, i64, String)>,
}

impl Unit {
    /// Bits 0 to 3 of `info`: 1 AMS, 2 Lite, 3 AMS 2 Pro, 4 HT; 0 where the model does not say.
    pub fn kind(&self) -> u32 {
        let info = self.shape.get("info").and_then(Value::as_str).unwrap_or("0");
        u32::from_str_radix(info, 16).unwrap_or(0) & 0xF
    }

    /// Position of a slot in `tray_exist_bits`.
    pub fn tray_bit(&self, slot: usize) -> u32 {
        match self.id {
            128.. => 16 + (self.id - 128),
            16 => 24 + slot as u32,
            id => id * 4 + slot as u32,
        }
    }

    /// Position in `ams_exist_bits`.
    pub fn unit_bit(&self) -> u32 {
        match self.id {
            128.. => 4 + (self.id - 128),
            16 => 12,
            id => id,
        }
    }

    /// Number of a slot in `tray_now`.
    pub fn tray_number(&self, slot: usize) -> u32 {
        match self.id {
            128.. => self.id,
            16 => slot as u32,
            id => id * 4 + slot as u32,
        }
    }
}

/// `tray_now` when nothing, or the external spool, is loaded.
pub(super) const NOTHING: u32 = 255;
pub(super) const EXTERNAL: u32 = 254;

/// Steps of a change: `ams_status` low byte and `stg_cur`.
const HEAT: (u16, i64) = (0x102, stage::NOZZLE_HEATING);
const RETRACT: (u16, i64) = (0x104, 22);
const FEED: (u16, i64) = (0x103, 24);
const PUSH: (u16, i64) = (0x106, 24);
const PURGE: (u16, i64) = (0x107, 4);
const STEP_SECONDS: f64 = 4.0;

#[derive(Debug, Clone)]
struct Change {
    steps: Vec<(u16, i64)>,
    at: usize,
    in_step: f64,
    /// The nozzle was cold before: it cools again afterwards.
    cool_after: bool,
    stuck: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Ams {
    pub units: Vec<Unit>,
    /// Units whose plug was pulled.
    pub unplugged: Vec<Unit>,
    /// Scalars of the `ams` object.
    pub shape: Map<String, Value>,
    pub now: u32,
    pub previous: u32,
    pub target: u32,
    pub version: u64,
    change: Option<Change>,
    /// A tag being read: unit index, slot, simulated seconds left.
    pub reading: Option<(usize, usize, f64)>,
    pub read_done: u32,
    pub jammed: bool,
    /// The external spool, as `vt_tray` or the last of `vir_slot`.
    pub external: Map<String, Value>,
}

impl Ams {
    /// The units of the captured report; where it shows only empty slots, all but the last are filled.
    pub fn from_template(print: &Map<String, Value>) -> Self {
        let mut shape = print.get("ams").and_then(Value::as_object).cloned().unwrap_or_default();
        let list = match shape.remove("ams") {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        let mut units: Vec<Unit> = list.iter().filter_map(unit).collect();
        if !units.iter().flat_map(|u| &u.slots).any(|s| s.spool.is_some()) {
            fill(&mut units);
        }
        let external = print.get("vt_tray").or_else(|| print.get("vir_slot").and_then(|v| v.get(0)));
        Self {
            units,
            unplugged: Vec::new(),
            shape,
            now: NOTHING,
            previous: NOTHING,
            target: NOTHING,
            version: 20,
            change: None,
            reading: None,
            read_done: 0,
            jammed: false,
            external: external.and_then(Value::as_object).cloned().unwrap_or_default(),
        }
    }

    /// Unit index and slot of a tray number.
    pub fn locate(&self, tray: u32) -> Option<(usize, usize)> {
        self.units.iter().enumerate().find_map(|(index, unit)| {
            (0..unit.slots.len()).find(|slot| unit.tray_number(*slot) == tray).map(|slot| (index, slot))
        })
    }

    /// The slot of a tray number.
    pub fn slot(&mut self, tray: u32) -> Option<&mut Slot> {
        let (unit, slot) = self.locate(tray)?;
        self.units.get_mut(unit)?.slots.get_mut(slot)
    }

    /// `ams_status` while changing or reading.
    pub fn status(&self) -> Option<u16> {
        if let Some(change) = &self.change {
            return change.steps.get(change.at).map(|step| step.0);
        }
        self.reading.map(|_| 0x201)
    }

    /// `stg_cur` while changing.
    pub fn stage(&self) -> Option<i64> {
        self.change.as_ref().and_then(|change| change.steps.get(change.at)).map(|step| step.1)
    }

    pub fn changing(&self) -> bool {
        self.change.is_some()
    }

    /// Lets the sequence under way end where it is.
    pub fn stop(&mut self) {
        self.change = None;
        self.target = self.now;
    }

    /// Begins to load `target` (255 = unload).
    pub fn begin(&mut self, target: u32, cold: bool) {
        let mut steps = vec![HEAT];
        if self.now != NOTHING {
            steps.push(RETRACT);
        }
        if target != NOTHING {
            steps.extend([FEED, PUSH, PURGE]);
        }
        self.previous = self.now;
        self.target = target;
        self.change = Some(Change { steps, at: 0, in_step: 0.0, cool_after: cold, stuck: false });
    }

    /// `ams_control resume`: the step that was stuck is tried again.
    pub fn retry(&mut self) -> bool {
        let Some(change) = &mut self.change else { return false };
        change.stuck = false;
        change.in_step = 0.0;
        true
    }
}

fn unit(value: &Value) -> Option<Unit> {
    let mut shape = value.as_object()?.clone();
    let id = shape.get("id")?.as_str()?.parse().ok()?;
    let trays = match shape.remove("tray") {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let slots = trays.iter().filter_map(Value::as_object).map(slot).collect();
    let temperature = shape.get("temp").and_then(Value::as_str).and_then(|t| t.parse().ok()).unwrap_or(25.0);
    Some(Unit { id, shape, slots, temperature, drying: None })
}

fn slot(tray: &Map<String, Value>) -> Slot {
    let mut spool = tray.clone();
    spool.remove("id");
    let has_state = spool.remove("state").is_some();
    Slot { spool: spool.contains_key("tray_type").then_some(spool), has_state }
}

/// RRGGBBAA of the spools put in.
const COLOURS: [&str; 4] = ["FFFFFFFF", "F27818FF", "0A2CA5FF", "161616FF"];

/// Puts spools of a captured report into empty units, except into the last slot of each.
fn fill(units: &mut [Unit]) {
    let donor = print_object(FILLED_AMS);
    let trays = donor.get("ams").and_then(|a| a.pointer("/ams/0/tray")).and_then(Value::as_array);
    let spools: Vec<Slot> =
        trays.map(|list| list.iter().filter_map(Value::as_object).map(slot).collect()).unwrap_or_default();
    for unit in units {
        let last = unit.slots.len().saturating_sub(1).max(1);
        for ((slot, spool), colour) in unit.slots.iter_mut().take(last).zip(&spools).zip(COLOURS) {
            slot.spool = spool.spool.clone();
            if let Some(spool) = &mut slot.spool {
                spool.insert("tray_color".into(), colour.into());
                spool.insert("cols".into(), vec![colour].into());
            }
        }
    }
}

impl Printer {
    /// Begins to load the first filament the job maps.
    pub(super) fn load_job_filament(&mut self) {
        match self.job.tray {
            // Put in by hand before the start: nothing is fed.
            Some(EXTERNAL) => (self.ams.now, self.ams.target) = (EXTERNAL, EXTERNAL),
            Some(tray) if tray != self.ams.now => self.ams.begin(tray, false),
            _ => {}
        }
    }

    pub(super) fn ams_tick(&mut self, dt: f64) {
        self.dry(dt);
        if let Some((unit, slot, left)) = self.ams.reading {
            self.ams.reading = (left > dt).then_some((unit, slot, left - dt));
            if left <= dt
                && let Some(u) = self.ams.units.get(unit)
            {
                self.ams.read_done |= 1 << u.tray_bit(slot);
                self.ams.version += 1;
            }
        }
        let Some(mut change) = self.ams.change.take() else { return };
        let hot = self.machine.nozzle().is_some_and(|nozzle| nozzle.actual >= 170.0);
        if !change.stuck && self.machine.stage != Stage::Paused {
            change.in_step += dt;
        }
        let step = change.steps.get(change.at).copied();
        if step == Some(HEAT)
            && let Some(nozzle) = self.machine.nozzle()
            && nozzle.target < 170.0
        {
            nozzle.target = 220.0;
        }
        if step == Some(FEED)
            && self.ams.target != EXTERNAL
            && self.ams.jammed
            && !change.stuck
            && change.in_step > 1.0
        {
            change.stuck = true;
            self.jam();
        }
        let ready = if step == Some(HEAT) { hot } else { change.in_step >= STEP_SECONDS };
        if ready && !change.stuck {
            change.at += 1;
            change.in_step = 0.0;
            if step == Some(RETRACT) {
                self.ams.now = NOTHING;
            }
        }
        if change.at < change.steps.len() {
            self.ams.change = Some(change);
            return;
        }
        self.ams.now = self.ams.target;
        self.ams.version += 1;
        if change.cool_after
            && !self.machine.stage.busy()
            && let Some(nozzle) = self.machine.nozzle()
        {
            nozzle.target = 0.0;
        }
    }

    /// Feeding failed: the printer asks for help and a job pauses (dossier 3.9: 1200_8006 on the AMS Lite).
    fn jam(&mut self) {
        let located = self.ams.locate(self.ams.target);
        let unit = located.and_then(|(unit, _)| self.ams.units.get(unit));
        let lite = unit.is_some_and(|unit| matches!(unit.kind(), 2 | 5));
        let instance = unit.map_or(0, |unit| unit.id & 0x7);
        let module: u32 = if lite { 0x12 } else { 0x07 };
        self.print_error = (module << 24) | (instance << 16) | 0x8006;
        self.raise(Hms { attr: (module << 24) | (instance << 16) | 0x2000, code: 0x0002_0002 });
        self.pause(stage::AMS_LOST);
    }

    fn dry(&mut self, dt: f64) {
        for unit in &mut self.ams.units {
            let goal = unit.drying.as_ref().map_or(25.0, |(_, target, _)| *target as f64);
            unit.temperature += (goal - unit.temperature) * (dt * 0.01).min(1.0);
            if let Some((minutes, _, _)) = &mut unit.drying {
                *minutes -= dt / 60.0;
                if *minutes <= 0.0 {
                    unit.drying = None;
                }
            }
        }
    }
}
