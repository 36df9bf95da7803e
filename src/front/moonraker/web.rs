//! What a browser finds at `/`: a built Mainsail or Fluidd that is configured, else a plain status page.

use std::path::PathBuf;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use super::Endpoint;
use super::download;
use super::error::RpcError;
use super::fluidd;
use super::http::{base_url, decoded, empty, json_answer, respond_text};
use crate::access::was_forwarded;

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
        None if path == "/" => Ok(status_page(
            endpoint,
            "This is the Moonraker endpoint of this printer. Enter this host and port in Mainsail, Fluidd, Home Assistant \
             or your slicer (host type Klipper / Moonraker), or set <code>web_root</code> to the folder of a built web \
             interface.",
        )),
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
    let below = below_a_prefix(parts, path);
    if let Some(name) = below.filter(|_| path == "/").and_then(without_its_slash) {
        return redirect(&format!("{name}/"));
    }
    if below.is_some() && path == "/" && wants_the_root(root).await {
        return beside_the_prefix(endpoint, parts, path);
    }
    let endpoint_here = base_url(parts, path);
    let start = async || {
        let page = tokio::fs::read_to_string(root.join("index.html")).await;
        let page = page.map_err(|_error| RpcError::not_found("Not Found"))?;
        let title = endpoint.station.printer.title();
        let page = fluidd::at_home(page, &endpoint_here, title, below.is_some());
        let mut response = respond_text(StatusCode::OK, "text/html; charset=UTF-8", page);
        // It differs by the address that it was asked by.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Ok(response)
    };
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
        Some(_) if path.is_empty() || path == "index.html" => start().await,
        Some(file) if tokio::fs::metadata(&file).await.is_ok_and(|facts| facts.is_file()) => {
            let name = file.to_string_lossy().into_owned();
            download::send(parts, &file, &name, false).await
        }
        // Routes of a single-page application have no file; files of it that are missing are missing.
        _ if !path.rsplit('/').next().unwrap_or_default().contains('.') => start().await,
        _ => Err(RpcError::not_found("Not Found")),
    }
}

/// The full path of a request at an address of the gateway's own port.
fn below_a_prefix<'a>(parts: &'a Parts, path: &str) -> Option<&'a str> {
    let full = parts.extensions.get::<axum::extract::OriginalUri>().map(|uri| uri.path())?;
    (full.len() > path.len()).then_some(full)
}

/// The last part of a folder's path that lacks its slash: the page would look for its own parts beside the folder.
fn without_its_slash(full: &str) -> Option<&str> {
    full.rsplit('/').next().filter(|name| !name.is_empty())
}

/// A web interface that was built for the root of a host (Mainsail) finds none of its parts below a prefix.
async fn wants_the_root(root: &std::path::Path) -> bool {
    tokio::fs::read_to_string(root.join("index.html")).await.is_ok_and(|page| page.contains("src=\"/"))
}

/// Such an interface is at the printer's own port, and the browser is sent there. Under the name of a proxy it would find
/// nothing at that port: it is told what leads to the printer instead.
fn beside_the_prefix(endpoint: &Endpoint, parts: &Parts, path: &str) -> Result<Response<Body>, RpcError> {
    let base = base_url(parts, path);
    let (scheme, rest) = base.split_once("://").unwrap_or(("http", &base));
    let host = rest.split('/').next().unwrap_or_default();
    // The colons of an IPv6 address are inside its brackets.
    let (name, port) = match host.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        Some((name, port)) => (name, port),
        None => (host, if scheme == "https" { "443" } else { "80" }),
    };
    let own_port = endpoint.station.moonraker_port;
    if !was_forwarded(&parts.headers) && own_port != 0 {
        return redirect(&format!("{scheme}://{name}:{own_port}/"));
    }
    let below = rest.strip_prefix(host).unwrap_or_default();
    Ok(status_page(
        endpoint,
        &format!(
            "This is the Moonraker endpoint of this printer behind a proxy. The web interface of <code>web_root</code> \
             works at the root of a host only: let the proxy lead a name of its own to port {own_port} of the gateway. \
             A Mainsail elsewhere takes host <code>{}</code>, port <code>{}</code> and path <code>{}</code>; slicers \
             and apps take <code>{}</code>.",
            escaped(name),
            escaped(port),
            escaped(below),
            escaped(&base),
        ),
    ))
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

/// How the printer is, and `what` to do with this address, in HTML.
fn status_page(endpoint: &Endpoint, what: &str) -> Response<Body> {
    let klippy = endpoint.klippy();
    let title = escaped(endpoint.station.printer.title());
    let message = escaped(&klippy.message).replace('\n', "<br>");
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} - moongate</title></head>\
         <body><h1>{title}</h1><p>{}: {message}</p><p>{what}</p></body></html>",
        klippy.state
    );
    respond_text(StatusCode::OK, "text/html; charset=UTF-8", page)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
