//! One row per model that speaks this protocol, and what their firmware can do. A new model is a new row; no other file
//! asks for a model by name.

use crate::drivers::elegoo::orders::speed_levels;
use crate::model::{
    CameraKind, Capabilities, Celsius, ControlCaps, Evidence, FanId, FilamentCaps, FileCaps, HeaterCaps,
    LightId, Millimeters, MotionCaps,
};

/// One model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// `MachineName` of discovery and attributes.
    pub machine_name: &'static str,
    /// What people read.
    pub title: &'static str,
    pub evidence: Evidence,
    /// Whatever XYZsize says (elegoo.md 2.8).
    pub volume_mm: [Millimeters; 3],
    /// Highest targets, the lower ones of two claims (elegoo.md 7).
    pub nozzle_max: Celsius,
    /// As `nozzle_max`.
    pub bed_max: Celsius,
    pub chamber_sensor: bool,
    pub fans: &'static [FanId],
}

/// Before the first contact.
pub const CENTAURI_CARBON: Model = Model {
    machine_name: "Centauri Carbon",
    title: "Centauri Carbon",
    evidence: Evidence::Captured,
    volume_mm: [256.0; 3],
    nozzle_max: 300.0,
    bed_max: 110.0,
    chamber_sensor: true,
    fans: &[FanId::Part, FanId::Auxiliary, FanId::Chamber],
};

/// Same board and firmware tree (FW1 builds e100_lite); no public capture of this variant (elegoo.md 1).
const CENTAURI: Model =
    Model { machine_name: "Centauri", title: "Centauri", evidence: Evidence::Guessed, ..CENTAURI_CARBON };

/// All rows. Resin printers answer the same discovery and are no rows: nothing of theirs maps onto this model.
pub const MODELS: &[Model] = &[CENTAURI_CARBON, CENTAURI];

/// The row for a `MachineName`; `None` for a resin printer or a machine of another protocol.
pub fn find(machine_name: &str) -> Option<&'static Model> {
    let name = machine_name.trim().to_ascii_lowercase();
    let name = name.strip_prefix("elegoo ").unwrap_or(&name);
    let exact = MODELS.iter().find(|model| model.machine_name.eq_ignore_ascii_case(name));
    // A Centauri Carbon 2 speaks another protocol; other names with the word count as the plain model (elegoo.md 1).
    exact.or_else(|| Some(&CENTAURI).filter(|_| name.contains("centauri") && !name.contains("carbon 2")))
}

/// What the printer can do; `canvas` once a Canvas was reported.
pub fn capabilities(model: &Model, canvas: bool) -> Capabilities {
    Capabilities {
        vendor: "Elegoo".to_owned(),
        model: model.title.to_owned(),
        evidence: model.evidence,
        volume_mm: model.volume_mm,
        nozzles: vec![HeaterCaps { max: Some(model.nozzle_max) }],
        bed: HeaterCaps { max: Some(model.bed_max) },
        chamber: model.chamber_sensor.then_some(HeaterCaps { max: None }),
        fans: model.fans.iter().copied().collect(),
        lights: [LightId::Chamber].into(),
        speed_levels: speed_levels(),
        speed_only_printing: true,
        // 401 and 402 come from the SDK and from clients; nobody has published their effect (elegoo.md 8).
        motion: MotionCaps { home: true, home_axes: true, jog: true, ..MotionCaps::default() },
        filament: FilamentCaps { map: canvas, ..FilamentCaps::default() },
        files: FileCaps {
            list: true,
            download: true,
            arrange: false,
            delete: true,
            gcode: true,
            archives: false,
            remove_after_job: false,
        },
        control: ControlCaps::default(),
        camera: CameraKind::Jpeg,
        min_extrude: 170.0,
        ..Capabilities::default()
    }
}

/// True above 1.1.x: only then Cmd 324 exists (elegoo.md 2.14). Patched firmware (V0.x-o) is below.
pub fn has_canvas_command(firmware: &str) -> bool {
    let mut numbers = firmware.trim().trim_start_matches(['V', 'v']).split('.').map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) > (1, 1))
}
