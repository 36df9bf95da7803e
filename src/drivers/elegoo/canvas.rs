//! The Canvas filament unit, the same object on both printers (elegoo.md 2.14, 3.11).

use serde::Serialize;
use serde_json::Value;

use super::field::{int, list, num, text};
use crate::model::{Color, CommandError, Filament, FilamentSystem, FilamentUnit, Slot, SlotId};

/// Trays of one Canvas.
const TRAYS: u8 = 4;
/// More units than anybody can connect are not believed.
const MAX_UNITS: usize = 16;

/// Takes `canvas_info` (CC2) or the `Data` of Cmd 324 (CC1) into the filament model.
pub fn reduce(info: &Value, filament: &mut FilamentSystem) {
    let Some(canvases) = info.get("canvas_list").and_then(Value::as_array) else { return };
    filament.units = canvases
        .iter()
        .filter(|canvas| int(canvas, "connected") != Some(0))
        .filter_map(unit)
        .take(MAX_UNITS)
        .collect();
    if let Some(on) = int(info, "auto_refill") {
        filament.auto_refill = Some(on != 0);
    }
    filament.active = active(info);
}

/// No Canvas is attached any more.
pub fn gone(filament: &mut FilamentSystem) {
    filament.units.clear();
    (filament.active, filament.auto_refill) = (None, None);
}

/// `active_tray_id` -1: nothing is loaded from the Canvas.
fn active(info: &Value) -> Option<SlotId> {
    let unit = u16::try_from(int(info, "active_canvas_id").unwrap_or(0)).ok()?;
    let slot = u8::try_from(int(info, "active_tray_id")?).ok()?;
    Some(SlotId::Unit { unit, slot })
}

fn unit(canvas: &Value) -> Option<FilamentUnit> {
    let id = u16::try_from(int(canvas, "canvas_id")?).ok()?;
    let trays = list(canvas, "tray_list");
    let slots = (0..TRAYS)
        .map(|slot| {
            let id = SlotId::Unit { unit: id, slot };
            trays
                .iter()
                .find(|tray| int(tray, "tray_id") == Some(i64::from(slot)))
                .map_or_else(|| Slot::empty(id), |tray| read_slot(id, tray))
        })
        .collect();
    Some(FilamentUnit {
        id,
        name: if id == 0 { "CANVAS".to_owned() } else { format!("CANVAS {}", id + 1) },
        product: Some("CANVAS".to_owned()),
        slots,
        ..FilamentUnit::default()
    })
}

/// Status 0 empty, 1 loaded, 2 feeding now (elegoo.md 3.11).
fn read_slot(id: SlotId, tray: &Value) -> Slot {
    let present = int(tray, "status").map(|status| status != 0);
    let word = |key| text(tray, key).filter(|word| !placeholder(word)).map(str::to_owned);
    let heat = |key| num(tray, key).filter(|degrees| *degrees > 0.0);
    let color = text(tray, "filament_color").and_then(Color::parse);
    let filament = Filament {
        material: word("filament_type"),
        name: word("filament_name"),
        brand: word("brand"),
        color,
        colors: color.into_iter().collect(),
        nozzle_min: heat("min_nozzle_temp"),
        nozzle_max: heat("max_nozzle_temp"),
        profile: word("filament_code"),
        ..Filament::default()
    };
    let known = filament.material.is_some() && present != Some(false);
    Slot { id, present, filament: known.then_some(filament), remaining: None, reading: false }
}

/// An empty tray carries dashes and question marks (fixture cc1-response-canvas-324).
fn placeholder(word: &str) -> bool {
    word.chars().all(|c| matches!(c, '\u{2014}' | '-' | '?' | ' '))
}

/// One entry of `slot_map`, in the order of the vendor's own requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SlotMapEntry {
    /// Tool number in the file.
    pub t: usize,
    pub canvas_id: u16,
    pub tray_id: u8,
}

