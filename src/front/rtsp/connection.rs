//! One client: his login, his session, and what he may do when (RFC 2326 sections 10, 11, appendix A.2).

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until, timeout};

use super::media::{self, Beginning, Feed, Shown};
use super::rtp::Sender;
use super::transport::{self, Target};
use super::wire::{self, Answer, Broken, Incoming, Request};
use super::{Camera, Shared, description};
use crate::access::{AccessError, Identity, Role};
use crate::printer::io::CameraError;

/// Without a session that plays, a client must ask for something within this time. Told as the session's timeout.
const IDLE: Duration = Duration::from_secs(60);
/// A client that takes no byte for this long is gone.
const STALL: Duration = Duration::from_secs(20);
/// A camera that shows nothing for this long ends the session, so that recorders notice; they come again.
const DARK: Duration = Duration::from_secs(30);
/// Refused logins on one connection.
const REFUSALS: u32 = 8;
/// Pieces that one system call writes.
const PIECES: usize = 64;
const METHODS: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";
const LOGIN_HEADERS: [HeaderName; 3] =
    [header::AUTHORIZATION, HeaderName::from_static("x-api-key"), HeaderName::from_static("x-access-token")];

/// Who is at the other end, and where he called.
pub(super) struct Peer {
    pub address: IpAddr,
    pub local: SocketAddr,
    /// Over TLS.
    pub secure: bool,
}

pub(super) struct Connection<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    buffer: BytesMut,
    peer: Peer,
    shared: Arc<Shared>,
    identity: Option<Identity>,
    refusals: u32,
    session: Option<Session>,
    /// When the client last asked for something.
    asked: Instant,
}

struct Session {
    id: String,
    camera: Camera,
    sender: Sender,
    beginning: Beginning,
    /// While it plays.
    feed: Option<Feed>,
    /// When it began to play, or a picture was last shown.
    lit: Instant,
}

enum Event {
    Heard(Result<Incoming, Broken>),
    Shown(Option<Shown>),
    /// The client is gone, or silent for too long, or the camera is, or the gateway stops.
    Over,
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Connection<S> {
    pub fn new(stream: S, peer: Peer, shared: Arc<Shared>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            writer,
            buffer: BytesMut::new(),
            peer,
            shared,
            identity: None,
            refusals: 0,
            session: None,
            asked: Instant::now(),
        }
    }

    /// Serves the client until he goes.
    ///
    /// # Errors
    /// The connection broke, or he took nothing for too long.
    pub async fn run(mut self) -> io::Result<()> {
        let cancel = self.shared.cancel.clone();
        loop {
            let playing = self.session.as_ref().filter(|session| session.feed.is_some());
            let deadline = playing.map_or(self.asked + IDLE, |session| session.lit + DARK);
            let event = tokio::select! {
                () = cancel.cancelled() => Event::Over,
                heard = hear(&mut self.reader, &mut self.buffer) => heard?.map_or(Event::Over, Event::Heard),
                shown = shown(&mut self.session) => Event::Shown(shown),
                () = sleep_until(deadline) => Event::Over,
            };
            let goes_on = match event {
                Event::Heard(Ok(Incoming::Data)) => true,
                Event::Heard(Ok(Incoming::Request(request))) => self.request(&request).await?,
                Event::Heard(Err(Broken(status, reason))) => {
                    self.say(&Answer::new(status, reason).header("Connection", "close"), 0).await?;
                    false
                }
                Event::Shown(Some(shown)) => self.show(&shown).await?,
                Event::Shown(None) | Event::Over => false,
            };
            if !goes_on {
                break;
            }
        }
        if let Some(mut session) = self.session.take() {
            session.sender.bye();
            self.write(session.sender.take()).await?;
        }
        timeout(STALL, self.writer.shutdown()).await?
    }

    /// False where the connection ends.
    async fn request(&mut self, request: &Request) -> io::Result<bool> {
        let answer = self.answer(request).await;
        self.asked = Instant::now();
        self.say(&answer, request.sequence).await?;
        Ok(self.refusals < REFUSALS)
    }

    async fn say(&mut self, answer: &Answer, sequence: u32) -> io::Result<()> {
        self.write(VecDeque::from([Bytes::from(answer.text(sequence))])).await
    }

