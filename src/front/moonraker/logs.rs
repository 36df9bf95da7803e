//! The root `logs`: what the gateway logged and what was said on the printer's console, as the two files that the UIs
//! offer for download (moonraker.md 2.8). Both are kept in memory only: the whole log has the service manager.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use crate::logging;
use crate::model::{ConsoleLine, Speaker, UnixSeconds};
use crate::printer::clock::unix_now;

use super::Endpoint;
use super::events::console_text;

/// One log as a file.
pub struct LogFile {
    pub name: &'static str,
    pub text: String,
    pub modified: UnixSeconds,
}

/// Where each log was rolled over last; what is older is in the file with the suffix `.1`.
#[derive(Default)]
pub struct Rolled(Mutex<[UnixSeconds; 2]>);

/// The applications by which clients name the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Application {
    Klipper,
    Moonraker,
}

impl Application {
    pub const ALL: [Self; 2] = [Self::Klipper, Self::Moonraker];

    pub fn name(self) -> &'static str {
        match self {
            Self::Klipper => "klipper",
            Self::Moonraker => "moonraker",
        }
    }

    /// The present file and the one before.
    fn files(self) -> [&'static str; 2] {
        match self {
            Self::Klipper => ["klippy.log", "klippy.log.1"],
            Self::Moonraker => ["moonraker.log", "moonraker.log.1"],
        }
    }
}

impl Rolled {
    fn at(&self, log: Application) -> UnixSeconds {
        let [klipper, moonraker] = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if log == Application::Klipper { klipper } else { moonraker }
    }

    /// Begins a new file.
    pub fn roll_over(&self, log: Application) {
        let mut rolled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [klipper, moonraker] = &mut *rolled;
        *(if log == Application::Klipper { klipper } else { moonraker }) = unix_now();
    }
}

/// All log files of the printer; those of an earlier roll-over only where something is in them.
pub fn files(endpoint: &Endpoint) -> Vec<LogFile> {
    Application::ALL.into_iter().flat_map(|log| both(endpoint, log)).collect()
}

/// One file by its name.
pub fn find(endpoint: &Endpoint, name: &str) -> Option<LogFile> {
    files(endpoint).into_iter().find(|file| file.name == name)
}

fn both(endpoint: &Endpoint, log: Application) -> Vec<LogFile> {
    let lines = lines(endpoint, log);
    let rolled = endpoint.rolled.at(log);
    let split = lines.partition_point(|(time, _)| *time < rolled);
    let (old, new) = lines.split_at(split);
    let [present, before] = log.files();
    let mut files = vec![file(endpoint, present, new, rolled)];
    if !old.is_empty() {
        files.push(file(endpoint, before, old, 0.0));
    }
    files
}

fn file(
    endpoint: &Endpoint,
    name: &'static str,
    lines: &[(UnixSeconds, String)],
    since: UnixSeconds,
) -> LogFile {
    let mut text = format!(
        "moongate {}: printer {}, the last lines that the gateway keeps in memory\n",
        env!("CARGO_PKG_VERSION"),
        endpoint.station.name()
    );
    lines.iter().for_each(|(_, line)| text.push_str(line));
    let modified = lines.last().map_or(since.max(endpoint.started), |(time, _)| *time);
    LogFile { name, text, modified }
}

fn lines(endpoint: &Endpoint, log: Application) -> Vec<(UnixSeconds, String)> {
    match log {
        Application::Moonraker => logging::recent().into_iter().map(|line| (line.time, line.text)).collect(),
        Application::Klipper => {
            let said = endpoint.station.console.last(usize::MAX);
            said.iter().map(|line| (line.time, console_entry(line))).collect()
        }
    }
}

/// `2026-11-21T05:57:18Z > G28` is what a client sent; answers and events follow without the arrow.
fn console_entry(line: &ConsoleLine) -> String {
    let time = jiff::Timestamp::from_millisecond((line.time * 1000.0) as i64).unwrap_or_default();
    let arrow = if line.speaker == Speaker::Client { "> " } else { "" };
    let mut entry = String::new();
    for text in console_text(line).lines() {
        let _infallible = writeln!(entry, "{time:.3} {arrow}{text}");
    }
    entry
}
