//! Outside bytes into this front end's parsers, for `crate::fuzzing`; two views and their difference, for the benches.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::args::Args;
use super::klippy::{Gate, Klippy};
use super::methods;
use super::subscribe::{View, Wanted};
pub use super::view::Kept;
use super::view::{self, HostLoad, Input};
use crate::model::{Capabilities, PrinterState};

/// The view of a printer that comes after another.
pub fn view(state: &PrinterState, caps: &Arc<Capabilities>, before: Option<&View>, kept: &mut Kept) -> View {
    let klippy = Klippy::of(state, &Gate::Open);
    let input = Input {
        state,
        caps,
        klippy: &klippy,
        file: None,
        library: Path::new("/library"),
        filament: &crate::filament::Choices::default(),
        spoolman: false,
        host: HostLoad::default(),
        extremes: &BTreeMap::new(),
        now: 0.0,
    };
    let objects = view::objects(&input, kept);
    let empty = || View::without_objects(0.0, klippy.clone());
    before.cloned().unwrap_or_else(empty).follow(1.0, klippy.clone(), objects)
}

/// What a client that subscribed to everything is sent of the change from one view to the next.
pub fn difference(before: &View, after: &View) -> String {
    let all = after.objects.keys().map(|name| (name.clone(), Value::Null)).collect();
    let wanted = Wanted::parse(&Value::Object(all)).unwrap_or_default();
    Value::Object(wanted.diff(before, after)).to_string()
}

/// A frame of JSON-RPC as far as it goes without a printer: frame, method, arguments; the same bytes as a query.
pub fn frame(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(mut frame) = serde_json::from_str::<Value>(&text) {
        let _method = frame.get("method").and_then(Value::as_str).and_then(methods::find);
        let params = frame.get_mut("params").map(Value::take).unwrap_or_default();
        if let Some(objects) = params.get("objects") {
            let _wanted = Wanted::parse(objects);
        }
        let mut args = Args::default();
        args.merge(params);
        for name in ["script", "limit", "filename", "objects", "all", "key"] {
            let _any = (args.opt_text(name), args.opt_number(name), args.opt_count(name));
            let _any = (args.flag(name), args.texts(name));
        }
    }
    let _query = Args::from_query(&text);
    let objects = Args::from_object_query(&text);
    if let Some(objects) = objects.get("objects") {
        let _wanted = Wanted::parse(objects);
    }
    let _path = methods::find_path(&text);
}
