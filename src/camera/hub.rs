//! What viewers see of a camera.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::demand::Seat;
use super::frame::Frame;
use super::health::{Health, Phase, Status};
use super::scale::Scaler;
use super::upstream::{Outlet, Upstream};
use crate::model::CameraKind;
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
    kind: CameraKind,
    /// `None` where the printer has no camera.
    pictures: Option<Channel>,
    scaler: Scaler,
    cancel: CancellationToken,
}

/// Pictures and the connection they come from.
#[derive(Clone)]
struct Channel {
    upstream: Arc<Upstream>,
    frames: watch::Receiver<Option<Arc<Frame>>>,
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
        let pictures = match (source, kind) {
            (Some(source), CameraKind::Jpeg) => Some(Channel::start(source, settings, tasks, cancel.clone())),
            _ => None,
        };
        Self { inner: Arc::new(Inner { kind, pictures, scaler: Scaler::default(), cancel }) }
    }

    /// What the printer's camera sends; `None` where there is no camera.
    pub fn kind(&self) -> CameraKind {
        self.inner.kind
    }

    /// A new viewer of JPEG pictures. The upstream opens when it first waits for one.
    ///
    /// # Errors
    /// [`CameraError::Blocked`] where there is no camera.
    pub fn subscribe(&self) -> Result<Viewer, CameraError> {
        let channel = self.inner.pictures.as_ref().ok_or_else(no_camera)?;
        let mut frames = channel.frames.clone();
        frames.mark_unchanged();
        Ok(Viewer {
            seat: channel.upstream.demand.join(),
            upstream: Arc::clone(&channel.upstream),
            frames,
            fresh: true,
            cancel: self.inner.cancel.clone(),
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

    /// The state of the camera now.
    pub fn health(&self) -> Health {
        let Some(channel) = &self.inner.pictures else {
            return Health {
                kind: self.inner.kind,
                phase: Phase::Closed,
                open: false,
                viewers: 0,
                last_frame_age: None,
                fps: 0.0,
                reason: Some(no_camera().to_string()),
                frames: 0,
                discarded: 0,
                opened: 0,
            };
        };
        health(self.inner.kind, &channel.upstream)
    }
}

fn health(kind: CameraKind, upstream: &Upstream) -> Health {
    let status = upstream.status.borrow().clone();
    let reading = upstream.meter.read();
    Health {
        kind,
        phase: status.phase,
        open: status.phase == Phase::Open,
        viewers: upstream.demand.viewers(),
        last_frame_age: reading.last_frame_age,
        fps: if status.phase == Phase::Open { reading.fps } else { 0.0 },
        reason: status.reason,
        frames: reading.frames,
        discarded: reading.discarded,
        opened: status.opened,
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
    /// The next picture, or at first the last one; `None` once the hub has stopped. Cancel-safe.
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
        let limit = upstream.settings.first_picture;
        self.fresh = false;
        tokio::select! {
            frame = timeout(limit, self.next()) => match frame {
                Ok(frame) => frame.ok_or_else(|| CameraError::Lost("the gateway is stopping".to_owned())),
                Err(_) => Err(CameraError::Lost(format!("no picture within {} s", limit.as_secs()))),
            },
            error = dark(&upstream) => Err(error),
        }
    }

    /// The last picture if it is not older than `max_age`.
    fn recent(&mut self, max_age: Duration) -> Option<Arc<Frame>> {
        let frame = self.frames.borrow_and_update().clone().filter(|frame| frame.age() <= max_age)?;
        self.fresh = false;
        Some(frame)
    }
}

/// Returns the reason once an attempt has failed.
pub(super) async fn dark(upstream: &Upstream) -> CameraError {
    let mut status = upstream.status.subscribe();
    let failed = status.wait_for(|status| status.phase == Phase::Waiting).await;
    match failed.as_deref() {
        Ok(Status { reason, blocked: true, .. }) => CameraError::Blocked(reason.clone().unwrap_or_default()),
        Ok(Status { reason, .. }) => CameraError::Lost(reason.clone().unwrap_or_default()),
        Err(_) => CameraError::Lost("the gateway is stopping".to_owned()),
    }
}
