//! Every captured report against the decode table of `fixtures/bambu/README.md`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::drivers::bambu::control;
use crate::drivers::bambu::field::{at, int, num, text};
use crate::drivers::bambu::testing::{Printer, names, shown, state};
use crate::drivers::bambu::wire::{Incoming, parse};
use crate::model::*;

/// The rows of the decode table by suffix, cells in order.
fn table() -> BTreeMap<String, Vec<String>> {
    let readme = std::fs::read_to_string("fixtures/bambu/README.md").expect("readme");
    let section = readme.split("### Expected decode").nth(1).expect("section");
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
            (cells.next().expect("suffix"), cells.collect())
        })
        .collect()
}

fn heater(actual: Option<f64>, target: Option<f64>) -> String {
    match (actual, target) {
        (None, _) => "none".to_owned(),
        (Some(actual), Some(target)) => format!("{actual}/{target}"),
        (Some(actual), None) => format!("{actual}"),
    }
}

/// The table rounds some temperatures to a few digits.
fn same(decoded: &str, cell: &str) -> bool {
    let numbers = |text: &str| -> Vec<f64> {
        text.split(|c: char| !c.is_ascii_digit() && c != '.').filter_map(|part| part.parse().ok()).collect()
    };
    let letters = |text: &str| text.replace(|c: char| c.is_ascii_digit() || c == '.', "");
    let (decoded_numbers, cell_numbers) = (numbers(decoded), numbers(cell));
    letters(decoded) == letters(cell)
        && decoded_numbers.len() == cell_numbers.len()
        && decoded_numbers.iter().zip(cell_numbers).all(|(a, b)| (a - b).abs() < 0.005)
}

fn nozzles(device: &Device) -> String {
    let all: Vec<String> =
        device.nozzles.iter().map(|nozzle| heater(nozzle.heater.actual, nozzle.heater.target)).collect();
    match all.as_slice() {
        [right, left] => format!("R{right}; L{left}"),
        [only] => only.clone(),
        _ => String::new(),
    }
}

fn active_slot(device: &Device) -> String {
    match device.filament.active {
        None => "none".to_owned(),
        Some(SlotId::External(_)) => "external".to_owned(),
        Some(SlotId::Unit { unit, .. }) if unit >= 128 => format!("AMS HT {unit}"),
        Some(SlotId::Unit { unit, slot }) => format!("AMS {unit} slot {slot}"),
    }
}

