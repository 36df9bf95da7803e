//! RTSP for recorders: `rtsp://host:8554/<printer>`, one port for all printers, off unless configured.
//!
//! What the camera sends leaves unchanged: H.264 by RFC 6184, JPEG by RFC 2435. Media travel in the same TCP connection
//! (RFC 2326 section 10.12); UDP is refused with 461, upon which clients take TCP. The callers are judged like those of
//! the other ports: trusted addresses pass, all others log in with a user's name and password or an API key as password.
//!
//! | file | owns |
//! |---|---|
//! | `wire` | requests out of bytes, answers |
//! | `connection` | one client: login, session, what he may do when |
//! | `transport` | the `Transport` header and the addresses |
//! | `media` | what is sent: video or pictures, times, dark cameras |
//! | `rtp` | packets and reports (RFC 3550) |
//! | `h264`, `jpeg` | payloads |
//! | `description` | the session description (RFC 4566) |

mod connection;
mod description;
mod h264;
mod huffman;
mod jpeg;
mod media;
mod rtp;
#[cfg(test)]
mod tests;
mod transport;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::camera::CameraHub;
use crate::net::server::{self, ServerOptions};
use connection::{Connection, Peer};

/// Connections at once, of all and of one address: a recorder has one or two for each printer.
const CONNECTIONS: usize = 256;
const PER_ADDRESS: usize = 64;
/// What the kernel may hold for one viewer. More would only make a slow one see older pictures.
const SEND_BUFFER: usize = 256 << 10;

/// One printer's camera and where it is found.
#[derive(Clone)]
pub struct Camera {
    /// The path: the configured id of the printer.
    pub name: String,
    /// What people read.
    pub title: String,
    pub hub: CameraHub,
}

/// What all connections share.
struct Shared {
    cameras: Vec<Camera>,
    access: Arc<Access>,
    cancel: CancellationToken,
}

/// Serves the cameras until `cancel`; over TLS (`rtsps://`) where `options` have a certificate.
pub async fn serve(
    listener: TcpListener,
    cameras: Vec<Camera>,
    access: Arc<Access>,
    options: ServerOptions,
    cancel: CancellationToken,
) {
    let options = ServerOptions { connections: CONNECTIONS, per_address: PER_ADDRESS, ..options };
    let shared = Arc::new(Shared { cameras, access, cancel: cancel.clone() });
    let each = {
        let options = options.clone();
        move |stream, peer| client(stream, peer, shared.clone(), options.clone())
    };
    server::accept(listener, &options, &cancel, each).await;
}

async fn client(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>, options: ServerOptions) {
    let _only_later = stream.set_nodelay(true);
    let _only_larger = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let Ok(local) = stream.local_addr() else { return };
    let address = peer.ip().to_canonical();
    let ended = match &options.tls {
        None => Connection::new(stream, Peer { address, local, secure: false }, shared).run().await,
        Some(tls) => match server::handshake(tls, stream, peer, options.header_deadline).await {
            None => return,
            Some(stream) => {
                Connection::new(stream, Peer { address, local, secure: true }, shared).run().await
            }
        },
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "An RTSP connection ended.");
    }
}

/// A whole stream of outside bytes, for `crate::fuzzing`.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_door(bytes: &[u8]) {
    let mut buffer = bytes::BytesMut::from(bytes);
    while let Ok(Some(incoming)) = wire::take(&mut buffer) {
        if let wire::Incoming::Request(request) = incoming {
            let _target = transport::Target::of(&request.url);
            let _channels = request.header("Transport").map(transport::channels);
            let _login = request.header("Authorization").map(wire::basic);
        }
    }
    let jpeg = bytes::Bytes::copy_from_slice(bytes);
    if let Ok(picture) = jpeg::Picture::read(&jpeg) {
        let mut sender = rtp::Sender::new(26, (0, 1));
        picture.pack(&mut sender, 0);
        assert!(sender.take().iter().map(bytes::Bytes::len).sum::<usize>() >= picture.len());
    }
}
