use serde_json::{Value, json};

use super::super::encode::plan;
use super::super::reduce::{self, Memory, Verdict};
use super::super::sdcp::{Axis, Disk, Envelope, HomeAxes, Parameter, Sdcp, StartPrint, frame};
use super::super::wire::{Frame, parse};
use super::super::{codes, discovery, models};
use crate::drivers::elegoo::canvas::SlotMapEntry;
use crate::drivers::elegoo::models::CC1;
use crate::drivers::elegoo::testing::assert_simulated;
use crate::model::*;
use crate::printer::StateWriter;

fn text(name: &str) -> String {
    let path = format!("{}/fixtures/elegoo/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn fixture(name: &str) -> Value {
    serde_json::from_str(&text(name)).unwrap()
}

fn status_of(name: &str) -> Value {
    match parse(&text(name)) {
        Frame::Status(status, None) => status,
        other => panic!("{name}: {other:?}"),
    }
}

fn reduced(name: &str) -> Device {
    let mut device = Device::default();
    reduce::status(&status_of(name), &mut device, &mut Memory::default(), 100.0);
    device
}

#[test]
fn a_printing_report_field_by_field() {
    let device = reduced("captured/cc1-status-printing-13");
    assert_eq!(device.nozzles[0].heater, Heater { actual: Some(255.01), target: Some(255.0) });
    assert_eq!(device.bed, Heater { actual: Some(50.04), target: Some(50.0) });
    assert_eq!(device.chamber, Heater { actual: Some(29.2), target: None });
    assert_eq!(device.motion.position, Some([139.96, 123.71, 5.33]));
    assert_eq!(device.fans[&FanId::Part].speed, Some(0.58));
    assert_eq!(device.fans[&FanId::Auxiliary].speed, Some(0.0));
    assert_eq!(device.fans[&FanId::Chamber].speed, Some(0.68));
    assert!(device.lights[&LightId::Chamber].on);
    assert_eq!((device.speed.factor, device.speed.level.as_deref()), (Some(1.0), Some("Balanced")));
    assert_eq!(device.activity, Activity::Job);
    assert!(device.faults.is_empty());
    let job = device.job;
    assert_eq!(job.stage, DeviceStage::Printing);
    assert_eq!(job.file.as_deref(), Some("ECC_0.4_temperature_tower_PLA0.16_1h15m.gcode"));
    assert_eq!(job.token.as_deref(), Some("295cb186-daf5-4b84-9668-59a520e4640a"));
    assert_eq!(job.progress, Some(0.09));
    assert_eq!((job.layer, job.total_layers), (Some(34), Some(438)));
    assert_eq!(job.print_s, Some(364.98));
    assert_eq!(job.remaining_s, Some(4504.0 - 364.98));
    assert_eq!(job.detail, None);
}

#[test]
fn other_reports() {
    let stopped = reduced("captured/cc1-status-stopped-8");
    assert_eq!(stopped.job.stage, DeviceStage::Cancelled);
    assert_eq!((stopped.job.file, stopped.job.token, stopped.job.progress), (None, None, None));
    assert_eq!(stopped.activity, Activity::Idle);
    assert_eq!(stopped.nozzles[0].heater.target, Some(0.0));

    let heated = reduced("captured/cc1-status-preheated-20");
    assert_eq!(heated.job.stage, DeviceStage::Preparing, "20 at layer 0 without progress is the warm-up");
    assert_eq!(heated.job.detail.unwrap().text, "heated");

    let parked = reduced("assembled/cc1-status-v1.4-parked-on-20");
    assert_eq!(parked.job.stage, DeviceStage::Printing, "V1.4.46 stays on 20 for the whole job");
    assert_eq!(parked.job.file.as_deref(), Some("test.gcode"));

    let plain = reduced("captured/cc1-status-printing-13");
    let mut pair = reduced("assembled/cc1-status-pair-temps");
    assert_eq!(pair, plain, "both schemas say the same");
    pair = reduced("assembled/cc1-status-nested-in-data");
    assert_eq!(pair, plain, "wherever the status is nested");
}

#[test]
fn hex_keys_are_extrusion() {
    let info = fixture("assembled/cc1-fragment-printinfo-hexkeys");
    let mut device = Device::default();
    let status = json!({"CurrentStatus": [1], "PrintInfo": info});
    reduce::status(&status, &mut device, &mut Memory::default(), 0.0);
    assert_eq!(device.job.filament_used_mm, Some(2345.67));
    let fragment = fixture("captured/cc1-fragment-printinfo-13");
    let status = json!({"CurrentStatus": [1], "PrintInfo": fragment});
    reduce::status(&status, &mut device, &mut Memory::default(), 0.0);
    assert_eq!(device.job.layer, Some(0));
    assert_eq!(device.job.remaining_s, Some(5071.0 - 146.47847498604096));
}

#[test]
fn every_sub_status_has_its_stage() {
    use DeviceStage::*;
    let table = [
        (0, Preparing),
        (1, Preparing),
        (5, Pausing),
        (6, Paused),
        (7, Cancelling),
        (8, Cancelled),
        (9, Finished),
        (10, Preparing),
        (11, Preparing),
        (12, Resuming),
        (13, Printing),
        (14, Failed),
        (15, Preparing),
        (16, Preparing),
        (17, Preparing),
        (18, Preparing),
        (19, Preparing),
        (20, Preparing),
        (21, Preparing),
        (22, Preparing),
        (23, Printing),
        (24, Printing),
        (25, Printing),
        (26, Printing),
        (99, Printing),
    ];
    for (sub, expected) in table {
        let mut device = Device::default();
        let status =
            json!({"CurrentStatus": [1], "PrintInfo": {"Status": sub, "Filename": "a.gcode", "TaskId": "t"}});
        reduce::status(&status, &mut device, &mut Memory::default(), 0.0);
        assert_eq!(device.job.stage, expected, "{sub}");
        let idle = json!({"CurrentStatus": [0], "PrintInfo": {"Status": sub, "Filename": "", "TaskId": "0"}});
        let mut device = Device::default();
        reduce::status(&idle, &mut device, &mut Memory::default(), 0.0);
        let expected = if expected.ended() { expected } else { Idle };
        assert_eq!(device.job.stage, expected, "idle {sub}");
    }
    for code in 2..=12 {
        let mut device = Device::default();
        reduce::status(&json!({"CurrentStatus": [code]}), &mut device, &mut Memory::default(), 0.0);
        let expected = codes::activity(code).unwrap().to_owned();
        assert_eq!(device.activity, Activity::Busy(expected), "{code}");
    }
}

/// Plays `(CurrentStatus, PrintInfo.Status)` for one file and returns the stages.
fn played(memory: &mut Memory, device: &mut Device, frames: &[(Vec<i64>, i64)]) -> Vec<DeviceStage> {
    frames
        .iter()
        .map(|(codes, sub)| {
            let ended = matches!(sub, 0 | 8 | 9 | 14);
            let file = if ended { "" } else { "a.gcode" };
            let status = json!({"CurrentStatus": codes,
                "PrintInfo": {"Status": sub, "Filename": file, "TaskId": if ended { "" } else { "t1" }, "Progress": 50}});
            reduce::status(&status, device, memory, 0.0);
            device.job.stage
        })
        .collect()
}

#[test]
fn homing_inside_a_stop_is_still_the_stop() {
    use DeviceStage::*;
    let frames = [(vec![1], 13), (vec![1], 7), (vec![1], 1), (vec![1], 21), (vec![0], 8)];
    let stages = played(&mut Memory::default(), &mut Device::default(), &frames);
    assert_eq!(stages, [Printing, Cancelling, Cancelling, Cancelling, Cancelled]);
}

#[test]
fn a_stop_ends_with_its_run_and_where_it_was_not_carried_out() {
    use DeviceStage::*;
    let goes_on = [(vec![1], 13), (vec![1], 7), (vec![1], 21), (vec![1], 13), (vec![1], 1), (vec![1], 20)];
    let stages = played(&mut Memory::default(), &mut Device::default(), &goes_on);
    assert_eq!(stages, [Printing, Cancelling, Cancelling, Printing, Preparing, Printing]);
    let heats = [(vec![1], 16), (vec![1], 7), (vec![1], 16)];
    let stages = played(&mut Memory::default(), &mut Device::default(), &heats);
    assert_eq!(stages, [Preparing, Cancelling, Preparing]);
    // Another run began while nobody looked.
    for (looked_away, id) in [(false, "t2"), (true, "t1"), (true, "")] {
        let (mut memory, mut device) = (Memory::default(), Device::default());
        played(&mut memory, &mut device, &[(vec![1], 13), (vec![1], 7)]);
        if looked_away {
            memory.reconnected();
        }
        let status =
            json!({"CurrentStatus": [1], "PrintInfo": {"Status": 1, "Filename": "b.gcode", "TaskId": id}});
        reduce::status(&status, &mut device, &mut memory, 0.0);
        assert_eq!(device.job.stage, Preparing, "{id}");
    }
}

#[test]
fn a_homing_that_no_report_showed_counts_once_it_was_acknowledged() {
    let idle = fixture("captured/cc1-status-stopped-8")["Status"].clone();
    let (mut memory, mut device) = (Memory::default(), Device::default());
    let mut homed = |memory: &mut Memory| {
        reduce::status(&idle, &mut device, memory, 0.0);
        device.motion.homed == Some(Homed::ALL)
    };
    assert!(!homed(&mut memory));
    memory.homes(Homed::ALL);
    assert!(!homed(&mut memory), "this report may be older than the homing");
    assert!(homed(&mut memory));
    memory.reconnected();
    assert!(!homed(&mut memory), "a new link knows nothing");
}

#[test]
fn a_transfer_or_filament_change_beside_a_job_does_not_end_it() {
    use DeviceStage::*;
    let frames = [(vec![1], 13), (vec![2, 1], 13), (vec![2], 13), (vec![10], 25), (vec![1], 13)];
    let stages = played(&mut Memory::default(), &mut Device::default(), &frames);
    assert_eq!(stages, [Printing; 5]);
}

/// A print begun at the screen, whose id comes after the status says that it prints: until then there is none, or that of
/// the run before.
#[test]
fn a_run_of_the_screen_is_one_job_whenever_its_id_comes() {
    for early in ["", "0", "run-1"] {
        let (state, mut memory) = (StateWriter::new(Capabilities::default()), Memory::default());
        state.link(LinkPhase::Online);
        let mut tell = |code: i64, sub: i64, task: &str| {
            let info = json!({"Status": sub, "Filename": "cube.gcode", "TaskId": task, "Progress": 5});
            let status = json!({"CurrentStatus": [code], "PrintInfo": info});
            state.report(|device| drop(reduce::status(&status, device, &mut memory, 0.0)));
            state.state().job.clone()
        };
        tell(1, 13, "run-1");
        let first = tell(0, 9, "run-1");
        assert_eq!(first.phase, JobPhase::Complete, "{early:?}");
        let begun = tell(1, 18, early);
        assert_eq!((begun.serial, begun.origin), (first.serial + 1, JobOrigin::Elsewhere), "{early:?}");
        let named = tell(1, 13, "run-2");
        assert_eq!((named.serial, named.token.as_deref()), (begun.serial, Some("run-2")), "{early:?}");
        assert_eq!(tell(0, 9, "run-2").serial, begun.serial, "{early:?}");
    }
}

#[test]
fn a_missed_end_is_held_until_the_history_spoke() {
    let mut memory = Memory::default();
    let mut device = Device::default();
    let idle = json!({"CurrentStatus": [0], "PrintInfo": {"Status": 0, "Filename": "", "TaskId": ""}});
    played(&mut memory, &mut device, &[(vec![1], 13)]);
    let wish = reduce::status(&idle, &mut device, &mut memory, 0.0);
    assert_eq!(wish.history.as_deref(), Some("t1"));
    assert_eq!(device.job.stage, DeviceStage::Printing);
    assert_eq!(reduce::status(&idle, &mut device, &mut memory, 0.0).history, None, "asked once");
    memory.judge(Some(Verdict { stage: DeviceStage::Finished, reason: None }));
    reduce::status(&idle, &mut device, &mut memory, 0.0);
    assert_eq!(device.job.stage, DeviceStage::Finished);

    played(&mut memory, &mut device, &[(vec![1], 13)]);
    let failed = json!({"CurrentStatus": [0], "PrintInfo": {"Status": 14}});
    assert!(reduce::status(&failed, &mut device, &mut memory, 0.0).history.is_some());
    let detail = fixture("assembled/cc1-response-history-detail-321");
    assert_eq!(
        reduce::verdict(&detail["Data"]["Data"], "295cb186-daf5-4b84-9668-59a520e4640a"),
        Some(Verdict { stage: DeviceStage::Cancelled, reason: None })
    );
    memory.judge(Some(Verdict { stage: DeviceStage::Failed, reason: codes::reason(3) }));
    reduce::status(&failed, &mut device, &mut memory, 0.0);
    assert_eq!(device.job.stage, DeviceStage::Failed);
    assert!(device.job.reason.unwrap().contains("filament ran out"));
}

#[test]
fn attributes_and_errors() {
    let Frame::Attributes(attributes, None) = parse(&text("assembled/cc1-attributes-push")) else { panic!() };
    let mut device = Device::default();
    let who = reduce::attributes(&attributes, &mut device);
    assert_eq!(who.mac.as_deref(), Some("00:11:22:33:44:55"));
    assert_eq!(who.mainboard_id.as_deref(), Some("00112233445566778899aa0000000000"));
    assert_eq!(device.identity.firmware.as_deref(), Some("V1.1.46"));
    assert_eq!(device.storage.free_bytes, Some(5_368_709_120));
    assert_eq!(device.network.wired, Some(false));
    for code in 1..=6 {
        let status = json!({"CurrentStatus": [0], "PrintInfo": {"Status": 14, "ErrorNumber": code}});
        reduce::status(&status, &mut device, &mut Memory::default(), 7.0);
        assert_eq!(device.faults[0].code, format!("ErrorNumber {code}"));
        assert!(device.faults[0].text.len() > 20);
    }
    let fine = json!({"CurrentStatus": [0], "PrintInfo": {"Status": 0}});
    reduce::status(&fine, &mut device, &mut Memory::default(), 8.0);
    assert!(device.faults.is_empty());
}

#[test]
fn what_the_job_before_left_is_not_of_the_next_one() {
    let (mut memory, mut device) = (Memory::default(), Device::default());
    let mut told = |codes: Value, sub: i64, layer: u32, ticks: f64, progress: u32| {
        let task = if sub == 9 { "" } else { "second" };
        let print = json!({"Status": sub, "CurrentLayer": layer, "TotalLayer": 20, "CurrentTicks": ticks,
            "TotalTicks": 600, "Progress": progress, "Filename": task, "TaskId": task});
        reduce::status(&json!({"CurrentStatus": codes, "PrintInfo": print}), &mut device, &mut memory, 7.0);
        device.job.clone()
    };
    assert_eq!(told(json!([0]), 9, 20, 600.0, 100).stage, DeviceStage::Finished);
    for sub in [18, 1, 21, 16, 20, 15, 19] {
        let job = told(json!([1]), sub, 20, 600.0, 100);
        assert_eq!(job.stage, DeviceStage::Preparing, "{sub}");
        assert_eq!((job.progress, job.layer, job.print_s), (None, None, None), "{sub}");
        assert_eq!((job.remaining_s, job.total_layers), (None, None), "{sub}");
    }
    let job = told(json!([1]), 13, 0, 2.0, 0);
    assert_eq!((job.stage, job.progress, job.layer), (DeviceStage::Printing, Some(0.0), Some(0)));
    assert_eq!((job.print_s, job.remaining_s, job.total_layers), (Some(2.0), Some(598.0), Some(20)));
    assert_eq!(told(json!([1]), 13, 9, 300.0, 50).print_s, Some(300.0));
    let reset = told(json!([1]), 13, 9, 1.0, 50);
    assert_eq!(
        (reset.print_s, reset.remaining_s),
        (Some(301.0), Some(299.0)),
        "a line of the file set it back"
    );
}

#[test]
fn a_run_that_took_the_place_of_another_unseen_has_a_clock_of_its_own() {
    let (mut memory, mut device) = (Memory::default(), Device::default());
    for (task, ticks, printed) in [("first", 600.0, 600.0), ("second", 50.0, 50.0), ("second", 2.0, 52.0)] {
        let print = json!({"Status": 13, "Progress": 10, "CurrentTicks": ticks, "Filename": "cube.gcode", "TaskId": task});
        reduce::status(&json!({"CurrentStatus": [1], "PrintInfo": print}), &mut device, &mut memory, 7.0);
        assert_eq!((device.job.token.as_deref(), device.job.print_s), (Some(task), Some(printed)));
    }
}

#[test]
fn frames_are_sorted_and_hostile_ones_are_harmless() {
    assert_eq!(parse("pong"), Frame::Pong);
    let prefixed = format!("947{}", text("captured/cc1-status-printing-13"));
    assert!(matches!(parse(&prefixed), Frame::Status(..)), "a length before the brace");
    let combined = r#"{"Topic":"sdcp/response/x","Data":{"Cmd":0,"RequestID":"r1","Data":{"Ack":0,"Status":{"CurrentStatus":[0]}}}}"#;
    assert!(matches!(parse(combined), Frame::Status(_, Some(id)) if id == "r1"), "Ack and content in one");
    let Frame::Response { request, command, data } =
        parse(&text("captured/cc1-response-start-print-128-ack2-not-found"))
    else {
        panic!()
    };
    assert_eq!((request.as_str(), command, super::super::wire::ack(&data)), ("3333", Some(128), 2));
    for text in [
        "",
        "{",
        "[]",
        "null",
        "12",
        "{\"Data\":7}",
        "{\"Status\":[1]}",
        "{\"Topic\":\"sdcp/error/x\",\"Data\":{}}",
    ] {
        assert!(matches!(parse(text), Frame::Other | Frame::Garbage), "{text}");
    }
    assert_eq!(
        parse("{\"Topic\":\"sdcp/error/x\",\"Data\":{\"Data\":{\"ErrorCode\":\"1\"}}}"),
        Frame::FileError(1)
    );
    let hostile = json!({"CurrentStatus": {"a": 1}, "TempOfNozzle": "x", "TempOfHotbed": [], "CurrenCoord": "1,2",
        "CurrentFanSpeed": 5, "LightStatus": [], "PrintInfo": {"Status": 1e300, "Progress": 1e9, "CurrentTicks": -5,
        "TotalLayer": -1, "Filename": 12, "PrintSpeedPct": "fast"}});
    let mut device = reduced("captured/cc1-status-printing-13");
    let heat = device.nozzles[0].heater;
    reduce::status(&hostile, &mut device, &mut Memory::default(), 0.0);
    assert_eq!(device.nozzles[0].heater, heat, "a bad field loses only itself");
    reduce::status(&json!([1, 2]), &mut device, &mut Memory::default(), 0.0);
    reduce::attributes(&json!("x"), &mut device);
}

fn written(command: &Sdcp) -> String {
    let envelope = Envelope {
        request: "83c9c3a405a702b2",
        mainboard: "00112233445566778899aa0000000000",
        time: 1_746_293_611,
    };
    frame(command, &envelope).unwrap()
}

/// Every payload of the closed list, byte for byte.
#[test]
fn payloads_byte_for_byte() {
    let slot_map = vec![SlotMapEntry { t: 0, canvas_id: 0, tray_id: 2 }];
    let start = StartPrint { file: "some_file.gcode".into(), ..StartPrint::default() };
    let table = [
        (Sdcp::Status, 0, "{}"),
        (Sdcp::Attributes, 1, "{}"),
        (
            Sdcp::Start(start.clone()),
            128,
            r#"{"Filename":"/local/some_file.gcode","StartLayer":0,"Calibration_switch":0,"PrintPlatformType":0,"Tlp_Switch":0}"#,
        ),
        (
            Sdcp::Start(StartPrint {
                level_first: true,
                smooth_plate: true,
                timelapse: true,
                slot_map,
                ..start
            }),
            128,
            r#"{"Filename":"/local/some_file.gcode","StartLayer":0,"Calibration_switch":1,"PrintPlatformType":1,"Tlp_Switch":1,"slot_map":[{"t":0,"canvas_id":0,"tray_id":2}]}"#,
        ),
        (Sdcp::Pause, 129, "{}"),
        (Sdcp::Stop, 130, "{}"),
        (Sdcp::Resume, 131, "{}"),
        (Sdcp::ListFiles(Disk::Local), 258, r#"{"Url":"/local"}"#),
        (Sdcp::ListFiles(Disk::Usb), 258, r#"{"Url":"/usb"}"#),
        (
            Sdcp::Delete(Disk::Local, "a.gcode".into()),
            259,
            r#"{"FileList":["/local/a.gcode"],"FolderList":[]}"#,
        ),
        (Sdcp::HistoryIds, 320, "{}"),
        (Sdcp::HistoryDetail(vec!["uuid".into()]), 321, r#"{"Id":["uuid"]}"#),
        (Sdcp::Canvas, 324, "{}"),
        (Sdcp::Video(true), 386, r#"{"Enable":1}"#),
        (Sdcp::Video(false), 386, r#"{"Enable":0}"#),
        (Sdcp::Jog(Axis::X, 10.0), 401, r#"{"Axis":"X","Step":10.0}"#),
        (Sdcp::Home(HomeAxes::Xyz), 402, r#"{"Axis":"XYZ"}"#),
        (Sdcp::Home(HomeAxes::Xy), 402, r#"{"Axis":"XY"}"#),
        (Sdcp::Set(Parameter::Nozzle(210)), 403, r#"{"TempTargetNozzle":210}"#),
        (Sdcp::Set(Parameter::Bed(60)), 403, r#"{"TempTargetHotbed":60}"#),
        (Sdcp::Set(Parameter::PartFan(50)), 403, r#"{"TargetFanSpeed":{"ModelFan":50}}"#),
        (Sdcp::Set(Parameter::AuxiliaryFan(0)), 403, r#"{"TargetFanSpeed":{"AuxiliaryFan":0}}"#),
        (Sdcp::Set(Parameter::ChamberFan(25)), 403, r#"{"TargetFanSpeed":{"BoxFan":25}}"#),
        (Sdcp::Set(Parameter::Light(true)), 403, r#"{"LightStatus":{"SecondLight":1,"RgbLight":[0,0,0]}}"#),
        (Sdcp::Set(Parameter::Speed(130)), 403, r#"{"PrintSpeedPct":130}"#),
    ];
    for (command, number, payload) in table {
        assert_eq!(
            written(&command),
            format!(
                r#"{{"Id":"","Data":{{"Cmd":{number},"Data":{payload},"RequestID":"83c9c3a405a702b2","MainboardID":"00112233445566778899aa0000000000","TimeStamp":1746293611,"From":1}},"Topic":"sdcp/request/00112233445566778899aa0000000000"}}"#
            )
        );
    }
}

/// The captured requests of other clients carry the same payloads.
#[test]
fn captured_requests_have_our_payloads() {
    let ours = |command: &Sdcp| serde_json::from_str::<Value>(&written(command)).unwrap();
    let captured = fixture("captured/cc1-request-status-0");
    let mine = ours(&Sdcp::Status);
    assert_eq!(mine["Topic"], captured["Topic"]);
    for key in ["Cmd", "Data", "RequestID", "MainboardID", "TimeStamp"] {
        assert_eq!(mine["Data"][key], captured["Data"][key], "{key}");
    }
    let start = Sdcp::Start(StartPrint { file: "some_file.gcode".into(), ..StartPrint::default() });
    assert_eq!(ours(&start)["Data"]["Data"], fixture("captured/cc1-request-start-print-128")["Data"]["Data"]);
    let mut light = fixture("captured/cc1-request-light-403")["Data"]["Data"].clone();
    // That client wrote a boolean; 0 and 1 are what the dossier lists.
    light["LightStatus"]["SecondLight"] = json!(1);
    assert_eq!(ours(&Sdcp::Set(Parameter::Light(true)))["Data"]["Data"], light);
}

fn state(stage: DeviceStage) -> PrinterState {
    let mut state = PrinterState::default();
    state.device.job.stage = stage;
    state
}

#[test]
fn commands_are_planned_or_refused() {
    let printing = state(DeviceStage::Printing);
    let steps = |command: Command| plan(&command, &printing).map(|plan| plan.steps);
    assert_eq!(
        steps(Command::SetFan { fan: FanId::Part, speed: 0.5 }),
        Ok(vec![Sdcp::Set(Parameter::PartFan(50))])
    );
    assert_eq!(steps(Command::SetSpeed { factor: 1.24 }), Ok(vec![Sdcp::Set(Parameter::Speed(130))]));
    assert!(plan(&Command::SetSpeed { factor: 1.3 }, &state(DeviceStage::Idle)).is_err());
    assert_eq!(
        steps(Command::Jog { delta: [1.5, 0.0, -2.0], feed: None }),
        Ok(vec![Sdcp::Jog(Axis::X, 1.5), Sdcp::Jog(Axis::Z, -2.0)])
    );
    assert!(steps(Command::Home(Axes { x: true, y: false, z: true })).is_err(), "no such spelling");
    let stop = plan(&Command::EmergencyStop, &printing).unwrap();
    assert_eq!(stop.steps.len(), 3);
    assert!(stop.note.unwrap().contains("cut the power"));
    for stage in [DeviceStage::Cancelling] {
        for command in [Command::Pause, Command::Resume, Command::Cancel] {
            assert!(matches!(plan(&command, &state(stage)), Err(CommandError::Busy(_))));
        }
    }
    assert!(matches!(steps(Command::RawVendor(json!({}))), Err(CommandError::Unsupported(_))));
}

#[test]
fn models_and_discovery() {
    let from = "192.0.2.1".parse().unwrap();
    let found = discovery::parse(text("assembled/cc1-discovery-reply").as_bytes(), from).unwrap();
    assert!(found.is_centauri());
    assert_eq!(found.mainboard_id, "00112233445566778899aa0000000000");
    let resin = discovery::parse(text("captured/resin-discovery-reply-saturn3-v1").as_bytes(), from).unwrap();
    assert!(!resin.is_centauri());
    assert_eq!(discovery::parse(b"{\"Data\":[]}", from), None);
    for (name, title) in [
        ("Centauri Carbon", Some("Centauri Carbon")),
        ("ELEGOO Centauri Carbon", Some("Centauri Carbon")),
        ("Centauri", Some("Centauri")),
        ("Centauri Carbon Max", Some("Centauri")),
        ("Centauri Carbon 2", None),
        ("ELEGOO Saturn 4 Ultra", None),
    ] {
        assert_eq!(models::find(name).map(|model| model.name), title, "{name}");
    }
    for (firmware, canvas) in
        [("V1.1.46", false), ("V1.4.46", true), ("V0.3.0-o", false), ("2.0", true), ("", false)]
    {
        assert_eq!(models::has_canvas_command(firmware), canvas, "{firmware}");
    }
}

#[test]
fn every_row_has_a_simulated_printer_that_takes_its_limits() {
    assert_simulated(CC1, crate::sim::elegoo_models::CC1, models::find);
}

/// Whatever a row of the table promises, the encoder has a request for.
#[test]
fn capabilities_agree_with_the_encoder() {
    for model in CC1 {
        assert_eq!(models::find(model.name), Some(model), "each row is found by its own name");
        let caps = models::capabilities(model, true);
        let printing = state(DeviceStage::Printing);
        for fan in &caps.fans {
            assert!(plan(&Command::SetFan { fan: *fan, speed: 1.0 }, &printing).is_ok());
        }
        for level in &caps.speed_levels {
            assert!(plan(&Command::SetSpeed { factor: level.factor }, &printing).is_ok());
        }
        for light in &caps.lights {
            assert!(plan(&Command::SetLight { light: *light, on: true }, &printing).is_ok());
        }
        assert!(!caps.control.emergency_stop);
        assert!(
            !caps.motion.extrude && plan(&Command::Extrude { length: 1.0, feed: None }, &printing).is_err()
        );
    }
}
