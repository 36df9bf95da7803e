//! Fans (moonraker.md 3.4): what can be set is `fan` or `fan_generic`, what is only reported `controller_fan`.

use serde_json::json;

use super::{Builder, Input};
use crate::gcode::translate::fan_name;
use crate::model::FanId;

pub fn add(builder: &mut Builder, input: &Input<'_>) {
    for fan in &input.caps.fans {
        let name = match fan {
            FanId::Part => "fan".to_owned(),
            other => format!("fan_generic {}", fan_name(*other)),
        };
        add_fan(builder, input, *fan, &name);
    }
    for fan in input.caps.fans_read_only.difference(&input.caps.fans) {
        let kind = if *fan == FanId::Hotend { "heater_fan" } else { "controller_fan" };
        add_fan(builder, input, *fan, &format!("{kind} {}", fan_name(*fan)));
    }
}

fn add_fan(builder: &mut Builder, input: &Input<'_>, fan: FanId, name: &str) {
    let state = input.state.device.fans.get(&fan).copied().unwrap_or_default();
    let speed = state.speed.unwrap_or(0.0);
    builder.object(name, json!({"speed": (speed * 1000.0).round() / 1000.0, "rpm": state.rpm}));
    builder.section(name, json!({"max_power": 1.0, "off_below": 0.0}));
}
