//! Packets by table, and sessions against a small server with digest login.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::StreamExt;
use md5::{Digest, Md5};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::depacketize::Depacketizer;
use super::*;
use crate::net::tls::test_server::{Identity, SERIAL, server_config};

fn rtp(sequence: u16, timestamp: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96 | u8::from(marker) << 7];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend([0, 0, 0, 1]);
    packet.extend(payload);
    packet
}

const SPS: &[u8] = &[0x67, 1, 2];
const PPS: &[u8] = &[0x68, 3];
const KEY: &[u8] = &[0x65, 0x88, 9];
const DELTA: &[u8] = &[0x41, 0x9A, 8];
const SECOND_SLICE: &[u8] = &[0x41, 0x40, 7];

fn annexb(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect()
}

fn track() -> Depacketizer {
    Depacketizer::new(96, 90_000, vec![Bytes::from_static(SPS), Bytes::from_static(PPS)])
}

fn run(depacketizer: &mut Depacketizer, packets: &[Vec<u8>]) -> Vec<Picture> {
    packets.iter().flat_map(|packet| depacketizer.push(packet)).collect()
}

#[test]
fn single_units_aggregates_and_fragments() {
    let stap = [&[0x78, 0, 3][..], SPS, &[0, 2], PPS, &[0, 3], KEY].concat();
    let packets = [
        rtp(65_535, u32::MAX - 100, true, &stap),
        rtp(0, 2_899, true, DELTA),
        rtp(1, 5_899, false, &[0x7C, 0x85, 0x88, 1]),
        rtp(2, 5_899, false, &[0x7C, 0x05, 2, 3]),
        rtp(3, 5_899, true, &[0x7C, 0x45, 4]),
        rtp(4, 8_899, false, DELTA),
        rtp(5, 8_899, true, SECOND_SLICE),
    ];
    let pictures = run(&mut track(), &packets);
    let expected = [
        (annexb(&[SPS, PPS, KEY]), 0, true),
        (annexb(&[DELTA]), 3_000, false),
        (annexb(&[SPS, PPS, &[0x65, 0x88, 1, 2, 3, 4]]), 6_000, true),
        (annexb(&[DELTA, SECOND_SLICE]), 9_000, false),
    ];
    assert_eq!(pictures.len(), expected.len());
    for (picture, (data, pts, key)) in pictures.iter().zip(expected) {
        assert_eq!((picture.data.as_ref(), picture.pts, picture.key), (data.as_slice(), pts, key));
    }
}

#[test]
fn pictures_end_without_marker_and_with_bad_timestamps() {
    // No marker: the next timestamp ends a picture. Same timestamp: the next first slice does.
    let packets = [
        rtp(1, 100, false, SPS),
        rtp(2, 100, false, PPS),
        rtp(3, 200, false, KEY),
        rtp(4, 3_200, false, DELTA),
        rtp(5, 3_200, false, DELTA),
        rtp(6, 200, false, DELTA),
        rtp(7, 300, true, DELTA),
    ];
    let pictures = run(&mut track(), &packets);
    let shape: Vec<(usize, u64, bool)> = pictures.iter().map(|p| (p.data.len(), p.pts, p.key)).collect();
    assert_eq!(
        shape,
        [(20, 100, true), (7, 3_100, false), (7, 3_100, false), (7, 3_100, false), (7, 3_200, false)]
    );
}

#[test]
fn a_lost_packet_loses_its_picture_only() {
    let packets = [
        rtp(1, 0, true, KEY),
        rtp(3, 3_000, true, DELTA),
        rtp(4, 6_000, true, DELTA),
        rtp(5, 9_000, false, &[0x7C, 0x81, 0x9A, 1]),
        rtp(7, 9_000, true, &[0x7C, 0x41, 3]),
        rtp(8, 12_000, true, DELTA),
    ];
    let times: Vec<u64> = run(&mut track(), &packets).iter().map(|picture| picture.pts).collect();
    assert_eq!(times, [0, 6_000, 12_000]);
}

#[test]
fn nonsense_is_survived() {
    let mut track = track();
    let padded = {
        let mut packet = rtp(1, 0, true, DELTA);
        packet[0] |= 0x20;
        packet.push(200);
        packet
    };
    let extended = {
        let mut packet = rtp(1, 0, true, &[0, 0, 255, 255]);
        packet[0] |= 0x10;
        packet
    };
    for packet in [
        vec![],
        vec![0x80; 11],
        vec![0; 40],
        padded,
        extended,
        rtp(1, 0, true, &[]),
        rtp(2, 0, false, &[0x7C]),
        rtp(3, 0, true, &[0x78, 9, 9]),
    ] {
        assert!(track.push(&packet).is_empty(), "{packet:?}");
    }
    assert_eq!(run(&mut track, &[rtp(4, 5, true, KEY)]).len(), 1);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(packets in proptest::collection::vec(proptest::collection::vec(0_u8.., 0..40), 0..40)) {
        let mut track = track();
        for (n, bytes) in packets.iter().enumerate() {
            track.push(bytes);
            track.push(&rtp(n as u16, n as u32 / 3, n % 3 == 0, bytes));
        }
        let mut buffer = bytes::BytesMut::from(packets.concat().as_slice());
        while let Ok(Some(_)) = wire::take(&mut buffer) {}
    }
}

