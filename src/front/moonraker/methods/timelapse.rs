//! `machine.timelapse.*`, as the component of that name offers them to Mainsail and Fluidd.

use serde_json::{Value, json};

use super::super::error::RpcError;
use super::super::rpc::Call;
use super::super::timelapse;

pub async fn get_settings(call: Call) -> Result<Value, RpcError> {
    Ok(Value::Object(timelapse::settings(&call.endpoint)))
}

pub async fn post_settings(call: Call) -> Result<Value, RpcError> {
    timelapse::choose(&call.endpoint, &call.args.0).await?;
    get_settings(call).await
}

pub async fn last_frame(call: Call) -> Result<Value, RpcError> {
    let (count, file) = timelapse::last_frame(&call.endpoint).await;
    Ok(json!({"framecount": count, "lastframefile": file}))
}

/// Makes the video of the newest recording; how it goes is told by events.
pub async fn render(call: Call) -> Result<Value, RpcError> {
    let timelapses = call.endpoint.station.timelapses.clone();
    let newest = timelapses.list().await.unwrap_or_default().into_iter().next();
    let newest = newest.ok_or_else(|| RpcError::bad_request("There is no timelapse to render yet."))?;
    let file = format!("{}.mp4", newest.title());
    // A picture taken since the last video is to be in it.
    timelapses.remove_video(&newest.id).await.map_err(|error| RpcError::new(500, error.to_string()))?;
    call.endpoint.spawn(async move { timelapses.render(&newest.id).await });
    Ok(json!({"status": "started", "filename": file, "msg": "Rendering started"}))
}

/// The pictures are always kept: they are the `.zip` of the recording.
pub async fn save_frames(call: Call) -> Result<Value, RpcError> {
    let newest = call.endpoint.station.timelapses.list().await.unwrap_or_default().into_iter().next();
    let newest = newest.ok_or_else(|| RpcError::bad_request("There is no timelapse to save yet."))?;
    let file = format!("{}.zip", newest.title());
    Ok(json!({"action": "saveframes", "status": "finished", "zipfile": file}))
}
