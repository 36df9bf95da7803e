//! `server.spoolman.*` (moonraker.md 2.13): the inventory of spools, passed on to a Spoolman server.
//!
//! Moonraker knows one spool at a time; here it is the spool of the slot that feeds.

use serde_json::{Map, Value, json};

use super::super::error::RpcError;
use super::super::rpc::Call;
use crate::access::Role;
use crate::filament::{Answer, Spoolman, SpoolmanError};

fn server(call: &Call) -> Result<Spoolman, RpcError> {
    let spoolman = call.endpoint.station.jobs.filament().inventory().cloned();
    spoolman.ok_or_else(|| RpcError::not_found("Method not found"))
}

pub async fn status(call: Call) -> Result<Value, RpcError> {
    let spoolman = server(&call)?;
    let book = call.endpoint.station.jobs.filament();
    let report = |(spool, grams): (u32, f64)| json!({"spool_id": spool, "filament_used": grams});
    let pending: Vec<Value> = book.pending_reports().into_iter().map(report).collect();
    Ok(json!({
        "spoolman_connected": spoolman.connected(),
        "pending_reports": pending,
        "spool_id": book.active_spool(),
    }))
}

pub async fn get_spool_id(call: Call) -> Result<Value, RpcError> {
    server(&call)?;
    Ok(json!({"spool_id": call.endpoint.station.jobs.filament().active_spool()}))
}

/// Without `spool_id` no spool is active; a null is a mistake, as it is to the real server.
pub async fn post_spool_id(call: Call) -> Result<Value, RpcError> {
    server(&call)?;
    let wrong = |value: &Value| {
        let shown = if value.is_null() { "None".to_owned() } else { value.to_string() };
        RpcError::bad_request(format!(
            "Unable to convert argument [spool_id] to <class 'int'>: value received: {shown}"
        ))
    };
    let spool = match call.args.0.get("spool_id") {
        None => None,
        Some(value @ Value::Null) => return Err(wrong(value)),
        Some(value) => {
            let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
            Some(number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| wrong(value))?)
        }
    };
    let book = call.endpoint.station.jobs.filament();
    book.set_active_spool(spool);
    Ok(json!({"spool_id": book.active_spool()}))
}

/// Who may look may also read the inventory: without it the UIs say that there is none.
pub async fn proxy(call: Call) -> Result<Value, RpcError> {
    let spoolman = server(&call)?;
    let (method, path) = (call.args.text("request_method")?, call.args.text("path")?);
    if method != "GET" {
        call.endpoint.access.require(call.caller.current_user().as_ref(), Role::Operate)?;
    }
    let query = call.args.opt_text("query")?;
    let done = spoolman.request(&method, &path, query.as_deref(), call.args.get("body")).await;
    if let Err(SpoolmanError::Invalid(reason)) = &done {
        return Err(RpcError::bad_request(reason.clone()));
    }
    if call.args.flag("use_v2_response")? { Ok(second(done)) } else { first(done) }
}

/// The server's body, or an error of the call.
fn first(done: Result<Answer, SpoolmanError>) -> Result<Value, RpcError> {
    done.map(|answer| answer.body).map_err(|error| {
        let (status, message) = told(&error);
        RpcError::new(status, message)
    })
}

/// A good answer in any case; what the server refused is a part of it.
fn second(done: Result<Answer, SpoolmanError>) -> Value {
    match done {
        Ok(answer) => {
            let headers: Map<String, Value> =
                answer.headers.into_iter().map(|(name, value)| (name, value.into())).collect();
            json!({"response": answer.body, "response_headers": headers, "error": null})
        }
        Err(error) => {
            let (status, message) = told(&error);
            json!({"response": null, "error": {"status_code": status, "message": message}})
        }
    }
}

fn told(error: &SpoolmanError) -> (u16, String) {
    match error {
        SpoolmanError::Refused { status, message } => (*status, message.clone()),
        SpoolmanError::Unreachable(_) => (502, error.to_string()),
        SpoolmanError::Invalid(reason) => (400, reason.clone()),
    }
}
