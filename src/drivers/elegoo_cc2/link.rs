//! Serial number, login and registration (elegoo.md 3.2 to 3.4); what is said afterwards is [`super::session`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rand::Rng;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::discovery::{self, SystemInfo};
use super::encode::Call;
use super::faults;
use super::models;
use super::reduce::Memory;
use super::session::Session;
use super::wire::{Registration, registration};
use super::{Cc2Config, Timing};
use crate::drivers::elegoo::FULL_AGAIN;
use crate::drivers::elegoo::door::{Answering, Door};
use crate::drivers::elegoo::http::authority;
use crate::drivers::elegoo::models::{CENTAURI_CARBON_2, Model};
use crate::drivers::elegoo::whereabouts::Identity;
use crate::model::{LinkFault, LinkPhase};
use crate::net::mqtt::{self, MqttClient, MqttError, MqttEvents, MqttOptions, Qos};
use crate::printer::{Driver, DriverIo};

/// The MQTT user of every printer.
const USER: &str = "elegoo";
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// For the farewell when the gateway stops.
const PARTING: Duration = Duration::from_secs(2);
/// Registrations can be swallowed as any request.
const REGISTER_TRIES: u32 = 3;
/// The short question whether LAN mode is off, when the broker cannot be reached or refuses the code.
const WHY: Duration = Duration::from_secs(3);

/// Runs the link of one printer, again and again.
pub struct Cc2Driver {
    pub(super) config: Cc2Config,
    pub(super) timing: Timing,
    pub(super) door: Arc<Door<Call>>,
    pub(super) memory: Memory,
    pub(super) model: &'static Model,
    pub(super) serial: Option<String>,
    /// The same after a lost link and after a restart, so that a place not yet freed is our own (elegoo.md 3.4).
    pub(super) client_id: String,
}

/// The topics of one client (elegoo.md 3.3); exact ones, the broker shows everybody's traffic.
pub(super) struct Topics {
    pub request: String,
    pub response: String,
    pub status: String,
    register: String,
    registered: String,
}

impl Topics {
    fn new(serial: &str, client: &str) -> Self {
        Self {
            request: format!("elegoo/{serial}/{client}/api_request"),
            response: format!("elegoo/{serial}/{client}/api_response"),
            status: format!("elegoo/{serial}/api_status"),
            register: format!("elegoo/{serial}/api_register"),
            registered: format!("elegoo/{serial}/{client}_req/register_response"),
        }
    }
}

impl Cc2Driver {
    pub(super) fn new(config: Cc2Config, timing: Timing, door: Arc<Door<Call>>) -> Self {
        let serial = expected(&config);
        let number = config.client_number.unwrap_or_else(random_client_number);
        let client_id = format!("1_PC_{number}");
        Self { config, timing, door, memory: Memory::default(), model: &CENTAURI_CARBON_2, serial, client_id }
    }

    /// `host:port` of the broker.
    pub(super) fn place(&self) -> String {
        authority(&self.config.host.now(), self.config.ports.mqtt)
    }

    async fn link(&mut self, io: &mut DriverIo, cancel: &CancellationToken) -> LinkFault {
        let stops = faults::lost(&self.place(), "the gateway stops");
        let opened = tokio::select! {
            opened = self.open(io) => opened,
            () = cancel.cancelled() => Err(stops.clone()),
        };
        let (serial, topics, (client, mut events)) = match opened {
            Ok(opened) => opened,
            Err(fault) => return fault,
        };
        io.state.link(LinkPhase::Authenticating);
        let registered = tokio::select! {
            registered = self.register(&client, &mut events, &topics) => registered,
            () = cancel.cancelled() => Err(stops),
        };
        if let Err(fault) = registered {
            events.close().await;
            return if fault.code == faults::SILENT { self.explained(fault, &serial).await } else { fault };
        }
        self.door.note(|seen| seen.answering = Answering::Printer);
        self.config.host.identified(&Identity::of(&serial));
        self.memory.reconnected();
        io.state.link(LinkPhase::Syncing);
        Session::new(self, client, events, topics, io.state.clone()).run(io, cancel).await
    }

    /// The serial number, and an MQTT session that is not registered yet.
    async fn open(&mut self, io: &DriverIo) -> Result<(String, Topics, (MqttClient, MqttEvents)), LinkFault> {
        io.state.link(LinkPhase::Resolving);
        if self.config.host.another_confirmed() {
            tracing::warn!(printer = %self.config.name, "The printer that answers next is taken for this one, as asked for.");
            self.serial = expected(&self.config);
        }
        let serial = self.find_serial().await?;
        self.door.note(|seen| seen.serial = Some(serial.clone()));
        let topics = Topics::new(&serial, &self.client_id);
        io.state.link(LinkPhase::Connecting);
        let session = self.connect(&topics, &serial).await?;
        Ok((serial, topics, session))
    }

