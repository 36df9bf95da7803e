//! What feeds a running job: its tool changes, an equal spool that takes over, spools and units that come and go.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ams::{EXTERNAL, NOTHING, Unit};
use super::printer::{Hms, Printer, error, stage};
use crate::sim::physics::Stage;

/// Bits of `home_flag` and `cfg` (dossier 3.10, 3.11): a spool that runs empty is followed by an equal one.
const AUTO_REFILL: (u32, u32) = (10, 18);

/// A slot as the machine itself knows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SlotTruth {
    pub unit: u32,
    pub slot: usize,
    /// Number in `tray_now`.
    pub tray: u32,
    /// Material, colour `RRGGBBAA` and tag of the spool; `None` for an empty slot.
    pub spool: Option<SpoolTruth>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpoolTruth {
    pub material: String,
    pub color: String,
    pub tag: String,
}

/// A unit as the machine itself knows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnitTruth {
    pub unit: u32,
    /// °C
    pub temperature: f64,
    /// Minutes of drying left, and its °C target.
    pub drying: Option<(f64, i64)>,
}

/// What is put into a slot.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SpoolIn {
    pub material: String,
    /// `RRGGBBAA`.
    pub color: String,
    /// `tray_uuid` of its tag; none without one.
    #[serde(default)]
    pub tag: Option<String>,
}

/// The job's trays after the first take turns, each for the same part of the print (a real file names the moments).
pub(super) fn changes(mapping: &[i64]) -> Vec<(f64, u32)> {
    let trays: Vec<u32> = mapping.iter().filter_map(|tray| u32::try_from(*tray).ok()).collect();
    let count = trays.len() as f64;
    trays.into_iter().enumerate().skip(1).map(|(turn, tray)| (turn as f64 / count, tray)).collect()
}

pub(super) fn slots(units: &[Unit]) -> Vec<SlotTruth> {
    let of_unit = |unit: &Unit| -> Vec<SlotTruth> {
        let truth = |(slot, held): (usize, &super::ams::Slot)| SlotTruth {
            unit: unit.id,
            slot,
            tray: unit.tray_number(slot),
            spool: held.spool.as_ref().map(spool),
        };
        unit.slots.iter().enumerate().map(truth).collect()
    };
    units.iter().flat_map(of_unit).collect()
}

pub(super) fn units(units: &[Unit]) -> Vec<UnitTruth> {
    let truth = |unit: &Unit| UnitTruth {
        unit: unit.id,
        temperature: unit.temperature,
        drying: unit.drying.as_ref().map(|(minutes, target, _)| (*minutes, *target)),
    };
    units.iter().map(truth).collect()
}

fn spool(fields: &Map<String, Value>) -> SpoolTruth {
    let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    SpoolTruth { material: text("tray_type"), color: text("tray_color"), tag: text("tray_uuid") }
}

/// What makes two spools stand in for each other.
fn alike(fields: &Map<String, Value>) -> Vec<Option<&Value>> {
    ["tray_info_idx", "tray_type", "tray_color"].iter().map(|key| fields.get(*key)).collect()
}

/// `filam_bak`: bit masks of slots with equal spools.
pub(super) fn backups(units: &[Unit]) -> Vec<u32> {
    let held: Vec<(u32, &Map<String, Value>)> = units
        .iter()
        .flat_map(|unit| unit.slots.iter().enumerate().map(move |(slot, held)| (unit.tray_bit(slot), held)))
        .filter_map(|(bit, held)| Some((bit, held.spool.as_ref()?)))
        .collect();
    let group = |fields| {
        held.iter()
            .filter(|(_, other)| alike(other) == alike(fields))
            .fold(0, |mask, (bit, _)| mask | 1 << bit)
    };
    let mut masks: Vec<u32> =
        held.iter().map(|(_, fields)| group(*fields)).filter(|mask: &u32| mask.count_ones() > 1).collect();
    masks.sort_unstable();
    masks.dedup();
    masks
}

impl Printer {
    /// Changes the tray when its turn has come; nothing is printed meanwhile.
    pub(super) fn feed(&mut self) {
        if self.machine.stage != Stage::Printing {
            return;
        }
        let progress = self.machine.run.as_ref().map_or(0.0, |run| run.progress());
        if !self.ams.changing() && self.job.changes_due.first().is_some_and(|(at, _)| progress >= *at) {
            let (_, tray) = self.job.changes_due.remove(0);
            self.job.tray = Some(tray);
            if tray != self.ams.now {
                self.ams.begin(tray, false);
            }
        }
        self.machine.speed = if self.ams.changing() { 0.0 } else { f64::from(self.speed_percent()) / 100.0 };
    }

