//! Named commands: those of Klipper that front ends send, and the printer's own features as macros.

use std::collections::BTreeSet;

use super::codes::{calibrate, numbered_slot};
use super::{Context, Intent, JobWord, Query, Session, able, help, main_light, mmu, motion};
use crate::gcode::line::Line;
use crate::model::{
    Calibration, Color, Command, DryRequest, FanId, FilamentAction, FilamentUnit, LightId, PrintOption,
    SlotEdit, SlotId,
};

/// Longest drying time in hours any known dryer takes.
const DRYING_HOURS: std::ops::RangeInclusive<f64> = 1.0..=48.0;

pub fn named(name: &str, line: &Line, session: &mut Session, context: Context<'_>) -> Intent {
    control(name, line, session, context)
        .or_else(|| heat_and_air(name, line, context))
        .or_else(|| device_feature(name, line, context))
        .or_else(|| mmu::named(name, line, context))
        .unwrap_or(Intent::Unknown)
}

/// Guards that a start is to go past: `OVERRIDE=model,nozzle`.
fn overrides(line: &Line) -> Vec<String> {
    let codes = line.param("OVERRIDE").unwrap_or_default().split(',').map(|code| code.trim().to_lowercase());
    codes.filter(|code| !code.is_empty()).collect()
}

/// Jobs, modes, moves and words without effect.
fn control(name: &str, line: &Line, session: &mut Session, context: Context<'_>) -> Option<Intent> {
    let state_name = || line.param("NAME").unwrap_or("default").to_owned();
    Some(match name {
        "PAUSE" => Intent::Job(JobWord::Pause),
        "RESUME" => Intent::Job(JobWord::Resume),
        "CANCEL_PRINT" => Intent::Job(JobWord::Cancel),
        "SDCARD_RESET_FILE" | "CLEAR_PAUSE" => Intent::Job(JobWord::Forget),
        "SDCARD_PRINT_FILE" => match line.param("FILENAME") {
            Some(file) => Intent::Job(JobWord::Print {
                file: file.to_owned(),
                plate: line.param_value("PLATE").map(|plate| plate as u32),
                overrides: overrides(line),
            }),
            None => Intent::Refuse("SDCARD_PRINT_FILE needs FILENAME=.".to_owned()),
        },
        "EXCLUDE_OBJECT" => match line.param("NAME") {
            Some(object) => Intent::Job(JobWord::Exclude(object.to_owned())),
            None => Intent::Refuse("EXCLUDE_OBJECT needs NAME=.".to_owned()),
        },
        "SAVE_GCODE_STATE" => {
            motion::save_modes(&state_name(), session);
            Intent::Nothing
        }
        "RESTORE_GCODE_STATE" if motion::restore_modes(&state_name(), session) => Intent::Nothing,
        "RESTORE_GCODE_STATE" => Intent::Refuse(format!("Unknown g-code state: {}", state_name())),
        "_CLIENT_LINEAR_MOVE" => client_move(line, session, context),
        "HELP" => Intent::Note(help::listed(context.caps, context.state)),
        "STATUS" => Intent::Ask(Query::Status),
        "GET_POSITION" => Intent::Ask(Query::Position),
        "QUERY_ENDSTOPS" => Intent::Ask(Query::Endstops),
        "M117" | "SET_DISPLAY_TEXT" | "SET_GCODE_VARIABLE" | "SET_IDLE_TIMEOUT" | "RESPOND" => {
            match line.param("MSG") {
                Some(message) => Intent::Note(message.to_owned()),
                None => Intent::Nothing,
            }
        }
        // The UIs show these controls for every printer: the answer is information, no error (moonraker.md section 5).
        "SET_VELOCITY_LIMIT"
        | "SET_PRESSURE_ADVANCE"
        | "SET_GCODE_OFFSET"
        | "SET_RETRACTION"
        | "SAVE_CONFIG" => Intent::Note(format!("{name}: not adjustable on this printer.")),
        "SET_FILAMENT_SENSOR" => {
            Intent::Note("The filament sensor cannot be switched by command.".to_owned())
        }
        "RESTART" | "FIRMWARE_RESTART" => Intent::Do(vec![Command::Refresh]),
        _ => return None,
    })
}

/// One relative move of X, Y, Z, E at F (mm/min, as the front ends send it: moonraker.md 7.4), `ABSOLUTE=1` apart.
fn client_move(line: &Line, session: &mut Session, context: Context<'_>) -> Intent {
    let mut words: Vec<crate::gcode::line::Word> = Vec::new();
    for letter in ['X', 'Y', 'Z', 'E', 'F'] {
        if let Some(value) = line.param_value(letter.encode_utf8(&mut [0; 4])) {
            words.push(crate::gcode::line::Word { letter, value: crate::gcode::line::Value::Number(value) });
        }
    }
    let absolute = line.param("ABSOLUTE") == Some("1");
    let modes = (session.relative, session.extrude_relative);
    (session.relative, session.extrude_relative) = (!absolute, true);
    let intent = motion::linear(&Line { words, ..Line::default() }, session, context);
    (session.relative, session.extrude_relative) = modes;
    intent
}

