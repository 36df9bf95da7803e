//! `server.database.compact` and the backups of a printer's namespaces (moonraker.md 2.9). Backups lie in the same store
//! as the namespaces: they undo a mishap in a UI; against a broken disk helps a copy of the gateway's state folder.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::Endpoint;
use super::super::error::RpcError;
use super::super::rpc::Call;
use super::database::space_prefix;
use super::server;
use crate::model::text;
use crate::printer::clock::unix_now;
use crate::store::StoreError;

/// Backups of one printer, and the longest name of one.
const MOST: usize = 20;
const LONGEST_NAME: usize = 100;

/// Where the store has the backups of a printer.
pub fn space(endpoint: &Endpoint) -> String {
    format!("moonraker_backups/{}", endpoint.station.name())
}

/// The names of the backups, for `server.database.list`.
pub fn names(endpoint: &Endpoint) -> Result<Vec<String>, RpcError> {
    Ok(endpoint.station.store.texts(&space(endpoint))?.into_iter().map(|(name, _)| name).collect())
}

/// What a backup holds, by namespace and key: the records as their clients wrote them.
type Content = BTreeMap<String, BTreeMap<String, Box<RawValue>>>;

fn unreadable(error: serde_json::Error) -> StoreError {
    StoreError::Read(error.to_string())
}

fn filename(call: &Call) -> Result<Option<String>, RpcError> {
    let name = call.args.opt_text("filename")?.filter(|name| !name.is_empty());
    let plain = |name: &str| name.len() <= LONGEST_NAME && !name.contains(['/', '\\', '\0']) && name != "..";
    match name {
        Some(name) if !plain(&name) => {
            Err(RpcError::bad_request(format!("Invalid name of a backup: {name}")))
        }
        name => Ok(name),
    }
}

fn wanted(call: &Call) -> Result<String, RpcError> {
    filename(call)?.ok_or_else(|| super::super::args::missing("filename"))
}

fn path_of(name: &str) -> Value {
    json!({"backup_path": format!("backup/database/{name}")})
}

fn unknown(name: &str) -> RpcError {
    RpcError::not_found(format!("Backup file {name} does not exist"))
}

/// Sizes of the database file in bytes.
pub async fn compact(call: Call) -> Result<Value, RpcError> {
    let (before, after) = call.endpoint.station.store.compact().await?;
    Ok(json!({"previous_size": before, "new_size": after}))
}

pub async fn post_backup(call: Call) -> Result<Value, RpcError> {
    let now = jiff::Timestamp::from_second(unix_now() as i64).unwrap_or_default();
    let name = filename(&call)?.unwrap_or_else(|| format!("backup-{}", now.strftime("%Y%m%d-%H%M%S")));
    let endpoint = &call.endpoint;
    let known = names(endpoint)?;
    if known.len() >= MOST && !known.contains(&name) {
        return Err(RpcError::bad_request(format!(
            "There are {MOST} backups already: delete one and try again."
        )));
    }
    let store = &endpoint.station.store;
    {
        let mut records = endpoint.database.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = space_prefix(endpoint);
        let mut content = Content::new();
        for full in store.spaces()? {
            if let Some(namespace) = full.strip_prefix(&prefix) {
                let records = content.entry(namespace.to_owned()).or_default();
                for (key, text) in store.texts(&full)? {
                    records.insert(key, serde_json::from_str(&text).map_err(unreadable)?);
                }
            }
        }
        let (content, space) = (text::json(&content), space(endpoint));
        let old = store.text(&space, &name)?.map(|text| text.len());
        records.account(endpoint, &name, old, Some(content.len()))?;
        let _told_by_the_flush = store.put_text(&space, &name, content.into());
    }
    store.flush().await?;
    Ok(path_of(&name))
}

pub async fn delete_backup(call: Call) -> Result<Value, RpcError> {
    let name = wanted(&call)?;
    let (endpoint, space) = (&call.endpoint, space(&call.endpoint));
    let store = &endpoint.station.store;
    {
        let mut records = endpoint.database.lock().unwrap_or_else(PoisonError::into_inner);
        let old = store.text(&space, &name)?.ok_or_else(|| unknown(&name))?;
        records.account(endpoint, &name, Some(old.len()), None)?;
        let _told_by_the_flush = store.delete(&space, &name);
    }
    store.flush().await?;
    Ok(path_of(&name))
}

/// Puts all namespaces back as they were; all sockets are closed so that every client reads them anew, as after the
/// restart of the real server.
pub async fn restore(call: Call) -> Result<Value, RpcError> {
    let name = wanted(&call)?;
    let endpoint = &call.endpoint;
    let store = &endpoint.station.store;
    let kept = store.text(&space(endpoint), &name)?.ok_or_else(|| unknown(&name))?;
    let kept: Content = serde_json::from_str(&kept).map_err(unreadable)?;
    {
        let mut records = endpoint.database.lock().unwrap_or_else(PoisonError::into_inner);
        records.forget();
        let prefix = space_prefix(endpoint);
        // A disk that takes nothing stops none of it: half of it would be worse than none, and the flush tells.
        let present = store.spaces()?.into_iter().filter(|full| full.starts_with(&prefix));
        for full in present.collect::<Vec<_>>() {
            for (key, _) in store.texts(&full)? {
                drop(store.delete(&full, &key));
            }
        }
        for (namespace, records) in &kept {
            for (key, record) in records {
                drop(store.put_text(&format!("{prefix}{namespace}"), key, record.get().into()));
            }
        }
    }
    store.flush().await?;
    server::restart(call).await?;
    let namespaces: Vec<&String> = kept.keys().collect();
    Ok(json!({"restored_tables": [], "restored_namespaces": namespaces}))
}
