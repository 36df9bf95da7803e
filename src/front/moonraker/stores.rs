//! The temperatures of the last twenty minutes (moonraker.md 2.6 `server.temperature_store`).

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value};

use super::view::Object;

/// Samples kept of each sensor, one a second; `server.config` tells KlipperScreen the same number.
pub const TEMPERATURE_SAMPLES: usize = 1200;

/// The fields that are sampled and their names in the answer.
const SERIES: [(&str, &str); 4] =
    [("temperature", "temperatures"), ("target", "targets"), ("power", "powers"), ("speed", "speeds")];

/// A value as a view shows it, in two bytes instead of a JSON value's thirty-two: hundredths above -100; readings are
/// rounded to hundredths anyway, and none is above 555.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample(u16);

impl Sample {
    const NONE: Self = Self(u16::MAX);
    const ZERO: f64 = 100.0;

    fn of(value: &Value) -> Self {
        let hundredths =
            |value: f64| ((value + Self::ZERO) * 100.0).round().clamp(0.0, f64::from(u16::MAX - 1));
        value.as_f64().map_or(Self::NONE, |value| Self(hundredths(value) as u16))
    }

    fn value(self) -> Value {
        if self == Self::NONE {
            return Value::Null;
        }
        Value::from((f64::from(self.0) - Self::ZERO * 100.0) / 100.0)
    }
}

/// One ring of samples for each field of each sensor.
#[derive(Debug, Default)]
pub struct TemperatureStore {
    sensors: BTreeMap<String, Vec<(&'static str, VecDeque<Sample>)>>,
}

impl TemperatureStore {
    /// Takes one sample of every sensor; sensors that are gone are forgotten.
    pub fn sample(&mut self, readings: &BTreeMap<String, Object>) {
        self.sensors.retain(|name, _| readings.contains_key(name));
        for (name, object) in readings {
            if !self.sensors.contains_key(name) {
                self.sensors.insert(name.clone(), Vec::with_capacity(SERIES.len()));
            }
            let Some(series) = self.sensors.get_mut(name) else { continue };
            for (field, plural) in SERIES {
                let Some(value) = object.get(field) else { continue };
                match series.iter_mut().find(|(name, _)| *name == plural) {
                    Some((_, ring)) => {
                        if ring.len() == TEMPERATURE_SAMPLES {
                            ring.pop_front();
                        }
                        ring.push_back(Sample::of(value));
                    }
                    None => {
                        let mut ring = VecDeque::with_capacity(TEMPERATURE_SAMPLES);
                        ring.push_back(Sample::of(value));
                        series.push((plural, ring));
                    }
                }
            }
        }
    }

    /// The answer, oldest sample first.
    pub fn answer(&self) -> Value {
        let sensor = |series: &Vec<(&'static str, VecDeque<Sample>)>| -> Value {
            series
                .iter()
                .map(|(name, ring)| {
                    ((*name).to_owned(), ring.iter().map(|sample| sample.value()).collect::<Value>())
                })
                .collect::<Map<_, _>>()
                .into()
        };
        self.sensors.iter().map(|(name, series)| (name.clone(), sensor(series))).collect::<Map<_, _>>().into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn samples_come_back_as_they_were_shown_and_the_oldest_go() {
        let mut store = TemperatureStore::default();
        for at in 0..TEMPERATURE_SAMPLES + 2 {
            let temperature = 20.0 + (at % 7) as f64 * 0.01;
            let bed = json!({"temperature": if at == 1201 { Value::Null } else { json!(temperature) }, "target": 350.25});
            let Value::Object(bed) = bed else { unreachable!("an object") };
            store.sample(&BTreeMap::from([("heater_bed".to_owned(), bed)]));
        }
        let answer = store.answer();
        let temperatures = answer["heater_bed"]["temperatures"].as_array().expect("samples");
        assert_eq!(temperatures.len(), TEMPERATURE_SAMPLES);
        assert_eq!((&temperatures[0], &temperatures[1]), (&json!(20.02), &json!(20.03)));
        assert_eq!(temperatures[TEMPERATURE_SAMPLES - 1], Value::Null);
        assert_eq!(answer["heater_bed"]["targets"][0], json!(350.25));
        assert_eq!(answer["heater_bed"].get("powers"), None);
        store.sample(&BTreeMap::new());
        assert_eq!(store.answer(), json!({}));
    }

    #[test]
    fn values_out_of_range_stay_at_its_edge() {
        let back = |value: f64| Sample::of(&json!(value)).value();
        assert_eq!((back(-40.5), back(0.0), back(1.0)), (json!(-40.5), json!(0.0), json!(1.0)));
        assert_eq!((back(-300.0), back(9000.0)), (json!(-100.0), json!(555.34)));
    }
}
