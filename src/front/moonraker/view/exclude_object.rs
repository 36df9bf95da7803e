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
    // All of them or none: KlipperScreen reads the outline of each object if the first has one.
    let outlined = listed.iter().all(|object| !object.polygon.is_empty());
    let objects: Vec<Value> = listed.iter().map(|object| described(object, outlined)).collect();
    builder.object(
        "exclude_object",
        json!({"objects": objects, "excluded_objects": excluded, "current_object": null}),
    );
    builder.section("exclude_object", json!({}));
}

fn described(object: &NamedObject, outlined: bool) -> Value {
    if !outlined {
        return json!({"name": object.name});
    }
    json!({"name": object.name, "center": centre(&object.polygon), "polygon": object.polygon})
}

/// The middle of the box around a polygon, in mm.
fn centre(polygon: &[[f64; 2]]) -> [f64; 2] {
    let middle = |of: fn(&[f64; 2]) -> f64| {
        let low = polygon.iter().map(of).fold(f64::INFINITY, f64::min);
        let high = polygon.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
        f64::midpoint(low, high)
    };
    [middle(|[x, _]| *x), middle(|[_, y]| *y)]
}
