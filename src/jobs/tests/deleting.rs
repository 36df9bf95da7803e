//! A printer that takes its time to delete what is left of a job.

use super::*;

/// `cube.gcode` was printed, and the printer is just deleting its file.
fn deleting(world: &World) -> Life {
    let life = Life::printing(world);
    life.put("other.gcode.3mf", archive(RED));
    world.fake.machine().slow_deletes = true;
    world.fake.run(DeviceStage::Finished);
    life.ended(HistoryEnd::Completed);
    life.eventually("under way", || world.fake.machine().deleting == ["cube.gcode.3mf"]);
    life
}

#[test]
fn a_start_does_not_wait_for_the_deletion_of_another_file() {
    let world = world();
    let life = deleting(&world);
    assert_eq!(life.start("other.gcode"), Ok(()));
    assert_eq!(world.fake.machine().deleting, ["cube.gcode.3mf"], "it is still under way");
    life.until_phase(JobPhase::Preparing);
    world.fake.machine().slow_deletes = false;
    life.eventually("deleted", || world.deleted() == ["cube.gcode.3mf"]);
    assert_eq!((world.uploads().len(), world.starts(), world.files()), (2, 2, 1));
}

#[test]
fn a_start_of_the_file_that_is_being_deleted_sends_it_anew() {
    let world = world();
    let life = deleting(&world);
    let start = async {
        let asked = life.jobs.start(StartRequest { file: "cube.gcode".into(), ..StartRequest::default() });
        tokio::pin!(asked);
        tokio::select! {
            ended = &mut asked => panic!("the file was not gone yet: {ended:?}"),
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
        assert_eq!((world.starts(), world.uploads().len()), (1, 1));
        world.fake.machine().slow_deletes = false;
        asked.await
    };
    assert_eq!(life.run(start), Ok(()));
    life.until_phase(JobPhase::Preparing);
    assert_eq!(world.deleted(), ["cube.gcode.3mf"]);
    assert_eq!((world.uploads().len(), world.starts(), world.files()), (2, 2, 1), "deleted, then sent");
}

#[test]
fn a_cancel_and_an_emergency_stop_do_not_wait_for_a_deletion() {
    for emergency in [false, true] {
        let world = world();
        let life = deleting(&world);
        let start = async {
            let asked =
                life.jobs.start(StartRequest { file: "cube.gcode".into(), ..StartRequest::default() });
            tokio::pin!(asked);
            tokio::select! {
                ended = &mut asked => panic!("{ended:?}"),
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
            }
            let stopped = if emergency { life.jobs.emergency_stop().await } else { life.jobs.cancel().await };
            assert!(stopped.is_ok(), "{stopped:?}");
            assert_eq!(world.fake.machine().deleting, ["cube.gcode.3mf"], "it is still under way");
            world.fake.machine().slow_deletes = false;
            asked.await
        };
        assert!(matches!(life.run(start), Err(StartError::Failed(_))));
        life.eventually("deleted", || world.deleted() == ["cube.gcode.3mf"]);
        assert_eq!((world.uploads().len(), world.starts()), (1, 1), "it was withdrawn");
    }
}
