//! The Moonraker endpoint of one printer: what unmodified Mainsail, Fluidd, Home Assistant, phone apps and slicers
//! speak to (protocol: moonraker.md; golden answers: `fixtures/moonraker`).
//!
//! ```text
//!  state, library, jobs, console --> feed --> View --> diff per subscription --> sockets
//!  HTTP path or JSON-RPC method --> methods (one table) --> Station --> answer in the envelope of its transport
//! ```
//! [`Endpoint`] is the printer's API with its background tasks; [`router`] mounts it at the root of the printer's own
//! port and below `/printers/<name>/` on the gateway's port.

mod advertise;
mod args;
mod cameras;
mod cors;
mod disposition;
mod download;
mod error;
mod events;
mod feed;
mod fluidd;
#[cfg(any(test, fuzzing, feature = "doors"))]
pub mod fuzz_doors;
mod habits;
mod host;
mod http;
mod identity;
mod klippy;
mod logs;
mod methods;
mod object_list;
mod octoprint;
mod request;
mod rpc;
mod socket;
mod stores;
mod subscribe;
mod theme;
mod timelapse;
mod upload;
mod users;
mod view;
mod web;

pub use advertise::Advertised;

use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use futures_util::FutureExt;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use host::Monitor as HostMonitor;

use crate::access::Access;
use crate::station::Station;

/// What the configuration says of all Moonraker endpoints.
#[derive(Debug, Clone)]
pub struct MoonrakerConfig {
    /// A built Mainsail or Fluidd; a plain status page where there is none.
    pub web_root: Option<PathBuf>,
    /// Holds a folder for each printer with files of the web UIs (themes, archives for download), listed as root
    /// `config`; nothing of the gateway's own configuration. Without it the root is empty and read-only.
    pub config_root: Option<PathBuf>,
    /// Bytes.
    pub max_upload: u64,
    pub max_sockets: usize,
    /// What the machine and this process do; all endpoints share it.
    pub host: Arc<HostMonitor>,
}

impl Default for MoonrakerConfig {
    fn default() -> Self {
        Self {
            web_root: None,
            config_root: None,
            max_upload: 1 << 30,
            max_sockets: 768,
            host: Arc::default(),
        }
    }
}

/// Scripts of one printer's clients that run at once, also of clients that have left.
const SCRIPTS: usize = 256;

/// Routes that are made when somebody first asks for one of them: most printers' cameras are watched by nobody.
type Mounted = LazyLock<Router, Box<dyn FnOnce() -> Router + Send>>;

/// The API of one printer. Made once, mounted as often as wanted.
pub struct Endpoint {
    station: Station,
    config: Arc<MoonrakerConfig>,
    access: Arc<Access>,
    hub: socket::Hub,
    feed: feed::Feed,
    /// So many lines of the console were told to all clients, or passed over.
    told: watch::Sender<usize>,
    /// Scripts that run.
    scripts: Arc<Semaphore>,
    stores: Mutex<stores::TemperatureStore>,
    announcements: Mutex<methods::announcements::Notices>,
    octoprint: octoprint::Selection,
    rolled: logs::Rolled,
    /// When the endpoint was made.
    started: crate::model::UnixSeconds,
    /// The printer's own folder below [`MoonrakerConfig::config_root`].
    config_root: Option<PathBuf>,
    /// Taken by scripts that come over HTTP, which has no sessions.
    http_session: Arc<tokio::sync::Mutex<crate::gcode::translate::Session>>,
    database: Mutex<methods::records::Records>,
    /// Routes of other rooms below this endpoint (cameras), behind the same permission.
    mounted: Mounted,
    /// What goes on beside the requests.
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Endpoint {
    /// Clients that are connected to it by WebSocket.
    pub fn clients(&self) -> usize {
        self.hub.count()
    }

    /// Starts the background tasks of the endpoint in `tasks`, which end with `cancel`. `mounted` are the routes below
    /// `/webcam`.
    pub fn start(
        station: Station,
        config: Arc<MoonrakerConfig>,
        mounted: impl FnOnce() -> Router + Send + 'static,
        access: Arc<Access>,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Arc<Self> {
        let endpoint = Arc::new(Self {
            hub: socket::Hub::new(config.max_sockets),
            access,
            feed: feed::Feed::new(&station),
            told: watch::Sender::new(station.console.said()),
            scripts: Arc::new(Semaphore::new(SCRIPTS)),
            stores: Mutex::default(),
            announcements: Mutex::new(methods::announcements::Notices::load(&station)),
            octoprint: octoprint::Selection::default(),
            rolled: logs::Rolled::default(),
            started: crate::printer::clock::unix_now(),
            config_root: config_folder(&config, station.name()),
            http_session: Arc::default(),
            database: Mutex::default(),
            mounted: LazyLock::new(Box::new(mounted)),
            tasks: tasks.clone(),
            cancel,
            config,
            station,
        });
        tasks.spawn(follow(endpoint.clone()));
        endpoint
    }

    /// Goes on with `work` though its client leaves; `None` if the gateway stops before its end.
    fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        self.tasks.spawn(self.cancel.clone().run_until_cancelled_owned(work))
    }
}

/// All that follows the printer for the clients, as one task: a report wakes it once, and the view comes first.
async fn follow(endpoint: Arc<Endpoint>) {
    tokio::join!(
        biased;
        by_itself(feed::run(endpoint.clone())),
        by_itself(feed::follow_file(endpoint.clone())),
        by_itself(events::follow_console(endpoint.clone())),
        by_itself(events::run(endpoint.clone())),
        by_itself(events::follow_spools(endpoint.clone())),
        by_itself(host::run(endpoint.clone())),
        by_itself(users::run(endpoint.clone())),
        by_itself(timelapse::run(endpoint.clone())),
    );
}

/// A panic, which is logged where it happens, ends this piece alone.
async fn by_itself(piece: impl Future<Output = ()>) {
    let _logged = std::panic::AssertUnwindSafe(piece).catch_unwind().await;
}

/// The printer's own folder for files of the web UIs, made where it is missing.
fn config_folder(config: &MoonrakerConfig, printer: &str) -> Option<PathBuf> {
    let folder = config.config_root.as_ref()?.join(printer);
    match std::fs::create_dir_all(&folder) {
        Ok(()) => {
            methods::roots::sweep(&folder);
            Some(folder)
        }
        Err(error) => {
            tracing::warn!(printer, %error, "The web interfaces have no folder for their files.");
            None
        }
    }
}

/// Every route of the endpoint, relative to where it is mounted.
///
/// Mount it with `nest_service`: `nest` does not pass on the prefix with a trailing slash, where a web UI begins.
/// The server must give `ConnectInfo<SocketAddr>`; without it a client counts as a stranger.
pub fn router(endpoint: Arc<Endpoint>) -> Router {
    Router::new().fallback(http::handle).layer(DefaultBodyLimit::disable()).with_state(endpoint)
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
