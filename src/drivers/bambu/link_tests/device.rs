//! The machine itself: options, nozzle, air, calibration, motion, faults, the vendor's own words.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_option_a_model_offers_is_switched_and_shown() {
    for key in ["x1c", "h2d", "a1mini"] {
        let bench = Bench::start(key).await;
        let offered = bench.handle.capabilities().options.clone();
        assert!(offered.len() > 3, "{key}: {offered:?}");
        for option in offered {
            let shown = bench.handle.state().device.options.get(&option).copied();
            for on in [!shown.unwrap_or(false), shown.unwrap_or(false)] {
                bench.done(Command::SetOption { option, on }).await;
                let showing = |state: &PrinterState| state.device.options.get(&option) == Some(&on);
                bench.until(&format!("{key}: {option:?} {on}"), showing).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_arrive_in_their_own_category() {
    let bench = Bench::start("x1c").await;
    bench.done(Command::SetOption { option: PrintOption::AutoRecovery, on: true }).await;
    assert_eq!(bench.received("print_option"), json!({"command": "print_option", "auto_recovery": true}));
    bench.done(Command::SetAutoRefill(true)).await;
    assert_eq!(
        bench.received("print_option"),
        json!({"command": "print_option", "auto_switch_filament": true})
    );
    bench.until("refill", |state| state.device.filament.auto_refill == Some(true)).await;
    bench.done(Command::SetOption { option: PrintOption::SpaghettiDetection, on: true }).await;
    let detector = bench.received("xcam_control_set");
    assert_eq!(detector["module_name"], "spaghetti_detector");
    assert!(detector["control"] == true && detector["halt_print_sensitivity"].is_string(), "{detector}");
    bench.done(Command::SetOption { option: PrintOption::Timelapse, on: true }).await;
    assert_eq!(bench.received("ipcam_timelapse"), json!({"command": "ipcam_timelapse", "control": "enable"}));
    bench.done(Command::SetOption { option: PrintOption::AmsReadAtStart, on: true }).await;
    let settings = bench.received("ams_user_setting");
    assert!(settings["startup_read_option"] == true && settings["ams_id"] == -1, "{settings}");
    assert!(settings["tray_read_option"].is_boolean() && settings["calibrate_remain_flag"].is_boolean());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nozzle_is_told() {
    let bench = Bench::start("p1s").await;
    let nozzle = Command::SetNozzleType { tool: 0, diameter: 0.6, material: "Hardened Steel".into() };
    bench.done(nozzle).await;
    assert_eq!(
        bench.received("set_accessories"),
        json!({
            "command": "set_accessories", "accessory_type": "nozzle", "nozzle_diameter": 0.6,
            "nozzle_type": "hardened_steel",
        })
    );
    bench.until("0.6 mm", |state| state.device.nozzles[0].diameter_mm == Some(0.6)).await;
    // The sample is sliced for 0.4 mm: the printer itself refuses it, and its reason is told.
    let slot = loaded(&bench.handle.state());
    bench.start_cube(vec![slot]).await.expect("taken");
    let state = bench.until("failed", |state| state.device.job.stage == DeviceStage::Failed).await;
    assert!(
        state.device.job.reason.as_ref().is_some_and(|text| text.contains("nozzle")),
        "{:?}",
        state.device.job
    );
    let odd = Command::SetNozzleType { tool: 0, diameter: 0.5, material: "brass".into() };
    assert!(matches!(bench.send(odd).await, Err(CommandError::Invalid(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn fans_air_and_chamber() {
    let bench = Bench::start("h2d").await;
    let caps = bench.handle.capabilities();
    for (fan, code) in
        [(FanId::Part, "M106 P1 S255"), (FanId::Auxiliary, "M106 P2 S255"), (FanId::Chamber, "M106 P3 S255")]
    {
        assert!(caps.fans.contains(&fan), "{fan:?}");
        bench.done(Command::SetFan { fan, speed: 1.0 }).await;
        assert_eq!(bench.received("gcode_line")["param"], format!("{code}\n"));
        bench
            .until("speed", |state| state.device.fans.get(&fan).is_some_and(|fan| fan.speed == Some(1.0)))
            .await;
    }
    assert!(caps.air_modes.contains(&AirMode::Heating), "{:?}", caps.air_modes);
    for (mode, number) in [(AirMode::Heating, 1), (AirMode::Cooling, 0)] {
        let outcome = bench.done(Command::SetAirMode(mode)).await;
        assert_eq!(outcome.seen, Seen::Effect);
        assert_eq!(
            bench.received("set_airduct"),
            json!({"command": "set_airduct", "modeId": number, "submode": -1})
        );
    }
    let outcome = bench.done(Command::SetChamber { target: 50.0 }).await;
    assert_eq!(outcome.seen, Seen::Effect);
    assert_eq!(bench.received("set_ctt"), json!({"command": "set_ctt", "ctt_val": 50, "temper_check": true}));
    assert_eq!(bench.handle.state().device.chamber.target, Some(50.0));
    for tool in [0, 1] {
        let outcome = bench.done(Command::SetNozzle { tool, target: 150.0 }).await;
        assert_eq!(outcome.seen, Seen::Effect, "nozzle {tool}");
        assert_eq!(bench.received("gcode_line")["param"], format!("M104 S150 T{tool}\n"));
    }
    let bench = Bench::start("x1e").await;
    assert_eq!(bench.done(Command::SetChamber { target: 45.0 }).await.seen, Seen::Effect);
    assert_eq!(bench.received("gcode_line")["param"], "M141 S45\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calibration_keeps_the_printer_busy() {
    let bench = run(simulator("x1c", |options| options.speed = 20.0).await, |_| {});
    bench.online().await;
    let wanted = [Calibration::BedLevelling, Calibration::Vibration].into();
    bench.done(Command::Calibrate(wanted)).await;
    assert_eq!(bench.received("calibration"), json!({"command": "calibration", "option": 6}));
    bench.until("under way", |state| state.device.job.stage.active()).await;
    let slot = loaded(&bench.handle.state());
    let job = bench.start_cube(vec![slot]).await;
    assert!(matches!(job, Err(CommandError::Busy(_))), "{job:?}");
    bench.until("done", |state| state.device.job.stage == DeviceStage::Finished).await;
    assert_eq!(bench.sim.truth().counters.project_files, 0);
    bench.start_cube(vec![slot]).await.expect("free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_skipped() {
    let bench = run(simulator("p1s", |options| options.speed = 20.0).await, |_| {});
    let slot = loaded(&*bench.online().await);
    let early = bench.send(Command::SkipObjects(vec![1])).await;
    assert!(matches!(early, Err(CommandError::Invalid(_))), "{early:?}");
    bench.start_cube(vec![slot]).await.expect("start");
    bench.until("a layer", |state| state.device.job.layer.is_some_and(|layer| layer > 0)).await;
    let object = crate::sim::sample::OBJECTS[0];
    bench.done(Command::SkipObjects(vec![object])).await;
    assert_eq!(
        bench.received("skip_objects"),
        json!({"command": "skip_objects", "obj_list": [object], "timestamp": 0})
    );
    bench.until("skipped", |state| state.device.job.skipped == [object]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn motion_is_wrapped_and_kept_from_a_running_job() {
    let bench = Bench::start("p1s").await;
    bench.done(Command::Home(Axes::ALL)).await;
    assert!(
        bench.received("gcode_line")["param"].as_str().is_some_and(|p| !p.contains("G28 ")),
        "bare G28 only"
    );
    let homed =
        |state: &PrinterState| state.device.motion.homed.is_some_and(|homed| homed.x && homed.y && homed.z);
    bench.until("homed", homed).await;
    bench.done(Command::Jog { delta: [10.0, 0.0, 0.0], feed: Some(50.0) }).await;
    let jog = bench.received("gcode_line")["param"].as_str().unwrap_or_default().to_owned();
    assert!(jog.contains("push_ref_mode\nG91\nG1 X10") && jog.contains("pop_ref_mode"), "{jog}");
    let truth = bench.sim.truth();
    assert_eq!((truth.counters.partial_homings, truth.counters.motion_while_printing), (0, 0));
}

/// A P1P tells its step in complete reports only; some emulated printers do nothing with the marker.
#[tokio::test(flavor = "multi_thread")]
async fn homing_ends_where_no_marker_comes_by_itself() {
    for (key, ignored) in [("p1p", false), ("p1s", true)] {
        let bench =
            run(simulator(key, |_| {}).await, |config| config.timing.settle = Duration::from_millis(200));
        bench.sim.faults().apply(Fault::IgnoreClaims { on: ignored }).expect("fault");
        bench.online().await;
        let outcome = bench.done(Command::Home(Axes::ALL)).await;
        assert_eq!(outcome.seen, Seen::Effect, "{key}: by its step, or by its axes");
        bench.done(Command::Jog { delta: [10.0, 0.0, 0.0], feed: Some(50.0) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn detectors_are_set_where_nobody_acknowledges_them() {
    let bench = run(simulator("x1c", |_| {}).await, |config| config.timing.reply = Duration::from_secs(1));
    bench.sim.faults().apply(Fault::MuteXcam { on: true }).expect("fault");
    bench.online().await;
    for on in [true, false, true] {
        let option = Command::SetOption { option: PrintOption::SpaghettiDetection, on };
        assert_eq!(bench.done(option).await.seen, Seen::Sent);
    }
    assert_eq!(bench.handle.state().link.made, 1, "not taken for deaf");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_urgent_or_a_setting_passes_a_long_move() {
    let bench = run(simulator("x1c", |options| options.speed = 1.0).await, |_| {});
    bench.online().await;
    let handle = bench.handle.clone();
    let waiting = tokio::spawn(async move { handle.send(Command::Gcode(vec!["G4 S500".into()])).await });
    let sent = |bench: &Bench| bench.sim.truth().counters.gcode.iter().any(|line| line.starts_with("G4"));
    tokio::time::timeout(DEADLINE, async {
        while !sent(&bench) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the long move is under way");
    bench.done(Command::SetLight { light: LightId::Chamber, on: false }).await;
    bench.done(Command::EmergencyStop).await;
    assert!(!waiting.is_finished(), "all this happened while the move was under way");
    let behind = bench.send(Command::MotorsOff).await;
    assert!(matches!(behind, Err(CommandError::Busy(_))), "{behind:?}");
    waiting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_told_and_closed() {
    let bench = run(simulator("p1s", |options| options.speed = 30.0).await, |_| {});
    let slot = loaded(&*bench.online().await);
    bench.start_cube(vec![slot]).await.expect("start");
    bench.until("printing", |state| state.device.job.stage == DeviceStage::Printing).await;
    bench.sim.faults().apply(Fault::FailJob { code: 0x0300_4006 }).expect("fault");
    let state = bench.until("failed", |state| state.device.job.stage == DeviceStage::Failed).await;
    assert!(
        state.device.job.reason.as_ref().is_some_and(|text| text.contains("clogged")),
        "{:?}",
        state.device.job
    );
    bench.until("fault", |state| state.device.faults.iter().any(|fault| fault.code == "0300_4006")).await;
    bench.done(Command::ClearFault { code: Some("0300_4006".into()) }).await;
    assert_eq!(bench.received("clean_print_error")["print_error"], 0x0300_4006);
    assert_eq!(bench.receives("uiop").await["err"], "03004006");
    bench.until("closed", |state| state.device.faults.is_empty()).await;
    bench.sim.faults().apply(Fault::RaiseHms { attr: 0x0300_0300, code: 0x0002_0002 }).expect("fault");
    let state = bench.until("health", |state| !state.device.faults.is_empty()).await;
    let fault = &state.device.faults[0];
    assert!(fault.text.contains("fan of the hotend") && fault.link.is_some(), "{fault:?}");
    assert_eq!((fault.code.as_str(), fault.severity), ("HMS_0300_0300_0002_0002", Severity::Serious));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_own_words_need_their_permission() {
    let bench = Bench::start("p1s").await;
    let message = json!({"print": {"command": "buzzer_ctrl", "mode": 1}});
    let outcome = bench.done(Command::RawVendor(message.clone())).await;
    assert_eq!(outcome.seen, Seen::Acknowledged);
    assert_eq!(bench.received("buzzer_ctrl"), message["print"]);
    let upgrade = json!({"upgrade": {"command": "start"}});
    assert!(matches!(bench.send(Command::RawVendor(upgrade)).await, Err(CommandError::NotAllowed(_))));
}
