//! Timelapses as the UIs know them from the component of that name: choices, events, and two roots of files.
//!
//! ```text
//! timelapse/<print>_<job id>.zip    the pictures          timelapse/<print>_<job id>.mp4    where it was made
//! timelapse/<print>_<job id>.jpg    the last picture      timelapse/printer/...             the printer's own videos
//! timelapse/<name>.zip              what a user had packed
//! timelapse_frames/<job id>/layer-00001.jpg       timelapse_frames/frame000001.jpg          the newest recording's first
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::Endpoint;
use super::download;
use super::error::RpcError;
use super::methods::roots::Item;
use crate::camera::timelapse::{Choices, Collection, ExportError, Recording, TimelapseEvent};
use crate::library::{EntryKind, LibraryError};
use crate::model::text::base_name;

/// The folder of the printer's own videos, here and in the library.
const PRINTER: &str = "printer";
const ON_PRINTER: &str = "printer/timelapse";

/// What a file of the root is.
enum File {
    Zip(Recording),
    Video(Recording),
    Preview(Recording),
    /// Path in the library.
    Printer(String),
    /// Its name, and where it lies.
    Collection(String, PathBuf),
}

impl From<ExportError> for RpcError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::NotFound => RpcError::not_found("Not Found"),
            other => RpcError::new(503, other.to_string()),
        }
    }
}

/// Names and sizes of what a recording is shown as.
fn files(recording: &Recording) -> Vec<(String, u64)> {
    let named = |suffix: &str| format!("{}.{suffix}", recording.title());
    let mut files = Vec::new();
    if recording.frames > 0 {
        files.push((named("zip"), recording.bytes.saturating_sub(recording.video.unwrap_or(0))));
        files.push((named("jpg"), recording.bytes / recording.frames as u64));
    }
    files.extend(recording.video.map(|size| (named("mp4"), size)));
    files
}

/// What the root holds at `folder`: its top, or the printer's own.
///
/// # Errors
/// 400 for a folder that is not there, the disk's and the printer's errors.
pub async fn items(endpoint: &Endpoint, folder: &str) -> Result<Vec<Item>, RpcError> {
    let station = &endpoint.station;
    match folder {
        "" => {
            let failed = |error: std::io::Error| RpcError::new(500, error.to_string());
            let mut items = Vec::new();
            for recording in station.timelapses.list().await.map_err(failed)? {
                let modified = recording.modified;
                let item = |(path, size)| Item { path, directory: false, size, modified };
                items.extend(files(&recording).into_iter().map(item));
            }
            for Collection { name, bytes, modified } in
                station.timelapses.collections().await.map_err(failed)?
            {
                items.push(Item { path: name, directory: false, size: bytes, modified });
            }
            if station.printer.capabilities().files.list {
                // Its own age is not asked for: that would read the printer's card at every look at the top.
                let modified = endpoint.started;
                items.push(Item { path: PRINTER.to_owned(), directory: true, size: 0, modified });
            }
            Ok(items)
        }
        PRINTER => {
            let entries = match station.library.directory(ON_PRINTER).await {
                // No card, or the printer never made one.
                Err(LibraryError::NotFound(_)) => Vec::new(),
                entries => entries?,
            };
            let files = entries.into_iter().filter(|entry| entry.kind != EntryKind::Directory);
            let shown = files.map(|entry| Item {
                path: format!("{PRINTER}/{}", base_name(&entry.path)),
                directory: false,
                size: entry.size,
                modified: entry.modified,
            });
            Ok(shown.collect())
        }
        other => Err(super::methods::roots::no_directory(other)),
    }
}

async fn find(endpoint: &Endpoint, path: &str) -> Result<File, RpcError> {
    let missing = || RpcError::not_found("Not Found");
    if let Some(file) = path.strip_prefix("printer/") {
        return Ok(File::Printer(format!("{ON_PRINTER}/{file}")));
    }
    let (title, suffix) = path.rsplit_once('.').ok_or_else(missing)?;
    if let Ok(on_disk) = endpoint.station.timelapses.collection(path).await {
        return Ok(File::Collection(path.to_owned(), on_disk));
    }
    let known = endpoint.station.timelapses.list().await.map_err(|_error| missing())?;
    let recording = known.into_iter().find(|recording| recording.title() == title).ok_or_else(missing)?;
    match suffix {
        "zip" => Ok(File::Zip(recording)),
        "mp4" => Ok(File::Video(recording)),
        "jpg" => Ok(File::Preview(recording)),
        _ => Err(missing()),
    }
}

