use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::drivers::bambu::models::ROWS;
use crate::drivers::bambu::testing::{self, Printer};
use crate::model::*;

const P1S: &str = "p1s-finish-ams2pro";
const P2S: &str = "p2s-01.01.00.00-running";

fn plan_for(suffix: &str, command: &Command) -> Result<Plan, CommandError> {
    let printer = Printer::load(suffix);
    let mut device = printer.device();
    // Captured while running: the encoders are asked as if idle unless a test says otherwise.
    device.job.stage = DeviceStage::Idle;
    device.activity = Activity::Idle;
    encode(command, &context(&device, printer.reports.tree(), printer.row))
}

fn context<'a>(device: &'a Device, tree: &'a Value, row: &'static ModelRow) -> Context<'a> {
    let job_under_way = device.job.stage.active();
    Context { device, tree, row, url: UrlForm::Ftp, marker: 205, job_under_way }
}

fn only(suffix: &str, command: &Command) -> Value {
    let plan = plan_for(suffix, command).unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert_eq!(plan.messages.len(), 1, "{command:?}");
    plan.messages[0].payload(7)
}

fn print(fields: Value) -> Value {
    let mut fields = fields;
    fields["sequence_id"] = json!("7");
    json!({ "print": fields })
}

fn param(suffix: &str, command: &Command) -> String {
    let value = only(suffix, command);
    assert_eq!(value["print"]["command"], "gcode_line", "{value}");
    value["print"]["param"].as_str().expect("text").to_owned()
}

#[test]
fn requests_match_the_captures() {
    for (name, message) in [("request-pushall", pushall()), ("request-get_version", get_version())] {
        assert_eq!(message.payload(0), testing::json(name), "{name}");
        assert!(!message.answered);
    }
}

#[test]
fn a_start_matches_the_captured_one() {
    let job = StartJob {
        remote_path: "test.gcode.3mf".into(),
        title: "test.gcode.3mf".into(),
        plate: 1,
        token: 123_456,
        md5: Some("7947606528ce6e00219496b51d5d13d1".into()),
        mapping: vec![Some(SlotId::Unit { unit: 0, slot: 3 }), None, None],
        options: StartOptions {
            bed_levelling: Some(false),
            flow_calibration: Some(false),
            vibration_calibration: None,
            first_layer_inspection: Some(true),
            timelapse: Some(true),
            bed_type: Some("textured_plate".into()),
            ..StartOptions::default()
        },
    };
    let ours = only(P2S, &Command::StartJob(Box::new(job)));
    let captured = testing::json("request-project_file-p2s-studio");
    let (ours, captured) =
        (ours["print"].as_object().expect("object"), captured["print"].as_object().expect("object"));
    // On purpose: fresh ids tell runs apart, three slashes are what every other source uses, the manual calibration
    // mode is left out unless chosen (bambu.md 4.5).
    let differing = ["sequence_id", "task_id", "subtask_id", "url", "extrude_cali_manual_mode"];
    for (key, value) in captured {
        if differing.contains(&key.as_str()) {
            continue;
        }
        // Captured with all calibrations switched off by hand, which also meant the levelling number 0.
        assert_eq!(ours.get(key), Some(value), "{key}");
    }
    assert_eq!(ours.len(), captured.len() - 1);
    assert_eq!((&ours["url"], &ours["subtask_id"]), (&json!("ftp:///test.gcode.3mf"), &json!("123456")));
}

fn start(mapping: Vec<Option<SlotId>>) -> Command {
    Command::StartJob(Box::new(StartJob {
        remote_path: "cache/cube one.gcode.3mf".into(),
        plate: 2,
        token: 5,
        mapping,
        ..StartJob::default()
    }))
}

const fn slot(unit: u16, slot: u8) -> Option<SlotId> {
    Some(SlotId::Unit { unit, slot })
}

