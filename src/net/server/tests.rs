//! Slow, silent and numerous clients over real sockets.

use std::os::unix::fs::PermissionsExt;

use axum::routing::{get, post};
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    cancel: CancellationToken,
    done: tokio::task::JoinHandle<()>,
}

async fn run(options: ServerOptions) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cancel = CancellationToken::new();
    let router = Router::new()
        .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }))
        .route(
            "/secure",
            get(|request: axum::extract::Request| async move {
                request.extensions().get::<OverTls>().is_some().to_string()
            }),
        )
        .route(
            "/echo",
            post(|body: Result<String, axum::extract::rejection::StringRejection>| async move {
                body.unwrap_or_else(|_broken| "broken".to_owned())
            }),
        );
    let done = tokio::spawn(serve(listener, move || router.clone(), options, cancel.clone()));
    Running { address, cancel, done }
}

/// Everything that comes until the server ends the connection.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let _reset = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

fn hasty() -> ServerOptions {
    ServerOptions {
        header_deadline: Duration::from_millis(300),
        body_deadline: Duration::from_millis(300),
        ..ServerOptions::default()
    }
}

#[tokio::test]
async fn slow_headers_end_the_connection_and_nobody_else_waits() {
    let server = run(hasty()).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut brisk = TcpStream::connect(server.address).await.unwrap();
    brisk.write_all(ASK).await.unwrap();
    assert!(answer(&mut brisk).await.ends_with("127.0.0.1"));
    assert!(!answer(&mut slow).await.contains("200 OK"));
    assert_eq!(answer(&mut silent).await, "");
}

#[tokio::test]
async fn a_body_that_stops_coming_fails() {
    let server = run(hasty()).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 10\r\n\r\nabc")
        .await
        .unwrap();
    assert!(answer(&mut slow).await.ends_with("broken"));
}

#[tokio::test]
async fn headers_have_a_size() {
    let server = run(ServerOptions::default()).await;
    let many: String = (0..HEADERS + 1).map(|number| format!("x-{number}: 1\r\n")).collect();
    let long = format!("x: {}\r\n", "a".repeat(HEADER_BYTES * 2));
    for headers in [many, long] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        let _refused_while_it_comes = stream.write_all(request.as_bytes()).await;
        assert!(!answer(&mut stream).await.contains("200 OK"));
    }
}

#[tokio::test]
async fn requests_are_not_smuggled() {
    let server = run(ServerOptions::default()).await;
    for headers in [
        "content-length: 3\r\ncontent-length: 4\r\n",
        "content-length: +3\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding : chunked\r\n",
        "x: a\r\n b\r\n",
        "x: a\0b\r\n",
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!("POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\nabc");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = answer(&mut stream).await;
        assert!(!answer.contains("200 OK"), "{headers:?}: {answer}");
    }
}

#[tokio::test]
async fn connections_are_counted_and_places_come_back() {
    let server = run(ServerOptions { connections: 2, ..ServerOptions::default() }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut first = [0u8; 8];
        stream.read_exact(&mut first).await.unwrap();
        held.push(stream);
    }
    let mut third = TcpStream::connect(server.address).await.unwrap();
    let _closed = third.write_all(ASK).await;
    assert_eq!(answer(&mut third).await, "");
    held.clear();
    let all_asked = async {
        loop {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            let _closed = stream.write_all(ASK).await;
            if answer(&mut stream).await.contains("200 OK") {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, all_asked).await.expect("a place is free again");
}

#[test]
fn one_address_does_not_take_all_places() {
    let places = Places::new(&ServerOptions { connections: 4, per_address: 2, ..ServerOptions::default() });
    let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
    let held = [places.take(one), places.take(one)];
    assert!(held.iter().all(Option::is_some) && places.take(one).is_none());
    assert!(places.take(other).is_some());
    drop(held);
    assert!(places.take(one).is_some());
    assert!(places.open.lock().unwrap().is_empty());
}

#[tokio::test]
async fn it_stops_within_its_grace() {
    let server = run(ServerOptions { grace: Duration::from_millis(200), ..ServerOptions::default() }).await;
    let mut open = TcpStream::connect(server.address).await.unwrap();
    open.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\na").await.unwrap();
    server.cancel.cancel();
    tokio::time::timeout(DEADLINE, server.done).await.expect("ends").unwrap();
}

#[tokio::test]
async fn https_with_a_certificate_of_our_own() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("tls");
    let made = self_signed_certificate(folder.path());
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let tls = self_signed(folder.path(), &names).unwrap();
    let mode = std::fs::metadata(state.join("key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = std::fs::read(&made).unwrap();
    self_signed(folder.path(), &names).unwrap();
    assert_eq!(std::fs::read(&made).unwrap(), kept, "it stays the same");
    let server = run(ServerOptions { tls: Some(tls), ..hasty() }).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from_pem_slice(&kept).unwrap()).unwrap();
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    stream.write_all(b"GET /secure HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(answer(&mut stream).await.ends_with("true"));
    // Who speaks plain HTTP, or says nothing, is let go.
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(ASK).await.unwrap();
    assert!(!answer(&mut plain).await.contains("200 OK"));
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(answer(&mut silent).await, "");
}

#[test]
fn wrong_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| folder.path().join(name).join("tls"));
    let names = ["localhost".to_owned()];
    for name in ["a", "b"] {
        self_signed(&folder.path().join(name), &names).unwrap();
    }
    assert!(from_files(&a.join("cert.pem"), &b.join("key.pem")).is_err(), "another's key");
    let missing = from_files(&a.join("none.pem"), &b.join("key.pem")).map(drop).unwrap_err();
    assert!(missing.to_string().contains("none.pem"), "{missing}");
    std::fs::write(a.join("cert.pem"), "no pem").unwrap();
    assert!(from_files(&a.join("cert.pem"), &a.join("key.pem")).is_err());
    self_signed(&folder.path().join("a"), &names).expect("a damaged one is made anew");
}
