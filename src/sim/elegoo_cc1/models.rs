//! Models that speak this protocol. A new model is a new row.

/// One printer model.
#[derive(Debug)]
pub struct Model {
    /// Name in options, lower case.
    pub key: &'static str,
    /// `MachineName` of discovery and attributes (dossier 2.2).
    pub machine_name: &'static str,
    /// Highest targets in °C (dossier 7); more is a violation.
    pub nozzle_limit: f64,
    pub bed_limit: f64,
}

pub const CENTAURI_CARBON: Model =
    Model { key: "cc1", machine_name: "Centauri Carbon", nozzle_limit: 320.0, bed_limit: 110.0 };

/// Every simulated model. A Centauri has the board and the firmware of the Centauri Carbon (dossier 1); no capture shows
/// what else differs.
pub static TABLE: &[Model] =
    &[CENTAURI_CARBON, Model { key: "centauri", machine_name: "Centauri", ..CENTAURI_CARBON }];

/// The model of this key.
pub fn find(key: &str) -> Option<&'static Model> {
    TABLE.iter().find(|model| model.key == key)
}
