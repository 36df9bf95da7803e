//! Named commands: those of Klipper that front ends send; the printer's own features are in `features`, the words of
//! the filament panels in `mmu`.

use super::{Context, Intent, JobWord, Query, Session, able, codes, features, help, mmu, motion};
use crate::gcode::line::Line;
use crate::model::{Calibration, Command, FanId, LightId};

pub fn named(name: &str, line: &Line, session: &mut Session, context: Context<'_>) -> Intent {
    control(name, line, session, context)
        .or_else(|| heat_and_air(name, line, context))
        .or_else(|| features::named(name, line, context))
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
        "ACTIVATE_EXTRUDER" => extruder(line, context),
        "M117" | "SET_DISPLAY_TEXT" | "SET_GCODE_VARIABLE" | "RESPOND" => match line.param("MSG") {
            Some(message) => Intent::Note(message.to_owned()),
            None => Intent::Nothing,
        },
        // The UIs show these controls for every printer: the answer is information, no error (moonraker.md section 5).
        "SET_VELOCITY_LIMIT"
        | "SET_PRESSURE_ADVANCE"
        | "SET_GCODE_OFFSET"
        | "SET_RETRACTION"
        | "SET_IDLE_TIMEOUT"
        | "SAVE_CONFIG" => Intent::Note(format!("{name}: not adjustable on this printer.")),
        // Fluidd offers it at each heater.
        "PID_CALIBRATE" => Intent::Refuse(if context.caps.calibrations.contains(&Calibration::Pid) {
            "PID_CALIBRATE: this printer tunes its heaters with CALIBRATE PID=1.".to_owned()
        } else {
            "PID_CALIBRATE: the heaters of this printer cannot be tuned by command.".to_owned()
        }),
        "SET_FILAMENT_SENSOR" => {
            Intent::Note("The filament sensor cannot be switched by command.".to_owned())
        }
        "RESTART" | "FIRMWARE_RESTART" => Intent::Job(JobWord::Restart),
        _ => return None,
    })
}

/// The nozzle in use, as Fluidd's list of extruders chooses it (Klipper's kinematics/extruder.py, `cmd_ACTIVATE_EXTRUDER`).
fn extruder(line: &Line, context: Context<'_>) -> Intent {
    let wanted = line.param("EXTRUDER").unwrap_or_default().to_ascii_lowercase();
    let tool = match wanted.strip_prefix("extruder") {
        Some("") => Some(0),
        Some(number) => number.parse().ok().filter(|number| *number > 0),
        None => None,
    };
    match tool.filter(|tool| *tool < context.caps.nozzles.len()) {
        Some(tool) if tool == context.state.device.active_tool => {
            Intent::Note(format!("Extruder {wanted} already active"))
        }
        // A nozzle, never a filament slot: `T0` of a printer with one nozzle may be a slot.
        Some(tool) => codes::select_nozzle(tool, context),
        None => Intent::Refuse(format!("The value '{wanted}' is not valid for EXTRUDER")),
    }
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
    // A dryer is published as a heater like the others.
    let units = context.state.device.filament.units.iter().filter(|_| context.caps.filament.dry);
    let drying = units.filter(|unit| unit.dryer.as_ref().is_some_and(|dryer| dryer.phase.heats()));
    commands.extend(drying.map(|unit| Command::StopDrying { unit: unit.id }));
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
    light("PIN", line.param_value("VALUE").unwrap_or(0.0) > 0.0, line, context)
}

fn led(line: &Line, context: Context<'_>) -> Intent {
    let on = ["RED", "GREEN", "BLUE", "WHITE"].iter().any(|part| line.param_value(part).unwrap_or(0.0) > 0.0);
    light("LED", on, line, context)
}

/// Switches the light that this parameter names.
fn light(param: &str, on: bool, line: &Line, context: Context<'_>) -> Intent {
    let wanted = line.param(param).unwrap_or_default().to_ascii_lowercase();
    match context.caps.lights.iter().find(|light| light_name(**light) == wanted) {
        Some(light) => Intent::Do(vec![Command::SetLight { light: *light, on }]),
        None => Intent::Refuse(format!("The value '{wanted}' is not valid for {param}")),
    }
}
