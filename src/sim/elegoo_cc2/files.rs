//! File methods of the simulated CC2: 1044 to 1048 (dossier 3.6, 3.13).

use std::fs;

use serde_json::{Map, Value, json};

use super::machine::Core;
use super::methods::{Reply, code, strings};
use super::{Shared, report};
use crate::sim::elegoo_storage::{Entry, Storage, base_name};

pub fn answer(shared: &Shared, core: &mut Core, method: i64, params: &Map<String, Value>) -> Reply {
    let medium = params.get("storage_media").and_then(Value::as_str);
    let medium = medium.or((method == 1048).then_some("local"));
    let storage = match shared.medium(core, medium) {
        Ok(storage) => storage,
        Err(error) => return code(error),
    };
    match method {
        1044 => list(storage, core, params),
        1045 => match params.get("file_name").and_then(Value::as_str) {
            None => code(1003),
            Some(name) => match storage.find(name).map(|entry| entry.facts.thumbnail) {
                None => code(1021),
                Some(None) => code(1015),
                Some(Some(picture)) => Reply::Now(json!({"error_code": 0, "thumbnail": picture})),
            },
        },
        1046 => match params.get("filename").and_then(Value::as_str) {
            None => code(1003),
            Some(name) => match storage.find(name) {
                None => code(1021),
                Some(entry) => {
                    let mut detail = described(core, &entry);
                    if let Some(map) = detail.as_object_mut() {
                        map.insert("error_code".to_owned(), json!(0));
                    }
                    Reply::Now(detail)
                }
            },
        },
        1047 => delete(storage, core, params),
        _ => Reply::Now(json!({"error_code": 0, "total_bytes": shared.options.capacity,
            "used_bytes": if core.faults.disk_full { shared.options.capacity } else { shared.storage.used() }})),
    }
}

fn described(core: &Core, entry: &Entry) -> Value {
    let runs: Vec<_> = core.history.iter().filter(|task| task.name == entry.name).collect();
    report::file(entry, runs.len(), runs.last().map_or(0, |task| task.begin))
}

fn list(storage: &Storage, core: &Core, params: &Map<String, Value>) -> Reply {
    let number = |key: &str| params.get(key).and_then(Value::as_u64).map(|n| n as usize);
    let (Some(offset), Some(limit)) = (number("offset"), number("limit")) else { return code(1003) };
    let entries = storage.list();
    let offset = if core.faults.lists_from_the_first { 0 } else { offset };
    let page: Vec<Value> = entries
        .iter()
        .skip(offset)
        .take(limit)
        .map(|entry| {
            let mut item = described(core, entry);
            if let Some(map) = item.as_object_mut() {
                map.insert("type".to_owned(), json!("file"));
            }
            item
        })
        .collect();
    let mut answer = json!({"error_code": 0, "offset": offset, "file_list": page});
    if let Some(map) = answer.as_object_mut().filter(|_| !core.faults.lists_without_total) {
        map.insert("total".to_owned(), json!(entries.len()));
    }
    Reply::Now(answer)
}

fn delete(storage: &Storage, core: &mut Core, params: &Map<String, Value>) -> Reply {
    let Some(names) = strings(params.get("file_path")) else { return code(1003) };
    let mut failed = false;
    for name in names {
        let base = base_name(&name).unwrap_or_default();
        if core.machine.stage.busy() && core.file == base {
            core.violation(format!("deletes {base}, which is being printed"));
            failed = true;
            continue;
        }
        failed |= storage.path(&base).is_none_or(|path| fs::remove_file(path).is_err());
    }
    code(if failed { 1007 } else { 0 })
}
