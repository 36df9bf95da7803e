//! Follows the printer's job events into the history, and finds the truth again after a restart.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};

use super::history::Row;
use super::intent::{Intent, Stage};
use super::{HistoryEnd, HistoryEntry, Inner};
use crate::library::JobTraces;
use crate::model::{
    DeviceStage, Event, Job, JobOrigin, JobPhase, LinkPhase, PrinterState, Speaker, UnixSeconds,
};
use crate::printer::ExpectedRun;
use crate::printer::clock::unix_now;

/// The figures of the entry in progress are kept this often.
const REFRESH: Duration = Duration::from_secs(30);
/// A record that takes longer is left out: the events must not wait for a large file.
const RECORD_DEADLINE: Duration = Duration::from_secs(10);

const RESTARTED_IN_TRANSFER: &str = "gateway restarted during the transfer";

impl Inner {
    /// What an earlier gateway left under way. Runs before anything else may start.
    pub async fn restore(self: &Arc<Self>) {
        let Some(intent) = self.intent() else { return };
        match intent.stage {
            Stage::Transferring => self.fail_transfer(&intent).await,
            Stage::Starting => self.restore_start(intent).await,
        }
    }

    /// The printer may have the start: it is looked for, and never sent again.
    async fn restore_start(self: &Arc<Self>, intent: Intent) {
        let token = intent.token.to_string();
        let state = self.printer.state();
        // The printer was quicker than we: its report shows a job, or the end of this one, already.
        if self.has_ended(&token) {
            self.forget_intent(intent.token).await;
            return;
        }
        let told = state.device.job.token.as_deref() == Some(token.as_str());
        let announced = if told && state.device.job.stage.ended() {
            None
        } else {
            self.announce(&intent, JobPhase::Starting)
        };
        let Some((serial, abort)) = announced else {
            self.printer.writer().job(|job| {
                if told {
                    job.origin = JobOrigin::Gateway;
                    job.file = Some(intent.file.clone());
                    job.started_at = Some(intent.started_at);
                }
            });
            self.forget_intent(intent.token).await;
            return;
        };
        let inner = self.clone();
        self.tasks.spawn(async move { inner.watch_restored(intent, serial, abort).await });
    }

    /// Nothing was started and nothing is sent again by itself. A part of the file at the printer was noted before its
    /// first byte went there ([`Self::note_for_cleanup`]); the start of a file that lies on the printer sends none.
    async fn fail_transfer(&self, intent: &Intent) {
        let token = intent.token.to_string();
        self.printer.writer().job(|job| {
            if !job.phase.active() {
                *job = Job {
                    serial: job.serial + 1,
                    phase: JobPhase::Failed,
                    origin: JobOrigin::Gateway,
                    file: Some(intent.file.clone()),
                    title: Some(intent.title.clone()),
                    plate: intent.plate,
                    started_at: Some(intent.started_at),
                    ended_at: Some(unix_now()),
                    reason: Some(RESTARTED_IN_TRANSFER.to_owned()),
                    ..Job::default()
                };
            }
        });
        let text = format!("Print failed: {} ({RESTARTED_IN_TRANSFER}; start it again)", intent.file);
        self.printer.writer().console(Speaker::Error, text);
        if self.current_row().is_some_and(|row| row.token.as_deref() == Some(token.as_str())) {
            let reason = Some(RESTARTED_IN_TRANSFER.to_owned());
            self.close_entry(HistoryEnd::Failed, None, reason, unix_now()).await;
        }
        self.forget_intent(intent.token).await;
    }

