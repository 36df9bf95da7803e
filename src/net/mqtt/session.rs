//! Opening a session and the task that drives it.
use std::collections::VecDeque;
use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AsyncClient, Event, EventLoop, NetworkOptions, Outgoing, Packet, PubAck, Publish, QoS,
    SubscribeReasonCode, TlsConfiguration, Transport,
};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    MAX_INCOMING, MAX_OUTGOING, Message, MqttClient, MqttError, MqttEvents, MqttOptions, Qos, Status,
};

/// Requests between `publish` and the socket; small, so that a stalled link refuses soon.
const REQUEST_QUEUE: usize = 16;
/// Received messages a slow consumer may lag behind before the socket is no longer read.
const MESSAGE_QUEUE: usize = 64;
/// Packet ids of QoS 1 messages; the library keeps a place for each of them from the start.
const PACKET_IDS: u16 = 64;
/// Lost acknowledgements are normal (bambu.md T24): after so many later messages one is no longer waited for, so that
/// its id is free again and nothing is ever held back.
const GIVEN_UP_AFTER: usize = 32;
/// Time for DISCONNECT to leave when the session is dropped.
const FAREWELL: Duration = Duration::from_secs(1);

impl From<Qos> for QoS {
    fn from(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => Self::AtMostOnce,
            Qos::AtLeastOnce => Self::AtLeastOnce,
        }
    }
}

pub(super) async fn open(
    options: MqttOptions,
    subscriptions: &[(&str, Qos)],
) -> Result<(MqttClient, MqttEvents), MqttError> {
    let deadline = options.connect_timeout;
    let keep_alive = options.keep_alive;
    let (requests, mut eventloop) = AsyncClient::new(library_options(options)?, REQUEST_QUEUE);
    // The library makes room for a hundred; a few wait at a time.
    eventloop.state.events = VecDeque::new();
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(deadline.as_secs().saturating_add(1));
    eventloop.set_network_options(network);

    let handshake = Box::pin(establish(&mut eventloop, &requests, subscriptions));
    let early = timeout(deadline, handshake).await.map_err(|_| MqttError::Timeout)??;

    let (outgoing, incoming) = mpsc::channel(MESSAGE_QUEUE);
    let stop = CancellationToken::new();
    let status = Arc::new(Status::default());
    let driver = Driver {
        eventloop,
        requests: requests.clone(),
        outgoing,
        status: status.clone(),
        stop: stop.clone(),
        patience: keep_alive,
    };
    tokio::spawn(Box::pin(driver.run()));
    Ok(super::assemble(requests, early, incoming, stop, status))
}

fn library_options(options: MqttOptions) -> Result<rumqttc::MqttOptions, MqttError> {
    let host = match (options.host.parse::<Ipv6Addr>(), &options.tls) {
        (Err(_), _) => options.host,
        (Ok(address), None) => format!("[{address}]"),
        // The library joins host and port for TCP and reuses the host as the TLS name: no form of
        // an IPv6 literal fits both.
        (Ok(_), Some(_)) => {
            let reason = "IPv6 addresses are not supported for MQTT over TLS; use a name or IPv4";
            return Err(MqttError::Unreachable(io::Error::new(io::ErrorKind::Unsupported, reason)));
        }
    };
    let mut library = rumqttc::MqttOptions::new(options.client_id, host, options.port);
    library
        .set_clean_session(true)
        .set_keep_alive(options.keep_alive.max(Duration::from_secs(1)))
        .set_max_packet_size(MAX_INCOMING, MAX_OUTGOING)
        .set_inflight(PACKET_IDS);
    if let Some((username, password)) = &options.credentials {
        library.set_credentials(username.as_str(), password.as_str());
    }
    if let Some(tls) = options.tls {
        library.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
    }
    Ok(library)
}

/// Logs in and subscribes one topic after the other; returns what arrived meanwhile.
async fn establish(
    eventloop: &mut EventLoop,
    requests: &AsyncClient,
    subscriptions: &[(&str, Qos)],
) -> Result<VecDeque<Message>, MqttError> {
    match eventloop.poll().await {
        Ok(Event::Incoming(Packet::ConnAck(_))) => {}
        Ok(_) => return Err(MqttError::Closed("no CONNACK in answer to CONNECT".into())),
        Err(error) => return Err(MqttError::sort(error, false)),
    }
    let mut early = VecDeque::new();
    for (topic, qos) in subscriptions {
        requests
            .try_subscribe(*topic, (*qos).into())
            .map_err(|_| MqttError::BadTopic((*topic).to_owned()))?;
        while !subscribed(eventloop, topic, &mut early).await? {}
    }
    Ok(early)
}

