//! The printer's own storage over FTPS (bambu.md 5): one session at a time, opened for each operation.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::{FILES, Shared, UNKNOWN_SPACE, USER};
use crate::model::text::base_name;
use crate::net::ftps::{FtpsError, FtpsOptions, FtpsSession, Protection, RemoteEntry};
use crate::net::tls::TlsFault;
use crate::printer::clock::unix_now;
use crate::printer::{FileError, PrinterFiles, ProgressFn, RemoteFile};

/// How long an operation waits for the one before it: longer than a listing may take, so that none makes a start fail.
const TURN: Duration = Duration::from_secs(90);
/// Before a printer that opens no data connection (425) is asked once more: it serves one transfer at a time, perhaps
/// that of another program (bambu.md 5.2).
const BUSY_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// Folders that hold nothing that users print or fetch (bambu.md 5.4); all others are listed one level deep.
const SKIPPED: [&str; 4] = ["image", "logger", "recorder", "System Volume Information"];
/// Folders that are listed at most: each costs a transfer.
const MAX_FOLDERS: usize = 16;
/// Largest file fetched, in bytes.
const MAX_DOWNLOAD: u64 = 4 << 30;
/// Longest name of an uploaded job file.
const MAX_NAME: usize = 96;

pub(super) struct BambuFiles {
    shared: Arc<Shared>,
    /// A second data connection stalls the first (bambu.md 5.2).
    turn: Semaphore,
    /// This printer takes data only unencrypted (A1, bambu.md 5.1).
    clear: AtomicBool,
    /// It has taken encrypted data since the gateway runs.
    private: AtomicBool,
    /// The last upload was begun once more in a new session.
    resent: AtomicBool,
}

