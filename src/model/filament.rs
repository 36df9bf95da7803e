//! The filament system: units with slots, external spools, what is loaded and what is under way.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_with::{DeserializeFromStr, SerializeDisplay};

use super::{Celsius, Millimeters, Ratio};

/// A place where a spool feeds from; outside the program the text of its `Display`, such as `0.2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr)]
pub enum SlotId {
    /// Slot of a unit; `unit` is the printer's own number of it (0.., 128.. for single-slot units), `slot` from 0.
    Unit { unit: u16, slot: u8 },
    /// A spool outside any unit; on a printer with two nozzles 0 is the right (main) one.
    External(u8),
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SlotId::Unit { unit, slot } => write!(f, "{unit}.{slot}"),
            SlotId::External(0) => write!(f, "external"),
            SlotId::External(n) => write!(f, "external{n}"),
        }
    }
}

impl FromStr for SlotId {
    type Err = String;

    /// `0.2` (unit 0, slot 2), `external`, `external1`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a slot: write unit.slot such as 0.2, or external");
        if let Some(rest) = text.strip_prefix("external") {
            let number = if rest.is_empty() { 0 } else { rest.parse().map_err(|_| wrong())? };
            return Ok(SlotId::External(number));
        }
        let (unit, slot) = text.split_once('.').ok_or_else(wrong)?;
        Ok(SlotId::Unit {
            unit: unit.parse().map_err(|_| wrong())?,
            slot: slot.parse().map_err(|_| wrong())?,
        })
    }
}

/// Red, green, blue, opacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Color {
    pub r: u8,
    pub g: u8,
    pub b: u8,
    pub a: u8,
}

impl Color {
    /// Reads `RRGGBB` or `RRGGBBAA` with or without a leading `#`.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.trim().trim_start_matches('#');
        if !matches!(hex.len(), 6 | 8) || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let byte = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        Some(Self { r: byte(0)?, g: byte(2)?, b: byte(4)?, a: if hex.len() == 8 { byte(6)? } else { 255 } })
    }

    /// `RRGGBB`, upper case.
    pub fn rgb_hex(self) -> String {
        format!("{:02X}{:02X}{:02X}", self.r, self.g, self.b)
    }

    /// `RRGGBBAA`, upper case.
    pub fn rgba_hex(self) -> String {
        format!("{}{:02X}", self.rgb_hex(), self.a)
    }

    /// Distance in RGB space, 0 (equal) to about 442.
    pub fn distance(self, other: Self) -> f64 {
        let part = |a: u8, b: u8| (f64::from(a) - f64::from(b)).powi(2);
        (part(self.r, other.r) + part(self.g, other.g) + part(self.b, other.b)).sqrt()
    }
}

/// What is known of the filament in a slot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Filament {
    /// "PLA", "PETG-CF".
    pub material: Option<String>,
    /// Product name, e.g. "PLA Basic".
    pub name: Option<String>,
    pub brand: Option<String>,
    pub color: Option<Color>,
    /// All colours of a multi-colour filament.
    pub colors: Vec<Color>,
    pub nozzle_min: Option<Celsius>,
    pub nozzle_max: Option<Celsius>,
    pub bed: Option<Celsius>,
    /// Net weight of a full spool in grams.
    pub weight_g: Option<f64>,
    pub diameter_mm: Option<Millimeters>,
    /// The vendor's filament profile id.
    pub profile: Option<String>,
    /// Identity of the RFID spool, where it has one.
    pub spool_uid: Option<String>,
    /// The printer's number of the stored flow calibration that is used with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_profile: Option<i32>,
}

