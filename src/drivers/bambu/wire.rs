//! Bytes of a report to its kind (bambu.md 2.4 and 3.1).
//!
//! The state itself stays a JSON tree: hundreds of fields that differ by model and firmware merge by rule (`merge`),
//! and `reduce` reads what it knows.

use serde_json::{Map, Value};
use thiserror::Error;

use super::field::{bits32, int, text};
use super::repair;

/// Largest payload looked at. Full reports are below 40 KiB.
const MAX_PAYLOAD: usize = 1 << 20;
/// Fields nested deeper than this are dropped; real reports reach 7.
const MAX_DEPTH: usize = 24;
/// Longest list and largest object kept; real ones stay below 110.
pub(super) const MAX_ENTRIES: usize = 512;
/// Longest text kept inside the tree, in bytes.
const MAX_STRING: usize = 4096;

#[derive(Debug, Error, PartialEq)]
pub(super) enum WireError {
    #[error("a report of {0} bytes is above the limit")]
    TooLarge(usize),
    #[error("a report is not JSON: {0}")]
    NotJson(String),
    #[error("a report is not a JSON object")]
    NotObject,
}

/// Answer of the printer to a request of ours or of another client.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ack {
    /// Top key: `print`, `system`, `xcam`, ...
    pub category: String,
    /// Missing on the A1 mini (fixture ack-gcode_line-a1mini).
    pub command: Option<String>,
    pub sequence: Option<String>,
    /// `None`: the answer does not say (fixture ack-bare-p1s-01.10).
    pub success: Option<bool>,
    pub reason: Option<String>,
    pub err_code: Option<u32>,
    pub errno: Option<i64>,
}

/// Changed fields of the printer's state.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StateFields {
    pub fields: Map<String, Value>,
    pub extent: Extent,
}

/// How much of the state a report holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// `msg` 0: everything; lists are complete.
    Full,
    /// No `msg`, but so many keys, or just those, that it must be everything; lists may still be partial (H2D, bambu.md 3.2).
    LooksFull,
    Delta,
}

/// From how many keys on a report without `msg` is a full one (bambu.md 3.2: other clients use 30 and 40).
const FULL_KEYS: usize = 40;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Incoming {
    State(StateFields),
    Ack(Ack),
    /// The module list of `get_version`.
    Versions(Value),
}

/// Reads one payload; bytes that are not UTF-8 and numbers that are not JSON cost only their own field.
pub(super) fn parse(payload: &[u8]) -> Result<Vec<Incoming>, WireError> {
    if payload.len() > MAX_PAYLOAD {
        return Err(WireError::TooLarge(payload.len()));
    }
    let text = String::from_utf8_lossy(payload);
    let text = text.trim_end_matches(['\0', '\n', '\r', ' ']);
    let mut value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_) => serde_json::from_str(&repair::repaired(text, MAX_DEPTH))
            .map_err(|error| WireError::NotJson(error.to_string()))?,
    };
    prune(&mut value, MAX_DEPTH);
    match value {
        Value::Object(envelope) => Ok(classify(envelope)),
        _ => Err(WireError::NotObject),
    }
}

/// Cuts what is deeper, longer or larger than any real report.
fn prune(value: &mut Value, depth: usize) {
    match value {
        Value::Array(_) | Value::Object(_) if depth == 0 => *value = Value::Null,
        Value::Array(items) => {
            items.truncate(MAX_ENTRIES);
            items.iter_mut().for_each(|item| prune(item, depth - 1));
        }
        Value::Object(fields) => {
            if fields.len() > MAX_ENTRIES {
                let extra: Vec<String> = fields.keys().skip(MAX_ENTRIES).cloned().collect();
                for key in extra {
                    fields.remove(&key);
                }
            }
            fields.values_mut().for_each(|field| prune(field, depth - 1));
        }
        Value::String(text) if text.len() > MAX_STRING => *value = Value::Null,
        _ => {}
    }
}

fn classify(envelope: Map<String, Value>) -> Vec<Incoming> {
    let mut out = Vec::new();
    let mut loose = Map::new();
    for (key, value) in envelope {
        match (key.as_str(), value) {
            ("print", Value::Object(body)) if !is_answer(&body) => out.push(state(body)),
            ("info", Value::Object(body)) => {
                if let Some(modules) = body.get("module").filter(|module| module.is_array()) {
                    out.push(Incoming::Versions(modules.clone()));
                }
                out.push(Incoming::Ack(ack(key, &body)));
            }
            ("print" | "system" | "camera" | "upgrade", Value::Object(body)) => {
                out.push(Incoming::Ack(ack(key, &body)));
            }
            ("xcam", Value::Object(body)) if body.contains_key("command") || body.contains_key("result") => {
                out.push(Incoming::Ack(ack(key, &body)));
            }
            // Some firmware sends these beside `print` instead of inside (bambu.md 3.1).
            ("device" | "ams" | "xcam" | "wifi_signal" | "fun", value) => {
                loose.insert(key, value);
            }
            _ => {}
        }
    }
    if !loose.is_empty() {
        out.push(Incoming::State(StateFields { fields: loose, extent: Extent::Delta }));
    }
    out
}

