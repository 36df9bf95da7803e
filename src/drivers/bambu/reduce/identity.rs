//! Who the printer is: the answer to get_version, and the update block (bambu.md 1.3, 1.4).

use std::collections::BTreeMap;

use serde_json::Value;

use super::Source;
use crate::drivers::bambu::field::{at, list, small, text};
use crate::drivers::bambu::models::Clues;
use crate::model::Identity;

/// A filament unit's product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum AmsKind {
    Ams,
    Lite,
    TwoPro,
    Ht,
}

impl AmsKind {
    pub fn product(self) -> &'static str {
        match self {
            AmsKind::Ams => "AMS",
            AmsKind::Lite => "AMS Lite",
            AmsKind::TwoPro => "AMS 2 Pro",
            AmsKind::Ht => "AMS HT",
        }
    }

    /// The range of drying temperatures in °C, where it can dry (bambu.md 4.6).
    pub fn drying(self) -> Option<std::ops::RangeInclusive<f64>> {
        match self {
            AmsKind::TwoPro => Some(45.0..=65.0),
            AmsKind::Ht => Some(45.0..=85.0),
            AmsKind::Ams | AmsKind::Lite => None,
        }
    }
}

/// What `get_version` told.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in super::super) struct Versions {
    pub product: Option<String>,
    pub firmware: Option<String>,
    project: Option<String>,
    board: Option<(String, String)>,
    units: BTreeMap<u16, AmsKind>,
}

impl Versions {
    /// Reads the module list; damaged entries are left out.
    pub fn read(modules: &Value) -> Self {
        let mut versions = Versions::default();
        for module in list(modules) {
            let Some(name) = text(at(module, "/name")) else { continue };
            let project = text(at(module, "/project_name"));
            match name.as_str() {
                "ota" => {
                    versions.product = text(at(module, "/product_name"));
                    versions.firmware = text(at(module, "/sw_ver"));
                    versions.project = project.or(versions.project.take());
                }
                "esp32" | "rv1126" | "ap" => {
                    versions.board = text(at(module, "/hw_ver")).map(|hardware| (name, hardware));
                    versions.project = versions.project.take().or(project);
                }
                unit => versions.units.extend(unit_of(unit)),
            }
        }
        versions
    }

    /// The clues to the model, beside what the configuration and the serial number say.
    pub fn clues<'a>(&'a self, code: Option<&'a str>, serial: &'a str) -> Clues<'a> {
        Clues {
            product: self.product.as_deref(),
            code,
            serial,
            project: self.project.as_deref(),
            board: self.board.as_ref().map(|(module, hardware)| (module.as_str(), hardware.as_str())),
        }
    }

    pub fn unit(&self, id: u16) -> Option<AmsKind> {
        self.units.get(&id).copied()
    }
}

/// Kind and number of a filament unit by its module name: `ams/0`, `ams_f1/16`, `n3f/1`, `n3s/128`.
fn unit_of(module: &str) -> Option<(u16, AmsKind)> {
    let (kind, number) = module.split_once('/')?;
    let kind = match kind {
        "ams" => AmsKind::Ams,
        "ams_f1" => AmsKind::Lite,
        "n3f" => AmsKind::TwoPro,
        "n3s" => AmsKind::Ht,
        _ => return None,
    };
    Some((number.parse().ok()?, kind))
}

pub(super) fn identity(source: Source<'_>) -> Identity {
    let row = source.row;
    let model = match row.products.first() {
        Some(product) => Some((*product).to_owned()),
        None => source.versions.product.clone(),
    };
    Identity {
        model,
        firmware: source.versions.firmware.clone(),
        name: None,
        firmware_available: available(source.at("/upgrade_state")),
    }
}

/// The newer main firmware that the printer offers (bambu.md 3.5: `new_version_state` 1 = available).
fn available(upgrade: &Value) -> Option<String> {
    if small::<u8>(at(upgrade, "/new_version_state")) != Some(1) {
        return None;
    }
    let listed = list(at(upgrade, "/new_ver_list"))
        .iter()
        .find(|entry| text(at(entry, "/name")).as_deref() == Some("ota"))
        .and_then(|entry| text(at(entry, "/new_ver")));
    listed.or_else(|| text(at(upgrade, "/ota_new_version_number")))
}
