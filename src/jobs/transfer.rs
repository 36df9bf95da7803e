//! Makes the file ready and sends it to the printer, unless the printer holds it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::intent::Intent;
use super::plan::{Plan, Way};
use super::start::{End, cancelled, failed};
use crate::library::LibraryError;
use crate::model::{JobPhase, Transfer};
use crate::printer::FileError;
use crate::printer::clock::unix_now;

/// A transfer that moves no byte for this long is given up.
const STALLED: Duration = Duration::from_secs(180);
/// The same when every byte was sent: the last answer of an FTPS upload may take 300 s (bambu.md 5.1).
const UNCONFIRMED: Duration = Duration::from_secs(310);
/// The same while the link is lost, whatever was sent: the printer may be off.
const STALLED_ALONE: Duration = Duration::from_secs(90);
/// How soon the link must be back after a transfer that outlived it; no printer that was switched off is up again by
/// then.
const LINK_BACK: Duration = Duration::from_secs(10);
/// How long an aborted transfer may take to end.
const ABORTING: Duration = Duration::from_secs(30);
/// Files of which it is remembered that the printer holds them, where files may stay. One that is forgotten is sent anew
/// for its next print.
pub(super) const SENT: usize = 2000;
/// Progress of a transfer is told this often.
const TELL: Duration = Duration::from_millis(250);

/// A printer that was away may have been switched off, and whoever did that waits for no print
/// (docs/decisions/008-a-lost-connection-ends-a-start.md).
pub fn link_lost() -> End {
    failed(
        "The connection to the printer was lost before the print was started, and it does not start by itself. Start it \
         again when the printer is back.",
    )
}

