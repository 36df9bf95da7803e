//! Connecting to the printer (elegoo.md 2.2, 2.3); what is said afterwards is [`super::session`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tokio_util::sync::CancellationToken;

use super::discovery;
use super::faults;
use super::models;
use super::reduce::Memory;
use super::sdcp::Sdcp;
use super::session::Session;
use super::{Cc1Config, Timing};
use crate::drivers::elegoo::FULL_AGAIN;
use crate::drivers::elegoo::door::Door;
use crate::drivers::elegoo::http::authority;
use crate::drivers::elegoo::models::{CENTAURI_CARBON, Model};
use crate::drivers::elegoo::names::sane_id;
use crate::drivers::elegoo::whereabouts::Identity;
use crate::model::{LinkFault, LinkPhase};
use crate::printer::{Driver, DriverIo};

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// TCP connection and handshake.
const CONNECT: Duration = Duration::from_secs(8);
/// File lists exceed 1 MB (elegoo.md 2.3).
const MAX_MESSAGE: usize = 16 << 20;
/// The refusal of the sixth client (elegoo.md 2.3).
const TOO_MANY: &str = "too many client";

/// Runs the link of one printer, again and again.
pub struct Cc1Driver {
    pub(super) config: Cc1Config,
    pub(super) timing: Timing,
    pub(super) door: Arc<Door<Sdcp>>,
    pub(super) memory: Memory,
    pub(super) model: &'static Model,
    /// Routing id; empty until known.
    pub(super) mainboard: String,
    /// The printer that was last online, in this life of the gateway or an earlier one; before that the configured one.
    pub(super) known: Option<Identity>,
    /// The id that answered by UDP before this link.
    heard: Option<String>,
}

impl Cc1Driver {
    pub(super) fn new(config: Cc1Config, timing: Timing, door: Arc<Door<Sdcp>>) -> Self {
        let known = expected(&config);
        Self {
            config,
            timing,
            door,
            memory: Memory::default(),
            model: &CENTAURI_CARBON,
            mainboard: known.as_ref().map(|known| known.serial.clone()).unwrap_or_default(),
            known,
            heard: None,
        }
    }

    /// `host:port` of the WebSocket.
    pub(super) fn place(&self) -> String {
        authority(&self.config.host.now(), self.config.ports.websocket)
    }

    async fn link(&mut self, io: &mut DriverIo, cancel: &CancellationToken) -> LinkFault {
        io.state.link(LinkPhase::Resolving);
        if self.config.host.another_confirmed() {
            tracing::warn!(printer = %self.config.name, "The printer that answers next is taken for this one, as asked for.");
            self.known = expected(&self.config);
        }
        if let Err(fault) = self.identify().await {
            return fault;
        }
        io.state.link(LinkPhase::Connecting);
        let socket = match self.connect().await {
            Ok(socket) => socket,
            Err(fault) => return fault,
        };
        self.memory.reconnected();
        io.state.link(LinkPhase::Syncing);
        Session::new(self, socket).run(io, cancel).await
    }

    /// Asks by UDP who is there; silence is no reason to give up.
    async fn identify(&mut self) -> Result<(), LinkFault> {
        let ports = self.config.ports;
        self.heard = None;
        let Some(found) =
            discovery::identify(&self.config.host.now(), ports.discovery, self.timing.discovery).await
        else {
            return Ok(());
        };
        self.learn_model(&found.machine_name)?;
        // Whose new id this is, the attributes tell, which name the hardware too.
        if sane_id(&found.mainboard_id) {
            found.mainboard_id.clone_into(&mut self.mainboard);
            self.heard = Some(found.mainboard_id);
        }
        Ok(())
    }

