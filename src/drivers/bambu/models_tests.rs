use std::collections::HashSet;

use serde_json::json;

use super::*;

#[test]
fn keys_are_unique_over_all_rows() {
    let mut seen = HashSet::new();
    for row in ROWS {
        let keys = row.codes.iter().chain(row.products).chain(row.prefixes).chain(row.boards);
        for key in keys.chain([&row.name]) {
            assert!(seen.insert(key.to_ascii_lowercase()), "{key} names two models");
        }
        assert!(!row.codes.is_empty() && !row.products.is_empty() && row.prefixes.len() == 1, "{}", row.name);
    }
}

/// A row is believed by what the simulated printer of its model says and takes; the simulator reads the dossier by itself.
#[test]
fn every_row_has_a_simulated_printer_that_agrees() {
    use crate::sim::bambu::models::TABLE;
    for row in ROWS {
        let of_row = |model: &&crate::sim::bambu::models::Model| row.codes.contains(&model.code);
        let found = TABLE.iter().find(of_row);
        let model = found.unwrap_or_else(|| panic!("{} has no row in src/sim/bambu/models.rs", row.name));
        assert!(row.products.contains(&model.product_name), "{}: {}", row.name, model.product_name);
        assert!(row.prefixes.contains(&model.prefix), "{}: {}", row.name, model.prefix);
        let limits = (row.nozzles, row.nozzle_max, row.bed_max);
        assert_eq!(limits, (model.nozzles, model.nozzle_limit, model.bed_limit), "{}: limits", row.name);
    }
    for model in TABLE {
        let row = by_code_or_name(model.code);
        assert!(row.is_some(), "{} is simulated and in no row of models/table.rs", model.key);
    }
}

#[test]
fn every_row_is_found_by_each_of_its_keys() {
    for row in ROWS {
        for product in row.products {
            let clues = Clues { product: Some(product), code: Some("C11"), ..Clues::default() };
            assert_eq!(identify(&clues).name, row.name, "the product name is the best evidence");
        }
        for code in row.codes {
            assert_eq!(
                identify(&Clues { code: Some(code), serial: "01S", ..Clues::default() }).name,
                row.name
            );
        }
        let serial = format!("{}00A000000001", row.prefixes[0]);
        assert_eq!(identify(&Clues { serial: &serial, ..Clues::default() }).name, row.name);
        for version in row.boards {
            let board = Clues { board: Some(("rv1126", version)), ..Clues::default() };
            assert_eq!(identify(&board).name, row.name, "{version}");
        }
        assert_eq!(by_code_or_name(&row.name.to_uppercase()).map(|row| row.name), Some(row.name));
    }
    let other = Clues { board: Some(("mc", "AP05")), ..Clues::default() };
    assert!(!identify(&other).controllable, "a version of another module says nothing");
}

#[test]
fn an_unknown_model_is_shown_and_never_commanded() {
    let row = identify(&Clues { product: Some("Bambu Lab Z9"), serial: "99X", ..Clues::default() });
    assert!(!row.controllable);
    let caps = row.capabilities(&Value::Null);
    assert!(caps.fans.is_empty() && caps.lights.is_empty() && caps.speed_levels.is_empty());
    assert_eq!(caps.bed.max, None);
    assert_eq!(caps.nozzles, vec![HeaterCaps { max: None }]);
    assert_eq!(caps.motion, MotionCaps::default());
    assert_eq!(caps.control, ControlCaps::default());
    assert!(!caps.files.archives);
}

#[test]
fn the_order_of_evidence() {
    let name = |product, code, serial| identify(&Clues { product, code, serial, ..Clues::default() }).name;
    // Early H2S and H2C carry the prefix of the H2D (bambu.md 1.3).
    assert_eq!(name(Some("Bambu Lab H2C"), Some("O1S"), "09400A000000001"), "H2C");
    assert_eq!(name(None, Some("O1S"), "09400A000000001"), "H2S");
    assert_eq!(name(None, None, "09400A000000001"), "H2D");
    assert_eq!(name(Some("X1 Carbon"), None, "01P00A000000001"), "X1C", "as bridges write it");
    for (spelled, row) in [
        ("Bambu Lab A1mini", "A1 mini"),
        ("Bambu Lab H2D-Pro", "H2D Pro"),
        ("bambulab p1s", "P1S"),
        ("Bambu Lab X1C", "X1C"),
    ] {
        assert_eq!(name(Some(spelled), None, "99Z"), row);
    }
    assert_eq!(name(Some("Some bridge"), None, "01P00A000000001"), "P1S", "says nothing of the model");
    let old = Clues { code: Some("N1"), project: Some("N2S"), serial: "01P", ..Clues::default() };
    assert_eq!(identify(&old).name, "A1", "what the printer tells before what anybody can announce");
    let unknown = identify(&Clues { product: Some("Bambu Lab H9"), serial: "094", ..Clues::default() });
    assert!(!unknown.controllable, "a new product is none of its relatives");
    assert_eq!(name(Some("Bambu Lab H9"), Some("O1D"), "094"), "H2D", "unless its code is known");
}