#[test]
fn mappings_follow_the_rules_of_each_family() {
    let mapping = |suffix: &str, wanted: Vec<Option<SlotId>>| {
        let value = only(suffix, &start(wanted));
        let print = &value["print"];
        (print["use_ams"].clone(), print["ams_mapping"].clone(), print["ams_mapping2"].clone())
    };
    let external = Some(SlotId::External(0));
    assert_eq!(
        mapping(P2S, vec![external]),
        (json!(false), json!([-1]), json!([{"ams_id": 255, "slot_id": 0}])),
        "external on one nozzle"
    );
    let six = "h2d-01.01.02.08-running-extspool-6ams";
    assert_eq!(
        mapping(six, vec![slot(129, 0), None, slot(2, 1), Some(SlotId::External(1))]),
        (
            json!(true),
            json!([129, -1, 9, -1]),
            json!([{"ams_id": 129, "slot_id": 0}, {"ams_id": 255, "slot_id": 255}, {"ams_id": 2, "slot_id": 1}, {"ams_id": 254, "slot_id": 0}])
        )
    );
    assert_eq!(
        mapping("a2l-01.01.00.00-idle", vec![slot(16, 1)]),
        (json!(true), json!([1]), json!([{"ams_id": 16, "slot_id": 1}]))
    );
    let none = mapping("p1p-01.08.02.00-finish-noams", vec![]);
    assert_eq!(none, (json!(false), json!([]), json!([])), "no unit is fitted");
    let loaded = plan_for(P2S, &start(vec![])).expect("the loaded slot");
    assert!(loaded.note.is_some_and(|note| note.contains("0.3")));
}

#[test]
fn starts_that_could_go_wrong_are_refused() {
    let refused =
        |suffix: &str, command: &Command| plan_for(suffix, command).expect_err("refused").to_string();
    assert!(refused(P2S, &start(vec![None])).contains("No slot"));
    assert!(refused(P1S, &start(vec![slot(0, 1)])).contains("empty"));
    assert!(refused(P1S, &start(vec![])).contains("Say which slot"));
    assert!(refused(P2S, &start(vec![Some(SlotId::External(1))])).contains("external1"));
    let with = |change: fn(&mut StartJob)| {
        let mut job = StartJob { remote_path: "a.3mf".into(), token: 1, ..StartJob::default() };
        change(&mut job);
        Command::StartJob(Box::new(job))
    };
    assert!(refused(P2S, &with(|job| job.remote_path = "a.gcode".into())).contains("not a sliced"));
    assert!(refused(P2S, &with(|job| job.remote_path = "100%.3mf".into())).contains("rename"));
    assert!(refused(P2S, &with(|job| job.remote_path = "../a.3mf".into())).contains("rename"));
    assert!(refused(P2S, &with(|job| job.token = 4_000_000_000)).contains("token"));
    let printer = Printer::load(P2S);
    let running = printer.device();
    let busy = encode(&start(vec![slot(0, 3)]), &context(&running, printer.reports.tree(), printer.row));
    assert!(matches!(busy, Err(CommandError::Busy(_))));
    let mut updating = running.clone();
    updating.job.stage = DeviceStage::Finished;
    updating.activity = Activity::Updating;
    let busy = encode(&start(vec![slot(0, 3)]), &context(&updating, printer.reports.tree(), printer.row));
    assert!(matches!(busy, Err(CommandError::Busy(_))));
}

#[test]
fn a_second_try_names_the_file_another_way() {
    let printer = Printer::load("a1mini-idle");
    let device = printer.device();
    let context = Context { url: UrlForm::SdCard, ..context(&device, printer.reports.tree(), printer.row) };
    let plan = encode(&start(vec![slot(0, 0)]), &context).expect("plan");
    assert_eq!(plan.messages[0].body["url"], json!("file:///sdcard/cache/cube one.gcode.3mf"));
    assert_eq!(plan.messages[0].body["subtask_name"], json!("cube one"));
    assert_eq!(plan.messages[0].body["param"], json!("Metadata/plate_2.gcode"));
    assert_eq!(plan.messages[0].body["md5"], json!(""));
}

