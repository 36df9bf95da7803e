//! The printer's own storage, shown below `printer/` from a cached listing.
//!
//! Listing is costly at the printer and disturbs a running print (bambu.md T26): it is fetched when somebody asks and
//! the cache is old, and not while a job is under way unless nothing is known yet and the folder itself is opened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::difference::{self, News};
use super::index::directory_entry;
use super::listing::{Listed, identity, view};
use super::names;
use super::{Entry, EntryKind, FileRecord, JobFile, Library, LibraryError};
use crate::metadata::FileMetadata;
use crate::model::{Event, FileCaps};
use crate::printer::{FileError, RemoteFile};

/// A listing of this age is fetched again when somebody asks.
const OLD: Duration = Duration::from_secs(60);
/// Listing a full card over FTPS takes long; after this it is given up.
const LIST_DEADLINE: Duration = Duration::from_secs(60);
/// Who asks before anything was listed waits so long: an empty answer would say that the printer has no files.
const FIRST_LISTING: Duration = Duration::from_secs(5);
/// Entries shown; a card with more is shown in part.
const MAX_ENTRIES: usize = 10_000;

#[derive(Default)]
pub struct Remote {
    view: Mutex<View>,
    fetching: tokio::sync::Mutex<()>,
    changed: AtomicBool,
    refreshing: AtomicBool,
    /// A listing under way in the background ended.
    refreshed: tokio::sync::Notify,
}

#[derive(Default)]
struct View {
    /// When it was last asked for.
    at: Option<Instant>,
    /// The printer has told its files at least once.
    shown: bool,
    files: Vec<RemoteFile>,
    entries: BTreeMap<String, Listed>,
}

pub fn file_error(error: FileError) -> LibraryError {
    match error {
        FileError::Offline(text) => LibraryError::Offline(text),
        FileError::NotFound(text) => LibraryError::NotFound(text),
        FileError::Full(text) => LibraryError::Full(text),
        FileError::BadName(text) => LibraryError::BadName(text),
        FileError::NotAllowed(text) | FileError::Busy(text) => LibraryError::InUse(text),
        FileError::Unsupported(text) => LibraryError::Unsupported(text),
        FileError::Failed(text) => LibraryError::Failed(text),
        FileError::Cancelled => LibraryError::Failed("The transfer was cancelled.".to_owned()),
    }
}

