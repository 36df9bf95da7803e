//! Jobs, commands, faults: what reports and acknowledgements say.

use serde_json::{Value, json};

use super::super::Fault;
use super::client::Peer;
use super::{fast, started};

async fn running(model: &str) -> (super::super::Simulator, Peer) {
    let mut options = fast(model);
    options.speed = 30.0;
    let sim = started(options).await;
    let mut peer = Peer::connect(&sim).await;
    peer.print_sample().await;
    peer.until(|p| p.state["layer_num"].as_i64() > Some(0)).await;
    (sim, peer)
}

fn states(peer: &Peer) -> Vec<&str> {
    let mut list: Vec<&str> =
        peer.seen.iter().filter_map(|v| v.pointer("/print/gcode_state").and_then(Value::as_str)).collect();
    list.dedup();
    list
}

#[tokio::test]
async fn a_p1s_prints_its_sample_in_deltas() {
    let sim = started(fast("p1s")).await;
    let mut peer = Peer::connect(&sim).await;
    peer.print_sample().await;
    let ack = peer.ack("print", "4711").await;
    assert_eq!((&ack["result"], &ack["command"]), (&json!("success"), &json!("project_file")));
    peer.until_state("FINISH").await;
    assert_eq!(states(&peer), ["IDLE", "PREPARE", "RUNNING", "FINISH"]);
    assert_eq!(peer.state["mc_percent"], 100);
    assert_eq!((&peer.state["layer_num"], &peer.state["total_layer_num"]), (&json!(60), &json!(60)));
    assert_eq!(peer.state["subtask_id"], "4711");
    let fulls = peer.seen.iter().filter(|v| v["print"]["msg"] == 0).count();
    assert_eq!(fulls, 1, "a P1S sends the whole report only when asked");
    let truth = sim.truth();
    assert_eq!((truth.counters.project_files, truth.counters.jobs_started), (1, 1));
    assert_eq!(truth.counters.motion_while_printing, 0);
}

#[tokio::test]
async fn pause_resume_and_stop_with_its_echo() {
    let (_sim, mut peer) = running("x1c").await;
    peer.send(json!({"print": {"command": "pause", "param": "", "sequence_id": "1"}})).await;
    peer.until_state("PAUSE").await;
    peer.until(|p| p.state["stg_cur"] == 16).await;
    peer.send(json!({"print": {"command": "resume", "param": "", "sequence_id": "2"}})).await;
    peer.until_state("RUNNING").await;
    peer.send(json!({"print": {"command": "stop", "param": "", "sequence_id": "3"}})).await;
    peer.until_state("FAILED").await;
    assert_eq!(peer.state["print_error"], 50348044);
    peer.until(|p| p.state["print_error"] == 0).await;
    assert_eq!(peer.state["stg_cur"], -1);
}

#[tokio::test]
async fn a_missing_file_is_acknowledged_and_fails() {
    let sim = started(fast("p1s")).await;
    let mut peer = Peer::connect(&sim).await;
    peer.print("ftp:///nothing.3mf", "12").await;
    assert_eq!(peer.ack("print", "12").await["result"], "success");
    peer.until_state("FAILED").await;
    peer.until(|p| p.state["print_error"] == 0x0500_4003).await;
    assert_eq!(sim.truth().counters.jobs_started, 0);
}

#[tokio::test]
async fn a_second_start_is_refused_and_cancels_on_the_a1_mini() {
    let (sim, mut peer) = running("p1s").await;
    peer.print("ftp:///cube.gcode.3mf", "13").await;
    peer.until(|p| p.state["print_error"] == 0x0500_4004).await;
    assert_eq!(sim.truth().counters.jobs_started, 1);
    assert_eq!(sim.truth().gcode_state, "RUNNING");
    let (_sim, mut peer) = running("a1mini").await;
    peer.print("ftp:///cube.gcode.3mf", "13").await;
    peer.until_state("FAILED").await;
}

