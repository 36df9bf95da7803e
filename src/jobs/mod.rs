//! From "print this file" to a print that really started, and what is remembered of it (design D4 to D6).
//!
//! Every front end starts, and cancels, through here: a start passes the guards, transfers the file if the printer
//! does not hold it, sends the start once, and watches until the printer's own report shows the job.
//!
//! | part | owns |
//! |---|---|
//! | `plan` | from a request to everything a start needs, and the objections against it |
//! | `fits`, `mapping` | is the file for this printer; which slot feeds which filament (pure) |
//! | `turn` | one start at a time |
//! | `start`, `transfer`, `landing` | the file to the printer, one start, the watch over what becomes of it |
//! | `intent` | what is under way, on disk before it happens |
//! | `record`, `history` | the history, and the truth after a restart |
//! | `filament` (a room of its own) | the tool map of the next print, and what each job used |
//! | `cleanup` | removing job files from the printer |
//! | `withdraw` | what a cancel means of the starts that are not under way yet |
//! | `pause` | pause and resume, also of a job that only begins |
//! | `queue`, `preview` | as they say |

mod cleanup;
#[cfg(test)]
pub(crate) mod fake;
mod fits;
mod history;
mod intent;
mod landing;
mod mapping;
mod pause;
mod plan;
mod preview;
mod queue;
mod record;
mod start;
#[cfg(test)]
mod tests;
mod transfer;
mod turn;
mod types;
mod withdraw;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::filament::FilamentBook;
use crate::library::Library;
use crate::model::{Command, CommandError, Job, JobPhase, Outcome, Seen};
use crate::printer::PrinterHandle;
use crate::store::{Store, StoreError};
use history::History;
pub use plan::{OVERRIDABLE, UNMAPPED};
use start::Active;
pub use types::{
    HistoryEnd, HistoryEntry, HistoryQuery, JobsEvent, MappedFilament, Queue, QueueState, QueuedJob,
    StartError, StartPreview, StartRequest, Totals,
};
pub use withdraw::{Intended, Withdrawals};

/// What the configuration says of jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobsConfig {
    /// Plain G-code is wrapped for printers that take archives only (design D12; unverified on hardware).
    pub wrap_gcode: bool,
    /// The build plate that lies on the printer, in the slicers' words; `None` where nobody says so.
    pub bed: Option<String>,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self { wrap_gcode: true, bed: None }
    }
}

/// Cheap to clone; one per printer.
#[derive(Clone)]
pub struct Jobs {
    inner: Arc<Inner>,
}

struct Inner {
    printer: PrinterHandle,
    library: Library,
    store: Store,
    spaces: Spaces,
    config: JobsConfig,
    filament: FilamentBook,
    history: Mutex<History>,
    queue: Mutex<Queue>,
    /// The starts that are asked for.
    withdrawals: Arc<Withdrawals>,
    /// The start under way.
    active: Mutex<Option<Active>>,
    /// Starts that were cancelled and may still land.
    unseen: withdraw::Unseen,
    /// The pause that waits for the job to begin.
    waiting: Mutex<Option<pause::Waiting>>,
    /// Why no job starts, with what helps: an emergency stop that nobody took back.
    held: watch::Sender<Option<Arc<str>>>,
    /// One decision to start, or to delete at the printer, at a time; not held while the printer deletes.
    gate: tokio::sync::Mutex<()>,
    /// A start came to its end.
    settled: Notify,
    cleanup_due: Notify,
    /// The file that is being deleted at the printer.
    deleting: watch::Sender<Option<String>>,
    /// What an earlier gateway left under way is known.
    restored: watch::Sender<bool>,
    events: broadcast::Sender<JobsEvent>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

/// Names of this printer's spaces in the store.
struct Spaces {
    history: String,
    /// Intent, queue, totals, counters.
    jobs: String,
    /// Digest of each file that was sent, by its path on the printer.
    sent: String,
    /// Files to delete on the printer, by their path there.
    cleanup: String,
}

/// Events wait for a slow reader up to this many.
const EVENT_CAPACITY: usize = 32;
/// Where it is noted that an emergency stop is in force.
const HELD: &str = "held";
/// How long a cancel waits for the end of a start that is under way (landing, beginning, stopping).
const CANCEL_START: Duration = Duration::from_secs(120);

impl Jobs {
    /// Takes up what the store knows of this printer. The recorder and the cleaner run on `tasks` until `cancel`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open(
        printer: PrinterHandle,
        library: Library,
        store: Store,
        tasks: &TaskTracker,
        cancel: CancellationToken,
        config: JobsConfig,
    ) -> Result<Self, StoreError> {
        let space = |what: &str| format!("{what}/{}", printer.name());
        let spaces = Spaces {
            history: space("history"),
            jobs: space("jobs"),
            sent: space("sent"),
            cleanup: space("cleanup"),
        };
        let filament =
            FilamentBook::open(printer.clone(), library.clone(), store.clone(), tasks, cancel.clone())?;
        let events = printer.events();
        let held = store.get(&spaces.jobs, HELD)?.and_then(|why| why.as_str().map(Arc::from));
        let inner = Inner {
            printer,
            library,
            store,
            spaces,
            config,
            filament,
            history: Mutex::default(),
            queue: Mutex::default(),
            withdrawals: Arc::default(),
            active: Mutex::default(),
            unseen: withdraw::Unseen::default(),
            waiting: Mutex::default(),
            held: watch::Sender::new(held),
            gate: tokio::sync::Mutex::new(()),
            settled: Notify::new(),
            cleanup_due: Notify::new(),
            deleting: watch::Sender::new(None),
            restored: watch::Sender::new(false),
            events: broadcast::Sender::new(EVENT_CAPACITY),
            tasks: tasks.clone(),
            cancel,
        };
        *inner.history() = inner.load_history()?;
        *inner.queue() = inner.load_queue()?;
        inner.expect_run();
        let inner = Arc::new(inner);
        tasks.spawn(inner.clone().keep_record(events));
        tasks.spawn(inner.clone().keep_clean());
        Ok(Self { inner })
    }

