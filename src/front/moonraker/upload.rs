//! `POST /server/files/upload` and OctoPrint's `/api/files/local`: streamed to disk, never held in memory
//! (moonraker.md 2.8).

use std::io::SeekFrom;
use std::path::PathBuf;

use axum::body::Body;
use axum::extract::multipart::Field;
use axum::extract::{FromRequest, Multipart};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use bytes::Bytes;
use percent_encoding::utf8_percent_encode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::Endpoint;
use super::disposition::{self, Disposition};
use super::error::RpcError;
use super::http::json_answer;
use super::methods::printer::{not_stopped, start_intended};
use super::methods::roots;
use super::rpc::{Caller, add_member};
use crate::jobs::{Intended, StartRequest};
use crate::library::{Upload, Uploaded, names};
use crate::model::Speaker;
use crate::model::text::base_name;
use crate::url::PATH;

/// Text fields beside the file are short.
const LARGEST_FIELD: usize = 8 << 10;
const PIECE: usize = 256 << 10;
/// Files of other roots are short too.
const LARGEST_OTHER: u64 = 16 << 20;

/// The fields of the form; they may come in any order.
#[derive(Default)]
struct Form {
    root: Option<String>,
    path: Option<String>,
    print: bool,
    /// OctoPrint: the file is chosen for a later start.
    select: bool,
    /// OctoPrint: a folder is wanted instead of a file.
    folder: Option<String>,
    checksum: Option<String>,
    plate: Option<u32>,
    file: Option<Received>,
}

/// The file part. What is no file for printing waits in an unlinked file until the root is known.
enum Received {
    /// `directory` is `None` where the folder was not known yet.
    Direct {
        upload: Box<Upload>,
        directory: Option<String>,
        name: String,
    },
    Staged {
        file: tokio::fs::File,
        name: String,
    },
}

impl Received {
    fn is_archive(&self) -> bool {
        let (Self::Direct { name, .. } | Self::Staged { name, .. }) = self;
        names::content(name) == names::Content::Archive
    }
}

/// Takes an upload and starts it if that was asked for.
///
/// # Errors
/// 400, 403, 413, 422, 507 with the reason; nothing of the file is left then. A refused start is no error: the file
/// has arrived (moonraker.md section 6, OrcaSlicer #13056).
pub async fn receive(
    endpoint: &Endpoint,
    parts: Parts,
    body: Body,
    caller: &Caller,
    octoprint: bool,
) -> Result<Response<Body>, RpcError> {
    let length =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let limit = endpoint.config.max_upload;
    if length.is_some_and(|length: u64| length > limit.saturating_add(64 << 10)) {
        return Err(too_large(limit));
    }
    let mut parts = parts;
    quote_boundary(&mut parts.headers);
    let request = Request::from_parts(parts, body);
    let mut multipart = Multipart::from_request(request, &())
        .await
        .map_err(|_rejected| RpcError::bad_request("The upload is not multipart/form-data."))?;
    let mut form = Form::default();
    loop {
        let field = multipart.next_field().await.map_err(|error| broken(&error))?;
        let Some(field) = field else { break };
        take_field(endpoint, &mut form, field).await?;
    }
    if octoprint
        && form.file.is_none()
        && let Some(name) = form.folder.take()
    {
        return make_folder(endpoint, form.path.as_deref().unwrap_or_default(), &name, caller).await;
    }
    let file = form.file.take().ok_or_else(|| RpcError::bad_request("Multipart filename omitted"))?;
    match form.root.as_deref().unwrap_or("gcodes") {
        "gcodes" => into_library(endpoint, form, file, caller, octoprint).await,
        "config" if file.is_archive() => misled_into_library(endpoint, form, file, caller).await,
        "config" => into_config(endpoint, form, file, caller).await,
        "logs" => Err(RpcError::bad_request("Invalid root request: logs")),
        other => Err(RpcError::bad_request(format!("Root {other} not available"))),
    }
}

