//! The OctoPrint REST twin that slicers and apps know (moonraker.md 2.14, octoprint.md section 10).

use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::error::RpcError;
use super::http::{decoded, empty, json_answer, read_body};
use super::methods::printer as control;
use super::methods::printer::{library_path, start_job};
use super::rpc::{Call, Caller};
use super::{Endpoint, args::Args, identity};
use crate::jobs::StartRequest;
use crate::library::EntryKind;
use crate::model::{Axes, CameraKind, Command, CommandError, Heater, Job, JobPhase, PrinterState};

/// Answers `/api/...`, without an envelope.
///
/// # Errors
/// In Moonraker's error form; 409 where the printer's state forbids it, as OctoPrint answers.
pub async fn answer(
    endpoint: &Arc<Endpoint>,
    parts: &Parts,
    body: Body,
    path: &str,
    caller: &Caller,
) -> Result<Response<Body>, RpcError> {
    let get = parts.method == Method::GET || parts.method == Method::HEAD;
    if get && let Some(value) = read(endpoint, path, caller).await? {
        return Ok(json_answer(StatusCode::OK, &value));
    }
    let known = matches!(path, "/api/login" | "/api/job" | "/api/connection" | "/api/printer/command")
        || matches!(
            path,
            "/api/printer/tool"
                | "/api/printer/bed"
                | "/api/printer/chamber"
                | "/api/printer/printhead"
                | "/api/printer/sd"
        )
        || path.starts_with("/api/files/");
    match parts.method {
        Method::POST if known => {}
        Method::DELETE if path.starts_with("/api/files/") => return delete(endpoint, path).await,
        _ if known || is_read(path) => return Err(RpcError::new(405, "Method Not Allowed")),
        _ => return Err(RpcError::not_found("Not Found")),
    }
    let bytes = read_body(body).await?;
    let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let call = Call { endpoint: endpoint.clone(), args: Args::default(), caller: caller.clone() };
    match path {
        "/api/login" => Ok(json_answer(StatusCode::OK, &login())),
        "/api/printer/command" => {
            commands(&call, &body).await;
            Ok(json_answer(StatusCode::OK, &json!({})))
        }
        "/api/job" => done(job_command(&call, &body).await),
        "/api/connection" => done(connection(endpoint, &body)),
        _ if path.starts_with("/api/files/") => done(select(endpoint, path, &body).await),
        _ => done(device_command(endpoint, path, &body).await),
    }
}

fn done(result: Result<(), RpcError>) -> Result<Response<Body>, RpcError> {
    result.map(|()| empty(StatusCode::NO_CONTENT))
}

fn is_read(path: &str) -> bool {
    matches!(
        path,
        "/api/version"
            | "/api/server"
            | "/api/currentuser"
            | "/api/settings"
            | "/api/printer"
            | "/api/printerprofiles"
    )
}

async fn read(endpoint: &Endpoint, path: &str, caller: &Caller) -> Result<Option<Value>, RpcError> {
    let state = endpoint.station.printer.state();
    let ready = endpoint.klippy().ready();
    Ok(Some(match path {
        "/api/version" => json!({
            "server": identity::API_VERSION_STRING,
            "api": "0.1",
            // Slicers test that it begins with "OctoPrint".
            "text": format!("OctoPrint (Moonraker {})", identity::MOONRAKER_VERSION),
        }),
        "/api/server" => {
            json!({"server": identity::API_VERSION_STRING, "safemode": if ready { Value::Null } else { json!("settings") }})
        }
        "/api/login" | "/api/currentuser" => login(),
        "/api/settings" => settings(endpoint, caller),
        "/api/job" => job(endpoint, &state),
        "/api/printer" => printer(endpoint, &state),
        "/api/printerprofiles" => json!({"profiles": {"_default": profile(endpoint)}}),
        "/api/connection" => connection_state(&state, endpoint),
        "/api/files" | "/api/files/local" => files(endpoint, caller).await?,
        _ => return Ok(None),
    }))
}

