//! OctoPrint's push channel: what phone apps listen to (octoprint.md section 10, "push").
//!
//! SockJS in its two WebSocket forms: raw frames at `/sockjs/websocket`, and framed ones (`o`, `a[...]`, `h`) at
//! `/sockjs/<server>/<session>/websocket`. A client without rights is told who we are and nothing else until it sends
//! `{"auth": "name:session"}` with the session of `/api/login`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ws::{Message, WebSocket};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response, StatusCode};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, MissedTickBehavior};

use super::super::http::{admit_socket, empty, json_answer};
use super::super::{Endpoint, error::RpcError, identity, rpc::Caller};
use super::view;
use crate::access::{Identity, Role};
use crate::model::{JobPhase, PrinterState};

/// OctoPrint's own rate; a client can ask for multiples of it.
const PACE: Duration = Duration::from_millis(500);
const SLOWEST: u64 = 60;
/// Temperatures are told at least so often; everything else only when it changes.
const REPEAT: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_secs(25);
/// A frame that cannot be handed to the network for so long ends the connection.
const WRITE: Duration = Duration::from_secs(10);
const LARGEST_FRAME: usize = 16 << 10;

/// Answers `/sockjs/...`.
///
/// # Errors
/// 403 for pages of foreign origins, 404 for SockJS's transports without WebSocket, 503 with too many clients.
pub async fn answer(
    endpoint: &Arc<Endpoint>,
    parts: &mut Parts,
    path: &str,
    caller: Caller,
) -> Result<Response<Body>, RpcError> {
    if path == "/sockjs/info" {
        let entropy = u32::from_le_bytes(*uuid::Uuid::new_v4().as_bytes().first_chunk().unwrap_or(&[0; 4]));
        return Ok(json_answer(
            StatusCode::OK,
            &json!({"websocket": true, "origins": ["*:*"], "cookie_needed": false, "entropy": entropy}),
        ));
    }
    let names: Vec<&str> = path.trim_start_matches("/sockjs/").split('/').collect();
    let framed = match names[..] {
        ["websocket"] => false,
        [_server, _session, "websocket"] => true,
        _ => return Ok(empty(StatusCode::NOT_FOUND)),
    };
    let (place, upgrade) = admit_socket(endpoint, parts, &caller).await?;
    let endpoint = endpoint.clone();
    Ok(upgrade
        .read_buffer_size(LARGEST_FRAME)
        .max_message_size(LARGEST_FRAME)
        .max_frame_size(LARGEST_FRAME)
        .on_upgrade(move |socket| Push::new(endpoint, caller, socket, framed).run(place)))
}

struct Push {
    endpoint: Arc<Endpoint>,
    user: Option<Identity>,
    caller: Caller,
    socket: WebSocket,
    framed: bool,
    /// Multiples of [`PACE`].
    throttle: u64,
    greeted: bool,
    told: Option<Value>,
    told_at: Instant,
    before: Option<Arc<PrinterState>>,
}

impl Push {
    fn new(endpoint: Arc<Endpoint>, caller: Caller, socket: WebSocket, framed: bool) -> Self {
        let user = caller.user.clone();
        let now = Instant::now();
        Self {
            endpoint,
            user,
            caller,
            socket,
            framed,
            throttle: 1,
            greeted: false,
            told: None,
            told_at: now,
            before: None,
        }
    }

