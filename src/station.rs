//! One printer with everything the gateway keeps for it; what every front end is given.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::camera::CameraHub;
use crate::camera::timelapse::Timelapses;
use crate::jobs::Jobs;
use crate::library::Library;
use crate::model::{ConsoleLine, Speaker};
use crate::printer::PrinterHandle;
use crate::store::Store;

/// Cheap to clone; lives as long as the process.
#[derive(Clone)]
pub struct Station {
    pub printer: PrinterHandle,
    pub library: Library,
    pub jobs: Jobs,
    pub store: Store,
    pub console: Console,
    pub camera: CameraHub,
    pub timelapses: Timelapses,
    /// The printer's own Moonraker port, 0 where it has none.
    pub moonraker_port: u16,
}

impl Station {
    /// The configured id of the printer.
    pub fn name(&self) -> &str {
        self.printer.name()
    }

    /// Keeps a line for later readers and tells everybody who listens.
    pub fn say(&self, speaker: Speaker, text: impl Into<String>) {
        self.printer.writer().console(speaker, text);
    }
}

/// The printers of this gateway, in the order of the configuration.
#[derive(Clone, Default)]
pub struct Stations {
    list: Arc<[Station]>,
}

impl Stations {
    pub fn new(list: Vec<Station>) -> Self {
        Self { list: list.into() }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Station> {
        self.list.iter()
    }

    pub fn get(&self, name: &str) -> Option<&Station> {
        self.list.iter().find(|station| station.name() == name)
    }
}

/// Console lines kept for clients that connect later (the length of Moonraker's own store).
const CONSOLE_LINES: usize = 1000;

/// The last lines of a printer's console, oldest first.
#[derive(Clone, Default)]
pub struct Console {
    lines: Arc<Mutex<VecDeque<ConsoleLine>>>,
}

impl Console {
    pub fn push(&self, line: ConsoleLine) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == CONSOLE_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The newest `count` lines, oldest first.
    pub fn last(&self, count: usize) -> Vec<ConsoleLine> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
    }
}