    async fn answer(&mut self, request: &Request) -> Answer {
        if let Some(feature) = request.header("Require") {
            return Answer::new(551, "Option not supported").header("Unsupported", feature);
        }
        let method = request.method.as_str();
        match method {
            "OPTIONS" => return self.in_session(Answer::ok().header("Public", METHODS)),
            "ANNOUNCE" | "RECORD" => return Answer::new(405, "Method Not Allowed").header("Allow", METHODS),
            known if METHODS.split(", ").any(|one| one == known) => {}
            _ => return Answer::new(501, "Not Implemented").header("Public", METHODS),
        }
        let target = Target::of(&request.url);
        if let Err(refusal) = self.permit(request, target.query).await {
            return refusal;
        }
        let answer = match method {
            "DESCRIBE" => self.describe(&target).await,
            "SETUP" => self.setup(request, &target),
            _ => self.command(method, request),
        };
        answer.unwrap_or_else(|refusal| refusal)
    }

    /// Lets a client pass who may look; judged once, and again when that has ended.
    async fn permit(&mut self, request: &Request, query: &str) -> Result<(), Answer> {
        if self.may_look() {
            return Ok(());
        }
        let judged = match self.judge(request, query).await {
            Ok(identity) => {
                let may = self.shared.access.require(identity.as_ref(), Role::View);
                self.identity = identity;
                may
            }
            Err(error) => Err(error),
        };
        judged.map_err(|error| {
            self.refusals += 1;
            refusal(&error)
        })
    }

    fn may_look(&self) -> bool {
        self.identity.is_some() && self.shared.access.require(self.identity.as_ref(), Role::View).is_ok()
    }

    async fn judge(&self, request: &Request, query: &str) -> Result<Option<Identity>, AccessError> {
        let (access, address) = (&self.shared.access, Some(self.peer.address));
        let mut headers = HeaderMap::new();
        for name in LOGIN_HEADERS {
            let value = request.header(name.as_str()).and_then(|value| HeaderValue::from_str(value).ok());
            value.into_iter().for_each(|value| drop(headers.insert(name.clone(), value)));
        }
        if let Some(identity) = access.judge(&headers, query, address)? {
            return Ok(Some(identity));
        }
        match request.header("Authorization").and_then(wire::basic) {
            Some((name, password)) => access.check_basic(&name, &password, address).await.map(Some),
            None => Ok(None),
        }
    }

    fn camera(&self, target: &Target<'_>) -> Result<Camera, Answer> {
        let mut cameras = self.shared.cameras.iter();
        let found = cameras.find(|camera| camera.name.eq_ignore_ascii_case(&target.name));
        found.cloned().ok_or_else(|| {
            let names: Vec<&str> = self.shared.cameras.iter().map(|camera| camera.name.as_str()).collect();
            Answer::new(404, &format!("No such printer; there are: {}", names.join(", ")))
        })
    }

    async fn describe(&mut self, target: &Target<'_>) -> Result<Answer, Answer> {
        let camera = self.camera(target)?;
        let media = media::describe(&camera.hub).await.map_err(|error| dark(&error))?;
        let body = description::description(&camera.title, self.peer.local.ip().to_canonical(), &media);
        let base = format!("{}/", self.base(target.site.clone(), &camera));
        Ok(Answer::ok().header("Content-Base", &base).body("application/sdp", body))
    }

    /// The camera's address as the client calls it.
    fn base(&self, site: Option<String>, camera: &Camera) -> String {
        let scheme = if self.peer.secure { "rtsps" } else { "rtsp" };
        let site = site.unwrap_or_else(|| format!("{scheme}://{}", self.peer.local));
        format!("{site}/{}", camera.name)
    }

    fn setup(&mut self, request: &Request, target: &Target<'_>) -> Result<Answer, Answer> {
        let camera = self.camera(target)?;
        let Some(channels) = request.header("Transport").and_then(transport::channels) else {
            return Err(Answer::new(461, "Unsupported Transport; use RTP over TCP (interleaved)"));
        };
        if let Some(session) = &self.session {
            if session.camera.name != camera.name {
                return Err(Answer::new(459, "Aggregate Operation Not Allowed; one printer per connection"));
            }
            if session.feed.is_some() {
                return Err(Answer::new(455, "Method Not Valid in This State"));
            }
        }
        let Some(payload_type) = media::payload_type(&camera.hub) else {
            return Err(Answer::new(404, "This printer has no camera that the gateway can reach"));
        };
        let sender = Sender::new(payload_type, channels);
        let (media, reports) = sender.channels();
        let source = sender.source();
        let transport =
            format!("RTP/AVP/TCP;unicast;interleaved={media}-{reports};ssrc={source:08X};mode=\"PLAY\"");
        let id = uuid::Uuid::new_v4().simple().to_string();
        self.session = Some(Session {
            id,
            camera,
            sender,
            beginning: Beginning::default(),
            feed: None,
            lit: Instant::now(),
        });
        Ok(self.in_session(Answer::ok().header("Transport", &transport)))
    }

