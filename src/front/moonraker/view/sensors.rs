//! What is only measured: temperatures, filament at the tool (moonraker.md 3.4).

use serde_json::json;

use super::{Builder, Input, heaters, reading};

/// The printers do not name the type of their sensors. "temperature_host" and "temperature_mcu" are the gateway's own
/// computer and its boards: Mainsail would show the reading as theirs, and hide it with them.
const SENSOR_TYPE: &str = "printer";

pub fn add(builder: &mut Builder, input: &Input<'_>) {
    for (tool, nozzle) in input.state.device.nozzles.iter().enumerate() {
        let Some(detected) = nozzle.filament_detected else { continue };
        let place = if tool == 0 { "toolhead".to_owned() } else { heaters::object_name(tool) };
        let name = format!("filament_switch_sensor {place}");
        builder.object(name.as_str(), json!({"filament_detected": detected, "enabled": true}));
        builder.section(&name, json!({"pause_on_runout": true}));
    }
}

/// A temperature that nothing regulates.
pub fn temperature(builder: &mut Builder, input: &Input<'_>, name: &str, actual: Option<f64>) {
    let extremes = input.extremes.get(name).copied().or(actual.map(|actual| (actual, actual)));
    builder.sensors.push(name.to_owned());
    builder.object(
        name,
        json!({
            "temperature": reading(actual),
            "measured_min_temp": reading(extremes.map(|(low, _)| low)),
            "measured_max_temp": reading(extremes.map(|(_, high)| high)),
        }),
    );
    builder.section(name, json!({"sensor_type": SENSOR_TYPE, "min_temp": 0.0, "max_temp": 100.0}));
}
