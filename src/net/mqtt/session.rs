//! Opening a session and the task that drives it, over the library's packet codec.
//!
//! The library's own client keeps every message until it is acknowledged and replays it over a new connection, which
//! must not happen here, and holds room for 65536 packet ids and two buffers for each printer. A session needs neither:
//! acknowledgements of the broker gate nothing (bambu.md 2.4), and what is not sent when the session ends is dropped.
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::Error as Malformed;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, Packet, PubAck, PubComp, PubRec, Subscribe, SubscribeReasonCode,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, interval_at, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::{
    MAX_INCOMING, MAX_OUTGOING, Message, MqttClient, MqttError, MqttEvents, MqttOptions, Qos, Status,
};
use crate::net::tls;

/// Received messages a slow consumer may lag behind before the socket is no longer read.
const MESSAGE_QUEUE: usize = 64;
/// Room for the next packet while none is on its way, and the most that is made at once for one that is: what a packet
/// says of its length is not believed before it comes.
const ROOM: (usize, usize) = (256, 16 << 10);
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

/// A TCP connection with or without TLS.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

pub(super) async fn open(
    options: MqttOptions,
    subscriptions: &[(&str, Qos)],
) -> Result<(MqttClient, MqttEvents), MqttError> {
    let handshake = Box::pin(establish(&options, subscriptions));
    let (reader, writer, early) =
        timeout(options.connect_timeout, handshake).await.map_err(|_| MqttError::Timeout)??;
    let (outgoing, incoming) = mpsc::channel(MESSAGE_QUEUE);
    let stop = CancellationToken::new();
    let status = Arc::new(Status::default());
    let patience = options.keep_alive.max(Duration::from_secs(1));
    let driver = Driver { reader, writer, outgoing, status: status.clone(), stop: stop.clone(), patience };
    #[expect(
        clippy::disallowed_methods,
        reason = "ends with its client, after the DISCONNECT that it still sends"
    )]
    tokio::spawn(driver.run());
    Ok(super::assemble(early, incoming, stop, status))
}

async fn dial(options: &MqttOptions) -> Result<Box<dyn Connection>, MqttError> {
    let unreachable = |error: io::Error| MqttError::from_io(error, false);
    let tcp = TcpStream::connect((options.host.as_str(), options.port)).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    let Some(config) = &options.tls else { return Ok(Box::new(tcp)) };
    let name = tls::server_name(&options.host)
        .map_err(|error| MqttError::Unreachable(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let connected = TlsConnector::from(config.clone()).connect(name, tcp).await.map_err(unreachable)?;
    Ok(Box::new(connected))
}

/// Logs in and subscribes one topic after the other; returns what arrived meanwhile.
async fn establish(
    options: &MqttOptions,
    subscriptions: &[(&str, Qos)],
) -> Result<(Reader, WriteHalf<Box<dyn Connection>>, VecDeque<Message>), MqttError> {
    let (reader, mut writer) = tokio::io::split(dial(options).await?);
    let mut reader = Reader { connection: reader, buffer: BytesMut::new() };
    let mut login = Connect::new(options.client_id.clone());
    login.keep_alive = u16::try_from(options.keep_alive.as_secs().max(1)).unwrap_or(u16::MAX);
    if let Some((username, password)) = &options.credentials {
        login.set_login(username.as_str(), password.as_str());
    }
    send(&mut writer, &Packet::Connect(login), false).await?;
    match reader.next(false).await? {
        Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => {}
        Packet::ConnAck(ack) => return Err(MqttError::from_code(ack.code)),
        _ => return Err(MqttError::Closed("no CONNACK in answer to CONNECT".into())),
    }
    let mut early = VecDeque::new();
    for (number, (topic, qos)) in (1..).zip(subscriptions) {
        let mut subscribe = Subscribe::new(*topic, (*qos).into());
        subscribe.pkid = number;
        send(&mut writer, &Packet::Subscribe(subscribe), true).await?;
        while !subscribed(&mut reader, &mut writer, topic, &mut early).await? {}
    }
    Ok((reader, writer, early))
}

/// Handles one packet; true once the pending subscription is confirmed.
async fn subscribed(
    reader: &mut Reader,
    writer: &mut WriteHalf<Box<dyn Connection>>,
    topic: &str,
    early: &mut VecDeque<Message>,
) -> Result<bool, MqttError> {
    match reader.next(true).await? {
        Packet::SubAck(ack) => {
            if ack.return_codes.iter().any(|code| matches!(code, SubscribeReasonCode::Failure)) {
                return Err(MqttError::SubscriptionRefused(topic.to_owned()));
            }
            return Ok(true);
        }
        packet => {
            if let Some(receipt) = receipt(&packet) {
                send(writer, &receipt, true).await?;
            }
            if let Packet::Publish(publish) = packet {
                if early.len() >= MESSAGE_QUEUE {
                    return Err(MqttError::Closed("flooded before the subscriptions were confirmed".into()));
                }
                early.push_back(publish.into());
            }
        }
    }
    Ok(false)
}

async fn send(
    writer: &mut WriteHalf<Box<dyn Connection>>,
    packet: &Packet,
    established: bool,
) -> Result<(), MqttError> {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, MAX_OUTGOING).map_err(|error| MqttError::from_codec(error, established))?;
    write(writer, &bytes).await.map_err(|error| MqttError::from_io(error, established))
}

async fn write(writer: &mut WriteHalf<Box<dyn Connection>>, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

/// What the broker must be told of a packet, by the QoS with which it sent it.
fn receipt(packet: &Packet) -> Option<Packet> {
    match packet {
        Packet::Publish(publish) => match publish.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(Packet::PubAck(PubAck::new(publish.pkid))),
            // Not subscribed to by anybody here; a broker that sends it all the same gets its turn.
            QoS::ExactlyOnce => Some(Packet::PubRec(PubRec::new(publish.pkid))),
        },
        Packet::PubRel(release) => Some(Packet::PubComp(PubComp::new(release.pkid))),
        _ => None,
    }
}

impl From<rumqttc::Publish> for Message {
    fn from(publish: rumqttc::Publish) -> Self {
        Self { topic: publish.topic, retained: publish.retain, payload: publish.payload }
    }
}

/// Takes packets from the connection; holds next to no memory between them.
struct Reader {
    connection: ReadHalf<Box<dyn Connection>>,
    buffer: BytesMut,
}

impl Reader {
    /// The next packet; `established` tells a lost session from a failed attempt.
    async fn next(&mut self, established: bool) -> Result<Packet, MqttError> {
        loop {
            match Packet::read(&mut self.buffer, MAX_INCOMING) {
                Ok(packet) => {
                    if self.buffer.is_empty() {
                        // It would keep alive the allocation that it shares with the packet.
                        self.buffer = BytesMut::new();
                    }
                    return Ok(packet);
                }
                Err(Malformed::InsufficientBytes(missing)) => {
                    self.buffer.reserve(missing.clamp(ROOM.0, ROOM.1));
                }
                Err(error) => return Err(MqttError::from_codec(error, established)),
            }
            match self.connection.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(MqttError::Closed("the broker closed the connection".into())),
                Ok(_) => {}
                Err(error) => return Err(MqttError::from_io(error, established)),
            }
        }
    }
}

