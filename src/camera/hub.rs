//! What viewers see of a camera.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::demand::Seat;
use super::frame::Frame;
use super::health::{Health, Phase, Status};
use super::scale::Scaler;
use super::transcode::Transcoder;
use super::upstream::{Outlet, Upstream};
use super::video::{Video, VideoViewer};
use crate::model::{CameraKind, Capabilities};
use crate::printer::io::{CameraError, CameraSource};

/// How a hub behaves; the defaults suit every printer known.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The connection closes this long after the last viewer.
    pub idle_close: Duration,
    /// Without a picture for this long the connection counts as dead.
    pub stale: Duration,
    /// For connecting and logging in.
    pub open_deadline: Duration,
    /// First and longest pause between attempts.
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    /// A new viewer is shown the last picture if it is not older than this.
    pub replay: Duration,
    /// The camera is not opened before the hub is this old. A gateway that was killed a moment ago may still hold the
    /// only place, and a second connection before it is free can cost 20 minutes of darkness (bambu.md 6.1).
    pub rest: Duration,
    /// How long a viewer waits for the first picture: printers in deep sleep need seconds (bambu.md 6.1).
    pub first_picture: Duration,
    /// The program that turns H.264 into JPEG: a path, or a name looked up in PATH.
    pub ffmpeg: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            idle_close: Duration::from_secs(10),
            stale: Duration::from_secs(15),
            open_deadline: Duration::from_secs(20),
            backoff_min: Duration::from_secs(2),
            backoff_max: Duration::from_secs(60),
            replay: Duration::from_secs(30),
            rest: Duration::ZERO,
            first_picture: Duration::from_secs(15),
            ffmpeg: PathBuf::from("ffmpeg"),
        }
    }
}

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

/// What can be watched of one kind of camera. Whoever watches, and the connection, end with it.
struct Channels {
    kind: CameraKind,
    cancel: CancellationToken,
    _end: DropGuard,
    /// `None` where the printer has no camera.
    pictures: Option<Channel>,
    /// Only where the camera sends H.264.
    video: Option<Arc<VideoChannel>>,
}

impl Channels {
    fn start(
        source: Option<Arc<dyn CameraSource>>,
        kind: CameraKind,
        settings: Settings,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let (mut pictures, mut video) = (None, None);
        let cancel = cancel.child_token();
        match (source, kind) {
            (Some(source), CameraKind::Jpeg) => {
                pictures = Some(Channel::start(source, settings, tasks, cancel.clone()));
            }
            (Some(source), CameraKind::H264) => {
                let channel = VideoChannel::start(source, settings.clone(), tasks, cancel.clone());
                pictures = Some(channel.pictures(settings, tasks));
                video = Some(Arc::new(channel));
            }
            _ => {}
        }
        Self { kind, _end: cancel.clone().drop_guard(), cancel, pictures, video }
    }
}

/// Pictures and the connection they come from.
#[derive(Clone)]
struct Channel {
    upstream: Arc<Upstream>,
    frames: watch::Receiver<Option<Arc<Frame>>>,
}

/// H.264 and the connection it comes from.
struct VideoChannel {
    upstream: Arc<Upstream>,
    video: Arc<Video>,
    cancel: CancellationToken,
}

impl Channel {
    /// Starts the task that holds the connection.
    fn start(
        source: Arc<dyn CameraSource>,
        settings: Settings,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let (sender, frames) = watch::channel(None);
        let upstream = Upstream::new(settings, Outlet::Pictures(sender));
        tasks.spawn(Arc::clone(&upstream).run(source, cancel));
        Self { upstream, frames }
    }
}

impl VideoChannel {
    /// As [`Channel::start`].
    fn start(
        source: Arc<dyn CameraSource>,
        settings: Settings,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let video = Arc::new(Video::new());
        let upstream = Upstream::new(settings, Outlet::Video(Arc::clone(&video)));
        tasks.spawn(Arc::clone(&upstream).run(source, cancel.clone()));
        Self { upstream, video, cancel }
    }

