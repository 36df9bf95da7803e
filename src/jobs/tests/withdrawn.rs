//! A cancel and an emergency stop reach all that is still inside the gateway, and nothing stays half done.

use tokio::task::JoinHandle;

use super::restarts::begin_and_leave;
use super::*;
use crate::model::Axes;

type Started = JoinHandle<Result<(), StartError>>;

fn begin(life: &Life, file: &str) -> Started {
    let jobs = life.jobs.clone();
    let request = StartRequest { file: file.into(), ..StartRequest::default() };
    life.runtime.spawn(async move { jobs.start(request).await })
}

fn ready(world: &World) -> Life {
    let life = world.boot();
    life.online();
    life.put("cube.gcode.3mf", archive(RED));
    life
}

fn nothing_printed(life: &Life, world: &World) {
    life.pass(400);
    assert_eq!((world.starts(), life.printer.state().job.phase.active()), (0, false));
}

#[test]
fn a_cancel_withdraws_a_start_that_is_only_planned() {
    for stop in [false, true] {
        let world = world();
        let life = ready(&world);
        let gate = life.run(life.jobs.inner.gate.lock());
        let starting = begin(&life, "cube.gcode");
        life.pass(1);
        if stop {
            life.run(life.jobs.emergency_stop()).expect("stopped");
        } else {
            let note = life.run(life.jobs.cancel()).expect("something was asked for").note;
            assert!(note.is_some_and(|note| note.contains("withdrawn")));
        }
        drop(gate);
        let refused = life.run(starting).unwrap();
        assert!(matches!(&refused, Err(StartError::Failed(why)) if why.contains("Cancelled")), "{refused:?}");
        nothing_printed(&life, &world);
        assert!(
            matches!(life.run(life.jobs.cancel()), Err(CommandError::Invalid(_))),
            "nothing is meant now"
        );
        life.start("cube.gcode").expect("asked for anew");
        life.until_phase(JobPhase::Preparing);
    }
}

#[test]
fn a_cancel_withdraws_what_is_to_be_started_when_its_file_is_there() {
    let world = world();
    let life = ready(&world);
    let intended = life.jobs.intend();
    assert!(life.run(life.jobs.cancel()).is_ok());
    let request = StartRequest { file: "cube.gcode".into(), ..StartRequest::default() };
    assert!(life.run(life.jobs.start_intended(request, intended)).is_err());
    nothing_printed(&life, &world);
}

/// A move that takes long, with the start of a job behind it.
fn behind_a_move(world: &mut World) -> (Life, JoinHandle<Result<Outcome, CommandError>>) {
    world.caps.motion.home = true;
    world.fake.machine().slow_moves = true;
    let life = ready(world);
    let printer = life.printer.clone();
    let moving = life.runtime.spawn(async move { printer.send(Command::Home(Axes::ALL)).await });
    life.eventually("moves", || world.fake.machine().taken.contains(&"home"));
    (life, moving)
}

#[test]
fn a_start_that_waits_for_its_turn_is_withdrawn_and_not_sent() {
    for what in ["cancel", "stop", "link"] {
        let mut world = world();
        let (life, moving) = behind_a_move(&mut world);
        life.start("cube.gcode").expect("planned");
        life.until_phase(JobPhase::Starting);
        life.pass(2);
        match what {
            "cancel" => drop(life.run(life.jobs.cancel()).expect("cancelled")),
            "stop" => drop(life.run(life.jobs.emergency_stop()).expect("stopped")),
            _ => {
                world.fake.lose_link();
                life.until("lost", |state| !state.online());
            }
        }
        world.fake.machine().slow_moves = false;
        drop(life.run(moving));
        nothing_printed(&life, &world);
        life.eventually("told", || life.history().first().is_some_and(|entry| entry.end.is_some()));
    }
}