const NONCE: &str = "5e2f0c1a";
const PASSWORD: &str = "pass 8/4";

/// Whether the request is signed as RFC 2617 wants it.
fn signed(method: &str, url: &str, request: &str) -> bool {
    let hash = |text: String| HEXLOWER.encode(&Md5::digest(text.as_bytes()));
    let response =
        format!("{}:{NONCE}:{}", hash(format!("bblp:cam:{PASSWORD}")), hash(format!("{method}:{url}")));
    request.contains(&format!("response=\"{}\"", hash(response)))
}

/// Serves one connection; returns the methods it saw.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, packets: Vec<Vec<u8>>) -> Vec<String> {
    let mut stream = BufStream::new(stream);
    let mut seen = Vec::new();
    loop {
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            if stream.read_line(&mut request).await.unwrap_or(0) == 0 {
                return seen;
            }
        }
        let mut words = request.split(' ');
        let (method, url) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let sequence = request.split("CSeq: ").nth(1).unwrap().lines().next().unwrap().to_owned();
        let (status, extra, body) = match method.as_str() {
            _ if !signed(&method, &url, &request) => (
                "401 Unauthorized",
                format!("WWW-Authenticate: Digest realm=\"cam\", nonce=\"{NONCE}\"\r\n"),
                String::new(),
            ),
            "DESCRIBE" => (
                "200 OK",
                format!("Content-Base: {url}/\r\n"),
                "v=0\r\ns=-\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"
                    .to_owned(),
            ),
            "SETUP" if url.ends_with("/streaming/live/1/track1") => (
                "200 OK",
                "Session: 77;timeout=60\r\nTransport: RTP/AVP/TCP;unicast;interleaved=2-3\r\n".to_owned(),
                String::new(),
            ),
            "PLAY" | "TEARDOWN" if request.contains("Session: 77\r\n") => {
                ("200 OK", String::new(), String::new())
            }
            _ => ("404 Not Found", String::new(), String::new()),
        };
        let answer = format!(
            "RTSP/1.0 {status}\r\nCSeq: {sequence}\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        seen.push(format!("{method} {}", &status[..3]));
        let mut out = answer.into_bytes();
        if method == "PLAY" {
            for packet in &packets {
                out.extend([b'$', 3, 0, 1, 0]);
                out.extend([b'$', 2]);
                out.extend((packet.len() as u16).to_be_bytes());
                out.extend(packet);
            }
        }
        // One byte at a time, as badly cut as can be.
        for byte in out {
            if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
                return seen;
            }
        }
    }
}

async fn camera(packets: Vec<Vec<u8>>, tls: bool) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (stream, _): (TcpStream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        if tls {
            let config = server_config(&Identity::v1_rsa(), &rustls::version::TLS12);
            let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return Vec::new() };
            serve(stream, packets).await
        } else {
            serve(stream, packets).await
        }
    });
    (port, served)
}

fn client(port: u16) -> RtspCamera {
    RtspCamera::new("127.0.0.1", port, "/streaming/live/1").login("bblp", Secret::new(PASSWORD))
}

#[tokio::test]
async fn logs_in_plays_and_says_goodbye() {
    for tls in [false, true] {
        let (port, served) = camera(vec![rtp(1, 0, true, KEY), rtp(2, 9_000, true, DELTA)], tls).await;
        let mut camera = client(port);
        if tls {
            camera = camera.tls(PrinterTls::new(Some(SERIAL.to_owned()), None).unwrap());
        }
        let mut pictures = camera.open().await.unwrap();
        let first = pictures.next().await.unwrap().unwrap();
        let second = pictures.next().await.unwrap().unwrap();
        assert_eq!((first.key, first.data.as_ref()), (true, annexb(&[KEY]).as_slice()));
        assert_eq!((second.key, second.pts), (false, 9_000));
        drop(pictures);
        let seen = served.await.unwrap();
        assert_eq!(
            seen,
            ["DESCRIBE 401", "DESCRIBE 200", "SETUP 200", "PLAY 200", "TEARDOWN 200"],
            "tls {tls}"
        );
    }
}

#[tokio::test]
async fn refusals_have_their_own_errors() {
    let (port, _served) = camera(Vec::new(), false).await;
    let wrong = RtspCamera::new("127.0.0.1", port, "live").login("bblp", Secret::new("wrong code"));
    assert!(matches!(wrong.open().await.err(), Some(RtspError::Login)));
    let (port, _served) = camera(Vec::new(), true).await;
    let other = client(port).tls(PrinterTls::new(Some("01P00A999999999".to_owned()), None).unwrap());
    assert!(matches!(other.open().await.err(), Some(RtspError::Tls(TlsConnectError::Fault(_)))));
    // Held, and never listening.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed_port = closed.local_addr().unwrap().port();
    assert!(matches!(client(closed_port).open().await.err(), Some(RtspError::Connect(_))));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0_u8; 16];
        stream.read_exact(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    assert!(matches!(client(port).open().await.err(), Some(RtspError::Protocol(_))));
    served.await.unwrap();
}
