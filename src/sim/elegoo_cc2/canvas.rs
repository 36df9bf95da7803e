//! The Canvas of the simulated CC2: four trays, and the alarming but normal tool change in mid-print (dossier 3.9).

use serde::Serialize;
use serde_json::{Value, json};

/// One tray, in the words of method 2005.
#[derive(Debug, Clone, Serialize)]
pub struct Tray {
    pub brand: String,
    pub kind: String,
    pub name: String,
    pub code: String,
    pub colour: String,
    pub min_temp: i64,
    pub max_temp: i64,
    /// 0 empty, 1 loaded.
    pub status: i64,
}

/// The unit.
#[derive(Debug, Clone)]
pub struct Canvas {
    /// Its plug is in.
    pub connected: bool,
    /// -1 when none feeds.
    pub active: i64,
    pub auto_refill: bool,
    pub trays: Vec<Tray>,
}

impl Default for Canvas {
    fn default() -> Self {
        let tray = |kind: &str, name: &str, colour: &str, code: &str, status| Tray {
            brand: "ELEGOO".to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            code: code.to_owned(),
            colour: colour.to_owned(),
            min_temp: if kind == "PETG" { 230 } else { 190 },
            max_temp: if kind == "PETG" { 260 } else { 230 },
            status,
        };
        Self {
            connected: true,
            active: -1,
            auto_refill: false,
            trays: vec![
                tray("PLA", "PLA", "#2850DF", "0x0000", 1),
                tray("PLA", "PLA Basic", "#FFFFFF", "0x0001", 1),
                tray("PLA", "PLA Silk", "#F32FF8", "0x0002", 1),
                tray("PETG", "PETG", "#A03BF7", "0x0100", 0),
            ],
        }
    }
}

impl Canvas {
    /// `canvas_info` of method 2005.
    pub fn info(&self) -> Value {
        let trays: Vec<Value> = self.trays.iter().enumerate().map(|(id, tray)| {
            let feeding = usize::try_from(self.active) == Ok(id);
            json!({"tray_id": id, "brand": tray.brand, "filament_type": tray.kind, "filament_name": tray.name,
                "filament_code": tray.code, "filament_color": tray.colour, "min_nozzle_temp": tray.min_temp,
                "max_nozzle_temp": tray.max_temp, "status": if feeding { 2 } else { tray.status }})
        }).collect();
        json!({"active_canvas_id": 0, "active_tray_id": self.active, "auto_refill": self.auto_refill,
            "canvas_list": [{"canvas_id": 0, "connected": i64::from(self.connected), "tray_list": trays}]})
    }

    /// The tray with this number, when it exists.
    pub fn tray(&mut self, id: i64) -> Option<&mut Tray> {
        usize::try_from(id).ok().and_then(|id| self.trays.get_mut(id))
    }
}

/// A tool change under way.
#[derive(Debug, Clone, Copy)]
pub struct Swap {
    /// Simulated time at which it began.
    pub began: f64,
    pub tray: i64,
}

/// What the status shows at one moment of a tool change (`cc2-sequence-filament-switch`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SwapView {
    pub sub_status: i64,
    /// 1211 is active.
    pub out_of_filament: bool,
    pub detected: bool,
    /// Where the head is, when it is not over the print.
    pub head: Option<(f64, f64)>,
}

impl Swap {
    /// The view `spent` simulated seconds after its beginning; `None` when it is over.
    pub fn view(spent: f64) -> Option<SwapView> {
        let cutter = Some((254.0, 3.5));
        let chute = Some((52.5, 264.0));
        let view = |sub_status, out_of_filament, detected, head| SwapView {
            sub_status,
            out_of_filament,
            detected,
            head,
        };
        Some(match spent {
            s if s < 2.0 => view(2075, false, true, None),
            s if s < 5.0 => view(2075, true, true, cutter),
            s if s < 10.0 => view(1045, true, false, chute),
            s if s < 13.0 => view(1066, true, false, chute),
            s if s < 16.0 => view(1066, false, true, chute),
            _ => return None,
        })
    }
}
