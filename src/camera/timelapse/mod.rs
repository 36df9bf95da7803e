//! Timelapse: a picture at each layer, kept with the job, to be had as a zip of pictures or an MP4.
//!
//! ```text
//! <folder>/<job id>/layer-00001.jpg ...   pictures
//! <folder>/<job id>/video.mp4             made on request
//! ```

mod export;
#[cfg(test)]
mod tests;
mod trigger;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::fs;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use export::ExportError;
pub use trigger::{Step, Trigger};

use super::CameraHub;
use crate::model::{Job, PrinterState, UnixSeconds};

/// A picture for a layer may be this old.
const SHOT_AGE: Duration = Duration::from_secs(2);
const VIDEO: &str = "video.mp4";

/// Bounds of what is kept.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Pictures of one job; of longer jobs every n-th layer is taken.
    pub frames: u32,
    /// Jobs; the oldest go first.
    pub jobs: usize,
    /// Bytes over all jobs; the oldest go first.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frames: 1_000, jobs: 20, bytes: 2 << 30 }
    }
}

/// One job's pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recording {
    /// The job's id in the history.
    pub id: String,
    pub frames: usize,
    pub bytes: u64,
    /// When the last picture was taken.
    pub modified: UnixSeconds,
    /// The MP4 is already made.
    pub video: bool,
}

/// The recordings of one printer; cheap to clone.
#[derive(Debug, Clone)]
pub struct Timelapses {
    folder: Arc<Path>,
    limits: Limits,
}

impl Timelapses {
    /// Keeps recordings below `folder`, which is created when needed.
    pub fn new(folder: impl Into<PathBuf>, limits: Limits) -> Self {
        Self { folder: folder.into().into(), limits }
    }

    /// Takes pictures of every job until `cancel`. `id_of` names the job in the history; jobs without an id are left
    /// out. A camera that is dark costs its pictures, never the job.
    pub async fn follow(
        &self,
        hub: CameraHub,
        mut states: watch::Receiver<Arc<PrinterState>>,
        id_of: impl Fn(&Job) -> Option<String> + Send,
        cancel: CancellationToken,
    ) {
        let mut trigger = Trigger::default();
        loop {
            let state = states.borrow_and_update().clone();
            let (step, id) = (trigger.next(&state, self.limits.frames), id_of(&state.job));
            if let Some(id) = id {
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = self.act(&hub, &step, &id) => {}
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = states.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn act(&self, hub: &CameraHub, step: &Step, id: &str) {
        let (layer, over) = match step {
            Step::Nothing => return,
            Step::Shot { layer, .. } => (Some(*layer), false),
            Step::End { last, .. } => (*last, true),
        };
        if let Some(layer) = layer {
            match hub.snapshot(SHOT_AGE).await {
                Err(error) => tracing::debug!(%error, layer, "No timelapse picture."),
                Ok(frame) => {
                    if let Err(error) = self.keep(id, layer, &frame.data).await {
                        tracing::warn!(%error, id, layer, "The timelapse picture could not be kept.");
                    }
                }
            }
        }
        if over && let Err(error) = self.prune(id).await {
            tracing::warn!(%error, "Old timelapses could not be removed.");
        }
    }

    /// Keeps one picture.
    ///
    /// # Errors
    /// A bad id, too many pictures, or the disk's error.
    pub async fn keep(&self, id: &str, layer: u32, jpeg: &[u8]) -> io::Result<()> {
        let folder = self.of(id)?;
        fs::create_dir_all(&folder).await?;
        // One more than planned: the picture of the finished print.
        if pictures(&folder).await?.len() > self.limits.frames as usize {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the timelapse of this job is full"));
        }
        let (temporary, name) = (folder.join("picture.part"), folder.join(format!("layer-{layer:05}.jpg")));
        fs::write(&temporary, jpeg).await?;
        fs::rename(&temporary, &name).await?;
        match fs::remove_file(folder.join(VIDEO)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// All recordings, newest first.
    ///
    /// # Errors
    /// The disk's error; a missing folder is an empty list.
    pub async fn list(&self) -> io::Result<Vec<Recording>> {
        let mut found = Vec::new();
        let mut entries = match fs::read_dir(&self.folder).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        while let Some(entry) = entries.next_entry().await? {
            let Ok(id) = entry.file_name().into_string() else { continue };
            if valid(&id) && entry.file_type().await?.is_dir() {
                found.push(recording(id, &entry.path()).await?);
            }
        }
        found.sort_by(|a, b| b.modified.total_cmp(&a.modified).then_with(|| b.id.cmp(&a.id)));
        Ok(found)
    }

    /// Removes one recording.
    ///
    /// # Errors
    /// A bad or unknown id, or the disk's error.
    pub async fn remove(&self, id: &str) -> io::Result<()> {
        fs::remove_dir_all(self.of(id)?).await
    }

    /// Removes the oldest recordings until the limits hold; `current` stays.
    async fn prune(&self, current: &str) -> io::Result<()> {
        let (mut jobs, mut bytes) = (0, 0);
        for recording in self.list().await? {
            jobs += 1;
            bytes += recording.bytes;
            if recording.id != current && (jobs > self.limits.jobs || bytes > self.limits.bytes) {
                self.remove(&recording.id).await?;
                bytes -= recording.bytes;
            }
        }
        Ok(())
    }

    fn of(&self, id: &str) -> io::Result<PathBuf> {
        if valid(id) {
            Ok(self.folder.join(id))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not the id of a timelapse"))
        }
    }
}

/// An id is a folder's name, so it must not be able to leave.
fn valid(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

async fn recording(id: String, folder: &Path) -> io::Result<Recording> {
    let mut recording = Recording { id, frames: 0, bytes: 0, modified: 0.0, video: false };
    let mut entries = fs::read_dir(folder).await?;
    while let Some(entry) = entries.next_entry().await? {
        // A file that vanishes meanwhile (picture.part) is not counted.
        let Ok(data) = entry.metadata().await else { continue };
        recording.bytes += data.len();
        recording.video |= entry.file_name() == VIDEO;
        if is_picture(&entry.path()) {
            recording.frames += 1;
            let modified = data.modified()?.duration_since(std::time::UNIX_EPOCH);
            recording.modified = recording.modified.max(modified.map_or(0.0, |since| since.as_secs_f64()));
        }
    }
    Ok(recording)
}

/// The pictures in order of layers.
async fn pictures(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut found, mut entries) = (Vec::new(), fs::read_dir(folder).await?);
    while let Some(entry) = entries.next_entry().await? {
        found.extend(Some(entry.path()).filter(|path| is_picture(path)));
    }
    found.sort();
    Ok(found)
}

fn is_picture(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jpg")
}
