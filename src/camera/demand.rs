//! Whether anybody wants pictures.
//!
//! Only a viewer that is waiting for a picture counts. One whose socket takes nothing any more is not waiting, so a
//! sleeping laptop does not keep the camera awake.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

#[derive(Default)]
pub(super) struct Demand {
    viewers: AtomicUsize,
    tally: Mutex<Tally>,
    wake: Notify,
}

#[derive(Default)]
struct Tally {
    waiting: usize,
    /// When a viewer last stopped waiting.
    left: Option<Instant>,
}

impl Demand {
    /// Viewers that are there, waiting or not.
    pub fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Relaxed)
    }

    pub fn join(self: &Arc<Self>) -> Seat {
        self.viewers.fetch_add(1, Ordering::Relaxed);
        Seat(Arc::clone(self))
    }

    /// Somebody waits for a picture as long as the value lives.
    pub fn wait(self: &Arc<Self>) -> Waiting {
        self.change(|tally| tally.waiting += 1);
        self.wake.notify_one();
        Waiting(Arc::clone(self))
    }

    /// Somebody looked; the upstream is wanted as if he had waited just now.
    pub fn touch(self: &Arc<Self>) {
        drop(self.wait());
    }

    /// Returns once pictures are wanted.
    pub async fn wanted(&self, idle: Duration) {
        while self.idle_at(idle) <= Instant::now() {
            self.wake.notified().await;
        }
    }

    /// Returns once nobody has wanted a picture for `idle`.
    pub async fn idle(&self, idle: Duration) {
        loop {
            let at = self.idle_at(idle);
            if at <= Instant::now() {
                return;
            }
            sleep_until(at).await;
        }
    }

    /// The earliest instant at which nobody can have wanted a picture for `idle`.
    fn idle_at(&self, idle: Duration) -> Instant {
        self.change(|tally| match (tally.waiting, tally.left) {
            (0, Some(left)) => left + idle,
            (0, None) => Instant::now(),
            _ => Instant::now() + idle,
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Tally) -> T) -> T {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One viewer.
pub(super) struct Seat(Arc<Demand>);

impl Seat {
    pub fn demand(&self) -> &Arc<Demand> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One viewer's wish for the next picture.
pub(super) struct Waiting(Arc<Demand>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.change(|tally| {
            tally.waiting = tally.waiting.saturating_sub(1);
            tally.left = Some(Instant::now());
        });
    }
}
