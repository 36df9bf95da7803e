//! Files in and out, camera, faults by the control port.

use super::*;

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
    assert_eq!(printer.truth().counters.uploads, 1);
    assert_eq!(client.ack(128, start_request("up.gcode")).await, 0);
    assert_eq!(client.status().await["Status"]["PrintInfo"]["TotalTicks"], 0, "the file has no header");
    assert_eq!(printer.truth().counters.violations, Vec::<String>::new());
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
