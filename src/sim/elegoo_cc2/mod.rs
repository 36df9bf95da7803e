//! A simulated Elegoo Centauri Carbon 2: registering MQTT broker, HTTP upload and download, UDP discovery, MJPEG
//! (dossier `elegoo.md` section 3; payloads have exactly the keys of `fixtures/elegoo`).
//!
//! Calling an access-code or firmware method (1039, 1049, 1050, 1053, 1063) is a loud failure: it is kept in
//! [`Truth::forbidden`]. Methods whose parameters nobody knows (1019, 1054, 1055, 1056, 1057, 1058, 2007) answer
//! 1003 and do nothing; 1061 and 2006 answer a bare success because no capture shows their fields.
//!
//! Control port, one JSON object per line (see [`super::control`]): `{"truth":true}` answers a [`Truth`];
//! `{"fault":NAME, ...}` takes a [`Fault`] by its name in snake case with its fields beside it, for example
//! `{"fault":"canvas_jam"}`, `{"fault":"silence","seconds":20}`, `{"fault":"disk_full","on":true}`,
//! `{"fault":"filament_swap","tray":2}`, `{"fault":"wrong_code","on":true}`. Seconds in faults are real, not scaled.
//!
//! Inferred, for want of a capture: 9999 for a move before homing; 1009 for every write after an emergency stop;
//! the second camera viewer is turned away by closing its connection.

mod broker;
mod camera;
mod canvas;
mod codes;
mod faults;
mod files;
mod http;
mod machine;
mod methods;
mod outgoing;
mod registry;
mod report;
#[cfg(test)]
mod tests;
mod tick;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

use super::control;
use super::elegoo_life::{self, Power, answer_searches, clock, rebind, tcp, udp};
use super::elegoo_models::{self, Model};
use super::elegoo_storage::Storage;
use super::traffic::Gauge;
use broker::Broker;
use machine::Core;

pub use faults::{Fault, Faults, Truth};

/// TCP and UDP ports; 0 takes any free one.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub discovery: u16,
    pub mqtt: u16,
    pub http: u16,
    pub camera: u16,
    pub control: u16,
}

impl Ports {
    /// Ephemeral everywhere.
    pub const ANY: Self = Self { discovery: 0, mqtt: 0, http: 0, camera: 0, control: 0 };
    /// Where the real printer listens; the control port stays ephemeral.
    pub const REAL: Self = Self { discovery: 52700, mqtt: 1883, http: 80, camera: 8080, control: 0 };
}

/// What an unregistered client gets (dossier 3.4 knows both).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unregistered {
    Silence,
    Error1000,
}

/// How the simulated printer is made. Durations are real time.
#[derive(Debug, Clone)]
pub struct Options {
    pub model: &'static Model,
    pub bind: IpAddr,
    pub ports: Ports,
    /// Simulated seconds per real second.
    pub speed: f64,
    /// 15 characters beginning with `F01`.
    pub serial: String,
    pub access_code: String,
    pub host_name: String,
    /// "LAN Only" mode. Without it only discovery answers, and says so (dossier 3.1).
    pub lan_only: bool,
    /// In cloud mode the broker answers, and refuses every code.
    pub cloud_broker: bool,
    /// `01.03.02.51` leaves 1042, 1044 and 1047 unanswered.
    pub firmware: String,
    /// A Canvas with four trays is attached.
    pub canvas: bool,
    /// `None` is a temporary directory.
    pub storage_dir: Option<PathBuf>,
    /// Bytes of internal storage.
    pub capacity: u64,
    /// Registered clients at once (2 by elegoo-web, 4 by Home Assistant).
    pub client_limit: usize,
    pub camera_limit: usize,
    pub unregistered: Unregistered,
    /// A registration without PING ends after this.
    pub registration_ttl: Duration,
    /// The slot of a client that vanished is free again after this.
    pub dead_slot: Duration,
    /// The third request within this time starts a deaf spell; zero switches that off.
    pub burst_window: Duration,
    /// How long requests are swallowed then.
    pub burst_deaf: Duration,
    /// Time between two deltas while something changes; state changes are pushed at once.
    pub delta_period: Duration,
    /// `machine_status.progress` is part of the deltas.
    pub progress_in_deltas: bool,
    /// Simulated seconds that 2077 shows at the end of a print; 0 leaves it out.
    pub completion_shown: f64,
    /// Simulated seconds after the end of a print in which its timelapse is rendered (status 12).
    pub renders_for: f64,
    /// The history knows a run by another id than the status.
    pub history_ids_differ: bool,
    /// Simulated seconds of a run in which the status still tells the id of the run before, as it does at rest; 0 for none.
    pub keeps_id_for: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self::new(&elegoo_models::CENTAURI_CARBON_2)
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
            serial: "F01SIM000000001".to_owned(),
            access_code: "123456".to_owned(),
            host_name: model.name.to_owned(),
            lan_only: true,
            cloud_broker: false,
            firmware: "02.01.00.00".to_owned(),
            canvas: true,
            storage_dir: None,
            capacity: 31_021_039_616,
            client_limit: 2,
            camera_limit: 1,
            unregistered: Unregistered::Silence,
            registration_ttl: Duration::from_secs(360),
            dead_slot: Duration::from_secs(65),
            burst_window: Duration::from_secs(1),
            burst_deaf: Duration::from_secs(5),
            delta_period: Duration::from_secs(1),
            progress_in_deltas: false,
            completion_shown: 1.0,
            renders_for: 0.0,
            history_ids_differ: false,
            keeps_id_for: 0.0,
        }
    }
}

