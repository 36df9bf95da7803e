//! The simulated CC1 judged by independent clients (tokio-tungstenite, reqwest, bare sockets) and by the fixtures.

mod jobs;
mod session;
mod transfers;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::machine::Core;
use super::*;
use crate::sim::fixture::{keys, load};

const LIMIT: Duration = Duration::from_secs(20);

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn connect(printer: &Simulator) -> Self {
        let url = format!("ws://{}/websocket", printer.addresses().websocket);
        Self(connect_async(url).await.unwrap().0)
    }

    async fn text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next text frame; `None` when the connection is gone.
    async fn next(&mut self) -> Option<String> {
        loop {
            match timeout(LIMIT, self.0.next()).await.expect("no frame in time") {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The response to one command.
    async fn ask(&mut self, command: i64, data: Value) -> Value {
        self.text(&request(command, data).to_string()).await;
        self.frame("response").await
    }

    async fn frame(&mut self, topic: &str) -> Value {
        loop {
            let frame: Value = serde_json::from_str(&self.next().await.expect("closed")).unwrap();
            if frame["Topic"].as_str().unwrap().starts_with(&format!("sdcp/{topic}")) {
                return frame;
            }
        }
    }

    async fn ack(&mut self, command: i64, data: Value) -> i64 {
        self.ask(command, data).await["Data"]["Data"]["Ack"].as_i64().unwrap()
    }

    async fn status(&mut self) -> Value {
        self.text(&request(0, json!({})).to_string()).await;
        self.frame("status").await
    }

    async fn until(&mut self, what: &str, accept: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let status = self.status().await;
                if accept(&status["Status"]) {
                    return status;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("never {what}"))
    }
}

fn request(command: i64, data: Value) -> Value {
    json!({"Id": "", "Data": {"Cmd": command, "Data": data, "RequestID": "r1", "MainboardID": "",
        "TimeStamp": 1, "From": 1}})
}

fn start_request(name: &str) -> Value {
    json!({"Filename": format!("/local/{name}"), "StartLayer": 0, "Calibration_switch": 0,
        "PrintPlatformType": 0, "Tlp_Switch": 0})
}

async fn fast() -> Simulator {
    start(Options { speed: 60.0, ..Options::default() }).await.unwrap()
}

fn sub(status: &Value) -> i64 {
    status["PrintInfo"]["Status"].as_i64().unwrap()
}