#[tokio::test]
async fn the_gate_rejects_in_each_models_way() {
    let gcode = json!({"print": {"command": "gcode_line", "param": "M104 S200\n", "sequence_id": "7"}});
    for model in ["x1c", "p1s"] {
        let mut options = fast(model);
        options.gated = true;
        let sim = started(options).await;
        let mut peer = Peer::connect(&sim).await;
        peer.send(gcode.clone()).await;
        let ack = peer.ack("print", "7").await;
        if model == "x1c" {
            assert_eq!((&ack["err_code"], &ack["result"]), (&json!(84033543), &json!("failed")));
            let fun = u64::from_str_radix(peer.state["fun"].as_str().unwrap(), 16).unwrap();
            assert_eq!(fun >> 29 & 1, 1);
        } else {
            assert_eq!(ack, json!({"command": "gcode_line", "sequence_id": "7"}));
            peer.until(|p| p.state["hms"] == json!([{"attr": 83887360, "code": 65543}])).await;
        }
        assert_eq!(sim.truth().nozzles[0].1, 0.0);
        peer.send(json!({"system": {"command": "ledctrl", "led_node": "chamber_light", "led_mode": "on",
            "sequence_id": "8"}}))
            .await;
        peer.until(|p| p.state["lights_report"][0]["mode"] == "on").await;
    }
}

#[tokio::test]
async fn gcode_runs_in_order_and_a_claimed_stage_tells_when() {
    let sim = started(fast("a1mini")).await;
    let mut peer = Peer::connect(&sim).await;
    let lines = "M104 S215\nG28\nG91\nG1 Z5 F600\nG90\nM106 S128\nM400\nM1002 gcode_claim_action : 205\n";
    peer.send(json!({"print": {"command": "gcode_line", "param": lines, "sequence_id": "5"}})).await;
    let ack = peer.ack("print", "5").await;
    assert_eq!((ack.get("command"), &ack["result"]), (None, &json!("success")));
    peer.until(|p| p.state["stg_cur"] == 205).await;
    let truth = sim.truth();
    assert_eq!(truth.position[2], 5.0);
    assert!(truth.homed && truth.fans[0] == 128 && truth.nozzles[0].1 == 215.0);
    peer.until(|p| p.state["cooling_fan_speed"] == "8" && p.state["nozzle_target_temper"] == 215).await;
}

#[tokio::test]
async fn filament_runs_out_and_goes_on_after_a_refill() {
    let (sim, mut peer) = running("a1mini").await;
    peer.send(json!({"print": {"command": "stop", "sequence_id": "1"}})).await;
    peer.until_state("FAILED").await;
    peer.send(
        json!({"print": {"command": "project_file", "sequence_id": "2", "url": "ftp:///cube.gcode.3mf",
        "param": "Metadata/plate_1.gcode", "use_ams": true, "ams_mapping": [1], "subtask_id": "99"}}),
    )
    .await;
    peer.until(|p| p.state["ams"]["tray_now"] == "1").await;
    sim.faults().apply(Fault::Runout).unwrap();
    peer.until_state("PAUSE").await;
    peer.until(|p| p.state["stg_cur"] == 6 && p.state["print_error"] == 0x0700_8011).await;
    assert_eq!(peer.state["hms"], json!([{"attr": 0x0700_2100, "code": 0x0002_0001}]));
    peer.until(|p| p.state["ams"]["tray_exist_bits"] == "d").await;
    peer.send(json!({"print": {"command": "resume", "sequence_id": "3"}})).await;
    peer.ack("print", "3").await;
    assert_eq!(sim.truth().gcode_state, "PAUSE", "an empty slot cannot go on");
    sim.faults().apply(Fault::Refill).unwrap();
    peer.send(json!({"print": {"command": "resume", "sequence_id": "4"}})).await;
    peer.until_state("RUNNING").await;
}

