//! Puts the parts together: the only room that names concrete drivers and front ends.
//!
//! Start: directories, listeners, store, then per printer its driver, services and front ends. Stop, within ten
//! seconds and in this order: no new connections, clients told, transfers cancelled, links closed, store on disk, pty
//! links removed. A print at a printer is never touched by either.

mod drivers;
pub mod footprint;
mod startup;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, AccessSettings, Role};
use crate::camera::timelapse::{Choices, Limits, Subject, Timelapses};
use crate::camera::{self, CameraHub};
use crate::config::{Config, Kind, PrinterConfig, Tls};
use crate::discovery::{self, Trail};
use crate::filament::Spoolman;
use crate::front::{admin, marlin, moonraker, rtsp, webcam};
use crate::jobs::{Jobs, JobsConfig};
use crate::library::{Library, LibraryLimits};
use crate::model::Job;
use crate::net::announce::{Announced, Announcer};
use crate::net::descriptors;
use crate::net::server;
use crate::printer::{self, PrinterSettings};
use crate::station::{Console, Station};
use crate::store::Store;

pub use drivers::{Outside, driver};
pub use startup::{AppOptions, StartupError};

use drivers::accept_another;
use startup::{listen, make_private, make_public, port_of, tls};

/// How long the parts may take to end.
const GRACE: Duration = Duration::from_secs(10);
/// A printer whose gateway was killed notices it with the next pictures that it sends, one each second or two.
const CAMERA_REST: Duration = Duration::from_secs(5);

/// Where one printer is found.
#[derive(Clone)]
pub struct Bound {
    pub name: String,
    pub kind: Kind,
    pub port: u16,
    pub pty: Option<PathBuf>,
    station: Station,
    /// For printers whose key is pinned.
    accept_another: admin::AcceptAnother,
}

impl Bound {
    pub fn online(&self) -> bool {
        self.station.printer.state().online()
    }
}

/// The ports that are open, not yet served.
struct Ports {
    printers: Vec<TcpListener>,
    gateway: TcpListener,
    rtsp: Option<TcpListener>,
}

