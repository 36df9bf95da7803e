use std::net::SocketAddr;

use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::test_server::{Identity, SERIAL, server_config};
use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

/// Serves `connections` handshakes, each answered with "hi" if the client completes it.
async fn serve(
    identity: &Identity,
    version: &'static rustls::SupportedProtocolVersion,
    connections: usize,
) -> SocketAddr {
    let acceptor = TlsAcceptor::from(server_config(identity, version));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for _ in 0..connections {
            let (socket, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(socket).await {
                stream.write_all(b"hi").await.ok();
                stream.shutdown().await.ok();
            }
        }
    });
    address
}

async fn greet(tls: &PrinterTls, address: SocketAddr) -> Result<String, TlsConnectError> {
    let socket = TcpStream::connect(address).await.unwrap();
    let mut stream = tls.connect(socket, "127.0.0.1", DEADLINE).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

fn pin_of(identity: &Identity) -> Pin {
    use x509_parser::prelude::FromDer;
    let (_, parsed) =
        x509_parser::certificate::X509Certificate::from_der(identity.certificate.as_ref()).unwrap();
    Pin::of_spki(parsed.tbs_certificate.subject_pki.raw)
}

fn tls(pin: Option<Pin>) -> PrinterTls {
    PrinterTls::with_versions(Some(SERIAL.into()), pin, TlsVersions::Upto13).unwrap()
}

#[tokio::test]
async fn accepts_v1_and_v3_certificates_on_both_versions_and_records_the_key() {
    for identity in [Identity::v1_rsa(), Identity::v1_p256(), Identity::v3(SERIAL)] {
        for version in [&TLS12, &TLS13] {
            let address = serve(&identity, version, 1).await;
            let tls = tls(None);
            assert_eq!(tls.observed(), None);
            assert_eq!(greet(&tls, address).await.unwrap(), "hi");
            assert_eq!(tls.observed(), Some(pin_of(&identity)));
            assert_eq!(tls.fault(), None);
        }
    }
}

#[tokio::test]
async fn the_default_offers_tls_1_2_only() {
    let address = serve(&Identity::v1_rsa(), &TLS13, 1).await;
    let only12 = PrinterTls::new(Some(SERIAL.into()), None).unwrap();
    assert!(matches!(greet(&only12, address).await, Err(TlsConnectError::Io(_))));
}

#[tokio::test]
async fn another_printers_name_is_refused_and_named() {
    for version in [&TLS12, &TLS13] {
        let address = serve(&Identity::v3("01P00B999999999"), version, 1).await;
        let tls = tls(None);
        let expected = TlsFault::WrongName { expected: SERIAL.into(), found: "01P00B999999999".into() };
        match greet(&tls, address).await {
            Err(TlsConnectError::Fault(fault)) => assert_eq!(fault, expected),
            other => panic!("{other:?}"),
        }
        assert_eq!(tls.fault(), Some(expected));
        assert_eq!(tls.observed(), None);
    }
}

#[tokio::test]
async fn a_name_that_is_no_serial_number_is_let_pass_and_its_key_pinned() {
    let bridge = Identity::v3("Emulated Printer");
    let address = serve(&bridge, &TLS12, 1).await;
    let tls = tls(None);
    assert_eq!(greet(&tls, address).await.unwrap(), "hi");
    assert_eq!(tls.observed(), Some(pin_of(&bridge)));
    let another = serve(&Identity::v3("Emulated Printer"), &TLS12, 1).await;
    assert!(matches!(greet(&tls, another).await, Err(TlsConnectError::Fault(TlsFault::ChangedPin { .. }))));
}

fn known(keys: KnownKeys) -> PrinterTls {
    PrinterTls::with_keys(Some(SERIAL.into()), keys).unwrap()
}

fn changed(result: Result<String, TlsConnectError>) -> bool {
    matches!(result, Err(TlsConnectError::Fault(TlsFault::ChangedPin { .. })))
}

#[tokio::test]
async fn services_of_a_nameless_printer_have_a_key_each_and_keep_it() {
    let (broker, files, other) = (Identity::v3("Broker"), Identity::v3("Files"), Identity::v3("Files"));
    let (at_broker, at_files, at_other) =
        (serve(&broker, &TLS12, 2).await, serve(&files, &TLS12, 2).await, serve(&other, &TLS12, 2).await);
    let first = known(KnownKeys::default());
    greet(&first, at_broker).await.unwrap();
    greet(&first.of_service("ftps"), at_files).await.unwrap();
    assert!(changed(greet(&first.of_service("ftps"), at_other).await), "pinned since");
    let keys = first.keys();
    assert_eq!(keys.main, Some(pin_of(&broker)));
    assert_eq!(keys.others, [("ftps".to_owned(), pin_of(&files))].into());

    // After a restart, with what was stored.
    let stored = serde_json::to_value(&keys).unwrap();
    let again = known(serde_json::from_value(stored).unwrap());
    greet(&again, at_broker).await.unwrap();
    assert!(changed(greet(&again.of_service("ftps"), at_other).await));
    greet(&again.of_service("ftps"), at_files).await.unwrap();
}

#[tokio::test]
async fn a_printer_that_names_itself_has_one_key_for_all_services() {
    let printer = Identity::v3(SERIAL);
    let (main, same) = (serve(&printer, &TLS12, 1).await, serve(&printer, &TLS12, 1).await);
    let nameless = serve(&Identity::v3("Files"), &TLS12, 2).await;
    let named = serve(&Identity::v3(SERIAL), &TLS12, 1).await;
    let tls = known(KnownKeys::default());
    greet(&tls, main).await.unwrap();
    greet(&tls.of_service("ftps"), same).await.unwrap();
    assert!(
        changed(greet(&tls.of_service("ftps"), nameless).await),
        "a certificate without a name proves nothing"
    );
    assert!(
        changed(greet(&tls.of_service("ftps"), named).await),
        "nor does one with the name and another key"
    );
    assert_eq!(serde_json::to_value(tls.keys()).unwrap(), serde_json::json!(pin_of(&printer)));
    // Stored as one key, and before the main service was seen again: still only that key.
    let restarted = known(KnownKeys { main: Some(pin_of(&printer)), ..KnownKeys::default() });
    assert!(changed(greet(&restarted.of_service("camera"), nameless).await));
}

#[tokio::test]
async fn a_stored_pin_admits_its_key_and_refuses_another() {
    let identity = Identity::v1_rsa();
    let pin = pin_of(&identity);
    let address = serve(&identity, &TLS12, 1).await;
    assert_eq!(greet(&tls(Some(pin)), address).await.unwrap(), "hi");

    let impostor = Identity::v3(SERIAL);
    let address = serve(&impostor, &TLS12, 1).await;
    match greet(&tls(Some(pin)), address).await {
        Err(TlsConnectError::Fault(fault)) => {
            assert_eq!(fault, TlsFault::ChangedPin { expected: pin, found: pin_of(&impostor) });
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_first_key_binds_later_connections_and_a_good_one_clears_the_fault() {
    let (first, second) = (Identity::v3(SERIAL), Identity::v3(SERIAL));
    let tls = tls(None);
    let good = serve(&first, &TLS12, 2).await;
    greet(&tls, good).await.unwrap();
    let bad = serve(&second, &TLS12, 1).await;
    greet(&tls, bad).await.unwrap_err();
    assert!(matches!(tls.fault(), Some(TlsFault::ChangedPin { .. })), "{:?}", tls.fault());
    assert_eq!(tls.observed(), Some(pin_of(&first)));
    greet(&tls, good).await.unwrap();
    assert_eq!(tls.fault(), None);
}

#[tokio::test]
async fn a_replayed_certificate_without_its_key_is_refused() {
    for (shown, held) in [
        (Identity::v1_p256(), Identity::v3(SERIAL)),
        (Identity::v3(SERIAL), Identity::v3(SERIAL)),
        (Identity::v1_rsa(), Identity::v3(SERIAL)),
    ] {
        let pin = pin_of(&shown);
        for version in [&TLS12, &TLS13] {
            let liar = Identity { certificate: shown.certificate.clone(), key: held.key.clone_key() };
            let address = serve(&liar, version, 1).await;
            let tls = tls(Some(pin));
            match greet(&tls, address).await {
                Err(TlsConnectError::Fault(TlsFault::BadSignature(_))) => {}
                other => panic!("{other:?}"),
            }
            assert_eq!(tls.observed(), None);
        }
    }
}

#[tokio::test]
async fn garbage_in_place_of_a_certificate_is_refused() {
    let mut identity = Identity::v3(SERIAL);
    identity.certificate = vec![0x30, 0x03, 0x02, 0x01, 0x00].into();
    let address = serve(&identity, &TLS12, 1).await;
    let result = greet(&tls(None), address).await;
    assert!(matches!(result, Err(TlsConnectError::Fault(TlsFault::BadCertificate(_)))), "{result:?}");
}

#[tokio::test]
async fn a_peer_that_ends_the_connection_is_not_blamed_on_its_certificate() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { drop(listener.accept().await) });
    assert!(matches!(greet(&tls(None), address).await, Err(TlsConnectError::Io(_))));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_ends_in_a_timeout() {
    let (near, _far) = tokio::io::duplex(64);
    let result = tls(None).connect(near, "127.0.0.1", DEADLINE).await;
    assert!(matches!(result, Err(TlsConnectError::Timeout(DEADLINE))), "{result:?}");
}

#[test]
fn pins_survive_text_and_serde_and_refuse_nonsense() {
    let pin = Pin::of_spki(b"key");
    assert_eq!(pin.to_string().len(), 64);
    assert_eq!(pin.to_string().to_uppercase().parse(), Ok(pin));
    let json = serde_json::to_string(&pin).unwrap();
    assert_eq!(serde_json::from_str::<Pin>(&json).unwrap(), pin);
    for bad in ["", "abcd", "zz", &"0".repeat(66)] {
        assert_eq!(bad.parse::<Pin>(), Err(InvalidPin));
    }
}
