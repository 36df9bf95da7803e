//! What the gateway keeps beside the prints: logs, archives for download, files of the UIs, backups of their records.

use std::io::Read;

use serde_json::{Value, json};

use super::room::{Room, Socket};
use crate::front::moonraker::MoonrakerConfig;
use crate::model::*;

async fn text(room: &Room, path: &str) -> String {
    let answer = reqwest::get(room.url(path)).await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.text().await.unwrap()
}

async fn with_config() -> (Room, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = MoonrakerConfig { config_root: Some(folder.path().into()), ..MoonrakerConfig::default() };
    (Room::with(config).await, folder)
}

#[tokio::test]
async fn the_console_is_a_log_that_can_be_downloaded_and_rolled_over() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    socket.call("printer.gcode.script", json!({"script": "FOOBAR"})).await;
    socket.notice("notify_gcode_response").await;
    let listed = socket.call("server.files.get_directory", json!({"path": "logs"})).await;
    let names: Vec<&str> =
        listed["files"].as_array().unwrap().iter().map(|f| f["filename"].as_str().unwrap()).collect();
    assert_eq!(names, ["klippy.log", "moonraker.log"]);
    assert!(listed["files"][0]["size"].as_u64().unwrap() > 0 && listed["files"][0]["permissions"] == "r");
    for path in ["/server/files/klippy.log", "/server/files/logs/klippy.log"] {
        let log = text(&room, path).await;
        assert!(log.contains(" > FOOBAR\n") && log.contains("Unknown command:\"FOOBAR\""), "{log}");
    }
    assert!(text(&room, "/server/files/moonraker.log").await.starts_with("moongate "));
    let rolled = socket.call("server.logs.rollover", json!({"application": "klipper"})).await;
    assert_eq!(rolled, json!({"rolled_over": ["klipper"], "failed": {}}));
    assert!(!text(&room, "/server/files/klippy.log").await.contains("FOOBAR"));
    assert!(text(&room, "/server/files/logs/klippy.log.1").await.contains("FOOBAR"));
    let all = socket.call("server.logs.rollover", json!({})).await;
    assert_eq!(all["rolled_over"], json!(["klipper", "moonraker"]));
    assert_eq!(socket.ask("server.logs.rollover", json!({"application": "x"})).await["error"]["code"], 400);
}

#[tokio::test]
async fn what_happens_at_the_printer_is_on_the_console_and_stays_there() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    let fault = Fault {
        module: Some("AMS 1".into()),
        ..Fault::new(FaultSource::Job, Severity::Serious, "0700_8011", "The filament ran out.")
    };
    let line = "!! AMS 1: The filament ran out. (0700_8011)";
    room.station.printer.writer().report(|device| device.faults = vec![fault]);
    while socket.notice("notify_gcode_response").await != json!([line]) {}
    room.station.printer.writer().report(|device| device.faults.clear());
    let gone = "// No longer reported: AMS 1: The filament ran out. (0700_8011)";
    while socket.notice("notify_gcode_response").await != json!([gone]) {}
    let store = socket.call("server.gcode_store", json!({})).await;
    let kept: Vec<&Value> = store["gcode_store"].as_array().unwrap().iter().collect();
    for text in [line, gone] {
        let found = kept.iter().filter(|entry| entry["message"] == text).count();
        assert_eq!(found, 1, "{text}: {store}");
    }
    assert!(kept.iter().all(|entry| entry["type"] == "response"));
}

/// Mainsail's panel of end stops stays as it is then.
#[tokio::test]
async fn why_no_end_stops_are_shown_is_told_on_the_console() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    assert_eq!(socket.call("printer.query_endstops.status", json!({})).await, json!({}));
    let reason = "// This printer does not tell the state of its end stops.";
    while socket.notice("notify_gcode_response").await != json!([reason]) {}
}