#[test]
fn job_control_and_settings_have_the_documented_shape() {
    let cases = [
        (Command::Pause, json!({"command": "pause", "param": ""})),
        (Command::Resume, json!({"command": "resume", "param": ""})),
        (Command::Cancel, json!({"command": "stop", "param": ""})),
        (Command::SetSpeed { factor: 1.3 }, json!({"command": "print_speed", "param": "3"})),
        (
            Command::SkipObjects(vec![123, 394]),
            json!({"command": "skip_objects", "obj_list": [123, 394], "timestamp": 0}),
        ),
        (Command::SetAutoRefill(true), json!({"command": "print_option", "auto_switch_filament": true})),
        (
            Command::Calibrate(BTreeSet::from([Calibration::BedLevelling, Calibration::Vibration])),
            json!({"command": "calibration", "option": 6}),
        ),
        (
            Command::SetOption { option: PrintOption::AutoRecovery, on: false },
            json!({"command": "print_option", "auto_recovery": false}),
        ),
        (
            Command::SetOption { option: PrintOption::AmsReadAtStart, on: true },
            json!({"command": "ams_user_setting", "ams_id": -1, "startup_read_option": true, "tray_read_option": true, "calibrate_remain_flag": false}),
        ),
        (
            Command::ReadTag(SlotId::Unit { unit: 0, slot: 2 }),
            json!({"command": "ams_get_rfid", "ams_id": 0, "slot_id": 2}),
        ),
        (
            Command::FilamentAction(FilamentAction::Resume),
            json!({"command": "ams_control", "param": "resume"}),
        ),
    ];
    for (command, expected) in cases {
        assert_eq!(only(P1S, &command), print(expected), "{command:?}");
    }
    let nozzle = Command::SetNozzleType { tool: 0, diameter: 0.4, material: "hardened steel".into() };
    assert_eq!(
        only(P1S, &nozzle),
        json!({"system": {"command": "set_accessories", "accessory_type": "nozzle", "nozzle_diameter": 0.4, "nozzle_type": "hardened_steel", "sequence_id": "7"}})
    );
    let spaghetti = only(P2S, &Command::SetOption { option: PrintOption::SpaghettiDetection, on: true });
    assert_eq!(spaghetti["xcam"]["module_name"], "spaghetti_detector");
    assert_eq!(spaghetti["xcam"]["control"], true);
    let timelapse = only(P1S, &Command::SetOption { option: PrintOption::Timelapse, on: true });
    assert_eq!(
        timelapse["camera"],
        json!({"command": "ipcam_timelapse", "control": "enable", "sequence_id": "7"})
    );
}

#[test]
fn both_chamber_lights_of_an_h2_are_switched() {
    let light = Command::SetLight { light: LightId::Chamber, on: true };
    let plan = plan_for("h2s-01.01.00.00-running", &light).expect("plan");
    let nodes: Vec<_> = plan.messages.iter().map(|message| message.body["led_node"].clone()).collect();
    assert_eq!(nodes, [json!("chamber_light"), json!("chamber_light2")]);
    let one = only(P1S, &light);
    assert_eq!(
        one,
        json!({"system": {"command": "ledctrl", "led_node": "chamber_light", "led_mode": "on", "led_on_time": 500, "led_off_time": 500, "loop_times": 0, "interval_time": 0, "sequence_id": "7"}})
    );
}

#[test]
fn heat_fans_and_motion_are_g_code() {
    assert_eq!(param(P2S, &Command::SetNozzle { tool: 0, target: 219.6 }), "M104 S220\n");
    assert_eq!(
        param("x2d-01.01.00.00-running", &Command::SetNozzle { tool: 1, target: 200.0 }),
        "M104 S200 T1\n"
    );
    assert_eq!(param(P2S, &Command::SetBed { target: 60.0 }), "M140 S60\n");
    assert_eq!(param(P2S, &Command::SetFan { fan: FanId::Chamber, speed: 0.5 }), "M106 P3 S128\n");
    assert_eq!(
        param(P2S, &Command::Jog { delta: [10.0, 0.0, -0.5], feed: None }),
        "M211 S\nM211 X1 Y1 Z1\nM1002 push_ref_mode\nG91\nG1 X10 Z-0.5 F3000\nM1002 pop_ref_mode\nM211 R\n"
    );
    assert_eq!(param(P2S, &Command::Extrude { length: 10.0, feed: Some(15.0) }), "M83\nG1 E10 F900\nM82\n");
    let p1 = plan_for(P1S, &Command::SetNozzle { tool: 0, target: 200.0 }).expect("plan");
    assert_eq!(p1.fallback.map(|f| f.message.body["param"].clone()), Some(json!("M109 S200\n")));
    assert!(plan_for(P2S, &Command::SetBed { target: 60.0 }).expect("plan").fallback.is_none());
    let chamber = only("h2s-01.01.00.00-running", &Command::SetChamber { target: 50.0 });
    assert_eq!(chamber, print(json!({"command": "set_ctt", "ctt_val": 50, "temper_check": true})));
    assert!(plan_for(P2S, &Command::SetChamber { target: 50.0 }).is_err());
    let chamber = |target: f64| plan_for("h2s-01.01.00.00-running", &Command::SetChamber { target });
    assert!(chamber(0.0).is_ok());
    assert!(matches!(chamber(30.0), Err(CommandError::Invalid(_))), "never switched off in silence");
}

