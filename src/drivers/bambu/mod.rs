//! Bambu Lab printers over the LAN: MQTT for state and commands, FTPS for files, a JPEG socket for the camera.
//!
//! Owns the wire of protocols/bambu.md and nothing else: it knows `model`, `net` and the driver's side of `printer`.
//!
//! ```text
//!  MQTT payload -> wire -> merge (one JSON tree per printer) -> reduce -> Device          pure, tested on captures
//!  Command -> encode (model row, state) -> messages -> link -> acknowledgement -> Outcome
//!
//!  link:  connect -> Syncing (get_version, pushall once) -> Online <-> Stale -> lost: LinkFault
//! ```
//! A model is one row in `models`; nothing else asks for a model by name. The permission to control is learned from
//! reports and answers (`control`), never probed by a write.

mod camera;
mod control;
pub mod discovery;
mod encode;
mod faults;
mod field;
mod files;
#[cfg(any(test, fuzzing, feature = "doors"))]
pub(crate) mod fuzz_doors;
mod link;
mod link_faults;
mod merge;
mod models;
mod pending;
mod reduce;
mod repair;
mod rtsp;
mod session;
mod stages;
mod start;
#[cfg(test)]
pub(crate) mod testing;
mod tree;
mod wire;

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use crate::net::tls::{KnownKeys, PrinterTls, TlsFault};
use crate::printer::{CameraSource, DriverParts};
use crate::secret::Secret;

/// User name of every LAN service of a printer.
const USER: &str = "bblp";

/// TCP ports of a printer; simulators use others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BambuPorts {
    pub mqtt: u16,
    pub ftps: u16,
    /// Identity probe; 0 asks nobody.
    pub detect: u16,
    /// JPEG camera.
    pub camera: u16,
    pub rtsp: u16,
}

impl Default for BambuPorts {
    fn default() -> Self {
        Self { mqtt: 8883, ftps: 990, detect: 3000, camera: 6000, rtsp: 322 }
    }
}

/// How long to wait for a printer; the defaults are those of bambu.md 2.2, 2.3 and 4.5.
#[derive(Debug, Clone, Copy)]
pub struct BambuTiming {
    /// TCP, TLS, login and subscription together.
    pub connect: Duration,
    /// Acknowledgement of a command; first report after asking for one.
    pub reply: Duration,
    /// Silence after which a printer is asked for a sign of life.
    pub silence: Duration,
    /// While G-code runs whose end only a complete report may show: one is asked for after this time, after three and
    /// after six times as much, then every six times as much.
    pub settle: Duration,
    /// MQTT ping interval.
    pub keep_alive: Duration,
    /// An accepted start may take this long to show anything of the job.
    pub landing: Duration,
    /// A job may be unpacked this long; meanwhile the link is not given up.
    pub digestion: Duration,
}

impl Default for BambuTiming {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connect: seconds(10),
            reply: seconds(10),
            silence: seconds(60),
            settle: seconds(10),
            keep_alive: seconds(15),
            landing: seconds(90),
            digestion: seconds(300),
        }
    }
}

/// One configured printer.
#[derive(Clone)]
pub struct BambuConfig {
    /// Name of the printer in the configuration, for texts.
    pub name: String,
    /// IP address or host name.
    pub host: String,
    /// 15 characters; case and surrounding space do not matter.
    pub serial: String,
    pub access_code: Secret,
    /// Model name or code, where the printer cannot tell.
    pub model: Option<String>,
    pub ports: BambuPorts,
    /// Keys seen at an earlier contact; without any the first one is trusted.
    pub known_keys: KnownKeys,
    /// Set when the user confirms that the printer has a new key: at the next connection the known one no longer
    /// counts, once.
    pub new_key_confirmed: Arc<AtomicBool>,
    /// Called with all keys whenever a new one was seen at a good contact, to be stored.
    pub on_keys: Arc<dyn Fn(&KnownKeys) + Send + Sync>,
    /// The certificate must carry the serial number as its name, as all printers' do.
    pub check_name: bool,
    /// Where discovery has seen this serial number last; tried where nobody answers at `host`.
    pub moved_to: watch::Receiver<Option<IpAddr>>,
    /// The model code that discovery has heard for this serial number; counts where the printer itself tells none.
    pub announced_model: watch::Receiver<Option<String>>,
    pub timing: BambuTiming,
}