/// Both UIs show the button that starts a queue only while it is "paused".
#[tokio::test]
async fn a_queue_that_waits_for_its_user_is_paused() {
    let room = Room::open().await;
    room.put("a.gcode", b"G28\n").await;
    let mut socket = room.socket().await;
    let queued = socket.call("server.job_queue.post_job", json!({"filenames": ["a.gcode"]})).await;
    assert_eq!(
        (&queued["queue_state"], &queued["queued_jobs"][0]["filename"]),
        (&json!("paused"), &json!("a.gcode"))
    );
    for method in ["server.job_queue.pause", "server.job_queue.status"] {
        assert_eq!(socket.call(method, json!({})).await["queue_state"], "paused", "{method}");
    }
}

#[tokio::test]
async fn several_files_are_downloaded_as_one_archive() {
    let (room, _folder) = with_config().await;
    let mut socket = room.socket().await;
    room.put("a.gcode", b"G28\n").await;
    room.put("b.gcode", b"G1 X1\n").await;
    let items = json!(["gcodes/a.gcode", "gcodes/b.gcode", "gcodes/b.gcode", "logs"]);
    for (dest, root) in [("config/some.zip", "config"), ("gcodes/sub/some.zip", "gcodes")] {
        let zipped = socket.call("server.files.zip", json!({"dest": dest, "items": items})).await;
        assert_eq!((&zipped["action"], &zipped["destination"]["root"]), (&json!("zip_files"), &json!(root)));
        let archive = reqwest::get(room.url(&format!("/server/files/{dest}"))).await.unwrap();
        let archive = std::io::Cursor::new(archive.bytes().await.unwrap());
        let mut archive = zip::ZipArchive::new(archive).unwrap();
        let mut names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
        names.sort();
        assert_eq!(names, ["gcodes/a.gcode", "gcodes/b.gcode", "logs/klippy.log", "logs/moonraker.log"]);
        let mut content = String::new();
        archive.by_name("gcodes/b.gcode").unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(content, "G1 X1\n");
        let change = socket.notice("notify_filelist_changed").await;
        assert!(change[0]["item"]["root"] == "gcodes" || change[0]["item"]["path"] == "some.zip");
    }
    for (dest, items) in [
        ("gcodes/x.zip", json!(["gcodes/none.gcode"])),
        ("gcodes/x.zip", json!(["config/../../etc/passwd"])),
        ("gcodes/x.gcode", json!(["gcodes/a.gcode"])),
        ("logs/x.zip", json!(["gcodes/a.gcode"])),
        ("gcodes/x.zip", json!([])),
    ] {
        let refused = socket.ask("server.files.zip", json!({"dest": dest, "items": items})).await;
        assert_eq!(refused["error"]["code"], 400, "{dest} {items}: {refused}");
    }
    assert_eq!(reqwest::get(room.url("/server/files/gcodes/x.zip")).await.unwrap().status(), 404);
}

#[tokio::test]
async fn mainsails_encoded_names_are_found_for_an_archive_but_a_name_with_a_percent_sign_goes_first() {
    let (room, _folder) = with_config().await;
    let mut socket = room.socket().await;
    for name in ["my cube #1 \u{fc}.gcode", "a%20b.gcode", "a b.gcode"] {
        room.put(name, b"G28\n").await;
    }
    // As Mainsail 2.18 names them in the root folder, two slashes included.
    let items = json!(["gcodes//my%20cube%20%231%20%C3%BC.gcode", "gcodes//a%20b.gcode"]);
    socket.call("server.files.zip", json!({"dest": "config/some.zip", "items": items})).await;
    let archive = reqwest::get(room.url("/server/files/config/some.zip")).await.unwrap();
    let archive =
        zip::ZipArchive::new(std::io::Cursor::new(archive.bytes().await.unwrap().to_vec())).unwrap();
    let mut names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    names.sort();
    assert_eq!(names, ["gcodes/a%20b.gcode", "gcodes/my cube #1 \u{fc}.gcode"]);
    for outside in ["config/%2e%2e/%2E%2e/etc/passwd", "config/..%2f..%2fetc/passwd", "gcodes/%FF.gcode"] {
        let refused =
            socket.ask("server.files.zip", json!({"dest": "config/x.zip", "items": [outside]})).await;
        assert_eq!(refused["error"]["code"], 400, "{outside}: {refused}");
    }
}

