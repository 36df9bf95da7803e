//! Printers that get another address are found again by their serial number.
//!
//! Bambu printers announce themselves and are listened to; Elegoo printers answer questions and are asked while one is
//! away. Nothing heard is authenticated: it never disturbs a printer that is connected.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::default_discovery_port;
use crate::config::{Kind, PrinterConfig};
use crate::drivers::{OnIdentity, bambu, elegoo_cc1, elegoo_cc2};
use crate::model::LinkPhase;
use crate::printer::PrinterHandle;
use crate::store::Store;

/// Space of the store with the serial numbers that the configuration need not name, by printer.
const IDENTITIES: &str = "identities";
/// A network that cannot be listened to now is tried again after this.
const LISTEN_AGAIN: Duration = Duration::from_secs(60);
/// Between two searches for a printer that is away, and how long answers are waited for (a Centauri Carbon 2
/// takes seconds: elegoo.md 3.2).
const SEARCH_AGAIN: Duration = Duration::from_secs(20);
const SEARCH: Duration = Duration::from_secs(10);
/// Where printers of this machine hear a search: bridges and simulators.
const THIS_MACHINE: &str = "127.255.255.255";

/// A configured printer whose address is followed.
pub struct Followed {
    kind: Kind,
    /// As configured.
    host: String,
    /// Where it is asked who it is; UDP.
    port: u16,
    serial: watch::Receiver<Option<String>>,
    printer: PrinterHandle,
    moved: watch::Sender<Option<IpAddr>>,
    model: watch::Sender<Option<String>>,
}

/// What a driver needs so that its printer can be followed.
pub struct Trail {
    pub moved_to: watch::Receiver<Option<IpAddr>>,
    pub on_identity: OnIdentity,
    /// The model code that it announces.
    pub announced_model: watch::Receiver<Option<String>>,
    moved: watch::Sender<Option<IpAddr>>,
    model: watch::Sender<Option<String>>,
    serial: watch::Receiver<Option<String>>,
}

impl Trail {
    /// The serial number of the configuration, else the one that was learned at this address.
    pub fn of(config: &PrinterConfig, store: &Store) -> Self {
        let kept = store.get(IDENTITIES, &config.name).ok().flatten();
        let kept = kept.filter(|kept| kept.get("host").and_then(|host| host.as_str()) == Some(&config.host));
        let learned = kept.and_then(|kept| kept.get("serial")?.as_str().map(str::to_owned));
        let (known, serial) = watch::channel(config.serial.clone().or(learned));
        let (moved, moved_to) = watch::channel(None);
        let (model, announced_model) = watch::channel(None);
        let (store, name, host) = (store.clone(), config.name.clone(), config.host.clone());
        let on_identity = Arc::new(move |identity: &str| {
            let new =
                |now: &Option<String>| !now.as_ref().is_some_and(|now| now.eq_ignore_ascii_case(identity));
            if !known.send_if_modified(|now| new(now).then(|| *now = Some(identity.to_owned())).is_some()) {
                return;
            }
            if let Err(error) = store.put(IDENTITIES, &name, json!({"host": host, "serial": identity})) {
                tracing::error!(%error, "The printer's serial number could not be kept.");
            }
        });
        Self { moved_to, on_identity, announced_model, moved, model, serial }
    }

    /// Follows the printer of this trail.
    pub fn follow(self, config: &PrinterConfig, printer: PrinterHandle) -> Followed {
        Followed {
            kind: config.kind,
            host: config.host.clone(),
            port: config.ports.discovery.unwrap_or(default_discovery_port(config.kind)),
            serial: self.serial,
            printer,
            moved: self.moved,
            model: self.model,
        }
    }
}

impl Followed {
    fn has_serial(&self, serial: &str) -> bool {
        self.serial.borrow().as_ref().is_some_and(|known| known.trim().eq_ignore_ascii_case(serial))
    }

    fn is_sought(&self) -> bool {
        !self.printer.state().online() && self.serial.borrow().is_some()
    }