impl Inner {
    /// Returns when the connection of this number is lost, also when another one was made meanwhile.
    async fn link_gone(&self, link: u64) {
        let mut watch = self.printer.watch();
        if watch.wait_for(|state| !state.link.holds(link)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The connection over which a start goes after a transfer that saw the printer on all the time: the one of before,
    /// or one that was made meanwhile.
    async fn link_after_transfer(&self) -> Result<u64, End> {
        self.printer.reconnect();
        let mut watch = self.printer.watch();
        let up = watch.wait_for(|state| state.link.holds(state.link.made));
        match tokio::time::timeout(LINK_BACK, up).await {
            Ok(Ok(state)) => Ok(state.link.made),
            _ => Err(link_lost()),
        }
    }

    /// The file that is sent, made ready and on the printer; returns its MD5, and the connection over which the start
    /// may go.
    pub async fn bring_file(
        &self,
        plan: &Plan,
        intent: &Intent,
        serial: u64,
        abort: &CancellationToken,
    ) -> Result<(String, u64), End> {
        let work = async {
            self.same_file(plan).await?;
            let local = self.sendable(plan).await.map_err(|error| failed(error.to_string()))?;
            let md5 = self.library.md5(local.clone()).await.map_err(|error| failed(error.to_string()))?;
            let size = tokio::fs::metadata(&local).await.map_err(|error| failed(error.to_string()))?.len();
            Ok((local, md5, size))
        };
        let (local, md5, size) = tokio::select! {
            () = abort.cancelled() => return Err(cancelled()),
            () = self.link_gone(plan.link) => return Err(link_lost()),
            ready = work => ready?,
        };
        if plan.transfer && !self.holds(&plan.remote_path, size, &md5).await {
            self.note_for_cleanup(&plan.remote_path, intent.token)
                .await
                .map_err(|error| failed(error.to_string()))?;
            self.transfer(local, plan, serial, size, &md5, abort).await?;
            if self.printer.files().unbroken() && !self.printer.state().link.holds(plan.link) {
                return Ok((md5, self.link_after_transfer().await?));
            }
        }
        Ok((md5, plan.link))
    }

    /// The file that the plan was made for: from its announcement on it is in use and cannot be replaced.
    pub(super) async fn same_file(&self, plan: &Plan) -> Result<(), End> {
        let now = self.library.job_file(&plan.file.path).await.map_err(|error| failed(error.to_string()))?;
        if now.uuid == plan.file.uuid {
            return Ok(());
        }
        Err(failed("The file was replaced while its print was being prepared. Start it again."))
    }

    async fn sendable(&self, plan: &Plan) -> Result<PathBuf, LibraryError> {
        match plan.way {
            Way::Packaged => self.library.packaged(&plan.file).await,
            Way::Unpacked => self.library.plate_gcode(&plan.file, plan.plate).await,
            Way::AsItIs | Way::OnPrinter => Ok(plan.file.local.clone().unwrap_or_default()),
        }
    }

    async fn transfer(
        &self,
        local: PathBuf,
        plan: &Plan,
        serial: u64,
        total: u64,
        md5: &str,
        abort: &CancellationToken,
    ) -> Result<(), End> {
        self.tell_transfer(serial, 0, total);
        // What was there under this name is gone from now on.
        drop(self.store.delete(&self.spaces.sent, &plan.remote_path));
        let (sent, moved) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        let progress = {
            let (sent, moved) = (sent.clone(), moved.clone());
            Arc::new(move |bytes: u64| {
                // Before the first byte a driver tells again and again that it makes the file ready.
                if sent.swap(bytes, Ordering::Relaxed) != bytes || bytes == 0 {
                    moved.notify_one();
                }
            })
        };
        let stop = self.cancel.child_token();
        let _stop_on_drop = stop.clone().drop_guard();
        let files = self.printer.files().clone();
        let upload = files.upload(local, plan.remote_path.clone(), md5.to_owned(), progress, stop.clone());
        tokio::pin!(upload);
        let gone = self.link_gone(plan.link);
        tokio::pin!(gone);
        let mut last_moved = Instant::now();
        let mut told = Instant::now();
        let (mut done, mut alone) = (false, false);
        let result = loop {
            let all_sent = sent.load(Ordering::Relaxed) >= total;
            let limit = if all_sent { UNCONFIRMED } else { STALLED };
            tokio::select! {
                ended = &mut upload => {
                    done = true;
                    break ended.map_err(|error| match error {
                        FileError::Cancelled => cancelled(),
                        _ if alone => link_lost(),
                        error => failed(format!("The file could not be sent to the printer, and nothing was started: {error}")),
                    });
                }
                () = abort.cancelled() => break Err(cancelled()),
                () = &mut gone, if !alone => {
                    if !files.unbroken() {
                        break Err(link_lost());
                    }
                    alone = true;
                }
                () = tokio::time::sleep_until(last_moved + STALLED_ALONE), if alone => break Err(link_lost()),
                () = tokio::time::sleep_until(last_moved + limit) => break Err(silent(all_sent)),
                () = moved.notified() => {
                    last_moved = Instant::now();
                    if told.elapsed() >= TELL {
                        told = last_moved;
                        self.tell_transfer(serial, sent.load(Ordering::Relaxed), total);
                    }
                }
            }
        };
        match result {
            Ok(()) => {
                self.tell_transfer(serial, total, total);
                // A driver may add comments that its printer reads: what it holds is what went through.
                let held = sent.load(Ordering::Relaxed).max(total);
                self.note_sent(&plan.remote_path, total, held, md5);
                Ok(())
            }
            Err(end) => {
                stop.cancel();
                // The part of a file is deleted only when nobody writes it any more.
                if !done && tokio::time::timeout(ABORTING, &mut upload).await.is_err() {
                    tracing::warn!("The transfer did not end when it was told to.");
                }
                self.delete_part(&plan.remote_path).await;
                Err(end)
            }
        }
    }

    /// What the printer holds from now on, so that it is not sent again.
    fn note_sent(&self, remote_path: &str, size: u64, held: u64, md5: &str) {
        let sent = json!({"size": size, "held": held, "md5": md5, "at": unix_now()});
        drop(self.store.put(&self.spaces.sent, remote_path, sent));
        self.forget_oldest_sent();
        self.keep_whole(remote_path);
    }

    fn forget_oldest_sent(&self) {
        let mut sent = self.store.list(&self.spaces.sent).unwrap_or_default();
        let at = |value: &Value| value.get("at").and_then(Value::as_f64).unwrap_or_default();
        sent.sort_by(|(_, one), (_, other)| at(other).total_cmp(&at(one)));
        for (remote_path, _) in sent.iter().skip(SENT) {
            drop(self.store.delete(&self.spaces.sent, remote_path));
        }
    }

    fn tell_transfer(&self, serial: u64, sent: u64, total: u64) {
        self.printer.writer().job(|job| {
            if job.serial == serial && matches!(job.phase, JobPhase::Transferring | JobPhase::Starting) {
                job.phase = JobPhase::Transferring;
                job.transfer = Some(Transfer { sent: sent.min(total), total });
            }
        });
    }
}

/// Nothing went through for as long as is waited; [`STALLED`] and [`UNCONFIRMED`] in words.
fn silent(all_sent: bool) -> End {
    failed(if all_sent {
        "The printer did not confirm the file: no answer came for five minutes."
    } else {
        "The transfer to the printer stalled: no byte went through for three minutes."
    })
}
