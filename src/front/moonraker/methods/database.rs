//! `server.database.*` (moonraker.md 2.9): namespaces of JSON records, addressed by dotted keys or lists.

use std::sync::{Arc, PoisonError};

use serde_json::{Map, Value, json};

use super::super::Endpoint;
use super::super::args::{missing, type_name};
use super::super::error::RpcError;
use super::super::rpc::{Call, Reply};
use super::super::view::lane_data;
use super::backups;
use crate::model::text;

/// Namespaces of the server itself.
const READ_ONLY: &[&str] =
    &[LANE_DATA, "moonraker", "gcode_metadata", "history", "announcements", "update_manager"];
/// Made of what the printer reports, for OrcaSlicer.
const LANE_DATA: &str = "lane_data";
const FORBIDDEN: &[&str] = &["database", "authorized_users"];
/// What Mainsail writes when it does not find the namespace `maintenance`; two of them break its dashboard.
const MAINTENANCE: &str = "maintenance";
const MAINTENANCE_INIT: &str = "MAINTENANCE_INIT";
/// Longest namespace and deepest key.
const LONGEST_NAME: usize = 128;
const DEEPEST: usize = 32;
/// Levels of a record that is put together of several writes: it must be readable for the next one, and the JSON library
/// reads 127 levels.
const DEEPEST_VALUE: usize = 100;

/// Each printer has its own namespaces in the store.
fn space(endpoint: &Endpoint, namespace: &str) -> String {
    format!("{}{namespace}", space_prefix(endpoint))
}

/// What the names of a printer's namespaces begin with in the store.
pub fn space_prefix(endpoint: &Endpoint) -> String {
    format!("moonraker/{}/", endpoint.station.name())
}

fn lanes(endpoint: &Endpoint) -> Map<String, Value> {
    let station = &endpoint.station;
    lane_data(&station.printer.state().device.filament, &station.jobs.filament().choices())
}

pub async fn list(call: Call) -> Result<Value, RpcError> {
    let prefix = space_prefix(&call.endpoint);
    let spaces = call.endpoint.station.store.spaces()?;
    let mut names: Vec<&str> = spaces.iter().filter_map(|space| space.strip_prefix(&prefix)).collect();
    if !lanes(&call.endpoint).is_empty() {
        names.push(LANE_DATA);
    }
    Ok(json!({"namespaces": names, "backups": backups::names(&call.endpoint)?}))
}

/// The path of a key, and the key as the client wrote it.
struct Key {
    path: Vec<String>,
    written: Value,
}

