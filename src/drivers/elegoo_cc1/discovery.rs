//! Who answers `M99999` on UDP 3000 (elegoo.md 2.2).

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use crate::drivers::elegoo::field::text;
use crate::drivers::elegoo::probe::Probe;

/// One machine that answered; resin printers answer as well, see [`Found::is_centauri`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub address: IpAddr,
    /// Name its owner gave it; can be empty.
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
        name: text(data, "Name").unwrap_or_default().to_owned(),
        machine_name: text(data, "MachineName")?.to_owned(),
        mainboard_id: text(data, "MainboardID").unwrap_or_default().to_owned(),
        firmware: text(data, "FirmwareVersion").map(str::to_owned),
    })
}

const PROBE: Probe<Found> = Probe {
    // Six ASCII bytes, nothing else.
    datagram: b"M99999",
    repeat: Duration::from_millis(700),
    parse,
    same: |a, b| a.address == b.address,
};

/// Centauri printers that answer a broadcast to `port` (3000) within `window`.
///
/// # Errors
/// Only if no socket can be opened.
pub async fn discover(port: u16, window: Duration) -> io::Result<Vec<Found>> {
    let found = PROBE.broadcast(port, window).await?;
    Ok(found.into_iter().filter(Found::is_centauri).collect())
}

/// What is at one address; `None` if nothing answers within `window`.
pub async fn identify(host: &str, port: u16, window: Duration) -> Option<Found> {
    PROBE.identify(host, port, window).await
}
