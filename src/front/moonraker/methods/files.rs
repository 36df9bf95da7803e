//! `server.files.*` (moonraker.md 2.8).

use serde_json::{Map, Value, json};

use super::super::error::RpcError;
use super::super::logs;
use super::super::rpc::{Call, add_member};
use super::super::{identity, timelapse};
use super::printer::library_path;
use super::roots::{self, Item, Root};
use crate::library::{Entry, EntryKind, FileRecord, LibraryError};
use crate::model::text::base_name;
use crate::model::{Job, JobPhase};
use crate::printer::clock::unix_now;

const SUFFIXES: &[&str] = &[".gcode", ".g", ".gco", ".ufp", ".nc"];

pub async fn roots(call: Call) -> Result<Value, RpcError> {
    let config = call.endpoint.config_root.as_deref();
    let library = call.endpoint.station.library.root();
    let told = |name: &'static str| {
        let (path, permissions) = match name {
            "config" => (
                config.map_or(name.into(), |path| path.to_string_lossy()),
                roots::config_permissions(&call.endpoint),
            ),
            "gcodes" => (library.to_string_lossy(), "rw"),
            "timelapse" => (name.into(), "rw"),
            _ => (name.into(), "r"),
        };
        json!({"name": name, "path": path, "permissions": permissions})
    };
    Ok(identity::directories(&call.endpoint).into_iter().map(told).collect())
}

/// A file of the library as listings and notifications tell it.
pub fn item(entry: &Entry) -> Value {
    json!({"path": entry.path, "root": "gcodes", "modified": entry.modified, "size": entry.size, "permissions": "rw"})
}

/// The same of something that is no longer there.
pub fn gone_item(path: &str) -> Value {
    json!({"path": path, "root": "gcodes", "modified": 0, "size": 0, "permissions": ""})
}

fn bad_root(root: &str) -> RpcError {
    RpcError::bad_request(format!("Failed to build file list, invalid path: {root}: None"))
}

