//! `net::mqtt` against Debian's mosquitto: TLS with an X.509 v1 certificate and a password file.
//!
//! Needs mosquitto, hence ignored by default:
//! `MOONGATE_PEERS=1 cargo test --test mqtt_mosquitto -- --ignored`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod port;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use moongate::net::mqtt::{MqttClient, MqttError, MqttEvents, MqttOptions, Qos, connect};
use moongate::net::tls::PrinterTls;
use tempfile::TempDir;
use tokio::net::TcpSocket;

const SERIAL: &str = "01S00A000000001";
const REPORT: &str = "device/01S00A000000001/report";
const REQUEST: &str = "device/01S00A000000001/request";
const DEADLINE: Duration = Duration::from_secs(20);

/// A running mosquitto, ended with the value.
struct Mosquitto {
    process: Option<Child>,
    port: u16,
    _held: TcpSocket,
    home: TempDir,
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Mosquitto {
    async fn start() -> Self {
        assert_eq!(
            std::env::var("MOONGATE_PEERS").as_deref(),
            Ok("1"),
            "this test starts mosquitto; set MOONGATE_PEERS=1 to allow it"
        );
        let home = tempfile::tempdir().unwrap();
        let passwords = home.path().join("passwords");
        let made = Command::new("mosquitto_passwd")
            .args(["-b", "-c"])
            .arg(&passwords)
            .args(["bblp", "12345678"])
            .status()
            .expect("mosquitto must be installed (Debian package mosquitto)");
        assert!(made.success());
        let (held, port) = port::held();
        let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls");
        let (tls, passwords) = (tls.display(), passwords.display());
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n\
             certfile {tls}/v1-leaf.pem\nkeyfile {tls}/v1-leaf-key.pem\npersistence false\nset_tcp_nodelay true\nlog_dest none\n"
        );
        fs::write(home.path().join("conf"), config).unwrap();
        let mut broker = Self { process: None, port, _held: held, home };
        broker.run().await;
        broker
    }

    async fn run(&mut self) {
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(self.home.path().join("conf")).stdin(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        tokio::time::timeout(DEADLINE, async {
            while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("mosquitto does not listen");
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }

    fn options(&self, id: &str, password: &str) -> MqttOptions {
        let tls = PrinterTls::new(Some(SERIAL.into()), None).unwrap();
        let mut options = MqttOptions::new("127.0.0.1", self.port, id);
        options.tls = Some(tls.client_config());
        options.set_credentials("bblp", password);
        options
    }

    async fn client(&self, id: &str, topic: &str) -> (MqttClient, MqttEvents) {
        connect(self.options(id, "12345678"), &[(topic, Qos::AtLeastOnce)]).await.unwrap()
    }
}

async fn next(events: &mut MqttEvents) -> Result<moongate::net::mqtt::Message, MqttError> {
    tokio::time::timeout(DEADLINE, events.next()).await.expect("no message and no error")
}

#[tokio::test]
#[ignore = "needs mosquitto: MOONGATE_PEERS=1 ... -- --ignored"]
async fn messages_pass_in_both_directions_over_tls() {
    let broker = Mosquitto::start().await;
    let (gateway, mut reports) = broker.client("gateway", REPORT).await;
    let (printer, mut requests) = broker.client("printer", REQUEST).await;
    for number in 0..200_u32 {
        let command = format!("command {number}");
        gateway.publish(REQUEST, command.as_str(), Qos::AtLeastOnce).unwrap();
        assert_eq!(next(&mut requests).await.unwrap().payload, command);
        let report = vec![number as u8; 60_000];
        printer.publish(REPORT, report.as_slice(), Qos::AtLeastOnce).unwrap();
        let message = next(&mut reports).await.unwrap();
        assert_eq!(message.topic, REPORT);
        assert!(message.payload == report);
    }
}

#[tokio::test]
#[ignore = "needs mosquitto: MOONGATE_PEERS=1 ... -- --ignored"]
async fn a_wrong_password_is_bad_credentials() {
    let broker = Mosquitto::start().await;
    let result = connect(broker.options("gateway", "wrong"), &[]).await;
    assert!(matches!(result, Err(MqttError::BadCredentials)), "{result:?}");
}

#[tokio::test]
#[ignore = "needs mosquitto: MOONGATE_PEERS=1 ... -- --ignored"]
async fn nothing_refused_while_the_broker_was_down_arrives_when_it_is_back() {
    let mut broker = Mosquitto::start().await;
    let (gateway, mut reports) = broker.client("gateway", REPORT).await;
    broker.stop();
    assert!(matches!(next(&mut reports).await, Err(MqttError::Closed(_))));
    let refused = gateway.publish(REQUEST, "G1 Z100", Qos::AtLeastOnce);
    assert!(matches!(refused, Err(MqttError::NotConnected)), "{refused:?}");
    assert!(connect(broker.options("gateway", "12345678"), &[]).await.is_err());

    broker.run().await;
    let (_printer, mut requests) = broker.client("printer", REQUEST).await;
    let (gateway, _reports) = broker.client("gateway", REPORT).await;
    gateway.publish(REQUEST, "fresh", Qos::AtLeastOnce).unwrap();
    assert_eq!(next(&mut requests).await.unwrap().payload, "fresh");
}
