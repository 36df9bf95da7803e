//! `configfile`: the sections that the front ends look for (moonraker.md 3.2).

use serde_json::{Map, Value, json};

use super::{Builder, Input};

/// The sections of the printer's configuration in both forms.
#[derive(Default)]
pub struct Sections {
    config: Map<String, Value>,
    settings: Map<String, Value>,
}

impl Sections {
    /// `config` holds texts under the written name, `settings` typed values under the lower-case name.
    pub fn add(&mut self, name: &str, options: Value) {
        let Value::Object(options) = options else { return };
        let texts: Map<String, Value> =
            options.iter().map(|(key, value)| (key.clone(), Value::from(as_text(value)))).collect();
        self.config.insert(name.to_owned(), Value::Object(texts));
        self.settings.insert(name.to_lowercase(), Value::Object(options));
    }
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
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
    let fields = json!({
        "config": sections.config,
        "settings": sections.settings,
        "warnings": [],
        "save_config_pending": false,
        "save_config_pending_items": {},
    });
    builder.object("configfile", fields);
}
