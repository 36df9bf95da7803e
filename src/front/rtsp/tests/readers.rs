//! `retina`, an RTSP client by other hands, puts the pictures together again.

use std::net::SocketAddr;

use retina::client::{Credentials, PlayOptions, Session, SessionOptions, SetupOptions};
use retina::codec::{CodecItem, ParametersRef};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::net::server::{ServerOptions, self_signed, self_signed_certificate};

async fn serve(rig: &Rig, tls: Option<tokio_rustls::TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let options = ServerOptions { tls, ..ServerOptions::default() };
    let Shared { cameras, access, cancel } = &*rig.shared;
    tokio::spawn(super::super::serve(listener, cameras.clone(), access.clone(), options, cancel.clone()));
    at
}

type Frames = std::pin::Pin<Box<retina::client::Demuxed>>;

/// The stream, and the parameter sets' bytes of the description.
async fn open(
    at: SocketAddr,
    login: Option<(&str, &str)>,
) -> Result<(Frames, Option<Vec<u8>>), retina::Error> {
    let url = format!("rtsp://{at}/p1s").parse().unwrap();
    let login =
        login.map(|(name, password)| Credentials { username: name.into(), password: password.into() });
    let mut session = Session::describe(url, SessionOptions::default().creds(login)).await?;
    let told = match session.streams()[0].parameters() {
        Some(ParametersRef::Video(video)) => Some(video.extra_data().to_vec()),
        _ => None,
    };
    session.setup(0, SetupOptions::default()).await?;
    Ok((Box::pin(session.play(PlayOptions::default()).await?.demuxed()?), told))
}

async fn frame(frames: &mut Frames) -> retina::codec::VideoFrame {
    loop {
        match timeout(DEADLINE, frames.next()).await.expect("a picture in time").unwrap().unwrap() {
            CodecItem::VideoFrame(frame) => return frame,
            _ => continue,
        }
    }
}

/// The number of a picture by its slice.
fn number(frame: &retina::codec::VideoFrame, from: u64) -> u64 {
    let data = frame.data();
    let end = |slice: &[u8]| data.ends_with(slice);
    (from..from + 3000).find(|number| end(&h264::picture(*number, true).slice)).expect("a picture as it came")
}

#[tokio::test]
async fn video_arrives_bit_by_bit_and_begins_with_a_key_picture() {
    let rig = Rig::locked(CameraKind::H264);
    rig.run(Duration::from_millis(10));
    let at = serve(&rig, None).await;
    assert!(open(at, None).await.is_err(), "a login is asked for");
    assert!(open(at, Some(("x", "wrong"))).await.is_err());
    let key = rig.shared.access.api_key().expose().to_owned();
    let (mut frames, told) = open(at, Some(("recorder", &key))).await.unwrap();
    let set = h264::sequence_set();
    assert!(told.unwrap().windows(set.len()).any(|part| part == set), "parameter sets in the description");
    let mut before = None;
    let mut shown = None;
    for _ in 0..35 {
        let frame = frame(&mut frames).await;
        assert_eq!(frame.loss(), 0);
        let number = number(&frame, before.unwrap_or(0));
        match (before, shown) {
            (Some(before), Some(shown)) => {
                assert_eq!(number, before + 1, "none is missing");
                assert!(frame.timestamp().elapsed() > shown);
            }
            _ => assert!(frame.is_random_access_point()),
        }
        assert_eq!(frame.is_random_access_point(), number.is_multiple_of(h264::GROUP));
        (before, shown) = (Some(number), Some(frame.timestamp().elapsed()));
    }
    assert_eq!(rig.source.opened.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn pictures_arrive_whole_as_they_came_or_coded_anew() {
    for (draw, exact) in [(plain as fn(u64) -> Bytes, true), (full, false)] {
        let rig = Rig::with(CameraKind::Jpeg, AccessSettings::default(), None, draw);
        rig.run(Duration::from_millis(100));
        let at = serve(&rig, None).await;
        let (mut frames, _) = open(at, None).await.unwrap();
        let mut shown = Vec::new();
        for _ in 0..3 {
            let frame = frame(&mut frames).await;
            assert_eq!(frame.loss(), 0);
            // Sizes travel in units of eight: 322 x 180 becomes 328 x 184.
            let seen = image::load_from_memory(frame.data()).unwrap().into_rgb8();
            assert_eq!(seen.dimensions(), (328, 184));
            let number = (u64::from(seen.get_pixel(80, 90).0[0]) + 4) / 8;
            let drawn = image::load_from_memory(&draw(number)).unwrap().into_rgb8();
            let far = drawn.enumerate_pixels().filter(|(x, y, colour)| {
                let other = seen.get_pixel(*x, *y);
                (0..3).any(|at| colour.0[at].abs_diff(other.0[at]) > if exact { 0 } else { 24 })
            });
            // At the edges decoders mix in what lies beyond.
            assert!(far.count() * 50 < 322 * 180, "picture {number} as the camera made it");
            shown.push(number);
        }
        assert!(shown[0] != shown[1] && shown[1] != shown[2]);
        assert_eq!(rig.source.opened.load(Ordering::SeqCst), 1);
    }
}

/// As the other ports, this one speaks TLS where the gateway does.
#[tokio::test]
async fn over_tls_too() {
    use rustls_pki_types::pem::PemObject;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let folder = tempfile::tempdir().unwrap();
    let acceptor = self_signed(folder.path(), &["localhost".to_owned()]).unwrap();
    let rig = Rig::new(CameraKind::Jpeg);
    rig.run(Duration::from_millis(100));
    let at = serve(&rig, Some(acceptor)).await;
    let certificate = std::fs::read(self_signed_certificate(folder.path())).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from_pem_slice(&certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tcp = tokio::net::TcpStream::connect(at).await.unwrap();
    let mut stream = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
    stream.write_all(b"DESCRIBE /p1s RTSP/1.0\r\nCSeq: 1\r\n\r\n").await.unwrap();
    let mut text = vec![0; 2000];
    let count = timeout(DEADLINE, stream.read(&mut text)).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&text[..count]).into_owned();
    assert!(text.starts_with("RTSP/1.0 200 OK\r\n"), "{text}");
    assert!(text.contains(&format!("Content-Base: rtsps://{at}/p1s/\r\n")), "{text}");
}
