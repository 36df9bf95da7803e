//! `GET /server/files/{root}/{path}`: ranges, dates, names (moonraker.md 2.8; `server.files.download.json`).

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use percent_encoding::utf8_percent_encode;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::Endpoint;
use super::error::RpcError;
use super::http::{decoded, empty, json_answer};
use super::logs::{self, LogFile};
use super::methods::roots::{self, Root};
use super::{theme, timelapse};
use crate::library::{LibraryError, names};
use crate::model::text::base_name;
use crate::url;

/// Pictures of files are open: image tags of the front ends send no headers (moonraker.md 2.3). What a camera saw is
/// not, nor what lies on the printer, which would be fetched for it.
pub fn is_open(file: &str) -> bool {
    let file = decoded(file).to_ascii_lowercase();
    let picture = file.ends_with(".png") || file.ends_with(".jpg");
    picture
        && match Root::of(&file) {
            Some(Root::Timelapse(_) | Root::Frames(_)) => false,
            Some(Root::Library(path)) => names::remote_path(path).is_none(),
            _ => true,
        }
}

/// Answers a download below `/server/files/`.
///
/// # Errors
/// 404 as JSON for what is not there.
pub async fn answer(endpoint: &Endpoint, parts: &Parts, file: &str) -> Result<Response<Body>, RpcError> {
    let path = decoded(file);
    if let Some(Root::Timelapse(file)) = Root::of(&path) {
        return timelapse::send(endpoint, parts, file).await;
    }
    if let Some(file) = log_file(endpoint, &path) {
        return send_text(parts, &file).await;
    }
    let on_disk = match find(endpoint, &path).await {
        Ok(on_disk) => on_disk,
        Err(error) => {
            let printer = endpoint.station.printer.title();
            let supplied = path.strip_prefix("config/").and_then(|file| theme::supplied(file, printer));
            return supplied.map(|content| json_answer(StatusCode::OK, &content)).ok_or(error);
        }
    };
    send(parts, &on_disk, base_name(&path), true).await
}

/// `logs/NAME`, and the two short names that clients know from early servers (moonraker.md 2.8).
fn log_file(endpoint: &Endpoint, path: &str) -> Option<LogFile> {
    let name = match path {
        "klippy.log" | "moonraker.log" => path,
        _ => path.strip_prefix("logs/")?,
    };
    logs::find(endpoint, name)
}

/// A file that exists in memory only, with everything that [`send`] does for files.
async fn send_text(parts: &Parts, file: &LogFile) -> Result<Response<Body>, RpcError> {
    let failed = |error: std::io::Error| RpcError::new(500, format!("The log cannot be sent: {error}"));
    let (text, name) = (file.text.clone(), file.name);
    let written = tokio::task::spawn_blocking(move || {
        use std::io::Write;
        let mut copy = tempfile::NamedTempFile::new()?;
        copy.write_all(text.as_bytes())?;
        copy.flush().map(|()| copy)
    });
    let copy = written.await.map_err(|_| RpcError::new(500, "The download was interrupted."))?;
    send(parts, copy.map_err(failed)?.path(), name, true).await
}

async fn find(endpoint: &Endpoint, path: &str) -> Result<PathBuf, RpcError> {
    let missing = || RpcError::not_found("Not Found");
    match Root::of(path).ok_or_else(missing)? {
        Root::Library(file) if !file.is_empty() => {
            endpoint.station.library.open(file).await.map_err(|error| match error {
                LibraryError::NotFound(_) | LibraryError::BadName(_) => missing(),
                other => other.into(),
            })
        }
        Root::Config(file) if !file.is_empty() => {
            let item = roots::config_item(endpoint, file).await.map_err(|_gone| missing())?;
            if item.directory { Err(missing()) } else { roots::config_path(endpoint, file) }
        }
        Root::Frames(file) => timelapse::frame(endpoint, file).await,
        _ => Err(missing()),
    }
}

/// Sends a file, or the part of it that was asked for.
///
/// # Errors
/// 404 where it cannot be opened.
pub async fn send(
    parts: &Parts,
    on_disk: &Path,
    name: &str,
    attachment: bool,
) -> Result<Response<Body>, RpcError> {
    let missing = |_error| RpcError::not_found("Not Found");
    let mut file = tokio::fs::File::open(on_disk).await.map_err(missing)?;
    let facts = file.metadata().await.map_err(missing)?;
    if !facts.is_file() {
        return Err(RpcError::not_found("Not Found"));
    }
    let (size, modified) = (facts.len(), facts.modified().ok());
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(name)));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(date) = modified.and_then(http_date) {
        headers.insert(header::LAST_MODIFIED, date);
    }
    if attachment {
        headers.insert(header::CONTENT_DISPOSITION, disposition(name));
    }
    if modified.is_some_and(|modified| is_unchanged(&parts.headers, modified)) {
        return Ok(with(empty(StatusCode::NOT_MODIFIED), headers));
    }
    let (status, start, length) = match range(&parts.headers, size) {
        Range::All => (StatusCode::OK, 0, size),
        Range::Part(start, length) => {
            let part = format!("bytes {start}-{}/{size}", start + length - 1);
            insert(&mut headers, header::CONTENT_RANGE, &part);
            (StatusCode::PARTIAL_CONTENT, start, length)
        }
        Range::Impossible => {
            insert(&mut headers, header::CONTENT_RANGE, &format!("bytes */{size}"));
            insert(&mut headers, header::CONTENT_LENGTH, "0");
            return Ok(with(empty(StatusCode::RANGE_NOT_SATISFIABLE), headers));
        }
    };
    insert(&mut headers, header::CONTENT_LENGTH, &length.to_string());
    if parts.method == Method::HEAD {
        return Ok(with(empty(status), headers));
    }
    file.seek(SeekFrom::Start(start)).await.map_err(missing)?;
    let mut response =
        Response::new(Body::from_stream(ReaderStream::with_capacity(file.take(length), 64 << 10)));
    *response.status_mut() = status;
    Ok(with(response, headers))
}

