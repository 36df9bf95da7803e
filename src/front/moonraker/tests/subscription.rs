//! Subscriptions, notifications, the life of the printer as clients see it.

use serde_json::{Value, json};

use super::room::{Room, Socket};
use crate::front::moonraker::klippy::Gate;
use crate::model::*;

fn heat(room: &Room, actual: f64) {
    room.station.printer.writer().report(|device| device.bed.actual = Some(actual));
}

#[tokio::test]
async fn updates_are_per_connection_and_carry_changes_only() {
    let room = Room::open().await;
    let (mut a, mut b) = (room.socket().await, room.socket().await);
    let first = a
        .call(
            "printer.objects.subscribe",
            json!({"objects": {"heater_bed": ["temperature"], "noobject": null}}),
        )
        .await;
    assert_eq!(first["status"], json!({"heater_bed": {"temperature": 24.01}, "noobject": {}}));
    b.call("printer.objects.subscribe", json!({"objects": {"heater_bed": null, "extruder": ["target"]}}))
        .await;
    room.station.printer.writer().report(|device| {
        device.bed = Heater { actual: Some(25.5), target: Some(40.0) };
    });
    let update = a.notice("notify_status_update").await;
    assert_eq!(update[0], json!({"heater_bed": {"temperature": 25.5}}));
    assert!(update[1].as_f64().unwrap() > first["eventtime"].as_f64().unwrap(), "time goes on");
    let update = b.notice("notify_status_update").await;
    assert_eq!(update[0], json!({"heater_bed": {"temperature": 25.5, "target": 40.0, "power": 1.0}}));
    // A new subscription replaces the old one, an empty one ends it.
    a.call("printer.objects.subscribe", json!({"objects": {"fan": ["speed"]}})).await;
    b.call("printer.objects.subscribe", json!({"objects": {}})).await;
    heat(&room, 60.0);
    room.station.printer.writer().report(|device| {
        device.fans.insert(FanId::Part, Fan { speed: Some(0.5), rpm: None });
    });
    assert_eq!(a.notice("notify_status_update").await[0], json!({"fan": {"speed": 0.5}}));
    b.notice("notify_proc_stat_update").await;
    b.notice("notify_proc_stat_update").await;
    assert!(b.notices.iter().all(|notice| notice["method"] != "notify_status_update"), "{:?}", b.notices);
}

#[tokio::test]
async fn a_job_is_seen_with_its_words() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    let objects = json!({"print_stats": ["state", "filename"], "idle_timeout": ["state"], "pause_resume": null, "virtual_sdcard": ["is_active"]});
    socket.call("printer.objects.subscribe", json!({"objects": objects})).await;
    let stage = |stage| {
        room.station.printer.writer().report(|device| {
            device.job.stage = stage;
            device.job.title = Some("cube".into());
            device.job.progress = Some(0.5);
        });
    };
    stage(DeviceStage::Printing);
    let update = socket.notice("notify_status_update").await[0].take();
    assert_eq!(update["print_stats"], json!({"state": "printing", "filename": "cube"}));
    assert_eq!(update["idle_timeout"], json!({"state": "Printing"}));
    assert_eq!(update["virtual_sdcard"], json!({"is_active": true}));
    assert_eq!(socket.call("printer.print.pause", json!({})).await, "ok");
    let update = socket.notice("notify_status_update").await[0].take();
    assert_eq!(update["print_stats"], json!({"state": "paused"}));
    assert_eq!(update["pause_resume"], json!({"is_paused": true}));
    assert_eq!(update["idle_timeout"], json!({"state": "Ready"}));
    stage(DeviceStage::Printing);
    assert_eq!(socket.notice("notify_status_update").await[0]["print_stats"], json!({"state": "printing"}));
    stage(DeviceStage::Finished);
    assert_eq!(socket.notice("notify_status_update").await[0]["print_stats"], json!({"state": "complete"}));
}