    /// The JPEG channel behind it: a camera of its own, whose connection is a child process.
    fn pictures(&self, settings: Settings, tasks: &TaskTracker) -> Channel {
        let transcoder = Transcoder {
            ffmpeg: settings.ffmpeg.clone(),
            upstream: Arc::clone(&self.upstream),
            video: Arc::clone(&self.video),
            cancel: self.cancel.clone(),
        };
        Channel::start(Arc::new(transcoder), settings, tasks, self.cancel.clone())
    }
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
        let mut frames = channel.frames.clone();
        frames.mark_unchanged();
        Ok(Viewer {
            seat: channel.upstream.demand.join(),
            upstream: Arc::clone(&channel.upstream),
            frames,
            fresh: true,
            cancel: channels.cancel.clone(),
        })
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
            first(upstream, finished).await?;
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

/// One viewer of JPEG pictures. Whoever is slow gets the newest picture next, never a queue.
pub struct Viewer {
    seat: Seat,
    upstream: Arc<Upstream>,
    frames: watch::Receiver<Option<Arc<Frame>>>,
    /// Nothing was shown yet: the last picture may be replayed.
    fresh: bool,
    cancel: CancellationToken,
}

impl Viewer {
    /// The next picture, or at first the last one; `None` once the hub has stopped, or the camera turned out to be of
    /// another kind. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<Frame>> {
        let _waiting = self.seat.demand().wait();
        if self.fresh
            && let Some(frame) = self.recent(self.upstream.settings.replay)
        {
            return Some(frame);
        }
        let changed = tokio::select! {
            () = self.cancel.cancelled() => return None,
            changed = self.frames.changed() => changed,
        };
        changed.ok()?;
        self.fresh = false;
        self.frames.borrow_and_update().clone()
    }

    /// A picture not older than `max_age`.
    ///
    /// # Errors
    /// Why there is none: at once if the camera just refused, else after [`Settings::first_picture`].
    pub async fn first(&mut self, max_age: Duration) -> Result<Arc<Frame>, CameraError> {
        if let Some(frame) = self.recent(max_age) {
            self.seat.demand().touch();
            return Ok(frame);
        }
        let upstream = Arc::clone(&self.upstream);
        self.fresh = false;
        first(&upstream, self.next()).await
    }

    /// The last picture if it is not older than `max_age`.
    fn recent(&mut self, max_age: Duration) -> Option<Arc<Frame>> {
        let frame = self.frames.borrow_and_update().clone().filter(|frame| frame.age() <= max_age)?;
        self.fresh = false;
        Some(frame)
    }
}

/// What comes first: the picture, the reason of a failed attempt, or the end of patience.
pub(super) async fn first<T>(
    upstream: &Upstream,
    next: impl Future<Output = Option<T>>,
) -> Result<T, CameraError> {
    let limit = upstream.settings.first_picture;
    tokio::select! {
        next = timeout(limit, next) => match next {
            Ok(next) => next.ok_or_else(|| CameraError::Lost("the gateway is stopping".to_owned())),
            Err(_) => Err(CameraError::Lost(format!("no picture within {} s", limit.as_secs()))),
        },
        error = dark(upstream) => Err(error),
    }
}

/// Returns the reason once an attempt has failed.
async fn dark(upstream: &Upstream) -> CameraError {
    let mut status = upstream.status.subscribe();
    let failed = status.wait_for(|status| status.phase == Phase::Waiting).await;
    match failed.as_deref() {
        Ok(Status { reason, blocked: true, .. }) => CameraError::Blocked(reason.clone().unwrap_or_default()),
        Ok(Status { reason, .. }) => CameraError::Lost(reason.clone().unwrap_or_default()),
        Err(_) => CameraError::Lost("the gateway is stopping".to_owned()),
    }
}