    /// Compares who answers with who answered before, and remembers it. An id that changed is believed where the
    /// hardware address did not.
    ///
    /// # Errors
    /// It is another machine: whoever has the printer's address now must not get its jobs.
    pub(super) fn recognise(&mut self, mainboard: Option<&str>, mac: Option<&str>) -> Result<(), LinkFault> {
        let told = mainboard.filter(|id| sane_id(id)).map(str::to_owned);
        let Some(serial) = told.or_else(|| self.heard.clone()) else { return Ok(()) };
        let mut who = Identity { serial, mac: mac.filter(|mac| is_mac(mac)).map(str::to_owned) };
        if let Some(known) = &self.known {
            let updated = !known.serial.eq_ignore_ascii_case(&who.serial);
            let same = |a: &Option<String>, b: &Option<String>| matches!((a, b), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b));
            if updated && !same(&known.mac, &who.mac) {
                return Err(self.stranger(&who.serial));
            }
            if updated {
                tracing::info!(
                    "The printer has another mainboard id than before; firmware updates do that. The new one is used."
                );
            }
            who.mac = who.mac.or_else(|| known.mac.clone());
        }
        who.serial.clone_into(&mut self.mainboard);
        self.config.host.identified(&who);
        self.known = Some(who);
        Ok(())
    }

    /// It calls itself `id`, and nothing shows that it is our printer.
    pub(super) fn stranger(&mut self, id: &str) -> LinkFault {
        let Some(known) = &self.known else { return faults::lost(&self.place(), "the printer is another") };
        known.serial.clone_into(&mut self.mainboard);
        faults::another(
            &self.config.name,
            &self.place(),
            &known.serial,
            id,
            self.config.mainboard_id.is_some(),
        )
    }

    /// Takes the row of the model table, or refuses a machine that has none.
    pub(super) fn learn_model(&mut self, machine_name: &str) -> Result<(), LinkFault> {
        match models::find(machine_name) {
            Some(model) => {
                self.model = model;
                Ok(())
            }
            None => Err(faults::other_model(&self.place(), machine_name)),
        }
    }

    async fn connect(&self) -> Result<Socket, LinkFault> {
        let place = self.place();
        let url = format!("ws://{place}/websocket");
        let limits =
            WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        let handshake = Box::pin(connect_async_with_config(url, Some(limits), true));
        match timeout(CONNECT, handshake).await {
            Ok(Ok((socket, _response))) => Ok(socket),
            Ok(Err(Error::Http(response))) => {
                let body = response.body().as_deref().unwrap_or_default();
                let body: String = String::from_utf8_lossy(body).chars().take(200).collect();
                let status = response.status().as_u16();
                // The body can be missing; only the limit is known to answer with 500.
                if body.contains(TOO_MANY) || (status == 500 && body.trim().is_empty()) {
                    Err(faults::full(&place, if body.trim().is_empty() { TOO_MANY } else { body.trim() }))
                } else {
                    Err(faults::declined(&place, status, body.trim()))
                }
            }
            Ok(Err(error)) => Err(faults::unreachable(&place, &error.to_string())),
            Err(_late) => Err(faults::unreachable(&place, "no answer in time")),
        }
    }
}

/// Who must answer: the one of the earlier life, else the configured one.
fn expected(config: &Cc1Config) -> Option<Identity> {
    config.host.kept.clone().or_else(|| config.mainboard_id.as_deref().map(Identity::of))
}

/// Some hardware is told as nothing but zeros.
fn is_mac(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_hexdigit() && byte != b'0')
}

impl Driver for Cc1Driver {
    fn wait_after(&self, fault: &LinkFault) -> Option<Duration> {
        (fault.code == faults::FULL).then_some(FULL_AGAIN)
    }

    fn run<'a>(&'a mut self, io: &'a mut DriverIo, cancel: CancellationToken) -> BoxFuture<'a, LinkFault> {
        Box::pin(async move {
            let place = self.place();
            tokio::select! {
                fault = self.link(io, &cancel) => fault,
                () = async { cancel.cancelled().await; tokio::time::sleep(Duration::from_secs(2)).await } => {
                    faults::lost(&place, "the gateway stops")
                }
            }
        })
    }
}
