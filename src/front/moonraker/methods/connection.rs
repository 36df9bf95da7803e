//! What belongs to one socket (moonraker.md 2.5).

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::error::RpcError;
use super::super::rpc::{Call, add_member};
use super::super::socket::{Client, Connection};
use crate::access::{AccessError, Identity};

const CLIENT_TYPES: &[&str] = &["web", "mobile", "desktop", "display", "bot", "agent", "other"];

fn socket(call: &Call) -> Result<Arc<Connection>, RpcError> {
    call.caller.socket.clone().ok_or_else(|| RpcError::not_found("Method not found for transport HTTP"))
}

/// May carry the credentials. A wrong token takes back the trust in the socket's address; a wrong key only leaves a
/// stranger one: apps show keys of earlier days to servers that never asked for any, and the real server does not look
/// at the key of a socket that has a user.
pub async fn identify(call: Call) -> Result<Value, RpcError> {
    let socket = socket(&call)?;
    let client = Client {
        name: call.args.text("client_name")?,
        version: call.args.text("version")?,
        kind: call.args.text("type")?.to_lowercase(),
        url: call.args.text("url")?,
    };
    if !CLIENT_TYPES.contains(&client.kind.as_str()) {
        return Err(RpcError::bad_request(format!("Invalid Client Type: {}", client.kind)));
    }
    if let Some(known) = socket.client() {
        return Err(RpcError::bad_request(format!(
            "Connection already identified: {{'name': '{}', 'version': '{}', 'type': '{}', 'url': '{}'}}",
            known.name, known.version, known.kind, known.url
        )));
    }
    let shown = match (call.args.opt_text("access_token")?, call.args.opt_text("api_key")?) {
        (Some(token), _) => Some(call.endpoint.access.check_token(&token)),
        (None, Some(key)) => Some(call.endpoint.access.check_key(&key, call.caller.address)),
        (None, None) => None,
    };
    let by_key = call.args.opt_text("access_token")?.is_none();
    let access = &call.endpoint.access;
    let known = socket.user().filter(|user| by_key && access.role(user).is_some());
    match (shown, known) {
        (Some(Err(_stale)), Some(_)) => {}
        // A key takes nothing from who may more without it, and no login's name.
        (Some(Ok(user)), Some(known)) => {
            let (may, might) = (access.role(&user), access.role(&known));
            if may > might || (may == might && known == Identity::Trusted) {
                socket.set_user(Some(user));
            }
        }
        (shown, _) => authenticate(&socket, shown)?,
    }
    socket.set_client(client.clone());
    if client.kind == "agent" {
        let event = json!({"agent": client.name, "event": "connected", "data": described(&client)});
        call.endpoint.hub.notify_others("notify_agent_event", Some(event), Some(socket.id));
    }
    Ok(json!({"connection_id": socket.id}))
}

/// Gives a socket the rights of what its client showed; without any it needs those that it has.
fn authenticate(socket: &Connection, shown: Option<Result<Identity, AccessError>>) -> Result<(), RpcError> {
    match shown {
        Some(Ok(user)) => socket.set_user(Some(user)),
        Some(Err(error)) => {
            socket.set_user(None);
            return Err(error.into());
        }
        None if socket.user().is_none() => return Err(RpcError::unauthorized()),
        None => {}
    }
    Ok(())
}

pub async fn websocket_id(call: Call) -> Result<Value, RpcError> {
    Ok(json!({"websocket_id": socket(&call)?.id}))
}

/// The agent that calls; `what` only agents may do.
fn agent(call: &Call, what: &str) -> Result<Client, RpcError> {
    let client = socket(call)?.client().filter(|client| client.kind == "agent");
    client.ok_or_else(|| RpcError::bad_request(format!("Only connections of the 'agent' type can {what}")))
}

/// Taken, never called: nothing on these printers calls back into an agent.
pub async fn register_remote_method(call: Call) -> Result<Value, RpcError> {
    call.args.text("method_name")?;
    agent(&call, "register methods")?;
    Ok(json!("ok"))
}

pub async fn send_event(call: Call) -> Result<Value, RpcError> {
    let client = agent(&call, "send events")?;
    let name = call.args.text("event")?;
    if matches!(name.as_str(), "connected" | "disconnected") {
        return Err(RpcError::bad_request(format!("Event '{name}' is reserved")));
    }
    let mut event = json!({"agent": client.name, "event": name});
    if let Some(data) = call.args.get("data") {
        add_member(&mut event, "data", data.clone());
    }
    let own = call.caller.socket.as_ref().map(|socket| socket.id);
    call.endpoint.hub.notify_others("notify_agent_event", Some(event), own);
    Ok(json!("ok"))
}

pub async fn extensions(call: Call) -> Result<Value, RpcError> {
    let agents: Vec<Value> = call.endpoint.hub.agents().iter().map(described).collect();
    Ok(json!({"agents": agents}))
}

fn described(client: &Client) -> Value {
    json!({"name": client.name, "version": client.version, "type": client.kind, "url": client.url})
}
