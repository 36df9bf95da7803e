//! The side of a printer that its driver sees.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use super::camera::{AccessUnit, CameraError, CameraFeed, CameraSource};
pub use super::storage::{FileError, PrinterFiles, ProgressFn, RemoteFile, SENDING};
pub use super::writer::{ExpectedRun, StateWriter};
use crate::model::{Capabilities, Command, CommandError, LinkFault, Outcome};

/// Runs one link from connecting to its loss.
///
/// The supervisor calls it again after a pause. Whatever is set up inside ends with the returned future; nothing that
/// was asked of a lost link is ever sent on the next one (design D7).
pub trait Driver: Send {
    /// Returns why the link ended; after `cancel` any fault will do.
    fn run<'a>(&'a mut self, io: &'a mut DriverIo, cancel: CancellationToken) -> BoxFuture<'a, LinkFault>;

    /// How long to wait after this fault, where the usual growing waits do not fit it.
    fn wait_after(&self, _fault: &LinkFault) -> Option<Duration> {
        None
    }
}

/// What a driver folder hands to the supervisor.
pub struct DriverParts {
    /// The row of the model table that is known before the first contact.
    pub capabilities: Capabilities,
    pub driver: Box<dyn Driver>,
    pub files: Arc<dyn PrinterFiles>,
    pub camera: Option<Arc<dyn CameraSource>>,
}

/// The channels of one driver.
pub struct DriverIo {
    pub state: StateWriter,
    pub commands: mpsc::Receiver<Request>,
}

/// A command on its way to the printer. Dropping it answers "not delivered".
pub struct Request {
    pub command: Command,
    pub reply: oneshot::Sender<Result<Outcome, CommandError>>,
}

impl Request {
    /// Answers; a client that has gone does not mind.
    pub fn answer(self, result: Result<Outcome, CommandError>) {
        let _gone = self.reply.send(result);
    }
}
