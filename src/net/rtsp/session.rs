//! One RTSP session: describe, set up, play, keep alive, tear down.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::auth::Challenge;
use super::depacketize::Depacketizer;
use super::wire::{self, Incoming, Response};
use super::{Picture, RtspError, sdp};
use crate::secret::Secret;

const REPLY_DEADLINE: Duration = Duration::from_secs(10);
/// Bambu's streams stall for good after this long without data (bambu.md 6.2).
const DATA_DEADLINE: Duration = Duration::from_secs(10);
/// Used where the server names no session timeout (RFC 2326 section 12.37).
const SESSION_TIMEOUT: u64 = 60;
const CHUNK: usize = 64 << 10;
const AGENT: &str = concat!("moongate/", env!("CARGO_PKG_VERSION"));

pub(super) struct Session<S: AsyncRead + AsyncWrite + Unpin> {
    stream: S,
    buffer: BytesMut,
    url: String,
    /// URL of the whole presentation, for PLAY and what follows.
    aggregate: String,
    login: Option<(String, Secret)>,
    private: bool,
    challenge: Option<Challenge>,
    /// Requests signed with this challenge.
    signed: u32,
    sequence: u32,
    session: Option<String>,
    /// The method that keeps the session: some servers know no GET_PARAMETER.
    keepalive: &'static str,
    interval: Duration,
    next_keepalive: Instant,
    depacketizer: Option<Depacketizer>,
    /// RTP channel; RTCP comes on the next one.
    channel: u8,
    ready: VecDeque<Picture>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub fn new(stream: S, url: String, login: Option<(String, Secret)>, private: bool) -> Self {
        Self {
            stream,
            buffer: BytesMut::with_capacity(CHUNK),
            aggregate: url.clone(),
            url,
            login,
            private,
            challenge: None,
            signed: 0,
            sequence: 0,
            session: None,
            keepalive: "GET_PARAMETER",
            interval: Duration::from_secs(SESSION_TIMEOUT / 2),
            next_keepalive: Instant::now(),
            depacketizer: None,
            channel: 0,
            ready: VecDeque::new(),
        }
    }

    /// Up to the answer to PLAY.
    pub async fn start(&mut self) -> Result<(), RtspError> {
        let url = self.url.clone();
        let described = self.request("DESCRIBE", &url, "Accept: application/sdp\r\n").await?;
        let track = sdp::video(&String::from_utf8_lossy(&described.body)).ok_or(RtspError::NoVideo)?;
        let base = described.header("Content-Base").or(described.header("Content-Location"));
        let base = base.filter(|base| base.starts_with("rtsp")).unwrap_or(&url).to_owned();
        self.aggregate = join(&base, track.session_control.as_deref().unwrap_or("*"));
        let setup = join(&base, &track.control);
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        let ready = self.request("SETUP", &setup, transport).await?;
        self.take_session(&ready);
        self.channel = ready.header("Transport").map_or(Some(0), channel).ok_or(RtspError::NoVideo)?;
        self.depacketizer = Some(Depacketizer::new(track.payload_type, track.clock, track.parameter_sets));
        let aggregate = self.aggregate.clone();
        self.request("PLAY", &aggregate, "Range: npt=0.000-\r\n").await?;
        self.next_keepalive = Instant::now() + self.interval;
        Ok(())
    }

    /// The next picture.
    pub async fn picture(&mut self) -> Result<Picture, RtspError> {
        let mut deadline = Instant::now() + DATA_DEADLINE;
        loop {
            if let Some(picture) = self.ready.pop_front() {
                return Ok(picture);
            }
            match wire::take(&mut self.buffer)? {
                Some(Incoming::Data { channel, payload }) => {
                    deadline = Instant::now() + DATA_DEADLINE;
                    self.data(channel, &payload);
                    continue;
                }
                Some(Incoming::Response(response)) => {
                    self.kept(&response);
                    continue;
                }
                Some(Incoming::Request) => continue,
                None => {}
            }
            tokio::select! {
                read = self.stream.read_buf(&mut self.buffer) => if read? == 0 { return Err(RtspError::Closed) },
                () = sleep_until(self.next_keepalive) => self.keep().await?,
                () = sleep_until(deadline) => return Err(RtspError::Timeout("send data")),
            }
        }
    }

    fn data(&mut self, channel: u8, payload: &[u8]) {
        if channel == self.channel
            && let Some(depacketizer) = &mut self.depacketizer
        {
            self.ready.extend(depacketizer.push(payload));
        }
    }

    async fn keep(&mut self) -> Result<(), RtspError> {
        self.next_keepalive = Instant::now() + self.interval;
        let url = self.aggregate.clone();
        self.send(self.keepalive, &url, "").await
    }

