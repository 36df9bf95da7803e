//! What was printed, on disk; and the totals.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{HistoryEnd, HistoryEntry, HistoryQuery, Inner, JobsEvent, Totals};
use crate::model::{Job, JobPhase, Ratio, UnixSeconds, is_passed};
use crate::store::StoreError;

/// Entries kept; the oldest go first.
const MAX_ENTRIES: usize = 10_000;
const TOTALS: &str = "totals";
const NEXT: &str = "next_history";

/// An entry with what identifies its run at the printer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    pub entry: HistoryEntry,
    pub token: Option<String>,
    pub title: Option<String>,
    /// Where the file of a start of ours lies on the printer.
    pub remote_path: Option<String>,
    /// Last time the job was seen running.
    pub seen_at: UnixSeconds,
    /// A cancel was sent, and the printer has not shown its end yet.
    pub cancelling: bool,
    /// How far it was when it was seen running last.
    pub progress: Ratio,
}

impl Row {
    /// A job of the same name that is less far than this run was is another one, where runs have no numbers.
    pub fn is_passed(&self, job: &Job) -> bool {
        job.token.is_none() && is_passed(self.progress, job.progress)
    }

    /// Whether a job at the printer is this run.
    pub fn is_run(&self, token: Option<&str>, names: &[Option<&str>]) -> bool {
        match (self.token.as_deref(), token) {
            (Some(ours), Some(theirs)) => ours == theirs,
            // A printer without ids: the name decides.
            _ => {
                let base = |name: &str| crate::model::text::base_name(name).to_owned();
                let known: Vec<String> = self
                    .title
                    .iter()
                    .map(String::as_str)
                    .chain([self.entry.file.as_str()])
                    .map(base)
                    .collect();
                names.iter().flatten().any(|name| !name.is_empty() && known.contains(&base(name)))
            }
        }
    }
}

/// What must be known of every entry without reading it. The rows stay in the store, as JSON text: taken apart, with the
/// metadata of their files, they take ten times the memory.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Brief {
    entry: Times,
    token: Option<Box<str>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Times {
    started_at: UnixSeconds,
    /// `None` while it runs.
    ended_at: Option<UnixSeconds>,
}

impl From<&Row> for Brief {
    fn from(row: &Row) -> Self {
        let HistoryEntry { started_at, ended_at, .. } = row.entry;
        Self { entry: Times { started_at, ended_at }, token: row.token.as_deref().map(Into::into) }
    }
}

#[derive(Debug, Default)]
pub struct History {
    entries: BTreeMap<u64, Brief>,
    next: u64,
    totals: Totals,
    /// The entry that is in progress.
    current: Option<(u64, Row)>,
}

fn key(number: u64) -> String {
    format!("{number:06X}")
}

fn number(id: &str) -> Option<u64> {
    u64::from_str_radix(id, 16).ok()
}

impl Inner {
    pub fn load_history(&self) -> Result<History, StoreError> {
        let entries: BTreeMap<u64, Brief> = self
            .store
            .texts(&self.spaces.history)?
            .into_iter()
            .filter_map(|(id, row)| Some((number(&id)?, serde_json::from_str(&row).ok()?)))
            .collect();
        let stored = |key| self.store.get(&self.spaces.jobs, key);
        let after_last = entries.keys().next_back().map_or(1, |last| last + 1);
        let next = stored(NEXT)?.and_then(|next| next.as_u64()).unwrap_or(1).max(after_last);
        let totals =
            stored(TOTALS)?.and_then(|totals| serde_json::from_value(totals).ok()).unwrap_or_default();
        let running = entries.iter().rev().find(|(_, brief)| brief.entry.ended_at.is_none());
        let current = running.and_then(|(number, _)| Some((*number, self.stored_row(*number)?)));
        Ok(History { entries, next, totals, current })
    }

    fn stored_row(&self, number: u64) -> Option<Row> {
        let text = self.store.text(&self.spaces.history, &key(number)).ok()??;
        serde_json::from_str(&text).ok()
    }

    /// In memory at once; on disk within a second, or with the next [`Self::keep_history`].
    fn store_row(&self, row: &Row) {
        if let Ok(text) = serde_json::to_string(row) {
            drop(self.store.put_text(&self.spaces.history, &row.entry.id, text.into()));
        }
    }

