//! Faults and truth for other processes, over [`crate::sim::control`].
//!
//! `{"fault":"runout"}` and every other fault of [`super::faults::Fault`] answer `{"ok":true}`;
//! `{"truth":true}` answers the snapshot of [`super::truth::Truth`]; what is not understood answers
//! `{"ok":false,"error":"..."}`.

use serde_json::{Value, json};

use super::faults::{Fault, Faults};

/// Answers one line of the control port. The port outlives power cuts and dropped links.
pub(super) fn answer(faults: &Faults, request: Value) -> Value {
    let refuse = |error: String| json!({ "ok": false, "error": error });
    if request.get("truth").is_some() {
        return serde_json::to_value(faults.core.truth()).unwrap_or_default();
    }
    match serde_json::from_value::<Fault>(request) {
        Ok(fault) => match faults.apply(fault) {
            Ok(()) => json!({ "ok": true }),
            Err(error) => refuse(error.to_string()),
        },
        Err(error) => refuse(error.to_string()),
    }
}
