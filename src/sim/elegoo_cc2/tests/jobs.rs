//! A print from its start to each of its ends.

use super::*;

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
    assert_eq!((truth.counters.starts_received, truth.counters.starts_accepted), (2, 1));
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
