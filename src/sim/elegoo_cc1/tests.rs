//! The simulated CC1 judged by independent clients (tokio-tungstenite, reqwest, bare sockets) and by the fixtures.

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

/// Runs a job on the bare state machine and returns the states it shows, without repeats.
fn walk(firmware: &str, seconds: usize) -> (Vec<i64>, Core, Storage) {
    let storage = Storage::open(None).unwrap();
    let mut core = Core::new(&Options { firmware: firmware.to_owned(), ..Options::default() });
    assert!(core.start_job("cube.gcode", &storage, false));
    let mut seen = Vec::new();
    for _ in 0..seconds * 4 {
        let (_, sub) = core.codes();
        if seen.last() != Some(&sub) {
            seen.push(sub);
        }
        core.tick(0.25, &storage);
    }
    (seen, core, storage)
}

#[test]
fn old_firmware_walks_and_new_firmware_parks() {
    assert_eq!(walk("V1.1.46", 600).0, [18, 1, 21, 16, 20, 15, 19, 13, 9]);
    assert_eq!(walk("V1.4.46", 600).0, [18, 1, 21, 16, 20, 9]);
}

#[test]
fn a_finished_job_leaves_stale_fields_behind() {
    let (_, core, _) = walk("V1.1.46", 600);
    let info = report::status(&core)["Status"]["PrintInfo"].clone();
    assert_eq!((&info["Filename"], &info["TaskId"]), (&json!(""), &json!("")));
    assert_eq!((info["CurrentLayer"].clone(), info["TotalTicks"].clone()), (json!(60), json!(180)));
    assert_eq!(core.codes(), (vec![0], 9));
    assert_eq!(core.history[0].status, 1);
}

#[test]
fn a_paused_printer_cools_down_by_itself_and_heats_up_again() {
    let (_, mut core, storage) = walk("V1.1.46", 120);
    assert_eq!(core.codes().1, 13);
    let target = core.machine.nozzles[0].target;
    assert!(core.pause());
    (0..400).for_each(|_| core.tick(0.25, &storage));
    assert_eq!(core.codes(), (vec![1], 6));
    assert!(core.machine.nozzles[0].target < target);
    let ticks = core.ticks;
    assert!(core.resume());
    core.tick(0.25, &storage);
    assert_eq!((core.codes().1, core.ticks), (12, ticks));
    (0..400).for_each(|_| core.tick(0.25, &storage));
    assert_eq!(core.machine.nozzles[0].target, target);
}

#[test]
fn a_stop_shows_homing_inside_and_ends_at_8() {
    let (_, mut core, storage) = walk("V1.1.46", 120);
    assert!(core.cancel());
    let mut seen = Vec::new();
    for _ in 0..100 {
        core.tick(0.25, &storage);
        let (_, sub) = core.codes();
        if seen.last() != Some(&sub) {
            seen.push(sub);
        }
    }
    assert_eq!(seen, [7, 1, 21, 7, 8]);
    let info = report::status(&core)["Status"]["PrintInfo"].clone();
    assert_eq!((info["CurrentTicks"].as_f64(), info["TotalTicks"].clone()), (Some(0.0), json!(180)));
}

#[tokio::test]
async fn every_payload_has_exactly_the_captured_keys() {
    let options = Options { firmware: "V1.4.46".to_owned(), canvas: true, ..Options::default() };
    let modern = start(options).await.unwrap();
    let mut client = Client::connect(&modern).await;
    let attributes = client.frame("attributes").await;
    assert_eq!(keys(&attributes), keys(&load("assembled/cc1-attributes-push")));
    assert_eq!(keys(&client.status().await), keys(&load("assembled/cc1-status-v1.4-parked-on-20")));
    let canvas = client.ask(324, json!({})).await;
    assert_eq!(keys(&canvas), keys(&load("assembled/cc1-response-canvas-324")));

    let printer = fast().await;
    let mut client = Client::connect(&printer).await;
    for fixture in ["cc1-status-stopped-8", "cc1-status-preheated-20", "cc1-status-printing-13"] {
        assert_eq!(keys(&client.status().await), keys(&load(&format!("captured/{fixture}"))));
    }
    let missing = client.ask(128, start_request("some_file.gcode")).await;
    assert_eq!(keys(&missing), keys(&load("captured/cc1-response-start-print-128-ack2-not-found")));
    assert_eq!(missing["Data"]["Data"]["Ack"], 2);
    let files = client.ask(258, json!({"Url": "/local"})).await;
    assert_eq!(keys(&files), keys(&load("assembled/cc1-response-filelist-258")));
    let info = client.ask(260, json!({"Url": "/local/cube.gcode"})).await;
    assert_eq!(keys(&info), keys(&load("assembled/cc1-response-fileinfo-260")));
    let video = client.ask(386, json!({"Enable": 1})).await;
    assert_eq!(keys(&video), keys(&load("assembled/cc1-response-video-386")));
    assert_eq!(client.ack(128, start_request("cube.gcode")).await, 0);
    let ids = client.ask(320, json!({})).await;
    assert_eq!(keys(&ids), keys(&load("assembled/cc1-response-history-320")));
    let detail = client.ask(321, json!({"Id": ids["Data"]["Data"]["HistoryData"]})).await;
    assert_eq!(keys(&detail), keys(&load("assembled/cc1-response-history-detail-321")));
}

