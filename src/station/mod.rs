//! One printer with everything the gateway keeps for it; what every front end is given.
//!
//! | part | owns |
//! |---|---|
//! | `script` | lines of G-code run against the printer, its jobs and its files |
//! | `filament_words` | the words of a script about slots and spools |

pub mod filament_words;
pub mod script;

use std::sync::Arc;

use crate::camera::CameraHub;
use crate::camera::timelapse::Timelapses;
pub use crate::console::Console;
use crate::jobs::Jobs;
use crate::library::Library;
use crate::model::{ConsoleLine, Event, Speaker};
use crate::printer::PrinterHandle;
use crate::printer::clock::unix_now;
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
        let line = ConsoleLine { time: unix_now(), speaker, text: text.into() };
        // Answers stay out of the printer's events: a script may say more of them than those have room for.
        if speaker != Speaker::Answer {
            self.printer.writer().event(Event::Said(Box::new(line.clone())));
        }
        self.console.push(line);
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
}
