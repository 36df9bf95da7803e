//! A Spoolman server: the inventory of spools that the front ends show (moonraker.md 2.13).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Map, Value, json};
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::Filament;

/// Deadline of one request.
const ANSWER: Duration = Duration::from_secs(10);
/// How often the server is asked whether it is there.
const HEALTH: Duration = Duration::from_secs(10);
/// Largest answer.
const MAX_ANSWER: usize = 32 << 20;
/// Extra field of a spool that holds the tag of its RFID chip.
const TAG_FIELD: &str = "tag";
/// Grams per cm³ of common materials, for spools that are created; Spoolman insists on a density.
const DENSITIES: [(&str, f64); 7] =
    [("PETG", 1.27), ("ABS", 1.04), ("ASA", 1.07), ("TPU", 1.21), ("PA", 1.14), ("PC", 1.2), ("PVA", 1.23)];
const PLA_DENSITY: f64 = 1.24;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpoolmanError {
    #[error("Spoolman cannot be reached: {0}")]
    Unreachable(String),
    /// The server's own refusal.
    #[error("Spoolman refused with {status}: {message}")]
    Refused { status: u16, message: String },
    #[error("{0}")]
    Invalid(String),
}

/// A good answer of the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub headers: Vec<(String, String)>,
    /// Null where there is none.
    pub body: Value,
}

/// Cheap to clone; one for all printers.
#[derive(Clone)]
pub struct Spoolman {
    shared: Arc<Shared>,
}

struct Shared {
    /// Without a slash at its end.
    base: String,
    client: reqwest::Client,
    connected: watch::Sender<bool>,
}