/// The running gateway.
pub struct App {
    gateway_port: u16,
    rtsp_port: Option<u16>,
    printers: Vec<Bound>,
    announcer: Option<Announcer>,
    store: Store,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl App {
    /// Starts everything; returns when all ports are open. Printers connect in their own time.
    ///
    /// # Errors
    /// A port or directory that cannot be had; nothing stays running then.
    pub async fn start(config: Config, options: AppOptions) -> Result<Self, StartupError> {
        descriptors::allow_many();
        make_private(&config.gateway.state_dir, "state_dir")?;
        make_public(&config.gateway.runtime_dir, "runtime_dir")?;
        let gateway_listener =
            listen(SocketAddr::new(config.gateway.listen, config.gateway.port), "port in [gateway]", options)
                .await?;
        let rtsp = match config.rtsp {
            Some(address) => Some(listen(address, "listen in [rtsp]", options).await?),
            None => None,
        };
        let mut listeners = Vec::new();
        for printer in &config.printers {
            let key = format!("moonraker_port of printer \"{}\"", printer.name);
            let address = SocketAddr::new(config.gateway.listen, printer.moonraker_port);
            listeners.push(listen(address, &key, options).await?);
        }
        let store = Store::open(&config.gateway.state_dir.join("moongate.redb"))?;
        let mut app = Self {
            gateway_port: port_of(&gateway_listener),
            rtsp_port: rtsp.as_ref().map(port_of),
            printers: Vec::new(),
            announcer: None,
            store: store.clone(),
            tasks: TaskTracker::new(),
            cancel: CancellationToken::new(),
        };
        let ports = Ports { printers: listeners, gateway: gateway_listener, rtsp };
        match app.start_printers(&config, ports).await {
            Ok(()) => Ok(app),
            Err(error) => {
                app.stop().await;
                Err(error)
            }
        }
    }

    async fn start_printers(&mut self, config: &Config, ports: Ports) -> Result<(), StartupError> {
        let options = server::ServerOptions { tls: tls(config)?, ..server::ServerOptions::default() };
        let access = Access::open(access_settings(config), &self.store);
        let endpoint_config = Arc::new(endpoint_config(config));
        let spoolman = config.gateway.spoolman.as_deref();
        let spoolman = spoolman.map(|url| Spoolman::start(url, &self.tasks, self.cancel.clone()));
        let (mut endpoints, mut followed, mut visits) = (Vec::new(), Vec::new(), None);
        for (printer, listener) in config.printers.iter().zip(ports.printers) {
            let port = port_of(&listener);
            let (confirmed, trail) = (Arc::<AtomicBool>::default(), Trail::of(printer, &self.store));
            let forget = trail.forget.clone();
            let outside = Outside {
                new_key_confirmed: Some(confirmed.clone()),
                moved_to: Some(trail.moved_to.clone()),
                announced_model: Some(trail.announced_model.clone()),
                on_identity: Some(trail.on_identity.clone()),
                kept: trail.kept.clone(),
                another_confirmed: trail.another_confirmed.clone(),
            };
            let station = self.station(config, printer, port, outside).await?;
            followed.push(trail.follow(printer, station.printer.clone()));
            if let Some(spoolman) = &spoolman {
                station.jobs.filament().use_inventory(spoolman.clone());
            }
            let pty = self.open_pty(config, printer, &station, &mut visits)?;
            let (camera, shutdown) = (station.camera.clone(), self.cancel.clone());
            let cameras = move || webcam::router(camera, webcam::WebcamOptions { shutdown });
            let endpoint = moonraker::Endpoint::start(
                station.clone(),
                endpoint_config.clone(),
                cameras,
                access.clone(),
                self.cancel.clone(),
            );
            let served = endpoint.clone();
            let router = move || moonraker::router(served.clone());
            self.tasks.spawn(server::serve(listener, router, options.clone(), self.cancel.clone()));
            endpoints.push(endpoint);
            let accept_another = accept_another(&station, confirmed, forget);
            self.printers.push(Bound {
                name: printer.name.clone(),
                kind: printer.kind,
                port,
                pty,
                station,
                accept_another,
            });
        }
        let served = endpoints.into_iter().zip(&self.printers).map(|(endpoint, bound)| {
            let counted = endpoint.clone();
            admin::Served {
                station: bound.station.clone(),
                kind: bound.kind.name(),
                clients: Arc::new(move || counted.clients()),
                api: Box::new(move || moonraker::router(endpoint)),
                accept_another: bound.accept_another.clone(),
                serial_port: bound.pty.clone(),
            }
        });
        let router = admin::router(served.collect(), &access, &self.tasks, &self.cancel);
        if let Some(listener) = ports.rtsp {
            let cameras = self.printers.iter().map(|bound| rtsp::Camera {
                name: bound.name.clone(),
                title: bound.station.printer.title().to_owned(),
                hub: bound.station.camera.clone(),
            });
            let serving =
                rtsp::serve(listener, cameras.collect(), access, options.clone(), self.cancel.clone());
            self.tasks.spawn(serving);
        }
        self.tasks.spawn(server::serve(ports.gateway, move || router.clone(), options, self.cancel.clone()));
        self.tasks.spawn(discovery::follow_addresses(followed, self.cancel.clone()));
        self.announce(config);
        Ok(())
    }

    /// Tells the network where the printers are; without that they still work by their address.
    fn announce(&mut self, config: &Config) {
        if !config.gateway.announce || config.gateway.listen.is_loopback() {
            return;
        }
        let host = crate::net::announce::machine_name();
        let https = config.gateway.tls != Tls::Off;
        let services: Vec<Announced> = self
            .printers
            .iter()
            .flat_map(|bound| {
                let printer = moonraker::Advertised {
                    name: &bound.name,
                    title: bound.station.printer.title(),
                    host: &host,
                    port: bound.port,
                    https,
                };
                printer.services()
            })
            .collect();
        match Announcer::start(&services, &host, config.gateway.listen) {
            Ok(announcer) => self.announcer = Some(announcer),
            Err(error) => tracing::warn!(%error, "The printers are not announced."),
        }
    }

    /// One printer with its driver and services.
    async fn station(
        &self,
        config: &Config,
        printer: &PrinterConfig,
        port: u16,
        outside: Outside,
    ) -> Result<Station, StartupError> {
        let failed = |reason: String| StartupError::Printer { name: printer.name.clone(), reason };
        let settings = PrinterSettings {
            name: printer.name.clone(),
            title: printer.title.clone(),
            read_only: printer.read_only,
            allow_vendor: printer.allow_vendor_json,
        };
        let parts = driver(printer, &self.store, outside).map_err(failed)?;
        let handle = printer::start(settings, parts, &self.tasks, self.cancel.clone());
        let library = Library::start(
            Self::library_dir(&config.gateway.state_dir, &printer.name),
            LibraryLimits { max_upload: config.gateway.max_upload, min_free: config.gateway.min_free },
            handle.clone(),
            self.store.clone(),
            &self.tasks,
            self.cancel.clone(),
        )
        .map_err(|error| failed(error.to_string()))?;
        let jobs = Jobs::open(
            handle.clone(),
            library.clone(),
            self.store.clone(),
            &self.tasks,
            self.cancel.clone(),
            JobsConfig { wrap_gcode: printer.wrap_gcode, bed: printer.bed.clone() },
        )
        .map_err(|error| failed(error.to_string()))?;
        let camera = CameraHub::with_settings(
            handle.camera().cloned(),
            handle.capabilities().camera,
            camera::Settings { rest: CAMERA_REST, ..camera::Settings::default() },
            &self.tasks,
            self.cancel.clone(),
        );
        let timelapses = self.timelapses(config, printer, &handle, &camera, &jobs);
        self.tasks.spawn(camera.clone().follow(handle.watch_capabilities(), self.tasks.clone()));
        let console = Console::default();
        self.tasks.spawn(console.clone().follow(&handle, self.cancel.clone()));
        Ok(Station {
            printer: handle,
            library,
            jobs,
            store: self.store.clone(),
            console,
            camera,
            timelapses,
            moonraker_port: port,
        })
    }

    /// The recordings of one printer, and the task that makes them.
    fn timelapses(
        &self,
        config: &Config,
        printer: &PrinterConfig,
        handle: &printer::PrinterHandle,
        camera: &CameraHub,
        jobs: &Jobs,
    ) -> Timelapses {
        let folder = config.gateway.state_dir.join("timelapse").join(&printer.name);
        let choices = Choices { enabled: printer.timelapse, ..Choices::default() };
        let timelapses = Timelapses::new(folder, Limits::default(), choices);
        let (recorder, hub, states, jobs) =
            (timelapses.clone(), camera.clone(), handle.watch(), jobs.clone());
        let subject = move |_job: &Job| {
            let entry = jobs.current_entry()?;
            Some(Subject { id: entry.id, name: entry.file })
        };
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move { recorder.follow(hub, states, subject, cancel).await });
        timelapses
    }

