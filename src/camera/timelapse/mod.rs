//! Timelapse: a picture at each layer, kept with the job, to be had as a zip of pictures or an MP4.
//!
//! ```text
//! <folder>/<job id>/layer-00001.jpg ...   pictures
//! <folder>/<job id>/video.mp4             made on request
//! <folder>/<name>.zip                     archives that users had made
//! ```

mod collections;
mod export;
mod recorder;
#[cfg(test)]
mod tests;
mod trigger;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::Serialize;
use tokio::fs;
use tokio::sync::broadcast;

pub use collections::Collection;
pub use export::ExportError;
pub use recorder::{Choices, Subject, TimelapseEvent};
pub use trigger::{Step, Trigger};

use crate::model::UnixSeconds;
use crate::model::text::base_name;

const VIDEO: &str = "video.mp4";
/// Holds the name of the job's file.
const NAME: &str = "name.txt";
/// Events that wait for a slow listener.
const EVENTS: usize = 16;

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
    /// Bytes of the MP4; `None` before it is made.
    pub video: Option<u64>,
    /// The file that was printed, without folder.
    pub name: String,
}

impl Recording {
    /// How its files are called, before the suffix: the print's name and the job's id.
    pub fn title(&self) -> String {
        let stem = [".gcode.3mf", ".3mf", ".gcode", ".gco", ".g"]
            .iter()
            .find_map(|suffix| self.name.strip_suffix(suffix))
            .unwrap_or(&self.name);
        let plain = |c: char| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c };
        let stem: String = stem.chars().map(plain).take(120).collect();
        if stem.is_empty() { self.id.clone() } else { format!("{stem}_{}", self.id) }
    }
}

/// The recordings of one printer; cheap to clone.
#[derive(Debug, Clone)]
pub struct Timelapses {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    limits: Limits,
    /// The program that encodes videos: a path, or a name looked up in PATH.
    ffmpeg: PathBuf,
    choices: Mutex<Choices>,
    /// One video is made at a time: it takes a core.
    encoding: tokio::sync::Mutex<()>,
    events: broadcast::Sender<TimelapseEvent>,
}

impl Timelapses {
    /// Keeps recordings below `folder`, which is created when needed. `choices` count until a user chooses.
    pub fn new(folder: impl Into<PathBuf>, limits: Limits, choices: Choices) -> Self {
        let folder = folder.into();
        let choices = Mutex::new(recorder::load_choices(&folder, choices));
        let inner = Inner {
            folder,
            limits,
            ffmpeg: PathBuf::from("ffmpeg"),
            choices,
            encoding: tokio::sync::Mutex::default(),
            events: broadcast::Sender::new(EVENTS),
        };
        Self { inner: Arc::new(inner) }
    }

    pub fn events(&self) -> broadcast::Receiver<TimelapseEvent> {
        self.inner.events.subscribe()
    }

    /// Keeps one picture and returns its file's name.
    ///
    /// # Errors
    /// A bad id, too many pictures, or the disk's error.
    pub async fn keep(&self, id: &str, layer: u32, jpeg: &[u8]) -> io::Result<String> {
        let folder = self.of(id)?;
        fs::create_dir_all(&folder).await?;
        // One more than planned: the picture of the finished print.
        if pictures(&folder).await?.len() > self.inner.limits.frames as usize {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the timelapse of this job is full"));
        }
        let (temporary, name) = (folder.join("picture.part"), format!("layer-{layer:05}.jpg"));
        fs::write(&temporary, jpeg).await?;
        fs::rename(&temporary, &folder.join(&name)).await?;
        self.remove_video(id).await?;
        Ok(name)
    }

    /// Notes the file that the job printed.
    async fn name(&self, id: &str, name: &str) -> io::Result<()> {
        let file = self.of(id)?.join(NAME);
        if fs::try_exists(&file).await? {
            return Ok(());
        }
        fs::write(file, base_name(name)).await
    }

    /// One recording.
    ///
    /// # Errors
    /// A bad or unknown id, or the disk's error.
    pub async fn get(&self, id: &str) -> io::Result<Recording> {
        recording(id.to_owned(), &self.of(id)?).await
    }

    /// The pictures of a recording, by layer.
    ///
    /// # Errors
    /// A bad or unknown id, or the disk's error.
    pub async fn frames(&self, id: &str) -> io::Result<Vec<PathBuf>> {
        pictures(&self.of(id)?).await
    }

    /// Removes the video of a recording, not its pictures.
    ///
    /// # Errors
    /// A bad id, or the disk's error.
    pub async fn remove_video(&self, id: &str) -> io::Result<()> {
        match fs::remove_file(self.of(id)?.join(VIDEO)).await {
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
        let Some(mut entries) = entries(&self.inner.folder).await? else { return Ok(found) };
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

    /// Removes the oldest recordings until the limits hold, and adds them to `removed`; `current` stays. The history
    /// counts its jobs up, so that their ids tell the age where the times of the files do not: a computer without a
    /// battery begins with a clock of yesterday.
    async fn prune(&self, current: &str, removed: &mut Vec<Recording>) -> io::Result<()> {
        let (mut jobs, mut bytes) = (0, 0);
        let mut recordings = self.list().await?;
        recordings.sort_by(|a, b| (b.id.len(), &b.id).cmp(&(a.id.len(), &a.id)));
        for recording in recordings {
            jobs += 1;
            bytes += recording.bytes;
            if recording.id != current && (jobs > self.inner.limits.jobs || bytes > self.inner.limits.bytes) {
                self.remove(&recording.id).await?;
                bytes -= recording.bytes;
                removed.push(recording);
            }
        }
        Ok(())
    }

    fn of(&self, id: &str) -> io::Result<PathBuf> {
        if valid(id) {
            Ok(self.inner.folder.join(id))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not the id of a timelapse"))
        }
    }
}

/// `None` where the folder was not made yet.
async fn entries(folder: &Path) -> io::Result<Option<fs::ReadDir>> {
    match fs::read_dir(folder).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        entries => entries.map(Some),
    }
}

/// An id is a folder's name, so it must not be able to leave.
fn valid(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

async fn recording(id: String, folder: &Path) -> io::Result<Recording> {
    let name = fs::read_to_string(folder.join(NAME)).await.unwrap_or_default();
    let mut recording = Recording { id, frames: 0, bytes: 0, modified: 0.0, video: None, name };
    let mut entries = fs::read_dir(folder).await?;
    while let Some(entry) = entries.next_entry().await? {
        // A file that vanishes meanwhile (picture.part) is not counted.
        let Ok(data) = entry.metadata().await else { continue };
        recording.bytes += data.len();
        if entry.file_name() == VIDEO {
            recording.video = Some(data.len());
        }
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
