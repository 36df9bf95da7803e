//! Fixtures for the simulators' tests: what is emitted must have exactly the keys that were captured.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// One file of `fixtures/elegoo`, without its extension.
pub fn load(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/elegoo").join(format!("{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// All key paths of a value; the elements of an array share one path.
pub fn keys(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(value, String::new(), &mut found);
    found
}

fn collect(value: &Value, path: String, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let path = format!("{path}/{key}");
                found.insert(path.clone());
                collect(inner, path, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                collect(item, format!("{path}[]"), found);
            }
        }
        _ => {}
    }
}
