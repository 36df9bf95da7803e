//! Files that wait for their turn; the next one starts only when a user says that the bed is clear.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::intent::Stage;
use super::{Inner, Intended, Jobs, JobsEvent, Queue, QueueState, QueuedJob, StartError, StartRequest, plan};
use crate::model::CommandError;

const KEY: &str = "queue";
/// Jobs of one queue.
const MAX_QUEUED: usize = 1000;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Stored {
    jobs: Vec<QueuedJob>,
}

impl Jobs {
    pub fn queue(&self) -> Queue {
        self.inner.queue().clone()
    }

    /// All files must exist or none is queued.
    ///
    /// # Errors
    /// A file that cannot be printed, or a full queue.
    pub async fn enqueue(&self, files: Vec<String>, reset: bool) -> Result<Queue, StartError> {
        for file in &files {
            self.inner.library.job_file(file).await.map_err(plan::file_error)?;
        }
        let before = if reset { 0 } else { self.inner.queue().jobs.len() };
        if before + files.len() > MAX_QUEUED {
            return Err(StartError::Failed(format!("The queue takes {MAX_QUEUED} jobs at most.")));
        }
        Ok(self.inner.change_queue(|queue| {
            if reset {
                queue.jobs.clear();
            }
            let added_at = crate::printer::clock::unix_now();
            let id = || format!("{:016X}", rand::random::<u64>());
            queue.jobs.extend(files.into_iter().map(|file| QueuedJob { id: id(), file, added_at }));
            Some("jobs_added")
        }))
    }

    /// `None` removes all.
    pub fn dequeue(&self, ids: Option<&[String]>) -> Queue {
        self.inner.change_queue(|queue| {
            queue.jobs.retain(|job| ids.is_some_and(|ids| !ids.contains(&job.id)));
            Some("jobs_removed")
        })
    }

    /// Starts the first job of the queue if the printer is free and the user confirmed a clear bed by calling this.
    ///
    /// # Errors
    /// As [`Self::start`]; the job stays in the queue then.
    pub async fn start_queue(&self) -> Result<Queue, StartError> {
        let (inner, intended) = (self.inner.clone(), self.intend());
        self.to_its_end(async move { inner.start_next(intended).await }).await
    }

    /// Moves a job to the front.
    pub fn jump_queue(&self, id: &str) -> Option<Queue> {
        let mut found = false;
        let queue = self.inner.change_queue(|queue| {
            let at = queue.jobs.iter().position(|job| job.id == id)?;
            let job = queue.jobs.remove(at);
            queue.jobs.insert(0, job);
            found = true;
            Some("state_changed")
        });
        found.then_some(queue)
    }
}

impl Inner {
    async fn start_next(self: Arc<Self>, intended: Intended) -> Result<Queue, StartError> {
        let mut before = QueueState::Waiting;
        let queue = self.change_queue(|queue| {
            before = queue.state;
            queue.state = if queue.jobs.is_empty() { QueueState::Waiting } else { QueueState::Loading };
            (queue.state != before).then_some("state_changed")
        });
        if before == QueueState::Loading {
            return Err(
                CommandError::Busy("The next job of the queue is being started already.".to_owned()).into()
            );
        }
        let Some(next) = queue.jobs.first().cloned() else { return Ok(queue) };
        let _loading = LoadingGuard { inner: &self };
        let queued = Some(next.id.clone());
        let request = StartRequest { file: next.file, queued, ..StartRequest::default() };
        self.restored().await;
        if let Some(busy) = self.starting().or_else(|| self.printing()) {
            return Err(busy.into());
        }
        self.start(request, intended).await?;
        Ok(self.change_queue(|queue| {
            queue.jobs.retain(|job| job.id != next.id);
            queue.state = QueueState::Waiting;
            Some("job_loaded")
        }))
    }
}

/// Takes the queue out of Loading however the start ends.
struct LoadingGuard<'a> {
    inner: &'a Inner,
}

impl Drop for LoadingGuard<'_> {
    fn drop(&mut self) {
        self.inner.change_queue(|queue| {
            let loading = queue.state == QueueState::Loading;
            if loading {
                queue.state = QueueState::Waiting;
            }
            loading.then_some("state_changed")
        });
    }
}

impl Inner {
    pub fn load_queue(&self) -> Result<Queue, crate::store::StoreError> {
        let stored = self.store.get(&self.spaces.jobs, KEY)?;
        let stored: Stored =
            stored.and_then(|stored| serde_json::from_value(stored).ok()).unwrap_or_default();
        // A gateway killed between the start and the next write of the queue: the job is at the printer.
        let started = self.intent().filter(|intent| intent.stage == Stage::Starting);
        let started = started.and_then(|intent| intent.queued);
        let jobs = stored.jobs.into_iter().filter(|job| started.as_ref() != Some(&job.id)).collect();
        Ok(Queue { jobs, state: QueueState::Waiting })
    }

    /// Changes the queue, remembers it, tells it; `None` where nothing is to be told.
    pub fn change_queue(&self, change: impl FnOnce(&mut Queue) -> Option<&'static str>) -> Queue {
        // Held to the end: what is remembered and told last is how it stands.
        let mut queue = self.queue();
        if let Some(action) = change(&mut queue) {
            let stored = Stored { jobs: queue.jobs.clone() };
            if let Ok(value) = serde_json::to_value(&stored)
                && let Err(error) = self.store.put(&self.spaces.jobs, KEY, value)
            {
                tracing::error!(%error, "The queue is kept in memory only.");
            }
            self.tell(JobsEvent::QueueChanged { action, queue: queue.clone() });
        }
        queue.clone()
    }
}
