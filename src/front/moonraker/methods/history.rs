//! `server.history.*` (moonraker.md 2.10).

use serde_json::{Value, json};

use super::super::Endpoint;
use super::super::args::missing;
use super::super::error::RpcError;
use super::super::rpc::Call;
use super::metadata::{metadata_fields, record_fields};
use crate::jobs::{HistoryEnd, HistoryEntry, HistoryQuery, Totals};

pub async fn list(call: Call) -> Result<Value, RpcError> {
    let order = call.args.opt_text("order")?.unwrap_or_else(|| "desc".to_owned()).to_lowercase();
    if !matches!(order.as_str(), "asc" | "desc") {
        return Err(RpcError::bad_request(format!("Invalid `order` value: {}", order.to_uppercase())));
    }
    // The real server's word for no bound.
    let bound = |name| call.args.opt_number(name).map(|bound| bound.filter(|bound| *bound != -1.0));
    let query = HistoryQuery {
        limit: call.args.opt_count("limit")?.unwrap_or(50),
        start: call.args.opt_count("start")?.unwrap_or(0),
        since: bound("since")?,
        before: bound("before")?,
        oldest_first: order == "asc",
    };
    let mut jobs = Vec::new();
    for entry in call.endpoint.station.jobs.history(&query) {
        jobs.push(described_job(&call.endpoint, &entry).await);
    }
    Ok(json!({"count": jobs.len(), "jobs": jobs}))
}

/// A job in Moonraker's words; thumbnails and sizes come from the file while it is there.
pub async fn described_job(endpoint: &Endpoint, entry: &HistoryEntry) -> Value {
    let record = endpoint.station.library.record(&entry.file).await.ok();
    let mut metadata = record.as_ref().map(|record| record_fields(record)).unwrap_or_default();
    metadata.extend(metadata_fields(&entry.metadata));
    metadata.remove("filename");
    // Mobileraker loses its whole list to one job without these, whose file is gone or was begun at the printer and never
    // here (its gcode_file.dart: `required`).
    for (name, unknown) in [("size", json!(0)), ("modified", json!(entry.started_at))] {
        let kept = entry.metadata.get(name).filter(|value| value.is_number());
        metadata.entry(name).or_insert_with(|| kept.cloned().unwrap_or(unknown));
    }
    let status = match entry.end {
        None => "in_progress",
        Some(HistoryEnd::Completed) => "completed",
        Some(HistoryEnd::Cancelled) => "cancelled",
        Some(HistoryEnd::Failed) => "error",
        Some(HistoryEnd::Interrupted) => "interrupted",
    };
    let auxiliary = if entry.auxiliary.is_array() { entry.auxiliary.clone() } else { json!([]) };
    json!({
        "job_id": entry.id,
        // Never null, as Mobileraker reads a text.
        "user": entry.user.as_deref().unwrap_or("No User"),
        "filename": entry.file,
        "status": status,
        "start_time": entry.started_at,
        "end_time": entry.ended_at,
        "print_duration": entry.print_s,
        "total_duration": entry.total_s,
        "filament_used": entry.filament_used_mm,
        "metadata": metadata,
        "auxiliary_data": auxiliary,
        "exists": record.is_some(),
    })
}

pub async fn get_job(call: Call) -> Result<Value, RpcError> {
    let id = call.args.text("uid")?;
    let entry = call.endpoint.station.jobs.history_entry(&id);
    let entry = entry.ok_or_else(|| RpcError::not_found(format!("Invalid job uid: {id}")))?;
    Ok(json!({"job": described_job(&call.endpoint, &entry).await}))
}

pub async fn delete_job(call: Call) -> Result<Value, RpcError> {
    let jobs = &call.endpoint.station.jobs;
    let deleted = if call.args.flag("all")? {
        jobs.delete_history(None)
    } else {
        let id = call.args.opt_text("uid")?.ok_or_else(|| missing("uid"))?;
        let deleted = jobs.delete_history(Some(&id));
        if deleted.is_empty() {
            return Err(RpcError::not_found(format!("Invalid job uid: {id}")));
        }
        deleted
    };
    Ok(json!({"deleted_jobs": deleted}))
}

pub async fn totals(call: Call) -> Result<Value, RpcError> {
    let totals = described(&call.endpoint.station.jobs.totals());
    Ok(json!({"job_totals": totals, "auxiliary_totals": []}))
}

pub async fn reset_totals(call: Call) -> Result<Value, RpcError> {
    let totals = described(&call.endpoint.station.jobs.reset_totals());
    Ok(json!({"last_totals": totals, "last_auxiliary_totals": []}))
}

fn described(totals: &Totals) -> Value {
    json!({
        "total_jobs": totals.jobs as f64,
        "total_time": totals.total_s,
        "total_print_time": totals.print_s,
        "total_filament_used": totals.filament_used_mm,
        "longest_job": totals.longest_job_s,
        "longest_print": totals.longest_print_s,
    })
}
