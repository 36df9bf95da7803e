//! The filament system: units, slots, external spools, what is loaded and what is under way (bambu.md 3.12).

use serde_json::Value;

use super::Source;
use super::identity::AmsKind;
use super::spool;
use crate::drivers::bambu::field::{at, bit, bits32, hex, int, list, num, small, text};
use crate::model::{
    Celsius, Dryer, DryerPhase, FilamentOperation, FilamentSystem, FilamentUnit, Slot, SlotId,
};

/// Number of the first single-slot unit (AMS HT).
const FIRST_HT: u16 = 128;
/// Number of the AMS Lite of an A2L.
const A2L_LITE: u16 = 16;
/// Unit numbers of external spools: right or only, left.
const EXTERNAL: u16 = 255;
const EXTERNAL_LEFT: u16 = 254;

pub(super) fn filament(source: Source<'_>, active_tool: usize) -> FilamentSystem {
    let extruder = extruder(source, active_tool);
    let (now, target) = match extruder {
        Some(extruder) => (slot_code(at(extruder, "/snow")), slot_code(at(extruder, "/star"))),
        None => (tray_number(source.at("/ams/tray_now")), tray_number(source.at("/ams/tray_tar"))),
    };
    let listed = list(source.at("/ams/ams")).iter().filter_map(|unit| self::unit(source, unit));
    let mut units: Vec<FilamentUnit> = listed.filter(|unit| !source.reports.unplugged(unit.id)).collect();
    // A unit that comes back is merged behind the others.
    units.sort_by_key(|unit| unit.id);
    FilamentSystem {
        units,
        external: external(source),
        active: now,
        target,
        operation: operation(source, extruder),
        auto_refill: super::options::options(source)
            .get(&crate::model::PrintOption::AutoSwitchFilament)
            .copied(),
        backup_groups: backup_groups(source),
    }
}

fn extruder(source: Source<'_>, tool: usize) -> Option<&Value> {
    let info = list(source.at("/device/extruder/info"));
    info.iter().find(|entry| small::<usize>(at(entry, "/id")) == Some(tool) && !at(entry, "/snow").is_null())
}

/// `unit * 256 + slot` (`snow`, `star`, `mapping`).
fn slot_code(value: &Value) -> Option<SlotId> {
    slot_of_code(small(value)?)
}

/// The slot behind `unit * 256 + slot`; 65535 and 65279 mean none, as does slot 255.
pub(super) fn slot_of_code(code: u16) -> Option<SlotId> {
    let (unit, slot) = (code >> 8, (code & 0xFF) as u8);
    match (unit, slot) {
        (_, 255) => None,
        (EXTERNAL, 0) => Some(SlotId::External(0)),
        (EXTERNAL_LEFT, 0) => Some(SlotId::External(1)),
        (EXTERNAL_LEFT | EXTERNAL, _) => None,
        (unit, slot) if slot < 16 => Some(SlotId::Unit { unit, slot }),
        _ => None,
    }
}

/// `tray_now`: 0 to 15 are unit * 4 + slot, 128 to 135 an AMS HT, 254 external, 255 none.
fn tray_number(value: &Value) -> Option<SlotId> {
    match small::<u16>(value)? {
        tray @ 0..=15 => Some(SlotId::Unit { unit: tray / 4, slot: (tray % 4) as u8 }),
        unit @ 128..=135 => Some(SlotId::Unit { unit, slot: 0 }),
        254 => Some(SlotId::External(0)),
        _ => None,
    }
}

/// The bit of a slot in `tray_exist_bits` and its like.
fn tray_bit(unit: u16, slot: u8) -> Option<u32> {
    match unit {
        0..=3 => Some(u32::from(unit) * 4 + u32::from(slot)),
        A2L_LITE => Some(24 + u32::from(slot)),
        128..=135 => Some(16 + u32::from(unit - FIRST_HT)),
        _ => None,
    }
}

fn unit_numbers(source: Source<'_>) -> impl Iterator<Item = u16> {
    list(source.at("/ams/ams")).iter().filter_map(|unit| small::<u16>(at(unit, "/id")))
}

/// Some bridges number differently in bits and in lists: bits that name nothing of what is listed say nothing.
fn plausible(bits: u128, mut listed: impl Iterator<Item = u32>) -> bool {
    bits == 0 || listed.any(|index| bit(bits, index))
}

