//! What the models of this protocol can do.

use crate::drivers::elegoo::models::{self, CC2, Model};
use crate::model::{Calibration, Capabilities, ControlCaps, FanId, FilamentCaps, MotionCaps};

/// The row for a `machine_model`, which some firmware writes with the maker's name before it; of several that are in
/// the name, the one that says most of it.
pub fn find(machine_model: &str) -> Option<&'static Model> {
    let name = machine_model.trim().to_ascii_lowercase();
    let named = CC2.iter().filter(|model| name.contains(&model.name.to_ascii_lowercase()));
    named.max_by_key(|model| model.name.len())
}

/// What the printer can do; `canvas` once one was reported.
pub fn capabilities(model: &Model, canvas: bool) -> Capabilities {
    Capabilities {
        fans_read_only: [FanId::Hotend, FanId::Controller].into(),
        // 1026 homes all axes whatever is asked (captured); 1027 comes from the SDK and one client (elegoo.md 3.6).
        motion: MotionCaps { home: true, jog: true, ..MotionCaps::default() },
        filament: FilamentCaps {
            load: true,
            unload: true,
            edit: canvas,
            map: canvas,
            auto_refill: canvas,
            ..FilamentCaps::default()
        },
        control: ControlCaps { emergency_stop: true, ..ControlCaps::default() },
        calibrations: [Calibration::BedLevelling, Calibration::Vibration, Calibration::Pid].into(),
        ..models::capabilities(model)
    }
}
