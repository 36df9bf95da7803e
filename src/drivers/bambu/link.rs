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
}

impl BambuDriver {
    pub fn new(shared: Arc<Shared>, row: &'static ModelRow) -> Self {
        Self { shared, memory: Memory::new(row), detected: false }
    }

    async fn link(&mut self, io: &mut DriverIo, cancel: &CancellationToken) -> LinkFault {
        let config = &self.shared.config;
        let host = self.shared.host();
        let address = format!("{host}:{}", config.ports.mqtt);
        let place = Place { name: config.name.clone(), address, serial: config.serial.clone() };
        let tls = match &self.shared.tls {
            Ok(tls) => tls.clone(),
            Err(cause) => return place.setup(cause),
        };
        if !self.detected && config.model.is_none() && config.ports.detect != 0 {
            self.detect(&host, cancel).await;
        }
        if self.shared.config.new_key_confirmed.swap(false, Ordering::Relaxed) {
            tracing::warn!(printer = %self.shared.config.name, "The key that the printer shows next is taken as its own, as asked for.");
            tls.forget_key();
        }
        let opened = tokio::select! {
            () = cancel.cancelled() => return place.stopped(),
            opened = self.open(&host, &tls) => opened,
        };
        let (client, events) = match opened {
            Ok(session) => session,
            Err(error) => return place.mqtt(&error, tls.fault()),
        };
        self.shared.keep_keys();
        let mut session =
            Session::new(self.shared.clone(), &mut self.memory, client, place, io.state.clone());
        let fault = run(&mut session, io, events, cancel).await;
        session.close();
        fault
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
                Ok(message) => session.take(&message.payload),
                Err(error) => {
                    session.closed();
                    return session.place().mqtt(&error, None);
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
