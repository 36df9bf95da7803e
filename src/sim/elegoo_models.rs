//! Models of both Elegoo protocols. A new model is a new row of its protocol's table.

/// One simulated model.
#[derive(Debug)]
pub struct Model {
    /// Name in options, lower case.
    pub key: &'static str,
    /// As it calls itself: `MachineName` (dossier 2.2), `machine_model` (dossier 3.2).
    pub name: &'static str,
    /// Highest targets in °C (dossier 7); more is a violation.
    pub nozzle_limit: f64,
    pub bed_limit: f64,
}

pub const CENTAURI_CARBON: Model =
    Model { key: "cc1", name: "Centauri Carbon", nozzle_limit: 320.0, bed_limit: 110.0 };

pub const CENTAURI_CARBON_2: Model =
    Model { key: "cc2", name: "Centauri Carbon 2", nozzle_limit: 300.0, bed_limit: 125.0 };

/// Those of SDCP. A Centauri has the board and the firmware of the Centauri Carbon (dossier 1); no capture shows what
/// else differs.
pub static CC1: &[Model] = &[CENTAURI_CARBON, Model { key: "centauri", name: "Centauri", ..CENTAURI_CARBON }];

/// Those of JSON-RPC over MQTT.
pub static CC2: &[Model] = &[CENTAURI_CARBON_2];
