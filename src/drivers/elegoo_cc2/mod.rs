//! Elegoo Centauri Carbon 2: the vendor's JSON-RPC over MQTT, HTTP upload, MJPEG (elegoo.md section 3).
//!
//! ```text
//!  serial (config | UDP 52700 | /system/info) -> MQTT login -> registration -> 1002 -> deltas
//!  MQTT -> wire (merge) -> reduce -> StateWriter
//!  Request -> encode (closed list of methods) -> MQTT, spaced by 2 s
//!  files (HTTP 80) and camera (HTTP 8080) ask through the Door
//! ```
//! A registered client must send a JSON PING; the printer goes mute without it although MQTT stays up.

mod camera;
mod codes;
pub mod discovery;
mod encode;
mod faults;
mod files;
#[cfg(any(test, fuzzing, feature = "doors"))]
pub(crate) mod fuzz_doors;
mod job;
mod link;
mod models;
mod reduce;
mod session;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

pub use discovery::{Found, discover};
pub use link::random_client_number;

use crate::drivers::elegoo::door::Door;
use crate::drivers::elegoo::files::Files;
use crate::drivers::elegoo::models::CENTAURI_CARBON_2;
use crate::drivers::elegoo::whereabouts::Whereabouts;
use crate::printer::DriverParts;
use crate::secret::Secret;

/// TCP and UDP ports of the printer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub mqtt: u16,
    pub http: u16,
    pub camera: u16,
    pub discovery: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { mqtt: 1883, http: 80, camera: 8080, discovery: 52700 }
    }
}

/// One printer of the configuration.
#[derive(Debug, Clone)]
pub struct Cc2Config {
    /// The configured id, for log lines.
    pub name: String,
    pub host: Whereabouts,
    /// Found out where it is not given.
    pub serial: Option<String>,
    /// `123456` where none is set at the printer (elegoo.md 3.3).
    pub access_code: Option<Secret>,
    /// 1000 to 9999, in the id with which the gateway registers; any where it is not given.
    pub client_number: Option<u16>,
    /// Job files go to the USB stick instead of the internal storage.
    pub jobs_on_usb: bool,
    pub ports: Ports,
}

impl Cc2Config {
    /// The printer at `host` with everything else as usual.
    pub fn new(name: impl Into<String>, host: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            host: Whereabouts::fixed(host),
            serial: None,
            access_code: None,
            client_number: None,
            jobs_on_usb: false,
            ports: Ports::default(),
        }
    }

    fn code(&self) -> Secret {
        self.access_code.clone().filter(|code| !code.is_empty()).unwrap_or_else(|| Secret::new("123456"))
    }
}

/// Waits of the protocol; shortened in tests against simulators that run fast.
#[derive(Debug, Clone, Copy)]
struct Timing {
    /// Between two requests: faster ones make the printer deaf for seconds (elegoo.md 3.5).
    spacing: Duration,
    /// Between two 1002 while printing, and while idle (elegoo.md 3.8).
    poll_printing: Duration,
    poll_idle: Duration,
    canvas: Duration,
    ping: Duration,
    /// Without a PONG for so long the link is dead (elegoo.md 3.4).
    pong: Duration,
    register: Duration,
    /// One request that is answered at once.
    answer: Duration,
    /// An order that the printer neither answers nor follows is sent once more: it swallows requests (elegoo.md 3.5).
    again: Duration,
    /// Answers by UDP take seconds (elegoo.md 3.2).
    discovery: Duration,
    /// Before and after the check of a transferred file.
    after_upload: Duration,
    camera_idle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            spacing: Duration::from_secs(2),
            poll_printing: Duration::from_secs(5),
            poll_idle: Duration::from_secs(30),
            canvas: Duration::from_secs(30),
            ping: Duration::from_secs(10),
            pong: Duration::from_secs(65),
            register: Duration::from_secs(3),
            answer: Duration::from_secs(10),
            again: Duration::from_secs(6),
            discovery: Duration::from_secs(10),
            after_upload: Duration::from_secs(1),
            camera_idle: Duration::from_secs(10),
        }
    }
}

/// The driver of one printer and its rooms.
pub fn parts(config: Cc2Config) -> DriverParts {
    assemble(config, Timing::default())
}

fn assemble(config: Cc2Config, timing: Timing) -> DriverParts {
    let door = Arc::new(Door::default());
    DriverParts {
        capabilities: models::capabilities(&CENTAURI_CARBON_2, false),
        files: Arc::new(Files::new(files::Cc2Storage::new(config.clone(), timing, Arc::clone(&door)))),
        camera: Some(Arc::new(camera::Cc2Camera::new(&config, timing, Arc::clone(&door)))),
        driver: Box::new(link::Cc2Driver::new(config, timing, door)),
    }
}
