//! The side of a printer that its driver sees.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::clock::{Jumps, unix_now};
use super::track;
use crate::model::{
    Capabilities, Command, CommandError, ConsoleLine, Control, Device, Event, Job, Link, LinkFault,
    LinkPhase, Outcome, PrinterState, Speaker, UnixSeconds,
};

/// Runs one link from connecting to its loss.
///
/// The supervisor calls it again after a pause. Whatever is set up inside ends with the returned future; nothing that
/// was asked of a lost link is ever sent on the next one (design D7).
pub trait Driver: Send {
    /// Returns why the link ended; after `cancel` any fault will do.
    fn run<'a>(&'a mut self, io: &'a mut DriverIo, cancel: CancellationToken) -> BoxFuture<'a, LinkFault>;
}

/// What a driver folder hands to the supervisor.
pub struct DriverParts {
    /// The row of the model table that is known before the first contact.
    pub capabilities: Capabilities,
    pub driver: Box<dyn Driver>,
    pub files: Arc<dyn PrinterFiles>,
    pub camera: Option<Arc<dyn CameraSource>>,
}

/// The channels of one driver.
pub struct DriverIo {
    pub state: StateWriter,
    pub commands: mpsc::Receiver<Request>,
}

/// A command on its way to the printer. Dropping it answers "not delivered".
pub struct Request {
    pub command: Command,
    pub reply: oneshot::Sender<Result<Outcome, CommandError>>,
}

impl Request {
    /// Answers; a client that has gone does not mind.
    pub fn answer(self, result: Result<Outcome, CommandError>) {
        let _gone = self.reply.send(result);
    }
}

/// The only way to change what is known of a printer.
#[derive(Clone)]
pub struct StateWriter {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub state: watch::Sender<Arc<PrinterState>>,
    pub capabilities: watch::Sender<Arc<Capabilities>>,
    pub events: broadcast::Sender<Event>,
    /// Bits of the f64 time of the last report.
    last_report: AtomicU64,
    jumps: Mutex<Jumps>,
    expected_run: Mutex<Option<ExpectedRun>>,
}

/// A run that an earlier gateway started. Printers that give runs ids of their own do not echo its token: their driver
/// finds it again by its file.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedRun {
    /// Path on the printer's storage.
    pub file: String,
    pub token: u32,
    /// The earlier gateway saw it running: an end that the printer shows is its end.
    pub ran: bool,
    /// When the earlier gateway started it, by its own clock.
    pub started_at: UnixSeconds,
}

/// Events wait for a slow reader up to this many; after that it is told that it missed some.
const EVENT_CAPACITY: usize = 32;

impl StateWriter {
    /// A writer for a printer that nothing is known of yet.
    pub fn new(capabilities: Capabilities) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: watch::Sender::new(Arc::new(PrinterState::default())),
                capabilities: watch::Sender::new(Arc::new(capabilities)),
                events: broadcast::Sender::new(EVENT_CAPACITY),
                last_report: AtomicU64::new(0),
                jumps: Mutex::default(),
                expected_run: Mutex::default(),
            }),
        }
    }

    /// Tells the driver which run of an earlier gateway it may find.
    pub fn expect_run(&self, run: ExpectedRun) {
        *self.shared.expected_run.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
    }

    /// For the driver, before it reads a report; told once.
    pub fn take_expected_run(&self) -> Option<ExpectedRun> {
        self.shared.expected_run.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The newest snapshot.
    pub fn state(&self) -> Arc<PrinterState> {
        self.shared.state.borrow().clone()
    }

    pub fn capabilities(&self) -> Arc<Capabilities> {
        self.shared.capabilities.borrow().clone()
    }

    /// Merges one report. The job is tracked and events are sent before front ends wake.
    pub fn report(&self, reduce: impl FnOnce(&mut Device)) {
        self.shared.last_report.store(unix_now().to_bits(), Ordering::Relaxed);
        self.change(|state| reduce(&mut state.device));
    }

    /// The link moved on; `Online` forgets the fault of the last loss.
    pub fn link(&self, phase: LinkPhase) {
        self.change(|state| {
            if state.link.phase != phase {
                if phase == LinkPhase::Online && state.link.phase != LinkPhase::Stale {
                    tracing::info!("Connected.");
                }
                let fault = if phase == LinkPhase::Online && state.link.phase != LinkPhase::Stale {
                    None
                } else {
                    state.link.fault.take()
                };
                state.link = Link { phase, since: unix_now(), retry_at: None, fault };
            }
        });
    }

    /// The link is lost and will be tried again at `retry_at`.
    pub fn link_lost(&self, fault: LinkFault, retry_at: UnixSeconds) {
        self.change(|state| {
            state.link = Link {
                phase: LinkPhase::Backoff,
                since: unix_now(),
                retry_at: Some(retry_at),
                fault: Some(fault),
            };
        });
    }

    /// What is known of the permission to control.
    pub fn control(&self, control: Control) {
        self.change(|state| state.control = control);
    }

    /// The capabilities became better known.
    pub fn set_capabilities(&self, capabilities: Capabilities) {
        let changed = self.shared.capabilities.send_if_modified(|current| {
            let differs = **current != capabilities;
            if differs {
                *current = Arc::new(capabilities);
            }
            differs
        });
        if changed {
            self.event(Event::CapabilitiesChanged);
        }
    }

    /// Changes the gateway's part of the job: transfer, start, request. For `jobs` and the command path.
    pub fn job(&self, change: impl FnOnce(&mut Job)) {
        self.change(|state| change(&mut state.job));
    }

    /// Says something on the printer's console.
    pub fn console(&self, speaker: Speaker, text: impl Into<String>) {
        self.event(Event::Console(ConsoleLine { time: unix_now(), speaker, text: text.into() }));
    }

    pub fn event(&self, event: Event) {
        let _nobody_listens = self.shared.events.send(event);
    }

    /// Seconds since the last report; `None` before the first.
    pub fn report_age(&self) -> Option<f64> {
        match f64::from_bits(self.shared.last_report.load(Ordering::Relaxed)) {
            0.0 => None,
            at => Some((unix_now() - at).max(0.0)),
        }
    }

    fn change(&self, apply: impl FnOnce(&mut PrinterState)) {
        let mut events = Vec::new();
        self.shared.state.send_if_modified(|current| {
            let mut next = PrinterState::clone(current);
            apply(&mut next);
            if next == **current {
                return false;
            }
            let set_by = self.shared.jumps.lock().unwrap_or_else(PoisonError::into_inner).look();
            track::shift(&mut next.job, set_by);
            track::follow(current, &mut next, unix_now(), &mut events);
            *current = Arc::new(next);
            true
        });
        for event in events {
            self.event(event);
        }
    }
}

