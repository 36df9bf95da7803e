//! Models that speak this protocol. A new model is a new row.

/// One printer model.
#[derive(Debug)]
pub struct Model {
    /// Name in options, lower case.
    pub key: &'static str,
    /// `machine_model` of discovery and method 1001 (dossier 3.2).
    pub machine_model: &'static str,
    /// Highest targets in °C (dossier 7); more is a violation.
    pub nozzle_limit: f64,
    pub bed_limit: f64,
}

pub const CENTAURI_CARBON_2: Model =
    Model { key: "cc2", machine_model: "Centauri Carbon 2", nozzle_limit: 300.0, bed_limit: 125.0 };

/// Every simulated model.
pub static TABLE: &[Model] = &[CENTAURI_CARBON_2];

/// The model of this key.
pub fn find(key: &str) -> Option<&'static Model> {
    TABLE.iter().find(|model| model.key == key)
}
