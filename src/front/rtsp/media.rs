//! What is sent: the video's pictures, or JPEG pictures, each at its time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::description::{H264, JPEG, Media};
use super::jpeg::Picture;
use super::rtp::{CLOCK, Sender};
use super::{h264, jpeg};
use crate::camera::{CameraHub, Frame, Sample, VideoViewer, Viewer};
use crate::model::CameraKind;
use crate::printer::io::CameraError;

/// A picture that is replayed to somebody who asks what there is.
const RECENT: Duration = Duration::from_secs(30);
/// How long ago a replayed picture counts as taken, at most.
const REPLAY: Duration = Duration::from_secs(1);

/// Waits for the first picture of `hub` and tells what it is.
///
/// # Errors
/// Why there is none.
pub(super) async fn describe(hub: &CameraHub) -> Result<Media, CameraError> {
    if hub.kind() != CameraKind::H264 {
        let frame = hub.subscribe()?.first(RECENT).await?;
        return parts(hub, &frame).await.map(|_| Media::Jpeg).map_err(|unfit| {
            CameraError::Blocked(format!("the camera's picture cannot be sent over RTSP: {}", unfit.0))
        });
    }
    // Without a connection the last key picture is an old one.
    let mut viewer = hub.video(hub.health().open)?;
    let sample = viewer.first().await?;
    let sets = viewer.parameter_sets(&sample);
    sets.map(Media::H264).ok_or_else(|| CameraError::Lost("no parameter sets yet".to_owned()))
}

/// The picture in parts that RTP can carry; coded anew where it has a form that it cannot.
async fn parts(hub: &CameraHub, frame: &Frame) -> Result<Picture, jpeg::Unfit> {
    match Picture::read(&frame.data) {
        Ok(picture) => Ok(picture),
        Err(unfit) => match hub.plain(frame).await {
            Some(data) => Picture::read(&data),
            None => Err(unfit),
        },
    }
}

/// The payload type that a camera is sent as; `None` without a camera.
pub(super) fn payload_type(hub: &CameraHub) -> Option<u8> {
    match hub.kind() {
        CameraKind::H264 => Some(H264),
        CameraKind::Jpeg => Some(JPEG),
        CameraKind::None => None,
    }
}

/// One viewer.
pub(super) enum Feed {
    Video(Box<VideoViewer>),
    Pictures(Viewer),
}

/// What a viewer is to be shown next.
pub(super) enum Shown {
    Video(Arc<Sample>),
    Picture(Arc<Frame>),
}

impl Feed {
    /// Video begins with the next key picture.
    ///
    /// # Errors
    /// There is no camera.
    pub fn open(hub: &CameraHub) -> Result<Self, CameraError> {
        Ok(match hub.kind() {
            CameraKind::H264 => Feed::Video(Box::new(hub.video(false)?)),
            _ => Feed::Pictures(hub.subscribe()?),
        })
    }

    /// The next picture; who is slow gets the newest one, or the next key picture. `None` once the camera's hub has
    /// stopped. Cancel-safe.
    pub async fn next(&mut self) -> Option<Shown> {
        match self {
            Feed::Video(viewer) => viewer.next().await.map(Shown::Video),
            Feed::Pictures(viewer) => viewer.next().await.map(Shown::Picture),
        }
    }
}

/// When a stream began, in its own count of time.
#[derive(Default)]
pub(super) struct Beginning {
    video: Option<u64>,
    pictures: Option<Instant>,
}

impl Beginning {
    /// Ticks from the first picture to this one.
    fn ticks(&mut self, shown: &Shown) -> u64 {
        match shown {
            Shown::Video(sample) => sample.time.saturating_sub(*self.video.get_or_insert(sample.time)),
            Shown::Picture(frame) => {
                // The first one may be a replay: its age is not time that the recorder has seen.
                let since = Instant::now().checked_sub(REPLAY).unwrap_or(frame.arrived());
                let first = *self.pictures.get_or_insert(frame.arrived().max(since));
                let micros = frame.arrived().saturating_duration_since(first).as_micros();
                u64::try_from(micros).unwrap_or(u64::MAX).saturating_mul(CLOCK / 10_000) / 100
            }
        }
    }
}

/// Queues a picture with a report if one is due (then true).
pub(super) async fn pack(
    sender: &mut Sender,
    beginning: &mut Beginning,
    hub: &CameraHub,
    feed: &Feed,
    shown: &Shown,
) -> bool {
    let time = beginning.ticks(shown);
    match shown {
        Shown::Video(sample) => {
            let reported = sender.report(time);
            let sets = match feed {
                Feed::Video(viewer) if sample.key => viewer.parameter_sets(sample),
                _ => None,
            };
            let nals: Vec<Bytes> = sets.into_iter().flatten().chain(sample.nals()).collect();
            h264::pack(sender, time, &nals);
            reported
        }
        // One that cannot be shown is left out.
        Shown::Picture(frame) => match parts(hub, frame).await {
            Err(_unfit) => false,
            Ok(picture) => {
                let reported = sender.report(time);
                picture.pack(sender, time);
                reported
            }
        },
    }
}
