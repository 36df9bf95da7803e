//! What the twin shows: state, temperatures, job, files, in OctoPrint's words.

use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value, json};

use crate::access::Identity;
use crate::front::moonraker::cameras::{self, Asker};
use crate::front::moonraker::error::RpcError;
use crate::front::moonraker::rpc::Caller;
use crate::front::moonraker::{Endpoint, advertise};
use crate::library::{Entry, EntryKind};
use crate::model::{CameraKind, Heater, Job, JobPhase, PrinterState};
use crate::net::announce::machine_name;
use crate::url::PATH;

/// Who is logged in; only `POST /api/login` gives a session, by which a push socket shows the same rights.
pub(super) fn login(endpoint: &Endpoint, caller: &Caller, session: bool) -> Value {
    let role = caller.user.as_ref().and_then(|user| endpoint.access.role(user));
    let admin = role == Some(crate::access::Role::Admin);
    let groups = if admin { json!(["admins", "users"]) } else { json!(["users"]) };
    // `_api` is whoever shows the one key of all, as at Moonraker; clients refuse it that want a key of their own (FDM
    // Monster 2.1.1).
    let name = match &caller.user {
        Some(user @ (Identity::App { .. } | Identity::User { .. })) => user.name(),
        Some(Identity::ApiKey | Identity::Trusted) | None => "_api",
    };
    let mut login = json!({
        "_is_external_client": false, "_login_mechanism": "apikey", "name": name, "active": true, "user": true,
        "admin": admin, "apikey": null, "permissions": [], "groups": groups,
    });
    if let (true, Some(user), Some(login)) = (session, &caller.user, login.as_object_mut()) {
        let token = endpoint.access.oneshot_token(caller.address, user.clone());
        login.insert("session".to_owned(), token.into());
    }
    login
}

