//! The OctoPrint REST twin that slicers and apps know (moonraker.md 2.14, octoprint.md section 10).

mod appkeys;
mod push;
mod view;

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::args::{Args, query_pairs};
use super::error::RpcError;
use super::http::{decoded, empty, json_answer, read_body};
use super::methods::printer as control;
use super::methods::printer::{library_path, start_job};
use super::rpc::{Call, Caller};
use super::{Endpoint, habits, identity};
use crate::jobs::StartRequest;
use crate::model::{Axes, Command, CommandError, JobPhase, Speaker};
pub use appkeys::{PREFIX as KEYS, answer as keys, tell_question};
pub use push::answer as push;
pub use view::file;
use view::{connection_state, file_facts, files, heater, job, login, printer, profile, settings, state_text};

/// The file that `select` chose for a later `start`.
#[derive(Debug, Default)]
pub struct Selection(Mutex<Option<String>>);

impl Selection {
    fn selected(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn select(&self, file: impl Into<Option<String>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = file.into();
    }
}

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
    if get && path == appkeys::LIST {
        return Ok(json_answer(StatusCode::OK, &appkeys::list(endpoint, parts, caller.user.as_ref())?));
    }
    if get && let Some(value) = read(endpoint, path, parts.uri.query().unwrap_or_default(), caller).await? {
        return Ok(json_answer(StatusCode::OK, &value));
    }
    let known = matches!(
        path,
        "/api/login"
            | "/api/logout"
            | "/api/job"
            | "/api/connection"
            | "/api/printer/command"
            | appkeys::LIST
    ) || matches!(
        path,
        "/api/printer/tool"
            | "/api/printer/bed"
            | "/api/printer/chamber"
            | "/api/printer/printhead"
            | "/api/printer/sd"
    ) || path.starts_with("/api/files/");
    match parts.method {
        Method::POST if known => {}
        Method::DELETE if path.starts_with("/api/files/") => return delete(endpoint, path).await,
        _ if known || is_read(path) => return Err(RpcError::new(405, "Method Not Allowed")),
        _ => return Err(RpcError::not_found("Not Found")),
    }
    let bytes = read_body(body).await?;
    let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let call = Call::new(endpoint.clone(), Args::default(), caller.clone());
    match path {
        "/api/login" => Ok(json_answer(StatusCode::OK, &login(endpoint, caller, true))),
        // A login here is the caller's key or address: there is nothing to end.
        "/api/logout" => Ok(empty(StatusCode::NO_CONTENT)),
        appkeys::LIST => appkeys::change(endpoint, parts, &body, caller.user.as_ref()).await,
        "/api/printer/command" => {
            commands(endpoint, &body).await;
            if habits::takes_content_for_failure(&parts.headers) {
                return Ok(empty(StatusCode::NO_CONTENT));
            }
            Ok(json_answer(StatusCode::OK, &json!({})))
        }
        "/api/job" => done(job_command(&call, &body).await),
        "/api/connection" => done(connection(endpoint, &body)),
        _ if path.starts_with("/api/files/") => file_command(endpoint, path, &body, caller).await,
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
            | "/api/printerprofiles/_default"
            | "/api/system/commands"
            | "/api/system/commands/core"
            | "/api/system/commands/custom"
            | "/api/timelapse"
            | "/api/slicing"
            | "/api/printer/error"
            | "/api/printer/command/custom"
    )
}

