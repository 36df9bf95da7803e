//! The step a printer is in, by the number it reports (`stg_cur`, bambu.md 3.6). The words are our own.

use crate::model::StageDetail;

/// Steps by number, from 1.
const STEPS: [&str; 77] = [
    "levelling the bed",
    "heating the bed",
    "measuring vibration",
    "changing filament",
    "paused by the G-code",
    "paused: filament has run out",
    "heating the nozzle",
    "calibrating the extrusion",
    "scanning the bed",
    "inspecting the first layer",
    "identifying the build plate",
    "calibrating the lidar",
    "homing",
    "cleaning the nozzle",
    "checking the nozzle temperature",
    "paused by the user",
    "paused: the front cover came off",
    "calibrating the lidar",
    "calibrating the flow",
    "paused: nozzle temperature fault",
    "paused: bed temperature fault",
    "unloading filament",
    "paused: lost steps",
    "loading filament",
    "calibrating motor noise",
    "paused: the AMS does not answer",
    "paused: the hotend fan is too slow",
    "paused: chamber temperature fault",
    "cooling the chamber",
    "paused by the G-code",
    "playing motor sounds",
    "paused: filament sticks to the nozzle",
    "paused: filament cutter fault",
    "paused: the first layer failed",
    "paused: the nozzle is clogged",
    "checking the accuracy",
    "calibrating the accuracy",
    "checking the accuracy again",
    "calibrating the nozzle offset",
    "levelling the hot bed",
    "checking the quick release",
    "checking door and cover",
    "calibrating the laser",
    "checking the platform",
    "checking the overhead camera",
    "calibrating the overhead camera",
    "levelling the bed, first pass",
    "levelling the bed, second pass",
    "heating the chamber",
    "cooling the bed",
    "printing calibration lines",
    "checking the material",
    "calibrating the live camera",
    "waiting for the bed temperature",
    "checking the material position",
    "calibrating the cutter offset",
    "measuring the surface",
    "preconditioning the temperature",
    "homing the blade holder",
    "calibrating the camera offset",
    "calibrating the blade holder",
    "testing the hotend changer",
    "waiting for an even chamber temperature",
    "preparing the hotend",
    "calibrating clump detection",
    "cleaning the chamber air",
    "measuring the rotary attachment",
    "moving to the purge chute",
    "cooling the nozzle",
    "moving to the bed centre",
    "fitting arcs",
    "detecting the hotend type",
    "checking the plate position",
    "looking for objects on the bed",
    "looking for objects under the bed",
    "extruding before the print",
    "preparing the AMS",
];

/// Numbers that no firmware uses, which we set to learn that our G-code was executed (bambu.md 4.3).
pub(super) const MARKERS: std::ops::RangeInclusive<i64> = 200..=205;

/// The step in words; `None` for "printing" or "nothing". An unknown number is told as such.
pub(super) fn detail(code: i64) -> Option<StageDetail> {
    if matches!(code, i64::MIN..=0 | 255) || MARKERS.contains(&code) {
        return None;
    }
    let known = usize::try_from(code - 1).ok().and_then(|index| STEPS.get(index));
    let text = known.map_or_else(|| format!("stage {code}"), |step| (*step).to_owned());
    Some(StageDetail { code, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_words_and_unknown_ones_pass() {
        let words = |code| detail(code).map(|step| step.text);
        for (code, text) in [(1, "levelling the bed"), (13, "homing"), (35, "paused: the nozzle is clogged")]
        {
            assert_eq!(words(code).as_deref(), Some(text));
        }
        assert_eq!(words(24).as_deref(), Some("loading filament"));
        assert_eq!(words(49).as_deref(), Some("heating the chamber"));
        assert_eq!(words(66).as_deref(), Some("cleaning the chamber air"));
        assert_eq!(words(77).as_deref(), Some("preparing the AMS"));
        assert_eq!(words(91).as_deref(), Some("stage 91"));
        for nothing in [-1, 0, 255, 205, i64::MIN] {
            assert_eq!(words(nothing), None);
        }
    }
}