/// Answers never enter the state (bambu.md 3.1, T5).
fn is_answer(body: &Map<String, Value>) -> bool {
    match body.get("command").and_then(Value::as_str) {
        Some(command) => command != "push_status",
        None => body.contains_key("result"),
    }
}

fn state(mut fields: Map<String, Value>) -> Incoming {
    let msg = fields.remove("msg").as_ref().and_then(int);
    fields.remove("command");
    fields.remove("sequence_id");
    let extent = match msg {
        Some(0) => Extent::Full,
        Some(_) => Extent::Delta,
        None if fields.len() > FULL_KEYS || says_everything(&fields) => Extent::LooksFull,
        None => Extent::Delta,
    };
    Incoming::State(StateFields { fields, extent })
}

/// Bridges and emulated printers tell less than a printer, but all that they know; a part that happens to have all of
/// these only makes the link count as complete a little early.
fn says_everything(fields: &Map<String, Value>) -> bool {
    ["gcode_state", "mc_percent", "nozzle_temper", "bed_temper"].iter().all(|key| fields.contains_key(*key))
}

fn ack(category: String, body: &Map<String, Value>) -> Ack {
    let field = |key: &str| body.get(key).unwrap_or(&Value::Null);
    let success = match field("result") {
        Value::String(result) => match result.to_ascii_lowercase().as_str() {
            "success" | "ok" => Some(true),
            "fail" | "failed" | "error" => Some(false),
            _ => None,
        },
        Value::Number(_) => int(field("result")).map(|result| result == 0),
        Value::Bool(result) => Some(*result),
        _ => None,
    };
    Ack {
        category,
        command: text(field("command")),
        sequence: text(field("sequence_id")),
        success,
        reason: text(field("reason")),
        err_code: bits32(field("err_code")).filter(|code| *code != 0),
        errno: int(field("errno")).filter(|errno| *errno != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(value: Value) -> Incoming {
        let mut all = parse(value.to_string().as_bytes()).expect("json");
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn state_and_answers_are_told_apart() {
        assert!(matches!(one(json!({"print": {"stat": "46258008"}})), Incoming::State(_)));
        assert!(matches!(
            one(json!({"print": {"command": "push_status", "result": "x"}})),
            Incoming::State(_)
        ));
        let Incoming::Ack(ack) =
            one(json!({"print": {"param": "G28", "result": "SUCCESS", "sequence_id": 7}}))
        else {
            panic!("an answer without a command")
        };
        assert_eq!((ack.success, ack.sequence.as_deref(), ack.command), (Some(true), Some("7"), None));
        let whole = json!({"gcode_state": "IDLE", "mc_percent": 0, "nozzle_temper": 25, "bed_temper": 25});
        let Incoming::State(small) = one(json!({ "print": whole })) else { panic!("a state") };
        assert_eq!(small.extent, Extent::LooksFull, "a bridge that tells little tells it all");
        assert!(matches!(one(json!({"xcam": {"spaghetti_detector": true}})), Incoming::State(_)));
        assert!(
            parse(br#"{"mc_print": {"command": "push_info"}, "event": {"event": "x"}}"#)
                .expect("json")
                .is_empty()
        );
    }

    #[test]
    fn the_captured_refusal_of_a_file_has_its_reason() {
        let all = parse(&crate::drivers::bambu::testing::bytes("ack-gcode_file-a1mini-fail")).expect("json");
        let [Incoming::Ack(ack)] = all.as_slice() else { panic!("one answer: {all:?}") };
        assert_eq!((ack.category.as_str(), ack.command.as_deref()), ("print", Some("gcode_file")));
        assert_eq!((ack.sequence.as_deref(), ack.success), (Some("4"), Some(false)));
        assert_eq!((ack.reason.as_deref(), ack.err_code, ack.errno), (Some("error string"), None, None));
    }

    #[test]
    fn hostile_bytes_cost_their_field_only() {
        let mut bytes =
            br#"{"print": {"nozzle_temper": NaN, "bed_temper": 1e999, "x": -Infinity, "name": "a"#.to_vec();
        bytes.extend([0xFF, b'"', b',']);
        bytes.extend(br#""deep": "#);
        bytes.extend(b"[".repeat(5000));
        bytes.extend(b"]".repeat(5000));
        bytes.extend(br#", "layer_num": 4}}"#);
        bytes.push(0);
        let all = parse(&bytes).expect("repaired");
        let [Incoming::State(state)] = all.as_slice() else { panic!("one state") };
        assert_eq!(state.fields.get("layer_num"), Some(&json!(4)));
        assert_eq!(state.fields.get("nozzle_temper"), Some(&Value::Null));
        assert_eq!(state.fields.get("bed_temper"), Some(&Value::Null));
        assert_eq!(parse(b"[]"), Err(WireError::NotObject));
        assert!(matches!(parse(b"{\"print\": {"), Err(WireError::NotJson(_))));
        assert_eq!(parse(&vec![b' '; MAX_PAYLOAD + 1]), Err(WireError::TooLarge(MAX_PAYLOAD + 1)));
    }
}
