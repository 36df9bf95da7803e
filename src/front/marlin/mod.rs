//! The virtual serial port: a pseudo terminal on which OctoPrint finds a Marlin printer with an SD card.
//!
//! Owns: the pty and its link (`pty`, `link`), the dialogue (`lines`, `dialogue`, `codes`, `stream`, `write`), and what the
//! host is told of jobs and faults (`host`, `push`, `pause`, `prompt`, `notice`, `catalog`). Must not know: drivers, their
//! protocols, other front ends.
//!
//! ```text
//!  client <-> pty <-> serve <-> dialogue (no I/O: bytes, snapshots, results, time -> bytes, effects)
//!                       |
//!                       +-- desk: printer, library, jobs, store
//! ```
//! Rules by number are those of the OctoPrint dossier, section 0; each has a test of its number.

mod assembly;
mod catalog;
mod codes;
pub mod desk;
mod dialogue;
#[cfg(any(test, fuzzing, feature = "doors"))]
pub(crate) mod fuzz_door;
mod host;
mod lines;
mod link;
mod notice;
mod numbers;
mod pause;
mod prompt;
mod pty;
mod push;
mod serve;
mod session;
mod spool;
mod stream;
mod suitability;
#[cfg(test)]
mod tests;
mod visits;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub use visits::Visits;

pub use crate::config::{SerialStop, StreamedPrints};
use crate::station::Station;

/// How a port is to be opened.
#[derive(Debug, Clone, Default)]
pub struct MarlinConfig {
    /// The link that clients open, e.g. `/run/moongate/p1s`.
    pub link: PathBuf,
    /// Permission bits of the device; without them 0660 where a group is given, else 0600.
    pub mode: Option<u32>,
    /// The user that owns the device; only root can give it away.
    pub owner: Option<String>,
    /// The group of the device, e.g. `dialout`.
    pub group: Option<String>,
    pub streamed_prints: StreamedPrints,
    pub emergency_stop: SerialStop,
}

/// Why there is no port, and what to do.
#[derive(Debug, Error)]
pub enum PtyError {
    #[error("The serial port cannot be created: {0}.")]
    Create(String),
    #[error(
        "The group \"{group}\" of the serial port does not exist here. Create it, or set pty_group to another one."
    )]
    NoGroup { group: String },
    #[error(
        "The serial port cannot be given to group \"{group}\": {reason}. Run the gateway as a member of that group, or \
         remove pty_group."
    )]
    Group { group: String, reason: String },
    #[error(
        "The user \"{owner}\" of the serial port does not exist here. Create it, or set pty_owner to another one."
    )]
    NoOwner { owner: String },
    #[error(
        "The serial port cannot be given to user \"{owner}\": {reason}. Only root can do that: remove pty_owner, and use \
         pty_group."
    )]
    Owner { owner: String, reason: String },
    #[error(
        "The serial port's link {} cannot be published: {reason}. Set runtime_dir to a directory that the gateway may write.",
        path.display()
    )]
    Link { path: PathBuf, reason: String },
    #[error(
        "The serial port's link {} is served by another gateway. Stop that one, or set another runtime_dir here.",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error(
        "The serial port's link {} cannot be published: {what} is there already, and not from a gateway. Move it away, or \
         set another runtime_dir.",
        path.display()
    )]
    Foreign { path: PathBuf, what: String },
}

/// A published serial port, for the whole life of the process: closing it would leave OctoPrint offline for good.
#[derive(Debug)]
pub struct Port {
    // The link is removed before the terminal goes away.
    link: link::Link,
    pty: pty::Pty,
    streamed_prints: StreamedPrints,
    emergency_stop: SerialStop,
}

/// Creates the pty and publishes its link; `visits` is shared by all ports. Must be called inside a Tokio runtime.
///
/// # Errors
/// Group, directory or link cannot be used; the text says what to do.
pub fn open(config: MarlinConfig, visits: &Visits) -> Result<Port, PtyError> {
    let pty = pty::Pty::create(&config, visits)?;
    let link = link::Link::publish(&config.link, pty.device())?;
    Ok(Port { link, pty, streamed_prints: config.streamed_prints, emergency_stop: config.emergency_stop })
}

impl Port {
    /// What clients open: the link.
    pub fn device(&self) -> &Path {
        self.link.path()
    }

    /// Serves every client that comes, until cancelled; then the link is removed.
    pub async fn serve(self, station: Station, cancel: CancellationToken) {
        self.serve_desk(Arc::new(station), cancel).await;
    }

    /// As [`Self::serve`], for anything that offers a printer's services.
    pub async fn serve_desk(self, desk: desk::SharedDesk, cancel: CancellationToken) {
        let catalog = catalog::Catalog::with_names(desk.names());
        let mut dialogue = dialogue::Dialogue::new(self.streamed_prints, catalog);
        dialogue.stop = self.emergency_stop;
        serve::Service::new(desk, dialogue).run(&self.pty, cancel).await;
    }
}
