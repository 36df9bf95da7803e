//! Readings that no machine has: broken sensors, half-written reports and other firmware tell them. What was told before
//! stays, for front ends draw, add up and keep in their databases what they are given.

use crate::model::{Device, Heater};

/// °C: from a broken thermistor to more than any heater reaches.
const CELSIUS: std::ops::RangeInclusive<f64> = -300.0..=1000.0;
/// mm from the origin; far beyond the largest machine.
const REACH: f64 = 10_000.0;
/// Seconds of a job: three years.
pub const LONGEST: f64 = 1e8;
/// mm of filament: more than any printer feeds in three years.
const FILAMENT: f64 = 1e10;

/// Puts what cannot be back to what it was `before`.
pub fn keep_sane(before: &Device, device: &mut Device) {
    let cold = Heater::default();
    for (at, nozzle) in device.nozzles.iter_mut().enumerate() {
        heater(before.nozzles.get(at).map_or(&cold, |nozzle| &nozzle.heater), &mut nozzle.heater);
    }
    heater(&before.bed, &mut device.bed);
    heater(&before.chamber, &mut device.chamber);
    if device.motion.position.is_some_and(|at| at.iter().any(|axis| axis.is_nan() || axis.abs() > REACH)) {
        device.motion.position = before.motion.position;
    }
    let (job, was) = (&mut device.job, &before.job);
    bounded(&mut job.remaining_s, was.remaining_s, 0.0..=LONGEST);
    bounded(&mut job.total_s, was.total_s, 0.0..=LONGEST);
    bounded(&mut job.print_s, was.print_s, 0.0..=LONGEST);
    bounded(&mut job.filament_used_mm, was.filament_used_mm, 0.0..=FILAMENT);
}

fn heater(before: &Heater, heater: &mut Heater) {
    bounded(&mut heater.actual, before.actual, CELSIUS);
    bounded(&mut heater.target, before.target, CELSIUS);
}

fn bounded(value: &mut Option<f64>, before: Option<f64>, range: std::ops::RangeInclusive<f64>) {
    if value.is_some_and(|value| !range.contains(&value)) {
        *value = before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Capabilities, Nozzle};
    use crate::printer::StateWriter;

    fn told(actual: f64, seconds: f64, x: f64) -> impl FnOnce(&mut Device) {
        move |device| {
            let heater = Heater { actual: Some(actual), target: Some(actual) };
            device.nozzles = vec![Nozzle { heater, ..Nozzle::default() }];
            device.bed = heater;
            device.job.print_s = Some(seconds);
            device.motion.position = Some([x, 0.0, 0.0]);
        }
    }

    #[test]
    fn a_reading_that_no_machine_has_leaves_the_one_before() {
        let writer = StateWriter::new(Capabilities::default());
        writer.report(told(1e300, -1e300, f64::NAN));
        let unknown = writer.state();
        assert_eq!((unknown.device.bed, unknown.device.motion.position), (Heater::default(), None));
        writer.report(told(215.5, 60.0, 12.0));
        let good = writer.state();
        for nonsense in [1e300, -1e300, f64::NAN, f64::INFINITY, 20_000.0 * LONGEST] {
            writer.report(told(nonsense, nonsense, nonsense));
            assert_eq!(writer.state().device, good.device, "{nonsense}");
        }
        writer.report(told(216.0, 61.0, 13.0));
        assert_eq!(writer.state().device.bed.actual, Some(216.0));
    }
}