fn units(device: &Device, table_cell: &str) -> String {
    let unknown = table_cell.contains(":?");
    let all: Vec<String> = device
        .filament
        .units
        .iter()
        .map(|unit| {
            let kind = match unit.product.as_deref() {
                _ if unknown => "?",
                Some("AMS") => "AMS",
                Some("AMS Lite") if unit.id == 16 => "A2L Lite",
                Some("AMS Lite") => "Lite",
                Some("AMS 2 Pro") => "AMS2",
                Some("AMS HT") => "HT",
                _ => "?",
            };
            let slots: String =
                unit.slots.iter().map(|slot| if slot.present == Some(true) { '1' } else { '0' }).collect();
            format!("{}:{kind} {slots}", unit.id)
        })
        .collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn progress(tree: &Value) -> String {
    let field = |key: &str| int(at(tree, key)).expect("number");
    format!(
        "{} % {} min L{}/{}",
        field("/mc_percent"),
        field("/mc_remaining_time"),
        field("/layer_num"),
        field("/total_layer_num")
    )
}

fn stage_of(state: &str) -> DeviceStage {
    match state {
        "IDLE" => DeviceStage::Idle,
        "RUNNING" => DeviceStage::Printing,
        "FINISH" => DeviceStage::Finished,
        "FAILED" => DeviceStage::Failed,
        other => panic!("{other}"),
    }
}

#[test]
fn every_full_report_decodes_to_the_table() {
    let table = table();
    assert_eq!(table.len(), 19);
    let reports = names("report-pushall-");
    assert_eq!(reports.len(), 19);
    for (suffix, cells) in &table {
        let [state, step, nozzle, active, bed, chamber, figures, tray, ams, gate] = cells.as_slice() else {
            panic!("{suffix}: {cells:?}")
        };
        let printer = Printer::load(suffix);
        let (device, tree) = (printer.device(), printer.reports.tree());
        assert!(printer.reports.synced(), "{suffix} is a full report");
        // H2C was cancelled: its fail_reason says so.
        let stage = if suffix.starts_with("h2c") { DeviceStage::Cancelled } else { stage_of(state) };
        assert_eq!(device.job.stage, stage, "{suffix}");
        assert_eq!(int(at(tree, "/stg_cur")).map(|n| n.to_string()).as_ref(), Some(step), "{suffix}");
        assert!(same(&nozzles(&device), nozzle), "{suffix}: {} {nozzle}", nozzles(&device));
        let side = if device.nozzles.len() < 2 { "-" } else { ["R", "L"][device.active_tool] };
        assert_eq!(side, active, "{suffix}");
        let measured = heater(device.bed.actual, device.bed.target);
        assert!(same(&measured, bed), "{suffix}: {measured} {bed}");
        let measured = heater(device.chamber.actual, device.chamber.target);
        // The table gives sensor-only chambers of firmware with `ctc` a target of 0.
        assert!(
            measured == *chamber || format!("{measured}/0") == *chamber,
            "{suffix}: {measured} {chamber}"
        );
        assert_eq!(&progress(tree), figures, "{suffix}");
        check_figures(suffix, &device, tree);
        assert_eq!(&active_slot(&device), tray, "{suffix}");
        if !ams.contains("(edited)") {
            assert_eq!(&units(&device, ams), ams, "{suffix}");
        }
        let permission = match control::from_reports(tree, printer.row) {
            None => "n/a",
            Some(Control::ReadOnly(_)) => "locked",
            Some(_) => "dev mode",
        };
        assert_eq!(permission, gate, "{suffix}");
    }
}

/// Figures appear where they mean this job (bambu.md T10).
fn check_figures(suffix: &str, device: &Device, tree: &Value) {
    let field = |key: &str| num(at(tree, key)).expect("number");
    let job = &device.job;
    assert_eq!(job.progress, Some(field("/mc_percent") / 100.0), "{suffix}");
    let running = job.stage == DeviceStage::Printing;
    let minutes = if running { field("/mc_remaining_time") } else { 0.0 };
    assert_eq!(job.remaining_s, Some(minutes * 60.0), "{suffix}");
    if job.stage != DeviceStage::Idle {
        assert_eq!(job.layer.map(f64::from), Some(field("/layer_num")), "{suffix}");
        assert_eq!(job.total_layers.map_or(0.0, f64::from), field("/total_layer_num"), "{suffix}");
    }
    assert_eq!(job.title, text(at(tree, "/subtask_name")), "{suffix}");
    assert_eq!(device.speed.factor, Some(1.0), "{suffix}");
    assert!(device.lights.contains_key(&LightId::Chamber), "{suffix}");
}

#[test]
fn notes_below_the_table_hold() {
    let external = Printer::load("h2d-01.01.02.08-running-extspool-6ams");
    assert_eq!(text(at(external.reports.tree(), "/ams/tray_now")).as_deref(), Some("0"));
    assert_eq!(external.device().filament.active, Some(SlotId::External(0)));
    let x2d = Printer::load("x2d-01.01.00.00-running").device();
    assert_eq!((x2d.nozzles.len(), x2d.active_tool), (2, 1));
    assert_eq!(x2d.job.plate, Some(3));
    assert_eq!(x2d.job.file, None, "a path inside the printer is no file name");
    assert_eq!(x2d.job.mapping, vec![None, Some(SlotId::Unit { unit: 0, slot: 1 })]);
    assert_eq!(x2d.faults[0].code, "HMS_0500_0600_0002_0070");
    assert_eq!(x2d.storage.present, None, "it prints, and denies any storage");
    let pro = Printer::load("h2dpro-01.01.00.00-idle-ethernet-devmode").device();
    assert_eq!((pro.active_tool, pro.filament.active), (1, None));
    assert_eq!(pro.network.wired, Some(true));
    assert_eq!((pro.network.wifi_dbm, pro.network.ip.as_deref()), (None, Some("192.168.1.50")));
    let x1plus = Printer::load("x1c-x1plus99-running-amsht").device();
    assert_eq!(x1plus.filament.active, Some(SlotId::Unit { unit: 128, slot: 0 }));
    // Its bits name a unit that it does not list.
    let [ht] = x1plus.filament.units.as_slice() else { panic!("{:?}", x1plus.filament.units) };
    assert_eq!((ht.id, ht.slots.len(), ht.slots[0].present), (128, 1, Some(true)));
    assert_eq!(ht.slots[0].filament.as_ref().and_then(|filament| filament.material.as_deref()), Some("PLA"));
}

#[test]
fn machine_details_of_captured_reports() {
    let p2s = Printer::load("p2s-01.01.00.00-running").device();
    assert_eq!(p2s.fans.keys().copied().collect::<Vec<_>>(), [FanId::Part, FanId::Auxiliary, FanId::Hotend]);
    assert_eq!(p2s.fans[&FanId::Part].speed, Some(0.9));
    assert_eq!(p2s.nozzles[0].material.as_deref(), Some("hardened steel"));
    assert_eq!(p2s.nozzles[0].flow.as_deref(), Some("standard"));
    assert!(p2s.camera.blocked.is_some_and(|text| text.contains("Liveview")));
    assert_eq!(p2s.filament.units[0].humidity_percent, Some(16.0));
    assert_eq!(p2s.network.wifi_dbm, Some(-68));
    let p1 = Printer::load("p1-early-running-ams").device();
    assert_eq!(p1.fans[&FanId::Part].speed, Some(1.0), "fan_gear 0xFFB2FF");
    assert_eq!(p1.fans.get(&FanId::Auxiliary).and_then(|fan| fan.speed), Some(178.0 / 255.0));
    assert_eq!(p1.chamber, Heater::default(), "the constant 5 is hidden");
    let h2c = Printer::load("h2c-01.01.00.00-failed-rack").device();
    assert_eq!(h2c.filament.units[0].dryer.as_ref().and_then(|dryer| dryer.remaining_min), Some(716));
    assert_eq!(h2c.nozzles.len(), 2, "nozzles in the rack are not tools");
    let h2d = Printer::load("h2d-01.01.01.00-running").device();
    assert_eq!(h2d.filament.units[0].tool, Some(1));
    assert_eq!(h2d.filament.units[1].tool, Some(0));
    assert!(h2d.options[&PrintOption::AutoRecovery]);
    assert_eq!(h2d.door_open, Some(false));
    let a1 = Printer::load("a1-01.05.00.00-idle").device();
    assert_eq!(a1.filament.units[0].product.as_deref(), Some("AMS Lite"), "known by the module list");
    assert_eq!(a1.filament.units[0].humidity_percent, None);
    assert_eq!(a1.door_open, None);
    assert_eq!(a1.motion.homed, Some(Homed { x: true, y: true, z: true }));
}

#[test]
fn versions_give_identity_and_model() {
    let expected = [
        ("a1-01.05.00.00-idle", "A1", "01.05.00.00"),
        ("a1mini-01.07.02.00", "A1 mini", "01.07.02.00"),
        ("a2l-01.01.00.00-idle", "A2L", "01.01.00.00"),
        ("h2c-01.01.00.00-failed-rack", "H2C", "01.01.00.00"),
        ("h2d-01.01.01.00-running", "H2D", "01.01.01.00"),
        ("h2d-01.01.02.00-idle-mixed-ams", "H2D", "01.01.02.00"),
        ("h2d-01.01.02.07-running", "H2D", "01.01.02.07"),
        ("h2d-01.01.02.08-running-extspool-6ams", "H2D", "01.01.02.08"),
        ("h2dpro-01.01.00.00-idle-ethernet-devmode", "H2D Pro", "01.01.00.00"),
        ("h2s-01.01.00.00-running", "H2S", "01.01.00.00"),
        ("p1p-01.07.00.00-failed", "P1P", "01.07.00.00"),
        ("p1p-01.08.02.00-finish-noams", "P1P", "01.08.02.00"),
        ("p2s-01.01.00.00-running", "P2S", "01.01.00.00"),
        ("x1c-01.01.01.00", "X1C", "01.01.01.00"),
        ("x1c-01.09.00.01-finish-4ams", "X1C", "01.09.00.01"),
        ("x1c-x1plus99-running-amsht", "X1C", "99.00.00.00"),
        ("x2d-01.01.00.00-running", "X2D", "01.01.00.00"),
    ];
    assert_eq!(names("info-get_version-").len(), expected.len());
    for (suffix, model, firmware) in expected {
        let value = crate::drivers::bambu::testing::json(&format!("info-get_version-{suffix}"));
        let versions = super::Versions::read(at(&value, "/info/module"));
        assert_eq!(versions.firmware.as_deref(), Some(firmware), "{suffix}");
        // The serial is no help here: the module list alone must do.
        let row = crate::drivers::bambu::models::identify(&versions.clues(None, ""));
        assert_eq!(row.name, model, "{suffix}");
    }
}

#[test]
fn deltas_change_what_they_name() {
    let after = |suffix: &str, deltas: &[&str]| {
        let mut printer = Printer::load(suffix);
        for delta in deltas {
            printer.reports.merge(&state(delta));
        }
        printer.device()
    };
    let door = |deltas: &[&str]| after("h2d-01.01.01.00-running", deltas).door_open;
    assert_eq!(door(&["delta-h2d-door-opened"]), Some(true));
    assert_eq!(door(&["delta-h2d-door-opened", "delta-h2d-door-closed"]), Some(false));
    let old_door = |delta: &str| {
        let mut printer = Printer { reports: Default::default(), ..Printer::load("h2d-01.01.01.00-running") };
        printer.reports.merge(&state(delta));
        printer.device().door_open
    };
    assert_eq!(old_door("delta-h2d-old-door-opened"), Some(true));
    assert_eq!(old_door("delta-h2d-old-door-closed"), Some(false));
    let left = after("h2d-01.01.01.00-running", &["delta-h2d-left-extruder"]);
    assert_eq!((left.active_tool, left.filament.active), (1, None));
    let nozzle = &after("h2d-01.01.01.00-running", &["delta-h2d-alt-nozzle-info"]).nozzles;
    assert_eq!(nozzle[0].diameter_mm.zip(nozzle[1].diameter_mm), Some((0.2, 0.6)));
    assert_eq!(nozzle[1].material.as_deref(), Some("tungsten carbide"));
    let warm = after("p1-early-running-ams", &["delta-p1-temps"]);
    assert_eq!(warm.nozzles[0].heater, Heater { actual: Some(229.9375), target: Some(230.0) });
    assert_eq!((warm.bed.actual, warm.job.remaining_s), (Some(64.96875), Some(6000.0)));
    let rejected = after("p1s-finish-ams2pro", &["delta-hms-verify-failed"]);
    assert_eq!(rejected.faults[0].code, "HMS_0500_0500_0001_0007");
    assert_eq!(rejected.faults[0].severity, Severity::Fatal);
}

#[test]
fn ams_deltas_keep_what_they_do_not_name() {
    let before = Printer::load("h2d-01.01.01.00-running").device();
    for delta in ["delta-ams-p1s-stripped", "delta-ams-shutdown", "delta-ams-h2-partial-tray"] {
        let mut printer = Printer::load("h2d-01.01.01.00-running");
        printer.reports.merge(&state(delta));
        assert_eq!(printer.device().filament.units, before.filament.units, "{delta}");
    }
    let mut mini = Printer::load("a1mini-idle");
    mini.reports.merge(&state("delta-ams-tray-scalars"));
    let device = mini.device();
    assert_eq!(device.filament.active, Some(SlotId::Unit { unit: 0, slot: 1 }));
    assert_eq!(device.filament.units, Printer::load("a1mini-idle").device().filament.units);
    let mut p2s = Printer::load("p2s-01.01.00.00-running");
    p2s.reports.merge(&state("delta-ams-tray-cleared-p2s"));
    let slot = p2s.device().filament.units[0].slots[0].clone();
    assert_eq!(
        (slot.present, slot.filament),
        (Some(true), None),
        "the spool is there, nothing is known of it"
    );
    let mut rack = Printer::load("h2d-01.01.02.07-running");
    rack.reports.merge(&state("delta-ams-ht-poweron-state9"));
    assert_eq!(rack.device().filament.units[1].slots[0].present, Some(true));
}

/// Constructed after the captured last words of a printer: a complete report that says the same is the truth.
#[test]
fn the_only_units_are_gone_once_a_complete_report_says_so() {
    let mut printer = Printer::load("h2d-01.01.01.00-running");
    let before = printer.device().filament.units;
    let says = |message: u8, bits: &str| {
        let ams =
            serde_json::json!({"ams_exist_bits": bits, "tray_exist_bits": bits, "power_on_flag": false});
        let text = serde_json::json!({"print": {"command": "push_status", "msg": message, "ams": ams}});
        match parse(text.to_string().as_bytes()).expect("json").remove(0) {
            Incoming::State(state) => state,
            other => panic!("{other:?}"),
        }
    };
    printer.reports.merge(&says(0, "0"));
    assert!(printer.reports.doubtful(), "said for the first time");
    printer.reports.merge(&says(1, "0"));
    assert_eq!(printer.device().filament.units, before, "a delta confirms nothing");
    printer.reports.merge(&state("delta-p1-temps"));
    printer.reports.merge(&says(0, "0"));
    assert_eq!(printer.device().filament.units, []);
    assert!(!printer.reports.doubtful());
    printer.reports.merge(&says(1, "f"));
    printer.reports.merge(&says(1, "0"));
    assert!(printer.reports.doubtful());
    printer.reports.merge(&says(1, "f"));
    assert!(!printer.reports.doubtful(), "it lives and has them");
}

/// Constructed after the shape of captured deltas: a unit is pulled out, and put in again.
#[test]
fn a_unit_comes_and_goes_by_its_bit() {
    let mut printer = Printer::load("h2d-01.01.02.00-idle-mixed-ams");
    let before = printer.device().filament.units;
    let bits = printer.reports.tree()["ams"]["ams_exist_bits"].as_str().expect("bits").to_owned();
    let all = u32::from_str_radix(&bits, 16).expect("hex");
    let gone = before.iter().find(|unit| unit.id < 4).expect("a unit");
    let first = printer.reports.tree()["ams"]["ams"][0].clone();
    let delta = |bits: u32, ams: serde_json::Value| {
        let text = serde_json::json!({"print": {"command": "push_status", "msg": 1, "ams": {
            "ams_exist_bits": format!("{bits:x}"), "tray_exist_bits": "10", "power_on_flag": true, "ams": ams,
        }}});
        match parse(text.to_string().as_bytes()).expect("json").remove(0) {
            Incoming::State(state) => state,
            other => panic!("{other:?}"),
        }
    };
    printer.reports.merge(&delta(all & !(1 << gone.id), serde_json::json!([])));
    let left: Vec<u16> = printer.device().filament.units.iter().map(|unit| unit.id).collect();
    let expected: Vec<u16> = before.iter().map(|unit| unit.id).filter(|id| *id != gone.id).collect();
    assert_eq!(left, expected);
    printer.reports.merge(&delta(all, serde_json::json!([first])));
    let back: Vec<u16> = printer.device().filament.units.iter().map(|unit| unit.id).collect();
    assert_eq!(back, before.iter().map(|unit| unit.id).collect::<Vec<_>>());
}

/// Constructed: bits as a public emulator counts them, in which an AMS HT has none.
#[test]
fn a_unit_that_is_listed_is_there_whatever_its_bit() {
    let mut printer = Printer::load("p1s-finish-ams2pro");
    let delta = |text: &str| match parse(text.as_bytes()).expect("json").remove(0) {
        Incoming::State(state) => state,
        other => panic!("{other:?}"),
    };
    let units = |printer: &Printer| -> Vec<u16> {
        printer.device().filament.units.iter().map(|unit| unit.id).collect()
    };
    printer.reports.merge(&delta(
        r#"{"print":{"command":"push_status","msg":1,"ams":{"ams_exist_bits":"1","ams":[{"id":"0"},
            {"id":"128","tray":[{"id":"0","tray_type":"PETG","tray_color":"00FF00FF"}]}]}}}"#,
    ));
    assert_eq!(units(&printer), [0, 128]);
    printer.reports.merge(&delta(
        r#"{"print":{"command":"push_status","msg":1,"ams":{"ams_exist_bits":"1","ams":[{"id":"0"}]}}}"#,
    ));
    assert_eq!(units(&printer), [0], "no longer listed");
}