fn login() -> Value {
    json!({
        "_is_external_client": false, "_login_mechanism": "apikey", "name": "_api", "active": true, "user": true,
        "admin": true, "apikey": null, "permissions": [], "groups": ["admins", "users"],
    })
}

fn settings(endpoint: &Endpoint, caller: &Caller) -> Value {
    let camera = endpoint.station.printer.capabilities().camera != CameraKind::None;
    let stream = if camera { format!("{}/webcam/?action=stream", caller.base_url) } else { String::new() };
    json!({
        "plugins": {"UltimakerFormatPackage": {
            "align_inline_thumbnail": false, "inline_thumbnail": false, "inline_thumbnail_align_value": "left",
            "inline_thumbnail_scale_value": "50", "installed": true, "installed_version": "0.2.2",
            "scale_inline_thumbnail": false, "state_panel_thumbnail": true,
        }},
        "feature": {"sdSupport": false, "temperatureGraph": false},
        "webcam": {"flipH": false, "flipV": false, "rotate90": false, "streamUrl": stream, "webcamEnabled": camera},
    })
}

/// Cura tests the beginning of it (octoprint.md section 10).
fn state_text(endpoint: &Endpoint, state: &PrinterState) -> &'static str {
    match endpoint.klippy().state {
        "ready" => {}
        "error" | "shutdown" => return "Error",
        _ => return "Offline",
    }
    match state.job.phase {
        JobPhase::Pausing => "Pausing",
        JobPhase::Paused | JobPhase::Resuming => "Paused",
        JobPhase::Cancelling => "Cancelling",
        phase if phase.active() => "Printing",
        _ => "Operational",
    }
}

/// Moonraker leaves all but the state empty; the figures are known here, under the same keys.
fn job(endpoint: &Endpoint, state: &PrinterState) -> Value {
    let job: &Job = &state.job;
    let now = crate::printer::clock::unix_now();
    let shown = job.phase != JobPhase::Idle;
    let of = |value: Option<f64>| value.filter(|_| shown).map_or(Value::Null, |value| json!(value.round()));
    json!({
        "job": {
            "file": {"name": job.file.as_deref().or(job.title.as_deref()).filter(|_| shown)},
            "estimatedPrintTime": Value::Null,
            "filament": {"length": of(job.filament_used_mm)},
            "user": Value::Null,
        },
        "progress": {
            "completion": shown.then(|| (job.progress * 1000.0).round() / 10.0),
            "filepos": Value::Null,
            "printTime": of(Some(job.print_seconds(now))),
            "printTimeLeft": of(job.remaining_s),
            "printTimeOrigin": Value::Null,
        },
        "state": state_text(endpoint, state),
    })
}

fn printer(endpoint: &Endpoint, state: &PrinterState) -> Value {
    let text = state_text(endpoint, state);
    let mut temperature = Map::new();
    let mut add = |name: String, heater: &Heater| {
        if let Some(actual) = heater.actual {
            let target = heater.target.unwrap_or(0.0);
            temperature.insert(name, json!({"actual": actual, "offset": 0, "target": target}));
        }
    };
    for (tool, nozzle) in state.device.nozzles.iter().enumerate() {
        add(format!("tool{tool}"), &nozzle.heater);
    }
    add("bed".to_owned(), &state.device.bed);
    let operational = !matches!(text, "Offline" | "Error");
    json!({
        "temperature": temperature,
        "state": {"text": text, "flags": {
            "operational": operational,
            "paused": text == "Paused",
            "printing": text == "Printing",
            "cancelling": text == "Cancelling",
            "pausing": text == "Pausing",
            "error": text == "Error",
            "ready": text == "Operational",
            "closedOrError": !operational,
        }},
    })
}

