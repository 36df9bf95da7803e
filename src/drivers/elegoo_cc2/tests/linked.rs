use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::super::{Cc2Config, Ports, Timing, assemble};
use crate::drivers::elegoo::testing::{Rig, file_of};
use crate::model::*;
use crate::printer::{CameraFeed, FileError};
use crate::secret::Secret;
use crate::sim::elegoo_cc2::{self as sim, Fault, Options, Simulator};

pub type Bench = Rig<Simulator>;

/// A simulator that runs too fast and does not mind bursts.
pub fn fast() -> Options {
    Options {
        speed: 60.0,
        burst_window: Duration::ZERO,
        delta_period: Duration::from_millis(100),
        ..Options::default()
    }
}

pub fn quick() -> Timing {
    Timing {
        spacing: Duration::from_millis(30),
        poll_printing: Duration::from_millis(300),
        poll_idle: Duration::from_millis(600),
        canvas: Duration::from_millis(800),
        ping: Duration::from_millis(300),
        pong: Duration::from_secs(6),
        register: Duration::from_millis(500),
        answer: Duration::from_secs(1),
        again: Duration::from_millis(500),
        discovery: Duration::from_secs(1),
        after_upload: Duration::from_millis(100),
        camera_idle: Duration::from_secs(2),
    }
}

pub async fn bench(options: Options) -> Bench {
    bench_with(options, quick(), |_| ()).await
}

pub async fn bench_with(options: Options, timing: Timing, change: impl FnOnce(&mut Cc2Config)) -> Bench {
    bench_on(sim::start(options).await.unwrap().into(), timing, change)
}

/// A gateway on a simulator that may have served another before.
pub fn bench_on(sim: Arc<Simulator>, timing: Timing, change: impl FnOnce(&mut Cc2Config)) -> Bench {
    let at = sim.addresses();
    let mut config = Cc2Config::new("cc2", "127.0.0.1");
    config.ports = Ports {
        mqtt: at.mqtt.port(),
        http: at.http.port(),
        camera: at.camera.port(),
        discovery: at.discovery.port(),
    };
    change(&mut config);
    Rig::new("cc2", sim, assemble(config, timing), |sim| sim.truth().stage)
}

impl Bench {
    pub async fn start_cube(&self, token: u32) {
        self.start_file("cube.gcode", token).await.unwrap();
    }

    pub fn unharmed(&self) {
        let truth = self.sim.truth();
        assert_eq!(truth.counters.forbidden, Vec::<String>::new());
        assert_eq!(truth.counters.violations, Vec::<String>::new());
    }

    /// Parameters of this method that reached the printer.
    pub fn sent(&self, number: i64) -> Vec<serde_json::Value> {
        self.sim.truth().commands.into_iter().filter(|got| got.number == number).map(|got| got.body).collect()
    }
}

#[tokio::test]
async fn a_whole_session_from_start_to_completion() {
    let bench = bench(fast()).await;
    bench.online().await;
    let state = bench
        .until("identity and canvas", |s| {
            s.device.identity.firmware.is_some() && !s.device.filament.units.is_empty()
        })
        .await;
    assert_eq!(state.device.identity.firmware.as_deref(), Some("02.01.00.00"));
    assert_eq!(state.device.filament.units[0].slots.len(), 4);
    assert!(bench.printer.capabilities().filament.map);
    let job = StartJob {
        remote_path: "cube.gcode".into(),
        token: 4711,
        mapping: vec![Some(SlotId::Unit { unit: 0, slot: 1 })],
        ..StartJob::default()
    };
    bench.start_job(job).await.unwrap();
    let state = bench.phase(JobPhase::Printing).await;
    assert_eq!(state.job.origin, JobOrigin::Gateway);
    assert_eq!(state.job.file.as_deref(), Some("folder/cube.gcode"));
    assert_eq!(state.device.job.token.as_deref(), Some("4711"));
    assert_eq!(bench.printer.send(Command::Pause).await.unwrap().seen, Seen::Effect);
    bench.phase(JobPhase::Paused).await;
    assert_eq!(bench.printer.send(Command::Resume).await.unwrap().seen, Seen::Effect);
    bench.until("layers", |state| state.job.total_layers == Some(60)).await;
    let done = bench.phase(JobPhase::Complete).await;
    assert_eq!((done.job.progress, done.job.file.as_deref()), (1.0, Some("folder/cube.gcode")));
    let truth = bench.sim.truth();
    assert_eq!(
        (truth.counters.starts_received, truth.counters.starts_accepted, truth.active_tray),
        (1, 1, 1)
    );
    bench.unharmed();
}

