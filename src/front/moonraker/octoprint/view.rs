//! What the twin shows: state, temperatures, job, files, in OctoPrint's words.

use serde_json::{Map, Value, json};

use crate::front::moonraker::Endpoint;
use crate::front::moonraker::cameras::{self, Asker};
use crate::front::moonraker::error::RpcError;
use crate::front::moonraker::rpc::Caller;
use crate::library::{Entry, EntryKind};
use crate::model::{CameraKind, Heater, Job, JobPhase, PrinterState};

pub(super) fn login() -> Value {
    json!({
        "_is_external_client": false, "_login_mechanism": "apikey", "name": "_api", "active": true, "user": true,
        "admin": true, "apikey": null, "permissions": [], "groups": ["admins", "users"],
    })
}

pub(super) fn settings(endpoint: &Endpoint, caller: &Caller) -> Value {
    let camera = endpoint.station.printer.capabilities().camera != CameraKind::None;
    let asker = Asker { base_url: &caller.base_url, user: caller.current_user() };
    let pass = asker.user.as_ref().and_then(|user| endpoint.access.picture_pass(user));
    let pass = pass.map_or_else(String::new, |pass| format!("&{pass}"));
    let stream =
        if camera { format!("{}/webcam/?action=stream{pass}", caller.base_url) } else { String::new() };
    let shown = cameras::all(endpoint, &asker).unwrap_or_default().into_iter().find(|webcam| !webcam.removed);
    let says = |field: &str, value: Value| {
        shown.as_ref().is_some_and(|webcam| webcam.fields.get(field) == Some(&value))
    };
    json!({
        "plugins": {"UltimakerFormatPackage": {
            "align_inline_thumbnail": false, "inline_thumbnail": false, "inline_thumbnail_align_value": "left",
            "inline_thumbnail_scale_value": "50", "installed": true, "installed_version": "0.2.2",
            "scale_inline_thumbnail": false, "state_panel_thumbnail": true,
        }},
        "feature": {"sdSupport": false, "temperatureGraph": false},
        "webcam": {
            "flipH": says("flip_horizontal", true.into()), "flipV": says("flip_vertical", true.into()),
            "rotate90": says("rotation", 90.into()), "streamUrl": stream, "webcamEnabled": camera,
        },
    })
}

/// Cura tests the beginning of it (octoprint.md section 10).
pub(super) fn state_text(endpoint: &Endpoint, state: &PrinterState) -> &'static str {
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
pub(super) fn job(endpoint: &Endpoint, state: &PrinterState) -> Value {
    let job: &Job = &state.job;
    let now = crate::printer::clock::unix_now();
    let shown = job.phase != JobPhase::Idle;
    let name = job.file.as_deref().or(job.title.as_deref());
    let selected = endpoint.octoprint.selected();
    let of = |value: Option<f64>| value.filter(|_| shown).map_or(Value::Null, |value| json!(value.round()));
    json!({
        "job": {
            "file": {"name": if shown { name } else { selected.as_deref() }},
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

/// By OctoPrint's names; what the printer does not report is absent.
pub(super) fn temperatures(state: &PrinterState) -> Map<String, Value> {
    let mut found = Map::new();
    let mut add = |name: String, heater: &Heater| {
        if let Some(actual) = heater.actual {
            let target = heater.target.unwrap_or(0.0);
            found.insert(name, json!({"actual": actual, "offset": 0, "target": target}));
        }
    };
    for (tool, nozzle) in state.device.nozzles.iter().enumerate() {
        add(format!("tool{tool}"), &nozzle.heater);
    }
    add("bed".to_owned(), &state.device.bed);
    add("chamber".to_owned(), &state.device.chamber);
    found
}

/// The part of the temperatures whose names begin so: `tool`, `bed`, `chamber`.
pub(super) fn heater(state: &PrinterState, kind: &str) -> Value {
    Value::Object(temperatures(state).into_iter().filter(|(name, _)| name.starts_with(kind)).collect())
}

pub(super) fn printer(endpoint: &Endpoint, state: &PrinterState) -> Value {
    let text = state_text(endpoint, state);
    let operational = !matches!(text, "Offline" | "Error");
    json!({
        "temperature": temperatures(state),
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

pub(super) fn profile(endpoint: &Endpoint) -> Value {
    let chamber =
        endpoint.station.printer.capabilities().chamber.is_some_and(|chamber| chamber.max.is_some());
    let axis = |speed: f64| json!({"speed": speed, "inverted": false});
    json!({
        "id": "_default", "name": "Default", "color": "default", "model": "Default", "default": true, "current": true,
        "heatedBed": true, "heatedChamber": chamber,
        "axes": {"x": axis(6000.0), "y": axis(6000.0), "z": axis(6000.0), "e": axis(300.0)},
    })
}

pub(super) fn connection_state(state: &PrinterState, endpoint: &Endpoint) -> Value {
    json!({
        "current": {"state": state_text(endpoint, state), "port": "VIRTUAL", "baudrate": 115_200, "printerProfile": "_default"},
        "options": {"ports": ["VIRTUAL"], "baudrates": [115_200], "printerProfiles": [{"id": "_default", "name": "Default"}]},
    })
}

pub(super) async fn files(endpoint: &Endpoint, caller: &Caller) -> Result<Value, RpcError> {
    let entries = endpoint.station.library.list().await?;
    let files: Vec<Value> = entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Printable)
        .map(|entry| file(entry, caller))
        .collect();
    let disk = endpoint.station.library.disk_usage().await;
    Ok(json!({"files": files, "free": disk.free, "total": disk.total}))
}

/// One printable file, or `None` where there is none of this path.
pub(super) async fn file_facts(
    endpoint: &Endpoint,
    path: &str,
    caller: &Caller,
) -> Result<Option<Value>, RpcError> {
    let entries = endpoint.station.library.list().await?;
    let found = entries.iter().find(|entry| entry.path == path && entry.kind == EntryKind::Printable);
    Ok(found.map(|entry| file(entry, caller)))
}

fn file(entry: &Entry, caller: &Caller) -> Value {
    json!({
        "name": crate::model::text::base_name(&entry.path), "display": entry.path, "path": entry.path,
        "origin": "local", "type": "machinecode", "typePath": ["machinecode", "gcode"],
        "size": entry.size, "date": entry.modified as u64,
        "refs": {
            "resource": format!("{}/api/files/local/{}", caller.base_url, entry.path),
            "download": format!("{}/server/files/gcodes/{}", caller.base_url, entry.path),
        },
    })
}
