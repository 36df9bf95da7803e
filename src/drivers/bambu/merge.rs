//! The merged state tree of one printer: full reports and deltas by the rules of bambu.md 3.3.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::faults;
use super::field::{at, bit, bits32, flag, hex, list, num, packed, small, text};
use super::tree::Tree;
use super::wire::{Extent, MAX_ENTRIES, StateFields};

/// Everything the printer has reported, and the little that must be remembered beyond its latest word.
#[derive(Debug, Clone, Default)]
pub(super) struct Reports {
    tree: Tree,
    /// A full report has been seen on this link.
    synced: bool,
    /// The failed job was cancelled by a user: the printer says so for two seconds only (bambu.md 3.5).
    cancelled: bool,
    /// The job was seen to prepare and not to print yet: the figures may be those of the one before (bambu.md T10).
    unbegun: bool,
    /// All filament units were said to be gone, which is not believed yet.
    doubtful: bool,
    storage: Settled<bool>,
    /// Bits 8 and 9 of `home_flag`.
    storage_condition: Settled<u32>,
    /// Filament units of the tree that are pulled out.
    unplugged: BTreeSet<u16>,
}

/// A value as shown, and whether a differing one was seen once: what storage is told to be flaps (bambu.md T41).
#[derive(Debug, Clone, Copy)]
struct Settled<T> {
    shown: Option<T>,
    differing: Option<T>,
}

impl<T> Default for Settled<T> {
    fn default() -> Self {
        Self { shown: None, differing: None }
    }
}

impl<T: Copy + PartialEq> Settled<T> {
    /// Another value than the shown one counts when it is told twice running.
    fn hear(&mut self, told: T) {
        if self.shown.is_none() || self.differing == Some(told) {
            *self = Self { shown: Some(told), differing: None };
        } else {
            self.differing = Some(told).filter(|told| self.shown != Some(*told));
        }
    }
}

impl Reports {
    pub fn tree(&self) -> &Value {
        self.tree.get()
    }

    /// Nobody looks for a while: less memory until somebody does.
    pub fn pack(&mut self) {
        self.tree.pack();
    }

    pub fn synced(&self) -> bool {
        self.synced
    }

    pub fn cancelled(&self) -> bool {
        self.cancelled
    }

    pub fn unbegun(&self) -> bool {
        self.unbegun
    }

    /// Whether a filament unit that is listed is pulled out since.
    pub fn unplugged(&self, unit: u16) -> bool {
        self.unplugged.contains(&unit)
    }

    pub fn storage_present(&self) -> Option<bool> {
        self.storage.shown
    }

    /// Something else than before was told of the storage, once; the next complete report tells.
    pub fn storage_in_doubt(&self) -> bool {
        self.storage.differing.is_some() || self.storage_condition.differing.is_some()
    }

    /// Condition of the storage by `home_flag`: 0 none, 1 normal, 2 abnormal, 3 read-only (bambu.md 3.10).
    pub fn storage_condition(&self) -> Option<u32> {
        self.storage_condition.shown
    }

    /// A new link begins: the next full report replaces everything, until then the old tree is shown.
    pub fn await_full(&mut self) {
        self.synced = false;
        self.doubtful = false;
        self.storage.differing = None;
        self.storage_condition.differing = None;
    }

    /// Takes the tree as complete although no report said so: for printers that never send a full one.
    pub fn assume_full(&mut self) {
        self.synced = true;
    }

    /// Merges one report.
    pub fn merge(&mut self, state: &StateFields) {
        let full = state.extent != Extent::Delta;
        if full && !self.synced {
            self.tree = Tree::default();
            (self.cancelled, self.unbegun) = (false, false);
            self.storage = Settled::default();
            self.storage_condition = Settled::default();
            self.unplugged.clear();
            self.synced = true;
        }
        let zeroed = self.powers_off(&state.fields);
        let last_words = zeroed && !(self.doubtful && full);
        if state.fields.contains_key("ams") {
            self.doubtful = last_words;
        }
        self.tree.change(|tree| {
            if !tree.is_object() {
                *tree = Value::Object(Map::new());
            }
            let Value::Object(tree) = tree else { return };
            drop_superseded(tree, &state.fields);
            let rule = Rule { complete: state.extent == Extent::Full };
            for (key, value) in &state.fields {
                if key != "ams" || !last_words {
                    rule.field(tree, key, value, key);
                }
            }
        });
        if !last_words && let Some(ams) = state.fields.get("ams") {
            self.follow_units(ams);
        }
        self.remember(&state.fields);
    }

