//! A scripted printer for tests: it keeps its state and files when the gateway is gone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::*;
use crate::printer::{
    self, Driver, DriverIo, DriverParts, FileError, PrinterFiles, PrinterHandle, PrinterSettings, ProgressFn,
    RemoteFile, Request, StateWriter,
};

/// What the printer does with a start.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum OnStart {
    /// Acknowledges it and prepares.
    #[default]
    Land,
    /// Acknowledges it, and shows nothing of it until the test says so.
    Silent,
    /// Acknowledges it and shows its file, not more.
    ShowFile,
    Refuse,
    /// Takes it, and the link is lost before the answer.
    LoseLink,
}

/// What the printer does with a cancel.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum OnCancel {
    #[default]
    Cancel,
    /// Calls the print failed, as a Bambu printer does.
    Fail,
    /// Acknowledges it, and goes on until the test says so.
    Later,
    Refuse,
}

#[derive(Default)]
pub struct Machine {
    pub device: Device,
    pub files: BTreeMap<String, u64>,
    /// What a download gives; the file's name where there is nothing.
    pub contents: BTreeMap<String, Vec<u8>>,
    pub starts: Vec<StartJob>,
    pub cancels: usize,
    pub pauses: usize,
    pub uploads: Vec<String>,
    pub deleted: Vec<String>,
    pub listings: usize,
    pub looks: usize,
    pub on_start: OnStart,
    /// Uploads stop after half of the file.
    pub stuck_upload: bool,
    /// Uploads are never confirmed once every byte was sent.
    pub stuck_confirmation: bool,
    /// Uploads go over one connection of their own.
    pub unbroken: bool,
    /// No connection is made.
    pub away: bool,
    pub refuse_deletes: bool,
    /// Deletions do not come to their end until this is false again.
    pub slow_deletes: bool,
    /// What is being deleted.
    pub deleting: Vec<String>,
    pub on_cancel: OnCancel,
    /// Moves and pauses are not acknowledged until this is false again.
    pub slow_moves: bool,
    /// Names of all commands that came.
    pub taken: Vec<&'static str>,
    writer: Option<StateWriter>,
}

#[derive(Clone, Default)]
pub struct Fake {
    machine: Arc<Mutex<Machine>>,
    lose: Arc<Notify>,
}

pub fn caps() -> Capabilities {
    Capabilities {
        vendor: "Acme".into(),
        model: "One".into(),
        nozzles: vec![HeaterCaps { max: Some(300.0) }],
        files: FileCaps {
            list: true,
            download: true,
            arrange: true,
            delete: true,
            archives: true,
            gcode: true,
            remove_after_job: true,
        },
        filament: FilamentCaps { map: true, ..FilamentCaps::default() },
        ..Capabilities::default()
    }
}

impl Fake {
    pub fn new() -> Self {
        let fake = Self::default();
        fake.machine().device.job.stage = DeviceStage::Idle;
        fake
    }

