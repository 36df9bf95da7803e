//! What the printer can do beyond Klipper's words, as macros with parameters.

use std::collections::BTreeSet;

use super::codes::{calibrate, numbered_slot};
use super::{Context, Intent, able, drying, main_light};
use crate::gcode::line::Line;
use crate::model::{
    Calibration, Color, Command, FilamentAction, FilamentUnit, PrintOption, SlotEdit, SlotId,
};

/// `None` where the word is none of these.
pub fn named(name: &str, line: &Line, context: Context<'_>) -> Option<Intent> {
    let caps = context.caps;
    Some(match name {
        "LOAD_FILAMENT" => match slot(line, context) {
            Ok(slot) => able(caps.filament.load, || Command::LoadFilament(slot), "load filament by command"),
            Err(reason) => Intent::Refuse(reason),
        },
        "UNLOAD_FILAMENT" => {
            able(caps.filament.unload, || Command::UnloadFilament, "unload filament by command")
        }
        "READ_SPOOL_TAG" => match slot(line, context) {
            Ok(slot) => able(caps.filament.read_tag, || Command::ReadTag(slot), "read spool tags"),
            Err(reason) => Intent::Refuse(reason),
        },
        "EDIT_SLOT" => match slot(line, context) {
            Ok(slot) => edit_slot(slot, line, context),
            Err(reason) => Intent::Refuse(reason),
        },
        "FLOW_PROFILE" => match slot(line, context) {
            Ok(slot) => flow_profile(slot, line, context),
            Err(reason) => Intent::Refuse(reason),
        },
        "FILAMENT_RETRY" => recover(FilamentAction::Resume, context),
        "FILAMENT_DONE" => recover(FilamentAction::Done, context),
        "FILAMENT_RESET" => recover(FilamentAction::Reset, context),
        "FILAMENT_ABORT" => recover(FilamentAction::Abort, context),
        "DRY_FILAMENT" => dry(line, context),
        "STOP_DRYING" => match unit(line, context) {
            Ok(unit) => Intent::Do(vec![Command::StopDrying { unit }]),
            Err(reason) => Intent::Refuse(reason),
        },
        "LIGHT" => match main_light(caps) {
            Some(light) => {
                let lit = context.state.device.lights.get(&light).is_some_and(|light| light.on);
                Intent::Do(vec![Command::SetLight { light, on: switch(line).unwrap_or(!lit) }])
            }
            None => Intent::Refuse("This printer has no light that can be switched.".to_owned()),
        },
        "SPEED_PROFILE" => speed_profile(line, context),
        "AIR_MODE" => air_mode(line, context),
        "SET_NOZZLE" => set_nozzle(line, context),
        "BUZZER" => buzzer(line, context),
        "VENDOR_JSON" => vendor_json(line, context),
        "CALIBRATE" => calibration(line, context),
        "PRINT_OPTION" => option(line, context),
        "CLEAR_FAULT" => able(
            caps.control.clear_fault,
            || Command::ClearFault { code: line.param("CODE").map(ToOwned::to_owned) },
            "clear faults by command",
        ),
        "REFRESH" => Intent::Do(vec![Command::Refresh]),
        _ => return None,
    })
}

fn recover(action: FilamentAction, context: Context<'_>) -> Intent {
    able(
        context.caps.filament.recover,
        || Command::FilamentAction(action),
        "recover its filament system by command",
    )
}

fn switch(line: &Line) -> Option<bool> {
    match line.param("ON").or_else(|| line.param("STATE"))?.to_ascii_lowercase().as_str() {
        "1" | "on" | "true" | "yes" => Some(true),
        "0" | "off" | "false" | "no" => Some(false),
        _ => None,
    }
}

/// What a slot holds, for spools without a tag; `CLEAR=1` forgets it.
fn edit_slot(slot: SlotId, line: &Line, context: Context<'_>) -> Intent {
    let word = |name: &str| line.param(name).map(ToOwned::to_owned);
    let color = match line.param("COLOR").map(|text| (Color::parse(text), text)) {
        Some((None, text)) => return Intent::Refuse(format!("COLOR={text} is no colour; write RRGGBB.")),
        color => color.and_then(|(color, _)| color),
    };
    let edit = SlotEdit {
        material: word("MATERIAL"),
        name: word("NAME"),
        brand: word("BRAND"),
        color,
        nozzle_min: line.param_value("NOZZLE_MIN"),
        nozzle_max: line.param_value("NOZZLE_MAX"),
        profile: word("PROFILE"),
        clear: line.param("CLEAR") == Some("1"),
    };
    let edit = Box::new(edit);
    able(context.caps.filament.edit, || Command::EditSlot { slot, edit }, "be told what a slot holds")
}

