//! What was printed, on disk; and the totals.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{HistoryEnd, HistoryEntry, HistoryQuery, Inner, JobsEvent, Totals};
use crate::model::{Job, JobPhase, Ratio, UnixSeconds};

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

/// The printers' own estimate of the progress goes back by less than this.
const GOES_BACK: f64 = 0.05;

impl Row {
    /// A job of the same name that is less far than this run was is another one, where runs have no numbers.
    pub fn is_passed(&self, job: &Job) -> bool {
        job.token.is_none() && job.progress + GOES_BACK < self.progress
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

#[derive(Debug, Default)]
pub struct History {
    rows: BTreeMap<u64, Row>,
    next: u64,
    totals: Totals,
    /// The entry that is in progress.
    pub current: Option<u64>,
}

fn key(number: u64) -> String {
    format!("{number:06X}")
}

fn number(id: &str) -> Option<u64> {
    u64::from_str_radix(id, 16).ok()
}

impl Inner {
    pub fn load_history(&self) -> Result<History, crate::store::StoreError> {
        let rows: BTreeMap<u64, Row> = self
            .store
            .list(&self.spaces.history)?
            .into_iter()
            .filter_map(|(id, row)| Some((number(&id)?, serde_json::from_value(row).ok()?)))
            .collect();
        let stored = |key| self.store.get(&self.spaces.jobs, key);
        let after_last = rows.keys().next_back().map_or(1, |last| last + 1);
        let next = stored(NEXT)?.and_then(|next| next.as_u64()).unwrap_or(1).max(after_last);
        let totals =
            stored(TOTALS)?.and_then(|totals| serde_json::from_value(totals).ok()).unwrap_or_default();
        let current = rows.iter().rev().find(|(_, row)| row.entry.end.is_none()).map(|(number, _)| *number);
        Ok(History { rows, next, totals, current })
    }

    /// The entry in progress.
    pub fn current_row(&self) -> Option<Row> {
        let history = self.history();
        history.current.and_then(|number| history.rows.get(&number).cloned())
    }

    /// The run of this token is over, as far as the history knows.
    pub fn has_ended(&self, token: &str) -> bool {
        let history = self.history();
        history.rows.values().any(|row| row.token.as_deref() == Some(token) && row.entry.end.is_some())
    }

    /// Adds an entry in progress; on disk when it returns, if the disk can be written.
    pub async fn open_entry(&self, mut row: Row) {
        let (number, row, dropped) = {
            let mut history = self.history();
            let number = history.next;
            history.next += 1;
            row.entry.id = key(number);
            history.rows.insert(number, row.clone());
            history.current = Some(number);
            let over = history.rows.len().saturating_sub(MAX_ENTRIES);
            let dropped: Vec<u64> = history.rows.keys().take(over).copied().collect();
            for number in &dropped {
                history.rows.remove(number);
            }
            (number, row, dropped)
        };
        for number in dropped {
            drop(self.store.delete(&self.spaces.history, &key(number)));
        }
        drop(self.store.put(&self.spaces.jobs, NEXT, json!(number + 1)));
        self.keep_row(&row).await;
        self.tell(JobsEvent::HistoryAdded(Box::new(row.entry)));
    }

    async fn keep_row(&self, row: &Row) {
        let Ok(value) = serde_json::to_value(row) else { return };
        if let Err(error) = self.store.put_durably(&self.spaces.history, &row.entry.id, value).await {
            tracing::error!(%error, "The history is kept in memory only.");
        }
    }

    /// Brings the figures of the entry in progress up to date, so that a restart goes on from there.
    pub fn refresh_entry(&self, job: &Job, now: UnixSeconds) {
        let row = {
            let mut history = self.history();
            let Some(current) = history.current else { return };
            let Some(row) = history.rows.get_mut(&current) else { return };
            // Moved with the clock where that was set.
            row.entry.started_at = job.started_at.unwrap_or(row.entry.started_at);
            row.progress = job.progress;
            row.entry.total_s = job.total_seconds(now);
            row.entry.print_s = job.print_seconds(now).min(row.entry.total_s);
            row.entry.filament_used_mm = used(job, &row.entry);
            row.token = row.token.take().or_else(|| job.token.clone());
            row.seen_at = now;
            row.clone()
        };
        if let Ok(value) = serde_json::to_value(&row) {
            drop(self.store.put(&self.spaces.history, &row.entry.id, value));
        }
    }

    /// A cancel of the entry in progress was sent, or came to nothing.
    pub async fn keep_cancelling(&self, cancelling: bool) {
        let row = {
            let mut history = self.history();
            let Some(current) = history.current else { return };
            let Some(row) = history.rows.get_mut(&current).filter(|row| row.cancelling != cancelling) else {
                return;
            };
            row.cancelling = cancelling;
            row.clone()
        };
        self.keep_row(&row).await;
    }

    /// The newest run of this token, if it is over.
    pub fn last_run(&self, token: &str) -> Option<Row> {
        let history = self.history();
        let last = history.rows.values().rev().find(|row| row.token.as_deref() == Some(token))?;
        last.entry.end.is_some().then(|| last.clone())
    }

    /// The file of the entry in progress has become known.
    pub fn describe_entry(&self, file: &str, metadata: serde_json::Value) -> Option<HistoryEntry> {
        let row = {
            let mut history = self.history();
            let current = history.current?;
            let row = history.rows.get_mut(&current)?;
            // Other names of the run stay known: by them it is found again after a restart.
            let told = std::mem::replace(&mut row.entry.file, file.to_owned());
            row.title = row.title.take().filter(|title| !title.is_empty()).or(Some(told));
            row.entry.metadata = metadata;
            row.clone()
        };
        if let Ok(value) = serde_json::to_value(&row) {
            drop(self.store.put(&self.spaces.history, &row.entry.id, value));
        }
        Some(row.entry)
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
            let Some(current) = history.current.take() else { return };
            let Some(row) = history.rows.get_mut(&current) else { return };
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
            let row = row.clone();
            history.totals.add(&row.entry);
            if let Ok(totals) = serde_json::to_value(history.totals) {
                drop(self.store.put(&self.spaces.jobs, TOTALS, totals));
            }
            row
        };
        self.keep_row(&row).await;
        self.tell(JobsEvent::HistoryFinished(Box::new(row.entry)));
    }

    pub fn query_history(&self, query: &HistoryQuery) -> Vec<HistoryEntry> {
        let history = self.history();
        let within = |entry: &&HistoryEntry| {
            query.since.is_none_or(|since| entry.started_at > since)
                && query.before.is_none_or(|before| entry.ended_at.is_some_and(|ended| ended < before))
        };
        let entries = history.rows.values().map(|row| &row.entry).filter(within);
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        if query.oldest_first {
            entries.skip(query.start).take(limit).cloned().collect()
        } else {
            entries.rev().skip(query.start).take(limit).cloned().collect()
        }
    }

    pub fn find_history(&self, id: &str) -> Option<HistoryEntry> {
        let history = self.history();
        history.rows.get(&number(id)?).map(|row| row.entry.clone())
    }

    /// The entry in progress stays.
    pub fn delete_entries(&self, id: Option<&str>) -> Vec<String> {
        let gone: Vec<String> = {
            let mut history = self.history();
            let current = history.current;
            let wanted: Vec<u64> = match id {
                Some(id) => {
                    number(id).into_iter().filter(|number| history.rows.contains_key(number)).collect()
                }
                None => history.rows.keys().copied().collect(),
            };
            let wanted: Vec<u64> = wanted.into_iter().filter(|number| Some(*number) != current).collect();
            wanted.iter().filter_map(|number| history.rows.remove(number)).map(|row| row.entry.id).collect()
        };
        for id in &gone {
            drop(self.store.delete(&self.spaces.history, id));
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
