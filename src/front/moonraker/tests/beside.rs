//! Answers as Moonraker 0.11.0 gave them, asked side by side with the gateway: odd arguments, frames that are no requests,
//! records below values.

use serde_json::{Value, json};

use super::room::Room;

fn error(answer: &Value) -> (i64, &str) {
    let error = &answer["error"];
    (error["code"].as_i64().unwrap_or_default(), error["message"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn odd_arguments_are_refused_in_the_real_servers_words() {
    let room = Room::open().await;
    room.put("cube.gcode", b"G28\n").await;
    let mut socket = room.socket().await;
    let key = |key: Value| json!({"namespace": "odd", "key": key, "value": 1});
    let cases = [
        (
            "server.gcode_store",
            json!({"count": "x"}),
            (400, "Unable to convert argument [count] to <class 'int'>: value received: x"),
        ),
        (
            "server.job_queue.post_job",
            json!({"filenames": 5}),
            (400, "Invalid value received for argument 'filenames'.  Expected List type, received int"),
        ),
        ("server.history.list", json!({"order": "up"}), (400, "Invalid `order` value: UP")),
        ("server.files.get_directory", json!({"path": "nope/sub"}), (400, "Invalid root path (nope)")),
        ("server.files.post_directory", json!({"path": "nope"}), (400, "Invalid root path (nope)")),
        ("server.files.delete_file", json!({"path": "nope"}), (400, "Invalid root path (nope)")),
        ("server.files.delete_directory", json!({"path": "gcodes"}), (400, "Cannot delete root directory")),
        ("server.files.metascan", json!({"filename": "x"}), (-32601, "File 'x' does not exist")),
        (
            "server.files.move",
            json!({"source": "gcodes/cube.gcode", "dest": "gcodes/no/cube.gcode"}),
            (400, "There is no folder \"no\"."),
        ),
        (
            "server.files.copy",
            json!({"source": "gcodes/none.gcode", "dest": "gcodes/no/cube.gcode"}),
            (400, "File none.gcode does not exist"),
        ),
        (
            "server.database.post_item",
            key(json!(5)),
            (400, "Value for argument 'key' is an invalid type: int"),
        ),
        ("server.database.post_item", key(json!("a..b")), (400, "Invalid Key Format: 'a..b'")),
        ("server.webcams.get_item", json!({"uid": "x"}), (-32601, "Webcam with UID x not found")),
        ("server.webcams.post_item", json!({"name": "x"}), (400, "No data for argument: stream_url")),
        ("server.announcements.dismiss", json!({"entry_id": "x"}), (400, "No key matching entry id: x")),
        (
            "connection.send_event",
            json!({"event": "x"}),
            (400, "Only connections of the 'agent' type can send events"),
        ),
        ("no.such", json!([1]), (-32601, "Method not found")),
    ];
    for (method, params, expected) in cases {
        let answer = socket.ask(method, params.clone()).await;
        assert_eq!(error(&answer), expected, "{method} {params}");
    }
    assert!(socket.ask("server.gcode_store", json!({"count": true})).await.get("result").is_some());
}

/// A client that answers what nobody asked must not take an error for the answer to a request of its own.
#[tokio::test]
async fn an_answer_of_a_client_is_not_answered() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    for frame in [
        json!({"jsonrpc": "2.0", "result": "ok", "id": 7}),
        json!({"jsonrpc": "2.0", "error": {"code": 1, "message": "x"}, "id": 7}),
    ] {
        socket.send(frame.to_string()).await;
    }
    socket.send(json!({"jsonrpc": "2.0", "id": 8}).to_string()).await;
    let answer = socket.answer().await;
    assert_eq!((&answer["id"], error(&answer).0), (&json!(8), -32600), "neither a request nor an answer");
}

#[tokio::test]
async fn a_value_is_not_lost_to_one_below_it_and_an_empty_record_goes() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    let post = |key: &str, value: Value| json!({"namespace": "n", "key": key, "value": value});
    socket.call("server.database.post_item", post("a.b", json!(1))).await;
    let refused = socket.ask("server.database.post_item", post("a.b.c", json!(2))).await;
    let text = "Item at key 'a.b' in namespace 'n'is not a dictionary object, cannot insert";
    assert_eq!(error(&refused), (400, text));
    let whole = json!({"namespace": "n"});
    assert_eq!(socket.call("server.database.get_item", whole.clone()).await["value"], json!({"a": {"b": 1}}));

    let removed = socket.call("server.database.delete_item", json!({"namespace": "n", "key": "a.b"})).await;
    assert_eq!(removed["value"], 1);
    let gone = socket.ask("server.database.get_item", whole).await;
    assert_eq!(error(&gone), (-32601, "Namespace n not found"));
    let list = socket.call("server.database.list", json!({})).await;
    assert!(!list["namespaces"].as_array().unwrap().contains(&json!("n")), "{list}");
}

#[tokio::test]
async fn a_start_is_told_on_the_console_as_klipper_tells_it() {
    let room = Room::open().await;
    room.put("cube.gcode", b"G28\n").await;
    let mut socket = room.socket().await;
    socket.call("printer.print.start", json!({"filename": "cube.gcode"})).await;
    let store = socket.call("server.gcode_store", json!({})).await;
    let said: Vec<&str> = store["gcode_store"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|line| line["message"].as_str())
        .filter(|line| line.starts_with("File "))
        .collect();
    assert_eq!(said, ["File opened:cube.gcode Size:4", "File selected"]);
}
