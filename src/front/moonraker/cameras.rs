//! The camera entries of a printer (moonraker.md 2.11): those that appear by themselves, what users changed of them,
//! and cameras that users added.
//!
//! | printer's camera | entries that appear |
//! |---|---|
//! | JPEG | `camera`: `mjpegstreamer-adaptive` |
//! | H.264 | `camera`: `hlsstream`, played without transcoding; `camera-mjpeg`, off until a user wants it |
//!
//! Of an entry that appeared only the changed fields are kept, so its URLs go on following the client's own address.

use serde_json::{Map, Value, json};

use super::Endpoint;
use super::error::RpcError;
use crate::access::Identity;
use crate::model::CameraKind;

/// Entries of users at most.
const MOST: usize = 50;
/// What of an entry that appeared is kept instead of fields when a user removed it.
const REMOVED: &str = "removed";
const URLS: [&str; 2] = ["stream_url", "snapshot_url"];

/// Who asks: URLs are made for him.
pub struct Asker<'a> {
    pub base_url: &'a str,
    pub user: Option<Identity>,
}

/// An entry of the list.
pub struct Webcam {
    pub fields: Map<String, Value>,
    /// As it appeared by itself; `None` for one that a user added.
    pub appeared: Option<Map<String, Value>>,
    /// Removed by a user: not listed, and back when it is posted again.
    pub removed: bool,
}