    /// From the configuration, by UDP, or by HTTP; remembered for the next link.
    async fn find_serial(&mut self) -> Result<String, LinkFault> {
        if let Some(serial) = &self.serial {
            return Ok(serial.clone());
        }
        let ports = self.config.ports;
        let found =
            discovery::identify(&self.config.host.now(), ports.discovery, self.timing.discovery).await;
        let serial = match found {
            Some(found) if models::find(&found.machine_model).is_none() => {
                return Err(faults::other_model(&self.place(), &found.machine_model));
            }
            Some(found) => found.serial,
            None => {
                match discovery::system_info(&self.config.host.now(), ports.http, &self.config.code()).await {
                    SystemInfo::Serial(serial) => serial,
                    SystemInfo::WrongCode => return Err(faults::wrong_code(&self.place())),
                    SystemInfo::Nothing => return Err(faults::no_serial(&self.place())),
                }
            }
        };
        self.serial = Some(serial.clone());
        Ok(serial)
    }

    async fn connect(&self, topics: &Topics, serial: &str) -> Result<(MqttClient, MqttEvents), LinkFault> {
        let mut options = MqttOptions::new(self.config.host.now(), self.config.ports.mqtt, &self.client_id);
        options.keep_alive = KEEP_ALIVE;
        options.set_credentials(USER, self.config.code().expose());
        let subscriptions = [&topics.response, &topics.status, &topics.registered];
        let subscriptions = subscriptions.map(|topic| (topic.as_str(), Qos::AtLeastOnce));
        match Box::pin(mqtt::connect(options, &subscriptions)).await {
            Ok(session) => Ok(session),
            Err(MqttError::BadCredentials) => {
                Err(self.explained(faults::wrong_code(&self.place()), serial).await)
            }
            Err(error) => {
                Err(self.explained(faults::unreachable(&self.place(), &error.to_string()), serial).await)
            }
        }
    }

    /// Why the printer with this serial number is not to be had, as far as whoever is at the address tells: a printer in
    /// cloud mode closes its ports or refuses every code (elegoo.md 3.1), but may still answer by UDP, and another one is
    /// mute on topics that are not its own.
    async fn explained(&self, fault: LinkFault, serial: &str) -> LinkFault {
        let (host, ports) = (self.config.host.now(), self.config.ports);
        let found = match discovery::identify(&host, ports.discovery, WHY).await {
            Some(found) if found.serial == serial && found.lan_only == Some(false) => {
                return faults::lan_mode_off(&self.place());
            }
            Some(found) => found.serial,
            None if fault.code == faults::SILENT => {
                match discovery::system_info(&host, ports.http, &self.config.code()).await {
                    SystemInfo::Serial(found) => found,
                    SystemInfo::WrongCode | SystemInfo::Nothing => return fault,
                }
            }
            None => return fault,
        };
        if found == serial {
            return fault;
        }
        faults::another(&self.config.name, &self.place(), serial, &found, self.config.serial.is_some())
    }

    /// What the end of a link tells about who is at the address: a full printer refuses on its own topics.
    fn note_who(&self, fault: &LinkFault) {
        let answering = match fault.code.as_str() {
            faults::OTHER => Answering::Another(fault.text.clone()),
            faults::FULL => Answering::Printer,
            _ => return,
        };
        self.door.note(|seen| seen.answering = answering);
    }

    async fn register(
        &self,
        client: &MqttClient,
        events: &mut MqttEvents,
        topics: &Topics,
    ) -> Result<(), LinkFault> {
        let body = serde_json::json!({
            "client_id": self.client_id,
            "request_id": format!("{}_req", self.client_id),
        });
        for _ in 0..REGISTER_TRIES {
            client
                .publish(&topics.register, body.to_string(), Qos::AtLeastOnce)
                .map_err(|error| faults::lost(&self.place(), &error.to_string()))?;
            let answer = async {
                loop {
                    let message = events.next().await?;
                    if message.topic == topics.registered
                        && let Some(answer) = registration(&message.payload, &self.client_id)
                    {
                        return Ok::<_, MqttError>(answer);
                    }
                }
            };
            match timeout(self.timing.register, answer).await {
                Ok(Ok(Registration::Ok)) => return Ok(()),
                Ok(Ok(Registration::TooMany)) => return Err(faults::full(&self.place())),
                Ok(Ok(Registration::Failed)) => return Err(faults::unregistered(&self.place())),
                Ok(Err(error)) => return Err(faults::lost(&self.place(), &error.to_string())),
                Err(_late) => {}
            }
        }
        Err(faults::silent(&self.place(), "the registration"))
    }
}

/// Who must answer: the configured one, else the one of an earlier life of the gateway.
fn expected(config: &Cc2Config) -> Option<String> {
    config.serial.clone().or_else(|| config.host.kept.as_ref().map(|kept| kept.serial.clone()))
}

/// The number in the client id of the vendor's own programs (elegoo.md 3.3).
pub fn random_client_number() -> u16 {
    rand::rng().random_range(1000..=9999)
}

impl Driver for Cc2Driver {
    fn wait_after(&self, fault: &LinkFault) -> Option<Duration> {
        (fault.code == faults::FULL).then_some(FULL_AGAIN)
    }

    fn run<'a>(&'a mut self, io: &'a mut DriverIo, cancel: CancellationToken) -> BoxFuture<'a, LinkFault> {
        Box::pin(async move {
            let place = self.place();
            tokio::select! {
                // It ends with DISCONNECT, which frees the printer's place for a client.
                fault = self.link(io, &cancel) => {
                    self.note_who(&fault);
                    fault
                }
                () = async { cancel.cancelled().await; tokio::time::sleep(PARTING).await } => {
                    faults::lost(&place, "the gateway stops")
                }
            }
        })
    }
}