impl Remote {
    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Library {
    /// Notes when the printer says that its files changed.
    pub(super) fn follow_printer(&self, tasks: &TaskTracker) {
        let mut events = self.inner.printer.events();
        let library = self.clone();
        tasks.spawn(async move {
            loop {
                let event = tokio::select! {
                    () = library.inner.cancel.cancelled() => return,
                    event = events.recv() => event,
                };
                match event {
                    Ok(Event::PrinterFilesChanged) => {
                        library.inner.remote.changed.store(true, Ordering::Relaxed);
                        // Somebody may be looking at them.
                        library.refresh_remote_soon();
                    }
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {
                        library.inner.remote.changed.store(true, Ordering::Relaxed);
                    }
                    Ok(_) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                }
            }
        });
    }

    pub(super) fn files_caps(&self) -> FileCaps {
        self.inner.printer.capabilities().files.clone()
    }

    fn can_list(&self) -> bool {
        self.files_caps().list && self.inner.printer.state().online()
    }

    fn remote_is_old(&self) -> bool {
        let changed = self.inner.remote.changed.load(Ordering::Relaxed);
        changed || self.inner.remote.view().at.is_none_or(|at| at.elapsed() >= OLD)
    }

    /// Fetches the listing in the background, if it is old and nothing is printing.
    pub(super) fn refresh_remote_soon(&self) {
        let idle = !self.inner.printer.state().printing();
        if !idle || !self.can_list() {
            return;
        }
        self.inner.printer.files().look();
        if !self.remote_is_old() {
            return;
        }
        if self.inner.remote.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let library = self.clone();
        self.inner.tasks.spawn(async move {
            let fetched = tokio::select! {
                () = library.inner.cancel.cancelled() => Ok(()),
                fetched = library.fetch_listing() => fetched,
            };
            if let Err(error) = fetched {
                tracing::debug!(%error, "The printer's files cannot be listed.");
            }
            library.inner.remote.refreshing.store(false, Ordering::Release);
            library.inner.remote.refreshed.notify_waiters();
        });
    }

    /// Like [`Self::refresh_remote_soon`], but waits for the first listing of all, if it comes soon.
    pub(super) async fn refresh_remote(&self) {
        let remote = &self.inner.remote;
        let first = remote.view().at.is_none();
        let refreshed = remote.refreshed.notified();
        tokio::pin!(refreshed);
        refreshed.as_mut().enable();
        self.refresh_remote_soon();
        if first && remote.refreshing.load(Ordering::Acquire) {
            let _late = tokio::time::timeout(FIRST_LISTING, refreshed).await;
        }
    }

    async fn fetch_listing(&self) -> Result<(), LibraryError> {
        let _one = self.inner.remote.fetching.lock().await;
        if !self.remote_is_old() {
            return Ok(());
        }
        self.inner.remote.changed.store(false, Ordering::Relaxed);
        let listed = tokio::time::timeout(LIST_DEADLINE, self.inner.printer.files().list()).await;
        let listed = match listed {
            Ok(Ok(files)) => Ok(files),
            Ok(Err(error)) => Err(file_error(error)),
            Err(_late) => Err(LibraryError::Failed("The printer did not list its files in time.".to_owned())),
        };
        // A printer that cannot be listed now is not asked again at once.
        self.inner.remote.view().at = Some(Instant::now());
        self.show(listed?, News::Listed);
        Ok(())
    }

    fn show(&self, mut files: Vec<RemoteFile>, news: News) {
        files.truncate(MAX_ENTRIES);
        let entries = view(&files, &self.files_caps(), self.inner.started);
        let (old, news) = {
            let mut view = self.inner.remote.view();
            view.files = files;
            let first = news == News::Listed && !std::mem::replace(&mut view.shown, true);
            (std::mem::replace(&mut view.entries, entries.clone()), if first { News::First } else { news })
        };
        self.tell(difference::told(&old, &entries, news, self.remote_root()));
    }

    /// The `printer` folder itself, where the printer has files to show.
    pub(super) fn remote_root(&self) -> Option<Entry> {
        if !self.files_caps().list {
            return None;
        }
        // As old as the newest file in it.
        let view = self.inner.remote.view();
        let newest = view.entries.values().map(|listed| listed.entry.modified).fold(0.0, f64::max);
        let modified = if newest > 0.0 { newest } else { self.inner.started };
        Some(Entry { on_printer: true, ..directory_entry(names::PRINTER, modified) })
    }

    /// The folder and everything known below it.
    pub(super) fn remote_entries(&self) -> Vec<Entry> {
        let known =
            self.inner.remote.view().entries.values().map(|listed| listed.entry.clone()).collect::<Vec<_>>();
        self.remote_root().into_iter().chain(known).collect()
    }

    /// What a folder on the printer holds; fetched now if nothing is known of it.
    pub(super) async fn remote_directory(&self, path: &str) -> Result<Vec<Entry>, LibraryError> {
        if !self.files_caps().list {
            return Err(LibraryError::NotFound("This printer does not show its files.".to_owned()));
        }
        let known = self.inner.remote.view().at.is_some();
        let idle = !self.inner.printer.state().printing();
        if idle && self.can_list() {
            self.inner.printer.files().look();
        }
        let wanted = !known || (self.remote_is_old() && idle);
        if wanted && self.can_list() {
            self.fetch_listing().await?;
        } else if !known {
            return Err(LibraryError::Offline(
                "The printer is not connected: its files are not known.".to_owned(),
            ));
        }
        let view = self.inner.remote.view();
        let there = path == names::PRINTER
            || view.entries.get(path).is_some_and(|listed| listed.entry.kind == EntryKind::Directory);
        if !there {
            return Err(LibraryError::NotFound(format!("There is no folder \"{path}\".")));
        }
        let inside = view.entries.values().filter(|listed| names::split(&listed.entry.path).0 == path);
        Ok(inside.map(|listed| listed.entry.clone()).collect())
    }

    /// A file or folder of the cached listing.
    pub(super) fn any_listed(&self, path: &str) -> Result<Listed, LibraryError> {
        let listed = self.inner.remote.view().entries.get(path).cloned();
        listed.ok_or_else(|| LibraryError::NotFound(format!("There is no file \"{path}\" on the printer.")))
    }

    pub(super) fn listed(&self, path: &str) -> Result<Listed, LibraryError> {
        let listed = self.any_listed(path)?;
        let file = Some(listed).filter(|listed| listed.entry.kind != EntryKind::Directory);
        file.ok_or_else(|| LibraryError::NotFound(format!("There is no file \"{path}\" on the printer.")))
    }

    /// Lists once, where nothing is known yet.
    pub(super) async fn remote_root_known(&self) -> Result<(), LibraryError> {
        let known = self.inner.remote.view().at.is_some();
        if known {
            return Ok(());
        }
        self.remote_directory(names::PRINTER).await.map(drop)
    }

    /// The file that prints stays where it is.
    pub(super) fn refuse_printing(&self, path: &str, listed: &Listed) -> Result<(), LibraryError> {
        let state = self.inner.printer.state();
        let same =
            |name: &str| crate::model::text::base_name(name) == crate::model::text::base_name(&listed.stored);
        let ours = state.job.file.as_deref() == Some(path);
        if state.printing() && (ours || state.device.job.file.as_deref().is_none_or(same)) {
            return Err(LibraryError::InUse(format!("\"{path}\" may be what is being printed.")));
        }
        Ok(())
    }

    pub(super) fn remote_record(&self, path: &str) -> Result<FileRecord, LibraryError> {
        let listed = self.listed(path)?;
        let size = listed.entry.size;
        Ok(FileRecord {
            uuid: identity(&listed),
            metadata: FileMetadata { size, ..FileMetadata::default() },
            thumbnails: Vec::new(),
            plate: None,
            source: PathBuf::new(),
            print_start_time: None,
            job_id: None,
            entry: listed.entry,
        })
    }

    pub(super) async fn remote_job_file(&self, path: &str) -> Result<JobFile, LibraryError> {
        if self.inner.remote.view().at.is_none() && self.can_list() {
            self.fetch_listing().await?;
        }
        let listed = self.listed(path)?;
        Ok(JobFile {
            path: path.to_owned(),
            local: None,
            uuid: identity(&listed),
            stored: listed.stored,
            archive: listed.archive,
            plate: None,
            chosen_plate: None,
            size: listed.size,
            metadata: FileMetadata { size: listed.size, ..FileMetadata::default() },
        })
    }

    /// Whether the printer's listing shows a file of this size; asks the printer if it can be asked.
    pub async fn printer_holds(&self, stored: &str, size: u64) -> bool {
        // Our own job may be under way already: it waits for this answer.
        if !self.can_list() || self.inner.printer.state().device.job.stage.active() {
            return false;
        }
        self.inner.remote.changed.store(true, Ordering::Relaxed);
        if let Err(error) = self.fetch_listing().await {
            tracing::debug!(%error, "The printer's files cannot be listed; the file is sent again.");
            return false;
        }
        let stored = stored.trim_start_matches('/');
        let same = |file: &RemoteFile| file.path.trim_start_matches('/') == stored && file.size == size;
        self.inner.remote.view().files.iter().any(same)
    }

    pub(super) async fn delete_remote(&self, path: &str) -> Result<Entry, LibraryError> {
        let listed = self.listed(path)?;
        if !self.files_caps().delete {
            return Err(LibraryError::Unsupported(
                "This printer does not delete files by command.".to_owned(),
            ));
        }
        self.refuse_printing(path, &listed)?;
        let deleting = self.inner.printer.files().delete(listed.stored.clone());
        let late = |_late| LibraryError::Failed("The printer did not delete the file in time.".to_owned());
        tokio::time::timeout(LIST_DEADLINE, deleting).await.map_err(late)?.map_err(file_error)?;
        self.forget_remote(&listed.stored);
        Ok(Entry { size: 0, modified: 0.0, ..listed.entry })
    }

    /// Takes a file off the listing that was deleted on the printer.
    pub fn forget_remote(&self, stored: &str) {
        self.change_listing(|files| {
            files.retain(|file| file.path.trim_start_matches('/') != stored.trim_start_matches('/'));
        });
    }

    /// Changes the cached listing as the printer's storage was changed, and tells the difference.
    pub(super) fn change_listing(&self, change: impl FnOnce(&mut Vec<RemoteFile>)) {
        let before = self.inner.remote.view().files.clone();
        let mut files = before.clone();
        change(&mut files);
        if files != before {
            self.show(files, News::Ours);
        }
    }
}
