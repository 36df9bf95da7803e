//! One MQTT 3.1.1 session to a printer's broker.
//!
//! A session lives once: the first error ends it, nothing is sent afterwards and nothing it held
//! is sent by a later one. [`MqttClient::publish`] therefore refuses while there is no session,
//! instead of queueing a movement that would happen minutes later (crates.md section 3, bambu.md
//! T14). Acknowledgements of the broker mean nothing about the printer and never gate anything
//! (bambu.md 2.4).
mod error;
mod session;
#[cfg(test)]
mod test_broker;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4::{Packet, Publish};
use rustls::ClientConfig;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use zeroize::Zeroizing;

pub use error::MqttError;

/// Largest packet accepted from a broker, in bytes. Full reports of a printer with four filament
/// units exceed the library's default of 10 KiB.
pub const MAX_INCOMING: usize = 1 << 20;
/// Largest packet sent, in bytes.
pub const MAX_OUTGOING: usize = 64 << 10;
/// Messages between `publish` and the socket; few, so that a stalled link refuses soon.
const WAITING: usize = 16;

/// Delivery wanted from the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1; some printers drop QoS 0 commands while busy (bambu.md 2.4).
    AtLeastOnce,
}

/// Where and how to connect. `Debug` hides the password.
#[derive(Clone)]
pub struct MqttOptions {
    /// IP address or host name.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Unique per process start, or a taken-over session closes the older one.
    pub client_id: String,
    /// Ping interval, at least 1 s. A dead link is noticed within two of them.
    pub keep_alive: Duration,
    /// TLS configuration, e.g. [`super::tls::PrinterTls::client_config`]; `None` is plain TCP.
    pub tls: Option<Arc<ClientConfig>>,
    /// Deadline for TCP, TLS, login and all subscriptions together.
    pub connect_timeout: Duration,
    credentials: Option<(String, Zeroizing<String>)>,
}

impl MqttOptions {
    /// Plain TCP without login, 15 s keep-alive, 10 s to connect (bambu.md 2.2: a cold P1S takes
    /// up to 5 s to accept a login).
    pub fn new(host: impl Into<String>, port: u16, client_id: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port,
            client_id: client_id.into(),
            keep_alive: Duration::from_secs(15),
            tls: None,
            connect_timeout: Duration::from_secs(10),
            credentials: None,
        }
    }

    /// Logs in as `username`.
    pub fn set_credentials(&mut self, username: &str, password: &str) -> &mut Self {
        self.credentials = Some((username.to_owned(), Zeroizing::new(password.to_owned())));
        self
    }
}

impl fmt::Debug for MqttOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttOptions")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("client_id", &self.client_id)
            .field("username", &self.credentials.as_ref().map(|(username, _)| username))
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// One received publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Full topic name.
    pub topic: String,
    /// The broker stored it earlier: it may describe the past.
    pub retained: bool,
    /// Raw payload; printers send JSON that may contain invalid UTF-8 (bambu.md 2.4).
    pub payload: Bytes,
}

/// Connects, logs in and subscribes; returns once the broker has confirmed all of it.
///
/// # Errors
/// See [`MqttError`]; after [`MqttError::Tls`] ask [`super::tls::PrinterTls::fault`] for the reason.
pub async fn connect(
    options: MqttOptions,
    subscriptions: &[(&str, Qos)],
) -> Result<(MqttClient, MqttEvents), MqttError> {
    session::open(options, subscriptions).await
}

/// What both halves and the driving task know about the session.
#[derive(Debug, Default)]
struct Status {
    ended: AtomicBool,
    /// The consumer lags a full queue behind.
    congested: AtomicBool,
    /// A ping is on its way and nothing has arrived since.
    unanswered_ping: AtomicBool,
    /// The consumer knows why the broker may be silent: unanswered pings do not count.
    excused: AtomicBool,
    outbox: Mutex<Outbox>,
    /// Something is in the outbox.
    wake: Notify,
}

/// Packets that wait for the socket, as bytes.
#[derive(Debug, Default)]
struct Outbox {
    bytes: BytesMut,
    messages: usize,
    last_id: u16,
}

impl Status {
    fn end(&self) {
        // With the outbox locked, so that nothing is taken by a session that is over.
        let _outbox = self.outbox();
        self.ended.store(true, Ordering::Release);
    }

