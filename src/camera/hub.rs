//! What viewers see of a camera.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::channels::{Channels, VideoChannel};
use super::frame::Frame;
use super::health::{Health, Phase};
use super::scale::Scaler;
use super::settings::Settings;
use super::video::VideoViewer;
use super::viewer::Viewer;
use crate::model::{CameraKind, Capabilities};
use crate::printer::io::{CameraError, CameraSource};

/// The camera of one printer; cheap to clone.
#[derive(Clone)]
pub struct CameraHub {
    inner: Arc<Inner>,
}

struct Inner {
    /// Replaced when the printer turns out to have another kind of camera than was thought.
    channels: Mutex<Arc<Channels>>,
    source: Option<Arc<dyn CameraSource>>,
    settings: Settings,
    scaler: Scaler,
    cancel: CancellationToken,
}

impl CameraHub {
    /// A hub whose connection lives in `tasks` until `cancel`. Nothing is opened before somebody watches.
    pub fn new(
        source: Option<Arc<dyn CameraSource>>,
        kind: CameraKind,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        Self::with_settings(source, kind, Settings::default(), tasks, cancel)
    }

    /// As [`CameraHub::new`] with other times.
    pub fn with_settings(
        source: Option<Arc<dyn CameraSource>>,
        kind: CameraKind,
        settings: Settings,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let channels = Channels::start(source.clone(), kind, settings.clone(), tasks, cancel.clone());
        let channels = Mutex::new(Arc::new(channels));
        Self { inner: Arc::new(Inner { channels, source, settings, scaler: Scaler::default(), cancel }) }
    }

    /// Becomes a hub of another kind of camera whenever the printer turns out to have one; ends with the hub's
    /// `cancel`. A model that only its reports tell is known after the first contact.
    pub async fn follow(self, mut capabilities: watch::Receiver<Arc<Capabilities>>, tasks: TaskTracker) {
        loop {
            let kind = capabilities.borrow_and_update().camera;
            if kind != self.kind() {
                let Inner { source, settings, cancel, .. } = &*self.inner;
                let channels =
                    Channels::start(source.clone(), kind, settings.clone(), &tasks, cancel.clone());
                *self.inner.channels.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(channels);
            }
            tokio::select! {
                () = self.inner.cancel.cancelled() => return,
                changed = capabilities.changed() => if changed.is_err() { return },
            }
        }
    }

    fn channels(&self) -> Arc<Channels> {
        self.inner.channels.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the printer's camera sends; `None` where there is no camera.
    pub fn kind(&self) -> CameraKind {
        self.channels().kind
    }

    /// A new viewer of JPEG pictures. The upstream opens when it first waits for one.
    ///
    /// # Errors
    /// [`CameraError::Blocked`] where there is no camera.
    pub fn subscribe(&self) -> Result<Viewer, CameraError> {
        let channels = self.channels();
        let channel = channels.pictures.as_ref().ok_or_else(no_camera)?;
        Ok(Viewer::new(channel, channels.cancel.clone()))
    }

    /// A picture not older than `max_age`, fetched if need be.
    ///
    /// # Errors
    /// Why there is none, in plain words.
    pub async fn snapshot(&self, max_age: Duration) -> Result<Arc<Frame>, CameraError> {
        self.subscribe()?.first(max_age).await
    }

    /// `frame` at most `width` pixels wide, as JPEG; the original if it is narrower.
    pub async fn shrink(&self, frame: &Frame, width: u32) -> Bytes {
        self.inner.scaler.shrink(frame, width).await
    }

    /// `frame` as sequential JPEG with 4:2:0 colours and standard Huffman tables, which every decoder and RTP know;
    /// `None` where it cannot be decoded.
    pub async fn plain(&self, frame: &Frame) -> Option<Bytes> {
        self.inner.scaler.plain(frame).await
    }

    /// A new viewer of H.264, beginning with the last key picture (`replay`) or with the next one.
    ///
    /// # Errors
    /// [`CameraError::Blocked`] where the camera sends none.
    pub fn video(&self, replay: bool) -> Result<VideoViewer, CameraError> {
        let channel = self.video_channel()?;
        Ok(VideoViewer::new(&channel.upstream, &channel.video, replay, channel.cancel.clone()))
    }

    /// The live HLS playlist, which names `init-N.mp4` and `seg-N.m4s`; waits for the first segment. While the camera is
    /// dark, a player that had the playlist gets it once more: hls.js gives up for good at an error, and so goes on by
    /// itself when the camera is back.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn playlist(&self) -> Result<String, CameraError> {
        let VideoChannel { upstream, video, .. } = &*self.video_channel()?;
        let open = upstream.status.borrow().phase == Phase::Open;
        if !open && video.played() {
            upstream.demand.touch();
        } else if !open || video.playlist().is_none() {
            // A playlist of an earlier connection would have a new player wait for segments that are gone.
            let waiting = upstream.demand.wait();
            let mut segments = video.segments();
            let finished = async { segments.changed().await.ok() };
            upstream.first(finished).await?;
            drop(waiting);
        } else {
            upstream.demand.touch();
        }
        video.playlist_for_player().ok_or_else(|| CameraError::Lost("no video yet".to_owned()))
    }

