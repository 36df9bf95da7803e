//! Who answers `M99999` on UDP 3000 (elegoo.md 2.2).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use crate::drivers::elegoo::field::text;

/// Six ASCII bytes, nothing else.
const PROBE: &[u8] = b"M99999";
/// Probes are lost on busy Wi-Fi.
const REPEAT: Duration = Duration::from_millis(700);
const MAX_REPLY: usize = 4096;
/// More machines than anybody has on one network are not listed.
const MAX_FOUND: usize = 64;

/// One machine that answered; resin printers answer as well, see [`Found::is_centauri`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub address: IpAddr,
    /// Name its owner gave it.
    pub name: String,
    pub machine_name: String,
    pub mainboard_id: String,
    pub firmware: Option<String>,
}

impl Found {
    /// A machine this driver runs.
    pub fn is_centauri(&self) -> bool {
        super::models::find(&self.machine_name).is_some()
    }
}

/// Reads a reply in its flat form, or in the nested form of old resin printers.
pub fn parse(reply: &[u8], from: IpAddr) -> Option<Found> {
    let reply: Value = serde_json::from_slice(reply).ok()?;
    let data = reply.get("Data")?;
    let data = data.get("Attributes").unwrap_or(data);
    Some(Found {
        address: from,
        name: text(data, "Name")?.to_owned(),
        machine_name: text(data, "MachineName")?.to_owned(),
        mainboard_id: text(data, "MainboardID").unwrap_or_default().to_owned(),
        firmware: text(data, "FirmwareVersion").map(str::to_owned),
    })
}

/// Centauri printers that answer a broadcast to `port` (3000) within `window`.
///
/// # Errors
/// Only if no socket can be opened.
pub async fn discover(port: u16, window: Duration) -> io::Result<Vec<Found>> {
    let target = SocketAddr::new(IpAddr::V4(Ipv4Addr::BROADCAST), port);
    let found = probe(target, window, MAX_FOUND).await?;
    Ok(found.into_iter().filter(Found::is_centauri).collect())
}

/// What is at one address; `None` if nothing answers within `window` (VLANs and firewalls often drop UDP).
pub async fn identify(host: &str, port: u16, window: Duration) -> Option<Found> {
    let target = tokio::net::lookup_host((host, port)).await.ok()?.next()?;
    probe(target, window, 1).await.ok()?.into_iter().next()
}

/// Sends the probe until `window` is over or `enough` machines have answered.
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
                        && !found.iter().any(|known| known.address == machine.address)
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
