//! Scripts: what is said before they are answered, what becomes of them when their client leaves, and what stops.

use serde_json::json;

use super::room::{DEADLINE, Room, Socket};
use crate::model::*;

/// Waits until something holds that nobody tells.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_late| panic!("never: {what}"));
}

fn nozzle(room: &Room, actual: f64, target: f64) {
    room.station.printer.writer().report(|device| {
        device.nozzles[0].heater = Heater { actual: Some(actual), target: Some(target) };
    });
}

fn reached(room: &Room, command: &Command) -> bool {
    room.commands.lock().unwrap().contains(command)
}

/// What came of the console so far.
fn said(socket: &mut Socket) -> Vec<String> {
    let notices = std::mem::take(&mut socket.notices).into_iter();
    let lines = notices.filter(|notice| notice["method"] == "notify_gcode_response");
    lines.map(|notice| notice["params"][0].as_str().unwrap().to_owned()).collect()
}

/// Programs that send a script and take what comes until its answer miss nothing, as with Klipper.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_script_says_comes_before_its_answer_however_much_it_is() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    socket.call("server.info", json!({})).await;
    for lines in [1, 1, 1, 300] {
        let script: Vec<String> = (0..lines).map(|n| format!("M118 line {n}")).collect();
        socket.call("printer.gcode.script", json!({"script": script.join("\n")})).await;
        let expected: Vec<String> = (0..lines).map(|n| format!("// line {n}")).collect();
        assert_eq!(said(&mut socket), expected);
    }
    let refused = socket.ask("printer.gcode.script", json!({"script": "PAUSE"})).await;
    assert_eq!(said(&mut socket), [format!("!! {}", refused["error"]["message"].as_str().unwrap())]);
    let store = socket.call("server.gcode_store", json!({})).await;
    let kept = store["gcode_store"].as_array().unwrap();
    assert_eq!(
        kept.iter().filter(|entry| entry["message"].as_str().unwrap().starts_with("// line")).count(),
        303
    );
}

/// As Klipper does: the last line may be the one that switches off the heat.
#[tokio::test]
async fn a_script_that_has_begun_goes_on_when_its_client_leaves() {
    let room = Room::open().await;
    let (heats, cools) =
        (Command::SetNozzle { tool: 0, target: 200.0 }, Command::SetNozzle { tool: 0, target: 0.0 });
    for over_http in [false, true] {
        room.commands.lock().unwrap().clear();
        nozzle(&room, 24.0, 200.0);
        let script = "M109 S200\nM104 S0";
        if over_http {
            let asking = reqwest::Client::new().post(room.url("/printer/gcode/script"));
            let asking = tokio::spawn(asking.json(&json!({"script": script})).send());
            eventually("heating", || reached(&room, &heats)).await;
            asking.abort();
            assert!(asking.await.is_err());
        } else {
            let mut socket = room.socket().await;
            let frame =
                json!({"jsonrpc": "2.0", "method": "printer.gcode.script", "params": {"script": script}});
            socket.send(frame.to_string()).await;
            eventually("heating", || reached(&room, &heats)).await;
            // What does not wait for heat does not wait for the script.
            assert_eq!(
                socket.ask("printer.gcode.script", json!({"script": "PAUSE"})).await["error"]["code"],
                400
            );
            drop(socket);
            eventually("left", || room.endpoint.hub.count() == 0).await;
        }
        assert!(!reached(&room, &cools));
        nozzle(&room, 200.0, 200.0);
        eventually("cooling", || reached(&room, &cools)).await;
    }
}

fn away(room: &Room) {
    let fault =
        LinkFault { code: "MG-X".into(), text: "No route.".into(), remedy: "Wait.".into(), permanent: false };
    room.station.printer.writer().link_lost(fault, 0.0);
}

/// A transfer may outlive the connection, and its print begins when the connection is back.
#[tokio::test]
async fn what_is_inside_the_gateway_is_stopped_while_the_printer_is_away() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    away(&room);
    for (method, params) in [
        ("printer.print.cancel", json!({})),
        ("printer.emergency_stop", json!({})),
        ("printer.gcode.script", json!({"script": "M112"})),
    ] {
        let nothing = socket.ask(method, params.clone()).await;
        assert_eq!(nothing["error"]["code"], 503, "{method}: {nothing}");
        assert!(nothing["error"]["message"].as_str().unwrap().contains("No route."), "{method}: {nothing}");
        let intended = room.station.jobs.intend();
        let answer = socket.ask(method, params).await;
        assert!(intended.withdrawn(), "{method}");
        let cancelled = method == "printer.print.cancel";
        assert_eq!(answer["result"] == "ok", cancelled, "the stop did not reach the printer: {answer}");
    }
    let other = socket.ask("printer.gcode.script", json!({"script": "CANCEL_PRINT"})).await;
    assert_eq!(other["error"]["code"], 503, "nothing is under way: {other}");
    assert!(room.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_silent_printer_is_sent_an_emergency_stop_and_a_cancel() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    room.station.printer.writer().report(|device| device.job.stage = DeviceStage::Printing);
    room.station.printer.writer().link(LinkPhase::Stale);
    assert_eq!(socket.call("server.info", json!({})).await["klippy_connected"], false);
    assert_eq!(socket.ask("printer.print.pause", json!({})).await["error"]["code"], 503);
    assert_eq!(socket.call("printer.print.cancel", json!({})).await, "ok");
    assert_eq!(socket.call("printer.emergency_stop", json!({})).await, "ok");
    assert!(reached(&room, &Command::Cancel) && reached(&room, &Command::EmergencyStop));
    assert_eq!(socket.call("printer.info", json!({})).await["state"], "shutdown");
}

/// The report shows a move a second or two after it was sent.
#[tokio::test]
async fn moves_in_a_row_end_where_they_are_told_to_and_inside_the_machine() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    room.station.printer.writer().report(|device| device.motion.position = Some([10.0, 10.0, 10.0]));
    let script = "G90\nG1 X50\nG1 X100\nG1 Z40\nG1 Z20\nG91\nG1 Y100\nG1 Y100";
    socket.call("printer.gcode.script", json!({"script": script})).await;
    let ways: Vec<[f64; 3]> = (room.commands.lock().unwrap().iter())
        .map(|command| match command {
            Command::Jog { delta, .. } => *delta,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        ways,
        [
            [40.0, 0.0, 0.0],
            [50.0, 0.0, 0.0],
            [0.0, 0.0, 30.0],
            [0.0, 0.0, -20.0],
            [0.0, 100.0, 0.0],
            [0.0, 100.0, 0.0]
        ]
    );
    let beyond = socket.ask("printer.gcode.script", json!({"script": "G1 Y100"})).await;
    assert!(beyond["error"]["message"].as_str().unwrap().contains("leave the build volume"), "{beyond}");
}

/// Wherever it stands: what is before it is not waited for, and what is behind it is not meant any more.
#[tokio::test]
async fn an_emergency_stop_within_a_script_stops_at_once_and_for_all_doors() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    let script = "M118 before\nm112 ; now\nM118 after";
    assert_eq!(socket.call("printer.gcode.script", json!({"script": script})).await, json!("ok"));
    assert!(reached(&room, &Command::EmergencyStop));
    assert_eq!(socket.call("server.info", json!({})).await["klippy_state"], "shutdown");
    assert!(!said(&mut socket).iter().any(|line| line.contains("before") || line.contains("after")));
}
