//! The rules of the dossier that a session only meets when something is out of the ordinary.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::super::{Cc2Config, Timing};
use super::linked::{bench, bench_with, fast, quick};
use crate::drivers::elegoo::testing::file_of;
use crate::drivers::elegoo::whereabouts::{Identity, Whereabouts};
use crate::model::*;
use crate::printer::{CameraError, FileError};
use crate::sim::elegoo_cc2::{Fault, Options, Unregistered};

fn tray(slot: u8) -> SlotId {
    SlotId::Unit { unit: 0, slot }
}

#[tokio::test]
async fn cloud_mode_is_told_by_its_name() {
    let bench = bench(Options { lan_only: false, ..fast() }).await;
    let fault = bench.link_fault("MG-CC2-LAN").await;
    assert!(fault.permanent && fault.remedy.contains("LAN Only"), "{}", fault.sentence());
}

#[tokio::test]
async fn cloud_mode_is_told_by_its_name_where_the_broker_refuses_the_code() {
    let bench = bench(Options { lan_only: false, cloud_broker: true, ..fast() }).await;
    bench.link_fault("MG-CC2-LAN").await;
}

#[tokio::test]
async fn a_start_carries_its_options_and_its_trays() {
    let bench = bench(fast()).await;
    bench.until("canvas", |state| !state.device.filament.units.is_empty()).await;
    let job = StartJob {
        remote_path: "cube.gcode".into(),
        token: 8,
        mapping: vec![Some(tray(2)), None, Some(tray(0))],
        options: StartOptions { bed_levelling: Some(true), timelapse: Some(true), ..StartOptions::default() },
        ..StartJob::default()
    };
    bench.start_job(job).await.unwrap();
    assert_eq!(
        bench.sent(1020),
        [json!({"storage_media": "local", "filename": "cube.gcode", "config": {
            "delay_video": true, "printer_check": true, "print_layout": "A", "bedlevel_force": false,
            "slot_map": [{"t": 0, "canvas_id": 0, "tray_id": 2}, {"t": 2, "canvas_id": 0, "tray_id": 0}]}})]
    );
    bench.unharmed();
}

#[tokio::test]
async fn the_other_side_of_the_plate_needs_a_mesh() {
    let bench = bench(fast()).await;
    bench.online().await;
    let options = StartOptions { smooth_plate: Some(true), ..StartOptions::default() };
    let job = StartJob { remote_path: "cube.gcode".into(), token: 8, options, ..StartJob::default() };
    let refused = bench.start_job(job).await.unwrap_err();
    assert!(refused.to_string().contains("level the bed first"), "{refused}");
}

#[tokio::test]
async fn trays_are_described_loaded_and_unloaded() {
    let bench = bench(fast()).await;
    bench.until("canvas", |state| !state.device.filament.units.is_empty()).await;
    let edit = SlotEdit {
        material: Some("PETG".into()),
        color: Color::parse("#102030"),
        nozzle_min: Some(220.0),
        nozzle_max: Some(250.0),
        ..SlotEdit::default()
    };
    bench.printer.send(Command::EditSlot { slot: tray(1), edit: Box::new(edit) }).await.unwrap();
    let sent = &bench.sent(2003)[0];
    for (key, value) in [
        ("canvas_id", json!(0)),
        ("tray_id", json!(1)),
        ("filament_type", json!("PETG")),
        ("filament_color", json!("#102030")),
        ("filament_min_temp", json!(220)),
        ("filament_max_temp", json!(250)),
        ("brand", json!("ELEGOO")),
    ] {
        assert_eq!(sent[key], value, "{key}");
    }
    let petg = |state: &std::sync::Arc<PrinterState>| {
        let slot = state.device.filament.slot(tray(1)).and_then(|slot| slot.filament.clone());
        slot.is_some_and(|filament| filament.material.as_deref() == Some("PETG"))
    };
    bench.until("the new material", petg).await;
    bench.printer.send(Command::SetAutoRefill(true)).await.unwrap();
    assert_eq!(bench.sent(2004), [json!({"auto_refill": true})]);
    bench.printer.send(Command::LoadFilament(tray(2))).await.unwrap();
    assert_eq!(bench.sent(2001), [json!({"canvas_id": 0, "tray_id": 2})]);
    bench.until("tray 2", |state| state.device.filament.active == Some(tray(2))).await;
    bench.idle().await;
    bench.printer.send(Command::UnloadFilament).await.unwrap();
    assert_eq!(bench.sent(2002), [json!({"canvas_id": 0, "tray_id": 2})]);
    bench.until("nothing fed", |state| state.device.filament.active.is_none()).await;
    bench.idle().await;
    bench.printer.send(Command::LoadFilament(SlotId::External(0))).await.unwrap();
    assert_eq!(bench.sent(1024), [json!({})]);
    bench.unharmed();
}

