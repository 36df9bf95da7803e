//! The OctoPrint twin as apps and slicers use it (octoprint.md section 10).

use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::room::{DEADLINE, Room};
use crate::access::{AccessSettings, Role};
use crate::model::{Axes, Command, DeviceStage, LinkFault};

/// Nobody is trusted: only the API key is an admin.
async fn guarded() -> Room {
    Room::guarded(AccessSettings { trusted_clients: Vec::new(), ..AccessSettings::default() }).await
}

async fn get(room: &Room, path: &str, key: Option<&str>) -> (u16, Value) {
    let mut asked = Client::new().get(room.url(path));
    if let Some(key) = key {
        asked = asked.header("X-Api-Key", key);
    }
    let response = asked.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
}

async fn post(room: &Room, path: &str, body: Value, key: Option<&str>) -> (u16, Value) {
    let mut asked = Client::new().post(room.url(path)).json(&body);
    if let Some(key) = key {
        asked = asked.header("X-Api-Key", key);
    }
    let response = asked.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
}

/// Cura's way: probe, ask, poll; in between an admin decides.
#[tokio::test]
async fn an_application_gets_a_key_of_its_own_by_an_admins_decision() {
    let room = guarded().await;
    let admin = room.endpoint.access.api_key();
    let admin = Some(admin.expose());
    assert_eq!(get(&room, "/plugin/appkeys/probe", None).await.0, 204);
    let asked = Client::new().post(room.url("/plugin/appkeys/request")).json(&json!({"app": "Cura"}));
    let asked = asked.send().await.unwrap();
    assert_eq!(asked.status(), StatusCode::CREATED);
    let place = asked.headers()["location"].to_str().unwrap().to_owned();
    let path = place.strip_prefix(&room.url("")).unwrap().to_owned();
    assert_eq!(get(&room, &path, None).await.0, 202);

    let list = "/api/plugin/appkeys";
    assert_eq!(get(&room, list, None).await.0, 401, "strangers see no questions");
    let (_, shown) = get(&room, list, admin).await;
    let question = shown["pending"][0]["user_token"].as_str().unwrap().to_owned();
    assert!(!path.ends_with(&question), "who asks does not learn how to decide");
    let decision = format!("/plugin/appkeys/decision/{question}");
    assert_eq!(post(&room, &decision, json!({"decision": true}), None).await.0, 401);
    assert_eq!(post(&room, &decision, json!({"decision": true}), admin).await.0, 204);
    assert_eq!(post(&room, &decision, json!({"decision": true}), admin).await.0, 404);
    let (status, granted) = get(&room, &path, None).await;
    assert_eq!(status, 200);
    let key = granted["api_key"].as_str().unwrap();
    assert_ne!(Some(key), admin);
    assert_eq!(get(&room, &path, None).await.0, 404, "told once");

    assert_eq!(get(&room, "/api/version", Some(key)).await.0, 200);
    // FDM Monster takes `_api` for the key of all and goes no further.
    for (shown, name) in [(Some(key), "Cura"), (admin, "_api")] {
        assert_eq!(get(&room, "/api/currentuser", shown).await.1["name"], name);
        assert_eq!(post(&room, "/api/login", json!({"passive": true}), shown).await.1["name"], name);
    }
    assert_eq!(get(&room, list, admin).await.1["keys"][0]["user_id"], "Cura");
    let heat = json!({"command": "target", "target": 50});
    assert_eq!(post(&room, "/api/printer/bed", heat.clone(), Some(key)).await.0, 204);
    assert_eq!(get(&room, "/access/api_key", Some(key)).await.0, 403, "an operator's key reads no other");
    assert_eq!(get(&room, list, Some(key)).await.0, 403);
    assert_eq!(post(&room, list, json!({"command": "generate", "app": "More"}), Some(key)).await.0, 403);

    let id = get(&room, list, admin).await.1["keys"][0]["id"].clone();
    assert_eq!(post(&room, list, json!({"command": "revoke", "id": id}), admin).await.0, 204);
    assert_eq!(post(&room, list, json!({"command": "revoke", "id": id}), admin).await.0, 404);
    assert_eq!(post(&room, "/api/printer/bed", heat, Some(key)).await.0, 401, "taken back");
}

