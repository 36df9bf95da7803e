//! Files in and out, camera, faults by the control port.

use super::*;

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
    assert_eq!(printer.truth().counters.uploads, 1);
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
