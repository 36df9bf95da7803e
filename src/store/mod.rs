//! Durable values: one redb file for database namespaces, history, totals, queue, pins and addresses (design D14).
//!
//! Memory holds everything, as the JSON text that the disk has too, and answers every read; a thread brings changes to the
//! disk, many in one commit. A disk that fails loses no reader: the values stay in memory, every writer is told, and the
//! commit is tried again.

mod disk;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::model::text;
use disk::{Change, Disk, Spaces};

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    #[error("the state database {path} cannot be opened: {reason}")]
    Open { path: String, reason: String },
    #[error("the state database cannot be written: {0}")]
    Write(String),
    #[error("the state database cannot be read: {0}")]
    Read(String),
}

/// How long a write may wait for others to share its commit; well below the second that may be lost (design D14).
const GATHER: Duration = Duration::from_millis(300);
/// How long a commit is put off at most for those who are expected to share it (as PostgreSQL's `commit_delay`).
const SHARE: Duration = Duration::from_micros(500);
/// How long to wait before a failed commit is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Spaces of keys with JSON values. Cheap to clone; the file is complete and closed when the last clone is gone.
#[derive(Clone)]
pub struct Store {
    owner: Arc<Owner>,
}

/// Ends the writing thread with the last clone.
struct Owner {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Where a writer waits to be told that its value is on disk.
type Told = oneshot::Sender<Result<(), StoreError>>;

struct Shared {
    values: Mutex<Values>,
    changed: Condvar,
    /// All of those who are expected wait.
    joined: Condvar,
    /// Held for the length of a commit.
    disk: Mutex<Disk>,
}

#[derive(Default)]
struct Values {
    spaces: Spaces,
    /// Keys whose value in memory differs from the one on disk.
    dirty: BTreeSet<(String, String)>,
    /// Counts writes; `committed` is the count of the last one that is on disk.
    written: u64,
    committed: u64,
    trouble: Option<StoreError>,
    /// Those who wait until what is written is on disk; whoever comes first has it brought there for all.
    waiting: Vec<Told>,
    serving: bool,
    /// How many waited for the last commit, and came during it. Where they write again at once, one commit is for all of
    /// them; otherwise small groups would take turns.
    expected: usize,
    /// The writing thread sleeps until something changes.
    idle: bool,
    closing: bool,
    /// A test pretends that the process was killed (`Ok`: nobody notices) or that the disk is full: nothing reaches
    /// the disk any more.
    pretended: Option<Result<(), StoreError>>,
}

impl Store {
    /// Opens or creates the database file, readable for its owner only.
    ///
    /// # Errors
    /// [`StoreError::Open`] where the file cannot be created, is not ours, is damaged, or belongs to a running gateway.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let open = |reason: String| StoreError::Open { path: path.display().to_string(), reason };
        let disk = Disk::open(path).map_err(open)?;
        Self::start(disk).map_err(open)
    }

    /// A store that is gone with the process, for tests.
    pub fn in_memory() -> Self {
        match Disk::in_memory().and_then(Self::start) {
            Ok(store) => store,
            // The backend is a vector: what fails is memory or threads, and then nothing can go on.
            Err(reason) => unreachable!("a database in memory cannot be made: {reason}"),
        }
    }

