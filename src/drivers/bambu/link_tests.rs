//! The whole driver against the simulated printer over real sockets on loopback.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::model::*;
use crate::printer::{self, CameraError, CameraFeed, FileError, PrinterHandle, PrinterSettings, ProgressFn};
use crate::sim::bambu::{self as sim, Fault, Simulator};
use crate::sim::camera_faults::CameraFault;

/// Nothing here may take longer; generous because the machine is shared.
const DEADLINE: Duration = Duration::from_secs(30);

struct Bench {
    sim: Simulator,
    handle: PrinterHandle,
    pins: Arc<Mutex<Vec<Pin>>>,
    cancel: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn config(sim: &Simulator) -> BambuConfig {
    let addresses = sim.addresses();
    let mut config = BambuConfig::new(
        "test",
        "127.0.0.1",
        &sim.options().serial.to_lowercase(),
        Secret::new(sim.options().access_code.clone()),
    );
    config.ports = BambuPorts {
        mqtt: addresses.mqtt.port(),
        ftps: addresses.ftps.port(),
        detect: addresses.detect.port(),
        camera: addresses.camera.port(),
        rtsp: addresses.camera.port(),
    };
    // Short enough for tests, long enough for a loaded machine.
    config.timing = BambuTiming {
        reply: Duration::from_secs(4),
        silence: Duration::from_secs(4),
        ..BambuTiming::default()
    };
    config
}

async fn simulator(key: &str, change: impl FnOnce(&mut sim::Options)) -> Simulator {
    let mut options = sim::Options::new(sim::models::find(key).expect("model"));
    options.speed = 200.0;
    options.report_interval = Duration::from_millis(100);
    options.camera_interval = Duration::from_millis(100);
    change(&mut options);
    sim::start(options).await.expect("simulator")
}

fn run(sim: Simulator, change: impl FnOnce(&mut BambuConfig)) -> Bench {
    let pins = Arc::new(Mutex::new(Vec::new()));
    let mut config = config(&sim);
    let seen = pins.clone();
    config.on_pin = Arc::new(move |pin| seen.lock().expect("lock").push(pin));
    change(&mut config);
    let cancel = CancellationToken::new();
    let settings =
        PrinterSettings { name: "test".into(), title: "test".into(), read_only: false, allow_vendor: true };
    let handle = printer::start(settings, parts(config), &TaskTracker::new(), cancel.clone());
    Bench { sim, handle, pins, cancel }
}

impl Bench {
    async fn start(key: &str) -> Self {
        let bench = run(simulator(key, |_| {}).await, |_| {});
        bench.online().await;
        bench
    }

    async fn until(&self, what: &str, fits: impl Fn(&PrinterState) -> bool) -> Arc<PrinterState> {
        let mut watch = self.handle.watch();
        let found = tokio::time::timeout(DEADLINE, watch.wait_for(|state| fits(state))).await;
        match found {
            Ok(Ok(state)) => state.clone(),
            _ => {
                let state = self.handle.state();
                panic!("{what} was not reached: {:?} {:?} {:?}", state.link, state.control, state.device.job)
            }
        }
    }

    async fn online(&self) -> Arc<PrinterState> {
        self.until("online", |state| state.link.phase == LinkPhase::Online).await
    }

    async fn fault(&self, code: &str) -> LinkFault {
        let state = self.until(code, |state| state.link.fault.as_ref().is_some_and(|f| f.code == code)).await;
        state.link.fault.clone().expect("fault")
    }

    async fn send(&self, command: Command) -> Result<Outcome, CommandError> {
        tokio::time::timeout(DEADLINE, self.handle.send(command)).await.expect("an answer in time")
    }

