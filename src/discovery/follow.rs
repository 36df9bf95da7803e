//! Printers that get another address are found again by their serial number.
//!
//! Bambu printers announce themselves and are listened to; Elegoo printers answer questions and are asked while one is
//! away. Nothing heard is authenticated: it never disturbs a printer that is connected.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::default_discovery_port;
use crate::config::{Kind, PrinterConfig};
use crate::drivers::{Identity, OnIdentity, bambu, elegoo_cc1, elegoo_cc2};
use crate::model::LinkPhase;
use crate::printer::PrinterHandle;
use crate::store::Store;

/// Space of the store with who each printer was, by its name: the configuration need not tell.
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
    known: watch::Receiver<Option<Identity>>,
    printer: PrinterHandle,
    moved: watch::Sender<Option<IpAddr>>,
    model: watch::Sender<Option<String>>,
}

/// What a driver needs so that its printer can be followed.
pub struct Trail {
    pub moved_to: watch::Receiver<Option<IpAddr>>,
    pub on_identity: OnIdentity,
    /// Who was there in an earlier life of the gateway, with this configuration.
    pub kept: Option<Identity>,
    /// Set by [`Self::forget`]: whoever answers next is the printer, with whatever key.
    pub another_confirmed: Arc<AtomicBool>,
    /// Forgets who the printer was. Only for a person's explicit wish.
    pub forget: Arc<dyn Fn() + Send + Sync>,
    /// The model code that it announces.
    pub announced_model: watch::Receiver<Option<String>>,
    moved: watch::Sender<Option<IpAddr>>,
    model: watch::Sender<Option<String>>,
    known: watch::Receiver<Option<Identity>>,
}

impl Trail {
    /// The printer that was learned at this address, else that of the configuration.
    pub fn of(config: &PrinterConfig, store: &Store) -> Self {
        let kept = store.get(IDENTITIES, &config.name).ok().flatten();
        let kept = kept.and_then(|kept| identity_of(&kept, config));
        let configured = config.serial.as_deref().map(Identity::of);
        let (sender, known) = watch::channel(kept.clone().or_else(|| configured.clone()));
        let (moved, moved_to) = watch::channel(None);
        let (model, announced_model) = watch::channel(None);
        let (keeper, name, place) = (store.clone(), config.name.clone(), place_of(config));
        let (learned, last) = (sender.clone(), Mutex::new(kept.clone()));
        let on_identity = Arc::new(move |identity: &Identity| {
            learned.send_if_modified(|now| now.replace(identity.clone()).as_ref() != Some(identity));
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.as_ref() == Some(identity) {
                return;
            }
            let mut entry = place.clone();
            entry.insert("serial".to_owned(), json!(identity.serial));
            entry.insert("mac".to_owned(), json!(identity.mac));
            match keeper.put(IDENTITIES, &name, entry.into()) {
                Ok(()) => *last = Some(identity.clone()),
                Err(error) => tracing::error!(%error, "The printer's serial number could not be kept."),
            }
        });
        let another_confirmed = Arc::<AtomicBool>::default();
        let (confirmed, store, name) = (another_confirmed.clone(), store.clone(), config.name.clone());
        let forget = Arc::new(move || {
            if let Err(error) = store.delete(IDENTITIES, &name) {
                tracing::error!(%error, "The printer's old serial number could not be forgotten on disk.");
            }
            sender.send_replace(configured.clone());
            confirmed.store(true, Ordering::Relaxed);
        });
        Self { moved_to, on_identity, kept, another_confirmed, forget, announced_model, moved, model, known }
    }

    /// Follows the printer of this trail.
    pub fn follow(self, config: &PrinterConfig, printer: PrinterHandle) -> Followed {
        Followed {
            kind: config.kind,
            host: config.host.clone(),
            port: config.ports.discovery.unwrap_or(default_discovery_port(config.kind)),
            known: self.known,
            printer,
            moved: self.moved,
            model: self.model,
        }
    }
}

impl Followed {
    fn has_serial(&self, serial: &str) -> bool {
        self.known.borrow().as_ref().is_some_and(|known| known.serial.trim().eq_ignore_ascii_case(serial))
    }

    fn is_sought(&self) -> bool {
        !self.printer.state().online() && self.known.borrow().is_some()
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

/// Where the configuration says that the printer is, and who: what was learned elsewhere is not believed.
fn place_of(config: &PrinterConfig) -> Map<String, Value> {
    let port = match config.kind {
        Kind::Bambu | Kind::ElegooCc2 => config.ports.mqtt,
        Kind::ElegooCc1 => config.ports.websocket,
    };
    let place = [("host", json!(config.host)), ("port", json!(port)), ("configured", json!(config.serial))];
    place.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn identity_of(kept: &Value, config: &PrinterConfig) -> Option<Identity> {
    // An earlier version kept no port and nothing of the configuration.
    let same = |(key, value): (&String, &Value)| match kept.get(key) {
        Some(kept) => kept == value,
        None => key == "port" || value.is_null(),
    };
    let word = |key| kept.get(key).and_then(Value::as_str).map(str::to_owned);
    place_of(config).iter().all(same).then_some(())?;
    Some(Identity { serial: word("serial")?, mac: word("mac") })
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
