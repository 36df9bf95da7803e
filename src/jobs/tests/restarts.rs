//! What a killed gateway left under way, and how the next one finds the truth.

use super::*;

#[test]
fn killed_in_the_transfer_nothing_is_sent_again_and_the_part_is_removed() {
    let world = world();
    world.fake.machine().stuck_upload = true;
    let life = Life::begin(&world);
    life.until("bytes", |state| state.job.transfer.is_some_and(|transfer| transfer.total > 0));
    life.eventually("entry", || !life.history().is_empty());
    life.run(life.store.flush()).unwrap();
    life.kill();
    let life = world.boot();
    let job = life.until_phase(JobPhase::Failed);
    assert_eq!(job.reason.as_deref(), Some("gateway restarted during the transfer"));
    assert_eq!(life.ended(HistoryEnd::Failed).reason, job.reason);
    life.eventually("part removed", || world.files() == 0);
    assert_eq!((world.starts(), world.uploads().len(), life.history().len()), (0, 1, 1));
    world.fake.machine().stuck_upload = false;
    life.start("cube.gcode").unwrap();
    life.until_phase(JobPhase::Preparing);
    assert_eq!(world.starts(), 1);
}

#[test]
fn killed_between_start_and_landing_the_run_is_adopted_and_never_started_twice() {
    let world = world();
    world.fake.machine().on_start = OnStart::Silent;
    let life = Life::begin(&world);
    life.eventually("start received", || world.starts() == 1);
    life.kill();
    let life = world.boot();
    life.online();
    assert_eq!(life.until_phase(JobPhase::Starting).file.as_deref(), Some("cube.gcode"));
    assert!(matches!(life.start("cube.gcode"), Ok(())), "the same file is just starting");
    world.fake.run(DeviceStage::Printing);
    let job = life.until_phase(JobPhase::Printing);
    assert_eq!((job.file.as_deref(), job.origin), (Some("cube.gcode"), crate::model::JobOrigin::Gateway));
    world.fake.run(DeviceStage::Finished);
    life.ended(HistoryEnd::Completed);
    assert_eq!((world.starts(), life.history().len()), (1, 1));
}

#[test]
fn killed_after_the_start_the_printer_may_be_quicker_than_the_gateway() {
    for stage in [DeviceStage::Printing, DeviceStage::Finished] {
        let world = world();
        world.fake.machine().on_start = OnStart::Silent;
        let life = Life::begin(&world);
        life.eventually("start received", || world.starts() == 1);
        life.kill();
        world.fake.run(stage);
        let life = world.boot();
        if stage == DeviceStage::Printing {
            assert_eq!(life.until_phase(JobPhase::Printing).file.as_deref(), Some("cube.gcode"));
            world.fake.run(DeviceStage::Finished);
        }
        life.ended(HistoryEnd::Completed);
        assert_eq!((world.starts(), life.history().len()), (1, 1));
    }
}

#[test]
fn a_start_that_the_printer_never_shows_fails_after_a_restart_too() {
    let world = world();
    world.fake.machine().on_start = OnStart::Silent;
    let life = Life::begin(&world);
    life.eventually("start received", || world.starts() == 1);
    life.kill();
    let life = world.boot();
    let job = life.until_phase(JobPhase::Failed);
    assert!(job.reason.unwrap().contains("look at the printer"));
    life.ended(HistoryEnd::Failed);
    assert_eq!(world.starts(), 1);
    life.pass(1);
    life.kill();
    let life = world.boot();
    life.online();
    life.pass(1);
    assert_eq!(
        (life.printer.state().job.phase, world.starts(), life.history().len()),
        (JobPhase::Idle, 1, 1)
    );
}

#[test]
fn killed_in_the_print_the_entry_goes_on() {
    let world = world();
    let life = Life::printing(&world);
    let started_at = life.history()[0].started_at;
    life.run(life.store.flush()).unwrap();
    life.kill();
    let life = world.boot();
    let restored =
        life.until("file", |state| state.job.phase == JobPhase::Printing && state.job.file.is_some());
    // Times are JSON in between, which may cost the last bit.
    let same = |time: f64| (time - started_at).abs() < 1e-3;
    assert!(restored.job.file.as_deref() == Some("cube.gcode") && restored.job.started_at.is_some_and(same));
    world.fake.run(DeviceStage::Finished);
    let entry = life.ended(HistoryEnd::Completed);
    assert!(same(entry.started_at));
    assert_eq!((life.history().len(), world.starts()), (1, 1));
    life.eventually("deleted", || world.deleted() == ["cube.gcode.3mf"]);
}

