//! Coming online, and what ends or disturbs the connection.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_simulated_model_comes_online_as_itself() {
    for model in sim::models::TABLE {
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

/// Whichever of its services shows it first.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_another_key_are_refused_with_what_accepts_it() {
    for key in ["p1s", "x1c"] {
        let bench = Bench::start(key).await;
        bench.sim.faults().apply(Fault::CertificateChange).expect("fault");
        let refused = bench.handle.camera().expect("camera").open().await.err().expect("another key");
        let told = matches!(&refused, CameraError::Blocked(text) if text.contains("`moongate trust test` accepts it"));
        assert!(told, "{key}: {refused}");
    }
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
    bench.fault("MG-BAMBU-SILENT").await;
    bench.sim.faults().apply(Fault::Dead { on: false }).expect("fault");
    bench.online().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_printer_that_is_quiet_while_idle_stays_connected() {
    let bench = run(simulator("p1s", |_| {}).await, |config| {
        config.timing.silence = Duration::from_millis(200);
        config.timing.reply = Duration::from_secs(1);
    });
    bench.sim.faults().apply(Fault::QuietWhenIdle { on: true }).expect("fault");
    bench.online().await;
    let asked = async {
        while bench.sim.truth().counters.pushalls < 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asked).await.expect("asked for signs of life");
    let state = bench.handle.state();
    assert_eq!((state.link.phase, state.link.made), (LinkPhase::Online, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_serial_that_is_answered_by_hanging_up_is_told_as_such() {
    let sim = simulator("p1s", |options| options.close_on_wrong_serial = true).await;
    let bench = run(sim, |config| {
        config.serial = "01P00B999999999".into();
        config.check_name = false;
    });
    let fault = bench.fault("MG-BAMBU-LOST").await;
    assert!(fault.remedy.contains("serial number"), "{fault:?}");
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
async fn a_mute_printer_is_judged_by_what_it_does() {
    let bench = run(simulator("p1s", |options| options.speed = 30.0).await, |_| {});
    bench.sim.faults().apply(Fault::Mute { on: true }).expect("fault");
    let link = bench.online().await.link.clone();
    let bed = bench.done(Command::SetBed { target: 55.0 }).await;
    assert_eq!(bed.seen, Seen::Effect, "the report shows it");
    for _more_than_a_deaf_one_gets in 0..3 {
        let taken = bench.done(Command::SetFan { fan: FanId::Part, speed: 0.5 }).await;
        assert!(taken.note.is_some_and(|note| note.contains("does not acknowledge")), "said as it is");
    }
    bench.start_cube(vec![SLOT]).await.expect("a start");
    bench.until("a print", |state| state.device.job.stage == DeviceStage::Printing).await;
    assert_eq!(bench.done(Command::Pause).await.seen, Seen::Effect);
    assert_eq!(bench.done(Command::Cancel).await.seen, Seen::Effect);
    assert_eq!(bench.handle.state().link, link, "the link was never given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_reads_only_qos_0_is_met() {
    let sim = simulator("p1s", |_| {}).await;
    sim.faults().apply(Fault::PlainOnly { on: true }).expect("fault");
    let bench = run(sim, |_| {});
    bench.online().await;
    assert_eq!(bench.done(Command::SetBed { target: 55.0 }).await.seen, Seen::Effect);
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
async fn old_and_new_certificates_are_met() {
    for (certificate, tls13) in
        [(sim::Certificate::V1, false), (sim::Certificate::V3, false), (sim::Certificate::V3, true)]
    {
        let sim = simulator("p2s", |options| {
            options.certificate = certificate;
            options.tls13 = tls13;
        });
        let bench = run(sim.await, |_| {});
        bench.online().await;
        let listed =
            bench.handle.files().list().await.unwrap_or_else(|error| panic!("{certificate:?}: {error}"));
        assert!(listed.iter().any(|file| file.path == "cube.gcode.3mf"), "{certificate:?} {tls13}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_changes_later_is_told() {
    let bench = Bench::start("p1s").await;
    let faults = bench.sim.faults();
    faults.apply(Fault::AccessCode { code: "87654321".into() }).expect("fault");
    faults.apply(Fault::DropLink).expect("fault");
    let fault = bench.fault("MG-BAMBU-AUTH").await;
    assert!(fault.permanent, "{fault:?}");
    faults.apply(Fault::AccessCode { code: "12345678".into() }).expect("fault");
    bench.handle.reconnect();
    bench.online().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_in_a_print_ends_the_job() {
    let bench = run(simulator("p1s", |options| options.speed = 20.0).await, |_| {});
    let slot = loaded(&*bench.online().await);
    bench.start_cube(vec![slot]).await.expect("start");
    bench.until("printing", |state| state.job.phase == JobPhase::Printing).await;
    bench.sim.faults().apply(Fault::PowerCut { seconds: 1.0 }).expect("fault");
    bench.until("backoff", |state| state.link.phase == LinkPhase::Backoff).await;
    bench.online().await;
    let state = bench.until("over", |state| !state.job.phase.active()).await;
    assert_ne!(state.job.phase, JobPhase::Complete, "{:?}", state.job);
    assert_eq!(bench.sim.truth().counters.jobs_started, 1, "nothing starts by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_report_ends_at_most_the_connection() {
    let bench = Bench::start("p1s").await;
    bench.sim.faults().apply(Fault::Oversized { bytes: 32 << 20 }).expect("fault");
    bench.sim.faults().apply(Fault::Publish { text: "[".repeat(200_000) }).expect("fault");
    let again = async {
        while bench.send(Command::SetBed { target: 40.0 }).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, again).await.expect("the printer is commanded again");
}