pub async fn list(call: Call) -> Result<Value, RpcError> {
    let root = call.args.opt_text("root")?.unwrap_or_else(|| "gcodes".to_owned());
    let plain = |path: &str, modified: f64, size: u64, permissions: &str| json!({"path": path, "modified": modified, "size": size, "permissions": permissions});
    let mut files: Vec<(String, Value)> = match Root::of(&root) {
        Some(Root::Library("")) => {
            let entries = call.endpoint.station.library.list().await?;
            let printable = |entry: &&Entry| {
                let name = entry.path.to_lowercase();
                let hidden = name.split('/').any(|part| part.starts_with('.'));
                !hidden
                    && entry.kind == EntryKind::Printable
                    && SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
            };
            entries
                .iter()
                .filter(printable)
                .map(|e| (e.path.to_lowercase(), plain(&e.path, e.modified, e.size, "rw")))
                .collect()
        }
        Some(Root::Config("")) => {
            let permissions = roots::config_permissions(&call.endpoint);
            let items = roots::config_items(&call.endpoint, "", true).await?;
            let files = items.iter().filter(|item| !item.directory);
            files.map(|i| (i.path.to_lowercase(), plain(&i.path, i.modified, i.size, permissions))).collect()
        }
        Some(Root::Timelapse("")) => {
            let mut items = timelapse::items(&call.endpoint, "").await?;
            if items.iter().any(|item| item.directory) {
                items.extend(timelapse::items(&call.endpoint, "printer").await.unwrap_or_default());
            }
            let files = items.iter().filter(|item| !item.directory);
            files.map(|i| (i.path.to_lowercase(), plain(&i.path, i.modified, i.size, "rw"))).collect()
        }
        Some(Root::Logs("")) => {
            let files = logs::files(&call.endpoint).into_iter();
            files.map(|f| (f.name.to_owned(), plain(f.name, f.modified, f.text.len() as u64, "r"))).collect()
        }
        Some(Root::Frames("")) => Vec::new(),
        _ => return Err(bad_root(&root)),
    };
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

pub async fn get_directory(call: Call) -> Result<Value, RpcError> {
    let path = call.args.opt_text("path")?.unwrap_or_else(|| "gcodes".to_owned());
    let extended = call.args.flag("extended")?;
    let library = &call.endpoint.station.library;
    let (mut dirs, mut files) = (Vec::new(), Vec::new());
    let (name, permissions) = match Root::of(&path) {
        Some(Root::Library(folder)) => {
            let entries = library.directory(folder).await.map_err(|error| match error {
                LibraryError::NotFound(_) => roots::no_directory(&path),
                other => other.into(),
            })?;
            for entry in &entries {
                match entry.kind {
                    EntryKind::Directory => {
                        dirs.push(listed(&entry.path, entry.modified, entry.size, "rw", true))
                    }
                    _ => files.push(library_file(&call, entry, extended).await),
                }
            }
            ("gcodes", "rw")
        }
        Some(Root::Config(folder)) => {
            let permissions = roots::config_permissions(&call.endpoint);
            for Item { path, directory, size, modified } in
                roots::config_items(&call.endpoint, folder, false).await?
            {
                let list = if directory { &mut dirs } else { &mut files };
                list.push(listed(&path, modified, size, permissions, directory));
            }
            ("config", permissions)
        }
        Some(Root::Timelapse(folder)) => {
            for Item { path, directory, size, modified } in timelapse::items(&call.endpoint, folder).await? {
                let list = if directory { &mut dirs } else { &mut files };
                list.push(listed(&path, modified, size, "rw", directory));
            }
            ("timelapse", "rw")
        }
        Some(Root::Logs("")) => {
            let described = |f: &logs::LogFile| listed(f.name, f.modified, f.text.len() as u64, "r", false);
            files.extend(logs::files(&call.endpoint).iter().map(described));
            ("logs", "r")
        }
        Some(Root::Frames("")) => ("timelapse_frames", "r"),
        _ => return Err(roots::no_directory(&path)),
    };
    let disk = library.disk_usage().await;
    Ok(json!({
        "dirs": dirs,
        "files": files,
        "disk_usage": {"total": disk.total, "used": disk.used, "free": disk.free},
        "root_info": {"name": name, "permissions": permissions},
    }))
}

fn listed(path: &str, modified: f64, size: u64, permissions: &str, directory: bool) -> Value {
    let name = if directory { "dirname" } else { "filename" };
    json!({"modified": modified, "size": size, "permissions": permissions, name: base_name(path)})
}

/// Files on the printer are listed without metadata: reading one would fetch it.
async fn library_file(call: &Call, entry: &Entry, extended: bool) -> Value {
    let mut file = listed(&entry.path, entry.modified, entry.size, "rw", false);
    if extended
        && entry.kind == EntryKind::Printable
        && !entry.on_printer
        && let (Ok(record), Value::Object(fields)) =
            (call.endpoint.station.library.record(&entry.path).await, &mut file)
    {
        let mut known = record_fields(&record);
        known.remove("filename");
        fields.extend(known);
    }
    file
}

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

pub async fn metascan(call: Call) -> Result<Value, RpcError> {
    let name = call.args.text("filename")?;
    let record = call.endpoint.station.library.rescan(library_path(&name)).await;
    Ok(Value::Object(record_fields(&*record.map_err(|_unknown| no_metadata(&name))?)))
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

/// What lies below a root that cannot be written.
fn fixed(path: &str) -> RpcError {
    RpcError::bad_request(format!("Invalid root request: {path}"))
}

pub async fn post_directory(call: Call) -> Result<Value, RpcError> {
    let path = call.args.text("path")?;
    let item = match Root::of(&path) {
        Some(Root::Library(folder)) if !folder.is_empty() => {
            item(&call.endpoint.station.library.make_directory(folder).await?)
        }
        Some(Root::Config(folder)) if !folder.is_empty() => {
            let on_disk = roots::config_path(&call.endpoint, folder)?;
            tokio::fs::create_dir(&on_disk)
                .await
                .map_err(|error| RpcError::bad_request(error.to_string()))?;
            roots::config_item(&call.endpoint, folder).await?.described("rw")
        }
        _ => return Err(fixed(&path)),
    };
    Ok(changed(&call, "create_dir", item, None))
}

pub async fn delete_directory(call: Call) -> Result<Value, RpcError> {
    let path = call.args.text("path")?;
    let force = call.args.flag("force")?;
    let item = match Root::of(&path) {
        Some(Root::Library(folder)) if !folder.is_empty() => {
            let missing = |error| match error {
                LibraryError::NotFound(_) => roots::no_directory(&path),
                other => other.into(),
            };
            let removed = call.endpoint.station.library.remove_directory(folder, force).await;
            gone_item(&removed.map_err(missing)?.path)
        }
        Some(Root::Config(folder)) if !folder.is_empty() => {
            let on_disk = roots::config_path(&call.endpoint, folder)?;
            let removed = if force {
                tokio::fs::remove_dir_all(on_disk).await
            } else {
                tokio::fs::remove_dir(on_disk).await
            };
            removed.map_err(|error| RpcError::bad_request(error.to_string()))?;
            gone_config(folder)
        }
        _ => return Err(fixed(&path)),
    };
    Ok(changed(&call, "delete_dir", item, None))
}

fn gone_config(path: &str) -> Value {
    json!({"path": path, "root": "config", "modified": 0, "size": 0, "permissions": ""})
}

/// The answer; changes of `config` and `timelapse` are told here, those of the library by its own events.
fn changed(call: &Call, action: &str, item: Value, source: Option<Value>) -> Value {
    let mut change = json!({"action": action, "item": item});
    if let Some(source) = source {
        add_member(&mut change, "source_item", source);
    }
    let root = change.get("item").and_then(|item| item.get("root"));
    if matches!(root.and_then(Value::as_str), Some("config" | "timelapse")) {
        call.endpoint.hub.notify("notify_filelist_changed", Some(change.clone()));
    }
    change
}

pub async fn delete_file(call: Call) -> Result<Value, RpcError> {
    let path = call.args.text("path")?;
    let invalid = || RpcError::bad_request(format!("Invalid file path: {path}"));
    let item = match Root::of(&path).ok_or_else(invalid)? {
        Root::Library(file) if !file.is_empty() => {
            let deleted = call.endpoint.station.library.delete(file).await;
            gone_item(
                &deleted
                    .map_err(|error| {
                        if matches!(error, LibraryError::NotFound(_)) { invalid() } else { error.into() }
                    })?
                    .path,
            )
        }
        Root::Config(file) if !file.is_empty() => {
            tokio::fs::remove_file(roots::config_path(&call.endpoint, file)?)
                .await
                .map_err(|_gone| invalid())?;
            gone_config(file)
        }
        Root::Timelapse(file) if !file.is_empty() => {
            timelapse::delete(&call.endpoint, file).await?;
            json!({"path": file, "root": "timelapse", "modified": 0, "size": 0, "permissions": ""})
        }
        _ => return Err(invalid()),
    };
    Ok(changed(&call, "delete_file", item, None))
}

/// Source and destination of a move or copy, which stay in one root.
enum Both {
    Library(String, String),
    Config(String, String),
}

fn two_paths(call: &Call) -> Result<Both, RpcError> {
    let (source, dest) = (call.args.text("source")?, call.args.text("dest")?);
    match (Root::of(&source), Root::of(&dest)) {
        (Some(Root::Library("") | Root::Config("")), _) => Err(fixed(&source)),
        (Some(Root::Library(from)), Some(Root::Library(to))) => {
            Ok(Both::Library(from.to_owned(), to.to_owned()))
        }
        (Some(Root::Config(from)), Some(Root::Config(to))) => {
            Ok(Both::Config(from.to_owned(), to.to_owned()))
        }
        (Some(Root::Library(_) | Root::Config(_)), _) => Err(fixed(&dest)),
        _ => Err(fixed(&source)),
    }
}

fn move_error(error: LibraryError, source: &str) -> RpcError {
    match error {
        LibraryError::NotFound(_) => RpcError::bad_request(format!("File {source} does not exist")),
        other => other.into(),
    }
}

pub async fn rename(call: Call) -> Result<Value, RpcError> {
    let library = &call.endpoint.station.library;
    match two_paths(&call)? {
        Both::Library(source, dest) => {
            let moved = library.rename(&source, &dest).await.map_err(|e| move_error(e, &source))?;
            let action = if moved.kind == EntryKind::Directory { "move_dir" } else { "move_file" };
            let source = json!({"path": source, "root": "gcodes"});
            Ok(changed(&call, action, item(&moved), Some(source)))
        }
        Both::Config(source, dest) => {
            let moved = roots::move_config(&call.endpoint, &source, &dest).await?;
            let action = if moved.directory { "move_dir" } else { "move_file" };
            let source = json!({"path": source, "root": "config"});
            Ok(changed(&call, action, moved.described("rw"), Some(source)))
        }
    }
}

pub async fn copy(call: Call) -> Result<Value, RpcError> {
    let library = &call.endpoint.station.library;
    match two_paths(&call)? {
        Both::Library(source, dest) => {
            let made = library.copy(&source, &dest).await.map_err(|e| move_error(e, &source))?;
            let action = if made.kind == EntryKind::Directory { "create_dir" } else { "create_file" };
            Ok(changed(&call, action, item(&made), None))
        }
        Both::Config(source, dest) => {
            let made = roots::copy_config(&call.endpoint, &source, &dest).await?;
            Ok(changed(&call, "create_file", made.described("rw"), None))
        }
    }
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
