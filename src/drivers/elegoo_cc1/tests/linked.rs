use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::super::{Cc1Config, Ports, Timing, assemble};
use crate::drivers::elegoo::testing::{Rig, md5_of};
use crate::model::*;
use crate::printer::{CameraFeed, FileError};
use crate::sim::elegoo_cc1::{self as sim, Fault, Options, Simulator};

pub type Bench = Rig<Simulator>;

pub fn quick() -> Timing {
    Timing {
        poll: Duration::from_millis(100),
        answer: Duration::from_secs(3),
        stale: Duration::from_millis(1200),
        silent: Duration::from_secs(4),
        stop_again: Duration::from_millis(800),
        light: Duration::from_secs(1),
        discovery: Duration::from_secs(1),
        after_upload: Duration::from_millis(100),
        camera_idle: Duration::from_secs(2),
        camera_rest: Duration::from_secs(30),
    }
}

/// A simulator that runs too fast, and the driver on it.
pub async fn bench(options: Options) -> Bench {
    bench_with(options, quick(), |_| ()).await
}

pub async fn bench_with(options: Options, timing: Timing, change: impl FnOnce(&mut Cc1Config)) -> Bench {
    bench_on(sim::start(options).await.unwrap().into(), timing, change)
}

/// A gateway on a simulator that may have served another before.
pub fn bench_on(sim: Arc<Simulator>, timing: Timing, change: impl FnOnce(&mut Cc1Config)) -> Bench {
    let at = sim.addresses();
    let mut config = Cc1Config::new("cc1", "127.0.0.1");
    config.ports = Ports {
        websocket: at.websocket.port(),
        http: at.http.port(),
        camera: at.camera.port(),
        discovery: at.discovery.port(),
    };
    change(&mut config);
    Rig::new("cc1", sim, assemble(config, timing), |sim| sim.truth().stage)
}

pub fn fast() -> Options {
    Options { speed: 60.0, ..Options::default() }
}

impl Bench {
    /// Nothing that the driver sent hurt the printer.
    pub fn unharmed(&self) {
        let truth = self.sim.truth();
        assert_eq!(truth.counters.crashed, None);
        assert_eq!(truth.counters.offences, Vec::<String>::new());
        assert_eq!(truth.counters.violations, Vec::<String>::new());
    }

    /// Payloads of this command that reached the printer.
    pub fn sent(&self, number: i64) -> Vec<serde_json::Value> {
        self.sim.truth().commands.into_iter().filter(|got| got.number == number).map(|got| got.body).collect()
    }
}

#[tokio::test]
async fn a_whole_session_from_start_to_completion() {
    let bench = bench(fast()).await;
    bench.online().await;
    let state = bench.until("identity", |state| state.device.identity.firmware.is_some()).await;
    assert_eq!(state.device.identity.firmware.as_deref(), Some("V1.1.46"));
    bench.start_file("cube.gcode", 4711).await.unwrap();
    let state = bench.phase(JobPhase::Printing).await;
    assert_eq!(state.job.origin, JobOrigin::Gateway);
    assert_eq!(state.job.file.as_deref(), Some("folder/cube.gcode"), "our run, by the driver's token");
    assert_eq!(state.device.job.token.as_deref(), Some("4711"));
    let paused = bench.printer.send(Command::Pause).await.unwrap();
    assert_eq!(paused.seen, Seen::Effect);
    bench.phase(JobPhase::Paused).await;
    assert_eq!(bench.printer.send(Command::Resume).await.unwrap().seen, Seen::Effect);
    bench.phase(JobPhase::Printing).await;
    for none in [0.0, -0.5] {
        let refused = bench.printer.send(Command::SetSpeed { factor: none }).await;
        assert!(matches!(refused, Err(CommandError::Invalid(_))), "{none}: {refused:?}");
    }
    let sped = bench.printer.send(Command::SetSpeed { factor: 1.24 }).await.unwrap();
    assert!(sped.note.unwrap().contains("130 %"));
    let done = bench.phase(JobPhase::Complete).await;
    assert_eq!(done.job.progress, 1.0);
    assert_eq!(done.job.file.as_deref(), Some("folder/cube.gcode"));
    let truth = bench.sim.truth();
    assert_eq!((truth.counters.starts_received, truth.counters.starts_accepted), (1, 1));
    bench.unharmed();
}

#[tokio::test]
async fn a_cancel_ends_as_cancelled_and_a_lost_stop_is_repeated() {
    let bench = bench(Options { speed: 20.0, ..Options::default() }).await;
    bench.online().await;
    let job = StartJob {
        remote_path: "cube.gcode".into(),
        options: StartOptions { bed_levelling: Some(true), ..StartOptions::default() },
        ..StartJob::default()
    };
    bench.printer.send(Command::StartJob(Box::new(job))).await.unwrap();
    bench.until("preparation", |state| state.device.job.stage == DeviceStage::Preparing).await;
    bench.until("levelling", |state| state.job.detail.as_deref() == Some("levelling the bed")).await;
    bench.sim.faults().apply(Fault::LoseStop).unwrap();
    bench.printer.send(Command::Cancel).await.unwrap();
    bench.phase(JobPhase::Cancelled).await;
    let stops = bench.sim.truth().commands.iter().filter(|received| received.number == 130).count();
    assert_eq!(stops, 2, "sent again once");
    bench.unharmed();
}

