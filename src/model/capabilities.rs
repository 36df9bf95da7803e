//! What a printer can do: row of its driver's model table, refined by what it reports. Front ends offer nothing else.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{AirMode, CameraKind, Celsius, FanId, LightId, Millimeters, PrintOption};

/// How a row came to be believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// A captured report of this model is among the fixtures.
    Captured,
    Documented,
    #[default]
    Guessed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct HeaterCaps {
    /// °C accepted by the printer; `None` where it only measures.
    pub max: Option<Celsius>,
}

/// A step of the vendor's speed setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpeedLevel {
    pub name: String,
    /// 1.0 = 100 %.
    pub factor: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MotionCaps {
    pub home: bool,
    /// Single axes can be homed safely.
    pub home_axes: bool,
    pub jog: bool,
    pub extrude: bool,
    pub motors_off: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilamentCaps {
    pub load: bool,
    pub unload: bool,
    pub edit: bool,
    pub read_tag: bool,
    /// Slots can be mapped to a job's filaments at its start.
    pub map: bool,
    pub auto_refill: bool,
    /// A stuck change can be retried or given up.
    pub recover: bool,
    /// Units that can dry take commands for it; without it they dry from the printer's own screen only.
    pub dry: bool,
    /// A stored flow calibration can be chosen for a slot.
    pub flow_profile: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCaps {
    pub list: bool,
    pub download: bool,
    pub delete: bool,
    /// Renames, moves, and makes folders, where the firmware knows how.
    pub arrange: bool,
    /// Takes sliced 3MF archives.
    pub archives: bool,
    /// Takes plain G-code.
    pub gcode: bool,
    /// A transferred job file left behind could start by itself after a power cut (bambu.md T20): remove it.
    pub remove_after_job: bool,
}

/// Permission-independent abilities around jobs and the device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlCaps {
    pub skip_objects: bool,
    /// A real emergency stop exists; otherwise it is answered by a cancel and heaters off.
    pub emergency_stop: bool,
    /// Lines of G-code can be passed on.
    pub raw_gcode: bool,
    /// The vendor's own JSON can be passed on, if the configuration permits it.
    pub raw_vendor: bool,
    pub clear_fault: bool,
    pub select_tool: bool,
    pub set_nozzle: bool,
    pub buzzer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calibration {
    BedLevelling,
    Vibration,
    MotorNoise,
    NozzleOffset,
    HighTemperatureBed,
    NozzleClumping,
    Lidar,
    Pid,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Capabilities {
    /// "Bambu Lab".
    pub vendor: String,
    /// "P1S".
    pub model: String,
    /// What slicers call this model: their code of it first ("C12"), then further codes and names.
    pub slicer_names: Vec<String>,
    pub evidence: Evidence,
    /// X, Y, Z travel.
    pub volume_mm: [Millimeters; 3],
    /// The bed moves in Y (the front ends draw it so).
    pub bed_slinger: bool,
    /// By tool number.
    pub nozzles: Vec<HeaterCaps>,
    pub bed: HeaterCaps,
    /// `None`: no sensor. `Some` without a maximum: a sensor only.
    pub chamber: Option<HeaterCaps>,
    /// Fans that can be set.
    pub fans: BTreeSet<FanId>,
    /// Fans that are only reported.
    pub fans_read_only: BTreeSet<FanId>,
    pub lights: BTreeSet<LightId>,
    /// Ways of leading the air that can be chosen; empty where there is no air duct.
    pub air_modes: BTreeSet<AirMode>,
    pub speed_levels: Vec<SpeedLevel>,
    /// The speed can be set only while printing.
    pub speed_only_printing: bool,
    pub motion: MotionCaps,
    pub filament: FilamentCaps,
    pub files: FileCaps,
    pub control: ControlCaps,
    pub camera: CameraKind,
    pub calibrations: BTreeSet<Calibration>,
    pub options: BTreeSet<PrintOption>,
    pub door_sensor: bool,
    /// Words of which G-code sliced for this printer contains at least one; hosts that stream strip the comments, so
    /// nothing else tells whose file it is. Empty: its profiles write none, so any G-code within its limits will do.
    pub gcode_markers: Vec<String>,
    /// Below this nozzle temperature nothing is extruded.
    pub min_extrude: Celsius,
}

impl Capabilities {
    /// The speed level for a wished factor (1.0 = 100 %): the nearest one. A wish that differs from the level in force
    /// `now` and is nearest to just that one gets the next level its way, so that a step of a slider is not lost.
    pub fn speed_for(&self, factor: f64, now: Option<f64>) -> Option<&SpeedLevel> {
        let nearest = |to: f64| {
            move |a: &&SpeedLevel, b: &&SpeedLevel| (a.factor - to).abs().total_cmp(&(b.factor - to).abs())
        };
        let level = self.speed_levels.iter().min_by(nearest(factor))?;
        let Some(now) = now.filter(|now| (level.factor - now).abs() < SAME_SPEED) else { return Some(level) };
        let beyond = |other: &&SpeedLevel| {
            let (step, wish) = (other.factor - now, factor - now);
            wish.abs() > SAME_SPEED && step.abs() > SAME_SPEED && step.signum() == wish.signum()
        };
        Some(self.speed_levels.iter().filter(beyond).min_by(nearest(now)).unwrap_or(level))
    }
}

/// Speed factors closer than this are one and the same.
pub const SAME_SPEED: f64 = 0.005;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_speed_slider_is_a_step_of_the_printer() {
        let level = |factor: f64| SpeedLevel { name: format!("{factor}"), factor };
        let caps = Capabilities {
            speed_levels: [0.5, 1.0, 1.24, 1.66].map(level).to_vec(),
            ..Capabilities::default()
        };
        let speed = |wish, now| caps.speed_for(wish, now).map(|level| level.factor);
        assert_eq!(speed(1.05, None), Some(1.0), "the nearest while the speed is unknown");
        assert_eq!(speed(1.05, Some(1.0)), Some(1.24));
        assert_eq!(speed(0.95, Some(1.0)), Some(0.5));
        assert_eq!(speed(1.0, Some(1.0)), Some(1.0), "what is in force stays");
        assert_eq!(speed(1.05, Some(1.24)), Some(1.0), "the nearest of the others");
        assert_eq!(speed(0.55, Some(1.0)), Some(0.5));
        assert_eq!(speed(1.9, Some(1.66)), Some(1.66), "nothing lies beyond the last");
        assert_eq!(Capabilities::default().speed_for(1.0, None), None);
    }
}
