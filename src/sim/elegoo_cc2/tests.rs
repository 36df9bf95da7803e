//! The simulated CC2 judged by independent clients (rumqttc, reqwest, bare sockets) and by the fixtures.

mod jobs;
mod session;
mod transfers;

use std::time::Duration;

use md5::{Digest, Md5};
use rumqttc::{AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

use super::machine::Core;
use super::*;
use crate::sim::fixture::{keys, load};

const LIMIT: Duration = Duration::from_secs(20);

/// Not deaf after bursts unless a test is about that.
fn options() -> Options {
    Options {
        speed: 60.0,
        burst_window: Duration::ZERO,
        delta_period: Duration::from_millis(50),
        ..Options::default()
    }
}

struct Client {
    client: AsyncClient,
    events: EventLoop,
    name: String,
    serial: String,
    next: i64,
}

impl Client {
    fn unconnected(printer: &Simulator, name: &str, code: &str) -> Self {
        let at = printer.addresses().mqtt;
        let mut login = MqttOptions::new(name, at.ip().to_string(), at.port());
        login.set_credentials("elegoo", code).set_keep_alive(Duration::from_secs(30));
        login.set_max_packet_size(1 << 20, 64 << 10);
        let (client, events) = AsyncClient::new(login, 32);
        Self { client, events, name: name.to_owned(), serial: printer.shared.options.serial.clone(), next: 0 }
    }

    /// Logged in and subscribed, not registered.
    async fn connect(printer: &Simulator, name: &str) -> Self {
        let mut client = Self::unconnected(printer, name, "123456");
        let topics = [
            format!("elegoo/{}/{name}/api_response", client.serial),
            format!("elegoo/{}/api_status", client.serial),
            format!("elegoo/{}/{name}_req/register_response", client.serial),
        ];
        for topic in &topics {
            client.client.try_subscribe(topic, QoS::AtLeastOnce).unwrap();
        }
        let mut granted = 0;
        timeout(LIMIT, async {
            while granted < topics.len() {
                if let Event::Incoming(Packet::SubAck(_)) = client.events.poll().await.unwrap() {
                    granted += 1;
                }
            }
        })
        .await
        .expect("not connected in time");
        client
    }

    async fn registered(printer: &Simulator, name: &str) -> Self {
        let mut client = Self::connect(printer, name).await;
        assert_eq!(client.register().await["error"], "ok");
        client
    }

    fn publish(&self, topic: &str, payload: &Value) {
        let topic = format!("elegoo/{}/{topic}", self.serial);
        self.client.try_publish(topic, QoS::AtLeastOnce, false, payload.to_string()).unwrap();
    }

    async fn register(&mut self) -> Value {
        let (name, request) = (self.name.clone(), format!("{}_req", self.name));
        self.publish("api_register", &json!({"client_id": name, "request_id": request}));
        self.on("register_response").await
    }

    /// The next message whose topic ends so.
    async fn on(&mut self, ending: &str) -> Value {
        timeout(LIMIT, async {
            loop {
                if let Event::Incoming(Packet::Publish(message)) = self.events.poll().await.unwrap()
                    && message.topic.ends_with(ending)
                {
                    return serde_json::from_slice(&message.payload).unwrap_or(Value::Null);
                }
            }
        })
        .await
        .unwrap_or_else(|_| panic!("nothing on {ending}"))
    }

    fn send(&mut self, method: i64, params: Value) -> i64 {
        self.next += 1;
        let topic = format!("{}/api_request", self.name);
        self.publish(&topic, &json!({"id": self.next, "method": method, "params": params}));
        self.next
    }

    async fn ask(&mut self, method: i64, params: Value) -> Value {
        let id = self.send(method, params);
        loop {
            let reply = self.on("/api_response").await;
            if reply["id"] == id {
                assert_eq!(reply["method"], method);
                return reply;
            }
        }
    }

    async fn code(&mut self, method: i64, params: Value) -> i64 {
        self.ask(method, params).await["result"]["error_code"].as_i64().unwrap()
    }

    async fn until(&mut self, status: i64, sub: i64) -> Value {
        let wait = async {
            loop {
                let reply = self.ask(1002, json!({})).await;
                let machine = &reply["result"]["machine_status"];
                if (machine["status"].as_i64(), machine["sub_status"].as_i64()) == (Some(status), Some(sub)) {
                    return reply;
                }
            }
        };
        timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("never {status}/{sub}"))
    }
}

fn cube() -> Value {
    json!({"storage_media": "local", "filename": "cube.gcode"})
}