    pub fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap()
    }

    pub fn connect(
        &self,
        caps: Capabilities,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> PrinterHandle {
        let settings = PrinterSettings {
            name: "one".into(),
            title: "One".into(),
            read_only: false,
            allow_vendor: false,
        };
        let parts = DriverParts {
            capabilities: caps,
            driver: Box::new(self.clone()),
            files: Arc::new(self.clone()),
            camera: None,
        };
        printer::start(settings, parts, tasks, cancel.clone())
    }

    /// Changes what the printer shows, and reports it if there is a link.
    pub fn show(&self, change: impl FnOnce(&mut Device)) {
        let mut machine = self.machine();
        change(&mut machine.device);
        let (writer, device) = (machine.writer.clone(), machine.device.clone());
        drop(machine);
        if let Some(writer) = writer {
            writer.report(|current| *current = device);
        }
    }

    pub fn stage(&self, stage: DeviceStage) {
        self.show(|device| device.job.stage = stage);
    }

    /// Shows the last job that was started in this stage.
    pub fn run(&self, stage: DeviceStage) {
        let start = self.machine().starts.last().cloned().unwrap();
        self.show(|device| {
            device.job.stage = stage;
            device.job.token = Some(start.token.to_string());
            device.job.title = Some(start.title);
            device.job.file = Some(start.remote_path);
        });
    }

    /// The printer says that its files changed.
    pub fn files_changed(&self) {
        let writer = self.machine().writer.clone().expect("a link");
        writer.event(Event::PrinterFilesChanged);
    }

    pub fn lose_link(&self) {
        self.lose.notify_one();
    }

    /// No report comes for a while, on a connection that holds; or they come again.
    pub fn silent(&self, on: bool) {
        let writer = self.machine().writer.clone().expect("a link");
        writer.link(if on { LinkPhase::Stale } else { LinkPhase::Online });
    }

    fn take(&self, command: &Command) -> Result<Outcome, CommandError> {
        self.machine().taken.push(command.name());
        let ok = Ok(Outcome::new(Seen::Acknowledged));
        match command {
            Command::StartJob(start) => {
                self.machine().starts.push(StartJob::clone(start));
                let on_start = self.machine().on_start.clone();
                match on_start {
                    OnStart::Land => self.run(DeviceStage::Preparing),
                    OnStart::ShowFile => {
                        let start = start.clone();
                        self.show(|device| device.job.token = Some(start.token.to_string()));
                    }
                    OnStart::Silent => {}
                    OnStart::LoseLink => self.lose_link(),
                    OnStart::Refuse => {
                        return Err(CommandError::Refused { code: "E7".into(), text: "No bed.".into() });
                    }
                }
                ok
            }
            Command::Pause => {
                self.machine().pauses += 1;
                ok
            }
            Command::Cancel => {
                self.machine().cancels += 1;
                let on_cancel = self.machine().on_cancel;
                match on_cancel {
                    OnCancel::Cancel => self.stage(DeviceStage::Cancelled),
                    OnCancel::Fail => self.stage(DeviceStage::Failed),
                    OnCancel::Later => {}
                    OnCancel::Refuse => {
                        return Err(CommandError::Refused { code: "E9".into(), text: "Not now.".into() });
                    }
                }
                ok
            }
            _ => ok,
        }
    }
}

impl Driver for Fake {
    fn run<'a>(&'a mut self, io: &'a mut DriverIo, cancel: CancellationToken) -> BoxFuture<'a, LinkFault> {
        Box::pin(async move {
            while self.machine().away && !cancel.is_cancelled() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            self.machine().writer = Some(io.state.clone());
            io.state.link(LinkPhase::Syncing);
            self.show(|_| {});
            io.state.link(LinkPhase::Online);
            let mut held = Vec::new();
            loop {
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => break,
                    () = self.lose.notified() => break,
                    () = tokio::time::sleep(Duration::from_secs(1)), if !held.is_empty() => {
                        if !self.machine().slow_moves {
                            held.drain(..).for_each(|request: Request| {
                                request.answer(Ok(Outcome::new(Seen::Acknowledged)));
                            });
                        }
                    }
                    Some(request) = io.commands.recv() => {
                        let result = self.take(&request.command);
                        let lost = self.machine().on_start == OnStart::LoseLink
                            && matches!(request.command, Command::StartJob(_));
                        if matches!(request.command, Command::Home(_) | Command::Pause) && self.machine().slow_moves {
                            held.push(request);
                        } else if !lost {
                            request.answer(result);
                        }
                    }
                }
            }
            self.machine().writer = None;
            LinkFault { code: "T".into(), text: "Lost.".into(), remedy: "Wait.".into(), permanent: false }
        })
    }
}

impl PrinterFiles for Fake {
    fn unbroken(&self) -> bool {
        self.machine().unbroken
    }

