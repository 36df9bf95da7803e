//! Removes job files from the printer that could start by themselves after a power cut (bambu.md T20).
//!
//! Only files that the gateway sent are removed, by the path under which they were stored, when no job is under way.
//! The list is on disk: what cannot be deleted now is deleted when the link is back. A deletion may take long: only a
//! start of that very file waits for it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::Inner;
use crate::printer::FileError;
use crate::store::StoreError;

/// The printer's answer to a deletion.
const DEADLINE: Duration = Duration::from_secs(30);
/// Before it is tried again where the printer could not be asked: it is waited for anyway.
const SOON: Duration = Duration::from_secs(1);
/// Before a deletion that failed is tried again.
const AGAIN: Duration = Duration::from_secs(60);

impl Inner {
    /// Before the first byte of a file is sent, and only then: whatever happens from now on, what lies there is ours,
    /// and it is not forgotten.
    pub async fn note_for_cleanup(&self, remote_path: &str, token: u32) -> Result<(), StoreError> {
        let removed = self.printer.capabilities().files.remove_after_job;
        let note = if removed { json!({"token": token}) } else { json!({"part": true}) };
        self.store.put_durably(&self.spaces.cleanup, remote_path, note).await
    }

    /// A file that went through whole stays where files may stay.
    pub fn keep_whole(&self, remote_path: &str) {
        if !self.printer.capabilities().files.remove_after_job {
            drop(self.store.delete(&self.spaces.cleanup, remote_path));
        }
    }

    /// Deletes what an aborted transfer left behind; what cannot be deleted now stays on the list.
    pub async fn delete_part(&self, remote_path: &str) {
        let note = json!({"part": true});
        drop(self.store.put(&self.spaces.cleanup, remote_path, note));
        self.delete_remote(remote_path).await;
    }

    /// True when the file is gone.
    async fn delete_remote(&self, remote_path: &str) -> bool {
        let files = self.printer.files().clone();
        let result = tokio::time::timeout(DEADLINE, files.delete(remote_path.to_owned())).await;
        match result {
            Ok(Ok(()) | Err(FileError::NotFound(_))) => {
                drop(self.store.delete(&self.spaces.cleanup, remote_path));
                drop(self.store.delete(&self.spaces.sent, remote_path));
                self.library.forget_remote(remote_path);
                true
            }
            Ok(Err(error)) => {
                tracing::debug!(remote_path, %error, "A job file stays on the printer for now.");
                false
            }
            // It may still be carried out: the next start must not count on what lay there.
            Err(_late) => {
                drop(self.store.delete(&self.spaces.sent, remote_path));
                self.library.forget_remote(remote_path);
                false
            }
        }
    }

    /// Runs as long as the gateway.
    pub async fn keep_clean(self: Arc<Self>) {
        // First it must be known what an earlier gateway may have started: that file is in use.
        let mut restored = self.restored.subscribe();
        tokio::select! {
            () = self.cancel.cancelled() => return,
            known = restored.wait_for(|restored| *restored) => if known.is_err() { return; },
        }
        // A printer that can be asked, and is not printing.
        let free = |state: &Arc<crate::model::PrinterState>| state.online() && !state.printing();
        loop {
            let could_ask = free(&self.printer.state());
            let done = tokio::select! {
                () = self.cancel.cancelled() => return,
                done = self.clean() => done,
            };
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = self.cleanup_due.notified() => {}
                () = tokio::time::sleep(if could_ask { AGAIN } else { SOON }), if !done => {}
            }
            let mut watch = self.printer.watch();
            tokio::select! {
                () = self.cancel.cancelled() => return,
                free = watch.wait_for(free) => if free.is_err() { return; },
            }
        }
    }

    /// True when nothing is left to delete.
    async fn clean(&self) -> bool {
        let listed = self.store.list(&self.spaces.cleanup).unwrap_or_default();
        let mut all = true;
        for (remote_path, _) in listed {
            all &= match self.claim(&remote_path).await {
                Claim::Held(_until_done) => self.delete_remote(&remote_path).await,
                Claim::NotNow => false,
                Claim::OffTheList => true,
            };
        }
        all
    }

    /// From here on a start of this file waits for its deletion ([`Self::deleted`]); all others go ahead of it.
    async fn claim(&self, remote_path: &str) -> Claim<'_> {
        // No start may come between the look and the claim.
        let _gate = self.gate.lock().await;
        let state = self.printer.state();
        let free = state.online() && !state.printing() && self.active().is_none();
        // Before its first report a printer may be printing that very file.
        let known = state.device.job.stage != crate::model::DeviceStage::Unknown;
        if !free || !known {
            return Claim::NotNow;
        }
        // A start since the list was read may have sent it anew, as a file that stays.
        if matches!(self.store.get(&self.spaces.cleanup, remote_path), Ok(None)) {
            return Claim::OffTheList;
        }
        self.deleting.send_replace(Some(remote_path.to_owned()));
        Claim::Held(Deletion(&self.deleting))
    }

    pub fn is_deleting(&self, remote_path: &str) -> bool {
        is(self.deleting.borrow().as_deref(), remote_path)
    }

    /// Resolves when no deletion of this file is under way: within [`DEADLINE`].
    pub async fn deleted(&self, remote_path: &str) {
        let mut watch = self.deleting.subscribe();
        // The sender lives as long as we do: this cannot fail.
        let _done = watch.wait_for(|path| !is(path.as_deref(), remote_path)).await;
    }
}

enum Claim<'a> {
    Held(Deletion<'a>),
    NotNow,
    OffTheList,
}

/// A deletion at the printer that is under way.
struct Deletion<'a>(&'a watch::Sender<Option<String>>);

impl Drop for Deletion<'_> {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

/// The storage of printers knows no case, and its root goes with and without a slash.
fn is(deleted: Option<&str>, remote_path: &str) -> bool {
    let plain = |path: &str| path.trim_start_matches('/').to_lowercase();
    deleted.is_some_and(|deleted| plain(deleted) == plain(remote_path))
}
