//! The gateway's wall clock: printers' own clocks are wrong in LAN mode.

use crate::model::UnixSeconds;

/// Now, in seconds since 1970 UTC; 0 should the system clock stand before that.
pub fn unix_now() -> UnixSeconds {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