impl BambuConfig {
    /// A configuration with default ports and times that trusts the first key it sees and keeps it nowhere.
    pub fn new(name: &str, host: &str, serial: &str, access_code: Secret) -> Self {
        Self {
            name: name.to_owned(),
            host: host.to_owned(),
            serial: serial.to_owned(),
            access_code,
            model: None,
            ports: BambuPorts::default(),
            known_keys: KnownKeys::default(),
            new_key_confirmed: Arc::default(),
            on_keys: Arc::new(|_keys| {}),
            check_name: true,
            moved_to: watch::channel(None).1,
            announced_model: watch::channel(None).1,
            timing: BambuTiming::default(),
        }
    }
}

impl fmt::Debug for BambuConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BambuConfig")
            .field("name", &self.name)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// Nobody told how much room is left.
const UNKNOWN_SPACE: u64 = u64::MAX;

/// What link, files and camera of one printer share.
struct Shared {
    config: BambuConfig,
    /// Free bytes of the storage as the file service told them last; [`UNKNOWN_SPACE`] where it does not.
    free_bytes: AtomicU64,
    /// Where the last link was made.
    found_at: Mutex<String>,
    /// What the reports made of the printer's identity; the camera follows it.
    row: watch::Sender<&'static models::ModelRow>,
    /// One identity for all connections; the error is a build fault and shown as link fault.
    tls: Result<PrinterTls, String>,
    /// The keys that were handed out to be stored.
    kept: Mutex<KnownKeys>,
}

/// Services beside MQTT, as their keys are stored.
const FILES: &str = "ftps";
const CAMERA: &str = "camera";

impl Shared {
    /// Where the printer is: where the last link was made, before the first one as configured.
    fn host(&self) -> String {
        self.found_at.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A link was made there.
    fn found_at(&self, host: String) {
        *self.found_at.lock().unwrap_or_else(PoisonError::into_inner) = host;
    }

    /// The address that is announced for this serial number, where it is another than the configured one.
    fn announced_host(&self) -> Option<String> {
        let address = (*self.config.moved_to.borrow())?.to_string();
        Some(address).filter(|address| *address != self.config.host)
    }

    /// The identity of a service beside MQTT.
    fn tls_of(&self, service: &'static str) -> Result<PrinterTls, String> {
        self.tls.as_ref().map(|tls| tls.of_service(service)).map_err(Clone::clone)
    }

    /// Why who answers is not this printer, with what accepts a new key.
    fn objection(&self, fault: &TlsFault) -> String {
        match fault {
            TlsFault::ChangedPin { .. } => {
                format!("{fault}; `moongate trust {}` accepts it", self.config.name)
            }
            other => other.to_string(),
        }
    }

    /// Hands new keys out, each once.
    fn keep_keys(&self) {
        let Ok(tls) = &self.tls else { return };
        let keys = tls.keys();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if *kept != keys {
            kept.clone_from(&keys);
            (self.config.on_keys)(&keys);
        }
    }

    /// What the printer announces itself to be, as far as it was heard.
    fn announced_model(&self) -> Option<String> {
        self.config.announced_model.borrow().clone()
    }

    fn free_bytes(&self) -> Option<u64> {
        Some(self.free_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes != UNKNOWN_SPACE)
    }
}

/// Everything the supervisor needs to run this printer.
pub fn parts(config: BambuConfig) -> DriverParts {
    let shared = shared(config);
    let row = *shared.row.borrow();
    let camera: Arc<dyn CameraSource> = Arc::new(camera::ModelCamera::new(shared.clone()));
    DriverParts {
        capabilities: row.capabilities(&Value::Null),
        driver: Box::new(link::BambuDriver::new(shared.clone(), row)),
        files: Arc::new(files::BambuFiles::new(shared)),
        camera: Some(camera),
    }
}

fn shared(config: BambuConfig) -> Arc<Shared> {
    let config = BambuConfig { serial: config.serial.trim().to_ascii_uppercase(), ..config };
    let name = config.check_name.then(|| config.serial.clone());
    let tls = PrinterTls::with_keys(name, config.known_keys.clone()).map_err(|error| error.to_string());
    let row = models::identify(&models::Clues {
        code: config.model.as_deref(),
        serial: &config.serial,
        ..models::Clues::default()
    });
    let row = watch::Sender::new(row);
    let kept = Mutex::new(config.known_keys.clone());
    let found_at = Mutex::new(config.host.clone());
    let free_bytes = AtomicU64::new(UNKNOWN_SPACE);
    Arc::new(Shared { config, tls, kept, free_bytes, found_at, row })
}

#[cfg(test)]
mod link_tests;
#[cfg(test)]
mod trap_tests;
