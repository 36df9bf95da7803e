//! From the configuration of a printer to its driver, and what reaches the driver while it runs.

use std::sync::Arc;

use crate::config::{Kind, PrinterConfig};
use crate::discovery::Trail;
use crate::drivers::{Whereabouts, bambu, elegoo_cc1, elegoo_cc2};
use crate::front::admin;
use crate::net::tls::KnownKeys;
use crate::printer::DriverParts;
use crate::secret::Secret;
use crate::station::Station;
use crate::store::Store;

/// Space of the store that holds the printers' pinned keys.
const PINS: &str = "pins";
/// Space of the store with the number that each printer knows the gateway by.
const CLIENTS: &str = "clients";

/// The driver of one printer from its configuration; what is learned of it while it runs comes by its trail.
pub fn driver(config: &PrinterConfig, store: &Store, trail: &Trail) -> DriverParts {
    let ports = &config.ports;
    let host = Whereabouts {
        configured: config.host.clone(),
        moved_to: trail.moved_to.clone(),
        on_identity: trail.on_identity.clone(),
        kept: trail.kept.clone(),
        another_confirmed: trail.another_confirmed.clone(),
    };
    match config.kind {
        Kind::Bambu => {
            let code = config.access_code.clone().unwrap_or_else(|| Secret::new(""));
            let serial = config.serial.clone().unwrap_or_default();
            let usual = bambu::BambuPorts::default();
            bambu::parts(bambu::BambuConfig {
                model: config.model.clone(),
                ports: bambu::BambuPorts {
                    mqtt: ports.mqtt.unwrap_or(usual.mqtt),
                    ftps: ports.ftps.unwrap_or(usual.ftps),
                    detect: ports.detect.unwrap_or(usual.detect),
                    camera: ports.camera.unwrap_or(usual.camera),
                    rtsp: ports.rtsp.unwrap_or(usual.rtsp),
                },
                known_keys: known_keys(store, &config.name),
                on_keys: keeper_of_keys(store, &config.name),
                new_key_confirmed: trail.another_confirmed.clone(),
                moved_to: trail.moved_to.clone(),
                announced_model: trail.announced_model.clone(),
                ..bambu::BambuConfig::new(&config.name, &config.host, &serial, code)
            })
        }
        Kind::ElegooCc1 => {
            let usual = elegoo_cc1::Ports::default();
            elegoo_cc1::parts(elegoo_cc1::Cc1Config {
                name: config.name.clone(),
                host,
                mainboard_id: config.serial.clone(),
                ports: elegoo_cc1::Ports {
                    websocket: ports.websocket.unwrap_or(usual.websocket),
                    http: ports.http.unwrap_or(usual.http),
                    camera: ports.camera.unwrap_or(usual.camera),
                    discovery: ports.discovery.unwrap_or(usual.discovery),
                },
                add_header_comments: config.add_header_comments,
            })
        }
        Kind::ElegooCc2 => {
            let usual = elegoo_cc2::Ports::default();
            elegoo_cc2::parts(elegoo_cc2::Cc2Config {
                name: config.name.clone(),
                host,
                serial: config.serial.clone(),
                access_code: config.access_code.clone(),
                client_number: Some(client_number(store, &config.name)),
                jobs_on_usb: config.jobs_on_usb,
                ports: elegoo_cc2::Ports {
                    mqtt: ports.mqtt.unwrap_or(usual.mqtt),
                    http: ports.http.unwrap_or(usual.http),
                    camera: ports.camera.unwrap_or(usual.camera),
                    discovery: ports.discovery.unwrap_or(usual.discovery),
                },
            })
        }
    }
}

fn known_keys(store: &Store, printer: &str) -> KnownKeys {
    let stored = store.get(PINS, printer).ok().flatten();
    let known = stored.map(serde_json::from_value).transpose().unwrap_or_else(|error| {
        tracing::error!(printer, %error, "The key that was kept of the printer cannot be read; the one that it shows next is taken for its own.");
        None
    });
    known.unwrap_or_default()
}

fn keeper_of_keys(store: &Store, printer: &str) -> Arc<dyn Fn(&KnownKeys) + Send + Sync> {
    let (store, name) = (store.clone(), printer.to_owned());
    Arc::new(move |keys: &KnownKeys| {
        let kept = serde_json::to_value(keys).map_err(|error| error.to_string());
        let kept = kept.and_then(|keys| store.put(PINS, &name, keys).map_err(|e| e.to_string()));
        if let Err(error) = kept {
            tracing::error!(%error, "The printer's keys could not be kept.");
        }
    })
}

/// The same after a restart: a printer with two places for clients would take a gateway that was killed for another one.
fn client_number(store: &Store, printer: &str) -> u16 {
    let kept = store.get(CLIENTS, printer).ok().flatten();
    if let Some(number) = kept.and_then(|kept| kept.as_u64()).and_then(|kept| u16::try_from(kept).ok()) {
        return number;
    }
    let number = elegoo_cc2::random_client_number();
    if let Err(error) = store.put(CLIENTS, printer, number.into()) {
        tracing::error!(%error, "The number that the printer knows the gateway by could not be kept.");
    }
    number
}

/// What is kept goes at once, what is in use at the next connection, which comes at once too: it may be another service
/// than the connected one that shows a new key. Fails where the configuration says which one it is, and not by a key.
pub(super) fn accept_another(
    config: &PrinterConfig,
    station: &Station,
    forget: Arc<dyn Fn() + Send + Sync>,
) -> admin::AcceptAnother {
    let station = station.clone();
    let named = config.kind != Kind::Bambu && config.serial.is_some();
    Arc::new(move || {
        if named {
            return Err(format!(
                "The configuration says which printer \"{}\" is, and that decides: put the serial number or mainboard id \
                 of the new one in serial there, and restart the gateway.",
                station.name()
            ));
        }
        if let Err(error) = station.store.delete(PINS, station.name()) {
            tracing::error!(%error, "The printer's old key could not be forgotten on disk.");
        }
        forget();
        station.printer.renew();
        station.printer.reconnect();
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printer_knows_the_gateway_by_the_same_number_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("moongate.db");
        let first = client_number(&Store::open(&place).unwrap(), "cc2");
        assert!((1000..=9999).contains(&first));
        for _ in 0..3 {
            assert_eq!(client_number(&Store::open(&place).unwrap(), "cc2"), first);
        }
    }
}