    /// A report that lists a unit has it; units that it leaves out are gone where their bits say so (bambu.md 3.12).
    /// A listed one counts whatever its bit: some bridges number differently in bits and in lists.
    fn follow_units(&mut self, ams: &Value) {
        let numbers = |ams: &Value| -> Vec<u16> {
            list(at(ams, "/ams")).iter().filter_map(|unit| small(at(unit, "/id"))).collect()
        };
        let listed = numbers(ams);
        let bits = hex(at(ams, "/ams_exist_bits"));
        for unit in numbers(at(self.tree(), "/ams")) {
            let shown = bits.zip(unit_bit(unit)).is_none_or(|(bits, index)| bit(bits, index));
            if listed.contains(&unit) || (shown && bits.is_some()) {
                self.unplugged.remove(&unit);
            } else if !shown {
                self.unplugged.insert(unit);
            }
        }
    }

    /// The printer has just said that all its filament units are gone: its last words, or somebody pulled them out. A
    /// complete report tells.
    pub fn doubtful(&self) -> bool {
        self.doubtful
    }

    /// The last words of a printer that is switched off zero every AMS bit (bambu.md T6); so does a P1 whose only AMS is
    /// pulled out, and says it again when it is asked for everything.
    fn powers_off(&self, fields: &Map<String, Value>) -> bool {
        let ams = fields.get("ams").unwrap_or(&Value::Null);
        let zero = |key: &str| ams.get(key).and_then(hex) == Some(0);
        zero("ams_exist_bits")
            && zero("tray_exist_bits")
            && ams.get("power_on_flag").and_then(flag) == Some(false)
            && hex(at(self.tree(), "/ams/ams_exist_bits")).is_some_and(|known| known != 0)
    }

    fn remember(&mut self, fields: &Map<String, Value>) {
        if text(at(self.tree(), "/gcode_state")).is_none_or(|state| state != "FAILED") {
            self.cancelled = false;
        } else if faults::is_cancel_echo(self.tree()) {
            self.cancelled = true;
        }
        let state = text(at(self.tree(), "/gcode_state")).unwrap_or_default().to_ascii_uppercase();
        match state.as_str() {
            "PREPARE" | "SLICING" => self.unbegun = true,
            "PAUSE" | "PAUSED" => {}
            _ => self.unbegun = false,
        }
        if let Some(reported) = fields.get("sdcard").and_then(flag) {
            self.storage.hear(reported);
        }
        if let Some(bits) = fields.get("home_flag").and_then(bits32) {
            self.storage_condition.hear((bits >> 8) & 3);
        }
    }
}

/// The bit of a filament unit in `ams_exist_bits`.
fn unit_bit(unit: u16) -> Option<u32> {
    match unit {
        0..=3 => Some(u32::from(unit)),
        // The AMS Lite of an A2L.
        16 => Some(12),
        // AMS HT.
        128..=135 => Some(u32::from(unit) - 124),
        _ => None,
    }
}

