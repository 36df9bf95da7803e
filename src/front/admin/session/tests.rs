use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST};
use axum::middleware::from_fn_with_state;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::access::{AccessSettings, Gate, gate};
use crate::store::Store;

/// The routes as the gateway's port has them, in front of one that shows and one that is written to.
fn room(access: &Arc<Access>) -> Router {
    let guard = |write| from_fn_with_state(Gate { access: access.clone(), write }, gate);
    Router::new()
        .route("/status", get(|| async { "shown" }).post(|| async { "written" }))
        .route("/printers/p1s/webcam/", get(|| async { "picture" }))
        .route("/printers/p1s/printer/info", get(|| async { "api" }))
        .layer(guard(Role::View))
        .merge(router(access))
        .layer(from_fn_with_state(access.clone(), visit))
}

async fn house() -> (Arc<Access>, Router) {
    let settings = AccessSettings { force_logins: true, ..AccessSettings::default() };
    let access = Access::open(settings, &Store::in_memory());
    access.create_user("alice", "correct horse", Role::Admin).await.expect("made");
    let room = room(&access);
    (access, room)
}

/// A request of a stranger's address: status, cookie that is set, answer.
async fn ask(
    room: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> (StatusCode, Option<String>, Value) {
    let mut request = Request::builder().method(method).uri(path).header(HOST, "printers.lan:7100");
    if !body.is_null() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let answer = room.clone().oneshot(request.body(body).expect("a request")).await.expect("answered");
    let status = answer.status();
    let cookie = answer.headers().get(SET_COOKIE).map(|set| set.to_str().expect("text").to_owned());
    let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
    let value = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
    (status, cookie, value)
}

fn alice(password: &str) -> Value {
    json!({"username": "alice", "password": password})
}

#[tokio::test]
async fn tokens_open_the_port_until_the_logout() {
    let (_access, room) = house().await;
    let (status, cookie, login) = ask(&room, "POST", "/login", &[], &alice("correct horse")).await;
    assert_eq!((status, cookie, &login["username"]), (StatusCode::OK, None, &json!("alice")));
    let bearer = format!("Bearer {}", login["token"].as_str().expect("a token"));
    let headers = [(AUTHORIZATION.as_str(), bearer.as_str())];
    assert_eq!(ask(&room, "POST", "/status", &headers, &Value::Null).await.0, StatusCode::OK);
    let again = json!({"refresh_token": login["refresh_token"]});
    let (status, _, renewed) = ask(&room, "POST", "/refresh", &[], &again).await;
    assert!(status == StatusCode::OK && renewed["token"].is_string(), "{renewed}");
    let (status, _, told) = ask(&room, "POST", "/logout", &headers, &Value::Null).await;
    assert_eq!((status, told), (StatusCode::OK, json!({"username": "alice"})));
    assert_eq!(ask(&room, "GET", "/status", &headers, &Value::Null).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&room, "POST", "/refresh", &[], &again).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_page_s_cookie_looks_and_does_nothing_else() {
    let (access, room) = house().await;
    let (status, cookie, told) = ask(&room, "POST", "/session", &[], &alice("correct horse")).await;
    assert_eq!((status, told), (StatusCode::OK, json!({"username": "alice"})), "no token for scripts");
    let cookie = cookie.expect("a cookie");
    let pair = cookie.split(';').next().expect("a pair");
    let shown = [(COOKIE.as_str(), pair)];
    for (method, path, expected) in [
        ("GET", "/status", StatusCode::OK),
        ("HEAD", "/status", StatusCode::OK),
        ("GET", "/printers/p1s/webcam/", StatusCode::OK),
        ("POST", "/status", StatusCode::UNAUTHORIZED),
        ("GET", "/printers/p1s/printer/info", StatusCode::UNAUTHORIZED),
        ("POST", "/logout", StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(ask(&room, method, path, &shown, &Value::Null).await.0, expected, "{method} {path}");
    }
    let upgrade = [(COOKIE.as_str(), pair), (UPGRADE.as_str(), "websocket")];
    assert_eq!(ask(&room, "GET", "/status", &upgrade, &Value::Null).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&room, "GET", "/session", &shown, &Value::Null).await.2, json!({"username": "alice"}));
    assert_eq!(ask(&room, "GET", "/session", &[], &Value::Null).await.2, json!({"username": null}));

    let login = access.login("alice", "correct horse", None).await.expect("a second program");
    let (status, gone, _) = ask(&room, "DELETE", "/session", &shown, &Value::Null).await;
    assert!(
        status == StatusCode::OK && gone.as_ref().is_some_and(|set| set.contains("Max-Age=0")),
        "{gone:?}"
    );
    assert_eq!(ask(&room, "GET", "/status", &shown, &Value::Null).await.0, StatusCode::UNAUTHORIZED);
    assert!(access.check_token(login.token.expose()).is_err(), "all logins of the user end, as in Moonraker");
    assert_eq!(
        ask(&room, "DELETE", "/session", &shown, &Value::Null).await.0,
        StatusCode::OK,
        "nothing to end"
    );
}

#[tokio::test]
async fn who_guesses_waits_at_each_door() {
    let (_access, room) = house().await;
    for attempt in 0..10 {
        let door = if attempt % 2 == 0 { "/login" } else { "/session" };
        let (status, cookie, told) = ask(&room, "POST", door, &[], &alice("wrong")).await;
        assert_eq!((status, cookie), (StatusCode::BAD_REQUEST, None), "{told}");
        assert_eq!(told["error"]["message"], "Invalid Password");
    }
    for door in ["/login", "/session"] {
        let (status, _, told) = ask(&room, "POST", door, &[], &alice("correct horse")).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{told}");
    }
}

#[tokio::test]
async fn what_is_no_login_is_refused_and_not_repeated() {
    let (_access, room) = house().await;
    let large = alice(&"x".repeat(LARGEST_BODY));
    for body in [json!({}), json!("s3cret"), json!({"username": "alice", "password": 12345678}), large] {
        for door in ["/login", "/session", "/refresh"] {
            let (status, _, told) = ask(&room, "POST", door, &[], &body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{door}");
            let told = told.to_string();
            assert!(
                told.contains("sent as JSON") && !told.contains("s3cret") && !told.contains("12345678"),
                "{told}"
            );
        }
    }
    // A form is what a foreign page can send without being asked.
    let form = [(CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")];
    assert_eq!(ask(&room, "POST", "/session", &form, &Value::Null).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn over_https_the_cookie_stays_there() {
    let (_access, room) = house().await;
    let proxied = [("x-forwarded-proto", "https")];
    let (_, cookie, _) = ask(&room, "POST", "/session", &proxied, &alice("correct horse")).await;
    assert!(cookie.expect("a cookie").ends_with("; Secure"));
}
