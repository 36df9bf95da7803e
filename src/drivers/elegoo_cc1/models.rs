//! What the models of this protocol and their firmware can do.

use crate::drivers::elegoo::models::{self, CC1, CENTAURI, Model};
use crate::model::{Capabilities, FilamentCaps, MotionCaps};

/// The row for a `MachineName`; `None` for a resin printer or a machine of another protocol.
pub fn find(machine_name: &str) -> Option<&'static Model> {
    let name = machine_name.trim().to_ascii_lowercase();
    let name = name.strip_prefix("elegoo ").unwrap_or(&name);
    let exact = CC1.iter().find(|model| model.name.eq_ignore_ascii_case(name));
    // A Centauri Carbon 2 speaks another protocol; other names with the word count as the plain model (elegoo.md 1).
    exact.or_else(|| Some(&CENTAURI).filter(|_| name.contains("centauri") && !name.contains("carbon 2")))
}

/// What the printer can do; `canvas` once a Canvas was reported.
pub fn capabilities(model: &Model, canvas: bool) -> Capabilities {
    Capabilities {
        // 401 and 402 come from the SDK and from clients; nobody has published their effect (elegoo.md 8).
        motion: MotionCaps { home: true, home_axes: true, jog: true, ..MotionCaps::default() },
        filament: FilamentCaps { map: canvas, ..FilamentCaps::default() },
        ..models::capabilities(model)
    }
}

/// True above 1.1.x: only then Cmd 324 exists (elegoo.md 2.14). Patched firmware (V0.x-o) is below.
pub fn has_canvas_command(firmware: &str) -> bool {
    let mut numbers = firmware.trim().trim_start_matches(['V', 'v']).split('.').map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) > (1, 1))
}
