//! Lights as switchable pins: every client finds a light named so (moonraker.md 3.4).

use serde_json::json;

use super::{Builder, Input};
use crate::gcode::translate::light_name;

pub fn add(builder: &mut Builder, input: &Input<'_>) {
    for light in &input.caps.lights {
        let name = format!("output_pin {}", light_name(*light));
        let on = input.state.device.lights.get(light).is_some_and(|light| light.on);
        builder.object(name.as_str(), json!({"value": if on { 1.0 } else { 0.0 }}));
        builder.section(&name, json!({"pwm": false, "scale": 1.0, "value": 0.0, "shutdown_value": 0.0}));
    }
}