/// What `tray_exist_bits` say of a slot.
fn present(source: Source<'_>, index: Option<u32>) -> Option<bool> {
    let bits = hex(source.at("/ams/tray_exist_bits"))?;
    let listed = unit_numbers(source).flat_map(|unit| (0..4).filter_map(move |slot| tray_bit(unit, slot)));
    plausible(bits, listed).then_some(bit(bits, index?))
}

fn slot_of_bit(bit: u32) -> Option<SlotId> {
    match bit {
        0..=15 => Some(SlotId::Unit { unit: (bit / 4) as u16, slot: (bit % 4) as u8 }),
        16..=23 => Some(SlotId::Unit { unit: FIRST_HT + (bit - 16) as u16, slot: 0 }),
        24..=27 => Some(SlotId::Unit { unit: A2L_LITE, slot: (bit - 24) as u8 }),
        _ => None,
    }
}

fn unit(source: Source<'_>, unit: &Value) -> Option<FilamentUnit> {
    let id = small::<u16>(at(unit, "/id"))?;
    let info = hex(at(unit, "/info"));
    let kind = kind(source, id, info);
    let slots = if id >= FIRST_HT { 1 } else { 4 };
    let measures = !matches!(kind, Some(AmsKind::Lite));
    let positive = |pointer: &str| num(at(unit, pointer)).filter(|value| *value > 0.0 && measures);
    Some(FilamentUnit {
        id,
        name: name(id, kind),
        product: kind.map(|kind| kind.product().to_owned()),
        slots: (0..slots).map(|slot| self::slot(source, unit, id, slot)).collect(),
        humidity_percent: positive("/humidity_raw").filter(|percent| *percent <= 100.0),
        dryness_level: small::<u8>(at(unit, "/humidity")).filter(|level| measures && (1..=5).contains(level)),
        temperature: positive("/temp"),
        dryer: kind.and_then(AmsKind::drying).map(|range| dryer(unit, info, *range.end())),
        tool: info.filter(|_| source.row.dual()).and_then(|info| match (info >> 8) & 0xF {
            0 => Some(0),
            1 => Some(1),
            _ => None,
        }),
    })
}

/// By the type bits, else by the module list, else by the number.
fn kind(source: Source<'_>, id: u16, info: Option<u128>) -> Option<AmsKind> {
    let by_bits = match info.map(|info| info & 0xF) {
        Some(1) => Some(AmsKind::Ams),
        Some(2 | 5) => Some(AmsKind::Lite),
        Some(3) => Some(AmsKind::TwoPro),
        Some(4) => Some(AmsKind::Ht),
        _ => None,
    };
    by_bits.or_else(|| source.versions.unit(id)).or((id >= FIRST_HT).then_some(AmsKind::Ht))
}

fn name(id: u16, kind: Option<AmsKind>) -> String {
    match kind {
        Some(AmsKind::Lite) => "AMS Lite".to_owned(),
        _ if id >= FIRST_HT => format!("AMS HT {}", id - FIRST_HT + 1),
        _ => format!("AMS {}", id + 1),
    }
}

fn slot(source: Source<'_>, unit: &Value, id: u16, slot: u8) -> Slot {
    let trays = list(at(unit, "/tray"));
    let tray = trays.iter().find(|tray| small::<u8>(at(tray, "/id")) == Some(slot)).unwrap_or(&Value::Null);
    let index = tray_bit(id, slot);
    // Presence by the bits, else by bit 0 of the state, else by anything being known (bambu.md 3.12).
    let present = present(source, index)
        .or_else(|| bits32(at(tray, "/state")).map(|state| state & 1 == 1))
        .or_else(|| tray.as_object().map(|fields| fields.len() > 1));
    let known = present != Some(false);
    Slot {
        id: SlotId::Unit { unit: id, slot },
        present,
        filament: if known { spool::filament(tray) } else { None },
        remaining: if known { spool::remaining(tray) } else { None },
        reading: hex(source.at("/ams/tray_reading_bits"))
            .zip(index)
            .is_some_and(|(bits, index)| bit(bits, index)),
    }
}

