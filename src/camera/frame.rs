//! One picture.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::model::UnixSeconds;
use crate::printer::clock::unix_now;

/// Larger pictures are not taken (bambu.md 6.1: accept up to 10 MB).
pub(super) const FRAME_LIMIT: usize = 10 << 20;

/// A whole JPEG file and when it arrived. The bytes are shared, never copied, by all viewers.
#[derive(Debug, Clone)]
pub struct Frame {
    pub data: Bytes,
    /// Counts up with every picture of this hub.
    pub number: u64,
    /// When it arrived, by the gateway's clock.
    pub time: UnixSeconds,
    at: Instant,
}

impl Frame {
    pub(super) fn new(data: Bytes, number: u64) -> Self {
        Self { data, number, time: unix_now(), at: Instant::now() }
    }

    /// When it arrived, by a clock that is never set.
    pub fn arrived(&self) -> Instant {
        self.at
    }

    /// Time since it arrived.
    pub fn age(&self) -> Duration {
        self.at.elapsed()
    }
}

/// Whether this can be a JPEG file of a sane size.
pub(super) fn plausible(data: &[u8]) -> bool {
    data.starts_with(&[0xFF, 0xD8, 0xFF]) && data.len() <= FRAME_LIMIT
}
