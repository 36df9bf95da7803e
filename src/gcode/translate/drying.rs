//! What may be asked of any dryer; the printer knows its own limits within.

use crate::model::DryRequest;

/// Where a dryer is started without naming them: gentle to every material.
const TEMPERATURE: f64 = 45.0;
const HOURS: f64 = 8.0;
/// °C and hours that dryers take: no screen of one offers more than a day.
const TEMPERATURES: std::ops::RangeInclusive<f64> = 30.0..=90.0;
const DURATIONS: std::ops::RangeInclusive<f64> = 1.0..=24.0;

/// A request of these °C and hours, rounded to whole ones; `None` where no dryer takes them.
pub fn request(temperature: Option<f64>, hours: Option<f64>) -> Option<DryRequest> {
    let (temperature, hours) = (temperature.unwrap_or(TEMPERATURE), hours.unwrap_or(HOURS));
    let taken = TEMPERATURES.contains(&temperature) && DURATIONS.contains(&hours);
    taken.then_some(DryRequest { temperature, hours: hours.round() as u32 })
}