fn profile(endpoint: &Endpoint) -> Value {
    let chamber =
        endpoint.station.printer.capabilities().chamber.is_some_and(|chamber| chamber.max.is_some());
    let axis = |speed: f64| json!({"speed": speed, "inverted": false});
    json!({
        "id": "_default", "name": "Default", "color": "default", "model": "Default", "default": true, "current": true,
        "heatedBed": true, "heatedChamber": chamber,
        "axes": {"x": axis(6000.0), "y": axis(6000.0), "z": axis(6000.0), "e": axis(300.0)},
    })
}

fn connection_state(state: &PrinterState, endpoint: &Endpoint) -> Value {
    json!({
        "current": {"state": state_text(endpoint, state), "port": "VIRTUAL", "baudrate": 115_200, "printerProfile": "_default"},
        "options": {"ports": ["VIRTUAL"], "baudrates": [115_200], "printerProfiles": [{"id": "_default", "name": "Default"}]},
    })
}

fn connection(endpoint: &Endpoint, body: &Value) -> Result<(), RpcError> {
    match body.get("command").and_then(Value::as_str) {
        Some("connect") => {
            if !endpoint.station.printer.state().online() {
                endpoint.station.printer.reconnect();
            }
            Ok(())
        }
        Some("disconnect" | "fake_ack") => {
            Err(RpcError::bad_request("The gateway keeps its connection to the printer."))
        }
        _ => Err(RpcError::bad_request("command is invalid")),
    }
}

async fn files(endpoint: &Endpoint, caller: &Caller) -> Result<Value, RpcError> {
    let entries = endpoint.station.library.list().await?;
    let file = |entry: &crate::library::Entry| {
        json!({
            "name": crate::model::text::base_name(&entry.path), "display": entry.path, "path": entry.path,
            "origin": "local", "type": "machinecode", "typePath": ["machinecode", "gcode"],
            "size": entry.size, "date": entry.modified as u64,
            "refs": {"resource": format!("{}/api/files/local/{}", caller.base_url, entry.path)},
        })
    };
    let files: Vec<Value> =
        entries.iter().filter(|entry| entry.kind == EntryKind::Printable).map(file).collect();
    let disk = endpoint.station.library.disk_usage().await;
    Ok(json!({"files": files, "free": disk.free, "total": disk.total}))
}

/// The path behind `/api/files/local/` or `/api/files/moonraker/gcodes/`.
fn file_path(path: &str) -> Result<String, RpcError> {
    let path = decoded(path.trim_start_matches("/api/files/"));
    let file = path.strip_prefix("local/").or_else(|| path.strip_prefix("moonraker/"));
    let file = library_path(file.ok_or_else(|| RpcError::not_found("Not Found"))?);
    if file.is_empty() { Err(RpcError::not_found("Not Found")) } else { Ok(file.to_owned()) }
}

