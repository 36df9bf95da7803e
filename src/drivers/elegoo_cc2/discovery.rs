//! Who answers method 7000 on UDP 52700, and the serial number over HTTP (elegoo.md 3.2).

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use percent_encoding::utf8_percent_encode;
use serde_json::Value;

use crate::drivers::elegoo::field::{flag, text};
use crate::drivers::elegoo::http;
use crate::drivers::elegoo::names::sane_id;
use crate::drivers::elegoo::probe::Probe;
use crate::secret::Secret;
use crate::url;

const HTTP: Duration = Duration::from_secs(5);
const MAX_REPLY: usize = 4096;

/// One machine that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub address: IpAddr,
    /// Name its owner gave it.
    pub name: Option<String>,
    pub machine_model: String,
    pub serial: String,
    /// An access code is set.
    pub needs_code: Option<bool>,
    /// "LAN Only" mode is on.
    pub lan_only: Option<bool>,
}

/// Reads a reply.
pub fn parse(reply: &[u8], from: IpAddr) -> Option<Found> {
    let reply: Value = serde_json::from_slice(reply).ok()?;
    let result = reply.get("result")?;
    Some(Found {
        address: from,
        name: text(result, "host_name").map(str::to_owned),
        machine_model: text(result, "machine_model")?.to_owned(),
        serial: text(result, "sn").filter(|serial| sane_id(serial))?.to_owned(),
        needs_code: flag(result, "token_status"),
        lan_only: flag(result, "lan_status"),
    })
}

const PROBE: Probe<Found> = Probe {
    datagram: br#"{"id":0,"method":7000}"#,
    repeat: Duration::from_millis(900),
    parse,
    same: |a, b| a.serial == b.serial,
};

/// Printers that answer a broadcast to `port` (52700) within `window`; answers take seconds.
///
/// # Errors
/// Only if no socket can be opened.
pub async fn discover(port: u16, window: Duration) -> io::Result<Vec<Found>> {
    PROBE.broadcast(port, window).await
}

/// What is at one address; `None` if nothing answers within `window`.
pub async fn identify(host: &str, port: u16, window: Duration) -> Option<Found> {
    PROBE.identify(host, port, window).await
}

/// The answer of `/system/info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SystemInfo {
    Serial(String),
    WrongCode,
    /// Early firmware has no such page, or nothing listens.
    Nothing,
}

/// Asks for the serial number; the token must be in the query (elegoo.md 3.2).
pub async fn system_info(host: &str, port: u16, code: &Secret) -> SystemInfo {
    let token = utf8_percent_encode(code.expose(), url::SEGMENT);
    let Ok(mut reply) = http::get(host, port, &format!("/system/info?X-Token={token}"), HTTP).await else {
        return SystemInfo::Nothing;
    };
    if reply.status == 401 {
        return SystemInfo::WrongCode;
    }
    let body = reply.whole(MAX_REPLY, HTTP).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    match body.get("system_info").and_then(|info| text(info, "sn")) {
        Some(serial) if reply.status == 200 && sane_id(serial) => SystemInfo::Serial(serial.to_owned()),
        _ if super::wire::error_code(&body) == 1000 => SystemInfo::WrongCode,
        _ => SystemInfo::Nothing,
    }
}
