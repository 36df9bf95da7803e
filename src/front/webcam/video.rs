//! H.264 passed on: an HLS playlist with fMP4 segments, and one endless MP4 file.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio_util::sync::CancellationToken;

use super::{Webcam, dark};
use crate::camera::{Sample, VideoViewer};
use crate::printer::io::CameraError;

/// The type that hls.js, Safari and ffmpeg expect.
const PLAYLIST: &str = "application/vnd.apple.mpegurl";

pub(super) async fn playlist(
    State(webcam): State<Webcam>,
    method: Method,
    RawQuery(query): RawQuery,
) -> Response {
    let headers = [(header::CONTENT_TYPE, PLAYLIST), (header::CACHE_CONTROL, "no-store")];
    if method == Method::HEAD {
        return headers.into_response();
    }
    let playlist = tokio::select! {
        () = webcam.options.shutdown.cancelled() => Err(stopping()),
        playlist = webcam.hub.playlist() => playlist,
    };
    match playlist {
        Ok(text) => (headers, with_pass(text, query.as_deref())).into_response(),
        Err(error) => dark(&error),
    }
}

/// Players ask for the segments as the playlist names them, so it carries on the pass with which it was asked for.
fn with_pass(playlist: String, query: Option<&str>) -> String {
    let clean = |c: char| c.is_ascii_alphanumeric() || "._-=".contains(c);
    let pass = query.unwrap_or_default().split('&').find(|part| part.starts_with("pass="));
    match pass.filter(|pass| pass.chars().all(clean)) {
        Some(pass) => {
            playlist.replace(".m4s\n", &format!(".m4s?{pass}\n")).replace(".mp4\"", &format!(".mp4?{pass}\""))
        }
        None => playlist,
    }
}

pub(super) async fn file(State(webcam): State<Webcam>, Path(name): Path<String>) -> Response {
    let number =
        |prefix: &str, suffix: &str| name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse::<u64>().ok();
    let found = if let Some(generation) = number("init-", ".mp4") {
        webcam.hub.initialization(generation).map(|data| (data, "video/mp4"))
    } else {
        number("seg-", ".m4s")
            .and_then(|number| webcam.hub.segment(number))
            .map(|data| (data, "video/iso.segment"))
    };
    match found {
        // Numbers begin anew with the process, so nothing may be kept for long.
        Some((data, kind)) => {
            ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=10")], data).into_response()
        }
        None => {
            (StatusCode::NOT_FOUND, "no such segment: it is over, read the playlist again\n").into_response()
        }
    }
}

pub(super) async fn progressive(State(webcam): State<Webcam>, method: Method) -> Response {
    let answer = |body: Body| {
        ([(header::CONTENT_TYPE, "video/mp4"), (header::CACHE_CONTROL, "no-store")], body).into_response()
    };
    if method == Method::HEAD {
        return answer(Body::empty());
    }
    let mut viewer = match webcam.hub.video(false) {
        Ok(viewer) => viewer,
        Err(error) => return dark(&error),
    };
    let shutdown = webcam.options.shutdown.clone();
    let first = tokio::select! {
        () = shutdown.cancelled() => Err(stopping()),
        first = viewer.first() => first,
    };
    let first = match first {
        Ok(first) => first,
        Err(error) => return dark(&error),
    };
    let file = File { viewer, shutdown, first: Some(first), generation: None };
    let chunks = stream::unfold(file, |mut file| async move {
        let chunks = file.next().await?;
        Some((stream::iter(chunks), file))
    });
    answer(Body::from_stream(chunks.flatten().map(Ok::<_, std::convert::Infallible>)))
}

struct File {
    viewer: VideoViewer,
    shutdown: CancellationToken,
    /// Awaited before the head was sent.
    first: Option<Arc<Sample>>,
    generation: Option<u64>,
}

impl File {
    /// The next fragment; `None` at shutdown and when the camera changes its format, which one file cannot.
    async fn next(&mut self) -> Option<Vec<Bytes>> {
        let shutdown = self.shutdown.clone();
        let sample = match self.first.take() {
            Some(sample) => sample,
            None => tokio::select! {
                () = shutdown.cancelled() => return None,
                sample = self.viewer.next() => sample?,
            },
        };
        let mut chunks = Vec::with_capacity(3);
        match self.generation {
            None => {
                chunks.push(self.viewer.initialization(&sample)?);
                self.generation = Some(sample.generation);
            }
            Some(known) if known != sample.generation => return None,
            Some(_) => {}
        }
        chunks.extend(self.viewer.fragment(&sample));
        Some(chunks)
    }
}

fn stopping() -> CameraError {
    CameraError::Lost("the gateway is stopping".to_owned())
}