fn flow_profile(slot: SlotId, line: &Line, context: Context<'_>) -> Intent {
    let wanted = line.param("PROFILE").unwrap_or("DEFAULT");
    let profile = match wanted.parse::<u32>() {
        Ok(number) => Some(number),
        Err(_) if wanted.eq_ignore_ascii_case("default") => None,
        Err(_) => {
            return Intent::Refuse(
                "PROFILE is the printer's number of a flow calibration, or DEFAULT.".into(),
            );
        }
    };
    able(
        context.caps.filament.flow_profile,
        || Command::SelectFlowProfile { slot, profile },
        "choose flow calibrations by command",
    )
}

fn air_mode(line: &Line, context: Context<'_>) -> Intent {
    let wanted = line.param("MODE").unwrap_or_default().to_ascii_uppercase();
    match context.caps.air_modes.iter().find(|mode| word_of(mode) == wanted) {
        Some(mode) => Intent::Do(vec![Command::SetAirMode(*mode)]),
        None if context.caps.air_modes.is_empty() => {
            Intent::Refuse("This printer has no air duct that can be switched.".to_owned())
        }
        None => {
            let names: Vec<String> = context.caps.air_modes.iter().map(word_of).collect();
            Intent::Refuse(format!("MODE must be one of {}.", names.join(", ")))
        }
    }
}

fn set_nozzle(line: &Line, context: Context<'_>) -> Intent {
    let tool = match line.param("TOOL").map(|text| text.trim().parse::<usize>()) {
        None => 0,
        Some(Ok(tool)) if tool < context.caps.nozzles.len().max(1) => tool,
        Some(_) => {
            let last = context.caps.nozzles.len().max(1) - 1;
            return Intent::Refuse(format!("SET_NOZZLE takes TOOL=0 to {last} on this printer."));
        }
    };
    let (Some(diameter), Some(material)) = (line.param_value("DIAMETER"), line.param("MATERIAL")) else {
        return Intent::Refuse(
            "SET_NOZZLE needs DIAMETER= (mm) and MATERIAL=, e.g. hardened_steel.".to_owned(),
        );
    };
    let material = material.to_owned();
    able(
        context.caps.control.set_nozzle,
        || Command::SetNozzleType { tool, diameter, material },
        "be told its nozzle",
    )
}

/// Nobody has told how the ways of sounding differ.
fn buzzer(line: &Line, context: Context<'_>) -> Intent {
    let mode = if line.param("MODE").is_some() { line.param_value("MODE") } else { Some(0.0) };
    match mode {
        Some(mode) if [0.0, 1.0, 2.0].contains(&mode) => {
            able(context.caps.control.buzzer, || Command::Buzz(mode as u8), "be told to sound its buzzer")
        }
        _ => Intent::Refuse("BUZZER takes MODE=0 (silence), 1 or 2.".to_owned()),
    }
}

/// The vendor's own message, for experts: `VENDOR_JSON MESSAGE='{"print": {...}}'`. The configuration must allow it.
fn vendor_json(line: &Line, context: Context<'_>) -> Intent {
    match line.param("MESSAGE").map(serde_json::from_str) {
        Some(Ok(value)) => {
            able(context.caps.control.raw_vendor, || Command::RawVendor(value), "take its maker's messages")
        }
        Some(Err(error)) => Intent::Refuse(format!("MESSAGE is no JSON: {error}.")),
        None => Intent::Refuse("VENDOR_JSON needs MESSAGE='<JSON>'.".to_owned()),
    }
}

/// `SLOT=0.2` by unit and slot, `SLOT=external`, or `SLOT=6` counted through all units.
fn slot(line: &Line, context: Context<'_>) -> Result<SlotId, String> {
    let Some(text) = line.param("SLOT") else {
        // Without a unit there is only the spool outside, which is what KlipperScreen's button means.
        if context.state.device.filament.units.is_empty() && context.caps.nozzles.len() == 1 {
            return Ok(SlotId::External(0));
        }
        return Err(
            "Name the slot: SLOT=0 counts through all units, SLOT=0.2 is unit 0 slot 2, or SLOT=external."
                .to_owned(),
        );
    };
    let found = match text.parse::<usize>() {
        Ok(number) => numbered_slot(number, context),
        Err(_) => Some(text.parse::<SlotId>()?),
    };
    let known =
        |id: &SlotId| matches!(id, SlotId::External(_)) || context.state.device.filament.slot(*id).is_some();
    found.filter(known).ok_or_else(|| format!("There is no filament slot {text}."))
}

