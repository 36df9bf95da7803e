//! OctoPrint's "application keys": how Cura and phone apps get a key of their own (octoprint.md section 10).
//!
//! `probe` and `request` are open, as there: who asks gets nothing but a question in front of an admin. The decision, the
//! list and taking keys back are for admins only, and the page that does it keeps nothing by itself.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::super::Endpoint;
use super::super::error::RpcError;
use super::super::http::{empty, json_answer, read_body, respond_text};
use super::super::rpc::Caller;
use crate::access::{AppAnswer, Identity, Role};
use crate::model::Speaker;

const PAGE: &str = include_str!("appkeys.html");

/// Below which all routes of this room are, but for the list.
pub const PREFIX: &str = "/plugin/appkeys";
/// The list of keys and questions.
pub const LIST: &str = "/api/plugin/appkeys";

/// Answers `/plugin/appkeys/...`; `user` is who shows good credentials or is trusted.
///
/// # Errors
/// 401 and 403 where an admin is asked for, 404 for what is not there any more, 429 for too many questions.
pub async fn answer(
    endpoint: &Arc<Endpoint>,
    parts: &Parts,
    body: Body,
    path: &str,
    user: Option<Identity>,
    caller: &Caller,
) -> Result<Response<Body>, RpcError> {
    let rest = path.strip_prefix(PREFIX).unwrap_or_default();
    let get = matches!(parts.method, Method::GET | Method::HEAD);
    match (rest.strip_prefix('/').unwrap_or(rest), get) {
        ("" | "index.html", true) => Ok(page()),
        ("probe", true) => Ok(empty(StatusCode::NO_CONTENT)),
        ("request", false) if parts.method == Method::POST => {
            request(endpoint, parts, body, user, caller).await
        }
        (rest, true) if rest.starts_with("auth/") => Ok(page()),
        (rest, true) => match rest.strip_prefix("request/") {
            Some(token) => asked(endpoint, token),
            None => Err(RpcError::not_found("Not Found")),
        },
        (rest, false) if parts.method == Method::POST => match rest.strip_prefix("decision/") {
            Some(decision) => decide(endpoint, parts, body, decision, user.as_ref()).await,
            None => Err(RpcError::not_found("Not Found")),
        },
        _ => Err(RpcError::new(405, "Method Not Allowed")),
    }
}

/// The page holds nothing but a form; what it shows it asks for with the visitor's own rights.
fn page() -> Response<Body> {
    let mut response = respond_text(StatusCode::OK, "text/html; charset=UTF-8", PAGE.to_owned());
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                  frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn request(
    endpoint: &Arc<Endpoint>,
    parts: &Parts,
    body: Body,
    user: Option<Identity>,
    caller: &Caller,
) -> Result<Response<Body>, RpcError> {
    let body: Value = serde_json::from_slice(&read_body(body).await?).unwrap_or(Value::Null);
    let app = body.get("app").and_then(Value::as_str).unwrap_or_default();
    let access = &endpoint.access;
    let by_admin = admin(endpoint, parts, user.as_ref()).is_ok();
    let token = access.ask_for_key(app, caller.address, !by_admin)?;
    if by_admin {
        let question = access.decision_of(&token);
        access.decide_on_app(&question.unwrap_or_default(), true).await?;
    }
    let place = |what: &str| format!("{}{PREFIX}/{what}/{token}", caller.base_url);
    let mut response =
        json_answer(StatusCode::CREATED, &json!({"app_token": token, "auth_dialog": place("auth")}));
    if let Ok(location) = HeaderValue::from_str(&place("request")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

fn asked(endpoint: &Endpoint, token: &str) -> Result<Response<Body>, RpcError> {
    match endpoint.access.key_answer(token) {
        AppAnswer::Open => Ok(json_answer(StatusCode::ACCEPTED, &json!({"message": "Awaiting decision"}))),
        AppAnswer::Granted(key) => Ok(json_answer(StatusCode::OK, &json!({"api_key": key.expose()}))),
        AppAnswer::None => Err(RpcError::not_found("Not Found")),
    }
}

async fn decide(
    endpoint: &Endpoint,
    parts: &Parts,
    body: Body,
    decision: &str,
    user: Option<&Identity>,
) -> Result<Response<Body>, RpcError> {
    admin(endpoint, parts, user)?;
    let body: Value = serde_json::from_slice(&read_body(body).await?).unwrap_or(Value::Null);
    let allow = body.get("decision").and_then(Value::as_bool);
    let allow = allow.ok_or_else(|| RpcError::bad_request("decision must be true or false"))?;
    let decided = endpoint.access.decide_on_app(decision, allow).await;
    decided.map(|()| empty(StatusCode::NO_CONTENT)).map_err(missing)
}

fn admin(endpoint: &Endpoint, parts: &Parts, user: Option<&Identity>) -> Result<(), RpcError> {
    endpoint.access.require(user, Role::Admin)?;
    match user {
        Some(user) => Ok(endpoint.access.refuse_foreign_page(user, parts)?),
        None => Err(RpcError::unauthorized()),
    }
}

/// What is not there is 404 in OctoPrint's API.
fn missing(error: crate::access::AccessError) -> RpcError {
    match error {
        crate::access::AccessError::Invalid(reason) => RpcError::not_found(reason),
        other => other.into(),
    }
}

/// `GET /api/plugin/appkeys`: the keys, without themselves, and the open questions.
///
/// # Errors
/// For everybody but admins.
pub fn list(endpoint: &Endpoint, parts: &Parts, user: Option<&Identity>) -> Result<Value, RpcError> {
    admin(endpoint, parts, user)?;
    let keys: Vec<Value> = (endpoint.access.app_keys().into_iter())
        .map(|key| json!({"id": key.id, "app_id": key.app, "user_id": key.app, "api_key": null, "created": key.created_on}))
        .collect();
    let pending: Vec<Value> = (endpoint.access.app_questions().into_iter())
        .map(|question| {
            let address = question.address.map(|address| address.to_string());
            json!({"app_id": question.app, "user_id": null, "user_token": question.decision, "address": address})
        })
        .collect();
    Ok(json!({"keys": keys, "pending": pending}))
}

/// `POST /api/plugin/appkeys`: `revoke` with `key` or `id`, `generate` with `app`.
///
/// # Errors
/// For everybody but admins; 404 for a key that is not there.
pub async fn change(
    endpoint: &Endpoint,
    parts: &Parts,
    body: &Value,
    user: Option<&Identity>,
) -> Result<Response<Body>, RpcError> {
    admin(endpoint, parts, user)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    match text("command") {
        Some("revoke") => {
            let key = text("id").or(text("key")).ok_or_else(|| RpcError::bad_request("key is missing"))?;
            endpoint.access.revoke_app(key).await.map_err(missing)?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        Some("generate") => {
            let app = text("app").unwrap_or_default();
            let key = endpoint.access.app_key(app).await?;
            Ok(json_answer(StatusCode::OK, &json!({"app_id": app, "user_id": app, "api_key": key.expose()})))
        }
        _ => Err(RpcError::bad_request("command is invalid")),
    }
}

/// Puts a question in front of those who look at the printer's console.
pub fn tell_question(endpoint: &Endpoint, app: &str, address: Option<IpAddr>) {
    let from = address.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string());
    let port = endpoint.station.moonraker_port;
    let place = if port == 0 { String::new() } else { format!(" on port {port} of this gateway") };
    endpoint.station.say(
        Speaker::Answer,
        format!(
            "// The application \"{app}\" at {from} asks for access. If you know it, allow it on the page \
             {PREFIX}/{place}; else do nothing."
        ),
    );
}
