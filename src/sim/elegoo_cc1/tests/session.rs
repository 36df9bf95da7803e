//! Who is served, and with what words.

use super::*;

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
    assert_eq!(printer.truth().counters.offences, Vec::<String>::new());
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
        assert_eq!(truth.counters.crashed.as_deref(), Some(poison.as_str()));
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
    assert_eq!(printer.truth().counters.crashed, None);
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