#[test]
fn an_end_that_nobody_saw_is_told_by_the_printer_or_not_at_all() {
    let cases = [
        (DeviceStage::Finished, HistoryEnd::Completed),
        (DeviceStage::Failed, HistoryEnd::Failed),
        (DeviceStage::Idle, HistoryEnd::Interrupted),
    ];
    for (stage, end) in cases {
        let world = world();
        let life = Life::printing(&world);
        life.run(life.store.flush()).unwrap();
        life.kill();
        world.fake.stage(stage);
        let life = world.boot();
        life.ended(end);
        assert_eq!((life.history().len(), world.starts()), (1, 1), "{stage:?}");
    }
}

/// To a Bambu printer a cancelled print is a failed one, and it goes on showing it (bambu.md 3.5).
#[test]
fn a_cancelled_print_stays_cancelled_after_a_restart() {
    let world = world();
    let life = Life::printing(&world);
    world.fake.machine().on_cancel = OnCancel::Fail;
    drop(life.run(life.jobs.cancel()).unwrap());
    let ended_at = life.ended(HistoryEnd::Cancelled).ended_at;
    life.run(life.store.flush()).unwrap();
    life.kill();
    let life = world.boot();
    let job = life.until("recalled", |state| state.job.ended_at.is_some()).job.clone();
    assert_eq!((job.phase, job.file.as_deref()), (JobPhase::Cancelled, Some("cube.gcode")));
    assert!(job.found_ended && (job.ended_at.unwrap() - ended_at.unwrap()).abs() < 1e-3);
    assert_eq!(life.history().len(), 1);
    life.jobs.forget_ended();
    world.fake.show(|device| device.bed.actual = Some(31.0));
    assert_eq!(life.printer.state().job.phase, JobPhase::Idle, "a forgotten end stays forgotten");
}

#[test]
fn killed_while_it_cancels_the_print_was_cancelled_whatever_the_printer_calls_it() {
    for end in [DeviceStage::Failed, DeviceStage::Cancelled, DeviceStage::Idle] {
        let world = world();
        let life = Life::printing(&world);
        world.fake.machine().on_cancel = OnCancel::Later;
        let jobs = life.jobs.clone();
        life.runtime.spawn(async move { jobs.cancel().await });
        life.until_phase(JobPhase::Cancelling);
        life.pass(1);
        life.kill();
        world.fake.run(end);
        let life = world.boot();
        life.ended(HistoryEnd::Cancelled);
        assert_eq!((life.history().len(), world.starts()), (1, 1), "{end:?}");
        let shown = if end == DeviceStage::Idle { JobPhase::Idle } else { JobPhase::Cancelled };
        assert_eq!(life.printer.state().job.phase, shown, "{end:?}");
    }
}

#[test]
fn an_emergency_stop_stays_in_force_after_a_restart() {
    let world = world();
    let life = world.boot();
    life.online();
    life.put("cube.gcode.3mf", archive(RED));
    life.run(async { life.jobs.hold("Stopped.") });
    life.run(life.store.flush()).unwrap();
    life.kill();
    let life = world.boot();
    life.online();
    let refused = life.start("cube.gcode");
    assert!(matches!(&refused, Err(StartError::Objection { text, .. }) if text == "Stopped."), "{refused:?}");
    assert!(life.run(async { life.jobs.release() && !life.jobs.release() }));
    life.stop();
    let life = world.boot();
    life.online();
    life.start("cube.gcode").unwrap();
    life.until_phase(JobPhase::Preparing);
    assert_eq!(world.starts(), 1);
}

#[test]
fn another_job_after_the_restart_is_another_entry() {
    let world = world();
    let life = Life::printing(&world);
    life.run(life.store.flush()).unwrap();
    life.kill();
    world.fake.show(|device| {
        device.job.token = Some("other".into());
        device.job.title = Some("vase".into());
        device.job.file = None;
    });
    let life = world.boot();
    life.eventually("second entry", || life.history().len() == 2);
    let history = life.history();
    assert_eq!((history[1].end, history[0].end), (Some(HistoryEnd::Interrupted), None));
    assert_eq!(history[0].file, "vase");
    assert_eq!(life.printer.state().job.file, None);
}