fn dryer(unit: &Value, info: Option<u128>, max: Celsius) -> Dryer {
    let info = info.unwrap_or(0);
    let minutes = small::<u32>(at(unit, "/dry_time"));
    let phase = match (info >> 4) & 0xF {
        // Firmware without these bits, and units that omit them, still tell the time that is left.
        0 if minutes.is_some_and(|minutes| minutes > 0) => DryerPhase::Drying,
        0 => DryerPhase::Off,
        1 => DryerPhase::Checking,
        2 if (info >> 22) & 0xF == 1 => DryerPhase::Heating,
        2 => DryerPhase::Drying,
        3 => DryerPhase::Cooling,
        4 => DryerPhase::Stopping,
        _ => DryerPhase::Error,
    };
    // Reasons are numbers that no source explains one by one.
    let reasons: Vec<String> = list(at(unit, "/dry_sf_reason")).iter().filter_map(text).collect();
    Dryer {
        phase,
        remaining_min: minutes.filter(|minutes| *minutes > 0),
        target: num(at(unit, "/dry_setting/dry_temperature")).filter(|target| *target > 0.0),
        max,
        refused: (!reasons.is_empty()).then(|| {
            format!(
                "The unit cannot dry now (reason {}); its power adapter may be missing.",
                reasons.join(", ")
            )
        }),
    }
}

/// `vir_slot` on newer firmware ("254" left, "255" right or only), else `vt_tray`.
fn external(source: Source<'_>) -> Vec<Slot> {
    let spool = |id: u8, tray: &Value| Slot {
        id: SlotId::External(id),
        present: None,
        filament: spool::filament(tray),
        remaining: spool::remaining(tray),
        reading: false,
    };
    let listed = list(source.at("/vir_slot"));
    if listed.is_empty() {
        let tray = source.at("/vt_tray");
        return if tray.is_object() { vec![spool(0, tray)] } else { Vec::new() };
    }
    let mut spools: Vec<Slot> = listed
        .iter()
        .filter_map(|tray| match small::<u16>(at(tray, "/id"))? {
            EXTERNAL => Some(spool(0, tray)),
            EXTERNAL_LEFT if source.row.dual() => Some(spool(1, tray)),
            EXTERNAL_LEFT => Some(spool(0, tray)),
            _ => None,
        })
        .collect();
    spools.sort_by_key(|slot| slot.id);
    spools.dedup_by_key(|slot| slot.id);
    spools
}

/// From `ams_status`: main step in the high byte, step of a change in the low one.
fn operation(source: Source<'_>, extruder: Option<&Value>) -> FilamentOperation {
    let status = int(source.at("/ams_status")).or_else(|| {
        extruder.and_then(|entry| bits32(at(entry, "/stat"))).map(|stat| i64::from(stat & 0xFFFF))
    });
    let status = status.unwrap_or(0);
    let filament_fault = bits32(source.at("/print_error"))
        .is_some_and(|code| matches!(code >> 24, 0x07 | 0x12 | 0x18) && (code & 0xFFFF) >= 0x8000);
    if filament_fault {
        return FilamentOperation::Stuck;
    }
    match (status >> 8, status & 0xFF) {
        (1, 2) => FilamentOperation::Heating,
        (1, 4) => FilamentOperation::Unloading,
        (1, 5) => FilamentOperation::Switching,
        (1, 7) => FilamentOperation::Purging,
        (1, _) => FilamentOperation::Loading,
        (2, _) => FilamentOperation::ReadingTag,
        (4, _) => FilamentOperation::Calibrating,
        _ => FilamentOperation::Idle,
    }
}

/// Bit masks of slots that stand in for each other; on two nozzles each has its own list.
fn backup_groups(source: Source<'_>) -> Vec<Vec<SlotId>> {
    let of_extruders =
        list(source.at("/device/extruder/info")).iter().flat_map(|entry| list(at(entry, "/filam_bak")));
    let masks = list(source.at("/filam_bak")).iter().chain(of_extruders);
    let groups = masks.filter_map(bits32).map(|mask| {
        (0..32).filter(|index| bit(u128::from(mask), *index)).filter_map(slot_of_bit).collect::<Vec<_>>()
    });
    groups.filter(|group| group.len() > 1).collect()
}
