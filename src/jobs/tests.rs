mod early_pause;
mod elsewhere;

use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::fake::{self, Fake, OnStart, archive, gcode};
use super::*;
use crate::library::LibraryLimits;
use crate::model::{Capabilities, DeviceStage, Fault, FaultSource, PrinterState, Severity, SlotId};

/// What outlives the gateway: disk and printer.
struct World {
    dir: tempfile::TempDir,
    fake: Fake,
    caps: Capabilities,
    config: JobsConfig,
}

/// One life of the gateway, on a runtime of its own with paused time.
struct Life {
    runtime: Runtime,
    printer: PrinterHandle,
    library: Library,
    jobs: Jobs,
    store: Store,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

const RED: &[(u32, &str, &str)] = &[(1, "PLA", "#FF0000")];

fn world() -> World {
    let (dir, fake) = (tempfile::tempdir().unwrap(), Fake::new());
    World { dir, fake, caps: fake::caps(), config: JobsConfig::default() }
}

impl World {
    fn database(&self) -> PathBuf {
        self.dir.path().join("state.redb")
    }

    fn boot(&self) -> Life {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let store = Store::open(&self.database()).unwrap();
        let _in = runtime.enter();
        let printer = self.fake.connect(self.caps.clone(), &tasks, &cancel);
        let limits = LibraryLimits { min_free: 0, ..LibraryLimits::default() };
        let root = self.dir.path().join("gcodes");
        let library =
            Library::start(root, limits, printer.clone(), store.clone(), &tasks, cancel.clone()).unwrap();
        let jobs =
            Jobs::open(printer.clone(), library.clone(), store.clone(), &tasks, cancel.clone(), self.config)
                .unwrap();
        drop(_in);
        Life { runtime, printer, library, jobs, store, tasks, cancel }
    }

    fn starts(&self) -> usize {
        self.fake.machine().starts.len()
    }

    fn cancels(&self) -> usize {
        self.fake.machine().cancels
    }

    fn uploads(&self) -> Vec<String> {
        self.fake.machine().uploads.clone()
    }

    fn files(&self) -> usize {
        self.fake.machine().files.len()
    }

    fn deleted(&self) -> Vec<String> {
        self.fake.machine().deleted.clone()
    }
}

impl Life {
    /// The process is gone: nothing runs any more, nothing reaches the disk any more.
    fn kill(self) {
        self.store.kill();
        self.runtime.shutdown_timeout(Duration::from_secs(10));
    }

