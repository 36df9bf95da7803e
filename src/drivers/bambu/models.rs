//! One row per model: everything that differs between them as data (bambu.md 1.3, 3.4, 3.7, 3.8, 4, 5.1).
//!
//! A new model is a new row in [`table`]. No other file asks for a model by name.

mod table;

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::{at, bit, bits32, hex, list, small};
use crate::model::{
    AirMode, Calibration, CameraKind, Capabilities, Celsius, ControlCaps, Evidence, FanId, FilamentCaps,
    FileCaps, HeaterCaps, LightId, Millimeters, MotionCaps, PrintOption, SpeedLevel,
};

pub(super) use table::{GENERIC, ROWS};

/// The chamber as the model has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Chamber {
    /// No sensor; the constant 5 that is reported is hidden (bambu.md T13).
    Faked,
    Measured,
    Heated {
        max: Celsius,
        by: ChamberCommand,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ChamberCommand {
    /// `set_ctt` (H2 family, X2D).
    SetCtt,
    /// `M141` (X1E).
    M141,
}

/// Where the state of the front door is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    None,
    /// `home_flag` bit 23 (X1 family).
    HomeFlag,
    /// `stat` bit 23, on older firmware `home_flag` bit 23.
    Stat,
}

/// One model.
#[derive(Debug, Clone, Copy)]
pub(super) struct ModelRow {
    /// "P1S".
    pub name: &'static str,
    /// Codes in SSDP, the detect port and sliced files.
    pub codes: &'static [&'static str],
    /// `product_name` of module `ota`.
    pub products: &'static [&'static str],
    /// First three characters of the serial number: a guess only, H2 prefixes are mixed (bambu.md 1.3).
    pub prefixes: &'static [&'static str],
    /// `hw_ver` of the main board (module `rv1126` or `ap`), where it is known: the last clue of old firmware.
    pub boards: &'static [&'static str],
    pub evidence: Evidence,
    /// Commands may be sent.
    pub controllable: bool,
    /// From the maker's data sheets, not measured.
    pub volume_mm: [Millimeters; 3],
    pub bed_slinger: bool,
    pub nozzles: usize,
    pub nozzle_max: Celsius,
    pub bed_max: Celsius,
    /// Lower limit of the bed at 220 V mains, where there is one.
    pub bed_max_220v: Option<Celsius>,
    pub chamber: Chamber,
    pub fans: &'static [FanId],
    /// Fans that come with the upgrade kit (`home_flag` bit 26).
    pub kit_fans: &'static [FanId],
    pub lights: &'static [LightId],
    /// The chamber has two light nodes that are switched together.
    pub second_chamber_light: bool,
    pub camera: CameraKind,
    pub door: Door,
    pub calibrations: &'static [Calibration],
    /// `buzzer_ctrl` of new firmware (bambu.md 4.4).
    pub buzzer: bool,
    /// Drying can be started over the network.
    pub remote_drying: bool,
    /// Firmware that may ignore M104 and M140 (bambu.md 4.3): repeated as M109 or M190 while idle.
    pub heat_needs_wait_code: bool,
    /// A second start of a file that never began uses `file:///sdcard/` (bambu.md 4.5).
    pub sdcard_url: bool,
    /// `vibration_cali` unless the user chose.
    pub vibration_default: bool,
    /// Has storage of its own for timelapses.
    pub internal_storage: bool,
    /// Small controller that slows down when asked often: seconds between complete reports (bambu.md 3.2).
    pub pushall_every_s: u64,
}

/// Name and factor of the speed levels 1 to 4 (bambu.md 3.5).
pub(super) const SPEEDS: [(&str, f64); 4] =
    [("Silent", 0.5), ("Standard", 1.0), ("Sport", 1.24), ("Ludicrous", 1.66)];

/// Words that Bambu's own profiles write for the stage shown and for filament changes (bambu.md 4.3, 5.6).
const GCODE_MARKERS: [&str; 2] = ["M1002", "M620"];
/// Below this the extruder of every model refuses to turn (bambu.md 4.3).
const MIN_EXTRUDE: Celsius = 170.0;

const MAKER: &str = "Bambu Lab";

/// What is known of the identity of a printer, best evidence first.
#[derive(Debug, Clone, Default)]
pub(super) struct Clues<'a> {
    /// `product_name` of get_version.
    pub product: Option<&'a str>,
    /// `project_name` of get_version modules (firmware before 2025).
    pub project: Option<&'a str>,
    /// Model code of the detect port, SSDP or the configuration; the model's name is taken too.
    pub code: Option<&'a str>,
    pub serial: &'a str,
    /// Hardware version of the main board: module and `hw_ver`.
    pub board: Option<(&'a str, &'a str)>,
}

