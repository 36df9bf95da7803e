//! One tray entry as filament (bambu.md 3.12).

use serde_json::Value;

use crate::drivers::bambu::field::{at, list, num, small, text};
use crate::model::{Color, Filament};

/// `None` for an empty entry and for a spool nobody described.
pub(super) fn filament(tray: &Value) -> Option<Filament> {
    let material = text(at(tray, "/tray_type"))?;
    let temperature = |pointer: &str| num(at(tray, pointer)).filter(|celsius| *celsius > 0.0);
    let color = |value: &Value| text(value).as_deref().and_then(Color::parse);
    Some(Filament {
        material: Some(material),
        name: text(at(tray, "/tray_sub_brands")),
        brand: None,
        color: color(at(tray, "/tray_color")),
        colors: list(at(tray, "/cols")).iter().filter_map(color).collect(),
        nozzle_min: temperature("/nozzle_temp_min"),
        nozzle_max: temperature("/nozzle_temp_max"),
        bed: temperature("/bed_temp"),
        weight_g: num(at(tray, "/tray_weight")).filter(|grams| *grams > 0.0),
        diameter_mm: num(at(tray, "/tray_diameter")).filter(|mm| *mm > 0.0),
        profile: text(at(tray, "/tray_info_idx")),
        spool_uid: uid(at(tray, "/tray_uuid")),
        flow_profile: small::<i32>(at(tray, "/cali_idx")).filter(|profile| *profile >= 0),
    })
}

/// Part of the spool left; only spools with a tag are measured (bambu.md 3.12).
pub(super) fn remaining(tray: &Value) -> Option<f64> {
    uid(at(tray, "/tag_uid")).or_else(|| uid(at(tray, "/tray_uuid")))?;
    num(at(tray, "/remain")).filter(|percent| (0.0..=100.0).contains(percent)).map(|percent| percent / 100.0)
}

/// An identity that is not all zeros.
fn uid(value: &Value) -> Option<String> {
    text(value).filter(|uid| uid.bytes().any(|byte| byte != b'0'))
}
