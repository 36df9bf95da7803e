//! Durable values: one redb file for database namespaces, history, totals, queue, pins and addresses (design D14).

use std::path::Path;

use serde_json::Value;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum StoreError {
    #[error("the state database {path} cannot be opened: {reason}")]
    Open { path: String, reason: String },
    #[error("the state database cannot be written: {0}")]
    Write(String),
    #[error("the state database cannot be read: {0}")]
    Read(String),
}

/// Spaces of keys with JSON values. Cheap to clone.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Opens or creates the database file.
    pub fn open(_path: &Path) -> Result<Self, StoreError> {
        todo!()
    }

    /// A store that is gone with the process, for tests.
    pub fn in_memory() -> Self {
        todo!()
    }

    /// Sees all earlier writes, also those not yet on disk.
    pub fn get(&self, _space: &str, _key: &str) -> Result<Option<Value>, StoreError> {
        todo!()
    }

    /// All of a space in key order; empty where the space does not exist.
    pub fn list(&self, _space: &str) -> Result<Vec<(String, Value)>, StoreError> {
        todo!()
    }

    /// Names of the spaces that hold at least one key.
    pub fn spaces(&self) -> Result<Vec<String>, StoreError> {
        todo!()
    }

    /// Visible at once, on disk within a second; many writes become one commit.
    pub fn put(&self, _space: &str, _key: &str, _value: Value) -> Result<(), StoreError> {
        todo!()
    }

    /// On disk when it returns: for history, queue and job starts.
    pub async fn put_durably(&self, _space: &str, _key: &str, _value: Value) -> Result<(), StoreError> {
        todo!()
    }

    /// Returns what was there.
    pub fn delete(&self, _space: &str, _key: &str) -> Result<Option<Value>, StoreError> {
        todo!()
    }

    /// Everything written so far is on disk when it returns; called at shutdown.
    pub async fn flush(&self) -> Result<(), StoreError> {
        todo!()
    }
}