/// The row of a printer; [`GENERIC`] where nothing fits.
pub(super) fn identify(clues: &Clues<'_>) -> &'static ModelRow {
    // Bridges leave the maker's name out, and not everybody writes spaces and dashes alike.
    let of_product = |product: &str| {
        by_code_or_name(product)
            .or_else(|| by_code_or_name(&format!("{MAKER} {product}")))
            .or_else(|| find(|row| bare(row.name) == bare(product)))
    };
    let by_product = clues.product.and_then(of_product);
    // A product that the maker names and nobody here knows is no relative of those with a like serial number.
    let new_product = clues.product.is_some_and(|product| product.starts_with(MAKER));
    let by_code = || [clues.project, clues.code].into_iter().flatten().find_map(by_code_or_name);
    let by_prefix = || {
        let prefix = clues.serial.get(..3).filter(|_| !new_product)?;
        find(|row| any(row.prefixes, prefix))
    };
    let by_board = || match clues.board? {
        ("rv1126" | "ap", version) => find(|row| row.boards.contains(&version)),
        _ => None,
    };
    by_product.or_else(by_code).or_else(by_prefix).or_else(by_board).unwrap_or(&GENERIC)
}

/// The row with this model code or name, whatever its case.
pub(super) fn by_code_or_name(text: &str) -> Option<&'static ModelRow> {
    let wanted = text.trim();
    find(|row| any(row.codes, wanted) || row.name.eq_ignore_ascii_case(wanted) || any(row.products, wanted))
}

/// A product name without its maker, spaces and dashes, in lower case.
fn bare(product: &str) -> String {
    let keep = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
    };
    let bare = keep(product);
    bare.strip_prefix(&keep(MAKER)).map_or_else(|| bare.clone(), ToOwned::to_owned)
}

fn find(fits: impl Fn(&ModelRow) -> bool) -> Option<&'static ModelRow> {
    ROWS.iter().find(|row| fits(row))
}

fn any(known: &[&str], text: &str) -> bool {
    known.iter().any(|known| known.eq_ignore_ascii_case(text))
}

impl ModelRow {
    pub fn dual(&self) -> bool {
        self.nozzles > 1
    }

    /// What the row and the reports together say that the printer can do.
    pub fn capabilities(&self, tree: &Value) -> Capabilities {
        if !self.controllable {
            return self.read_only();
        }
        let flags = u128::from(bits32(at(tree, "/home_flag")).unwrap_or(0));
        let fans = self.settable_fans(tree, flags);
        let mut fans_read_only = BTreeSet::from([FanId::Hotend]);
        if part_numbers(tree).contains(&6) {
            fans_read_only.insert(FanId::Circulation);
        }
        Capabilities {
            bed: HeaterCaps { max: Some(self.bed_limit(flags)) },
            fans,
            fans_read_only,
            lights: self.lights.iter().copied().collect(),
            air_modes: air_modes(tree),
            speed_levels: SPEEDS
                .iter()
                .map(|(name, factor)| SpeedLevel { name: (*name).to_owned(), factor: *factor })
                .collect(),
            // Only bare G28 is safe (bambu.md T35); homing and jogging over MQTT were captured by other clients only.
            motion: MotionCaps { home: true, home_axes: false, jog: true, extrude: true, motors_off: true },
            filament: FilamentCaps {
                load: true,
                unload: true,
                edit: true,
                read_tag: true,
                map: true,
                auto_refill: true,
                recover: true,
                dry: self.remote_drying,
                flow_profile: true,
            },
            files: file_caps(),
            control: ControlCaps {
                skip_objects: true,
                emergency_stop: false,
                raw_gcode: true,
                raw_vendor: true,
                clear_fault: true,
                select_tool: self.dual(),
                set_nozzle: !self.dual(),
                buzzer: self.buzzer,
            },
            calibrations: self.calibrations.iter().copied().collect(),
            options: options(tree, flags),
            ..self.read_only()
        }
    }

    fn read_only(&self) -> Capabilities {
        Capabilities {
            vendor: MAKER.to_owned(),
            model: self.name.to_owned(),
            slicer_names: self.codes.iter().chain(self.products).map(|name| (*name).to_owned()).collect(),
            evidence: self.evidence,
            volume_mm: self.volume_mm,
            bed_slinger: self.bed_slinger,
            nozzles: vec![HeaterCaps { max: self.controllable.then_some(self.nozzle_max) }; self.nozzles],
            chamber: match self.chamber {
                Chamber::Faked => None,
                Chamber::Measured => Some(HeaterCaps { max: None }),
                Chamber::Heated { max, .. } => Some(HeaterCaps { max: Some(max) }),
            },
            fans_read_only: self.fans.iter().copied().chain([FanId::Hotend]).collect(),
            files: FileCaps { list: true, download: true, ..FileCaps::default() },
            camera: self.camera,
            door_sensor: self.door != Door::None,
            gcode_markers: GCODE_MARKERS.map(ToOwned::to_owned).to_vec(),
            min_extrude: MIN_EXTRUDE,
            ..Capabilities::default()
        }
    }

