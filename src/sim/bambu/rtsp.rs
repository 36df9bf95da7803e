//! The RTSPS camera on port 322 of X1, P2 and H2 printers (dossier 6.2): TLS, digest login, H.264 interleaved.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_rustls::server::TlsStream;

use super::core::{Core, lock};
use super::listen::PATIENCE;
use crate::sim::camera_faults::CameraFault;
use crate::sim::h264;

/// Ten pictures a second.
const PERIOD: Duration = Duration::from_millis(100);
const PATH: &str = "/streaming/live/1";
const REALM: &str = "BBL";
const SESSION: &str = "5D2C10AE";
/// Bytes of a request at most.
const REQUEST: usize = 8 << 10;
/// Payload of one RTP packet.
const PACKET: usize = 1400;
const PAYLOAD_TYPE: u8 = 96;
/// Ticks of the RTP clock per picture.
const TICKS: u32 = 9000;

/// Serves one TCP connection. Only the first client is fed; a second one starves (dossier 6.2).
pub(super) async fn handle(core: Arc<Core>, stream: TcpStream) -> io::Result<()> {
    if lock(&core.switches).camera == CameraFault::Closed {
        return Ok(());
    }
    let stream = timeout(PATIENCE, core.acceptor().accept(stream)).await??;
    let starved = lock(&core.connections).get("camera").is_some_and(|camera| camera.open > 1);
    let (reader, writer) = tokio::io::split(stream);
    let nonce = format!("{:016x}", rand::random::<u64>());
    Session { core, reader, writer, nonce, buffer: BytesMut::new(), playing: false, starved }.run().await
}

struct Session {
    core: Arc<Core>,
    reader: ReadHalf<TlsStream<TcpStream>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    nonce: String,
    buffer: BytesMut,
    playing: bool,
    starved: bool,
}

/// A request line with the headers that matter.
struct Request {
    method: String,
    url: String,
    sequence: String,
    authorization: Option<String>,
}

impl Session {
    async fn run(mut self) -> io::Result<()> {
        let mut period = interval(PERIOD.min(self.core.options.camera_interval));
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rtp = Rtp { sequence: rand::random(), began: Instant::now(), number: 0, lit: true };
        loop {
            while let Some(request) = self.take()? {
                if !self.answer(&request).await? {
                    return self.writer.shutdown().await;
                }
            }
            tokio::select! {
                read = self.reader.read_buf(&mut self.buffer) => if read? == 0 { return Ok(()) },
                _ = period.tick(), if self.playing => {
                    let fault = lock(&self.core.switches).camera;
                    if matches!(fault, CameraFault::Closed | CameraFault::Refuse) {
                        return Ok(());
                    }
                    let data = rtp.next(is_lit(&self.core), fault);
                    if fault != CameraFault::Stall && !self.starved {
                        timeout(PATIENCE, fault.write(&mut self.writer, &data)).await??;
                    }
                }
            }
        }
    }