    async fn keep_history(&self) {
        if let Err(error) = self.store.flush().await {
            tracing::error!(%error, "The history is kept in memory only.");
        }
    }

    /// Changes the entry in progress; the row as it is then. `None` where no entry is, or `change` finds nothing to do.
    fn change_current(&self, change: impl FnOnce(&mut Row) -> Option<()>) -> Option<Row> {
        let mut history = self.history();
        let (number, row) = history.current.as_mut()?;
        change(row)?;
        let (number, row) = (*number, row.clone());
        history.entries.insert(number, Brief::from(&row));
        self.store_row(&row);
        Some(row)
    }

    /// The entry in progress.
    pub fn current_row(&self) -> Option<Row> {
        self.history().current.as_ref().map(|(_, row)| row.clone())
    }

    /// The run of this token is over, as far as the history knows.
    pub fn has_ended(&self, token: &str) -> bool {
        let history = self.history();
        history.entries.values().any(|it| it.token.as_deref() == Some(token) && it.entry.ended_at.is_some())
    }

    /// The newest run of this token, if it is over.
    pub fn last_run(&self, token: &str) -> Option<Row> {
        let number = {
            let history = self.history();
            let (number, last) =
                history.entries.iter().rev().find(|(_, brief)| brief.token.as_deref() == Some(token))?;
            last.entry.ended_at?;
            *number
        };
        self.stored_row(number)
    }

    /// Adds an entry in progress; on disk when it returns, if the disk can be written.
    pub async fn open_entry(&self, mut row: Row) {
        {
            let mut history = self.history();
            let number = history.next;
            history.next += 1;
            row.entry.id = key(number);
            history.entries.insert(number, Brief::from(&row));
            history.current = Some((number, row.clone()));
            while history.entries.len() > MAX_ENTRIES
                && let Some((oldest, _)) = history.entries.pop_first()
            {
                drop(self.store.delete(&self.spaces.history, &key(oldest)));
            }
            drop(self.store.put(&self.spaces.jobs, NEXT, json!(history.next)));
            self.store_row(&row);
        }
        self.keep_history().await;
        let entry = &row.entry;
        tracing::info!(printer = self.printer.name(), job = %entry.id, file = entry.file, "A print began.");
        self.tell(JobsEvent::HistoryAdded(Box::new(row.entry)));
    }

    /// Brings the figures of the entry in progress up to date, so that a restart goes on from there.
    pub fn refresh_entry(&self, job: &Job, now: UnixSeconds) {
        self.change_current(|row| {
            // Moved with the clock where that was set.
            row.entry.started_at = job.started_at.unwrap_or(row.entry.started_at);
            row.progress = job.progress;
            row.entry.total_s = job.total_seconds(now);
            row.entry.print_s = job.print_seconds(now).min(row.entry.total_s);
            row.entry.filament_used_mm = used(job, &row.entry);
            row.token = row.token.take().or_else(|| job.token.clone());
            row.seen_at = now;
            Some(())
        });
    }

    /// A cancel of the entry in progress was sent, or came to nothing.
    pub async fn keep_cancelling(&self, cancelling: bool) {
        let changed = self.change_current(|row| {
            (std::mem::replace(&mut row.cancelling, cancelling) != cancelling).then_some(())
        });
        if changed.is_some() {
            self.keep_history().await;
        }
    }

    /// The file of the entry in progress has become known.
    pub fn describe_entry(&self, file: &str, metadata: serde_json::Value) -> Option<HistoryEntry> {
        let row = self.change_current(|row| {
            // Other names of the run stay known: by them it is found again after a restart.
            let told = std::mem::replace(&mut row.entry.file, file.to_owned());
            row.title = row.title.take().filter(|title| !title.is_empty()).or(Some(told));
            row.entry.metadata = metadata;
            Some(())
        });
        row.map(|row| row.entry)
    }