impl Webcam {
    pub fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Fields of an entry and what they are when nobody says otherwise.
pub fn defaults() -> Map<String, Value> {
    object(json!({
        "name": "", "enabled": true, "icon": "mdiWebcam", "aspect_ratio": "4:3", "target_fps": 15,
        "target_fps_idle": 5, "location": "printer", "service": "mjpegstreamer", "stream_url": "",
        "snapshot_url": "", "flip_horizontal": false, "flip_vertical": false, "rotation": 0,
        "source": "database", "extra_data": {}, "uid": ""
    }))
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(fields) = value { fields } else { Map::new() }
}

fn space(endpoint: &Endpoint) -> String {
    format!("moonraker_webcams/{}", endpoint.station.name())
}

/// The printer's own camera. The URLs are absolute: every client resolves relative ones in its own way.
fn appearing(endpoint: &Endpoint, asker: &Asker<'_>) -> Vec<Map<String, Value>> {
    let camera = &endpoint.station.camera;
    let base = asker.base_url;
    let pass = asker.user.as_ref().and_then(|user| endpoint.access.picture_pass(user));
    let url = |path: &str| match &pass {
        Some(pass) if path.contains('?') => format!("{base}/webcam/{path}&{pass}"),
        Some(pass) => format!("{base}/webcam/{path}?{pass}"),
        None => format!("{base}/webcam/{path}"),
    };
    let (width, height) = camera.size().unwrap_or((16, 9));
    let entry = |name: &str, own: Value| {
        let mut fields = defaults();
        fields.extend(object(json!({
            "name": name,
            "aspect_ratio": ratio(width, height),
            "target_fps": camera.usual_rate().unwrap_or(10),
            "service": "mjpegstreamer-adaptive",
            "stream_url": url("?action=stream"),
            "snapshot_url": url("?action=snapshot"),
            "uid": uid(endpoint.station.name(), name),
        })));
        fields.extend(object(own));
        fields
    };
    match endpoint.station.printer.capabilities().camera {
        CameraKind::None => Vec::new(),
        CameraKind::Jpeg => vec![entry("camera", json!({}))],
        CameraKind::H264 => vec![
            entry("camera", json!({"service": "hlsstream", "stream_url": url("hls/index.m3u8")})),
            // Decoding and encoding costs: nobody should watch it unawares in an overview of all cameras.
            entry("camera-mjpeg", json!({"enabled": false})),
        ],
    }
}

/// `16:9` of 1280 and 720.
fn ratio(width: u32, height: u32) -> String {
    let (mut a, mut b) = (width, height);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    let divisor = a.max(1);
    format!("{}:{}", width / divisor, height / divisor)
}

/// The same in every run: clients store it.
fn uid(printer: &str, name: &str) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(format!("moongate {name} {printer}"));
    let mut bytes = [0u8; 16];
    for (byte, digest) in bytes.iter_mut().zip(digest) {
        *byte = digest;
    }
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// Every entry, also removed ones, those that appeared first.
///
/// # Errors
/// The store's.
pub fn all(endpoint: &Endpoint, asker: &Asker<'_>) -> Result<Vec<Webcam>, RpcError> {
    let mut stored = endpoint.station.store.list(&space(endpoint))?;
    let mut webcams = Vec::new();
    for appeared in appearing(endpoint, asker) {
        let uid = appeared.get("uid").and_then(Value::as_str).unwrap_or_default();
        let mut fields = appeared.clone();
        let mut removed = false;
        if let Some(at) = stored.iter().position(|(key, _)| key == uid) {
            let mut changed = object(stored.swap_remove(at).1);
            removed = changed.remove(REMOVED).is_some();
            fields.extend(changed);
        }
        webcams.push(Webcam { fields, appeared: Some(appeared), removed });
    }
    webcams.extend(
        stored
            .into_iter()
            .map(|(_, value)| Webcam { fields: object(value), appeared: None, removed: false })
            .filter(|webcam| !webcam.text("name").is_empty()),
    );
    Ok(webcams)
}

/// The entries as clients see them.
///
/// # Errors
/// The store's.
pub fn listed(endpoint: &Endpoint, asker: &Asker<'_>) -> Result<Vec<Value>, RpcError> {
    let webcams = all(endpoint, asker)?.into_iter().filter(|webcam| !webcam.removed);
    Ok(webcams.map(|webcam| Value::Object(webcam.fields)).collect())
}

/// Keeps an entry: whole, or what differs from how it appeared.
///
/// # Errors
/// Too many entries, or the store's error.
pub fn keep(endpoint: &Endpoint, webcam: &Webcam) -> Result<(), RpcError> {
    let (store, space) = (&endpoint.station.store, space(endpoint));
    let kept = match &webcam.appeared {
        None => webcam.fields.clone(),
        Some(appeared) => {
            let changed = webcam.fields.iter().filter(|(name, value)| appeared.get(*name) != Some(value));
            changed.map(|(name, value)| (name.clone(), value.clone())).collect()
        }
    };
    let known = store.list(&space)?;
    if known.len() >= MOST && !known.iter().any(|(key, _)| key == webcam.text("uid")) {
        return Err(RpcError::bad_request(format!("There are {MOST} webcams already; delete one first.")));
    }
    Ok(store.put(&space, webcam.text("uid"), Value::Object(kept))?)
}

/// Removes an entry; one that appears by itself stays away until it is posted again.
///
/// # Errors
/// The store's.
pub fn remove(endpoint: &Endpoint, webcam: &Webcam) -> Result<(), RpcError> {
    let (store, space) = (&endpoint.station.store, space(endpoint));
    if webcam.appeared.is_some() {
        return Ok(store.put(&space, webcam.text("uid"), json!({REMOVED: true}))?);
    }
    store.delete(&space, webcam.text("uid"))?;
    Ok(())
}

/// Takes what a client sent into an entry. A URL that only differs by its pass is the one that appeared.
///
/// # Errors
/// 400 with what is wrong with a field.
pub fn take(webcam: &mut Webcam, sent: &Map<String, Value>) -> Result<(), RpcError> {
    let known = defaults();
    for (name, value) in sent {
        let Some(default) = known.get(name).filter(|_| !matches!(name.as_str(), "uid" | "source")) else {
            continue;
        };
        let value = &converted(value, default);
        check(name, value, default)?;
        let appeared = webcam.appeared.as_ref().and_then(|appeared| appeared.get(name));
        let same_url = URLS.contains(&name.as_str())
            && appeared.and_then(Value::as_str).map(without_pass) == value.as_str().map(without_pass);
        let value = if same_url { appeared.unwrap_or(value) } else { value };
        webcam.fields.insert(name.clone(), value.clone());
    }
    Ok(())
}

/// A number or flag that was sent as text, as Mainsail's form and every query send it.
fn converted(value: &Value, default: &Value) -> Value {
    let number = |text: &str| text.trim().parse::<i64>().ok().map(Value::from);
    let flag = |text: &str| text.trim().to_ascii_lowercase().parse::<bool>().ok().map(Value::from);
    let meant = match (default, value) {
        (Value::Number(_), Value::String(text)) => number(text),
        // Whole numbers of clients that know no others.
        (Value::Number(_), Value::Number(sent)) => {
            sent.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 1e9).map(|n| Value::from(n as i64))
        }
        (Value::Bool(_), Value::String(text)) => flag(text),
        _ => None,
    };
    meant.unwrap_or_else(|| value.clone())
}

