//! Objects of the job that can be skipped (moonraker.md 3.1).

use serde_json::{Value, json};

use super::{Builder, Input};
use crate::metadata::NamedObject;

pub fn add(builder: &mut Builder, input: &Input<'_>) {
    if !input.caps.control.skip_objects {
        return;
    }
    let job = &input.state.job;
    let listed: &[NamedObject] = match input.file {
        Some(file) if job.phase.active() => &file.objects,
        _ => &[],
    };
    let excluded: Vec<&str> =
        listed.iter().filter(|object| job.skipped.contains(&object.id)).map(|o| o.name.as_str()).collect();
    let objects: Vec<Value> = listed.iter().map(described).collect();
    builder.object(
        "exclude_object",
        json!({"objects": objects, "excluded_objects": excluded, "current_object": null}),
    );
    builder.section("exclude_object", json!({}));
}

fn described(object: &NamedObject) -> Value {
    let mut described = json!({"name": object.name});
    if !object.polygon.is_empty()
        && let Value::Object(fields) = &mut described
    {
        fields.insert("polygon".to_owned(), json!(object.polygon));
    }
    described
}
