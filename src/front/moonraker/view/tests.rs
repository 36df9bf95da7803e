//! The objects of a printer in its states, as snapshots beside this file.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::front::moonraker::klippy::Gate;
use crate::metadata::NamedObject;
use crate::model::*;

fn caps() -> Capabilities {
    Capabilities {
        vendor: "Acme".into(),
        model: "Two".into(),
        volume_mm: [256.0, 256.0, 250.0],
        nozzles: vec![HeaterCaps { max: Some(300.0) }; 2],
        bed: HeaterCaps { max: Some(110.0) },
        chamber: Some(HeaterCaps { max: Some(60.0) }),
        fans: [FanId::Part, FanId::Auxiliary].into(),
        fans_read_only: [FanId::Hotend, FanId::Controller].into(),
        lights: [LightId::Chamber].into(),
        control: ControlCaps { skip_objects: true, ..ControlCaps::default() },
        min_extrude: 170.0,
        ..Capabilities::default()
    }
}

fn printing() -> PrinterState {
    let mut state = PrinterState::default();
    state.link.phase = LinkPhase::Online;
    let device = &mut state.device;
    device.nozzles = vec![
        Nozzle {
            heater: Heater { actual: Some(215.123), target: Some(220.0) },
            diameter_mm: Some(0.6),
            filament_detected: Some(true),
            ..Nozzle::default()
        },
        Nozzle { heater: Heater { actual: Some(30.0), target: Some(0.0) }, ..Nozzle::default() },
    ];
    device.bed = Heater { actual: Some(59.9), target: Some(60.0) };
    device.chamber = Heater { actual: Some(35.0), target: Some(0.0) };
    device.fans = [(FanId::Part, Fan { speed: Some(0.6667), rpm: Some(4000.0) })].into();
    device.lights = [(LightId::Chamber, Light { on: true, flashing: false })].into();
    device.motion.homed = Some(Homed { x: true, y: true, z: false });
    device.speed.factor = Some(1.24);
    device.job.stage = DeviceStage::Printing;
    state.job = Job {
        serial: 1,
        phase: JobPhase::Printing,
        file: Some("sub/cube.gcode".into()),
        progress: 0.42,
        layer: Some(21),
        total_layers: Some(50),
        started_at: Some(1000.0),
        printed_s: 100.0,
        printing_since: Some(1200.0),
        skipped: vec![7],
        ..Job::default()
    };
    state
}

fn file() -> JobFile {
    JobFile {
        path: "sub/cube.gcode".into(),
        size: 10_000,
        plate: Some(2),
        metadata: json!({"filament_total_mm": 5000.0}),
        objects: vec![
            NamedObject { id: 7, name: "CUBE_A".into(), polygon: vec![[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]] },
            NamedObject {
                id: 8,
                name: "CUBE_A_ID_8".into(),
                polygon: vec![[10.0, 10.0], [30.0, 12.0], [12.0, 20.0]],
            },
        ],
    }
}

fn seen(state: &PrinterState, gate: Gate) -> BTreeMap<String, Object> {
    seen_with(state, gate, file())
}

fn seen_with(state: &PrinterState, gate: Gate, file: JobFile) -> BTreeMap<String, Object> {
    seen_of(state, gate, file, caps())
}

fn seen_of(state: &PrinterState, gate: Gate, file: JobFile, caps: Capabilities) -> BTreeMap<String, Object> {
    let klippy = Klippy::of(state, &gate);
    let caps = Arc::new(caps);
    let input = Input {
        state,
        caps: &caps,
        klippy: &klippy,
        file: Some(&file),
        library: Path::new("/lib"),
        filament: &crate::filament::Choices::default(),
        spoolman: false,
        host: HostLoad { load: 0.5, cpu_seconds: 2.0, available_kb: 1000 },
        extremes: &BTreeMap::new(),
        now: 1300.0,
    };
    let objects = objects(&input, &mut Kept::default());
    objects.into_iter().map(|(name, object)| (name, Object::clone(&object))).collect()
}

