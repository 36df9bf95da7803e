use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::jobs::fake::{Fake, caps, gcode};
use crate::jobs::{Jobs, JobsConfig};
use crate::library::{Library, LibraryLimits};
use crate::model::{FilamentOperation, FilamentUnit, Slot, SlotId};
use crate::station::Console;
use crate::store::Store;

/// A printer whose transfers never end, with a file to print.
async fn stuck(dir: &std::path::Path, tasks: &TaskTracker, cancel: &CancellationToken) -> (Station, Fake) {
    let fake = Fake::new();
    fake.machine().stuck_upload = true;
    let mut caps = caps();
    caps.filament.recover = true;
    let printer = fake.connect(caps, tasks, cancel);
    let store = Store::open(&dir.join("state.redb")).expect("store");
    let limits = LibraryLimits { min_free: 0, ..LibraryLimits::default() };
    let library =
        Library::start(dir.join("gcodes"), limits, printer.clone(), store.clone(), tasks, cancel.clone())
            .expect("library");
    let jobs = Jobs::open(
        printer.clone(),
        library.clone(),
        store.clone(),
        tasks,
        cancel.clone(),
        JobsConfig::default(),
    )
    .expect("jobs");
    let mut upload = library.begin_upload("", "cube.gcode").await.expect("upload");
    upload.write(gcode().into()).await.expect("write");
    upload.finish(None, None).await.expect("finish");
    let console = Console::default();
    let camera = crate::camera::CameraHub::new(
        None,
        crate::model::CameraKind::None,
        &tokio_util::task::TaskTracker::new(),
        tokio_util::sync::CancellationToken::new(),
    );
    let timelapses = crate::camera::timelapse::Timelapses::new(
        library.root().join("timelapse"),
        crate::camera::timelapse::Limits::default(),
        crate::camera::timelapse::Choices::default(),
    );
    (Station { printer, library, jobs, store, console, camera, timelapses, moonraker_port: 0 }, fake)
}

#[tokio::test]
async fn a_file_of_unknown_filaments_is_started_by_the_line_that_its_refusal_names() {
    let dir = tempfile::tempdir().expect("dir");
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let (station, fake) = stuck(dir.path(), &tasks, &cancel).await;
    fake.machine().files.insert("own.gcode.3mf".into(), 10);
    let mut watch = station.printer.watch();
    watch.wait_for(|state| state.online()).await.expect("online");
    let slots = |present: [bool; 2]| {
        let slot = |number: u8, present: bool| Slot {
            present: Some(present),
            ..Slot::empty(SlotId::Unit { unit: 0, slot: number })
        };
        fake.show(|device| {
            let slots = vec![slot(0, present[0]), slot(1, present[1])];
            device.filament.units =
                vec![FilamentUnit { name: "AMS 1".into(), slots, ..FilamentUnit::default() }];
        });
    };
    let start = async |overridden: &str| {
        let line = format!("SDCARD_PRINT_FILE FILENAME=\"printer/own.gcode.3mf\"{overridden}");
        run_script(&station, &mut Session::default(), &line, &mut |_| {}).await
    };
    slots([false, false]);
    let empty = start("").await.expect_err("no slot").to_string();
    assert!(empty.contains("load a spool"), "{empty}");
    slots([false, true]);
    for overridden in ["", " OVERRIDE=filament"] {
        let refused = start(overridden).await.expect_err("no slot").to_string();
        assert!(refused.contains("MMU_TTG_MAP MAP=\"1\"") && !refused.contains("OVERRIDE="), "{refused}");
    }
    let named = "MMU_TTG_MAP MAP=\"1\"";
    run_script(&station, &mut Session::default(), named, &mut |_| {}).await.expect("the map");
    start("").await.expect("started");
    watch.wait_for(|state| state.job.phase == JobPhase::Preparing).await.expect("begun");
    let mapping = fake.machine().starts[0].mapping.clone();
    assert_eq!(mapping, [Some(SlotId::Unit { unit: 0, slot: 1 })]);
}

/// Most of the features show nowhere else that they were followed.
#[tokio::test]
async fn a_button_answers_what_came_of_it_and_another_word_does_not() {
    let dir = tempfile::tempdir().expect("dir");
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let (station, fake) = stuck(dir.path(), &tasks, &cancel).await;
    let mut watch = station.printer.watch();
    watch.wait_for(|state| state.online()).await.expect("online");
    fake.show(|device| device.filament.operation = FilamentOperation::Stuck);
    watch.wait_for(|state| state.device.filament.operation == FilamentOperation::Stuck).await.expect("stuck");
    let mut told = Vec::new();
    let script = "FILAMENT_RETRY\nFILAMENT_RESET";
    run_script(&station, &mut Session::default(), script, &mut |reply| told.push(reply)).await.expect("done");
    assert_eq!(told, [Reply::Info("FILAMENT_RETRY: the printer has taken the order.".into())]);
}

#[tokio::test]
async fn an_emergency_stop_ends_a_script_that_waits() {
    let dir = tempfile::tempdir().expect("dir");
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let (station, fake) = stuck(dir.path(), &tasks, &cancel).await;
    let mut watch = station.printer.watch();
    watch.wait_for(|state| state.online()).await.expect("online");
    let heat = |target: f64| {
        fake.show(|device| {
            let heater = crate::model::Heater { actual: Some(21.0), target: Some(target) };
            device.nozzles = vec![crate::model::Nozzle { heater, ..crate::model::Nozzle::default() }];
        });
    };
    heat(200.0);
    let mut told = Vec::new();
    let mut session = Session::default();
    let mut reply = |reply| told.push(reply);
    let (result, ()) =
        tokio::join!(run_script(&station, &mut session, "M109 S200\nM118 go on", &mut reply), async {
            let heating = || fake.machine().taken.contains(&"set nozzle temperature");
            while !heating() {
                tokio::task::yield_now().await;
            }
            station.jobs.emergency_stop().await.expect("stopped");
            heat(0.0);
        });
    assert!(matches!(&result, Err(CommandError::Busy(why)) if why.contains("emergency stop")), "{result:?}");
    assert!(
        !told.iter().any(|reply| matches!(reply, Reply::Info(text) if text.contains("go on"))),
        "{told:?}"
    );
}

#[tokio::test]
async fn cancel_and_emergency_stop_end_a_transfer_and_the_start_behind_it() {
    for stop in [Command::Cancel, Command::EmergencyStop] {
        let dir = tempfile::tempdir().expect("dir");
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let (station, fake) = stuck(dir.path(), &tasks, &cancel).await;
        let mut watch = station.printer.watch();
        watch.wait_for(|state| state.online()).await.expect("online");
        let request = StartRequest { file: "cube.gcode".into(), ..StartRequest::default() };
        station.jobs.start(request).await.expect("started");
        watch.wait_for(|state| state.job.phase == JobPhase::Transferring).await.expect("transferring");
        send(&station, stop.clone()).await.expect("sent");
        watch.wait_for(|state| !state.job.phase.active()).await.expect("ended");
        fake.machine().stuck_upload = false;
        assert_eq!(fake.machine().starts.len(), 0, "{stop:?}");
        cancel.cancel();
        tasks.close();
        tasks.wait().await;
    }
}
