//! The words this printer understands, with help texts: for `gcode.help`, completion and macro buttons.

use super::features::word_of;
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

    fn dries(self, caps: &Capabilities) -> bool {
        caps.filament.dry && self.dryer
    }
}

/// True for a device feature with a button, in any case.
pub fn is_button(name: &str, caps: &Capabilities, fitted: Fitted) -> bool {
    words(caps, fitted).iter().any(|word| word.button && word.name.eq_ignore_ascii_case(name))
}

/// The words of one printer while they are gathered: a word that it cannot follow is left out.
struct Words(Vec<Word>);

impl Words {
    fn word(&mut self, can: bool, name: &'static str, help: &str) {
        if can {
            self.0.push(Word { name, help: help.to_owned(), button: false, params: Vec::new() });
        }
    }

    /// A feature of the device; `params` with their defaults, which are those of the translator.
    fn button(&mut self, can: bool, name: &'static str, help: &str, params: &[(&str, &'static str)]) {
        if can {
            let params = params.iter().map(|(name, default)| ((*name).to_owned(), *default)).collect();
            self.0.push(Word { name, help: help.to_owned(), button: true, params });
        }
    }
}

/// Everything that works on this printer as it is now.
pub fn words(caps: &Capabilities, fitted: Fitted) -> Vec<Word> {
    let mut words = Words(Vec::new());
    of_the_job(&mut words, caps);
    of_the_device(&mut words, caps, fitted);
    for name in tools(caps, fitted) {
        words.word(true, name, "Change to the filament or nozzle of this number");
    }
    if fitted.units {
        of_the_panels(&mut words, caps, fitted);
    }
    of_the_printer(&mut words, caps);
    words.0
}

fn of_the_job(words: &mut Words, caps: &Capabilities) {
    words.word(true, "PAUSE", "Pause the print");
    words.word(true, "RESUME", "Resume the paused print");
    words.word(true, "CANCEL_PRINT", "Cancel the print");
    let print = "Print a file: FILENAME= [PLATE=] [OVERRIDE=model,nozzle,bed,filament]";
    words.word(true, "SDCARD_PRINT_FILE", print);
    words.word(true, "SDCARD_RESET_FILE", "Forget the last job");
    words.word(true, "SET_HEATER_TEMPERATURE", "Set a target: HEATER= TARGET=");
    words.word(true, "TURN_OFF_HEATERS", "Switch all heaters off");
    words.word(caps.fans.len() > 1, "SET_FAN_SPEED", "Set a fan: FAN= SPEED=0..1");
    words.word(!caps.lights.is_empty(), "SET_PIN", "Switch a light: PIN= VALUE=0 or 1");
    words.word(caps.control.skip_objects, "EXCLUDE_OBJECT", "Skip an object of the print: NAME=");
    words.word(caps.motion.jog, "_CLIENT_LINEAR_MOVE", "Move: X= Y= Z= F= [ABSOLUTE=1]");
}

fn of_the_device(words: &mut Words, caps: &Capabilities, fitted: Fitted) {
    let filament = caps.filament;
    words.button(!caps.lights.is_empty(), "LIGHT", "Switch the light: [ON=0 or 1]", &[("ON", "")]);
    let levels: Vec<&str> = caps.speed_levels.iter().map(|level| level.name.as_str()).collect();
    let speed = format!("Set the speed: LEVEL= one of {}", levels.join(", "));
    words.button(!levels.is_empty(), "SPEED_PROFILE", &speed, &[("LEVEL", "")]);
    words.button(filament.load, "LOAD_FILAMENT", "Load filament: SLOT=", &[("SLOT", "")]);
    words.button(filament.unload, "UNLOAD_FILAMENT", "Unload the filament", &[]);
    words.button(filament.read_tag, "READ_SPOOL_TAG", "Read the tag of a spool: SLOT=", &[("SLOT", "")]);
    words.button(filament.recover, "FILAMENT_RETRY", "Try a stuck filament change again", &[]);
    let by_hand = "Say that the filament was pushed in or pulled out by hand";
    words.button(filament.recover, "FILAMENT_DONE", by_hand, &[]);
    words.word(filament.recover, "FILAMENT_RESET", "Begin a stuck filament change anew");
    words.word(filament.recover, "FILAMENT_ABORT", "Give up a stuck filament change");
    let edit =
        "Say what a slot holds: SLOT= MATERIAL= [COLOR=RRGGBB NOZZLE_MIN= NOZZLE_MAX= PROFILE=], or CLEAR=1";
    let holds = [
        ("SLOT", ""),
        ("MATERIAL", ""),
        ("COLOR", ""),
        ("NOZZLE_MIN", ""),
        ("NOZZLE_MAX", ""),
        ("CLEAR", "0"),
    ];
    words.button(filament.edit, "EDIT_SLOT", edit, &holds);
    let flow = "Use a stored flow calibration: SLOT= [PROFILE= its number or DEFAULT]";
    words.button(filament.flow_profile, "FLOW_PROFILE", flow, &[("SLOT", ""), ("PROFILE", "DEFAULT")]);
    let air: Vec<String> = caps.air_modes.iter().map(word_of).collect();
    let lead = format!("Lead the air: MODE= one of {}", air.join(", "));
    words.button(!air.is_empty(), "AIR_MODE", &lead, &[("MODE", "")]);
    let nozzle = "Say which nozzle is fitted: DIAMETER= MATERIAL=";
    words.button(caps.control.set_nozzle, "SET_NOZZLE", nozzle, &[("DIAMETER", ""), ("MATERIAL", "")]);
    let buzzer = "Sound the buzzer: [MODE=0 (silence), 1 or 2]";
    words.button(caps.control.buzzer, "BUZZER", buzzer, &[("MODE", "0")]);
    let dry = [("UNIT", ""), ("TEMP", "45"), ("HOURS", "8")];
    let dryer = fitted.dries(caps);
    words.button(dryer, "DRY_FILAMENT", "Dry filament: [UNIT=] [TEMP=] [HOURS=1 to 24]", &dry);
    words.button(dryer, "STOP_DRYING", "Stop drying: [UNIT=]", &[("UNIT", "")]);
}