async fn read(
    endpoint: &Endpoint,
    path: &str,
    query: &str,
    caller: &Caller,
) -> Result<Option<Value>, RpcError> {
    let state = endpoint.station.printer.state();
    let ready = endpoint.klippy().ready();
    let asked =
        |name: &str| query_pairs(query).into_iter().find(|(key, _)| key == name).map(|(_, value)| value);
    // Clients of OctoPrint tell by it that the printer is away; figures of then would be taken for today's.
    let of_the_printer =
        matches!(path, "/api/printer" | "/api/printer/tool" | "/api/printer/bed" | "/api/printer/chamber");
    if of_the_printer && state_text(endpoint, &state) == "Offline" {
        return Err(RpcError::new(409, "Printer is not operational"));
    }
    let deep = asked("recursive").is_some_and(|value| matches!(value.as_str(), "true" | "1" | "yes"));
    Ok(Some(match path {
        "/api/version" => json!({
            "server": identity::API_VERSION_STRING,
            "api": "0.1",
            // Slicers test that it begins with "OctoPrint".
            "text": format!("OctoPrint (Moonraker {})", identity::MOONRAKER_VERSION),
        }),
        "/api/server" => {
            // Moonraker's word and OctoPrint's for the same.
            let (version, safe) =
                (identity::API_VERSION_STRING, if ready { Value::Null } else { json!("settings") });
            json!({"server": version, "version": version, "safemode": safe})
        }
        "/api/login" | "/api/currentuser" => login(endpoint, caller, false),
        "/api/settings" => settings(endpoint, caller),
        "/api/job" => job(endpoint, &state).await,
        "/api/printer" => {
            let mut shown = printer(endpoint, &state);
            let excluded = asked("exclude").unwrap_or_default();
            if let Some(members) = shown.as_object_mut() {
                members.retain(|name, _| !excluded.split(',').any(|wanted| wanted == name));
            }
            shown
        }
        "/api/printerprofiles" => json!({"profiles": {"_default": profile(endpoint)}}),
        "/api/connection" => connection_state(&state, endpoint),
        "/api/printer/tool" => heater(&state, "tool"),
        "/api/printer/bed" => heater(&state, "bed"),
        "/api/printer/chamber" => heater(&state, "chamber"),
        "/api/printer/sd" => json!({"ready": false}),
        "/api/printerprofiles/_default" => profile(endpoint),
        // What a gateway has none of; apps ask for it all the same.
        "/api/system/commands" => json!({"core": [], "custom": [], "plugin": []}),
        "/api/system/commands/core" | "/api/system/commands/custom" => json!([]),
        "/api/timelapse" => {
            json!({"config": {"type": "off"}, "enabled": false, "files": [], "unrendered": []})
        }
        "/api/slicing" => json!({}),
        "/api/printer/error" => json!({}),
        "/api/printer/command/custom" => json!({"controls": []}),
        // No SD card is offered: OctoPrint then lists nothing of it.
        "/api/files/sdcard" => json!({"files": []}),
        "/api/files" | "/api/files/local" => files(endpoint, "", deep, caller).await?.unwrap_or_default(),
        _ if path.starts_with("/api/files/") => {
            let facts = file_facts(endpoint, &file_path(path)?, deep, caller).await?;
            facts.ok_or_else(|| RpcError::not_found("Not Found"))?
        }
        _ => return Ok(None),
    }))
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

/// The path behind `/api/files/local/` or `/api/files/moonraker/gcodes/`.
fn file_path(path: &str) -> Result<String, RpcError> {
    let path = decoded(path.trim_start_matches("/api/files/"));
    let file = path.strip_prefix("local/").or_else(|| path.strip_prefix("moonraker/"));
    let file = library_path(file.ok_or_else(|| RpcError::not_found("Not Found"))?);
    if file.is_empty() { Err(RpcError::not_found("Not Found")) } else { Ok(file.to_owned()) }
}

async fn delete(endpoint: &Endpoint, path: &str) -> Result<Response<Body>, RpcError> {
    let (path, library) = (file_path(path)?, &endpoint.station.library);
    let is_folder = |entry: &crate::library::Entry| {
        entry.kind == crate::library::EntryKind::Directory && entry.path == path
    };
    let deleted = if library.list().await?.iter().any(is_folder) {
        library.remove_directory(&path, true).await
    } else {
        library.delete(&path).await
    };
    deleted.map_err(|error| match error {
        crate::library::LibraryError::NotFound(_) => RpcError::not_found("Not Found"),
        crate::library::LibraryError::InUse(reason) | crate::library::LibraryError::Exists(reason) => {
            RpcError::new(409, reason)
        }
        other => other.into(),
    })?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `select`, `unselect`, `copy`, `move` of one file.
async fn file_command(
    endpoint: &Endpoint,
    path: &str,
    body: &Value,
    caller: &Caller,
) -> Result<Response<Body>, RpcError> {
    let (file, library) = (file_path(path)?, &endpoint.station.library);
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let command = text("command").unwrap_or_default();
    if command == "unselect" {
        endpoint.octoprint.select(None);
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    if matches!(command, "copy" | "move") {
        let below = text("destination").ok_or_else(|| RpcError::bad_request("destination is invalid"))?;
        let below = library_path(below.trim_matches('/'));
        let name = crate::model::text::base_name(&file);
        let target = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        let entry = match command {
            "copy" => library.copy(&file, &target).await?,
            _ => library.rename(&file, &target).await?,
        };
        return Ok(json_answer(StatusCode::CREATED, &view::file(&entry, caller)));
    }
    if command != "select" {
        return Err(RpcError::bad_request("command is invalid"));
    }
    library.record(&file).await.map_err(|_unknown| RpcError::not_found("Not Found"))?;
    endpoint.octoprint.select(file.clone());
    if body.get("print").and_then(Value::as_bool) == Some(true) {
        start(endpoint, file).await?;
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Refusals go to the console; the caller is not told, as with Moonraker.
async fn commands(endpoint: &Arc<Endpoint>, body: &Value) {
    let many = body.get("commands").and_then(Value::as_array).into_iter().flatten();
    let one = body.get("command").into_iter();
    let lines: Vec<String> = many.chain(one).filter_map(Value::as_str).map(str::to_owned).collect();
    let is = |line: &str, words: &[&str]| words.iter().any(|word| line.trim().eq_ignore_ascii_case(word));
    if let Some(stop) = lines.iter().find(|line| control::has_emergency_stop(line)) {
        // At once, whatever stands before it; what stands behind it is not meant any more.
        endpoint.station.say(Speaker::Client, stop);
        if let Err(error) = control::stop(endpoint).await {
            tracing::debug!(error = error.message, "An emergency stop over the OctoPrint API failed.");
        }
        return;
    }
    // G91 in one line holds for the moves of the next, whichever request brings them. What knows no modes does not wait
    // behind a script that heats.
    let modeless = lines.iter().all(|line| is(line, &["PAUSE", "RESUME", "CANCEL_PRINT"]));
    let session = if modeless { Arc::default() } else { endpoint.http_session.clone() };
    let mut session = session.lock_owned().await;
    let at_work = endpoint.clone();
    let done = control::to_its_end(endpoint, async move {
        for line in &lines {
            if is(line, &["FIRMWARE_RESTART", "RESTART"]) {
                at_work.restart();
            } else if control::not_stopped(&at_work).is_err() {
                break;
            } else if let Err(error) = control::run_line(&at_work, &mut session, line).await {
                tracing::debug!(%error, "A command over the OctoPrint API was refused.");
            }
        }
        Ok(())
    });
    if let Err(error) = done.await {
        tracing::debug!(%error, "Commands over the OctoPrint API were not run.");
    }
}

fn conflict(error: CommandError) -> RpcError {
    RpcError::new(409, error.to_string())
}

async fn job_command(call: &Call, body: &Value) -> Result<(), RpcError> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let jobs = &call.endpoint.station.jobs;
    let phase = call.endpoint.station.printer.state().job.phase;
    let paused = matches!(phase, JobPhase::Paused | JobPhase::Pausing) || jobs.pause_waits();
    let outcome = match (text("command"), text("action")) {
        ("cancel", _) => jobs.cancel().await,
        ("pause", "resume") => jobs.resume().await,
        ("pause", "toggle" | "") if paused => jobs.resume().await,
        ("pause", "pause" | "toggle" | "") => jobs.pause().await,
        ("start", _) => return start_selected(call).await,
        ("restart", _) => {
            return Err(RpcError::new(409, "A print cannot be begun again; cancel it, then start the file."));
        }
        _ => return Err(RpcError::bad_request("command is invalid")),
    };
    outcome.map(drop).map_err(conflict)
}

async fn start_selected(call: &Call) -> Result<(), RpcError> {
    let file = call.endpoint.octoprint.selected();
    let file = file.ok_or_else(|| RpcError::new(409, "No file is selected: select one first."))?;
    start(&call.endpoint, file).await
}

async fn start(endpoint: &Endpoint, file: String) -> Result<(), RpcError> {
    control::not_stopped(endpoint)?;
    if endpoint.station.printer.state().job.phase.active() {
        return Err(RpcError::new(409, "The printer is busy with a job; a second one is never started."));
    }
    start_job(&endpoint.station, StartRequest { file, ..StartRequest::default() }).await
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
        ("/api/printer/tool", "select") => {
            let tool = body.get("tool").and_then(Value::as_str).and_then(|tool| tool.strip_prefix("tool"));
            let tool = tool.and_then(|tool| tool.parse().ok());
            let tool = tool.ok_or_else(|| RpcError::bad_request("tool is invalid"))?;
            // Apps select before each extrusion, also the only tool there is (OctoPod).
            if tool == printer.state().device.active_tool {
                return Ok(());
            }
            Command::SelectTool(tool)
        }
        ("/api/printer/tool", "flowrate") => {
            return Err(RpcError::new(409, "This printer takes no flow rate by command."));
        }
        ("/api/printer/tool", "extrude") => {
            let length = number("amount").ok_or_else(|| RpcError::bad_request("amount is invalid"))?;
            Command::Extrude { length, feed: number("speed").map(|per_minute| per_minute / 60.0) }
        }
        ("/api/printer/bed", "target") => Command::SetBed { target: target()? },
        ("/api/printer/chamber", "target") => Command::SetChamber { target: target()? },
        ("/api/printer/printhead", "jog") => jog(&number, body)?,
        // Homing single axes skips the parking of the head on some machines (bambu.md T35): all of them instead.
        ("/api/printer/printhead", "home") => match axes(body) {
            named if printer.capabilities().motion.home_axes => Command::Home(named),
            _ => Command::Home(Axes::ALL),
        },
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
