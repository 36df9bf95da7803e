//! The table of models that speak this protocol, and what their firmware can do.

use crate::model::{
    CameraKind, Capabilities, ControlCaps, Evidence, FanId, FilamentCaps, FileCaps, HeaterCaps, LightId,
    MotionCaps, SpeedLevel,
};

/// One model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// `MachineName` of discovery and attributes.
    pub machine_name: &'static str,
    /// What people read.
    pub title: &'static str,
    pub evidence: Evidence,
    pub chamber_sensor: bool,
}

/// Before the first contact.
pub const CENTAURI_CARBON: Model = Model {
    machine_name: "Centauri Carbon",
    title: "Centauri Carbon",
    evidence: Evidence::Captured,
    chamber_sensor: true,
};

/// All rows. Resin printers answer the same discovery and are no rows: nothing of theirs maps onto this model.
pub const MODELS: [Model; 2] = [
    CENTAURI_CARBON,
    // Same board and firmware tree (FW1 builds e100_lite); no public capture of this variant (elegoo.md 1).
    Model { machine_name: "Centauri", title: "Centauri", evidence: Evidence::Guessed, chamber_sensor: true },
];

/// The row for a `MachineName`; `None` for a resin printer or a machine of another protocol.
pub fn find(machine_name: &str) -> Option<&'static Model> {
    let name = machine_name.trim().to_ascii_lowercase();
    let name = name.strip_prefix("elegoo ").unwrap_or(&name);
    let exact = MODELS.iter().find(|model| model.machine_name.eq_ignore_ascii_case(name));
    // A Centauri Carbon 2 speaks another protocol; other names with the word count as the plain model (elegoo.md 1).
    exact.or_else(|| MODELS.last().filter(|_| name.contains("centauri") && !name.contains("carbon 2")))
}

/// Speed settings of the firmware in percent, with the names on its screen (elegoo.md 2.9).
pub const SPEEDS: [(u16, &str); 4] = [(50, "Silent"), (100, "Balanced"), (130, "Sport"), (160, "Ludicrous")];

/// Highest targets in °C, the lower ones of two claims (elegoo.md 7).
pub const NOZZLE_MAX: f64 = 300.0;
/// As [`NOZZLE_MAX`].
pub const BED_MAX: f64 = 110.0;

/// What the printer can do; `canvas` once a Canvas was reported.
pub fn capabilities(model: &Model, canvas: bool) -> Capabilities {
    Capabilities {
        vendor: "Elegoo".to_owned(),
        model: model.title.to_owned(),
        evidence: model.evidence,
        // Whatever XYZsize says (elegoo.md 2.8).
        volume_mm: [256.0; 3],
        nozzles: vec![HeaterCaps { max: Some(NOZZLE_MAX) }],
        bed: HeaterCaps { max: Some(BED_MAX) },
        chamber: model.chamber_sensor.then_some(HeaterCaps { max: None }),
        fans: [FanId::Part, FanId::Auxiliary, FanId::Chamber].into(),
        lights: [LightId::Chamber].into(),
        speed_levels: SPEEDS
            .iter()
            .map(|(percent, name)| SpeedLevel {
                name: (*name).to_owned(),
                factor: f64::from(*percent) / 100.0,
            })
            .collect(),
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

/// The speed setting nearest to a factor.
pub fn nearest_speed(factor: f64) -> u16 {
    let wanted = factor * 100.0;
    SPEEDS
        .iter()
        .map(|(percent, _)| *percent)
        .min_by(|a, b| (f64::from(*a) - wanted).abs().total_cmp(&(f64::from(*b) - wanted).abs()))
        .unwrap_or(100)
}