#[tokio::test]
async fn the_printers_own_spacing_is_kept() {
    let timing = Timing { register: Duration::from_secs(3), ..Timing::default() };
    let bench = bench_with(Options { speed: 60.0, ..Options::default() }, timing, |_| ()).await;
    bench.online().await;
    bench.until("identity", |state| state.device.identity.firmware.is_some()).await;
    bench.printer.send(Command::SetLight { light: LightId::Chamber, on: false }).await.unwrap();
    bench.until("canvas", |state| !state.device.filament.units.is_empty()).await;
    assert_eq!(bench.sim.truth().counters.swallowed, 0);
    bench.unharmed();
}

#[tokio::test]
async fn urgent_commands_in_a_row_do_not_make_the_printer_deaf() {
    let timing = Timing { register: Duration::from_secs(3), ..Timing::default() };
    let bench = bench_with(Options { speed: 60.0, ..Options::default() }, timing, |_| ()).await;
    bench.online().await;
    bench.until("idle", |state| state.device.job.stage == DeviceStage::Idle).await;
    let stops = (0..4).map(|_| bench.printer.send(Command::EmergencyStop));
    let answers = futures_util::future::join_all(stops).await;
    assert!(answers[0].is_ok(), "{answers:?}");
    assert_eq!(bench.sim.truth().counters.swallowed, 0);
}

#[tokio::test]
async fn settings_motion_and_refusals() {
    let bench = bench(fast()).await;
    bench.online().await;
    for command in [
        Command::SetNozzle { tool: 0, target: 60.0 },
        Command::SetBed { target: 40.0 },
        Command::SetLight { light: LightId::Chamber, on: false },
    ] {
        assert_eq!(bench.printer.send(command).await.unwrap().seen, Seen::Effect);
    }
    bench.printer.send(Command::SetFan { fan: FanId::Part, speed: 1.0 }).await.unwrap();
    bench.until("fan", |s| s.device.fans.get(&FanId::Part).and_then(|f| f.speed) == Some(1.0)).await;
    let early = bench.printer.send(Command::Jog { delta: [5.0, 0.0, 0.0], feed: None }).await;
    assert!(matches!(early, Err(CommandError::Invalid(_))), "not homed");
    bench.printer.send(Command::Home(Axes::ALL)).await.unwrap();
    bench
        .until("homed", |s| s.device.motion.homed == Some(Homed::ALL) && s.device.activity == Activity::Idle)
        .await;
    bench.printer.send(Command::Jog { delta: [-5.0, 0.0, 0.0], feed: None }).await.unwrap();
    let missing = StartJob { remote_path: "nothing.gcode".into(), token: 1, ..StartJob::default() };
    let refused = bench.printer.send(Command::StartJob(Box::new(missing))).await;
    assert!(matches!(&refused, Err(CommandError::Refused { code, .. }) if code == "1021"), "{refused:?}");
    bench.unharmed();
}

#[tokio::test]
async fn a_cancel_is_a_cancel() {
    let bench = bench(fast()).await;
    bench.online().await;
    bench.start_cube(2).await;
    bench.phase(JobPhase::Printing).await;
    bench.printer.send(Command::Cancel).await.unwrap();
    bench.phase(JobPhase::Cancelled).await;
    bench.unharmed();
}

#[tokio::test]
async fn a_tool_change_is_quiet_and_a_jam_is_a_fault() {
    let bench = bench(Options { speed: 20.0, ..fast() }).await;
    bench.online().await;
    bench.start_cube(2).await;
    bench.phase(JobPhase::Printing).await;
    let mut events = bench.printer.events();
    bench.sim.faults().apply(Fault::FilamentSwap { tray: 2 }).unwrap();
    bench
        .until("the new tray", |s| s.device.filament.active == Some(SlotId::Unit { unit: 0, slot: 2 }))
        .await;
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, Event::FaultRaised(_)), "{event:?}");
    }
    assert!(bench.printer.state().job.phase == JobPhase::Printing);
    bench.sim.faults().apply(Fault::CanvasJam).unwrap();
    let state = bench.phase(JobPhase::Paused).await;
    let state = if state.device.faults.is_empty() {
        bench.until("fault", |s| !s.device.faults.is_empty()).await
    } else {
        state
    };
    assert!(state.device.faults.iter().any(|fault| fault.code == "1243"));
    bench.unharmed();
}

#[tokio::test]
async fn the_same_file_again_is_one_job_also_while_the_last_id_is_told() {
    let bench = bench(Options { keeps_id_for: 40.0, ..fast() }).await;
    bench.online().await;
    for token in [1, 2] {
        bench.start_cube(token).await;
        let serial = bench.printer.state().job.serial;
        let done = bench.phase(JobPhase::Complete).await;
        assert_eq!((done.job.serial, done.job.origin), (serial, JobOrigin::Gateway), "start {token}");
        assert_eq!(done.job.token, Some(token.to_string()));
    }
}

