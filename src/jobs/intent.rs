//! What is under way, on disk before it happens: after a kill the gateway knows what it may have started.

use serde::{Deserialize, Serialize};

use super::Inner;
use crate::model::UnixSeconds;
use crate::store::StoreError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing was started yet: the file is being made ready or sent.
    Transferring,
    /// The start was, or is about to be, sent: it is never sent again.
    Starting,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    pub stage: Stage,
    /// As the library lists it.
    pub file: String,
    pub plate: Option<u32>,
    pub token: u32,
    pub title: String,
    pub remote_path: String,
    pub started_at: UnixSeconds,
    /// The job of the queue that this is: once started it must not be there any more.
    #[serde(default)]
    pub queued: Option<String>,
}

const KEY: &str = "intent";

impl Inner {
    pub async fn keep_intent(&self, intent: &Intent) -> Result<(), StoreError> {
        let value = serde_json::to_value(intent).map_err(|error| StoreError::Write(error.to_string()))?;
        self.store.put_durably(&self.spaces.jobs, KEY, value).await
    }

    pub fn intent(&self) -> Option<Intent> {
        let value = self.store.get(&self.spaces.jobs, KEY).ok().flatten()?;
        serde_json::from_value(value)
            .inspect_err(|error| tracing::error!(%error, "The job under way was not understood."))
            .ok()
    }

    /// The job was seen running or has ended: history follows it from here.
    pub async fn forget_intent(&self, token: u32) {
        if self.intent().is_some_and(|intent| intent.token == token) {
            drop(self.store.delete(&self.spaces.jobs, KEY));
            if let Err(error) = self.store.flush().await {
                tracing::error!(%error, "That a start is settled is kept in memory only.");
            }
        }
    }
}
