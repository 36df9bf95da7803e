//! Reports in Marlin's form.

use std::borrow::Cow;

use super::super::dialogue::View;
use crate::model::{Heater, PrinterState};

/// `T:21.0 /0.0 B:22.0 /0.0 @:0 B@:0`, with chamber and filament units behind. Of a printer that is away the last
/// temperatures are told, without targets (octoprint.md 2): the host keeps its patience, and heats nothing.
pub fn temperatures(view: &View) -> String {
    let state = without_stale_targets(&view.state);
    let mut report = crate::station::script::temperatures(&state);
    if !report.starts_with("T:") {
        // The host takes only lines that begin so for a report.
        report = format!("T:0.0 /0.0 {report}").trim_end().to_owned();
    }
    if !report.contains(" B:") {
        report.push_str(" B:0.0 /0.0");
    }
    report.push_str(" @:0 B@:0");
    for unit in &state.device.filament.units {
        let name: String = unit.name.chars().filter(char::is_ascii_alphanumeric).collect();
        // Shorter names are those of heaters and axes.
        if let Some(temperature) = unit.temperature.filter(|_| name.len() > 2) {
            report.push_str(&format!(" {name}:{temperature:.1}"));
        }
    }
    report
}

fn without_stale_targets(state: &PrinterState) -> Cow<'_, PrinterState> {
    if state.online() {
        return Cow::Borrowed(state);
    }
    let mut state = state.clone();
    let off = |heater: &mut Heater| heater.target = heater.target.map(|_| 0.0);
    state.device.nozzles.iter_mut().for_each(|nozzle| off(&mut nozzle.heater));
    off(&mut state.device.bed);
    off(&mut state.device.chamber);
    Cow::Owned(state)
}

/// M115: without a `Cap:` line the host would never ask for files (rule 3). What is not advertised, and why, is in
/// octoprint.md 2.1.
pub fn firmware(view: &View) -> Vec<String> {
    let caps = &view.caps;
    let machine = super::plain(&format!("{} {}", caps.vendor, caps.model));
    let version = env!("CARGO_PKG_VERSION");
    let chamber = u8::from(caps.chamber.is_some());
    vec![
        format!(
            "FIRMWARE_NAME:moongate {version} ({machine}) PROTOCOL_VERSION:1.0 MACHINE_TYPE:{machine} EXTRUDER_COUNT:{}",
            caps.nozzles.len().max(1)
        ),
        "Cap:AUTOREPORT_TEMP:1".to_owned(),
        "Cap:EXTENDED_M20:1".to_owned(),
        "Cap:PROMPT_SUPPORT:1".to_owned(),
        format!("Cap:CHAMBER_TEMPERATURE:{chamber}"),
        "Cap:EMERGENCY_PARSER:1".to_owned(),
    ]
}