/// Puts the boundary into quotes. Qt's boundaries are base64 and may hold a `/`, which needs them (RFC 2045 5.1), and
/// Cura's Moonraker plugin sends them without (fixtures/slicers).
fn quote_boundary(headers: &mut HeaderMap) {
    const KEY: &str = "boundary=";
    let Some(text) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return };
    let Some(at) = text.to_ascii_lowercase().find(KEY).map(|at| at + KEY.len()) else { return };
    let (Some(before), Some(rest)) = (text.get(..at), text.get(at..)) else { return };
    if rest.starts_with('"') {
        return;
    }
    let (boundary, further) = rest.split_once(';').map_or((rest, None), |(first, rest)| (first, Some(rest)));
    let further = further.map(|rest| format!(";{rest}")).unwrap_or_default();
    let quoted = format!("{before}\"{}\"{further}", boundary.trim());
    if let Ok(value) = HeaderValue::from_str(&quoted) {
        headers.insert(header::CONTENT_TYPE, value);
    }
}

fn too_large(limit: u64) -> RpcError {
    RpcError::new(413, format!("The file is larger than the gateway takes ({} MiB).", limit >> 20))
}

fn broken(error: &axum::extract::multipart::MultipartError) -> RpcError {
    RpcError::bad_request(format!("The upload broke off or is no valid form: {error}"))
}

async fn take_field(endpoint: &Endpoint, form: &mut Form, field: Field<'_>) -> Result<(), RpcError> {
    let Disposition { field: name, file } = disposition::of(field.headers());
    if name == "file" || (file.is_some() && form.file.is_none()) {
        form.file = Some(receive_file(endpoint, form, field, &file.unwrap_or_default()).await?);
        return Ok(());
    }
    let text = read_text(field).await?;
    match name.as_str() {
        "root" => form.root = Some(text.trim().to_owned()).filter(|root| !root.is_empty()),
        "path" => form.path = Some(text.trim().trim_matches('/').to_owned()),
        "select" => form.select = text.trim().eq_ignore_ascii_case("true"),
        "foldername" => form.folder = Some(text.trim().to_owned()).filter(|name| !name.is_empty()),
        "print" => form.print = text.trim().eq_ignore_ascii_case("true"),
        "checksum" => form.checksum = Some(text.trim().to_ascii_lowercase()).filter(|sum| !sum.is_empty()),
        // Plates count from 1; OrcaSlicer sends its index for archives only (moonraker.md 4.5).
        "plateindex" => form.plate = text.trim().parse().ok().filter(|plate| *plate > 0),
        _ => {}
    }
    Ok(())
}