fn check(name: &str, value: &Value, default: &Value) -> Result<(), RpcError> {
    let same_type = std::mem::discriminant(value) == std::mem::discriminant(default);
    let parts = || value.as_str().and_then(|text| text.split_once(':'));
    let number = |text: &str| text.parse::<u32>().is_ok_and(|number| number > 0);
    let wanted = match name {
        _ if !same_type => "another type",
        "rotation" if !matches!(value.as_i64(), Some(0 | 90 | 180 | 270)) => "0, 90, 180 or 270",
        "aspect_ratio" if !parts().is_some_and(|(a, b)| number(a) && number(b)) => "WIDTH:HEIGHT",
        "target_fps" | "target_fps_idle" if !value.as_i64().is_some_and(|n| (0..=240).contains(&n)) => {
            "0 to 240"
        }
        _ if value.to_string().len() > 8192 => "shorter",
        _ => return Ok(()),
    };
    Err(RpcError::bad_request(format!("Invalid value for webcam field '{name}': it must be {wanted}.")))
}

/// A URL as it looks without a pass.
fn without_pass(url: &str) -> String {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let kept: Vec<&str> =
        query.split('&').filter(|part| !part.is_empty() && !part.starts_with("pass=")).collect();
    if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aspects_are_reduced() {
        for (size, text) in [((1280, 720), "16:9"), ((640, 480), "4:3"), ((0, 0), "0:0"), ((7, 0), "1:0")] {
            assert_eq!(ratio(size.0, size.1), text);
        }
    }

    #[test]
    fn a_pass_is_not_taken_for_a_change() {
        let appeared = object(json!({"stream_url": "http://a/webcam/?action=stream", "rotation": 0}));
        let mut webcam =
            Webcam { fields: appeared.clone(), appeared: Some(appeared.clone()), removed: false };
        let sent =
            json!({"stream_url": "http://a/webcam/?action=stream&pass=k.x", "rotation": 90, "uid": "y"});
        take(&mut webcam, &object(sent)).unwrap();
        assert_eq!(webcam.fields["stream_url"], appeared["stream_url"]);
        assert_eq!(webcam.fields["rotation"], 90);
        assert!(!webcam.fields.contains_key("uid"));
        // Mainsail's form sends the rate as text (WebcamForm.vue, 2.18.2).
        let texts =
            json!({"target_fps": "30", "target_fps_idle": 5.0, "rotation": "180", "enabled": "False"});
        take(&mut webcam, &object(texts)).unwrap();
        let read = ["target_fps", "target_fps_idle", "rotation", "enabled"].map(|name| &webcam.fields[name]);
        assert_eq!(read, [&json!(30), &json!(5), &json!(180), &json!(false)]);
        for wrong in [
            json!({"rotation": 45}),
            json!({"aspect_ratio": "wide"}),
            json!({"enabled": "yes"}),
            json!({"target_fps": "many"}),
            json!({"target_fps": "-1"}),
            json!({"target_fps": 29.97}),
            json!({"name": 5}),
        ] {
            assert!(take(&mut webcam, &object(wrong.clone())).is_err(), "{wrong}");
        }
    }
}