impl Spoolman {
    /// Watches the server at this address on `tasks` until `cancel`.
    pub fn start(url: &str, tasks: &TaskTracker, cancel: CancellationToken) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER)
            .build()
            .unwrap_or_default();
        let shared = Arc::new(Shared {
            base: url.trim_end_matches('/').to_owned(),
            client,
            connected: watch::Sender::new(false),
        });
        let spoolman = Self { shared };
        let watched = spoolman.clone();
        tasks.spawn(async move {
            let mut tick = tokio::time::interval(HEALTH);
            loop {
                tokio::select! {
                    () = cancel.cancelled() => return,
                    _ = tick.tick() => {}
                }
                tokio::select! {
                    () = cancel.cancelled() => return,
                    answer = watched.request("GET", "/v1/health", None, None) => {
                        // The request itself notes whether the server is there.
                        drop(answer);
                    }
                }
            }
        });
        spoolman
    }

    /// Where browsers reach the server: without a slash at its end, and without credentials, should there be any.
    pub fn address(&self) -> String {
        let Ok(mut url) = reqwest::Url::parse(&self.shared.base) else { return String::new() };
        url.set_query(None);
        url.set_fragment(None);
        if !url.username().is_empty() || url.password().is_some() {
            let bare = url.set_username("").and_then(|()| url.set_password(None));
            if bare.is_err() {
                return String::new();
            }
        }
        url.as_str().trim_end_matches('/').to_owned()
    }

    pub fn connected(&self) -> bool {
        *self.shared.connected.borrow()
    }

    /// Wakes when the server comes or goes.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.shared.connected.subscribe()
    }

    fn note(&self, there: bool) {
        self.shared.connected.send_if_modified(|connected| std::mem::replace(connected, there) != there);
    }

    /// Asks the server; `path` begins with `/v1/`.
    ///
    /// # Errors
    /// [`SpoolmanError::Invalid`] for another method or path, [`SpoolmanError::Refused`] with the server's words,
    /// [`SpoolmanError::Unreachable`] otherwise.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        query: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Answer, SpoolmanError> {
        let allowed = ["GET", "POST", "PATCH", "PUT", "DELETE"];
        let invalid = |text: String| Err(SpoolmanError::Invalid(text));
        let Some(method) = allowed.iter().find(|known| **known == method) else {
            return invalid(format!("Invalid method: {method}"));
        };
        let plain = path.starts_with("/v1/") && !path.contains(['?', '#', '\\']) && !path.contains("..");
        if !plain || path.chars().any(char::is_whitespace) {
            return invalid(format!("Invalid path: {path}"));
        }
        let Ok(method) = reqwest::Method::from_bytes(method.as_bytes()) else {
            return invalid(format!("Invalid method: {method}"));
        };
        let query =
            query.filter(|query| !query.is_empty()).map(|query| format!("?{query}")).unwrap_or_default();
        let mut request =
            self.shared.client.request(method, format!("{}/api{path}{query}", self.shared.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |error: reqwest::Error| {
            self.note(false);
            SpoolmanError::Unreachable(format!(
                "{} ({}). Is it running, and is that its address (`spoolman` in the configuration)?",
                self.address(),
                cause(&error)
            ))
        };
        let response = request.send().await.map_err(unreachable)?;
        self.note(true);
        let status = response.status();
        let headers = response.headers().iter();
        let headers = headers
            .filter_map(|(name, value)| Some((titled(name.as_str()), value.to_str().ok()?.to_owned())));
        let headers: Vec<(String, String)> = headers.collect();
        let body = read(response).await?;
        if status.is_success() {
            return Ok(Answer { headers, body });
        }
        let message = body.get("message").or_else(|| body.get("detail"));
        let message = message.map(|text| text.as_str().map_or_else(|| text.to_string(), str::to_owned));
        let message = message.or_else(|| status.canonical_reason().map(str::to_owned)).unwrap_or_default();
        Err(SpoolmanError::Refused { status: status.as_u16(), message })
    }

    /// What the server counted as used of a spool, in grams.
    pub(super) async fn used_weight(&self, spool: u32) -> Result<f64, SpoolmanError> {
        let answer = self.request("GET", &format!("/v1/spool/{spool}"), None, None).await?;
        let used = answer.body.get("used_weight").and_then(Value::as_f64);
        used.ok_or_else(|| SpoolmanError::Unreachable("the answer names no used_weight".to_owned()))
    }

    /// The spool that carries this tag in any of its extra fields.
    pub(super) async fn spool_of_tag(
        &self,
        tags: &BTreeSet<String>,
    ) -> Result<Vec<(String, u32)>, SpoolmanError> {
        let answer = self.request("GET", "/v1/spool", None, None).await?;
        let mut found = Vec::new();
        for spool in answer.body.as_array().into_iter().flatten() {
            let id = spool.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
            let Some(id) = id else { continue };
            let fields = spool.get("extra").and_then(Value::as_object).into_iter().flatten();
            for (_, value) in fields {
                // Spoolman keeps extra values as JSON within a text.
                let text = value.as_str().unwrap_or_default();
                let text = serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned());
                if let Some(tag) = tags.iter().find(|tag| tag.eq_ignore_ascii_case(&text)) {
                    found.push((tag.clone(), id));
                }
            }
        }
        Ok(found)
    }

    /// Makes vendor (where it is new), filament and spool.
    ///
    /// # Errors
    /// As [`Self::request`]; what was made before stays at the server.
    pub async fn create_spool(&self, filament: &Filament) -> Result<u32, SpoolmanError> {
        let material = filament.material.clone().unwrap_or_else(|| "PLA".to_owned());
        let density = DENSITIES.iter().find(|(name, _)| material.to_uppercase().starts_with(name));
        let mut made = Map::from_iter([
            ("name".to_owned(), json!(filament.name.clone().unwrap_or_else(|| material.clone()))),
            ("density".to_owned(), json!(density.map_or(PLA_DENSITY, |(_, density)| *density))),
            ("diameter".to_owned(), json!(filament.diameter_mm.unwrap_or(1.75))),
            ("material".to_owned(), json!(material)),
        ]);
        if let Some(color) = filament.color {
            made.insert("color_hex".to_owned(), json!(color.rgb_hex()));
        }
        if let Some(weight) = filament.weight_g {
            made.insert("weight".to_owned(), json!(weight));
        }
        if let (Some(low), Some(high)) = (filament.nozzle_min, filament.nozzle_max) {
            made.insert("settings_extruder_temp".to_owned(), json!(((low + high) / 2.0).round()));
        }
        if let Some(brand) = &filament.brand {
            made.insert("vendor_id".to_owned(), json!(self.vendor(brand).await?));
        }
        let filament_id = self.made("/v1/filament", &made.into()).await?;
        let mut extra = Map::new();
        if let Some(tag) = &filament.spool_uid {
            let field = json!({"name": "Tag", "field_type": "text"});
            self.request("POST", &format!("/v1/field/spool/{TAG_FIELD}"), None, Some(&field)).await?;
            extra.insert(TAG_FIELD.to_owned(), json!(Value::from(tag.as_str()).to_string()));
        }
        let spool = json!({"filament_id": filament_id, "extra": extra});
        self.made("/v1/spool", &spool).await
    }

    async fn vendor(&self, name: &str) -> Result<u32, SpoolmanError> {
        let known = self.request("GET", "/v1/vendor", None, None).await?.body;
        let named = |vendor: &&Value| vendor.get("name").and_then(Value::as_str) == Some(name);
        match known.as_array().into_iter().flatten().find(named).and_then(id) {
            Some(vendor) => Ok(vendor),
            None => self.made("/v1/vendor", &json!({"name": name})).await,
        }
    }

    async fn made(&self, path: &str, body: &Value) -> Result<u32, SpoolmanError> {
        let answer = self.request("POST", path, None, Some(body)).await?;
        id(&answer.body).ok_or_else(|| SpoolmanError::Unreachable("the answer names no id".to_owned()))
    }
}

fn id(value: &Value) -> Option<u32> {
    u32::try_from(value.get("id")?.as_u64()?).ok()
}

/// `content-type` as other servers write it: `Content-Type`.
fn titled(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
            .unwrap_or_default()
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

/// What is at the bottom of it: the client's own words are only that sending failed.
fn cause(error: &reqwest::Error) -> String {
    let mut bottom: &dyn std::error::Error = error;
    while let Some(next) = bottom.source() {
        bottom = next;
    }
    // The address may hold credentials.
    if std::ptr::addr_eq(bottom, error) { "no answer".to_owned() } else { bottom.to_string() }
}

/// The body as JSON; a text that is none stays a text.
async fn read(response: reqwest::Response) -> Result<Value, SpoolmanError> {
    let mut pieces = response.bytes_stream();
    let mut body = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| SpoolmanError::Unreachable(cause(&error)))?;
        if body.len() + piece.len() > MAX_ANSWER {
            return Err(SpoolmanError::Unreachable("the answer is too long".to_owned()));
        }
        body.extend_from_slice(&piece);
    }
    if body.is_empty() {
        return Ok(Value::Null);
    }
    Ok(serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_are_written_as_other_servers_do() {
        assert_eq!(titled("content-type"), "Content-Type");
    }
}