    /// An orderly end.
    fn stop(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.runtime.block_on(self.tasks.wait());
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Lets paused time go by.
    fn pass(&self, seconds: u64) {
        self.run(async { tokio::time::sleep(Duration::from_secs(seconds)).await });
    }

    fn until(&self, what: &str, seen: impl Fn(&PrinterState) -> bool) -> Arc<PrinterState> {
        let mut watch = self.printer.watch();
        self.run(async {
            let waited =
                tokio::time::timeout(Duration::from_secs(3600), watch.wait_for(|state| seen(state))).await;
            match waited {
                Ok(state) => state.unwrap().clone(),
                Err(_) => panic!("never seen: {what}; {:?}", self.printer.state().job),
            }
        })
    }

    fn until_phase(&self, phase: JobPhase) -> Job {
        self.until(&format!("{phase:?}"), |state| state.job.phase == phase).job.clone()
    }

    fn online(&self) {
        self.until("online", |state| state.online());
    }

    fn put(&self, name: &str, content: Vec<u8>) {
        self.run(async {
            let mut upload = self.library.begin_upload("", name).await.unwrap();
            upload.write(content.into()).await.unwrap();
            upload.finish(None, None).await.unwrap();
        });
    }

    fn start(&self, file: &str) -> Result<(), StartError> {
        self.run(self.jobs.start(StartRequest { file: file.into(), ..StartRequest::default() }))
    }

    fn history(&self) -> Vec<HistoryEntry> {
        self.jobs.history(&HistoryQuery::default())
    }

    /// Waits until something holds that no snapshot tells.
    fn eventually(&self, what: &str, holds: impl Fn() -> bool) {
        self.run(async {
            for _ in 0..2000 {
                if holds() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            panic!("never: {what}; history {:?}", self.history());
        });
    }

    fn ended(&self, end: HistoryEnd) -> HistoryEntry {
        self.eventually(&format!("{end:?}"), || {
            self.history().first().is_some_and(|entry| entry.end == Some(end))
        });
        self.history().remove(0)
    }

    /// A gateway with `cube.gcode`, under way to the printer.
    fn begin(world: &World) -> Self {
        let life = world.boot();
        life.online();
        life.put("cube.gcode.3mf", archive(RED));
        life.start("cube.gcode").unwrap();
        life
    }

    fn printing(world: &World) -> Self {
        let life = Self::begin(world);
        life.until_phase(JobPhase::Preparing);
        world.fake.run(DeviceStage::Printing);
        life.until_phase(JobPhase::Printing);
        life.eventually("entry", || !life.history().is_empty());
        life
    }
}

#[test]
fn a_print_goes_from_the_file_to_the_history_and_the_printer_is_left_clean() {
    let world = world();
    let life = Life::printing(&world);
    let start = world.fake.machine().starts[0].clone();
    assert_eq!((start.plate, start.remote_path.as_str()), (1, "cube.gcode.3mf"));
    assert!(
        start.token > 0 && start.token < 1 << 31 && start.md5.as_ref().is_some_and(|md5| md5.len() == 32)
    );
    let job = life.printer.state().job.clone();
    assert_eq!((job.file.as_deref(), job.origin), (Some("cube.gcode"), crate::model::JobOrigin::Gateway));
    assert!(world.deleted().is_empty());
    world.fake.run(DeviceStage::Finished);
    let entry = life.ended(HistoryEnd::Completed);
    assert_eq!(
        (entry.id.as_str(), entry.file.as_str(), entry.filament_used_mm),
        ("000001", "cube.gcode", 1000.0)
    );
    life.eventually("deleted", || world.deleted() == ["cube.gcode.3mf"]);
    assert_eq!(life.jobs.totals().jobs, 1);
    let record = life.run(life.library.record("cube.gcode")).unwrap();
    assert_eq!(record.job_id.as_deref(), Some("000001"));
    assert_eq!(world.starts(), 1);
    life.jobs.forget_ended();
    assert_eq!(life.printer.state().job.phase, JobPhase::Idle);
    world.fake.show(|device| device.bed.actual = Some(30.0));
    assert_eq!(life.printer.state().job.phase, JobPhase::Idle, "a forgotten end stays forgotten");
    life.stop();
    let life = world.boot();
    assert_eq!((life.history().len(), life.jobs.totals().jobs), (1, 1));
}

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
    let fault = |device: &mut crate::model::Device| {
        device.faults.push(Fault {
            code: "0500_4003".into(),
            source: FaultSource::Job,
            severity: Severity::Serious,
            module: None,
            text: "Cannot read the file".into(),
            link: None,
            actions: vec![],
            since: 0.0,
        });
    };
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
fn a_second_job_is_refused_from_the_first_moment_on() {
    let world = world();
    world.fake.machine().stuck_upload = true;
    let life = Life::begin(&world);
    life.put("other.gcode", gcode());
    let busy = |error| matches!(error, Err(StartError::Command(CommandError::Busy(_))));
    assert!(busy(life.start("other.gcode")));
    assert_eq!(life.start("cube.gcode"), Ok(()));
    world.fake.machine().stuck_upload = false;
    life.until_phase(JobPhase::Preparing);
    assert!(busy(life.start("other.gcode")));
    assert_eq!(world.starts(), 1);
    let preview =
        life.run(life.jobs.preview(&StartRequest { file: "other.gcode".into(), ..StartRequest::default() }));
    assert_eq!(preview.unwrap().objections[0].0, "busy");
}

#[test]
fn guards_object_by_code_and_only_some_can_be_overridden() {
    let world = world();
    let life = world.boot();
    life.online();
    life.put("two.3mf", archive(&[(1, "PLA", "#FF0000"), (2, "PETG", "#00FF00")]));
    let ask = |request: StartRequest| life.run(life.jobs.start(request));
    let code = |result: Result<(), StartError>| match result {
        Err(StartError::Objection { code, .. }) => code,
        other => format!("{other:?}"),
    };
    let file = |file: &str| StartRequest { file: file.into(), ..StartRequest::default() };
    assert!(matches!(ask(file("none.gcode")), Err(StartError::NotFound(_))));
    assert_eq!(code(ask(file("two.3mf"))), "plate");
    assert_eq!(code(ask(StartRequest { plate: Some(7), ..file("two.3mf") })), "plate");
    world.fake.show(|device| device.storage.present = Some(false));
    assert_eq!(code(ask(StartRequest { overrides: vec!["storage".into()], ..file("two.gcode") })), "storage");
    world.fake.show(|device| {
        device.storage.present = Some(true);
        device.storage.free_bytes = Some(10);
    });
    assert_eq!(code(ask(file("two.gcode"))), "full");
    world.fake.show(|device| {
        device.storage.free_bytes = None;
        let filament = crate::model::Filament { material: Some("ABS".into()), ..Default::default() };
        let slot = crate::model::Slot {
            present: Some(true),
            filament: Some(filament),
            ..crate::model::Slot::empty(SlotId::External(0))
        };
        device.filament.external = vec![slot];
    });
    assert_eq!(code(ask(file("two.gcode"))), "filament");
    assert_eq!(world.starts(), 0);
    ask(StartRequest { overrides: vec!["filament".into()], ..file("two_plate_2.gcode") }).unwrap();
    life.until_phase(JobPhase::Preparing);
    let start = world.fake.machine().starts[0].clone();
    assert_eq!((start.plate, start.mapping), (2, vec![None, Some(SlotId::External(0))]));
}

#[test]
fn plain_gcode_is_wrapped_for_printers_of_archives_unless_that_is_switched_off() {
    let mut world = world();
    world.caps.files.gcode = false;
    let life = world.boot();
    life.online();
    life.put("box.gcode", gcode());
    life.start("box.gcode").unwrap();
    life.until_phase(JobPhase::Preparing);
    assert_eq!(world.fake.machine().starts[0].remote_path, "box.gcode.3mf");
    life.stop();
    world.fake.stage(DeviceStage::Idle);
    world.config.wrap_gcode = false;
    let life = world.boot();
    life.online();
    let refused = life.start("box.gcode");
    assert!(matches!(refused, Err(StartError::Objection { code, .. }) if code == "format"));
}

#[test]
fn an_archive_is_unpacked_for_printers_of_gcode_and_sent_once_where_files_may_stay() {
    let mut world = world();
    (world.caps.files.archives, world.caps.files.remove_after_job) = (false, false);
    let life = world.boot();
    life.online();
    life.put("cube.3mf", archive(RED));
    for round in 1..=2 {
        life.start("cube.gcode").unwrap();
        life.until("preparing", |state| state.job.serial == round && state.job.phase == JobPhase::Preparing);
        world.fake.run(DeviceStage::Finished);
        life.until_phase(JobPhase::Complete);
        life.eventually("entry", || life.history().len() as u64 == round);
    }
    assert_eq!((world.starts(), world.uploads().as_slice()), (2, ["cube.gcode".to_owned()].as_slice()));
    assert!(world.deleted().is_empty());
    let tokens: Vec<u32> = world.fake.machine().starts.iter().map(|start| start.token).collect();
    assert_ne!(tokens[0], tokens[1]);
    world.fake.machine().files.clear();
    life.start("cube.gcode").unwrap();
    life.until("preparing", |state| state.job.serial == 3 && state.job.phase == JobPhase::Preparing);
    assert_eq!(world.uploads().len(), 2, "what the printer lost is sent again");
}

#[test]
fn what_cannot_be_removed_now_is_removed_later_also_by_the_next_gateway() {
    let world = world();
    world.fake.machine().refuse_deletes = true;
    let life = Life::printing(&world);
    world.fake.run(DeviceStage::Finished);
    life.ended(HistoryEnd::Completed);
    life.pass(300);
    assert_eq!(world.files(), 1);
    life.kill();
    world.fake.machine().refuse_deletes = false;
    let life = world.boot();
    life.eventually("removed", || world.deleted() == ["cube.gcode.3mf"]);
}

#[test]
fn a_job_of_the_printers_own_screen_is_recorded() {
    let world = world();
    let life = world.boot();
    life.online();
    world.fake.show(|device| {
        device.job.stage = DeviceStage::Printing;
        device.job.title = Some("Benchy".into());
        device.job.progress = Some(0.5);
    });
    life.eventually("entry", || life.history().first().is_some_and(|entry| entry.file == "Benchy"));
    world.fake.stage(DeviceStage::Cancelled);
    life.ended(HistoryEnd::Cancelled);
    assert_eq!(life.jobs.delete_history(None), ["000001"]);
    assert_eq!((life.history().len(), life.jobs.reset_totals().jobs, life.jobs.totals().jobs), (0, 1, 0));
}

#[test]
fn the_queue_is_durable_and_starts_only_when_told() {
    let world = world();
    let life = world.boot();
    life.online();
    life.put("a.gcode", gcode());
    life.put("b.gcode", gcode());
    let queue = |names: &[&str]| {
        let files = names.iter().map(|name| (*name).to_owned()).collect();
        life.run(life.jobs.enqueue(files, false))
    };
    assert!(matches!(queue(&["a.gcode", "missing.gcode"]), Err(StartError::NotFound(_))));
    assert_eq!(queue(&["a.gcode", "b.gcode"]).unwrap().jobs.len(), 2);
    let second = life.jobs.queue().jobs[1].id.clone();
    assert_eq!(life.jobs.jump_queue(&second).unwrap().jobs[0].file, "b.gcode");
    assert!(life.jobs.jump_queue("nothing").is_none());
    life.jobs.pause_queue();
    life.stop();
    let life = world.boot();
    life.online();
    assert_eq!((life.jobs.queue().state, world.starts()), (QueueState::Paused, 0));
    let left = life.run(life.jobs.start_queue()).unwrap();
    assert_eq!((left.state, left.jobs.len()), (QueueState::Ready, 1));
    life.until_phase(JobPhase::Preparing);
    assert_eq!(world.fake.machine().starts[0].title, "b");
    assert!(life.run(life.jobs.start_queue()).is_err(), "the printer is busy");
    assert_eq!((life.jobs.queue().state, life.jobs.queue().jobs.len()), (QueueState::Ready, 1));
    world.fake.run(DeviceStage::Finished);
    life.ended(HistoryEnd::Completed);
    life.pass(600);
    assert_eq!(world.starts(), 1, "the next one waits for the user");
    assert!(life.jobs.dequeue(None).jobs.is_empty());
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

#[test]
fn what_cannot_be_noted_on_disk_is_not_started() {
    let world = world();
    world.fake.machine().stuck_upload = true;
    let life = Life::begin(&world);
    life.until("bytes", |state| state.job.transfer.is_some_and(|transfer| transfer.total > 0));
    life.store.fill();
    world.fake.machine().stuck_upload = false;
    let reason = life.until_phase(JobPhase::Failed).reason.unwrap();
    assert!(reason.contains("could not be noted on disk"), "{reason}");
    let again = life.start("cube.gcode");
    assert!(matches!(&again, Err(StartError::Failed(text)) if text.contains("noted on disk")), "{again:?}");
    life.pass(400);
    assert_eq!(world.starts(), 0);
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

/// The plug is pulled after every number of steps; nobody asks again, so no second start may ever be received.
#[test]
fn pulled_at_any_step_the_printer_receives_one_start_at_most() {
    for steps in 0..80 {
        let world = world();
        let life = world.boot();
        life.online();
        life.put("cube.gcode.3mf", archive(RED));
        life.run(async {
            let request = StartRequest { file: "cube.gcode".into(), ..StartRequest::default() };
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