    /// Spools, the tool map of the next print, and what each job used.
    pub fn filament(&self) -> &FilamentBook {
        &self.inner.filament
    }

    /// Checks everything and says what a start would do, without doing it.
    ///
    /// # Errors
    /// The file does not exist or cannot be read; all other objections are in the preview.
    pub async fn preview(&self, request: &StartRequest) -> Result<StartPreview, StartError> {
        Ok(preview::preview(&self.inner.plan(request).await?))
    }

    /// Returns when the guards have passed and the job is under way (Transferring or Starting); from then on its fate
    /// is told by the state and on the console. The same file asked for again while it is just starting is no error.
    ///
    /// # Errors
    /// What a guard objects, or why the printer takes no command now; nothing was sent then.
    pub async fn start(&self, request: StartRequest) -> Result<(), StartError> {
        self.begin(request, self.intend()).await.map(drop)
    }

    /// From now on a cancel or an emergency stop withdraws the start that will be asked for.
    pub fn intend(&self) -> Intended {
        self.inner.withdrawals.intend()
    }

    /// Withdraws the starts that are asked for, and one that has just come under way; true where there was one.
    pub fn withdraw(&self) -> bool {
        let withdrawn = self.inner.withdrawals.withdraw();
        self.inner.abort_start().is_some() || withdrawn
    }

    /// As [`Self::start`], of a start that was meant since `intended`.
    ///
    /// # Errors
    /// As [`Self::start`], and where it was withdrawn meanwhile.
    pub async fn start_intended(&self, request: StartRequest, intended: Intended) -> Result<(), StartError> {
        self.begin(request, intended).await.map(drop)
    }

    async fn begin(&self, request: StartRequest, intended: Intended) -> Result<u64, StartError> {
        let inner = self.inner.clone();
        self.to_its_end(async move {
            inner.restored().await;
            inner.start(request, intended).await
        })
        .await
    }

