//! One row per model, in the table of its protocol, and what all of them can do. A new model is a new row; no other file
//! asks for a model by name.

use super::orders::speed_levels;
use crate::model::{
    CameraKind, Capabilities, Celsius, Evidence, FanId, FileCaps, HeaterCaps, LightId, Millimeters,
};

/// One model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// As it calls itself, and as people read it: `MachineName` (elegoo.md 2.2), `machine_model` (elegoo.md 3.2).
    pub name: &'static str,
    pub evidence: Evidence,
    /// Whatever the printer says of it (elegoo.md 2.8).
    pub volume_mm: [Millimeters; 3],
    /// Highest targets, the lower ones of two claims (elegoo.md 4, 7); firmware takes more.
    pub nozzle_max: Celsius,
    /// As `nozzle_max`.
    pub bed_max: Celsius,
    pub fans: &'static [FanId],
}

/// What counts before the first contact.
pub const CENTAURI_CARBON: Model = Model {
    name: "Centauri Carbon",
    evidence: Evidence::Captured,
    volume_mm: [256.0; 3],
    nozzle_max: 300.0,
    bed_max: 110.0,
    fans: &[FanId::Part, FanId::Auxiliary, FanId::Chamber],
};

/// Same board and firmware tree (FW1 builds e100_lite); no public capture of this variant (elegoo.md 1).
pub const CENTAURI: Model = Model { name: "Centauri", evidence: Evidence::Guessed, ..CENTAURI_CARBON };

/// As [`CENTAURI_CARBON`].
pub const CENTAURI_CARBON_2: Model = Model { name: "Centauri Carbon 2", bed_max: 120.0, ..CENTAURI_CARBON };

/// Those of SDCP. Resin printers answer the same discovery and are no rows: nothing of theirs maps onto this model.
pub const CC1: &[Model] = &[CENTAURI_CARBON, CENTAURI];

/// Those of JSON-RPC over MQTT.
pub const CC2: &[Model] = &[CENTAURI_CARBON_2];

/// What every one of them can do.
pub fn capabilities(model: &Model) -> Capabilities {
    Capabilities {
        vendor: "Elegoo".to_owned(),
        model: model.name.to_owned(),
        evidence: model.evidence,
        volume_mm: model.volume_mm,
        nozzles: vec![HeaterCaps { max: Some(model.nozzle_max) }],
        bed: HeaterCaps { max: Some(model.bed_max) },
        chamber: Some(HeaterCaps { max: None }),
        fans: model.fans.iter().copied().collect(),
        lights: [LightId::Chamber].into(),
        speed_levels: speed_levels(),
        speed_only_printing: true,
        files: FileCaps { list: true, download: true, delete: true, gcode: true, ..FileCaps::default() },
        camera: CameraKind::Jpeg,
        min_extrude: 170.0,
        ..Capabilities::default()
    }
}
