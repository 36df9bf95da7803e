//! Requests and answers, logins, and who is shown the door when.

use std::collections::HashMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::super::connection::{Connection, Peer};
use super::*;
use crate::access::Role;

/// A client at the end of a pipe.
struct Client {
    pipe: DuplexStream,
    served: JoinHandle<std::io::Result<()>>,
    sequence: u32,
    buffer: Vec<u8>,
}

struct Reply {
    status: u16,
    first: String,
    headers: HashMap<String, String>,
    body: String,
}

impl Client {
    fn new(rig: &Rig) -> Self {
        Self::with_buffer(rig, 1 << 20)
    }

    fn with_buffer(rig: &Rig, size: usize) -> Self {
        let (pipe, theirs) = tokio::io::duplex(size);
        let peer = Peer {
            address: "192.168.1.9".parse().unwrap(),
            local: "192.168.1.2:8554".parse().unwrap(),
            secure: false,
        };
        let served = tokio::spawn(Connection::new(theirs, peer, rig.shared.clone()).run());
        Self { pipe, served, sequence: 0, buffer: Vec::new() }
    }

    async fn send(&mut self, text: &str) {
        self.pipe.write_all(text.as_bytes()).await.unwrap();
    }

    async fn ask(&mut self, method: &str, extra: &str) -> Reply {
        self.ask_at(method, "rtsp://host:8554/p1s", extra).await
    }

    async fn ask_at(&mut self, method: &str, url: &str, extra: &str) -> Reply {
        self.sequence += 1;
        let sequence = self.sequence;
        self.send(&format!("{method} {url} RTSP/1.0\r\nCSeq: {sequence}\r\n{extra}\r\n")).await;
        let reply = self.reply().await;
        assert_eq!(reply.headers["cseq"], sequence.to_string());
        reply
    }