/// What docs/ref/bambu.md promises: a row, and nothing else, makes a model.
#[test]
fn a_new_model_is_one_row() {
    let row: &'static ModelRow = Box::leak(Box::new(ModelRow {
        name: "Z1",
        codes: &["Z01"],
        products: &["Bambu Lab Z1"],
        prefixes: &["77Z"],
        fans: &[FanId::Part, FanId::Chamber],
        nozzles: 2,
        bed_max: 90.0,
        ..*by_code_or_name("H2D").expect("row")
    }));
    let caps = row.capabilities(&Value::Null);
    assert_eq!((caps.model.as_str(), caps.nozzles.len(), caps.bed.max), ("Z1", 2, Some(90.0)));
    assert_eq!(caps.fans, BTreeSet::from([FanId::Part, FanId::Chamber]));
    assert!(caps.slicer_names.contains(&"Z01".to_owned()) && caps.control.select_tool);
    let tree = json!({"gcode_state": "IDLE", "lights_report": [{"node": "chamber_light", "mode": "on"}],
        "device": {"extruder": {"state": 2, "info": [{"id": 0, "temp": 60}, {"id": 1, "temp": 70}]}}});
    let device = crate::drivers::bambu::testing::shown(row, tree);
    assert_eq!(device.nozzles.len(), 2);
    assert_eq!(device.nozzles[1].heater.actual, Some(70.0));
}

#[test]
fn rows_are_consistent() {
    for row in ROWS {
        let caps = row.capabilities(&Value::Null);
        assert_eq!(caps.nozzles.len(), row.nozzles, "{}", row.name);
        assert_eq!(caps.control.select_tool, row.dual(), "{}", row.name);
        assert!(caps.fans.contains(&FanId::Part) && caps.lights.contains(&LightId::Chamber), "{}", row.name);
        let plausible = (250.0..=350.0).contains(&row.nozzle_max) && (80.0..=120.0).contains(&row.bed_max);
        assert!(plausible, "{}: nozzle {} °C, bed {} °C", row.name, row.nozzle_max, row.bed_max);
        assert_eq!(caps.calibrations.contains(&Calibration::NozzleOffset), row.dual(), "{}", row.name);
        assert!(row.camera != CameraKind::None && !caps.motion.home_axes);
        assert!(caps.options.contains(&PrintOption::AutoRecovery));
        // The maker's name of each bed slinger so far; a model that breaks with it changes this line.
        assert_eq!(row.bed_slinger, row.name.starts_with('A'), "{}: bed_slinger", row.name);
        if row.evidence == Evidence::Captured {
            let slug = row.name.to_ascii_lowercase().replace(' ', "");
            let found = std::fs::read_dir("fixtures/bambu").expect("fixtures").any(|entry| {
                let name = entry.expect("entry").file_name().to_string_lossy().into_owned();
                name.starts_with("report-pushall-") && name.contains(&format!("-{slug}-"))
            });
            assert!(found, "{} claims a capture", row.name);
        }
    }
}

#[test]
fn reports_refine_the_row() {
    let p2s = by_code_or_name("N7").expect("row");
    let duct = json!({"device": {"airduct": {"parts": [{"id": 16}, {"id": 32}, {"id": 160}, {"id": 96}]}}});
    let caps = p2s.capabilities(&duct);
    assert_eq!(caps.fans, BTreeSet::from([FanId::Part, FanId::Auxiliary, FanId::AuxiliaryLeft]));
    assert!(caps.fans_read_only.contains(&FanId::Circulation));
    let p1p = by_code_or_name("C11").expect("row");
    assert!(!p1p.capabilities(&Value::Null).fans.contains(&FanId::Auxiliary));
    assert!(p1p.capabilities(&json!({"home_flag": 1 << 26})).fans.contains(&FanId::Auxiliary));
    let x1c = by_code_or_name("X1C").expect("row");
    assert_eq!(x1c.capabilities(&json!({"home_flag": 8})).bed.max, Some(110.0));
    assert!(
        x1c.capabilities(&json!({"home_flag": 1 << 19}))
            .options
            .contains(&PrintOption::FilamentTangleDetection)
    );
}
