//! Who is served, and with what words.

use super::*;

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
    assert_eq!((truth.counters.muted, truth.registered, truth.counters.registrations_refused), (1, 2, 1));
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
        while printer.truth().counters.muted == 0 {
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
    assert_eq!(printer.truth().counters.swallowed, 3, "two answered, three lost");
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
    assert_eq!(printer.truth().counters.forbidden, Vec::<String>::new());
    for method in [1049, 1050, 1053, 1063] {
        client.ask(method, json!({})).await;
    }
    assert_eq!(printer.truth().counters.forbidden.len(), 4, "a loud failure");
}