impl Filament {
    /// The middle of the nozzle's range, or the one end of it that is known.
    pub fn nozzle_middle(&self) -> Option<Celsius> {
        match (self.nozzle_min, self.nozzle_max) {
            (Some(low), Some(high)) => Some((low + high) / 2.0),
            (low, high) => low.or(high),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    pub id: SlotId,
    /// A spool is in the slot.
    pub present: Option<bool>,
    /// `None` for an empty slot or an unknown spool.
    pub filament: Option<Filament>,
    /// Part of the spool that is left.
    pub remaining: Option<Ratio>,
    /// The tag is being read.
    pub reading: bool,
}

impl Slot {
    pub fn empty(id: SlotId) -> Self {
        Self { id, present: None, filament: None, remaining: None, reading: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DryerPhase {
    Off,
    Checking,
    Heating,
    Drying,
    Cooling,
    Stopping,
    Error,
}

impl DryerPhase {
    /// It is on its way to dry, or dries.
    pub fn heats(self) -> bool {
        matches!(self, Self::Checking | Self::Heating | Self::Drying)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dryer {
    pub phase: DryerPhase,
    /// Minutes left.
    pub remaining_min: Option<u32>,
    pub target: Option<Celsius>,
    /// The highest temperature that it takes.
    pub max: Celsius,
    /// Why drying cannot start now, in plain words.
    pub refused: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FilamentUnit {
    /// The printer's number of the unit (the `unit` of its slots).
    pub id: u16,
    /// What users call it: "AMS 1", "AMS HT 1", "CANVAS".
    pub name: String,
    /// The product: "AMS 2 Pro".
    pub product: Option<String>,
    pub slots: Vec<Slot>,
    /// Relative humidity in percent.
    pub humidity_percent: Option<f64>,
    /// The vendor's dryness level, 1 (wet) to 5 (dry).
    pub dryness_level: Option<u8>,
    pub temperature: Option<Celsius>,
    /// `None` where the unit cannot dry.
    pub dryer: Option<Dryer>,
    /// The tool it feeds, on printers with several.
    pub tool: Option<usize>,
}

impl FilamentUnit {
    /// The name as one word for objects and parameters: "AMS HT 1" is `ams_ht_1`.
    pub fn key(&self) -> String {
        let words = self.name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let key = words.collect::<Vec<_>>().join("_").to_ascii_lowercase();
        if key.is_empty() { format!("unit_{}", self.id) } else { key }
    }

    /// The unit's dryer as one word, apart from its thermometer: `ams_ht_1_dryer`.
    pub fn dryer_key(&self) -> String {
        format!("{}_dryer", self.key())
    }
}

/// What the filament system does at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilamentOperation {
    #[default]
    Idle,
    Heating,
    Loading,
    Unloading,
    Cutting,
    Purging,
    Switching,
    ReadingTag,
    Calibrating,
    /// Waits for the user.
    Stuck,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FilamentSystem {
    pub units: Vec<FilamentUnit>,
    /// Spools outside any unit, by nozzle.
    pub external: Vec<Slot>,
    /// The slot whose filament is in the active tool.
    pub active: Option<SlotId>,
    /// The slot a change goes to.
    pub target: Option<SlotId>,
    pub operation: FilamentOperation,
    /// A spool that runs empty is followed by an equal one.
    pub auto_refill: Option<bool>,
    /// Slots that stand in for each other.
    pub backup_groups: Vec<Vec<SlotId>>,
}

impl FilamentSystem {
    /// All slots: units in order, then external spools.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.units.iter().flat_map(|unit| &unit.slots).chain(&self.external)
    }

    pub fn slot(&self, id: SlotId) -> Option<&Slot> {
        self.slots().find(|slot| slot.id == id)
    }

    /// Place of a slot in [`Self::slots`], counted from 0.
    pub fn number(&self, id: SlotId) -> Option<usize> {
        self.slots().position(|slot| slot.id == id)
    }

    /// For each slot in order the first slot of its backup group, or its own number.
    pub fn backup_numbers(&self) -> Vec<usize> {
        let first = |(number, slot): (usize, &Slot)| {
            let group = self.backup_groups.iter().find(|group| group.contains(&slot.id));
            group.into_iter().flatten().filter_map(|other| self.number(*other)).min().unwrap_or(number)
        };
        self.slots().enumerate().map(first).collect()
    }

    /// The unit that a slot is part of.
    pub fn unit_of(&self, id: SlotId) -> Option<&FilamentUnit> {
        self.units.iter().find(|unit| unit.slots.iter().any(|slot| slot.id == id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read_in_all_forms_and_nothing_else() {
        assert_eq!(Color::parse("#FF8000"), Some(Color { r: 255, g: 128, b: 0, a: 255 }));
        assert_eq!(Color::parse("ff800080").map(Color::rgba_hex), Some("FF800080".to_owned()));
        for wrong in ["", "FFF", "GGGGGG", "#12345é", "1234567"] {
            assert_eq!(Color::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_unit_has_a_key_of_one_word() {
        let unit = |name: &str| FilamentUnit {
            id: 3,
            name: name.to_owned(),
            slots: Vec::new(),
            ..FilamentUnit::default()
        };
        assert_eq!(unit("AMS HT 1").key(), "ams_ht_1");
        assert_eq!(unit("AMS HT 1").dryer_key(), "ams_ht_1_dryer");
        assert_eq!(unit("  ").key(), "unit_3");
    }

    #[test]
    fn slot_names_round_trip() {
        for id in [SlotId::Unit { unit: 128, slot: 3 }, SlotId::External(0), SlotId::External(1)] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!("3".parse::<SlotId>().is_err());
    }
}