#[tokio::test]
async fn an_unreachable_printer_shows_and_comes_back() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    socket.call("printer.info", json!({})).await;
    let fault = |permanent| LinkFault {
        code: "MG-X".into(),
        text: "No route.".into(),
        remedy: "Check it.".into(),
        permanent,
    };
    room.station.printer.writer().link_lost(fault(false), 0.0);
    assert_eq!(socket.notice("notify_klippy_disconnected").await, Value::Null, "no params");
    let info = socket.call("server.info", json!({})).await;
    assert_eq!((&info["klippy_connected"], &info["klippy_state"]), (&json!(false), &json!("disconnected")));
    assert_eq!(info["warnings"], json!(["No route. Check it."]));
    for method in ["printer.info", "printer.objects.list", "printer.print.pause"] {
        let refused = socket.ask(method, json!({})).await;
        assert_eq!(refused["error"]["code"], 503);
        assert!(refused["error"]["message"].as_str().unwrap().contains("No route. Check it."), "{refused}");
    }
    assert_eq!(reqwest::get(room.url("/printer/objects/list")).await.unwrap().status(), 503);
    socket.call("server.files.get_directory", json!({"path": "gcodes"})).await;
    room.station.printer.writer().link_lost(fault(true), 0.0);
    let info = socket.call("printer.info", json!({})).await;
    assert_eq!((&info["state"], &info["state_message"]), (&json!("error"), &json!("No route. Check it.")));
    let listed = socket.call("server.announcements.list", json!({})).await;
    assert_eq!(listed["entries"][0]["description"], "No route. Check it.");
    room.station.printer.writer().link(LinkPhase::Online);
    socket.notice("notify_klippy_ready").await;
    assert_eq!(socket.call("printer.info", json!({})).await["state"], "ready");
    assert_eq!(socket.call("server.info", json!({})).await["warnings"], json!([]));
}

/// It stores the error of a call as the values of its entities and raises nothing: only a lost connection tells it.
#[tokio::test]
async fn home_assistant_has_no_connection_while_the_printer_is_away() {
    let room = Room::open().await;
    let agent = Some(("user-agent", "HomeAssistant/2025.4.4 aiohttp/3.11.16 Python/3.13"));
    let (mut assistant, mut screen) = (room.socket_with(agent).await.unwrap(), room.socket().await);
    let away =
        LinkFault { code: "MG-X".into(), text: "No route.".into(), remedy: "Wait.".into(), permanent: false };
    // A restart passes, and a fault that the user has to mend is told by the state that it polls.
    assert_eq!(assistant.call("printer.firmware_restart", json!({})).await, "ok");
    assistant.notice("notify_klippy_ready").await;
    room.station.printer.writer().link_lost(LinkFault { permanent: true, ..away.clone() }, 0.0);
    assistant.notice("notify_klippy_disconnected").await;
    assert_eq!(assistant.call("printer.info", json!({})).await["state"], "error");
    room.station.printer.writer().link_lost(away, 0.0);
    assert_eq!(assistant.close_code().await, Some(1001));
    assert_eq!(room.socket_with(agent).await.err(), Some(503));
    assert_eq!(screen.ask("printer.info", json!({})).await["error"]["code"], 503, "others stay");
    room.socket().await;
    room.station.printer.writer().link(LinkPhase::Online);
    let mut again = room.socket_with(agent).await.unwrap();
    assert_eq!(again.call("printer.info", json!({})).await["state"], "ready");
}

#[tokio::test]
async fn a_dismissed_notice_wakes_when_its_time_has_come() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    let fault =
        LinkFault { code: "MG-X".into(), text: "No.".into(), remedy: "Wait.".into(), permanent: false };
    room.station.printer.writer().link_lost(fault, 0.0);
    let shown = async |socket: &mut super::room::Socket| {
        let listed = socket.call("server.announcements.list", json!({})).await;
        let entry = &listed["entries"][0];
        (entry["entry_id"].clone(), entry["dismissed"].clone(), entry["dismiss_wake"].is_null())
    };
    let (id, ..) = shown(&mut socket).await;
    for (wake_time, wakes) in [(json!(3600), false), (json!(0), true), (json!(1e300), false)] {
        socket.call("server.announcements.dismiss", json!({"entry_id": id, "wake_time": wake_time})).await;
        assert_eq!(socket.notice("notify_announcement_dismissed").await[0]["entry_id"], id);
        if wakes {
            assert_eq!(socket.notice("notify_announcement_wake").await[0]["entry_id"], id);
        }
        assert_eq!(shown(&mut socket).await, (id.clone(), json!(!wakes), wakes));
    }
}