#[test]
fn a_printing_printer() {
    insta::assert_json_snapshot!("printing", seen(&printing(), Gate::Open));
}

/// Fluidd draws what has an outline and a centre; KlipperScreen fails where only some have an outline.
#[test]
fn objects_have_an_outline_and_its_centre_or_none_of_them_has() {
    let listed =
        |file: JobFile| seen_with(&printing(), Gate::Open, file)["exclude_object"]["objects"].clone();
    let drawn = listed(file());
    assert_eq!((&drawn[0]["center"], &drawn[1]["center"]), (&json!([0.5, 0.5]), &json!([20.0, 15.0])));
    assert_eq!(drawn[1]["polygon"][1], json!([30.0, 12.0]));
    let mut some = file();
    some.objects[1].polygon.clear();
    assert_eq!(listed(some), json!([{"name": "CUBE_A"}, {"name": "CUBE_A_ID_8"}]));
}

#[test]
fn a_printer_that_has_said_nothing_yet() {
    insta::assert_json_snapshot!("unknown", seen(&PrinterState::default(), Gate::Open));
}

#[test]
fn each_phase_has_one_of_the_six_words() {
    use JobPhase::*;
    let mut state = printing();
    for (phase, word, timeout) in [
        (Idle, "standby", "Ready"),
        (Transferring, "printing", "Printing"),
        (Starting, "printing", "Printing"),
        (Preparing, "printing", "Printing"),
        (Printing, "printing", "Printing"),
        (Pausing, "printing", "Printing"),
        (Paused, "paused", "Ready"),
        (Resuming, "paused", "Ready"),
        (Cancelling, "printing", "Printing"),
        (Complete, "complete", "Ready"),
        (Cancelled, "cancelled", "Ready"),
        (Failed, "error", "Ready"),
    ] {
        state.job.phase = phase;
        let objects = seen(&state, Gate::Open);
        assert_eq!(objects["print_stats"]["state"], word, "{phase:?}");
        assert_eq!(objects["idle_timeout"]["state"], timeout, "{phase:?}");
        assert_eq!(objects["print_stats"]["filename"] == "", phase == Idle, "{phase:?}");
        assert_eq!(objects["pause_resume"]["is_paused"], word == "paused");
    }
    state.job.phase = Cancelling;
    state.job.out_of_pause = true;
    assert_eq!(seen(&state, Gate::Open)["print_stats"]["state"], "paused", "cancelled, not resumed");
}

/// As Klipper while a G-code runs: KlipperScreen and the web interfaces lock their controls.
#[test]
fn a_printer_that_is_busy_by_itself_is_no_idle_one() {
    let mut state = printing();
    state.job.phase = JobPhase::Idle;
    for (activity, timeout) in [
        (Activity::Idle, "Ready"),
        (Activity::Busy("auto-levelling".to_owned()), "Printing"),
        (Activity::Updating, "Printing"),
    ] {
        state.device.activity = activity;
        let objects = seen(&state, Gate::Open);
        assert_eq!(objects["idle_timeout"]["state"], timeout);
        assert_eq!(objects["print_stats"]["state"], "standby");
    }
}

/// As Klipper's print_stats.py; Mobileraker's companion divides the one by the other.
#[test]
fn the_clock_of_printing_starts_with_the_first_filament() {
    let mut state = printing();
    let figures = |state: &PrinterState, file: JobFile| {
        let stats = seen_with(state, Gate::Open, file)["print_stats"].clone();
        (stats["print_duration"].clone(), stats["filament_used"].clone())
    };
    // Bambu printers tell whole percents and no filament: the first one is long.
    state.job.progress = 0.0;
    assert_eq!(figures(&state, file()), (json!(0.0), json!(0.0)));
    state.job.progress = 0.01;
    assert_eq!(figures(&state, file()), (json!(200.0), json!(50.0)));
    // Elegoo printers count it.
    (state.job.progress, state.job.filament_used_mm) = (0.0, Some(0.5));
    assert_eq!(figures(&state, file()), (json!(200.0), json!(0.5)));
    // One that counts none stays at zero.
    (state.job.progress, state.job.filament_used_mm) = (0.5, Some(0.0));
    assert_eq!(figures(&state, file()), (json!(200.0), json!(2500.0)));
    // Nothing is known of the file: nobody can divide.
    let unknown = JobFile { metadata: json!({}), ..file() };
    (state.job.progress, state.job.filament_used_mm) = (0.0, None);
    assert_eq!(figures(&state, unknown), (json!(200.0), json!(0.0)));
}

