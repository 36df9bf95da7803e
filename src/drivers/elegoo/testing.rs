//! The rig of both drivers' tests: a simulated printer and the real supervisor with the driver on it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::models::Model;
use crate::model::*;
use crate::printer::{CameraFeed, DriverParts, FileError, PrinterHandle, PrinterSettings, RemoteFile, start};
use crate::sim::elegoo_models;

const DEADLINE: Duration = Duration::from_secs(30);

pub struct Rig<S> {
    pub sim: Arc<S>,
    pub printer: PrinterHandle,
    /// Stage of the simulated machine, for messages.
    stage: fn(&S) -> String,
    cancel: CancellationToken,
}

impl<S> Drop for Rig<S> {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl<S> Rig<S> {
    pub fn new(name: &str, sim: impl Into<Arc<S>>, parts: DriverParts, stage: fn(&S) -> String) -> Self {
        let cancel = CancellationToken::new();
        let settings = PrinterSettings {
            name: name.into(),
            title: name.to_uppercase(),
            read_only: false,
            allow_vendor: false,
        };
        let printer = start(settings, parts, &TaskTracker::new(), cancel.clone());
        Self { sim: sim.into(), printer, stage, cancel }
    }

    /// The gateway ends; the simulator goes on.
    pub fn leave(&self) {
        self.cancel.cancel();
    }

    /// Waits until the printer's listing holds this path.
    pub async fn until_listed(&self, path: &str) -> RemoteFile {
        let look = async {
            let mut often = tokio::time::interval(Duration::from_millis(50));
            loop {
                often.tick().await;
                let files = self.printer.files().list().await.unwrap_or_default();
                if let Some(file) = files.into_iter().find(|file| file.path == path) {
                    return file;
                }
            }
        };
        tokio::time::timeout(DEADLINE, look).await.unwrap_or_else(|_late| panic!("never listed {path}"))
    }

    pub async fn until(
        &self,
        what: &str,
        wanted: impl FnMut(&Arc<PrinterState>) -> bool,
    ) -> Arc<PrinterState> {
        let mut watch = self.printer.watch();
        match tokio::time::timeout(DEADLINE, watch.wait_for(wanted)).await {
            Ok(state) => state.unwrap().clone(),
            Err(_) => {
                let (state, stage) = (self.printer.state(), (self.stage)(&self.sim));
                panic!(
                    "never saw {what}: {:?} {:?} {:?}; machine {stage}",
                    state.link, state.job, state.device.job
                )
            }
        }
    }

    pub async fn online(&self) {
        self.until("online", |state| state.online()).await;
    }

    pub async fn phase(&self, phase: JobPhase) -> Arc<PrinterState> {
        self.until(&format!("{phase:?}"), |state| state.job.phase == phase).await
    }

    pub async fn idle(&self) {
        self.until("idle", |state| state.device.activity == Activity::Idle).await;
    }

    pub async fn link_fault(&self, code: &str) -> LinkFault {
        let has =
            |state: &Arc<PrinterState>| state.link.fault.as_ref().is_some_and(|fault| fault.code == code);
        self.until(code, has).await.link.fault.clone().unwrap()
    }

    /// Waits for something the simulator knows and no state tells.
    pub async fn until_sim(&self, what: &str, wanted: impl Fn(&S) -> bool) {
        let look = async {
            let mut often = tokio::time::interval(Duration::from_millis(20));
            while !wanted(&self.sim) {
                often.tick().await;
            }
        };
        assert!(tokio::time::timeout(DEADLINE, look).await.is_ok(), "never saw {what}");
    }

    /// As the job service does it: Starting with our token, then the command.
    pub async fn start_job(&self, job: StartJob) -> Result<Outcome, CommandError> {
        self.printer.writer().job(|state| {
            *state = Job {
                serial: state.serial + 1,
                phase: JobPhase::Starting,
                origin: JobOrigin::Gateway,
                file: Some(format!("folder/{}", job.remote_path)),
                token: Some(job.token.to_string()),
                ..Job::default()
            };
        });
        self.printer.send(Command::StartJob(Box::new(job))).await
    }

