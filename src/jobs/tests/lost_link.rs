//! A start is sent on the connection on which it was asked for, or not at all (docs/decisions/008).

use super::*;

fn transferring(world: &World) -> Life {
    world.fake.machine().stuck_upload = true;
    let life = Life::begin(world);
    life.until("bytes", |state| state.job.transfer.is_some_and(|transfer| transfer.total > 0));
    life
}

#[test]
fn a_printer_that_is_back_at_once_after_a_loss_in_the_transfer_is_not_started() {
    let world = world();
    let life = transferring(&world);
    world.fake.lose_link();
    // The way is free again before anybody could have looked.
    world.fake.machine().stuck_upload = false;
    let job = life.until_phase(JobPhase::Failed);
    let reason = job.reason.expect("a reason");
    assert!(
        reason.contains("connection to the printer was lost") && reason.contains("Start it again"),
        "{reason}"
    );
    life.online();
    assert_eq!(life.ended(HistoryEnd::Failed).reason.as_deref(), Some(reason.as_str()));
    life.eventually("part removed", || world.files() == 0);
    life.pass(600);
    assert_eq!((world.starts(), world.uploads().len()), (0, 1));
    life.start("cube.gcode").expect("started by a person");
    life.until_phase(JobPhase::Preparing);
    assert_eq!((world.starts(), world.uploads().len()), (1, 2));
}

#[test]
fn a_printer_that_is_only_silent_for_a_while_gets_the_rest() {
    let world = world();
    let life = transferring(&world);
    world.fake.silent(true);
    life.pass(20);
    assert_eq!(life.printer.state().job.phase, JobPhase::Transferring);
    world.fake.silent(false);
    world.fake.machine().stuck_upload = false;
    life.until_phase(JobPhase::Preparing);
    assert_eq!((world.starts(), world.uploads().len()), (1, 1));
}

#[test]
fn a_fault_that_went_and_came_back_ends_the_second_start_as_it_ended_the_first() {
    let world = world();
    world.fake.machine().on_start = OnStart::ShowFile;
    let life = Life::begin(&world);
    for round in 1..=2 {
        life.eventually("start received", || world.starts() == round);
        // Shown from the first start on, it says nothing about the second one until it comes anew.
        life.pass(5);
        assert_eq!(life.printer.state().job.phase, JobPhase::Starting);
        world.fake.show(|device| device.faults.clear());
        world.fake.show(|device| device.faults.push(unreadable(round as f64)));
        let job = life
            .until("failed", |state| state.job.serial == round as u64 && state.job.phase == JobPhase::Failed);
        assert_eq!(job.job.reason.as_deref(), Some("Cannot read the file (0500_4003)"));
        life.eventually("entry", || life.history().len() == round && life.history()[0].end.is_some());
        if round == 1 {
            life.start("cube.gcode").expect("a second start");
        }
    }
}
