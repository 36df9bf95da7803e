//! The connection loop: the only MQTT I/O of this driver.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rand::Rng;
use tokio_util::sync::CancellationToken;

use super::discovery;
use super::link_faults::Place;
use super::models::ModelRow;
use super::session::{Memory, Session};
use super::{Shared, USER};
use crate::model::{LinkFault, LinkPhase};
use crate::net::mqtt::{self, MqttClient, MqttEvents, MqttOptions, Qos};
use crate::net::tls::PrinterTls;
use crate::printer::{Driver, DriverIo};

/// The identity probe answers in milliseconds or not at all.
const DETECT: Duration = Duration::from_secs(2);

pub(super) struct BambuDriver {
    shared: Arc<Shared>,
    memory: Memory,
    /// The printer was asked for its identity.
    detected: bool,
    /// The last link that was Online went to the announced address, or the last one to the configured address stayed
    /// silent: the announced one is tried first.
    announced_first: bool,
}

/// An MQTT session that stands, and where it goes.
struct Opened {
    client: MqttClient,
    events: MqttEvents,
    place: Place,
    host: String,
}

impl BambuDriver {
    pub fn new(shared: Arc<Shared>, row: &'static ModelRow) -> Self {
        Self { shared, memory: Memory::new(row), detected: false, announced_first: false }
    }

    async fn link(&mut self, io: &mut DriverIo, cancel: &CancellationToken) -> LinkFault {
        let Opened { client, events, place, host } = match self.reach(cancel).await {
            Ok(opened) => opened,
            Err(fault) => return fault,
        };
        self.shared.keep_keys();
        let announced = host != self.shared.config.host;
        self.shared.found_at(host);
        let mut session =
            Session::new(self.shared.clone(), &mut self.memory, client, place, io.state.clone());
        let fault = run(&mut session, io, events, cancel).await;
        session.close();
        // An address where nobody reports is no better than one where nobody answers.
        self.announced_first = announced == session.was_online();
        fault
    }

    /// Opens a session at the configured address or at the announced one, whichever answers: nobody vouches for an
    /// announcement, and a printer that was moved answers at the configured address no more.
    async fn reach(&mut self, cancel: &CancellationToken) -> Result<Opened, LinkFault> {
        let configured = self.shared.config.host.clone();
        let tls = match &self.shared.tls {
            Ok(tls) => tls.clone(),
            Err(cause) => return Err(self.place(&configured).setup(cause)),
        };
        if self.shared.config.new_key_confirmed.swap(false, Ordering::Relaxed) {
            tracing::warn!(printer = %self.shared.config.name, "The key that the printer shows next is taken as its own, as asked for.");
            tls.forget_key();
        }
        let first = self.shared.announced_host().filter(|_| self.announced_first);
        let mut tried: Vec<(String, LinkFault)> = Vec::new();
        let mut next = Some(first.unwrap_or_else(|| configured.clone()));
        while let Some(host) = next.take() {
            let place = self.place(&host);
            if !self.detected && self.shared.config.model.is_none() && self.shared.config.ports.detect != 0 {
                self.detect(&host, cancel).await;
            }
            tls.forget_fault();
            let opened = tokio::select! {
                () = cancel.cancelled() => return Err(place.stopped()),
                opened = self.open(&host, &tls) => opened,
            };
            let error = match opened {
                Ok((client, events)) => return Ok(Opened { client, events, place, host }),
                Err(error) => error,
            };
            let elsewhere = may_be_elsewhere(&error);
            tried.push((host, place.unheard(&error, tls.fault())));
            if elsewhere {
                let known = [Some(configured.clone()), self.shared.announced_host()];
                let untried = |host: &String| !tried.iter().any(|(tried, _)| tried == host);
                next = known.into_iter().flatten().find(untried);
            }
        }
        // A fault that may pass is tried again soon; of two alike, that of the address which the user can correct tells.
        tried.sort_by_key(|(host, fault)| (fault.permanent, *host != configured));
        let fault = tried.into_iter().next().map(|(_, fault)| fault);
        Err(fault.unwrap_or_else(|| self.place(&configured).stopped()))
    }

    fn place(&self, host: &str) -> Place {
        let config = &self.shared.config;
        let address = format!("{host}:{}", config.ports.mqtt);
        Place { name: config.name.clone(), address, serial: config.serial.clone() }
    }

    /// Old firmware names its model nowhere else (bambu.md 1.3). Asked once, an answer is not needed.
    async fn detect(&mut self, host: &str, cancel: &CancellationToken) {
        let probe = discovery::detect(host, self.shared.config.ports.detect, DETECT);
        let found = tokio::select! {
            () = cancel.cancelled() => return,
            found = probe => found,
        };
        match found {
            Ok(found) if found.serial == self.shared.config.serial => {
                self.detected = true;
                self.memory.learn(found.model, found.name);
            }
            Ok(_another) => {}
            Err(error) => tracing::debug!(%error, "No answer to the identity probe."),
        }
    }

    async fn open(&self, host: &str, tls: &PrinterTls) -> Result<(MqttClient, MqttEvents), mqtt::MqttError> {
        let config = &self.shared.config;
        // A fresh name each time: equal names would throw each other out (bambu.md 2.2).
        let suffix: u32 = rand::rng().random();
        let mut options = MqttOptions::new(host, config.ports.mqtt, format!("moongate-{suffix:08x}"));
        options.set_credentials(USER, config.access_code.expose());
        options.keep_alive = config.timing.keep_alive;
        options.connect_timeout = config.timing.connect;
        options.tls = Some(tls.client_config());
        let topic = format!("device/{}/report", config.serial);
        Box::pin(mqtt::connect(options, &[(&topic, Qos::AtMostOnce)])).await
    }
}

/// Whether the printer may be at another address. What answers with the printer's key and refuses is the printer.
fn may_be_elsewhere(error: &mqtt::MqttError) -> bool {
    use mqtt::MqttError::{Closed, Timeout, Tls, Unreachable};
    matches!(error, Unreachable(_) | Timeout | Tls(_) | Closed(_))
}

/// Carries reports, commands and deadlines to the session until the link ends.
async fn run(
    session: &mut Session<'_>,
    io: &mut DriverIo,
    mut events: MqttEvents,
    cancel: &CancellationToken,
) -> LinkFault {
    io.state.link(LinkPhase::Syncing);
    session.begin();
    loop {
        let wake = session.next_deadline();
        tokio::select! {
            () = cancel.cancelled() => return session.place().stopped(),
            event = events.next() => match event {
                // A bridge may pass on what is said of its other printers.
                Ok(message) if session.is_report(&message.topic) => session.take(&message.payload),
                Ok(_of_another) => {}
                Err(error) => {
                    let unheard = session.closed();
                    let place = session.place();
                    return if unheard { place.unheard(&error, None) } else { place.mqtt(&error, None) };
                }
            },
            Some(request) = io.commands.recv() => session.request(request),
            () = tokio::time::sleep_until(wake) => {}
        }
        if let Some(fault) = session.tick() {
            return fault;
        }
        session.rest();
    }
}

impl Driver for BambuDriver {
    fn run<'a>(&'a mut self, io: &'a mut DriverIo, cancel: CancellationToken) -> BoxFuture<'a, LinkFault> {
        Box::pin(async move {
            // Nothing that was asked while there was no link is sent now (design D7).
            while let Ok(request) = io.commands.try_recv() {
                request.answer(Err(super::session::offline()));
            }
            self.link(io, &cancel).await
        })
    }
}
