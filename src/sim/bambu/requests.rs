//! Receives requests: envelope, signature gate, dispatch, acknowledgement (dossier 4.1, 4.8).
//!
//! `print` commands are in `requests/print.rs`, all other categories in `requests/device.rs`.

mod device;
mod print;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::core::{Core, lock};
use super::models::{AckForm, Rejection};
use super::printer::{Printer, VERIFY_FAILED};
use super::truth::Received;
use super::{delta, report};

type Object = Map<String, Value>;

/// Real seconds the network is gone after `system.reboot`: shorter than a real boot, for the sake of demos.
const REBOOT_SECONDS: f64 = 5.0;

/// How a command was taken.
pub(super) enum Taken {
    /// `result: success`, whatever comes of it.
    Ok,
    /// `result: fail` with a reason.
    Refused(&'static str),
    /// `result: success` and these fields besides.
    With(Object),
    /// Not acknowledged.
    Silent,
}

/// Handles one payload published on the request topic.
pub(super) fn receive(core: &Arc<Core>, payload: &[u8]) {
    let text = String::from_utf8_lossy(payload);
    let parsed: Result<Value, _> = serde_json::from_str(text.trim_end_matches('\0').trim());
    let mut answers = Vec::new();
    match parsed {
        Ok(Value::Object(root)) => {
            for (category, body) in root {
                answers.extend(one(core, &category, body));
            }
        }
        _ => lock(&core.printer).counters.malformed_requests += 1,
    }
    for answer in &answers {
        core.publish(answer);
    }
    core.changed.notify_one();
}

fn one(core: &Arc<Core>, category: &str, body: Value) -> Option<Value> {
    let mut printer = lock(&core.printer);
    let Value::Object(request) = body else {
        printer.counters.malformed_requests += 1;
        return None;
    };
    let command = request.get("command").and_then(Value::as_str).unwrap_or_default().to_owned();
    let logged = Received {
        category: category.to_owned(),
        command: command.clone(),
        payload: Value::Object(request.clone()),
    };
    printer.counters.log(logged);
    if printer.gated && signature_wanted(category, &command) {
        return reject(&mut printer, category, &command, request);
    }
    let taken = match (category, command.as_str()) {
        ("pushing", "pushall") => {
            printer.counters.pushalls += 1;
            return Some(delta::whole(&mut printer));
        }
        ("pushing", _) => Taken::Silent,
        ("info", "get_version") => {
            let sequence = request.get("sequence_id").cloned().unwrap_or_else(|| json!("0"));
            return Some(report::versions(&printer, sequence));
        }
        ("system", "reboot") => {
            drop(printer);
            core.power_cut(REBOOT_SECONDS);
            return None;
        }
        ("print", _) => print::run(&mut printer, &core.root, &command, &request),
        ("system", "get_access_code") => {
            let code = lock(&core.switches).access_code.clone();
            Taken::With(object(json!({ "access_code": code })))
        }
        _ => device::run(&mut printer, category, &command, &request),
    };
    let switches = lock(&core.switches);
    if switches.mute || (switches.mute_xcam && category == "xcam") {
        return None;
    }
    drop(switches);
    acknowledge(&printer, category, request, taken)
}

/// Everything that acts needs a signature; state, versions and the light do not.
fn signature_wanted(category: &str, command: &str) -> bool {
    match category {
        "pushing" | "info" => false,
        "system" => !matches!(command, "ledctrl" | "get_access_code"),
        _ => true,
    }
}

fn reject(printer: &mut Printer, category: &str, command: &str, mut request: Object) -> Option<Value> {
    printer.counters.rejected += 1;
    match printer.model.rejection {
        Rejection::Silent => return None,
        Rejection::BareAndHms => {
            printer.raise(VERIFY_FAILED);
            let sequence = request.get("sequence_id").cloned().unwrap_or_else(|| json!("0"));
            request = object(json!({ "command": command, "sequence_id": sequence }));
        }
        Rejection::ErrorCode => {
            request.insert("result".into(), "failed".into());
            request.insert("reason".into(), "mqtt message verify failed".into());
            request.insert("err_code".into(), 84_033_543.into());
        }
    }
    Some(json!({ category: request }))
}

fn acknowledge(printer: &Printer, category: &str, mut request: Object, taken: Taken) -> Option<Value> {
    let (result, reason) = match taken {
        Taken::Silent => return None,
        Taken::Ok => ("success", "success"),
        Taken::Refused(reason) => ("fail", reason),
        Taken::With(extra) => {
            request.extend(extra);
            ("success", "")
        }
    };
    request.insert("result".into(), result.into());
    request.insert("reason".into(), reason.into());
    if printer.model.ack == AckForm::WithoutCommand {
        request.remove("command");
    }
    Some(json!({ category: request }))
}

fn object(value: Value) -> Object {
    match value {
        Value::Object(map) => map,
        _ => Object::new(),
    }
}

fn text<'a>(request: &'a Object, key: &str) -> &'a str {
    request.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(request: &Object, key: &str) -> Option<i64> {
    match request.get(key)? {
        Value::Number(n) => n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)),
        Value::String(s) => s.parse().ok(),
        _ => None,
    }
}
