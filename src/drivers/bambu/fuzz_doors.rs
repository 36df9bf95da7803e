//! Outside bytes into this driver's parsers, for `crate::fuzzing`.

use serde_json::Value;

use super::merge::Reports;
use super::models;
use super::reduce::{self, Source, Versions};
use super::wire::{Incoming, parse};

/// Payloads, parted by the record separator, merged one after the other and reduced after each.
pub fn reports(bytes: &[u8]) {
    let mut reports = Reports::default();
    let mut versions = Versions::default();
    let mut faults = Vec::new();
    for payload in bytes.split(|byte| *byte == 0x1e) {
        for part in parse(payload).unwrap_or_default() {
            match part {
                Incoming::State(fields) => reports.merge(&fields),
                Incoming::Versions(modules) => versions = Versions::read(&modules),
                Incoming::Ack(_) => {}
            }
        }
        let row = models::identify(&versions.clues(None, ""));
        let _capabilities = row.capabilities(&Value::Null);
        let device = reduce::device(Source { reports: &reports, versions: &versions, row }, &faults, 100.0);
        faults = device.faults;
    }
}

/// A datagram of the discovery.
pub fn notify(bytes: &[u8]) {
    let _found = super::discovery::parse_notify(bytes, std::net::IpAddr::from([127, 0, 0, 1]));
}

/// The head of a camera picture.
pub fn picture_head(bytes: &[u8]) {
    if let Some(head) = bytes.first_chunk() {
        assert!(super::camera::picture_length(head).is_none_or(|length| length < 64 << 20));
    }
}