impl Key {
    fn parse(value: &Value) -> Result<Self, RpcError> {
        let path: Vec<String> = match value {
            Value::String(text) => text.split('.').map(str::to_owned).collect(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            other => {
                let kind = type_name(other);
                return Err(RpcError::bad_request(format!(
                    "Value for argument 'key' is an invalid type: {kind}"
                )));
            }
        };
        if path.is_empty() || path.len() > DEEPEST || path.iter().any(String::is_empty) {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            return Err(RpcError::bad_request(format!("Invalid Key Format: '{shown}'")));
        }
        Ok(Self { path, written: value.clone() })
    }

    fn first(&self) -> &str {
        self.path.first().map_or("", String::as_str)
    }

    fn rest(&self) -> &[String] {
        self.path.get(1..).unwrap_or_default()
    }

    /// A value that is no object is not thrown away for one that shall lie below it.
    fn no_place(&self, namespace: &str) -> RpcError {
        let way = self.path.split_last().map_or_else(String::new, |(_, way)| way.join("."));
        // The missing blank is the real server's.
        RpcError::bad_request(format!(
            "Item at key '{way}' in namespace '{namespace}'is not a dictionary object, cannot insert"
        ))
    }

    fn not_found(&self, namespace: &str, record_exists: bool) -> RpcError {
        let shown = if record_exists { self.path.join(".") } else { self.first().to_owned() };
        RpcError::not_found(format!("Key '{shown}' in namespace '{namespace}' not found"))
    }
}

fn namespace(call: &Call, write: bool) -> Result<String, RpcError> {
    let name = call.args.text("namespace")?;
    if FORBIDDEN.contains(&name.as_str()) {
        return Err(RpcError::forbidden(format!("Read/Write access to namespace '{name}' is forbidden")));
    }
    if write && READ_ONLY.contains(&name.as_str()) {
        return Err(RpcError::forbidden(format!("Write access to namespace '{name}' is forbidden")));
    }
    if name.is_empty() || name.len() > LONGEST_NAME || name.contains('/') {
        return Err(RpcError::bad_request("Invalid value for argument 'namespace'"));
    }
    Ok(name)
}

pub async fn get_item(call: Call) -> Result<Reply, RpcError> {
    let name = namespace(&call, false)?;
    let space = space(&call.endpoint, &name);
    let store = &call.endpoint.station.store;
    let made = (name == LANE_DATA).then(|| lanes(&call.endpoint));
    let Some(key) = call.args.get("key") else {
        let records = match made {
            Some(lanes) => lanes.iter().map(|(key, lane)| (key.clone(), text::json(lane).into())).collect(),
            None => store.texts(&space)?,
        };
        if records.is_empty() {
            return Err(RpcError::not_found(format!("Namespace {name} not found")));
        }
        let record = |(key, value): &(String, Arc<str>)| format!("{}:{value}", text::json(key));
        let members: Vec<String> = records.iter().map(record).collect();
        return Ok(item(&name, &Value::Null, &format!("{{{}}}", members.join(","))));
    };
    let key = Key::parse(key)?;
    let record = match made {
        Some(lanes) => lanes.get(key.first()).map(|lane| text::json(lane).into()),
        None => store.text(&space, key.first())?,
    };
    let record = record.ok_or_else(|| key.not_found(&name, false))?;
    if key.rest().is_empty() {
        return Ok(item(&name, &key.written, &record));
    }
    let record = read(&record)?;
    let found = key.rest().iter().try_fold(&record, |value, part| value.get(part.as_str()));
    let value = found.ok_or_else(|| key.not_found(&name, true))?;
    Ok(item(&name, &key.written, &text::json(value)))
}

/// The answer about a record or a part of it, whose value is JSON text.
fn item(namespace: &str, key: &Value, value: &str) -> Reply {
    let (namespace, key) = (text::json(&namespace), text::json(key));
    Reply::Text(format!(r#"{{"namespace":{namespace},"key":{key},"value":{value}}}"#))
}

/// On disk when it is answered: a setting is not lost, and a disk that takes nothing is told.
pub async fn post_item(mut call: Call) -> Result<Reply, RpcError> {
    let of_value = |value: Value| text::json(&value).into();
    let written = call.record.take().or_else(|| call.args.0.remove("value").map(of_value));
    let answer = write_item(&call, written)?;
    call.endpoint.station.store.flush().await?;
    Ok(answer)
}

/// `written` is the value's JSON text.
fn write_item(call: &Call, written: Option<Arc<str>>) -> Result<Reply, RpcError> {
    let name = namespace(call, true)?;
    let key = Key::parse(call.args.get("key").ok_or_else(|| missing("key"))?)?;
    let written = written.ok_or_else(|| missing("value"))?;
    let space = space(&call.endpoint, &name);
    let store = &call.endpoint.station.store;
    let mut records = call.endpoint.database.lock().unwrap_or_else(PoisonError::into_inner);
    if name == MAINTENANCE && is_maintenance_init(&written) {
        for (other, text) in store.texts(&space)? {
            if other != key.first() && is_maintenance_init(&text) {
                let _told_by_the_flush = store.delete(&space, &other);
            }
        }
        records.forget();
    }
    let record = match key.rest() {
        [] => written.clone(),
        rest => {
            let mut record =
                store.text(&space, key.first())?.map_or_else(|| Ok(json!({})), |text| read(&text))?;
            let value = read(&written)?;
            if rest.len() + depth(&value) > DEEPEST_VALUE {
                return Err(RpcError::bad_request(format!(
                    "The value is nested too deep: {DEEPEST_VALUE} levels fit below its record"
                )));
            }
            insert(&mut record, rest, value).map_err(|_no_object| key.no_place(&name))?;
            text::json(&record).into()
        }
    };
    let old = store.text(&space, key.first())?.map(|text| text.len());
    records.account(&call.endpoint, key.first(), old, Some(record.len()))?;
    let _told_by_the_flush = store.put_text(&space, key.first(), record);
    Ok(item(&name, &key.written, &written))
}

pub async fn delete_item(call: Call) -> Result<Reply, RpcError> {
    let answer = remove_item(&call)?;
    call.endpoint.station.store.flush().await?;
    Ok(answer)
}

fn remove_item(call: &Call) -> Result<Reply, RpcError> {
    let name = namespace(call, true)?;
    let key = Key::parse(call.args.get("key").ok_or_else(|| missing("key"))?)?;
    let space = space(&call.endpoint, &name);
    let store = &call.endpoint.station.store;
    let mut records = call.endpoint.database.lock().unwrap_or_else(PoisonError::into_inner);
    let text = store.text(&space, key.first())?.ok_or_else(|| key.not_found(&name, false))?;
    let (old, left) = match key.rest() {
        [] => (text.clone(), None),
        rest => {
            let mut record = read(&text)?;
            let old = remove(&mut record, rest).ok_or_else(|| key.not_found(&name, true))?;
            // With its last member goes the record, with its last record the namespace.
            let empty = record.as_object().is_some_and(Map::is_empty);
            (text::json(&old).into(), (!empty).then(|| Arc::from(text::json(&record))))
        }
    };
    let remaining = left.as_ref().map(|left: &Arc<str>| left.len());
    records.account(&call.endpoint, key.first(), Some(text.len()), remaining)?;
    match left {
        Some(left) => drop(store.put_text(&space, key.first(), left)),
        // Told by the flush.
        None => drop(store.delete(&space, key.first())),
    }
    Ok(item(&name, &key.written, &old))
}

/// A record, to read or to change a part of it.
fn read(text: &str) -> Result<Value, RpcError> {
    serde_json::from_str(text).map_err(|error| {
        RpcError::bad_request(format!(
            "The record cannot be taken apart ({error}): read, write or delete it as a whole"
        ))
    })
}

/// Levels of arrays and objects.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn is_maintenance_init(text: &str) -> bool {
    read(text).is_ok_and(|record| record.get("name").and_then(Value::as_str) == Some(MAINTENANCE_INIT))
}

/// Sets a nested value below a record, and makes the objects on the way. A record that is no object becomes one, as in the
/// real server.
///
/// # Errors
/// Something on the way is no object; nothing is changed then.
fn insert(record: &mut Value, path: &[String], value: Value) -> Result<(), NoObject> {
    if !record.is_object() {
        *record = json!({});
    }
    let Some((last, way)) = path.split_last() else { return Err(NoObject) };
    let mut place = record;
    for part in way {
        let members = place.as_object_mut().ok_or(NoObject)?;
        place = members.entry(part.clone()).or_insert_with(|| json!({}));
    }
    place.as_object_mut().ok_or(NoObject)?.insert(last.clone(), value);
    Ok(())
}

/// Nothing can lie below a value of this kind.
#[derive(Debug, PartialEq, Eq)]
struct NoObject;

fn remove(record: &mut Value, path: &[String]) -> Option<Value> {
    let (last, way) = path.split_last()?;
    let parent = way.iter().try_fold(record, |value, part| value.get_mut(part.as_str()))?;
    parent.as_object_mut()?.remove(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_values_are_set_and_removed() {
        let mut record = json!({"a": 1});
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(insert(&mut record, &path("b.c"), json!([1])), Ok(()));
        for below in ["a.x", "a.x.y", "b.c.d"] {
            assert_eq!(insert(&mut record, &path(below), json!(2)), Err(NoObject), "{below}");
        }
        assert_eq!(record, json!({"a": 1, "b": {"c": [1]}}), "what is there stays");
        assert_eq!(remove(&mut record, &path("b.c")), Some(json!([1])));
        assert_eq!(remove(&mut record, &path("b.c")), None);
        assert_eq!(remove(&mut record, &path("a.x.y")), None);
        let mut text = json!("text");
        assert_eq!(insert(&mut text, &path("a"), json!(1)), Ok(()));
        assert_eq!(text, json!({"a": 1}));
    }

    #[test]
    fn keys_with_dots_are_lists() {
        let key = Key::parse(&json!(["uiSettings", "temperature_sensor a.b"])).expect("list");
        assert_eq!(key.rest(), ["temperature_sensor a.b"]);
        assert!(Key::parse(&json!("")).is_err());
        assert!(Key::parse(&json!(5)).is_err());
    }
}
