//! `server.files.metadata`, `metascan` and `thumbnails` (moonraker.md 2.8).

use serde_json::{Map, Value, json};

use super::super::error::RpcError;
use super::super::rpc::Call;
use super::printer::library_path;
use crate::library::FileRecord;
use crate::model::{Job, JobPhase};
use crate::printer::clock::unix_now;

/// The metadata answer of a file: what its slicer did not write is absent.
pub fn record_fields(record: &FileRecord) -> Map<String, Value> {
    let metadata = serde_json::to_value(&record.metadata).unwrap_or_default();
    let mut fields = metadata_fields(&metadata);
    let thumbnails: Vec<Value> = record
        .thumbnails
        .iter()
        .map(|t| json!({"width": t.width, "height": t.height, "size": t.size, "relative_path": t.relative_path}))
        .collect();
    if !thumbnails.is_empty() {
        fields.insert("thumbnails".to_owned(), thumbnails.into());
    }
    let own = json!({
        "filename": record.entry.path,
        "size": record.entry.size,
        "modified": record.entry.modified,
        "uuid": record.uuid,
        "file_processors": [],
        "print_start_time": record.print_start_time,
        "job_id": record.job_id,
    });
    if let Value::Object(own) = own {
        fields.extend(own);
    }
    fields
}

/// `metadata::FileMetadata` in its JSON form, in Moonraker's keys and units. `gcode_start_byte` and `gcode_end_byte`
/// are left out on purpose: with them Mainsail computes progress from a file position that no printer reports.
pub fn metadata_fields(metadata: &Value) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            fields.insert(name.to_owned(), value);
        }
    };
    let filled =
        |name: &str| metadata.get(name).filter(|value| value.as_array().is_some_and(|list| !list.is_empty()));
    let joined = |name: &str| {
        let texts: Vec<&str> = filled(name)?.as_array()?.iter().filter_map(Value::as_str).collect();
        Some(Value::from(texts.join(";")))
    };
    for (ours, theirs) in [
        ("slicer", "slicer"),
        ("slicer_version", "slicer_version"),
        ("estimated_time_s", "estimated_time"),
        ("layer_count", "layer_count"),
        ("layer_height", "layer_height"),
        ("first_layer_height", "first_layer_height"),
        ("first_layer_extr_temp", "first_layer_extr_temp"),
        ("first_layer_bed_temp", "first_layer_bed_temp"),
        ("chamber_temp", "chamber_temp"),
        ("object_height", "object_height"),
        ("filament_total_mm", "filament_total"),
        ("filament_weight_total", "filament_weight_total"),
        ("filament_change_count", "filament_change_count"),
        ("printer_model", "printer_model"),
    ] {
        put(theirs, metadata.get(ours).cloned());
    }
    put("nozzle_diameter", filled("nozzle_diameters").and_then(|list| list.get(0)).cloned());
    put("filament_name", joined("filament_names"));
    put("filament_type", joined("filament_types"));
    put("filament_colors", filled("filament_colors").cloned());
    put("filament_weights", filled("filament_weights").cloned());
    put("referenced_tools", filled("referenced_tools").cloned());
    let whole = |value: &Value| value.as_f64().map(|celsius| celsius.round() as i64);
    let temps: Option<Vec<i64>> = filled("filament_temps")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(whole).collect());
    put("filament_temps", temps.map(Value::from));
    let tools = filled("referenced_tools").and_then(Value::as_array).map(Vec::len);
    put("mmu_print", tools.map(|tools| Value::from(u8::from(tools > 1))));
    fields
}

fn no_metadata(name: &str) -> RpcError {
    RpcError::not_found(format!("Metadata not available for <{name}>"))
}

pub async fn metadata(call: Call) -> Result<Value, RpcError> {
    let name = call.args.text("filename")?;
    match call.endpoint.station.library.record(library_path(&name)).await {
        Ok(record) => Ok(Value::Object(record_fields(&record))),
        Err(_unknown) => {
            let state = call.endpoint.station.printer.state();
            own_job(&state.job, &name, unix_now()).ok_or_else(|| no_metadata(&name))
        }
    }
}

