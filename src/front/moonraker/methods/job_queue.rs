//! `server.job_queue.*` (moonraker.md 2.10).

use serde_json::{Value, json};

use super::super::error::RpcError;
use super::super::rpc::Call;
use super::printer::{library_path, not_started, not_stopped};
use crate::jobs::{Queue, QueueState, StartError};
use crate::model::Speaker;
use crate::printer::clock::unix_now;

/// A queue that waits for its user is "paused": the clients show their start button for that word alone.
pub fn state_word(state: QueueState) -> &'static str {
    match state {
        QueueState::Waiting => "paused",
        QueueState::Loading => "loading",
    }
}

pub fn queued(queue: &Queue) -> Value {
    let now = unix_now();
    queue
        .jobs
        .iter()
        .map(|job| {
            json!({
                "filename": job.file,
                "job_id": job.id,
                "time_added": job.added_at,
                "time_in_queue": (now - job.added_at).max(0.0),
            })
        })
        .collect()
}

fn answer(queue: &Queue) -> Value {
    json!({"queued_jobs": queued(queue), "queue_state": state_word(queue.state)})
}

pub async fn status(call: Call) -> Result<Value, RpcError> {
    Ok(answer(&call.endpoint.station.jobs.queue()))
}

pub async fn post_job(call: Call) -> Result<Value, RpcError> {
    let files: Vec<String> =
        call.args.texts("filenames")?.iter().map(|name| library_path(name).to_owned()).collect();
    let library = &call.endpoint.station.library;
    for file in &files {
        if library.record(file).await.is_err() {
            return Err(RpcError::bad_request(format!("G-Code File {file} does not exist")));
        }
    }
    let reset = call.args.flag("reset")?;
    let queue = call.endpoint.station.jobs.enqueue(files, reset).await.map_err(refusal)?;
    Ok(answer(&queue))
}

fn refusal(error: StartError) -> RpcError {
    match error {
        StartError::NotFound(reason) => RpcError::bad_request(reason),
        other => other.into(),
    }
}

pub async fn delete_job(call: Call) -> Result<Value, RpcError> {
    let jobs = &call.endpoint.station.jobs;
    let queue = if call.args.flag("all")? {
        jobs.dequeue(None)
    } else {
        jobs.dequeue(Some(&call.args.texts("job_ids")?))
    };
    Ok(answer(&queue))
}

/// The queue waits for its user as it is; a job that is being started is cancelled as every other.
pub async fn pause(call: Call) -> Result<Value, RpcError> {
    Ok(answer(&call.endpoint.station.jobs.queue()))
}

pub async fn start(call: Call) -> Result<Value, RpcError> {
    not_stopped(&call.endpoint)?;
    let station = &call.endpoint.station;
    // Its button shows no error.
    let file = station.jobs.queue().jobs.first().map(|job| job.file.clone()).unwrap_or_default();
    let started = station.jobs.start_queue().await;
    let told = |error| match error {
        // Klipper's words for a missing file do not say which one of the queue it is.
        missing @ StartError::NotFound(_) => {
            station.say(Speaker::Error, missing.to_string());
            refusal(missing)
        }
        other => not_started(station, &file, other),
    };
    Ok(answer(&started.map_err(told)?))
}

pub async fn jump(call: Call) -> Result<Value, RpcError> {
    let id = call.args.text("job_id")?;
    let queue = call.endpoint.station.jobs.jump_queue(&id);
    queue.map(|queue| answer(&queue)).ok_or_else(|| RpcError::bad_request(format!("Invalid job id: {id}")))
}