#[tokio::test]
async fn the_captured_requests_are_understood() {
    let printer = fast().await;
    let mut client = Client::connect(&printer).await;
    for name in ["cc1-request-status-0", "cc1-request-minimal-no-topic", "cc1-request-light-403"] {
        client.text(&load(&format!("captured/{name}")).to_string()).await;
        let reply = client.frame("response").await;
        assert_eq!(keys(&reply), keys(&load("captured/cc1-response-status-0-ack")), "{name}");
    }
    client.text(&load("captured/cc1-request-start-print-128").to_string()).await;
    assert_eq!(client.frame("response").await["Data"]["Data"]["Ack"], 2);
    client.text(&load("assembled/cc1-request-start-print-128-slotmap").to_string()).await;
    assert_eq!(client.frame("response").await["Data"]["Data"]["Ack"], 2);
    client.text("ping").await;
    assert_eq!(client.next().await.as_deref(), Some("pong"));
    assert_eq!(printer.truth().offences, Vec::<String>::new());
}

#[tokio::test]
async fn a_print_is_started_paused_resumed_and_stopped() {
    let printer = fast().await;
    let mut client = Client::connect(&printer).await;
    assert_eq!(client.ack(129, json!({})).await, 1, "nothing to pause");
    assert_eq!(client.ack(128, start_request("cube.gcode")).await, 0);
    assert_eq!(client.ack(128, start_request("cube.gcode")).await, 1, "busy");
    client.until("printing", |s| sub(s) == 13).await;
    assert_eq!(client.ack(129, json!({})).await, 0);
    client.until("paused", |s| sub(s) == 6 && s["CurrentStatus"] == json!([1])).await;
    assert_eq!(client.ack(131, json!({})).await, 0);
    client.until("printing again", |s| sub(s) == 13).await;
    assert_eq!(client.ack(401, json!({"Axis": "X", "Step": 10.0})).await, 1);
    assert_eq!(client.ack(130, json!({})).await, 0);
    client.until("stopped", |s| sub(s) == 8 && s["CurrentStatus"] == json!([0])).await;
    let truth = printer.truth();
    assert_eq!((truth.starts_received, truth.starts_accepted), (2, 1));
    assert_eq!(truth.violations.len(), 1, "the jog in mid-print: {:?}", truth.violations);
}

#[tokio::test]
async fn an_unknown_command_kills_the_process_but_not_discovery() {
    for poison in [
        request(257, json!({})).to_string(),
        request(258, json!({})).to_string(),
        request(320, json!({"Id": 1})).to_string(),
        request(0, Value::Null).to_string(),
        request(324, json!({})).to_string(),
        "{\"Data\":".to_owned(),
    ] {
        let printer = fast().await;
        let mut client = Client::connect(&printer).await;
        let mut witness = Client::connect(&printer).await;
        assert_eq!(client.ack(128, start_request("cube.gcode")).await, 0);
        client.text(&poison).await;
        while client.next().await.is_some() {}
        while witness.next().await.is_some() {}
        let truth = printer.truth();
        assert_eq!(truth.crashed.as_deref(), Some(poison.as_str()));
        assert_eq!((truth.stage.as_str(), truth.nozzle_target), ("Idle", 0.0), "the print is lost");
        assert_eq!(
            discover(&printer).await["Data"]["MainboardID"],
            printer.shared.options.mainboard_id.as_str()
        );
        printer.faults().apply(Fault::PowerOn).unwrap();
        timeout(LIMIT, async {
            let url = format!("ws://{}/websocket", printer.addresses().websocket);
            while connect_async(url.as_str()).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("it did not come back");
    }
}

async fn discover(printer: &Simulator) -> Value {
    let probe = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    probe.send_to(b"M99999", printer.addresses().discovery).await.unwrap();
    let mut buffer = [0; 2048];
    let length = timeout(LIMIT, probe.recv(&mut buffer)).await.unwrap().unwrap();
    serde_json::from_slice(&buffer[..length]).unwrap()
}

#[tokio::test]
async fn discovery_answers_as_captured() {
    let printer = fast().await;
    let reply = discover(&printer).await;
    assert_eq!(keys(&reply), keys(&load("assembled/cc1-discovery-reply")));
    assert_eq!(reply["Id"], load("assembled/cc1-discovery-reply")["Id"]);
}

#[tokio::test]
async fn the_sixth_client_is_turned_away_with_the_captured_body() {
    let printer = fast().await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::connect(&printer).await);
    }
    let url = format!("ws://{}/websocket", printer.addresses().websocket);
    let Err(tungstenite::Error::Http(reply)) = connect_async(url).await else { panic!("not refused") };
    assert_eq!(reply.status(), 500);
    assert_eq!(reply.body().as_deref(), Some("too many client".as_bytes()));
    let counts = printer.truth().connections["websocket"];
    assert_eq!((counts.open, counts.peak, counts.refused), (5, 5, 1));
}