#[test]
fn a_job_that_waits_before_its_first_layer_has_no_figures_of_the_one_before() {
    let report = |fields: serde_json::Value| {
        let mut body = serde_json::json!({"command": "push_status", "msg": 1});
        body.as_object_mut().expect("object").extend(fields.as_object().expect("object").clone());
        match parse(serde_json::json!({"print": body}).to_string().as_bytes()).expect("json").remove(0) {
            Incoming::State(state) => state,
            other => panic!("{other:?}"),
        }
    };
    let mut printer = Printer::load("p1p-01.08.02.00-finish-noams");
    let figures = |printer: &Printer| {
        let job = printer.device().job;
        (job.stage, job.progress, job.layer, job.total_layers, job.remaining_s)
    };
    assert_eq!(figures(&printer).2, Some(124), "those of the job before");
    printer.reports.merge(&report(serde_json::json!({"gcode_state": "PREPARE"})));
    printer.reports.merge(&report(serde_json::json!({"gcode_state": "PAUSE", "print_error": 0x0300_8019})));
    assert_eq!(figures(&printer), (DeviceStage::Paused, Some(0.0), Some(0), None, None));
    printer
        .reports
        .merge(&report(serde_json::json!({"gcode_state": "RUNNING", "print_error": 0, "mc_percent": 30,
        "layer_num": 7, "total_layer_num": 20, "mc_remaining_time": 9})));
    printer.reports.merge(&report(serde_json::json!({"gcode_state": "PAUSE"})));
    assert_eq!(figures(&printer), (DeviceStage::Paused, Some(0.3), Some(7), Some(20), Some(540.0)));
}

