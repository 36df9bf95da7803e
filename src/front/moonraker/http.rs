//! HTTP: the same methods by path, their envelopes, and the routes that only HTTP has (moonraker.md 2.1 to 2.4).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, OriginalUri, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method as Verb, Request, Response, StatusCode, header};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tower::ServiceExt;

use super::args::{Args, query_pairs};
use super::error::RpcError;
use super::methods::{self, PathMatch};
use super::rpc::{self, Call, Caller, Reply};
use super::{Endpoint, cors, download, habits, octoprint, socket, upload, web};
use crate::access::{Identity, Role};
use crate::net::server::OverTls;

/// Largest body of a request that is no upload: database items of the UIs reach 200 kB.
const LARGEST_BODY: usize = 8 << 20;
/// Of callers without rights: a login.
const LARGEST_OF_STRANGERS: usize = 16 << 10;

const JSON: &str = "application/json; charset=UTF-8";

/// Answers any request to the endpoint.
pub async fn handle(State(endpoint): State<Arc<Endpoint>>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let origin = endpoint.access.allowed_origin(&parts.headers);
    let preflight = cors::is_preflight(&parts.method);
    let preflight_headers = preflight.then(|| parts.headers.clone());
    let mut response = if preflight && origin.is_some() {
        empty(StatusCode::NO_CONTENT)
    } else if preflight {
        failed(&RpcError::new(405, "Method Not Allowed"))
    } else {
        route(&endpoint, parts, body).await.unwrap_or_else(|error| failed(&error))
    };
    response.headers_mut().extend(cors::answer_headers(origin.as_ref(), preflight_headers.as_ref()));
    response
}

async fn route(endpoint: &Arc<Endpoint>, mut parts: Parts, body: Body) -> Result<Response<Body>, RpcError> {
    let access = &endpoint.access;
    let address = access.address(&parts);
    // A slicer whose host was entered with a slash at its end asks for `//api/version`; nginx before a real server does this.
    let path = format!("/{}", parts.uri.path().trim_start_matches('/'));
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let base_url = base_url(&parts, &path);
    let judged = access.judge_request(&parts).map_err(RpcError::from);
    if path == "/websocket" {
        let caller = Caller::new(judged.unwrap_or(None), address, base_url);
        return open_socket(endpoint, &mut parts, caller).await;
    }
    let reads = parts.method == Verb::GET || parts.method == Verb::HEAD;
    let file = path.strip_prefix("/server/files/").filter(|_| reads && methods::find_path(&path).is_none());
    if let Some(file) = file {
        if !download::is_open(file) {
            access.require(judged?.as_ref(), Role::View)?;
        }
        return download::answer(endpoint, &parts, file).await;
    }
    if let Some(found) = methods::find_path(&path) {
        let verb_exists = found.verb(&parts.method);
        let method = verb_exists.ok_or_else(|| RpcError::new(405, "Method Not Allowed"))?;
        let user = if method.open { judged.unwrap_or(None) } else { judged? };
        if !method.open {
            // Before the body is read: a stranger's is not worth the memory.
            allow(endpoint, user.as_ref(), method.role, &parts)?;
        }
        let caller = Caller::new(user, address, base_url);
        let args = arguments(endpoint, &caller, &parts, &path, &query, body).await?;
        let (args, caller) = args;
        let result = rpc::run(method, Call::new(endpoint.clone(), args, caller)).await?;
        return Ok(result_answer(result));
    }
    if path == "/webcam" || path.starts_with("/webcam/") {
        let pass = || access.check_picture_pass(&query).filter(|_| reads);
        let user = match judged {
            Ok(Some(user)) => Some(user),
            other => pass().map_or(other, |user| Ok(Some(user)))?,
        };
        allow(endpoint, user.as_ref(), Role::View, &parts)?;
        let answered = endpoint.mounted.clone().oneshot(Request::from_parts(parts, body)).await;
        return answered.map_err(|never| match never {});
    }
    if path == octoprint::KEYS || path.starts_with("/plugin/appkeys/") {
        let user = judged.unwrap_or(None);
        let caller = Caller::new(user.clone(), address, base_url);
        return octoprint::keys(endpoint, &parts, body, &path, user, &caller).await;
    }
    if path.starts_with("/sockjs/") {
        let caller = Caller::new(judged.unwrap_or(None), address, base_url);
        return octoprint::push(endpoint, &mut parts, &path, caller).await;
    }
    if !path.starts_with("/server/")
        && !path.starts_with("/api/")
        && !path.starts_with("/machine/")
        && !path.starts_with("/printer/")
        && !path.starts_with("/access/")
    {
        return web::answer(endpoint, &parts, &path).await;
    }
    if path == "/server/jsonrpc" && parts.method == Verb::POST {
        // A stranger is answered there as on a socket: the rows of the table judge each call.
        let user = judged?;
        if user.is_some() {
            allow(endpoint, user.as_ref(), Role::View, &parts)?;
        }
        return json_rpc(endpoint, &parts, body, Caller::new(user, address, base_url)).await;
    }
    let user = judged?.ok_or_else(RpcError::unauthorized)?;
    let changes = !reads && !matches!(path.as_str(), "/api/login" | "/api/logout");
    allow(endpoint, Some(&user), if changes { Role::Operate } else { Role::View }, &parts)?;
    let caller = Caller::new(Some(user), address, base_url);
    raw_routes(endpoint, parts, body, &path, caller).await
}