#[tokio::test]
async fn an_idle_client_is_closed() {
    let options = Options { idle_close: Duration::from_millis(200), ..Options::default() };
    let printer = start(options).await.unwrap();
    let mut client = Client::connect(&printer).await;
    while client.next().await.is_some() {}
    assert_eq!(printer.truth().crashed, None);
}

async fn post_chunk(printer: &Simulator, md5: &str, offset: &str, total: usize, bytes: &[u8]) -> Value {
    let part = reqwest::multipart::Part::bytes(bytes.to_vec())
        .file_name("up.gcode")
        .mime_str("application/octet-stream")
        .unwrap();
    let form = reqwest::multipart::Form::new()
        .text("Check", "1")
        .text("S-File-MD5", md5.to_owned())
        .text("Offset", offset.to_owned())
        .text("Uuid", "0f4f6ddd0f4f4ddd8f4f6ddd0f4f6ddd")
        .text("TotalSize", total.to_string())
        .part("File", part);
    let url = format!("http://{}/uploadFile/upload", printer.addresses().http);
    let reply = reqwest::Client::new().post(url).multipart(form).send().await.unwrap();
    reply.json().await.unwrap()
}

#[tokio::test]
async fn an_upload_is_chunked_checked_and_then_printable() {
    let printer = start(Options { speed: 4.0, ..Options::default() }).await.unwrap();
    let mut client = Client::connect(&printer).await;
    let content = format!("G28\n{}", "G1 X1 Y1 E1 ; filler\n".repeat(70_000)).into_bytes();
    let md5 = data_encoding::HEXLOWER.encode(&Md5::digest(&content));
    let (first, rest) = content.split_at(1 << 20);
    let bad = post_chunk(&printer, &md5, "5", content.len(), first).await;
    assert_eq!(keys(&bad), keys(&load("assembled/cc1-http-upload-error-offset")));
    assert_eq!(bad["messages"][0]["message"], -2);
    let bad = post_chunk(&printer, &md5, "zwölf", content.len(), first).await;
    assert_eq!(bad["messages"][0]["message"], -1);
    let good = post_chunk(&printer, &md5, "0", content.len(), first).await;
    assert_eq!(good, load("assembled/cc1-http-upload-ok"));
    assert_eq!(post_chunk(&printer, &md5, "1048576", content.len(), rest).await["code"], "000000");
    assert_eq!(client.ack(128, start_request("up.gcode")).await, 1, "the check is running");
    client.until("checking", |s| s["CurrentStatus"] == json!([8])).await;
    client.until("checked", |s| s["CurrentStatus"] == json!([0])).await;
    assert_eq!(printer.truth().uploads, 1);
    assert_eq!(client.ack(128, start_request("up.gcode")).await, 0);
    assert_eq!(client.status().await["Status"]["PrintInfo"]["TotalTicks"], 0, "the file has no header");
    assert_eq!(printer.truth().violations, Vec::<String>::new());
}

#[tokio::test]
async fn a_wrong_md5_is_found_after_the_upload() {
    let printer = fast().await;
    let mut client = Client::connect(&printer).await;
    let reply = post_chunk(&printer, "00000000000000000000000000000000", "0", 4, b"G28\n").await;
    assert_eq!(reply["code"], "000000", "the transfer itself succeeds");
    let error = client.frame("error").await;
    assert_eq!(error["Data"]["Data"]["ErrorCode"], 1);
    assert_eq!(client.ack(128, start_request("up.gcode")).await, 3);
    printer.faults().apply(Fault::DiskFull { on: true }).unwrap();
    let reply = post_chunk(&printer, "00000000000000000000000000000000", "0", 4, b"G28\n").await;
    assert_eq!(reply["messages"][0]["message"], -3);
}