/// A dismissal holds while its cause lasts: over a printer that is away, and over a gateway that began anew and has not
/// heard of the printer yet.
#[tokio::test]
async fn a_dismissal_outlives_the_link_and_the_gateway() {
    use crate::front::moonraker::methods::announcements::{Notices, refresh};
    use crate::model::{Fault, FaultSource, Severity};

    let room = Room::open().await;
    let mut socket = room.socket().await;
    let writer = room.station.printer.writer();
    let fault = |text: &str| Fault::new(FaultSource::Device, Severity::Serious, "HMS_1", text);
    let dismissed = async |socket: &mut super::room::Socket| {
        let listed = socket.call("server.announcements.list", json!({})).await;
        let entries = listed["entries"].as_array().unwrap().clone();
        entries.iter().find(|entry| entry["title"] == "One: HMS_1").map(|entry| entry["dismissed"] == true)
    };
    writer.report(|device| device.faults = vec![fault("Hot.")]);
    socket.notice("notify_announcement_update").await;
    socket.call("server.announcements.dismiss", json!({"entry_id": "moongate/one/HMS_1"})).await;
    writer.report(|device| device.faults = vec![fault("Hotter.")]);
    let told = socket.notice("notify_announcement_update").await;
    assert!(told[0]["entries"][0]["description"].as_str().unwrap().contains("Hotter."), "{told}");
    assert_eq!(dismissed(&mut socket).await, Some(true));

    // The gateway begins anew: it has no state of the printer yet.
    writer.link(LinkPhase::Connecting);
    writer.report(|device| device.faults.clear());
    *room.endpoint.announcements.lock().unwrap() = Notices::load(&room.station);
    refresh(&room.endpoint);
    assert_eq!(dismissed(&mut socket).await, None);
    writer.report(|device| device.faults = vec![fault("Hotter.")]);
    writer.link(LinkPhase::Online);
    assert_eq!(dismissed(&mut socket).await, Some(true));

    // The cause is gone, and comes again.
    writer.report(|device| device.faults.clear());
    assert_eq!(dismissed(&mut socket).await, None);
    writer.report(|device| device.faults = vec![fault("Hot again.")]);
    assert_eq!(dismissed(&mut socket).await, Some(false));
    *room.endpoint.announcements.lock().unwrap() = Notices::load(&room.station);
    assert_eq!(dismissed(&mut socket).await, Some(false));
}

#[tokio::test]
async fn the_services_of_a_klipper_host_have_their_likes() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    assert_eq!(socket.call("machine.services.restart", json!({"service": "klipper"})).await, "ok");
    socket.notice("notify_klippy_disconnected").await;
    socket.notice("notify_klippy_ready").await;
    let refused = socket.ask("machine.services.restart", json!({"service": "sshd"})).await;
    assert_eq!(refused["error"]["code"], 403);
}

#[tokio::test]
async fn an_emergency_stop_holds_until_the_restart() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    socket.call("printer.objects.subscribe", json!({"objects": {"webhooks": ["state"]}})).await;
    assert_eq!(socket.call("printer.emergency_stop", json!({})).await, "ok");
    assert_eq!(socket.notice("notify_status_update").await[0], json!({"webhooks": {"state": "shutdown"}}));
    socket.notice("notify_klippy_shutdown").await;
    let refused = socket.ask("printer.gcode.script", json!({"script": "G28"})).await;
    assert_eq!(refused["error"], json!({"code": 400, "message": "Shutdown due to webhooks request"}));
    assert_eq!(socket.ask("printer.print.start", json!({"filename": "a.gcode"})).await["error"]["code"], 400);
    begins_nothing_by_any_door(&room, &mut socket).await;
    assert_eq!(socket.call("printer.gcode.script", json!({"script": "FIRMWARE_RESTART"})).await, "ok");
    socket.notice("notify_klippy_disconnected").await;
    socket.notice("notify_klippy_ready").await;
    assert_eq!(socket.call("printer.print.start", json!({"filename": "a.gcode"})).await, "ok");
}

