//! Starting and steering a print with everything the gateway knows of it: `/printers/<name>/moongate/...`.
//!
//! Moonraker's own start knows a file name only; here go plate, filament mapping, options and overrides, and a preview
//! says what a start would do. Bodies are strict JSON: a web page of another origin cannot send them unasked.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::jobs::{StartError, StartRequest};
use crate::model::{CommandError, ConsoleLine, Outcome, Speaker, UnixSeconds};
use crate::station::Station;

/// The routes of one printer.
pub fn router(station: Station) -> Router {
    Router::new()
        .route("/start", post(start))
        .route("/preview", post(preview))
        .route("/pause", post(pause))
        .route("/resume", post(resume))
        .route("/cancel", post(cancel))
        .route("/console", get(console))
        .with_state(station)
}

/// An error as these routes tell it: `{"error": {"code": ..., "text": ...}}`.
pub(super) struct Refusal {
    status: StatusCode,
    code: String,
    text: String,
}

impl Refusal {
    /// Only a change of the configuration helps.
    pub(super) fn configured(text: String) -> Self {
        Self { status: StatusCode::CONFLICT, code: "configured".to_owned(), text }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"error": {"code": self.code, "text": self.text}}))).into_response()
    }
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Self {
        let (status, code) = match &error {
            CommandError::Offline(_) => (StatusCode::SERVICE_UNAVAILABLE, "offline"),
            CommandError::Unsupported(_) => (StatusCode::NOT_IMPLEMENTED, "unsupported"),
            CommandError::NotAllowed(_) => (StatusCode::FORBIDDEN, "not_allowed"),
            CommandError::Busy(_) => (StatusCode::CONFLICT, "busy"),
            CommandError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
            CommandError::Refused { .. } => (StatusCode::BAD_GATEWAY, "refused"),
            CommandError::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
            CommandError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self { status, code: code.to_owned(), text: error.to_string() }
    }
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        let text = error.to_string();
        match error {
            StartError::NotFound(_) => {
                Self { status: StatusCode::NOT_FOUND, code: "not_found".to_owned(), text }
            }
            StartError::Objection { code, .. } => Self { status: StatusCode::CONFLICT, code, text },
            StartError::Command(error) => error.into(),
            StartError::Failed(_) => {
                Self { status: StatusCode::INTERNAL_SERVER_ERROR, code: "failed".to_owned(), text }
            }
        }
    }
}

#[derive(Deserialize)]
struct Patience {
    /// Wait until the printer's own report shows the job, or why not.
    #[serde(default)]
    watch: bool,
}

async fn start(
    State(station): State<Station>,
    Query(patience): Query<Patience>,
    Json(request): Json<StartRequest>,
) -> Result<Json<Value>, Refusal> {
    station.say(Speaker::Client, format!("start {}", request.file));
    let started = if patience.watch {
        station.jobs.start_and_watch(request).await.map(|phase| json!({"phase": phase}))
    } else {
        station.jobs.start(request).await.map(|()| json!({"phase": station.printer.state().job.phase}))
    };
    started.map(Json).map_err(|error| {
        station.say(Speaker::Error, format!("start: {error}"));
        error.into()
    })
}

async fn preview(
    State(station): State<Station>,
    Json(request): Json<StartRequest>,
) -> Result<impl IntoResponse, Refusal> {
    Ok(Json(station.jobs.preview(&request).await?))
}

fn told(outcome: Outcome) -> Json<Value> {
    Json(json!({"seen": outcome.seen, "note": outcome.note}))
}

/// An empty JSON object: its content type keeps pages of other origins out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

async fn pause(
    State(station): State<Station>,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Json<Value>, Refusal> {
    Ok(told(station.jobs.pause().await?))
}

async fn resume(
    State(station): State<Station>,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Json<Value>, Refusal> {
    Ok(told(station.jobs.resume().await?))
}

async fn cancel(
    State(station): State<Station>,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Json<Value>, Refusal> {
    Ok(told(station.jobs.cancel().await?))
}

#[derive(Deserialize)]
struct After {
    /// Only what was said after the line of this time.
    after: Option<UnixSeconds>,
    count: Option<usize>,
}

async fn console(State(station): State<Station>, Query(wanted): Query<After>) -> Json<Vec<ConsoleLine>> {
    let lines = station.console.last(wanted.count.unwrap_or(usize::MAX));
    Json(match wanted.after {
        Some(after) => said_after(lines, after),
        None => lines,
    })
}

/// The lines that follow the one of that time, in the order in which they were said: a clock that was set back must
/// not hide them. Where that line is gone, the later ones.
fn said_after(mut lines: Vec<ConsoleLine>, after: UnixSeconds) -> Vec<ConsoleLine> {
    match lines.iter().rposition(|line| line.time == after) {
        Some(at) => lines.split_off(at + 1),
        None => {
            lines.retain(|line| line.time > after);
            lines
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Speaker;

    #[test]
    fn a_clock_that_was_set_back_hides_no_line() {
        let line = |time: f64| ConsoleLine { time, text: time.to_string(), speaker: Speaker::Answer };
        let times = |lines: Vec<ConsoleLine>| lines.iter().map(|line| line.time).collect::<Vec<_>>();
        let said = [10.0, 11.0, 4.0, 5.0].map(line).to_vec();
        assert_eq!(times(said_after(said.clone(), 11.0)), [4.0, 5.0]);
        assert_eq!(times(said_after(said.clone(), 5.0)), [] as [f64; 0]);
        assert_eq!(times(said_after(said.clone(), 0.0)), [10.0, 11.0, 4.0, 5.0]);
        assert_eq!(times(said_after(said, 10.5)), [11.0], "its line is gone");
    }
}
