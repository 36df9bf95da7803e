//! Much at once: nobody is thrown out who reads.

use serde_json::{Value, json};

use super::room::{Room, Socket};
use crate::camera::timelapse::{Recording, TimelapseEvent};
use crate::front::moonraker::{events, timelapse};
use crate::model::{ConsoleLine, Speaker};
use crate::printer::RemoteFile;

/// Actions and paths of the next changes of files.
async fn changes(socket: &mut Socket, count: usize) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let told = socket.notice("notify_filelist_changed").await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        seen.push((text(&told[0]["action"]), text(&told[0]["item"]["path"])));
    }
    seen
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(action, path)| ((*action).to_owned(), (*path).to_owned())).collect()
}

#[tokio::test]
async fn a_full_card_is_one_change_and_throws_nobody_out() {
    let archive = |n: u32| RemoteFile {
        path: format!("Part {n:03}.gcode.3mf"),
        size: 1000 + u64::from(n),
        ..RemoteFile::default()
    };
    let folder = RemoteFile { path: "cache".into(), directory: true, ..RemoteFile::default() };
    let room = Room::storing((0..150).map(archive).chain([folder]).collect()).await;
    let (mut watching, mut asking) = (room.socket().await, room.socket().await);
    watching.call("server.info", json!({})).await;
    let listed = asking.call("server.files.get_directory", json!({"path": "gcodes/printer"})).await;
    assert_eq!(listed["files"].as_array().unwrap().len(), 300, "each archive, and beside it as G-code");
    let anew = pairs(&[("delete_dir", "printer"), ("create_dir", "printer")]);
    assert_eq!(changes(&mut watching, 2).await, anew);
    assert_eq!(changes(&mut asking, 2).await, anew);
    watching.call("server.info", json!({})).await;
    let others = |socket: &Socket| socket.notices.iter().any(|n| n["method"] == "notify_filelist_changed");
    assert!(!others(&watching) && !others(&asking), "nothing else is told of it");
    assert_eq!(room.endpoint.hub.count(), 2);
}

#[tokio::test]
async fn a_script_may_say_a_hundred_lines() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    socket.call("server.info", json!({})).await;
    let line = |text: String| ConsoleLine { time: 1.0, speaker: Speaker::Answer, text };
    for n in 0..100 {
        room.station.console.push(line(format!("line {n}")));
    }
    let many: Vec<String> = (100..300).map(|n| format!("line {n}")).collect();
    room.station.console.push(line(many.join("\n")));
    for n in 0..300 {
        assert_eq!(socket.notice("notify_gcode_response").await[0], format!("// line {n}"));
    }
    assert_eq!(room.endpoint.hub.count(), 1);
}

/// Answers leave room for notifications, however many are asked for at once (KlipperScreen: one for each file).
#[tokio::test]
async fn a_hundred_answers_leave_room_for_what_is_told() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    socket.call("server.info", json!({})).await;
    // The client's socket is full: what comes now waits in the outbox.
    while room.endpoint.hub.most_waiting() < 2 {
        room.endpoint.hub.notify("notify_gcode_response", Some(json!("x".repeat(1_000_000))));
        tokio::task::yield_now().await;
    }
    for n in 0..100 {
        socket.send(json!({"jsonrpc": "2.0", "method": "server.info", "id": 1000 + n}).to_string()).await;
    }
    while room.endpoint.hub.most_waiting() < 32 {
        assert_eq!(room.endpoint.hub.count(), 1, "this machine is too slow: the client was let go");
        tokio::task::yield_now().await;
    }
    // Whatever is still on its way into the outbox gets its turn.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    for n in 0..20 {
        room.endpoint.hub.notify("notify_told", Some(json!(n)));
    }
    assert_eq!(room.endpoint.hub.count(), 1);
    let mut answered = 0;
    while answered < 100 {
        assert!(socket.answer().await.get("result").is_some());
        answered += 1;
    }
    for n in 0..20 {
        assert_eq!(socket.notice("notify_told").await[0], n);
    }
}

/// Mainsail empties its list at a `root_update` and asks for nothing.
#[tokio::test]
async fn when_changes_were_missed_the_top_is_told_anew() {
    let room = Room::open().await;
    room.put("a.gcode", b"G28\n").await;
    room.station.library.make_directory("parts").await.unwrap();
    let mut socket = room.socket().await;
    socket.call("server.info", json!({})).await;
    events::tell_anew(&room.endpoint).await;
    let expected = [("root_update", ""), ("create_dir", "parts"), ("create_file", "a.gcode")];
    assert_eq!(changes(&mut socket, 3).await, pairs(&expected));
}

#[tokio::test]
async fn what_comes_and_goes_at_the_end_of_a_recording_is_told_file_by_file() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    socket.call("server.info", json!({})).await;
    let recording = |id: &str, video| Recording {
        id: id.into(),
        frames: 2,
        bytes: 10,
        modified: 5.0,
        video,
        name: "cube.gcode".into(),
    };
    let ended = TimelapseEvent::Ended {
        recording: Some(recording("00000B", None)),
        removed: vec![recording("00000A", Some(4))],
    };
    timelapse::tell(&room.endpoint, &ended);
    let expected = [
        ("create_file", "cube_00000B.zip"),
        ("create_file", "cube_00000B.jpg"),
        ("delete_file", "cube_00000A.zip"),
        ("delete_file", "cube_00000A.jpg"),
        ("delete_file", "cube_00000A.mp4"),
    ];
    assert_eq!(changes(&mut socket, 5).await, pairs(&expected));
    // With the zip goes the recording, and with it what else is shown of it.
    room.station.timelapses.keep("00000C", 1, &[0xFF, 0xD8, 0xFF]).await.unwrap();
    socket.call("server.files.delete_file", json!({"path": "timelapse/00000C.zip"})).await;
    let expected = [("delete_file", "00000C.jpg"), ("delete_file", "00000C.zip")];
    assert_eq!(changes(&mut socket, 2).await, pairs(&expected));
    // A kept archive is one file.
    let archive = tempfile::tempfile().unwrap();
    room.station.timelapses.keep_collection("all.zip", archive.into()).await.unwrap();
    socket.call("server.files.delete_file", json!({"path": "timelapse/all.zip"})).await;
    assert_eq!(changes(&mut socket, 1).await, pairs(&[("delete_file", "all.zip")]));
    socket.call("server.info", json!({})).await;
    assert!(!socket.notices.iter().any(|notice| notice["method"] == "notify_filelist_changed"));
}
