//! Who we say we are (moonraker.md 2.6, 2.7).

use super::Endpoint;
use crate::model::CameraKind;

/// The API level that the answers follow; both UIs compare it by semantic version.
pub const API_VERSION: [u32; 3] = [1, 5, 0];
pub const API_VERSION_STRING: &str = "1.5.0";
/// The Moonraker release whose answers ours equal: a lower one makes the UIs ask for an update.
pub const MOONRAKER_VERSION: &str = "0.11.0";
/// The Klipper version that Mainsail accepts without an "update needed" notice (minimum v0.11.0-257).
pub const SOFTWARE_VERSION: &str = concat!("v0.12.0-", "moongate-", env!("CARGO_PKG_VERSION"));

/// What clients test for before they use a part of the API (moonraker.md section 5): only what works is here.
pub const COMPONENTS: &[&str] = &[
    "application",
    "websockets",
    "jsonrpc",
    "klippy_connection",
    "klippy_apis",
    "database",
    "file_manager",
    "authorization",
    "machine",
    "data_store",
    "proc_stats",
    "job_state",
    "job_queue",
    "history",
    "announcements",
    "webcam",
    "extensions",
    "power",
    "sensor",
    "octoprint_compat",
];

/// The component of this name is there: the printer has a camera to take pictures with.
pub fn has_timelapse(endpoint: &Endpoint) -> bool {
    endpoint.station.printer.capabilities().camera != CameraKind::None
}

/// What this endpoint offers.
pub fn components(endpoint: &Endpoint) -> Vec<&'static str> {
    let timelapse = has_timelapse(endpoint).then_some("timelapse");
    COMPONENTS.iter().copied().chain(timelapse).collect()
}

/// Its roots of files: Mainsail lists these and no others, its page of timelapses among them.
pub fn directories(endpoint: &Endpoint) -> Vec<&'static str> {
    let timelapse: &[_] = if has_timelapse(endpoint) { &["timelapse", "timelapse_frames"] } else { &[] };
    ["config", "logs", "gcodes"].iter().chain(timelapse).copied().collect()
}
