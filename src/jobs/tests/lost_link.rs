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

/// A transfer over a connection of its own, to a printer that is away.
fn transferring_to_one_that_is_away(world: &World) -> Life {
    world.fake.machine().unbroken = true;
    let life = transferring(world);
    world.fake.machine().away = true;
    world.fake.lose_link();
    life.until("away", |state| !state.online());
    life
}

#[test]
fn a_transfer_of_its_own_connection_outlives_the_link() {
    let world = world();
    world.fake.machine().unbroken = true;
    let life = transferring(&world);
    world.fake.lose_link();
    life.online();
    assert_eq!(life.printer.state().job.phase, JobPhase::Transferring);
    world.fake.machine().stuck_upload = false;
    life.until_phase(JobPhase::Preparing);
    assert_eq!((world.starts(), world.uploads().len()), (1, 1));
}

#[test]
fn a_transfer_that_outlives_the_link_can_be_cancelled_and_stopped() {
    for stop in [false, true] {
        let world = world();
        let life = transferring_to_one_that_is_away(&world);
        if stop {
            assert!(life.run(life.jobs.emergency_stop()).is_err(), "the printer did not get it");
        } else {
            life.run(life.jobs.cancel()).expect("cancelled");
        }
        life.until_phase(JobPhase::Cancelled);
        world.fake.machine().away = false;
        world.fake.machine().stuck_upload = false;
        life.online();
        life.pass(600);
        assert_eq!(world.starts(), 0);
    }
}

#[test]
fn a_printer_that_stays_away_after_its_transfer_is_not_started_when_it_is_back() {
    let world = world();
    let life = transferring_to_one_that_is_away(&world);
    world.fake.machine().stuck_upload = false;
    let job = life.until_phase(JobPhase::Failed);
    assert!(job.reason.is_some_and(|reason| reason.contains("Start it again")));
    world.fake.machine().away = false;
    life.online();
    life.pass(600);
    assert_eq!(world.starts(), 0);
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

/// It may have been switched off since: the file's being there proves nothing.
#[test]
fn a_file_that_was_sent_whole_is_not_waited_for_longer_without_the_link() {
    let world = world();
    world.fake.machine().unbroken = true;
    world.fake.machine().stuck_confirmation = true;
    let life = Life::begin(&world);
    life.eventually("sent", || world.uploads().len() == 1);
    world.fake.lose_link();
    life.until("lost", |state| !state.online());
    life.online();
    life.pass(100);
    world.fake.machine().stuck_confirmation = false;
    let job = life.until_phase(JobPhase::Failed);
    assert!(job.reason.is_some_and(|reason| reason.contains("Start it again")));
    assert_eq!(world.starts(), 0);
}