    async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.pipe.read_buf(&mut self.buffer).await.unwrap() > 0, "the connection ended");
        }
        self.buffer.drain(..count).collect()
    }

    /// The next answer; media before it are left out.
    async fn reply(&mut self) -> Reply {
        while self.peek().await == b'$' {
            self.data().await;
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.take(1).await);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().lines();
        let first = lines.next().unwrap().to_owned();
        let headers: HashMap<String, String> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(key, value)| (key.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let body = String::from_utf8(self.take(length).await).unwrap();
        let status = first.strip_prefix("RTSP/1.0 ").unwrap()[..3].parse().unwrap();
        Reply { status, first, headers, body }
    }

    async fn peek(&mut self) -> u8 {
        while self.buffer.is_empty() {
            assert!(self.pipe.read_buf(&mut self.buffer).await.unwrap() > 0, "the connection ended");
        }
        self.buffer[0]
    }

    /// Channel and packet.
    async fn data(&mut self) -> (u8, Vec<u8>) {
        let head = self.take(4).await;
        assert_eq!(head[0], b'$', "{head:?}");
        (head[1], self.take(usize::from(u16::from_be_bytes([head[2], head[3]]))).await)
    }

    /// From nothing to a stream.
    async fn play(&mut self) -> String {
        let setup = self.ask("SETUP", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n").await;
        let session = setup.headers["session"].split(';').next().unwrap().to_owned();
        assert_eq!(self.ask("PLAY", &format!("Session: {session}\r\n")).await.status, 200);
        session
    }

    /// How long the server still waits.
    async fn lasts(self) -> Duration {
        let began = Instant::now();
        let Self { pipe, served, .. } = self;
        let _the_end_is_told_or_not = served.await.unwrap();
        drop(pipe);
        began.elapsed()
    }
}

const TCP: &str = "Transport: RTP/AVP/TCP;unicast;interleaved=4-5\r\n";

#[tokio::test(start_paused = true)]
async fn a_session_from_options_to_teardown() {
    let rig = Rig::new(CameraKind::H264);
    rig.run(Duration::from_millis(50));
    let mut client = Client::new(&rig);
    let options = client.ask_at("OPTIONS", "*", "").await;
    assert!(options.headers["public"].contains("GET_PARAMETER"), "{}", options.headers["public"]);
    let described = client.ask("DESCRIBE", "Accept: application/sdp\r\n").await;
    assert_eq!(described.headers["content-base"], "rtsp://host:8554/p1s/");
    assert_eq!(described.headers["content-type"], "application/sdp");
    for line in [
        "o=- 0 1 IN IP4 192.168.1.2\r\ns=P1S: cellar\r\n",
        "\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",
        "a=fmtp:96 packetization-mode=1;profile-level-id=42C01F;sprop-parameter-sets=Z",
        "\r\na=control:trackID=0\r\n",
    ] {
        assert!(described.body.contains(line), "{line:?} in {}", described.body);
    }
    let refused = client.ask("SETUP", "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n").await;
    assert_eq!(refused.status, 461);
    let track = "rtsp://host:8554/p1s/trackID=0";
    let setup = client.ask_at("SETUP", track, TCP).await;
    assert!(setup.headers["transport"].starts_with("RTP/AVP/TCP;unicast;interleaved=4-5;ssrc="));
    let (session, timeout) = setup.headers["session"].split_once(';').unwrap();
    assert_eq!((session.len(), timeout), (32, "timeout=60"));
    let session = format!("Session: {session}\r\n");
    let play = client.ask("PLAY", &format!("{session}Range: npt=0.000-\r\n")).await;
    let info = play.headers["rtp-info"].clone();
    let (channel, report) = client.data().await;
    assert_eq!((channel, report[1]), (5, 200), "a sender report leads");
    let (channel, packet) = client.data().await;
    assert_eq!((channel, packet[0], packet[1] & 0x7F), (4, 0x80, 96));
    let (sequence, time) =
        (u16::from_be_bytes([packet[2], packet[3]]), u32::from_be_bytes(packet[4..8].try_into().unwrap()));
    assert_eq!(info, format!("url={track};seq={sequence};rtptime={time}"));
    assert_eq!(report[16..20], packet[4..8], "the report is of this picture");
    assert_eq!(packet[12] & 0x1F, 7, "the sequence parameter set first");
    assert_eq!(client.ask("SETUP", TCP).await.status, 455);
    assert_eq!(client.ask("GET_PARAMETER", &session).await.status, 200);
    assert_eq!(client.ask("PAUSE", &session).await.status, 200);
    assert_eq!(client.ask("PLAY", &session).await.status, 200);
    assert_eq!(client.ask("TEARDOWN", &session).await.status, 200);
    assert_eq!(client.ask("PLAY", &session).await.status, 454);
    assert_eq!(rig.source.opened.load(Ordering::SeqCst), 1, "one connection for all of it");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_is_refused_in_words() {
    let rig = Rig::new(CameraKind::Jpeg);
    let mut client = Client::new(&rig);
    for (method, extra, status) in [
        ("PLAY", "", 455),
        ("PLAY", "Session: nobody\r\n", 454),
        ("TEARDOWN", "", 455),
        ("SETUP", "", 461),
        ("SETUP", "Transport: RTP/AVP/TCP;interleaved=3-3\r\n", 461),
        ("RECORD", "", 405),
        ("ANNOUNCE", "", 405),
        ("FLY", "", 501),
        ("DESCRIBE", "Require: onvif-replay\r\n", 551),
    ] {
        assert_eq!(client.ask(method, extra).await.status, status, "{method} {extra}");
    }
    let missing = client.ask_at("DESCRIBE", "rtsp://host/p1", "").await;
    assert_eq!(missing.first, "RTSP/1.0 404 No such printer; there are: p1s");
    for (text, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 505),
        ("DESCRIBE /p1s RTSP/1.0\r\n\r\n", 400),
        ("DESCRIBE /p1s RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 99999\r\n\r\n", 413),
        ("\x16\x03\x01\x02", 400),
        ("DESCRIBE  /p1s RTSP/1.0\r\nCSeq: 1\r\n\r\n", 400),
        (&"x".repeat(9000), 400),
    ] {
        let mut client = Client::new(&rig);
        client.send(text).await;
        assert_eq!(client.reply().await.status, status, "{}", &text[..4]);
        assert!(client.lasts().await < Duration::from_secs(1), "and the connection ends");
    }
    assert_eq!(rig.source.opened.load(Ordering::SeqCst), 0, "nobody watched");
}

#[tokio::test(start_paused = true)]
async fn a_dark_camera_tells_why() {
    let reason = CameraError::Blocked("LAN live view is off: switch it on".to_owned());
    for kind in [CameraKind::H264, CameraKind::Jpeg] {
        let rig = Rig::with(kind, AccessSettings::default(), Some(reason.clone()), plain);
        let told = Client::new(&rig).ask("DESCRIBE", "").await;
        assert_eq!(told.first, "RTSP/1.0 503 No picture: LAN live view is off: switch it on");
    }
    let rig = Rig::new(CameraKind::None);
    let told = Client::new(&rig).ask("DESCRIBE", "").await;
    assert_eq!(told.first, "RTSP/1.0 503 No picture: this printer has no camera that the gateway can reach");
    assert_eq!(Client::new(&rig).ask("SETUP", TCP).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn pictures_that_rtp_cannot_carry_are_coded_anew_or_refused() {
    let rig = Rig::with(CameraKind::Jpeg, AccessSettings::default(), None, full);
    rig.run(Duration::from_millis(100));
    let mut client = Client::new(&rig);
    let described = client.ask("DESCRIBE", "").await;
    assert!(
        described.body.contains("m=video 0 RTP/AVP 26\r\na=rtpmap:26 JPEG/90000\r\n"),
        "{}",
        described.body
    );
    let rig = Rig::with(CameraKind::Jpeg, AccessSettings::default(), None, |_| {
        Bytes::from_static(b"\xFF\xD8\xFF\xE0")
    });
    rig.run(Duration::from_millis(100));
    let told = Client::new(&rig).ask("DESCRIBE", "").await;
    assert_eq!(
        told.first,
        "RTSP/1.0 503 No picture: the camera's picture cannot be sent over RTSP: it is damaged"
    );
}

fn basic(name: &str, password: &str) -> String {
    format!(
        "Authorization: Basic {}\r\n",
        data_encoding::BASE64.encode(format!("{name}:{password}").as_bytes())
    )
}

#[tokio::test]
async fn strangers_log_in_as_everywhere() {
    let rig = Rig::locked(CameraKind::Jpeg);
    rig.run(Duration::from_millis(50));
    let access = &rig.shared.access;
    access.create_user("bob", "pass:word", Role::View).await.unwrap();
    let key = access.api_key().expose().to_owned();
    for method in ["DESCRIBE", "SETUP", "PLAY", "TEARDOWN", "GET_PARAMETER"] {
        let refused = Client::new(&rig).ask(method, TCP).await;
        assert_eq!(refused.headers["www-authenticate"], "Basic realm=\"moongate\"");
        assert_eq!((refused.status, refused.body.as_str()), (401, ""), "{method}");
    }
    let strange = Client::new(&rig).ask_at("DESCRIBE", "rtsp://host/other", "").await;
    assert_eq!(strange.status, 401, "strangers do not learn which printers there are");
    for login in
        [basic("bob", "pass:word"), basic("x", &key), basic("bob", &key), format!("X-Api-Key: {key}\r\n")]
    {
        let mut client = Client::new(&rig);
        assert_eq!(client.ask("DESCRIBE", &login).await.status, 200, "{login}");
        assert_eq!(client.ask("SETUP", TCP).await.status, 200, "the connection stays logged in");
    }
    let token = access.oneshot_token("192.168.1.9".parse().ok(), access.check_key(&key, None).unwrap());
    let mut client = Client::new(&rig);
    assert_eq!(client.ask_at("DESCRIBE", &format!("rtsp://h/p1s?token={token}"), "").await.status, 200);
    assert_eq!(client.ask("SETUP", TCP).await.status, 200);
    for login in [basic("bob", "pass"), basic("eve", "pass:word"), "Authorization: Basic ???\r\n".to_owned()]
    {
        assert_eq!(Client::new(&rig).ask("DESCRIBE", &login).await.status, 401, "{login}");
    }
}

#[tokio::test]
async fn an_ended_login_ends_the_stream_and_guessing_is_slowed() {
    let rig = Rig::locked(CameraKind::Jpeg);
    rig.run(Duration::from_millis(50));
    let access = &rig.shared.access;
    let bob = access.create_user("bob", "secret", Role::View).await.unwrap();
    let mut client = Client::new(&rig);
    assert_eq!(client.ask("DESCRIBE", &basic("bob", "secret")).await.status, 200);
    client.play().await;
    access.logout(&bob.identity).await.unwrap();
    let served = client.served;
    let mut pipe = client.pipe;
    let reading = tokio::spawn(async move { tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await });
    tokio::time::timeout(DEADLINE, served).await.expect("the next report ends it").unwrap().unwrap();
    reading.await.unwrap().unwrap();

    let mut client = Client::new(&rig);
    for attempt in 1..=8 {
        assert_eq!(client.ask("DESCRIBE", &basic("eve", "guess")).await.status, 401, "{attempt}");
    }
    assert!(client.lasts().await < DEADLINE, "and the connection ends");
    let mut client = Client::new(&rig);
    for _ in 0..2 {
        client.ask("DESCRIBE", &basic("eve", "guess")).await;
    }
    let refused = client.ask("DESCRIBE", &basic("eve", "guess")).await;
    assert_eq!(refused.status, 429);
    assert!(refused.headers.contains_key("retry-after"));
}

#[tokio::test(start_paused = true)]
async fn silence_on_either_side_ends_a_connection() {
    let rig = Rig::new(CameraKind::Jpeg);
    let idle = Client::new(&rig).lasts().await;
    assert_eq!(idle.as_secs(), 60);
    // A request byte by byte does not hold the place.
    let mut slow = Client::new(&rig);
    let began = Instant::now();
    while slow.pipe.write_all(b"O").await.is_ok() && began.elapsed() < Duration::from_secs(300) {
        sleep(Duration::from_secs(5)).await;
    }
    assert!((60..=65).contains(&began.elapsed().as_secs()));
    // Keep-alives hold a session that is not playing.
    let mut waiting = Client::new(&rig);
    waiting.ask("SETUP", TCP).await;
    for _ in 0..5 {
        sleep(Duration::from_secs(40)).await;
        assert_eq!(waiting.ask("GET_PARAMETER", "").await.status, 200);
    }
    assert_eq!(waiting.lasts().await.as_secs(), 60);
    // A camera that shows nothing: the recorder learns it.
    let mut dark = Client::new(&rig);
    dark.play().await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(dark.ask("GET_PARAMETER", "").await.status, 200, "which does not make it light");
    assert_eq!(dark.lasts().await.as_secs(), 10);
    // One that takes nothing: his place is free again.
    rig.run(Duration::from_millis(500));
    let mut deaf = Client::with_buffer(&rig, 4096);
    deaf.play().await;
    assert!((20..26).contains(&deaf.lasts().await.as_secs()));
}

#[tokio::test(start_paused = true)]
async fn who_falls_behind_goes_on_at_a_key_picture() {
    let rig = Rig::new(CameraKind::H264);
    rig.run(Duration::from_millis(50));
    let mut slow = Client::with_buffer(&rig, 64 << 10);
    slow.play().await;
    // 200 pictures, of which 64 wait for him.
    sleep(Duration::from_secs(10)).await;
    let (mut before, mut steps) = (None, Vec::new());
    while steps.len() < 150 {
        let (channel, packet) = slow.data().await;
        let time = u32::from_be_bytes(packet[4..8].try_into().unwrap());
        let step = before.map_or(0, |before| time.wrapping_sub(before));
        if channel != 0 || step == 0 && before.is_some() {
            continue;
        }
        if step != 4500 {
            assert_eq!(packet[12] & 0x1F, 7, "parameter sets lead a key picture");
        }
        before = Some(time);
        steps.push(step / 4500);
    }
    let jumps: Vec<u32> = steps.into_iter().skip(1).filter(|step| *step != 1).collect();
    assert!(matches!(jumps[..], [jump] if jump > 100), "one leap over what he missed: {jumps:?}");
    assert_eq!(rig.source.opened.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_gateway_is_told() {
    let rig = Rig::new(CameraKind::H264);
    rig.run(Duration::from_millis(50));
    let mut client = Client::new(&rig);
    client.play().await;
    while client.data().await.0 != 0 {}
    rig.shared.cancel.cancel();
    client.served.await.unwrap().unwrap();
    client.pipe.read_to_end(&mut client.buffer).await.unwrap();
    let end = client.buffer.split_off(client.buffer.len() - 20);
    assert_eq!((&end[..4], end[5], end[13]), (&[b'$', 1, 0, 16][..], 201, 203), "RTCP BYE");
}
