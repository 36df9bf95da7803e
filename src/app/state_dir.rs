//! Watches whether what the gateway keeps still reaches its disk. A file that was deleted takes writes all the same until
//! it is closed: without this, whoever removed the folder would hear of it at the next start, when all is gone.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::front::admin::StateFault;
use crate::store::Store;

/// How long it may take until it is told.
const EVERY: Duration = Duration::from_secs(10);

/// The database as it was opened.
pub struct StateDir {
    database: PathBuf,
    /// Device and number of the file.
    opened: (u64, u64),
    store: Store,
}

impl StateDir {
    /// # Errors
    /// The database is gone already.
    pub async fn new(database: &Path, store: &Store) -> io::Result<Self> {
        Ok(Self { database: database.to_owned(), opened: identity(database).await?, store: store.clone() })
    }

    /// Tells what is wrong, in the log too, until `cancel`.
    pub async fn watch(self, told: watch::Sender<Option<StateFault>>, cancel: CancellationToken) {
        let mut turns = interval(EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = turns.tick() => {}
            }
            let fault = self.fault().await;
            told.send_if_modified(|before| {
                let gone = |fault: &Option<StateFault>| fault.as_ref().is_some_and(|it| it.code == GONE);
                // The store itself logs what its disk refuses.
                match (gone(before), &fault) {
                    (false, Some(now)) if gone(&fault) => {
                        tracing::error!(code = now.code, "{} {}", now.text, now.remedy);
                    }
                    (true, now) if !gone(now) => tracing::info!("The state database is there again."),
                    _ => {}
                }
                let changed = *before != fault;
                *before = fault;
                changed
            });
        }
    }

    async fn fault(&self) -> Option<StateFault> {
        let there = match identity(&self.database).await {
            Ok(now) => now == self.opened,
            // A disk that does not answer the question is the store's to tell.
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        if !there {
            let database = self.database.display();
            return Some(StateFault {
                code: GONE,
                text: format!(
                    "{database} was deleted, moved or replaced while the gateway runs: what it keeps from now on is lost when it ends."
                ),
                remedy: "Put the file back if it was moved; otherwise restart the gateway, which begins with what is there. Prints go on at the printers.",
            });
        }
        let trouble = self.store.trouble()?;
        Some(StateFault {
            code: "MG-STATE-DISK",
            text: format!("Changes stay in memory: {trouble}."),
            remedy: "Make room on the disk of state_dir, or make it writable: they are written then by themselves. A restart before that loses them.",
        })
    }
}

const GONE: &str = "MG-STATE-GONE";

async fn identity(file: &Path) -> io::Result<(u64, u64)> {
    let facts = tokio::fs::metadata(file).await?;
    Ok((facts.dev(), facts.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn code(state: &StateDir) -> Option<&'static str> {
        state.fault().await.map(|fault| fault.code)
    }

    #[tokio::test]
    async fn a_database_that_is_gone_moved_or_replaced_is_told_until_it_is_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, aside) = (folder.path().join("moongate.redb"), folder.path().join("aside"));
        let store = Store::open(&file).expect("opened");
        let state = StateDir::new(&file, &store).await.expect("there");
        assert_eq!(code(&state).await, None);
        std::fs::rename(&file, &aside).expect("moved");
        assert_eq!(code(&state).await, Some("MG-STATE-GONE"));
        store.put_durably("s", "k", 7.into()).await.expect("the open file takes it all the same");
        std::fs::write(&file, "").expect("another one");
        assert_eq!(code(&state).await, Some("MG-STATE-GONE"), "another file of that name is not ours");
        std::fs::rename(&aside, &file).expect("moved back");
        assert_eq!(code(&state).await, None);
    }

    #[tokio::test]
    async fn a_disk_that_takes_nothing_is_told_with_the_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("moongate.redb");
        let store = Store::open(&file).expect("opened");
        let state = StateDir::new(&file, &store).await.expect("there");
        store.fill();
        store.put_durably("s", "k", 7.into()).await.expect_err("refused");
        let fault = state.fault().await.expect("told");
        assert_eq!(fault.code, "MG-STATE-DISK");
        assert!(fault.text.contains("No space left"), "{}", fault.text);
    }
}