#[test]
fn a_pause_is_not_lost_while_the_printer_reads_the_job() {
    let printer = Printer::load(P1S);
    let device = printer.device();
    let mut tree = printer.reports.tree().clone();
    for (state, taken) in [("PREPARE", false), ("SLICING", false), ("RUNNING", true)] {
        tree["gcode_state"] = json!(state);
        let plan = encode(&Command::Pause, &context(&device, &tree, printer.row));
        assert_eq!(plan.is_ok(), taken, "{state}");
        assert!(taken || matches!(plan, Err(CommandError::Busy(_))), "{state}");
    }
}

#[test]
fn homing_is_all_axes_or_nothing() {
    let z = Axes { z: true, ..Axes::default() };
    assert!(matches!(plan_for(P1S, &Command::Home(z)), Err(CommandError::Unsupported(_))));
    let home = plan_for(P1S, &Command::Home(Axes::ALL)).expect("plan");
    assert!(home.settles);
    assert_eq!(home.messages[0].body["param"], json!("G28\nM400\nM1002 gcode_claim_action : 205\n"));
    assert_eq!(
        only(P2S, &Command::Home(Axes::ALL)),
        print(json!({"command": "back_to_center"})),
        "fun bit 32"
    );
}

#[test]
fn g_code_of_users_is_checked_line_by_line() {
    let gcode = |lines: &[&str]| Command::Gcode(lines.iter().map(|line| (*line).to_owned()).collect());
    let plan = plan_for(P1S, &gcode(&["M106 S128 ; half", "", "G4 P100"])).expect("plan");
    assert!(plan.settles);
    assert_eq!(
        plan.messages[0].body["param"],
        json!("M106 S128\nG4 P100\nM400\nM1002 gcode_claim_action : 205\n")
    );
    for (lines, why) in [
        (vec!["M105"], "answered by the gateway"),
        (vec!["G28 Z"], "all axes together"),
        (vec!["M302 S0"], "Cold extrusion"),
        (vec!["T1"], "tool change"),
        (vec!["; only a comment"], "no G-code"),
        (vec!["M117 h\u{e9}"], "not G-code"),
    ] {
        let error = plan_for(P1S, &gcode(&lines)).expect_err("refused").to_string();
        assert!(error.contains(why), "{lines:?}: {error}");
    }
    let long = "M106 S1\n".repeat(600);
    assert!(plan_for(P1S, &gcode(&[&long])).is_err());
    let printer = Printer::load(P2S);
    let running = printer.device();
    let plan =
        encode(&gcode(&["M106 S1"]), &context(&running, printer.reports.tree(), printer.row)).expect("plan");
    assert!(!plan.settles, "no marker into a running job");
}

#[test]
fn filament_changes_have_the_captured_shape() {
    let change = |ams: u16, slot: u16, target: u32, temp: i64| {
        print(
            json!({"command": "ams_change_filament", "ams_id": ams, "slot_id": slot, "target": target, "curr_temp": temp, "tar_temp": temp}),
        )
    };
    let load = |suffix: &str, slot: SlotId| only(suffix, &Command::LoadFilament(slot));
    assert_eq!(load("x1c-01.09.00.01-finish-4ams", SlotId::Unit { unit: 1, slot: 1 }), change(1, 1, 5, -1));
    assert_eq!(
        load("x1c-01.09.00.01-finish-4ams", SlotId::Unit { unit: 128, slot: 0 }),
        change(128, 0, 128, -1)
    );
    assert_eq!(load(P1S, SlotId::External(0)), change(255, 254, 254, -1));
    assert_eq!(load("h2d-01.01.02.00-idle-mixed-ams", SlotId::External(0)), change(255, 0, 255, 215));
    assert!(
        plan_for(P1S, &Command::LoadFilament(SlotId::Unit { unit: 0, slot: 0 })).is_err(),
        "the slot is empty"
    );
    assert_eq!(only(P2S, &Command::UnloadFilament), change(0, 255, 255, 254));
    assert_eq!(only("p1p-01.08.02.00-finish-noams", &Command::UnloadFilament), change(255, 255, 255, 210));
    assert!(plan_for(P1S, &Command::UnloadFilament).is_err(), "nothing is loaded");
}