#[tokio::test]
async fn settings_are_seen_in_the_state() {
    let bench = bench(fast()).await;
    bench.online().await;
    for command in [
        Command::SetNozzle { tool: 0, target: 60.0 },
        Command::SetBed { target: 40.0 },
        Command::SetLight { light: LightId::Chamber, on: false },
        Command::SetLight { light: LightId::Chamber, on: true },
    ] {
        assert_eq!(bench.printer.send(command).await.unwrap().seen, Seen::Effect);
    }
    bench.printer.send(Command::SetFan { fan: FanId::Auxiliary, speed: 0.4 }).await.unwrap();
    bench.until("fan", |s| s.device.fans.get(&FanId::Auxiliary).and_then(|f| f.speed) == Some(0.4)).await;
    let refused = bench.printer.send(Command::SetSpeed { factor: 1.3 }).await;
    assert!(matches!(refused, Err(CommandError::Invalid(_))), "not while idle");
    let jog = || Command::Jog { delta: [-5.0, 0.0, 0.0], feed: None };
    assert!(matches!(bench.printer.send(jog()).await, Err(CommandError::Invalid(_))), "not homed");
    bench.printer.send(Command::Home(Axes::ALL)).await.unwrap();
    let homed = |s: &Arc<PrinterState>| {
        s.device.motion.homed == Some(Homed::ALL) && s.device.activity == Activity::Idle
    };
    bench.until("homed", homed).await;
    bench.printer.send(jog()).await.unwrap();
    let stopped = bench.printer.send(Command::EmergencyStop).await.unwrap();
    let note = stopped.note.unwrap();
    assert!(
        note.contains("No emergency stop") && note.len() <= 120,
        "clients show 255 characters with their own: {note}"
    );
    bench
        .until("cold", |s| s.device.bed.target == Some(0.0) && s.device.nozzles[0].heater.target == Some(0.0))
        .await;
    bench.unharmed();
}

fn sample(lines: usize) -> tempfile::NamedTempFile {
    use std::io::Write;
    let mut file = tempfile::Builder::new().suffix(".gcode").tempfile().unwrap();
    writeln!(file, "; generated by PrusaSlicer 2.8.0\nG28\nM104 S200").unwrap();
    for n in 0..lines {
        writeln!(file, "G1 X{} Y10 E0.05 F3000", n % 200).unwrap();
    }
    writeln!(file, "; filament used [mm] = 100.0\n; estimated printing time (normal mode) = 1m 0s").unwrap();
    file
}

#[tokio::test]
async fn upload_verify_list_start_download_delete() {
    let bench = bench(fast()).await;
    bench.online().await;
    let files = bench.printer.files().clone();
    let local = sample(60_000);
    let md5 = md5_of(local.path());
    let name = files.job_path("sub/w\u{fc}rfel #1.gcode");
    assert_eq!(name, "w_rfel _1.gcode");
    let sent = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let progress = {
        let sent = sent.clone();
        Arc::new(move |bytes| sent.store(bytes, std::sync::atomic::Ordering::Relaxed))
    };
    files.upload(local.path().into(), name.clone(), md5, progress, CancellationToken::new()).await.unwrap();
    let size = std::fs::metadata(local.path()).unwrap().len();
    assert!(size > 1 << 20 && sent.load(std::sync::atomic::Ordering::Relaxed) >= size);
    let listed = files.list().await.unwrap();
    assert!(listed.iter().any(|file| file.path == name && file.size >= size));
    bench.start_file(&name, 5).await.unwrap();
    bench
        .until("our run", |state| state.job.phase.active() && state.device.job.token.as_deref() == Some("5"))
        .await;
    let busy = files.delete(name.clone()).await;
    assert!(matches!(busy, Err(FileError::Busy(_))), "the printer reads it while it prints");
    bench.printer.send(Command::Cancel).await.unwrap();
    let fetched = tempfile::NamedTempFile::new().unwrap();
    files
        .download(name.clone(), fetched.path().into(), Arc::new(|_| ()), CancellationToken::new())
        .await
        .unwrap();
    assert!(std::fs::metadata(fetched.path()).unwrap().len() >= size);
    bench.until("idle", |state| state.device.activity == Activity::Idle).await;
    files.delete(name.clone()).await.unwrap();
    assert!(!files.list().await.unwrap().iter().any(|file| file.path == name));
    assert!(files.delete(name).await.is_err());
    bench.unharmed();
}

