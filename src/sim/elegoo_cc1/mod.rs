//! A simulated Elegoo Centauri Carbon: SDCP over one WebSocket, HTTP upload, UDP discovery, MJPEG
//! (dossier `elegoo.md` section 2; payloads have exactly the keys of `fixtures/elegoo`).
//!
//! The printer is as fragile as the real one: an unknown command or a malformed payload kills its one process, and
//! with it every TCP service and the print ([`Truth::crashed`] names the frame). UDP discovery goes on answering.
//!
//! Control port, one JSON object per line (see [`super::control`]): `{"truth":true}` answers a [`Truth`];
//! `{"fault":NAME, ...}` takes a [`Fault`] by its name in snake case with its fields beside it, for example
//! `{"fault":"runout"}`, `{"fault":"silence","seconds":20}`, `{"fault":"disk_full","on":true}`, `{"fault":"slow",
//! "millis":800}`, `{"fault":"filament_swap","tray":2}`. Seconds in faults are real, not scaled.
//!
//! Inferred, for want of a capture: Ack 1 for pause, resume and stop without a job; Ack 2 for facts about a missing
//! file; `CurrentStatus` `[2,1]` while a file arrives during a print; status 25/26 during a Canvas swap.

mod camera;
mod codes;
mod commands;
mod faults;
mod http;
mod machine;
mod report;
mod socket;
#[cfg(test)]
mod tests;
mod tick;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::control;
use super::elegoo_life::{self, Power, answer_searches, clock, rebind, tcp, udp};
use super::elegoo_models::{self, Model};
use super::elegoo_storage::Storage;
use super::traffic::Gauge;

pub use faults::{Answers, Fault, Faults, Truth};
use machine::Core;

/// TCP and UDP ports; 0 takes any free one, the defaults are the printer's own.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub discovery: u16,
    pub http: u16,
    pub websocket: u16,
    pub camera: u16,
    pub control: u16,
}

impl Ports {
    /// Ephemeral everywhere.
    pub const ANY: Self = Self { discovery: 0, http: 0, websocket: 0, camera: 0, control: 0 };
    /// Where the real printer listens; the control port stays ephemeral.
    pub const REAL: Self = Self { discovery: 3000, http: 80, websocket: 3030, camera: 3031, control: 0 };
}

/// How the simulated printer is made.
#[derive(Debug, Clone)]
pub struct Options {
    pub model: &'static Model,
    pub bind: IpAddr,
    pub ports: Ports,
    /// Simulated seconds per real second.
    pub speed: f64,
    /// 32 hex digits.
    pub mainboard_id: String,
    pub mac: String,
    pub name: String,
    /// `V1.1.46` walks through the preparation states, `V1.4.46` parks on 20, `V1.1.29` ignores temperature and
    /// light while printing.
    pub firmware: String,
    /// A Canvas with four trays is attached (V1.4 only).
    pub canvas: bool,
    /// The status of V1.4 tells whether there is a Canvas.
    pub tells_canvas: bool,
    /// A second switching of the light within this real time is lost.
    pub light_rest: Duration,
    /// `None` is a temporary directory.
    pub storage_dir: Option<PathBuf>,
    /// Bytes of internal storage.
    pub capacity: u64,
    /// WebSockets served at once (5 by pycentauri, 4 by Home Assistant).
    pub websocket_limit: usize,
    /// Camera streams served at once.
    pub camera_limit: usize,
    /// A connection without a client message is closed after this real time.
    pub idle_close: Duration,
    /// Status frames are pushed without being asked for while it prints, to connections that sent Cmd 512, as
    /// OpenCentauri V0.3.0-o does (dossier 2.3).
    pub pushes: bool,
    /// Report extrusion under the hex-dump key names of dossier 2.4.
    pub extrusion_keys: bool,
    /// Offending frames that are silently dropped before one kills the process.
    pub tolerated_offences: usize,
    /// The sub-status returns to 0 as soon as the machine is idle, so that 9 shows for one simulated second.
    pub forgets_completion: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self::new(&elegoo_models::CENTAURI_CARBON)
    }
}

impl Options {
    /// A printer of this model, with free ports, on this machine.
    pub fn new(model: &'static Model) -> Self {
        Self {
            model,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: Ports::ANY,
            speed: 1.0,
            mainboard_id: "5127a6f3c2d04e8b9a1b7c0000000000".to_owned(),
            mac: "02:00:00:cc:01:01".to_owned(),
            name: model.name.to_owned(),
            firmware: "V1.1.46".to_owned(),
            canvas: false,
            tells_canvas: true,
            light_rest: Duration::from_millis(800),
            storage_dir: None,
            capacity: 6 << 30,
            websocket_limit: 5,
            camera_limit: 1,
            idle_close: Duration::from_secs(60),
            pushes: true,
            extrusion_keys: false,
            tolerated_offences: 0,
            forgets_completion: false,
        }
    }

    /// Firmware later than 1.1: Canvas, and `PrintInfo.Status` parked on 20 (dossier 2.6, 2.14).
    fn is_v14(&self) -> bool {
        let mut numbers = self.firmware.trim_start_matches(['V', 'v']).split('.').map(str::parse::<u32>);
        let (major, minor) = (numbers.next(), numbers.next());
        matches!((major, minor), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) > (1, 1))
    }
}

/// Where the services listen.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Addresses {
    pub discovery: SocketAddr,
    pub http: SocketAddr,
    pub websocket: SocketAddr,
    pub camera: SocketAddr,
    pub control: SocketAddr,
}

/// What goes to every connection.
#[derive(Debug, Clone)]
enum Cast {
    Frame(String),
    Close,
}