impl BambuFiles {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            turn: Semaphore::new(1),
            clear: AtomicBool::new(false),
            private: AtomicBool::new(false),
            resent: AtomicBool::new(false),
        }
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, FileError> {
        match tokio::time::timeout(TURN, self.turn.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(FileError::Busy(
                "Another file goes to or from the printer; try again when it is done.".into(),
            )),
        }
    }

    async fn open(&self, protection: Protection) -> Result<FtpsSession, FtpsError> {
        let config = &self.shared.config;
        let tls = self.shared.tls_of(FILES).map_err(FtpsError::Tls)?;
        let code = config.access_code.expose();
        let mut options =
            FtpsOptions::new(&self.shared.host(), config.ports.ftps, USER, code, tls.ftps_config());
        options.protection = protection;
        let opened = FtpsSession::open(options).await;
        match (opened, tls.fault()) {
            (Err(FtpsError::Tls(_)), Some(fault @ TlsFault::ChangedPin { .. })) => {
                Err(FtpsError::Tls(self.shared.objection(&fault)))
            }
            // No certificate was objected to: the handshake itself broke off, as at a service that is switched off.
            (Err(FtpsError::Tls(cause)), None) => Err(FtpsError::Unreachable(io::Error::other(cause))),
            (opened, _) => {
                if opened.is_ok() {
                    self.shared.keep_keys();
                }
                opened
            }
        }
    }

    /// Runs one operation in a session of its own, when it is its turn.
    async fn session<T, F>(&self, operation: F) -> Result<T, FileError>
    where
        F: for<'a> Fn(&'a mut FtpsSession) -> BoxFuture<'a, Result<T, FtpsError>> + Send + Sync,
        T: Send,
    {
        let _turn = self.turn().await?;
        self.in_session(&operation).await.map_err(|error| self.told(&error))
    }

    /// Without encrypted data if the printer wants it so: never because it is busy ([`FtpsError::NoData`]), and never
    /// once it has taken encrypted data.
    async fn in_session<T, F>(&self, operation: &F) -> Result<T, FtpsError>
    where
        F: for<'a> Fn(&'a mut FtpsSession) -> BoxFuture<'a, Result<T, FtpsError>> + Send + Sync,
        T: Send,
    {
        let refused = |result: &Result<T, FtpsError>| {
            matches!(result, Err(FtpsError::DataRefused(_) | FtpsError::DataCut(_)))
        };
        let was_clear = self.clear.load(Ordering::Relaxed);
        if !was_clear {
            let result = self.in_private(operation).await;
            if !refused(&result) || self.private.load(Ordering::Relaxed) {
                return result;
            }
        }
        let result = self.attempt(Protection::Clear, operation).await;
        let refused = refused(&result);
        self.clear.store(result.is_ok() || was_clear && !refused, Ordering::Relaxed);
        // Another firmware than the one that wanted it so.
        if was_clear && refused { self.in_private(operation).await } else { result }
    }

    /// Asks a busy printer again after a while, and one that takes encrypted data but cut its handshake off this time:
    /// nothing has been sent to it yet.
    async fn in_private<T, F>(&self, operation: &F) -> Result<T, FtpsError>
    where
        F: for<'a> Fn(&'a mut FtpsSession) -> BoxFuture<'a, Result<T, FtpsError>> + Send + Sync,
        T: Send,
    {
        let mut result = self.attempt(Protection::Private, operation).await;
        for wait in BUSY_AGAIN {
            let again = match &result {
                Err(FtpsError::NoData(_) | FtpsError::Busy(_)) => true,
                Err(FtpsError::DataCut(_)) => self.private.load(Ordering::Relaxed),
                _ => false,
            };
            if !again {
                break;
            }
            tokio::time::sleep(wait).await;
            result = self.attempt(Protection::Private, operation).await;
        }
        result
    }

    async fn attempt<T, F>(&self, protection: Protection, operation: &F) -> Result<T, FtpsError>
    where
        F: for<'a> Fn(&'a mut FtpsSession) -> BoxFuture<'a, Result<T, FtpsError>> + Send + Sync,
        T: Send,
    {
        let mut session = Box::pin(self.open(protection)).await?;
        let result = operation(&mut session).await;
        if session.has_private_data() {
            self.private.store(true, Ordering::Relaxed);
        }
        session.quit().await;
        result
    }

    /// One short operation on two paths.
    fn on_paths(
        &self,
        one: &str,
        other: &str,
        operation: for<'a> fn(&'a mut FtpsSession, &'a str, &'a str) -> BoxFuture<'a, Result<(), FtpsError>>,
    ) -> BoxFuture<'_, Result<(), FileError>> {
        let (one, other) = (absolute(one), absolute(other));
        Box::pin(self.session(move |session| {
            let (one, other) = (one.clone(), other.clone());
            Box::pin(async move { operation(session, &one, &other).await })
        }))
    }

    /// Lists, and asks for the room that is left where the firmware tells it (bambu.md 5.2).
    async fn list_and_measure(&self) -> Result<Vec<RemoteFile>, FileError> {
        let (files, free) = self
            .session(|session| {
                Box::pin(async move {
                    let files = list_all(session).await?;
                    Ok((files, session.free_space().await.ok()))
                })
            })
            .await?;
        self.shared.free_bytes.store(free.unwrap_or(UNKNOWN_SPACE), Ordering::Relaxed);
        Ok(files)
    }

    /// The error in words for the user.
    fn told(&self, error: &FtpsError) -> FileError {
        let config = &self.shared.config;
        let at = format!("{}:{}", self.shared.host(), config.ports.ftps);
        match error {
            FtpsError::Auth(_) => FileError::NotAllowed(format!(
                "The printer's file service at {at} refuses the access code: read it again on the printer and put it \
                 in the [[printer]] \"{}\" of the configuration.",
                config.name
            )),
            FtpsError::Unreachable(cause) => FileError::Offline(format!(
                "The printer's file service at {at} does not answer ({cause}). If the printer itself is reachable, \
                 switch on LAN mode and Developer Mode there."
            )),
            FtpsError::Tls(cause) => FileError::Offline(format!("{at} is not the known printer ({cause}).")),
            FtpsError::NotFound(_) => {
                FileError::NotFound("The printer has no such file, or no card or USB stick.".to_owned())
            }
            FtpsError::StorageFull(_) => {
                FileError::Full("The printer's storage is full: delete files on it first.".to_owned())
            }
            FtpsError::BadName(_) => {
                FileError::BadName("The printer does not accept this file name.".to_owned())
            }
            FtpsError::TooLarge(limit) => {
                FileError::NotAllowed(format!("The file is larger than {} MiB.", limit >> 20))
            }
            FtpsError::Unsupported(_) => {
                FileError::Unsupported("The printer's file service cannot do this.".into())
            }
            FtpsError::Cancelled => FileError::Cancelled,
            FtpsError::Broken(cause) => FileError::Failed(format!(
                "The connection with the printer's file service at {at} broke off ({cause}). Try again."
            )),
            FtpsError::DataCut(_) => FileError::Failed(format!(
                "The printer's file service at {at} breaks off before the file begins. Try again; if it stays so, restart \
                 the printer."
            )),
            FtpsError::NoData(_) | FtpsError::Busy(_) => FileError::Busy(
                "The printer's file service is busy, perhaps with a transfer of another program; try again when that is \
                 done."
                    .to_owned(),
            ),
            FtpsError::DataRefused(_) if self.private.load(Ordering::Relaxed) => FileError::Failed(format!(
                "The transfer with {at} failed: {error}. It took encrypted files before, so none is sent in clear text. If \
                 its firmware was changed, restart the gateway."
            )),
            other => FileError::Failed(format!("The transfer with {at} failed: {other}.")),
        }
    }
}