    /// The next whole request; RTCP of the client is skipped.
    fn take(&mut self) -> io::Result<Option<Request>> {
        while let [b'$', _, high, low, ..] = *self.buffer {
            let length = 4 + usize::from(u16::from_be_bytes([high, low]));
            if self.buffer.len() < length {
                return Ok(None);
            }
            drop(self.buffer.split_to(length));
        }
        let Some(end) = self.buffer.windows(4).position(|end| end == b"\r\n\r\n") else {
            let too_long = self.buffer.len() > REQUEST;
            return if too_long { Err(io::ErrorKind::InvalidData.into()) } else { Ok(None) };
        };
        let text = String::from_utf8_lossy(&self.buffer.split_to(end + 4)).into_owned();
        let mut lines = text.lines();
        let mut first = lines.next().unwrap_or_default().split(' ');
        let mut request = Request {
            method: first.next().unwrap_or_default().to_owned(),
            url: first.next().unwrap_or_default().to_owned(),
            sequence: String::new(),
            authorization: None,
        };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            match name.to_ascii_lowercase().as_str() {
                "cseq" => value.trim().clone_into(&mut request.sequence),
                "authorization" => request.authorization = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        Ok(Some(request))
    }

    /// False where the connection ends.
    async fn answer(&mut self, request: &Request) -> io::Result<bool> {
        let refused = lock(&self.core.switches).camera == CameraFault::Refuse;
        let known = request.url.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        let known = known.is_some_and(|(_, path)| format!("/{path}").starts_with(PATH));
        let (status, extra, body) = match request.method.as_str() {
            "OPTIONS" => (
                "200 OK",
                "Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN\r\n".to_owned(),
                String::new(),
            ),
            _ if !self.logged_in(request) => (
                "401 Unauthorized",
                format!("WWW-Authenticate: Digest realm=\"{REALM}\", nonce=\"{}\"\r\n", self.nonce),
                String::new(),
            ),
            _ if refused => ("503 Service Unavailable", String::new(), String::new()),
            _ if !known => ("404 Not Found", String::new(), String::new()),
            "DESCRIBE" => (
                "200 OK",
                format!("Content-Base: {}/\r\nContent-Type: application/sdp\r\n", request.url),
                description(),
            ),
            "SETUP" => (
                "200 OK",
                format!(
                    "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: {SESSION};timeout=65\r\n"
                ),
                String::new(),
            ),
            "PLAY" => {
                self.playing = true;
                ("200 OK", format!("Session: {SESSION}\r\nRange: npt=0.000-\r\n"), String::new())
            }
            "GET_PARAMETER" | "TEARDOWN" => ("200 OK", format!("Session: {SESSION}\r\n"), String::new()),
            _ => ("405 Method Not Allowed", String::new(), String::new()),
        };
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let text = format!("RTSP/1.0 {status}\r\nCSeq: {}\r\n{extra}{length}\r\n{body}", request.sequence);
        let fault = lock(&self.core.switches).camera;
        timeout(PATIENCE, fault.write(&mut self.writer, text.as_bytes())).await??;
        Ok(request.method != "TEARDOWN")
    }

    /// Digest without `qop` (RFC 2617 section 3.2.2.1).
    fn logged_in(&self, request: &Request) -> bool {
        let Some(answer) = request.authorization.as_deref().and_then(|text| text.strip_prefix("Digest "))
        else {
            return false;
        };
        let field = |name: &str| {
            answer.split(',').find_map(|part| {
                let (key, value) = part.trim().split_once('=')?;
                (key == name).then(|| value.trim_matches('"').to_owned())
            })
        };
        let user = field("username").unwrap_or_default();
        let code = lock(&self.core.switches).access_code.clone();
        let secret = hash(&format!("{user}:{REALM}:{code}"));
        let asked = hash(&format!("{}:{}", request.method, field("uri").unwrap_or_default()));
        let expected = hash(&format!("{secret}:{}:{asked}", self.nonce));
        let right = field("nonce").as_deref() == Some(&self.nonce) && field("response") == Some(expected);
        self.core.login_accepted(&user, if right { &code } else { "" })
    }
}

fn hash(text: &str) -> String {
    HEXLOWER.encode(&Md5::digest(text))
}

fn description() -> String {
    let base64 = |nal: Bytes| data_encoding::BASE64.encode(&nal);
    format!(
        "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=live\r\nt=0 0\r\nm=video 0 RTP/AVP {PAYLOAD_TYPE}\r\n\
         c=IN IP4 0.0.0.0\r\na=rtpmap:{PAYLOAD_TYPE} H264/90000\r\n\
         a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;profile-level-id=42C01F;sprop-parameter-sets={},{}\r\n\
         a=control:track1\r\n",
        base64(h264::sequence_set()),
        base64(h264::picture_set())
    )
}

fn is_lit(core: &Core) -> bool {
    lock(&core.printer).lights.iter().any(|(node, mode)| node == "chamber_light" && mode == "on")
}

/// Packs pictures.
struct Rtp {
    sequence: u16,
    began: Instant,
    number: u64,
    lit: bool,
}

impl Rtp {
    /// The next picture in interleaved packets.
    fn next(&mut self, lit: bool, fault: CameraFault) -> BytesMut {
        // The light takes effect with a key picture.
        if self.number.is_multiple_of(h264::GROUP) {
            self.lit = lit;
        }
        let picture = h264::picture(self.number, self.lit);
        let time = (self.began.elapsed().as_millis() as u64 * u64::from(TICKS) / 100) as u32;
        self.number += 1;
        let mut out = BytesMut::new();
        if picture.key {
            self.packet(&mut out, &h264::sequence_set(), time, false, fault);
            self.packet(&mut out, &h264::picture_set(), time, false, fault);
        }
        let (head, body) = picture.slice.split_at(1);
        let head = head.first().copied().unwrap_or_default();
        let pieces: Vec<&[u8]> = body.chunks(PACKET).collect();
        // A truncated picture lacks its end.
        let kept = if fault == CameraFault::Truncated { pieces.len() / 2 } else { pieces.len() };
        for (at, piece) in pieces.iter().take(kept).enumerate() {
            let (start, end) = (at == 0, at + 1 == pieces.len());
            let mark = u8::from(start) << 7 | u8::from(end) << 6 | head & 0x1F;
            let mut fragment = vec![head & 0xE0 | 28, mark];
            fragment.extend_from_slice(piece);
            self.packet(&mut out, &fragment, time, end, fault);
        }
        self.sequence = self.sequence.wrapping_add((pieces.len() - kept) as u16);
        out
    }

    fn packet(&mut self, out: &mut BytesMut, payload: &[u8], time: u32, last: bool, fault: CameraFault) {
        let length = payload.len() + 12;
        out.put_slice(&[b'$', 0]);
        // With a wrong length the reader falls out of step.
        out.put_u16(if fault == CameraFault::WrongLength { length / 3 } else { length } as u16);
        out.put_slice(&[0x80, u8::from(last) << 7 | PAYLOAD_TYPE]);
        out.put_u16(self.sequence);
        out.put_u32(time);
        out.put_u32(0x4D4F_4F4E);
        out.put_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
    }
}