#[test]
fn a_stop_ends_the_job_in_error() {
    let objects = seen(&printing(), Gate::Stopped("The heaters are off.".into()));
    assert_eq!(objects["print_stats"]["state"], "error");
    assert_eq!(objects["webhooks"]["state"], "shutdown");
}

#[test]
fn the_nozzle_that_is_used_is_told_by_its_button() {
    let caps =
        Capabilities { control: ControlCaps { select_tool: true, ..ControlCaps::default() }, ..caps() };
    let mut state = printing();
    for (used, other) in [("T0", "T1"), ("T1", "T0")] {
        state.device.active_tool = usize::from(used == "T1");
        let objects = seen_of(&state, Gate::Open, file(), caps.clone());
        assert_eq!(objects[&format!("gcode_macro {used}")]["active"], true, "{used}");
        assert_eq!(objects[&format!("gcode_macro {other}")]["active"], false, "{used}");
        let section = &objects["configfile"]["settings"]["gcode_macro t1"];
        assert_eq!(section["rename_existing"], "BASE_T1", "Mainsail's list of macros leaves it out");
    }
    let objects = seen(&state, Gate::Open);
    assert!(!objects.contains_key("gcode_macro T0"), "nobody can change the nozzle of this one");
}

#[test]
fn a_head_that_stands_has_no_speed() {
    let mut state = printing();
    state.device.motion.velocity = Some(50.0);
    assert_eq!(seen(&state, Gate::Open)["motion_report"]["live_velocity"], 50.0);
    state.device.job.stage = DeviceStage::Idle;
    let objects = seen(&state, Gate::Open);
    assert_eq!(objects["motion_report"]["live_velocity"], 0.0);
    assert_eq!(
        objects["gcode_move"]["speed"], 3000.0,
        "the last commanded one, in mm/min, as Klipper keeps it"
    );
}

#[test]
fn a_transfer_shows_on_the_display() {
    let mut state = printing();
    state.job.phase = JobPhase::Transferring;
    state.job.transfer = Some(Transfer { sent: 25, total: 100 });
    assert_eq!(
        seen(&state, Gate::Open)["display_status"]["message"],
        "Sending the file to the printer: 25 %"
    );
}

#[test]
fn sections_and_objects_go_together() {
    let objects = seen(&printing(), Gate::Open);
    let settings = objects["configfile"]["settings"].as_object().unwrap();
    let config = objects["configfile"]["config"].as_object().unwrap();
    for name in objects.keys() {
        let kind = name.split(' ').next().unwrap();
        if name.contains(' ') || ["fan", "extruder", "heater_bed"].contains(&kind) {
            assert!(settings.contains_key(&name.to_lowercase()), "{name}");
        }
    }
    assert!(config.values().flat_map(|section| section.as_object().unwrap().values()).all(Value::is_string));
    assert!(settings.keys().all(|name| *name == name.to_lowercase()));
}

/// Mainsail shows sensors of these types as the gateway's own computer and its boards, and hides them with those.
#[test]
fn no_sensor_of_the_printer_is_taken_for_the_host() {
    let caps = Capabilities { chamber: Some(HeaterCaps { max: None }), ..caps() };
    let objects = seen_of(&printing(), Gate::Open, file(), caps);
    let settings = objects["configfile"]["settings"].as_object().unwrap();
    let kind = settings["temperature_sensor chamber"]["sensor_type"].as_str().unwrap();
    assert!(!["temperature_host", "rpi_temperature", "temperature_mcu"].contains(&kind), "{kind}");
}