#[tokio::test]
async fn a_full_disk_and_a_refused_upload_are_told() {
    let bench = bench(fast()).await;
    bench.online().await;
    let local = sample(10);
    let md5 = md5_of(local.path());
    let files = bench.printer.files().clone();
    let upload = || {
        files.upload(
            local.path().into(),
            "a.gcode".into(),
            md5.clone(),
            Arc::new(|_| ()),
            CancellationToken::new(),
        )
    };
    bench.sim.faults().apply(Fault::RefuseUpload { on: true }).unwrap();
    assert!(matches!(upload().await, Err(FileError::Failed(_))));
    bench.sim.faults().apply(Fault::RefuseUpload { on: false }).unwrap();
    bench.sim.faults().apply(Fault::DiskFull { on: true }).unwrap();
    assert!(upload().await.is_err());
    bench.unharmed();
}

#[tokio::test]
async fn the_client_limit_is_told_in_the_printers_words() {
    let bench = bench(Options { websocket_limit: 0, ..fast() }).await;
    let state = bench.until("fault", |state| state.link.fault.is_some()).await;
    let fault = state.link.fault.clone().unwrap();
    assert_eq!(fault.code, "MG-CC1-FULL");
    assert!(fault.permanent && fault.text.contains("too many client"), "{}", fault.text);
    let refused = bench.printer.send(Command::Pause).await;
    assert!(matches!(refused, Err(CommandError::Offline(_))));
}

#[tokio::test]
async fn drops_silence_garbage_and_prefixes() {
    let bench = bench(Options { pushes: false, ..fast() }).await;
    bench.online().await;
    let faults = bench.sim.faults();
    faults.apply(Fault::LengthPrefix { on: true }).unwrap();
    faults.apply(Fault::Garbage).unwrap();
    assert_eq!(bench.printer.send(Command::SetBed { target: 33.0 }).await.unwrap().seen, Seen::Effect);
    faults.apply(Fault::Silence { seconds: 60.0 }).unwrap();
    bench.until("stale", |state| state.link.phase == LinkPhase::Stale).await;
    let state = bench.until("silence", |state| state.link.phase == LinkPhase::Backoff).await;
    assert_eq!(state.link.fault.as_ref().unwrap().code, "MG-CC1-SILENT");
    faults.apply(Fault::Silence { seconds: 0.0 }).unwrap();
    bench.online().await;
    faults.apply(Fault::Drop).unwrap();
    bench.until("lost", |state| state.link.phase == LinkPhase::Backoff).await;
    bench.online().await;
    bench.unharmed();
}

#[tokio::test]
async fn a_power_cut_in_mid_print_is_a_failed_job_after_the_return() {
    let bench = bench(fast()).await;
    bench.online().await;
    bench.start_file("cube.gcode", 9).await.unwrap();
    bench.phase(JobPhase::Printing).await;
    bench.sim.faults().apply(Fault::PowerCut).unwrap();
    let state = bench
        .until("unreachable", |state| {
            state.link.fault.as_ref().is_some_and(|f| f.code == "MG-CC1-UNREACHABLE")
        })
        .await;
    assert_eq!(state.job.phase, JobPhase::Printing, "a lost link ends nothing");
    bench.sim.faults().apply(Fault::PowerOn).unwrap();
    bench.printer.reconnect();
    bench.phase(JobPhase::Failed).await;
    assert_eq!(bench.sim.truth().counters.starts_received, 1, "never started twice");
    bench.unharmed();
}

#[tokio::test]
async fn a_completion_nobody_saw_is_found_in_the_history() {
    let bench = bench(Options { forgets_completion: true, speed: 120.0, pushes: false, ..fast() }).await;
    bench.online().await;
    bench.start_file("cube.gcode", 3).await.unwrap();
    bench.phase(JobPhase::Complete).await;
    bench.unharmed();
}

#[tokio::test]
async fn canvas_and_runout_on_newer_firmware() {
    let options = Options { firmware: "V1.4.46".into(), canvas: true, ..fast() };
    let bench = bench(options).await;
    bench.online().await;
    assert_eq!(bench.printer.state().device.filament.units[0].slots.len(), 4, "known before it is online");
    assert!(bench.printer.capabilities().filament.map);
    bench.online().await;
    bench.start_file("cube.gcode", 3).await.unwrap();
    bench.phase(JobPhase::Printing).await;
    bench.sim.faults().apply(Fault::FilamentSwap { tray: 1 }).unwrap();
    bench.sim.faults().apply(Fault::Runout).unwrap();
    bench.phase(JobPhase::Paused).await;
    bench.unharmed();
}

#[tokio::test]
async fn pictures_come_and_the_camera_is_switched_off() {
    let bench = bench(fast()).await;
    bench.online().await;
    let camera = bench.printer.camera().unwrap().clone();
    let CameraFeed::Jpeg(mut pictures) = camera.open().await.unwrap() else { panic!("not JPEG") };
    for _ in 0..2 {
        let picture = pictures.next().await.unwrap().unwrap();
        assert!(picture.starts_with(&[0xFF, 0xD8]) && picture.ends_with(&[0xFF, 0xD9]));
    }
    assert!(camera.open().await.is_err(), "one viewer");
    drop(pictures);
    bench
        .until_sim("switched off", |sim| {
            sim.truth().commands.iter().any(|got| got.number == 386 && got.body["Enable"] == 0)
        })
        .await;
    bench.unharmed();
}