#[tokio::test]
async fn answers_of_slow_mechanics_are_waited_for() {
    let timing = Timing { answer: Duration::from_millis(300), ..quick() };
    let bench = bench_with(Options { speed: 8.0, ..fast() }, timing, |_| ()).await;
    bench.online().await;
    bench.idle().await;
    // 12 simulated seconds: five times longer than an answer may take that is given at once.
    bench.printer.send(Command::Home(Axes::ALL)).await.unwrap();
    bench.until("homed", |state| state.device.motion.homed == Some(Homed::ALL)).await;
    assert_eq!(bench.sent(1026), [json!({"homed_axes": "xyz"})]);
}

#[tokio::test]
async fn a_gap_in_the_deltas_makes_the_driver_ask_for_everything() {
    let rarely = Duration::from_secs(3600);
    let timing = Timing { poll_idle: rarely, poll_printing: rarely, ..quick() };
    let bench = bench_with(fast(), timing, |_| ()).await;
    bench.online().await;
    bench.start_cube(2).await;
    bench.phase(JobPhase::Printing).await;
    // The refresh after a gap is limited in its rate; the last full report must be older than that.
    let before = bench.sent(1002).len();
    let asked = async {
        while bench.sent(1002).len() == before {
            bench.sim.faults().apply(Fault::Gap { by: 3 }).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asked).await.expect("a full status after a gap");
}

#[tokio::test]
async fn pings_keep_the_registration_and_without_them_it_is_made_anew() {
    let options = || Options { registration_ttl: Duration::from_millis(900), ..fast() };
    let kept = bench(options()).await;
    kept.online().await;
    kept.until_sim("polls", |sim| sim.truth().commands.iter().filter(|got| got.number == 1002).count() > 4)
        .await;
    let truth = kept.sim.truth();
    assert_eq!((truth.counters.registrations, truth.counters.muted), (1, 0));
    drop(kept);

    let forgetful = Timing { ping: Duration::from_secs(3600), pong: Duration::from_secs(2), ..quick() };
    let mute = bench_with(options(), forgetful, |_| ()).await;
    mute.online().await;
    mute.link_fault("MG-CC2-SILENT").await;
    mute.online().await;
    assert!(mute.sim.truth().counters.registrations >= 2, "registered again after the new connection");
}

#[tokio::test]
async fn a_forgotten_registration_that_is_told_is_made_anew_at_once() {
    let bench = bench(Options { unregistered: Unregistered::Error1000, ..fast() }).await;
    bench.online().await;
    bench.sim.faults().apply(Fault::ForgetClients).unwrap();
    bench.link_fault("MG-CC2-REGISTRATION").await;
    bench.online().await;
    assert_eq!(bench.sim.truth().counters.registrations, 2);
}

#[tokio::test]
async fn a_request_lost_in_a_burst_is_told_as_unanswered() {
    let hasty = Timing { spacing: Duration::ZERO, answer: Duration::from_millis(400), ..quick() };
    let options =
        Options { burst_window: Duration::from_secs(1), burst_deaf: Duration::from_secs(2), ..fast() };
    let bench = bench_with(options, hasty, |_| ()).await;
    bench.online().await;
    let many = (0..6).map(|n| bench.printer.send(Command::SetBed { target: 30.0 + f64::from(n) }));
    let answers = futures_util::future::join_all(many).await;
    assert!(answers.iter().any(|answer| matches!(answer, Err(CommandError::Timeout(_)))), "{answers:?}");
    assert!(bench.sim.truth().counters.swallowed > 0);
    bench.until("news again", |state| state.online()).await;
}

#[tokio::test]
async fn an_order_that_was_followed_is_not_said_again_though_its_answer_is_lost() {
    let bench = bench(Options { speed: 20.0, ..fast() }).await;
    bench.online().await;
    bench.start_cube(2).await;
    bench.phase(JobPhase::Printing).await;
    bench.sim.faults().apply(Fault::LoseAnswers { methods: vec![1021, 1022] }).unwrap();
    bench.printer.send(Command::Pause).await.unwrap();
    bench.phase(JobPhase::Paused).await;
    bench.printer.send(Command::Resume).await.unwrap();
    bench.phase(JobPhase::Printing).await;
    let polls = |more: usize| {
        let wanted = bench.sent(1002).len() + more;
        bench.until_sim("time for a repetition", move |sim| {
            sim.truth().commands.iter().filter(|got| got.number == 1002).count() >= wanted
        })
    };
    // A pause said again now would stop the print that was resumed.
    polls(5).await;
    assert_eq!(bench.sent(1021).len(), 1);
    bench.printer.send(Command::Cancel).await.unwrap();
    bench.phase(JobPhase::Cancelled).await;
    bench.idle().await;
    bench.start_cube(3).await;
    bench.phase(JobPhase::Printing).await;
    polls(5).await;
    assert_eq!((bench.sent(1021).len(), bench.sent(1022).len()), (1, 1), "the next print is not cancelled");
}

#[tokio::test]
async fn a_start_waits_for_a_printer_that_is_busy_for_a_moment() {
    let bench = bench(fast()).await;
    bench.online().await;
    bench.idle().await;
    bench.sim.faults().apply(Fault::Busy { starts: 2 }).unwrap();
    bench.start_cube(2).await;
    bench.phase(JobPhase::Printing).await;
    let truth = bench.sim.truth();
    assert_eq!((truth.counters.starts_received, truth.counters.starts_accepted), (3, 1));
    bench.unharmed();
}

#[tokio::test]
async fn commands_keep_their_order() {
    let bench = bench(fast()).await;
    bench.online().await;
    let fan = FanId::Part;
    let commands = [1.0, 0.8, 0.4, 0.0].map(|speed| bench.printer.send(Command::SetFan { fan, speed }));
    for answer in futures_util::future::join_all(commands).await {
        answer.unwrap();
    }
    let speeds: Vec<_> = bench.sent(1030).iter().map(|body| body["fan"].clone()).collect();
    assert_eq!(speeds, [json!(255), json!(204), json!(102), json!(0)]);
    assert_eq!(bench.sim.truth().fans[0], 0.0, "the last word is the one that counts");
}

#[tokio::test]
async fn a_speed_is_snapped_and_said_and_comes_back_after_a_tool_change() {
    let bench = bench(Options { speed: 20.0, ..fast() }).await;
    bench.online().await;
    bench.start_cube(2).await;
    bench.phase(JobPhase::Printing).await;
    let sped = bench.printer.send(Command::SetSpeed { factor: 1.24 }).await.unwrap();
    assert!(sped.note.unwrap().contains("130 %"));
    assert_eq!(bench.sent(1031), [json!({"mode": 2})]);
    bench.sim.faults().apply(Fault::FilamentSwap { tray: 2 }).unwrap();
    bench
        .until_sim("the same mode again", |sim| {
            let modes = sim.truth().commands.into_iter().filter(|got| got.number == 1031).count();
            modes == 2 && sim.truth().speed_mode == 2
        })
        .await;
    bench.unharmed();
}

#[tokio::test]
async fn after_an_emergency_stop_everything_else_is_refused_in_words() {
    let bench = bench(fast()).await;
    bench.online().await;
    bench.printer.send(Command::EmergencyStop).await.unwrap();
    bench.until("halted", |state| state.device.faults.iter().any(|fault| fault.code == "status 14")).await;
    for command in [Command::Home(Axes::ALL), Command::SetNozzle { tool: 0, target: 200.0 }] {
        let refused = bench.printer.send(command).await.unwrap_err().to_string();
        assert!(refused.contains("busy") || refused.contains("emergency"), "{refused}");
    }
    bench.sim.faults().apply(Fault::PowerCut).unwrap();
    bench.sim.faults().apply(Fault::PowerOn).unwrap();
    bench.printer.reconnect();
    bench.until("fit again", |state| state.online() && state.device.faults.is_empty()).await;
}

#[tokio::test]
async fn a_print_that_fails_by_itself_has_failed() {
    let bench = bench(fast()).await;
    bench.online().await;
    bench.start_cube(2).await;
    bench.phase(JobPhase::Printing).await;
    bench.sim.faults().apply(Fault::Fail).unwrap();
    let failed = bench.phase(JobPhase::Failed).await;
    let reason = failed.job.reason.clone().unwrap();
    assert!(reason.contains("nozzle does not heat") && reason.contains("Switch the printer off"), "{reason}");
}

#[tokio::test]
async fn runout_waits_for_filament() {
    let bench = bench(fast()).await;
    bench.online().await;
    bench.start_cube(2).await;
    bench.phase(JobPhase::Printing).await;
    bench.sim.faults().apply(Fault::Runout).unwrap();
    let paused = bench.phase(JobPhase::Paused).await;
    assert_eq!(paused.job.detail.as_deref(), Some("filament has run out"), "\"Paused:\" stands before it");
    let refused = bench.printer.send(Command::Resume).await.unwrap_err();
    assert!(refused.to_string().contains("insert filament"), "{refused}");
    bench.sim.faults().apply(Fault::FilamentLoaded).unwrap();
    bench.printer.send(Command::Resume).await.unwrap();
    bench.phase(JobPhase::Printing).await;
}

#[tokio::test]
async fn a_pause_that_was_asked_for_has_no_further_reason() {
    let bench = bench(fast()).await;
    bench.online().await;
    bench.start_cube(2).await;
    bench.phase(JobPhase::Printing).await;
    bench.printer.send(Command::Pause).await.unwrap();
    assert_eq!(bench.phase(JobPhase::Paused).await.job.detail, None);
}

#[tokio::test]
async fn a_stalled_camera_ends_and_opens_again() {
    let bench = bench(fast()).await;
    bench.online().await;
    let stall = |seconds| bench.sim.faults().apply(Fault::CameraStall { seconds }).unwrap();
    bench.opens_a_stalled_camera_again(stall).await;
}

#[tokio::test]
async fn the_file_being_printed_is_neither_replaced_nor_deleted() {
    let bench = bench(fast()).await;
    bench.online().await;
    bench.start_cube(3).await;
    bench.until("our run", |state| state.device.job.file.is_some()).await;
    let again = bench.upload(file_of("G28\n").path(), "Cube.gcode").await;
    assert!(matches!(again, Err(FileError::Busy(_))), "{again:?}");
    assert!(matches!(bench.printer.files().delete("cube.gcode".into()).await, Err(FileError::Busy(_))));
    bench.unharmed();
}

#[tokio::test]
async fn a_full_disk_is_told_before_a_byte_is_sent() {
    let bench = bench(Options { capacity: 0, ..fast() }).await;
    bench.online().await;
    bench.until("free room", |state| state.device.storage.free_bytes == Some(0)).await;
    let full = bench.upload(file_of("G28\n").path(), "a.gcode").await;
    assert!(matches!(full, Err(FileError::Full(_))), "{full:?}");
    assert_eq!(bench.sim.truth().counters.chunks, 0);
}

#[tokio::test]
async fn another_printer_at_the_address_is_told_as_such_and_given_nothing_until_a_person_says_so() {
    let kept = || Some(Identity::of("F01OTHER0000001"));
    let remembering = || Whereabouts { kept: kept(), ..Whereabouts::fixed("127.0.0.1") };
    let place = remembering();
    let confirmed = place.another_confirmed.clone();
    let bench = bench_with(fast(), quick(), |config| config.host = place).await;
    let fault = bench.link_fault("MG-CC2-OTHER").await;
    assert!(fault.permanent && fault.text.contains("F01OTHER0000001"), "{}", fault.text);
    assert!(fault.text.contains(&Options::default().serial), "{}", fault.text);
    assert!(fault.remedy.contains("moongate trust cc2"), "{}", fault.remedy);
    assert!(bench.start_file("cube.gcode", 3).await.is_err());
    let camera = bench.printer.camera().unwrap().clone();
    let refused = camera.open().await.err().expect("another printer's pictures");
    assert!(matches!(&refused, CameraError::Blocked(text) if text.contains("F01OTHER0000001")), "{refused}");
    assert_eq!(bench.sim.truth().connections["camera"].total, 0, "not even asked");
    confirmed.store(true, Ordering::Relaxed);
    bench.printer.reconnect();
    bench.online().await;
    assert!(camera.open().await.is_ok());
    // While the gateway runs.
    bench.sim.faults().apply(Fault::Identity { serial: "F01THIRD0000001".into() }).unwrap();
    let fault = bench.link_fault("MG-CC2-OTHER").await;
    assert!(fault.text.contains("F01THIRD0000001"), "{}", fault.text);
    assert!(matches!(camera.open().await, Err(CameraError::Blocked(_))));
    bench.unharmed();

    let bench = bench_with(fast(), quick(), |config| config.serial = kept().map(|kept| kept.serial)).await;
    let fault = bench.link_fault("MG-CC2-OTHER").await;
    assert!(fault.remedy.contains("in serial"), "{}", fault.remedy);
    // Nothing but the page tells who it is, where UDP is blocked.
    let change = |config: &mut Cc2Config| {
        config.host = remembering();
        config.ports.discovery = 9;
    };
    bench_with(fast(), quick(), change).await.link_fault("MG-CC2-OTHER").await;
}
