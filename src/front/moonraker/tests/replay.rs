//! What Mainsail and Fluidd said to the real server at their start, said to ours.

use serde_json::{Value, json};

use super::room::{Room, fixture};

/// Methods of components that we do not advertise: the front ends would not have asked.
const NOT_OURS: &[&str] = &["server.spoolman."];

async fn replay(recording: &str) {
    let room = Room::open().await;
    room.put("cube.gcode", include_bytes!("../../../../fixtures/gcode/constructed/elegooslicer.gcode")).await;
    let mut socket = room.socket().await;
    let recording = fixture(recording);
    let events = recording["events"].as_array().unwrap();
    let failed_there =
        |id: &Value| events.iter().any(|event| event["id"] == *id && event.get("error").is_some());
    let (mut asked, mut http) = (0, 0);
    for event in events {
        if let Some((_, path)) = event["url"].as_str().and_then(|url| url.split_once("127.0.0.1:7125")) {
            let client = reqwest::Client::new();
            let request = match event["http"].as_str() {
                Some("POST") => {
                    let body = event["body"].as_str().unwrap().to_owned();
                    client.post(room.url(path)).header("content-type", "application/json").body(body)
                }
                Some("GET") => client.get(room.url(path)),
                _ => continue,
            };
            // Mainsail's first settings are supplied here (`theme.rs`), and were missing at the recorded server.
            let supplied = ["default.json", "maintenance.json"]
                .iter()
                .any(|file| path.contains(&format!("/.theme/{file}?")));
            let expected = if supplied { json!(200) } else { event["status"].clone() };
            assert_eq!(json!(request.send().await.unwrap().status().as_u16()), expected, "{path}");
            http += 1;
        }
        let Some(method) = event["send"].as_str() else { continue };
        let mut request = json!({"jsonrpc": "2.0", "method": method, "id": event["id"]});
        if let Some(params) = event.get("params") {
            request["params"] = params.clone();
        }
        socket.send(request.to_string()).await;
        let answer = socket.answer().await;
        assert_eq!(answer["id"], event["id"], "{method}");
        asked += 1;
        if NOT_OURS.iter().any(|prefix| method.starts_with(prefix)) {
            assert_eq!(answer["error"]["code"], -32601, "{method}");
        } else if !failed_there(&event["id"]) {
            // Folders that the real server listed and ours does not.
            let optional = ["config_examples", "docs", "gcodes/.thumbs"]
                .iter()
                .any(|root| event["params"]["path"] == *root);
            assert!(answer.get("error").is_none() || optional, "{request}: {answer}");
        }
    }
    assert!(asked > 20, "the recording holds the conversation: {asked} calls, {http} downloads");
}

#[tokio::test]
async fn mainsail_starts() {
    replay("frontends/mainsail_startup.json").await;
}

#[tokio::test]
async fn fluidd_starts() {
    replay("frontends/fluidd_startup.json").await;
}
