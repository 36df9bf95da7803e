//! The job as the gateway tells it (design D5).
//!
//! ```text
//! Idle -> Transferring -> Starting -> Preparing -> Printing <-> Pausing/Paused/Resuming
//!                 \            \           \           \________ Cancelling
//!                  \____________\___________\______________________\__ Complete | Cancelled | Failed
//! ```
//! A job started at the printer's own screen enters at Preparing or Printing.

use serde::{Deserialize, Serialize};

use super::{Millimeters, Ratio, UnixSeconds};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobPhase {
    #[default]
    Idle,
    /// The file goes to the printer.
    Transferring,
    /// The start was sent; the printer's report does not show this job yet.
    Starting,
    Preparing,
    Printing,
    Pausing,
    Paused,
    Resuming,
    Cancelling,
    Complete,
    Cancelled,
    Failed,
}

impl JobPhase {
    /// In the order of a job's life.
    pub const ALL: [JobPhase; 12] = [
        JobPhase::Idle,
        JobPhase::Transferring,
        JobPhase::Starting,
        JobPhase::Preparing,
        JobPhase::Printing,
        JobPhase::Pausing,
        JobPhase::Paused,
        JobPhase::Resuming,
        JobPhase::Cancelling,
        JobPhase::Complete,
        JobPhase::Cancelled,
        JobPhase::Failed,
    ];

    /// A job is under way: no other may start and nothing else may move.
    pub fn active(self) -> bool {
        !matches!(self, JobPhase::Idle) && !self.ended()
    }

    pub fn ended(self) -> bool {
        matches!(self, JobPhase::Complete | JobPhase::Cancelled | JobPhase::Failed)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobOrigin {
    /// Started through the gateway.
    Gateway,
    /// Started at the printer or by another program.
    #[default]
    Elsewhere,
}

/// Bytes on their way to the printer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    pub sent: u64,
    pub total: u64,
}

/// The printers' own estimate of the progress goes back by less than this.
const GOES_BACK: Ratio = 0.05;

/// A run that is `now` so far is not the one that was so far `before`, if nothing else tells the two apart.
pub fn is_passed(before: Ratio, now: Ratio) -> bool {
    now + GOES_BACK < before
}

/// One run of one file. Terminal figures stay until the next job: printers wipe theirs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Counts up with each job of this printer since the process began; a new number is a new job.
    pub serial: u64,
    pub phase: JobPhase,
    pub origin: JobOrigin,
    /// The name under which front ends list the file (library path, or `printer/...`), if it is known there.
    pub file: Option<String>,
    /// The printer's or slicer's title of the job.
    pub title: Option<String>,
    /// Identifies the run at the printer: fresh for each start of ours.
    pub token: Option<String>,
    /// Plate within the archive, from 1.
    pub plate: Option<u32>,
    pub transfer: Option<Transfer>,
    pub progress: Ratio,
    /// Seconds left by the printer's own estimate.
    pub remaining_s: Option<f64>,
    pub layer: Option<u32>,
    pub total_layers: Option<u32>,
    pub filament_used_mm: Option<Millimeters>,
    pub started_at: Option<UnixSeconds>,
    pub ended_at: Option<UnixSeconds>,
    /// Seconds of printing (pauses and preparation excluded) up to `printing_since`.
    pub printed_s: f64,
    /// Set while the printer lays down material.
    pub printing_since: Option<UnixSeconds>,
    /// The step in plain words ("bed levelling"), or why the job waits.
    pub detail: Option<String>,
    /// Why it ended, for Failed and Cancelled.
    pub reason: Option<String>,
    /// Identifiers of skipped objects.
    pub skipped: Vec<u32>,
    /// Pausing, Resuming or Cancelling while a command of ours waits for its effect.
    pub requested: Option<JobPhase>,
    /// Being cancelled out of a pause: nothing is laid down any more.
    pub out_of_pause: bool,
    /// The end was already there when the gateway first looked: history, not news (bambu.md T22).
    pub found_ended: bool,
}

impl Job {
    /// Seconds from start to end or `now`, preparation and pauses included; never less than the printing time, which the
    /// printer may have told.
    pub fn total_seconds(&self, now: UnixSeconds) -> f64 {
        let total = self.started_at.map_or(0.0, |start| self.ended_at.unwrap_or(now) - start);
        total.max(self.print_seconds(now))
    }

    /// Seconds of printing, pauses and preparation excluded.
    pub fn print_seconds(&self, now: UnixSeconds) -> f64 {
        self.printed_s + self.printing_since.map_or(0.0, |since| (now - since).max(0.0))
    }
}
