//! A print from its start to each of its ends.

use super::*;

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
    assert_eq!((truth.counters.starts_received, truth.counters.starts_accepted), (2, 1));
    assert_eq!(truth.counters.violations.len(), 1, "the jog in mid-print: {:?}", truth.counters.violations);
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
