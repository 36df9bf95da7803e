//! Which printers are on this network: asks by every protocol at once. Names concrete drivers, as `app` does.
//!
//! Everything heard is unauthenticated: it proposes printers, the login decides.

mod follow;

use std::net::IpAddr;
use std::time::Duration;

pub use follow::{Followed, Trail, follow_addresses};

use serde::Serialize;

use crate::config::{Kind, PrinterConfig};
use crate::drivers::{bambu, elegoo_cc1, elegoo_cc2};

/// A printer that made itself known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundPrinter {
    /// As the configuration calls it: `bambu`.
    pub kind: &'static str,
    pub address: Option<IpAddr>,
    /// The name its owner gave it.
    pub name: Option<String>,
    pub model: Option<String>,
    pub serial: Option<String>,
    pub firmware: Option<String>,
    /// It asks for an access code.
    pub needs_code: bool,
    /// It is in LAN-only mode, where it says so.
    pub lan_only: Option<bool>,
}

/// What a search found, and which parts of it could not be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    pub printers: Vec<FoundPrinter>,
    pub problems: Vec<String>,
}

/// Listens and asks for `time`; a network that lets no broadcasts through hides its printers.
pub async fn discover(time: Duration) -> Findings {
    let ground = bambu::discovery::Ground::default();
    let (cc1, cc2) = (elegoo_cc1::Ports::default().discovery, elegoo_cc2::Ports::default().discovery);
    let (bambu, cc1, cc2) = tokio::join!(
        bambu::discovery::discover(&ground, time),
        elegoo_cc1::discovery::discover(cc1, time),
        elegoo_cc2::discovery::discover(cc2, time),
    );
    let mut findings = Findings::default();
    findings.take("Bambu Lab", bambu, from_bambu);
    findings.take("Centauri Carbon", cc1, from_cc1);
    findings.take("Centauri Carbon 2", cc2, from_cc2);
    findings.printers.sort_by_key(|printer| (printer.kind, printer.address));
    findings
}

/// Asks the address of a configured printer who it is; `None` where nothing answers within `time`.
pub async fn identify(printer: &PrinterConfig, time: Duration) -> Option<FoundPrinter> {
    let host = printer.host.as_str();
    match printer.kind {
        Kind::Bambu => {
            let port = printer.ports.detect.unwrap_or(default_discovery_port(printer.kind));
            bambu::discovery::detect(host, port, time).await.ok().map(from_bambu)
        }
        Kind::ElegooCc1 => {
            let port = printer.ports.discovery.unwrap_or(default_discovery_port(printer.kind));
            elegoo_cc1::discovery::identify(host, port, time).await.map(from_cc1)
        }
        Kind::ElegooCc2 => {
            let port = printer.ports.discovery.unwrap_or(default_discovery_port(printer.kind));
            elegoo_cc2::discovery::identify(host, port, time).await.map(from_cc2)
        }
    }
}

/// The port at which printers of a kind are asked who they are: TCP at Bambu printers, UDP at the others.
fn default_discovery_port(kind: Kind) -> u16 {
    match kind {
        Kind::Bambu => bambu::BambuPorts::default().detect,
        Kind::ElegooCc1 => elegoo_cc1::Ports::default().discovery,
        Kind::ElegooCc2 => elegoo_cc2::Ports::default().discovery,
    }
}

/// The vendor's own port for control, by which a kind of printer can be told from others.
pub fn usual_control_port(kind: Kind) -> u16 {
    match kind {
        Kind::Bambu => bambu::BambuPorts::default().mqtt,
        Kind::ElegooCc1 => elegoo_cc1::Ports::default().websocket,
        Kind::ElegooCc2 => elegoo_cc2::Ports::default().mqtt,
    }
}

/// The TCP services of a configured printer: what for, and which port.
pub fn services(printer: &PrinterConfig) -> Vec<(&'static str, u16)> {
    let ports = &printer.ports;
    match printer.kind {
        Kind::Bambu => {
            let usual = bambu::BambuPorts::default();
            vec![("control", ports.mqtt.unwrap_or(usual.mqtt)), ("files", ports.ftps.unwrap_or(usual.ftps))]
        }
        Kind::ElegooCc1 => {
            let usual = elegoo_cc1::Ports::default();
            vec![
                ("control", ports.websocket.unwrap_or(usual.websocket)),
                ("uploads", ports.http.unwrap_or(usual.http)),
            ]
        }
        Kind::ElegooCc2 => {
            let usual = elegoo_cc2::Ports::default();
            vec![("control", ports.mqtt.unwrap_or(usual.mqtt)), ("uploads", ports.http.unwrap_or(usual.http))]
        }
    }
}

impl Findings {
    fn take<F>(&mut self, whose: &str, found: std::io::Result<Vec<F>>, form: impl Fn(F) -> FoundPrinter) {
        match found {
            Ok(list) => self.printers.extend(list.into_iter().map(form)),
            Err(error) => self.problems.push(format!("{whose} printers could not be searched for: {error}.")),
        }
    }
}

fn from_bambu(found: bambu::discovery::Found) -> FoundPrinter {
    FoundPrinter {
        kind: Kind::Bambu.name(),
        address: found.address,
        name: found.name,
        model: found.product.map(ToOwned::to_owned).or(found.model),
        serial: Some(found.serial),
        firmware: found.firmware,
        needs_code: true,
        lan_only: found.lan_only,
    }
}

fn from_cc1(found: elegoo_cc1::discovery::Found) -> FoundPrinter {
    FoundPrinter {
        kind: Kind::ElegooCc1.name(),
        address: Some(found.address),
        name: Some(found.name).filter(|name| !name.is_empty()),
        model: Some(found.machine_name),
        // Its id can change with a firmware update and is found anew at each connection: not for the configuration.
        serial: None,
        firmware: found.firmware,
        needs_code: false,
        lan_only: None,
    }
}

fn from_cc2(found: elegoo_cc2::discovery::Found) -> FoundPrinter {
    FoundPrinter {
        kind: Kind::ElegooCc2.name(),
        address: Some(found.address),
        name: found.name,
        model: Some(found.machine_model),
        serial: Some(found.serial),
        firmware: None,
        needs_code: found.needs_code.unwrap_or(false),
        lan_only: found.lan_only,
    }
}
