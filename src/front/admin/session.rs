//! Logging in at the gateway's own port: for programs with tokens, as at a printer's `access.login`, and for the status
//! page with a cookie that only looks (`crate::access::Visitor` tells why).
//!
//! ```text
//!  POST /login    name and password      -> tokens          for the commands
//!  POST /refresh  refresh token          -> a new token
//!  POST /logout   token                  ends all logins of the user
//!  GET POST DELETE /session              the page: who looks; log in; end all logins of the user
//! ```

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CACHE_CONTROL, SET_COOKIE, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::access::{Access, AccessError, Login, Role, Visitor};
use crate::net::server::OverTls;

/// Bytes of a body; whoever sends one here is a stranger yet.
const LARGEST_BODY: usize = 16 << 10;

pub fn router(access: &Arc<Access>) -> Router {
    Router::new()
        .route("/login", post(log_in))
        .route("/refresh", post(refresh))
        .route("/logout", post(log_out))
        .route("/session", get(session).post(open_session).delete(close_session))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(access.clone())
}

/// Lets the page's cookie count for what the page shows: reading, and nothing that a printer's API has besides.
pub async fn visit(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let may_look = reads && is_shown(request.uri().path()) && !request.headers().contains_key(UPGRADE);
    if let Some(visitor) = may_look.then(|| access.visitor(request.headers())).flatten() {
        request.extensions_mut().insert(visitor);
    }
    next.run(request).await
}

/// What the page fetches, shows as pictures, or links to.
fn is_shown(path: &str) -> bool {
    if matches!(path, "/status" | "/activity" | "/metrics") {
        return true;
    }
    let of_printer = path.strip_prefix("/printers/").and_then(|rest| rest.split_once('/'));
    of_printer.is_some_and(|(_, rest)| {
        matches!(rest, "webcam" | "server/history/list") || rest.starts_with("webcam/")
    })
}

/// As Moonraker's `access.login` takes them.
#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

#[derive(Deserialize)]
struct Refresh {
    refresh_token: String,
}

async fn checked(
    access: &Access,
    parts: &Parts,
    body: Result<Json<Credentials>, JsonRejection>,
) -> Result<Login, AccessError> {
    // The text of the rejection could repeat what was sent.
    let Ok(Json(Credentials { username, password })) = body else {
        return Err(AccessError::Invalid(
            "A login is sent as JSON: {\"username\": \"...\", \"password\": \"...\"}.".to_owned(),
        ));
    };
    access.login(&username, &password, access.address(parts)).await
}

async fn log_in(
    State(access): State<Arc<Access>>,
    parts: Parts,
    body: Result<Json<Credentials>, JsonRejection>,
) -> Result<Response, AccessError> {
    let login = checked(&access, &parts, body).await?;
    Ok(unkept(Json(json!({
        "username": login.identity.name(),
        "token": login.token.expose(),
        "refresh_token": login.refresh_token.expose(),
    }))))
}

async fn refresh(
    State(access): State<Arc<Access>>,
    body: Result<Json<Refresh>, JsonRejection>,
) -> Result<Response, AccessError> {
    let Ok(Json(Refresh { refresh_token })) = body else {
        return Err(AccessError::Invalid(
            "The token is sent as JSON: {\"refresh_token\": \"...\"}.".to_owned(),
        ));
    };
    let (user, token) = access.refresh(&refresh_token)?;
    Ok(unkept(Json(json!({"username": user.name, "token": token.expose()}))))
}

async fn log_out(State(access): State<Arc<Access>>, parts: Parts) -> Result<Response, AccessError> {
    let identity = access.permit(&parts, Role::View)?;
    access.logout(&identity).await?;
    Ok(unkept(Json(json!({"username": identity.name()}))))
}

async fn session(State(access): State<Arc<Access>>, parts: Parts) -> Response {
    let visitor = access.visitor(&parts.headers);
    unkept(Json(json!({"username": visitor.as_ref().map(|Visitor(identity)| identity.name())})))
}

async fn open_session(
    State(access): State<Arc<Access>>,
    parts: Parts,
    body: Result<Json<Credentials>, JsonRejection>,
) -> Result<Response, AccessError> {
    let login = checked(&access, &parts, body).await?;
    let cookie = access
        .visitor_cookie(&login.identity, &parts.headers, is_secure(&parts))
        .ok_or(AccessError::Unauthorized)?;
    let told = unkept(Json(json!({"username": login.identity.name()})));
    Ok(([(SET_COOKIE, cookie)], told).into_response())
}

/// Browsers ask before they send this for a page of another origin, and nobody says yes.
async fn close_session(State(access): State<Arc<Access>>, parts: Parts) -> Result<Response, AccessError> {
    let visitor = access.visitor(&parts.headers);
    if let Some(Visitor(identity)) = &visitor {
        access.logout(identity).await?;
    }
    let told = unkept(Json(json!({"username": visitor.as_ref().map(|Visitor(identity)| identity.name())})));
    Ok(match access.no_visitor_cookie(&parts.headers, is_secure(&parts)) {
        Some(cookie) => ([(SET_COOKIE, cookie)], told).into_response(),
        None => told,
    })
}

/// Whether the browser came by HTTPS, to us or to a proxy. Who makes it up only loses a cookie of his own.
fn is_secure(parts: &Parts) -> bool {
    let proto = parts.headers.get("x-forwarded-proto").and_then(|proto| proto.to_str().ok());
    parts.extensions.get::<OverTls>().is_some() || proto == Some("https")
}

fn unkept(answer: impl IntoResponse) -> Response {
    ([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], answer).into_response()
}

#[cfg(test)]
mod tests;
