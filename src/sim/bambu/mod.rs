//! A simulated Bambu Lab printer: MQTT broker, FTPS, identity probe and camera over real sockets.
//!
//! It is written from `protocols/bambu.md` and the captured fixtures, and behaves like the printer with its quirks.
//! [`start`] gives a [`Simulator`]: its [`Addresses`], a handle for [`Fault`]s, and the [`Truth`] of what happened.
//! Physics run `speed` times faster than the clock on the wall; protocol timing (report interval, error echo) does not.
//!
//! From outside the process, `control` takes one JSON object per line: `{"fault":"runout"}`,
//! `{"fault":"power_cut","seconds":2}` or `{"truth":true}`; see [`faults`] for every fault.
//!
//! Not simulated: the file tunnel on 6000, TLS 3002, cloud, signed commands.

mod ams;
mod broker;
mod camera;
mod certs;
mod control;
mod core;
mod delta;
mod detect;
pub mod faults;
pub mod feed;
mod ftps;
mod gcode;
mod job;
mod listen;
pub mod models;
mod printer;
mod report;
mod requests;
mod rtsp;
mod ssdp;
#[cfg(test)]
mod tests;
pub mod truth;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::net::{TcpListener, UdpSocket};

pub use certs::Certificate;
pub use faults::{Fault, Faults};
pub use models::{DataChannel, Model, Quirk};
pub use truth::Truth;

use self::core::Core;

/// How a simulated printer is made. Ports of 0 take a free one.
#[derive(Debug, Clone)]
pub struct Options {
    pub model: &'static Model,
    /// 15 characters, upper case.
    pub serial: String,
    /// 8 characters.
    pub access_code: String,
    /// Simulated seconds per real second.
    pub speed: f64,
    pub certificate: Certificate,
    /// Offer TLS 1.3 besides 1.2.
    pub tls13: bool,
    pub address: IpAddr,
    pub mqtt_port: u16,
    pub ftps_port: u16,
    pub detect_port: u16,
    /// Of whichever camera the model has: JPEG or RTSPS.
    pub camera_port: u16,
    /// `None`: no control port.
    pub control_port: Option<u16>,
    /// Where NOTIFY goes; `None`: none is sent.
    pub ssdp_target: Option<SocketAddr>,
    /// Where M-SEARCH is answered; `None`: nowhere.
    pub ssdp_port: Option<u16>,
    /// The storage card; a temporary folder when `None`.
    pub storage_dir: Option<PathBuf>,
    /// Signatures wanted, that is Developer Mode off.
    pub gated: bool,
    /// MQTT clients allowed at once.
    pub client_limit: Option<usize>,
    /// What the FTPS data channel wants; the model's habit when `None`.
    pub data_channel: Option<DataChannel>,
    /// Close the connection on a subscription to another serial, and not merely stay silent.
    pub close_on_wrong_serial: bool,
    /// Time the broker takes to accept a login (cold ESP32 printers: seconds).
    pub connack_delay: Duration,
    /// Real time between routine reports.
    pub report_interval: Duration,
    /// Real time between camera pictures.
    pub camera_interval: Duration,
}

impl Options {
    /// A printer of `model` on 127.0.0.1 with free ports, serial `<prefix>00A000000001` and code 12345678.
    pub fn new(model: &'static Model) -> Self {
        let new_certificates = model.has(Quirk::NewCertificate);
        Self {
            model,
            serial: format!("{}00A000000001", model.prefix),
            access_code: "12345678".to_owned(),
            speed: 1.0,
            certificate: if new_certificates { Certificate::V3 } else { Certificate::V1 },
            tls13: new_certificates,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            mqtt_port: 0,
            ftps_port: 0,
            detect_port: 0,
            camera_port: 0,
            control_port: None,
            ssdp_target: None,
            ssdp_port: None,
            storage_dir: None,
            gated: false,
            client_limit: None,
            data_channel: None,
            close_on_wrong_serial: false,
            connack_delay: Duration::ZERO,
            report_interval: Duration::from_secs(1),
            camera_interval: Duration::from_secs(1),
        }
    }

    fn data_channel(&self) -> DataChannel {
        self.data_channel.unwrap_or(self.model.data_channel)
    }

    /// The name shown by detect and SSDP.
    fn name(&self) -> String {
        let tail = self.serial.get(self.serial.len().saturating_sub(3)..).unwrap_or_default();
        format!("3DP-{}-{tail}", self.model.prefix)
    }
}