    /// HLS segment `number`, while it is kept.
    pub fn segment(&self, number: u64) -> Option<Bytes> {
        let channel = self.channels().video.clone()?;
        channel.upstream.demand.touch();
        channel.video.segment(number)
    }

    /// The initialisation segment of `generation`, while it is kept.
    pub fn initialization(&self, generation: u64) -> Option<Bytes> {
        self.channels().video.as_ref()?.video.initialization(generation)
    }

    fn video_channel(&self) -> Result<Arc<VideoChannel>, CameraError> {
        let channels = self.channels();
        channels.video.clone().ok_or_else(|| match channels.pictures {
            Some(_) => CameraError::Blocked("this camera sends JPEG pictures, no video".to_owned()),
            None => no_camera(),
        })
    }

    /// Width and height of the last picture in pixels; `None` before the first.
    pub fn size(&self) -> Option<(u32, u32)> {
        let channels = self.channels();
        if let Some(video) = &channels.video {
            return video.video.size();
        }
        let frame = channels.pictures.as_ref()?.frames.borrow().clone()?;
        let reader =
            image::ImageReader::with_format(std::io::Cursor::new(&frame.data), image::ImageFormat::Jpeg);
        reader.into_dimensions().ok()
    }

    /// Pictures per second that the camera gives when it is open, as last measured; whole, at least 1.
    pub fn usual_rate(&self) -> Option<u32> {
        let channels = self.channels();
        let video = channels.video.as_ref().map(|channel| &channel.upstream);
        let upstream = video.or(channels.pictures.as_ref().map(|channel| &channel.upstream))?;
        upstream.meter.usual_rate().map(|rate| rate.round().clamp(1.0, 60.0) as u32)
    }

    /// The state of the camera now. For an H.264 camera these are the figures of the video; a reason of the JPEG
    /// conversion is told where the video has none.
    pub fn health(&self) -> Health {
        let inner = self.channels();
        let Some(pictures) = &inner.pictures else {
            return Health::absent(inner.kind, no_camera().to_string());
        };
        let Some(video) = &inner.video else { return pictures.upstream.health(inner.kind) };
        let mut health = video.upstream.health(inner.kind);
        let converted = pictures.upstream.health(inner.kind);
        // The conversion is itself one viewer of the video.
        health.viewers = (health.viewers + converted.viewers).saturating_sub(usize::from(converted.open));
        health.reason = health.reason.or(converted.reason);
        health
    }
}

fn no_camera() -> CameraError {
    CameraError::Blocked("this printer has no camera that the gateway can reach".to_owned())
}
