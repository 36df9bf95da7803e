//! A scripted broker on loopback, written with the library's packet codec.
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use rumqttc::mqttbytes::Error;
use rumqttc::{ConnAck, ConnectReturnCode, Packet, Publish, QoS, SubAck, SubscribeReasonCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

const LIMIT: usize = 4 << 20;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One accepted client.
pub(super) struct Peer {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
}

impl Peer {
    /// The next packet, `None` once the client has closed or broken the connection.
    pub async fn read(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.buffer, LIMIT) {
                Ok(packet) => return Some(packet),
                Err(Error::InsufficientBytes(_)) => {
                    if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                        return None;
                    }
                }
                Err(error) => panic!("client sent garbage: {error}"),
            }
        }
    }

    pub async fn write(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, LIMIT).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    pub async fn login(&mut self, code: ConnectReturnCode) -> rumqttc::Connect {
        let Some(Packet::Connect(connect)) = self.read().await else { panic!("expected CONNECT") };
        self.write(Packet::ConnAck(ConnAck::new(code, false))).await;
        connect
    }

    pub async fn subscription(&mut self) -> rumqttc::Subscribe {
        let Some(Packet::Subscribe(subscribe)) = self.read().await else { panic!("expected SUBSCRIBE") };
        let codes = vec![SubscribeReasonCode::Success(QoS::AtMostOnce)];
        self.write(Packet::SubAck(SubAck::new(subscribe.pkid, codes))).await;
        subscribe
    }

    /// Login and one subscription, both granted.
    pub async fn welcome(&mut self) {
        self.login(ConnectReturnCode::Success).await;
        self.subscription().await;
    }

    pub async fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.write(Packet::Publish(Publish::new(topic, QoS::AtMostOnce, payload))).await;
    }

    /// Sends messages as fast as they are taken until the client has said what is `wanted`.
    pub async fn flood_until(self, topic: &str, mut wanted: impl FnMut(&Packet) -> bool) {
        let (reader, mut writer) = tokio::io::split(self.stream);
        let mut heard =
            Peer { stream: Box::new(tokio::io::join(reader, tokio::io::sink())), buffer: self.buffer };
        let mut batch = BytesMut::new();
        for _ in 0..1000 {
            Packet::Publish(Publish::new(topic, QoS::AtMostOnce, "{}")).write(&mut batch, LIMIT).unwrap();
        }
        let flood = async {
            loop {
                writer.write_all(&batch).await.unwrap();
            }
        };
        let hear = async {
            while let Some(packet) = heard.read().await {
                if wanted(&packet) {
                    return;
                }
            }
            panic!("the client left before it said it");
        };
        tokio::select! {
            () = flood => {}
            () = hear => {}
        }
    }

    /// The next publication of the client, past pings.
    pub async fn publication(&mut self) -> Option<Publish> {
        loop {
            match self.read().await? {
                Packet::Publish(publish) => return Some(publish),
                Packet::PingReq => self.write(Packet::PingResp).await,
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

/// Accepts clients one by one.
pub(super) struct Broker {
    listener: TcpListener,
    tls: Option<tokio_rustls::TlsAcceptor>,
    pub address: SocketAddr,
}

impl Broker {
    pub async fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, tls: tls.map(Into::into), address }
    }

    pub async fn accept(&self) -> Peer {
        let (socket, _) = self.listener.accept().await.unwrap();
        let stream: Box<dyn Stream> = match &self.tls {
            Some(tls) => Box::new(tls.accept(socket).await.unwrap()),
            None => Box::new(socket),
        };
        Peer { stream, buffer: BytesMut::new() }
    }
}
