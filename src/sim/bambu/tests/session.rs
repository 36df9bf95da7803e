//! Login, topics, liveness and the identity probe.

use rumqttc::{ConnectReturnCode, ConnectionError, Event, Packet, QoS};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::super::{Fault, models};
use super::client::{DEADLINE, Peer, options};
use super::{fast, started};

/// The error that ends the connection.
async fn ended(peer: &mut Peer) -> ConnectionError {
    loop {
        if let Err(error) = peer.poll().await {
            return error;
        }
    }
}

#[tokio::test]
async fn a_wrong_code_is_refused_with_5() {
    let sim = started(fast("p1s")).await;
    let mut peer = Peer::unsubscribed(&sim, options(&sim, "wrong000"));
    let error = ended(&mut peer).await;
    assert!(
        matches!(error, ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized)),
        "{error:?}"
    );
    assert_eq!(sim.truth().counters.failed_logins, 1);
}

#[tokio::test]
async fn the_request_topic_resets_and_another_serial_stays_silent() {
    let sim = started(fast("p1s")).await;
    for topic in ["device/01P00A000000001/request", "#"] {
        let mut peer = Peer::unsubscribed(&sim, options(&sim, "12345678"));
        peer.client.subscribe(topic, QoS::AtMostOnce).await.unwrap();
        assert!(matches!(ended(&mut peer).await, ConnectionError::Io(_) | ConnectionError::MqttState(_)));
    }
    let mut peer = Peer::unsubscribed(&sim, options(&sim, "12345678"));
    peer.client.subscribe("device/01p00a000000001/report", QoS::AtMostOnce).await.unwrap();
    while !matches!(peer.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
    peer.send(json!({"pushing": {"command": "pushall", "sequence_id": "1"}})).await;
    while sim.truth().counters.pushalls == 0 {
        peer.poll().await.unwrap();
    }
    // A keepalive round later there is still no report.
    while !matches!(peer.poll().await.unwrap(), Event::Incoming(Packet::PingResp)) {}
    assert!(peer.seen.is_empty());
}

#[tokio::test]
async fn the_same_client_id_takes_over() {
    let sim = started(fast("x1c")).await;
    let mut shared = options(&sim, "12345678");
    shared.set_clean_session(true);
    let mut first = Peer::unsubscribed(&sim, shared.clone());
    first.poll().await.unwrap();
    let mut second = Peer::unsubscribed(&sim, shared);
    second.poll().await.unwrap();
    ended(&mut first).await;
}

#[tokio::test]
async fn every_model_reports_the_fields_of_its_captured_report() {
    for model in models::TABLE {
        let sim = started(fast(model.key)).await;
        let mut peer = Peer::connect(&sim).await;
        let captured: Value = serde_json::from_str(model.report).unwrap();
        let full = peer.seen.iter().find(|v| v["print"]["gcode_state"].is_string()).unwrap();
        let full = full["print"].as_object().unwrap();
        let keys = |v: &serde_json::Map<String, Value>| v.keys().cloned().collect::<Vec<_>>();
        let mut expected = captured["print"].as_object().unwrap().clone();
        // The captured dump of some models lost its envelope.
        for key in ["command", "sequence_id"] {
            expected.entry(key).or_insert(json!(""));
        }
        let mut full_sorted = keys(full);
        let mut expected_sorted = keys(&expected);
        full_sorted.sort();
        expected_sorted.sort();
        assert_eq!(full_sorted, expected_sorted, "{}", model.key);
        assert_eq!(full["gcode_state"], "IDLE", "{}", model.key);
        for (key, value) in full {
            let same = std::mem::discriminant(value) == std::mem::discriminant(&expected[key]);
            assert!(same, "{}: {key} is {value} and was {}", model.key, expected[key]);
        }
        peer.send(json!({"info": {"command": "get_version", "sequence_id": "9"}})).await;
        let info = peer.ack("info", "9").await;
        let ota = info["module"].as_array().unwrap().iter().find(|m| m["name"] == "ota").unwrap();
        assert_eq!(ota["sw_ver"], model.firmware, "{}", model.key);
        assert_eq!(sim.truth().counters.malformed_requests, 0);
    }
}

#[tokio::test]
async fn detect_tells_who_it_is_and_closes() {
    let sim = started(fast("a1mini")).await;
    let captured: Value =
        serde_json::from_str(include_str!("../../../../fixtures/bambu/detect-request.json")).unwrap();
    let request = data_encoding::HEXLOWER.decode(captured["frame_hex"].as_str().unwrap().as_bytes()).unwrap();
    let mut stream = TcpStream::connect(sim.addresses().detect).await.unwrap();
    stream.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(usize::from(u16::from_le_bytes([answer[2], answer[3]])), answer.len());
    let json: Value = serde_json::from_slice(&answer[4..answer.len() - 2]).unwrap();
    assert_eq!(json["login"]["model"], "N1");
    assert_eq!(json["login"]["id"], "03000A000000001");
    assert_eq!(json["login"]["sequence_id"], "20004");
}

#[tokio::test]
async fn a_power_cut_closes_refuses_and_forgets() {
    let sim = started(fast("p1s")).await;
    let mut peer = Peer::connect(&sim).await;
    peer.print_sample().await;
    peer.until_state("RUNNING").await;
    sim.faults().apply(Fault::PowerCut { seconds: 1.0 }).unwrap();
    ended(&mut peer).await;
    let refused = timeout(DEADLINE, async {
        while TcpStream::connect(sim.addresses().mqtt).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    refused.await.expect("the port is closed");
    timeout(DEADLINE, async { while TcpStream::connect(sim.addresses().mqtt).await.is_err() {} })
        .await
        .expect("the port is open again");
    let peer = Peer::connect(&sim).await;
    assert_eq!(peer.state["gcode_state"], "IDLE");
}

#[tokio::test]
async fn a_zombie_reports_and_ignores_a_dead_one_is_mute() {
    let sim = started(fast("p1s")).await;
    let mut peer = Peer::connect(&sim).await;
    sim.faults().apply(Fault::Zombie { on: true }).unwrap();
    let before = sim.truth().counters.commands.len();
    peer.send(json!({"print": {"command": "gcode_line", "param": "M140 S60\n", "sequence_id": "1"}})).await;
    sim.faults().apply(Fault::Door { open: true }).unwrap();
    sim.faults().apply(Fault::RaiseHms { attr: 0x0300_0100, code: 0x0001_0001 }).unwrap();
    peer.until(|p| p.state["hms"].as_array().is_some_and(|hms| hms.len() == 1)).await;
    assert_eq!(sim.truth().counters.commands.len(), before);
    sim.faults().apply(Fault::Dead { on: true }).unwrap();
    let seen = peer.seen.len();
    // No PINGRESP comes: the client gives up by itself.
    ended(&mut peer).await;
    assert!(peer.seen.len() <= seen + 1);
}

#[tokio::test]
async fn discovery_announces_and_answers() {
    let ear = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut options = fast("p1s");
    options.ssdp_target = Some(ear.local_addr().unwrap());
    options.ssdp_port = Some(0);
    let sim = started(options).await;
    let mut buffer = [0u8; 2048];
    let (length, _) = timeout(DEADLINE, ear.recv_from(&mut buffer)).await.unwrap().unwrap();
    let notify = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let captured: Value =
        serde_json::from_str(include_str!("../../../../fixtures/bambu/ssdp-notify-p1s-01.10.json")).unwrap();
    let names =
        |text: &str| text.lines().filter_map(|l| Some(l.split_once(':')?.0.to_owned())).collect::<Vec<_>>();
    assert!(notify.starts_with("NOTIFY * HTTP/1.1\r\n"));
    assert_eq!(names(&notify), names(captured["datagram"].as_str().unwrap()));
    let search: Value =
        serde_json::from_str(include_str!("../../../../fixtures/bambu/ssdp-msearch.json")).unwrap();
    let to = sim.addresses().ssdp.unwrap();
    ear.send_to(search["datagram"].as_str().unwrap().as_bytes(), to).await.unwrap();
    let answered = timeout(DEADLINE, async {
        loop {
            let (length, from) = ear.recv_from(&mut buffer).await.unwrap();
            if from == to {
                return String::from_utf8_lossy(&buffer[..length]).into_owned();
            }
        }
    });
    assert!(answered.await.unwrap().contains("USN: 01P00A000000001\r\n"));
}

#[tokio::test]
async fn a_changed_certificate_has_another_key() {
    let sim = started(fast("p2s")).await;
    let leaf = || async {
        let stream = TcpStream::connect(sim.addresses().mqtt).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(super::client::tls()));
        let stream = connector.connect(name, stream).await.unwrap();
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        assert_eq!(chain.len(), 1, "a P2S sends only its leaf");
        chain[0].clone()
    };
    let spki = |der: &[u8]| {
        use x509_parser::prelude::FromDer;
        let (_, leaf) = x509_parser::prelude::X509Certificate::from_der(der).unwrap();
        assert_eq!(leaf.subject().to_string(), "CN=22E00A000000001");
        leaf.public_key().raw.to_vec()
    };
    let first = spki(&leaf().await);
    sim.faults().apply(Fault::CertificateChange).unwrap();
    assert_ne!(first, spki(&leaf().await));
}
