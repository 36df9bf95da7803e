//! The files of one printer on the gateway's disk, and the printer's own storage shown below `printer/` (design D4).
//!
//! Paths are relative to the library, with `/`, without a leading slash, in UTF-8. Each plate of a sliced archive
//! `cube.gcode.3mf` is published as a G-code entry of its own: `cube.gcode`, or `cube_plate_2.gcode` and so on, with
//! collisions resolved stably; the archive itself stays listed for download.
//!
//! | part | owns |
//! |---|---|
//! | `names` | which names and paths are taken, what they say about a file |
//! | `index` | what is there, in memory; names of published plates |
//! | `disk` | walking, hashing, extracting, pictures: all that blocks |
//! | `upload`, `ufp`, `change`, `copy`, `replace` | receiving files, also packed ones; folders, moves, copies, deletions; what makes way for another file |
//! | `remote`, `listing`, `difference` | the printer's own storage below `printer/`: the cache, what it shows (pure), what is told of a new listing |
//! | `remote_copy` | copies of files on the printer |
//! | `serve`, `for_jobs` | records and bytes of an entry; what the job room asks |
//! | `of_job` | which entry a job at the printer was made from |

mod arrange;
mod change;
mod copy;
mod difference;
mod disk;
mod for_jobs;
mod index;
mod listing;
pub mod names;
mod of_job;
mod remote;
mod remote_copy;
mod replace;
mod serve;
#[cfg(test)]
mod tests;
mod types;
mod ufp;
mod upload;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::UnixSeconds;
use crate::printer::PrinterHandle;
use crate::store::Store;
pub use for_jobs::JobFile;
use index::{FileRow, Index};
pub use of_job::JobTraces;
use remote::Remote;
pub use types::{
    DiskUsage, Entry, EntryKind, FileRecord, LibraryAction, LibraryError, LibraryEvent, LibraryLimits,
    ThumbnailEntry,
};
pub use upload::{Upload, Uploaded};

