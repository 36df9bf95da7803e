//! What front ends ask of the job room, and what they are told.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::{CommandError, SlotId, StartOptions, UnixSeconds};

/// What a front end asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartRequest {
    /// Path of a printable file as the library lists it.
    pub file: String,
    /// Plate of an archive; else the one remembered at the upload, else the entry's own.
    pub plate: Option<u32>,
    /// Slot for each filament of the job, by its number from 0; `None` leaves the choice to the match.
    pub mapping: Option<Vec<Option<SlotId>>>,
    pub options: StartOptions,
    /// Guards that the user overrides, by code: "model", "nozzle", "bed", "filament".
    pub overrides: Vec<String>,
    /// The job of the queue that this start takes out of it.
    #[serde(skip)]
    pub queued: Option<String>,
}

/// One filament of the job and where it would come from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MappedFilament {
    /// Number of the filament in the project, from 0.
    pub index: usize,
    pub material: Option<String>,
    /// `RRGGBB`.
    pub color: Option<String>,
    pub weight_g: Option<f64>,
    pub slot: Option<SlotId>,
    /// What the slot holds, in words.
    pub slot_text: Option<String>,
    /// Why this is not a good match, if it is not.
    pub warning: Option<String>,
}

/// What a start would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StartPreview {
    pub file: String,
    pub plate: Option<u32>,
    pub filaments: Vec<MappedFilament>,
    /// Reasons against it: (code, text); a code in the overrides is not held against it.
    pub objections: Vec<(String, String)>,
    /// The file has to go to the printer first.
    pub transfer: bool,
}

#[derive(Debug, Clone, PartialEq, Error)]
pub enum StartError {
    #[error("{0}")]
    NotFound(String),
    /// A guard objects; the text says what to do or which override to give.
    #[error("{text}")]
    Objection { code: String, text: String },
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("{0}")]
    Failed(String),
}

/// A job as history keeps it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryEntry {
    /// Six upper-case hex digits, counting up.
    pub id: String,
    pub file: String,
    /// `None` while it runs.
    pub end: Option<HistoryEnd>,
    pub started_at: UnixSeconds,
    pub ended_at: Option<UnixSeconds>,
    /// Seconds.
    pub total_s: f64,
    pub print_s: f64,
    pub filament_used_mm: f64,
    pub reason: Option<String>,
    /// The file's metadata at that time, in the front end neutral form of `metadata::FileMetadata`.
    pub metadata: serde_json::Value,
    pub plate: Option<u32>,
    pub user: Option<String>,
    pub auxiliary: serde_json::Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryEnd {
    Completed,
    Cancelled,
    Failed,
    /// The gateway could not see how it ended.
    Interrupted,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    pub jobs: u64,
    pub total_s: f64,
    pub print_s: f64,
    pub filament_used_mm: f64,
    pub longest_job_s: f64,
    pub longest_print_s: f64,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoryQuery {
    /// 0 = all.
    pub limit: usize,
    pub start: usize,
    /// Began later.
    pub since: Option<UnixSeconds>,
    /// Ended earlier; what runs has not ended.
    pub before: Option<UnixSeconds>,
    pub oldest_first: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueuedJob {
    /// 16 hex digits.
    pub id: String,
    pub file: String,
    pub added_at: UnixSeconds,
}

/// The queue never goes on by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum QueueState {
    /// Somebody has to start the next job.
    #[default]
    Waiting,
    /// A job is being started.
    Loading,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Queue {
    pub jobs: Vec<QueuedJob>,
    pub state: QueueState,
}

#[derive(Debug, Clone, PartialEq)]
pub enum JobsEvent {
    HistoryAdded(Box<HistoryEntry>),
    HistoryFinished(Box<HistoryEntry>),
    QueueChanged { action: &'static str, queue: Queue },
}