/// Handles one event; true once the pending subscription is confirmed.
async fn subscribed(
    eventloop: &mut EventLoop,
    topic: &str,
    early: &mut VecDeque<Message>,
) -> Result<bool, MqttError> {
    match eventloop.poll().await.map_err(|error| MqttError::sort(error, true))? {
        Event::Incoming(Packet::SubAck(ack)) => {
            if ack.return_codes.iter().any(|code| matches!(code, SubscribeReasonCode::Failure)) {
                return Err(MqttError::SubscriptionRefused(topic.to_owned()));
            }
            Ok(true)
        }
        Event::Incoming(Packet::Publish(publish)) => {
            if early.len() >= MESSAGE_QUEUE {
                return Err(MqttError::Closed("flooded before the subscriptions were confirmed".into()));
            }
            early.push_back(publish.into());
            Ok(false)
        }
        _ => Ok(false),
    }
}

impl From<Publish> for Message {
    fn from(publish: Publish) -> Self {
        Self { topic: publish.topic, retained: publish.retain, payload: publish.payload }
    }
}

/// Owns the library's event loop, which must be polled all the time for pings and publications to
/// leave. While the consumer lags a full queue behind it is not polled, and `publish` refuses.
struct Driver {
    eventloop: EventLoop,
    requests: AsyncClient,
    outgoing: mpsc::Sender<Result<Message, MqttError>>,
    status: Arc<Status>,
    stop: CancellationToken,
    patience: Duration,
}

impl Driver {
    async fn run(mut self) {
        let stop = self.stop.clone();
        let error = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            error = self.relay() => Some(error),
        };
        self.status.end();
        match error {
            // Never poll again after an error: the library would reconnect and replay.
            Some(error) => {
                tracing::debug!(%error, "MQTT session ended");
                drop(self.eventloop);
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = self.outgoing.send(Err(error)) => {}
                }
            }
            None => self.farewell().await,
        }
    }

    /// Passes messages on until the session fails; returns why.
    async fn relay(&mut self) -> MqttError {
        // Packet ids in the order of sending; `None` once acknowledged.
        let mut sent: VecDeque<Option<u16>> = VecDeque::new();
        loop {
            match self.eventloop.poll().await {
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    if let Err(error) = self.deliver(publish).await {
                        return error;
                    }
                }
                // 0 is a message of QoS 0.
                Ok(Event::Outgoing(Outgoing::Publish(id @ 1..))) => {
                    sent.push_back(Some(id));
                    if sent.len() > GIVEN_UP_AFTER
                        && let Some(Some(lost)) = sent.pop_front()
                    {
                        let _free_again =
                            self.eventloop.state.handle_incoming_packet(Packet::PubAck(PubAck::new(lost)));
                    }
                }
                Ok(Event::Incoming(Packet::PubAck(ack))) => {
                    if let Some(place) = sent.iter_mut().find(|id| **id == Some(ack.pkid)) {
                        *place = None;
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    self.status.end();
                    let error = MqttError::sort(error, true);
                    return self.deliver_rest().await.err().unwrap_or(error);
                }
            }
            if self.eventloop.state.collision.is_some() {
                return MqttError::Closed("the broker acknowledges what was not sent".into());
            }
        }
    }

    /// Delivers what was read in one batch with the packet or end of stream that failed.
    async fn deliver_rest(&mut self) -> Result<(), MqttError> {
        while let Some(event) = self.eventloop.state.events.pop_front() {
            if let Event::Incoming(Packet::Publish(publish)) = event {
                self.deliver(publish).await?;
            }
        }
        Ok(())
    }

    async fn deliver(&mut self, publish: Publish) -> Result<(), MqttError> {
        let message = match self.outgoing.try_send(Ok(publish.into())) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(MqttError::NotConnected),
            Err(TrySendError::Full(message)) => message,
        };
        self.status.set_congested(true);
        let sent = timeout(self.patience, self.outgoing.send(message)).await;
        self.status.set_congested(false);
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(MqttError::NotConnected),
            Err(_) => Err(MqttError::Closed("received messages are not being consumed".into())),
        }
    }

    async fn farewell(mut self) {
        if self.requests.try_disconnect().is_err() {
            return;
        }
        let sent = async {
            // Without a connection, as after an error, polling would make a new one.
            while self.eventloop.network.is_some() {
                match self.eventloop.poll().await {
                    Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        if timeout(FAREWELL, sent).await.is_err() {
            tracing::debug!("MQTT session dropped without DISCONNECT: the link does not drain");
        }
    }
}
