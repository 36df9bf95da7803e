//! The words this printer understands, with help texts: for `gcode.help`, completion and macro buttons.

use super::extended::word_of;
use crate::model::{Capabilities, PrinterState};

/// A word, what it does, and whether it is a device feature worth a button.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub name: &'static str,
    pub help: String,
    pub button: bool,
    /// The parameters of a button, with the value that stands for one left out; empty where that means something else.
    pub params: Vec<(String, &'static str)>,
}

/// What of a printer's state decides which words there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fitted {
    /// A filament unit.
    units: bool,
    /// A unit that dries.
    dryer: bool,
    /// Of all units and outside them.
    slots: usize,
}

impl Fitted {
    pub fn of(state: &PrinterState) -> Self {
        let system = &state.device.filament;
        Self {
            units: !system.units.is_empty(),
            dryer: system.units.iter().any(|unit| unit.dryer.is_some()),
            slots: system.slots().count(),
        }
    }
}

/// True for a device feature with a button, in any case.
pub fn is_button(name: &str, caps: &Capabilities, fitted: Fitted) -> bool {
    words(caps, fitted).iter().any(|word| word.button && word.name.eq_ignore_ascii_case(name))
}

/// Everything that works on this printer as it is now.
pub fn words(caps: &Capabilities, fitted: Fitted) -> Vec<Word> {
    let levels: Vec<&str> = caps.speed_levels.iter().map(|level| level.name.as_str()).collect();
    let levels = format!("Set the speed: LEVEL= one of {}", levels.join(", "));
    let options: Vec<String> = caps.options.iter().map(word_of).collect();
    let options = format!("Switch an option: ON=0 or 1, OPTION= one of {}", options.join(", "));
    let mut words = Vec::new();
    let mut add = |can: bool, name, help: &str, button| {
        if can {
            words.push(Word { name, help: help.to_owned(), button, params: parameters(name, caps) });
        }
    };
    add(true, "PAUSE", "Pause the print", false);
    add(true, "RESUME", "Resume the paused print", false);
    add(true, "CANCEL_PRINT", "Cancel the print", false);
    add(
        true,
        "SDCARD_PRINT_FILE",
        "Print a file: FILENAME= [PLATE=] [OVERRIDE=model,nozzle,bed,filament]",
        false,
    );
    add(true, "SDCARD_RESET_FILE", "Forget the last job", false);
    add(true, "SET_HEATER_TEMPERATURE", "Set a target: HEATER= TARGET=", false);
    add(true, "TURN_OFF_HEATERS", "Switch all heaters off", false);
    add(caps.fans.len() > 1, "SET_FAN_SPEED", "Set a fan: FAN= SPEED=0..1", false);
    add(!caps.lights.is_empty(), "SET_PIN", "Switch a light: PIN= VALUE=0 or 1", false);
    add(caps.control.skip_objects, "EXCLUDE_OBJECT", "Skip an object of the print: NAME=", false);
    add(caps.motion.jog, "_CLIENT_LINEAR_MOVE", "Move: X= Y= Z= F= [ABSOLUTE=1]", false);
    add(!caps.lights.is_empty(), "LIGHT", "Switch the light: [ON=0 or 1]", true);
    add(!caps.speed_levels.is_empty(), "SPEED_PROFILE", &levels, true);
    add(caps.filament.load, "LOAD_FILAMENT", "Load filament: SLOT=", true);
    add(caps.filament.unload, "UNLOAD_FILAMENT", "Unload the filament", true);
    add(caps.filament.read_tag, "READ_SPOOL_TAG", "Read the tag of a spool: SLOT=", true);
    add(caps.filament.recover, "FILAMENT_RETRY", "Try a stuck filament change again", true);
    add(
        caps.filament.recover,
        "FILAMENT_DONE",
        "Say that the filament was pushed in or pulled out by hand",
        true,
    );
    let edit =
        "Say what a slot holds: SLOT= MATERIAL= [COLOR=RRGGBB NOZZLE_MIN= NOZZLE_MAX= PROFILE=], or CLEAR=1";
    add(caps.filament.edit, "EDIT_SLOT", edit, true);
    let flow = "Use a stored flow calibration: SLOT= [PROFILE= its number or DEFAULT]";
    add(caps.filament.flow_profile, "FLOW_PROFILE", flow, true);
    let air: Vec<String> = caps.air_modes.iter().map(word_of).collect();
    add(!air.is_empty(), "AIR_MODE", &format!("Lead the air: MODE= one of {}", air.join(", ")), true);
    let nozzle = "Say which nozzle is fitted: DIAMETER= MATERIAL=";
    add(caps.control.set_nozzle, "SET_NOZZLE", nozzle, true);
    add(caps.control.buzzer, "BUZZER", "Sound the buzzer: [MODE=0 (silence), 1 or 2]", true);
    let dryer = caps.filament.dry && fitted.dryer;
    add(dryer, "DRY_FILAMENT", "Dry filament: [UNIT=] [TEMP=] [HOURS=]", true);
    add(dryer, "STOP_DRYING", "Stop drying: [UNIT=]", true);
    let mmu = fitted.units;
    let filament = caps.filament;
    for name in tools(caps, fitted) {
        add(true, *name, "Change to the filament or nozzle of this number", false);
    }
    add(mmu, "MMU_SELECT", "Select a gate: GATE=, TOOL= or BYPASS=1", false);
    add(mmu && filament.load, "MMU_LOAD", "Load the selected filament: [GATE=]", false);
    add(
        mmu && filament.load,
        "MMU_CHANGE_TOOL",
        "Load the filament of a tool or gate: TOOL= or GATE=",
        false,
    );
    add(mmu && filament.unload, "MMU_UNLOAD", "Unload the filament", false);
    add(mmu && filament.unload, "MMU_EJECT", "Unload the filament if it is this gate's: [GATE=]", false);
    add(mmu, "MMU_GATE_MAP", "Say what a gate holds: GATE= MATERIAL= COLOR= NAME= SPOOLID=", false);
    add(mmu && filament.map, "MMU_TTG_MAP", "Gates of the next print by tool: MAP=0,2,1 or RESET=1", false);
    add(mmu && filament.map, "MMU_REMAP_TTG", "Gate of one tool of the next print: TOOL= GATE=", false);
    add(mmu && filament.auto_refill, "MMU_ENDLESS_SPOOL", "Go on with an equal spool: ENABLE=0 or 1", false);
    add(mmu && dryer, "MMU_HEATER", "Dry: [UNIT=] TEMP= TIMER= (minutes), or STOP=1", false);
    add(mmu && filament.read_tag, "MMU_CHECK_GATE", "Read the tag of a gate: [GATE=]", false);
    add(mmu && filament.read_tag, "MMU_CHECK_GATES", "Read the tags of all gates", false);
    add(mmu, "MMU_RECOVER", "Try a stuck filament again, else read the state anew", false);
    add(mmu && filament.recover, "MMU_UNLOCK", "Go on after a stuck filament", false);
    add(
        mmu && filament.map,
        "MMU_SLICER_TOOL_MAP",
        "Match tools to gates at the start (SKIP_AUTOMAP=0), or print with the map as it is (1)",
        false,
    );
    add(mmu, "MMU_STATS", "What each gate has fed so far", false);
    add(mmu, "MMU_SPOOLMAN", "Find spools by their tags: REFRESH=1, or make one: CREATE=<gate>", false);
    add(!caps.calibrations.is_empty(), "CALIBRATE", "Calibrate: name what, =1 each", true);
    add(!caps.options.is_empty(), "PRINT_OPTION", &options, true);
    add(caps.control.clear_fault, "CLEAR_FAULT", "Clear the shown fault", true);
    add(true, "HELP", "List the words that work here", false);
    add(true, "STATUS", "What the printer does", false);
    add(true, "REFRESH", "Ask the printer for a complete report", false);
    words
}