#[tokio::test]
async fn nothing_that_waited_follows_an_emergency_stop() {
    let timing = Timing { spacing: Duration::from_secs(3), answer: Duration::from_secs(20), ..quick() };
    let bench = bench_with(fast(), timing, |_| ()).await;
    bench.online().await;
    let (_heated, homed, stopped) = tokio::join!(
        bench.printer.send(Command::SetBed { target: 40.0 }),
        bench.printer.send(Command::Home(Axes::ALL)),
        bench.printer.send(Command::EmergencyStop),
    );
    assert!(matches!(&homed, Err(CommandError::Busy(why)) if why.contains("emergency stop")), "{homed:?}");
    assert!(stopped.is_ok(), "{stopped:?}");
    assert!(bench.sent(1026).is_empty());
}

#[tokio::test]
async fn an_emergency_stop_halts_and_is_told() {
    let bench = bench(fast()).await;
    bench.online().await;
    bench.start_cube(2).await;
    bench.phase(JobPhase::Printing).await;
    let stopped = bench.printer.send(Command::EmergencyStop).await.unwrap();
    assert!(stopped.note.unwrap().contains("switched off and on"));
    assert!(bench.sim.truth().emergency_stopped);
    let state = bench.phase(JobPhase::Failed).await;
    assert!(state.job.reason.as_deref().unwrap().contains("emergency stop"));
    bench.until("fault", |s| s.device.faults.iter().any(|f| f.severity == Severity::Fatal)).await;
    bench.unharmed();
}

#[tokio::test]
async fn a_wrong_code_is_permanent_by_either_way() {
    let wrong = |config: &mut Cc2Config| config.access_code = Some(Secret::new("wrong-code-9"));
    let bench = bench_with(fast(), quick(), wrong).await;
    let fault = bench.link_fault("MG-CC2-AUTH").await;
    assert!(fault.permanent && !fault.sentence().contains("wrong-code-9"));
}

#[tokio::test]
async fn the_serial_comes_over_http_where_discovery_is_blocked() {
    let blocked = |config: &mut Cc2Config| config.ports.discovery = config.ports.http;
    let bench = bench_with(fast(), quick(), blocked).await;
    bench.online().await;
}

#[tokio::test]
async fn too_many_clients_is_told() {
    let bench = bench(Options { client_limit: 0, ..fast() }).await;
    let fault = bench.link_fault("MG-CC2-FULL").await;
    assert!(fault.permanent && fault.text.contains("too many clients"));
    let link = bench.printer.state().link.clone();
    assert_eq!(link.retry_at.map(|at| (at - link.since).round()), Some(30.0), "in even steps");
}

#[tokio::test]
async fn the_printer_knows_the_gateway_by_its_number() {
    let bench = bench_with(fast(), quick(), |config| config.client_number = Some(4321)).await;
    bench.online().await;
    let clients: Vec<_> = bench.sim.truth().commands.into_iter().map(|got| got.client).collect();
    assert!(!clients.is_empty() && clients.iter().all(|client| client == "1_PC_4321"), "{clients:?}");
}

#[tokio::test]
async fn a_wrong_serial_is_silence_where_nothing_tells_the_right_one() {
    let other = |config: &mut Cc2Config| {
        config.serial = Some("F01OTHER0000001".into());
        (config.ports.discovery, config.ports.http) = (9, 9);
    };
    let bench = bench_with(fast(), quick(), other).await;
    let fault = bench.link_fault("MG-CC2-SILENT").await;
    assert!(fault.remedy.contains("serial number"));
}

#[tokio::test]
async fn silence_drops_gaps_and_forgotten_registrations() {
    let bench = bench(fast()).await;
    bench.online().await;
    let faults = bench.sim.faults();
    faults.apply(Fault::Garbage).unwrap();
    faults.apply(Fault::Gap { by: 7 }).unwrap();
    faults.apply(Fault::Silence { seconds: 60.0 }).unwrap();
    bench.until("stale", |state| state.link.phase == LinkPhase::Stale).await;
    bench.link_fault("MG-CC2-SILENT").await;
    faults.apply(Fault::Silence { seconds: 0.0 }).unwrap();
    bench.online().await;
    faults.apply(Fault::Drop).unwrap();
    bench.until("lost", |state| state.link.phase == LinkPhase::Backoff).await;
    bench.online().await;
    faults.apply(Fault::ForgetClients).unwrap();
    bench.until("mute", |state| !state.online()).await;
    bench.online().await;
    bench.unharmed();
}