fn heat_and_air(name: &str, line: &Line, context: Context<'_>) -> Option<Intent> {
    Some(match name {
        "SET_HEATER_TEMPERATURE" => heater(line, context),
        "TURN_OFF_HEATERS" => Intent::Do(all_off(context)),
        "SET_FAN_SPEED" => fan(line, context),
        "SET_PIN" => pin(line, context),
        "SET_LED" => led(line, context),
        _ => return None,
    })
}

fn heater(line: &Line, context: Context<'_>) -> Intent {
    let target = line.param_value("TARGET").unwrap_or(0.0);
    let heater = line.param("HEATER").unwrap_or_default().to_ascii_lowercase();
    let heater = heater.strip_prefix("heater_generic ").unwrap_or(&heater);
    if let Some(drying) = mmu::heater_target(heater, target, context) {
        return drying;
    }
    match heater {
        "heater_bed" => Intent::Do(vec![Command::SetBed { target }]),
        "chamber" => {
            let heated = context.caps.chamber.is_some_and(|chamber| chamber.max.is_some());
            able(heated, || Command::SetChamber { target }, "heat its chamber")
        }
        _ => match heater.strip_prefix("extruder") {
            Some("") => Intent::Do(vec![Command::SetNozzle { tool: 0, target }]),
            Some(number) if number.parse().is_ok_and(|n: usize| n < context.caps.nozzles.len()) => {
                Intent::Do(vec![Command::SetNozzle { tool: number.parse().unwrap_or(0), target }])
            }
            _ => Intent::Refuse(format!("The value '{heater}' is not valid for HEATER")),
        },
    }
}

fn all_off(context: Context<'_>) -> Vec<Command> {
    let mut commands: Vec<Command> =
        (0..context.caps.nozzles.len()).map(|tool| Command::SetNozzle { tool, target: 0.0 }).collect();
    if context.caps.bed.max.is_some() {
        commands.push(Command::SetBed { target: 0.0 });
    }
    if context.caps.chamber.is_some_and(|chamber| chamber.max.is_some()) {
        commands.push(Command::SetChamber { target: 0.0 });
    }
    commands
}

/// The names under which fans are published, also used by `SET_FAN_SPEED FAN=`; the part fan is set by M106.
pub(crate) fn fan_name(fan: FanId) -> &'static str {
    match fan {
        FanId::Part => "fan",
        FanId::Auxiliary => "aux_fan",
        FanId::AuxiliaryLeft => "aux_fan_left",
        FanId::Chamber => "chamber_fan",
        FanId::Hotend => "hotend_fan",
        FanId::Controller => "controller_fan",
        FanId::Circulation => "circulation_fan",
    }
}

/// The names under which lights are published, also used by `SET_PIN PIN=`. OrcaSlicer and OctoEverywhere find the light
/// by the word in its name (moonraker.md 3.4).
pub(crate) fn light_name(light: LightId) -> &'static str {
    match light {
        LightId::Chamber => "chamber_light",
        LightId::Work => "work_light",
        LightId::Bed => "bed_light",
    }
}

fn fan(line: &Line, context: Context<'_>) -> Intent {
    let wanted = line.param("FAN").unwrap_or_default().to_ascii_lowercase();
    let speed = line.param_value("SPEED").unwrap_or(0.0).clamp(0.0, 1.0);
    match context.caps.fans.iter().find(|fan| fan_name(**fan) == wanted) {
        Some(fan) => Intent::Do(vec![Command::SetFan { fan: *fan, speed }]),
        None => Intent::Refuse(format!("The value '{wanted}' is not valid for FAN")),
    }
}

fn pin(line: &Line, context: Context<'_>) -> Intent {
    let wanted = line.param("PIN").unwrap_or_default().to_ascii_lowercase();
    let on = line.param_value("VALUE").unwrap_or(0.0) > 0.0;
    match context.caps.lights.iter().find(|light| light_name(**light) == wanted) {
        Some(light) => Intent::Do(vec![Command::SetLight { light: *light, on }]),
        None => Intent::Refuse(format!("The value '{wanted}' is not valid for PIN")),
    }
}

fn led(line: &Line, context: Context<'_>) -> Intent {
    let on = ["RED", "GREEN", "BLUE", "WHITE"].iter().any(|part| line.param_value(part).unwrap_or(0.0) > 0.0);
    match main_light(context.caps) {
        Some(light) => Intent::Do(vec![Command::SetLight { light, on }]),
        None => Intent::Refuse("This printer has no light that can be switched.".to_owned()),
    }
}

/// What the printer can do beyond Klipper's words, as macros with parameters.
fn device_feature(name: &str, line: &Line, context: Context<'_>) -> Option<Intent> {
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
    let tool = line.param_value("TOOL").unwrap_or(0.0) as usize;
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
    let temperature = line.param_value("TEMP").unwrap_or(45.0);
    let hours = line.param_value("HOURS").unwrap_or(8.0);
    if !(30.0..=90.0).contains(&temperature) || !DRYING_HOURS.contains(&hours) {
        return Intent::Refuse("Drying takes TEMP=30 to 90 (°C) and HOURS=1 to 48.".to_owned());
    }
    let request = DryRequest { temperature, hours: hours.round() as u32 };
    Intent::Do(vec![Command::StartDrying { unit, request }])
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