#[test]
fn a_move_that_waits_for_its_turn_is_not_made_after_an_emergency_stop() {
    let mut world = world();
    let (life, moving) = behind_a_move(&mut world);
    let printer = life.printer.clone();
    let second = life.runtime.spawn(async move { printer.send(Command::Home(Axes::ALL)).await });
    life.pass(1);
    life.run(life.printer.send(Command::EmergencyStop)).expect("stopped");
    world.fake.machine().slow_moves = false;
    drop(life.run(moving));
    let refused = life.run(second).unwrap();
    assert!(
        matches!(&refused, Err(CommandError::Busy(why)) if why.contains("emergency stop")),
        "{refused:?}"
    );
    assert_eq!(world.fake.machine().taken.iter().filter(|name| **name == "home").count(), 1);
}

#[test]
fn a_cancel_that_the_printer_refuses_at_the_landing_is_told_to_who_asked() {
    let world = world();
    world.fake.machine().on_start = OnStart::Silent;
    world.fake.machine().on_cancel = OnCancel::Refuse;
    let life = Life::begin(&world);
    life.eventually("start received", || world.starts() == 1);
    let jobs = life.jobs.clone();
    let cancelling = life.runtime.spawn(async move { jobs.cancel().await });
    life.pass(1);
    world.fake.run(DeviceStage::Preparing);
    let told = life.run(cancelling).unwrap();
    assert!(matches!(&told, Err(CommandError::Refused { code, .. }) if code == "E9"), "{told:?}");
    life.until_phase(JobPhase::Preparing);
}

#[test]
fn a_cancelled_start_that_lands_late_is_cancelled_then() {
    let world = world();
    world.fake.machine().on_start = OnStart::Silent;
    let life = Life::begin(&world);
    life.eventually("start received", || world.starts() == 1);
    drop(life.run(life.jobs.cancel()));
    life.until_phase(JobPhase::Cancelled);
    life.pass(100);
    assert_eq!(world.cancels(), 0, "nothing was there to cancel");
    world.fake.run(DeviceStage::Printing);
    life.eventually("cancelled", || world.cancels() == 1);
    life.until_phase(JobPhase::Cancelled);
    life.pass(100);
    assert_eq!((world.cancels(), world.starts()), (1, 1));
}

#[test]
fn a_file_that_was_replaced_since_the_plan_is_not_sent() {
    let world = world();
    let life = ready(&world);
    let request = StartRequest { file: "cube.gcode".into(), ..StartRequest::default() };
    let plan = life.run(life.jobs.inner.plan(&request)).unwrap();
    assert!(life.run(life.jobs.inner.same_file(&plan)).is_ok());
    life.put("cube.gcode.3mf", archive(RED));
    let end = life.run(life.jobs.inner.same_file(&plan)).expect_err("another file");
    assert!(end.reason.contains("replaced"), "{}", end.reason);
}

#[test]
fn who_leaves_in_the_middle_of_a_start_leaves_a_whole_one() {
    for steps in 1..30 {
        let world = world();
        let life = ready(&world);
        begin_and_leave(&life, "cube.gcode", steps);
        life.until_phase(JobPhase::Preparing);
        life.pass(1);
        assert_eq!((world.starts(), life.jobs.inner.intent()), (1, None), "after {steps} steps");
    }
}

#[test]
fn who_leaves_before_a_pause_takes_effect_does_not_leave_the_job_pausing() {
    let world = world();
    let life = Life::printing(&world);
    let printer = life.printer.clone();
    let pausing = life.runtime.spawn(async move { printer.send(Command::Pause).await });
    life.until_phase(JobPhase::Pausing);
    pausing.abort();
    life.until_phase(JobPhase::Printing);
    assert_eq!(world.fake.machine().pauses, 1);
}

#[test]
fn a_pause_that_waits_ends_with_its_connection() {
    let world = world();
    world.fake.machine().on_start = OnStart::Silent;
    let life = Life::begin(&world);
    life.eventually("start received", || world.starts() == 1);
    let jobs = life.jobs.clone();
    let pausing = life.runtime.spawn(async move { jobs.pause_however_late().await });
    life.pass(1);
    world.fake.lose_link();
    let told = life.run(pausing).unwrap();
    assert!(matches!(&told, Err(CommandError::Offline(why)) if why.contains("pause it again")), "{told:?}");
    life.online();
    world.fake.run(DeviceStage::Preparing);
    life.until_phase(JobPhase::Preparing);
    life.pass(60);
    assert_eq!((world.fake.machine().pauses, life.jobs.pause_waits()), (0, false));
}
