//! Outside bytes into this driver's parsers, for `crate::fuzzing`.

use super::reduce::{Memory, attributes, disk, has_canvas, history, status};
use super::wire::{Document, Message, error_code, parse, registration};
use crate::model::Device;

/// Payloads, parted by the record separator, merged and reduced one after the other.
pub fn payloads(bytes: &[u8]) {
    let (mut device, mut memory, mut document) = (Device::default(), Memory::default(), Document::default());
    for payload in bytes.split(|byte| *byte == 0x1e) {
        let _registered = registration(payload, "client");
        match parse(payload) {
            Message::Response { method, result, .. } => {
                let _code = error_code(&result);
                match method {
                    Some(1001) => drop(attributes(&result, &mut device)),
                    Some(1002) => document.replace(result),
                    Some(2005) => document.set_canvas(result),
                    _ => {
                        let _bytes = disk(&result, &mut device);
                        memory.judge(memory.end_in(&history(&result)));
                        memory.learn_layers("cube.gcode", &result);
                    }
                }
            }
            Message::Delta { id, change } => drop(document.merge(id, &change)),
            Message::Attributes(value) => drop(attributes(&value, &mut device)),
            _ => {}
        }
        if let Some(value) = document.value() {
            let _has = has_canvas(value);
            let _wish = status(value, &mut device, &mut memory, 100.0);
        }
    }
    let _found = super::discovery::parse(bytes, std::net::IpAddr::from([127, 0, 0, 1]));
}