    /// An answer to a keepalive.
    fn kept(&mut self, response: &Response) {
        match response.status {
            200 => {}
            // The nonce ran out: the next keepalive uses the new one.
            401 => {
                if let Some(challenge) = self.offered(response) {
                    (self.challenge, self.signed) = (Some(challenge), 0);
                }
            }
            _ => self.keepalive = "OPTIONS",
        }
    }

    /// Sends a request and awaits its answer, logging in when asked to.
    async fn request(
        &mut self,
        method: &'static str,
        url: &str,
        headers: &str,
    ) -> Result<Response, RtspError> {
        for attempt in 0..2 {
            self.send(method, url, headers).await?;
            let response = timeout(REPLY_DEADLINE, self.response())
                .await
                .map_err(|_| RtspError::Timeout("answer"))??;
            match response.status {
                200 => return Ok(response),
                401 if attempt == 0 && self.login.is_some() => {
                    let challenge = self.offered(&response).ok_or(RtspError::Login)?;
                    (self.challenge, self.signed) = (Some(challenge), 0);
                }
                401 | 403 => return Err(RtspError::Login),
                461 => return Err(RtspError::NoVideo),
                status => return Err(RtspError::Status { method, status }),
            }
        }
        Err(RtspError::Login)
    }

    /// The challenge to answer; a password is never sent in the clear.
    fn offered(&self, response: &Response) -> Option<Challenge> {
        let challenge = Challenge::best(response.all("WWW-Authenticate"))?;
        (self.private || challenge != Challenge::Basic).then_some(challenge)
    }

    /// The next answer; media that already comes in is kept.
    async fn response(&mut self) -> Result<Response, RtspError> {
        loop {
            match wire::take(&mut self.buffer)? {
                Some(Incoming::Response(response)) => return Ok(response),
                Some(Incoming::Data { channel, payload }) => self.data(channel, &payload),
                Some(Incoming::Request) => {}
                None => {
                    if self.stream.read_buf(&mut self.buffer).await? == 0 {
                        return Err(RtspError::Closed);
                    }
                }
            }
        }
    }

    async fn send(&mut self, method: &str, url: &str, headers: &str) -> Result<(), RtspError> {
        let text = self.compose(method, url, headers);
        let sending = async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await
        };
        timeout(REPLY_DEADLINE, sending).await.map_err(|_| RtspError::Timeout("take a request"))??;
        Ok(())
    }

    fn compose(&mut self, method: &str, url: &str, headers: &str) -> String {
        self.sequence += 1;
        let mut text =
            format!("{method} {url} RTSP/1.0\r\nCSeq: {}\r\nUser-Agent: {AGENT}\r\n", self.sequence);
        if let Some(session) = &self.session {
            text.push_str(&format!("Session: {session}\r\n"));
        }
        if let (Some(challenge), Some(login)) = (&self.challenge, &self.login) {
            let cnonce = format!("{:016x}", rand::random::<u64>());
            self.signed += 1;
            let answer = challenge.answer(login, method, url, &cnonce, self.signed);
            text.push_str(&format!("Authorization: {answer}\r\n"));
        }
        text.push_str(headers);
        text.push_str("\r\n");
        text
    }

    fn take_session(&mut self, response: &Response) {
        let Some(header) = response.header("Session") else { return };
        let mut parts = header.split(';');
        self.session = parts.next().map(|id| id.trim().to_owned());
        let seconds = parts.find_map(|part| part.trim().strip_prefix("timeout=")?.parse::<u64>().ok());
        let seconds = seconds.unwrap_or(SESSION_TIMEOUT).clamp(4, 120);
        self.interval = Duration::from_secs(seconds / 2);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Drop for Session<S> {
    /// Says goodbye as far as one write goes; waiting here would let a new connection overlap with this one.
    fn drop(&mut self) {
        if self.session.is_none() {
            return;
        }
        let url = self.aggregate.clone();
        let text = self.compose("TEARDOWN", &url, "");
        let mut context = Context::from_waker(Waker::noop());
        let _as_far_as_it_goes = Pin::new(&mut self.stream).poll_write(&mut context, text.as_bytes());
        let _as_far_as_it_goes = Pin::new(&mut self.stream).poll_shutdown(&mut context);
    }
}

/// A control attribute relative to its base (RFC 2326 appendix C.1.1).
fn join(base: &str, control: &str) -> String {
    match control {
        "" | "*" => base.to_owned(),
        absolute if absolute.starts_with("rtsp://") || absolute.starts_with("rtsps://") => {
            absolute.to_owned()
        }
        relative => format!("{}/{relative}", base.trim_end_matches('/')),
    }
}

/// The RTP channel of a Transport header; `None` where the server chose something else than this connection.
fn channel(transport: &str) -> Option<u8> {
    let interleaved = transport.split(';').find_map(|part| part.trim().strip_prefix("interleaved="));
    match interleaved {
        Some(range) => range.split('-').next()?.trim().parse().ok(),
        None if transport.contains("TCP") => Some(0),
        None => None,
    }
}
