//! Puts the parts together: the only room that names concrete drivers and front ends.
//!
//! Start: directories, listeners, store, then per printer its driver, services and front ends. Stop, within ten
//! seconds and in this order: no new connections, clients told, transfers cancelled, links closed, store on disk, pty
//! links removed. A print at a printer is never touched by either.

mod drivers;
pub mod footprint;
mod printers;
mod startup;
mod state_dir;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, AccessSettings, Role};
use crate::config::{Config, Kind, Tls};
use crate::discovery;
use crate::filament::Spoolman;
use crate::front::{admin, moonraker, rtsp};
use crate::net::announce::{Announced, Announcer};
use crate::net::descriptors;
use crate::net::server;
use crate::station::Station;
use crate::store::Store;

pub use drivers::driver;
pub use startup::{AppOptions, StartupError};

use printers::Common;
use startup::{listen, make_private, make_public, port_of, tls};
use state_dir::StateDir;

/// In `state_dir`.
const DATABASE: &str = "moongate.redb";
/// How long the parts may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// Where one printer is found.
#[derive(Clone)]
pub struct Bound {
    pub name: String,
    pub kind: Kind,
    pub port: u16,
    pub pty: Option<PathBuf>,
    station: Station,
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
        let store = Store::open(&config.gateway.state_dir.join(DATABASE))?;
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
        let spoolman = config.gateway.spoolman.as_deref();
        let mut common = Common {
            access: access.clone(),
            options: options.clone(),
            endpoints: Arc::new(endpoint_config(config)),
            spoolman: spoolman.map(|url| Spoolman::start(url, &self.tasks, self.cancel.clone())),
            visits: None,
        };
        let (mut served, mut followed) = (Vec::new(), Vec::new());
        for (printer, listener) in config.printers.iter().zip(ports.printers) {
            let started = self.start_printer(config, printer, listener, &mut common).await?;
            served.push(started.served);
            followed.push(started.followed);
            self.printers.push(started.bound);
        }
        let (told, state) = watch::channel(None);
        let database = config.gateway.state_dir.join(DATABASE);
        match StateDir::new(&database, &self.store).await {
            Ok(kept) => drop(self.tasks.spawn(kept.watch(told, self.cancel.clone()))),
            Err(error) => tracing::warn!(%error, "Nobody watches over the state database."),
        }
        let router = admin::router(served, state, &access, &self.tasks, &self.cancel);
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
        api_key: access.api_key.clone(),
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