#[tokio::test]
async fn what_is_refused_of_the_files_and_the_queue_is_on_the_console_for_uis_that_show_no_error() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    let gone = "gcodes/none.gcode";
    for (method, params) in [
        ("server.files.move", json!({"source": gone, "dest": "gcodes/other.gcode"})),
        ("server.files.delete_file", json!({"path": gone})),
        ("server.files.delete_directory", json!({"path": "gcodes/none", "force": true})),
        ("server.files.zip", json!({"dest": "gcodes/x.zip", "items": [gone]})),
        ("server.job_queue.post_job", json!({"filenames": ["none.gcode"]})),
        ("server.job_queue.jump", json!({"job_id": "none"})),
    ] {
        let refused = socket.ask(method, params).await;
        let reason = format!("!! {}", refused["error"]["message"].as_str().unwrap());
        assert_eq!(socket.notice("notify_gcode_response").await, json!([reason]), "{method}");
    }
    // A program reads its answer, and one that only asks is told there as well.
    let client = reqwest::Client::new();
    let deleted = client.delete(room.url("/server/files/gcodes/none.gcode")).send().await.unwrap();
    assert!(deleted.status().is_client_error());
    socket.ask("server.files.metadata", json!({"filename": "none.gcode"})).await;
    let store = socket.call("server.gcode_store", json!({})).await;
    let lines = store["gcode_store"].as_array().unwrap().iter();
    let told = lines.filter(|line| line["message"].as_str().unwrap().starts_with("!! ")).count();
    assert_eq!(told, 6, "{store}");
}

#[tokio::test]
async fn a_file_that_has_no_folder_to_go_to_is_not_called_missing() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    room.put("a.gcode", b"G28\n").await;
    let paths = json!({"source": "gcodes/a.gcode", "dest": "gcodes/none/b.gcode"});
    for method in ["server.files.move", "server.files.copy"] {
        let refused = socket.ask(method, paths.clone()).await;
        assert_eq!(refused["error"]["message"], "There is no folder \"none\".", "{method}");
        assert_eq!(refused["error"]["code"], 400, "{method}");
        let told = json!(["!! There is no folder \"none\"."]);
        assert_eq!(socket.notice("notify_gcode_response").await, told, "{method}");
    }
}

#[tokio::test]
async fn a_queue_that_does_not_start_says_why_on_the_console() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    room.put("a.gcode", b"G28\n").await;
    socket.call("server.job_queue.post_job", json!({"filenames": ["a.gcode"]})).await;
    socket.call("server.files.delete_file", json!({"path": "gcodes/a.gcode"})).await;
    let refused = socket.ask("server.job_queue.start", json!({})).await;
    let reason = format!("!! {}", refused["error"]["message"].as_str().unwrap());
    assert_eq!(socket.notice("notify_gcode_response").await, json!([reason]));
    assert!(reason.contains("a.gcode"), "{reason}");
}

#[tokio::test]
async fn files_of_the_uis_are_moved_and_copied_within_their_root() {
    let (room, folder) = with_config().await;
    let own = folder.path().join("one");
    std::fs::write(own.join("a.cfg"), "content").unwrap();
    std::fs::create_dir(own.join("sub")).unwrap();
    let mut socket = room.socket().await;
    let paths = |source: &str, dest: &str| json!({"source": source, "dest": dest});
    let copied = socket.call("server.files.copy", paths("config/a.cfg", "config/sub")).await;
    assert_eq!(copied["item"]["path"], "sub/a.cfg");
    let moved = socket.call("server.files.move", paths("config/sub/a.cfg", "config/b.cfg")).await;
    assert_eq!((&moved["action"], &moved["item"]["path"]), (&json!("move_file"), &json!("b.cfg")));
    assert_eq!(moved["source_item"], json!({"path": "sub/a.cfg", "root": "config"}));
    assert_eq!(std::fs::read_to_string(own.join("b.cfg")).unwrap(), "content");
    for (source, dest) in [
        ("config/none", "config/c.cfg"),
        ("config/b.cfg", "config/../../c.cfg"),
        ("config/b.cfg", "gcodes/b.gcode"),
        ("config", "config/sub"),
    ] {
        for method in ["server.files.move", "server.files.copy"] {
            let refused = socket.ask(method, paths(source, dest)).await;
            assert_eq!(refused["error"]["code"], 400, "{method} {source} {dest}: {refused}");
        }
    }
    assert_eq!(std::fs::read_to_string(own.join("b.cfg")).unwrap(), "content");
}

