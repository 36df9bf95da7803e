mod deleting;
mod early_pause;
mod elsewhere;
mod ends;
mod guards;
mod lost_link;
mod restarts;
mod withdrawn;

use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::fake::{self, Fake, OnCancel, OnStart, archive, gcode};
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

/// Why a printer does not begin what it was told to start.
fn unreadable(since: f64) -> Fault {
    Fault { since, ..Fault::new(FaultSource::Job, Severity::Serious, "0500_4003", "Cannot read the file") }
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
        let jobs = Jobs::open(
            printer.clone(),
            library.clone(),
            store.clone(),
            &tasks,
            cancel.clone(),
            self.config.clone(),
        )
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

/// As at Moonraker: `before` bounds the end, which what runs has not yet (moonraker `history.py`).
#[test]
fn the_history_before_a_time_holds_what_had_ended() {
    let world = world();
    let life = Life::printing(&world);
    let asked = |before| life.jobs.history(&HistoryQuery { before, ..HistoryQuery::default() }).len();
    assert_eq!((asked(None), asked(Some(f64::MAX))), (1, 0), "it runs");
    world.fake.run(DeviceStage::Finished);
    let ended = life.ended(HistoryEnd::Completed).ended_at.expect("its end");
    assert_eq!((asked(Some(ended + 1.0)), asked(Some(ended))), (1, 0));
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
    life.stop();
    let life = world.boot();
    life.online();
    assert_eq!((life.jobs.queue().state, world.starts()), (QueueState::Waiting, 0));
    let left = life.run(life.jobs.start_queue()).unwrap();
    assert_eq!((left.state, left.jobs.len()), (QueueState::Waiting, 1));
    life.until_phase(JobPhase::Preparing);
    assert_eq!(world.fake.machine().starts[0].title, "b");
    assert!(life.run(life.jobs.start_queue()).is_err(), "the printer is busy");
    assert_eq!((life.jobs.queue().state, life.jobs.queue().jobs.len()), (QueueState::Waiting, 1));
    world.fake.run(DeviceStage::Finished);
    life.ended(HistoryEnd::Completed);
    life.pass(600);
    assert_eq!(world.starts(), 1, "the next one waits for the user");
    assert!(life.jobs.dequeue(None).jobs.is_empty());
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
