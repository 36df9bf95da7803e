//! What a kind of camera gives: pictures, and H.264 where it sends that.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::frame::Frame;
use super::settings::Settings;
use super::transcode::Transcoder;
use super::upstream::{Outlet, Upstream};
use super::video::Video;
use crate::model::CameraKind;
use crate::printer::io::CameraSource;

/// What can be watched of one kind of camera. Whoever watches, and the connection, end with it.
pub(super) struct Channels {
    pub kind: CameraKind,
    pub cancel: CancellationToken,
    _end: DropGuard,
    /// `None` where the printer has no camera.
    pub pictures: Option<Channel>,
    /// Only where the camera sends H.264.
    pub video: Option<Arc<VideoChannel>>,
}

impl Channels {
    pub fn start(
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
pub(super) struct Channel {
    pub upstream: Arc<Upstream>,
    pub frames: watch::Receiver<Option<Arc<Frame>>>,
}

/// H.264 and the connection it comes from.
pub(super) struct VideoChannel {
    pub upstream: Arc<Upstream>,
    pub video: Arc<Video>,
    pub cancel: CancellationToken,
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