#[test]
fn slots_are_edited_and_cleared() {
    let edit = |slot: SlotId, edit: SlotEdit| Command::EditSlot { slot, edit: Box::new(edit) };
    let red = SlotEdit { material: Some("pla".into()), color: Color::parse("FF0000"), ..SlotEdit::default() };
    assert_eq!(
        only(P1S, &edit(SlotId::Unit { unit: 0, slot: 1 }, red.clone())),
        print(
            json!({"command": "ams_filament_setting", "ams_id": 0, "tray_id": 1, "slot_id": 1, "tray_info_idx": "GFL99", "setting_id": "", "tray_color": "FF0000FF", "nozzle_temp_min": 190, "nozzle_temp_max": 240, "tray_type": "PLA"})
        )
    );
    let external = only(P1S, &edit(SlotId::External(0), red));
    assert_eq!(
        (&external["print"]["ams_id"], &external["print"]["tray_id"], &external["print"]["slot_id"]),
        (&json!(255), &json!(254), &json!(0))
    );
    let cleared =
        only(P2S, &edit(SlotId::Unit { unit: 0, slot: 1 }, SlotEdit { clear: true, ..SlotEdit::default() }));
    assert_eq!(
        (&cleared["print"]["tray_type"], &cleared["print"]["tray_color"]),
        (&json!(""), &json!("00000000"))
    );
    let unknown = SlotEdit { material: Some("Unobtainium".into()), ..SlotEdit::default() };
    assert!(plan_for(P1S, &edit(SlotId::External(0), unknown)).is_err(), "temperatures are not guessed");
}

#[test]
fn drying_depends_on_model_and_unit() {
    let dry = |unit: u16, temperature: f64| Command::StartDrying {
        unit,
        request: DryRequest { temperature, hours: 8 },
    };
    let ht = only("x1c-01.09.00.01-finish-4ams", &dry(128, 80.0));
    assert_eq!(
        (&ht["print"]["ams_id"], &ht["print"]["temp"], &ht["print"]["mode"]),
        (&json!(128), &json!(80), &json!(1))
    );
    assert!(plan_for("x1c-01.09.00.01-finish-4ams", &dry(2, 80.0)).is_err(), "an AMS 2 Pro stops at 65");
    assert!(matches!(
        plan_for("x1c-01.09.00.01-finish-4ams", &dry(0, 50.0)),
        Err(CommandError::Unsupported(_))
    ));
    assert!(
        matches!(plan_for(P1S, &dry(0, 50.0)), Err(CommandError::Unsupported(_))),
        "P1 acknowledges and ignores it"
    );
    let stop = only("x1c-01.09.00.01-finish-4ams", &Command::StopDrying { unit: 2 });
    assert_eq!((&stop["print"]["mode"], &stop["print"]["ams_id"]), (&json!(0), &json!(2)));
}

#[test]
fn an_error_dialog_is_closed_by_its_code() {
    let printer = Printer::load(P1S);
    let device = printer.device();
    let mut tree = printer.reports.tree().clone();
    let clear = |tree: &Value, code: Option<&str>| {
        encode(&Command::ClearFault { code: code.map(str::to_owned) }, &context(&device, tree, printer.row))
    };
    assert!(clear(&tree, None).is_err(), "there is none");
    tree["print_error"] = json!(0x0300_8015);
    assert!(clear(&tree, Some("0300_8016")).is_err());
    let plan = clear(&tree, Some("0300_8015")).expect("plan");
    assert_eq!(plan.messages[0].body["print_error"], json!(0x0300_8015));
    assert_eq!(plan.messages[1].body["err"], json!("03008015"));
}

#[test]
fn vendor_messages_keep_their_limits() {
    let raw = |value: Value| plan_for(P1S, &Command::RawVendor(value));
    assert!(raw(json!({"print": {"command": "buzzer_ctrl", "mode": 1}})).is_ok());
    assert!(matches!(raw(json!({"upgrade": {"command": "start"}})), Err(CommandError::NotAllowed(_))));
    for wrong in [json!([]), json!({}), json!({"print": 1}), json!({"print": {}, "system": {}})] {
        assert!(matches!(raw(wrong), Err(CommandError::Invalid(_))));
    }
    let printer = Printer::load(P2S);
    let running = printer.device();
    let start = Command::RawVendor(json!({"print": {"command": "project_file"}}));
    let busy = encode(&start, &context(&running, printer.reports.tree(), printer.row));
    assert!(matches!(busy, Err(CommandError::Busy(_))));
}

