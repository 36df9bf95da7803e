//! The state of one opening of the port.

use std::collections::VecDeque;
use std::time::Duration;

use super::stream::{Flood, Mode};
use crate::gcode::translate;

/// What is forgotten when a client opens the port anew.
#[derive(Default)]
pub(super) struct Session {
    pub open: bool,
    /// The last accepted line number.
    pub last_number: Option<i64>,
    /// M115 was answered: the handshake is over.
    pub identified: bool,
    /// A line came after the handshake, and what is wrong was told.
    pub greeted: bool,
    /// M110 came after the handshake: the next numbered line is one of a file.
    pub armed: bool,
    /// A line without a number came.
    pub seen_plain: bool,
    /// This host numbers all its lines.
    pub numbers_all: bool,
    /// The first file list went out; nothing of jobs is pushed before.
    pub listed: bool,
    /// When the host is asked to list, because a job waits to be shown and it has not; and how often it was.
    pub list_wanted: (Duration, u32),
    /// What M21 or a push said of the card.
    pub media: Option<bool>,
    /// The files changed while the host could not list them.
    pub stale_list: bool,
    pub temperatures: Autoreport,
    pub progress: Autoreport,
    pub positions: Autoreport,
    pub gcode: translate::Session,
    pub mode: Mode,
    pub flood: Flood,
    /// Acted upon when it was read; its `ok` still comes in order.
    pub acted: VecDeque<(char, u32)>,
    pub last_stop: Option<Duration>,
}

impl Session {
    /// A number is not that of a greeting any more: the firmware was asked for, or, by hosts that never ask, a line without
    /// a number came, which OctoPrint sends after its handshake only.
    pub fn past_handshake(&self) -> bool {
        self.identified || self.seen_plain
    }
}

/// Lines sent unasked at an interval that the client chose.
#[derive(Debug, Default)]
pub(super) struct Autoreport {
    every: Option<Duration>,
    next: Duration,
}

impl Autoreport {
    /// 0 switches off; without a number nothing changes, as in Marlin.
    pub fn set(&mut self, seconds: Option<f64>, now: Duration) {
        const LONGEST: f64 = 60.0;
        let Some(seconds) = seconds else { return };
        self.every = (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.clamp(1.0, LONGEST)));
        self.next = now + self.every.unwrap_or_default();
    }

    pub fn due(&mut self, now: Duration) -> bool {
        let Some(every) = self.every.filter(|_| now >= self.next) else { return false };
        self.next = now + every;
        true
    }

    pub fn deadline(&self) -> Option<Duration> {
        self.every.map(|_| self.next)
    }
}