/// Judges a request before anything is done for it.
fn allow(endpoint: &Endpoint, user: Option<&Identity>, role: Role, parts: &Parts) -> Result<(), RpcError> {
    endpoint.access.require(user, role)?;
    match user {
        Some(user) if role > Role::View || parts.method != Verb::GET => {
            Ok(endpoint.access.refuse_foreign_page(user, parts)?)
        }
        _ => Ok(()),
    }
}

/// JSON-RPC frames over HTTP; of strangers only small ones are read.
async fn json_rpc(
    endpoint: &Arc<Endpoint>,
    parts: &Parts,
    body: Body,
    caller: Caller,
) -> Result<Response<Body>, RpcError> {
    if !is_json(&parts.headers) {
        return Err(RpcError::bad_request("Invalid content type, application/json required"));
    }
    let largest = if caller.user.is_some() { LARGEST_BODY } else { LARGEST_OF_STRANGERS };
    let text = String::from_utf8_lossy(&read_within(body, largest).await?).into_owned();
    let answer = rpc::respond(endpoint.clone(), caller, text).await.unwrap_or_default();
    Ok(respond_text(StatusCode::OK, JSON, answer))
}

/// Routes without a method of their own.
async fn raw_routes(
    endpoint: &Arc<Endpoint>,
    parts: Parts,
    body: Body,
    path: &str,
    caller: Caller,
) -> Result<Response<Body>, RpcError> {
    match (&parts.method, path) {
        (&Verb::POST, "/server/files/upload" | "/api/files/local") => {
            upload::receive(endpoint, parts, body, &caller, path.starts_with("/api/")).await
        }
        (&Verb::DELETE, path) if path.starts_with("/server/files/") => {
            let file = decoded(path.trim_start_matches("/server/files/"));
            let mut args = Args::default();
            args.0.insert("path".to_owned(), Value::from(file));
            let method =
                methods::find("server.files.delete_file").ok_or_else(|| RpcError::not_found("Not Found"))?;
            let result = rpc::run(method, Call::new(endpoint.clone(), args, caller)).await?;
            Ok(result_answer(result))
        }
        (_, path) if path.starts_with("/api/") => {
            octoprint::answer(endpoint, &parts, body, path, &caller).await
        }
        (_, "/server/jsonrpc" | "/server/files/upload") => Err(RpcError::new(405, "Method Not Allowed")),
        _ => Err(RpcError::not_found("Not Found")),
    }
}

/// Lets a client open a WebSocket: its place among the clients, and the upgrade.
///
/// # Errors
/// 403 for pages of foreign origins, 503 with too many clients, 400 for what is no upgrade.
pub(super) async fn admit_socket(
    endpoint: &Endpoint,
    parts: &mut Parts,
    caller: &Caller,
) -> Result<(OwnedSemaphorePermit, WebSocketUpgrade), RpcError> {
    if !endpoint.access.socket_allowed(&parts.headers) {
        return Err(RpcError::forbidden("Forbidden"));
    }
    let place = endpoint.hub.place(caller.user.is_none());
    let place = place.ok_or_else(|| RpcError::new(503, "Too many clients are connected to this printer."))?;
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &())
        .await
        .map_err(|_rejected| RpcError::bad_request("Can \"Upgrade\" only to \"WebSocket\"."))?;
    Ok((place, upgrade))
}

async fn open_socket(
    endpoint: &Arc<Endpoint>,
    parts: &mut Parts,
    mut caller: Caller,
) -> Result<Response<Body>, RpcError> {
    let (place, upgrade) = admit_socket(endpoint, parts, &caller).await?;
    caller.takes_errors_for_results = habits::takes_errors_for_results(&parts.headers);
    if caller.takes_errors_for_results && caller.user.is_some() && endpoint.printer_is_away() {
        return Err(RpcError::not_connected(&endpoint.klippy().message));
    }
    let endpoint = endpoint.clone();
    Ok(upgrade
        .read_buffer_size(socket::READ_BUFFER)
        .max_message_size(socket::LARGEST_FRAME)
        .max_frame_size(socket::LARGEST_FRAME)
        .on_upgrade(move |socket| socket::run(endpoint, socket, caller, place)))
}

