//! One viewer of pictures; that of H.264 is in `video`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::channels::Channel;
use super::demand::Seat;
use super::frame::Frame;
use super::upstream::Upstream;
use crate::printer::io::CameraError;

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
    pub(super) fn new(channel: &Channel, cancel: CancellationToken) -> Self {
        let mut frames = channel.frames.clone();
        frames.mark_unchanged();
        let (seat, upstream) = (channel.upstream.demand.join(), Arc::clone(&channel.upstream));
        Self { seat, upstream, frames, fresh: true, cancel }
    }

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
    /// Why there is none: at once if the camera just refused, else after [`Settings::first_picture`](super::Settings::first_picture).
    pub async fn first(&mut self, max_age: Duration) -> Result<Arc<Frame>, CameraError> {
        if let Some(frame) = self.recent(max_age) {
            self.seat.demand().touch();
            return Ok(frame);
        }
        let upstream = Arc::clone(&self.upstream);
        self.fresh = false;
        upstream.first(self.next()).await
    }

    /// The last picture if it is not older than `max_age`.
    fn recent(&mut self, max_age: Duration) -> Option<Arc<Frame>> {
        let frame = self.frames.borrow_and_update().clone().filter(|frame| frame.age() <= max_age)?;
        self.fresh = false;
        Some(frame)
    }
}