fn with(mut response: Response<Body>, headers: HeaderMap) -> Response<Body> {
    response.headers_mut().extend(headers);
    response
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    All,
    /// Start and length.
    Part(u64, u64),
    Impossible,
}

/// One range of bytes; several, or one that is not understood, are answered by the whole.
fn range(headers: &HeaderMap, size: u64) -> Range {
    let value = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let Some((first, last)) = value.and_then(|value| value.strip_prefix("bytes=")?.split_once('-')) else {
        return Range::All;
    };
    match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), _) if first >= size => Range::Impossible,
        (Ok(first), Ok(last)) if last >= first => Range::Part(first, last.min(size - 1) - first + 1),
        (Ok(first), Err(_)) if last.trim().is_empty() => Range::Part(first, size - first),
        (Err(_), Ok(0)) if first.trim().is_empty() => Range::Impossible,
        (Err(_), Ok(count)) if first.trim().is_empty() && size > 0 => {
            let count = count.min(size);
            Range::Part(size - count, count)
        }
        _ => Range::All,
    }
}

fn is_unchanged(headers: &HeaderMap, modified: SystemTime) -> bool {
    let since = headers.get(header::IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok());
    let since = since.and_then(|text| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok());
    let modified = jiff::Timestamp::try_from(modified).ok();
    matches!((since, modified), (Some(since), Some(modified)) if modified.as_second() <= since.as_second())
}

fn http_date(time: SystemTime) -> Option<HeaderValue> {
    let time = jiff::Timestamp::try_from(time).ok()?;
    let text = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()?;
    HeaderValue::from_str(&text).ok()
}

/// An ASCII name for old clients and the real one.
pub fn disposition(name: &str) -> HeaderValue {
    let plain = |c: char| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') || c == ' ' { c } else { '_' };
    let ascii: String = name.chars().map(plain).collect();
    let encoded = utf8_percent_encode(name, url::SEGMENT);
    HeaderValue::from_str(&format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}"))
        .unwrap_or_else(|_| HeaderValue::from_static("attachment"))
}

/// By the last suffix; G-code is text for the viewers of the UIs.
fn content_type(name: &str) -> &'static str {
    let suffix = name.rsplit_once('.').map(|(_, suffix)| suffix.to_ascii_lowercase());
    match suffix.as_deref() {
        Some("gcode" | "g" | "gco" | "nc" | "txt" | "log" | "cfg" | "conf" | "toml") => "text/plain",
        Some("png") => "image/png",
        Some("mp4") => "video/mp4",
        Some("avi") => "video/x-msvideo",
        Some("zip") => "application/zip",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("svg") => "image/svg+xml",
        Some("ico") => "image/x-icon",
        Some("webp") => "image/webp",
        Some("html") => "text/html; charset=UTF-8",
        Some("css") => "text/css",
        Some("js" | "mjs") => "text/javascript",
        Some("json" | "map" | "webmanifest") => "application/json",
        Some("wasm") => "application/wasm",
        Some("woff") => "font/woff",
        Some("woff2") => "font/woff2",
        Some("ttf") => "font/ttf",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str, size: u64) -> Range {
        let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_str(text).expect("header"))]);
        range(&headers, size)
    }

    /// The cases of `server.files.download.json`, and odd ones.
    #[test]
    fn ranges_are_cut_to_the_file() {
        assert_eq!(asked("bytes=0-19", 8480), Range::Part(0, 20));
        assert_eq!(asked("bytes=-10", 8480), Range::Part(8470, 10));
        assert_eq!(asked("bytes=99999999-", 8480), Range::Impossible);
        assert_eq!(asked("bytes=8000-99999", 8480), Range::Part(8000, 480));
        assert_eq!(asked("bytes=5-", 8480), Range::Part(5, 8475));
        assert_eq!(asked("bytes=-99999", 10), Range::Part(0, 10));
        assert_eq!(asked("bytes=5-2", 10), Range::All);
        assert_eq!(asked("lines=1-2", 10), Range::All);
        assert_eq!(asked("bytes=0-", 0), Range::Impossible);
    }

    #[test]
    fn pictures_of_files_are_open_and_what_lies_on_the_printer_is_not() {
        for open in ["gcodes/.thumbs/cube-32x32.png", "gcodes/printers/a.png", "config/.theme/sidebar.PNG"] {
            assert!(is_open(open), "{open}");
        }
        for closed in [
            "gcodes/cube.gcode",
            "gcodes/printer/timelapse/a.jpg",
            "/gcodes/printer%2Fa.png",
            "timelapse/a.jpg",
            "timelapse_frames/000001/a.jpg",
        ] {
            assert!(!is_open(closed), "{closed}");
        }
    }

    #[test]
    fn names_survive_in_the_header() {
        assert_eq!(
            disposition("up load.gcode"),
            "attachment; filename=\"up load.gcode\"; filename*=UTF-8''up%20load.gcode"
        );
        assert_eq!(
            disposition("w\u{fc}rfel\"\n.png"),
            "attachment; filename=\"w_rfel__.png\"; filename*=UTF-8''w%C3%BCrfel%22%0A.png"
        );
    }
}