/// Sends a file of the root. A video that was not made yet is made now.
///
/// # Errors
/// 404 for what is not there, 503 where there is no encoder.
pub async fn send(endpoint: &Endpoint, parts: &Parts, path: &str) -> Result<Response<Body>, RpcError> {
    let missing = || RpcError::not_found("Not Found");
    let timelapses = &endpoint.station.timelapses;
    let on_disk = match find(endpoint, path).await? {
        File::Zip(recording) => {
            let body = match parts.method {
                Method::HEAD => Body::empty(),
                _ => Body::from_stream(timelapses.zip(&recording.id).await?),
            };
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::OK;
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
            response
                .headers_mut()
                .insert(header::CONTENT_DISPOSITION, download::disposition(base_name(path)));
            return Ok(response);
        }
        File::Video(recording) => timelapses.own_video(&recording.id).await?,
        File::Preview(recording) => {
            let frames = timelapses.frames(&recording.id).await.map_err(|_error| missing())?;
            frames.last().cloned().ok_or_else(missing)?
        }
        File::Printer(file) => endpoint.station.library.open(&file).await?,
        File::Collection(_, on_disk) => on_disk,
    };
    download::send(parts, &on_disk, base_name(path), true).await
}

/// What an archive of a file of the root holds, by name: a recording's zip stands for its pictures.
///
/// # Errors
/// As [`send`].
pub async fn members(endpoint: &Endpoint, path: &str) -> Result<Vec<(String, PathBuf)>, RpcError> {
    let timelapses = &endpoint.station.timelapses;
    let on_disk = match find(endpoint, path).await? {
        File::Zip(recording) => {
            let frames =
                timelapses.frames(&recording.id).await.map_err(|_error| RpcError::not_found("Not Found"))?;
            let title = recording.title();
            let named = |frame: PathBuf| {
                let name = frame.file_name().unwrap_or_default().to_string_lossy();
                (format!("timelapse/{title}/{name}"), frame)
            };
            return Ok(frames.into_iter().map(named).collect());
        }
        File::Video(recording) => timelapses.own_video(&recording.id).await?,
        File::Preview(recording) => {
            let frames =
                timelapses.frames(&recording.id).await.map_err(|_error| RpcError::not_found("Not Found"))?;
            frames.last().cloned().ok_or_else(|| RpcError::not_found("Not Found"))?
        }
        File::Printer(file) => endpoint.station.library.open(&file).await?,
        File::Collection(_, on_disk) => on_disk,
    };
    Ok(vec![(format!("timelapse/{path}"), on_disk)])
}

/// Keeps an archive in the root, tells all clients, and describes it.
///
/// # Errors
/// 400 for a name that is none or that a recording has, the disk's error.
pub async fn keep(endpoint: &Endpoint, name: &str, archive: tokio::fs::File) -> Result<Value, RpcError> {
    if matches!(find(endpoint, name).await, Ok(File::Zip(_))) {
        return Err(RpcError::bad_request(format!("timelapse/{name} is a recording.")));
    }
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::InvalidInput => {
            RpcError::bad_request(format!("Cannot write an archive to timelapse/{name}"))
        }
        _ => RpcError::new(500, error.to_string()),
    };
    let kept = endpoint.station.timelapses.keep_collection(name, archive).await.map_err(failed)?;
    let item = item(&kept.name, kept.bytes, kept.modified);
    endpoint.hub.notify("notify_filelist_changed", Some(json!({"action": "create_file", "item": item})));
    Ok(item)
}

/// What is told of a file that is no more.
fn gone(name: &str) -> Value {
    let item = json!({"path": name, "root": "timelapse", "modified": 0, "size": 0, "permissions": ""});
    json!({"action": "delete_file", "item": item})
}

fn item(name: &str, size: u64, modified: f64) -> Value {
    json!({"path": name, "root": "timelapse", "modified": modified, "size": size, "permissions": "rw"})
}