#[tokio::test]
async fn an_ams_change_walks_its_steps_and_can_jam() {
    let mut options = fast("x1c");
    options.speed = 10.0;
    let sim = started(options).await;
    let mut peer = Peer::connect(&sim).await;
    let load = json!({"print": {"command": "ams_change_filament", "ams_id": 1, "slot_id": 1, "target": 5,
        "curr_temp": -1, "tar_temp": -1, "sequence_id": "1"}});
    peer.send(load.clone()).await;
    for step in [0x102, 0x103, 0x106, 0x107] {
        peer.until(|p| p.state["ams_status"] == step).await;
    }
    peer.until(|p| p.state["ams"]["tray_now"] == "5").await;
    peer.until(|p| p.state["device"]["extruder"]["info"][0]["snow"] == 257).await;
    sim.faults().apply(Fault::AmsJam { on: true }).unwrap();
    peer.send(json!({"print": {"command": "ams_change_filament", "ams_id": 0, "slot_id": 2, "target": 2,
        "curr_temp": -1, "tar_temp": -1, "sequence_id": "2"}}))
        .await;
    peer.until(|p| p.state["print_error"] == 0x0700_8006).await;
    sim.faults().apply(Fault::AmsJam { on: false }).unwrap();
    peer.send(json!({"print": {"command": "ams_control", "param": "resume", "sequence_id": "3"}})).await;
    peer.until(|p| p.state["ams"]["tray_now"] == "2" && p.state["print_error"] == 0).await;
}

#[tokio::test]
async fn objects_are_skipped_and_options_and_drying_show() {
    let (sim, mut peer) = running("h2d").await;
    peer.send(json!({"print": {"command": "skip_objects", "obj_list": [394], "sequence_id": "1"}})).await;
    peer.until(|p| p.state["s_obj"] == json!([394])).await;
    peer.send(
        json!({"print": {"command": "ams_filament_drying", "ams_id": 128, "mode": 1, "filament": "PLA",
        "temp": 50, "duration": 8, "sequence_id": "2"}}),
    )
    .await;
    let ht = |p: &Peer| {
        let units = p.state["ams"]["ams"].as_array()?;
        let unit = units.iter().find(|unit| unit["id"] == "128")?;
        Some((unit["dry_time"].as_i64()?, u32::from_str_radix(unit["info"].as_str()?, 16).ok()?))
    };
    peer.until(|p| ht(p).is_some_and(|(minutes, info)| minutes > 470 && info >> 4 & 0xF == 2)).await;
    peer.send(json!({"print": {"command": "print_option", "sound_enable": false, "sequence_id": "3"}})).await;
    peer.until(|p| p.state["home_flag"].as_i64().is_some_and(|flag| flag >> 17 & 1 == 0)).await;
    sim.faults().apply(Fault::Door { open: true }).unwrap();
    let stat = |p: &Peer| u64::from_str_radix(p.state["stat"].as_str().unwrap(), 16).unwrap() >> 23 & 1;
    peer.until(|p| stat(p) == 1).await;
}

#[tokio::test]
async fn an_h2d_delta_of_a_unit_has_only_what_changed() {
    let (_sim, mut peer) = running("h2d").await;
    let units =
        |v: &Value| v.pointer("/print/ams/ams").and_then(Value::as_array).cloned().unwrap_or_default();
    peer.seen.clear();
    peer.send(json!({"print": {"command": "ams_filament_drying", "ams_id": 1, "mode": 1, "filament": "PLA",
        "temp": 45, "duration": 8, "sequence_id": "2"}}))
        .await;
    let partial = |p: &Peer| p.seen.iter().flat_map(units).find(|u| u["id"] == "1" && u["dry_time"] == 480);
    peer.until(|p| partial(p).is_some()).await;
    let unit = partial(&peer).unwrap();
    assert_eq!(unit["tray"][0], json!({"id": "0", "state": 10}));
    assert!(unit.as_object().unwrap().len() < 6, "{unit}");
}

#[tokio::test]
async fn the_first_x1_firmware_sends_whole_reports_while_it_prints() {
    let mut options = fast("x1c-early");
    options.speed = 30.0;
    let sim = started(options).await;
    let mut peer = Peer::connect(&sim).await;
    peer.print("file:///mnt/sdcard/cube.gcode.3mf", "77").await;
    peer.until(|p| p.state["layer_num"].as_i64() > Some(0)).await;
    let reports: Vec<_> = peer.seen.iter().filter(|v| v["print"]["command"] == "push_status").collect();
    let count = |v: &&&Value| v["print"].as_object().is_some_and(|print| print.len() > 40);
    assert_eq!(reports.iter().filter(count).count(), reports.len());
    assert!(reports.len() > 3);
}