    /// What needs a session, or keeps one alive.
    fn command(&mut self, method: &str, request: &Request) -> Result<Answer, Answer> {
        let shown = request.header("Session").and_then(|value| value.split(';').next()).map(str::trim);
        let known = self.session.as_ref().map(|session| session.id.as_str());
        if shown.is_some() && shown != known {
            return Err(Answer::new(454, "Session Not Found"));
        }
        if method.ends_with("_PARAMETER") {
            let answer =
                if request.has_body { Answer::new(451, "Parameter Not Understood") } else { Answer::ok() };
            return Ok(self.in_session(answer));
        }
        let Some(session) = &mut self.session else {
            return Err(Answer::new(455, "Method Not Valid in This State; SETUP comes first"));
        };
        match method {
            "PLAY" => {
                if session.feed.is_none() {
                    session.lit = Instant::now();
                    session.feed = Some(Feed::open(&session.camera.hub).map_err(|error| dark(&error))?);
                }
                let (sequence, time) = session.sender.beginning();
                let camera = session.camera.clone();
                let url = self.base(Target::of(&request.url).site, &camera);
                let info = format!("url={url}/trackID=0;seq={sequence};rtptime={time}");
                Ok(self.in_session(Answer::ok().header("Range", "npt=now-").header("RTP-Info", &info)))
            }
            "PAUSE" => {
                session.feed = None;
                Ok(self.in_session(Answer::ok()))
            }
            _ => {
                self.session = None;
                Ok(Answer::ok())
            }
        }
    }

    fn in_session(&self, answer: Answer) -> Answer {
        match &self.session {
            None => answer,
            Some(session) => answer.header("Session", &format!("{};timeout={}", session.id, IDLE.as_secs())),
        }
    }

    /// Sends a picture; false where the client may not look any more.
    async fn show(&mut self, shown: &Shown) -> io::Result<bool> {
        let Some(Session { sender, beginning, camera, feed: Some(feed), lit, .. }) = &mut self.session else {
            return Ok(true);
        };
        let reported = media::pack(sender, beginning, &camera.hub, feed, shown).await;
        let pieces = sender.take();
        if !pieces.is_empty() {
            *lit = Instant::now();
        }
        if reported && !self.may_look() {
            return Ok(false);
        }
        self.write(pieces).await?;
        Ok(true)
    }

    /// Writes all; the pieces are shared with other viewers and not copied.
    async fn write(&mut self, mut pieces: VecDeque<Bytes>) -> io::Result<()> {
        while !pieces.is_empty() {
            let slices: Vec<IoSlice<'_>> =
                pieces.iter().take(PIECES).map(|piece| IoSlice::new(piece)).collect();
            let mut written = timeout(STALL, self.writer.write_vectored(&slices)).await??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            while let Some(piece) = pieces.front_mut() {
                let taken = written.min(piece.len());
                piece.advance(taken);
                written -= taken;
                if !piece.is_empty() {
                    break;
                }
                pieces.pop_front();
            }
        }
        timeout(STALL, self.writer.flush()).await?
    }
}

/// The next message; `None` at the end. Cancel-safe.
async fn hear(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> io::Result<Option<Result<Incoming, Broken>>> {
    loop {
        match wire::take(buffer) {
            Ok(Some(incoming)) => return Ok(Some(Ok(incoming))),
            Err(broken) => return Ok(Some(Err(broken))),
            Ok(None) => {}
        }
        buffer.reserve(2048);
        if reader.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// The next picture of a session that plays; never comes without one. Cancel-safe.
async fn shown(session: &mut Option<Session>) -> Option<Shown> {
    match session.as_mut().and_then(|session| session.feed.as_mut()) {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

fn refusal(error: &AccessError) -> Answer {
    match error {
        AccessError::Forbidden(_) | AccessError::Failed(_) => Answer::new(error.status(), &error.to_string()),
        AccessError::TooMany(seconds) => {
            Answer::new(error.status(), &error.to_string()).header("Retry-After", &seconds.to_string())
        }
        _ => Answer::new(401, "Unauthorized").header("WWW-Authenticate", "Basic realm=\"moongate\""),
    }
}

/// No picture: clients show the reason.
fn dark(error: &CameraError) -> Answer {
    Answer::new(503, &format!("No picture: {error}")).header("Retry-After", "5")
}
