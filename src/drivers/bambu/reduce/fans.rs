//! Fan speeds from the air duct, the packed gears, or the old steps of 15 (bambu.md 3.8).

use std::collections::BTreeMap;

use super::Source;
use crate::drivers::bambu::field::{at, bits32, int, list, small};
use crate::drivers::bambu::models::fan_of_part;
use crate::model::{Fan, FanId};

pub(super) fn fans(source: Source<'_>) -> BTreeMap<FanId, Fan> {
    let mut fans = duct(source);
    if fans.is_empty() {
        fans = plain(source);
    }
    if let Some(speed) = steps(source, "/heatbreak_fan_speed") {
        fans.insert(FanId::Hotend, speed);
    }
    fans
}

/// The parts that the printer lists; where they disagree with the gears, the duct is right (bambu.md 3.8).
fn duct(source: Source<'_>) -> BTreeMap<FanId, Fan> {
    let parts = list(source.at("/device/airduct/parts")).iter();
    parts
        .filter_map(|part| {
            let id = small::<u16>(at(part, "/id"))?;
            let percent = int(at(part, "/state"))? & 0xFF;
            let fan = fan_of_part(u8::try_from(id >> 4).ok()?)?;
            Some((fan, Fan { speed: Some((percent as f64 / 100.0).min(1.0)), rpm: None }))
        })
        .collect()
}

fn plain(source: Source<'_>) -> BTreeMap<FanId, Fan> {
    let gears = bits32(source.at("/fan_gear")).filter(|gears| *gears != 0);
    let keys = [
        (FanId::Part, "/cooling_fan_speed", 0),
        (FanId::Auxiliary, "/big_fan1_speed", 8),
        (FanId::Chamber, "/big_fan2_speed", 16),
    ];
    let has = |fan: &FanId| source.row.fans.contains(fan) || source.row.kit_fans.contains(fan);
    keys.into_iter()
        .filter(|(fan, ..)| has(fan))
        .filter_map(|(fan, key, shift)| {
            let gear =
                gears.map(|gears| Fan { speed: Some(f64::from((gears >> shift) & 0xFF) / 255.0), rpm: None });
            Some((fan, gear.or_else(|| steps(source, key))?))
        })
        .collect()
}

/// "0" to "15" as the printer's screen shows it: in tens of percent.
fn steps(source: Source<'_>, key: &str) -> Option<Fan> {
    let step = small::<u8>(source.at(key)).filter(|step| *step <= 15)?;
    Some(Fan { speed: Some((f64::from(step) / 1.5).floor() / 10.0), rpm: None })
}