fn unit(line: &Line, context: Context<'_>) -> Result<u16, String> {
    let units = &context.state.device.filament.units;
    let wanted = line.param("UNIT").map(str::trim).filter(|text| !text.is_empty());
    let Some(wanted) = wanted else {
        let first = units.iter().find(|unit| unit.dryer.is_some());
        return first.map(|unit| unit.id).ok_or_else(|| "This printer has no unit that can dry.".to_owned());
    };
    let by_id = wanted.parse().ok().and_then(|id: u16| units.iter().find(|unit| unit.id == id));
    let named = |unit: &&FilamentUnit| {
        unit.name.eq_ignore_ascii_case(wanted) || unit.key().eq_ignore_ascii_case(wanted)
    };
    match by_id.or_else(|| units.iter().find(named)) {
        Some(unit) if unit.dryer.is_some() => Ok(unit.id),
        Some(unit) => Err(format!("{} cannot dry.", unit.name)),
        None => Err(format!("There is no filament unit {wanted}.")),
    }
}

fn dry(line: &Line, context: Context<'_>) -> Intent {
    let unit = match unit(line, context) {
        Ok(unit) => unit,
        Err(reason) => return Intent::Refuse(reason),
    };
    match drying::request(line.param_value("TEMP"), line.param_value("HOURS")) {
        Some(request) => Intent::Do(vec![Command::StartDrying { unit, request }]),
        None => Intent::Refuse("Drying takes TEMP=30 to 90 (°C) and HOURS=1 to 24.".to_owned()),
    }
}

fn speed_profile(line: &Line, context: Context<'_>) -> Intent {
    let levels = &context.caps.speed_levels;
    let wanted = line.param("LEVEL").unwrap_or_default();
    let by_number = wanted.parse::<usize>().ok().and_then(|n| levels.get(n.checked_sub(1)?));
    match levels.iter().find(|level| level.name.eq_ignore_ascii_case(wanted)).or(by_number) {
        Some(level) => Intent::Do(vec![Command::SetSpeed { factor: level.factor }]),
        None => {
            let names: Vec<&str> = levels.iter().map(|level| level.name.as_str()).collect();
            Intent::Refuse(format!("LEVEL must be one of {}.", names.join(", ")))
        }
    }
}

/// The words of a closed list as parameters write them, from their own serialisation.
pub(super) fn word_of<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_ascii_uppercase)).unwrap_or_default()
}

fn calibration(line: &Line, context: Context<'_>) -> Intent {
    let wanted: BTreeSet<Calibration> = context
        .caps
        .calibrations
        .iter()
        .filter(|calibration| line.param(&word_of(calibration)) == Some("1"))
        .copied()
        .collect();
    if let (true, Some(only)) = (wanted.len() == 1, wanted.first()) {
        return calibrate(*only, "calibrate this", context);
    }
    if wanted.is_empty() {
        let names: Vec<String> = context.caps.calibrations.iter().map(word_of).collect();
        return Intent::Refuse(format!("Name what to calibrate, e.g. CALIBRATE {}=1.", names.join("=1 ")));
    }
    Intent::Do(vec![Command::Calibrate(wanted)])
}

fn option(line: &Line, context: Context<'_>) -> Intent {
    if line.param("OPTION").is_none() {
        return Intent::Note(options_text(context));
    }
    let wanted = line.param("OPTION").unwrap_or_default().to_ascii_uppercase();
    let found: Option<&PrintOption> = context.caps.options.iter().find(|option| word_of(option) == wanted);
    match (found, switch(line)) {
        (Some(option), Some(on)) => Intent::Do(vec![Command::SetOption { option: *option, on }]),
        (Some(_), None) => Intent::Refuse("Say ON=1 or ON=0.".to_owned()),
        (None, _) => {
            let names: Vec<String> = context.caps.options.iter().map(word_of).collect();
            Intent::Refuse(format!("OPTION must be one of {}.", names.join(", ")))
        }
    }
}

/// How the options stand, for those who name none.
fn options_text(context: Context<'_>) -> String {
    let told = context.caps.options.iter().map(|option| {
        let name = word_of(option);
        match context.state.device.options.get(option) {
            Some(on) => format!("{name}={}", u8::from(*on)),
            None => format!("{name}=?"),
        }
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { "This printer has no options.".to_owned() } else { told.join(" ") }
}
