//! How the cameras behave.

use std::path::PathBuf;
use std::time::Duration;

/// How a hub behaves; the defaults suit every printer known.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The connection closes this long after the last viewer.
    pub idle_close: Duration,
    /// Without a picture for this long the connection counts as dead.
    pub stale: Duration,
    /// For connecting and logging in.
    pub open_deadline: Duration,
    /// First and longest pause between attempts.
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    /// A new viewer is shown the last picture if it is not older than this.
    pub replay: Duration,
    /// The camera is not opened before the hub is this old. A gateway that was killed a moment ago may still hold the
    /// only place, and a second connection before it is free can cost 20 minutes of darkness (bambu.md 6.1).
    pub rest: Duration,
    /// How long a viewer waits for the first picture: printers in deep sleep need seconds (bambu.md 6.1).
    pub first_picture: Duration,
    /// The program that turns H.264 into JPEG: a path, or a name looked up in PATH.
    pub ffmpeg: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            idle_close: Duration::from_secs(10),
            stale: Duration::from_secs(15),
            open_deadline: Duration::from_secs(20),
            backoff_min: Duration::from_secs(2),
            backoff_max: Duration::from_secs(60),
            replay: Duration::from_secs(30),
            rest: Duration::ZERO,
            first_picture: Duration::from_secs(15),
            ffmpeg: PathBuf::from("ffmpeg"),
        }
    }
}
