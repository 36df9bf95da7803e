//! Motion JPEG: one endless answer of many parts.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Version, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Webcam;
use super::query::View;
use crate::camera::{CameraHub, Frame, Viewer};
use crate::printer::io::CameraError;

/// As mjpg-streamer names it: some clients look for these very words instead of reading the header.
const BOUNDARY: &str = "boundarydonotcross";
/// A picture that is replayed to a new viewer is at most this old.
const FIRST_AGE: Duration = Duration::from_secs(30);
/// The camera is dark when nothing came for this long; a placeholder is then repeated at this pace.
const PLACEHOLDER_AFTER: Duration = Duration::from_secs(5);

/// The answer's head, before any picture. HTTP/1.0 ends the answer by closing instead of cutting it into chunks, which
/// clients that read the socket themselves do not expect; it is what mjpg-streamer does.
pub(super) fn head(body: Body) -> Response {
    let mut response = Response::new(body);
    *response.version_mut() = Version::HTTP_10;
    for (name, value) in [
        (header::CONTENT_TYPE, "multipart/x-mixed-replace;boundary=boundarydonotcross"),
        (header::CACHE_CONTROL, "no-store, no-cache, must-revalidate, max-age=0"),
        (header::PRAGMA, "no-cache"),
        (header::CONNECTION, "close"),
        // Without it nginx collects pictures before it passes them on.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A stream that begins with the first picture.
///
/// # Errors
/// Why there is none, unless placeholders were asked for.
pub(super) async fn stream(webcam: Webcam, view: View) -> Result<Response, CameraError> {
    let mut viewer = webcam.hub.subscribe()?;
    let shutdown = webcam.options.shutdown.clone();
    let first = tokio::select! {
        () = shutdown.cancelled() => Err(CameraError::Lost("the gateway is stopping".to_owned())),
        first = viewer.first(FIRST_AGE) => first,
    };
    let first = match first {
        Ok(frame) => Some(frame),
        Err(_) if view.placeholder => None,
        Err(error) => return Err(error),
    };
    let parts = Parts { viewer, hub: webcam.hub, view, shutdown, first, not_before: Instant::now() };
    let opening = stream::iter([Bytes::from(format!("--{BOUNDARY}\r\n"))]);
    let pictures = stream::unfold(parts, |mut parts| async move {
        let chunks = parts.next().await?;
        Some((stream::iter(chunks), parts))
    });
    let body = opening.chain(pictures.flatten()).map(Ok::<_, std::convert::Infallible>);
    Ok(head(Body::from_stream(body)))
}

struct Parts {
    viewer: Viewer,
    hub: CameraHub,
    view: View,
    shutdown: CancellationToken,
    /// Awaited before the head was sent.
    first: Option<Arc<Frame>>,
    not_before: Instant,
}

impl Parts {
    /// The next part's chunks; `None` at shutdown. Only called when the socket takes more, so a slow viewer skips.
    async fn next(&mut self) -> Option<[Bytes; 3]> {
        let shutdown = self.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => None,
            part = self.picture() => part,
        }
    }

    async fn picture(&mut self) -> Option<[Bytes; 3]> {
        sleep_until(self.not_before).await;
        let frame = match self.first.take() {
            Some(frame) => frame,
            None if self.view.placeholder => {
                tokio::select! {
                    frame = self.viewer.next() => frame?,
                    () = sleep(PLACEHOLDER_AFTER) => return Some(part(placeholder(), None)),
                }
            }
            None => self.viewer.next().await?,
        };
        if let Some(interval) = self.view.interval {
            self.not_before = Instant::now() + interval;
        }
        Some(part(self.view.data(&self.hub, &frame).await, Some(frame.time)))
    }
}

/// A part and the boundary behind it: browsers show a picture only when the next boundary has come, and the next
/// picture may be seconds away.
fn part(data: Bytes, time: Option<f64>) -> [Bytes; 3] {
    let stamp = time.map_or_else(String::new, |time| format!("X-Timestamp: {time:.6}\r\n"));
    let head = format!("Content-Type: image/jpeg\r\nContent-Length: {}\r\n{stamp}\r\n", data.len());
    [Bytes::from(head), data, Bytes::from_static(b"\r\n--boundarydonotcross\r\n")]
}

/// A dark picture of the usual size, for clients that would rather show something.
fn placeholder() -> Bytes {
    static DARK: OnceLock<Bytes> = OnceLock::new();
    DARK.get_or_init(|| {
        let mut out = Vec::new();
        let drawn =
            JpegEncoder::new(&mut out).encode_image(&RgbImage::from_pixel(640, 360, Rgb([24, 24, 28])));
        if drawn.is_err() {
            out.clear();
        }
        Bytes::from(out)
    })
    .clone()
}