/// Prints of the screen have no numbers at a Bambu printer, and often the same name.
#[test]
fn the_same_file_begun_again_meanwhile_is_another_entry() {
    for (progress, entries) in [(0.6, 1), (0.58, 1), (0.1, 2)] {
        let world = world();
        let life = world.boot();
        life.online();
        world.fake.show(|device| {
            device.job.stage = DeviceStage::Printing;
            device.job.title = Some("Benchy".into());
            device.job.progress = Some(0.6);
        });
        life.eventually("entry", || !life.history().is_empty());
        life.pass(60);
        life.run(life.store.flush()).unwrap();
        life.kill();
        world.fake.show(|device| device.job.progress = Some(progress));
        let life = world.boot();
        life.online();
        life.pass(5);
        let history = life.history();
        assert_eq!((history.len(), history[0].end), (entries, None), "{progress}");
        assert!(history.iter().skip(1).all(|entry| entry.end == Some(HistoryEnd::Interrupted)));
    }
}

#[test]
fn an_orderly_end_never_touches_the_print() {
    let world = world();
    let life = Life::printing(&world);
    life.stop();
    assert_eq!((world.cancels(), world.fake.machine().device.job.stage), (0, DeviceStage::Printing));
    let life = world.boot();
    life.until("file", |state| state.job.phase == JobPhase::Printing && state.job.file.is_some());
    assert_eq!((life.history().len(), world.starts()), (1, 1));
}

/// Asks for a start, and asks no more after so many steps.
pub fn begin_and_leave(life: &Life, file: &str, steps: usize) {
    life.run(async {
        let request = StartRequest { file: file.into(), ..StartRequest::default() };
        let starting = life.jobs.start(request);
        let steps = async {
            for _ in 0..steps {
                tokio::task::yield_now().await;
                // Work off the runtime needs real time to get ahead.
                tokio::task::spawn_blocking(|| ()).await.unwrap();
            }
        };
        tokio::pin!(starting, steps);
        tokio::select! {
            biased;
            () = &mut steps => {}
            result = &mut starting => {
                result.unwrap();
                steps.await;
            }
        }
    });
}

/// The plug is pulled after every number of steps; nobody asks again, so no second start may ever be received.
#[test]
fn pulled_at_any_step_the_printer_receives_one_start_at_most() {
    for steps in 0..80 {
        let world = world();
        let life = world.boot();
        life.online();
        life.put("cube.gcode.3mf", archive(RED));
        begin_and_leave(&life, "cube.gcode", steps);
        life.kill();
        let before = world.starts();
        let life = world.boot();
        life.online();
        life.pass(400);
        assert_eq!(world.starts(), before, "after {steps} steps something was started by itself");
        let job = life.printer.state().job.clone();
        if before == 1 {
            assert_eq!(
                (job.phase, job.file.as_deref()),
                (JobPhase::Preparing, Some("cube.gcode")),
                "{steps}"
            );
            world.fake.run(DeviceStage::Finished);
            life.ended(HistoryEnd::Completed);
            assert_eq!(life.history().len(), 1, "{steps}");
        } else {
            assert!(!job.phase.active(), "{steps}: {job:?}");
            assert!(life.history().iter().all(|entry| entry.end.is_some()));
            life.eventually("no leftover", || world.files() == 0);
        }
    }
}

/// The file lies on the printer and is the user's own: nothing of it was sent, so nothing of it is a part to remove.
#[test]
fn pulled_at_any_step_a_file_of_the_printer_stays_there() {
    for steps in 0..40 {
        let world = world();
        world.fake.machine().files.insert("mine.gcode".into(), 10);
        let life = world.boot();
        life.online();
        begin_and_leave(&life, "printer/mine.gcode", steps);
        life.kill();
        let before = world.starts();
        let life = world.boot();
        life.online();
        if before == 1 {
            world.fake.run(DeviceStage::Finished);
        }
        life.pass(400);
        assert_eq!(
            (world.files(), world.deleted().len(), world.starts()),
            (1, 0, before),
            "after {steps} steps"
        );
    }
}

#[test]
fn killed_as_the_queue_starts_a_job_it_waits_in_the_queue_no_more() {
    let world = world();
    world.fake.machine().on_start = OnStart::Silent;
    let life = world.boot();
    life.online();
    for name in ["a.gcode", "b.gcode"] {
        life.put(name, gcode());
    }
    life.run(life.jobs.enqueue(vec!["a.gcode".to_owned(), "b.gcode".to_owned()], false)).unwrap();
    life.run(life.store.flush()).unwrap();
    life.run(life.jobs.start_queue()).unwrap();
    life.eventually("start received", || world.starts() == 1);
    life.kill();
    let life = world.boot();
    let left: Vec<String> = life.jobs.queue().jobs.into_iter().map(|job| job.file).collect();
    assert_eq!((left, world.starts()), (vec!["b.gcode".to_owned()], 1));
}
