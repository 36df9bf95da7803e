//! One task tree per printer: link supervision, command path, job tracking. Knows `model` and, for waits, `net::backoff`.
//!
//! ```text
//!  driver --StateWriter--> track --> watch<Arc<PrinterState>> + events --> front ends
//!  front end --PrinterHandle::send--> guard --> lane --> Request --> driver --> outcome, then the effect in the state
//! ```
//! A driver is a function that runs until its link is lost; [`supervise`] calls it again with backoff. What front ends
//! and drivers share of a printer is [`handle`] on one side and [`io`] on the other, with the printer's `storage` and
//! `camera` and the `writer` of its state. `heading` knows where the head will be before a report shows it;
//! `sane` leaves out what no machine tells.

mod camera;
pub mod clock;
pub mod effect;
pub mod guard;
pub mod handle;
mod heading;
pub mod io;
pub mod sane;
mod storage;
pub mod supervise;
pub mod track;
mod writer;

pub use handle::PrinterHandle;
pub use io::{
    CameraError, CameraFeed, CameraSource, Driver, DriverIo, DriverParts, ExpectedRun, FileError,
    PrinterFiles, ProgressFn, RemoteFile, Request, SENDING, StateWriter,
};
pub use supervise::{PrinterSettings, start};