    async fn run(mut self, _place: OwnedSemaphorePermit) {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beats = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        let cancel = self.endpoint.cancel.clone();
        let mut ticks = 0u64;
        if self.framed && !self.send_text("o".to_owned()).await {
            return;
        }
        let hello = self.connected();
        if !self.send(hello).await {
            return;
        }
        loop {
            let goes_on = tokio::select! {
                () = cancel.cancelled() => false,
                message = self.socket.recv() => match message {
                    Some(Ok(Message::Text(text))) => {
                        self.take(&text);
                        true
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => false,
                    Some(Ok(_)) => true,
                },
                _ = beats.tick(), if self.framed => self.send_text("h".to_owned()).await,
                _ = pace.tick() => {
                    ticks = ticks.wrapping_add(1);
                    !ticks.is_multiple_of(self.throttle) || self.news().await
                }
            };
            if !goes_on {
                break;
            }
        }
        // Sends the goodbye, or where the client was first what answers it.
        let _gone = tokio::time::timeout(WRITE, self.socket.close()).await;
    }

    fn connected(&self) -> Value {
        json!({"connected": {
            "version": identity::API_VERSION_STRING, "display_version": identity::API_VERSION_STRING, "branch": null,
            "plugin_hash": "moongate", "config_hash": "moongate", "debug": false, "safe_mode": null,
            "online": true, "python_version": null, "permissions": [],
        }})
    }

    /// What the client says; nonsense is ignored, as OctoPrint does.
    fn take(&mut self, text: &str) {
        let Ok(message) = serde_json::from_str::<Value>(text) else { return };
        // Framed clients send a list of texts.
        if let Value::Array(texts) = &message {
            for text in texts.iter().filter_map(Value::as_str).take(16) {
                if let Ok(message) = serde_json::from_str(text) {
                    self.message(&message);
                }
            }
            return;
        }
        self.message(&message);
    }

    fn message(&mut self, message: &Value) {
        if let Some(throttle) = message.get("throttle").and_then(Value::as_u64) {
            self.throttle = throttle.clamp(1, SLOWEST);
        }
        let Some(shown) = message.get("auth").and_then(Value::as_str) else { return };
        let session = shown.rsplit_once(':').map_or(shown, |(_, session)| session);
        let query = format!(
            "token={}",
            percent_encoding::utf8_percent_encode(session, percent_encoding::NON_ALPHANUMERIC)
        );
        match self.endpoint.access.judge(&HeaderMap::new(), &query, self.caller.address) {
            Ok(Some(user)) => self.user = Some(user),
            // Somebody who is let in anyway, by an old session.
            _ => tracing::debug!("A push client showed a session that is not good."),
        }
    }

    /// Sends what has changed; false when the client has gone.
    async fn news(&mut self) -> bool {
        if self.endpoint.access.require(self.user.as_ref(), Role::View).is_err() {
            return true;
        }
        let state = self.endpoint.station.printer.state();
        let mut current = view::current(&self.endpoint, &state).await;
        if !self.greeted {
            self.greeted = true;
            let mut history = current.clone();
            if let Some(history) = history.as_object_mut() {
                history.insert("temps".to_owned(), json!([]));
            }
            if !self.send(json!({"history": history})).await {
                return false;
            }
        }
        for (name, payload) in self.events(&state) {
            if !self.send(json!({"event": {"type": name, "payload": payload}})).await {
                return false;
            }
        }
        self.before = Some(state.clone());
        if self.told.as_ref() == Some(&current) && self.told_at.elapsed() < REPEAT {
            return true;
        }
        self.told = Some(current.clone());
        self.told_at = Instant::now();
        if let Some(current) = current.as_object_mut() {
            let now = crate::printer::clock::unix_now();
            let mut temperatures = view::temperatures(&state);
            temperatures.insert("time".to_owned(), json!(now as u64));
            current.insert("serverTime".to_owned(), json!(now));
            current.insert("temps".to_owned(), json!([temperatures]));
        }
        self.send(json!({"current": current})).await
    }

    /// OctoPrint's events between the last snapshot and this one.
    fn events(&self, state: &PrinterState) -> Vec<(&'static str, Value)> {
        let Some(before) = &self.before else { return Vec::new() };
        let (old, new) = (before.job.phase, state.job.phase);
        let mut events = Vec::new();
        let text = view::state_text(&self.endpoint, state);
        if view::state_text(&self.endpoint, before) != text {
            events.push((
                "PrinterStateChanged",
                json!({"state_id": view::state_id(text), "state_string": text}),
            ));
        }
        match (before.online(), state.online()) {
            (false, true) => events.push(("Connected", json!({"port": "VIRTUAL", "baudrate": 115_200}))),
            (true, false) => events.push(("Disconnected", Value::Null)),
            _ => {}
        }
        let fresh = before.job.serial != state.job.serial;
        if old == new && !fresh {
            return events;
        }
        let name = state.job.file.as_deref().or(state.job.title.as_deref());
        let payload = json!({
            "name": name.map(crate::model::text::base_name), "path": name, "origin": "local",
            "time": state.job.print_seconds(crate::printer::clock::unix_now()), "reason": state.job.reason,
        });
        let named = match new {
            JobPhase::Paused => "PrintPaused",
            JobPhase::Printing if matches!(old, JobPhase::Paused | JobPhase::Resuming) && !fresh => {
                "PrintResumed"
            }
            JobPhase::Complete => "PrintDone",
            JobPhase::Cancelled => "PrintCancelled",
            JobPhase::Failed => "PrintFailed",
            phase if phase.active() && (fresh || !old.active()) => "PrintStarted",
            _ => return events,
        };
        events.push((named, payload));
        events
    }

    async fn send(&mut self, message: Value) -> bool {
        let text = message.to_string();
        let text = if self.framed { format!("a{}", json!([text])) } else { text };
        self.send_text(text).await
    }

    async fn send_text(&mut self, text: String) -> bool {
        matches!(tokio::time::timeout(WRITE, self.socket.send(Message::Text(text.into()))).await, Ok(Ok(())))
    }
}
