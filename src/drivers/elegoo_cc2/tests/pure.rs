use serde_json::{Value, json};

use super::super::encode::{Call, LIST_PAGE, StartPrint, TrayEdit, payload, plan};
use super::super::reduce::{self, Memory};
use super::super::wire::{Document, Message, Registration, parse, registration};
use super::super::{codes, discovery, models};
use crate::drivers::elegoo::canvas::SlotMapEntry;
use crate::drivers::elegoo::models::CC2;
use crate::drivers::elegoo::place::Medium;
use crate::drivers::elegoo::testing::assert_simulated;
use crate::model::*;

fn text(name: &str) -> String {
    let path = format!("{}/fixtures/elegoo/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn fixture(name: &str) -> Value {
    serde_json::from_str(&text(name)).unwrap()
}

fn result_of(name: &str) -> Value {
    match parse(text(name).as_bytes()) {
        Message::Response { result, .. } => result,
        other => panic!("{name}: {other:?}"),
    }
}

fn reduced(status: &Value) -> Device {
    let mut device = Device::default();
    reduce::status(status, &mut device, &mut Memory::default(), 100.0);
    device
}

#[test]
fn a_printing_report_field_by_field() {
    let device = reduced(&result_of("captured/cc2-1002-status-printing"));
    assert_eq!(device.nozzles[0].heater, Heater { actual: Some(219.5), target: Some(220.0) });
    assert_eq!(device.nozzles[0].filament_detected, Some(true));
    assert_eq!(device.bed, Heater { actual: Some(59.8), target: Some(60.0) });
    assert_eq!(device.chamber, Heater { actual: Some(30.0), target: None });
    assert_eq!(device.fans[&FanId::Part].speed, Some(100.0 / 255.0));
    assert_eq!(device.fans[&FanId::Chamber].speed, Some(0.1));
    assert_eq!(device.fans[&FanId::Hotend].speed, Some(1.0));
    assert_eq!(device.fans[&FanId::Controller].speed, Some(1.0));
    assert_eq!(device.motion.position, Some([104.1, 170.8, 9.0]));
    assert_eq!(device.motion.velocity, Some(50.0));
    assert_eq!(device.motion.homed, Some(Homed::ALL));
    assert_eq!((device.speed.factor, device.speed.level.as_deref()), (Some(1.0), Some("Balanced")));
    assert!(device.lights[&LightId::Chamber].on);
    assert_eq!(device.activity, Activity::Job);
    let job = device.job;
    assert_eq!(job.stage, DeviceStage::Printing);
    assert_eq!((job.file.as_deref(), job.token.as_deref()), (Some("duck.gcode"), Some("abc-123")));
    assert_eq!(job.progress, Some(0.19));
    assert_eq!((job.print_s, job.total_s, job.remaining_s), (Some(10427.0), Some(10599.0), Some(40683.0)));
    assert_eq!((job.layer, job.total_layers), (Some(43), None));
    assert_eq!(job.detail, None);
}

#[test]
fn other_reports_and_spellings() {
    let idle = reduced(&result_of("captured/cc2-1002-status-idle"));
    assert_eq!((idle.job.stage, idle.activity), (DeviceStage::Idle, Activity::Idle));
    assert_eq!(idle.motion.homed, Some(Homed::default()));
    assert_eq!(idle.nozzles[0].filament_detected, Some(false));
    let sdk = reduced(&result_of("assembled/cc2-1002-status-sdk-field-names"));
    assert_eq!(sdk.motion.position, Some([88.148, 139.946, 1.6]));
    assert_eq!(sdk.motion.homed, Some(Homed::ALL));
    assert_eq!(sdk.job.total_layers, Some(500));
    assert_eq!(sdk.fans[&FanId::Part].rpm, Some(5000.0));
    assert_eq!(reduce::has_canvas(&result_of("captured/cc2-1002-status-idle")), Some(true));
    assert_eq!(reduce::has_canvas(&json!({"external_device": {"type": "0"}})), Some(false));
    let mut device = Device::default();
    let model = reduce::attributes(&result_of("assembled/cc2-1001-attributes"), &mut device);
    assert_eq!(model.as_deref(), Some("Centauri Carbon 2"));
    assert_eq!(device.identity.firmware.as_deref(), Some("01.03.02.51"));
    let free = reduce::disk(&result_of("captured/cc2-response-1048-disk"), &mut device);
    assert_eq!(free, Some(31_021_039_616 - 23_478_272));
    assert_eq!(device.storage.total_bytes, Some(31_021_039_616));
}

fn job(status: i64, sub: i64, extra: Value) -> Value {
    let mut print = json!({"filename": "a.gcode", "uuid": "u1"});
    print.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({"machine_status": {"status": status, "sub_status": sub, "progress": 50}, "print_status": print})
}

#[test]
fn every_status_and_sub_status_has_its_stage() {
    use DeviceStage::*;
    let none = || json!({});
    let begun = || json!({"print_duration": 5});
    let table = [
        (2, 0, none(), Preparing),
        (2, 1045, none(), Preparing),
        (2, 1405, none(), Preparing),
        (2, 2801, none(), Preparing),
        (2, 2901, none(), Preparing),
        (2, 1045, begun(), Printing),
        (2, 1066, begun(), Printing),
        (2, 1156, begun(), Printing),
        (2, 777, begun(), Printing),
        (2, 2075, none(), Printing),
        (2, 2077, begun(), Finished),
        (2, 2401, begun(), Resuming),
        (2, 2402, begun(), Printing),
        (2, 2403, begun(), Paused),
        (2, 2501, begun(), Pausing),
        (2, 2502, begun(), Paused),
        (2, 2505, begun(), Paused),
        (2, 2506, begun(), Paused),
        (2, 2503, begun(), Cancelling),
        (2, 2504, begun(), Cancelled),
        (2, 1045, json!({"print_duration": 5, "state": "paused"}), Paused),
        (15, 0, none(), Paused),
        (1, 0, none(), Idle),
        (1, 2077, none(), Finished),
        (1, 0, json!({"state": "complete"}), Finished),
        (1, 0, json!({"state": "cancelled"}), Cancelled),
        (1, 0, json!({"state": "error"}), Failed),
        (12, 2077, none(), Finished),
        (12, 0, json!({"state": "complete"}), Finished),
        (3, 0, json!({"state": "cancelled"}), Cancelled),
        (13, 0, none(), Idle),
        (14, 0, none(), Idle),
        (5, 0, none(), Idle),
    ];
    for (status, sub, extra, expected) in table {
        assert_eq!(reduced(&job(status, sub, extra.clone())).job.stage, expected, "{status}/{sub} {extra}");
    }
    assert_eq!(reduced(&job(9, 2703, none())).activity, Activity::Updating);
    for status in [0, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14] {
        let expected = codes::activity(status).unwrap().to_owned();
        assert_eq!(reduced(&job(status, 0, none())).activity, Activity::Busy(expected), "{status}");
    }
}

/// Feeds the recorded order of a tool change into a printing machine.
#[test]
fn a_tool_change_is_no_fault_no_runout_and_no_pause() {
    let mut document = Document::default();
    let mut full = result_of("captured/cc2-1002-status-printing");
    full["gcode_move"]["speed_mode"] = json!(2);
    document.replace(full);
    let mut memory = Memory::default();
    memory.wanted_mode = Some(2);
    let mut device = Device::default();
    reduce::status(document.value().unwrap(), &mut device, &mut memory, 0.0);
    let (mut resent, mut looked) = (Vec::new(), Vec::new());
    for (n, message) in
        fixture("assembled/cc2-sequence-filament-switch").as_array().unwrap().iter().enumerate()
    {
        let Message::Delta { id, change } = parse(message.to_string().as_bytes()) else { panic!() };
        assert!(document.merge(id, &change), "no gap");
        let wish = reduce::status(document.value().unwrap(), &mut device, &mut memory, n as f64);
        resent.extend(wish.speed);
        looked
            .extend(wish.canvas.then_some(document.value().unwrap()["machine_status"]["sub_status"].clone()));
        assert_eq!(device.job.stage, DeviceStage::Printing, "{n}");
        assert!(device.faults.is_empty(), "{n}");
        assert_eq!(device.nozzles[0].filament_detected, Some(true), "{n}");
    }
    assert_eq!(resent, [2], "the mode the user chose, once, after the change");
    assert_eq!(looked, [json!(2075)], "which slot feeds now is asked once, when it is done");
}

#[test]
fn what_the_job_before_left_is_not_of_the_next_one() {
    let told = |status: i64, sub: i64, layer: u32, seconds: u32, progress: u32| {
        let extra = json!({"current_layer": layer, "print_duration": seconds, "remaining_time_sec": 7});
        let mut told = job(status, sub, extra);
        told["machine_status"]["progress"] = json!(progress);
        told
    };
    let (mut memory, mut device) = (Memory::default(), Device::default());
    reduce::status(&told(1, 0, 20, 600, 100), &mut device, &mut memory, 1.0);
    // Deltas do not carry the progress: it stays what it was until the full status is read (elegoo.md 3.7).
    reduce::status(&told(2, 1045, 20, 600, 100), &mut device, &mut memory, 2.0);
    let of = |device: &Device| {
        let job = &device.job;
        (job.stage, job.progress, job.layer, job.print_s, job.remaining_s)
    };
    assert_eq!(of(&device), (DeviceStage::Preparing, None, None, None, None));
    let wish = reduce::status(&told(1, 0, 20, 600, 100), &mut device, &mut memory, 3.0);
    assert!(wish.history.is_some(), "it did not come to its end");
    memory.judge(Some(DeviceStage::Cancelled));
    reduce::status(&told(1, 0, 20, 600, 100), &mut device, &mut memory, 4.0);
    assert_eq!(device.job.stage, DeviceStage::Cancelled);
    reduce::status(&told(2, 2075, 0, 3, 0), &mut device, &mut memory, 5.0);
    assert_eq!(of(&device), (DeviceStage::Printing, Some(0.0), Some(0), Some(3.0), Some(7.0)));
}

#[test]
fn a_run_that_took_the_place_of_another_unseen_has_a_clock_and_an_end_of_its_own() {
    let (mut memory, mut device) = (Memory::default(), Device::default());
    let told = |uuid: &str, sub: i64, seconds: u32, exceptions: Value| {
        let mut told =
            job(2, sub, json!({"uuid": uuid, "filename": "cube.gcode", "print_duration": seconds}));
        told["machine_status"]["exception_status"] = exceptions;
        told
    };
    let fatal =
        (1..2000).find(|code| codes::exception(*code).0 == Severity::Fatal).expect("a fatal exception");
    reduce::status(&told("first", 2075, 600, json!([fatal])), &mut device, &mut memory, 1.0);
    memory.reconnected();
    reduce::status(&told("second", 2075, 50, json!([])), &mut device, &mut memory, 2.0);
    assert_eq!((device.job.token.as_deref(), device.job.print_s), (Some("second"), Some(50.0)));
    reduce::status(&told("second", 2504, 60, json!([])), &mut device, &mut memory, 3.0);
    assert_eq!(device.job.stage, DeviceStage::Cancelled, "what stopped the first run is not of this one");
}

#[test]
fn exceptions_become_faults_with_severity_and_first_time() {
    let with = |sub: i64, codes: Value| {
        let mut status = job(2, sub, json!({"print_duration": 5}));
        status["machine_status"]["exception_status"] = codes;
        status
    };
    let mut device = Device::default();
    let mut memory = Memory::default();
    reduce::status(&with(2506, json!([1211, 103])), &mut device, &mut memory, 10.0);
    reduce::status(&with(2506, json!([1211, 103, "x", 0, 103])), &mut device, &mut memory, 20.0);
    let told: Vec<_> = device.faults.iter().map(|f| (f.code.as_str(), f.severity, f.since)).collect();
    assert_eq!(
        told,
        [("103", Severity::Fatal, 10.0), ("1211", Severity::Warning, 10.0)],
        "paused: a real one"
    );
    reduce::status(&with(2075, json!([1211])), &mut device, &mut memory, 30.0);
    assert!(device.faults.is_empty());
    reduce::status(&with(2505, json!([109])), &mut device, &mut memory, 30.0);
    assert_eq!(device.job.stage, DeviceStage::Paused);
    assert!(device.faults[0].actions.contains(&FaultAction::Resume));
}

#[test]
fn every_code_has_a_text_and_a_remedy() {
    let listed = [
        101, 102, 103, 104, 105, 106, 107, 108, 109, 205, 206, 304, 401, 605, 701, 702, 703, 704, 705, 706,
        707, 801, 802, 803, 901, 902, 903, 904, 905, 906, 1101, 1102, 1103, 1104, 1105, 1106, 1210, 1211,
        1220, 1231, 1232, 1241, 1242, 1243, 1244, 1251, 1252, 1260, 1261, 1262, 1263, 1264, 1300, 1301, 1302,
    ];
    assert_eq!(codes::EXCEPTIONS.map(|(code, ..)| code), listed);
    for (code, text, remedy) in codes::EXCEPTIONS {
        let told = codes::exception(code).1;
        assert!(told.starts_with(text) && told.ends_with(remedy), "{code}: {told}");
        assert!(text.ends_with('.') && remedy.ends_with('.') && remedy.len() > 15, "{code}");
    }
    let fatal = |code: i64| codes::exception(code).0 == Severity::Fatal;
    let told: Vec<i64> = listed.into_iter().filter(|code| fatal(*code)).collect();
    assert_eq!(
        told,
        [101, 102, 103, 104, 105, 106, 107, 108, 801, 803, 902, 903, 1103, 1104, 1105, 1106, 1210]
    );
    assert!(codes::exception(4).1.contains("screen"), "an unknown one says where to look");
    let refused = [
        109, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015,
        1016, 1017, 1018, 1019, 1020, 1021, 1026, 9000, 9001, 9002, 9003, 9004, 9005, 9006, 9007, 9008, 9009,
        9999,
    ];
    for code in refused {
        assert!(!codes::error(code).contains(&code.to_string()), "{code} has words");
    }
    assert!(codes::error(1100).contains("1100"), "undocumented: the number is told");
}

#[test]
fn a_run_that_ends_by_a_fatal_exception_has_failed() {
    let with = |status: i64, sub: i64, codes: Value| {
        let mut status = job(status, sub, json!({"print_duration": 5}));
        status["machine_status"]["exception_status"] = codes;
        status
    };
    let ended = |asked: bool, reports: &[Value]| {
        let (mut memory, mut device) = (Memory::default(), Device::default());
        reduce::status(&with(2, 2075, json!([])), &mut device, &mut memory, 0.0);
        memory.asked_to_stop = asked;
        for report in reports {
            reduce::status(report, &mut device, &mut memory, 1.0);
            if asked || device.job.stage.ended() {
                continue;
            }
            assert_eq!(device.job.stage, DeviceStage::Printing, "its own stop is nobody's cancel");
        }
        (device.job.stage, device.job.reason)
    };
    let stops = [with(2, 2075, json!([103])), with(2, 2503, json!([103])), with(2, 2504, json!([]))];
    let (stage, reason) = ended(false, &stops);
    assert_eq!(stage, DeviceStage::Failed);
    assert!(reason.unwrap().contains("nozzle does not heat"));
    assert_eq!(ended(false, &[with(1, 0, json!([103]))]).0, DeviceStage::Failed, "idle at once");
    let (_, reason) = ended(false, &[with(14, 0, json!([103]))]);
    assert!(reason.unwrap().contains("nozzle does not heat"), "why it halted by itself");
    let (_, reason) = ended(false, &[with(14, 0, json!([]))]);
    assert!(reason.unwrap().contains("emergency stop"));
    assert_eq!(ended(true, &stops).0, DeviceStage::Cancelled, "the user had cancelled");
    assert_eq!(
        ended(false, &[with(2, 2504, json!([1211]))]).0,
        DeviceStage::Cancelled,
        "a warning is no end"
    );
}

#[test]
fn an_end_that_was_missed() {
    let mut memory = Memory::default();
    let mut device = Device::default();
    let at = |progress: i64| {
        let mut status = job(2, 2075, json!({}));
        status["machine_status"]["progress"] = json!(progress);
        status
    };
    let idle =
        json!({"machine_status": {"status": 1, "sub_status": 0}, "print_status": {"state": "", "uuid": ""}});
    reduce::status(&at(99), &mut device, &mut memory, 0.0);
    reduce::status(&idle, &mut device, &mut memory, 0.0);
    assert_eq!(device.job.stage, DeviceStage::Finished);
    let rendering =
        json!({"machine_status": {"status": 12, "sub_status": 0}, "print_status": {"state": "", "uuid": ""}});
    for (seen, progress, wanted) in
        [(&rendering, 99, DeviceStage::Finished), (&rendering, 40, DeviceStage::Printing)]
    {
        let (mut memory, mut device) = (Memory::default(), Device::default());
        reduce::status(&at(progress), &mut device, &mut memory, 0.0);
        let asks = reduce::status(seen, &mut device, &mut memory, 0.0).history.is_some();
        assert_eq!((device.job.stage, asks), (wanted, progress == 40), "beside the timelapse");
    }
    reduce::status(&at(40), &mut device, &mut memory, 0.0);
    assert_eq!(reduce::status(&idle, &mut device, &mut memory, 0.0).history.as_deref(), Some("u1"));
    assert_eq!(device.job.stage, DeviceStage::Printing, "held");
    memory.judge(None);
    reduce::status(&idle, &mut device, &mut memory, 0.0);
    assert_eq!(device.job.stage, DeviceStage::Idle);
}

#[test]
fn the_history_names_the_run_by_its_id_or_by_its_file_and_time() {
    let told = result_of("assembled/cc2-response-1036-history");
    let first = told["history_task_list"][0].clone();
    let (id, name, begun) = (&first["task_id"], &first["task_name"], first["begin_time"].as_f64().unwrap());
    let end_of = |uuid: &Value, file: &Value, now: f64, elapsed: f64, told: &Value| {
        let (mut memory, mut device) = (Memory::default(), Device::default());
        let print = json!({"uuid": uuid, "filename": file, "total_duration": elapsed});
        reduce::status(&job(2, 2075, print), &mut device, &mut memory, now);
        memory.end_in(&reduce::history(told))
    };
    let ended = Some(DeviceStage::Finished);
    assert_eq!(
        end_of(id, &json!("other.gcode"), 5.0, 0.0, &told),
        ended,
        "by its id, whatever the clock says"
    );
    let late = begun + 7200.0;
    assert_eq!(end_of(&json!("foreign"), name, late, 7000.0, &told), ended, "by its file and its beginning");
    assert_eq!(end_of(&json!(""), name, late, 7000.0, &told), ended, "a run without an id");
    assert_eq!(end_of(&json!("foreign"), name, late, 100.0, &told), None, "an earlier run of the file");
    assert_eq!(end_of(&json!("foreign"), &json!("b.gcode"), late, 7000.0, &told), None, "another file");
    let mut newer = told.clone();
    let mut other = first.clone();
    (other["task_id"], other["task_name"], other["begin_time"]) =
        (json!("n"), json!("b.gcode"), json!(begun + 300.0));
    newer["history_task_list"].as_array_mut().unwrap().push(other);
    assert_eq!(end_of(&json!("foreign"), name, late, 7000.0, &newer), None, "not the newest entry");
    let mut running = told;
    running["history_task_list"][0]["task_status"] = json!(4);
    assert_eq!(end_of(id, name, late, 7000.0, &running), None, "no end is told yet");
}

#[test]
fn a_flickering_speed_mode_is_not_shown() {
    let mut memory = Memory::default();
    let mut device = Device::default();
    let with = |mode: i64| json!({"gcode_move": {"speed_mode": mode}, "machine_status": {"status": 2, "sub_status": 2075}});
    for (now, mode, shown) in
        [(0.0, 1, 1.0), (1.0, 3, 1.0), (2.0, 1, 1.0), (3.0, 2, 1.0), (7.0, 2, 1.0), (8.5, 2, 1.3)]
    {
        reduce::status(&with(mode), &mut device, &mut memory, now);
        assert_eq!(device.speed.factor, Some(shown), "at {now}");
    }
}

#[test]
fn deltas_merge_and_gaps_are_noticed() {
    let mut document = Document::default();
    let Message::Delta { id, change } = parse(text("assembled/cc2-6000-delta").as_bytes()) else { panic!() };
    document.merge(Some(41), &change);
    assert_eq!(document.value(), None, "nothing before the first full report");
    document.replace(json!({"machine_status": {"status": 2, "progress": 45, "exception_status": [1, 2]}, "extruder": {"target": 220}}));
    document.set_canvas(json!({"canvas_list": []}));
    assert!(document.merge(id, &change));
    let value = document.value().unwrap();
    assert_eq!(value["machine_status"], json!({"status": 2, "progress": 46, "exception_status": [1, 2]}));
    assert_eq!(value["extruder"], json!({"target": 220, "temperature": 219.5}));
    assert!(document.merge(Some(43), &json!({"machine_status": {"exception_status": []}})));
    assert_eq!(document.value().unwrap()["machine_status"]["exception_status"], json!([]), "lists replace");
    assert!(!document.merge(Some(45), &json!({})), "44 is missing");
    assert!(document.merge(Some(0), &json!({})), "a restart of the count");
    document.replace(json!({"extruder": {}}));
    assert!(
        document.value().unwrap().get("canvas_info").is_some(),
        "a full report does not carry the Canvas"
    );
    document.replace(json!(7));
    document.merge(None, &json!([1]));
    assert!(document.value().unwrap().is_object());
}

#[test]
fn messages_are_sorted_and_hostile_ones_are_harmless() {
    assert_eq!(parse(text("captured/cc2-pong").as_bytes()), Message::Pong);
    let Message::Response { id, method, result } =
        parse(text("captured/cc2-response-1027-wrong-params").as_bytes())
    else {
        panic!()
    };
    assert_eq!((id, method, super::super::wire::error_code(&result)), (10, Some(1027), 1003));
    let nameless = Message::Response { id: 7, method: None, result: json!({"error_code": 0}) };
    assert_eq!(parse(b"{\"id\":7,\"result\":{\"error_code\":0}}"), nameless);
    for bad in [&b"\xff\xfe"[..], b"{", b"[]", b"{\"id\":[],\"method\":{}}", b"null"] {
        assert!(matches!(parse(bad), Message::Garbage | Message::Other));
    }
    let me = "1_PC_4242";
    assert_eq!(
        registration(text("assembled/cc2-register-response-ok").as_bytes(), me),
        Some(Registration::Ok)
    );
    assert_eq!(
        registration(text("assembled/cc2-register-response-too-many").as_bytes(), me),
        Some(Registration::TooMany)
    );
    assert_eq!(registration(b"{\"code\":3}", me), Some(Registration::TooMany));
    assert_eq!(registration(b"{\"code\":0}", me), Some(Registration::Ok));
    assert_eq!(registration(b"{}", me), Some(Registration::Failed));
    assert_eq!(
        registration(b"{\"client_id\":\"1_PC_4242\",\"error\":\"fail\"}", me),
        Some(Registration::Failed)
    );
    assert_eq!(registration(b"{\"client_id\":\"other\",\"error\":\"ok\"}", me), None);
    let mut device = reduced(&result_of("captured/cc2-1002-status-printing"));
    let before = device.nozzles[0].heater;
    let hostile = json!({"extruder": [], "fans": {"fan": {"speed": "x"}}, "machine_status": {"status": 2, "sub_status": {}, "progress": 1e9},
        "print_status": 5, "gcode_move": {"x": "n", "speed_mode": 99}, "canvas_info": 3, "external_device": {"type": []}});
    reduce::status(&hostile, &mut device, &mut Memory::default(), 0.0);
    assert_eq!(device.nozzles[0].heater, before);
    assert_eq!(device.job.progress, Some(1.0));
    for value in [json!(null), json!([]), json!("x")] {
        reduce::status(&value, &mut device, &mut Memory::default(), 0.0);
        reduce::attributes(&value, &mut device);
    }
}

#[test]
fn requests_byte_for_byte() {
    let slot_map = vec![SlotMapEntry { t: 0, canvas_id: 0, tray_id: 2 }];
    let start =
        StartPrint { file: "duck.gcode".into(), level_first: true, slot_map, ..StartPrint::default() };
    let edit = TrayEdit {
        canvas_id: 0,
        tray_id: 1,
        brand: "ELEGOO".into(),
        filament_type: "PLA".into(),
        filament_name: "PLA".into(),
        filament_code: "".into(),
        filament_color: "#FF0000".into(),
        filament_min_temp: 190,
        filament_max_temp: 230,
    };
    let table = [
        (Call::SystemInfo, 1001, "{}"),
        (Call::FullStatus, 1002, "{}"),
        (Call::EmergencyStop, 1007, "{}"),
        (
            Call::Start(start),
            1020,
            r#"{"storage_media":"local","filename":"duck.gcode","config":{"delay_video":false,"printer_check":true,"print_layout":"A","bedlevel_force":false,"slot_map":[{"t":0,"canvas_id":0,"tray_id":2}]}}"#,
        ),
        (Call::Pause, 1021, "{}"),
        (Call::Cancel, 1022, "{}"),
        (Call::Resume, 1023, "{}"),
        (Call::LoadExternal, 1024, "{}"),
        (Call::UnloadExternal, 1025, "{}"),
        (Call::Home, 1026, r#"{"homed_axes":"xyz"}"#),
        (Call::Move("x", 10.0), 1027, r#"{"axes":"x","distance":10.0}"#),
        (Call::Nozzle(210), 1028, r#"{"extruder":210}"#),
        (Call::Bed(60), 1028, r#"{"heater_bed":60}"#),
        (Call::Light(true), 1029, r#"{"power":1}"#),
        (Call::Fan("aux_fan", 128), 1030, r#"{"aux_fan":128}"#),
        (Call::Speed(2), 1031, r#"{"mode":2}"#),
        (Call::Level, 1032, "{}"),
        (Call::Resonances, 1033, "{}"),
        (Call::Pid, 1034, "{}"),
        (
            Call::Diagnose { resonances: true, pid: false, level: true },
            1035,
            r#"{"ringing_optimize":true,"pid_check":false,"auto_bed_leveling":true}"#,
        ),
        (Call::History, 1036, "{}"),
        (
            Call::FileInfo(Medium::Internal, "a.gcode".into()),
            1046,
            r#"{"storage_media":"local","filename":"a.gcode"}"#,
        ),
        (Call::DiskVolume, 1048, r#"{"storage_media":"local"}"#),
        (Call::LoadTray(0, 1), 2001, r#"{"canvas_id":0,"tray_id":1}"#),
        (Call::UnloadTray(0, 1), 2002, r#"{"canvas_id":0,"tray_id":1}"#),
        (
            Call::EditTray(Box::new(edit)),
            2003,
            r##"{"canvas_id":0,"tray_id":1,"brand":"ELEGOO","filament_type":"PLA","filament_name":"PLA","filament_code":"","filament_color":"#FF0000","filament_min_temp":190,"filament_max_temp":230}"##,
        ),
        (Call::AutoRefill(true), 2004, r#"{"auto_refill":true}"#),
        (Call::Canvas, 2005, "{}"),
    ];
    for (call, method, params) in table {
        assert_eq!(payload(7, &call).unwrap(), format!(r#"{{"id":7,"method":{method},"params":{params}}}"#));
        assert!(![1039, 1049, 1050, 1053, 1063].contains(&call.method()));
    }
}

#[test]
fn captured_requests_are_ours() {
    let ours = |id, call| serde_json::from_str::<Value>(&payload(id, &call).unwrap()).unwrap();
    assert_eq!(LIST_PAGE, 50);
    assert_eq!(ours(12, Call::ListFiles(Medium::Internal, 0)), fixture("captured/cc2-request-1044-filelist"));
    assert_eq!(
        ours(14, Call::Delete(Medium::Internal, "old_model.gcode".into())),
        fixture("captured/cc2-request-1047-delete")
    );
}

#[test]
fn commands_are_planned_or_refused() {
    let mut state = PrinterState::default();
    let steps = |command: &Command, state: &PrinterState| plan(command, state).map(|plan| plan.steps);
    assert_eq!(
        steps(&Command::SetFan { fan: FanId::Part, speed: 0.5 }, &state),
        Ok(vec![Call::Fan("fan", 128)]),
        "0 to 255"
    );
    assert!(steps(&Command::SetSpeed { factor: 1.3 }, &state).is_err(), "not while idle");
    state.device.job.stage = DeviceStage::Printing;
    assert_eq!(steps(&Command::SetSpeed { factor: 1.24 }, &state), Ok(vec![Call::Speed(2)]));
    assert_eq!(steps(&Command::UnloadFilament, &state), Ok(vec![Call::UnloadExternal]));
    let tray = SlotId::Unit { unit: 0, slot: 3 };
    state.device.filament.active = Some(tray);
    assert_eq!(steps(&Command::UnloadFilament, &state), Ok(vec![Call::UnloadTray(0, 3)]));
    assert_eq!(steps(&Command::LoadFilament(tray), &state), Ok(vec![Call::LoadTray(0, 3)]));
    let all = [Calibration::BedLevelling, Calibration::Pid].into();
    assert_eq!(
        steps(&Command::Calibrate(all), &state),
        Ok(vec![Call::Diagnose { resonances: false, pid: true, level: true }])
    );
    let edit = Command::EditSlot { slot: tray, edit: Box::new(SlotEdit::default()) };
    assert!(matches!(steps(&edit, &state), Err(CommandError::Invalid(_))), "no material known");
    assert!(matches!(steps(&Command::Gcode(vec![]), &state), Err(CommandError::Unsupported(_))));
}

#[test]
fn every_row_has_a_simulated_printer_that_takes_its_limits() {
    assert_simulated(CC2, crate::sim::elegoo_models::CC2, models::find);
}

/// Whatever a row of the table promises, the encoder has a request for.
#[test]
fn capabilities_agree_with_the_encoder() {
    let state = PrinterState::default();
    for model in CC2 {
        assert_eq!(models::find(model.name), Some(model), "each row is found by its own name");
        let caps = models::capabilities(model, true);
        for calibration in &caps.calibrations {
            assert!(plan(&Command::Calibrate([*calibration].into()), &state).is_ok());
        }
        for fan in &caps.fans {
            assert!(plan(&Command::SetFan { fan: *fan, speed: 1.0 }, &state).is_ok());
        }
    }
}

#[test]
fn discovery_replies() {
    let from = "192.0.2.1".parse().unwrap();
    let found = discovery::parse(text("assembled/cc2-discovery-reply").as_bytes(), from).unwrap();
    assert_eq!(found.serial, "F01TEST00000001");
    assert_eq!((found.needs_code, found.lan_only), (Some(true), Some(true)));
    assert!(models::find(&found.machine_model).is_some());
    assert!(models::find("Centauri Carbon").is_none());
    let evil = json!({"result": {"machine_model": "Centauri Carbon 2", "sn": "a/+/#"}}).to_string();
    assert_eq!(discovery::parse(evil.as_bytes(), from), None, "a serial becomes part of topics");
}

#[test]
fn a_status_does_not_grow_without_end() {
    let mut document = Document::default();
    document.replace(json!({"extruder": {"temperature": 20}}));
    for number in 0..2000 {
        document.merge(None, &json!({format!("new{number}"): 1, "extruder": {format!("new{number}"): 1}}));
    }
    document.merge(None, &json!({"extruder": {"temperature": 215}}));
    let known = document.value().and_then(Value::as_object).expect("a status");
    assert!(
        known.len() < 1000 && known["extruder"].as_object().expect("a block").len() < 1000,
        "{}",
        known.len()
    );
    assert_eq!(known["extruder"]["temperature"], 215, "what is known goes on");
}
