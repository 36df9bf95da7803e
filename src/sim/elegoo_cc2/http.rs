//! HTTP of the simulated CC2 (dossier 3.2, 3.13): serial number, chunked PUT upload, and a download whose answer
//! carries both `Content-Length` and chunked encoding. Written on the bare socket because no library sends that.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::machine::Transfer;
use crate::sim::elegoo_life::next_peer;
use crate::sim::elegoo_storage::{PARTIAL, VIDEO, base_name};

/// Largest head and body of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;
const MAX_BODY: usize = 16 << 20;
/// The chunk size clients must keep to.
const CHUNK: u64 = 1 << 20;
/// Connections served at once, and how long an idle one is kept.
const CONNECTIONS: usize = 32;
const IDLE: Duration = Duration::from_secs(30);
/// Bytes per chunk of a download.
const PIECE: usize = 32 << 10;

struct Request {
    method: String,
    path: String,
    query: HashMap<String, String>,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Serves the port until the power goes.
pub async fn serve(shared: Arc<Shared>, listener: TcpListener, power: CancellationToken) {
    while let Some(stream) = next_peer(&listener, &power).await {
        if !shared.options.lan_only {
            continue;
        }
        let Some(open) = shared.web.enter(CONNECTIONS) else { continue };
        let (shared, power) = (Arc::clone(&shared), power.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = power.cancelled() => {}
                _ = converse(&shared, stream) => {}
            }
            drop(open);
        });
    }
}

async fn converse(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = timeout(IDLE, read_request(&mut stream, &mut buffer)).await?? {
        let delay = shared.core().faults.delay;
        sleep(delay).await;
        if request.path.starts_with("/download") && request.method == "GET" {
            download(shared, &request, &mut stream).await?;
            continue;
        }
        let (status, body) = answer(shared, &request);
        if request.method == "PUT" && shared.core().faults.loses_chunk_answer() {
            return Ok(());
        }
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let reply = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        stream.write_all(reply.as_bytes()).await?;
    }
    Ok(())
}

/// `None` at the end of the connection and for what is not HTTP or too large.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|end| end == b"\r\n\r\n") {
            break at;
        }
        if buffer.len() > MAX_HEAD || stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let rest = buffer.split_off(head_end + 4);
    let head = String::from_utf8_lossy(buffer).into_owned();
    *buffer = rest;
    let Some(mut request) = parse_head(&head) else { return Ok(None) };
    let length = request.header("content-length").parse::<usize>().unwrap_or(0);
    if length > MAX_BODY {
        return Ok(None);
    }
    if request.header("expect").eq_ignore_ascii_case("100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let rest = buffer.split_off(length);
    request.body = std::mem::replace(buffer, rest);
    Ok(Some(request))
}

fn parse_head(head: &str) -> Option<Request> {
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), decoded(value)))
        .collect();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Request { method, path: path.to_owned(), query, headers, body: Vec::new() })
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn answer(shared: &Shared, request: &Request) -> (&'static str, Value) {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/system/info") if !token_in_query(shared, request) => ("401 Unauthorized", Value::Null),
        ("GET", "/system/info") => {
            ("200 OK", json!({"error_code": 0, "system_info": {"sn": shared.core().options.serial}}))
        }
        ("PUT", path) if path == "/upload" || path.starts_with("/upload/") => upload(shared, request),
        _ => ("404 Not Found", Value::Null),
    }
}

/// The token counts in the query only (dossier 3.2).
fn token_in_query(shared: &Shared, request: &Request) -> bool {
    let wrong = shared.core().faults.wrong_code;
    !wrong && request.query.get("X-Token").is_some_and(|token| *token == shared.options.access_code)
}

fn upload(shared: &Shared, request: &Request) -> (&'static str, Value) {
    let faults = shared.core().faults.clone();
    if faults.wrong_code || request.header("x-token") != shared.options.access_code {
        return ("401 Unauthorized", json!({"error_code": 1000}));
    }
    if faults.refuse_upload {
        return ("429 Too Many Requests", Value::Null);
    }
    match accept(shared, request) {
        Ok(last) => ("200 OK", json!({"error_code": 0, "offset": last})),
        Err(error) => ("200 OK", json!({"error_code": error})),
    }
}

