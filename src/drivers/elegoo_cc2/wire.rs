//! Messages of the printer, sorted, and the status document that deltas are merged into (elegoo.md 3.4, 3.5, 3.8).

use serde_json::{Map, Value};

use crate::drivers::elegoo::field::{int, text};

/// One MQTT payload.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    Pong,
    /// Answer to the request of this id, and of this method where it is said.
    Response {
        id: i64,
        method: Option<i64>,
        result: Value,
    },
    /// 6000: changed leaves of the status; `id` is a sequence number.
    Delta {
        id: Option<i64>,
        change: Value,
    },
    /// 6008: attributes.
    Attributes(Value),
    /// Valid JSON of no use to us.
    Other,
    /// Not JSON.
    Garbage,
}

/// Sorts a payload of `api_response` or `api_status`.
pub fn parse(payload: &[u8]) -> Message {
    let Ok(mut message) = serde_json::from_slice::<Value>(payload) else { return Message::Garbage };
    if text(&message, "type") == Some("PONG") {
        return Message::Pong;
    }
    let (id, method) = (int(&message, "id"), int(&message, "method"));
    let result = message.get_mut("result").map(Value::take).unwrap_or(Value::Null);
    match (method, id) {
        (Some(6000), id) => Message::Delta { id, change: result },
        (Some(6008), _) => Message::Attributes(result),
        (method, Some(id)) if method.is_some() || result.is_object() => {
            Message::Response { id, method, result }
        }
        _ => Message::Other,
    }
}

/// `error_code` of a result; absent is success (elegoo.md 3.5).
pub fn error_code(result: &Value) -> i64 {
    int(result, "error_code").unwrap_or(0)
}

/// Answer to a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    Ok,
    TooMany,
    Failed,
}

/// Reads `register_response`; `None` if it is meant for another client.
pub fn registration(payload: &[u8], client: &str) -> Option<Registration> {
    let message: Value = serde_json::from_slice(payload).ok()?;
    if text(&message, "client_id").is_some_and(|id| id != client) {
        return None;
    }
    let error = text(&message, "error").unwrap_or_default();
    let code = int(&message, "code");
    if code == Some(3) || error.contains("too many") {
        return Some(Registration::TooMany);
    }
    // Told by a word (SDK) or by a number (EW).
    let taken = error.eq_ignore_ascii_case("ok") || (error.is_empty() && code == Some(0));
    Some(if taken { Registration::Ok } else { Registration::Failed })
}

/// Nesting beyond this is not merged: no status is that deep.
const MAX_DEPTH: u8 = 16;
/// Members of one object; further ones are not taken, as a printer that goes wrong may invent them without end. Those of
/// the fixtures stay below 20.
const MAX_ENTRIES: usize = 512;

/// What is known of the status: the last full report with the deltas merged in.
#[derive(Debug, Default)]
pub struct Document {
    /// `None` before the first full report of this link.
    known: Option<Value>,
    /// Sequence number of the last delta.
    sequence: Option<i64>,
}

impl Document {
    pub fn value(&self) -> Option<&Value> {
        self.known.as_ref()
    }

    /// A full report replaces everything except the Canvas, which it does not carry.
    pub fn replace(&mut self, mut full: Value) {
        let canvas = self.known.as_mut().and_then(|known| known.get_mut("canvas_info")).map(Value::take);
        if let (Some(canvas), Some(map)) = (canvas, full.as_object_mut())
            && !map.contains_key("canvas_info")
        {
            map.insert("canvas_info".to_owned(), canvas);
        }
        if full.is_object() {
            self.known = Some(full);
        }
    }

    /// The result of 2005, which is newer than what a push brought.
    pub fn set_canvas(&mut self, info: Value) {
        if let Some(known) = self.known.as_mut().and_then(Value::as_object_mut) {
            known.insert("canvas_info".to_owned(), info);
        }
    }

    /// The Canvas is gone.
    pub fn drop_canvas(&mut self) {
        if let Some(known) = self.known.as_mut().and_then(Value::as_object_mut) {
            known.remove("canvas_info");
        }
    }

    /// Merges a delta: objects merge, scalars and lists replace. False if deltas went missing before it, so that a
    /// full report is wanted; the change itself is true all the same.
    pub fn merge(&mut self, id: Option<i64>, change: &Value) -> bool {
        let whole = match (self.sequence, id) {
            // 0 is a restart of the count.
            (Some(last), Some(id)) => id == last.wrapping_add(1) || id == 0,
            _ => true,
        };
        self.sequence = id.or(self.sequence);
        match (&mut self.known, change) {
            (Some(Value::Object(known)), Value::Object(change)) => merge(known, change, MAX_DEPTH),
            _ => return self.known.is_some() && whole,
        }
        whole
    }
}

fn merge(known: &mut Map<String, Value>, change: &Map<String, Value>, depth: u8) {
    for (key, new) in change {
        let room = known.len() < MAX_ENTRIES;
        match (known.get_mut(key), new) {
            (Some(Value::Object(old)), Value::Object(new)) if depth > 0 => merge(old, new, depth - 1),
            (Some(old), new) => *old = new.clone(),
            (None, new) if room => {
                known.insert(key.clone(), new.clone());
            }
            (None, _) => {}
        }
    }
}