/// Slicers, apps and the queue have doors of their own to a print.
async fn begins_nothing_by_any_door(room: &Room, socket: &mut Socket) {
    let client = reqwest::Client::new();
    for path in ["/server/files/upload", "/api/files/local"] {
        let part = reqwest::multipart::Part::bytes(GCODE).file_name("a.gcode");
        let form = reqwest::multipart::Form::new().text("print", "true").part("file", part);
        let sent = client.post(room.url(path)).multipart(form).send().await.unwrap();
        let answer: Value = sent.json().await.unwrap();
        assert_eq!(answer["print_started"], false, "{path}: {answer}");
    }
    let select = json!({"command": "select", "print": true});
    let selected = client.post(room.url("/api/files/local/a.gcode")).json(&select).send().await.unwrap();
    assert_eq!(selected.status(), 409);
    let line = json!({"command": "SDCARD_PRINT_FILE FILENAME=a.gcode"});
    client.post(room.url("/api/printer/command")).json(&line).send().await.unwrap();
    socket.call("server.job_queue.post_job", json!({"filenames": ["a.gcode"]})).await;
    assert_eq!(socket.ask("server.job_queue.start", json!({})).await["error"]["code"], 409);
    let commands = room.commands.lock().unwrap().clone();
    assert!(!commands.iter().any(|command| matches!(command, Command::StartJob(_))), "{commands:?}");
    // Those that know nothing of Klipper's states: the status page, the command line, the serial port.
    let request = crate::jobs::StartRequest { file: "a.gcode".into(), ..Default::default() };
    let refused = room.station.jobs.start(request).await.unwrap_err().to_string();
    assert!(
        refused.contains("emergency stop is in force") && refused.contains("Firmware Restart"),
        "{refused}"
    );
}

const GCODE: &[u8] = include_bytes!("../../../../fixtures/gcode/prusaslicer-2.5.0/box.gcode");

#[tokio::test]
async fn an_emergency_stop_within_a_restart_stays() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    let feed = &room.endpoint.feed;
    assert_eq!(socket.call("printer.firmware_restart", json!({})).await, "ok");
    assert_eq!(feed.gate(), Gate::Restarting);
    feed.set_gate(Gate::Stopped("The job was stopped.".into()));
    feed.reopen();
    assert_eq!(feed.gate(), Gate::Stopped("The job was stopped.".into()));
    feed.set_gate(Gate::Restarting);
    feed.reopen();
    assert_eq!(feed.gate(), Gate::Open);
}

#[tokio::test]
async fn other_objects_are_announced_while_the_printer_is_served() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    let listed = socket.call("printer.objects.list", json!({})).await;
    assert!(!listed.to_string().contains("\"mmu\""), "{listed}");
    room.station.printer.writer().report(|device| {
        device.filament.units = vec![FilamentUnit {
            name: "Box".into(),
            slots: vec![Slot::empty(SlotId::Unit { unit: 0, slot: 0 })],
            ..FilamentUnit::default()
        }];
    });
    socket.notice("notify_klippy_disconnected").await;
    socket.notice("notify_klippy_ready").await;
    let gates = room.endpoint.feed.gate();
    assert_eq!(gates, Gate::Open, "no request is turned away for it");
    let listed = socket.call("printer.objects.list", json!({})).await;
    assert!(listed.to_string().contains("\"mmu\""), "{listed}");
}

