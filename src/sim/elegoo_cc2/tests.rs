//! The simulated CC2 judged by independent clients (rumqttc, reqwest, bare sockets) and by the fixtures.

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

#[tokio::test]
async fn a_wrong_code_is_refused_with_connack_5() {
    let printer = start(options()).await.unwrap();
    let mut client = Client::unconnected(&printer, "a", "654321");
    let refusal = timeout(LIMIT, client.events.poll()).await.unwrap();
    assert!(
        matches!(refusal, Err(ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized))),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn registration_is_limited_and_nobody_else_is_heard() {
    let printer = start(options()).await.unwrap();
    let mut first = Client::connect(&printer, "a").await;
    first.send(1002, json!({}));
    let ok = first.register().await;
    assert_eq!(keys(&ok), keys(&load("assembled/cc2-register-response-ok")));
    let _second = Client::registered(&printer, "b").await;
    let mut third = Client::connect(&printer, "c").await;
    let refused = third.register().await;
    assert_eq!(keys(&refused), keys(&load("assembled/cc2-register-response-too-many")));
    assert_eq!(refused["error"], "too many clients");
    let truth = printer.truth();
    assert_eq!((truth.muted, truth.registered, truth.registrations_refused), (1, 2, 1));
    first.client.try_disconnect().unwrap();
    timeout(LIMIT, async { while first.events.poll().await.is_ok() {} }).await.unwrap();
    timeout(LIMIT, async { while third.register().await["error"] != "ok" {} }).await.expect("slot not freed");
}

#[tokio::test]
async fn an_unregistered_client_can_be_told_1000() {
    let printer = start(Options { unregistered: Unregistered::Error1000, ..options() }).await.unwrap();
    let mut client = Client::connect(&printer, "a").await;
    assert_eq!(client.code(1002, json!({})).await, 1000);
}

#[tokio::test]
async fn ping_is_answered_and_without_it_the_printer_goes_mute() {
    let ttl = Duration::from_millis(300);
    let printer = start(Options { registration_ttl: ttl, ..options() }).await.unwrap();
    let mut client = Client::registered(&printer, "a").await;
    client.publish("a/api_request", &load("captured/cc2-ping"));
    assert_eq!(client.on("/api_response").await, load("captured/cc2-pong"));
    timeout(LIMIT, async {
        while printer.truth().muted == 0 {
            client.send(1001, json!({}));
            let _ = timeout(Duration::from_millis(350), client.on("never")).await;
        }
    })
    .await
    .expect("the registration never ended");
}

#[tokio::test]
async fn a_burst_is_swallowed() {
    let deaf = Duration::from_secs(60);
    let printer =
        start(Options { burst_window: Duration::from_secs(5), burst_deaf: deaf, ..options() }).await.unwrap();
    let mut client = Client::registered(&printer, "a").await;
    (0..5).for_each(|_| {
        client.send(1001, json!({}));
    });
    let wait = async {
        while printer.truth().commands.len() < 5 {
            client.events.poll().await.unwrap();
        }
    };
    timeout(LIMIT, wait).await.unwrap();
    assert_eq!(printer.truth().swallowed, 3, "two answered, three lost");
}

#[tokio::test]
async fn every_payload_has_exactly_the_captured_keys() {
    let printer = start(options()).await.unwrap();
    let mut client = Client::registered(&printer, "a").await;
    let same = |reply: &Value, fixture: &str| assert_eq!(keys(reply), keys(&load(fixture)), "{fixture}");
    same(&client.ask(1001, json!({})).await, "assembled/cc2-1001-attributes");
    same(&client.ask(1002, json!({})).await, "captured/cc2-1002-status-idle");
    same(&client.ask(2005, json!({})).await, "captured/cc2-2005-canvas-idle-codes");
    same(&client.ask(1042, json!({})).await, "captured/cc2-response-1042-video");
    same(&client.ask(1048, json!({})).await, "captured/cc2-response-1048-disk");
    same(&client.ask(1023, json!({})).await, "captured/cc2-response-1023-not-printing");
    same(&client.ask(1027, json!({"axis": "x", "step": 1})).await, "captured/cc2-response-1027-wrong-params");
    same(&client.ask(1026, json!({})).await, "captured/cc2-response-1026-home-ok");
    let list = client.ask(1044, load("captured/cc2-request-1044-filelist")["params"].clone()).await;
    same(&list, "assembled/cc2-response-1044-filelist");
    let detail = client.ask(1046, json!({"storage_media": "local", "filename": "cube.gcode"})).await;
    same(&detail, "captured/cc2-response-1046-filedetail");
    assert_eq!(detail["result"]["layer"], 60);
    assert_eq!(client.code(1020, cube()).await, 0);
    same(&client.ask(1036, json!({})).await, "assembled/cc2-response-1036-history");
}

#[tokio::test]
async fn methods_answer_with_the_documented_codes() {
    let printer = start(options()).await.unwrap();
    let mut client = Client::registered(&printer, "a").await;
    for (method, params, expected) in [
        (1008, json!({"command": "G28"}), 1001),
        (1028, json!({"nozzle": 200}), 1003),
        (1030, json!({}), 1003),
        (1031, json!({"mode": 2}), 1010),
        (1021, json!({}), 1010),
        (1020, json!({"storage_media": "local", "filename": "none.gcode"}), 1021),
        (1020, json!({"filename": "cube.gcode"}), 1003),
        (
            1020,
            json!({"storage_media": "local", "filename": "cube.gcode", "config": {"print_layout": "B"}}),
            1026,
        ),
        (1045, json!({"storage_media": "local", "filename": "cube.gcode"}), 1003),
        (1045, json!({"storage_media": "local", "file_name": "cube.gcode"}), 0),
        (1046, json!({"storage_media": "local", "filename": "none"}), 1021),
        (1062, json!({}), 1100),
        (1027, json!({"axes": "x", "distance": 1.0}), 9999),
        (2004, json!({"enable": true}), 1003),
        (2004, json!({"auto_refill": true}), 0),
        (1047, load("captured/cc2-request-1047-delete")["params"].clone(), 1007),
    ] {
        assert_eq!(client.code(method, params.clone()).await, expected, "{method} {params}");
    }
    assert_eq!(printer.truth().forbidden, Vec::<String>::new());
    for method in [1049, 1050, 1053, 1063] {
        client.ask(method, json!({})).await;
    }
    assert_eq!(printer.truth().forbidden.len(), 4, "a loud failure");
}

#[tokio::test]
async fn a_print_is_started_paused_resumed_and_stopped() {
    let printer = start(options()).await.unwrap();
    let mut client = Client::registered(&printer, "a").await;
    assert_eq!(client.code(1020, cube()).await, 0);
    assert_eq!(client.code(1020, cube()).await, 1009);
    let printing = client.until(2, 2075).await;
    assert_eq!(printing["result"]["print_status"]["state"], "printing");
    assert_eq!(client.code(1031, json!({"mode": 2})).await, 0);
    assert_eq!(client.code(1026, json!({})).await, 1009);
    assert_eq!(client.code(1021, json!({})).await, 0);
    assert_eq!(printer.truth().sub_status, 2502, "answered when the mechanics are done");
    assert_eq!(client.code(1023, json!({})).await, 0);
    client.until(2, 2075).await;
    assert_eq!(client.code(1022, json!({})).await, 0);
    client.until(1, 0).await;
    let truth = printer.truth();
    assert_eq!((truth.starts_received, truth.starts_accepted), (2, 1));
    assert_eq!(client.ask(1036, json!({})).await["result"]["history_task_list"][0]["task_status"], 2);
}

#[tokio::test]
async fn deltas_add_up_without_progress_and_count_their_ids() {
    let printer = start(options()).await.unwrap();
    let mut client = Client::registered(&printer, "a").await;
    assert_eq!(client.code(1020, cube()).await, 0);
    let first = client.on("/api_status").await;
    let second = client.on("/api_status").await;
    assert_eq!(second["id"].as_i64(), first["id"].as_i64().map(|id| id + 1));
    assert_eq!((&second["method"], &second["result"]["error_code"]), (&json!(6000), &json!(0)));
    printer.faults().apply(Fault::Gap { by: 5 }).unwrap();
    let mut last = second["id"].as_i64().unwrap();
    let mut gap = false;
    loop {
        let delta = client.on("/api_status").await;
        let id = delta["id"].as_i64().unwrap();
        gap |= id > last + 1;
        last = id;
        assert_eq!(delta["result"]["machine_status"].get("progress"), None);
        if delta["result"]["machine_status"]["sub_status"] == 2077 {
            break;
        }
    }
    assert!(gap);
    client.until(1, 0).await;
    assert_eq!(client.ask(1036, json!({})).await["result"]["history_task_list"][0]["task_status"], 1);
}

#[test]
fn a_canvas_swap_shows_the_captured_sequence_and_stays_in_status_2() {
    let storage = Storage::open(None).unwrap();
    let mut core = Core::new(&Options::default());
    assert!(core.start_job("cube.gcode", &storage, false));
    for _ in 0..1000 {
        if core.codes().1 == 2075 {
            break;
        }
        core.tick(0.25);
    }
    core.set_speed(2);
    assert!(core.swap(2));
    let mut seen: Vec<(i64, bool, i64)> = Vec::new();
    for _ in 0..80 {
        let status = report::status(&core);
        assert_eq!(status["machine_status"]["status"], 2);
        let alarm = status["machine_status"]["exception_status"] == json!([1211]);
        let detected = status["extruder"]["filament_detected"].as_i64().unwrap();
        let view = (core.codes().1, alarm, detected);
        if seen.last() != Some(&view) {
            seen.push(view);
        }
        core.tick(0.25);
    }
    let expected = [
        (2075, false, 1),
        (2075, true, 1),
        (1045, true, 0),
        (1066, true, 0),
        (1066, false, 1),
        (2075, false, 1),
    ];
    assert_eq!(seen, expected);
    assert_eq!((core.speed_mode, core.canvas.active), (1, 2), "the speed mode is lost in a swap");
}

#[tokio::test]
async fn an_emergency_stop_lasts_until_the_power_cycle() {
    let printer = start(options()).await.unwrap();
    let mut client = Client::registered(&printer, "a").await;
    assert_eq!(client.code(1020, cube()).await, 0);
    assert_eq!(client.code(1007, json!({})).await, 0);
    client.until(14, 0).await;
    assert_eq!(client.code(1020, cube()).await, 1009);
    assert_eq!(printer.truth().nozzle_target, 0.0);
    printer.faults().apply(Fault::PowerOn).unwrap();
    let again = async {
        loop {
            if TcpStream::connect(printer.addresses().mqtt).await.is_ok() && printer.truth().status == 1 {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, again).await.expect("it did not come back");
    let mut client = Client::registered(&printer, "b").await;
    client.until(1, 0).await;
}

#[tokio::test]
async fn after_a_power_cut_the_print_waits_for_a_decision() {
    let printer = start(options()).await.unwrap();
    let mut client = Client::registered(&printer, "a").await;
    assert_eq!(client.code(1020, cube()).await, 0);
    client.until(2, 2075).await;
    printer.faults().apply(Fault::PowerCut).unwrap();
    assert!(timeout(LIMIT, async { while client.events.poll().await.is_ok() {} }).await.is_ok());
    printer.faults().apply(Fault::PowerOn).unwrap();
    let again = async {
        while TcpStream::connect(printer.addresses().mqtt).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, again).await.expect("it did not come back");
    let mut client = Client::registered(&printer, "a").await;
    client.until(15, 0).await;
    assert_eq!(client.code(1020, cube()).await, 1009);
    assert_eq!(client.code(1023, json!({})).await, 0);
    client.until(2, 2075).await;
}

#[tokio::test]
async fn runout_and_jam_pause_with_their_codes() {
    let printer = start(options()).await.unwrap();
    let mut client = Client::registered(&printer, "a").await;
    assert_eq!(printer.faults().apply(Fault::Runout), Err("nothing is being printed".to_owned()));
    assert_eq!(client.code(1020, cube()).await, 0);
    client.until(2, 2075).await;
    printer.faults().apply(Fault::Runout).unwrap();
    let paused = client.until(2, 2505).await;
    assert_eq!(paused["result"]["machine_status"]["exception_status"], json!([109]));
    assert_eq!(paused["result"]["extruder"]["filament_detected"], 0);
    assert_eq!(client.code(1023, json!({})).await, 109);
    printer.faults().apply(Fault::FilamentLoaded).unwrap();
    assert_eq!(client.code(1023, json!({})).await, 0);
    client.until(2, 2075).await;
    printer.faults().apply(Fault::CanvasJam).unwrap();
    let paused = client.until(2, 2506).await;
    assert_eq!(paused["result"]["machine_status"]["exception_status"], json!([1243]));
}

async fn put(printer: &Simulator, range: &str, code: &str, md5: &str, bytes: &[u8]) -> (u16, Value) {
    let url = format!("http://{}/upload", printer.addresses().http);
    let reply = reqwest::Client::new()
        .put(url)
        .header("Content-Type", "application/octet-stream")
        .header("Content-Range", range)
        .header("X-File-Name", "up%20load.gcode")
        .header("X-File-MD5", md5)
        .header("X-Token", code)
        .body(bytes.to_vec())
        .send()
        .await
        .unwrap();
    (reply.status().as_u16(), reply.json().await.unwrap_or(Value::Null))
}

#[tokio::test]
async fn an_upload_follows_its_header_rules() {
    let printer = start(options()).await.unwrap();
    let content = format!("G28\n{}", "G1 X1 Y1 E1 ; filler\n".repeat(70_000)).into_bytes();
    let md5 = data_encoding::HEXLOWER.encode(&Md5::digest(&content));
    let (first, rest) = content.split_at(1 << 20);
    let total = content.len();
    let head = format!("bytes 0-1048575/{total}");
    let tail = format!("bytes 1048576-{}/{total}", total - 1);
    assert_eq!(put(&printer, &head, "wrong", &md5, first).await.0, 401);
    let (status, body) = put(&printer, &tail, "123456", &md5, rest).await;
    assert_eq!((status, body), (200, load("assembled/cc2-http-upload-offset-mismatch")));
    assert_eq!(put(&printer, "bytes 0-9", "123456", &md5, first).await.1["error_code"], 1003);
    assert_eq!(put(&printer, "bytes 0-9/99", "123456", &md5, first).await.1["error_code"], 9009);
    let (_, body) = put(&printer, &head, "123456", &md5, first).await;
    assert_eq!(keys(&body), keys(&load("captured/cc2-http-upload-ok")));
    assert_eq!(body, json!({"error_code": 0, "offset": 1_048_575}));
    assert_eq!(put(&printer, &tail, "123456", &md5, rest).await.1["offset"], total as u64 - 1);
    assert_eq!(put(&printer, "bytes 0-3/4", "123456", &md5, b"G28\n").await.1["error_code"], 9004);
    assert_eq!(printer.truth().uploads, 1);
    let mut client = Client::registered(&printer, "a").await;
    client.until(1, 0).await;
    let detail = client.ask(1046, json!({"storage_media": "local", "filename": "up load.gcode"})).await;
    assert_eq!(detail["result"]["size"], total as u64);
}

#[tokio::test]
async fn the_download_carries_both_length_and_chunks() {
    let printer = start(options()).await.unwrap();
    for (target, status) in [
        ("/download?X-Token=wrong&file_name=cube.gcode", "401"),
        ("/download?X-Token=123456&file_name=none", "404"),
        ("/system/info", "401"),
        ("/system/info?X-Token=123456", "200"),
        ("/", "404"),
        ("/download?X-Token=123456&file_name=cube.gcode", "200"),
    ] {
        let mut stream = TcpStream::connect(printer.addresses().http).await.unwrap();
        stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        let mut head = Vec::new();
        while let Some(line) = timeout(LIMIT, lines.next_line()).await.unwrap().unwrap() {
            if line.is_empty() {
                break;
            }
            head.push(line.to_ascii_lowercase());
        }
        assert!(head[0].contains(status), "{target}: {head:?}");
        if target.starts_with("/download") && status == "200" {
            let length = crate::sim::elegoo_sample::cube().len();
            assert!(head.contains(&format!("content-length: {length}")), "{head:?}");
            assert!(head.contains(&"transfer-encoding: chunked".to_owned()), "{head:?}");
            let size = timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().unwrap();
            assert!(usize::from_str_radix(&size, 16).unwrap() > 1000);
        }
    }
    let info = format!("http://{}/system/info?X-Token=123456", printer.addresses().http);
    let info: Value = reqwest::get(info).await.unwrap().json().await.unwrap();
    assert_eq!(keys(&info), keys(&load("assembled/cc2-http-system-info")));
}

#[tokio::test]
async fn discovery_and_camera_answer() {
    let printer = start(options()).await.unwrap();
    let probe = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let question = load("assembled/cc2-discovery-request").to_string();
    probe.send_to(question.as_bytes(), printer.addresses().discovery).await.unwrap();
    let mut buffer = [0; 2048];
    let length = timeout(LIMIT, probe.recv(&mut buffer)).await.unwrap().unwrap();
    let reply: Value = serde_json::from_slice(&buffer[..length]).unwrap();
    assert_eq!(keys(&reply), keys(&load("assembled/cc2-discovery-reply")));

    let mut stream = TcpStream::connect(printer.addresses().camera).await.unwrap();
    stream.write_all(b"GET /?action=stream HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut seen = Vec::new();
    timeout(LIMIT, async {
        while !seen.windows(2).any(|end| end == [0xFF, 0xD9]) {
            stream.read_buf(&mut seen).await.unwrap();
        }
    })
    .await
    .unwrap();
    assert!(String::from_utf8_lossy(&seen).contains("boundary=frame"));
    let mut second = TcpStream::connect(printer.addresses().camera).await.unwrap();
    assert_eq!(timeout(LIMIT, second.read(&mut [0; 16])).await.unwrap().unwrap(), 0, "one viewer only");
}

#[tokio::test]
async fn line_faults_and_the_control_port_work() {
    let printer = start(options()).await.unwrap();
    let mut client = Client::registered(&printer, "a").await;
    let mut control = BufReader::new(TcpStream::connect(printer.addresses().control).await.unwrap());
    for (line, accept) in [
        (r#"{"fault":"garbage"}"#, r#"{"ok":true}"#),
        (r#"{"fault":"canvas_jam"}"#, r#""ok":false"#),
        (r#"not json"#, r#""ok":false"#),
        (r#"{"truth":true}"#, r#""registered":1"#),
    ] {
        control.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let mut reply = String::new();
        timeout(LIMIT, control.read_line(&mut reply)).await.unwrap().unwrap();
        assert!(reply.contains(accept), "{line} -> {reply}");
    }
    assert_eq!(client.on("/api_status").await, Value::Null, "not JSON");
    printer.faults().apply(Fault::Silence { seconds: 60.0 }).unwrap();
    client.send(1001, json!({}));
    timeout(LIMIT, async {
        while !matches!(client.events.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {}
    })
    .await
    .expect("the broker did not take it");
    printer.faults().apply(Fault::GarbageBytes).unwrap();
    let broken = timeout(LIMIT, async { while client.events.poll().await.is_ok() {} }).await;
    assert!(broken.is_ok(), "the client notices bytes that are no MQTT");
    assert_eq!(printer.truth().commands.len(), 0, "a silent printer hears nothing");
}
