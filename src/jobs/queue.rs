//! Files that wait for their turn; the next one starts only when a user says that the bed is clear.

use serde::{Deserialize, Serialize};

use super::intent::Stage;
use super::{Inner, JobsEvent, Queue, QueueState, QueuedJob};

const KEY: &str = "queue";
/// Jobs of one queue.
pub const MAX_QUEUED: usize = 1000;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Stored {
    jobs: Vec<QueuedJob>,
    paused: bool,
}

impl Inner {
    pub fn load_queue(&self) -> Result<Queue, crate::store::StoreError> {
        let stored = self.store.get(&self.spaces.jobs, KEY)?;
        let stored: Stored =
            stored.and_then(|stored| serde_json::from_value(stored).ok()).unwrap_or_default();
        let state = if stored.paused { QueueState::Paused } else { QueueState::Ready };
        // A gateway killed between the start and the next write of the queue: the job is at the printer.
        let started = self.intent().filter(|intent| intent.stage == Stage::Starting);
        let started = started.and_then(|intent| intent.queued);
        let jobs = stored.jobs.into_iter().filter(|job| started.as_ref() != Some(&job.id)).collect();
        Ok(Queue { jobs, state })
    }

    /// Changes the queue, remembers it, tells it; `None` where nothing is to be told.
    pub fn change_queue(&self, change: impl FnOnce(&mut Queue) -> Option<&'static str>) -> Queue {
        let (action, queue) = {
            let mut queue = self.queue();
            (change(&mut queue), queue.clone())
        };
        if let Some(action) = action {
            let stored = Stored { jobs: queue.jobs.clone(), paused: queue.state == QueueState::Paused };
            if let Ok(value) = serde_json::to_value(&stored)
                && let Err(error) = self.store.put(&self.spaces.jobs, KEY, value)
            {
                tracing::error!(%error, "The queue is kept in memory only.");
            }
            self.tell(JobsEvent::QueueChanged { action, queue: queue.clone() });
        }
        queue
    }
}