    async fn start_cube(&self, mapping: Vec<Option<SlotId>>) -> Result<Outcome, CommandError> {
        self.send(Command::StartJob(Box::new(StartJob {
            remote_path: "cube.gcode.3mf".into(),
            title: "cube".into(),
            plate: 1,
            token: 77_001,
            mapping,
            ..StartJob::default()
        })))
        .await
    }
}

const SLOT: Option<SlotId> = Some(SlotId::Unit { unit: 0, slot: 0 });

/// A slot that has filament, as the printer reports it.
fn loaded(state: &PrinterState) -> Option<SlotId> {
    state.device.filament.slots().find(|slot| slot.present == Some(true)).map(|slot| slot.id)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_simulated_model_comes_online_as_itself() {
    for model in &sim::models::TABLE {
        let bench = Bench::start(model.key).await;
        let row = models::by_code_or_name(model.code).expect("row");
        let state = bench
            .until("identity", |state| {
                state.device.identity.model.as_deref() == row.products.first().copied()
                    && state.device.identity.firmware.as_deref() == Some(model.firmware)
            })
            .await;
        assert_eq!(bench.handle.capabilities().model, row.name, "{}", model.key);
        assert_eq!(state.device.nozzles.len(), row.nozzles, "{}", model.key);
        assert_eq!(state.device.job.stage, DeviceStage::Idle, "{}", model.key);
        let truth = bench.sim.truth();
        assert_eq!(truth.counters.pushalls, 1, "{}: one complete report per connection", model.key);
        assert_eq!(truth.counters.malformed_requests, 0, "{}", model.key);
        assert_eq!(truth.connections["mqtt"].peak, 1, "{}", model.key);
        assert_eq!(bench.pins.lock().expect("lock").len(), 1, "{}", model.key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_code_is_told_with_its_remedy() {
    let bench = run(simulator("p1s", |_| {}).await, |config| config.access_code = Secret::new("wrongone"));
    let fault = bench.fault("MG-BAMBU-AUTH").await;
    assert!(fault.permanent && fault.remedy.contains("[[printer]] \"test\""), "{fault:?}");
    let port = bench.sim.addresses().mqtt.port();
    assert!(fault.text.contains(&format!("127.0.0.1:{port}")), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_serial_is_told_apart() {
    let bench = run(simulator("x1c", |_| {}).await, |config| config.serial = "00M00B999999999".into());
    let fault = bench.fault("MG-BAMBU-SERIAL").await;
    assert!(fault.permanent && fault.text.contains("00M...0001"), "{fault:?}");
    // Without the name check it shows by the silence.
    let bench = run(simulator("x1c", |_| {}).await, |config| {
        config.serial = "00M00B999999999".into();
        config.check_name = false;
    });
    let fault = bench.fault("MG-BAMBU-SILENT").await;
    assert!(fault.remedy.contains("serial number"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_and_another_key() {
    let sim = simulator("p1s", |_| {}).await;
    let bench = run(sim, |config| config.ports.mqtt = 1);
    assert!(!bench.fault("MG-BAMBU-UNREACHABLE").await.permanent);
    let bench = Bench::start("p1s").await;
    bench.sim.faults().apply(Fault::CertificateChange).expect("fault");
    bench.sim.faults().apply(Fault::DropLink).expect("fault");
    let fault = bench.fault("MG-BAMBU-CERT").await;
    assert!(fault.permanent, "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_taken_once_a_person_confirms_it() {
    let confirmed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let given = confirmed.clone();
    let bench = run(simulator("p1s", |_| {}).await, |config| config.new_key_confirmed = given);
    bench.online().await;
    bench.sim.faults().apply(Fault::CertificateChange).expect("fault");
    bench.sim.faults().apply(Fault::DropLink).expect("fault");
    bench.fault("MG-BAMBU-CERT").await;
    confirmed.store(true, std::sync::atomic::Ordering::Relaxed);
    bench.handle.reconnect();
    bench.online().await;
    let pins = bench.pins.lock().expect("lock").clone();
    assert!(matches!(pins.as_slice(), [first, second] if first != second), "{pins:?}");
    assert!(!confirmed.load(std::sync::atomic::Ordering::Relaxed), "for once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_ends_and_the_link_returns() {
    let bench = Bench::start("p1s").await;
    bench.sim.faults().apply(Fault::PowerCut { seconds: 1.0 }).expect("fault");
    bench.until("backoff", |state| state.link.phase == LinkPhase::Backoff).await;
    let refused = bench.send(Command::SetBed { target: 50.0 }).await;
    assert!(matches!(refused, Err(CommandError::Offline(_))), "{refused:?}");
    bench.online().await;
    assert!(
        !bench.sim.truth().counters.gcode.iter().any(|line| line.starts_with("M140")),
        "nothing is replayed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_death_is_noticed() {
    let bench = Bench::start("p1s").await;
    bench.sim.faults().apply(Fault::Dead { on: true }).expect("fault");
    bench.until("stale", |state| state.link.phase == LinkPhase::Stale).await;
    bench.fault("MG-BAMBU-SILENT").await;
    bench.sim.faults().apply(Fault::Dead { on: false }).expect("fault");
    bench.online().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deaf_printer_gets_a_new_connection() {
    let bench = Bench::start("p1s").await;
    bench.sim.faults().apply(Fault::Zombie { on: true }).expect("fault");
    let fan = || Command::SetFan { fan: FanId::Part, speed: 0.5 };
    let first = bench.send(fan()).await;
    assert!(matches!(first, Err(CommandError::Timeout(_))), "{first:?}");
    let _second = bench.send(fan()).await;
    bench.fault("MG-BAMBU-DEAF").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_counted_and_survived() {
    let bench = Bench::start("p1s").await;
    let faults = bench.sim.faults();
    faults.apply(Fault::Garbage).expect("fault");
    faults.apply(Fault::Publish { text: "[1,2]".into() }).expect("fault");
    faults
        .apply(Fault::Publish {
            text: r#"{"print":{"msg":1,"bed_temper":NaN,"ams":null,"nozzle_target_temper":77}}"#.into(),
        })
        .expect("fault");
    let state = bench.until("the field", |state| state.device.nozzles[0].heater.target == Some(77.0)).await;
    assert_eq!(state.link.phase, LinkPhase::Online);
    assert!(state.device.bed.actual.is_some());
    assert_eq!(bench.sim.truth().connections["mqtt"].total, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_shown_by_the_reports_needs_no_write() {
    let bench = run(simulator("x1c", |options| options.gated = true).await, |_| {});
    bench
        .until(
            "read-only",
            |state| matches!(&state.control, Control::ReadOnly(text) if text.contains("Developer")),
        )
        .await;
    bench.online().await;
    let refused = bench.send(Command::SetBed { target: 50.0 }).await;
    assert!(matches!(refused, Err(CommandError::NotAllowed(_))), "{refused:?}");
    assert_eq!(bench.sim.truth().counters.rejected, 0, "no screen error was provoked");
    // Developer Mode is switched on: reports say so.
    bench.sim.faults().apply(Fault::Gate { on: false }).expect("fault");
    bench.sim.faults().apply(Fault::DropLink).expect("fault");
    bench.until("allowed", |state| state.control == Control::Allowed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_is_learned_from_the_first_rejection() {
    for key in ["p1s", "a1"] {
        let bench = run(simulator(key, |options| options.gated = true).await, |_| {});
        let state = bench.online().await;
        assert_eq!(state.control, Control::Unknown, "{key}");
        let refused = bench.send(Command::SetBed { target: 50.0 }).await;
        assert!(refused.is_err(), "{key}: {refused:?}");
        if bench.sim.options().model.rejection == sim::models::Rejection::Silent {
            assert!(matches!(refused, Err(CommandError::Timeout(_))), "{key}: {refused:?}");
            continue;
        }
        bench.until("read-only", |state| matches!(state.control, Control::ReadOnly(_))).await;
        let again = bench.send(Command::SetBed { target: 50.0 }).await;
        assert!(matches!(again, Err(CommandError::NotAllowed(_))), "{key}: {again:?}");
        assert_eq!(bench.sim.truth().counters.rejected, 1, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_started_paused_resumed_and_cancelled() {
    for key in ["p1s", "x1c", "h2d"] {
        let bench = run(simulator(key, |options| options.speed = 30.0).await, |_| {});
        let state = bench.online().await;
        let outcome =
            bench.start_cube(vec![loaded(&state).or(SLOT)]).await.unwrap_or_else(|e| panic!("{key}: {e}"));
        assert!(outcome.seen <= Seen::Acknowledged, "{key}");
        let state = bench.until("printing", |state| state.device.job.stage == DeviceStage::Printing).await;
        assert_eq!(state.device.job.token.as_deref(), Some("77001"), "{key}");
        assert_eq!(state.device.job.title.as_deref(), Some("cube"), "{key}");
        let second = bench.start_cube(vec![SLOT]).await;
        assert!(matches!(second, Err(CommandError::Busy(_))), "{key}: {second:?}");
        assert_eq!(bench.send(Command::Pause).await.map(|o| o.seen), Ok(Seen::Effect), "{key}");
        assert_eq!(bench.handle.state().device.job.stage, DeviceStage::Paused, "{key}");
        assert_eq!(bench.send(Command::Resume).await.map(|o| o.seen), Ok(Seen::Effect), "{key}");
        assert_eq!(bench.send(Command::Cancel).await.map(|o| o.seen), Ok(Seen::Effect), "{key}");
        bench.until("cancelled", |state| state.device.job.stage == DeviceStage::Cancelled).await;
        let truth = bench.sim.truth();
        assert_eq!((truth.counters.project_files, truth.counters.jobs_started), (1, 1), "{key}");
        assert_eq!(truth.counters.motion_while_printing, 0, "{key}");
        assert_eq!(bench.handle.state().control, Control::Allowed, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_to_its_end() {
    let bench = run(simulator("a1mini", |options| options.speed = 2000.0).await, |_| {});
    let state = bench.online().await;
    bench.start_cube(vec![loaded(&state)]).await.expect("start");
    let state = bench.until("finished", |state| state.device.job.stage == DeviceStage::Finished).await;
    assert_eq!((state.device.job.progress, state.device.job.remaining_s), (Some(1.0), Some(0.0)));
    assert_eq!(state.device.job.layer, state.device.job.total_layers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_start_is_not_repeated() {
    let bench = Bench::start("p1s").await;
    bench.sim.faults().apply(Fault::DelayedStart { seconds: 2.0 }).expect("fault");
    let slot = loaded(&bench.handle.state());
    bench.start_cube(vec![slot]).await.expect("start");
    let again = bench.start_cube(vec![slot]).await;
    assert!(matches!(again, Err(CommandError::Busy(_))), "{again:?}");
    bench.until("active", |state| state.device.job.stage.active()).await;
    assert_eq!(bench.sim.truth().counters.project_files, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_seen_in_the_reports() {
    let bench = Bench::start("x1c").await;
    let wanted = [
        Command::SetNozzle { tool: 0, target: 200.0 },
        Command::SetBed { target: 60.0 },
        Command::SetLight { light: LightId::Chamber, on: false },
        Command::SetSpeed { factor: 1.24 },
    ];
    for command in wanted {
        let outcome = bench.send(command.clone()).await;
        assert_eq!(outcome.map(|outcome| outcome.seen), Ok(Seen::Effect), "{command:?}");
    }
    let home = bench.send(Command::Home(Axes::ALL)).await;
    assert!(home.is_ok(), "{home:?}");
    let gcode = bench.send(Command::Gcode(vec!["M106 P1 S255".into(), "G4 S1".into()])).await;
    assert_eq!(gcode.map(|outcome| outcome.seen), Ok(Seen::Effect), "the marker came back");
    bench
        .until("fan", |state| state.device.fans.get(&FanId::Part).is_some_and(|fan| fan.speed == Some(1.0)))
        .await;
    assert_eq!(bench.sim.truth().counters.partial_homings, 0);
    let refresh = bench.send(Command::Refresh).await.expect("refresh");
    assert!(refresh.note.is_some(), "asked for only at the start");
    assert_eq!(bench.sim.truth().counters.pushalls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_model_is_asked_what_is_homed() {
    let bench = Bench::start("p1s").await;
    let homed =
        |state: &PrinterState| state.device.motion.homed.is_some_and(|homed| homed.x && homed.y && homed.z);
    assert!(!homed(&bench.handle.state()));
    for target in [60.0, 0.0] {
        bench.send(Command::SetNozzle { tool: 0, target }).await.expect("target");
    }
    bench.send(Command::Home(Axes::ALL)).await.expect("home");
    bench.until("homed", homed).await;
    bench.send(Command::MotorsOff).await.expect("motors off");
    bench.until("not homed", |state| !homed(state)).await;
    // By now the first target would have been asked for again, had the second not taken its place.
    let sent = bench.sim.truth().counters.gcode;
    assert!(!sent.iter().any(|line| line.contains("M109")), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_there_and_back() {
    for key in ["p1s", "a1", "p2s"] {
        let bench = Bench::start(key).await;
        let files = bench.handle.files().clone();
        let folder = tempfile::tempdir().expect("folder");
        let local = folder.path().join("job.3mf");
        let content: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&local, &content).expect("write");
        let sent = Arc::new(Mutex::new(0));
        let count = sent.clone();
        let progress: ProgressFn = Arc::new(move |bytes| *count.lock().expect("lock") = bytes);
        let remote = files.job_path("job.gcode.3mf");
        let cancel = CancellationToken::new();
        files
            .upload(local.clone(), remote.clone(), String::new(), progress.clone(), cancel.clone())
            .await
            .unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(*sent.lock().expect("lock"), 300_000, "{key}");
        let listed = files.list().await.unwrap_or_else(|error| panic!("{key}: {error}"));
        let entry =
            listed.iter().find(|file| file.path == remote).unwrap_or_else(|| panic!("{key}: {listed:?}"));
        assert_eq!((entry.size, entry.directory), (300_000, false), "{key}");
        assert!(listed.iter().any(|file| file.directory && file.path == "cache"), "{key}");
        let back = folder.path().join("back.3mf");
        files
            .download(remote.clone(), back.clone(), progress.clone(), cancel.clone())
            .await
            .expect("download");
        assert_eq!(std::fs::read(&back).expect("read"), content, "{key}");
        files.delete(remote.clone()).await.expect("delete");
        let gone = files.download(remote, back.clone(), progress, cancel).await;
        assert!(matches!(gone, Err(FileError::NotFound(_))), "{key}: {gone:?}");
        assert!(!back.exists(), "{key}: nothing half is left");
        // The printer may see the end of one session only after the beginning of the next.
        assert!(bench.sim.truth().connections["ftps"].peak <= 2, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_fail_with_a_reason() {
    let bench = Bench::start("p1s").await;
    let folder = tempfile::tempdir().expect("folder");
    let local = folder.path().join("job.3mf");
    std::fs::write(&local, vec![7_u8; 700_000]).expect("write");
    let upload = || {
        let progress: ProgressFn = Arc::new(|_| {});
        bench.handle.files().upload(
            local.clone(),
            "big.3mf".into(),
            String::new(),
            progress,
            CancellationToken::new(),
        )
    };
    bench.sim.faults().apply(Fault::FullDisk { on: true }).expect("fault");
    assert!(matches!(upload().await, Err(FileError::Full(_))));
    bench.sim.faults().apply(Fault::FullDisk { on: false }).expect("fault");
    bench.sim.faults().apply(Fault::Abort426 { on: true }).expect("fault");
    assert!(matches!(upload().await, Err(FileError::Failed(_))));
    bench.sim.faults().apply(Fault::Abort426 { on: false }).expect("fault");
    bench.sim.faults().apply(Fault::Late426 { on: true }).expect("fault");
    assert_eq!(upload().await, Ok(()), "the size says that it is complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_camera_shows_pictures_to_one_viewer() {
    let bench = Bench::start("p1s").await;
    let camera = bench.handle.camera().expect("camera").clone();
    for _viewer in 0..2 {
        let CameraFeed::Jpeg(mut pictures) = camera.open().await.expect("feed") else { panic!("pictures") };
        for _ in 0..2 {
            let picture = tokio::time::timeout(DEADLINE, pictures.next())
                .await
                .expect("in time")
                .expect("one")
                .expect("ok");
            assert!(picture.starts_with(&[0xFF, 0xD8]) && picture.ends_with(&[0xFF, 0xD9]));
        }
    }
    assert_eq!(bench.sim.truth().connections["camera"].peak, 1);
    let wrong = run(simulator("p1s", |_| {}).await, |config| config.access_code = Secret::new("wrongone"));
    let camera = wrong.handle.camera().expect("camera").clone();
    let CameraFeed::Jpeg(mut pictures) = camera.open().await.expect("socket") else { panic!("pictures") };
    assert!(matches!(pictures.next().await, Some(Err(CameraError::Blocked(_)))));
    assert!(pictures.next().await.is_none());
    // Nothing listens at port 1.
    let refused = run(simulator("x1c", |_| {}).await, |config| config.ports.rtsp = 1);
    let opened = refused.handle.camera().expect("an RTSP camera").open().await;
    let Err(CameraError::Blocked(remedy)) = opened else { panic!("nothing listens at the RTSP port") };
    assert!(remedy.contains("LAN Only Liveview"), "{remedy}");
    // The other way to be switched off: every connection is closed at once.
    let closed = run(simulator("x1c", |_| {}).await, |_| {});
    let camera = closed.handle.camera().expect("an RTSP camera").clone();
    let Ok(CameraFeed::H264(mut video)) = camera.open().await else { panic!("video") };
    assert!(video.next().await.expect("a picture").expect("ok").key);
    drop(video);
    closed.sim.faults().apply(Fault::Camera { how: CameraFault::Closed }).expect("applied");
    let Err(CameraError::Lost(remedy)) = camera.open().await else { panic!("closed at once") };
    assert!(remedy.contains("LAN Only Liveview"), "{remedy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_printer_answers_who_it_is() {
    let sim = simulator("a1mini", |_| {}).await;
    let port = sim.addresses().detect.port();
    let found = discovery::detect("127.0.0.1", port, DEADLINE).await.expect("found");
    assert_eq!((found.serial.as_str(), found.product), (sim.options().serial.as_str(), Some("A1 mini")));
    assert!(
        discovery::detect("127.0.0.1", sim.addresses().mqtt.port(), Duration::from_millis(300))
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn announcements_are_heard() {
    let own = std::net::UdpSocket::bind("127.0.0.1:0").expect("port");
    let listen = own.local_addr().expect("address");
    drop(own);
    let sim = simulator("p1s", |options| options.ssdp_port = Some(0)).await;
    let ground = discovery::Ground { listen, search: vec![sim.addresses().ssdp.expect("ssdp")] };
    let cancel = CancellationToken::new();
    let (tell, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let stop = cancel.clone();
    let listening = discovery::watch(
        &ground,
        move |found| {
            tell.send(found).expect("open");
            stop.cancel()
        },
        &cancel,
    );
    tokio::time::timeout(DEADLINE, listening).await.expect("in time").expect("socket");
    let found = heard.recv().await.expect("found");
    assert_eq!((found.serial.as_str(), found.product), (sim.options().serial.as_str(), Some("P1S")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_printer_that_moved_is_found_again() {
    let sim = simulator("p1s", |_| {}).await;
    let (moved, watch) = tokio::sync::watch::channel(None);
    let bench = run(sim, |config| {
        config.host = "127.0.0.2".into();
        config.timing.connect = Duration::from_millis(300);
        config.ports.detect = 0;
        config.moved_to = Some(watch);
    });
    bench.fault("MG-BAMBU-UNREACHABLE").await;
    moved.send(Some("127.0.0.1".parse().expect("address"))).expect("open");
    bench.handle.reconnect();
    bench.online().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_never_showed_is_named_another_way() {
    let bench = run(simulator("p1s", |_| {}).await, |config| {
        config.timing.landing = Duration::from_millis(100);
        config.timing.reply = Duration::from_secs(2);
    });
    let slot = loaded(&*bench.online().await);
    bench.sim.faults().apply(Fault::Zombie { on: true }).expect("fault");
    let lost = bench.start_cube(vec![slot]).await;
    assert!(matches!(&lost, Err(CommandError::Timeout(text)) if text.contains("not sent again")), "{lost:?}");
    assert_eq!(bench.sim.truth().counters.jobs_started, 0);
    bench.sim.faults().apply(Fault::Zombie { on: false }).expect("fault");
    bench.start_cube(vec![slot]).await.expect("start");
    bench.until("printing", |state| state.device.job.stage == DeviceStage::Printing).await;
    let truth = bench.sim.truth();
    let start =
        truth.counters.commands.iter().rfind(|received| received.command == "project_file").expect("start");
    let text = start.payload.to_string();
    assert!(text.contains("file:///sdcard/cube.gcode.3mf"), "{text}");
    assert_eq!((truth.counters.project_files, truth.counters.jobs_started), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_fail_and_stop_with_their_reason() {
    let bench = run(simulator("p1s", |options| options.speed = 30.0).await, |_| {});
    let slot = loaded(&*bench.online().await);
    let missing =
        StartJob { remote_path: "ghost.3mf".into(), token: 5, mapping: vec![slot], ..StartJob::default() };
    bench.send(Command::StartJob(Box::new(missing))).await.expect("acknowledged, whatever it is worth");
    let state = bench.until("failed", |state| state.device.job.stage == DeviceStage::Failed).await;
    assert!(
        state.device.job.reason.as_ref().is_some_and(|text| text.contains("cannot read")),
        "{:?}",
        state.device.job
    );
    let faults = bench.sim.faults();
    let printing = |state: &PrinterState| state.device.job.stage == DeviceStage::Printing;
    bench.start_cube(vec![slot]).await.expect("a failed start does not block the next");
    bench.until("printing", printing).await;
    faults.apply(Fault::Runout).expect("fault");
    let state = bench
        .until("runout", |state| {
            state.device.job.stage == DeviceStage::Paused && !state.device.faults.is_empty()
        })
        .await;
    assert!(
        state
            .device
            .faults
            .iter()
            .any(|fault| fault.code.ends_with("_8011") && fault.text.contains("run out")),
        "{:?}",
        state.device.faults
    );
    faults.apply(Fault::Refill).expect("fault");
    faults.apply(Fault::ClearHms).expect("fault");
    assert!(bench.send(Command::Resume).await.is_ok());
    bench.until("printing", printing).await;
    faults.apply(Fault::CancelAtScreen).expect("fault");
    bench.until("cancelled", |state| state.device.job.stage == DeviceStage::Cancelled).await;
    assert!(!bench.handle.state().device.faults.iter().any(|fault| fault.source == FaultSource::Job));
}

#[tokio::test(flavor = "multi_thread")]
async fn filament_and_door_are_followed() {
    let bench = run(simulator("x1c", |options| options.speed = 20.0).await, |_| {});
    let slot = loaded(&*bench.online().await).expect("a spool");
    let faults = bench.sim.faults();
    faults.apply(Fault::Door { open: true }).expect("fault");
    bench.until("door", |state| state.device.door_open == Some(true)).await;
    faults.apply(Fault::Door { open: false }).expect("fault");
    bench.until("door", |state| state.device.door_open == Some(false)).await;
    bench.send(Command::LoadFilament(slot)).await.expect("load");
    bench.until("loaded", |state| state.device.filament.active == Some(slot)).await;
    bench.until("idle", |state| state.device.filament.operation == FilamentOperation::Idle).await;
    bench.send(Command::UnloadFilament).await.expect("unload");
    bench.until("unloaded", |state| state.device.filament.active.is_none()).await;
    bench.until("idle", |state| state.device.activity == Activity::Idle).await;
    faults.apply(Fault::AmsJam { on: true }).expect("fault");
    let _result = bench.send(Command::LoadFilament(slot)).await;
    bench.until("stuck", |state| state.device.filament.operation == FilamentOperation::Stuck).await;
    faults.apply(Fault::AmsJam { on: false }).expect("fault");
    let red = SlotEdit { material: Some("PLA".into()), color: Color::parse("FF0000"), ..SlotEdit::default() };
    bench.send(Command::FilamentAction(FilamentAction::Resume)).await.expect("retry");
    bench.until("free", |state| state.device.filament.operation == FilamentOperation::Idle).await;
    bench.send(Command::EditSlot { slot, edit: Box::new(red) }).await.expect("edit");
    bench
        .until("red", |state| {
            let filament = state.device.filament.slot(slot).and_then(|slot| slot.filament.clone());
            filament.is_some_and(|filament| filament.color == Color::parse("FF0000"))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_of_unknown_fate_is_not_repeated_on_the_next_link() {
    let bench = run(simulator("p1s", |_| {}).await, |config| config.timing.reply = Duration::from_secs(2));
    let slot = loaded(&*bench.online().await);
    bench.sim.faults().apply(Fault::Zombie { on: true }).expect("fault");
    assert!(matches!(bench.start_cube(vec![slot]).await, Err(CommandError::Timeout(_))));
    bench.sim.faults().apply(Fault::Zombie { on: false }).expect("fault");
    bench.sim.faults().apply(Fault::DropLink).expect("fault");
    bench.until("backoff", |state| state.link.phase == LinkPhase::Backoff).await;
    bench.online().await;
    let again = bench.start_cube(vec![slot]).await;
    assert!(matches!(again, Err(CommandError::Busy(_))), "{again:?}");
    assert_eq!(bench.sim.truth().counters.project_files, 0, "nothing was sent again");
}
