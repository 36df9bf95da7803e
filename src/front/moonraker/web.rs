//! What a browser finds at `/`: a built Mainsail or Fluidd that is configured, else a plain status page.

use std::path::PathBuf;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use super::Endpoint;
use super::download;
use super::error::RpcError;
use super::http::{base_url, decoded, empty, json_answer, respond_text};

/// Answers everything that is not the API.
///
/// # Errors
/// 404 as JSON, 405 for anything but reading.
pub async fn answer(endpoint: &Endpoint, parts: &Parts, path: &str) -> Result<Response<Body>, RpcError> {
    let exists = path == "/" || endpoint.config.web_root.is_some();
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Err(if exists {
            RpcError::new(405, "Method Not Allowed")
        } else {
            RpcError::not_found("Not Found")
        });
    }
    match &endpoint.config.web_root {
        Some(root) => from_folder(endpoint, parts, root, path).await,
        None if path == "/" => {
            Ok(respond_text(StatusCode::OK, "text/html; charset=UTF-8", status_page(endpoint)))
        }
        None => Err(RpcError::not_found("Not Found")),
    }
}

async fn from_folder(
    endpoint: &Endpoint,
    parts: &Parts,
    root: &std::path::Path,
    path: &str,
) -> Result<Response<Body>, RpcError> {
    if path == "/config.json" {
        let shipped = tokio::fs::read(root.join("config.json")).await.unwrap_or_default();
        return Ok(json_answer(StatusCode::OK, &page_config(parts, &shipped)));
    }
    if let Some(own_port) = own_port_for(endpoint, parts, root, path).await {
        return redirect(&own_port);
    }
    let path = decoded(path.trim_start_matches('/'));
    let plain = path.split('/').all(|part| part != ".." && !part.contains(['\\', '\0']));
    if !plain {
        return Err(RpcError::not_found("Not Found"));
    }
    let file: PathBuf = if path.is_empty() { root.join("index.html") } else { root.join(&path) };
    let inside = tokio::fs::canonicalize(&file).await.ok();
    let base = tokio::fs::canonicalize(root).await.ok();
    let inside = inside.zip(base).filter(|(file, base)| file.starts_with(base)).map(|(file, _)| file);
    match inside {
        Some(file) if tokio::fs::metadata(&file).await.is_ok_and(|facts| facts.is_file()) => {
            let name = file.to_string_lossy().into_owned();
            download::send(parts, &file, &name, false).await
        }
        // Routes of a single-page application have no file; files of it that are missing are missing.
        _ if !path.rsplit('/').next().unwrap_or_default().contains('.') => {
            download::send(parts, &root.join("index.html"), "index.html", false).await
        }
        _ => Err(RpcError::not_found("Not Found")),
    }
}

/// A web interface that was built for the root of a host (Mainsail) finds none of its parts below a prefix: there the
/// browser is sent to the printer's own port.
async fn own_port_for(
    endpoint: &Endpoint,
    parts: &Parts,
    root: &std::path::Path,
    path: &str,
) -> Option<String> {
    let full = parts.extensions.get::<axum::extract::OriginalUri>()?.path();
    let port = endpoint.station.moonraker_port;
    if path != "/" || full.len() <= path.len() || port == 0 {
        return None;
    }
    let page = tokio::fs::read_to_string(root.join("index.html")).await.ok()?;
    if !page.contains("src=\"/") {
        return None;
    }
    let base = base_url(parts, path);
    let (scheme, rest) = base.split_once("://")?;
    let host = rest.split('/').next()?;
    // The colons of an IPv6 address are inside its brackets.
    let name =
        host.rsplit_once(':').map_or(host, |(name, port)| if port.contains(']') { host } else { name });
    Some(format!("{scheme}://{name}:{port}/"))
}

fn redirect(to: &str) -> Result<Response<Body>, RpcError> {
    let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
    let to = HeaderValue::from_str(to).map_err(|_odd| RpcError::not_found("Not Found"))?;
    response.headers_mut().insert(header::LOCATION, to);
    Ok(response)
}

/// Where the page finds this printer, in what it was shipped with. The rest of that stays: Fluidd's settings fail without
/// its list of themes. Mainsail takes the page's own host when none is named; Fluidd wants the endpoint in full
/// (moonraker.md 4.1, 4.2).
fn page_config(parts: &Parts, shipped: &[u8]) -> Value {
    let mut config: Map<String, Value> = serde_json::from_slice(shipped).unwrap_or_default();
    config.extend(place(parts));
    // Of another host than the one that serves the page.
    for key in ["hostname", "port", "path"] {
        config.remove(key);
    }
    config.into()
}

fn place(parts: &Parts) -> Map<String, Value> {
    let endpoint = base_url(parts, "/config.json");
    let mut place = Map::new();
    let Ok(address) = endpoint.parse::<axum::http::Uri>() else { return place };
    let path = address.path().trim_end_matches('/');
    let (names, instances) = if path.is_empty() {
        ("moonraker", json!([]))
    } else {
        let port = address.port_u16().unwrap_or(if address.scheme_str() == Some("https") { 443 } else { 80 });
        ("json", json!([{"hostname": address.host(), "port": port, "path": path}]))
    };
    place.insert("instancesDB".to_owned(), names.into());
    place.insert("instances".to_owned(), instances);
    place.insert("endpoints".to_owned(), json!([endpoint]));
    place.insert("blacklist".to_owned(), json!([]));
    place.insert("hosted".to_owned(), false.into());
    place
}

fn status_page(endpoint: &Endpoint) -> String {
    let klippy = endpoint.klippy();
    let title = escaped(endpoint.station.printer.title());
    let message = escaped(&klippy.message).replace('\n', "<br>");
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} - moongate</title></head>\
         <body><h1>{title}</h1><p>{}: {message}</p>\
         <p>This is the Moonraker endpoint of this printer. Enter this host and port in Mainsail, Fluidd, Home Assistant \
         or your slicer (host type Klipper / Moonraker), or set <code>web_root</code> to the folder of a built web \
         interface.</p></body></html>",
        klippy.state
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
