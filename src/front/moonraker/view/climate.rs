//! Air and dryer of a filament unit, shown below it by the panels (moonraker.md 3.4 humidity, 3.5).

use serde_json::{Map, Value, json};

use super::{Builder, Input, reading, sensors};
use crate::model::FilamentUnit;

/// The front ends take the humidity from an object named after the sensor's type.
const SENSOR_TYPE: &str = "HTU21D";

fn measures(unit: &FilamentUnit) -> bool {
    unit.temperature.is_some() || unit.humidity_percent.is_some()
}

pub fn add(builder: &mut Builder, input: &Input<'_>, unit: &FilamentUnit) {
    let key = unit.key();
    if measures(unit) {
        let name = format!("temperature_sensor {key}");
        sensors::temperature(builder, input, &name, unit.temperature);
        builder.section(&name, json!({"sensor_type": SENSOR_TYPE, "min_temp": 0.0, "max_temp": 100.0}));
    }
    if let Some(humidity) = unit.humidity_percent {
        let mut fields = Map::from_iter([("humidity".to_owned(), reading(Some(humidity)))]);
        if unit.temperature.is_some() {
            fields.insert("temperature".to_owned(), reading(unit.temperature));
        }
        builder.object(format!("{} {key}", SENSOR_TYPE.to_lowercase()), fields.into());
    }
    // What cannot be set is not offered as a heater; the state of drying is shown all the same.
    let Some(dryer) = unit.dryer.as_ref().filter(|_| input.caps.filament.dry) else { return };
    let name = format!("heater_generic {}", unit.dryer_key());
    let heats = dryer.phase.heats();
    let target = dryer.target.filter(|_| heats).unwrap_or(0.0);
    // Also where the printer does not tell the target: a heater that heats is never shown as off.
    let power = if heats { 1.0 } else { 0.0 };
    builder.sensors.push(name.clone());
    builder.heaters.push(name.clone());
    builder.object(
        name.as_str(),
        json!({"temperature": reading(Some(unit.temperature.unwrap_or(0.0))), "target": target, "power": power}),
    );
    builder.section(&name, json!({"min_temp": 0.0, "max_temp": dryer.max, "max_power": 1.0}));
}

/// How the unit says which sensors are its own.
pub fn name_sensors(fields: &mut Map<String, Value>, input: &Input<'_>, unit: &FilamentUnit) {
    let key = unit.key();
    if measures(unit) {
        fields.insert("environment_sensor".to_owned(), format!("temperature_sensor {key}").into());
    }
    if unit.dryer.is_some() && input.caps.filament.dry {
        fields.insert("filament_heater".to_owned(), format!("heater_generic {}", unit.dryer_key()).into());
    }
}
