//! The filament system: change, slots, tags, drying (bambu.md 4.6).

use serde_json::json;

use super::{Context, Encoded, Message, Plan};
use crate::drivers::bambu::field::{at, text};
use crate::drivers::bambu::reduce::AmsKind;
use crate::model::{
    Color, CommandError, DryRequest, Filament, FilamentAction, FilamentUnit, SlotEdit, SlotId,
};

/// Nozzle temperatures where the printer reports none: loading and unloading a cold nozzle.
const LOAD_COLD: i64 = 215;
const UNLOAD_COLD: i64 = 210;
/// From here on the nozzle counts as hot.
const HOT: f64 = 170.0;

pub(super) fn load(slot: SlotId, context: &Context<'_>) -> Encoded {
    let known = context.device.filament.slot(slot);
    if known.is_none_or(|slot| slot.present == Some(false)) {
        return Err(CommandError::Invalid(format!("There is no filament in slot {slot}.")));
    }
    let fields = match slot {
        SlotId::Unit { unit, slot } => {
            let target = if unit >= 128 { u32::from(unit) } else { u32::from(unit) * 4 + u32::from(slot) };
            change(unit, u16::from(slot), target, -1)
        }
        SlotId::External(0) if context.row.dual() => change(255, 0, 255, nozzle(context, LOAD_COLD)),
        // The left nozzle of two as a single one: inferred (bambu.md 4.6).
        SlotId::External(_) => change(255, 254, 254, -1),
    };
    Ok(Message::print("ams_change_filament", fields).into())
}

pub(super) fn unload(context: &Context<'_>) -> Encoded {
    let tool = context.device.nozzles.get(context.device.active_tool);
    let detected = tool.and_then(|tool| tool.filament_detected);
    let unit = match context.device.filament.active {
        Some(SlotId::Unit { unit, .. }) => unit,
        Some(SlotId::External(_)) => 255,
        None if detected == Some(true) => 255,
        None => return Err(CommandError::Invalid("No filament is loaded.".to_owned())),
    };
    Ok(Message::print("ams_change_filament", change(unit, 255, 255, nozzle(context, UNLOAD_COLD))).into())
}

fn change(unit: u16, slot: u16, target: u32, temperature: i64) -> serde_json::Value {
    json!({
        "ams_id": unit, "slot_id": slot, "target": target, "curr_temp": temperature, "tar_temp": temperature,
    })
}

fn nozzle(context: &Context<'_>, cold: i64) -> i64 {
    let tool = context.device.nozzles.get(context.device.active_tool);
    let actual = tool.and_then(|tool| tool.heater.actual).filter(|actual| *actual >= HOT);
    actual.map_or(cold, |actual| actual.round() as i64)
}

pub(super) fn edit(slot: SlotId, edit: &SlotEdit, context: &Context<'_>) -> Encoded {
    let Some(known) = context.device.filament.slot(slot) else {
        return Err(CommandError::Invalid(format!("The printer has no slot {slot}.")));
    };
    if context.device.job.stage.active() && context.device.filament.active == Some(slot) {
        return Err(CommandError::Busy(
            "The filament that prints cannot be changed; wait for the job.".to_owned(),
        ));
    }
    let (unit, tray, slot_number) = match slot {
        SlotId::Unit { unit, slot } => (unit, u16::from(slot), slot),
        SlotId::External(0) => (255, 254, 0),
        SlotId::External(_) => (254, 254, 0),
    };
    let details = if edit.clear { Details::default() } else { Details::of(edit, known.filament.as_ref())? };
    let fields = json!({
        "ams_id": unit, "tray_id": tray, "slot_id": slot_number,
        "tray_info_idx": details.profile, "setting_id": "", "tray_type": details.material,
        "tray_color": details.color, "nozzle_temp_min": details.min, "nozzle_temp_max": details.max,
    });
    let note = edit.name.is_some().then(|| {
        "The printer takes a filament's name from its own profiles or the spool's tag: no other name was set.".to_owned()
    });
    Ok(Plan { note, ..Plan::from(Message::print("ams_filament_setting", fields)) })
}