    /// Closes the entry in progress with the figures of the job, or as it stands when nobody saw the end.
    pub async fn close_entry(
        &self,
        end: HistoryEnd,
        job: Option<&Job>,
        reason: Option<String>,
        now: UnixSeconds,
    ) {
        let row = {
            let mut history = self.history();
            let Some((number, mut row)) = history.current.take() else { return };
            let entry = &mut row.entry;
            entry.end = Some(end);
            entry.reason = reason;
            match job {
                Some(job) => {
                    let ended = job.ended_at.unwrap_or(now);
                    entry.ended_at = Some(ended);
                    let began = job.started_at.unwrap_or(entry.started_at);
                    entry.started_at = began;
                    // A printer counts by a clock of its own.
                    entry.total_s = (ended - began).max(job.print_seconds(ended));
                    entry.print_s = job.print_seconds(ended).max(entry.print_s).min(entry.total_s);
                    entry.filament_used_mm = used(job, entry);
                }
                None => entry.ended_at = Some(row.seen_at.max(entry.started_at)),
            }
            history.entries.insert(number, Brief::from(&row));
            self.store_row(&row);
            history.totals.add(&row.entry);
            if let Ok(totals) = serde_json::to_value(history.totals) {
                drop(self.store.put(&self.spaces.jobs, TOTALS, totals));
            }
            row
        };
        self.keep_history().await;
        let entry = &row.entry;
        tracing::info!(
            printer = self.printer.name(),
            job = %entry.id,
            file = entry.file,
            ?end,
            seconds = entry.total_s.round(),
            reason = entry.reason,
            "A print is over."
        );
        self.tell(JobsEvent::HistoryFinished(Box::new(row.entry)));
    }

    pub fn query_history(&self, query: &HistoryQuery) -> Vec<HistoryEntry> {
        let within = |brief: &Brief| {
            let Times { started_at, ended_at } = brief.entry;
            query.since.is_none_or(|since| started_at > since)
                && query.before.is_none_or(|before| ended_at.is_some_and(|ended| ended < before))
        };
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        let wanted: Vec<u64> = {
            let history = self.history();
            let numbers =
                history.entries.iter().filter(|(_, brief)| within(brief)).map(|(number, _)| *number);
            if query.oldest_first {
                numbers.skip(query.start).take(limit).collect()
            } else {
                numbers.rev().skip(query.start).take(limit).collect()
            }
        };
        wanted.into_iter().filter_map(|number| Some(self.stored_row(number)?.entry)).collect()
    }

    pub fn find_history(&self, id: &str) -> Option<HistoryEntry> {
        let number = number(id)?;
        let known = self.history().entries.contains_key(&number);
        known.then(|| self.stored_row(number))?.map(|row| row.entry)
    }

    /// The entry in progress stays.
    pub fn delete_entries(&self, id: Option<&str>) -> Vec<String> {
        let mut history = self.history();
        let current = history.current.as_ref().map(|(number, _)| *number);
        let wanted: Vec<u64> = match id {
            Some(id) => number(id).into_iter().collect(),
            None => history.entries.keys().copied().collect(),
        };
        let mut gone = Vec::new();
        for number in wanted.into_iter().filter(|number| Some(*number) != current) {
            if history.entries.remove(&number).is_some() {
                drop(self.store.delete(&self.spaces.history, &key(number)));
                gone.push(key(number));
            }
        }
        gone
    }

    pub fn totals(&self) -> Totals {
        self.history().totals
    }

    pub fn reset_totals(&self) -> Totals {
        drop(self.store.delete(&self.spaces.jobs, TOTALS));
        std::mem::take(&mut self.history().totals)
    }
}

impl Totals {
    fn add(&mut self, entry: &HistoryEntry) {
        self.jobs += 1;
        self.total_s += entry.total_s;
        self.print_s += entry.print_s;
        self.filament_used_mm += entry.filament_used_mm;
        self.longest_job_s = self.longest_job_s.max(entry.total_s);
        self.longest_print_s = self.longest_print_s.max(entry.print_s);
    }
}

/// The printer's own figure, else that of the slicer as far as the job came.
fn used(job: &Job, entry: &HistoryEntry) -> f64 {
    let sliced = || {
        let total =
            entry.metadata.get("filament_total_mm").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
        total * if job.phase == JobPhase::Complete { 1.0 } else { job.progress }
    };
    job.filament_used_mm.unwrap_or_else(sliced)
}