    /// Somebody with the serial number of this printer is at these addresses. The link decides whether it is the printer.
    fn seen_at(&self, addresses: &[IpAddr]) {
        let configured = self.host.parse::<IpAddr>().ok();
        let current = self.moved.borrow().or(configured);
        if self.printer.state().online() || current.is_some_and(|current| addresses.contains(&current)) {
            return;
        }
        let possible = |ip: &&IpAddr| !ip.is_unspecified() && !ip.is_multicast();
        let Some(address) = addresses.iter().find(possible).copied() else { return };
        let wanted = Some(address).filter(|address| configured != Some(*address));
        let changed = self.moved.send_if_modified(|now| std::mem::replace(now, wanted) != wanted);
        if changed {
            tracing::info!(printer = self.printer.name(), %address, "The printer is announced at another address; it is tried there.");
            // One that is just being connected to is tried there by itself where its own address fails.
            if self.kind != Kind::Bambu || self.printer.state().link.phase == LinkPhase::Backoff {
                self.printer.reconnect();
            }
        }
    }

    /// A printer of this machine is sought on this machine only.
    fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// Follows all of them until `cancel`.
pub async fn follow_addresses(printers: Vec<Followed>, cancel: CancellationToken) {
    let (announced, asked): (Vec<_>, Vec<_>) =
        printers.into_iter().partition(|printer| printer.kind == Kind::Bambu);
    tokio::join!(listen(&announced, &cancel), search(&asked, SEARCH_AGAIN, &cancel));
}

async fn listen(printers: &[Followed], cancel: &CancellationToken) {
    if printers.is_empty() {
        return;
    }
    let ground = bambu::discovery::Ground::default();
    let heard = |found: bambu::discovery::Found| {
        for known in printers.iter().filter(|known| known.has_serial(&found.serial)) {
            if found.model.is_some() {
                known
                    .model
                    .send_if_modified(|now| std::mem::replace(now, found.model.clone()) != found.model);
            }
            if let Some(address) = found.address {
                known.seen_at(&[address]);
            }
        }
    };
    loop {
        match bambu::discovery::watch(&ground, heard, cancel).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(%error, "Announcements of printers cannot be heard."),
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(LISTEN_AGAIN) => {}
        }
    }
}

async fn search(printers: &[Followed], again: Duration, cancel: &CancellationToken) {
    if printers.is_empty() {
        return;
    }
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(again) => {}
        }
        let mut grounds: Vec<(Kind, u16, bool)> = Vec::new();
        for sought in printers.iter().filter(|printer| printer.is_sought()) {
            let ground = (sought.kind, sought.port, sought.is_local());
            if !grounds.contains(&ground) {
                grounds.push(ground);
            }
        }
        let asked = grounds.into_iter().map(|(kind, port, local)| async move {
            let found = ask(kind, port, local).await;
            for printer in printers.iter().filter(|printer| printer.kind == kind && printer.port == port) {
                let addresses = found.iter().filter(|(serial, _)| printer.has_serial(serial));
                let addresses: Vec<IpAddr> = addresses.map(|(_, address)| *address).collect();
                printer.seen_at(&addresses);
            }
        });
        tokio::select! {
            () = cancel.cancelled() => return,
            _answers = futures_util::future::join_all(asked) => {}
        }
    }
}

/// Everybody of one kind who answers: serial number and address.
async fn ask(kind: Kind, port: u16, local: bool) -> Vec<(String, IpAddr)> {
    let cc1 = |found: elegoo_cc1::Found| (found.mainboard_id, found.address);
    let cc2 = |found: elegoo_cc2::Found| (found.serial, found.address);
    match (kind, local) {
        (Kind::Bambu, _) => Vec::new(),
        (Kind::ElegooCc1, true) => {
            elegoo_cc1::discovery::identify(THIS_MACHINE, port, SEARCH).await.map(cc1).into_iter().collect()
        }
        (Kind::ElegooCc2, true) => {
            elegoo_cc2::discovery::identify(THIS_MACHINE, port, SEARCH).await.map(cc2).into_iter().collect()
        }
        (Kind::ElegooCc1, false) => {
            let found = elegoo_cc1::discover(port, SEARCH).await.unwrap_or_default();
            found.into_iter().map(cc1).collect()
        }
        (Kind::ElegooCc2, false) => {
            let found = elegoo_cc2::discover(port, SEARCH).await.unwrap_or_default();
            found.into_iter().map(cc2).collect()
        }
    }
}

#[cfg(test)]
mod tests;