#[tokio::test]
async fn an_admins_own_application_is_admitted_at_once_and_a_foreign_page_is_not() {
    let room = Room::open().await;
    let request = |origin: Option<&'static str>| {
        let asked = Client::new().post(room.url("/plugin/appkeys/request")).json(&json!({"app": "App"}));
        match origin {
            Some(origin) => asked.header("Origin", origin),
            None => asked,
        }
    };
    let location = async |asked: reqwest::RequestBuilder| {
        let response = asked.send().await.unwrap();
        response.headers()["location"].to_str().unwrap().strip_prefix(&room.url("")).unwrap().to_owned()
    };
    let own = location(request(None)).await;
    let (status, granted) = get(&room, &own, None).await;
    assert_eq!(status, 200);
    assert_ne!(granted["api_key"], room.endpoint.access.api_key().expose());
    let foreign = location(request(Some("http://evil.example"))).await;
    assert_eq!(get(&room, &foreign, None).await.0, 202, "a page that lends its visitor's address must wait");
    let operators = AccessSettings { trusted_role: Role::Operate, ..AccessSettings::default() };
    let room = Room::guarded(operators).await;
    let asked = Client::new().post(room.url("/plugin/appkeys/request")).json(&json!({"app": "App"}));
    let waits = asked.send().await.unwrap().headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(reqwest::get(waits).await.unwrap().status(), 202, "no admin, no key");
    let page = reqwest::get(room.url("/plugin/appkeys/")).await.unwrap();
    assert_eq!(page.headers()["x-frame-options"], "DENY");
}

#[tokio::test]
async fn an_upload_keeps_the_name_that_octoprints_clients_encode() {
    let room = Room::open().await;
    let body = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename*=UTF-8''k%C3%A4se.gcode\r\n\r\nG28\n\r\n--B--\r\n";
    let sent = Client::new().post(room.url("/api/files/local")).body(body);
    let sent = sent.header("content-type", "multipart/form-data; boundary=B").send().await.unwrap();
    assert_eq!(sent.status(), 201);
    let sent: Value = sent.json().await.unwrap();
    assert_eq!(sent["files"]["local"]["path"], "k\u{e4}se.gcode");
}

