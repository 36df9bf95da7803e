//! JSON-RPC 2.0: frames, batches, ids, errors (moonraker.md 2.2; `jsonrpc_protocol_cases.json`).

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::Endpoint;
use super::args::Args;
use super::error::RpcError;
use super::methods::{self, Method};
use super::request::{Frame, Params, Request};
use super::socket::Connection;
use crate::access::{AccessError, Identity};
use crate::model::{Speaker, text};

/// Requests in one batch; Mainsail sends up to 100.
const LARGEST_BATCH: usize = 1000;
const VERSION: &str = "2.0";

/// Who calls, and how its answers must look.
#[derive(Clone)]
pub struct Caller {
    /// `None` is a stranger. For calls over a socket the connection's own user counts.
    pub user: Option<Identity>,
    pub address: Option<IpAddr>,
    /// Scheme, host and port under which the client reaches us, and the prefix of the mount: `http://host:7125`.
    pub base_url: String,
    pub socket: Option<Arc<Connection>>,
    /// The call came over HTTP: it speaks for `socket` with rights of its own.
    pub over_http: bool,
    /// See [`habits::takes_errors_for_results`](super::habits::takes_errors_for_results).
    pub takes_errors_for_results: bool,
}

impl Caller {
    /// A caller over HTTP.
    pub fn new(user: Option<Identity>, address: Option<IpAddr>, base_url: String) -> Self {
        Self { user, address, base_url, socket: None, over_http: true, takes_errors_for_results: false }
    }

    pub fn current_user(&self) -> Option<Identity> {
        let socket = self.socket.as_ref().filter(|_| !self.over_http);
        socket.map_or_else(|| self.user.clone(), |socket| socket.user())
    }
}

/// One call of a method.
pub struct Call {
    pub endpoint: Arc<Endpoint>,
    pub args: Args,
    /// JSON text of the argument that the method stores, where it was read so; otherwise it is among the others.
    pub record: Option<Arc<str>>,
    pub caller: Caller,
}

impl Call {
    pub fn new(endpoint: Arc<Endpoint>, args: Args, caller: Caller) -> Self {
        Self { endpoint, args, record: None, caller }
    }
}

/// What a method answers.
pub enum Reply {
    Tree(Value),
    /// JSON text that is ready: as it is kept, or written without a tree of values in between.
    Text(String),
}

impl Reply {
    pub fn written(answer: &impl Serialize) -> Self {
        Self::Text(text::json(answer))
    }
}

impl From<Value> for Reply {
    fn from(tree: Value) -> Self {
        Self::Tree(tree)
    }
}

/// Answers one frame; `None` where the client expects nothing.
pub async fn respond(
    endpoint: Arc<Endpoint>,
    caller: Caller,
    frame: impl std::ops::Deref<Target = str>,
) -> Option<String> {
    match serde_json::from_str::<Frame>(&frame) {
        Err(_) => Some(failure(Value::Null, -32700, "Parse error")),
        Ok(Frame::Batch(batch)) if batch.len() > LARGEST_BATCH => {
            Some(failure(Value::Null, -32600, "Invalid Request"))
        }
        Ok(Frame::Batch(batch)) => {
            let answers = batch.into_iter().map(|request| one(endpoint.clone(), caller.clone(), request));
            let answers: Vec<String> =
                futures_util::future::join_all(answers).await.into_iter().flatten().collect();
            (!answers.is_empty()).then(|| format!("[{}]", answers.join(",")))
        }
        Ok(request) => one(endpoint, caller, request).await,
    }
}

/// What a client is sent for a request; written from its parts, as a tree of values would be made only to be written.
#[derive(Serialize)]
struct Answer {
    jsonrpc: &'static str,
    result: Value,
    id: Value,
}

#[derive(Serialize)]
struct Failure<'a> {
    jsonrpc: &'static str,
    error: Reason<'a>,
    id: Value,
}

#[derive(Serialize)]
struct Reason<'a> {
    code: i64,
    message: &'a str,
}

