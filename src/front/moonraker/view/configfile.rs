//! `configfile`: the sections that the front ends look for (moonraker.md 3.2).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Builder, Input, Object};

/// A section of the printer's configuration.
#[derive(PartialEq)]
pub struct Section {
    /// Keeps its case in `config` and is lower case in `settings`.
    pub name: String,
    options: Map<String, Value>,
}

impl Section {
    /// Anything but a JSON object is no options.
    pub fn new(name: String, options: Value) -> Self {
        let options = if let Value::Object(options) = options { options } else { Map::new() };
        Self { name, options }
    }
}

/// The object, with the sections that it was written from.
pub struct Written {
    sections: Vec<Arc<Section>>,
    object: Arc<Object>,
}

pub fn add(builder: &mut Builder, input: &Input<'_>) {
    let [x, y, z] = input.caps.volume_mm;
    for (name, length) in [("stepper_x", x), ("stepper_y", y), ("stepper_z", z)] {
        let stepper = json!({"position_min": 0.0, "position_max": length, "position_endstop": 0.0});
        builder.section(name, stepper);
    }
    builder.section("virtual_sdcard", json!({"path": input.library.to_string_lossy()}));
    builder.section("pause_resume", json!({}));
    builder.section("display_status", json!({}));
    builder.section("respond", json!({}));
    builder.section("idle_timeout", json!({"timeout": 600.0}));
    let sections = std::mem::take(&mut builder.sections);
    let kept = builder.kept.configfile.take().filter(|kept| kept.sections == sections);
    let written = kept.unwrap_or_else(|| Written { object: Arc::new(written(&sections)), sections });
    builder.objects.insert("configfile".to_owned(), written.object.clone());
    builder.kept.configfile = Some(written);
}

/// `config` holds texts, `settings` typed values; of two sections of one name the later one counts.
fn written(sections: &[Arc<Section>]) -> Object {
    let texts = |options: &Map<String, Value>| -> Map<String, Value> {
        options.iter().map(|(key, value)| (key.clone(), Value::from(as_text(value)))).collect()
    };
    let config = sections.iter().map(|one| (one.name.clone(), Value::from(texts(&one.options))));
    let settings = sections.iter().map(|one| (one.name.to_lowercase(), Value::from(one.options.clone())));
    Object::from_iter([
        ("config".to_owned(), Value::Object(config.collect())),
        ("settings".to_owned(), Value::Object(settings.collect())),
        ("warnings".to_owned(), json!([])),
        ("save_config_pending".to_owned(), Value::from(false)),
        ("save_config_pending_items".to_owned(), json!({})),
    ])
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
}
