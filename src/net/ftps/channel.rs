//! The sockets of an FTPS session: TLS on the control connection, TLS or clear text for data.
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls_pki_types::ServerName;
use suppaftp::tokio::{AsyncTlsConnector, TokioTlsStream};
use suppaftp::{FtpError, FtpResult};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::{CUT, NO_SOCKET};
use super::handshake::Prepared;
use crate::net::tls::server_name;

/// Send buffer of a data socket in bytes (the kernel doubles it). Kept small because progress can
/// only count bytes given to the kernel: against a peer on loopback that reads nothing it ran
/// 450 kB ahead with this value and 4 MB without, which is 40 s of a 100 kB/s printer.
const DATA_SEND_BUFFER: u32 = 128 << 10;

/// A connected socket of either kind.
#[derive(Debug)]
pub(super) enum Channel {
    /// The one over which commands go; what has come over it is looked at.
    Control(Box<TlsStream<TcpStream>>, Arc<LastReply>),
    Tls(Box<TlsStream<TcpStream>>),
    Clear(TcpStream),
}

/// The newest line that came over the control connection, read by the library or still in its buffer.
#[derive(Debug, Default)]
pub(super) struct LastReply(Mutex<Vec<u8>>);

impl LastReply {
    fn note(&self, bytes: &[u8]) {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(bytes);
        let complete = tail.iter().rposition(|byte| *byte == b'\n');
        let lines = complete.and_then(|end| tail.get(..end));
        // Everything before the newest complete line has been seen.
        if let Some(before) = lines.and_then(|lines| lines.iter().rposition(|byte| *byte == b'\n')) {
            tail.drain(..=before);
        }
        let surplus = tail.len().saturating_sub(MAX_REPLY);
        tail.drain(..surplus);
    }

    /// Whether it ends a command, unlike the 150 that announces a transfer.
    pub(super) fn is_final(&self) -> bool {
        let tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(tail.as_slice(), [b'2' | b'4' | b'5', _, _, b' ', ..]) && tail.contains(&b'\n')
    }
}

/// Longest line remembered, in bytes; a reply's first characters are all that counts.
const MAX_REPLY: usize = 4096;

impl AsyncRead for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match self.as_mut().get_mut() {
            Self::Control(stream, _) | Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Clear(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        if let Self::Control(_, last) = self.get_mut() {
            last.note(buffer.filled().get(before..).unwrap_or_default());
        }
        match read {
            // A1 and P1 never send close_notify (bambu.md 5.1). Truncation is found by the final
            // reply and by comparing sizes, so a bare end of stream is an end of stream.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            other => other,
        }
    }
}

impl AsyncWrite for Channel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Control(stream, _) | Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Clear(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Control(stream, _) | Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Clear(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Never fails: a server that closes the data socket early says why in its reply (552, 426),
    /// which the library would discard if the shutdown failed first.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = match self.get_mut() {
            Self::Control(stream, _) | Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        result.map(|_| Ok(()))
    }
}

impl TokioTlsStream for Channel {
    type InnerStream = Self;

    fn tcp_stream(self) -> FtpResult<TcpStream> {
        Ok(match self {
            Self::Control(stream, _) | Self::Tls(stream) => stream.into_inner().0,
            Self::Clear(stream) => stream,
        })
    }

    fn get_ref(&self) -> &TcpStream {
        match self {
            Self::Control(stream, _) | Self::Tls(stream) => stream.get_ref().0,
            Self::Clear(stream) => stream,
        }
    }

    fn mut_ref(&mut self) -> &mut Self {
        self
    }
}

/// Makes channels; switched to clear data after the server accepted `PROT C`.
pub(super) struct Connector {
    pub tls: TlsConnector,
    pub clear: Arc<AtomicBool>,
    pub last_reply: Arc<LastReply>,
    /// The handshakes of data connections.
    pub prepared: Arc<Prepared>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("clear", &self.clear).finish_non_exhaustive()
    }
}

impl AsyncTlsConnector for Connector {
    type Stream = Channel;

    fn connect<'a, 'b, 'f>(
        &'a self,
        host: &'b str,
        stream: TcpStream,
    ) -> Pin<Box<dyn Future<Output = FtpResult<Channel>> + Send + 'f>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            if self.clear.load(Ordering::Acquire) {
                return Ok(Channel::Clear(stream));
            }
            let failed = |error: io::Error| FtpError::SecureError(error.to_string());
            if let Some(data) = self.prepared.finish().await {
                return Ok(Channel::Tls(Box::new(data.map_err(|error| {
                    if was_cut(&error) {
                        failed(io::Error::other(format!("{CUT}{error}")))
                    } else {
                        failed(error)
                    }
                })?)));
            }
            let name = server_name(host).map_err(|error| FtpError::SecureError(error.to_string()))?;
            let control = self.tls.connect(name, stream).await.map_err(failed)?;
            Ok(Channel::Control(Box::new(control), self.last_reply.clone()))
        })
    }
}

/// What data connections of a session are made of.
#[derive(Clone)]
pub(super) struct DataWay {
    pub tls: TlsConnector,
    pub name: ServerName<'static>,
    /// Set while data goes unencrypted.
    pub clear: Arc<AtomicBool>,
    pub prepared: Arc<Prepared>,
    pub deadline: Duration,
    /// For the handshake.
    pub handshake: Duration,
}

/// Whether the other end hung up, as opposed to having another idea of encryption.
fn was_cut(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// Connects a data socket; failures are reported as [`FtpError::SecureError`], the kind that tells
/// data trouble from a lost control connection.
pub(super) async fn connect_data(address: SocketAddr, way: DataWay) -> FtpResult<TcpStream> {
    let deadline = way.deadline;
    let connecting = async {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_send_buffer_size(DATA_SEND_BUFFER)?;
        socket.connect(address).await
    };
    let failed = |reason: String| FtpError::SecureError(format!("{NO_SOCKET}{address}: {reason}"));
    match tokio::time::timeout(deadline, connecting).await {
        Ok(Ok(stream)) if way.clear.load(Ordering::Acquire) => Ok(stream),
        Ok(Ok(stream)) => way
            .prepared
            .prepare(way.tls, way.name, stream, way.handshake)
            .map_err(|error| failed(error.to_string())),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {deadline:?}"))),
    }
}
