//! Names of fans and lights in object names; the translator knows the same ones in `SET_FAN_SPEED FAN=aux_fan` and
//! `SET_PIN PIN=chamber_light`.

use crate::model::{FanId, LightId};

/// The part fan is `fan` there and set by M106; the others are set by `SET_FAN_SPEED`.
pub fn fan_name(fan: FanId) -> &'static str {
    match fan {
        FanId::Part => "fan",
        FanId::Auxiliary => "aux_fan",
        FanId::AuxiliaryLeft => "aux_fan_left",
        FanId::Chamber => "chamber_fan",
        FanId::Hotend => "hotend_fan",
        FanId::Controller => "controller_fan",
        FanId::Circulation => "circulation_fan",
    }
}

/// OrcaSlicer and OctoEverywhere find the light by the word in its name (moonraker.md 3.4).
pub fn light_name(light: LightId) -> &'static str {
    match light {
        LightId::Chamber => "chamber_light",
        LightId::Work => "work_light",
        LightId::Bed => "bed_light",
    }
}