async fn read_text(mut field: Field<'_>) -> Result<String, RpcError> {
    let mut text = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(|error| broken(&error))? {
        if text.len() + piece.len() > LARGEST_FIELD {
            return Err(RpcError::bad_request("A field of the upload form is too long."));
        }
        text.extend_from_slice(&piece);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

async fn receive_file(
    endpoint: &Endpoint,
    form: &Form,
    mut field: Field<'_>,
    name: &str,
) -> Result<Received, RpcError> {
    let name = base_name(name).trim().to_owned();
    if name.is_empty() {
        return Err(RpcError::bad_request("Multipart filename omitted"));
    }
    // The root may come behind the file; what can be printed belongs into the library.
    let printable = || names::content(&name) != names::Content::Other || names::packed_gcode(&name).is_some();
    let archive = || names::content(&name) == names::Content::Archive;
    let for_library = match form.root.as_deref() {
        None => printable(),
        Some(root) => root == "gcodes" || (root == "config" && archive()),
    };
    if for_library {
        let library = &endpoint.station.library;
        let below = form.path.as_ref().filter(|_| form.root.as_deref() != Some("config"));
        let mut upload = match below {
            Some(directory) => library.begin_upload(directory, &name).await?,
            None => library.begin_upload_somewhere(&name).await?,
        };
        while let Some(piece) = field.chunk().await.map_err(|error| broken(&error))? {
            upload.write(piece).await?;
        }
        return Ok(Received::Direct { upload: Box::new(upload), directory: below.cloned(), name });
    }
    let folder = endpoint.station.library.root().to_owned();
    let staged = tokio::task::spawn_blocking(move || tempfile::tempfile_in(folder)).await;
    let disk = |error: std::io::Error| RpcError::new(507, format!("The upload cannot be stored: {error}"));
    let file = staged.map_err(|_| RpcError::new(500, "The upload was interrupted."))?.map_err(disk)?;
    let mut file = tokio::fs::File::from_std(file);
    let mut size = 0u64;
    while let Some(piece) = field.chunk().await.map_err(|error| broken(&error))? {
        size += piece.len() as u64;
        if size > LARGEST_OTHER.min(endpoint.config.max_upload) {
            return Err(too_large(LARGEST_OTHER.min(endpoint.config.max_upload)));
        }
        file.write_all(&piece).await.map_err(disk)?;
    }
    file.flush().await.map_err(disk)?;
    Ok(Received::Staged { file, name })
}

async fn into_library(
    endpoint: &Endpoint,
    form: Form,
    file: Received,
    caller: &Caller,
    octoprint: bool,
) -> Result<Response<Body>, RpcError> {
    let directory = form.path.unwrap_or_default();
    let upload = match file {
        Received::Direct { upload, directory: Some(begun), .. } if begun == directory => *upload,
        Received::Direct { mut upload, directory: None, .. } => {
            upload.place_in(&directory).await?;
            *upload
        }
        Received::Direct { .. } => {
            return Err(RpcError::bad_request("The upload names two different paths."));
        }
        Received::Staged { file, name } => {
            let upload = endpoint.station.library.begin_upload(&directory, &name).await?;
            pour(file, upload).await?
        }
    };
    // A cancel that comes while the file is looked into means the print of it too.
    let intended = form.print.then(|| endpoint.station.jobs.intend());
    let uploaded = upload.finish(form.checksum.as_deref(), form.plate).await?;
    let started = match intended {
        Some(intended) => start(endpoint, &uploaded, form.plate, intended).await,
        None => false,
    };
    let entry = &uploaded.entry;
    let mut answer = json!({
        "action": "create_file",
        "item": {
            "path": entry.path, "root": "gcodes", "modified": entry.modified, "size": entry.size, "permissions": "rw",
        },
    });
    if !uploaded.printable.is_empty() {
        add_member(&mut answer, "print_started", Value::from(started));
        add_member(&mut answer, "print_queued", Value::from(false));
    }
    let route = if octoprint { "/api/files/moonraker/gcodes/" } else { "/server/files/gcodes/" };
    let location = format!("{}{route}{}", caller.base_url, utf8_percent_encode(&entry.path, PATH));
    if octoprint {
        octoprint_members(endpoint, &mut answer, &uploaded, form.select, started, caller);
    }
    Ok(created(answer, &location))
}

/// Mainsail drops what it does not know as G-code into `config`, sliced archives among it: nothing could be done with
/// one there. The folder that the client names is one of that root, and nothing is printed that was not meant as a print.
async fn misled_into_library(
    endpoint: &Endpoint,
    form: Form,
    file: Received,
    caller: &Caller,
) -> Result<Response<Body>, RpcError> {
    let (Received::Direct { name, .. } | Received::Staged { name, .. }) = &file;
    let told =
        format!("\"{name}\" is a sliced archive: it is with the G-code files, not with the configuration.");
    let file = match file {
        Received::Direct { upload, name, .. } => Received::Direct { upload, directory: None, name },
        staged @ Received::Staged { .. } => staged,
    };
    let form = Form { path: None, print: false, ..form };
    let answer = into_library(endpoint, form, file, caller, false).await?;
    endpoint.station.say(Speaker::Answer, told);
    Ok(answer)
}

/// What OctoPrint's own answer has beside Moonraker's (octoprint.md section 10).
fn octoprint_members(
    endpoint: &Endpoint,
    answer: &mut Value,
    uploaded: &Uploaded,
    select: bool,
    started: bool,
    caller: &Caller,
) {
    let shown = uploaded.printable.first().unwrap_or(&uploaded.entry);
    if select {
        endpoint.octoprint.select(shown.path.clone());
    }
    for (name, value) in [
        ("done", Value::from(true)),
        ("effectiveSelect", Value::from(select || started)),
        ("effectivePrint", Value::from(started)),
        ("files", json!({"local": super::octoprint::file(shown, caller)})),
    ] {
        add_member(answer, name, value);
    }
}

async fn make_folder(
    endpoint: &Endpoint,
    below: &str,
    name: &str,
    caller: &Caller,
) -> Result<Response<Body>, RpcError> {
    let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
    let entry = endpoint.station.library.make_directory(&path).await?;
    let location = format!("{}/api/files/local/{}", caller.base_url, utf8_percent_encode(&entry.path, PATH));
    let folder = json!({
        "name": base_name(&entry.path), "path": entry.path, "origin": "local", "refs": {"resource": location},
    });
    Ok(created(json!({"done": true, "folder": folder}), &location))
}

/// Feeds a whole file to an upload.
pub async fn pour(mut file: tokio::fs::File, mut upload: Upload) -> Result<Upload, RpcError> {
    let disk = |error: std::io::Error| RpcError::new(500, format!("The upload cannot be read back: {error}"));
    file.seek(SeekFrom::Start(0)).await.map_err(disk)?;
    loop {
        let mut piece = bytes::BytesMut::with_capacity(PIECE);
        if file.read_buf(&mut piece).await.map_err(disk)? == 0 {
            return Ok(upload);
        }
        upload.write(Bytes::from(piece)).await?;
    }
}

/// A refusal is told on the console; the upload itself has worked.
async fn start(endpoint: &Endpoint, uploaded: &Uploaded, plate: Option<u32>, intended: Intended) -> bool {
    let Some(first) = uploaded.printable.first() else { return false };
    if not_stopped(endpoint).is_err() {
        return false;
    }
    let request = StartRequest { file: first.path.clone(), plate, ..StartRequest::default() };
    start_intended(&endpoint.station, request, intended).await.is_ok()
}

async fn into_config(
    endpoint: &Endpoint,
    form: Form,
    file: Received,
    caller: &Caller,
) -> Result<Response<Body>, RpcError> {
    let (file, name) = match file {
        Received::Staged { file, name } => (file, name),
        // Mainsail names the root behind the file.
        Received::Direct { upload, name, .. } => {
            (tokio::fs::File::from_std((*upload).into_file().await?), name)
        }
    };
    let size = file.metadata().await.map_err(|error| unkept(&error))?.len();
    if size > LARGEST_OTHER {
        return Err(too_large(LARGEST_OTHER));
    }
    let directory = form.path.unwrap_or_default();
    let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
    let item = keep_in_config(endpoint, file, &path).await?;
    let answer = json!({"action": "create_file", "item": item});
    Ok(created(
        answer,
        &format!("{}/server/files/config/{}", caller.base_url, utf8_percent_encode(&path, PATH)),
    ))
}

fn unkept(error: &std::io::Error) -> RpcError {
    RpcError::bad_request(format!("The file cannot be stored: {error}"))
}

/// Puts a file below `config`, tells all clients, and describes it.
///
/// # Errors
/// 400 for a path that leaves the folder, 507 where the disk is nearly full.
pub async fn keep_in_config(
    endpoint: &Endpoint,
    mut file: tokio::fs::File,
    path: &str,
) -> Result<Value, RpcError> {
    let on_disk: PathBuf = roots::config_path(endpoint, path)?;
    let disk = |error: std::io::Error| unkept(&error);
    roots::check_free(endpoint, file.metadata().await.map_err(disk)?.len()).await?;
    if let Some(folder) = on_disk.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(disk)?;
    }
    file.seek(SeekFrom::Start(0)).await.map_err(disk)?;
    roots::store(endpoint, file.into_std().await, on_disk).await.map_err(disk)?;
    let item = roots::config_item(endpoint, path).await?.described("rw");
    let change = json!({"action": "create_file", "item": item});
    endpoint.hub.notify("notify_filelist_changed", Some(change));
    Ok(item)
}

/// The bare object, and a copy under `result`: clients expect the one or the other (moonraker.md 2.8).
fn created(mut answer: Value, location: &str) -> Response<Body> {
    let copy = answer.clone();
    add_member(&mut answer, "result", copy);
    let mut response = json_answer(StatusCode::CREATED, &answer);
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
