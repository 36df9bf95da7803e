//! HTTP of the simulated CC1: the page OrcaSlicer probes, chunked upload, download (dossier 2.1, 2.10, 2.11).

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;

use axum::extract::multipart::{Multipart, MultipartRejection};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::machine::Transfer;
use super::{Shared, socket};
use crate::sim::elegoo_life::next_peer;
use crate::sim::elegoo_storage::{PARTIAL, VIDEO, base_name};

/// Largest request body; chunks are 1 MiB, small files may come in one piece.
const MAX_BODY: usize = 64 << 20;
/// The chunk size clients must keep to (dossier 2.10).
const CHUNK: u64 = 1 << 20;
/// HTTP connections served at once.
const CONNECTIONS: usize = 64;

/// Port 80.
pub fn web_routes(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route(
            "/",
            get(|| async { Html("<!doctype html><title>ELEGOO</title><h1>ELEGOO Centauri Carbon</h1>") }),
        )
        .route("/uploadFile/upload", post(upload))
        .route("/downloadFile/local/{name}", get(download))
        .route("/downloadFile/usb/{name}", get(download_from_stick))
        .route("/downloadFile/local/timelapse/{name}", get(download_video))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Arc::clone(shared))
}

/// Port 3030: the WebSocket, and the upload endpoint as well.
pub fn socket_routes(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/websocket", any(socket::upgrade))
        .route("/uploadFile/upload", post(upload))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Arc::clone(shared))
}

/// Serves a port until the process dies, and then drops every connection without a farewell.
pub async fn serve(shared: Arc<Shared>, listener: TcpListener, routes: Router, process: CancellationToken) {
    while let Some(stream) = next_peer(&listener, &process).await {
        let Some(open) = shared.web.enter(CONNECTIONS) else { continue };
        let service = TowerToHyperService::new(routes.clone());
        let process = process.clone();
        tokio::spawn(async move {
            let serving =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
            tokio::select! {
                () = process.cancelled() => {}
                _ = serving => {}
            }
            drop(open);
        });
    }
}

#[derive(Debug, Default)]
struct Chunk {
    verify: bool,
    md5: String,
    offset: String,
    uuid: String,
    total: String,
    file: Option<(String, Bytes)>,
    ordered: bool,
}

async fn upload(State(shared): State<Arc<Shared>>, form: Result<Multipart, MultipartRejection>) -> Response {
    let delay = shared.core().faults.delay;
    tokio::time::sleep(delay).await;
    if shared.core().faults.refuse_upload {
        return (StatusCode::SERVICE_UNAVAILABLE, "").into_response();
    }
    let Ok(form) = form else { return failure(-4) };
    let Some(chunk) = read_form(form).await else { return failure(-4) };
    match accept(&shared, chunk) {
        Ok(()) => {
            Json(json!({"code": "000000", "messages": null, "data": {}, "success": true})).into_response()
        }
        Err(code) => failure(code),
    }
}

/// -1 bad offset, -2 offset mismatch, -3 cannot open the file, -4 unknown.
fn failure(code: i64) -> Response {
    Json(json!({"code": "111111", "messages": [{"field": "common_field", "message": code}],
        "data": null, "success": false}))
    .into_response()
}

async fn read_form(mut form: Multipart) -> Option<Chunk> {
    let mut chunk = Chunk { ordered: true, ..Chunk::default() };
    let mut seen = Vec::new();
    while let Some(field) = form.next_field().await.ok()? {
        let key = field.name()?.to_owned();
        seen.push(key.clone());
        if key == "File" {
            let name = field.file_name()?.to_owned();
            chunk.file = Some((name, field.bytes().await.ok()?));
            continue;
        }
        let value = field.text().await.ok()?;
        match key.as_str() {
            "Check" => chunk.verify = value == "1",
            "S-File-MD5" => chunk.md5 = value,
            "Offset" => chunk.offset = value,
            "Uuid" => chunk.uuid = value,
            "TotalSize" => chunk.total = value,
            _ => return None,
        }
    }
    chunk.ordered = seen == ["Check", "S-File-MD5", "Offset", "Uuid", "TotalSize", "File"];
    Some(chunk)
}

fn accept(shared: &Shared, chunk: Chunk) -> Result<(), i64> {
    let mut core = shared.core();
    core.counters.chunks += 1;
    let (sent_name, bytes) = chunk.file.ok_or(-4)?;
    let name = base_name(&sent_name).ok_or(-3)?;
    if name != sent_name {
        core.violation(format!("upload name {sent_name:?} has path components"));
    }
    if !chunk.ordered {
        core.violation("upload fields are not in the vendor's order");
    }
    let offset: u64 = chunk.offset.parse().map_err(|_| -1)?;
    let total: u64 = chunk.total.parse().map_err(|_| -4)?;
    let length = bytes.len() as u64;
    if offset > total {
        return Err(-1);
    }
    if offset + length > total || chunk.uuid.is_empty() {
        return Err(-4);
    }
    if length > CHUNK && length != total {
        core.violation(format!("upload chunk of {length} bytes"));
    }
    if core.machine.stage.busy() && core.file == name {
        core.violation(format!("overwrites {name}, which is being printed"));
    }
    if core.faults.disk_full {
        return Err(-3);
    }
    let known = core.transfer.as_ref().filter(|t| t.uuid == chunk.uuid && t.name == name && !t.complete);
    let expected = known.map_or(0, |transfer| transfer.received);
    if offset != 0 && offset != expected {
        return Err(-2);
    }
    let partial = shared.storage.path(&format!("{name}{PARTIAL}")).ok_or(-3)?;
    write_at(&partial, offset, &bytes).map_err(|_| -3)?;
    let now = core.now;
    let mut sum = known.filter(|_| offset != 0).map(|transfer| transfer.sum.clone()).unwrap_or_default();
    sum.add(&bytes);
    core.transfer = Some(Transfer {
        uuid: chunk.uuid,
        name,
        md5: chunk.md5,
        sum,
        received: offset + length,
        verify: chunk.verify,
        touched: now,
        complete: offset + length == total,
    });
    Ok(())
}

fn write_at(path: &std::path::Path, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(offset == 0).open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

async fn download_from_stick(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    let plugged = shared.core().faults.usb_stick;
    match shared.stick.path(&name).filter(|_| plugged).and_then(|path| fs::read(path).ok()) {
        Some(content) => content.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn download_video(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    let url = format!("/local/timelapse/{name}");
    let there = shared.core().history.iter().any(|record| record.video && record.video_url() == url);
    if there { VIDEO.into_response() } else { StatusCode::NOT_FOUND.into_response() }
}

async fn download(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    match shared.storage.path(&name).and_then(|path| fs::read(path).ok()) {
        Some(content) => content.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