    fn set_congested(&self, congested: bool) {
        self.congested.store(congested, Ordering::Release);
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues what the protocol itself wants to say; left out where the link has not drained for long.
    fn queue(&self, packet: &Packet) {
        let mut outbox = self.outbox();
        if outbox.bytes.len() < 2 * WAITING * MAX_OUTGOING {
            let _always_small = packet.write(&mut outbox.bytes, MAX_OUTGOING);
        }
        drop(outbox);
        self.wake.notify_one();
    }

    /// Queues a message of the consumer, unless the session is over or the link does not drain.
    fn publish(&self, mut publish: Publish) -> Result<(), MqttError> {
        let mut outbox = self.outbox();
        if self.ended.load(Ordering::Acquire) {
            return Err(MqttError::NotConnected);
        }
        if outbox.messages >= WAITING || self.congested.load(Ordering::Acquire) {
            return Err(MqttError::Busy);
        }
        // 0 is no packet id.
        outbox.last_id = outbox.last_id.checked_add(1).unwrap_or(1);
        publish.pkid = outbox.last_id;
        publish.write(&mut outbox.bytes).map_err(|error| MqttError::from_codec(error, true))?;
        outbox.messages += 1;
        drop(outbox);
        self.wake.notify_one();
        Ok(())
    }

    /// Everything that waits.
    fn take(&self) -> BytesMut {
        let mut outbox = self.outbox();
        outbox.messages = 0;
        std::mem::take(&mut outbox.bytes)
    }
}

/// The sending half; cheap to clone.
#[derive(Clone)]
pub struct MqttClient {
    status: Arc<Status>,
}

impl MqttClient {
    /// Hands one message to the open connection; never waits and never keeps it for a later one.
    ///
    /// Success means the live session took it, not that the printer acted on it.
    ///
    /// # Errors
    /// [`MqttError::NotConnected`] if the session is over, [`MqttError::Busy`] if the connection
    /// does not drain, [`MqttError::TooLarge`] above [`MAX_OUTGOING`], [`MqttError::BadTopic`] for
    /// an empty topic or one with wildcards. The message is not sent in any of these cases.
    pub fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>, qos: Qos) -> Result<(), MqttError> {
        if topic.is_empty() || topic.contains(['+', '#', '\0']) {
            return Err(MqttError::BadTopic(topic.to_owned()));
        }
        let payload = payload.into();
        // 16 bytes cover the fixed header, the topic length and the packet id; an oversized packet
        // must be stopped here because it would end the whole session in the library.
        if payload.len().saturating_add(topic.len()).saturating_add(16) > MAX_OUTGOING {
            return Err(MqttError::TooLarge);
        }
        self.status.publish(Publish::new(topic, qos.into(), payload))
    }

    /// Whether unanswered pings are borne: for a broker that is known to be busy, for a time that the caller limits.
    pub fn excuse_silence(&self, excused: bool) {
        self.status.excused.store(excused, Ordering::Release);
    }

    /// Whether the session still stands, as far as is known.
    pub fn is_connected(&self) -> bool {
        !self.status.ended.load(Ordering::Acquire)
    }
}

#[cfg(test)]
impl MqttClient {
    /// A client without a connection; what it publishes is read with [`Self::published`].
    pub fn detached() -> Self {
        Self { status: Arc::default() }
    }

    /// The payloads that were published since the last call.
    pub fn published(&self) -> Vec<Bytes> {
        let mut bytes = self.status.take();
        let next = || Packet::read(&mut bytes, MAX_OUTGOING).ok();
        let packets = std::iter::from_fn(next);
        packets
            .filter_map(
                |packet| if let Packet::Publish(publish) = packet { Some(publish.payload) } else { None },
            )
            .collect()
    }

    pub fn is_excused(&self) -> bool {
        self.status.excused.load(Ordering::Acquire)
    }
}

impl fmt::Debug for MqttClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttClient").field("connected", &self.is_connected()).finish_non_exhaustive()
    }
}

/// The receiving half; owns the session: dropping it sends DISCONNECT and ends it.
#[derive(Debug)]
pub struct MqttEvents {
    /// Messages that arrived between login and the last subscription.
    early: VecDeque<Message>,
    incoming: mpsc::Receiver<Box<Result<Message, MqttError>>>,
    status: Arc<Status>,
    stop: Option<DropGuard>,
}

impl MqttEvents {
    /// Ends the session and waits until DISCONNECT is on its way, a second at most: after a mere drop it may never leave
    /// where the process ends at once, and a broker that counts its clients keeps the place.
    pub async fn close(mut self) {
        self.status.end();
        drop(self.stop.take());
        // The other end of the channel goes with the connection.
        while self.incoming.recv().await.is_some() {}
    }

    /// The next message. Cancel safe.
    ///
    /// # Errors
    /// Why the session ended, once; afterwards [`MqttError::NotConnected`]. The session is over
    /// for good then: call [`connect`] again after a wait.
    pub async fn next(&mut self) -> Result<Message, MqttError> {
        if let Some(message) = self.early.pop_front() {
            return Ok(message);
        }
        self.incoming.recv().await.map_or(Err(MqttError::NotConnected), |received| *received)
    }
}

impl Drop for MqttEvents {
    fn drop(&mut self) {
        self.status.end();
    }
}

/// The parts a fresh session is made of.
fn assemble(
    early: VecDeque<Message>,
    incoming: mpsc::Receiver<Box<Result<Message, MqttError>>>,
    stop: CancellationToken,
    status: Arc<Status>,
) -> (MqttClient, MqttEvents) {
    let client = MqttClient { status: status.clone() };
    (client, MqttEvents { early, incoming, status, stop: Some(stop.drop_guard()) })
}