/// What a printer tells of a job that it has begun by itself, such as a calibration: both UIs ask for the metadata of
/// the name in `print_stats`. The name in the answer is not in the folder that Fluidd shows first: it would list it there.
fn own_job(job: &Job, name: &str, now: f64) -> Option<Value> {
    if job.phase == JobPhase::Idle || job.file.is_some() || job.title.as_deref() != Some(name) {
        return None;
    }
    let mut fields = json!({
        "filename": format!("printer/{name}"),
        "size": 0,
        "modified": job.started_at.unwrap_or(now),
        "file_processors": [],
        "print_start_time": job.started_at,
        "job_id": null,
    });
    if let Some(fields) = fields.as_object_mut() {
        let estimated = job.remaining_s.map(|left| (job.total_seconds(now) + left).round());
        fields.extend(estimated.map(|seconds| ("estimated_time".to_owned(), Value::from(seconds))));
        fields.extend(job.total_layers.map(|count| ("layer_count".to_owned(), Value::from(count))));
    }
    Some(fields)
}

fn no_file(name: &str) -> RpcError {
    RpcError::not_found(format!("File '{name}' does not exist"))
}

pub async fn metascan(call: Call) -> Result<Value, RpcError> {
    let name = call.args.text("filename")?;
    let record = call.endpoint.station.library.rescan(library_path(&name)).await;
    Ok(Value::Object(record_fields(&*record.map_err(|_unknown| no_file(&name))?)))
}

pub async fn thumbnails(call: Call) -> Result<Value, RpcError> {
    let name = call.args.text("filename")?;
    let path = library_path(&name).to_owned();
    let Ok(record) = call.endpoint.station.library.record(&path).await else { return Ok(json!([])) };
    let folder = path.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
    let described = |t: &crate::library::ThumbnailEntry| {
        let path = format!("{folder}{}", t.relative_path);
        json!({"width": t.width, "height": t.height, "size": t.size, "thumbnail_path": path})
    };
    Ok(record.thumbnails.iter().map(described).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_the_printers_own_has_what_the_printer_tells() {
        let mut job = Job {
            phase: JobPhase::Printing,
            title: Some("Calibration".to_owned()),
            started_at: Some(1000.0),
            remaining_s: Some(60.0),
            total_layers: Some(3),
            ..Job::default()
        };
        assert_eq!(
            own_job(&job, "Calibration", 1030.0),
            Some(json!({
                "filename": "printer/Calibration", "size": 0, "modified": 1000.0, "file_processors": [],
                "print_start_time": 1000.0, "job_id": null, "estimated_time": 90.0, "layer_count": 3
            }))
        );
        assert_eq!(own_job(&job, "another", 1030.0), None);
        job.file = Some("Calibration".to_owned());
        assert_eq!(own_job(&job, "Calibration", 1030.0), None, "a file of that name was deleted");
        job = Job { title: job.title, ..Job::default() };
        assert_eq!(own_job(&job, "Calibration", 1030.0), None, "no job");
    }

    #[test]
    fn metadata_has_moonrakers_keys_and_no_nulls() {
        let metadata = json!({
            "slicer": "OrcaSlicer", "slicer_version": null, "estimated_time_s": 600, "nozzle_diameters": [0.4],
            "filament_types": ["PLA", "PETG"], "filament_names": [], "filament_temps": [219.6],
            "referenced_tools": [0, 1], "gcode_start_byte": 5
        });
        assert_eq!(
            Value::Object(metadata_fields(&metadata)),
            json!({
                "slicer": "OrcaSlicer", "estimated_time": 600, "nozzle_diameter": 0.4, "filament_type": "PLA;PETG",
                "filament_temps": [220], "referenced_tools": [0, 1], "mmu_print": 1
            })
        );
    }
}