    fn look(&self) {
        self.machine().looks += 1;
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<RemoteFile>, FileError>> {
        let mut machine = self.machine();
        machine.listings += 1;
        let file = |(path, size): (&String, &u64)| RemoteFile {
            path: path.clone(),
            size: *size,
            directory: false,
            modified: None,
        };
        let files = machine.files.iter().map(file).collect();
        Box::pin(async move { Ok(files) })
    }

    fn upload(
        &self,
        local: PathBuf,
        remote: String,
        _md5: String,
        progress: ProgressFn,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<(), FileError>> {
        Box::pin(async move {
            let size = std::fs::metadata(&local).map_err(|error| FileError::Failed(error.to_string()))?.len();
            self.machine().uploads.push(remote.clone());
            self.machine().files.insert(remote.clone(), size / 2);
            progress(size / 2);
            while self.machine().stuck_upload {
                tokio::select! {
                    () = cancel.cancelled() => return Err(FileError::Cancelled),
                    () = tokio::time::sleep(Duration::from_secs(1)) => progress(size / 2),
                }
            }
            self.machine().files.insert(remote, size);
            progress(size);
            while self.machine().stuck_confirmation {
                tokio::select! {
                    () = cancel.cancelled() => return Err(FileError::Cancelled),
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
            Ok(())
        })
    }

    fn download(
        &self,
        remote: String,
        local: PathBuf,
        progress: ProgressFn,
        _cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<(), FileError>> {
        Box::pin(async move {
            if !self.machine().files.contains_key(&remote) {
                return Err(FileError::NotFound("gone".into()));
            }
            let content = self.machine().contents.get(&remote).cloned();
            let content = content.unwrap_or_else(|| remote.clone().into_bytes());
            std::fs::write(local, content).map_err(|error| FileError::Failed(error.to_string()))?;
            progress(1);
            Ok(())
        })
    }

    fn rename(&self, from: String, to: String) -> BoxFuture<'_, Result<(), FileError>> {
        Box::pin(async move {
            let mut machine = self.machine();
            let size = machine.files.remove(&from).ok_or_else(|| FileError::NotFound("gone".into()))?;
            machine.files.insert(to, size);
            Ok(())
        })
    }

    fn make_directory(&self, _remote: String) -> BoxFuture<'_, Result<(), FileError>> {
        Box::pin(async { Ok(()) })
    }

    fn remove_directory(&self, _remote: String) -> BoxFuture<'_, Result<(), FileError>> {
        Box::pin(async { Ok(()) })
    }

    fn delete(&self, remote: String) -> BoxFuture<'_, Result<(), FileError>> {
        Box::pin(async move {
            let under_way = UnderWay::begin(self, &remote);
            while self.machine().slow_deletes {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            drop(under_way);
            let mut machine = self.machine();
            if machine.refuse_deletes {
                return Err(FileError::Offline("away".into()));
            }
            machine.files.remove(&remote);
            machine.deleted.push(remote);
            Ok(())
        })
    }

    fn job_path(&self, name: &str) -> String {
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' }).collect()
    }
}

/// A deletion that somebody waits for.
struct UnderWay<'a>(&'a Fake, String);

impl<'a> UnderWay<'a> {
    fn begin(fake: &'a Fake, remote: &str) -> Self {
        fake.machine().deleting.push(remote.to_owned());
        Self(fake, remote.to_owned())
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.machine().deleting.retain(|path| *path != self.1);
    }
}

/// A sliced archive with plates of one filament each: (number, material, colour).
pub fn archive(plates: &[(u32, &str, &str)]) -> Vec<u8> {
    use std::io::Write;
    use zip::write::SimpleFileOptions;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let mut entry = |name: String, text: String| {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    };
    let mut info = String::from("<?xml version=\"1.0\"?><config>");
    for (at, (number, material, color)) in plates.iter().enumerate() {
        entry(
            format!("Metadata/plate_{number}.gcode"),
            format!(
                "; HEADER_BLOCK_START\n; total layer number: {number}0\n; HEADER_BLOCK_END\nG28\n; plate {number}\n"
            ),
        );
        info += &format!(
            "<plate><metadata key=\"index\" value=\"{number}\"/><metadata key=\"prediction\" value=\"{number}00\"/>\
             <metadata key=\"weight\" value=\"{number}.5\"/>\
             <filament id=\"{}\" type=\"{material}\" color=\"{color}\" used_m=\"{number}\" used_g=\"{number}.5\"/></plate>",
            at + 1
        );
    }
    entry("Metadata/slice_info.config".into(), info + "</config>");
    entry("3D/3dmodel.model".into(), "<model/>".into());
    zip.finish().unwrap().into_inner()
}

pub fn gcode() -> Vec<u8> {
    include_bytes!("../../fixtures/gcode/prusaslicer-2.5.0/box.gcode").to_vec()
}
