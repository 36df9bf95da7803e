//! What really happened on the simulated printer, for tests: physical state and counters, as no client can see them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::feed::{SlotTruth, UnitTruth};

/// Commands kept in the log; older ones are dropped.
const LOG: usize = 4096;

/// One request as it arrived.
#[derive(Debug, Clone, Serialize)]
pub struct Received {
    pub category: String,
    pub command: String,
    pub payload: Value,
}

/// Connections of one service.
#[derive(Debug, Clone, Copy, Default, Serialize, PartialEq, Eq)]
pub struct Connections {
    pub open: usize,
    pub peak: usize,
    pub total: usize,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Counters {
    /// `project_file` commands that got past the signature gate.
    pub project_files: u64,
    /// Jobs that really began.
    pub jobs_started: u64,
    pub pushalls: u64,
    /// Requests refused for want of a signature.
    pub rejected: u64,
    /// G-code moves executed while a job was running: each one spoils the print.
    pub motion_while_printing: u64,
    pub unhomed_moves: u64,
    pub out_of_bounds_moves: u64,
    /// `G28` with axes: the bed may hit the toolhead.
    pub partial_homings: u64,
    /// Requests that were no JSON object, or named no command.
    pub malformed_requests: u64,
    /// Logins refused by any service.
    pub failed_logins: u64,
    pub uploads: u64,
    /// Reports of a [`super::faults::Fault::Flood`] that are on their way.
    pub flooded: u64,
    pub downloads: u64,
    /// FTPS data connections refused for not resuming the TLS session.
    pub unresumed_data: u64,
    pub commands: Vec<Received>,
    /// Lines received through `gcode_line`.
    pub gcode: Vec<String>,
}

impl Counters {
    pub(super) fn log(&mut self, received: Received) {
        if self.commands.len() >= LOG {
            self.commands.remove(0);
        }
        self.commands.push(received);
    }

    pub(super) fn log_gcode(&mut self, text: &str) {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let room = LOG.saturating_sub(self.gcode.len());
        self.gcode.extend(lines.take(room).map(str::to_owned));
    }
}

/// A snapshot of the physical printer.
#[derive(Debug, Clone, Serialize)]
pub struct Truth {
    pub model: String,
    pub serial: String,
    pub gcode_state: String,
    pub stage: i64,
    pub print_error: u32,
    /// °C, actual and target of each nozzle.
    pub nozzles: Vec<(f64, f64)>,
    pub bed: (f64, f64),
    pub chamber: (f64, f64),
    /// 0 to 1.
    pub progress: f64,
    pub layer: u32,
    pub layers: u32,
    /// Stored file of the job last accepted.
    pub file: String,
    pub subtask_id: String,
    pub skipped: Vec<i64>,
    /// Part, auxiliary, chamber; 0 to 255.
    pub fans: [u8; 3],
    pub lights: BTreeMap<String, String>,
    pub speed_level: u8,
    /// x, y, z, e in mm.
    pub position: [f64; 4],
    pub homed: bool,
    /// 255 nothing, 254 external.
    pub tray_now: u32,
    /// Trays of the job by filament; -1 unmapped.
    pub mapping: Vec<i64>,
    pub slots: Vec<SlotTruth>,
    pub units: Vec<UnitTruth>,
    pub auto_refill: bool,
    pub gated: bool,
    /// By service: mqtt, ftps, detect, camera.
    pub connections: BTreeMap<String, Connections>,
    pub counters: Counters,
}
