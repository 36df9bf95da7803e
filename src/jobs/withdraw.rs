//! Starts that were asked for and are not under way yet: a cancel or an emergency stop withdraws them too.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Inner;
use crate::model::{Command, Job, Speaker};

/// So many starts are remembered that were cancelled before the printer showed them.
const REMEMBERED: usize = 8;

/// One per printer.
#[derive(Debug, Default)]
pub struct Withdrawals {
    /// Cancels and emergency stops so far.
    count: AtomicU64,
    /// Starts that are asked for.
    open: AtomicUsize,
}

/// A start that somebody asks for, from the moment on at which a cancel means it too.
#[derive(Debug)]
pub struct Intended {
    of: Arc<Withdrawals>,
    at: u64,
}

impl Withdrawals {
    pub fn intend(self: &Arc<Self>) -> Intended {
        self.open.fetch_add(1, Ordering::SeqCst);
        Intended { of: self.clone(), at: self.count.load(Ordering::SeqCst) }
    }

    /// True where a start was withdrawn.
    pub fn withdraw(&self) -> bool {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.open.load(Ordering::SeqCst) > 0
    }
}

impl Intended {
    /// A cancel or an emergency stop came since.
    pub fn withdrawn(&self) -> bool {
        self.of.count.load(Ordering::SeqCst) != self.at
    }
}

impl Drop for Intended {
    fn drop(&mut self) {
        self.of.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Tokens of starts that were cancelled, and that the printer did not show in time.
#[derive(Debug, Default)]
pub struct Unseen(Mutex<VecDeque<String>>);

impl Unseen {
    pub fn remember(&self, token: u32) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() == REMEMBERED {
            tokens.pop_front();
        }
        tokens.push_back(token.to_string());
    }

    /// True once for each of them.
    fn take(&self, token: &str) -> bool {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = tokens.len();
        tokens.retain(|known| known != token);
        tokens.len() < before
    }
}

impl Inner {
    /// A job began: one that was cancelled before anybody saw it is cancelled now.
    pub fn cancel_late(self: &Arc<Self>, job: &Job) {
        let Some(token) = job.token.as_deref().filter(|token| self.unseen.take(token)) else { return };
        tracing::info!(token, "A start that was cancelled before has landed.");
        let name = job.file.clone().or_else(|| job.title.clone()).unwrap_or_default();
        let inner = self.clone();
        self.tasks.spawn(async move {
            let text = match inner.printer.send(Command::Cancel).await {
                Ok(_) => {
                    format!("\"{name}\" began late, after it was cancelled; it was stopped at the printer.")
                }
                Err(error) => format!(
                    "\"{name}\" began late, after it was cancelled, and could not be stopped: {error}"
                ),
            };
            inner.printer.writer().console(Speaker::Error, text);
        });
    }
}