#[tokio::test]
async fn unknown_commands_are_told_and_are_no_errors() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    assert_eq!(socket.call("printer.gcode.script", json!({"script": "FOOBAR"})).await, "ok");
    let told = socket.notice("notify_gcode_response").await;
    assert_eq!(told, json!(["// Unknown command:\"FOOBAR\""]));
    let refused = socket.ask("printer.gcode.script", json!({"script": "PAUSE"})).await;
    assert_eq!(refused["error"]["code"], 400, "{refused}");
    let told = socket.notice("notify_gcode_response").await;
    assert_eq!(told[0], format!("!! {}", refused["error"]["message"].as_str().unwrap()));
    let store = socket.call("server.gcode_store", json!({"count": 2})).await;
    assert_eq!(store["gcode_store"][0]["message"], "PAUSE");
    assert_eq!(store["gcode_store"][0]["type"], "command");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go() {
    let room = Room::open().await;
    let idle = room.socket().await;
    let mut other = room.socket().await;
    let big = "x".repeat(60_000);
    // The idle client's socket fills, then its outbox; the other one reads and stays.
    for _ in 0..2000 {
        room.endpoint.hub.notify("notify_gcode_response", Some(json!(big)));
        other.notice("notify_gcode_response").await;
        if room.endpoint.hub.count() == 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(room.endpoint.hub.count(), 1);
    other.call("server.info", json!({})).await;
    drop(idle);
}

#[tokio::test]
async fn maintenance_is_initialised_once() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    for key in ["one", "two"] {
        let item = json!({"namespace": "maintenance", "key": key, "value": {"name": "MAINTENANCE_INIT"}});
        socket.call("server.database.post_item", item).await;
    }
    let kept = socket.call("server.database.get_item", json!({"namespace": "maintenance"})).await;
    assert_eq!(kept["value"], json!({"two": {"name": "MAINTENANCE_INIT"}}));
    assert_eq!(socket.call("server.database.list", json!({})).await["namespaces"], json!(["maintenance"]));
    socket.call("server.database.delete_item", json!({"namespace": "maintenance", "key": "two"})).await;
    assert_eq!(socket.call("server.database.list", json!({})).await["namespaces"], json!([]));
    let nested = json!({"namespace": "fluidd", "key": ["ui", "temperature_sensor a.b"], "value": [1, null]});
    socket.call("server.database.post_item", nested).await;
    let found = socket.call("server.database.get_item", json!({"namespace": "fluidd", "key": "ui"})).await;
    assert_eq!(found["value"], json!({"temperature_sensor a.b": [1, null]}));
    let missing =
        socket.ask("server.database.get_item", json!({"namespace": "fluidd", "key": "ui.x.y"})).await;
    assert_eq!(missing["error"]["message"], "Key 'ui.x.y' in namespace 'fluidd' not found");
}

/// A client that reads late gets what matters: no update is sent twice, the last state is complete.
#[tokio::test]
async fn a_slow_client_gets_the_differences_together() {
    let room = Room::open().await;
    let mut slow = room.socket().await;
    slow.call("printer.objects.subscribe", json!({"objects": {"heater_bed": ["temperature"]}})).await;
    let mut quick = room.socket().await;
    quick.call("printer.objects.subscribe", json!({"objects": {"heater_bed": ["temperature"]}})).await;
    // Large notifications fill the slow client's socket, small ones more than half of its outbox.
    let texts = ["x".repeat(1_000_000), "x".to_owned()];
    for (text, waiting) in texts.iter().zip([2, 34]) {
        while room.endpoint.hub.most_waiting() < waiting {
            assert_eq!(room.endpoint.hub.count(), 2, "this machine is too slow: the slow client was let go");
            room.endpoint.hub.notify("notify_gcode_response", Some(json!(text)));
            quick.notice("notify_gcode_response").await;
        }
    }
    let changes = [31.0, 32.0, 33.0];
    for bed in changes {
        heat(&room, bed);
        assert_eq!(quick.notice("notify_status_update").await[0]["heater_bed"]["temperature"], bed);
    }
    assert_eq!(room.endpoint.hub.count(), 2, "nobody is let go");
    let update = slow.notice("notify_status_update").await;
    assert_eq!(update[0], json!({"heater_bed": {"temperature": 33.0}}), "all changes in one");
    slow.call("server.info", json!({})).await;
}
