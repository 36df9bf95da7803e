//! What a client wants of the printer's objects, and what it is sent (moonraker.md 2.7).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::error::RpcError;
use super::klippy::Klippy;
use super::view::Object;

/// All objects at one moment; unchanged ones are shared with the view before.
#[derive(Debug, Clone)]
pub struct View {
    /// Monotonic seconds.
    pub eventtime: f64,
    pub klippy: Klippy,
    pub objects: BTreeMap<String, Arc<Object>>,
}

impl View {
    /// A view that shows nothing but Klipper's state.
    pub fn without_objects(eventtime: f64, klippy: Klippy) -> Self {
        Self { eventtime, klippy, objects: BTreeMap::new() }
    }

    /// The next view: objects that equal their predecessor are the same in memory, so that a diff is cheap.
    pub fn follow(&self, eventtime: f64, klippy: Klippy, mut objects: BTreeMap<String, Arc<Object>>) -> Self {
        for (name, object) in &mut objects {
            let before = self.objects.get(name).filter(|before| *before == object);
            if let Some(before) = before {
                *object = before.clone();
            }
        }
        Self { eventtime, klippy, objects }
    }
}

/// Objects, each with the fields wanted of it; `None` is all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted(BTreeMap<String, Option<Vec<String>>>);

/// What is wanted of an object, where it lies: it is written, not copied.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Picked<'a> {
    Whole(&'a Object),
    Fields(BTreeMap<&'a str, &'a Value>),
}

/// What a client is told of the objects it asked for.
#[derive(Serialize)]
pub struct Status<'a> {
    pub eventtime: f64,
    pub status: BTreeMap<&'a str, Picked<'a>>,
}

impl Wanted {
    /// Reads the `objects` argument.
    ///
    /// # Errors
    /// 400 `Invalid argument` for anything but a list of names or null.
    pub fn parse(objects: &Value) -> Result<Self, RpcError> {
        let invalid = || RpcError::bad_request("Invalid argument");
        let members = objects.as_object().ok_or_else(invalid)?;
        let mut wanted = BTreeMap::new();
        for (name, fields) in members {
            let fields = match fields {
                Value::Null => None,
                Value::Array(items) => Some(
                    items
                        .iter()
                        .map(|f| f.as_str().map(str::to_owned).ok_or_else(invalid))
                        .collect::<Result<_, _>>()?,
                ),
                _ => return Err(invalid()),
            };
            wanted.insert(name.clone(), fields);
        }
        Ok(Self(wanted))
    }

    /// As [`Self::parse`], where a text beside other entries is taken for a list of the fields named in it, as the real
    /// server does once it has subscribed to the object for itself: moonraker-obico means `["speed"]` by `"speed"`, and
    /// OctoApp's companion sends a list of Python's as `"{'message', 'state', 'filename'}"` (moonraker.md 2.7). Alone it is
    /// refused as the real server refuses it.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_leniently(objects: &Value) -> Result<Self, RpcError> {
        let members =
            objects.as_object().filter(|members| members.values().any(|fields| !fields.is_string()));
        let Some(members) = members else { return Self::parse(objects) };
        let between = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
        let listed = |(name, fields): (&String, &Value)| match fields {
            Value::String(text) => {
                (name.clone(), text.split(between).filter(|field| !field.is_empty()).collect())
            }
            other => (name.clone(), other.clone()),
        };
        Self::parse(&Value::Object(members.iter().map(listed).collect()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The complete state of what is wanted: an unknown object is empty, an unknown field null.
    pub fn full<'a>(&'a self, view: &'a View) -> BTreeMap<&'a str, Picked<'a>> {
        let pick = |(name, fields): (&'a String, &'a Option<Vec<String>>)| {
            let object = view.objects.get(name);
            let field = |field: &'a String| {
                (field.as_str(), object.and_then(|it| it.get(field)).unwrap_or(&Value::Null))
            };
            let picked = match (fields, object) {
                (None, Some(object)) => Picked::Whole(object),
                (None, None) => Picked::Fields(BTreeMap::new()),
                (Some(fields), _) => Picked::Fields(fields.iter().map(field).collect()),
            };
            (name.as_str(), picked)
        };
        self.0.iter().map(pick).collect()
    }

    /// What changed of it: fields with their whole new value, objects without change left out.
    /// A print that begins tells its progress with its state, changed or not: with Klipper's first report of a print some
    /// of the file is read, and OctoEverywhere's companion takes `printing` without progress for a print that goes on.
    pub fn diff(&self, before: &View, after: &View) -> Map<String, Value> {
        let mut changes = Map::new();
        let begins = begins(before, after);
        for (name, fields) in &self.0 {
            let Some(new) = after.objects.get(name) else { continue };
            let old = before.objects.get(name);
            let first = |field: &str| begins && name == "virtual_sdcard" && field == "progress";
            if old.is_some_and(|old| Arc::ptr_eq(old, new)) && !first("progress") {
                continue;
            }
            let wanted = |field: &str| fields.as_ref().is_none_or(|fields| fields.iter().any(|f| f == field));
            // Mainsail takes a state that is not told with the message for lost.
            let whole = name == "webhooks";
            let changed: Object = new
                .iter()
                .filter(|(field, value)| {
                    let told = old.and_then(|old| old.get(*field)) == Some(*value);
                    wanted(field) && (whole || first(field) || !told)
                })
                .map(|(field, value)| (field.clone(), value.clone()))
                .collect();
            if !changed.is_empty() {
                changes.insert(name.clone(), Value::Object(changed));
            }
        }
        changes
    }
}

