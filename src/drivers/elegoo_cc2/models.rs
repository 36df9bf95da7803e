//! The table of models that speak this protocol.

use crate::model::{
    Calibration, CameraKind, Capabilities, ControlCaps, Evidence, FanId, FilamentCaps, FileCaps, HeaterCaps,
    LightId, MotionCaps, SpeedLevel,
};

/// One model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// `machine_model` of discovery and method 1001.
    pub machine_model: &'static str,
    pub title: &'static str,
    pub evidence: Evidence,
}

/// The only machine known with this protocol.
pub const CENTAURI_CARBON_2: Model =
    Model { machine_model: "Centauri Carbon 2", title: "Centauri Carbon 2", evidence: Evidence::Captured };

/// All rows.
pub const MODELS: [Model; 1] = [CENTAURI_CARBON_2];

/// The row for a `machine_model`, which some firmware writes with the maker's name before it.
pub fn find(machine_model: &str) -> Option<&'static Model> {
    let name = machine_model.trim().to_ascii_lowercase();
    MODELS.iter().find(|model| name.contains(&model.machine_model.to_ascii_lowercase()))
}

/// `speed_mode` 0 to 3 in percent, with the names on the screen (elegoo.md 3.7).
pub const SPEEDS: [(u16, &str); 4] = [(50, "Silent"), (100, "Balanced"), (130, "Sport"), (160, "Ludicrous")];

/// Highest targets in °C: the SDK's claims (elegoo.md 4), below the firmware's own limits.
pub const NOZZLE_MAX: f64 = 300.0;
/// As [`NOZZLE_MAX`].
pub const BED_MAX: f64 = 120.0;

/// The `speed_mode` nearest to a factor.
pub fn nearest_mode(factor: f64) -> u8 {
    let distance = |percent: u16| (f64::from(percent) - factor * 100.0).abs();
    (0_u8..)
        .zip(SPEEDS)
        .min_by(|(_, (a, _)), (_, (b, _))| distance(*a).total_cmp(&distance(*b)))
        .map_or(1, |(mode, _)| mode)
}

/// What the printer can do; `canvas` once one was reported.
pub fn capabilities(model: &Model, canvas: bool) -> Capabilities {
    Capabilities {
        vendor: "Elegoo".to_owned(),
        model: model.title.to_owned(),
        evidence: model.evidence,
        volume_mm: [256.0; 3],
        nozzles: vec![HeaterCaps { max: Some(NOZZLE_MAX) }],
        bed: HeaterCaps { max: Some(BED_MAX) },
        chamber: Some(HeaterCaps { max: None }),
        fans: [FanId::Part, FanId::Auxiliary, FanId::Chamber].into(),
        fans_read_only: [FanId::Hotend, FanId::Controller].into(),
        lights: [LightId::Chamber].into(),
        speed_levels: SPEEDS
            .iter()
            .map(|(percent, name)| SpeedLevel {
                name: (*name).to_owned(),
                factor: f64::from(*percent) / 100.0,
            })
            .collect(),
        speed_only_printing: true,
        // 1026 homes all axes whatever is asked (captured); 1027 comes from the SDK and one client (elegoo.md 3.6).
        motion: MotionCaps { home: true, jog: true, ..MotionCaps::default() },
        filament: FilamentCaps {
            load: true,
            unload: true,
            edit: canvas,
            map: canvas,
            auto_refill: canvas,
            ..FilamentCaps::default()
        },
        files: FileCaps {
            list: true,
            download: true,
            arrange: false,
            delete: true,
            gcode: true,
            archives: false,
            remove_after_job: false,
        },
        control: ControlCaps { emergency_stop: true, ..ControlCaps::default() },
        camera: CameraKind::Jpeg,
        calibrations: [Calibration::BedLevelling, Calibration::Vibration, Calibration::Pid].into(),
        min_extrude: 170.0,
        ..Capabilities::default()
    }
}
