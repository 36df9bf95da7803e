//! The rows. Sources: bambu.md 1.3 (identity), 3.7 (limits), 3.8 (fans, lights), 3.10 (door), 5.1 (files), 6 (camera).

use super::{Chamber, ChamberCommand, Door, ModelRow};
use crate::model::{
    Calibration::{
        self, BedLevelling, HighTemperatureBed, Lidar, MotorNoise, NozzleClumping, NozzleOffset, Vibration,
    },
    CameraKind, Evidence,
    FanId::{self, Auxiliary, AuxiliaryLeft, Part},
    LightId::{self, Work},
};

const BASIC_CALIBRATIONS: &[Calibration] = &[BedLevelling, Vibration, MotorNoise];
const PART_ONLY: &[FanId] = &[Part];
const THREE_FANS: &[FanId] = &[Part, Auxiliary, FanId::Chamber];
const CHAMBER_LIGHT: &[LightId] = &[LightId::Chamber];
const TWO_LIGHTS: &[LightId] = &[LightId::Chamber, Work];
const HEATED_65: Chamber = Chamber::Heated { max: 65.0, by: ChamberCommand::SetCtt };

/// What nobody knows yet: shown, never commanded.
pub(in super::super) static GENERIC: ModelRow = ModelRow {
    name: "unknown model",
    codes: &[],
    products: &[],
    prefixes: &[],
    boards: &[],
    evidence: Evidence::Guessed,
    controllable: false,
    volume_mm: [256.0, 256.0, 256.0],
    bed_slinger: false,
    nozzles: 1,
    nozzle_max: 300.0,
    bed_max: 100.0,
    bed_max_220v: None,
    chamber: Chamber::Faked,
    fans: PART_ONLY,
    kit_fans: &[],
    lights: CHAMBER_LIGHT,
    second_chamber_light: false,
    camera: CameraKind::None,
    door: Door::None,
    calibrations: &[],
    buzzer: false,
    remote_drying: false,
    heat_needs_wait_code: false,
    sdcard_url: false,
    vibration_default: true,
    internal_storage: false,
    pushall_every_s: 300,
};

/// Closed box with RTSP camera and a processor that reports completely about once per second.
const X1: ModelRow = ModelRow {
    evidence: Evidence::Captured,
    controllable: true,
    bed_max: 120.0,
    bed_max_220v: Some(110.0),
    chamber: Chamber::Measured,
    fans: THREE_FANS,
    lights: TWO_LIGHTS,
    camera: CameraKind::H264,
    door: Door::HomeFlag,
    calibrations: &[Lidar, BedLevelling, Vibration, MotorNoise],
    // From X1C firmware 01.11.02 (bambu.md 4.6); older ones ignore it, and the effect check says so.
    remote_drying: true,
    sdcard_url: true,
    pushall_every_s: 60,
    ..GENERIC
};

/// Small controller, JPEG camera.
const P1: ModelRow = ModelRow {
    evidence: Evidence::Captured,
    controllable: true,
    camera: CameraKind::Jpeg,
    calibrations: BASIC_CALIBRATIONS,
    heat_needs_wait_code: true,
    sdcard_url: true,
    ..GENERIC
};

/// Bed slinger, JPEG camera.
const A1: ModelRow = ModelRow { bed_slinger: true, heat_needs_wait_code: false, ..P1 };

/// Heated chamber, air duct, second chamber light.
const H2: ModelRow = ModelRow {
    evidence: Evidence::Captured,
    controllable: true,
    nozzle_max: 350.0,
    bed_max: 120.0,
    chamber: HEATED_65,
    fans: THREE_FANS,
    lights: TWO_LIGHTS,
    second_chamber_light: true,
    camera: CameraKind::H264,
    door: Door::Stat,
    calibrations: &[BedLevelling, Vibration, MotorNoise, HighTemperatureBed, NozzleClumping],
    buzzer: true,
    remote_drying: true,
    internal_storage: true,
    pushall_every_s: 60,
    ..GENERIC
};

const H2_DUAL: ModelRow = ModelRow {
    nozzles: 2,
    calibrations: &[BedLevelling, Vibration, MotorNoise, NozzleOffset, HighTemperatureBed, NozzleClumping],
    ..H2
};