    /// The loaded slot is empty. With automatic refill an equal spool takes over and the print goes on; else it pauses
    /// with HMS 07nn_2s00_0002_0001 and `print_error` 07nn_8011, 0300_8015 for the external spool.
    pub(super) fn runout(&mut self) {
        let tray = self.job.tray.filter(|_| self.ams.now == NOTHING).unwrap_or(self.ams.now);
        let equal = self.equal_spool(tray).filter(|_| self.auto_refill());
        if equal.is_none() && !self.pause(stage::RUNOUT) {
            return;
        }
        let Some((unit, slot)) = self.ams.locate(tray) else {
            self.print_error = error::EXTERNAL_RUNOUT;
            self.raise(Hms { attr: 0x07FF_2000, code: 0x0002_0001 });
            return;
        };
        if let Some(slot) = self.ams.slot(tray) {
            slot.spool = None;
        }
        self.ams.version += 1;
        if let Some(equal) = equal {
            self.take_over(tray, equal);
            return;
        }
        let instance = self.ams.units.get(unit).map_or(0, |unit| unit.id & 0x7F);
        self.print_error = 0x0700_8011 | instance << 16;
        self.raise(Hms { attr: 0x0700_2000 | instance << 16 | (slot as u32) << 8, code: 0x0002_0001 });
        self.error_clears_at = None;
    }

    pub(super) fn auto_refill(&self) -> bool {
        self.home_flag & 1 << AUTO_REFILL.0 != 0
    }

    pub(super) fn set_auto_refill(&mut self, on: bool) {
        self.home_flag = self.home_flag & !(1 << AUTO_REFILL.0) | u32::from(on) << AUTO_REFILL.0;
        self.cfg = self.cfg & !(1 << AUTO_REFILL.1) | u64::from(on) << AUTO_REFILL.1;
    }

    fn equal_spool(&self, tray: u32) -> Option<u32> {
        let held = |tray: u32| {
            let (unit, slot) = self.ams.locate(tray)?;
            self.ams.units.get(unit)?.slots.get(slot)?.spool.as_ref()
        };
        let empty = held(tray)?;
        let trays =
            self.ams.units.iter().flat_map(|unit| (0..unit.slots.len()).map(|slot| unit.tray_number(slot)));
        let mut others = trays.filter(|other| *other != tray);
        others.find(|other| held(*other).is_some_and(|spool| alike(spool) == alike(empty)))
    }

    fn take_over(&mut self, from: u32, to: u32) {
        for tray in &mut self.job.mapping {
            if *tray == i64::from(from) {
                *tray = i64::from(to);
            }
        }
        for (_, tray) in self.job.changes_due.iter_mut().filter(|(_, tray)| *tray == from) {
            *tray = to;
        }
        self.job.tray = Some(to);
        self.ams.begin(to, false);
    }

    /// Puts a spool into a slot, or takes it out; false where there is no such slot.
    pub(super) fn put_spool(&mut self, unit: u32, slot: usize, new: Option<&SpoolIn>) -> bool {
        let donor = self.ams.units.iter().flat_map(|unit| &unit.slots).find_map(|slot| slot.spool.clone());
        let Some(held) = self.ams.units.iter_mut().find(|u| u.id == unit).and_then(|u| u.slots.get_mut(slot))
        else {
            return false;
        };
        held.spool = new.map(|new| {
            let mut fields = held.spool.clone().or(donor).unwrap_or_default();
            let tag = new.tag.clone().unwrap_or_else(|| "0".repeat(32));
            fields.insert("tray_type".into(), new.material.as_str().into());
            fields.insert("tray_color".into(), new.color.as_str().into());
            fields.insert("cols".into(), vec![new.color.as_str()].into());
            fields.insert("tray_uuid".into(), tag.as_str().into());
            fields.insert("tag_uid".into(), tag.get(..16).unwrap_or(&tag).into());
            fields
        });
        self.ams.version += 1;
        true
    }

    /// Pulls the plug of a unit, or puts it in again with its spools; false where that changes nothing.
    pub(super) fn plug(&mut self, unit: u32, on: bool) -> bool {
        let (from, to) = if on {
            (&mut self.ams.unplugged, &mut self.ams.units)
        } else {
            (&mut self.ams.units, &mut self.ams.unplugged)
        };
        let Some(at) = from.iter().position(|known| known.id == unit) else { return false };
        to.push(from.remove(at));
        to.sort_by_key(|unit| unit.id);
        if !on && self.ams.now != EXTERNAL && self.ams.locate(self.ams.now).is_none() {
            self.ams.now = NOTHING;
        }
        self.ams.version += 1;
        true
    }
}
