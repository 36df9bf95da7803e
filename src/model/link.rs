//! The connection to a printer and the permission to control it.

use serde::{Deserialize, Serialize};

use super::UnixSeconds;

/// Steps of a connection, the same for all drivers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkPhase {
    /// Not started, or stopped for good.
    #[default]
    Off,
    Resolving,
    Connecting,
    Authenticating,
    /// Connected, waiting for the first full report.
    Syncing,
    Online,
    /// Connected, but silent for longer than the printer ever is.
    Stale,
    /// Lost; the next try comes at `retry_at`.
    Backoff,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Link {
    pub phase: LinkPhase,
    /// Since when the phase holds.
    pub since: UnixSeconds,
    /// When the next try is due.
    pub retry_at: Option<UnixSeconds>,
    /// Why the link is not up; kept until it is Online again.
    pub fault: Option<LinkFault>,
    /// How often a connection was made: another number is another connection, whatever happened in between.
    #[serde(skip)]
    pub made: u64,
}

impl Link {
    /// The connection of this number still holds: reports may be late, but nothing was lost.
    pub fn holds(&self, made: u64) -> bool {
        self.made == made && matches!(self.phase, LinkPhase::Online | LinkPhase::Stale)
    }
}

/// Why there is no link, told so that the user can act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkFault {
    /// Stable short code, a heading in `docs/ref/faults.md`: `MG-BAMBU-AUTH`.
    pub code: String,
    /// What failed and where.
    pub text: String,
    /// What to do.
    pub remedy: String,
    /// True when trying again cannot help until the user acts; such links are tried again slowly.
    pub permanent: bool,
}

impl LinkFault {
    /// Text and remedy in one sentence pair.
    pub fn sentence(&self) -> String {
        format!("{} {}", self.text, self.remedy)
    }
}

/// Whether the printer accepts our commands (design D8). Learned from reports and refusals, never probed by a write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    #[default]
    Unknown,
    Allowed,
    /// The printer, or the configuration, forbids it; the text says why and what to do.
    ReadOnly(String),
}
