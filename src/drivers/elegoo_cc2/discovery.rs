//! Who answers method 7000 on UDP 52700, and the serial number over HTTP (elegoo.md 3.2).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use crate::drivers::elegoo::field::{flag, text};
use crate::drivers::elegoo::http;
use crate::secret::Secret;

const PROBE: &[u8] = br#"{"id":0,"method":7000}"#;
const REPEAT: Duration = Duration::from_millis(900);
const MAX_REPLY: usize = 4096;
/// More machines than anybody has on one network are not listed.
const MAX_FOUND: usize = 64;
const HTTP: Duration = Duration::from_secs(5);

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
        serial: text(result, "sn").filter(|serial| sane_serial(serial))?.to_owned(),
        needs_code: flag(result, "token_status"),
        lan_only: flag(result, "lan_status"),
    })
}

/// A serial number becomes part of topics: nothing else may come in with it.
pub fn sane_serial(serial: &str) -> bool {
    !serial.is_empty() && serial.len() <= 64 && serial.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Printers that answer a broadcast to `port` (52700) within `window`; answers take seconds.
///
/// # Errors
/// Only if no socket can be opened.
pub async fn discover(port: u16, window: Duration) -> io::Result<Vec<Found>> {
    probe(SocketAddr::new(IpAddr::V4(Ipv4Addr::BROADCAST), port), window, MAX_FOUND).await
}

/// What is at one address; `None` if nothing answers within `window`.
pub async fn identify(host: &str, port: u16, window: Duration) -> Option<Found> {
    let target = tokio::net::lookup_host((host, port)).await.ok()?.next()?;
    probe(target, window, 1).await.ok()?.into_iter().next()
}

async fn probe(target: SocketAddr, window: Duration, enough: usize) -> io::Result<Vec<Found>> {
    let any: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.set_broadcast(true)?;
    let until = Instant::now() + window;
    let mut repeat = interval(REPEAT);
    repeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut found: Vec<Found> = Vec::new();
    let mut buffer = vec![0; MAX_REPLY];
    let gather = async {
        loop {
            tokio::select! {
                _ = repeat.tick() => {
                    // A network that is down refuses the datagram; the next one may get through.
                    let _unsent = socket.send_to(PROBE, target).await;
                }
                received = socket.recv_from(&mut buffer) => {
                    let Ok((length, from)) = received else { continue };
                    let reply = buffer.get(..length).and_then(|bytes| parse(bytes, from.ip()));
                    if let Some(machine) = reply
                        && !found.iter().any(|known| known.serial == machine.serial)
                    {
                        found.push(machine);
                        if found.len() >= enough {
                            return;
                        }
                    }
                }
            }
        }
    };
    let _window_over = timeout_at(until, gather).await;
    Ok(found)
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
    let token = utf8_percent_encode(code.expose(), NON_ALPHANUMERIC);
    let Ok(mut reply) = http::get(host, port, &format!("/system/info?X-Token={token}"), HTTP).await else {
        return SystemInfo::Nothing;
    };
    if reply.status == 401 {
        return SystemInfo::WrongCode;
    }
    let body = reply.whole(MAX_REPLY, HTTP).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    match body.get("system_info").and_then(|info| text(info, "sn")) {
        Some(serial) if reply.status == 200 && sane_serial(serial) => SystemInfo::Serial(serial.to_owned()),
        _ if super::wire::error_code(&body) == 1000 => SystemInfo::WrongCode,
        _ => SystemInfo::Nothing,
    }
}
