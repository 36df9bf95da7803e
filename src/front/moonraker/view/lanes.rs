//! The records of the database namespace `lane_data`, from which OrcaSlicer takes the printer's filament
//! (moonraker.md 3.6).

use serde_json::{Map, Value, json};

use crate::filament::Choices;
use crate::model::{Color, FilamentSystem};

/// `lane1`, `lane2`, ... in the order of the gates; empty where nothing is known of any filament: a list of empty lanes
/// would keep OrcaSlicer from asking for `mmu` (OrcaSlicer #14798). No nulls, they stop its sync (#13372).
pub fn lane_data(system: &FilamentSystem, choices: &Choices) -> Map<String, Value> {
    let holds = |material: Option<&String>| material.is_some_and(|material| !material.is_empty());
    if !system.slots().any(|slot| holds(slot.filament.as_ref().and_then(|f| f.material.as_ref()))) {
        return Map::new();
    }
    let lane = |(number, slot): (usize, &crate::model::Slot)| {
        let filament = slot.filament.clone().filter(|_| slot.present != Some(false)).unwrap_or_default();
        let nozzle = filament.nozzle_middle();
        let fields = json!({
            "lane": number.to_string(),
            "color": filament.color.map(|color: Color| format!("#{}", color.rgb_hex())).unwrap_or_default(),
            "material": filament.material.unwrap_or_default(),
            "vendor_name": filament.brand.unwrap_or_default(),
            "name": filament.name.unwrap_or_default(),
            "scan_time": "",
            "td": "",
        });
        let numbers = [
            ("nozzle_temp", nozzle),
            ("bed_temp", filament.bed),
            ("spool_id", choices.spool(slot.id).map(f64::from)),
        ];
        let mut lane = if let Value::Object(fields) = fields { fields } else { Map::new() };
        let numbers = numbers.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        lane.extend(numbers.map(|(key, value)| (key, json!(value.round() as i64))));
        lane.extend(filament.profile.map(|profile| ("filament_id".to_owned(), profile.into())));
        (format!("lane{}", number + 1), lane.into())
    };
    system.slots().enumerate().map(lane).collect()
}