/// Whether a print has begun between two views; one that was paused goes on.
fn begins(before: &View, after: &View) -> bool {
    fn state(view: &View) -> Option<&str> {
        view.objects.get("print_stats")?.get("state")?.as_str()
    }
    state(after) == Some("printing") && !matches!(state(before), Some("printing" | "paused"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(before: Option<&View>, objects: Value) -> View {
        let klippy = Klippy { connected: true, state: "ready", message: String::new() };
        let objects: BTreeMap<String, Object> = serde_json::from_value(objects).expect("objects");
        let objects = objects.into_iter().map(|(name, object)| (name, Arc::new(object))).collect();
        let empty = View::without_objects(0.0, klippy.clone());
        before.unwrap_or(&empty).follow(1.0, klippy, objects)
    }

    /// The requests and answers of `subscription_semantics.json`.
    #[test]
    fn the_first_answer_is_complete_and_never_an_error() {
        let now = view(
            None,
            json!({"extruder": {"temperature": 24.02, "target": 0.0, "power": 0.0}, "toolhead": {"stalls": 0}}),
        );
        let wanted = Wanted::parse(&json!({
            "extruder": ["temperature", "target"], "noobject": null, "toolhead": ["nofield"], "none": ["a"]
        }))
        .expect("valid");
        assert_eq!(
            serde_json::to_value(wanted.full(&now)).expect("text keys"),
            json!({"extruder": {"temperature": 24.02, "target": 0.0}, "noobject": {}, "toolhead": {"nofield": null}, "none": {"a": null}})
        );
        let refused = Wanted::parse(&json!({"fan": "speed"})).expect_err("a string is no list");
        assert_eq!(refused.message, "Invalid argument");
        let captured = Wanted::parse_leniently(&json!({"fan": "speed"})).expect_err("subscribe_bad_fields");
        assert_eq!((captured.status, captured.message.as_str()), (400, "Invalid argument"));
        let obico = Wanted::parse_leniently(&json!({"history": null, "fan": "speed", "webhooks": ["state"]}));
        assert_eq!(obico, Wanted::parse(&json!({"history": null, "fan": ["speed"], "webhooks": ["state"]})));
        let octoapp = json!({"print_stats": "{'state', 'file_name'}", "webhooks": null});
        let octoapp = Wanted::parse_leniently(&octoapp);
        assert_eq!(octoapp, Wanted::parse(&json!({"print_stats": ["state", "file_name"], "webhooks": null})));
        assert!(Wanted::parse_leniently(&json!({"fan": 5, "history": null})).is_err());
    }

    #[test]
    fn a_print_that_begins_tells_its_progress() {
        let job = |before, state: &str, progress: f64| {
            let card = json!({"progress": progress, "is_active": state == "printing"});
            view(before, json!({"print_stats": {"state": state}, "virtual_sdcard": card}))
        };
        let wanted =
            Wanted::parse(&json!({"print_stats": ["state"], "virtual_sdcard": null})).expect("valid");
        let told = |before, after| Value::Object(wanted.diff(before, after));
        let idle = job(None, "standby", 0.0);
        let begun = job(Some(&idle), "printing", 0.0);
        assert_eq!(
            told(&idle, &begun),
            json!({"print_stats": {"state": "printing"}, "virtual_sdcard": {"is_active": true, "progress": 0.0}})
        );
        let paused = job(Some(&begun), "paused", 0.0);
        let resumed = job(Some(&paused), "printing", 0.0);
        assert_eq!(
            told(&paused, &resumed),
            json!({"print_stats": {"state": "printing"}, "virtual_sdcard": {"is_active": true}}),
            "a print that goes on tells what changed"
        );
        let state_only =
            Wanted::parse(&json!({"print_stats": null, "virtual_sdcard": ["is_active"]})).expect("valid");
        assert_eq!(
            state_only.diff(&idle, &begun)["virtual_sdcard"],
            json!({"is_active": true}),
            "if it is wanted"
        );
        let progress_only = Wanted::parse(&json!({"virtual_sdcard": ["progress"]})).expect("valid");
        assert_eq!(
            Value::Object(progress_only.diff(&idle, &begun)),
            json!({"virtual_sdcard": {"progress": 0.0}})
        );
        assert!(progress_only.diff(&begun, &begun).is_empty());
    }

    #[test]
    fn later_updates_carry_changed_fields_only() {
        let first =
            view(None, json!({"extruder": {"temperature": 24.0, "target": 0.0}, "fan": {"speed": 0.0}}));
        let second = view(
            Some(&first),
            json!({"extruder": {"temperature": 25.5, "target": 60.0}, "fan": {"speed": 0.0}}),
        );
        let temperature = Wanted::parse(&json!({"extruder": ["temperature"], "fan": null})).expect("valid");
        assert_eq!(
            Value::Object(temperature.diff(&first, &second)),
            json!({"extruder": {"temperature": 25.5}})
        );
        assert!(Arc::ptr_eq(&first.objects["fan"], &second.objects["fan"]), "unchanged objects are shared");
        assert!(temperature.diff(&second, &second).is_empty());
        let hooks = |before, message: &str| {
            view(before, json!({"webhooks": {"state": "ready", "state_message": message}}))
        };
        let ready = hooks(None, "Printer is ready");
        let noted = hooks(Some(&ready), "Printer is ready, read only");
        let wanted = Wanted::parse(&json!({"webhooks": null})).expect("valid");
        assert_eq!(
            Value::Object(wanted.diff(&ready, &noted)),
            json!({"webhooks": {"state": "ready", "state_message": "Printer is ready, read only"}}),
            "Mainsail needs both"
        );
        assert!(Wanted::default().diff(&first, &second).is_empty());
    }
}
