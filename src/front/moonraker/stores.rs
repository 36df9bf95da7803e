//! The temperatures of the last twenty minutes (moonraker.md 2.6 `server.temperature_store`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

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

/// The last [`TEMPERATURE_SAMPLES`] of one field. Equal neighbours are kept once with their number: targets and powers
/// stay for hours, and so do the temperatures of a printer at rest.
#[derive(Debug, Default)]
struct Series {
    runs: VecDeque<(Sample, u16)>,
    samples: usize,
}

impl Series {
    /// Runs for which room is made at a time: doubling would take twice what the longest series needs.
    const STEP: usize = 100;

    fn push(&mut self, sample: Sample) {
        match self.runs.back_mut() {
            Some((last, times)) if *last == sample => *times += 1,
            _ => {
                if self.runs.len() == self.runs.capacity() && !self.runs.is_empty() {
                    self.runs.reserve_exact(Self::STEP);
                }
                self.runs.push_back((sample, 1));
            }
        }
        self.samples += 1;
        if self.samples > TEMPERATURE_SAMPLES {
            self.samples -= 1;
            match self.runs.front_mut() {
                Some((_, times)) if *times > 1 => *times -= 1,
                _ => drop(self.runs.pop_front()),
            }
        }
    }

    /// Oldest first.
    fn answer(&self) -> Value {
        let values =
            |(sample, times): &(Sample, u16)| std::iter::repeat_n(sample.value(), usize::from(*times));
        self.runs.iter().flat_map(values).collect()
    }
}

/// One series of samples for each field of each sensor.
#[derive(Debug, Default)]
pub struct TemperatureStore {
    sensors: BTreeMap<String, Vec<(&'static str, Series)>>,
}

impl TemperatureStore {
    /// Takes one sample of every sensor; sensors that are gone are forgotten.
    pub fn sample(&mut self, readings: &BTreeMap<String, Arc<Object>>) {
        self.sensors.retain(|name, _| readings.contains_key(name));
        for (name, object) in readings {
            if !self.sensors.contains_key(name) {
                self.sensors.insert(name.clone(), Vec::with_capacity(SERIES.len()));
            }
            let Some(series) = self.sensors.get_mut(name) else { continue };
            for (field, plural) in SERIES {
                let Some(value) = object.get(field) else { continue };
                if !series.iter().any(|(name, _)| *name == plural) {
                    series.push((plural, Series::default()));
                }
                if let Some((_, samples)) = series.iter_mut().find(|(name, _)| *name == plural) {
                    samples.push(Sample::of(value));
                }
            }
        }
    }

    /// The answer, oldest sample first.
    pub fn answer(&self) -> Value {
        let sensor = |series: &Vec<(&'static str, Series)>| -> Value {
            let answered = series.iter().map(|(name, samples)| ((*name).to_owned(), samples.answer()));
            answered.collect::<Map<_, _>>().into()
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
            store.sample(&BTreeMap::from([("heater_bed".to_owned(), Arc::new(bed))]));
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
    fn equal_samples_are_kept_once_and_still_count_each() {
        let mut series = Series::default();
        let sampled = |number: usize| f64::from(u8::from(number % 400 < 300)) + 20.0;
        let last = TEMPERATURE_SAMPLES + 550;
        (0..last).for_each(|number| series.push(Sample::of(&json!(sampled(number)))));
        let expected: Vec<f64> = (last - TEMPERATURE_SAMPLES..last).map(sampled).collect();
        assert_eq!(series.answer(), json!(expected));
        assert!(series.runs.len() < 10, "{:?}", series.runs);
    }

    #[test]
    fn values_out_of_range_stay_at_its_edge() {
        let back = |value: f64| Sample::of(&json!(value)).value();
        assert_eq!((back(-40.5), back(0.0), back(1.0)), (json!(-40.5), json!(0.0), json!(1.0)));
        assert_eq!((back(-300.0), back(9000.0)), (json!(-100.0), json!(555.34)));
    }
}
