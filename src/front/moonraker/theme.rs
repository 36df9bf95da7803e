//! What Mainsail asks for at its first start, `config/.theme/*.json`: its settings where the user has none yet.
//!
//! Panels and fields that no printer of ours can serve (motion limits, pressure advance, flow, Z offset) start hidden; the
//! user's own file of that name below the `config` root, and every setting made in the UI, go first.

use serde_json::{Value, json};

/// The panels of each layout, as Mainsail 2.18 has them by default.
const LAYOUTS: &[(&str, &[&str])] = &[
    (
        "mobileLayout",
        &[
            "webcam",
            "toolhead-control",
            "extruder-control",
            "macros",
            "machine-settings",
            "miscellaneous",
            "temperature",
            "miniconsole",
        ],
    ),
    ("tabletLayout1", COLUMN),
    ("tabletLayout2", &["temperature", "miniconsole"]),
    ("desktopLayout1", COLUMN),
    ("desktopLayout2", &["temperature", "miniconsole"]),
    ("widescreenLayout1", &["toolhead-control", "extruder-control", "macros", "miscellaneous"]),
    ("widescreenLayout2", &["temperature", "machine-settings"]),
    ("widescreenLayout3", &["webcam", "miniconsole"]),
];
const COLUMN: &[&str] =
    &["webcam", "toolhead-control", "extruder-control", "macros", "machine-settings", "miscellaneous"];
/// The panel of `SET_VELOCITY_LIMIT`, which no printer takes.
const HIDDEN: &str = "machine-settings";

/// The content of a file below `config` that the gateway supplies itself, for the printer of this name.
pub fn supplied(path: &str, printer: &str) -> Option<Value> {
    match path {
        ".theme/default.json" => Some(defaults(printer)),
        ".theme/maintenance.json" => Some(json!({"entries": []})),
        _ => None,
    }
}

fn defaults(printer: &str) -> Value {
    let mut dashboard = serde_json::Map::new();
    for (layout, panels) in LAYOUTS {
        // On a phone Mainsail starts without these two.
        let small = |panel: &str| *layout == "mobileLayout" && matches!(panel, "webcam" | "miniconsole");
        let shown = |panel: &str| panel != HIDDEN && !small(panel);
        let panels = panels.iter().map(|panel| json!({"name": panel, "visible": shown(panel)}));
        dashboard.insert((*layout).to_owned(), panels.collect());
    }
    json!({
        "dashboard": dashboard,
        // The list of all printers has no other name for one than its address.
        "general": {"printername": printer},
        "view": {
            "extruder": {"showPressureAdvance": false, "showExtrusionFactor": false, "showFirmwareRetraction": false},
            "toolhead": {"showZOffset": false},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mainsail_starts_without_what_no_printer_can_serve() {
        let defaults = supplied(".theme/default.json", "p1s").expect("supplied");
        for (layout, panels) in LAYOUTS {
            let shown = defaults["dashboard"][layout].as_array().expect("a list");
            assert_eq!(shown.len(), panels.len(), "{layout}: Mainsail adds missing panels by itself, shown");
            for panel in shown.iter().filter(|panel| panel["name"] == HIDDEN) {
                assert_eq!(panel["visible"], false, "{layout}");
            }
        }
        assert_eq!(defaults["view"]["toolhead"]["showZOffset"], false);
        assert_eq!(defaults["general"]["printername"], "p1s", "shown in the list of all printers");
        assert_eq!(supplied(".theme/custom.css", "p1s"), None);
    }
}