/// Owns the connection. While the consumer lags a full queue behind nothing is read, and `publish` refuses.
struct Driver {
    reader: Reader,
    writer: WriteHalf<Box<dyn Connection>>,
    outgoing: mpsc::Sender<Box<Result<Message, MqttError>>>,
    status: Arc<Status>,
    stop: CancellationToken,
    /// The ping interval, and how long the consumer or the socket may take nothing.
    patience: Duration,
}

impl Driver {
    async fn run(self) {
        let Self { mut reader, mut writer, outgoing, status, stop, patience } = self;
        let error = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            // First: a flood of messages uses up all that a task may do at a time, and pings and commands must leave.
            error = transmit(&mut writer, &status, patience) => Some(error),
            error = receive(&mut reader, &outgoing, &status, patience) => Some(error),
        };
        status.end();
        let Some(error) = error else {
            farewell(&mut writer, &status).await;
            return;
        };
        tracing::debug!(%error, "MQTT session ended");
        drop((reader, writer));
        tokio::select! {
            () = stop.cancelled() => {}
            _ = outgoing.send(Box::new(Err(error))) => {}
        }
    }
}

/// Passes messages on until the session fails; returns why.
async fn receive(
    reader: &mut Reader,
    outgoing: &mpsc::Sender<Box<Result<Message, MqttError>>>,
    status: &Status,
    patience: Duration,
) -> MqttError {
    loop {
        let packet = match reader.next(true).await {
            Ok(packet) => packet,
            Err(error) => return error,
        };
        status.unanswered_ping.store(false, Ordering::Release);
        if let Some(receipt) = receipt(&packet) {
            status.queue(&receipt);
        }
        let Packet::Publish(publish) = packet else { continue };
        let message = match outgoing.try_send(Box::new(Ok(publish.into()))) {
            Ok(()) => continue,
            Err(TrySendError::Closed(_)) => return MqttError::NotConnected,
            Err(TrySendError::Full(message)) => message,
        };
        status.set_congested(true);
        let sent = timeout(patience, outgoing.send(message)).await;
        status.unanswered_ping.store(false, Ordering::Release);
        status.set_congested(false);
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return MqttError::NotConnected,
            Err(_) => return MqttError::Closed("received messages are not being consumed".into()),
        }
    }
}

/// Writes what is published, and pings; returns why that ended. Whatever arrives answers a ping.
async fn transmit(
    writer: &mut WriteHalf<Box<dyn Connection>>,
    status: &Status,
    patience: Duration,
) -> MqttError {
    let mut ping = interval_at(Instant::now() + patience, patience);
    loop {
        tokio::select! {
            () = status.wake.notified() => {}
            _ = ping.tick() => {
                // While the consumer lags, answers lie unread: that is not the broker's silence.
                let lags = status.congested.load(Ordering::Acquire) || status.excused.load(Ordering::Acquire);
                if !lags && status.unanswered_ping.swap(true, Ordering::AcqRel) {
                    return MqttError::Timeout;
                }
                status.queue(&Packet::PingReq);
            }
        }
        let bytes = status.take();
        match timeout(patience, write(writer, &bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return MqttError::from_io(error, true),
            Err(_) => return MqttError::Timeout,
        }
    }
}

/// Sends what was published last, and that this is the end.
async fn farewell(writer: &mut WriteHalf<Box<dyn Connection>>, status: &Status) {
    status.queue(&Packet::Disconnect);
    let last = status.take();
    let sent = async {
        write(writer, &last).await?;
        writer.shutdown().await
    };
    if !matches!(timeout(FAREWELL, sent).await, Ok(Ok(()))) {
        tracing::debug!("MQTT session dropped without DISCONNECT: the link does not drain");
    }
}