/// Of the filament panels, for a printer with a unit.
fn of_the_panels(words: &mut Words, caps: &Capabilities, fitted: Fitted) {
    let filament = caps.filament;
    words.word(true, "MMU_SELECT", "Select a gate: GATE=, TOOL= or BYPASS=1");
    words.word(filament.load, "MMU_LOAD", "Load the selected filament: [GATE=]");
    words.word(filament.load, "MMU_CHANGE_TOOL", "Load the filament of a tool or gate: TOOL= or GATE=");
    words.word(filament.unload, "MMU_UNLOAD", "Unload the filament");
    words.word(filament.unload, "MMU_EJECT", "Unload the filament if it is this gate's: [GATE=]");
    words.word(true, "MMU_GATE_MAP", "Say what a gate holds: GATE= MATERIAL= COLOR= NAME= SPOOLID=");
    words.word(filament.map, "MMU_TTG_MAP", "Gates of the next print by tool: MAP=0,2,1 or RESET=1");
    words.word(filament.map, "MMU_REMAP_TTG", "Gate of one tool of the next print: TOOL= GATE=");
    words.word(filament.auto_refill, "MMU_ENDLESS_SPOOL", "Go on with an equal spool: ENABLE=0 or 1");
    words.word(fitted.dries(caps), "MMU_HEATER", "Dry: [UNIT=] TEMP= TIMER= (minutes), or STOP=1");
    words.word(filament.read_tag, "MMU_CHECK_GATE", "Read the tag of a gate: [GATE=]");
    words.word(filament.read_tag, "MMU_CHECK_GATES", "Read the tags of all gates");
    words.word(true, "MMU_RECOVER", "Try a stuck filament again, else read the state anew");
    words.word(filament.recover, "MMU_UNLOCK", "Go on after a stuck filament");
    let automap = "Match tools to gates at the start (SKIP_AUTOMAP=0), or print with the map as it is (1)";
    words.word(filament.map, "MMU_SLICER_TOOL_MAP", automap);
    words.word(true, "MMU_PAUSE", "Pause the print");
    words.word(true, "MMU_STATS", "What each gate has fed so far");
    words.word(true, "MMU_SPOOLMAN", "Find spools by their tags: REFRESH=1, or make one: CREATE=<gate>");
}

fn of_the_printer(words: &mut Words, caps: &Capabilities) {
    let calibrations: Vec<String> = caps.calibrations.iter().map(word_of).collect();
    let each: Vec<(&str, &'static str)> = calibrations.iter().map(|name| (name.as_str(), "0")).collect();
    words.button(!each.is_empty(), "CALIBRATE", "Calibrate: name what, =1 each", &each);
    let options: Vec<String> = caps.options.iter().map(word_of).collect();
    let switch = format!("Switch an option: ON=0 or 1, OPTION= one of {}", options.join(", "));
    words.button(!options.is_empty(), "PRINT_OPTION", &switch, &[("OPTION", ""), ("ON", "")]);
    words.button(caps.control.clear_fault, "CLEAR_FAULT", "Clear the shown fault", &[("CODE", "")]);
    let vendor = "Send a message of the maker: MESSAGE='<JSON>' (needs allow_vendor_json = true)";
    words.word(caps.control.raw_vendor, "VENDOR_JSON", vendor);
    words.word(true, "HELP", "List the words that work here");
    words.word(true, "STATUS", "What the printer does");
    words.word(true, "REFRESH", "Ask the printer for a complete report");
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