#[tokio::test]
async fn a_backup_brings_the_records_of_the_uis_back() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    let item = |namespace: &str, value: i64| json!({"namespace": namespace, "key": "k", "value": value});
    socket.call("server.database.post_item", item("fluidd", 1)).await;
    let made = socket.call("server.database.post_backup", json!({"filename": "before"})).await;
    assert!(made["backup_path"].as_str().unwrap().ends_with("/before"), "{made}");
    assert_eq!(socket.call("server.database.list", json!({})).await["backups"], json!(["before"]));
    socket.call("server.database.post_item", item("fluidd", 2)).await;
    socket.call("server.database.post_item", item("mainsail", 3)).await;
    let restored = socket.call("server.database.restore", json!({"filename": "before"})).await;
    assert_eq!(restored["restored_namespaces"], json!(["fluidd"]));
    let mut socket = room.socket().await;
    let listed = socket.call("server.database.list", json!({})).await;
    assert_eq!(listed, json!({"namespaces": ["fluidd"], "backups": ["before"]}));
    let value = socket.call("server.database.get_item", json!({"namespace": "fluidd", "key": "k"})).await;
    assert_eq!(value["value"], 1);
    assert_eq!(
        socket.ask("server.database.restore", json!({"filename": "none"})).await["error"]["code"],
        -32601
    );
    assert_eq!(
        socket.ask("server.database.post_backup", json!({"filename": "../x"})).await["error"]["code"],
        400
    );
    socket.call("server.database.delete_backup", json!({"filename": "before"})).await;
    assert_eq!(socket.call("server.database.list", json!({})).await["backups"], json!([]));
    let sizes = socket.call("server.database.compact", json!({})).await;
    assert!(sizes["previous_size"].is_number() && sizes["new_size"].is_number(), "{sizes}");
}

/// The store holds everything in memory: what clients write there has an end, backups included.
#[tokio::test]
async fn records_have_a_bound_and_what_is_deleted_makes_room() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    let piece = "x".repeat(3 << 20);
    let item = |key: usize| json!({"namespace": "n", "key": format!("k{key}"), "value": piece});
    for key in 0..5 {
        socket.call("server.database.post_item", item(key)).await;
    }
    socket.call("server.database.post_backup", json!({"filename": "all"})).await;
    let full = async |socket: &mut Socket, method: &str, params: Value| {
        let refused = socket.ask(method, params).await["error"].clone();
        assert_eq!(refused["code"], 507, "{method}");
        assert!(refused["message"].as_str().unwrap().contains("server.database.delete_backup"), "{refused}");
    };
    full(&mut socket, "server.database.post_item", item(5)).await;
    full(&mut socket, "server.database.post_backup", json!({"filename": "second"})).await;
    let listed = socket.call("server.database.list", json!({})).await;
    assert_eq!(listed, json!({"namespaces": ["n"], "backups": ["all"]}));
    // What takes no more than before is written, and a part of a record counts as well.
    socket.call("server.database.post_item", item(0)).await;
    full(
        &mut socket,
        "server.database.post_item",
        json!({"namespace": "n", "key": "deep.part", "value": piece}),
    )
    .await;
    socket.call("server.database.delete_item", json!({"namespace": "n", "key": "k4"})).await;
    socket.call("server.database.post_item", item(5)).await;
    full(&mut socket, "server.database.post_item", item(6)).await;
    socket.call("server.database.delete_backup", json!({"filename": "all"})).await;
    for key in 6..11 {
        socket.call("server.database.post_item", item(key)).await;
    }
    full(&mut socket, "server.database.post_item", item(11)).await;
}