/// Where a picture of `timelapse_frames` lies.
///
/// # Errors
/// 404 for what is not there.
pub async fn frame(endpoint: &Endpoint, path: &str) -> Result<PathBuf, RpcError> {
    let missing = || RpcError::not_found("Not Found");
    let timelapses = &endpoint.station.timelapses;
    let Some((id, name)) = path.split_once('/') else {
        // Fluidd counts: it makes up the names that the component gives to its pictures.
        let number =
            path.strip_prefix("frame").and_then(|rest| rest.strip_suffix(".jpg")?.parse::<usize>().ok());
        let newest = timelapses.list().await.unwrap_or_default().into_iter().next().ok_or_else(missing)?;
        let frames = timelapses.frames(&newest.id).await.map_err(|_error| missing())?;
        return frames
            .into_iter()
            .nth(number.and_then(|n| n.checked_sub(1)).ok_or_else(missing)?)
            .ok_or_else(missing);
    };
    let frames = timelapses.frames(id).await.map_err(|_error| missing())?;
    let named = |file: &PathBuf| file.file_name().is_some_and(|known| known == name);
    frames.into_iter().find(named).ok_or_else(missing)
}

/// Removes a file: with the zip goes the whole recording, with the video only the video.
///
/// # Errors
/// 404 for what is not there; the disk's and the printer's errors.
pub async fn delete(endpoint: &Endpoint, path: &str) -> Result<(), RpcError> {
    let timelapses = &endpoint.station.timelapses;
    let failed = |error: std::io::Error| RpcError::new(500, error.to_string());
    match find(endpoint, path).await? {
        File::Zip(recording) => {
            timelapses.remove(&recording.id).await.map_err(failed)?;
            // The caller tells of the zip.
            for (name, _) in files(&recording).into_iter().filter(|(name, _)| name != path) {
                endpoint.hub.notify("notify_filelist_changed", Some(gone(&name)));
            }
            Ok(())
        }
        File::Video(recording) => timelapses.remove_video(&recording.id).await.map_err(failed),
        // The UIs delete it along with the video.
        File::Preview(_) => Ok(()),
        File::Printer(file) => Ok(endpoint.station.library.delete(&file).await.map(drop)?),
        File::Collection(name, _) => timelapses.remove_collection(&name).await.map_err(failed),
    }
}

/// The choices in the component's words; what cannot be chosen here is blocked.
pub fn settings(endpoint: &Endpoint) -> Map<String, Value> {
    let choices = endpoint.station.timelapses.choices();
    let mut fields = match json!({
        "mode": "layermacro", "camera": "camera", "autorenderOnce": false, "saveframes": true,
        "stream_delay_compensation": 0.05, "gcode_verbose": false, "parkhead": false, "parkpos": "back_left",
        "park_custom_pos_x": 0.0, "park_custom_pos_y": 0.0, "park_custom_pos_dz": 0.0, "park_travel_speed": 100,
        "park_retract_speed": 15, "park_extrude_speed": 15, "park_retract_distance": 1.0,
        "park_extrude_distance": 1.0, "park_time": 0.1, "fw_retract": false, "hyperlapse_cycle": 30,
        "constant_rate_factor": 23, "pixelformat": "yuv420p", "extraoutputparams": "", "variable_fps": false,
        "targetlength": 10, "variable_fps_min": 5, "variable_fps_max": 60, "rotation": 0,
        "duplicatelastframe": 0, "previewimage": true, "time_format_code": "%Y%m%d_%H%M",
    }) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let mut blocked: Vec<Value> = fields.keys().map(|name| Value::from(name.as_str())).collect();
    blocked.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    fields.insert("blockedsettings".to_owned(), blocked.into());
    fields.insert("enabled".to_owned(), choices.enabled.into());
    fields.insert("autorender".to_owned(), choices.autorender.into());
    fields.insert("output_framerate".to_owned(), choices.framerate.into());
    fields
}

