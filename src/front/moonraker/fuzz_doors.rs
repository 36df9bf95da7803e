//! Outside bytes into this front end's parsers, for `crate::fuzzing`.

use serde_json::Value;

use super::args::Args;
use super::methods;
use super::subscribe::Wanted;

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