/// Where a report repeats a plain temperature without its packed twin, the older packed value must not win.
fn drop_superseded(tree: &mut Map<String, Value>, fields: &Map<String, Value>) {
    let says =
        |keys: [&str; 2]| keys.iter().any(|key| fields.get(*key).is_some_and(|value| !value.is_null()));
    let device = |key: &str| fields.get("device").and_then(|device| device.get(key)).is_some();
    let Some(Value::Object(known)) = tree.get_mut("device") else { return };
    if says(["bed_temper", "bed_target_temper"]) && !device("bed") && !device("bed_temp") {
        known.remove("bed");
        known.remove("bed_temp");
    }
    if says(["chamber_temper", "ctt"]) && !device("ctc") {
        known.remove("ctc");
    }
    if says(["nozzle_temper", "nozzle_target_temper"])
        && !device("extruder")
        && let Some(extruder) = known.get_mut("extruder")
    {
        let current = bits32(at(extruder, "/state")).map(|state| (state >> 4) & 0xF);
        match extruder.get_mut("info").and_then(Value::as_array_mut).map(Vec::as_mut_slice) {
            Some([Value::Object(only)]) => {
                only.remove("temp");
            }
            // The plain ones are those of the nozzle in use (bambu.md 3.7).
            Some(several) => {
                let in_use = several.iter_mut().find(|one| small(at(one, "/id")) == current.or(Some(0)));
                in_use.into_iter().for_each(|one| repack(one, fields));
            }
            None => {}
        }
    }
}

/// Writes the plain temperatures of a report into the packed one of a nozzle.
fn repack(extruder: &mut Value, fields: &Map<String, Value>) {
    let Some((actual, target)) = packed(at(extruder, "/temp")) else { return };
    let plain = |key: &str, known: f64| fields.get(key).and_then(num).unwrap_or(known);
    let both = [plain("nozzle_target_temper", target), plain("nozzle_temper", actual)];
    let [high, low] = both.map(|celsius| celsius.round().clamp(0.0, f64::from(u16::MAX)) as u32);
    if let Some(temp) = extruder.get_mut("temp") {
        *temp = Value::from((high << 16) | low);
    }
}

/// The key that names the elements of a list which is merged instead of replaced.
fn list_key(path: &str) -> Option<&'static str> {
    match path {
        "ams.ams"
        | "ams.ams.tray"
        | "device.extruder.info"
        | "device.nozzle.info"
        | "device.airduct.parts"
        | "vir_slot" => Some("id"),
        "lights_report" => Some("node"),
        _ => None,
    }
}

#[derive(Clone, Copy)]
struct Rule {
    /// Lists are complete: elements that are not named are gone.
    complete: bool,
}

impl Rule {
    fn field(self, target: &mut Map<String, Value>, key: &str, value: &Value, path: &str) {
        let room = target.len() < MAX_ENTRIES;
        match (target.get_mut(key), value) {
            (_, Value::Null) => {}
            // Another spool at the external holder: nothing of the old one stays (bambu.md 3.3 rule 4).
            (Some(known), Value::Object(fields)) if path == "vt_tray" && fields.contains_key("tray_type") => {
                *known = value.clone();
            }
            (Some(Value::Object(known)), Value::Object(fields)) => self.object(known, fields, path),
            (Some(Value::Array(known)), Value::Array(items)) => match list_key(path) {
                Some(name) if !self.complete => self.elements(known, items, name, path),
                _ => known.clone_from(items),
            },
            // A scalar where a block was is damage, not news.
            (Some(Value::Object(_) | Value::Array(_)), scalar)
                if !scalar.is_object() && !scalar.is_array() => {}
            (Some(known), value) => *known = value.clone(),
            (None, value) if room => {
                target.insert(key.to_owned(), value.clone());
            }
            (None, _) => {}
        }
    }

    fn object(self, target: &mut Map<String, Value>, fields: &Map<String, Value>, path: &str) {
        for (key, value) in fields {
            self.field(target, key, value, &format!("{path}.{key}"));
        }
    }

    fn elements(self, known: &mut Vec<Value>, items: &[Value], name: &str, path: &str) {
        for item in items {
            let Some(id) = item.get(name).and_then(text) else { continue };
            let room = known.len() < MAX_ENTRIES;
            let old = known.iter_mut().find(|old| old.get(name).and_then(text).as_ref() == Some(&id));
            match (old, item) {
                // A tray that names its material is a new spool: nothing of the old one stays (bambu.md 3.3 rule 4).
                (Some(old), Value::Object(fields)) if fields.contains_key("tray_type") => *old = item.clone(),
                (Some(Value::Object(old)), Value::Object(fields)) => self.object(old, fields, path),
                (None, Value::Object(_)) if room => known.push(item.clone()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