/// Takes choices in the component's words; others are left as they are.
///
/// # Errors
/// 400 for a value of the wrong kind, the disk's error.
pub async fn choose(endpoint: &Endpoint, sent: &Map<String, Value>) -> Result<(), RpcError> {
    let wrong = |name: &str, wanted: &str| {
        RpcError::bad_request(format!("Invalid value for timelapse setting '{name}': it must be {wanted}."))
    };
    let flag = |name: &str, known: bool| match sent.get(name) {
        None => Ok(known),
        Some(value) => match (value.as_bool(), value.as_str()) {
            (Some(on), _) => Ok(on),
            (_, Some("true" | "True" | "1")) => Ok(true),
            (_, Some("false" | "False" | "0")) => Ok(false),
            _ => Err(wrong(name, "true or false")),
        },
    };
    let known = endpoint.station.timelapses.choices();
    let rate = match sent.get("output_framerate") {
        None => known.framerate,
        Some(value) => {
            let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
            let number = number.and_then(|number| u32::try_from(number).ok());
            number.filter(|n| (1..=60).contains(n)).ok_or_else(|| wrong("output_framerate", "1 to 60"))?
        }
    };
    let choices = Choices {
        enabled: flag("enabled", known.enabled)?,
        autorender: flag("autorender", known.autorender)?,
        framerate: rate,
    };
    let failed = |error: std::io::Error| RpcError::new(500, error.to_string());
    endpoint.station.timelapses.choose(choices).await.map_err(failed)
}

/// Number and name of the newest picture of the newest recording.
pub async fn last_frame(endpoint: &Endpoint) -> (usize, String) {
    let timelapses = &endpoint.station.timelapses;
    let Some(newest) = timelapses.list().await.unwrap_or_default().into_iter().next() else {
        return (0, String::new());
    };
    let frames = timelapses.frames(&newest.id).await.unwrap_or_default();
    let last = frames.last().and_then(|path| path.file_name()).map(|name| name.to_string_lossy());
    (frames.len(), last.map_or_else(String::new, |name| format!("{}/{name}", newest.id)))
}

/// Tells all clients what happens, until the endpoint ends.
pub async fn run(endpoint: Arc<Endpoint>) {
    let mut events = endpoint.station.timelapses.events();
    loop {
        let event = tokio::select! {
            () = endpoint.cancel.cancelled() => return,
            event = events.recv() => event,
        };
        match event {
            Ok(event) => tell(&endpoint, &event),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Tells all clients of one event.
pub fn tell(endpoint: &Endpoint, event: &TimelapseEvent) {
    let hub = &endpoint.hub;
    let render = |recording: &Recording, status: &str, progress: u8, text: &str| {
        let title = recording.title();
        hub.notify(
            "notify_timelapse_event",
            Some(json!({
                "action": "render", "status": status, "progress": progress, "msg": text,
                "filename": format!("{title}.mp4"), "printfile": recording.name,
                "previewimage": format!("{title}.jpg"),
            })),
        );
    };
    let file = |action: &str, name: String, size: u64, modified: f64| {
        let item = item(&name, size, modified);
        hub.notify("notify_filelist_changed", Some(json!({"action": action, "item": item})));
    };
    match event {
        TimelapseEvent::Frame { id, number, file } => hub.notify(
            "notify_timelapse_event",
            Some(json!({
                "action": "newframe", "frame": number.to_string(), "framefile": format!("{id}/{file}"),
                "status": "success",
            })),
        ),
        TimelapseEvent::Rendering { recording } => render(recording, "running", 0, "Rendering started"),
        TimelapseEvent::Rendered { recording } => {
            render(recording, "success", 100, "Rendering successful");
            let name = format!("{}.mp4", recording.title());
            file("create_file", name, recording.video.unwrap_or(0), recording.modified);
        }
        TimelapseEvent::RenderFailed { recording, reason } => render(recording, "error", 0, reason),
        // One by one: Mainsail drops its list at a `root_update` and reads nothing anew.
        TimelapseEvent::Ended { recording, removed } => {
            for (name, size) in recording.iter().flat_map(files) {
                let modified = recording.as_ref().map_or(0.0, |recording| recording.modified);
                file("create_file", name, size, modified);
            }
            for (name, _) in removed.iter().flat_map(files) {
                hub.notify("notify_filelist_changed", Some(gone(&name)));
            }
        }
    }
}
