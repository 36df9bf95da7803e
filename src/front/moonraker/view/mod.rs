//! The printer as Klipper's objects: pure functions from a snapshot to what clients query (moonraker.md section 3).
//!
//! A topic adds an object and its configuration section together, so that neither is ever without the other: Home
//! Assistant loses a whole platform over an `output_pin` without settings. A new topic is a file with one `add`
//! function and a line in [`TOPICS`].

mod climate;
mod configfile;
mod exclude_object;
mod fans;
mod heaters;
mod job;
mod lanes;
mod lights;
mod macros;
mod mmu;
mod motion;
mod sensors;
mod system;

pub use lanes::lane_data;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::klippy::Klippy;
use crate::filament::Choices;
use crate::model::{Capabilities, PrinterState, UnixSeconds};

/// The fields of one object.
pub type Object = Map<String, Value>;

/// What the views are computed from.
pub struct Input<'a> {
    pub state: &'a PrinterState,
    pub caps: &'a Arc<Capabilities>,
    pub klippy: &'a Klippy,
    /// The library's record of the file of the current or last job, where it has one.
    pub file: Option<&'a JobFile>,
    /// Where the library is on the gateway's disk.
    pub library: &'a Path,
    pub host: HostLoad,
    /// Spools in slots and the tool map.
    pub filament: &'a Choices,
    /// An inventory of spools is configured.
    pub spoolman: bool,
    /// Lowest and highest temperature seen of each sensor object since the gateway started.
    pub extremes: &'a BTreeMap<String, (f64, f64)>,
    pub now: UnixSeconds,
}

/// What the views need of the job's file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobFile {
    pub path: String,
    pub size: u64,
    pub plate: Option<u32>,
    /// `metadata::FileMetadata` as JSON.
    pub metadata: Value,
    /// The objects that can be skipped.
    pub objects: Vec<crate::metadata::NamedObject>,
}

/// Load of the gateway's host.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HostLoad {
    /// Load average of the last minute.
    pub load: f64,
    /// Processor seconds used by the gateway.
    pub cpu_seconds: f64,
    /// Available memory in kB.
    pub available_kb: u64,
}

/// What seldom changes and is long, kept from one view of a printer to the next.
#[derive(Default)]
pub struct Kept {
    macros: Option<macros::Macros>,
    configfile: Option<configfile::Written>,
}

/// Collects what the topics add.
#[derive(Default)]
pub struct Builder {
    pub objects: BTreeMap<String, Arc<Object>>,
    pub sections: Vec<Arc<configfile::Section>>,
    pub heaters: Vec<String>,
    pub sensors: Vec<String>,
    kept: Kept,
}

impl Builder {
    /// Adds an object; anything but a JSON object is ignored.
    pub fn object(&mut self, name: impl Into<String>, fields: Value) {
        if let Value::Object(fields) = fields {
            self.objects.insert(name.into(), Arc::new(fields));
        }
    }

    /// Adds a configuration section.
    pub fn section(&mut self, name: &str, options: Value) {
        self.sections.push(Arc::new(configfile::Section::new(name.to_owned(), options)));
    }
}

type Topic = fn(&mut Builder, &Input<'_>);

/// In the order in which sensors and heaters are listed.
const TOPICS: &[Topic] = &[
    system::add,
    heaters::add,
    sensors::add,
    fans::add,
    lights::add,
    motion::add,
    job::add,
    exclude_object::add,
    macros::add,
    mmu::add,
];

/// All objects of the printer by name; what it found `kept` of the view before, it leaves there for the next.
pub fn objects(input: &Input<'_>, kept: &mut Kept) -> BTreeMap<String, Arc<Object>> {
    let mut builder = Builder { kept: std::mem::take(kept), ..Builder::default() };
    for add in TOPICS {
        add(&mut builder, input);
    }
    let heaters = serde_json::json!({
        "available_heaters": builder.heaters,
        "available_sensors": builder.sensors,
        "available_monitors": [],
    });
    builder.object("heaters", heaters);
    configfile::add(&mut builder, input);
    *kept = builder.kept;
    builder.objects
}

/// What `heaters.available_sensors` lists, with its objects: what is sampled each second.
pub fn readings(input: &Input<'_>) -> BTreeMap<String, Arc<Object>> {
    let mut builder = Builder::default();
    heaters::add(&mut builder, input);
    let sensors = std::mem::take(&mut builder.sensors);
    builder.objects.retain(|name, _| sensors.contains(name));
    builder.objects
}

/// A reading as the UIs show it: two decimals; null where there is none.
fn reading(value: Option<f64>) -> Value {
    value.map_or(Value::Null, |value| Value::from((value * 100.0).round() / 100.0))
}

#[cfg(test)]
#[path = "mmu_tests.rs"]
mod mmu_tests;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
