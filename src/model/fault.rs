//! What is wrong, in the printer's own code and in plain words.

use serde::{Deserialize, Serialize};

use super::UnixSeconds;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Warning,
    Serious,
    Fatal,
}

/// Who reports the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultSource {
    /// The printer's health monitor.
    Device,
    /// The printer's job: why it stopped or waits.
    Job,
    /// The gateway itself.
    Gateway,
}

/// What a user can be offered to do about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultAction {
    Resume,
    Cancel,
    RetryFilament,
    Unload,
    Clear,
}

/// One active fault. The code is always shown, the text is our own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// The vendor's code as its documentation writes it: `HMS_0300_0100_0001_0007`, `0700_8011`, `1211`.
    pub code: String,
    pub source: FaultSource,
    pub severity: Severity,
    /// Part of the machine, e.g. "AMS 1".
    pub module: Option<String>,
    pub text: String,
    /// A page that explains the code.
    pub link: Option<String>,
    pub actions: Vec<FaultAction>,
    /// When it was first seen.
    pub since: UnixSeconds,
}

impl Fault {
    /// One that no part, page or action is known of, seen first at the beginning of time.
    pub fn new(
        source: FaultSource,
        severity: Severity,
        code: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        let (code, text) = (code.into(), text.into());
        Self { code, source, severity, module: None, text, link: None, actions: Vec::new(), since: 0.0 }
    }

    /// It was there before: one that went and came back is another, although its code is the same.
    pub fn is_among(&self, known: &[Fault]) -> bool {
        known.iter().any(|known| known.code == self.code && known.since == self.since)
    }

    /// A spool ran empty, by what its text says.
    pub fn filament_ran_out(&self) -> bool {
        let text = self.text.to_lowercase();
        text.contains("filament")
            && ["ran out", "run out", "runs out", "runout"].iter().any(|word| text.contains(word))
    }

    /// One line for consoles and dialogs: text and code.
    pub fn line(&self) -> String {
        match &self.module {
            Some(module) => format!("{module}: {} ({})", self.text, self.code),
            None => format!("{} ({})", self.text, self.code),
        }
    }
}
