//! `POST /server/files/upload` and OctoPrint's `/api/files/local`: streamed to disk, never held in memory
//! (moonraker.md 2.8).

use std::io::SeekFrom;
use std::path::PathBuf;

use axum::body::Body;
use axum::extract::multipart::Field;
use axum::extract::{FromRequest, Multipart};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::Endpoint;
use super::error::RpcError;
use super::http::json_answer;
use super::methods::printer::start_job;
use super::methods::roots;
use super::rpc::{Caller, add_member};
use crate::jobs::StartRequest;
use crate::library::{Upload, Uploaded};
use crate::model::text::base_name;

/// Text fields beside the file are short.
const LARGEST_FIELD: usize = 8 << 10;
const PIECE: usize = 256 << 10;
/// What stays readable in a path of a URL.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// The fields of the form; they may come in any order.
#[derive(Default)]
struct Form {
    root: Option<String>,
    path: Option<String>,
    print: bool,
    checksum: Option<String>,
    plate: Option<u32>,
    file: Option<Received>,
}

/// The file part. Where its folder was not known yet, it waits in an unlinked file.
enum Received {
    Direct { upload: Box<Upload>, directory: String },
    Staged { file: tokio::fs::File, name: String },
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
    let file = form.file.take().ok_or_else(|| RpcError::bad_request("Multipart filename omitted"))?;
    match form.root.as_deref().unwrap_or("gcodes") {
        "gcodes" => into_library(endpoint, form, file, caller, octoprint).await,
        "config" => into_config(endpoint, form, file, caller).await,
        "logs" => Err(RpcError::bad_request("Invalid root request: logs")),
        other => Err(RpcError::bad_request(format!("Root {other} not available"))),
    }
}

fn too_large(limit: u64) -> RpcError {
    RpcError::new(413, format!("The file is larger than the gateway takes ({} MiB).", limit >> 20))
}

fn broken(error: &axum::extract::multipart::MultipartError) -> RpcError {
    RpcError::bad_request(format!("The upload broke off or is no valid form: {error}"))
}

async fn take_field(endpoint: &Endpoint, form: &mut Form, field: Field<'_>) -> Result<(), RpcError> {
    let name = field.name().unwrap_or_default().to_owned();
    if name == "file" || (field.file_name().is_some() && form.file.is_none()) {
        form.file = Some(receive_file(endpoint, form, field).await?);
        return Ok(());
    }
    let text = read_text(field).await?;
    match name.as_str() {
        "root" => form.root = Some(text.trim().to_owned()).filter(|root| !root.is_empty()),
        "path" => form.path = Some(text.trim().trim_matches('/').to_owned()),
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

async fn receive_file(endpoint: &Endpoint, form: &Form, mut field: Field<'_>) -> Result<Received, RpcError> {
    let name = base_name(field.file_name().unwrap_or_default()).trim().to_owned();
    if name.is_empty() {
        return Err(RpcError::bad_request("Multipart filename omitted"));
    }
    let library = form.root.as_deref().is_none_or(|root| root == "gcodes");
    if let (true, Some(directory)) = (library, form.path.clone()) {
        let mut upload = endpoint.station.library.begin_upload(&directory, &name).await?;
        while let Some(piece) = field.chunk().await.map_err(|error| broken(&error))? {
            upload.write(piece).await?;
        }
        return Ok(Received::Direct { upload: Box::new(upload), directory });
    }
    let folder = endpoint.station.library.root().to_owned();
    let staged = tokio::task::spawn_blocking(move || tempfile::tempfile_in(folder)).await;
    let disk = |error: std::io::Error| RpcError::new(507, format!("The upload cannot be stored: {error}"));
    let file = staged.map_err(|_| RpcError::new(500, "The upload was interrupted."))?.map_err(disk)?;
    let mut file = tokio::fs::File::from_std(file);
    let mut size = 0u64;
    while let Some(piece) = field.chunk().await.map_err(|error| broken(&error))? {
        size += piece.len() as u64;
        if size > endpoint.config.max_upload {
            return Err(too_large(endpoint.config.max_upload));
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
        Received::Direct { upload, directory: begun } if begun == directory => *upload,
        Received::Direct { .. } => {
            return Err(RpcError::bad_request("The upload names two different paths."));
        }
        Received::Staged { file, name } => {
            let upload = endpoint.station.library.begin_upload(&directory, &name).await?;
            pour(file, upload).await?
        }
    };
    let uploaded = upload.finish(form.checksum.as_deref(), form.plate).await?;
    let started = form.print && start(endpoint, &uploaded, form.plate).await;
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
    Ok(created(answer, &format!("{}{route}{}", caller.base_url, utf8_percent_encode(&entry.path, PATH))))
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
async fn start(endpoint: &Endpoint, uploaded: &Uploaded, plate: Option<u32>) -> bool {
    let Some(first) = uploaded.printable.first() else { return false };
    let request = StartRequest { file: first.path.clone(), plate, ..StartRequest::default() };
    start_job(&endpoint.station, request).await.is_ok()
}

async fn into_config(
    endpoint: &Endpoint,
    form: Form,
    file: Received,
    caller: &Caller,
) -> Result<Response<Body>, RpcError> {
    let Received::Staged { file, name } = file else {
        return Err(RpcError::bad_request("The upload names two different roots."));
    };
    let directory = form.path.unwrap_or_default();
    let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
    let item = keep_in_config(endpoint, file, &path).await?;
    let answer = json!({"action": "create_file", "item": item});
    Ok(created(
        answer,
        &format!("{}/server/files/config/{}", caller.base_url, utf8_percent_encode(&path, PATH)),
    ))
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
    let disk = |error: std::io::Error| RpcError::bad_request(format!("The file cannot be stored: {error}"));
    roots::check_free(endpoint, file.metadata().await.map_err(disk)?.len()).await?;
    if let Some(folder) = on_disk.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(disk)?;
    }
    file.seek(SeekFrom::Start(0)).await.map_err(disk)?;
    let mut target = tokio::fs::File::create(&on_disk).await.map_err(disk)?;
    tokio::io::copy(&mut file, &mut target).await.map_err(disk)?;
    target.flush().await.map_err(disk)?;
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
