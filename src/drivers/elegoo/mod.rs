//! What both Elegoo protocols share: the table of models, the Canvas filament unit, file names and the file room around the requests, MJPEG
//! without trustworthy headers, HTTP replies that strict readers refuse, discovery over UDP, the queue of a link, where to
//! look for the printer, figures left from the job before, the parts of a command that both write alike, and the door
//! through which file room and camera use the one connection.

pub mod canvas;
pub mod door;
pub mod field;
pub mod figures;
pub mod files;
pub mod http;
pub mod mjpeg;
pub mod models;
pub mod names;
pub mod orders;
pub mod pictures;
pub mod place;
pub mod probe;
pub mod runs;
#[cfg(test)]
pub mod testing;
pub mod whereabouts;
pub mod work;

use std::time::Duration;

/// A place that others hold is tried again in even steps: it can be free at any moment (elegoo.md 2.3, 3.4).
pub const FULL_AGAIN: Duration = Duration::from_secs(30);