async fn delete(endpoint: &Endpoint, path: &str) -> Result<Response<Body>, RpcError> {
    endpoint.station.library.delete(&file_path(path)?).await.map_err(|error| match error {
        crate::library::LibraryError::NotFound(_) => RpcError::not_found("Not Found"),
        crate::library::LibraryError::InUse(reason) => RpcError::new(409, reason),
        other => other.into(),
    })?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn select(endpoint: &Endpoint, path: &str, body: &Value) -> Result<(), RpcError> {
    let file = file_path(path)?;
    if body.get("command").and_then(Value::as_str) != Some("select") {
        return Err(RpcError::bad_request("command is invalid"));
    }
    endpoint.station.library.record(&file).await.map_err(|_unknown| RpcError::not_found("Not Found"))?;
    if body.get("print").and_then(Value::as_bool) == Some(true) {
        start_job(&endpoint.station, StartRequest { file, ..StartRequest::default() }).await?;
    }
    Ok(())
}

/// Refusals go to the console; the caller is not told, as with Moonraker.
async fn commands(call: &Call, body: &Value) {
    let many = body.get("commands").and_then(Value::as_array).into_iter().flatten();
    let one = body.get("command").into_iter();
    for line in many.chain(one).filter_map(Value::as_str) {
        if let Err(error) = control::run_lines(call, line).await {
            tracing::debug!(%error, "A command over the OctoPrint API was refused.");
        }
    }
}

fn conflict(error: CommandError) -> RpcError {
    RpcError::new(409, error.to_string())
}

async fn job_command(call: &Call, body: &Value) -> Result<(), RpcError> {
    let printer = &call.endpoint.station.printer;
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let paused = matches!(printer.state().job.phase, JobPhase::Paused | JobPhase::Pausing);
    let command = match (text("command"), text("action")) {
        ("cancel", _) => return call.endpoint.station.jobs.cancel().await.map(drop).map_err(conflict),
        ("pause", "resume") => Command::Resume,
        ("pause", "toggle" | "") if paused => Command::Resume,
        ("pause", "pause" | "toggle" | "") => {
            return call.endpoint.station.jobs.pause().await.map(drop).map_err(conflict);
        }
        ("start" | "restart", _) => {
            return Err(RpcError::new(409, "No file is selected; start one by its name."));
        }
        _ => return Err(RpcError::bad_request("command is invalid")),
    };
    printer.send(command).await.map(drop).map_err(conflict)
}

async fn device_command(endpoint: &Endpoint, path: &str, body: &Value) -> Result<(), RpcError> {
    let printer = &endpoint.station.printer;
    let command = body.get("command").and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| body.get(name).and_then(Value::as_f64);
    let target = || number("target").ok_or_else(|| RpcError::bad_request("target is invalid"));
    let wanted = match (path, command) {
        ("/api/printer/tool", "target") => {
            let targets = body.get("targets").and_then(Value::as_object);
            for (name, value) in targets.ok_or_else(|| RpcError::bad_request("targets is invalid"))? {
                let tool = name.strip_prefix("tool").and_then(|tool| tool.parse().ok());
                let (Some(tool), Some(target)) = (tool, value.as_f64()) else {
                    return Err(RpcError::bad_request(format!("Invalid target for {name}")));
                };
                printer.send(Command::SetNozzle { tool, target }).await.map_err(conflict)?;
            }
            return Ok(());
        }
        ("/api/printer/tool", "extrude") => {
            let length = number("amount").ok_or_else(|| RpcError::bad_request("amount is invalid"))?;
            Command::Extrude { length, feed: number("speed").map(|per_minute| per_minute / 60.0) }
        }
        ("/api/printer/bed", "target") => Command::SetBed { target: target()? },
        ("/api/printer/chamber", "target") => Command::SetChamber { target: target()? },
        ("/api/printer/printhead", "jog") => jog(&number, body)?,
        ("/api/printer/printhead", "home") => Command::Home(axes(body)),
        ("/api/printer/printhead", "feedrate") => {
            let factor = number("factor").ok_or_else(|| RpcError::bad_request("factor is invalid"))?;
            // OctoPrint takes 1.2 and 120 for the same.
            Command::SetSpeed { factor: if factor > 5.0 { factor / 100.0 } else { factor } }
        }
        ("/api/printer/sd", "init" | "refresh" | "release") => return Ok(()),
        _ => return Err(RpcError::bad_request("command is invalid")),
    };
    printer.send(wanted).await.map(drop).map_err(conflict)
}

fn jog(number: &impl Fn(&str) -> Option<f64>, body: &Value) -> Result<Command, RpcError> {
    if body.get("absolute").and_then(Value::as_bool) == Some(true) {
        return Err(RpcError::bad_request("Only relative moves are possible."));
    }
    let delta = [number("x").unwrap_or(0.0), number("y").unwrap_or(0.0), number("z").unwrap_or(0.0)];
    Ok(Command::Jog { delta, feed: number("speed").map(|per_minute| per_minute / 60.0) })
}

fn axes(body: &Value) -> Axes {
    let Some(named) = body.get("axes").and_then(Value::as_array) else { return Axes::ALL };
    let has = |axis: &str| named.iter().any(|name| name.as_str() == Some(axis));
    Axes { x: has("x"), y: has("y"), z: has("z") }
}
