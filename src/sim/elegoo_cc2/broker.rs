//! The MQTT 3.1.1 broker inside the simulated CC2: login, subscriptions with wildcards, no isolation of clients
//! (dossier 3.3). QoS 0 and 1 are taken; everything is delivered with QoS 0.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, PubAck, Publish, SubAck, SubscribeReasonCode, UnsubAck,
};
use rumqttc::mqttbytes::{Error, QoS, matches};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Shared, methods};
use crate::sim::elegoo_life::next_peer;

/// Largest packet in either direction, in bytes.
const MAX_PACKET: usize = 1 << 20;
/// Packets waiting for a slow client; beyond that it loses messages, as QoS 0 allows.
const OUTBOX: usize = 256;
/// MQTT connections served at once, registered or not.
const CONNECTIONS: usize = 32;
/// Time to log in, and to take one packet.
const PATIENCE: Duration = Duration::from_secs(10);

struct Session {
    client: String,
    filters: Vec<String>,
    outbox: mpsc::Sender<Bytes>,
    end: CancellationToken,
}

#[derive(Default)]
struct Sessions {
    next: u64,
    open: HashMap<u64, Session>,
}

/// The open sessions.
#[derive(Default)]
pub struct Broker(Mutex<Sessions>);

impl Broker {
    fn sessions(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers to every session with a matching subscription.
    pub fn publish(&self, topic: &str, payload: &[u8]) {
        let Some(packet) = encode(&Packet::Publish(Publish::new(topic, QoS::AtMostOnce, payload))) else {
            return;
        };
        for session in self.sessions().open.values() {
            if session.filters.iter().any(|filter| matches(topic, filter)) {
                let _ = session.outbox.try_send(packet.clone());
            }
        }
    }

    /// Sends raw bytes to every session, whatever it subscribed to.
    pub fn inject(&self, bytes: &'static [u8]) {
        for session in self.sessions().open.values() {
            let _ = session.outbox.try_send(Bytes::from_static(bytes));
        }
    }

    /// Ends every session.
    pub fn drop_all(&self) {
        for session in self.sessions().open.values() {
            session.end.cancel();
        }
    }

    /// A second session with the same client id replaces the first.
    fn open(&self, client: &str, outbox: mpsc::Sender<Bytes>, end: CancellationToken) -> u64 {
        let mut sessions = self.sessions();
        for session in sessions.open.values().filter(|session| session.client == client) {
            session.end.cancel();
        }
        sessions.next += 1;
        let id = sessions.next;
        sessions.open.insert(id, Session { client: client.to_owned(), filters: Vec::new(), outbox, end });
        id
    }

    fn with(&self, id: u64, change: impl FnOnce(&mut Session)) {
        if let Some(session) = self.sessions().open.get_mut(&id) {
            change(session);
        }
    }

    fn close(&self, id: u64) {
        self.sessions().open.remove(&id);
    }
}

fn encode(packet: &Packet) -> Option<Bytes> {
    let mut buffer = BytesMut::new();
    packet.write(&mut buffer, MAX_PACKET).ok()?;
    Some(buffer.freeze())
}

/// Serves the port until the power goes.
pub async fn serve(shared: Arc<Shared>, listener: TcpListener, power: CancellationToken) {
    while let Some(stream) = next_peer(&listener, &power).await {
        let closed = !shared.options.lan_only && !shared.options.cloud_broker;
        let refusing = shared.core().faults.refuse || closed;
        if refusing {
            shared.sessions.refuse();
            continue;
        }
        let Some(open) = shared.sessions.enter(CONNECTIONS) else { continue };
        let (shared, end) = (Arc::clone(&shared), power.child_token());
        tokio::spawn(async move {
            converse(&shared, stream, end).await;
            drop(open);
        });
    }
}

async fn converse(shared: &Arc<Shared>, stream: TcpStream, end: CancellationToken) {
    let (mut reader, writer) = stream.into_split();
    let mut buffer = BytesMut::new();
    let first = timeout(PATIENCE, next_packet(&mut reader, &mut buffer)).await;
    let Ok(Some(Packet::Connect(connect))) = first else { return };
    let code = login(shared, &connect);
    let (outbox, inbox) = mpsc::channel(OUTBOX);
    if let Some(reply) = encode(&Packet::ConnAck(ConnAck::new(code, false))) {
        let _ = outbox.try_send(reply);
    }
    let writing = tokio::spawn(write_out(writer, inbox, end.clone()));
    if code != ConnectReturnCode::Success {
        drop(outbox);
        let _ = writing.await;
        return;
    }
    let id = shared.broker.open(&connect.client_id, outbox.clone(), end.clone());
    let silence = match connect.keep_alive {
        0 => Duration::from_secs(86_400),
        seconds => Duration::from_secs(u64::from(seconds) * 3 / 2),
    };
    let clean = loop {
        let packet = tokio::select! {
            () = end.cancelled() => break false,
            packet = timeout(silence, next_packet(&mut reader, &mut buffer)) => packet,
        };
        let Ok(Some(packet)) = packet else { break false };
        if packet == Packet::Disconnect {
            break true;
        }
        for reply in take(shared, id, packet) {
            let Some(bytes) = encode(&reply) else { continue };
            let _ = outbox.try_send(bytes);
        }
    };
    shared.broker.close(id);
    shared.core().registry.leave(id, clean, Instant::now());
    end.cancel();
    let _ = writing.await;
}

fn login(shared: &Shared, connect: &Connect) -> ConnectReturnCode {
    let wrong = shared.core().faults.wrong_code || !shared.options.lan_only;
    let right = connect
        .login
        .as_ref()
        .is_some_and(|login| login.username == "elegoo" && login.password == shared.options.access_code);
    if right && !wrong { ConnectReturnCode::Success } else { ConnectReturnCode::NotAuthorized }
}

async fn write_out(mut writer: OwnedWriteHalf, mut inbox: mpsc::Receiver<Bytes>, end: CancellationToken) {
    loop {
        let bytes = tokio::select! {
            () = end.cancelled() => return,
            bytes = inbox.recv() => bytes,
        };
        let Some(bytes) = bytes else { return };
        if !matches!(timeout(PATIENCE, writer.write_all(&bytes)).await, Ok(Ok(()))) {
            end.cancel();
            return;
        }
    }
}

/// `None` at the end of the stream and for what is not MQTT.
async fn next_packet(reader: &mut tokio::net::tcp::OwnedReadHalf, buffer: &mut BytesMut) -> Option<Packet> {
    loop {
        match Packet::read(buffer, MAX_PACKET) {
            Ok(packet) => return Some(packet),
            Err(Error::InsufficientBytes(_)) => {
                if reader.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            Err(_) => return None,
        }
    }
}

fn take(shared: &Shared, id: u64, packet: Packet) -> Vec<Packet> {
    match packet {
        Packet::PingReq => vec![Packet::PingResp],
        Packet::Subscribe(subscribe) => {
            let codes =
                subscribe.filters.iter().map(|filter| SubscribeReasonCode::Success(filter.qos)).collect();
            let filters: Vec<String> = subscribe.filters.into_iter().map(|filter| filter.path).collect();
            shared.broker.with(id, |session| session.filters.extend(filters));
            vec![Packet::SubAck(SubAck::new(subscribe.pkid, codes))]
        }
        Packet::Unsubscribe(unsubscribe) => {
            shared.broker.with(id, |session| session.filters.retain(|f| !unsubscribe.topics.contains(f)));
            vec![Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid))]
        }
        Packet::Publish(publish) => {
            shared.broker.publish(&publish.topic, &publish.payload);
            methods::receive(shared, id, &publish.topic, &publish.payload);
            match publish.qos {
                QoS::AtMostOnce => Vec::new(),
                _ => vec![Packet::PubAck(PubAck::new(publish.pkid))],
            }
        }
        _ => Vec::new(),
    }
}