#[test]
fn a_cancel_is_remembered_after_its_echo() {
    let mut printer = Printer::load("p1-early-running-ams");
    printer.reports.merge(&state("delta-user-cancel-1"));
    assert_eq!(printer.device().job.stage, DeviceStage::Cancelled);
    assert!(printer.device().faults.is_empty(), "a cancel is not a fault");
    printer.reports.merge(&state("delta-user-cancel-2"));
    assert_eq!(printer.device().job.stage, DeviceStage::Cancelled);
}

#[test]
fn the_number_of_an_earlier_cancel_does_not_excuse_a_failure() {
    let ended = |fields: serde_json::Value| {
        let mut all = serde_json::json!({"gcode_state": "FAILED", "fail_reason": "50348044"});
        all.as_object_mut().expect("object").extend(fields.as_object().expect("object").clone());
        shown(crate::drivers::bambu::models::by_code_or_name("H2C").expect("row"), all).job
    };
    let failed = ended(serde_json::json!({"print_error": 0x0300_4006}));
    assert_eq!(failed.stage, DeviceStage::Failed);
    assert!(failed.reason.is_some_and(|text| text.contains("clogged")));
    assert_eq!(ended(serde_json::json!({"mc_print_error_code": "50348038"})).stage, DeviceStage::Failed);
    assert_eq!(
        ended(serde_json::json!({"print_error": 0})).stage,
        DeviceStage::Cancelled,
        "as its fixture has it"
    );
}

