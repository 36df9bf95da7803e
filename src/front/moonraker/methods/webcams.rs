//! `server.webcams.*` (moonraker.md 2.11): the printer's camera, and those that users enter in a UI.

use std::sync::PoisonError;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::Endpoint;
use super::super::cameras::{self, Asker, Webcam};
use super::super::error::RpcError;
use super::super::rpc::Call;

/// A picture for a test may be this old.
const FRESH: Duration = Duration::from_secs(5);

fn asker(call: &Call) -> Asker<'_> {
    Asker { base_url: &call.caller.base_url, user: call.caller.current_user() }
}

pub async fn list(call: Call) -> Result<Value, RpcError> {
    Ok(json!({"webcams": cameras::listed(&call.endpoint, &asker(&call))?}))
}

/// The entry that a call names, by `uid` or `name`.
fn find(call: &Call) -> Result<Webcam, RpcError> {
    let (field, wanted) = match call.args.opt_text("uid")? {
        Some(uid) => ("uid", uid),
        None => ("name", call.args.text("name")?),
    };
    let known = cameras::all(&call.endpoint, &asker(call))?;
    let found = known.into_iter().find(|webcam| !webcam.removed && webcam.text(field) == wanted);
    let by = if field == "uid" { "with UID " } else { "" };
    found.ok_or_else(|| RpcError::not_found(format!("Webcam {by}{wanted} not found")))
}

pub async fn get_item(call: Call) -> Result<Value, RpcError> {
    Ok(json!({"webcam": find(&call)?.fields}))
}

pub async fn post_item(call: Call) -> Result<Value, RpcError> {
    let webcam = {
        let _order = call.endpoint.database.lock().unwrap_or_else(PoisonError::into_inner);
        let mut webcam = changed(&call)?;
        cameras::take(&mut webcam, &call.args.0)?;
        let (name, uid) = (webcam.text("name"), webcam.text("uid"));
        let known = cameras::all(&call.endpoint, &asker(&call))?;
        let taken = |other: &Webcam| !other.removed && other.text("name") == name && other.text("uid") != uid;
        if known.iter().any(taken) {
            return Err(RpcError::bad_request(format!("Webcam with name '{name}' already exists")));
        }
        cameras::keep(&call.endpoint, &webcam)?;
        webcam
    };
    // What a user was told is kept: not even a power cut may bring the old entry back.
    call.endpoint.station.store.flush().await?;
    tell(&call.endpoint);
    Ok(json!({"webcam": webcam.fields}))
}

/// The entry that a post changes: a known one, one that was removed, or a new one.
fn changed(call: &Call) -> Result<Webcam, RpcError> {
    let uid = call.args.opt_text("uid")?;
    let name = call.args.opt_text("name")?;
    let known = cameras::all(&call.endpoint, &asker(call))?;
    let is_meant = |webcam: &Webcam| match (&uid, &name) {
        (Some(uid), _) => webcam.text("uid") == uid,
        (None, Some(name)) => webcam.text("name") == name,
        (None, None) => false,
    };
    if let Some(mut webcam) = known.into_iter().find(is_meant) {
        webcam.removed = false;
        return Ok(webcam);
    }
    if let Some(uid) = uid {
        return Err(RpcError::not_found(format!("Webcam with UID {uid} not found")));
    }
    if call.args.text("name")?.is_empty() {
        return Err(RpcError::bad_request("Webcam name cannot be empty"));
    }
    // Without it there is nothing to show.
    call.args.text("stream_url")?;
    let mut fields = cameras::defaults();
    fields.insert("uid".to_owned(), uuid::Uuid::new_v4().to_string().into());
    Ok(Webcam { fields, appeared: None, removed: false })
}

/// Each client gets URLs for the address and the login it came with.
fn tell(endpoint: &Endpoint) {
    endpoint.hub.notify_each("notify_webcams_changed", |base_url, user| {
        let webcams = cameras::listed(endpoint, &Asker { base_url, user: Some(user) }).ok()?;
        Some(json!({"webcams": webcams}))
    });
}

pub async fn delete_item(call: Call) -> Result<Value, RpcError> {
    let webcam = find(&call)?;
    cameras::remove(&call.endpoint, &webcam)?;
    call.endpoint.station.store.flush().await?;
    tell(&call.endpoint);
    Ok(json!({"webcam": webcam.fields}))
}

/// The gateway fetches no foreign addresses for its clients: only its own camera is looked at.
pub async fn test(call: Call) -> Result<Value, RpcError> {
    let webcam = find(&call)?;
    let own = webcam.appeared.as_ref().is_some_and(|appeared| {
        appeared.get("snapshot_url").and_then(Value::as_str) == Some(webcam.text("snapshot_url"))
    });
    let reachable = own && call.endpoint.station.camera.snapshot(FRESH).await.is_ok();
    Ok(json!({
        "name": webcam.text("name"),
        "snapshot_reachable": reachable,
        "snapshot_url": webcam.text("snapshot_url"),
        "stream_url": webcam.text("stream_url"),
    }))
}