/// Tells the compiler that an operation works with any session.
fn repeatable<F>(operation: F) -> F
where
    F: for<'a> Fn(&'a mut FtpsSession) -> BoxFuture<'a, Result<(), FtpsError>> + Send + Sync,
{
    operation
}

/// A path of ours from the root of the storage.
fn absolute(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

async fn list_all(session: &mut FtpsSession) -> Result<Vec<RemoteFile>, FtpsError> {
    let now = unix_now() as i64;
    let root = session.list("/", now).await?;
    let mut files = Vec::new();
    let shown = |name: &str| !SKIPPED.contains(&name) && !name.starts_with('.');
    let folders = root.iter().filter(|entry| entry.dir && shown(&entry.name));
    let folders: Vec<String> = folders.take(MAX_FOLDERS).map(|entry| entry.name.clone()).collect();
    files.extend(root.into_iter().map(|entry| remote("", entry)));
    for folder in folders {
        match session.list(&absolute(&folder), now).await {
            Ok(entries) => files.extend(entries.into_iter().map(|entry| remote(&folder, entry))),
            // A folder that cannot be read hides only itself.
            Err(FtpsError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

fn remote(folder: &str, entry: RemoteEntry) -> RemoteFile {
    let path = if folder.is_empty() { entry.name } else { format!("{folder}/{}", entry.name) };
    RemoteFile {
        path,
        size: if entry.dir { 0 } else { entry.size },
        directory: entry.dir,
        modified: entry.modified.map(|seconds| seconds as f64),
    }
}

async fn send(
    session: &mut FtpsSession,
    local: &Path,
    remote: &str,
    progress: ProgressFn,
    cancel: &CancellationToken,
) -> Result<(), FtpsError> {
    let file = tokio::fs::File::open(local).await.map_err(FtpsError::Local)?;
    session.upload(file, remote, move |sent| progress(sent), cancel).await.map(drop)
}

async fn fetch(
    session: &mut FtpsSession,
    remote: &str,
    local: &Path,
    progress: ProgressFn,
    cancel: &CancellationToken,
) -> Result<(), FtpsError> {
    let file = tokio::fs::File::create(local).await.map_err(FtpsError::Local)?;
    session.download(remote, file, MAX_DOWNLOAD, move |got| progress(got), cancel).await.map(drop)
}

impl PrinterFiles for BambuFiles {
    fn list(&self) -> BoxFuture<'_, Result<Vec<RemoteFile>, FileError>> {
        Box::pin(self.list_and_measure())
    }

    /// One FTPS session, unless a second one was needed.
    fn unbroken(&self) -> bool {
        !self.resent.load(Ordering::Relaxed)
    }

    fn upload(
        &self,
        local: PathBuf,
        remote: String,
        _md5: String,
        progress: ProgressFn,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<(), FileError>> {
        let remote = absolute(&remote);
        let began = Arc::new(AtomicBool::new(false));
        let (begins, told, stop) = (began.clone(), progress.clone(), cancel.clone());
        let progress: ProgressFn = Arc::new(move |sent| {
            begins.fetch_or(sent > 0, Ordering::Relaxed);
            told(sent);
        });
        let again = progress.clone();
        let operation = repeatable(move |session| {
            let (local, remote, progress, cancel) =
                (local.clone(), remote.clone(), progress.clone(), cancel.clone());
            Box::pin(async move {
                match send(session, &local, &remote, progress.clone(), &cancel).await {
                    // Cut short at the printer's end: once more from the start, as nothing can be resumed (bambu.md 5.1).
                    Err(FtpsError::Truncated { .. } | FtpsError::Aborted(_)) if !cancel.is_cancelled() => {
                        progress(0);
                        send(session, &local, &remote, progress, &cancel).await
                    }
                    result => result,
                }
            })
        });
        Box::pin(async move {
            let _turn = self.turn().await?;
            self.resent.store(false, Ordering::Relaxed);
            let result = match self.in_session(&operation).await {
                // It stalled or both connections broke: once more, from the start.
                Err(FtpsError::Timeout(_) | FtpsError::Broken(_))
                    if began.load(Ordering::Relaxed) && !stop.is_cancelled() =>
                {
                    self.resent.store(true, Ordering::Relaxed);
                    again(0);
                    self.in_session(&operation).await
                }
                result => result,
            };
            result.map_err(|error| match error {
                // 550 is the answer to everything that cannot be stored.
                FtpsError::NotFound(reply) => FileError::NotFound(format!(
                    "The printer does not store the file ({reply}): is a card or USB stick in it, and is it not \
                     write-protected?"
                )),
                // 553 is the name, or again that nothing can be stored.
                FtpsError::BadName(reply) => FileError::BadName(format!(
                    "The printer does not store a file of this name ({reply}): rename it, or look whether the card or USB \
                     stick is write-protected."
                )),
                error => self.told(&error),
            })
        })
    }

    fn download(
        &self,
        remote: String,
        local: PathBuf,
        progress: ProgressFn,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<(), FileError>> {
        let remote = absolute(&remote);
        Box::pin(async move {
            let result = self
                .session(|session| {
                    let (local, remote, progress, cancel) =
                        (local.clone(), remote.clone(), progress.clone(), cancel.clone());
                    Box::pin(async move { fetch(session, &remote, &local, progress, &cancel).await })
                })
                .await;
            if result.is_err() {
                // What arrived is incomplete; nobody may take it for the file.
                let _nothing_there = tokio::fs::remove_file(&local).await;
            }
            result
        })
    }

    fn delete(&self, remote: String) -> BoxFuture<'_, Result<(), FileError>> {
        let remote = absolute(&remote);
        Box::pin(self.session(move |session| {
            let remote = remote.clone();
            Box::pin(async move { session.delete(&remote).await })
        }))
    }

    fn rename(&self, from: String, to: String) -> BoxFuture<'_, Result<(), FileError>> {
        self.on_paths(&from, &to, |session, from, to| Box::pin(session.rename(from, to)))
    }

    fn make_directory(&self, remote: String) -> BoxFuture<'_, Result<(), FileError>> {
        self.on_paths(&remote, "", |session, path, _| Box::pin(session.mkdir(path)))
    }

    fn remove_directory(&self, remote: String) -> BoxFuture<'_, Result<(), FileError>> {
        self.on_paths(&remote, "", |session, path, _| Box::pin(session.rmdir(path)))
    }

    /// In the root, where every firmware finds it (bambu.md 4.5); the job's end must remove it (T20).
    fn job_path(&self, name: &str) -> String {
        job_name(name)
    }
}

/// A name of letters, digits, dot, dash and underscore that keeps its ending; names that had to be changed get a few
/// digits of their digest, so that two different ones stay different.
fn job_name(name: &str) -> String {
    let name = base_name(name);
    let lower = name.to_ascii_lowercase();
    let ending = [".gcode.3mf", ".3mf"].into_iter().find(|ending| lower.ends_with(ending)).unwrap_or("");
    let stem = name.get(..name.len() - ending.len()).unwrap_or(name);
    let clean: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
    let clean = clean.trim_start_matches('.');
    let ending = if ending.is_empty() { ".3mf" } else { ending };
    if clean == stem && !clean.is_empty() && clean.len() + ending.len() <= MAX_NAME {
        return format!("{clean}{ending}");
    }
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(name.as_bytes()));
    let short: String = clean.chars().take(MAX_NAME - ending.len() - 9).collect();
    format!("{}-{}{ending}", short.trim_end_matches('_'), digest.get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_names_are_safe_and_stay_different() {
        assert_eq!(job_name("cube.gcode.3mf"), "cube.gcode.3mf");
        assert_eq!(job_name("dir/sub/Cube-2.3MF"), "Cube-2.3mf");
        let odd = job_name("größe #1.gcode.3mf");
        assert!(odd.starts_with("gr__e__1-") && odd.ends_with(".gcode.3mf"), "{odd}");
        assert_ne!(job_name("größe #1.gcode.3mf"), job_name("größe #2.gcode.3mf"));
        assert_ne!(job_name("ä.3mf"), job_name("ö.3mf"));
        assert!(job_name(&"x".repeat(500)).len() <= MAX_NAME);
        assert!(job_name("..").ends_with(".3mf") && !job_name("..").starts_with('.'));
    }
}