#[test]
fn a_printer_that_starts_up_or_updates_its_firmware_is_not_free() {
    let activity = |fields: serde_json::Value| {
        shown(crate::drivers::bambu::models::by_code_or_name("P1S").expect("row"), fields).activity
    };
    let starting = Activity::Busy("starting up".to_owned());
    for state in ["", " ", "INIT", "init"] {
        assert_eq!(activity(serde_json::json!({ "gcode_state": state })), starting, "{state:?}");
    }
    for state in [serde_json::json!("OFFLINE"), serde_json::json!("UNKNOWN"), serde_json::json!(5)] {
        assert_eq!(activity(serde_json::json!({ "gcode_state": state })), Activity::Unknown);
    }
    assert_eq!(activity(serde_json::json!({"nozzle_temper": 25})), Activity::Unknown, "it says nothing");
    for state in ["IDLE", "", "FINISH"] {
        let flashing = serde_json::json!({"gcode_state": state, "upgrade_state": {"status": "FLASHING"}});
        assert_eq!(activity(flashing), Activity::Updating);
    }
}

#[test]
fn a_dryer_with_time_left_dries() {
    let unit = |fields: serde_json::Value| {
        let mut unit = serde_json::json!({"id": "128", "info": "2004", "tray": [{"id": "0"}]});
        unit.as_object_mut().expect("object").extend(fields.as_object().expect("object").clone());
        let tree = serde_json::json!({"gcode_state": "IDLE", "ams": {"ams": [unit], "ams_exist_bits": "10"}});
        let device = shown(crate::drivers::bambu::models::by_code_or_name("P1S").expect("row"), tree);
        device.filament.units[0].dryer.clone().expect("a dryer")
    };
    let dries = unit(serde_json::json!({"dry_time": 240}));
    assert_eq!((dries.phase, dries.remaining_min), (DryerPhase::Drying, Some(240)));
    assert_eq!(unit(serde_json::json!({"dry_time": 0})).phase, DryerPhase::Off);
    assert_eq!(
        unit(serde_json::json!({"info": "2054", "dry_time": 5})).phase,
        DryerPhase::Error,
        "the bits tell more"
    );
}