#[tokio::test]
async fn files_are_a_tree_that_can_be_changed() {
    let room = Room::open().await;
    room.put("cube.gcode", b"G28\n").await;
    let form = reqwest::multipart::Form::new().text("foldername", "deep");
    let made = Client::new().post(room.url("/api/files/local")).multipart(form).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let part = reqwest::multipart::Part::bytes(b"G28\n".as_slice()).file_name("a b.gcode");
    let form = reqwest::multipart::Form::new().text("path", "deep").text("select", "true").part("file", part);
    let sent = Client::new().post(room.url("/api/files/local")).multipart(form).send().await.unwrap();
    let sent: Value = sent.json().await.unwrap();
    assert_eq!(
        (&sent["done"], &sent["effectiveSelect"], &sent["effectivePrint"]),
        (&json!(true), &json!(true), &json!(false))
    );
    assert_eq!(sent["files"]["local"]["path"], "deep/a b.gcode");
    assert_eq!(get(&room, "/api/job", None).await.1["job"]["file"]["path"], "deep/a b.gcode");

    let (_, flat) = get(&room, "/api/files", None).await;
    let names = |value: &Value| -> Vec<String> {
        let list = value.as_array().unwrap();
        list.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut top = names(&flat["files"]);
    top.sort();
    assert_eq!(top, ["cube.gcode", "deep"]);
    assert!(
        flat["free"].is_u64()
            && flat["files"].as_array().unwrap().iter().all(|e| e.get("children").is_none())
    );
    let (_, deep) = get(&room, "/api/files/local?recursive=true", None).await;
    let folder = deep["files"].as_array().unwrap().iter().find(|entry| entry["name"] == "deep").unwrap();
    assert_eq!(names(&folder["children"]), ["a b.gcode"]);
    let (_, file) = get(&room, "/api/files/local/deep/a%20b.gcode", None).await;
    let download = reqwest::get(file["refs"]["download"].as_str().unwrap()).await.unwrap();
    assert_eq!(download.text().await.unwrap(), "G28\n");

    let at = "/api/files/local/cube.gcode";
    assert_eq!(post(&room, at, json!({"command": "copy", "destination": "deep"}), None).await.0, 201);
    assert_eq!(get(&room, "/api/files/local/deep/cube.gcode", None).await.0, 200);
    assert_eq!(post(&room, at, json!({"command": "unselect"}), None).await.0, 204);
    assert_eq!(get(&room, "/api/job", None).await.1["job"]["file"]["name"], Value::Null);
    let delete = |path: &str| Client::new().delete(room.url(path)).send();
    assert_eq!(delete("/api/files/local/deep").await.unwrap().status(), 204);
    assert_eq!(get(&room, "/api/files/local/deep/cube.gcode", None).await.0, 404);
    assert_eq!(delete("/api/files/local/deep").await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_printer_that_homes_all_axes_only_homes_them_for_one_too() {
    let room = Room::open().await;
    let home = json!({"command": "home", "axes": ["x", "y"]});
    assert_eq!(post(&room, "/api/printer/printhead", home, None).await.0, 204);
    let commands = room.commands.lock().unwrap().clone();
    assert!(commands.contains(&Command::Home(Axes::ALL)), "{commands:?}");
}

/// OctoPod extrudes, and sets the flow, only after the tool was selected: 204 is success to it, nothing else is.
#[tokio::test]
async fn the_only_tool_can_be_selected() {
    let room = Room::open().await;
    let tool = |command| post(&room, "/api/printer/tool", command, None);
    assert_eq!(tool(json!({"command": "select", "tool": "tool0"})).await.0, 204);
    assert!(room.commands.lock().unwrap().is_empty(), "it is the one that is used");
    room.station.printer.writer().report(|device| device.nozzles[0].heater.actual = Some(210.0));
    assert_eq!(tool(json!({"command": "extrude", "amount": 5})).await.0, 204);
    let commands = room.commands.lock().unwrap().clone();
    assert_eq!(commands, [Command::Extrude { length: 5.0, feed: None }]);
    let (status, refused) = tool(json!({"command": "flowrate", "factor": 90})).await;
    assert_eq!(
        (status, &refused["error"]["message"]),
        (409, &json!("This printer takes no flow rate by command."))
    );
}

#[tokio::test]
async fn what_apps_ask_besides_has_an_answer() {
    let room = Room::open().await;
    for path in [
        "/api/system/commands",
        "/api/timelapse",
        "/api/slicing",
        "/api/printer/error",
        "/api/printer/command/custom",
        "/api/connection",
        "/api/files/sdcard",
    ] {
        assert_eq!(get(&room, path, None).await.0, 200, "{path}");
    }
    let (_, printer) = get(&room, "/api/printer?exclude=temperature,sd", None).await;
    assert!(printer.get("temperature").is_none() && printer.get("sd").is_none());
    for flag in
        ["operational", "printing", "pausing", "resuming", "finishing", "sdReady", "ready", "closedOrError"]
    {
        assert!(printer["state"]["flags"][flag].is_boolean(), "{flag}");
    }
    let (_, server) = get(&room, "/api/server", None).await;
    assert!(server["version"].is_string(), "OctoPrint's word; Moonraker's is `server`: {server}");
    // Home Assistant's own integration takes the server for this one (`get_discovery_info`), announced or not.
    let (_, settings) = get(&room, "/api/settings", None).await;
    let host = crate::net::announce::machine_name();
    let known = crate::front::moonraker::advertise::uuid(&host, "one");
    assert_eq!(settings["plugins"]["discovery"]["upnpUuid"], known.as_str());
}

type Push = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn push(room: &Room, path: &str) -> Push {
    tokio_tungstenite::connect_async(format!("ws://{}{path}", room.address)).await.unwrap().0
}

async fn frame(push: &mut Push) -> String {
    loop {
        let message = tokio::time::timeout(DEADLINE, push.next()).await.unwrap().unwrap().unwrap();
        if let Message::Text(text) = message {
            return text.as_str().to_owned();
        }
    }
}

/// The next message with this member.
async fn message(push: &mut Push, member: &str) -> Value {
    loop {
        let message: Value = serde_json::from_str(&frame(push).await).unwrap();
        if let Some(found) = message.get(member) {
            return found.clone();
        }
    }
}

#[tokio::test]
async fn the_push_channel_tells_state_and_events() {
    let room = Room::open().await;
    let mut app = push(&room, "/sockjs/websocket").await;
    assert!(message(&mut app, "connected").await["version"].is_string());
    assert_eq!(message(&mut app, "history").await["state"]["text"], "Operational");
    let current = message(&mut app, "current").await;
    assert!((current["temps"][0]["bed"]["actual"].as_f64().unwrap() - 24.01).abs() < 0.1, "{current}");
    room.station.printer.writer().report(|device| device.job.stage = DeviceStage::Printing);
    let event = loop {
        let event = message(&mut app, "event").await;
        if event["type"] == "PrintStarted" {
            break event;
        }
    };
    assert!(event["payload"].is_object());
    assert_eq!(message(&mut app, "current").await["state"]["flags"]["printing"], true);
    assert!(room.commands.lock().unwrap().is_empty());
}

/// Without an answer a browser calls the connection broken that its own page has closed.
#[tokio::test]
async fn the_push_channel_answers_a_goodbye() {
    let room = Room::open().await;
    let mut app = push(&room, "/sockjs/websocket").await;
    message(&mut app, "connected").await;
    app.send(Message::Close(None)).await.unwrap();
    loop {
        match tokio::time::timeout(DEADLINE, app.next()).await.unwrap() {
            Some(Ok(Message::Close(_))) => break,
            Some(Ok(_)) => {}
            other => panic!("no goodbye: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_push_channel_tells_strangers_nothing_until_they_log_in() {
    let room = guarded().await;
    let key = room.endpoint.access.api_key();
    let mut app = push(&room, "/sockjs/000/abcdefgh/websocket").await;
    assert_eq!(frame(&mut app).await, "o", "framed, as browsers and OctoPrint's own client have it");
    assert!(frame(&mut app).await.starts_with("a[\"{\\\"connected"));
    let (_, login) = post(&room, "/api/login", json!({"passive": true}), Some(key.expose())).await;
    let wrong = json!([json!({"auth": "_api:wrong"}).to_string()]).to_string();
    app.send(Message::text(wrong)).await.unwrap();
    let session = login["session"].as_str().unwrap();
    app.send(Message::text("nonsense")).await.unwrap();
    // Nothing came before the session was shown: the next frame is the first after it.
    let right = json!([json!({"auth": format!("_api:{session}")}).to_string()]).to_string();
    app.send(Message::text(right)).await.unwrap();
    assert!(frame(&mut app).await.starts_with("a[\"{\\\"history"));
    let mut stranger = push(&room, "/sockjs/websocket").await;
    message(&mut stranger, "connected").await;
    stranger.send(Message::text(json!({"auth": format!("_api:{session}")}).to_string())).await.unwrap();
    let more = tokio::time::timeout(std::time::Duration::from_secs(2), stranger.next()).await;
    assert!(more.is_err(), "a session is good once: {more:?}");
    assert_eq!(get(&room, "/sockjs/info", None).await.1["websocket"], true);
    assert_eq!(get(&room, "/sockjs/000/abcdefgh/xhr", None).await.0, 404);
    let sent: Vec<Command> = room.commands.lock().unwrap().clone();
    assert!(sent.is_empty());
}

/// As over the other doors: nothing is begun until somebody takes the printer into service again.
#[tokio::test]
async fn an_emergency_stop_by_a_command_is_one() {
    let room = Room::open().await;
    let lines = json!({"commands": ["M118 before", "M112", "M118 after"]});
    assert_eq!(post(&room, "/api/printer/command", lines, None).await.0, 200);
    assert_eq!(*room.commands.lock().unwrap(), [Command::EmergencyStop]);
    let (_, info) = get(&room, "/printer/info", None).await;
    assert_eq!(info["result"]["state"], "shutdown");
    let said: Vec<String> = room.station.console.last(100).into_iter().map(|line| line.text).collect();
    assert!(
        said.iter().any(|text| text == "M112") && !said.iter().any(|text| text.contains("M118")),
        "{said:?}"
    );
}

/// Cura's plug-in jogs by three lines in one request, others by one request for each.
#[tokio::test]
async fn a_jog_is_relative_to_where_the_head_is() {
    let room = Room::open().await;
    room.station.printer.writer().report(|device| device.motion.position = Some([100.0, 100.0, 50.0]));
    let jog = ["G91", "G0 X10 Y0 Z0 F3000", "G90"];
    assert_eq!(post(&room, "/api/printer/command", json!({"commands": jog}), None).await.0, 200);
    for line in jog {
        assert_eq!(post(&room, "/api/printer/command", json!({"command": line}), None).await.0, 200);
    }
    let moved = Command::Jog { delta: [10.0, 0.0, 0.0], feed: Some(50.0) };
    assert_eq!(*room.commands.lock().unwrap(), [moved.clone(), moved]);
}

#[tokio::test]
async fn a_printer_that_is_away_is_not_operational() {
    let room = Room::open().await;
    let paths = ["/api/printer", "/api/printer/tool", "/api/printer/bed"];
    for path in paths {
        assert_eq!(get(&room, path, None).await.0, 200, "{path}");
    }
    let fault =
        LinkFault { code: "MG-X".into(), text: "No route.".into(), remedy: "Wait.".into(), permanent: false };
    room.station.printer.writer().link_lost(fault, 0.0);
    for path in paths {
        let (status, body) = get(&room, path, None).await;
        assert_eq!(
            (status, &body["error"]["message"]),
            (409, &json!("Printer is not operational")),
            "{path}"
        );
    }
    assert_eq!(get(&room, "/api/job", None).await.1["state"], "Offline");
    assert_eq!(get(&room, "/api/version", None).await.0, 200, "a slicer's test of the host");
}