/// The answer to `HELP`, in Klipper's form: one line for each word.
pub fn listed(caps: &Capabilities, state: &PrinterState) -> String {
    let mut words = words(caps, Fitted::of(state));
    words.sort_unstable_by_key(|word| word.name);
    let mut text = "Available extended commands:".to_owned();
    for Word { name, help, .. } in words {
        text += &format!("\n{name:<10}: {help}");
    }
    text
}

/// The plain codes that this printer follows.
pub fn codes(caps: &Capabilities) -> Vec<&'static str> {
    let heated = |heater: Option<crate::model::HeaterCaps>| heater.is_some_and(|heater| heater.max.is_some());
    let groups: [(bool, &[&str]); 7] = [
        (true, &["M105", "M112", "M114", "M115", "M117", "M220"]),
        (heated(caps.nozzles.first().copied()), &["M104", "M109"]),
        (heated(Some(caps.bed)), &["M140", "M190"]),
        (heated(caps.chamber), &["M141", "M191"]),
        (caps.fans.contains(&crate::model::FanId::Part), &["M106", "M107"]),
        (caps.motion.home, &["G28"]),
        (caps.motion.jog, &["G0", "G1", "G90", "G91"]),
    ];
    groups.into_iter().filter(|(can, _)| *can).flat_map(|(_, codes)| codes).copied().collect()
}

/// The tools that can be changed to: nozzles where there are several, else one for each slot.
fn tools(caps: &Capabilities, fitted: Fitted) -> &'static [&'static str] {
    const NAMES: [&str; 24] = [
        "T0", "T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T9", "T10", "T11", "T12", "T13", "T14", "T15",
        "T16", "T17", "T18", "T19", "T20", "T21", "T22", "T23",
    ];
    let count = match caps.nozzles.len() {
        several @ 2.. if caps.control.select_tool => several,
        0 | 1 if caps.filament.load && fitted.units => fitted.slots,
        _ => 0,
    };
    NAMES.get(..count).unwrap_or(&NAMES)
}

/// What the device features take; the defaults are those of the translator.
fn parameters(name: &str, caps: &Capabilities) -> Vec<(String, &'static str)> {
    let fixed: &[(&str, &'static str)] = match name {
        "LIGHT" => &[("ON", "")],
        "SPEED_PROFILE" => &[("LEVEL", "")],
        "LOAD_FILAMENT" | "READ_SPOOL_TAG" => &[("SLOT", "")],
        "EDIT_SLOT" => &[
            ("SLOT", ""),
            ("MATERIAL", ""),
            ("COLOR", ""),
            ("NOZZLE_MIN", ""),
            ("NOZZLE_MAX", ""),
            ("CLEAR", "0"),
        ],
        "FLOW_PROFILE" => &[("SLOT", ""), ("PROFILE", "DEFAULT")],
        "AIR_MODE" => &[("MODE", "")],
        "SET_NOZZLE" => &[("DIAMETER", ""), ("MATERIAL", "")],
        "DRY_FILAMENT" => &[("UNIT", ""), ("TEMP", "45"), ("HOURS", "8")],
        "STOP_DRYING" => &[("UNIT", "")],
        "BUZZER" => &[("MODE", "0")],
        "PRINT_OPTION" => &[("OPTION", ""), ("ON", "")],
        "CLEAR_FAULT" => &[("CODE", "")],
        "CALIBRATE" => return caps.calibrations.iter().map(|what| (word_of(what), "0")).collect(),
        _ => &[],
    };
    fixed.iter().map(|(name, default)| ((*name).to_owned(), *default)).collect()
}
