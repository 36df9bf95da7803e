//! Objects of the job that can be skipped (moonraker.md 3.1).

use serde_json::{Value, json};

use super::{Builder, Input, JobFile};

/// An object of the plate under the name that clients see.
#[derive(Debug, Clone, PartialEq)]
pub struct PlateObject {
    /// The number by which the printer skips it.
    pub id: u32,
    /// Upper case and unique, as Klipper keeps them.
    pub name: String,
    pub polygon: Value,
}

pub fn add(builder: &mut Builder, input: &Input<'_>) {
    if !input.caps.control.skip_objects {
        return;
    }
    let job = &input.state.job;
    let listed =
        if job.phase.active() { input.file.map(plate_objects).unwrap_or_default() } else { Vec::new() };
    let excluded: Vec<&str> =
        listed.iter().filter(|object| job.skipped.contains(&object.id)).map(|o| o.name.as_str()).collect();
    let objects: Vec<Value> = listed.iter().map(described).collect();
    builder.object(
        "exclude_object",
        json!({"objects": objects, "excluded_objects": excluded, "current_object": null}),
    );
    builder.section("exclude_object", json!({}));
}

fn described(object: &PlateObject) -> Value {
    let mut described = json!({"name": object.name});
    let known = object.polygon.as_array().is_some_and(|points| !points.is_empty());
    if known && let Value::Object(fields) = &mut described {
        fields.insert("polygon".to_owned(), object.polygon.clone());
    }
    described
}

/// The objects of the plate that is printed, in the file's order.
pub fn plate_objects(file: &JobFile) -> Vec<PlateObject> {
    let plates = file.metadata.get("plates").and_then(Value::as_array);
    let number = |plate: &Value| plate.get("index").and_then(Value::as_u64);
    let plate = plates.and_then(|plates| match file.plate {
        Some(wanted) => plates.iter().find(|plate| number(plate) == Some(u64::from(wanted))),
        None => plates.first(),
    });
    let objects = plate.and_then(|plate| plate.get("objects")).and_then(Value::as_array);
    let mut listed: Vec<PlateObject> = Vec::new();
    for object in objects.into_iter().flatten() {
        let id = object.get("identify_id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        let Some(id) = id else { continue };
        let name =
            object.get("name").and_then(Value::as_str).unwrap_or("object").to_uppercase().replace(' ', "_");
        let taken = listed.iter().any(|other| other.name == name);
        listed.push(PlateObject {
            id,
            name: if taken { format!("{name}_ID_{id}") } else { name },
            polygon: object.get("polygon").cloned().unwrap_or(Value::Null),
        });
    }
    listed
}