#[test]
fn vendor_messages_that_may_move_or_heat_are_refused_while_a_job_is_under_way() {
    let printer = Printer::load(P2S);
    let running = printer.device();
    // The gateway's own start was only sent: the printer shows nothing of it yet.
    let idle = Device { activity: Activity::Idle, ..Device::default() };
    let tree = printer.reports.tree();
    let starting = Context { job_under_way: true, ..context(&idle, tree, printer.row) };
    for context in [context(&running, tree, printer.row), starting] {
        let raw = |value: Value| encode(&Command::RawVendor(value), &context);
        for (category, command) in [
            ("print", "gcode_line"),
            ("print", "project_file"),
            ("print", "set_bed_temp"),
            ("print", "set_nozzle_temp"),
            ("print", "xyz_ctrl"),
            ("print", "back_to_center"),
            ("print", "ams_change_filament"),
            ("print", "calibration"),
            ("print", "something_new"),
            ("system", "reboot"),
            ("system", "print_speed"),
        ] {
            let refused = raw(json!({category: {"command": command, "param": "G28\n"}}));
            assert!(matches!(refused, Err(CommandError::Busy(_))), "{command}: {refused:?}");
        }
        assert!(matches!(raw(json!({"print": {"param": "G28"}})), Err(CommandError::Busy(_))));
        for (category, command) in [("print", "stop"), ("print", "print_speed"), ("system", "ledctrl")] {
            assert!(raw(json!({category: {"command": command}})).is_ok(), "{command}");
        }
    }
    assert!(
        encode(
            &Command::RawVendor(json!({"print": {"command": "gcode_line", "param": "G28\n"}})),
            &context(&idle, tree, printer.row)
        )
        .is_ok()
    );
}

#[test]
fn every_ability_of_every_row_can_be_encoded() {
    for row in ROWS {
        let caps = row.capabilities(&Value::Null);
        let device = Device {
            nozzles: vec![Nozzle::default(); row.nozzles],
            activity: Activity::Idle,
            ..Device::default()
        };
        let tree = json!({});
        let context = context(&device, &tree, row);
        let mut commands = vec![Command::Home(Axes::ALL), Command::MotorsOff, Command::EmergencyStop];
        commands.extend(caps.fans.iter().map(|fan| Command::SetFan { fan: *fan, speed: 1.0 }));
        commands.extend(caps.lights.iter().map(|light| Command::SetLight { light: *light, on: true }));
        commands.extend(caps.options.iter().map(|option| Command::SetOption { option: *option, on: true }));
        commands.push(Command::Calibrate(caps.calibrations.clone()));
        commands.extend((0..row.nozzles).map(|tool| Command::SetNozzle { tool, target: 200.0 }));
        if caps.chamber.is_some_and(|chamber| chamber.max.is_some()) {
            commands.push(Command::SetChamber { target: 50.0 });
        }
        for command in commands {
            let plan = encode(&command, &context)
                .unwrap_or_else(|error| panic!("{}: {command:?}: {error}", row.name));
            assert!(plan.messages.iter().all(|message| message.body.contains_key("command")));
        }
    }
    let device = Device::default();
    let tree = json!({});
    let refused = encode(&Command::Pause, &context(&device, &tree, &crate::drivers::bambu::models::GENERIC));
    assert!(matches!(refused, Err(CommandError::NotAllowed(_))));
}

#[test]
fn an_emergency_stops_the_job_and_the_heaters() {
    let printer = Printer::load("h2d-01.01.01.00-running");
    let running = printer.device();
    let plan = encode(&Command::EmergencyStop, &context(&running, printer.reports.tree(), printer.row))
        .expect("plan");
    assert_eq!(plan.messages[0].body["command"], json!("stop"));
    assert_eq!(plan.messages[1].body["param"], json!("M104 S0 T0\nM104 S0 T1\nM140 S0\n"));
    let idle = plan_for(P1S, &Command::EmergencyStop).expect("plan");
    assert_eq!(idle.messages.len(), 1);
}
