//! Jobs that were started at the printer's own screen, or by another program.

use super::*;

/// A gateway with a file, and a printer that was told elsewhere to print something.
fn printing(world: &World, file: &str, title: &str, layers: Option<u32>) -> Life {
    let life = world.boot();
    life.online();
    life.put("cube.gcode.3mf", archive(RED));
    world.fake.show(|device| {
        device.job.stage = DeviceStage::Printing;
        device.job.file = Some(file.into());
        device.job.title = Some(title.into());
        device.job.total_layers = layers;
    });
    life.until_phase(JobPhase::Printing);
    life.eventually("entry", || !life.history().is_empty());
    life
}

#[test]
fn they_are_known_by_the_file_of_the_library_that_has_their_name() {
    for (file, title, layers) in [
        ("cube.gcode.3mf", "cube", None),
        ("/sdcard/cube.gcode.3mf", "", Some(10)),
        ("/data/Metadata/plate_1.gcode", "cube", Some(10)),
        ("cube.gcode", "cube", Some(0)),
    ] {
        let world = world();
        let life = printing(&world, file, title, layers);
        let state = life.until("known", |state| state.job.file.is_some());
        assert_eq!(state.job.file.as_deref(), Some("cube.gcode"), "{file}");
        assert_eq!(state.job.origin, crate::model::JobOrigin::Elsewhere);
        life.eventually("described", || life.history()[0].file == "cube.gcode");
        assert_eq!(life.history()[0].metadata["layer_count"], 10);
        let record = life.run(life.library.record("cube.gcode")).unwrap();
        assert_eq!(record.job_id.as_deref(), Some(life.history()[0].id.as_str()));

        // After a restart the run is found again by what the printer calls it.
        life.run(life.store.flush()).unwrap();
        life.kill();
        let life = world.boot();
        life.until("known again", |state| state.job.file.as_deref() == Some("cube.gcode"));
        world.fake.stage(DeviceStage::Finished);
        life.ended(HistoryEnd::Completed);
        assert_eq!((life.history().len(), world.starts()), (1, 0), "{file}");
    }
}

#[test]
fn a_file_with_other_layers_is_another_one_until_the_printer_counts_anew() {
    let world = world();
    let life = printing(&world, "cube.gcode.3mf", "cube", Some(77));
    life.pass(60);
    assert_eq!(life.printer.state().job.file, None);
    assert_eq!(life.history()[0].file, "cube");
    // The count of the last job stood there until the new one had its own.
    world.fake.show(|device| device.job.total_layers = Some(10));
    life.until("known", |state| state.job.file.as_deref() == Some("cube.gcode"));
}

#[test]
fn they_are_in_the_history_when_nobody_knows_their_file() {
    let world = world();
    let life = printing(&world, "vase.gcode.3mf", "vase", None);
    world.fake.stage(DeviceStage::Failed);
    let entry = life.ended(HistoryEnd::Failed);
    assert_eq!((entry.file.as_str(), life.printer.state().job.file.clone()), ("vase", None));
}

/// Also where that job takes its place in the same moment.
#[test]
fn a_start_that_another_job_ends_is_recorded_with_its_end_and_its_reason() {
    for (cancelled, end, why) in
        [(false, HistoryEnd::Failed, "began another job"), (true, HistoryEnd::Cancelled, "Cancelled before")]
    {
        let world = world();
        world.fake.machine().stuck_upload = true;
        let life = Life::begin(&world);
        life.until("bytes", |state| state.job.transfer.is_some_and(|transfer| transfer.total > 0));
        world.fake.show(|device| {
            device.job.stage = DeviceStage::Printing;
            device.job.title = Some("Benchy".into());
        });
        if cancelled {
            life.run(life.jobs.cancel()).expect("given up");
        } else {
            world.fake.machine().stuck_upload = false;
        }
        life.until("the other one", |state| state.job.title.as_deref() == Some("Benchy"));
        life.eventually("both", || life.history().len() == 2);
        let [other, ours] = life.history().try_into().expect("two");
        assert_eq!((other.end, ours.end, world.starts()), (None, Some(end), 0));
        assert!(ours.reason.as_deref().is_some_and(|reason| reason.contains(why)), "{ours:?}");
    }
}