    /// Goes on with what was begun also where nobody waits for it any more: a start that is half made is a danger.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StartError>> + Send + 'static,
    ) -> Result<T, StartError> {
        let closing = |_ended| Err(StartError::Failed("The gateway is shutting down.".to_owned()));
        self.inner.tasks.spawn(work).await.unwrap_or_else(closing)
    }

    /// As [`Self::start`], and waits until the printer's report shows the job printing or preparing, or it failed.
    ///
    /// # Errors
    /// As [`Self::start`], and [`StartError::Failed`] with the reason when the job did not begin.
    pub async fn start_and_watch(&self, request: StartRequest) -> Result<JobPhase, StartError> {
        let serial = self.begin(request, self.intend()).await?;
        let mut watch = self.inner.printer.watch();
        let done = |state: &Arc<crate::model::PrinterState>| {
            state.job.serial != serial
                || !matches!(state.job.phase, JobPhase::Transferring | JobPhase::Starting)
        };
        let closing = |_closed| StartError::Failed("The gateway is shutting down.".to_owned());
        let state = watch.wait_for(done).await.map_err(closing)?.clone();
        if state.job.serial != serial {
            return Err(StartError::Failed("Another job took its place at the printer.".to_owned()));
        }
        match state.job.phase {
            JobPhase::Failed => Err(StartError::Failed(state.job.reason.clone().unwrap_or_default())),
            phase => Ok(phase),
        }
    }

    /// Cancels whatever is under way: a transfer, a start, or the print itself.
    ///
    /// # Errors
    /// As [`PrinterHandle::send`]. A start that the printer has but does not show yet is cancelled as soon as it shows
    /// it, also after [`CommandError::Timeout`].
    pub async fn cancel(&self) -> Result<Outcome, CommandError> {
        self.inner.withdraw_pause();
        let withdrawn = self.withdraw();
        let Some((serial, mut told)) = self.inner.abort_start() else {
            if self.inner.printer.state().printing() {
                return self.inner.printer.send(Command::Cancel).await;
            }
            return if withdrawn {
                Ok(Outcome::noted(
                    Seen::Effect,
                    "The start was withdrawn before anything was sent to the printer.",
                ))
            } else {
                Err(CommandError::Invalid("Nothing is printing.".to_owned()))
            };
        };
        let mut watch = self.inner.printer.watch();
        let over =
            |state: &Arc<crate::model::PrinterState>| state.job.serial != serial || !state.job.phase.active();
        let end = async {
            tokio::select! {
                biased;
                over = watch.wait_for(over) => match over {
                    Ok(_) => Ok(Outcome::new(Seen::Effect)),
                    Err(_closed) => Err(CommandError::Offline("The gateway is shutting down.".to_owned())),
                },
                refused = start::refused(&mut told) => Err(refused),
            }
        };
        tokio::time::timeout(CANCEL_START, end).await.unwrap_or_else(|_late| {
            Err(CommandError::Timeout(
                "The printer does not show the job yet; it is cancelled as soon as it does.".to_owned(),
            ))
        })
    }

    /// Stops everything by the fastest way the printer has, and a start under way too: a transfer that went on would
    /// end in a print.
    ///
    /// # Errors
    /// As [`PrinterHandle::send`]; the start under way is given up in any case.
    pub async fn emergency_stop(&self) -> Result<Outcome, CommandError> {
        self.inner.withdraw_pause();
        self.withdraw();
        self.inner.abort_start();
        self.inner.printer.send(Command::EmergencyStop).await
    }

    /// From now on no job starts, whoever asks for it, until [`Self::release`], also after a restart of the gateway.
    /// `why` says what helps.
    pub fn hold(&self, why: &str) {
        self.inner.held.send_replace(Some(why.into()));
        drop(self.inner.store.put(&self.inner.spaces.jobs, HELD, why.into()));
        self.flush_held();
    }

    /// Jobs may start again; true where they might not.
    pub fn release(&self) -> bool {
        let held = self.inner.held.send_replace(None).is_some();
        if held {
            drop(self.inner.store.delete(&self.inner.spaces.jobs, HELD));
            self.flush_held();
        }
        held
    }

    /// Why no job starts now, if it was said by [`Self::hold`].
    pub fn held(&self) -> Option<Arc<str>> {
        self.inner.held.borrow().clone()
    }

    pub fn watch_held(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.inner.held.subscribe()
    }

    /// Not waited for: a slow disk must not stand between the user and an emergency stop.
    fn flush_held(&self) {
        let inner = self.inner.clone();
        self.inner.tasks.spawn(async move {
            if let Err(error) = inner.store.flush().await {
                tracing::error!(%error, "Whether an emergency stop is in force is kept in memory only.");
            }
        });
    }

    /// Forgets the end of the last job, so that the printer shows as idle again.
    pub fn forget_ended(&self) {
        self.inner.printer.writer().job(|job| {
            if job.phase.ended() {
                *job = Job { serial: job.serial, found_ended: true, ..Job::default() };
            }
        });
    }

    /// Newest first unless asked otherwise.
    pub fn history(&self, query: &HistoryQuery) -> Vec<HistoryEntry> {
        self.inner.query_history(query)
    }

    /// The entry of the job that is under way.
    pub fn current_entry(&self) -> Option<HistoryEntry> {
        self.inner.current_row().map(|row| row.entry)
    }

    pub fn history_entry(&self, id: &str) -> Option<HistoryEntry> {
        self.inner.find_history(id)
    }

    /// Returns the ids that were there; `None` deletes all. The entry of the job under way stays.
    pub fn delete_history(&self, id: Option<&str>) -> Vec<String> {
        self.inner.delete_entries(id)
    }

    pub fn totals(&self) -> Totals {
        self.inner.totals()
    }

    /// Returns what they were.
    pub fn reset_totals(&self) -> Totals {
        self.inner.reset_totals()
    }

    pub fn events(&self) -> broadcast::Receiver<JobsEvent> {
        self.inner.events.subscribe()
    }
}

impl Inner {
    async fn restored(&self) {
        let mut restored = self.restored.subscribe();
        // The sender lives as long as we do: this cannot fail.
        let _done = restored.wait_for(|restored| *restored).await;
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn active(&self) -> MutexGuard<'_, Option<Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why no second job can be started.
    fn starting(&self) -> Option<CommandError> {
        self.active().as_ref().map(|active| turn::busy(&active.file))
    }

    /// The same, for a job that has begun: the next of the queue is another print, even of the same file.
    fn printing(&self) -> Option<CommandError> {
        let job = &self.printer.state().job;
        let name = job.file.as_deref().or(job.title.as_deref()).unwrap_or("a file of its own");
        job.phase.active().then(|| turn::busy(name))
    }

    fn tell(&self, event: JobsEvent) {
        let _nobody_listens = self.events.send(event);
    }
}
