//! Our own HTTP(S) ports: every connection has its deadlines and limits, so that nobody can hold up the others.
//!
//! HTTP/1.1 only: the front ends need WebSocket upgrades and nothing of HTTP/2.

mod certificate;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use futures_util::{StreamExt, stream};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

pub use certificate::{CertificateError, from_files, self_signed, self_signed_certificate};

/// What a port allows.
#[derive(Clone)]
pub struct ServerOptions {
    /// HTTPS with this certificate; plain HTTP without.
    pub tls: Option<TlsAcceptor>,
    /// Connections at once, WebSockets included.
    pub connections: usize,
    /// Connections at once of one address other than this host itself, behind whose proxy everybody may be.
    pub per_address: usize,
    /// From the first byte of a request to the end of its headers, and for a TLS handshake.
    pub header_deadline: Duration,
    /// Silence within the body of a request.
    pub body_deadline: Duration,
    /// How long requests may take to end once the server is to stop.
    pub grace: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            tls: None,
            connections: 1024,
            per_address: 256,
            header_deadline: Duration::from_secs(15),
            body_deadline: Duration::from_secs(60),
            grace: Duration::from_secs(3),
        }
    }
}

/// Header lines of a request, and bytes of all of them together.
const HEADERS: usize = 100;
const HEADER_BYTES: usize = 64 << 10;
/// Wait after a failed accept: the process is out of descriptors, and trying at once would only heat.
const BREATH: Duration = Duration::from_millis(100);

/// Marks requests that came over TLS, for the URLs in answers.
#[derive(Debug, Clone, Copy)]
pub struct OverTls;

/// Serves the routes that `router` makes for each connection until `cancel`, then ends what is under way within the
/// grace. Handlers find `ConnectInfo` of the peer in the request, and [`OverTls`] where it holds.
pub async fn serve(
    listener: TcpListener,
    router: impl Fn() -> Router + Send + 'static,
    options: ServerOptions,
    cancel: CancellationToken,
) {
    let each = {
        let (options, cancel) = (options.clone(), cancel.clone());
        move |stream, peer| {
            let (router, options, cancel) = (router(), options.clone(), cancel.clone());
            async move { connection(stream, peer, router, &options, &cancel).await }
        }
    };
    accept(listener, &options, &cancel, each).await;
}

/// Hands connections to `each` within the limits of `options`, of any protocol, until `cancel`; those under way may then
/// take the grace to end.
pub async fn accept<E>(
    listener: TcpListener,
    options: &ServerOptions,
    cancel: &CancellationToken,
    each: impl Fn(TcpStream, SocketAddr) -> E,
) where
    E: Future<Output = ()> + Send + 'static,
{
    let tasks = TaskTracker::new();
    let places = Places::new(options);
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "A connection could not be accepted.");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let Some(place) = places.take(peer.ip()) else {
            tracing::debug!(%peer, "Too many connections; this one is closed.");
            continue;
        };
        let served = each(stream, peer);
        tasks.spawn(async move {
            served.await;
            drop(place);
        });
    }
    drop(listener);
    tasks.close();
    let _what_does_not_end_is_dropped = tokio::time::timeout(options.grace, tasks.wait()).await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    options: &ServerOptions,
    cancel: &CancellationToken,
) {
    let _delayed_small_frames_only = stream.set_nodelay(true);
    let Some(tls) = &options.tls else {
        return http(stream, peer, router, options, cancel, false).await;
    };
    if let Some(stream) = handshake(tls, stream, peer, options.header_deadline).await {
        http(stream, peer, router, options, cancel, true).await;
    }
}

/// The TLS handshake of a client; `None` where it fails or takes too long.
pub async fn handshake(
    tls: &TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    deadline: Duration,
) -> Option<TlsStream<TcpStream>> {
    match tokio::time::timeout(deadline, tls.accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => tracing::debug!(%peer, %error, "A TLS handshake failed."),
        Err(_elapsed) => tracing::debug!(%peer, "A TLS handshake took too long."),
    }
    None
}

async fn http<S>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    options: &ServerOptions,
    cancel: &CancellationToken,
    secure: bool,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let silence = options.body_deadline;
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(|body| patient(body, silence));
        request.extensions_mut().insert(ConnectInfo(peer));
        if secure {
            request.extensions_mut().insert(OverTls);
        }
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_deadline)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(options.grace, connection).await {
                Ok(ended) => ended,
                Err(_elapsed) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "A connection ended with an error.");
    }
}

/// A body that fails when it is silent for too long.
fn patient(body: Incoming, silence: Duration) -> Body {
    let pieces = Body::new(body).into_data_stream();
    let watched = stream::unfold(Some(pieces), move |pieces| async move {
        let mut pieces = pieces?;
        match tokio::time::timeout(silence, pieces.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(pieces))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Ok(None) => None,
            Err(_elapsed) => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "nothing more came");
                Some((Err(error), None))
            }
        }
    });
    Body::from_stream(watched)
}

/// The open connections by address.
struct Places {
    open: Mutex<HashMap<IpAddr, usize>>,
    total: usize,
    per_address: usize,
}

/// Frees its place when it is dropped.
struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    fn new(options: &ServerOptions) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            total: options.connections,
            per_address: options.per_address,
        })
    }

    fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = if address.is_loopback() { self.total } else { self.per_address };
        let own = open.get(&address).copied().unwrap_or_default();
        if own >= limit || open.values().sum::<usize>() >= self.total {
            return None;
        }
        open.insert(address, own + 1);
        Some(Place { places: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}
