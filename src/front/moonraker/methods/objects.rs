//! `printer.objects.*` (moonraker.md 2.7): answered from the cache at once, never from the printer.

use serde_json::{Value, json};

use super::super::error::RpcError;
use super::super::rpc::{Call, Reply};
use super::super::subscribe::{Status, Wanted};

pub async fn list(call: Call) -> Result<Value, RpcError> {
    let view = call.endpoint.fresh_view();
    let names: Vec<&String> = view.objects.keys().collect();
    Ok(json!({"objects": names}))
}

pub async fn query(call: Call) -> Result<Reply, RpcError> {
    let objects =
        call.args.get("objects").ok_or_else(|| RpcError::bad_request("Missing Argument [objects]"))?;
    let wanted = Wanted::parse(objects)?;
    let view = call.endpoint.fresh_view();
    Ok(Reply::written(&Status { eventtime: view.eventtime, status: wanted.full(&view) }))
}

/// Replaces the subscription of the caller's socket, or of the one named over HTTP.
pub async fn subscribe(call: Call) -> Result<Reply, RpcError> {
    let wanted = call.args.get("objects").map_or_else(|| Ok(Wanted::default()), Wanted::parse_leniently)?;
    let nobody = || RpcError::bad_request("No connection associated with subscription request");
    let by = call.caller.current_user().ok_or_else(RpcError::unauthorized)?;
    let socket = call.caller.socket.ok_or_else(nobody)?;
    let view = call.endpoint.fresh_view();
    let status = Reply::written(&Status { eventtime: view.eventtime, status: wanted.full(&view) });
    socket.subscribe(wanted, view, by, call.caller.over_http);
    Ok(status)
}