/// Cheap to clone.
#[derive(Clone)]
pub struct Library {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    limits: LibraryLimits,
    printer: PrinterHandle,
    store: Store,
    space: String,
    index: Mutex<Index>,
    events: broadcast::Sender<Arc<LibraryEvent>>,
    /// Work that blocks: two at a time, sized for a Raspberry Pi.
    blocking: Arc<Semaphore>,
    /// One change of the tree at a time, so that disk and index agree.
    changing: tokio::sync::Mutex<()>,
    extracting: tokio::sync::Mutex<()>,
    /// Turns true when the first walk over the disk is done.
    ready: watch::Sender<bool>,
    remote: Remote,
    /// When the gateway began: the date of what has none.
    started: UnixSeconds,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

/// Changes wait for a slow reader up to this many: a whole folder can be removed at once.
const EVENT_CAPACITY: usize = 128;

impl Library {
    /// Opens or creates the directory of one printer's files. The walk over it and the extraction of what is new run
    /// on `tasks` until `cancel`; [`Self::list`] waits for the walk.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn start(
        root: PathBuf,
        limits: LibraryLimits,
        printer: PrinterHandle,
        store: Store,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Result<Self, LibraryError> {
        disk::prepare(&root)?;
        let root = root.canonicalize().map_err(|error| disk::failed("open the library", &error))?;
        let space = format!("library/{}", printer.name());
        let library = Self {
            inner: Arc::new(Inner {
                root,
                limits,
                printer,
                store,
                space,
                index: Mutex::new(Index::default()),
                events: broadcast::Sender::new(EVENT_CAPACITY),
                blocking: Arc::new(Semaphore::new(2)),
                changing: tokio::sync::Mutex::new(()),
                extracting: tokio::sync::Mutex::new(()),
                ready: watch::Sender::new(false),
                remote: Remote::default(),
                started: crate::printer::clock::unix_now(),
                tasks: tasks.clone(),
                cancel: cancel.clone(),
            }),
        };
        let indexing = library.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = indexing.index_all() => {}
            }
        });
        library.follow_printer(tasks);
        Ok(library)
    }

    /// The directory on the gateway's disk, absolute.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Everything, recursively, without hidden files.
    ///
    /// # Errors
    /// None today.
    pub async fn list(&self) -> Result<Vec<Entry>, LibraryError> {
        self.ready().await;
        self.refresh_remote().await;
        let mut entries = self.index().entries();
        entries.extend(self.remote_entries());
        Ok(entries)
    }

    /// What one directory holds; `""` is the library itself.
    ///
    /// # Errors
    /// [`LibraryError::NotFound`]; below `printer/` also why the printer does not tell.
    pub async fn directory(&self, path: &str) -> Result<Vec<Entry>, LibraryError> {
        let path = names::clean_directory(path)?;
        if names::remote_path(&path).is_some() {
            return self.remote_directory(&path).await;
        }
        self.ready().await;
        if !self.index().is_directory(&path) {
            return Err(LibraryError::NotFound(format!("There is no folder \"{path}\".")));
        }
        let mut entries = self.index().directory(&path);
        if path.is_empty() {
            self.refresh_remote_soon();
            entries.extend(self.remote_root());
        }
        Ok(entries)
    }

    /// Bytes of a file of the gateway's own; `None` for others.
    pub fn size(&self, path: &str) -> Option<u64> {
        Some(self.index().entry(path)?.size)
    }

    /// Of the file system that holds the library.
    pub async fn disk_usage(&self) -> DiskUsage {
        let root = self.inner.root.clone();
        self.run(move || disk::usage(&root)).await.unwrap_or_default()
    }

    pub fn events(&self) -> broadcast::Receiver<Arc<LibraryEvent>> {
        self.inner.events.subscribe()
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.inner.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn absolute(&self, path: &str) -> PathBuf {
        self.inner.root.join(path)
    }

    async fn ready(&self) {
        let mut ready = self.inner.ready.subscribe();
        // The sender lives as long as we do: this cannot fail.
        let _done = ready.wait_for(|ready| *ready).await;
    }

    /// Tells the changes, first of all what makes room for another: clients follow them one by one, and would take the
    /// file that is in the place for the one that leaves it.
    fn tell(&self, events: impl IntoIterator<Item = LibraryEvent>) {
        let mut events: Vec<LibraryEvent> = events.into_iter().collect();
        let taken: Vec<String> = events.iter().map(|event| event.entry.path.clone()).collect();
        let leaves =
            |event: &LibraryEvent| event.source.as_ref().is_some_and(|source| taken.contains(source));
        events.sort_by_key(|event| !leaves(event));
        for event in events {
            let _nobody_listens = self.inner.events.send(Arc::new(event));
        }
    }

    /// Goes on with a change of the tree also where nobody waits for it any more, for a client may leave at any moment:
    /// disk and index must agree.
    async fn to_its_end<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, LibraryError>> + Send + 'static,
    ) -> Result<T, LibraryError> {
        let closing =
            |_ended| Err(LibraryError::Failed("The change of the files was interrupted.".to_owned()));
        self.inner.tasks.spawn(change).await.unwrap_or_else(closing)
    }

    /// Runs work that blocks, two at a time.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LibraryError> {
        self.set_going(work).await?.await.map_err(unfinished)
    }

    /// As [`Self::run`], without waiting for its end; what comes of a failure says [`unfinished`].
    async fn set_going<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, LibraryError> {
        let permit = self.inner.blocking.clone().acquire_owned().await.map_err(|_closed| closing())?;
        Ok(tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        }))
    }

    /// Remembers a row; a disk that cannot be written costs only the cache.
    fn keep(&self, path: &str) {
        let row = self.index().row(path).cloned();
        let Some(row) = row else { return };
        match serde_json::to_value(&row) {
            Ok(value) => drop(self.inner.store.put(&self.inner.space, path, value)),
            Err(error) => tracing::warn!(path, %error, "A file's record cannot be kept."),
        }
    }

    fn forget(&self, path: &str) {
        drop(self.inner.store.delete(&self.inner.space, path));
    }

    /// Walks the disk, then looks into every file that is new since the last time.
    async fn index_all(&self) {
        let root = self.inner.root.clone();
        let known = self.inner.store.list(&self.inner.space).unwrap_or_default();
        let found = self.run(move || disk::walk(&root)).await.unwrap_or_default();
        {
            let mut index = self.index();
            for (path, modified) in found.directories {
                index.add_directory(&path, modified);
            }
            let mut known: std::collections::BTreeMap<String, FileRow> = known
                .into_iter()
                .filter_map(|(path, row)| Some((path, serde_json::from_value(row).ok()?)))
                .collect();
            // Plain files first: a published plate gives way to them.
            let mut files = found.files;
            files.sort_by_key(|(path, ..)| (names::content(path) == names::Content::Archive, path.clone()));
            for (path, size, modified) in files {
                let fresh = || FileRow::new(names::content(&path), size, modified);
                let same = |row: &FileRow| row.is_content(size, modified);
                let row = known.remove(&path).filter(same).unwrap_or_else(fresh);
                index.put(&path, row);
            }
            for gone in known.keys() {
                self.forget(gone);
            }
        }
        self.inner.ready.send_replace(true);
        let unread = self.index().unread();
        for path in unread {
            if let Err(error) = self.look_into(&path).await {
                tracing::debug!(path, %error, "A file cannot be printed.");
            }
        }
    }
}

fn closing() -> LibraryError {
    LibraryError::Failed("The gateway is shutting down.".to_owned())
}

/// Why work that was set going came to no end.
fn unfinished(error: JoinError) -> LibraryError {
    match error.is_panic() {
        true => {
            LibraryError::Failed("A file could not be worked on: the gateway has a bug there.".to_owned())
        }
        false => closing(),
    }
}
