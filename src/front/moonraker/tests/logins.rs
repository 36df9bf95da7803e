//! Users, logins and their end, against the recorded conversation (`access.users_flow.json`).

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::room::{Room, Socket, fixture};
use crate::access::{AccessSettings, Role};

fn forced() -> AccessSettings {
    AccessSettings { force_logins: true, ..AccessSettings::default() }
}

/// Keys and fixed values of a golden answer; times and tokens are ours.
fn same_shape(ours: &Value, golden: &Value, place: &str) {
    match golden {
        Value::Object(members) => {
            let keys = |value: &Value| {
                let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
                keys.sort();
                keys
            };
            assert_eq!(keys(ours), keys(golden), "{place}: {ours}");
            for (key, value) in members.iter().filter(|(key, _)| *key != "traceback" && *key != "id") {
                same_shape(&ours[key], value, &format!("{place}.{key}"));
            }
        }
        Value::Array(items) => {
            assert_eq!(ours.as_array().map(Vec::len), Some(items.len()), "{place}: {ours}");
            items
                .iter()
                .enumerate()
                .for_each(|(at, item)| same_shape(&ours[at], item, &format!("{place}[{at}]")));
        }
        Value::String(text) if text.starts_with("<redacted") => assert!(ours.is_string(), "{place}: {ours}"),
        Value::Number(number) if number.is_f64() => assert!(ours.is_f64(), "{place}: {ours}"),
        other => assert_eq!(ours, other, "{place}"),
    }
}

/// Sends the golden request with our own tokens in it.
async fn replay(room: &Room, socket: &mut Socket, golden: &Value, token: &str) -> Value {
    let request = &golden["request"];
    if let Some(method) = request["jsonrpc"].is_string().then(|| request["method"].as_str().unwrap()) {
        let mut params = request["params"].clone();
        if params["refresh_token"] == "<redacted-jwt>" {
            params["refresh_token"] = json!(token);
        }
        return socket.ask(method, params).await;
    }
    let verb = request["method"].as_str().unwrap().parse().unwrap();
    let mut asked = reqwest::Client::new().request(verb, room.url(request["path"].as_str().unwrap()));
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        asked = asked.header(name, value.as_str().unwrap().replace("<redacted-jwt>", token));
    }
    if request["body"].is_object() {
        asked = asked.json(&request["body"]);
    }
    let response = asked.send().await.unwrap();
    assert_eq!(json!(response.status().as_u16()), golden["status"], "{request}");
    response.json().await.unwrap()
}

#[tokio::test]
async fn the_recorded_conversation_goes_the_same_way() {
    let room = Room::open().await;
    let flow = fixture("klippy_ready/access.users_flow.json");
    let mut socket = room.socket().await;
    let (mut token, mut refresh) = (String::new(), String::new());
    for name in [
        "post_user",
        "post_user_dup",
        "login_bad",
        "login_bad_http",
        "login_http",
        "refresh",
        "refresh_bad",
        "get_user_bearer",
        "bad_bearer",
        "users_list",
        "password",
        "login_again",
        "logout_http",
        "delete_user",
        "post_api_key",
    ] {
        // Ours ends the old logins with the old password; Moonraker keeps them.
        if name == "login_again" {
            let old = reqwest::Client::new().get(room.url("/access/user")).bearer_auth(&token).send();
            assert_eq!(old.await.unwrap().status(), StatusCode::UNAUTHORIZED);
            let login = json!({"username": "alice", "password": "s2"});
            token = socket.call("access.login", login).await["token"].as_str().unwrap().to_owned();
            continue;
        }
        let golden = &flow[name];
        let ours =
            replay(&room, &mut socket, golden, if name == "refresh" { &refresh } else { &token }).await;
        let expected = golden.get("response").unwrap_or(&golden["body"]);
        same_shape(&ours, expected, name);
        let result = &ours["result"];
        if let (Some(access), Some(refreshing)) = (result["token"].as_str(), result["refresh_token"].as_str())
        {
            (token, refresh) = (access.to_owned(), refreshing.to_owned());
        } else if let Some(access) = result["token"].as_str() {
            token = access.to_owned();
        }
        if name == "logout_http" {
            assert_eq!(socket.notice("notify_user_logged_out").await, json!([{"username": "alice"}]));
            socket = room.socket().await;
        }
    }
    assert_eq!(socket.notice("notify_user_deleted").await, json!([{"username": "alice"}]));
}

/// `auth_force`: with one user, trusted addresses are strangers too.
#[tokio::test]
async fn forced_logins_are_forced_once_there_is_a_user() {
    let room = Room::guarded(forced()).await;
    let golden = fixture("auth_force/unauthenticated_calls.json");
    let mut socket = room.socket().await;
    same_shape(
        &socket.ask("access.info", json!({})).await,
        &golden["ws:access.info_before_any_user"]["response"],
        "before",
    );
    let alice = json!({"username": "alice", "password": "secret"});
    let token = socket.call("access.post_user", alice).await["token"].as_str().unwrap().to_owned();
    let mut socket = room.socket().await;
    for (name, case) in golden.as_object().unwrap() {
        let Some(method) = name.strip_prefix("ws:").filter(|_| case["response"]["error"].is_object()) else {
            continue;
        };
        if method.starts_with("identify_bad") {
            continue;
        }
        let asked = case["request"]["method"].as_str().unwrap();
        let ours = socket.ask(asked, case["request"]["params"].clone()).await;
        same_shape(&ours, &case["response"], name);
    }
    same_shape(&socket.ask("access.info", json!({})).await, &golden["ws:access.info"]["response"], "after");
    let mut identity = golden["ws:identify_with_access_token"]["request"]["params"].clone();
    identity["access_token"] = json!(token);
    socket.call("server.connection.identify", identity).await;
    socket.call("server.info", json!({})).await;
    let query = reqwest::get(room.url(&format!("/access/user?access_token={token}"))).await.unwrap();
    same_shape(
        &query.json().await.unwrap(),
        &golden["http:get_with_access_token_query"]["body"],
        "query token",
    );
}

