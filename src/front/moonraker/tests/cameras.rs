//! Pictures for those who are logged in: image tags send no headers, so URLs carry what is needed.

use serde_json::{Value, json};

use super::room::Room;
use crate::access::{AccessSettings, Role};

async fn status(room: &Room, path: &str) -> u16 {
    reqwest::get(room.url(path)).await.unwrap().status().as_u16()
}

async fn forced() -> Room {
    Room::guarded(AccessSettings { force_logins: true, ..AccessSettings::default() }).await
}

#[tokio::test]
async fn a_login_sees_pictures_until_it_ends() {
    let room = forced().await;
    let access = room.endpoint.access.clone();
    let login = access.create_user("eve", "password-of-eve", Role::View).await.unwrap();
    assert_eq!(status(&room, "/webcam/snapshot").await, 401);
    // What a front end is told is what it loads, as often as it likes.
    let client = reqwest::Client::new();
    let asked = client.get(room.url("/server/webcams/list")).bearer_auth(login.token.expose());
    let listed: Value = asked.send().await.unwrap().json().await.unwrap();
    let url = listed["result"]["webcams"][0]["snapshot_url"].as_str().unwrap();
    let (_, pass) = url.split_once("?action=snapshot&").unwrap();
    for _ in 0..3 {
        assert_eq!(status(&room, &format!("/webcam/snapshot?{pass}")).await, 200);
    }
    // It is good for pictures only, and for looking only.
    assert_eq!(status(&room, &format!("/printer/info?{pass}")).await, 401);
    assert_eq!(status(&room, &format!("/server/files/timelapse_frames/1/layer-00001.jpg?{pass}")).await, 401);
    let posted = client.post(room.url(&format!("/webcam/snapshot?{pass}"))).send().await.unwrap();
    assert_eq!(posted.status(), 401);
    let forged = format!("{}AAAA", pass.strip_suffix(&pass[pass.len() - 4..]).unwrap());
    for wrong in [forged.as_str(), "pass=", "pass=k.x", "pass=..", "pass=a.b.c.d"] {
        assert_eq!(status(&room, &format!("/webcam/snapshot?{wrong}")).await, 401, "{wrong}");
    }
    access.logout(&login.identity).await.unwrap();
    assert_eq!(status(&room, &format!("/webcam/snapshot?{pass}")).await, 401);
}

#[tokio::test]
async fn a_one_shot_token_is_good_for_one_picture() {
    let room = forced().await;
    let login = room.endpoint.access.create_user("eve", "password-of-eve", Role::View).await.unwrap();
    let asked = reqwest::Client::new().get(room.url("/access/oneshot_token"));
    let answer: Value = asked.bearer_auth(login.token.expose()).send().await.unwrap().json().await.unwrap();
    let path = format!("/webcam/snapshot?token={}", answer["result"].as_str().unwrap());
    assert_eq!(status(&room, &path).await, 200);
    assert_eq!(status(&room, &path).await, 401);
}

/// A new API key ends the passes of the old one; trusted addresses need none.
#[tokio::test]
async fn a_new_key_ends_old_passes() {
    let room = forced().await;
    let access = room.endpoint.access.clone();
    access.create_user("adam", "password-of-adam", Role::Admin).await.unwrap();
    let pass = access.picture_pass(&crate::access::Identity::ApiKey).unwrap();
    assert_eq!(status(&room, &format!("/webcam/snapshot?{pass}")).await, 200);
    access.renew_api_key().await.unwrap();
    assert_eq!(status(&room, &format!("/webcam/snapshot?{pass}")).await, 401);
    assert_eq!(access.picture_pass(&crate::access::Identity::Trusted), None);
}

#[tokio::test]
async fn timelapses_are_files_of_their_own_root() {
    let room = Room::open().await;
    let timelapses = &room.station.timelapses;
    timelapses.keep("00000A", 1, &[0xFF, 0xD8, 0xFF, 1]).await.unwrap();
    timelapses.keep("00000A", 2, &[0xFF, 0xD8, 0xFF, 2]).await.unwrap();
    let mut socket = room.socket().await;
    let last = socket.call("machine.timelapse.lastframeinfo", json!({})).await;
    assert_eq!(last, json!({"framecount": 2, "lastframefile": "00000A/layer-00002.jpg"}));
    let listed = socket.call("server.files.get_directory", json!({"path": "timelapse"})).await;
    let names: Vec<&str> =
        listed["files"].as_array().unwrap().iter().filter_map(|file| file["filename"].as_str()).collect();
    assert_eq!(names, ["00000A.zip", "00000A.jpg"]);
    let zip = reqwest::get(room.url("/server/files/timelapse/00000A.zip")).await.unwrap();
    let length = zip.headers()["content-length"].to_str().unwrap().to_owned();
    let zip = zip.bytes().await.unwrap();
    assert!(zip.starts_with(b"PK") && length == zip.len().to_string(), "a browser shows how far it is");
    let frame =
        reqwest::get(room.url("/server/files/timelapse_frames/00000A/layer-00002.jpg")).await.unwrap();
    assert_eq!(frame.bytes().await.unwrap().as_ref(), [0xFF, 0xD8, 0xFF, 2]);
    for wrong in ["00000A/../settings.json", "00000A/name.txt", "../00000A/layer-00002.jpg", "00000B/x"] {
        let path = format!("/server/files/timelapse_frames/{}", wrong.replace("..", "%2e%2e"));
        assert_eq!(status(&room, &path).await, 404, "{wrong}");
    }
    let chosen = socket.call("machine.timelapse.post_settings", json!({"enabled": true})).await;
    assert_eq!((chosen["enabled"].clone(), timelapses.choices().enabled), (json!(true), true));
    let wrong = socket.ask("machine.timelapse.post_settings", json!({"output_framerate": 0})).await;
    assert!(wrong["error"]["message"].as_str().unwrap().contains("1 to 60"), "{wrong}");
    socket.call("server.files.delete_file", json!({"path": "timelapse/00000A.zip"})).await;
    assert_eq!(timelapses.list().await.unwrap(), []);
}

/// Mainsail fills its page of timelapses from the directories that `server.info` registers.
#[tokio::test]
async fn the_folders_of_timelapses_are_registered_where_there_is_a_camera() {
    let room = Room::open().await;
    let get =
        async |path: &str| -> Value { reqwest::get(room.url(path)).await.unwrap().json().await.unwrap() };
    let info = get("/server/info").await;
    let registered = info["result"]["registered_directories"].as_array().unwrap();
    assert_eq!(registered, &["config", "logs", "gcodes", "timelapse", "timelapse_frames"].map(Value::from));
    let roots = get("/server/files/roots").await;
    let names: Vec<&Value> = roots["result"].as_array().unwrap().iter().map(|root| &root["name"]).collect();
    assert_eq!(names, registered.iter().collect::<Vec<_>>());
    for name in registered {
        let path = format!("/server/files/directory?path={}", name.as_str().unwrap());
        assert!(get(&path).await["result"]["disk_usage"]["free"].is_u64(), "{path}");
    }
}