/// A notification is not answered, unless it fails.
async fn one(endpoint: Arc<Endpoint>, caller: Caller, request: Frame) -> Option<String> {
    let Frame::Request(Request { version, method, id, params, is_answer }) = request else {
        return Some(failure(Value::Null, -32600, "Invalid Request"));
    };
    if is_answer && method.is_null() && version == VERSION {
        // As the real server: an error under this id would be taken for the answer to a request of the client's own.
        return None;
    }
    let (Some(VERSION), Some(name)) = (version.as_str(), method.as_str()) else {
        return Some(failure(id, -32600, "Invalid Request"));
    };
    let method = match find(name, &caller) {
        Ok(method) => method,
        Err(reason) => return Some(failure(id, -32601, reason)),
    };
    let (named, record) = match params {
        Params::None => (Map::new(), None),
        Params::Named(named, record) => (named, record),
        Params::Other => return Some(failure(id, -32602, "Invalid params:")),
    };
    match run(method, Call { record, ..Call::new(endpoint, Args(named), caller) }).await {
        Ok(_) if id.is_null() => None,
        Ok(Reply::Tree(result)) => Some(text::json(&Answer { jsonrpc: VERSION, result, id })),
        Ok(Reply::Text(result)) => {
            Some([r#"{"jsonrpc":"2.0","result":"#, &result, r#","id":"#, &text::json(&id), "}"].concat())
        }
        Err(error) => Some(failure(id, error.code(), &error.message)),
    }
}

fn find(name: &str, caller: &Caller) -> Result<&'static Method, &'static str> {
    let method = methods::find(name).ok_or("Method not found")?;
    match caller.socket {
        None if method.socket_only => Err("Method not found for transport HTTP"),
        None if name == "printer.objects.subscribe" => Err("Subscriptions not available for HTTP transport"),
        _ => Ok(method),
    }
}

/// Runs a method if the caller may and the printer is there.
///
/// # Errors
/// 401 for strangers, 403 for callers whose role is too small, 503 while the printer is away, and whatever the method refuses.
pub async fn run(method: &Method, call: Call) -> Result<Reply, RpcError> {
    if !method.open {
        let allowed = call.endpoint.access.require(call.caller.current_user().as_ref(), method.role);
        if let (Err(AccessError::Forbidden(reason)), Some(socket)) =
            (&allowed, pressing(method, &call.caller))
        {
            // To this client alone: to the printer and its other users nothing has happened.
            socket.tell(&format!("!! {reason}"));
        }
        allowed?;
    }
    if method.needs_printer {
        connected(&call)?;
    }
    let endpoint = call.endpoint.clone();
    // Over HTTP the caller is a program that reads its answer.
    let told = method.told && call.caller.socket.is_some() && !call.caller.over_http;
    let result = (method.run)(call).await;
    if let (true, Err(error)) = (told, &result) {
        endpoint.station.say(Speaker::Error, error.message.clone());
    }
    endpoint.console_told().await;
    result
}

/// The socket of somebody who presses a button: the web interfaces show no reason there, and an emergency stop that did
/// nothing would look like one. What they keep by themselves at every start is no button.
fn pressing<'a>(method: &Method, caller: &'a Caller) -> Option<&'a Connection> {
    let unasked = ["server.database.", "connection."].iter().any(|room| method.name.starts_with(room));
    caller.socket.as_deref().filter(|_| !unasked && !caller.over_http)
}

/// That the printer is there.
///
/// # Errors
/// 503 with the reason.
pub fn connected(call: &Call) -> Result<(), RpcError> {
    let klippy = call.endpoint.klippy();
    if klippy.connected {
        return Ok(());
    }
    Err(RpcError::not_connected(&klippy.message))
}

/// An object of these members, which are moved: `json!` would copy each of them to its depth.
pub fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, member)| (name.to_owned(), member)).collect())
}

/// Adds a member to a JSON object; anything else stays as it is.
pub fn add_member(object: &mut Value, name: &str, member: Value) {
    if let Value::Object(members) = object {
        members.insert(name.to_owned(), member);
    }
}

fn failure(id: Value, code: i64, message: &str) -> String {
    text::json(&Failure { jsonrpc: VERSION, error: Reason { code, message }, id })
}
