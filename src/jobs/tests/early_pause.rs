use super::*;
use crate::model::{CommandError, Outcome, Seen};

/// A start that the printer has and does not show, with a pause asked for meanwhile.
fn begun_silently(world: &World) -> (Life, tokio::task::JoinHandle<Result<Outcome, CommandError>>) {
    world.fake.machine().on_start = OnStart::Silent;
    let life = Life::begin(world);
    life.eventually("start received", || world.starts() == 1);
    let pausing = pause(&life);
    life.pass(20);
    assert_eq!(world.fake.machine().pauses, 0, "nothing is there to pause yet");
    (life, pausing)
}

fn pause(life: &Life) -> tokio::task::JoinHandle<Result<Outcome, CommandError>> {
    let jobs = life.jobs.clone();
    life.runtime.spawn(async move { jobs.pause_however_late().await })
}

fn pauses(life: &Life, world: &World, count: usize) {
    life.eventually("told to pause", || world.fake.machine().pauses == count);
}

#[test]
fn a_pause_waits_for_the_job_however_late_it_begins() {
    let world = world();
    let (life, pausing) = begun_silently(&world);
    world.fake.run(DeviceStage::Preparing);
    pauses(&life, &world, 1);
    world.fake.stage(DeviceStage::Paused);
    assert_eq!(life.run(pausing).unwrap().unwrap().seen, Seen::Effect);
    life.until_phase(JobPhase::Paused);
    assert!(!life.jobs.pause_waits());
    assert_eq!(world.fake.machine().pauses, 1);
}

#[test]
fn a_client_is_told_after_half_a_minute_that_the_pause_is_kept() {
    let world = world();
    let (life, _pausing) = begun_silently(&world);
    let told = life.run(life.jobs.pause()).unwrap();
    assert!(told.note.unwrap().contains("as soon as it begins"), "kept");
    assert!(life.jobs.pause_waits());
    world.fake.run(DeviceStage::Preparing);
    pauses(&life, &world, 1);
    world.fake.stage(DeviceStage::Paused);
    life.until_phase(JobPhase::Paused);
    assert_eq!(world.fake.machine().pauses, 1, "two clients, one pause");
}

#[test]
fn a_pause_that_the_printer_lets_pass_is_said_once_more_when_it_prints() {
    let world = world();
    let life = Life::begin(&world);
    life.until_phase(JobPhase::Preparing);
    let pausing = pause(&life);
    pauses(&life, &world, 1);
    world.fake.stage(DeviceStage::Printing);
    pauses(&life, &world, 2);
    world.fake.stage(DeviceStage::Paused);
    assert_eq!(life.run(pausing).unwrap().unwrap().seen, Seen::Effect);
    world.fake.stage(DeviceStage::Printing);
    life.until_phase(JobPhase::Printing);
    assert_eq!(world.fake.machine().pauses, 2, "said once more, not each time");
}

#[test]
fn a_pause_that_a_printing_printer_ignores_is_an_error_and_not_kept() {
    let world = world();
    let life = Life::begin(&world);
    life.until_phase(JobPhase::Preparing);
    world.fake.stage(DeviceStage::Printing);
    life.until_phase(JobPhase::Printing);
    let told = life.run(life.jobs.pause());
    assert!(matches!(told, Err(CommandError::Timeout(_))), "{told:?}");
    assert_eq!(world.fake.machine().pauses, 1);
    assert!(!life.jobs.pause_waits());
}

#[test]
fn a_pause_of_a_job_that_completes_meanwhile_is_not_called_kept() {
    let world = world();
    let life = Life::begin(&world);
    life.until_phase(JobPhase::Preparing);
    world.fake.stage(DeviceStage::Printing);
    life.until_phase(JobPhase::Printing);
    world.fake.machine().slow_moves = true;
    let jobs = life.jobs.clone();
    let pausing = life.runtime.spawn(async move { jobs.pause().await });
    pauses(&life, &world, 1);
    world.fake.stage(DeviceStage::Finished);
    life.pass(40);
    world.fake.machine().slow_moves = false;
    let told = life.run(pausing).unwrap();
    assert!(told.is_err(), "{told:?}");
}

#[test]
fn a_resume_withdraws_a_pause_that_waits() {
    let world = world();
    let (life, pausing) = begun_silently(&world);
    assert!(life.run(life.jobs.resume()).unwrap().note.unwrap().contains("withdrawn"));
    assert!(life.run(pausing).unwrap().is_ok());
    world.fake.run(DeviceStage::Preparing);
    world.fake.stage(DeviceStage::Printing);
    life.until_phase(JobPhase::Printing);
    life.pass(60);
    assert_eq!(world.fake.machine().pauses, 0);
}

#[test]
fn a_cancel_withdraws_a_pause_that_waits_and_no_other_job_gets_it() {
    let world = world();
    let (life, pausing) = begun_silently(&world);
    let jobs = life.jobs.clone();
    let cancelling = life.runtime.spawn(async move { jobs.cancel().await });
    life.pass(1);
    world.fake.run(DeviceStage::Preparing);
    life.run(cancelling).unwrap().unwrap();
    assert!(life.run(pausing).unwrap().is_ok());
    world.fake.machine().on_start = OnStart::Land;
    life.eventually("clean", || world.files() == 0);
    life.start("cube.gcode").unwrap();
    life.until_phase(JobPhase::Preparing);
    world.fake.run(DeviceStage::Printing);
    life.until_phase(JobPhase::Printing);
    life.pass(60);
    assert_eq!(world.fake.machine().pauses, 0);
}

#[test]
fn a_pause_of_a_job_that_fails_first_says_so() {
    let world = world();
    let (life, pausing) = begun_silently(&world);
    world.fake.run(DeviceStage::Failed);
    assert!(matches!(life.run(pausing).unwrap(), Err(CommandError::Invalid(_))));
    assert!(matches!(life.run(life.jobs.pause()), Err(CommandError::Invalid(_))), "nothing prints");
}
