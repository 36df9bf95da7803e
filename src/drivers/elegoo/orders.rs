//! Parts of a command that both protocols write alike: speeds, whole numbers, the steps of a jog.

use super::work::Plan;
use crate::model::{CommandError, DeviceStage, SpeedLevel};

/// Speed settings in percent, with the names on the screen, in the order of `speed_mode` 0 to 3 (elegoo.md 2.9, 3.7).
pub const SPEEDS: [(u16, &str); 4] = [(50, "Silent"), (100, "Balanced"), (130, "Sport"), (160, "Ludicrous")];

/// [`SPEEDS`] as the model has them.
pub fn speed_levels() -> Vec<SpeedLevel> {
    let level = |(percent, name): &(u16, &str)| SpeedLevel {
        name: (*name).to_owned(),
        factor: f64::from(*percent) / 100.0,
    };
    SPEEDS.iter().map(level).collect()
}

/// The speed setting nearest to a factor: its `speed_mode` and its percent.
pub fn nearest_speed(factor: f64) -> (u8, u16) {
    let distance = |percent: u16| (f64::from(percent) - factor * 100.0).abs();
    let settings = (0_u8..).zip(SPEEDS.map(|(percent, _)| percent));
    settings.min_by(|(_, a), (_, b)| distance(*a).total_cmp(&distance(*b))).unwrap_or((1, 100))
}

/// That the printer prints: it takes a speed at no other time.
///
/// # Errors
/// It does not.
pub fn takes_speed(stage: DeviceStage) -> Result<(), CommandError> {
    if stage == DeviceStage::Printing {
        return Ok(());
    }
    Err(CommandError::Invalid(
        "This printer takes a speed only while it prints; nothing was changed.".to_owned(),
    ))
}

/// One request for each axis that moves (elegoo.md 4); `axes` are X, Y and Z.
///
/// # Errors
/// None of them does.
pub fn jog<A, C>(
    axes: [A; 3],
    delta: [f64; 3],
    request: impl Fn(A, f64) -> C,
) -> Result<Plan<C>, CommandError> {
    let moving = axes.into_iter().zip(delta).filter(|(_, step)| step.is_finite() && *step != 0.0);
    let steps: Vec<C> = moving.map(|(axis, step)| request(axis, step)).collect();
    if steps.is_empty() {
        return Err(CommandError::Invalid("The move has no length.".to_owned()));
    }
    Ok(Plan::of(steps))
}

/// Rounded and within 0 to `max`: fits the integer it is cast to.
pub fn whole(value: f64, max: f64) -> f64 {
    if value.is_finite() { value.round().clamp(0.0, max) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_factor_is_one_of_the_printers_speeds() {
        for (factor, nearest) in [(0.1, (0, 50)), (0.9, (1, 100)), (1.2, (2, 130)), (9.0, (3, 160))] {
            assert_eq!(nearest_speed(factor), nearest, "{factor}");
        }
        for level in speed_levels() {
            assert_eq!(f64::from(nearest_speed(level.factor).1), level.factor * 100.0, "{}", level.name);
        }
    }

    #[test]
    fn what_is_no_number_moves_and_heats_nothing() {
        assert_eq!([whole(f64::NAN, 320.0), whole(-5.0, 320.0), whole(1e9, 320.0)], [0.0, 0.0, 320.0]);
        let jog = |delta| jog(["x", "y", "z"], delta, |axis, step| (axis, step));
        assert_eq!(jog([0.0, f64::NAN, 2.0]).map(|plan| plan.steps), Ok(vec![("z", 2.0)]));
        assert!(matches!(jog([0.0; 3]), Err(CommandError::Invalid(_))));
    }
}