    fn bed_limit(&self, flags: u128) -> Celsius {
        self.bed_max_220v.filter(|_| bit(flags, 3)).unwrap_or(self.bed_max)
    }

    /// A printer that lists its air duct has exactly the fans listed there (bambu.md 3.8).
    fn settable_fans(&self, tree: &Value, flags: u128) -> BTreeSet<FanId> {
        let parts = part_numbers(tree);
        let kit = if bit(flags, 26) { self.kit_fans } else { &[] };
        let of_row = self.fans.iter().chain(kit).copied();
        if parts.is_empty() {
            return of_row.collect();
        }
        parts.iter().filter_map(|part| fan_of_part(*part)).filter(|fan| *fan != FanId::Circulation).collect()
    }
}

fn file_caps() -> FileCaps {
    // Plain G-code is not startable reliably (bambu.md 4.5); a file left in the root could start by itself (T20).
    FileCaps {
        list: true,
        download: true,
        delete: true,
        // Some firmware knows neither RNFR nor MKD (bambu.md 5.2): it says so when asked.
        arrange: true,
        archives: true,
        gcode: false,
        remove_after_job: true,
    }
}

/// The ways of leading the air that the printer lists.
fn air_modes(tree: &Value) -> BTreeSet<AirMode> {
    list(at(tree, "/device/airduct/modeList"))
        .iter()
        .filter_map(|mode| air_mode(at(mode, "/modeId")))
        .collect()
}

/// `modeCur` and `modeId` of the air duct (bambu.md 3.8).
const AIR_MODES: [AirMode; 3] = [AirMode::Cooling, AirMode::Heating, AirMode::Exhaust];

pub(super) fn air_mode(number: &Value) -> Option<AirMode> {
    AIR_MODES.get(small::<usize>(number)?).copied()
}

/// The number of a way of leading the air.
pub(super) fn air_mode_number(mode: AirMode) -> Option<usize> {
    AIR_MODES.iter().position(|known| *known == mode)
}

/// Numbers of the air duct parts that the printer lists.
fn part_numbers(tree: &Value) -> Vec<u8> {
    let parts = list(at(tree, "/device/airduct/parts"));
    parts.iter().filter_map(|part| small::<u16>(at(part, "/id"))).map(|id| (id >> 4).min(255) as u8).collect()
}

/// The fan behind an air duct part number (`id >> 4`).
pub(super) fn fan_of_part(part: u8) -> Option<FanId> {
    match part {
        1 => Some(FanId::Part),
        2 => Some(FanId::Auxiliary),
        3 => Some(FanId::Chamber),
        6 => Some(FanId::Circulation),
        10 => Some(FanId::AuxiliaryLeft),
        _ => None,
    }
}

/// Options that every model has, and those that this one says it supports (bambu.md 3.8, 3.10).
fn options(tree: &Value, flags: u128) -> BTreeSet<PrintOption> {
    use PrintOption::*;
    let mut options = BTreeSet::from([
        AutoRecovery,
        AutoSwitchFilament,
        Timelapse,
        CameraRecording,
        AmsReadOnInsert,
        AmsReadAtStart,
        AmsEstimateRemaining,
    ]);
    let fun = hex(at(tree, "/fun")).unwrap_or(0);
    let fun2 = hex(at(tree, "/fun2")).unwrap_or(0);
    // Only firmware that tells the packed form has more than the spaghetti detector.
    let detects = !at(tree, "/xcam/cfg").is_null();
    let supported = [
        (PromptSound, bit(flags, 18) || bit(fun, 8)),
        (FilamentTangleDetection, bit(flags, 19)),
        (NozzleBlobDetection, bit(flags, 25)),
        (AirPrintDetection, bit(flags, 29)),
        (BuildPlateMarker, !at(tree, "/xcam/buildplate_marker_detector").is_null()),
        (FirstLayerInspection, !at(tree, "/xcam/first_layer_inspector").is_null()),
        (SpaghettiDetection, !at(tree, "/xcam/spaghetti_detector").is_null()),
        (AllowSkippingParts, !at(tree, "/xcam/allow_skip_parts").is_null()),
        (PileUpDetection, detects),
        (NozzleClumpDetection, detects),
        (AiAirPrintDetection, detects),
        (PlateAlignment, detects && bit(fun2, 2)),
    ];
    options.extend(supported.into_iter().filter(|(_, has)| *has).map(|(option, _)| option));
    options
}

#[cfg(test)]
#[path = "models_tests.rs"]
mod tests;
