//! `/webcam/`: the camera in the convention of all clients (`?action=stream`, `?action=snapshot`) and as plain routes.
//!
//! Whoever mounts the router puts his authentication around it (`Router::layer`), so that one-shot tokens of `<img>`
//! tags, API keys and origins are judged as everywhere else on that port.

mod mjpeg;
mod query;
#[cfg(test)]
mod tests;
mod video;

use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio_util::sync::CancellationToken;

use crate::camera::CameraHub;
use crate::printer::io::CameraError;
use query::{Action, View};

/// How the routes behave.
#[derive(Clone, Default)]
pub struct WebcamOptions {
    /// Ends all streams.
    pub shutdown: CancellationToken,
}

/// A snapshot may be this old: younger than the interval of any client that polls, except fast ones, whose next
/// picture is then the camera's next.
const SNAPSHOT_AGE: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Webcam {
    hub: CameraHub,
    options: WebcamOptions,
}

/// The routes below `/webcam`, to be merged into a printer's router.
pub fn router(hub: CameraHub, options: WebcamOptions) -> Router {
    Router::new()
        .route("/webcam", get(by_action))
        .route("/webcam/", get(by_action))
        .route("/webcam/stream", get(stream))
        .route("/webcam/stream.mjpg", get(stream))
        .route("/webcam/snapshot", get(snapshot))
        .route("/webcam/snapshot.jpg", get(snapshot))
        .route("/webcam/stream.mp4", get(video::progressive))
        .route("/webcam/hls/index.m3u8", get(video::playlist))
        .route("/webcam/hls/{file}", get(video::file))
        .route("/webcam/health", get(health))
        .with_state(Webcam { hub, options })
}

async fn by_action(state: State<Webcam>, method: Method, query: RawQuery) -> Response {
    match Action::of(query.0.as_deref()) {
        Action::Stream => stream(state, method, query).await,
        Action::Snapshot => snapshot(state, method, query).await,
        Action::None => "?action=stream is a motion JPEG stream, ?action=snapshot one picture.\n\
            Both take max_width=PIXELS, the stream also fps=NUMBER.\n"
            .into_response(),
        Action::Unknown(name) => (
            StatusCode::BAD_REQUEST,
            format!("unknown action {name:?}: use action=stream or action=snapshot\n"),
        )
            .into_response(),
    }
}

async fn stream(State(webcam): State<Webcam>, method: Method, RawQuery(query): RawQuery) -> Response {
    match View::of(query.as_deref()) {
        Err(text) => bad_request(text),
        // Nobody wakes a camera to look at headers.
        Ok(_) if method == Method::HEAD => mjpeg::head(axum::body::Body::empty()),
        Ok(view) => mjpeg::stream(webcam, view).await.unwrap_or_else(|error| dark(&error)),
    }
}

async fn snapshot(State(webcam): State<Webcam>, method: Method, RawQuery(query): RawQuery) -> Response {
    let view = match View::of(query.as_deref()) {
        Err(text) => return bad_request(text),
        Ok(view) => view,
    };
    if method == Method::HEAD {
        return picture(axum::body::Body::empty());
    }
    let taken = tokio::select! {
        () = webcam.options.shutdown.cancelled() => Err(CameraError::Lost("the gateway is stopping".to_owned())),
        taken = webcam.hub.snapshot(SNAPSHOT_AGE) => taken,
    };
    match taken {
        Err(error) => dark(&error),
        Ok(frame) => {
            let mut response = picture(view.data(&webcam.hub, &frame).await.into());
            if let Ok(value) = HeaderValue::from_str(&format!("{:.6}", frame.time)) {
                response.headers_mut().insert("x-timestamp", value);
            }
            response
        }
    }
}

async fn health(State(webcam): State<Webcam>) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(webcam.hub.health())).into_response()
}

fn picture(body: axum::body::Body) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "no-store, no-cache, max-age=0")];
    (headers, body).into_response()
}

fn bad_request(text: String) -> Response {
    (StatusCode::BAD_REQUEST, text + "\n").into_response()
}

/// No picture: the reason as text. Clients come again, hence a hint when.
fn dark(error: &CameraError) -> Response {
    let headers = [(header::RETRY_AFTER, "5"), (header::CACHE_CONTROL, "no-store")];
    let why = error.to_string();
    let why = format!("No picture: {}.\n", why.trim_end_matches('.'));
    (StatusCode::SERVICE_UNAVAILABLE, headers, why).into_response()
}