    /// Runs as long as the gateway.
    pub async fn keep_record(self: Arc<Self>, mut events: broadcast::Receiver<Event>) {
        self.restore().await;
        self.restored.send_replace(true);
        let mut watch = self.printer.watch();
        // The printer may have reported before we listened.
        watch.mark_changed();
        // An entry of an earlier gateway is settled by the first report that can be believed.
        let mut unsettled = self.current_row().is_some();
        let mut refresh = tokio::time::interval(REFRESH);
        let mut traces = self.printer.watch();
        traces.mark_changed();
        let mut sought = None;
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => {
                    self.refresh_current();
                    return;
                }
                event = events.recv() => match event {
                    Ok(Event::JobStarted(job)) => {
                        self.job_started(&job, &mut unsettled).await;
                        traces.mark_changed();
                    }
                    Ok(Event::JobEnded(job)) => self.job_ended(&job).await,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => self.catch_up(&mut unsettled).await,
                    Err(RecvError::Closed) => return,
                },
                changed = watch.changed(), if unsettled => {
                    if changed.is_err() { return; }
                    let state = watch.borrow_and_update().clone();
                    self.settle_old(&state, &mut unsettled).await;
                }
                changed = traces.changed() => {
                    if changed.is_err() { return; }
                    let state = traces.borrow_and_update().clone();
                    self.recognise(&state, &mut sought).await;
                    self.note_cancel(&state.job).await;
                    self.recall_end(&state);
                }
                _ = refresh.tick() => self.refresh_current(),
            }
        }
    }

    /// Finds the file of a job that was started elsewhere, whenever the printer tells more of it.
    async fn recognise(&self, state: &PrinterState, sought: &mut Option<(u64, JobTraces)>) {
        let job = &state.job;
        let in_history = self.current_row().is_some();
        if job.file.is_some() || !job.phase.active() || job.origin == JobOrigin::Gateway || !in_history {
            return;
        }
        let device = &state.device.job;
        let names = [job.title.clone(), device.file.clone()];
        let traces = JobTraces {
            names: names.into_iter().flatten().collect(),
            plate: job.plate,
            layers: device.total_layers,
        };
        let now = (job.serial, traces);
        if sought.as_ref() == Some(&now) {
            return;
        }
        let found = self.library.entry_of_job(&now.1).await;
        let serial = job.serial;
        *sought = Some(now);
        let Some(file) = found else { return };
        let mut plate = None;
        self.printer.writer().job(|job| {
            if job.serial == serial && job.file.is_none() {
                job.file = Some(file.clone());
                plate = job.plate;
            }
        });
        let metadata = self.metadata_of(&file).await;
        if let Some(entry) = self.describe_entry(&file, metadata) {
            self.library.mark_started(&file, plate, entry.started_at, &entry.id);
        }
    }

    /// On disk, so that a gateway that is killed meanwhile knows why the print is gone: many printers call it failed.
    async fn note_cancel(&self, job: &Job) {
        let cancelling = job.phase == JobPhase::Cancelling;
        if cancelling || job.phase.active() {
            self.keep_cancelling(cancelling).await;
        }
    }

    /// The printer still shows a run whose end the history has: it knows better. A Bambu printer calls a cancelled print
    /// failed, and most do not tell when it ended.
    fn recall_end(&self, state: &PrinterState) {
        let job = &state.job;
        if !job.found_ended || !job.phase.ended() || job.ended_at.is_some() || self.current_row().is_some() {
            return;
        }
        let Some(row) = state.device.job.token.as_deref().and_then(|token| self.last_run(token)) else {
            return;
        };
        self.printer.writer().job(|job| {
            if !job.found_ended {
                return;
            }
            restore_figures(job, &row);
            job.ended_at = row.entry.ended_at;
            if row.entry.end == Some(HistoryEnd::Cancelled) {
                job.phase = JobPhase::Cancelled;
            }
            job.reason = job.reason.take().or_else(|| row.entry.reason.clone());
        });
    }

    fn refresh_current(&self) {
        let state = self.printer.state();
        if state.job.phase.active() && state.online() {
            self.refresh_entry(&state.job, unix_now());
        }
    }

    async fn job_started(self: &Arc<Self>, job: &Job, unsettled: &mut bool) {
        self.cancel_late(job);
        let now = unix_now();
        if let Some(row) = self.current_row() {
            let state = self.printer.state();
            let names = [job.title.as_deref(), job.file.as_deref(), state.device.job.file.as_deref()];
            let goes_on = row.is_run(job.token.as_deref(), &names) && !row.is_passed(job);
            if goes_on && *unsettled {
                self.go_on(&row, job.serial);
                *unsettled = false;
                return;
            }
            let end = if *unsettled { HistoryEnd::Interrupted } else { HistoryEnd::Failed };
            let reason = "Another job began before this one was seen to end.".to_owned();
            self.close_entry(end, None, Some(reason), now).await;
            *unsettled = false;
        }
        let row = self.new_row(job, now).await;
        self.open_entry(row).await;
        if let (Some(file), Some(row)) = (&job.file, self.current_row()) {
            self.library.mark_started(file, job.plate, row.entry.started_at, &row.entry.id);
        }
    }

    async fn new_row(&self, job: &Job, now: f64) -> Row {
        let state = self.printer.state();
        let reported =
            state.device.job.file.clone().map(|file| crate::model::text::base_name(&file).to_owned());
        let title = job.title.clone().filter(|title| !title.is_empty());
        let named = job.file.clone().or(title).or(reported);
        let metadata = match &job.file {
            Some(file) => self.metadata_of(file).await,
            None => json!({}),
        };
        Row {
            entry: HistoryEntry {
                file: named.unwrap_or_else(|| "unknown".to_owned()),
                started_at: job.started_at.unwrap_or(now),
                print_s: job.printed_s,
                plate: job.plate,
                metadata,
                auxiliary: json!([]),
                ..HistoryEntry::default()
            },
            remote_path: self.remote_path_of(job.token.as_deref()),
            token: job.token.clone(),
            title: job.title.clone(),
            seen_at: now,
            progress: job.progress,
            cancelling: false,
        }
    }

    /// The start under way still knows it.
    fn remote_path_of(&self, token: Option<&str>) -> Option<String> {
        let intent = self.intent()?;
        (token == Some(intent.token.to_string().as_str())).then_some(intent.remote_path)
    }

    /// Tells the driver what an earlier gateway started, before the printer's first report.
    pub fn expect_run(&self) {
        let row = self.current_row();
        let run = match self.intent() {
            Some(Intent { stage: Stage::Starting, token, remote_path, started_at, .. }) => {
                Some(ExpectedRun { file: remote_path, token, ran: false, started_at })
            }
            Some(_) => None,
            None => row.and_then(|row| {
                let token = row.token?.parse().ok()?;
                let started_at = row.entry.started_at;
                Some(ExpectedRun { file: row.remote_path?, token, ran: true, started_at })
            }),
        };
        if let Some(run) = run {
            self.printer.writer().expect_run(run);
        }
    }

    /// The file's metadata, with the stored pictures below "thumbnails".
    async fn metadata_of(&self, file: &str) -> Value {
        let Ok(Ok(record)) = tokio::time::timeout(RECORD_DEADLINE, self.library.record(file)).await else {
            return json!({});
        };
        let mut value = serde_json::to_value(&record.metadata).unwrap_or_else(|_| json!({}));
        if let (Some(fields), Ok(thumbnails)) =
            (value.as_object_mut(), serde_json::to_value(&record.thumbnails))
        {
            fields.insert("thumbnails".to_owned(), thumbnails);
            fields.insert("uuid".to_owned(), json!(record.uuid));
            fields.insert("modified".to_owned(), json!(record.entry.modified));
            fields.insert("size".to_owned(), json!(record.entry.size));
        }
        value
    }

    async fn job_ended(&self, job: &Job) {
        let end = match job.phase {
            // Another job took its place: nobody saw how it ended.
            JobPhase::Failed if job.ended_at.is_none() => HistoryEnd::Interrupted,
            JobPhase::Complete => HistoryEnd::Completed,
            JobPhase::Cancelled => HistoryEnd::Cancelled,
            _ => HistoryEnd::Failed,
        };
        self.close_entry(end, Some(job), job.reason.clone(), unix_now()).await;
        self.cleanup_due.notify_one();
    }

    /// Events were missed: the state tells what counts.
    async fn catch_up(self: &Arc<Self>, unsettled: &mut bool) {
        let job = self.printer.state().job.clone();
        let current = self.current_row();
        let same = |row: &Row| row.is_run(job.token.as_deref(), &[job.title.as_deref(), job.file.as_deref()]);
        match (current, job.phase.active()) {
            (None, true) => self.job_started(&job, unsettled).await,
            (Some(row), true) if !same(&row) => self.job_started(&job, unsettled).await,
            (Some(row), false) if job.phase.ended() && same(&row) => self.job_ended(&job).await,
            (Some(_), false) if !*unsettled => {
                let reason = Some("The gateway could not see how it ended.".to_owned());
                self.close_entry(HistoryEnd::Interrupted, None, reason, unix_now()).await;
            }
            _ => {}
        }
    }

    /// The job of the entry still runs: what a restart forgot is put back.
    fn go_on(&self, row: &Row, serial: u64) {
        self.printer.writer().job(|job| {
            if job.serial != serial {
                return;
            }
            restore_figures(job, row);
        });
    }

    async fn settle_old(&self, state: &PrinterState, unsettled: &mut bool) {
        let believed = matches!(state.link.phase, LinkPhase::Online | LinkPhase::Stale | LinkPhase::Syncing)
            && state.device.job.stage != DeviceStage::Unknown;
        let Some(row) = self.current_row() else {
            *unsettled = false;
            return;
        };
        // A job that runs is told by its event; a start under way is watched by its own task.
        if !believed || state.job.phase.active() {
            return;
        }
        *unsettled = false;
        let device = &state.device.job;
        let names = [device.title.as_deref(), device.file.as_deref()];
        if state.job.phase.ended() && row.is_run(device.token.as_deref(), &names) {
            self.printer.writer().job(|job| {
                if job.found_ended {
                    restore_figures(job, &row);
                    if row.cancelling && job.phase == JobPhase::Failed {
                        job.phase = JobPhase::Cancelled;
                    }
                }
            });
            let job = self.printer.state().job.clone();
            let ended = unseen_end(row.entry.started_at, row.seen_at, device.total_s, unix_now());
            // It was seen to print, and nobody saw it pause.
            let printed_on = job.phase == JobPhase::Complete && device.total_s.is_some();
            let unseen = if printed_on { (ended - row.seen_at).max(0.0) } else { 0.0 };
            let printed_s = job.printed_s + unseen;
            self.job_ended(&Job { ended_at: Some(ended), printed_s, ..job }).await;
        } else {
            let reason = "The gateway was not running when it ended.".to_owned();
            let end = if row.cancelling { HistoryEnd::Cancelled } else { HistoryEnd::Interrupted };
            self.close_entry(end, None, Some(reason), unix_now()).await;
        }
        self.cleanup_due.notify_one();
    }
}