pub(in super::super) static ROWS: &[ModelRow] = &[
    ModelRow {
        name: "X1C",
        codes: &["BL-P001", "3DPrinter-X1-Carbon"],
        products: &["Bambu Lab X1-Carbon", "Bambu Lab X1 Carbon"],
        prefixes: &["00M"],
        boards: &["AP05"],
        ..X1
    },
    ModelRow {
        name: "X1",
        codes: &["BL-P002", "3DPrinter-X1"],
        products: &["Bambu Lab X1"],
        prefixes: &["00W"],
        evidence: Evidence::Documented,
        ..X1
    },
    ModelRow {
        name: "X1E",
        codes: &["C13"],
        products: &["Bambu Lab X1E"],
        prefixes: &["03W"],
        boards: &["AP02"],
        evidence: Evidence::Documented,
        nozzle_max: 320.0,
        bed_max: 110.0,
        chamber: Chamber::Heated { max: 60.0, by: ChamberCommand::M141 },
        ..X1
    },
    ModelRow {
        name: "P1P",
        codes: &["C11"],
        products: &["Bambu Lab P1P"],
        prefixes: &["01S"],
        kit_fans: &[Auxiliary, FanId::Chamber],
        ..P1
    },
    ModelRow {
        name: "P1S",
        codes: &["C12"],
        products: &["Bambu Lab P1S"],
        prefixes: &["01P"],
        fans: THREE_FANS,
        ..P1
    },
    ModelRow {
        name: "A1 mini",
        codes: &["N1"],
        products: &["Bambu Lab A1 mini"],
        prefixes: &["030"],
        volume_mm: [180.0, 180.0, 180.0],
        bed_max: 80.0,
        ..A1
    },
    ModelRow { name: "A1", codes: &["N2S"], products: &["Bambu Lab A1"], prefixes: &["039"], ..A1 },
    ModelRow {
        name: "A2L",
        codes: &["N9"],
        products: &["Bambu Lab A2L"],
        prefixes: &["26A"],
        // Volume not in any source here: unverified.
        volume_mm: [330.0, 320.0, 325.0],
        bed_max: 80.0,
        remote_drying: true,
        sdcard_url: false,
        ..A1
    },
    ModelRow {
        name: "P2S",
        codes: &["N7"],
        products: &["Bambu Lab P2S"],
        prefixes: &["22E"],
        bed_max: 110.0,
        nozzle_max: 300.0,
        chamber: Chamber::Measured,
        fans: &[Part, Auxiliary],
        second_chamber_light: false,
        calibrations: BASIC_CALIBRATIONS,
        vibration_default: false,
        ..H2
    },
    ModelRow {
        name: "X2D",
        codes: &["N6"],
        products: &["Bambu Lab X2D"],
        prefixes: &["20P"],
        nozzle_max: 300.0,
        // Height not in any source here: unverified.
        volume_mm: [256.0, 256.0, 260.0],
        fans: &[Part, Auxiliary, AuxiliaryLeft, FanId::Chamber],
        second_chamber_light: false,
        ..H2_DUAL
    },
    ModelRow {
        name: "H2S",
        codes: &["O1S"],
        products: &["Bambu Lab H2S"],
        prefixes: &["093"],
        volume_mm: [340.0, 320.0, 340.0],
        ..H2
    },
    ModelRow {
        name: "H2D",
        codes: &["O1D"],
        products: &["Bambu Lab H2D"],
        prefixes: &["094"],
        volume_mm: [350.0, 320.0, 325.0],
        ..H2_DUAL
    },
    ModelRow {
        name: "H2D Pro",
        codes: &["O1E", "O2D"],
        products: &["Bambu Lab H2D Pro"],
        prefixes: &["239"],
        volume_mm: [350.0, 320.0, 325.0],
        ..H2_DUAL
    },
    ModelRow {
        name: "H2C",
        codes: &["O1C", "O1C2"],
        products: &["Bambu Lab H2C"],
        prefixes: &["31B"],
        volume_mm: [330.0, 320.0, 325.0],
        ..H2_DUAL
    },
];
