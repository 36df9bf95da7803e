//! RTSP 1.0 client for cameras that send H.264, over TLS or plain TCP, media interleaved in the same connection.
//!
//! Facts: bambu.md 6.2, RFC 2326 (RTSP), RFC 2617 (digest), RFC 6184 (H.264 in RTP). One connection, no second socket:
//! dropping the stream says TEARDOWN as far as one write goes and closes it.
mod auth;
mod depacketize;
mod sdp;
mod session;
#[cfg(test)]
mod tests;
mod wire;

/// A whole stream of outside bytes, for `crate::fuzzing`.
#[cfg(any(test, fuzzing, feature = "doors"))]
pub(crate) fn fuzz_door(bytes: &[u8]) {
    if let Some(track) = sdp::video(&String::from_utf8_lossy(bytes)) {
        drop(track);
    }
    let mut packets = depacketize::Depacketizer::new(96, 90_000, Vec::new());
    let mut buffer = bytes::BytesMut::from(bytes);
    while let Ok(Some(incoming)) = wire::take(&mut buffer) {
        if let wire::Incoming::Data { payload, .. } = incoming {
            let _pictures = packets.push(&payload);
        }
    }
}

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::tls::{PrinterTls, TlsConnectError};
use crate::secret::Secret;
use session::Session;

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
const TLS_DEADLINE: Duration = Duration::from_secs(10);

/// One coded picture.
#[derive(Debug, Clone)]
pub struct Picture {
    /// H.264 access unit in Annex B form; a key picture carries its parameter sets.
    pub data: Bytes,
    /// Units of 1/90000 s since the first picture, as the camera counts. Some cameras count badly (bambu.md 6.2).
    pub pts: u64,
    /// Decoding can start here.
    pub key: bool,
}

/// Why there is no video, by what the caller does about it.
#[derive(Debug, thiserror::Error)]
pub enum RtspError {
    /// Nothing listens at the port: the stream is switched off at the printer, or the printer is.
    #[error("no connection to the camera's port: {0}")]
    Connect(io::Error),
    #[error(transparent)]
    Tls(#[from] TlsConnectError),
    /// The user name or password is wrong.
    #[error("the camera refused the login")]
    Login,
    /// The camera answered a request with an error status.
    #[error("the camera answered {method} with {status}")]
    Status { method: &'static str, status: u16 },
    /// The camera offers no H.264 over TCP.
    #[error("the camera offers no H.264 video")]
    NoVideo,
    /// No answer or no data in time.
    #[error("the camera did not {0} in time")]
    Timeout(&'static str),
    /// The camera sent what is no RTSP.
    #[error("the camera's answer cannot be understood: {0}")]
    Protocol(&'static str),
    #[error("the camera closed the connection")]
    Closed,
    #[error("the connection to the camera broke: {0}")]
    Io(#[from] io::Error),
}

/// A camera to open.
#[derive(Debug, Clone)]
pub struct RtspCamera {
    host: String,
    port: u16,
    path: String,
    login: Option<(String, Secret)>,
    tls: Option<PrinterTls>,
}

impl RtspCamera {
    /// The stream at `path` (with or without its leading slash), plain and without login.
    pub fn new(host: impl Into<String>, port: u16, path: &str) -> Self {
        let path = path.trim_start_matches('/').to_owned();
        Self { host: host.into(), port, path, login: None, tls: None }
    }

    /// With digest (over TLS also basic) authentication.
    #[must_use]
    pub fn login(mut self, user: impl Into<String>, password: Secret) -> Self {
        self.login = Some((user.into(), password));
        self
    }

    /// Over TLS: `rtsps`.
    #[must_use]
    pub fn tls(mut self, tls: PrinterTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Connects, logs in and starts the video. Every step has its deadline; the stream ends with an error.
    ///
    /// # Errors
    /// See [`RtspError`].
    pub async fn open(&self) -> Result<BoxStream<'static, Result<Picture, RtspError>>, RtspError> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let tcp = timeout(CONNECT_DEADLINE, connecting).await.map_err(|_| RtspError::Timeout("connect"))?;
        let tcp = tcp.map_err(RtspError::Connect)?;
        tcp.set_nodelay(true)?;
        match &self.tls {
            None => self.play(tcp).await,
            Some(tls) => {
                let stream = tls.connect(tcp, &self.host, TLS_DEADLINE).await?;
                self.play(stream).await
            }
        }
    }

    async fn play<S>(&self, stream: S) -> Result<BoxStream<'static, Result<Picture, RtspError>>, RtspError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut session = Session::new(stream, self.url(), self.login.clone(), self.tls.is_some());
        session.start().await?;
        let pictures = stream::unfold(Some(session), |session| async move {
            let mut session = session?;
            match session.picture().await {
                Ok(picture) => Some((Ok(picture), Some(session))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(pictures.boxed())
    }

    fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "rtsps" } else { "rtsp" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{scheme}://{host}:{}/{}", self.port, self.path)
    }
}
