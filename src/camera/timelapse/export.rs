//! A recording as a zip of its pictures, streamed, or as an MP4 made by ffmpeg.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use thiserror::Error;
use tokio::fs;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{Timelapses, VIDEO, pictures};

/// Chunks between the zip's thread and the socket.
const QUEUE: usize = 4;
/// For encoding a thousand pictures on a Raspberry Pi.
const ENCODING: Duration = Duration::from_secs(600);

/// Why a recording cannot be had in this form.
#[derive(Debug, Error)]
pub enum ExportError {
    #[error("there is no timelapse with this id")]
    NotFound,
    #[error(
        "an MP4 needs ffmpeg on the gateway's machine (Debian: apt install ffmpeg); the zip of pictures does not"
    )]
    NoEncoder,
    #[error("ffmpeg could not make the video: {0}")]
    Encoder(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Timelapses {
    /// The pictures of a recording as a zip, made while it is read; an error ends it early.
    ///
    /// # Errors
    /// [`ExportError::NotFound`] for an unknown or empty recording.
    pub async fn zip(&self, id: &str) -> Result<BoxStream<'static, io::Result<Bytes>>, ExportError> {
        let pictures = self.pictures(id).await?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        // Ends by itself when the reader goes: its writes fail then.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = write_zip(&pictures, Chunks(sender.clone())) {
                let _reader_gone = sender.blocking_send(Err(error));
            }
        });
        Ok(stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
            .boxed())
    }

    /// Bytes of that zip: an empty one of the same names, and the pictures, which are stored as they are. `None` beyond
    /// the sizes that a zip tells in its first form.
    ///
    /// # Errors
    /// [`ExportError::NotFound`] for an unknown or empty recording.
    pub async fn zip_size(&self, id: &str) -> Result<Option<u64>, ExportError> {
        let pictures = self.pictures(id).await?;
        let counted = tokio::task::spawn_blocking(move || {
            let mut counter = Counter(0);
            write_entries(&pictures, &mut counter, |_| Ok(Vec::new()))?;
            for picture in &pictures {
                counter.0 += std::fs::metadata(picture)?.len();
            }
            Ok::<_, io::Error>((counter.0, pictures.len()))
        });
        let (bytes, entries) = counted.await.map_err(io::Error::other)??;
        Ok(Some(bytes).filter(|bytes| *bytes < u64::from(u32::MAX) && entries < usize::from(u16::MAX)))
    }

    /// As [`Timelapses::video`] at the chosen rate, with the encoder of this machine.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub async fn own_video(&self, id: &str) -> Result<PathBuf, ExportError> {
        self.video(id, self.choices().framerate, &self.inner.ffmpeg.clone()).await
    }

    /// The path of the MP4 at `fps` pictures per second, made now if it is not there.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub async fn video(&self, id: &str, fps: u32, ffmpeg: &Path) -> Result<PathBuf, ExportError> {
        let pictures = self.pictures(id).await?;
        let folder = self.of(id)?;
        let (video, part) = (folder.join(VIDEO), folder.join("video.part"));
        // Whoever asks meanwhile waits for the same video.
        let _one = self.inner.encoding.lock().await;
        if fs::try_exists(&video).await? {
            return Ok(video);
        }
        let encoding = encode(&pictures, &part, fps.clamp(1, 60), ffmpeg);
        let encoded = timeout(ENCODING, encoding).await;
        match encoded.unwrap_or_else(|_| Err(ExportError::Encoder("it took too long".to_owned()))) {
            Ok(()) => fs::rename(&part, &video).await?,
            Err(error) => {
                let _may_not_exist = fs::remove_file(&part).await;
                return Err(error);
            }
        }
        Ok(video)
    }

    async fn pictures(&self, id: &str) -> Result<Vec<PathBuf>, ExportError> {
        let folder = self.of(id).map_err(|_| ExportError::NotFound)?;
        match pictures(&folder).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ExportError::NotFound),
            Ok(pictures) if pictures.is_empty() => Err(ExportError::NotFound),
            pictures => Ok(pictures?),
        }
    }
}

async fn encode(pictures: &[PathBuf], output: &Path, fps: u32, ffmpeg: &Path) -> Result<(), ExportError> {
    let mut child = Command::new(ffmpeg)
        .args(["-hide_banner", "-nostdin", "-loglevel", "error", "-y", "-f", "image2pipe", "-c:v", "mjpeg"])
        .args(["-framerate", &fps.to_string(), "-i", "pipe:0", "-an"])
        // H.264 in 4:2:0 wants even sides.
        .args(["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", "libx264", "-pix_fmt", "yuv420p"])
        .args(["-movflags", "+faststart", "-f", "mp4"])
        .arg(output)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ExportError::NoEncoder,
            _ => ExportError::Io(error),
        })?;
    if let Some(mut input) = child.stdin.take() {
        for picture in pictures {
            let data = fs::read(picture).await?;
            input.write_all(&data).await.map_err(|error| ExportError::Encoder(error.to_string()))?;
        }
    }
    let status = child.wait().await?;
    if status.success() { Ok(()) } else { Err(ExportError::Encoder(status.to_string())) }
}

fn write_zip(pictures: &[PathBuf], output: Chunks) -> io::Result<()> {
    write_entries(pictures, output, |picture| std::fs::read(picture))
}

fn write_entries(
    pictures: &[PathBuf],
    output: impl Write,
    content: impl Fn(&Path) -> io::Result<Vec<u8>>,
) -> io::Result<()> {
    let mut zip = ZipWriter::new_stream(output);
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for picture in pictures {
        let name = picture.file_name().unwrap_or_default().to_string_lossy();
        zip.start_file(name, stored)?;
        zip.write_all(&content(picture)?)?;
    }
    zip.finish()?;
    Ok(())
}

/// Counts what is written.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0 += data.len() as u64;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands what is written to the reader's side.
struct Chunks(mpsc::Sender<io::Result<Bytes>>);

impl Write for Chunks {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(data)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
