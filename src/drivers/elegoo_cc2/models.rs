//! One row per model that speaks this protocol. A new model is a new row; no other file asks for a model by name.

use crate::drivers::elegoo::orders::speed_levels;
use crate::model::{
    Calibration, CameraKind, Capabilities, Celsius, ControlCaps, Evidence, FanId, FilamentCaps, FileCaps,
    HeaterCaps, LightId, Millimeters, MotionCaps,
};

/// One model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// `machine_model` of discovery and method 1001.
    pub machine_model: &'static str,
    pub title: &'static str,
    pub evidence: Evidence,
    pub volume_mm: [Millimeters; 3],
    /// Highest targets: the SDK's claims (elegoo.md 4), below the firmware's own limits.
    pub nozzle_max: Celsius,
    /// As `nozzle_max`.
    pub bed_max: Celsius,
    pub fans: &'static [FanId],
}

/// Before the first contact.
pub const CENTAURI_CARBON_2: Model = Model {
    machine_model: "Centauri Carbon 2",
    title: "Centauri Carbon 2",
    evidence: Evidence::Captured,
    volume_mm: [256.0; 3],
    nozzle_max: 300.0,
    bed_max: 120.0,
    fans: &[FanId::Part, FanId::Auxiliary, FanId::Chamber],
};

/// All rows.
pub const MODELS: &[Model] = &[CENTAURI_CARBON_2];

/// The row for a `machine_model`, which some firmware writes with the maker's name before it; of several that are in
/// the name, the one that says most of it.
pub fn find(machine_model: &str) -> Option<&'static Model> {
    let name = machine_model.trim().to_ascii_lowercase();
    let named = MODELS.iter().filter(|model| name.contains(&model.machine_model.to_ascii_lowercase()));
    named.max_by_key(|model| model.machine_model.len())
}

/// What the printer can do; `canvas` once one was reported.
pub fn capabilities(model: &Model, canvas: bool) -> Capabilities {
    Capabilities {
        vendor: "Elegoo".to_owned(),
        model: model.title.to_owned(),
        evidence: model.evidence,
        volume_mm: model.volume_mm,
        nozzles: vec![HeaterCaps { max: Some(model.nozzle_max) }],
        bed: HeaterCaps { max: Some(model.bed_max) },
        chamber: Some(HeaterCaps { max: None }),
        fans: model.fans.iter().copied().collect(),
        fans_read_only: [FanId::Hotend, FanId::Controller].into(),
        lights: [LightId::Chamber].into(),
        speed_levels: speed_levels(),
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