/// `slot_map` for the mapping of a start; empty where no Canvas tray is named.
///
/// # Errors
/// Invalid, if trays and the external spool are mixed or a tray does not exist.
pub fn slot_map(mapping: &[Option<SlotId>]) -> Result<Vec<SlotMapEntry>, CommandError> {
    let used: Vec<(usize, SlotId)> =
        mapping.iter().enumerate().filter_map(|(t, slot)| slot.map(|slot| (t, slot))).collect();
    if used.iter().all(|(_, slot)| matches!(slot, SlotId::External(_))) {
        return Ok(Vec::new());
    }
    used.into_iter()
        .map(|(t, slot)| match slot {
            SlotId::Unit { unit, slot } if slot < TRAYS => {
                Ok(SlotMapEntry { t, canvas_id: unit, tray_id: slot })
            }
            other => Err(CommandError::Invalid(format!(
                "Filament {} cannot come from slot {other}: a print uses CANVAS trays only, or the external spool only.",
                t + 1
            ))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fixture(name: &str) -> Value {
        let path = format!("{}/fixtures/elegoo/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn four_trays_of_a_centauri_carbon_2() {
        let info = fixture("captured/cc2-2005-canvas-four-trays");
        let mut system = FilamentSystem::default();
        reduce(&info["result"]["canvas_info"], &mut system);
        assert_eq!(system.active, Some(SlotId::Unit { unit: 0, slot: 3 }));
        assert_eq!(system.auto_refill, Some(false));
        assert_eq!(system.units.len(), 1);
        let slots = &system.units[0].slots;
        assert_eq!(slots.len(), 4);
        let silk = slots[2].filament.as_ref().unwrap();
        assert_eq!(silk.material.as_deref(), Some("PLA"));
        assert_eq!(silk.name.as_deref(), Some("PLA Silk"));
        assert_eq!(silk.brand.as_deref(), Some("ELEGOO"));
        assert_eq!(silk.color.map(Color::rgb_hex).as_deref(), Some("F32FF8"));
        assert_eq!((silk.nozzle_min, silk.nozzle_max), (Some(190.0), Some(230.0)));
        assert!(slots.iter().all(|slot| slot.present == Some(true)));
    }

    #[test]
    fn gaps_empty_trays_and_placeholders() {
        let info = fixture("captured/cc2-2005-canvas-idle-codes");
        let mut system = FilamentSystem::default();
        reduce(&info["result"]["canvas_info"], &mut system);
        assert_eq!(system.active, None);
        let slots = &system.units[0].slots;
        assert_eq!(slots[0].filament.as_ref().unwrap().profile.as_deref(), Some("0x0008"));
        assert_eq!((slots[1].present, &slots[1].filament), (None, &None), "not listed");
        assert_eq!((slots[2].present, &slots[2].filament), (Some(false), &None), "empty");

        let info = fixture("assembled/cc1-response-canvas-324");
        reduce(&info["Data"]["Data"], &mut system);
        assert_eq!(system.auto_refill, Some(true));
        assert_eq!(system.units[0].slots[0].present, Some(true));
        assert_eq!(system.units[0].slots[1].filament, None);
    }

    #[test]
    fn an_unplugged_unit_disappears_and_nonsense_changes_nothing() {
        let mut system = FilamentSystem::default();
        reduce(&json!({"canvas_list": [{"canvas_id": 0, "connected": false}]}), &mut system);
        assert!(system.units.is_empty());
        reduce(&json!({"canvas_list": [{"canvas_id": 0, "connected": true, "tray_list": 7}]}), &mut system);
        let before = system.clone();
        for hostile in [json!(null), json!([1]), json!({"canvas_list": 3, "auto_refill": false})] {
            reduce(&hostile, &mut system);
            assert_eq!(system, before);
        }
    }

    #[test]
    fn mapping_becomes_a_slot_map() {
        let tray = |slot| Some(SlotId::Unit { unit: 0, slot });
        let map = slot_map(&[tray(2), None, tray(0)]).unwrap();
        assert_eq!(
            serde_json::to_string(&map).unwrap(),
            r#"[{"t":0,"canvas_id":0,"tray_id":2},{"t":2,"canvas_id":0,"tray_id":0}]"#
        );
        assert_eq!(slot_map(&[Some(SlotId::External(0))]), Ok(vec![]));
        assert!(slot_map(&[tray(1), Some(SlotId::External(0))]).is_err());
        assert!(slot_map(&[tray(4)]).is_err());
    }
}
