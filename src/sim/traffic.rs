//! What reached a simulated printer: connections per service and commands, for tests to judge a client by.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;

/// Commands kept; older ones are forgotten first.
const KEPT: usize = 4000;

/// Connections of one service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Connections {
    /// Open now.
    pub open: usize,
    /// Most that were open at once.
    pub peak: usize,
    /// Accepted since the start.
    pub total: usize,
    /// Turned away by a limit or a fault.
    pub refused: usize,
}

/// Counts the connections of one service.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<Mutex<Connections>>);

/// One open connection; dropping it closes the count.
#[derive(Debug)]
pub struct Open(Gauge);

impl Gauge {
    /// Counts a connection, or refuses it when `limit` are open.
    pub fn enter(&self, limit: usize) -> Option<Open> {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if count.open >= limit {
            count.refused += 1;
            return None;
        }
        count.open += 1;
        count.total += 1;
        count.peak = count.peak.max(count.open);
        Some(Open(self.clone()))
    }

    /// Counts a connection turned away for another reason than the limit.
    pub fn refuse(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refused += 1;
    }

    /// The counts now.
    pub fn read(&self) -> Connections {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut count = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        count.open = count.open.saturating_sub(1);
    }
}

/// One command as it arrived.
#[derive(Debug, Clone, Serialize)]
pub struct Received {
    /// Simulated seconds since the start.
    pub at: f64,
    /// Connection or client that sent it.
    pub client: String,
    /// Command or method number.
    pub number: i64,
    /// Its parameters.
    pub body: Value,
}

/// The commands that arrived, newest last, bounded.
#[derive(Debug, Clone, Default)]
pub struct Log(VecDeque<Received>);

impl Log {
    /// Appends one, forgetting the oldest when full.
    pub fn push(&mut self, received: Received) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(received);
    }

    /// A copy of what is kept.
    pub fn to_vec(&self) -> Vec<Received> {
        self.0.iter().cloned().collect()
    }
}
