//! How starts and prints end: cancelled, refused, lost.

use super::*;

#[test]
fn a_cancel_ends_a_transfer_and_removes_the_part() {
    let world = world();
    world.fake.machine().stuck_upload = true;
    let life = Life::begin(&world);
    life.until("bytes", |state| state.job.transfer.is_some_and(|transfer| transfer.total > 0));
    assert_eq!(life.run(life.jobs.cancel()).unwrap().seen, Seen::Effect);
    assert_eq!(life.printer.state().job.phase, JobPhase::Cancelled);
    life.ended(HistoryEnd::Cancelled);
    assert_eq!((world.starts(), world.files(), world.cancels()), (0, 0, 0));
    assert!(matches!(life.run(life.jobs.cancel()), Err(CommandError::Invalid(_))));
}

#[test]
fn a_cancel_of_a_start_that_was_sent_waits_for_the_landing() {
    let world = world();
    world.fake.machine().on_start = OnStart::Silent;
    let life = Life::begin(&world);
    life.eventually("start received", || world.starts() == 1);
    let jobs = life.jobs.clone();
    let fake = world.fake.clone();
    let outcome = life.run(async move {
        let cancelling = tokio::spawn(async move { jobs.cancel().await });
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(fake.machine().cancels, 0, "nothing is there to cancel yet");
        fake.run(DeviceStage::Preparing);
        cancelling.await.unwrap()
    });
    assert_eq!(outcome.unwrap().seen, Seen::Effect);
    assert_eq!((world.cancels(), world.starts()), (1, 1));
    life.ended(HistoryEnd::Cancelled);
}

#[test]
fn a_link_lost_at_the_start_is_never_answered_by_a_second_start() {
    for lands in [true, false] {
        let world = world();
        world.fake.machine().on_start = OnStart::LoseLink;
        let life = Life::begin(&world);
        life.eventually("start received", || world.starts() == 1);
        life.until("lost", |state| !state.online());
        life.online();
        if lands {
            world.fake.run(DeviceStage::Printing);
            assert_eq!(life.until_phase(JobPhase::Printing).file.as_deref(), Some("cube.gcode"));
        } else {
            let job = life.until_phase(JobPhase::Failed);
            assert!(job.reason.unwrap().contains("connection was lost"));
        }
        assert_eq!(world.starts(), 1);
    }
}

#[test]
fn the_printers_own_reason_is_told() {
    let fault = |device: &mut crate::model::Device| device.faults.push(unreadable(0.0));
    type Then = Box<dyn Fn(&Fake)>;
    let cases: [(OnStart, &str, Then); 4] = [
        (OnStart::Refuse, "No bed. (E7)", Box::new(|_| {})),
        (OnStart::Silent, "Cannot read the file (0500_4003)", Box::new(move |fake| fake.show(fault))),
        (OnStart::Silent, "shows nothing of it", Box::new(|_| {})),
        (OnStart::ShowFile, "did not begin to print", Box::new(|_| {})),
    ];
    for (on_start, why, then) in cases {
        let world = world();
        world.fake.machine().on_start = on_start;
        let life = Life::begin(&world);
        life.eventually("start received", || world.starts() == 1);
        life.pass(1);
        then(&world.fake);
        let reason = life.until_phase(JobPhase::Failed).reason.unwrap();
        assert!(reason.contains(why), "{reason}");
        assert_eq!((life.ended(HistoryEnd::Failed).reason, world.starts()), (Some(reason), 1));
        life.eventually("file removed", || world.files() == 0);
    }
}

#[test]
fn no_print_follows_an_emergency_stop() {
    let world = world();
    world.fake.machine().stuck_upload = true;
    let life = Life::begin(&world);
    life.until("bytes", |state| state.job.transfer.is_some_and(|transfer| transfer.total > 0));
    life.run(life.jobs.emergency_stop()).unwrap();
    world.fake.machine().stuck_upload = false;
    life.until_phase(JobPhase::Cancelled);
    life.pass(400);
    assert_eq!(world.starts(), 0);
}

#[test]
fn a_transfer_that_stands_still_is_given_up() {
    let world = world();
    world.fake.machine().stuck_upload = true;
    let life = Life::begin(&world);
    let reason = life.until_phase(JobPhase::Failed).reason.unwrap();
    assert!(reason.contains("stalled"), "{reason}");
    life.ended(HistoryEnd::Failed);
    assert_eq!((world.starts(), world.files()), (0, 0));
}

#[test]
fn an_end_of_another_kind_is_told_to_who_waits() {
    let world = world();
    let life = world.boot();
    life.online();
    life.put("cube.gcode.3mf", archive(RED));
    let watch = || {
        let request = StartRequest { file: "cube.gcode".into(), ..StartRequest::default() };
        life.run(life.jobs.start_and_watch(request))
    };
    world.fake.machine().on_start = OnStart::Refuse;
    assert_eq!(watch(), Err(StartError::Failed("No bed. (E7)".into())));
    world.fake.machine().on_start = OnStart::Land;
    assert_eq!(watch(), Ok(JobPhase::Preparing));
}

#[test]
fn a_file_that_was_sent_whole_may_be_confirmed_after_five_minutes() {
    for (seconds, confirmed) in [(300, true), (320, false)] {
        let world = world();
        world.fake.machine().stuck_confirmation = true;
        let life = Life::begin(&world);
        life.eventually("sent", || world.uploads().len() == 1);
        life.pass(seconds);
        world.fake.machine().stuck_confirmation = false;
        if confirmed {
            life.until_phase(JobPhase::Preparing);
        } else {
            let reason = life.until_phase(JobPhase::Failed).reason.expect("a reason");
            assert!(reason.contains("did not confirm"), "{reason}");
        }
        assert_eq!(world.starts(), usize::from(confirmed));
    }
}
