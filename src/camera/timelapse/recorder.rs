//! Takes the pictures while a job runs, keeps the user's choices, and makes the video when the job is over.

use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::fs;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{ExportError, Recording, Step, Timelapses, Trigger};
use crate::camera::CameraHub;
use crate::model::{Job, PrinterState};

/// A picture for a layer may be this old.
const SHOT_AGE: Duration = Duration::from_secs(2);
const CHOICES: &str = "settings.json";

/// What users choose; kept over restarts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Choices {
    /// Take pictures of the jobs.
    pub enabled: bool,
    /// Make the video when a job is over, where there is an encoder.
    pub autorender: bool,
    /// Pictures per second of the video, 1 to 60.
    pub framerate: u32,
}

impl Default for Choices {
    fn default() -> Self {
        Self { enabled: false, autorender: true, framerate: 30 }
    }
}

/// What happens to the recordings.
#[derive(Debug, Clone, PartialEq)]
pub enum TimelapseEvent {
    /// The picture with this number, from 1, was taken.
    Frame { id: String, number: usize, file: String },
    /// The pictures become a video.
    Rendering { recording: Recording },
    /// The video is there.
    Rendered { recording: Recording },
    /// There is no video, for this reason; the pictures stay.
    RenderFailed { recording: Recording, reason: String },
    /// A job is over: its recording, if it has pictures, and the older ones that made room.
    Ended { recording: Option<Recording>, removed: Vec<Recording> },
}

/// A job that is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The job's id in the history.
    pub id: String,
    /// Its file's name.
    pub name: String,
}

pub(super) fn load_choices(folder: &Path, default: Choices) -> Choices {
    let Ok(text) = std::fs::read(folder.join(CHOICES)) else { return default };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(%error, "The timelapse choices cannot be read; the configured ones count.");
        default
    })
}

impl Timelapses {
    pub fn choices(&self) -> Choices {
        self.lock_choices().clone()
    }

    fn lock_choices(&self) -> MutexGuard<'_, Choices> {
        self.inner.choices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes new choices; they count from the next layer on.
    ///
    /// # Errors
    /// The disk's; nothing is changed then.
    pub async fn choose(&self, choices: Choices) -> std::io::Result<()> {
        let choices = Choices { framerate: choices.framerate.clamp(1, 60), ..choices };
        fs::create_dir_all(&self.inner.folder).await?;
        let (part, file) = (self.inner.folder.join("settings.part"), self.inner.folder.join(CHOICES));
        fs::write(&part, serde_json::to_vec(&choices)?).await?;
        fs::rename(&part, &file).await?;
        *self.lock_choices() = choices;
        Ok(())
    }

    /// Takes pictures of every job until `cancel`, while that is chosen. `subject` names the job in the history; jobs
    /// that are not there are left out. A camera that is dark costs its pictures, never the job.
    pub async fn follow(
        &self,
        hub: CameraHub,
        mut states: watch::Receiver<Arc<PrinterState>>,
        subject: impl Fn(&Job) -> Option<Subject> + Send,
        cancel: CancellationToken,
    ) {
        let mut trigger = Trigger::default();
        // The history closes a job before its last picture is taken.
        let mut current: Option<(u64, Subject)> = None;
        // The next job may begin before the video of the last is done; none is made any further once this ends.
        let mut videos = JoinSet::new();
        loop {
            let state = states.borrow_and_update().clone();
            if self.choices().enabled {
                let serial = state.job.serial;
                if current.as_ref().is_none_or(|(known, _)| *known != serial) {
                    current = subject(&state.job).map(|subject| (serial, subject));
                }
                if let Some((_, subject)) = &current {
                    let step = trigger.next(&state, self.inner.limits.frames);
                    tokio::select! {
                        () = cancel.cancelled() => return,
                        () = self.act(&hub, &step, subject) => {}
                    }
                    if matches!(step, Step::End { .. }) && self.choices().autorender {
                        let (timelapses, id) = (self.clone(), subject.id.clone());
                        videos.spawn(async move { timelapses.render(&id).await });
                    }
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = states.changed() => if changed.is_err() { return },
            }
            while videos.try_join_next().is_some() {}
        }
    }

    async fn act(&self, hub: &CameraHub, step: &Step, subject: &Subject) {
        let (layer, over) = match step {
            Step::Nothing => return,
            Step::Shot { layer, .. } => (Some(*layer), false),
            Step::End { last, .. } => (*last, true),
        };
        let id = &subject.id;
        if let Some(layer) = layer {
            match hub.snapshot(SHOT_AGE).await {
                Err(error) => tracing::debug!(%error, layer, "No timelapse picture."),
                Ok(frame) => {
                    if let Err(error) = self.take(subject, layer, &frame.data).await {
                        tracing::warn!(%error, id, layer, "The timelapse picture could not be kept.");
                    }
                }
            }
        }
        if !over {
            return;
        }
        let mut removed = Vec::new();
        if let Err(error) = self.prune(id, &mut removed).await {
            tracing::warn!(%error, "Old timelapses could not be removed.");
        }
        let recording = self.get(id).await.ok().filter(|recording| recording.frames > 0);
        self.tell(TimelapseEvent::Ended { recording, removed });
    }

    async fn take(&self, subject: &Subject, layer: u32, jpeg: &[u8]) -> std::io::Result<()> {
        let file = self.keep(&subject.id, layer, jpeg).await?;
        self.name(&subject.id, &subject.name).await?;
        let number = self.frames(&subject.id).await.map_or(0, |frames| frames.len());
        self.tell(TimelapseEvent::Frame { id: subject.id.clone(), number, file });
        Ok(())
    }

    /// Makes the video of a recording and tells how that went.
    ///
    /// # Errors
    /// As [`Timelapses::video`].
    pub async fn render(&self, id: &str) -> Result<(), ExportError> {
        let recording = self.get(id).await.map_err(|_| ExportError::NotFound)?;
        self.tell(TimelapseEvent::Rendering { recording: recording.clone() });
        let made = self.video(id, self.choices().framerate, &self.inner.ffmpeg).await;
        self.tell(match &made {
            Ok(_) => TimelapseEvent::Rendered { recording: self.get(id).await.unwrap_or(recording) },
            Err(error) => TimelapseEvent::RenderFailed { recording, reason: error.to_string() },
        });
        made.map(drop)
    }

    fn tell(&self, event: TimelapseEvent) {
        let _nobody_listens = self.inner.events.send(event);
    }
}
