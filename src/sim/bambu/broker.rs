//! The MQTT 3.1.1 broker of one printer: TLS, login, its own two topics, its own habits (dossier 2).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, PingResp, PubAck, Publish, SubAck, Subscribe,
    SubscribeReasonCode, UnsubAck,
};
use rumqttc::mqttbytes::{Error as Malformed, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;

use super::core::{Client, Core, lock};
use super::listen::PATIENCE;
use super::requests;

/// Largest packet a client may send.
const PACKET_CAP: usize = 256 << 10;
/// Reports waiting for one client; a slow one loses what comes on top.
const OUTBOX: usize = 64;

static NUMBERS: AtomicU64 = AtomicU64::new(1);

struct Session {
    stream: TlsStream<TcpStream>,
    input: BytesMut,
}

impl Session {
    /// The next packet; `None` at the end of the stream.
    async fn read(&mut self) -> io::Result<Option<Packet>> {
        loop {
            match Packet::read(&mut self.input, PACKET_CAP) {
                Ok(packet) => return Ok(Some(packet)),
                Err(Malformed::InsufficientBytes(_)) => {}
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{error:?}"))),
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn write(
        &mut self,
        packet: impl FnOnce(&mut BytesMut) -> Result<usize, Malformed>,
    ) -> io::Result<()> {
        let mut out = BytesMut::new();
        packet(&mut out).map_err(|error| io::Error::other(format!("{error:?}")))?;
        self.stream.write_all(&out).await?;
        self.stream.flush().await
    }
}

/// Serves one TCP connection.
pub(super) async fn handle(core: Arc<Core>, stream: TcpStream) -> io::Result<()> {
    let stream = timeout(PATIENCE, core.acceptor().accept(stream)).await??;
    let mut session = Session { stream, input: BytesMut::with_capacity(4096) };
    let Some(Packet::Connect(connect)) = timeout(PATIENCE, session.read()).await?? else { return Ok(()) };
    if lock(&core.switches).dead {
        return hang(&core).await;
    }
    let login = connect.login.clone().unwrap_or(rumqttc::mqttbytes::v4::Login::new("", ""));
    if !core.login_accepted(&login.username, &login.password) {
        // 5 = not authorised; the printer then closes (dossier 2.2).
        let refused = ConnAck::new(ConnectReturnCode::NotAuthorized, false);
        session.write(|out| refused.write(out)).await?;
        return session.stream.shutdown().await;
    }
    let limit = core.options.client_limit.unwrap_or(usize::MAX);
    let taken = lock(&core.clients).iter().filter(|c| c.client_id != connect.client_id).count();
    if taken >= limit {
        return Ok(());
    }
    let delay = core.options.connack_delay;
    tokio::time::sleep(delay).await;
    session.write(|out| ConnAck::new(ConnectReturnCode::Success, false).write(out)).await?;
    run(core, session, connect).await
}

/// Keeps the socket open without a word until the link is cut.
async fn hang(core: &Core) -> io::Result<()> {
    core.link().cancelled().await;
    Ok(())
}

/// Takes the client off the list when the session ends.
struct Registered {
    core: Arc<Core>,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.core.clients).retain(|client| client.number != self.number);
    }
}

async fn run(core: Arc<Core>, mut session: Session, connect: Connect) -> io::Result<()> {
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let (outbox, mut inbox) = mpsc::channel::<Bytes>(OUTBOX);
    let cut = core.link().child_token();
    {
        let mut clients = lock(&core.clients);
        // Same client id: the older session is closed (MQTT 3.1.1, 3.1.4-2).
        for old in clients.iter().filter(|client| client.client_id == connect.client_id) {
            old.cut.cancel();
        }
        let client_id = connect.client_id.clone();
        clients.push(Client { number, client_id, subscribed: None, outbox, cut: cut.clone() });
    }
    let _registered = Registered { core: core.clone(), number };
    let patience = match connect.keep_alive {
        0 => Duration::from_secs(86_400),
        seconds => Duration::from_millis(u64::from(seconds) * 1500),
    };
    let mut deadline = Instant::now() + patience;
    let mut pkid: u16 = 0;
    loop {
        tokio::select! {
            () = cut.cancelled() => return Ok(()),
            packet = timeout_at(deadline, session.read()) => {
                let Some(packet) = packet?? else { return Ok(()) };
                deadline = Instant::now() + patience;
                if lock(&core.switches).dead {
                    continue;
                }
                if !answer(&core, &mut session, number, packet).await? {
                    return Ok(());
                }
            }
            Some(payload) = inbox.recv() => {
                let granted = granted(&core, number);
                let mut publish = Publish::from_bytes(core.report_topic(), QoS::AtMostOnce, payload);
                if granted == Some(1) {
                    pkid = pkid.checked_add(1).unwrap_or(1);
                    publish.qos = QoS::AtLeastOnce;
                    publish.pkid = pkid;
                }
                session.write(|out| publish.write(out)).await?;
            }
        }
    }
}

fn granted(core: &Core, number: u64) -> Option<u8> {
    lock(&core.clients).iter().find(|client| client.number == number).and_then(|client| client.subscribed)
}

/// Handles one packet; false ends the session.
async fn answer(core: &Arc<Core>, session: &mut Session, number: u64, packet: Packet) -> io::Result<bool> {
    match packet {
        Packet::PingReq => session.write(|out| PingResp.write(out)).await?,
        Packet::Subscribe(subscribe) => return subscribed(core, session, number, subscribe).await,
        Packet::Unsubscribe(unsubscribe) => {
            if unsubscribe.topics.contains(&core.report_topic()) {
                grant(core, number, None);
            }
            session.write(|out| UnsubAck::new(unsubscribe.pkid).write(out)).await?;
        }
        Packet::Publish(publish) => {
            if publish.qos != QoS::AtMostOnce && lock(&core.switches).plain_only {
                return Err(io::Error::other("a message of QoS 0 was expected"));
            }
            if publish.qos == QoS::AtLeastOnce {
                session.write(|out| PubAck::new(publish.pkid).write(out)).await?;
            }
            if publish.topic == core.request_topic() && !lock(&core.switches).zombie {
                requests::receive(core, &publish.payload);
            }
        }
        Packet::PubAck(_) => {}
        // A second CONNECT, QoS 2 or a server's packet: protocol error, or DISCONNECT.
        _ => return Ok(false),
    }
    Ok(true)
}

fn grant(core: &Core, number: u64, qos: Option<u8>) {
    if let Some(client) = lock(&core.clients).iter_mut().find(|client| client.number == number) {
        client.subscribed = qos;
    }
}

/// A P1S resets the connection on its request topic or `#`; another serial is granted and stays silent (dossier 2.2).
async fn subscribed(
    core: &Arc<Core>,
    session: &mut Session,
    number: u64,
    subscribe: Subscribe,
) -> io::Result<bool> {
    let mut codes = Vec::new();
    for filter in &subscribe.filters {
        let qos = match filter.qos {
            QoS::AtMostOnce => 0,
            _ => 1,
        };
        if filter.path == "#" || filter.path == core.request_topic() {
            return Ok(false);
        }
        if filter.path == core.report_topic() {
            grant(core, number, Some(qos));
        } else if core.options.close_on_wrong_serial {
            return Ok(false);
        }
        codes.push(SubscribeReasonCode::Success(if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }));
    }
    session.write(|out| SubAck::new(subscribe.pkid, codes).write(out)).await?;
    Ok(true)
}
