//! `server.webcams.*` (moonraker.md 2.11): the printer's camera, and those that users enter in a UI.

use std::sync::PoisonError;

use serde_json::{Map, Value, json};

use super::super::Endpoint;
use super::super::error::RpcError;
use super::super::rpc::Call;
use crate::model::CameraKind;

const NAME: &str = "camera";

fn space(endpoint: &Endpoint) -> String {
    format!("moonraker_webcams/{}", endpoint.station.name())
}

/// Fields of an entry and what they are when nobody says otherwise.
fn defaults() -> Map<String, Value> {
    let fields = json!({
        "name": "", "enabled": true, "icon": "mdiWebcam", "aspect_ratio": "16:9", "target_fps": 15,
        "target_fps_idle": 5, "location": "printer", "service": "mjpegstreamer-adaptive", "stream_url": "",
        "snapshot_url": "", "flip_horizontal": false, "flip_vertical": false, "rotation": 0,
        "source": "database", "extra_data": {}, "uid": ""
    });
    if let Value::Object(fields) = fields { fields } else { Map::new() }
}

/// The printer's own camera. The URLs are absolute: every client resolves relative ones in its own way.
fn own(endpoint: &Endpoint, base_url: &str) -> Option<Value> {
    let caps = endpoint.station.printer.capabilities();
    if caps.camera == CameraKind::None {
        return None;
    }
    let mut fields = defaults();
    let known = json!({
        "name": NAME,
        "stream_url": format!("{base_url}/webcam/?action=stream"),
        "snapshot_url": format!("{base_url}/webcam/?action=snapshot"),
        "source": "config",
        "uid": own_uid(endpoint.station.name()),
    });
    if let Value::Object(known) = known {
        fields.extend(known);
    }
    Some(Value::Object(fields))
}

/// The same in every run: clients store it.
fn own_uid(printer: &str) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(format!("moongate camera {printer}"));
    let mut bytes = [0u8; 16];
    for (byte, digest) in bytes.iter_mut().zip(digest) {
        *byte = digest;
    }
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

fn all(endpoint: &Endpoint, base_url: &str) -> Result<Vec<Value>, RpcError> {
    let stored = endpoint.station.store.list(&space(endpoint))?;
    Ok(own(endpoint, base_url).into_iter().chain(stored.into_iter().map(|(_, value)| value)).collect())
}

pub async fn list(call: Call) -> Result<Value, RpcError> {
    Ok(json!({"webcams": all(&call.endpoint, &call.caller.base_url)?}))
}

fn find(call: &Call) -> Result<Value, RpcError> {
    let (field, wanted) = match call.args.opt_text("uid")? {
        Some(uid) => ("uid", uid),
        None => ("name", call.args.text("name")?),
    };
    let known = all(&call.endpoint, &call.caller.base_url)?;
    let found = known.into_iter().find(|cam| cam.get(field).and_then(Value::as_str) == Some(&wanted));
    found.ok_or_else(|| RpcError::not_found(format!("Webcam {wanted} not found")))
}

fn text<'a>(webcam: &'a Value, field: &str) -> &'a str {
    webcam.get(field).and_then(Value::as_str).unwrap_or_default()
}

pub async fn get_item(call: Call) -> Result<Value, RpcError> {
    Ok(json!({"webcam": find(&call)?}))
}

pub async fn post_item(call: Call) -> Result<Value, RpcError> {
    let known = match find(&call) {
        Ok(webcam) if text(&webcam, "source") == "config" => {
            let name = text(&webcam, "name");
            return Err(RpcError::bad_request(format!(
                "Cannot overwrite webcam '{name}' sourced from Moonraker configuration"
            )));
        }
        Ok(Value::Object(webcam)) => Some(webcam),
        _ => None,
    };
    let fresh = known.is_none();
    let mut fields = known.unwrap_or_else(defaults);
    if fresh {
        call.args.text("name")?;
        fields.insert("uid".to_owned(), uuid::Uuid::new_v4().to_string().into());
    }
    for (name, value) in &call.args.0 {
        let fixed = matches!(name.as_str(), "uid" | "source");
        let right_type = fields.get(name).is_some_and(|old| same_type(old, value));
        if right_type && !fixed {
            fields.insert(name.clone(), value.clone());
        }
    }
    let webcam = Value::Object(fields);
    {
        let _order = call.endpoint.database.lock().unwrap_or_else(PoisonError::into_inner);
        call.endpoint.station.store.put(&space(&call.endpoint), text(&webcam, "uid"), webcam.clone())?;
    }
    tell(&call)?;
    Ok(json!({"webcam": webcam}))
}

fn same_type(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn tell(call: &Call) -> Result<(), RpcError> {
    let webcams = all(&call.endpoint, &call.caller.base_url)?;
    call.endpoint.hub.notify("notify_webcams_changed", Some(json!({"webcams": webcams})));
    Ok(())
}

pub async fn delete_item(call: Call) -> Result<Value, RpcError> {
    let webcam = find(&call)?;
    if text(&webcam, "source") == "config" {
        let name = text(&webcam, "name");
        return Err(RpcError::bad_request(format!(
            "Cannot delete webcam '{name}' sourced from Moonraker configuration"
        )));
    }
    call.endpoint.station.store.delete(&space(&call.endpoint), text(&webcam, "uid"))?;
    tell(&call)?;
    Ok(json!({"webcam": webcam}))
}

/// The gateway fetches no foreign addresses for its clients: only its own camera can be said to be reachable.
pub async fn test(call: Call) -> Result<Value, RpcError> {
    let webcam = find(&call)?;
    let reachable = text(&webcam, "source") == "config" && call.endpoint.station.printer.state().online();
    Ok(json!({
        "name": text(&webcam, "name"),
        "snapshot_reachable": reachable,
        "snapshot_url": text(&webcam, "snapshot_url"),
        "stream_url": text(&webcam, "stream_url"),
    }))
}
