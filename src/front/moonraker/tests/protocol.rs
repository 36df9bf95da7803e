//! `jsonrpc_protocol_cases.json`, frame by frame, and `http_jsonrpc_endpoint.json`.

use serde_json::{Value, json};

use super::room::{Room, fixture};

/// Numbers that differ from server to server.
const OWN_NUMBERS: &[&str] = &["connection_id", "websocket_id"];

fn comparable(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(result) = value.get_mut("result").and_then(Value::as_object_mut) {
        for name in OWN_NUMBERS {
            if result.get(*name).is_some_and(Value::is_number) {
                result.insert((*name).to_owned(), json!("number"));
            }
        }
    }
    value
}

#[tokio::test]
async fn every_captured_frame_gets_the_captured_answer() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    let cases = fixture("klippy_ready/jsonrpc_protocol_cases.json");
    // The order matters: a socket can be identified only once.
    let mut names: Vec<&String> = cases.as_object().unwrap().keys().collect();
    names.sort_by_key(|name| (*name == "identify_twice", name.as_str()));
    for name in names {
        let case = &cases[name];
        socket.send(case["sent"].as_str().unwrap()).await;
        if case["received"].is_string() {
            // Nothing must come: the answer to the next request is the next frame.
            socket.send(json!({"jsonrpc": "2.0", "method": "access.info", "id": name}).to_string()).await;
            assert_eq!(socket.answer().await["id"], json!(name), "an answer where none is due: {name}");
            continue;
        }
        let answer = socket.answer().await;
        assert_eq!(comparable(&answer), comparable(&case["received"]), "{name}");
    }
}

/// As moonraker-telegram-bot sends each of its requests (`orjson.dumps` gives bytes).
#[tokio::test]
async fn json_as_bytes_is_answered_like_json_as_text() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    let request = json!({"jsonrpc": "2.0", "method": "printer.info", "id": 31}).to_string();
    socket.send_bytes(request.into_bytes()).await;
    let answer = socket.answer().await;
    assert_eq!((&answer["id"], &answer["result"]["state"]), (&json!(31), &json!("ready")));
    socket.send_bytes(vec![0xff, 0xfe, b'{', b'}']).await;
    assert_eq!(socket.answer().await["error"]["code"], -32700, "no text is no JSON");
}

#[tokio::test]
async fn json_rpc_goes_over_http_too() {
    let room = Room::open().await;
    let client = reqwest::Client::new();
    for (name, case) in fixture("klippy_ready/http_jsonrpc_endpoint.json").as_object().unwrap() {
        let request = client.post(room.url("/server/jsonrpc"));
        let body = &case["request"]["body"];
        let request = match body {
            Value::String(text) => {
                request.header("content-type", "application/x-www-form-urlencoded").body(text.clone())
            }
            other => request.json(other),
        };
        let response = request.send().await.unwrap();
        assert_eq!(u64::from(response.status().as_u16()), case["status"], "{name}");
        let answer: Value = response.json().await.unwrap();
        if case["body"].get("error").is_some() {
            assert_eq!(answer["error"]["code"], case["body"]["error"]["code"], "{name}: {answer}");
        }
        if name == "subscribe_refused" || name == "identify_refused" || name == "post_batch" {
            assert_eq!(answer, case["body"], "{name}");
        }
    }
}

#[tokio::test]
async fn requests_of_a_socket_overlap_and_keep_their_ids() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    for id in 0..100 {
        socket.send(json!({"jsonrpc": "2.0", "method": "server.info", "id": id}).to_string()).await;
    }
    let mut seen: Vec<i64> = Vec::new();
    for _ in 0..100 {
        seen.push(socket.answer().await["id"].as_i64().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_restart_closes_sockets_with_1001() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    assert_eq!(socket.call("server.restart", json!({})).await, "ok");
    assert_eq!(socket.close_code().await, Some(1001));
    room.socket().await.call("server.info", json!({})).await;
}

/// Mainsail opens a connection anew that it closed and that was not closed in turn, without end.
#[tokio::test]
async fn a_goodbye_is_answered_also_in_the_midst_of_answers() {
    let room = Room::open().await;
    for questions in [0, 1, 100] {
        let mut socket = room.socket().await;
        for id in 0..questions {
            socket.send(json!({"jsonrpc": "2.0", "method": "server.info", "id": id}).to_string()).await;
        }
        socket.close(1000).await;
        assert_eq!(socket.close_code().await, Some(1000), "after {questions} questions");
    }
}

#[tokio::test]
async fn agents_hear_of_each_other() {
    let room = Room::open().await;
    let (mut one, mut two) = (room.socket().await, room.socket().await);
    two.call("server.info", json!({})).await;
    let agent = json!({"client_name": "OrcaSlicer", "version": "1", "type": "agent", "url": "x"});
    one.call("server.connection.identify", agent.clone()).await;
    assert_eq!(two.notice("notify_agent_event").await[0]["event"], "connected");
    // Two windows of OrcaSlicer are welcome (moonraker.md 2.5).
    two.call("server.connection.identify", agent).await;
    assert_eq!(one.call("connection.register_remote_method", json!({"method_name": "m"})).await, "ok");
    assert_eq!(one.call("connection.send_event", json!({"event": "hello", "data": {"a": 1}})).await, "ok");
    assert_eq!(
        two.notice("notify_agent_event").await,
        json!([{"agent": "OrcaSlicer", "event": "hello", "data": {"a": 1}}])
    );
    drop(one);
    assert_eq!(
        two.notice("notify_agent_event").await,
        json!([{"agent": "OrcaSlicer", "event": "disconnected"}])
    );
}