/// First byte, last byte and whole size of `bytes <first>-<last>/<total>`.
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let range = (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    (range.0 <= range.1 && range.1 < range.2).then_some(range)
}

/// The offset of the last byte written, or an `error_code`.
fn accept(shared: &Shared, request: &Request) -> Result<u64, i64> {
    let mut core = shared.core();
    core.counters.chunks += 1;
    let storage = match request.path.as_str() {
        "/upload" => &shared.storage,
        "/upload/udisk" if core.faults.usb_stick => &shared.stick,
        _ => return Err(1017),
    };
    let (first, last, total) = content_range(request.header("content-range")).ok_or(1003)?;
    let length = request.body.len() as u64;
    if length != last - first + 1 {
        return Err(9009);
    }
    let (sent_name, md5) = (decoded(request.header("x-file-name")), request.header("x-file-md5"));
    let name = base_name(&sent_name).ok_or(9007)?;
    if name != sent_name {
        core.violation(format!("upload name {sent_name:?} has path components"));
    }
    if md5.len() != 32 || request.header("content-type") != "application/octet-stream" {
        return Err(1003);
    }
    if length > CHUNK {
        core.violation(format!("upload chunk of {length} bytes"));
    }
    if core.machine.stage.busy() && core.file == name {
        core.violation(format!("overwrites {name}, which is being printed"));
    }
    if core.faults.disk_full {
        return Err(9002);
    }
    let known = core.transfer.as_ref().filter(|transfer| transfer.name == name && !transfer.complete);
    let expected = known.map_or(0, |transfer| transfer.received);
    if first != 0 && first != expected {
        return Err(9000);
    }
    let partial = storage.path(&format!("{name}{PARTIAL}")).ok_or(9001)?;
    write_at(&partial, first, &request.body).map_err(|_| 9002)?;
    let complete = last + 1 == total;
    let touched = core.now;
    let mut sum = known.filter(|_| first != 0).map(|transfer| transfer.sum.clone()).unwrap_or_default();
    sum.add(&request.body);
    let right = !complete || sum.clone().text() == md5;
    core.transfer = Some(Transfer { name: name.clone(), sum, received: last + 1, touched, complete });
    if complete {
        if !right {
            let _ = fs::remove_file(&partial);
            core.transfer = None;
            return Err(9004);
        }
        let target = storage.path(&name).ok_or(9001)?;
        fs::rename(&partial, &target).map_err(|_| 9002)?;
        core.counters.uploads += 1;
    }
    Ok(last)
}

fn write_at(path: &std::path::Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(offset == 0).open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

/// A file of a medium, or a rendered video.
fn content(shared: &Shared, page: &str, name: &str) -> Option<Vec<u8>> {
    let core = shared.core();
    let storage = match page {
        "/download" => &shared.storage,
        "/download/udisk" if core.faults.usb_stick => &shared.stick,
        _ => return None,
    };
    if core.history.iter().any(|task| task.video == 2 && task.video_url() == name) {
        return Some(VIDEO.to_vec());
    }
    fs::read(storage.path(&storage.find(name)?.name)?).ok()
}

async fn download(shared: &Shared, request: &Request, stream: &mut TcpStream) -> io::Result<()> {
    let name = request.query.get("file_name").map(String::as_str).unwrap_or_default();
    let status = if token_in_query(shared, request) { "404 Not Found" } else { "401 Unauthorized" };
    let (true, Some(content)) = (status.starts_with("404"), content(shared, &request.path, name)) else {
        let reply = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        return stream.write_all(reply.as_bytes()).await;
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        content.len()
    );
    stream.write_all(head.as_bytes()).await?;
    for piece in content.chunks(PIECE) {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        stream.write_all(piece).await?;
        stream.write_all(b"\r\n").await?;
    }
    stream.write_all(b"0\r\n\r\n").await
}