    fn open_pty(
        &self,
        config: &Config,
        printer: &PrinterConfig,
        station: &Station,
        visits: &mut Option<marlin::Visits>,
    ) -> Result<Option<PathBuf>, StartupError> {
        if !printer.pty.enabled {
            return Ok(None);
        }
        let failed = |reason: String| StartupError::Printer { name: printer.name.clone(), reason };
        let visits = match visits {
            Some(visits) => visits,
            None => visits.insert(marlin::Visits::start().map_err(|error| {
                failed(format!("its serial port cannot be watched ({error}): set pty = false, or raise fs.inotify.max_user_instances"))
            })?),
        };
        let link = config.gateway.runtime_dir.join(&printer.name);
        let settings = marlin::MarlinConfig {
            link: link.clone(),
            mode: printer.pty.mode,
            owner: printer.pty.owner.clone(),
            group: printer.pty.group.clone(),
            streamed_prints: printer.streamed_prints,
            emergency_stop: printer.pty.emergency_stop,
        };
        let port = marlin::open(settings, visits).map_err(|error| match error {
            marlin::PtyError::InUse { .. } => {
                StartupError::SerialPortTaken { name: printer.name.clone(), reason: error.to_string() }
            }
            error => failed(error.to_string()),
        })?;
        self.tasks.spawn(port.serve(station.clone(), self.cancel.clone()));
        Ok(Some(link))
    }

    /// Where the files of a printer are kept.
    pub fn library_dir(state_dir: &Path, printer: &str) -> PathBuf {
        state_dir.join("library").join(printer).join("gcodes")
    }

    pub fn gateway_port(&self) -> u16 {
        self.gateway_port
    }

    /// Where RTSP is served, if it is.
    pub fn rtsp_port(&self) -> Option<u16> {
        self.rtsp_port
    }

    /// In the order of the configuration.
    pub fn printers(&self) -> &[Bound] {
        &self.printers
    }

    /// Resolves when every printer is online.
    pub async fn all_online(&self) {
        for bound in &self.printers {
            let mut watch = bound.station.printer.watch();
            let _ends_with_the_app = watch.wait_for(|state| state.online()).await;
        }
    }

    /// Ends all parts in order; what does not end in time is dropped.
    pub async fn stop(self) {
        if let Some(announcer) = self.announcer {
            announcer.end().await;
        }
        self.cancel.cancel();
        self.tasks.close();
        if tokio::time::timeout(GRACE, self.tasks.wait()).await.is_err() {
            tracing::warn!("Some parts did not end in {} s and were dropped.", GRACE.as_secs());
        }
        if let Err(error) = self.store.flush().await {
            tracing::error!(%error, "The state could not be written at the end.");
        }
    }
}

fn access_settings(config: &Config) -> AccessSettings {
    let access = &config.access;
    let networks = |list: &[String]| list.iter().filter_map(|text| text.parse().ok()).collect();
    let roles =
        |names: &[String], role: Role| names.iter().map(|name| (name.clone(), role)).collect::<Vec<_>>();
    let operators = roles(&access.operators, Role::Operate);
    AccessSettings {
        api_key: None,
        trusted_clients: networks(&access.trusted_clients),
        trusted_proxies: networks(&access.trusted_proxies),
        cors_domains: access.cors_domains.clone(),
        force_logins: access.force_logins,
        trusted_role: access.trusted_role,
        // Who stands in both lists may only look.
        roles: operators.into_iter().chain(roles(&access.viewers, Role::View)).collect(),
    }
}

fn endpoint_config(config: &Config) -> moonraker::MoonrakerConfig {
    moonraker::MoonrakerConfig {
        web_root: config.gateway.web_root.clone(),
        config_root: Some(config.gateway.state_dir.join("web")),
        max_upload: config.gateway.max_upload,
        ..moonraker::MoonrakerConfig::default()
    }
}
