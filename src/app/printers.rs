//! One printer from its configuration to all that is served of it: driver, services, serial port, Moonraker endpoint.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::drivers::{accept_another, driver};
use super::startup::{StartupError, port_of};
use super::{App, Bound};
use crate::access::Access;
use crate::camera::timelapse::{Choices, Limits, Subject, Timelapses};
use crate::camera::{self, CameraHub};
use crate::config::{Config, PrinterConfig};
use crate::discovery::{Followed, Trail};
use crate::filament::Spoolman;
use crate::front::{admin, marlin, moonraker, webcam};
use crate::jobs::{Jobs, JobsConfig};
use crate::library::{Library, LibraryLimits};
use crate::model::Job;
use crate::net::server;
use crate::printer::{self, PrinterSettings};
use crate::station::{Console, Station};

/// A printer whose gateway was killed notices it with the next pictures that it sends, one each second or two.
const CAMERA_REST: Duration = Duration::from_secs(5);

/// What the printers share.
pub(super) struct Common {
    pub access: Arc<Access>,
    pub options: server::ServerOptions,
    pub endpoints: Arc<moonraker::MoonrakerConfig>,
    pub spoolman: Option<Spoolman>,
    /// Watches the serial ports; made for the first.
    pub visits: Option<marlin::Visits>,
}

/// One printer that runs, and what the gateway's own port and the search for addresses need of it.
pub(super) struct Started {
    pub bound: Bound,
    pub served: admin::Served,
    pub followed: Followed,
}

impl App {
    pub(super) async fn start_printer(
        &self,
        config: &Config,
        printer: &PrinterConfig,
        listener: TcpListener,
        common: &mut Common,
    ) -> Result<Started, StartupError> {
        let port = port_of(&listener);
        let trail = Trail::of(printer, &self.store);
        let forget = trail.forget.clone();
        let station = self.station(config, printer, port, &trail)?;
        let followed = trail.follow(printer, station.printer.clone());
        if let Some(spoolman) = &common.spoolman {
            station.jobs.filament().use_inventory(spoolman.clone());
        }
        let pty = self.open_pty(config, printer, &station, &mut common.visits)?;
        let endpoint = self.endpoint(&station, common);
        let served = endpoint.clone();
        let router = move || moonraker::router(served.clone());
        self.tasks.spawn(server::serve(listener, router, common.options.clone(), self.cancel.clone()));
        let counted = endpoint.clone();
        let served = admin::Served {
            station: station.clone(),
            kind: printer.kind.name(),
            clients: Arc::new(move || counted.clients()),
            api: Box::new(move || moonraker::router(endpoint)),
            accept_another: accept_another(printer, &station, forget),
            serial_port: pty.clone(),
        };
        let (name, kind) = (printer.name.clone(), printer.kind);
        Ok(Started { bound: Bound { name, kind, port, pty, station }, served, followed })
    }

    fn endpoint(&self, station: &Station, common: &Common) -> Arc<moonraker::Endpoint> {
        let (camera, shutdown) = (station.camera.clone(), self.cancel.clone());
        let cameras = move || webcam::router(camera, webcam::WebcamOptions { shutdown });
        moonraker::Endpoint::start(
            station.clone(),
            common.endpoints.clone(),
            cameras,
            common.access.clone(),
            &self.tasks,
            self.cancel.clone(),
        )
    }

    /// One printer with its driver and services.
    fn station(
        &self,
        config: &Config,
        printer: &PrinterConfig,
        port: u16,
        trail: &Trail,
    ) -> Result<Station, StartupError> {
        let failed = |reason: String| StartupError::Printer { name: printer.name.clone(), reason };
        let settings = PrinterSettings {
            name: printer.name.clone(),
            title: printer.title.clone(),
            read_only: printer.read_only,
            allow_vendor: printer.allow_vendor_json,
        };
        let parts = driver(printer, &self.store, trail);
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
}
