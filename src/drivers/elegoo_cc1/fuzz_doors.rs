//! Outside bytes into this driver's parsers, for `crate::fuzzing`.

use super::reduce::{Memory, attributes, status, verdict};
use super::wire::{Frame, parse};
use crate::model::Device;

/// Frames, parted by the record separator, reduced one after the other.
pub fn frames(bytes: &[u8]) {
    let (mut device, mut memory) = (Device::default(), Memory::default());
    for frame in bytes.split(|byte| *byte == 0x1e) {
        match parse(&String::from_utf8_lossy(frame)) {
            Frame::Status(value, _) => drop(status(&value, &mut device, &mut memory, 100.0)),
            Frame::Attributes(value, _) => drop(attributes(&value, &mut device)),
            Frame::Response { data, .. } => {
                let found = verdict(&data, "task");
                memory.judge(found);
                crate::drivers::elegoo::canvas::reduce(&data, &mut device.filament);
            }
            _ => {}
        }
    }
    let _found = super::discovery::parse(bytes, std::net::IpAddr::from([127, 0, 0, 1]));
}