/// What all services share.
struct Shared {
    options: Options,
    core: Mutex<Core>,
    storage: Storage,
    stick: Storage,
    sockets: Gauge,
    viewers: Gauge,
    web: Gauge,
    stop: CancellationToken,
    /// Cancelled when the printer's process dies; replaced when it is started again.
    process: Mutex<CancellationToken>,
    power: Power,
    cast: broadcast::Sender<Cast>,
    addresses: OnceLock<Addresses>,
}

impl Shared {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process(&self) -> CancellationToken {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The one process dies: print lost, sockets gone, `frame` to blame.
    fn crash(&self, frame: &str) {
        self.core().crash(frame);
        self.process().cancel();
    }

    fn power_off(&self) {
        self.core().power_cut();
        self.process().cancel();
        self.power.off();
    }

    /// Starts the services again at the same addresses after a crash or a power cut.
    fn power_on(self: &Arc<Self>) {
        self.power_off();
        let power = self.power.on();
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = power.child_token();
        tokio::spawn(boot(Arc::clone(self), power));
    }

    fn spawn_process(self: &Arc<Self>, web: TcpListener, socket: TcpListener, camera: TcpListener) {
        let process = self.process();
        tokio::spawn(http::serve(Arc::clone(self), web, http::web_routes(self), process.clone()));
        tokio::spawn(http::serve(Arc::clone(self), socket, http::socket_routes(self), process.clone()));
        tokio::spawn(camera::serve(Arc::clone(self), camera, process));
    }
}

/// A running simulated printer; it stops when dropped.
pub struct Simulator {
    shared: Arc<Shared>,
    addresses: Addresses,
}

impl Simulator {
    /// Where its services listen.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The means to make it fail.
    pub fn faults(&self) -> Faults {
        Faults::new(Arc::clone(&self.shared))
    }

    /// What it knows: machine, counters, everything received.
    pub fn truth(&self) -> Truth {
        Truth::of(&self.shared)
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// Starts a simulated Centauri Carbon; needs a tokio runtime.
pub async fn start(options: Options) -> io::Result<Simulator> {
    let storage = Storage::open(options.storage_dir.clone())?;
    let stick = Storage::stick()?;
    let at = |port| SocketAddr::new(options.bind, port);
    let ports = options.ports;
    let discovery = SocketAddr::new(super::hears_broadcasts(options.bind), ports.discovery);
    let (discovery, web, socket, camera) =
        bind(discovery, at(ports.http), at(ports.websocket), at(ports.camera))?;
    let stop = CancellationToken::new();
    let on = Power::new(&stop);
    let power = on.token();
    let shared = Arc::new(Shared {
        core: Mutex::new(Core::new(&options)),
        storage,
        stick,
        sockets: Gauge::default(),
        viewers: Gauge::default(),
        web: Gauge::default(),
        process: Mutex::new(power.child_token()),
        power: on,
        stop,
        cast: broadcast::channel(64).0,
        addresses: OnceLock::new(),
        options,
    });
    let control_at = SocketAddr::new(shared.options.bind, ports.control);
    let addresses = Addresses {
        discovery: discovery.local_addr()?,
        http: web.local_addr()?,
        websocket: socket.local_addr()?,
        camera: camera.local_addr()?,
        control: control::listen(control_at, handler(&shared), shared.stop.clone())?,
    };
    shared.addresses.get_or_init(|| addresses);
    spawn_discovery(&shared, discovery, power);
    shared.spawn_process(web, socket, camera);
    spawn_clock(&shared);
    Ok(Simulator { shared, addresses })
}

/// Search, files and web, WebSocket, camera.
fn bind(
    discovery: SocketAddr,
    http: SocketAddr,
    websocket: SocketAddr,
    camera: SocketAddr,
) -> io::Result<(UdpSocket, TcpListener, TcpListener, TcpListener)> {
    Ok((
        udp("discovery port (UDP)", discovery)?,
        tcp("HTTP port (TCP)", http)?,
        tcp("WebSocket port (TCP)", websocket)?,
        tcp("camera port (TCP)", camera)?,
    ))
}

fn handler(shared: &Arc<Shared>) -> control::Handler {
    let (faults, shared) = (Faults::new(Arc::clone(shared)), Arc::clone(shared));
    elegoo_life::handler(
        move |fault: Fault| faults.apply(fault),
        move || serde_json::to_value(Truth::of(&shared)).unwrap_or(Value::Null),
    )
}

async fn boot(shared: Arc<Shared>, power: CancellationToken) {
    let Some(at) = shared.addresses.get().copied() else { return };
    match rebind(|| bind(at.discovery, at.http, at.websocket, at.camera)).await {
        Some((discovery, web, socket, camera)) => {
            shared.core().powered_on();
            spawn_discovery(&shared, discovery, power);
            shared.spawn_process(web, socket, camera);
        }
        None => shared.core().violation("the simulator could not take its ports again"),
    }
}

fn spawn_clock(shared: &Arc<Shared>) {
    let (machine, sender) = (Arc::clone(shared), Arc::clone(shared));
    let tick = move |step: f64| machine.core().tick(step, &machine.storage);
    let send = move || {
        for frame in sender.core().take_outbox() {
            let _ = sender.cast.send(Cast::Frame(frame));
        }
    };
    tokio::spawn(clock(shared.stop.clone(), shared.options.speed, tick, send));
}

/// Answers `M99999` (dossier 2.2), also after the process has died.
fn spawn_discovery(shared: &Arc<Shared>, socket: UdpSocket, power: CancellationToken) {
    let shared = Arc::clone(shared);
    let reply =
        move |request: &[u8]| (request == b"M99999").then(|| report::discovery(&shared.core().options));
    tokio::spawn(answer_searches(socket, power, reply));
}
