//! Elegoo Centauri Carbon: SDCP v3 in text frames over one WebSocket, HTTP upload, MJPEG (elegoo.md section 2).
//!
//! ```text
//!  discovery (UDP 3000) -> link (WebSocket 3030) -> wire -> reduce -> StateWriter
//!                                 ^  one request in flight
//!        Request -> encode -> sdcp (closed list of payloads)
//!        files (HTTP 80) and camera (HTTP 3031) ask through the Door
//! ```
//! The same process speaks and moves the printer: a malformed command costs the print. That is why only [`sdcp`] can
//! write to the socket, and why there is no way to send a vendor message of one's own.

mod camera;
mod codes;
mod comments;
pub mod discovery;
mod encode;
mod faults;
mod files;
#[cfg(any(test, fuzzing, feature = "doors"))]
pub(crate) mod fuzz_doors;
mod history;
mod link;
mod models;
mod reduce;
mod sdcp;
mod session;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

pub use discovery::{Found, discover};

use crate::drivers::elegoo::door::Door;
use crate::drivers::elegoo::files::Files;
use crate::drivers::elegoo::models::CENTAURI_CARBON;
use crate::drivers::elegoo::whereabouts::Whereabouts;
use crate::printer::DriverParts;

/// TCP and UDP ports of the printer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub websocket: u16,
    pub http: u16,
    pub camera: u16,
    pub discovery: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { websocket: 3030, http: 80, camera: 3031, discovery: 3000 }
    }
}

/// One printer of the configuration.
#[derive(Debug, Clone)]
pub struct Cc1Config {
    /// The configured id, for log lines.
    pub name: String,
    pub host: Whereabouts,
    /// Routing id on the wire; found out where it is not given, and taken anew where the printer has another
    /// (firmware updates change it: elegoo.md 2.2).
    pub mainboard_id: Option<String>,
    pub ports: Ports,
    /// Add the header comments from which the printer reads layers and time, where a slicer left them out
    /// (elegoo.md 2.12).
    pub add_header_comments: bool,
}

impl Cc1Config {
    /// The printer at `host` with everything else as usual.
    pub fn new(name: impl Into<String>, host: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            host: Whereabouts::fixed(host),
            mainboard_id: None,
            ports: Ports::default(),
            add_header_comments: true,
        }
    }
}

/// Waits of the protocol; shortened in tests against simulators that run fast.
#[derive(Debug, Clone, Copy)]
struct Timing {
    /// Between two Cmd 0, if nothing was pushed (elegoo.md 2.3: 1 to 2 s).
    poll: Duration,
    /// Answer to one request.
    answer: Duration,
    /// No frame at all: the values shown are old.
    stale: Duration,
    /// No frame at all: the link is dead.
    silent: Duration,
    /// A stop that changed nothing in the warm-up is sent once more (elegoo.md 2.9).
    stop_again: Duration,
    /// Between two switchings of the light: the second of two in a row gets lost (elegoo.md 2.9).
    light: Duration,
    /// Wait for a discovery answer before going on without.
    discovery: Duration,
    /// Around the check of a transferred file (elegoo.md 2.10).
    after_upload: Duration,
    /// A camera without a picture is given up.
    camera_idle: Duration,
    /// Before the third connection to a camera that shows nothing; doubled each time (elegoo.md 2.13).
    camera_rest: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(1500),
            answer: Duration::from_secs(10),
            stale: Duration::from_secs(12),
            silent: Duration::from_secs(35),
            stop_again: Duration::from_secs(30),
            light: Duration::from_secs(1),
            discovery: Duration::from_millis(2500),
            after_upload: Duration::from_secs(1),
            camera_idle: Duration::from_secs(10),
            camera_rest: Duration::from_secs(30),
        }
    }
}

/// The driver of one printer and its rooms.
pub fn parts(config: Cc1Config) -> DriverParts {
    assemble(config, Timing::default())
}

fn assemble(config: Cc1Config, timing: Timing) -> DriverParts {
    let door = Arc::new(Door::default());
    DriverParts {
        capabilities: models::capabilities(&CENTAURI_CARBON, false),
        files: Arc::new(Files::new(files::Cc1Storage::new(config.clone(), timing, Arc::clone(&door)))),
        camera: Some(Arc::new(camera::Cc1Camera::new(&config, timing, Arc::clone(&door)))),
        driver: Box::new(link::Cc1Driver::new(config, timing, door)),
    }
}

#[cfg(test)]
fn assemble_driver(config: Cc1Config) -> link::Cc1Driver {
    link::Cc1Driver::new(config, Timing::default(), Arc::default())
}
