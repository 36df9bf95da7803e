//! Frames of the printer, sorted (elegoo.md 2.3). Their content stays JSON: one bad field must not lose the rest.

use serde_json::Value;

use crate::drivers::elegoo::field::{as_int, int};
use crate::drivers::elegoo::names::sane_id;

/// One text frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// The bare text `pong`.
    Pong,
    /// Answer to the request of this id; empty where the sender leaves it out.
    Response { request: String, command: Option<i64>, data: Value },
    /// The status, and the id of the request where the frame answers one.
    Status(Value, Option<String>),
    /// The attributes, likewise.
    Attributes(Value, Option<String>),
    /// 1: MD5 failed, 2: format failed.
    FileError(i64),
    /// Valid JSON of no use to us.
    Other,
    /// Not JSON.
    Garbage,
}

/// Sorts one text frame. Some firmware puts the length of the frame before its first brace.
pub fn parse(text: &str) -> Frame {
    let text = text.trim();
    if text == "pong" {
        return Frame::Pong;
    }
    let body = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let Ok(mut frame) = serde_json::from_str::<Value>(body) else { return Frame::Garbage };
    for (key, wrap) in [
        ("Status", Frame::Status as fn(Value, Option<String>) -> Frame),
        ("Attributes", Frame::Attributes as fn(Value, Option<String>) -> Frame),
    ] {
        for path in [vec![key], vec!["Data", key], vec!["Data", "Data", key]] {
            if let Some(found) = object_at(&mut frame, &path) {
                let request = frame.get("Data").and_then(|outer| outer.get("RequestID"));
                let request = request.and_then(Value::as_str).map(str::to_owned);
                return wrap(found, request);
            }
        }
    }
    let topic = frame.get("Topic").and_then(Value::as_str).unwrap_or_default();
    let Some(outer) = frame.get("Data") else { return Frame::Other };
    // Some who speak for the printer (simulators) leave the inner object out.
    if outer.get("RequestID").is_none() {
        if topic.starts_with("sdcp/status/") {
            return Frame::Status(outer.clone(), None);
        }
        if topic.starts_with("sdcp/attributes/") {
            return Frame::Attributes(outer.clone(), None);
        }
    }
    if topic.starts_with("sdcp/error/") {
        let code = outer.get("Data").and_then(|data| int(data, "ErrorCode"));
        return code.map_or(Frame::Other, Frame::FileError);
    }
    let (request, command) = (outer.get("RequestID").and_then(Value::as_str), int(outer, "Cmd"));
    if request.is_none() && command.is_none() {
        return Frame::Other;
    }
    Frame::Response {
        request: request.unwrap_or_default().to_owned(),
        command,
        data: outer.get("Data").cloned().unwrap_or(Value::Null),
    }
}

/// The mainboard id of whoever sent this frame.
pub fn sender(frame: &str) -> Option<String> {
    let body = frame.trim().trim_start_matches(|c: char| c.is_ascii_digit());
    let frame: Value = serde_json::from_str(body).ok()?;
    let told = |at: &Value| Some(at.get("MainboardID")?.as_str()?.to_owned()).filter(|id| sane_id(id));
    told(&frame).or_else(|| told(frame.get("Data")?))
}

fn object_at(frame: &mut Value, path: &[&str]) -> Option<Value> {
    let mut at = frame;
    for key in path {
        at = at.get_mut(*key)?;
    }
    at.is_object().then(|| at.take())
}

/// `Ack` of a response; a response without one (file data) is a success.
pub fn ack(data: &Value) -> i64 {
    int(data, "Ack").unwrap_or(0)
}

/// The codes in `CurrentStatus`, which some senders write as a plain number; where it is missing, or empty, the state of
/// the print tells whether there is one.
pub fn current_status(status: &Value) -> Vec<i64> {
    let told: Vec<i64> = match status.get("CurrentStatus").or_else(|| status.get("CurrenStatus")) {
        Some(Value::Array(codes)) => codes.iter().filter_map(as_int).collect(),
        Some(single) => as_int(single).into_iter().collect(),
        None => Vec::new(),
    };
    if !told.is_empty() {
        return told;
    }
    match status.get("PrintInfo").and_then(|print| int(print, "Status")) {
        Some(0 | 8 | 9 | 14) => vec![0],
        Some(_) => vec![1],
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_without_its_inner_object_and_without_current_status_is_read() {
        let frame = |sub: i64| {
            format!(
                r#"{{"Topic":"sdcp/status/X","Data":{{"MainboardID":"X","PrintInfo":{{"Status":{sub}}}}}}}"#
            )
        };
        for (sub, codes) in [(13, [1]), (6, [1]), (0, [0]), (9, [0])] {
            let Frame::Status(status, _) = parse(&frame(sub)) else { panic!("not a status") };
            assert_eq!(current_status(&status), codes);
        }
        assert_eq!(current_status(&serde_json::json!({"TempOfNozzle": 25})), Vec::<i64>::new());
        for empty in [serde_json::json!([]), serde_json::json!(null), serde_json::json!(["x"])] {
            let running = serde_json::json!({"CurrentStatus": empty, "PrintInfo": {"Status": 13}});
            assert_eq!(current_status(&running), [1], "a code that is not told ends no print");
        }
    }
}