/// When the run ended that nobody saw end: as late as the printer says that it lasted, else now.
fn unseen_end(
    started_at: UnixSeconds,
    seen_at: UnixSeconds,
    lasted: Option<f64>,
    now: UnixSeconds,
) -> UnixSeconds {
    let told = lasted.filter(|lasted| *lasted > 0.0).map(|lasted| started_at + lasted);
    told.map_or(now, |ended| ended.max(seen_at).min(now))
}

fn restore_figures(job: &mut Job, row: &Row) {
    let known = !row.entry.metadata.as_object().is_none_or(serde_json::Map::is_empty);
    if job.file.is_none() && known {
        job.file = Some(row.entry.file.clone());
        job.origin = JobOrigin::Gateway;
    }
    job.plate = job.plate.or(row.entry.plate);
    // The clock may have been set back while no gateway ran.
    job.started_at = Some(row.entry.started_at.min(unix_now() - row.entry.total_s));
    job.printed_s = job.printed_s.max(row.entry.print_s);
}

#[cfg(test)]
mod tests {
    use super::unseen_end;

    #[test]
    fn an_unseen_end_is_where_the_printer_says_it_was() {
        let (started, seen, now) = (1000.0, 1600.0, 90_000.0);
        let ended = |lasted| unseen_end(started, seen, lasted, now);
        assert_eq!(ended(Some(3600.0)), 4600.0);
        assert_eq!((ended(None), ended(Some(0.0))), (now, now), "it does not say");
        assert_eq!(ended(Some(60.0)), seen, "it was seen to run longer");
        assert_eq!(ended(Some(1e9)), now);
    }
}