/// Where the services listen.
#[derive(Debug, Clone, Serialize)]
pub struct Addresses {
    pub mqtt: SocketAddr,
    pub ftps: SocketAddr,
    pub detect: SocketAddr,
    pub camera: SocketAddr,
    pub control: Option<SocketAddr>,
    pub ssdp: Option<SocketAddr>,
}

/// A running simulated printer; it stops when dropped.
pub struct Simulator {
    core: Arc<Core>,
    addresses: Addresses,
    _storage: Option<tempfile::TempDir>,
}

/// Starts a printer. Fails when a port is taken, or the storage cannot be prepared.
pub async fn start(options: Options) -> io::Result<Simulator> {
    let (root, storage) = match &options.storage_dir {
        Some(path) => (path.clone(), None),
        None => {
            let folder = tempfile::Builder::new().prefix("sim-bambu-").tempdir()?;
            (folder.path().to_owned(), Some(folder))
        }
    };
    prepare_storage(&root, options.model)?;
    let address = options.address;
    let bind = async |service: &str, port: u16| {
        let at = SocketAddr::new(address, port);
        TcpListener::bind(at).await.map_err(super::unheard(service, at))
    };
    let mqtt = bind("MQTT port (TCP)", options.mqtt_port).await?;
    let ftps = bind("FTPS port (TCP)", options.ftps_port).await?;
    let detect = bind("detect port (TCP)", options.detect_port).await?;
    let kind = options.model.camera;
    let camera = bind("camera port (TCP)", options.camera_port).await?;
    let ssdp = match options.ssdp_port {
        Some(port) => {
            let at = SocketAddr::new(super::hears_broadcasts(address), port);
            Some(UdpSocket::bind(at).await.map_err(super::unheard("search port (UDP)", at))?)
        }
        None => None,
    };
    let addresses = Addresses {
        mqtt: mqtt.local_addr()?,
        ftps: ftps.local_addr()?,
        detect: detect.local_addr()?,
        camera: camera.local_addr()?,
        control: None,
        ssdp: ssdp.as_ref().map(UdpSocket::local_addr).transpose()?,
    };
    let (target, control_port) = (options.ssdp_target, options.control_port);
    let core = Arc::new(Core::new(options, root)?);
    let mut simulator = Simulator { core: core.clone(), addresses, _storage: storage };
    if let Some(port) = control_port {
        let faults = simulator.faults();
        let handler = Arc::new(move |request| control::answer(&faults, request));
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        simulator.addresses.control = Some(super::control::listen(at, handler, core.shutdown.clone())?);
    }
    listen::serve(core.clone(), "mqtt", mqtt, broker::handle)?;
    listen::serve(core.clone(), "ftps", ftps, ftps::handle)?;
    listen::serve(core.clone(), "detect", detect, detect::handle)?;
    match kind {
        models::Camera::Jpeg => listen::serve(core.clone(), "camera", camera, camera::handle)?,
        models::Camera::Rtsp => listen::serve(core.clone(), "camera", camera, rtsp::handle)?,
    };
    if let Some(socket) = ssdp {
        tokio::spawn(ssdp::answer(core.clone(), socket));
    }
    if let Some(target) = target {
        tokio::spawn(ssdp::notify(core.clone(), target));
    }
    tokio::spawn(core.clock());
    Ok(simulator)
}

/// The folders of dossier 5.4 and the sample job; an existing sample is left alone.
fn prepare_storage(root: &std::path::Path, model: &Model) -> io::Result<()> {
    for folder in ["cache", "model", "timelapse", "image", "logger"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    // What the printer's own camera recorded; nobody plays it.
    let video = root.join("timelapse").join("video_2025-11-20_18-30-00.mp4");
    if !video.exists() {
        std::fs::write(video, "not really a video\n".repeat(100))?;
    }
    let sample = root.join("cube.gcode.3mf");
    if !sample.exists() {
        std::fs::write(sample, crate::sim::sample::cube_3mf(model.code)?)?;
    }
    Ok(())
}

impl Simulator {
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What the printer was made from.
    pub fn options(&self) -> &Options {
        &self.core.options
    }

    pub fn faults(&self) -> Faults {
        Faults { core: self.core.clone() }
    }

    /// The physical state and the counters of this moment.
    pub fn truth(&self) -> Truth {
        self.core.truth()
    }

    /// Root of the storage card.
    pub fn storage(&self) -> &std::path::Path {
        &self.core.root
    }

    /// Closes every socket.
    pub fn shutdown(&self) {
        self.core.shutdown.cancel();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shutdown();
    }
}