    pub async fn start_file(&self, file: &str, token: u32) -> Result<Outcome, CommandError> {
        self.start_job(StartJob { remote_path: file.into(), token, ..StartJob::default() }).await
    }

    /// Pauses the print that is on its way, resumes it, and cancels before the resume is through: the cancel must win.
    pub async fn stops_while_the_print_resumes(&self) {
        self.phase(JobPhase::Printing).await;
        self.printer.send(Command::Pause).await.unwrap();
        self.phase(JobPhase::Paused).await;
        let (resumed, stopped) = tokio::join!(self.printer.send(Command::Resume), async {
            self.until("resuming", |state| state.device.job.stage == DeviceStage::Resuming).await;
            self.printer.send(Command::Cancel).await
        });
        assert_eq!(stopped.map(|outcome| outcome.seen), Ok(Seen::Effect), "the resume: {resumed:?}");
        self.phase(JobPhase::Cancelled).await;
    }

    /// Prints the cube with a timelapse: what the printer lists afterwards, and its first video.
    pub async fn records_a_video(&self) -> (Vec<RemoteFile>, RemoteFile) {
        let options = StartOptions { timelapse: Some(true), ..StartOptions::default() };
        let job = StartJob { remote_path: "cube.gcode".into(), token: 5, options, ..StartJob::default() };
        self.start_job(job).await.unwrap();
        self.phase(JobPhase::Complete).await;
        let listed = self.printer.files().list().await.unwrap();
        let video = listed.iter().find(|file| file.path.starts_with("timelapse/")).cloned();
        (listed, video.expect("a video"))
    }

    /// `stall` lets the camera send nothing for so many seconds.
    pub async fn opens_a_stalled_camera_again(&self, stall: impl Fn(f64)) {
        let camera = self.printer.camera().unwrap().clone();
        let CameraFeed::Jpeg(mut pictures) = camera.open().await.unwrap() else { panic!("not JPEG") };
        pictures.next().await.unwrap().unwrap();
        stall(600.0);
        let error = loop {
            match pictures.next().await.expect("an error before the end") {
                Ok(_begun_before) => {}
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("No picture came"), "{error}");
        drop(pictures);
        stall(0.0);
        let CameraFeed::Jpeg(mut pictures) = camera.open().await.unwrap() else { panic!("not JPEG") };
        pictures.next().await.unwrap().unwrap();
    }

    pub async fn upload(&self, local: &Path, name: &str) -> Result<(), FileError> {
        let (md5, quiet) = (md5_of(local), Arc::new(|_| ()));
        self.printer.files().upload(local.into(), name.into(), md5, quiet, CancellationToken::new()).await
    }

    pub async fn download(&self, name: &str) -> Result<Vec<u8>, FileError> {
        let local = tempfile::NamedTempFile::new().unwrap();
        let (path, quiet) = (local.path().to_owned(), Arc::new(|_| ()));
        self.printer.files().download(name.into(), path.clone(), quiet, CancellationToken::new()).await?;
        Ok(std::fs::read(path).unwrap())
    }
}

/// Lower-case hex of the whole file.
pub fn md5_of(path: &Path) -> String {
    use md5::Digest;
    md5::Md5::digest(std::fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A temporary file with this content.
pub fn file_of(content: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".gcode").tempfile().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

/// Each row of a protocol's models has a simulated printer that takes its limits, and each simulated printer a row.
pub fn assert_simulated(
    rows: &[Model],
    simulated: &[elegoo_models::Model],
    find: fn(&str) -> Option<&'static Model>,
) {
    for model in rows {
        let found = simulated.iter().find(|simulated| simulated.name == model.name);
        let simulated = found.unwrap_or_else(|| panic!("src/sim/elegoo_models.rs lacks {}", model.name));
        assert!(model.nozzle_max <= simulated.nozzle_limit, "{}", model.name);
        assert!(model.bed_max <= simulated.bed_limit, "{}", model.name);
    }
    for simulated in simulated {
        let found = find(simulated.name).map(|model| model.name);
        assert_eq!(found, Some(simulated.name), "{} is no row of the driver", simulated.key);
    }
}