#[tokio::test]
async fn a_power_cut_waits_for_a_decision() {
    let bench = bench(fast()).await;
    bench.online().await;
    bench.start_cube(2).await;
    bench.phase(JobPhase::Printing).await;
    bench.sim.faults().apply(Fault::PowerCut).unwrap();
    bench.until("down", |state| state.link.phase == LinkPhase::Backoff).await;
    assert_eq!(bench.printer.state().job.phase, JobPhase::Printing, "a lost link ends nothing");
    bench.sim.faults().apply(Fault::PowerOn).unwrap();
    bench.printer.reconnect();
    bench.online().await;
    let state = bench.phase(JobPhase::Paused).await;
    assert!(state.job.detail.as_deref().unwrap().contains("power failed"));
    assert_eq!(bench.sim.truth().counters.starts_received, 1, "never started twice");
    bench.printer.send(Command::Resume).await.unwrap();
    bench.phase(JobPhase::Printing).await;
    bench.unharmed();
}

#[tokio::test]
async fn a_completion_nobody_saw() {
    let bench = bench(Options { completion_shown: 0.0, speed: 120.0, ..fast() }).await;
    bench.online().await;
    bench.start_cube(2).await;
    bench.phase(JobPhase::Complete).await;
    bench.unharmed();
}

#[tokio::test]
async fn upload_verify_list_download_delete() {
    let bench = bench(fast()).await;
    bench.online().await;
    let files = bench.printer.files().clone();
    let content: String = (0..60_000).map(|n| format!("G1 X{} Y10 E0.05 F3000\n", n % 200)).collect();
    let local = file_of(&content);
    let name = files.job_path("../evil/part 1.gcode");
    assert_eq!(name, "part 1.gcode");
    bench.sim.faults().apply(Fault::RefuseUpload { on: true }).unwrap();
    assert!(matches!(bench.upload(local.path(), &name).await, Err(FileError::Busy(_))));
    bench.sim.faults().apply(Fault::RefuseUpload { on: false }).unwrap();
    let wrong = files.upload(
        local.path().into(),
        name.clone(),
        "0".repeat(32),
        Arc::new(|_| ()),
        tokio_util::sync::CancellationToken::new(),
    );
    assert!(wrong.await.is_err(), "the wrong checksum");
    bench.upload(local.path(), &name).await.unwrap();
    let listed = files.list().await.unwrap();
    assert!(listed.iter().any(|file| file.path == name && file.size == content.len() as u64));
    assert_eq!(bench.download(&name).await.unwrap(), content.as_bytes());
    files.delete(name.clone()).await.unwrap();
    assert!(!files.list().await.unwrap().iter().any(|file| file.path == name));
    assert!(matches!(bench.download(&name).await, Err(FileError::NotFound(_))));
    bench.unharmed();
}

#[tokio::test]
async fn firmware_that_lists_nothing_says_so() {
    let bench = bench(Options { firmware: "01.03.02.51".into(), ..fast() }).await;
    bench.online().await;
    for _ in 0..3 {
        assert!(matches!(bench.printer.files().list().await, Err(FileError::Unsupported(_))));
    }
    assert_eq!(bench.sent(1044).len(), 2, "it is not waited for again and again");
    assert!(bench.printer.state().online());
}

#[tokio::test]
async fn the_check_of_a_sent_file_does_not_wait_behind_listings() {
    let timing = Timing { spacing: Duration::from_millis(150), ..quick() };
    let bench = bench_with(fast(), timing, |_| ()).await;
    bench.online().await;
    let local = file_of("G28\nG1 X10 E1\n");
    let files = bench.printer.files();
    let listings = futures_util::future::join_all((0..8).map(|_| files.list()));
    let (listings, sent) = tokio::join!(listings, bench.upload(local.path(), "part.gcode"));
    sent.unwrap();
    assert!(listings.iter().all(Result::is_ok));
    let order: Vec<i64> = bench.sim.truth().commands.iter().map(|got| got.number).collect();
    let checked = order.iter().position(|number| *number == 1046).unwrap();
    let listed = order.iter().skip(checked).filter(|number| **number == 1044).count();
    assert!(listed >= 4, "most of them came later: {order:?}");
}

#[tokio::test]
async fn pictures_come() {
    let bench = bench(fast()).await;
    let early = bench.printer.camera().unwrap().open().await;
    assert!(early.is_err(), "whose pictures they are is not known yet");
    bench.online().await;
    let camera = bench.printer.camera().unwrap().clone();
    let CameraFeed::Jpeg(mut pictures) = camera.open().await.unwrap() else { panic!("not JPEG") };
    for _ in 0..2 {
        let picture = pictures.next().await.unwrap().unwrap();
        assert!(picture.starts_with(&[0xFF, 0xD8]) && picture.ends_with(&[0xFF, 0xD9]));
    }
    assert!(camera.open().await.is_err(), "one viewer");
}
