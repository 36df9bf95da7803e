//! The gateway's wall clock: printers' own clocks are wrong in LAN mode.

use crate::model::UnixSeconds;

use std::time::{Duration, Instant, SystemTime};

/// Less than this is a clock being kept right, not one that jumps.
const JUMP: f64 = 5.0;

/// Notices when the wall clock is set, by the clock that nobody sets.
#[derive(Debug)]
pub struct Jumps {
    /// Wall clock minus time since `origin`, as of the last look.
    offset: f64,
    origin: Instant,
}

impl Default for Jumps {
    fn default() -> Self {
        Self { offset: unix_now(), origin: Instant::now() }
    }
}

impl Jumps {
    /// By how many seconds the wall clock was set since the last look; 0 where it was not.
    pub fn look(&mut self) -> f64 {
        self.judge(unix_now(), self.origin.elapsed())
    }

    fn judge(&mut self, wall: UnixSeconds, elapsed: Duration) -> f64 {
        let offset = wall - elapsed.as_secs_f64();
        let by = offset - std::mem::replace(&mut self.offset, offset);
        if by.abs() > JUMP { by } else { 0.0 }
    }
}

/// Now, in seconds since 1970 UTC; 0 should the system clock stand before that.
pub fn unix_now() -> UnixSeconds {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_told_from_one_that_drifts() {
        let mut jumps = Jumps { offset: 1000.0, origin: Instant::now() };
        let mut at = |wall, elapsed| jumps.judge(wall, Duration::from_secs_f64(elapsed));
        assert_eq!(at(1010.0, 10.0), 0.0);
        assert_eq!(at(1021.0, 20.0), 0.0, "a second in ten is no jump");
        assert_eq!(at(1031.0 + 86_400.0, 30.0), 86_400.0);
        assert_eq!(at(1041.0 + 86_400.0, 40.0), 0.0, "told once");
        assert_eq!(at(1051.0 - 3600.0, 50.0), -90_000.0);
    }
}