#[tokio::test]
async fn a_logout_takes_all_rights_at_once() {
    let room = Room::guarded(forced()).await;
    let mut maker = room.socket().await;
    let alice = json!({"username": "alice", "password": "secret"});
    let made = maker.call("access.post_user", alice.clone()).await;
    let mut page = room.socket().await;
    page.call("access.login", alice).await;
    page.call("printer.objects.subscribe", json!({"objects": {"print_stats": null}})).await;
    let client = reqwest::Client::new();
    let bearer = made["token"].as_str().unwrap();
    let out = client.post(room.url("/access/logout")).bearer_auth(bearer).send().await.unwrap();
    assert_eq!(out.status(), StatusCode::OK);
    assert_eq!(page.ask("printer.info", json!({})).await["error"]["message"], "Unauthorized");
    let refresh = json!({"refresh_token": made["refresh_token"]});
    let refused = page.ask("access.refresh_jwt", refresh).await;
    assert_eq!(refused["error"], json!({"code": -32602, "message": "Invalid Refresh Token"}));
    let again = client.get(room.url("/server/info")).bearer_auth(bearer).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn guesses_are_slowed_down() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    let client = reqwest::Client::new();
    let guess = json!({"username": "nobody", "password": "x"});
    for _ in 0..10 {
        let answer = socket.ask("access.login", guess.clone()).await;
        assert_eq!(answer["error"]["message"], "Unregistered User: nobody");
    }
    let late = client.post(room.url("/access/login")).json(&guess).send().await.unwrap();
    assert_eq!(late.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = late.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let with_key =
        |key: &str| client.get(room.url("/server/info")).header("x-api-key", key.to_owned()).send();
    for _ in 0..10 {
        assert_eq!(with_key("wrong").await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(with_key("wrong").await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    let right = room.endpoint.access.api_key();
    assert_eq!(with_key(right.expose()).await.unwrap().status(), StatusCode::OK, "no neighbour locks us out");
}

/// One table says who may what: a viewer sees, an operator prints, neither makes users.
#[tokio::test]
async fn roles_are_kept() {
    let roles = [("vera".to_owned(), Role::View)].into();
    let room = Room::guarded(AccessSettings { roles, ..forced() }).await;
    room.put("cube.gcode", b"G28\n").await;
    let mut admin = room.socket().await;
    let key = json!({"client_name": "t", "version": "1", "type": "web", "url": "x",
        "api_key": room.endpoint.access.api_key().expose()});
    admin.call("server.connection.identify", key).await;
    for (name, role) in [("vera", None), ("otto", Some("operate"))] {
        let user = json!({"username": name, "password": "pw", "role": role});
        admin.call("access.post_user", user).await;
    }
    let mut vera = room.socket().await;
    vera.call("access.login", json!({"username": "vera", "password": "pw"})).await;
    let mut otto = room.socket().await;
    let login = otto.call("access.login", json!({"username": "otto", "password": "pw"})).await;
    for socket in [&mut vera, &mut otto] {
        socket.call("printer.objects.list", json!({})).await;
        for method in ["access.get_api_key", "access.post_user", "server.restart"] {
            let params = json!({"username": "eve", "password": "x"});
            assert_eq!(socket.ask(method, params).await["error"]["code"], 403, "{method}");
        }
    }
    let light = json!({"script": "LIGHT ON=0"});
    let refused = vera.ask("printer.gcode.script", light.clone()).await;
    assert_eq!(refused["error"]["code"], 403, "{refused}");
    for method in ["access.get_api_key", "access.post_user", "server.restart", "printer.gcode.script"] {
        let told = vera.notice("notify_gcode_response").await;
        let told = told[0].as_str().unwrap();
        assert!(
            told.starts_with("!! ") && told.contains("vera has \"view\""),
            "{method}, no error is shown: {told}"
        );
    }
    // What a client keeps for itself at every start is no button.
    let item = json!({"namespace": "mainsail", "key": "a", "value": 1});
    assert_eq!(vera.ask("server.database.post_item", item).await["error"]["code"], 403);
    assert_eq!(vera.ask("machine.reboot", json!({})).await["error"]["code"], 403);
    let told = vera.notice("notify_gcode_response").await;
    assert!(told[0].as_str().unwrap().contains("\"admin\""), "of the second, not the first: {told}");
    let kept = otto.call("server.gcode_store", json!({})).await;
    assert!(!kept.to_string().contains("needs the role"), "nobody else is told: {kept}");
    assert!(room.commands.lock().unwrap().is_empty());
    let client = reqwest::Client::new();
    let viewer = vera.call("access.oneshot_token", json!({})).await;
    let url =
        room.url(&format!("/printer/print/start?filename=cube.gcode&token={}", viewer.as_str().unwrap()));
    assert_eq!(
        client.post(url).send().await.unwrap().status(),
        StatusCode::FORBIDDEN,
        "no more than its maker"
    );
    let bearer = login["token"].as_str().unwrap();
    let operator = client.post(room.url("/access/api_key")).bearer_auth(bearer).send().await.unwrap();
    assert_eq!(operator.status(), StatusCode::FORBIDDEN);
    let deleted = client.delete(room.url("/server/files/gcodes/cube.gcode")).bearer_auth(bearer).send();
    assert_eq!(deleted.await.unwrap().status(), StatusCode::OK, "an operator manages files");
}
