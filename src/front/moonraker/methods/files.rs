//! `server.files.*` (moonraker.md 2.8).

use serde_json::{Value, json};

use super::super::error::RpcError;
use super::super::logs;
use super::super::rpc::{Call, add_member};
use super::super::{identity, timelapse};
use super::metadata::record_fields;
use super::roots::{self, Item, Root};
use crate::library::{Entry, EntryKind, LibraryError};
use crate::model::text::base_name;

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
        _ => return Err(roots::unknown_root(&path).unwrap_or_else(|| roots::no_directory(&path))),
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

/// What lies below a root that cannot be written.
fn fixed(path: &str) -> RpcError {
    let request = || RpcError::bad_request(format!("Invalid root request: {path}"));
    roots::unknown_root(path).unwrap_or_else(request)
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
        Some(Root::Library(_) | Root::Config(_)) => {
            return Err(RpcError::bad_request("Cannot delete root directory"));
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
    let item = match Root::of(&path).ok_or_else(|| fixed(&path))? {
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