/// Memory has all of it then, and the disk gets it when it takes something again: half a backup would be worse than none.
#[tokio::test]
async fn a_backup_is_restored_whole_or_not_at_all_on_a_full_disk() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    let item = |key: &str, value: i64| json!({"namespace": "fluidd", "key": key, "value": value});
    for key in ["a", "b", "c"] {
        socket.call("server.database.post_item", item(key, 1)).await;
    }
    socket.call("server.database.post_backup", json!({"filename": "before"})).await;
    socket.call("server.database.post_item", item("b", 2)).await;
    room.station.store.fill();
    assert_eq!(socket.ask("server.database.post_item", item("c", 3)).await["error"]["code"], 500);
    let told = socket.ask("server.database.restore", json!({"filename": "before"})).await;
    assert!(told["error"]["message"].as_str().unwrap().contains("No space left"), "{told}");
    let kept = socket.call("server.database.get_item", json!({"namespace": "fluidd"})).await;
    assert_eq!(kept["value"], json!({"a": 1, "b": 1, "c": 1}));
}

#[tokio::test]
async fn a_record_is_read_whole_and_in_parts_and_never_grows_too_deep_to_be_read() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    let item = |key: Value, value: &Value| json!({"namespace": "ns \"é", "key": key, "value": value});
    let value = json!({"a": [1.25, "ä\n\"", null], "x.y": true});
    for key in [json!("one"), json!("two.part")] {
        let written = socket.call("server.database.post_item", item(key.clone(), &value)).await;
        assert_eq!(written, item(key, &value));
    }
    let read = async |socket: &mut Socket, key| -> Value {
        let asked = json!({"namespace": "ns \"é", "key": key});
        socket.call("server.database.get_item", asked).await
    };
    let whole = json!({"one": value, "two": {"part": value}});
    assert_eq!(read(&mut socket, Value::Null).await, item(Value::Null, &whole));
    assert_eq!(read(&mut socket, json!("one")).await, item(json!("one"), &value));
    assert_eq!(read(&mut socket, json!(["one", "x.y"])).await, item(json!(["one", "x.y"]), &json!(true)));
    let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    let deepest = item(json!("two.part.deep"), &deep(98));
    socket.call("server.database.post_item", deepest).await;
    let refused = socket.ask("server.database.post_item", item(json!("two.part.deep"), &deep(99))).await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("nested too deep"), "{refused}");
    assert_eq!(read(&mut socket, json!("two.part.deep")).await["value"], deep(98));
}

/// Moonraker takes them too. What cannot be taken apart is read, kept in a backup, put back and deleted as a whole.
#[tokio::test]
async fn a_record_that_no_value_of_ours_holds_is_kept_as_it_was_written() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let (name, key) = (json!({"filename": "b"}), json!({"namespace": "odd", "key": "k"}));
    for written in [r#""\ud800""#, "1e999", "[123456789012345678901234567890, 1.50]", deep.as_str()] {
        let item = format!(r#""result":{{"namespace":"odd","key":"k","value":{written}}}"#);
        let params = format!(r#"{{"namespace": "odd", "key": "k", "value": {written}}}"#);
        let answer = socket.ask_text("server.database.post_item", &params).await;
        assert!(answer.contains(&item), "{answer}");
        socket.call("server.database.post_backup", name.clone()).await;
        let answer = socket.ask_text("server.database.delete_item", &key.to_string()).await;
        assert!(answer.contains(&item), "{answer}");
        socket.call("server.database.restore", name.clone()).await;
        socket = room.socket().await;
        let answer = socket.ask_text("server.database.get_item", &key.to_string()).await;
        assert!(answer.contains(&item), "{answer}");
    }
    for (method, value) in [("get_item", None), ("post_item", Some(1)), ("delete_item", None)] {
        let part = json!({"namespace": "odd", "key": "k.part", "value": value});
        let refused = socket.ask(&format!("server.database.{method}"), part).await;
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains("as a whole") && message.contains("recursion limit"), "{refused}");
    }
}