/// What is written into a slot; the default clears it.
struct Details {
    material: String,
    profile: String,
    color: String,
    min: i64,
    max: i64,
}

impl Default for Details {
    fn default() -> Self {
        Self { material: String::new(), profile: String::new(), color: "00000000".to_owned(), min: 0, max: 0 }
    }
}

/// Generic filament profiles with their usual nozzle range in °C; GFL99 is captured (bambu.md 4.6), the others are the
/// slicer's generic profiles and unverified here.
const GENERIC_PROFILES: [(&str, &str, i64, i64); 8] = [
    ("PLA", "GFL99", 190, 240),
    ("PETG", "GFG99", 220, 270),
    ("ABS", "GFB99", 240, 280),
    ("ASA", "GFB98", 240, 280),
    ("TPU", "GFU99", 200, 250),
    ("PC", "GFC99", 260, 300),
    ("PA", "GFN99", 260, 300),
    ("PVA", "GFS99", 190, 240),
];

impl Details {
    fn of(edit: &SlotEdit, known: Option<&Filament>) -> Result<Self, CommandError> {
        let of_known = known.and_then(|known| known.material.clone());
        let material = edit.material.clone().or_else(|| of_known.clone()).unwrap_or_default();
        let material = material.trim().to_ascii_uppercase();
        if material.is_empty() {
            return Err(CommandError::Invalid("Name the material of the filament, e.g. PLA.".to_owned()));
        }
        let same = known.filter(|_| of_known.is_some_and(|known| known.eq_ignore_ascii_case(&material)));
        let generic = GENERIC_PROFILES.iter().find(|(name, ..)| *name == material);
        let limit = |edited: Option<f64>, known: Option<f64>, generic: Option<i64>| {
            edited.or(known).map(|celsius| celsius.round() as i64).or(generic)
        };
        let min = limit(edit.nozzle_min, same.and_then(|known| known.nozzle_min), generic.map(|row| row.2));
        let max = limit(edit.nozzle_max, same.and_then(|known| known.nozzle_max), generic.map(|row| row.3));
        let (Some(min), Some(max)) = (min, max) else {
            return Err(CommandError::Invalid(format!("Name the nozzle temperatures of {material}.")));
        };
        if !(0..=400).contains(&min) || !(min..=400).contains(&max) {
            return Err(CommandError::Invalid(format!(
                "{min} to {max} °C is not a range of nozzle temperatures."
            )));
        }
        let profile = edit.profile.clone().or_else(|| same.and_then(|known| known.profile.clone()));
        let color = edit.color.or_else(|| known.and_then(|known| known.color));
        Ok(Self {
            material,
            profile: profile.or_else(|| generic.map(|row| row.1.to_owned())).unwrap_or_default(),
            color: color.map_or_else(|| "FFFFFFFF".to_owned(), Color::rgba_hex),
            min,
            max,
        })
    }
}

pub(super) fn read_tag(slot: SlotId, context: &Context<'_>) -> Encoded {
    let SlotId::Unit { unit, slot: number } = slot else {
        return Err(CommandError::Invalid("Only slots of a filament unit have a tag reader.".to_owned()));
    };
    if context.device.filament.active == Some(slot) {
        return Err(CommandError::Busy("Unload the filament of this slot first.".to_owned()));
    }
    Ok(Message::print("ams_get_rfid", json!({ "ams_id": unit, "slot_id": number })).into())
}

