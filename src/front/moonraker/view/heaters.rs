//! Nozzles, bed and chamber (moonraker.md 3.4).

use serde_json::{Value, json};

use super::{Builder, Input, reading};
use crate::model::Heater;

/// Below this difference to the target a heater is taken to hold, not to heat.
const HOLDING_C: f64 = 2.0;
/// Shown as duty of a heater that holds its temperature; printers do not report their duty (moonraker.md 5.1).
const HOLDING_POWER: f64 = 0.2;

pub fn add(builder: &mut Builder, input: &Input<'_>) {
    let device = &input.state.device;
    builder.sensors.push("heater_bed".to_owned());
    builder.heaters.push("heater_bed".to_owned());
    builder.object("heater_bed", heater(&device.bed));
    builder.section("heater_bed", limits(input.caps.bed.max));
    for tool in 0..input.caps.nozzles.len().max(1) {
        nozzle(builder, input, tool);
    }
    match input.caps.chamber {
        Some(caps) if caps.max.is_some() => {
            let name = "heater_generic chamber";
            builder.sensors.push(name.to_owned());
            builder.heaters.push(name.to_owned());
            builder.object(name, heater(&device.chamber));
            builder.section(name, limits(caps.max));
        }
        Some(_) => {
            super::sensors::temperature(builder, input, "temperature_sensor chamber", device.chamber.actual)
        }
        None => {}
    }
}

fn nozzle(builder: &mut Builder, input: &Input<'_>, tool: usize) {
    let name = object_name(tool);
    let nozzle = input.state.device.nozzles.get(tool);
    let state = nozzle.map(|nozzle| nozzle.heater).unwrap_or_default();
    let mut fields = heater(&state);
    let hot = state.actual.is_some_and(|actual| actual >= input.caps.min_extrude);
    if let Value::Object(fields) = &mut fields {
        fields.insert("can_extrude".to_owned(), Value::from(hot));
        fields.insert("motion_queue".to_owned(), Value::Null);
    }
    builder.sensors.push(name.clone());
    builder.heaters.push(name.clone());
    builder.object(name.as_str(), fields);
    // 0.4 mm is what these printers are sold with; OrcaSlicer's filament sync stops without a diameter (#13202).
    let diameter = nozzle.and_then(|nozzle| nozzle.diameter_mm).unwrap_or(0.4);
    let mut section = limits(input.caps.nozzles.get(tool).and_then(|caps| caps.max));
    if let Value::Object(section) = &mut section {
        section.insert("nozzle_diameter".to_owned(), Value::from(diameter));
        section.insert("filament_diameter".to_owned(), Value::from(1.75));
        section.insert("min_extrude_temp".to_owned(), Value::from(input.caps.min_extrude));
        section.insert("max_extrude_only_distance".to_owned(), Value::from(200.0));
        section
            .insert("max_extrude_cross_section".to_owned(), super::reading(Some(4.0 * diameter * diameter)));
    }
    builder.section(&name, section);
}

/// `extruder`, `extruder1`, ... by tool number.
pub fn object_name(tool: usize) -> String {
    if tool == 0 { "extruder".to_owned() } else { format!("extruder{tool}") }
}

fn heater(heater: &Heater) -> Value {
    json!({
        "temperature": reading(heater.actual),
        "target": reading(Some(heater.target.unwrap_or(0.0))),
        "power": power(heater),
    })
}

fn power(heater: &Heater) -> f64 {
    match (heater.target, heater.actual) {
        (Some(target), Some(actual)) if target > actual + HOLDING_C => 1.0,
        (Some(target), Some(actual)) if target > 0.0 && actual <= target + HOLDING_C => HOLDING_POWER,
        _ => 0.0,
    }
}

fn limits(max: Option<f64>) -> Value {
    json!({"min_temp": 0.0, "max_temp": max.unwrap_or(0.0), "max_power": 1.0})
}
