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

    /// As [`Self::parse`], where a text beside other entries is taken for a list of that one field: moonraker-obico means
    /// `["speed"]` by `"speed"` and would lose its whole subscription (moonraker.md 2.7). Alone it is refused as the
    /// real server refuses it.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_leniently(objects: &Value) -> Result<Self, RpcError> {
        let members =
            objects.as_object().filter(|members| members.values().any(|fields| !fields.is_string()));
        let Some(members) = members else { return Self::parse(objects) };
        let listed = |(name, fields): (&String, &Value)| match fields {
            Value::String(field) => (name.clone(), Value::from(vec![field.clone()])),
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
    pub fn diff(&self, before: &View, after: &View) -> Map<String, Value> {
        let mut changes = Map::new();
        for (name, fields) in &self.0 {
            let Some(new) = after.objects.get(name) else { continue };
            let old = before.objects.get(name);
            if old.is_some_and(|old| Arc::ptr_eq(old, new)) {
                continue;
            }
            let wanted = |field: &str| fields.as_ref().is_none_or(|fields| fields.iter().any(|f| f == field));
            // Mainsail takes a state that is not told with the message for lost.
            let whole = name == "webhooks";
            let changed: Object = new
                .iter()
                .filter(|(field, value)| {
                    wanted(field) && (whole || old.and_then(|old| old.get(*field)) != Some(*value))
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
        assert!(Wanted::parse_leniently(&json!({"fan": 5, "history": null})).is_err());
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
