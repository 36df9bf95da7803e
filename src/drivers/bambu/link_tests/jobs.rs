//! Jobs: started once, followed, ended, told why.

use super::*;

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
async fn a_job_whose_number_is_not_echoed_is_known_by_its_name() {
    for key in ["p1s", "x1c"] {
        let bench = run(simulator(key, |options| options.speed = 20.0).await, |_| {});
        bench.sim.faults().apply(Fault::KeepIds { on: true }).expect("fault");
        bench.sim.faults().apply(Fault::DelayedStart { seconds: 2.0 }).expect("fault");
        let slot = loaded(&*bench.online().await);
        bench.start_cube(vec![slot]).await.expect("start");
        let ours = |state: &PrinterState| state.device.job.token.as_deref() == Some("77001");
        let landed = bench.until("landed", ours).await;
        assert!(!landed.device.job.stage.active(), "{key}: before it begins");
        bench.until("printing", |state| ours(state) && state.device.job.stage == DeviceStage::Printing).await;
    }
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
