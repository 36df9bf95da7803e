//! From the configuration of a printer to its driver, and what reaches the driver while it runs.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::config::{Kind, PrinterConfig};
use crate::drivers::{Identity, OnIdentity, Whereabouts, bambu, elegoo_cc1, elegoo_cc2};
use crate::front::admin;
use crate::net::tls::KnownKeys;
use crate::printer::DriverParts;
use crate::station::Station;
use crate::store::Store;

/// Space of the store that holds the printers' pinned keys.
const PINS: &str = "pins";
/// Space of the store with the number that each printer knows the gateway by.
const CLIENTS: &str = "clients";

/// What reaches a driver from outside while it runs.
#[derive(Default)]
pub struct Outside {
    /// A person confirms that the printer has a new key.
    pub new_key_confirmed: Arc<AtomicBool>,
    /// Where the network says that the printer is.
    pub moved_to: Option<watch::Receiver<Option<IpAddr>>>,
    /// Hears which printer it is, where the configuration need not say so.
    pub on_identity: Option<OnIdentity>,
    /// Who it was in an earlier life of the gateway.
    pub kept: Option<Identity>,
    /// A person confirms that the printer was replaced by another.
    pub another_confirmed: Arc<AtomicBool>,
    /// What the network says that it is.
    pub announced_model: Option<watch::Receiver<Option<String>>>,
}

/// The driver of one printer from its configuration.
pub fn driver(config: &PrinterConfig, store: &Store, outside: Outside) -> Result<DriverParts, String> {
    let ports = &config.ports;
    let whereabouts = |outside: Outside| {
        Whereabouts::fixed(&config.host)
            .followed(outside.moved_to, outside.on_identity)
            .keeping(outside.kept, outside.another_confirmed)
    };
    match config.kind {
        Kind::Bambu => {
            let stored = store.get(PINS, &config.name).ok().flatten();
            let known_keys = stored.map(serde_json::from_value).transpose().unwrap_or_else(|error| {
                tracing::error!(printer = config.name, %error, "The key that was kept of the printer cannot be read; the one that it shows next is taken for its own.");
                None
            });
            let known_keys = known_keys.unwrap_or_default();
            let (store, name) = (store.clone(), config.name.clone());
            let on_keys = Arc::new(move |keys: &KnownKeys| {
                let kept = serde_json::to_value(keys).map_err(|error| error.to_string());
                let kept = kept.and_then(|keys| store.put(PINS, &name, keys).map_err(|e| e.to_string()));
                if let Err(error) = kept {
                    tracing::error!(%error, "The printer's keys could not be kept.");
                }
            });
            let code = config.access_code.clone().unwrap_or_else(|| crate::secret::Secret::new(""));
            let serial = config.serial.clone().unwrap_or_default();
            Ok(bambu::parts(bambu::BambuConfig {
                model: config.model.clone(),
                ports: bambu::BambuPorts {
                    mqtt: ports.mqtt.unwrap_or(8883),
                    ftps: ports.ftps.unwrap_or(990),
                    detect: ports.detect.unwrap_or(3000),
                    camera: ports.camera.unwrap_or(6000),
                    rtsp: ports.rtsp.unwrap_or(322),
                },
                known_keys,
                on_keys,
                new_key_confirmed: outside.new_key_confirmed,
                moved_to: outside.moved_to,
                announced_model: outside.announced_model,
                ..bambu::BambuConfig::new(&config.name, &config.host, &serial, code)
            }))
        }
        Kind::ElegooCc1 => Ok(elegoo_cc1::parts(elegoo_cc1::Cc1Config {
            name: config.name.clone(),
            host: whereabouts(outside),
            mainboard_id: config.serial.clone(),
            ports: elegoo_cc1::Ports {
                websocket: ports.websocket.unwrap_or(3030),
                http: ports.http.unwrap_or(80),
                camera: ports.camera.unwrap_or(3031),
                discovery: ports.discovery.unwrap_or(3000),
            },
            add_header_comments: config.add_header_comments,
        })),
        Kind::ElegooCc2 => Ok(elegoo_cc2::parts(elegoo_cc2::Cc2Config {
            name: config.name.clone(),
            host: whereabouts(outside),
            serial: config.serial.clone(),
            access_code: config.access_code.clone(),
            client_number: Some(client_number(store, &config.name)),
            jobs_on_usb: config.jobs_on_usb,
            ports: elegoo_cc2::Ports {
                mqtt: ports.mqtt.unwrap_or(1883),
                http: ports.http.unwrap_or(80),
                camera: ports.camera.unwrap_or(8080),
                discovery: ports.discovery.unwrap_or(52700),
            },
        })),
    }
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
    confirmed: Arc<AtomicBool>,
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
        forget();
        if let Err(error) = station.store.delete(PINS, station.name()) {
            tracing::error!(%error, "The printer's old key could not be forgotten on disk.");
        }
        confirmed.store(true, Ordering::Relaxed);
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