/// The arguments of a method call, of the query, of a form (what Obico, `curl -d` and scripts post) or of a JSON body;
/// `connection_id` makes a subscription over HTTP speak for a socket.
async fn arguments(
    endpoint: &Endpoint,
    caller: &Caller,
    parts: &Parts,
    path: &str,
    query: &str,
    body: Body,
) -> Result<(Args, Caller), RpcError> {
    let (form, body) = if is_kind(&parts.headers, "application/x-www-form-urlencoded") {
        (read_body(body).await?, Body::empty())
    } else {
        (Default::default(), body)
    };
    let query = &format!("{query}&{}", String::from_utf8_lossy(&form));
    let objects = matches!(path, "/printer/objects/query" | "/printer/objects/subscribe");
    let mut args = if objects { Args::from_object_query(query) } else { Args::from_query(query)? };
    let mut connection =
        query_pairs(query).into_iter().find(|(key, _)| key == "connection_id").map(|(_, id)| id);
    if is_json(&parts.headers) {
        let bytes = read_body(body).await?;
        if !bytes.is_empty() {
            let body = serde_json::from_slice(&bytes)
                .map_err(|error| RpcError::bad_request(format!("The body is not valid JSON: {error}")))?;
            args.merge(body);
        }
        if let Some(id) = args.0.remove("connection_id") {
            connection = Some(id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        }
    }
    let mut caller = caller.clone();
    if path == "/printer/objects/subscribe" {
        let nobody = || RpcError::bad_request("No connection associated with subscription request");
        let id = connection.ok_or_else(nobody)?;
        let socket = id.parse().ok().and_then(|id| endpoint.hub.find(id));
        let socket =
            socket.ok_or_else(|| RpcError::bad_request(format!("No connection associated with id: {id}")))?;
        caller.socket = Some(socket);
    }
    Ok((args, caller))
}

/// Scheme, host and mount prefix under which the client reaches us; a proxy that leads a folder of its own to us names it in
/// `X-Forwarded-Prefix`.
pub fn base_url(parts: &Parts, path: &str) -> String {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let host =
        text("host").filter(|host| host.chars().all(|c| c.is_ascii_graphic() && !"\"'<>\\".contains(c)));
    let secure = parts.extensions.get::<OverTls>().is_some() || text("x-forwarded-proto") == Some("https");
    let scheme = if secure { "https" } else { "http" };
    let full = parts.extensions.get::<OriginalUri>().map(|uri| uri.path().to_owned());
    let prefix = full.as_deref().and_then(|full| full.strip_suffix(path)).unwrap_or_default();
    let prefix = prefix.trim_end_matches('/');
    let folder = text("x-forwarded-prefix").filter(|folder| is_folder(folder)).unwrap_or_default();
    format!("{scheme}://{}{}{prefix}", host.unwrap_or("localhost"), folder.trim_end_matches('/'))
}

/// An absolute path that can stand in an address as it is.
fn is_folder(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~/".contains(c);
    text.starts_with('/') && !text.contains("//") && text.chars().all(plain)
}

/// Reads a small body.
pub async fn read_body(body: Body) -> Result<bytes::Bytes, RpcError> {
    read_within(body, LARGEST_BODY).await
}

async fn read_within(body: Body, largest: usize) -> Result<bytes::Bytes, RpcError> {
    axum::body::to_bytes(body, largest)
        .await
        .map_err(|_too_large| RpcError::new(413, "The body of the request is too large."))
}

fn is_json(headers: &HeaderMap) -> bool {
    is_kind(headers, "application/json")
}

fn is_kind(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with(wanted))
}

/// A path with its percent-encoding undone.
pub fn decoded(path: &str) -> String {
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// The envelope of what a method answers.
fn result_answer(result: Reply) -> Response<Body> {
    match result {
        Reply::Tree(result) => json_answer(StatusCode::OK, &rpc::object([("result", result)])),
        Reply::Text(result) => respond_text(StatusCode::OK, JSON, [r#"{"result":"#, &result, "}"].concat()),
    }
}

pub fn json_answer(status: StatusCode, body: &Value) -> Response<Body> {
    respond_text(status, JSON, crate::model::text::json(body))
}

pub fn respond_text(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn failed(error: &RpcError) -> Response<Body> {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_answer(status, &error.http_body());
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
    }
    response
}

impl PathMatch {
    fn verb(&self, verb: &Verb) -> Option<&'static methods::Method> {
        self.0.iter().copied().find(|method| method.verb.takes(verb))
    }
}