pub(super) fn settings(endpoint: &Endpoint, caller: &Caller) -> Value {
    let camera = endpoint.station.printer.capabilities().camera != CameraKind::None;
    let asker = Asker { base_url: &caller.base_url, user: caller.current_user() };
    let pass = asker.user.as_ref().and_then(|user| endpoint.access.picture_pass(user));
    let pass = pass.map_or_else(String::new, |pass| format!("&{pass}"));
    let show = |what: &str| {
        if camera { format!("{}/webcam/?action={what}{pass}", caller.base_url) } else { String::new() }
    };
    let shown = cameras::all(endpoint, &asker).unwrap_or_default().into_iter().find(|webcam| !webcam.removed);
    let says = |field: &str, value: Value| {
        shown.as_ref().is_some_and(|webcam| webcam.fields.get(field) == Some(&value))
    };
    json!({
        "plugins": {
            "UltimakerFormatPackage": {
                "align_inline_thumbnail": false, "inline_thumbnail": false, "inline_thumbnail_align_value": "left",
                "inline_thumbnail_scale_value": "50", "installed": true, "installed_version": "0.2.2",
                "scale_inline_thumbnail": false, "state_panel_thumbnail": true,
            },
            // Home Assistant knows a server by it: the one that is announced (`advertise`).
            "discovery": {
                "upnpUuid": advertise::uuid(&machine_name(), endpoint.station.name()),
                "publicHost": null, "publicPort": null, "pathPrefix": null, "httpUsername": null, "httpPassword": null,
            },
        },
        "feature": {"sdSupport": false, "temperatureGraph": false},
        "webcam": {
            "flipH": says("flip_horizontal", true.into()), "flipV": says("flip_vertical", true.into()),
            "rotate90": says("rotation", 90.into()), "streamUrl": show("stream"), "webcamEnabled": camera,
            // Not Moonraker's: OctoPrint's clients take the picture from it (octoprint-api 1.1.1).
            "snapshotUrl": show("snapshot"),
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

/// OctoPrint's identifier of a state.
pub(super) fn state_id(text: &str) -> String {
    match text {
        "Offline" => "OFFLINE".to_owned(),
        other => other.to_uppercase(),
    }
}

/// The printable file of this path, if the library has it.
async fn entry_of(endpoint: &Endpoint, path: &str) -> Option<Entry> {
    let entries = endpoint.station.library.list().await.ok()?;
    entries.into_iter().find(|entry| entry.path == path && entry.kind == EntryKind::Printable)
}

/// Moonraker leaves all but the state empty; the figures are known here, under the same keys and OctoPrint's own.
pub(super) async fn job(endpoint: &Endpoint, state: &PrinterState) -> Value {
    let job: &Job = &state.job;
    let now = crate::printer::clock::unix_now();
    let shown = job.phase != JobPhase::Idle;
    let of_job = job.file.as_deref().or(job.title.as_deref()).map(str::to_owned);
    let name = if shown { of_job } else { endpoint.octoprint.selected() };
    let entry = match &name {
        Some(name) => entry_of(endpoint, name).await,
        None => None,
    };
    let size = entry.as_ref().map(|entry| entry.size);
    let of = |value: Option<f64>| value.filter(|_| shown).map_or(Value::Null, |value| json!(value.round()));
    let elapsed = job.print_seconds(now);
    let length = of(job.filament_used_mm);
    let mut filament = Map::new();
    filament.insert("length".to_owned(), length.clone());
    if !length.is_null() {
        filament.insert("tool0".to_owned(), json!({"length": length, "volume": null}));
    }
    json!({
        "job": {
            "file": {
                "name": name.as_deref().map(crate::model::text::base_name),
                "display": name.as_deref().map(crate::model::text::base_name),
                "path": name,
                "origin": name.as_ref().map(|_| "local"),
                "size": size,
                "date": entry.map(|entry| entry.modified as u64),
            },
            "estimatedPrintTime": of(job.remaining_s.map(|left| elapsed + left)),
            "averagePrintTime": null,
            "lastPrintTime": null,
            "filament": filament,
            "user": null,
        },
        "progress": {
            "completion": shown.then(|| (job.progress * 1000.0).round() / 10.0),
            "filepos": size.filter(|_| shown).map(|size| (job.progress.clamp(0.0, 1.0) * size as f64) as u64),
            "printTime": of(Some(elapsed)),
            "printTimeLeft": of(job.remaining_s),
            "printTimeOrigin": null,
            "printTimeLeftOrigin": job.remaining_s.filter(|_| shown).map(|_| "genius"),
        },
        "state": state_text(endpoint, state),
    })
}

/// What the push channel tells of a moment; temperatures are added there.
pub(super) async fn current(endpoint: &Endpoint, state: &PrinterState) -> Value {
    let mut current = job(endpoint, state).await;
    let printer = printer(endpoint, state);
    let job = &state.job;
    let height = job.layer.map(|layer| json!(layer)).unwrap_or(Value::Null);
    if let Some(members) = current.as_object_mut() {
        members.insert("state".to_owned(), printer.get("state").cloned().unwrap_or_default());
        for (name, value) in [
            ("currentZ", Value::Null),
            ("layer", json!({"current": height, "total": job.total_layers})),
            ("offsets", json!({})),
            ("resends", json!({"count": 0, "ratio": 0, "transmitted": 0})),
            ("logs", json!([])),
            ("messages", json!([])),
            ("busyFiles", json!([])),
            ("markings", json!([])),
        ] {
            members.insert(name.to_owned(), value);
        }
    }
    current
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
        "sd": {"ready": false},
        "state": {"text": text, "flags": {
            "operational": operational,
            "paused": text == "Paused",
            "printing": text == "Printing",
            "cancelling": text == "Cancelling",
            "pausing": text == "Pausing",
            "resuming": state.job.phase == JobPhase::Resuming,
            "finishing": false,
            "sdReady": false,
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

/// The tree of printable files below `folder` (empty: all), `None` where there is no such folder.
pub(super) async fn files(
    endpoint: &Endpoint,
    folder: &str,
    deep: bool,
    caller: &Caller,
) -> Result<Option<Value>, RpcError> {
    let library = &endpoint.station.library;
    let entries = library.list().await?;
    let is_folder = |entry: &Entry| entry.kind == EntryKind::Directory && entry.path == folder;
    if !folder.is_empty() && !entries.iter().any(is_folder) {
        return Ok(None);
    }
    let children = children(&entries, folder, deep, caller);
    if !folder.is_empty() {
        let mut facts = folder_facts(folder, caller);
        facts.insert("children".to_owned(), children.into());
        return Ok(Some(facts.into()));
    }
    let disk = library.disk_usage().await;
    Ok(Some(json!({"files": children, "free": disk.free, "total": disk.total})))
}

fn children(entries: &[Entry], folder: &str, deep: bool, caller: &Caller) -> Vec<Value> {
    let inside = |entry: &&Entry| {
        let name = if folder.is_empty() {
            Some(entry.path.as_str())
        } else {
            entry.path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'))
        };
        name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
    };
    let shown = |entry: &Entry| match entry.kind {
        EntryKind::Printable => Some(file(entry, caller)),
        EntryKind::Directory => {
            let mut facts = folder_facts(&entry.path, caller);
            if deep {
                facts.insert("children".to_owned(), children(entries, &entry.path, true, caller).into());
            }
            Some(facts.into())
        }
        _ => None,
    };
    entries.iter().filter(inside).filter_map(shown).collect()
}

fn folder_facts(path: &str, caller: &Caller) -> Map<String, Value> {
    let url = utf8_percent_encode(path, PATH);
    let mut facts = Map::new();
    for (name, value) in [
        ("name", json!(crate::model::text::base_name(path))),
        ("display", json!(crate::model::text::base_name(path))),
        ("path", json!(path)),
        ("origin", json!("local")),
        ("type", json!("folder")),
        ("typePath", json!(["folder"])),
        ("refs", json!({"resource": format!("{}/api/files/local/{url}", caller.base_url)})),
    ] {
        facts.insert(name.to_owned(), value);
    }
    facts
}

/// One printable file or folder, or `None` where there is none of this path.
pub(super) async fn file_facts(
    endpoint: &Endpoint,
    path: &str,
    deep: bool,
    caller: &Caller,
) -> Result<Option<Value>, RpcError> {
    match entry_of(endpoint, path).await {
        Some(entry) => Ok(Some(file(&entry, caller))),
        None => files(endpoint, path, deep, caller).await,
    }
}

pub fn file(entry: &Entry, caller: &Caller) -> Value {
    let url = utf8_percent_encode(&entry.path, PATH);
    let name = crate::model::text::base_name(&entry.path);
    json!({
        "name": name, "display": name, "path": entry.path,
        "origin": "local", "type": "machinecode", "typePath": ["machinecode", "gcode"],
        "size": entry.size, "date": entry.modified as u64,
        "refs": {
            "resource": format!("{}/api/files/local/{url}", caller.base_url),
            "download": format!("{}/server/files/gcodes/{url}", caller.base_url),
        },
    })
}