    fn start(disk: Disk) -> Result<Self, String> {
        let spaces = disk.load()?;
        let shared = Arc::new(Shared {
            values: Mutex::new(Values { spaces, ..Values::default() }),
            changed: Condvar::new(),
            joined: Condvar::new(),
            disk: Mutex::new(disk),
        });
        let writer = shared.clone();
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.keep_writing())
            .map_err(|error| error.to_string())?;
        Ok(Self { owner: Arc::new(Owner { shared, thread: Some(thread) }) })
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.owner.shared.values()
    }

    /// Sees all earlier writes, also those not yet on disk.
    ///
    /// # Errors
    /// None of what [`Self::put`] wrote; text of a client that no [`Value`] holds cannot be read.
    pub fn get(&self, space: &str, key: &str) -> Result<Option<Value>, StoreError> {
        self.text(space, key)?.map(|text| read(&text)).transpose()
    }

    /// The value's JSON text, which costs nothing to hand out.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn text(&self, space: &str, key: &str) -> Result<Option<Arc<str>>, StoreError> {
        Ok(self.values().spaces.get(space).and_then(|space| space.get(key)).cloned())
    }

    /// All of a space in key order; empty where the space does not exist.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn list(&self, space: &str) -> Result<Vec<(String, Value)>, StoreError> {
        self.texts(space)?.into_iter().map(|(key, text)| Ok((key, read(&text)?))).collect()
    }

    /// [`Self::list`] as JSON texts.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn texts(&self, space: &str) -> Result<Vec<(String, Arc<str>)>, StoreError> {
        let values = self.values();
        let Some(space) = values.spaces.get(space) else { return Ok(Vec::new()) };
        Ok(space.iter().map(|(key, text)| (key.clone(), text.clone())).collect())
    }

    /// Names of the spaces that hold at least one key.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn spaces(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.values().spaces.keys().cloned().collect())
    }

    /// Visible at once, on disk within a second; many writes become one commit.
    ///
    /// # Errors
    /// The last commit failed. The value is kept in memory all the same, and brought to the disk when that works again.
    pub fn put(&self, space: &str, key: &str, value: Value) -> Result<(), StoreError> {
        self.put_text(space, key, text::json(&value).into())
    }

    /// [`Self::put`] of what is JSON text already. A client's may hold what no [`Value`] holds (numbers beyond any range,
    /// half of a surrogate pair, thousands of levels): then only [`Self::text`] reads it.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_text(&self, space: &str, key: &str, value: Arc<str>) -> Result<(), StoreError> {
        self.set(space, key, Some(value));
        self.trouble().map_or(Ok(()), Err)
    }

    /// On disk when it returns: for history, queue and job starts.
    ///
    /// # Errors
    /// The commit failed; the value is kept in memory, and brought to the disk when that works again.
    pub async fn put_durably(&self, space: &str, key: &str, value: Value) -> Result<(), StoreError> {
        self.set(space, key, Some(text::json(&value).into()));
        self.flush().await
    }

    /// Whether it was there.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn delete(&self, space: &str, key: &str) -> Result<bool, StoreError> {
        let was_there = self.set(space, key, None).is_some();
        self.trouble().map_or(Ok(was_there), Err)
    }

    /// Everything written so far is on disk when it returns; called at shutdown.
    ///
    /// # Errors
    /// The commit failed.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (told, result) = oneshot::channel();
        let served = {
            let mut values = self.values();
            values.waiting.push(told);
            if values.waiting.len() == values.expected {
                self.owner.shared.joined.notify_one();
            }
            std::mem::replace(&mut values.serving, true)
        };
        if !served {
            let shared = self.owner.shared.clone();
            // Not by the thread: a test's clock stands still while this is under way.
            tokio::task::spawn_blocking(move || shared.serve(&Handle::current()));
        }
        result.await.unwrap_or_else(|_ended| Err(StoreError::Write("the gateway is ending".to_owned())))
    }

    /// Writes everything and gives back the space of what was removed; the size of the file in bytes before and after.
    ///
    /// # Errors
    /// The commit or the compaction failed.
    pub async fn compact(&self) -> Result<(u64, u64), StoreError> {
        self.flush().await?;
        let shared = self.owner.shared.clone();
        let compact = move || shared.disk.lock().unwrap_or_else(PoisonError::into_inner).compact();
        let done = tokio::task::spawn_blocking(compact).await;
        done.unwrap_or_else(|error| Err(error.to_string())).map_err(StoreError::Write)
    }

    /// Why the last commit failed, until one works.
    pub fn trouble(&self) -> Option<StoreError> {
        self.values().trouble.clone()
    }

    fn set(&self, space: &str, key: &str, value: Option<Arc<str>>) -> Option<Arc<str>> {
        let mut values = self.values();
        let old = match value {
            Some(value) => values.spaces.entry(space.to_owned()).or_default().insert(key.to_owned(), value),
            None => {
                let old = values.spaces.get_mut(space).and_then(|space| space.remove(key));
                values.spaces.retain(|_, space| !space.is_empty());
                old.as_ref()?;
                old
            }
        };
        values.written += 1;
        values.dirty.insert((space.to_owned(), key.to_owned()));
        if std::mem::take(&mut values.idle) {
            self.owner.shared.changed.notify_one();
        }
        old
    }

    /// Pretends that the process is killed now: what is not on disk never gets there.
    #[cfg(test)]
    pub fn kill(&self) {
        self.values().pretended = Some(Ok(()));
    }

    /// Pretends that the disk is full from now on.
    #[cfg(test)]
    pub fn fill(&self) {
        self.values().pretended = Some(Err(StoreError::Write("No space left on device".to_owned())));
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.values().closing = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("The thread that writes the state database crashed.");
        }
    }
}

