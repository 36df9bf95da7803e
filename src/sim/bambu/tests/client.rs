//! A plain MQTT peer: rumqttc over rustls that trusts any certificate.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, TlsConfiguration, Transport};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::super::Simulator;

/// Longest wait of any test.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// Trusts everyone; remembers nothing.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
        ]
    }
}

/// A TLS client configuration with a session store of its own.
pub(super) fn tls() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth()
}

/// A connected and subscribed peer that keeps the merged state.
pub(super) struct Peer {
    pub client: AsyncClient,
    events: EventLoop,
    topic: String,
    /// Top-level merge of every push_status.
    pub state: Map<String, Value>,
    /// Every payload received.
    pub seen: Vec<Value>,
}

pub(super) fn options(sim: &Simulator, code: &str) -> MqttOptions {
    let at = sim.addresses().mqtt;
    let mut options =
        MqttOptions::new(format!("peer-{}", rand::random::<u32>()), at.ip().to_string(), at.port());
    options.set_credentials("bblp", code);
    options.set_keep_alive(Duration::from_secs(5));
    options.set_max_packet_size(1 << 20, 1 << 20);
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(tls()))));
    options
}

impl Peer {
    pub async fn connect(sim: &Simulator) -> Self {
        let mut peer = Self::unsubscribed(sim, options(sim, "12345678"));
        let topic = format!("device/{}/report", sim.options().serial);
        peer.client.subscribe(topic, QoS::AtLeastOnce).await.unwrap();
        timeout(DEADLINE, async {
            while !matches!(peer.events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
        })
        .await
        .unwrap();
        peer.send(json!({"pushing": {"sequence_id": "0", "command": "pushall"}})).await;
        peer.until(|p| p.state.contains_key("gcode_state")).await;
        peer
    }

    pub fn unsubscribed(sim: &Simulator, options: MqttOptions) -> Self {
        let (client, events) = AsyncClient::new(options, 16);
        let topic = format!("device/{}/request", sim.options().serial);
        Self { client, events, topic, state: Map::new(), seen: Vec::new() }
    }

    pub async fn send(&mut self, request: Value) {
        self.client.try_publish(&self.topic, QoS::AtLeastOnce, false, request.to_string()).unwrap();
    }

    /// The next MQTT event, or the error that ended the connection.
    pub async fn poll(&mut self) -> Result<Event, rumqttc::ConnectionError> {
        let event = timeout(DEADLINE, self.events.poll()).await.expect("an event in time")?;
        if let Event::Incoming(Packet::Publish(publish)) = &event
            && let Ok(payload) = serde_json::from_slice::<Value>(&publish.payload)
        {
            if let Some(Value::Object(print)) = payload.get("print")
                && print.get("command") == Some(&json!("push_status"))
            {
                for (key, value) in print {
                    merge(self.state.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
            self.seen.push(payload);
        }
        Ok(event)
    }

    /// Reads until `done` holds.
    pub async fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let ended = timeout(DEADLINE, async {
            while !done(self) {
                self.poll().await.unwrap();
            }
        });
        assert!(ended.await.is_ok(), "not reached; last state {:?}", self.state.get("gcode_state"));
    }

    pub async fn until_state(&mut self, state: &str) {
        self.until(|p| p.state.get("gcode_state") == Some(&json!(state))).await;
    }

    /// The acknowledgement with this sequence id.
    pub async fn ack(&mut self, category: &str, sequence: &str) -> Value {
        let found = |p: &Self| {
            p.seen.iter().rev().map(|v| &v[category]).find(|v| v["sequence_id"] == sequence).cloned()
        };
        self.until(|p| found(p).is_some()).await;
        found(self).unwrap()
    }

    /// Starts the sample job from the storage.
    pub async fn print_sample(&mut self) {
        self.print("ftp:///cube.gcode.3mf", "4711").await;
    }

    pub async fn print(&mut self, url: &str, subtask: &str) {
        self.send(json!({"print": {"command": "project_file", "sequence_id": subtask, "url": url, "md5": "",
            "param": "Metadata/plate_1.gcode", "subtask_name": "cube", "file": "cube.gcode.3mf",
            "task_id": subtask, "subtask_id": subtask, "project_id": "0", "profile_id": "0",
            "use_ams": false, "ams_mapping": [-1], "timelapse": false}}))
            .await;
    }
}

/// Objects by key, lists of objects with an `id` by it, all else replaced (dossier 3.3).
fn merge(old: &mut Value, new: &Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                merge(old.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(old), Value::Array(new)) if new.iter().any(|v| v.get("id").is_some()) => {
            for value in new {
                match old.iter_mut().find(|o| o.get("id") == value.get("id")) {
                    Some(known) => merge(known, value),
                    None => old.push(value.clone()),
                }
            }
        }
        (old, new) => *old = new.clone(),
    }
}