/// Where the services listen.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Addresses {
    pub discovery: SocketAddr,
    pub mqtt: SocketAddr,
    pub http: SocketAddr,
    pub camera: SocketAddr,
    pub control: SocketAddr,
}

/// What all services share.
struct Shared {
    options: Options,
    core: Mutex<Core>,
    storage: Storage,
    stick: Storage,
    broker: Broker,
    sessions: Gauge,
    viewers: Gauge,
    web: Gauge,
    stop: CancellationToken,
    power: Power,
    addresses: OnceLock<Addresses>,
}

impl Shared {
    /// The storage behind a `storage_media`, or the error code.
    fn medium(&self, core: &Core, name: Option<&str>) -> Result<&Storage, i64> {
        match name {
            Some("local") => Ok(&self.storage),
            Some("u-disk") if core.faults.usb_stick => Ok(&self.stick),
            Some("u-disk" | "sd-card") => Err(1017),
            _ => Err(1003),
        }
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn power_off(&self) {
        self.core().power_cut();
        self.power.off();
    }

    /// Starts all services again at the same addresses.
    fn power_on(self: &Arc<Self>) {
        self.power_off();
        let power = self.power.on();
        tokio::spawn(boot(Arc::clone(self), power));
    }

    fn spawn_services(self: &Arc<Self>, services: Services, power: CancellationToken) {
        spawn_discovery(self, services.discovery, power.clone());
        tokio::spawn(broker::serve(Arc::clone(self), services.mqtt, power.clone()));
        tokio::spawn(http::serve(Arc::clone(self), services.http, power.clone()));
        tokio::spawn(camera::serve(Arc::clone(self), services.camera, power));
    }
}

struct Services {
    discovery: UdpSocket,
    mqtt: TcpListener,
    http: TcpListener,
    camera: TcpListener,
}

impl Services {
    fn bind(
        discovery: SocketAddr,
        mqtt: SocketAddr,
        http: SocketAddr,
        camera: SocketAddr,
    ) -> io::Result<Self> {
        Ok(Self {
            discovery: udp("discovery port (UDP)", discovery)?,
            mqtt: tcp("MQTT port (TCP)", mqtt)?,
            http: tcp("HTTP port (TCP)", http)?,
            camera: tcp("camera port (TCP)", camera)?,
        })
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

/// Starts a simulated Centauri Carbon 2; needs a tokio runtime.
pub async fn start(options: Options) -> io::Result<Simulator> {
    let storage = Storage::open(options.storage_dir.clone())?;
    let stick = Storage::stick()?;
    let at = |port| SocketAddr::new(options.bind, port);
    let ports = options.ports;
    let discovery = SocketAddr::new(super::hears_broadcasts(options.bind), ports.discovery);
    let services = Services::bind(discovery, at(ports.mqtt), at(ports.http), at(ports.camera))?;
    let control_at = at(ports.control);
    let stop = CancellationToken::new();
    let on = Power::new(&stop);
    let power = on.token();
    let shared = Arc::new(Shared {
        core: Mutex::new(Core::new(&options)),
        storage,
        stick,
        broker: Broker::default(),
        sessions: Gauge::default(),
        viewers: Gauge::default(),
        web: Gauge::default(),
        power: on,
        stop,
        addresses: OnceLock::new(),
        options,
    });
    let addresses = Addresses {
        discovery: services.discovery.local_addr()?,
        mqtt: services.mqtt.local_addr()?,
        http: services.http.local_addr()?,
        camera: services.camera.local_addr()?,
        control: control::listen(control_at, handler(&shared), shared.stop.clone())?,
    };
    shared.addresses.get_or_init(|| addresses);
    shared.spawn_services(services, power);
    spawn_clock(&shared);
    Ok(Simulator { shared, addresses })
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
    match rebind(|| Services::bind(at.discovery, at.mqtt, at.http, at.camera)).await {
        Some(services) => {
            shared.core().powered_on();
            shared.spawn_services(services, power);
        }
        None => shared.core().violation("the simulator could not take its ports again"),
    }
}

fn spawn_clock(shared: &Arc<Shared>) {
    let (machine, sender) = (Arc::clone(shared), Arc::clone(shared));
    let send = move || {
        let due = sender.core().take_due();
        for message in due {
            sender.broker.publish(&message.topic, message.payload.as_bytes());
        }
    };
    let tick = move |step: f64| machine.core().tick(step);
    tokio::spawn(clock(shared.stop.clone(), shared.options.speed, tick, send));
}

/// Answers method 7000 (dossier 3.2).
fn spawn_discovery(shared: &Arc<Shared>, socket: UdpSocket, power: CancellationToken) {
    let shared = Arc::clone(shared);
    let reply = move |request: &[u8]| {
        let request: Value = serde_json::from_slice(request).ok()?;
        let id = request.get("id").cloned().unwrap_or(json!(0));
        (request.get("method") == Some(&json!(7000))).then(|| report::discovery(&shared.core().options, &id))
    };
    tokio::spawn(answer_searches(socket, power, reply));
}