impl Shared {
    fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_writing(&self) {
        loop {
            let failed = self.values().trouble.is_some();
            let closing = self.wait_for_work(if failed { RETRY } else { GATHER });
            let result = self.commit();
            if closing {
                if let Err(error) = result {
                    tracing::error!(%error, "The last changes of the state database are lost.");
                }
                return;
            }
        }
    }

    /// Waits for a change, then for others to join it; true when the store closes.
    fn wait_for_work(&self, gather: Duration) -> bool {
        let values = self
            .changed
            .wait_while(self.values(), |values| {
                // Also after a change that was brought to the disk before it was seen here.
                values.idle = values.dirty.is_empty() && !values.closing;
                values.idle
            })
            .unwrap_or_else(PoisonError::into_inner);
        let (values, _timed_out) = self
            .changed
            .wait_timeout_while(values, gather, |values| !values.closing)
            .unwrap_or_else(PoisonError::into_inner);
        values.closing
    }

    /// Commits while somebody waits: those who come during one commit share the next.
    fn serve(self: Arc<Self>, runtime: &Handle) {
        loop {
            let waiting = self.gather();
            let result = self.commit();
            let others_wait = {
                let mut values = self.values();
                values.expected = waiting.len() + values.waiting.len();
                values.serving = !values.waiting.is_empty();
                values.serving
            };
            if !others_wait {
                // Whoever is told may give up the store and open the file again.
                drop(self);
                return tell(waiting, result, runtime);
            }
            tell(waiting, result, runtime);
        }
    }

    /// Those for whom the next commit is.
    fn gather(&self) -> Vec<Told> {
        let (mut values, _timed_out) = self
            .joined
            .wait_timeout_while(self.values(), SHARE, |values| values.waiting.len() < values.expected)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut values.waiting)
    }

    /// Brings all changes to the disk, unless they are there already.
    fn commit(&self) -> Result<(), StoreError> {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let (changes, written) = {
            let mut values = self.values();
            if let Some(pretended) = values.pretended.clone() {
                values.trouble = pretended.clone().err();
                return pretended;
            }
            if values.committed >= values.written {
                return Ok(());
            }
            (values.take_changes(), values.written)
        };
        // A fault of the library is one more failed commit: nobody is to wait for ever, and nothing is to be lost.
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| disk.write(&changes)))
            .unwrap_or_else(|_panic| Err("the database library failed".to_owned()));
        let mut values = self.values();
        match result {
            Ok(()) => {
                if values.trouble.take().is_some() {
                    tracing::info!("The state database can be written again.");
                }
                values.committed = written;
                Ok(())
            }
            Err(reason) => {
                let error = StoreError::Write(reason);
                if values.trouble.as_ref() != Some(&error) {
                    tracing::error!(%error, "Changes stay in memory until the disk can be written.");
                }
                values.dirty.extend(changes.into_iter().map(|change| (change.space, change.key)));
                values.trouble = Some(error.clone());
                Err(error)
            }
        }
    }
}

impl Values {
    fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.dirty)
            .into_iter()
            .map(|(space, key)| {
                let value = self.spaces.get(&space).and_then(|values| values.get(&key)).cloned();
                Change { space, key, value }
            })
            .collect()
    }
}

/// Several are told from within the runtime: that wakes one of its threads, not one for each.
fn tell(waiting: Vec<Told>, result: Result<(), StoreError>, runtime: &Handle) {
    let several = waiting.len() > 1;
    let tell = move || {
        for told in waiting {
            let _gone = told.send(result.clone());
        }
    };
    if several {
        runtime.spawn(async move { tell() });
    } else {
        tell();
    }
}

fn read(text: &str) -> Result<Value, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Read(error.to_string()))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod torn_tests;
