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
use super::models::{self, Model};
use super::reduce::Memory;
use super::sdcp::Sdcp;
use super::session::Session;
use super::{Cc1Config, Timing};
use crate::drivers::elegoo::FULL_AGAIN;
use crate::drivers::elegoo::door::Door;
use crate::drivers::elegoo::http::authority;
use crate::drivers::elegoo::names::sane_id;
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
    /// Mainboard id and hardware address of the printer that was last online, where it told both.
    pub(super) known: Option<Known>,
}

/// What tells one machine from another: a firmware update changes the id, nothing the hardware address (elegoo.md 2.2).
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    mainboard: String,
    mac: String,
}

impl Cc1Driver {
    pub(super) fn new(config: Cc1Config, timing: Timing, door: Arc<Door<Sdcp>>) -> Self {
        let mainboard = config.mainboard_id.clone().unwrap_or_default();
        Self {
            config,
            timing,
            door,
            memory: Memory::default(),
            model: &models::CENTAURI_CARBON,
            mainboard,
            known: None,
        }
    }

    /// `host:port` of the WebSocket.
    pub(super) fn place(&self) -> String {
        authority(&self.config.host.now(), self.config.ports.websocket)
    }

    async fn link(&mut self, io: &mut DriverIo, cancel: &CancellationToken) -> LinkFault {
        io.state.link(LinkPhase::Resolving);
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
        let Some(found) =
            discovery::identify(&self.config.host.now(), ports.discovery, self.timing.discovery).await
        else {
            return Ok(());
        };
        self.learn_model(&found.machine_name)?;
        // Whose new id this is, the attributes tell, which name the hardware too.
        if self.known.as_ref().is_some_and(|known| !known.mainboard.eq_ignore_ascii_case(&found.mainboard_id))
        {
            if sane_id(&found.mainboard_id) {
                found.mainboard_id.clone_into(&mut self.mainboard);
            }
        } else {
            self.learn_mainboard(&found.mainboard_id);
        }
        Ok(())
    }

    /// Compares who answers with who answered before, and remembers it.
    ///
    /// # Errors
    /// It is another machine: the printer has moved, and whoever has its address now must not get its jobs.
    pub(super) fn recognise(&mut self, mainboard: Option<&str>, mac: Option<&str>) -> Result<(), LinkFault> {
        let (Some(mainboard), Some(mac)) = (mainboard.filter(|id| sane_id(id)), mac) else { return Ok(()) };
        if let Some(known) = &self.known
            && !known.mainboard.eq_ignore_ascii_case(mainboard)
            && !known.mac.eq_ignore_ascii_case(mac)
        {
            known.mainboard.clone_into(&mut self.mainboard);
            return Err(faults::another(&self.place(), mainboard));
        }
        self.known = Some(Known { mainboard: mainboard.to_owned(), mac: mac.to_owned() });
        Ok(())
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

    /// The id changes with firmware updates (elegoo.md 2.2): the printer's own word counts.
    pub(super) fn learn_mainboard(&mut self, id: &str) {
        let sane = sane_id(id);
        if sane {
            self.config.host.identified(id);
        }
        if sane && id != self.mainboard {
            if !self.mainboard.is_empty() {
                tracing::info!(
                    "The printer has another mainboard id than before; firmware updates do that. The new one is used."
                );
            }
            id.clone_into(&mut self.mainboard);
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
