//! The temperatures of the last twenty minutes (moonraker.md 2.6 `server.temperature_store`).

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value};

use super::subscribe::View;

/// Samples kept of each sensor, one a second; `server.config` tells KlipperScreen the same number.
pub const TEMPERATURE_SAMPLES: usize = 1200;

/// The fields that are sampled and their names in the answer.
const SERIES: [(&str, &str); 4] =
    [("temperature", "temperatures"), ("target", "targets"), ("power", "powers"), ("speed", "speeds")];

/// One ring of samples for each field of each sensor.
#[derive(Debug, Default)]
pub struct TemperatureStore {
    sensors: BTreeMap<String, BTreeMap<&'static str, VecDeque<Value>>>,
}

impl TemperatureStore {
    /// Takes one sample of every sensor that the view lists; sensors that are gone are forgotten.
    pub fn sample(&mut self, view: &View) {
        let listed = view.objects.get("heaters").and_then(|heaters| heaters.get("available_sensors"));
        let names: Vec<&str> =
            listed.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        self.sensors.retain(|name, _| names.contains(&name.as_str()));
        for name in names {
            let Some(object) = view.objects.get(name) else { continue };
            let series = self.sensors.entry(name.to_owned()).or_default();
            for (field, plural) in SERIES {
                let Some(value) = object.get(field) else { continue };
                let ring = series.entry(plural).or_default();
                if ring.len() == TEMPERATURE_SAMPLES {
                    ring.pop_front();
                }
                ring.push_back(value.clone());
            }
        }
    }

    /// The answer, oldest sample first.
    pub fn answer(&self) -> Value {
        let sensor = |series: &BTreeMap<&str, VecDeque<Value>>| -> Value {
            series
                .iter()
                .map(|(name, ring)| ((*name).to_owned(), ring.iter().cloned().collect::<Value>()))
                .collect::<Map<_, _>>()
                .into()
        };
        self.sensors.iter().map(|(name, series)| (name.clone(), sensor(series))).collect::<Map<_, _>>().into()
    }
}