#[tokio::test]
async fn the_web_page_and_the_download_are_there() {
    let printer = fast().await;
    let base = format!("http://{}", printer.addresses().http);
    let page = reqwest::get(format!("{base}/")).await.unwrap().text().await.unwrap();
    assert!(page.contains("ELEGOO"));
    let file = reqwest::get(format!("{base}/downloadFile/local/cube.gcode")).await.unwrap();
    assert_eq!(file.text().await.unwrap(), crate::sim::elegoo_sample::cube());
    let missing = reqwest::get(format!("{base}/downloadFile/local/none")).await.unwrap();
    assert_eq!(missing.status(), 404);
}

#[tokio::test]
async fn the_camera_flows_only_when_enabled_and_has_malformed_headers() {
    let printer = fast().await;
    let mut stream = TcpStream::connect(printer.addresses().camera).await.unwrap();
    stream.write_all(b"GET /video HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut seen = Vec::new();
    timeout(LIMIT, async {
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(stream.read_u8().await.unwrap());
        }
    })
    .await
    .unwrap();
    let head = String::from_utf8(seen).unwrap();
    assert!(head.contains("boundary=--foo") && head.contains("Expires: %a"), "{head}");
    let mut client = Client::connect(&printer).await;
    let video = client.ask(386, json!({"Enable": 1})).await;
    let port = printer.addresses().camera.port();
    assert_eq!(video["Data"]["Data"]["VideoUrl"], format!("127.0.0.1:{port}/video"));
    let mut picture = Vec::new();
    timeout(LIMIT, async {
        while !picture.windows(2).any(|end| end == [0xFF, 0xD9]) {
            stream.read_buf(&mut picture).await.unwrap();
        }
    })
    .await
    .unwrap();
    assert!(picture.starts_with(b"--foo\r\n") && picture.windows(2).any(|at| at == [0xFF, 0xD8]));
}

#[tokio::test]
async fn a_runout_pauses_without_a_reason_and_the_control_port_reports_it() {
    let printer = fast().await;
    let mut client = Client::connect(&printer).await;
    assert_eq!(client.ack(128, start_request("cube.gcode")).await, 0);
    client.until("printing", |s| sub(s) == 13).await;
    let control = TcpStream::connect(printer.addresses().control).await.unwrap();
    let mut control = BufReader::new(control);
    for (line, accept) in [
        (r#"{"fault":"runout"}"#, r#"{"ok":true}"#),
        (r#"{"fault":"nonsense"}"#, r#""ok":false"#),
        (r#"{"truth":true}"#, r#""starts_accepted":1"#),
    ] {
        control.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let mut reply = String::new();
        timeout(LIMIT, control.read_line(&mut reply)).await.unwrap().unwrap();
        assert!(reply.contains(accept), "{line} -> {reply}");
    }
    let paused = client.until("paused", |s| sub(s) == 6).await;
    assert_eq!(keys(&paused), keys(&load("captured/cc1-status-printing-13")), "no reason is given");
    let mut late = Client::connect(&printer).await;
    late.text("ping").await;
    assert_eq!(late.next().await.as_deref(), Some("pong"), "no attributes push while paused");
}

#[tokio::test]
async fn pushes_come_only_while_printing_and_garbage_is_garbage() {
    let printer = fast().await;
    let mut client = Client::connect(&printer).await;
    client.frame("attributes").await;
    assert_eq!(client.ack(512, json!({"TimePeriod": 100})).await, 0);
    assert_eq!(client.ack(128, start_request("cube.gcode")).await, 0);
    let pushed = client.frame("status").await;
    assert_eq!(pushed["Status"]["CurrentStatus"], json!([1]));
    printer.faults().apply(Fault::Garbage).unwrap();
    loop {
        let frame = client.next().await.expect("closed");
        if serde_json::from_str::<Value>(&frame).is_err() {
            break;
        }
    }
    printer.faults().apply(Fault::LengthPrefix { on: true }).unwrap();
    loop {
        let frame = client.next().await.expect("closed");
        let length: String = frame.chars().take_while(char::is_ascii_digit).collect();
        if !length.is_empty() {
            assert_eq!(length.parse::<usize>().unwrap(), frame.len() - length.len());
            break;
        }
    }
    printer.faults().apply(Fault::Drop).unwrap();
    while client.next().await.is_some() {}
}

#[tokio::test]
async fn extrusion_is_reported_under_its_hex_names_when_asked_for() {
    let options = Options { extrusion_keys: true, ..Options::default() };
    let printer = start(options).await.unwrap();
    let mut client = Client::connect(&printer).await;
    let info = client.status().await["Status"]["PrintInfo"].clone();
    assert_eq!(keys(&info), keys(&load("assembled/cc1-fragment-printinfo-hexkeys")));
}