/// An entry of the printer's own storage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoteFile {
    /// Path from the root of the storage, without a leading slash.
    pub path: String,
    pub size: u64,
    pub directory: bool,
    pub modified: Option<UnixSeconds>,
}

/// Why a file operation at the printer did not work, by what the caller does about it.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum FileError {
    #[error("{0}")]
    Offline(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    NotAllowed(String),
    #[error("{0}")]
    Full(String),
    #[error("{0}")]
    BadName(String),
    #[error("{0}")]
    Busy(String),
    #[error("{0}")]
    Unsupported(String),
    #[error("cancelled")]
    Cancelled,
    #[error("{0}")]
    Failed(String),
}

/// Called with the number of bytes that went through.
pub type ProgressFn = Arc<dyn Fn(u64) + Send + Sync>;

/// The printer's own storage. One operation at a time; a second one waits its turn or fails with Busy.
pub trait PrinterFiles: Send + Sync {
    /// Everything a user can print or fetch, folders included. Costly at the printer: callers cache.
    fn list(&self) -> BoxFuture<'_, Result<Vec<RemoteFile>, FileError>>;

    /// Sends a local file; done only when the printer holds all of it. `md5` is lower-case hex of the whole file.
    fn upload(
        &self,
        local: PathBuf,
        remote: String,
        md5: String,
        progress: ProgressFn,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<(), FileError>>;

    /// Fetches a file into `local`, which is created.
    fn download(
        &self,
        remote: String,
        local: PathBuf,
        progress: ProgressFn,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<(), FileError>>;

    fn delete(&self, remote: String) -> BoxFuture<'_, Result<(), FileError>>;

    /// Renames or moves a file or folder within the printer's storage; the folder of `to` must exist.
    fn rename(&self, _from: String, _to: String) -> BoxFuture<'_, Result<(), FileError>> {
        unsupported("This printer does not rename its files by command.")
    }

    /// Makes one folder; the one above it must exist.
    fn make_directory(&self, _remote: String) -> BoxFuture<'_, Result<(), FileError>> {
        unsupported("This printer does not make folders by command.")
    }

    /// Removes an empty folder.
    fn remove_directory(&self, _remote: String) -> BoxFuture<'_, Result<(), FileError>> {
        unsupported("This printer does not remove folders by command.")
    }

    /// The path at which an uploaded job file of this name belongs, made of characters the printer accepts.
    fn job_path(&self, name: &str) -> String;
}

fn unsupported(text: &'static str) -> BoxFuture<'static, Result<(), FileError>> {
    Box::pin(async move { Err(FileError::Unsupported(text.to_owned())) })
}

#[derive(Debug, Clone, PartialEq, Error)]
pub enum CameraError {
    /// Cannot work until the user acts; the text says how.
    #[error("{0}")]
    Blocked(String),
    #[error("{0}")]
    Lost(String),
}

/// Pictures as they come.
pub enum CameraFeed {
    /// Whole JPEG files.
    Jpeg(BoxStream<'static, Result<Bytes, CameraError>>),
    /// H.264 access units in Annex B form.
    H264(BoxStream<'static, Result<AccessUnit, CameraError>>),
}

/// One coded picture.
#[derive(Debug, Clone)]
pub struct AccessUnit {
    pub data: Bytes,
    /// Units of 1/90000 s.
    pub pts: u64,
    /// Decoding can start here.
    pub key: bool,
}

/// Opens the one upstream connection that the printer's camera allows.
pub trait CameraSource: Send + Sync {
    /// Dropping the feed closes the connection completely before another is opened.
    fn open(&self) -> BoxFuture<'_, Result<CameraFeed, CameraError>>;
}