/// Chooses one of the flow calibrations that the printer keeps for this filament and nozzle (bambu.md 4.6).
pub(super) fn flow_profile(slot: SlotId, profile: Option<u32>, context: &Context<'_>) -> Encoded {
    let filament = context.device.filament.slot(slot).and_then(|slot| slot.filament.as_ref());
    let Some(id) = filament.and_then(|filament| filament.profile.clone()) else {
        return Err(CommandError::Invalid(format!(
            "Say first what filament is in slot {slot}: calibrations belong to a filament."
        )));
    };
    let tray = match slot {
        SlotId::Unit { unit, .. } if unit >= 128 => u32::from(unit),
        SlotId::Unit { unit: 16, slot } => u32::from(slot),
        SlotId::Unit { unit, slot } => u32::from(unit) * 4 + u32::from(slot),
        SlotId::External(0) if context.row.dual() => 255,
        SlotId::External(_) => 254,
    };
    let fields = json!({
        "tray_id": tray, "cali_idx": profile.map_or(-1, i64::from), "filament_id": id,
        "nozzle_diameter": text(at(context.tree, "/nozzle_diameter")).unwrap_or_else(|| "0.4".to_owned()),
    });
    Ok(Message::print("extrusion_cali_sel", fields).into())
}

pub(super) fn action(action: FilamentAction) -> Plan {
    let param = match action {
        FilamentAction::Resume => "resume",
        FilamentAction::Reset => "reset",
        FilamentAction::Abort => "abort",
        FilamentAction::Done => "done",
    };
    Message::print("ams_control", json!({ "param": param })).into()
}

/// Longest drying in hours that the printers' own screens offer.
const MAX_DRY_HOURS: u32 = 24;

pub(super) fn start_drying(unit: u16, request: DryRequest, context: &Context<'_>) -> Encoded {
    let (unit, range) = dryer(unit, context)?;
    if !range.contains(&request.temperature) {
        return Err(CommandError::Invalid(format!(
            "{} dries at {:.0} to {:.0} °C, not at {:.0}.",
            unit.name,
            range.start(),
            range.end(),
            request.temperature
        )));
    }
    if request.hours == 0 || request.hours > MAX_DRY_HOURS {
        return Err(CommandError::Invalid(format!("Drying takes 1 to {MAX_DRY_HOURS} hours.")));
    }
    let material = unit.slots.iter().find_map(|slot| slot.filament.as_ref()?.material.clone());
    let fields = json!({
        "ams_id": unit.id, "mode": 1, "filament": material.unwrap_or_else(|| "PLA".to_owned()),
        "temp": request.temperature.round() as i64, "duration": request.hours, "humidity": 0,
        "rotate_tray": true, "cooling_temp": 35, "close_power_conflict": false,
    });
    Ok(Message::print("ams_filament_drying", fields).into())
}

pub(super) fn stop_drying(unit: u16, context: &Context<'_>) -> Encoded {
    let (unit, _) = dryer(unit, context)?;
    let fields = json!({
        "ams_id": unit.id, "mode": 0, "filament": "", "temp": 0, "duration": 0, "humidity": 0,
        "rotate_tray": false, "cooling_temp": 0, "close_power_conflict": false,
    });
    Ok(Message::print("ams_filament_drying", fields).into())
}

fn dryer<'a>(
    unit: u16,
    context: &Context<'a>,
) -> Result<(&'a FilamentUnit, std::ops::RangeInclusive<f64>), CommandError> {
    if !context.row.remote_drying {
        // Acknowledged and ignored by the P1 (bambu.md T30).
        return Err(CommandError::Unsupported(
            "This printer starts and stops drying at its own screen only.".to_owned(),
        ));
    }
    let found = context.device.filament.units.iter().find(|known| known.id == unit);
    let Some(found) = found else {
        return Err(CommandError::Invalid(format!("The printer has no filament unit {unit}.")));
    };
    let kinds = [AmsKind::TwoPro, AmsKind::Ht];
    let range = kinds.into_iter().find(|kind| found.product.as_deref() == Some(kind.product()));
    match range.and_then(AmsKind::drying) {
        Some(range) => Ok((found, range)),
        None => Err(CommandError::Unsupported(format!("{} cannot dry.", found.name))),
    }
}
