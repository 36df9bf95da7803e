//! The classic codes: G, M and T.

use super::{
    Context, FilamentWord, Intent, JobWord, Query, Session, Wait, able, main_light, motion, pass_on,
};
use crate::gcode::line::Line;
use crate::model::{Calibration, Celsius, Command, FanId, SlotId};

/// Settings that live in the printer's own firmware: acknowledged with a word, never believed to have worked.
const FIRMWARE_SETTINGS: [u32; 34] = [
    92, 200, 201, 202, 203, 204, 205, 206, 207, 208, 209, 211, 218, 290, 301, 304, 350, 412, 413, 420, 425,
    428, 500, 501, 502, 503, 569, 593, 665, 666, 851, 900, 906, 913,
];
/// Words about displays, counters, sounds and keep-alives that a gateway need not act on.
const WITHOUT_EFFECT: [u32; 24] = [
    0, 1, 17, 31, 73, 75, 76, 77, 78, 85, 108, 110, 111, 113, 117, 150, 154, 155, 250, 300, 400, 410, 575,
    876,
];

pub fn g(code: u32, line: &Line, session: &mut Session, context: Context<'_>) -> Intent {
    match code {
        0 | 1 => motion::linear(line, session, context),
        2 | 3 => Intent::Refuse("Arcs cannot be moved by command.".to_owned()),
        4 | 17..=19 => Intent::Nothing,
        20 => set(&mut session.inches, true),
        21 => set(&mut session.inches, false),
        28 => motion::home(line, session, context),
        29 => calibrate(Calibration::BedLevelling, "level its bed by command", context),
        90 => {
            session.extrude_relative = false;
            set(&mut session.relative, false)
        }
        91 => set(&mut session.relative, true),
        92 => motion::set_position(line, session),
        _ => pass_on(line, context.caps),
    }
}

fn set(mode: &mut bool, value: bool) -> Intent {
    *mode = value;
    Intent::Nothing
}

pub fn m(code: u32, line: &Line, session: &mut Session, context: Context<'_>) -> Intent {
    if let Some(word) = job_word(code, line) {
        return Intent::Job(word);
    }
    match code {
        18 | 84 => motors_off(context),
        31 => Intent::Ask(Query::PrintTime),
        82 => set(&mut session.extrude_relative, false),
        83 => set(&mut session.extrude_relative, true),
        104 | 109 => nozzle(code, line, context),
        140 | 190 => {
            heat(code == 190, line, |target| Command::SetBed { target }, |target| Wait::Bed { target })
        }
        141 | 191 => {
            if context.caps.chamber.is_none_or(|chamber| chamber.max.is_none()) {
                return Intent::Refuse("This printer has no chamber heater.".to_owned());
            }
            heat(
                code == 191,
                line,
                |target| Command::SetChamber { target },
                |target| Wait::Chamber { target },
            )
        }
        105 => Intent::Ask(Query::Temperatures),
        106 | 107 => fan(code, line, context),
        112 => Intent::Do(vec![Command::EmergencyStop]),
        114 => Intent::Ask(Query::Position),
        115 => Intent::Ask(Query::Firmware),
        118 => Intent::Note(line.text.clone().unwrap_or_default()),
        119 => Intent::Ask(Query::Endstops),
        220 => match line.value('S') {
            Some(percent) => able(
                !context.caps.speed_levels.is_empty(),
                || Command::SetSpeed { factor: percent / 100.0 },
                "change its speed",
            ),
            None => Intent::Note(speed_text(context)),
        },
        221 => Intent::Note("This printer has no flow control by command.".to_owned()),
        302 => Intent::Refuse("Cold extrusion stays forbidden.".to_owned()),
        303 => calibrate(Calibration::Pid, "tune its heaters by command", context),
        355 => light(line, context),
        486 => match line.value('P').filter(|n| n.fract() == 0.0 && *n >= 0.0) {
            Some(number) => able(
                context.caps.control.skip_objects,
                || Command::SkipObjects(vec![number as u32]),
                "skip objects",
            ),
            None => Intent::Nothing,
        },
        600 => Intent::Job(JobWord::Pause),
        701 => load(line, context),
        702 => able(context.caps.filament.unload, || Command::UnloadFilament, "unload filament by command"),
        _ if WITHOUT_EFFECT.contains(&code) => Intent::Nothing,
        _ if FIRMWARE_SETTINGS.contains(&code) => {
            Intent::Note(format!("M{code} has no effect: the printer's firmware keeps its own settings."))
        }
        _ => pass_on(line, context.caps),
    }
}

fn job_word(code: u32, line: &Line) -> Option<JobWord> {
    let text = || line.text.clone().unwrap_or_default().trim().to_owned();
    Some(match code {
        20 => JobWord::List,
        21 => JobWord::Mount,
        22 => JobWord::Unmount,
        23 => JobWord::Select(text()),
        24 => JobWord::StartOrResume,
        25 => JobWord::PauseWord,
        26 => JobWord::Seek(line.value('S').map_or(0, |s| s.max(0.0) as u64)),
        27 => JobWord::Progress(line.value('S').map(|s| s.max(0.0) as u64)),
        28 => JobWord::BeginWrite(text()),
        29 => JobWord::EndWrite,
        30 => JobWord::Delete(text()),
        32 => JobWord::Print {
            file: text().trim_matches(['!', '#', ' ']).to_owned(),
            plate: None,
            overrides: Vec::new(),
        },
        524 => JobWord::Cancel,
        _ => return None,
    })
}

fn nozzle(code: u32, line: &Line, context: Context<'_>) -> Intent {
    let tool = match line.value('T') {
        None => context.state.device.active_tool,
        Some(tool) if tool >= 0.0 && tool.fract() == 0.0 => tool as usize,
        Some(_) => return Intent::Refuse("T must be the number of a tool.".to_owned()),
    };
    if tool >= context.caps.nozzles.len() {
        return Intent::Refuse(format!("This printer has no tool T{tool}."));
    }
    heat(
        code == 109,
        line,
        |target| Command::SetNozzle { tool, target },
        |target| Wait::Nozzle { tool, target },
    )
}

/// `S` waits for heating only, `R` for cooling too; without either there is nothing to set.
fn heat(
    wait: bool,
    line: &Line,
    command: impl FnOnce(Celsius) -> Command,
    target_wait: impl FnOnce(Celsius) -> Wait,
) -> Intent {
    match line.value('S').or_else(|| line.value('R')) {
        None => Intent::Nothing,
        Some(target) if wait && target > 0.0 => Intent::DoAndWait(command(target), target_wait(target)),
        Some(target) => Intent::Do(vec![command(target)]),
    }
}

/// P numbers as the vendors use them: none, 0 and 1 the part fan, 2 auxiliary, 3 chamber, 10 left auxiliary
/// (bambu.md 4.3, elegoo.md 4).
fn fan(code: u32, line: &Line, context: Context<'_>) -> Intent {
    let fan = match line.value('P').map(|p| p as i64) {
        None | Some(0 | 1) => FanId::Part,
        Some(2) => FanId::Auxiliary,
        Some(3) => FanId::Chamber,
        Some(10) => FanId::AuxiliaryLeft,
        Some(other) => return Intent::Refuse(format!("There is no fan P{other}.")),
    };
    let speed = if code == 107 { 0.0 } else { line.value('S').unwrap_or(255.0).clamp(0.0, 255.0) / 255.0 };
    able(context.caps.fans.contains(&fan), || Command::SetFan { fan, speed }, "set this fan")
}

fn light(line: &Line, context: Context<'_>) -> Intent {
    let Some(light) = main_light(context.caps) else {
        return Intent::Refuse("This printer has no light that can be switched.".to_owned());
    };
    match line.value('S').or_else(|| line.value('P')) {
        Some(level) => Intent::Do(vec![Command::SetLight { light, on: level > 0.0 }]),
        None => {
            let on = context.state.device.lights.get(&light).is_some_and(|light| light.on);
            Intent::Note(format!("Case light: {}", if on { "on" } else { "off" }))
        }
    }
}

/// Motors release by themselves after a job; a request is passed on where the printer has a way. Where it has none that
/// is told, as somebody may be about to move the head by hand; it is no refusal, as files and hosts end with this code.
fn motors_off(context: Context<'_>) -> Intent {
    if context.caps.motion.motors_off {
        return Intent::Do(vec![Command::MotorsOff]);
    }
    Intent::Note(
        "This printer takes no command that switches its motors off; they stay as they are.".to_owned(),
    )
}

pub(super) fn calibrate(calibration: Calibration, what: &str, context: Context<'_>) -> Intent {
    able(context.caps.calibrations.contains(&calibration), || Command::Calibrate([calibration].into()), what)
}

/// M701 [P<slot>]: the numbered slot counted through all units, the external spool without a number.
fn load(line: &Line, context: Context<'_>) -> Intent {
    let slot = match line.value('P').or_else(|| line.value('S')) {
        Some(number) if number >= 0.0 => numbered_slot(number as usize, context),
        _ => context.state.device.filament.external.first().map(|slot| slot.id).or(Some(SlotId::External(0))),
    };
    match slot {
        Some(slot) => {
            able(context.caps.filament.load, || Command::LoadFilament(slot), "load filament by command")
        }
        None => Intent::Refuse("There is no such filament slot.".to_owned()),
    }
}

/// The slot of this number, counted through all units from 0.
pub(super) fn numbered_slot(number: usize, context: Context<'_>) -> Option<SlotId> {
    context.state.device.filament.units.iter().flat_map(|unit| &unit.slots).nth(number).map(|slot| slot.id)
}

/// Puts another nozzle into use.
pub(super) fn select_nozzle(tool: usize, context: Context<'_>) -> Intent {
    able(context.caps.control.select_tool, || Command::SelectTool(tool), "select a tool by command")
}

/// T<n>: the nozzle where there are several, else the filament slot that the tool map names for it.
pub fn tool(tool: i32, context: Context<'_>) -> Intent {
    let Ok(number) = usize::try_from(tool) else { return Intent::Nothing };
    if context.caps.nozzles.len() > 1 {
        if number >= context.caps.nozzles.len() {
            return Intent::Refuse(format!("This printer has no tool T{number}."));
        }
        if number == context.state.device.active_tool {
            return Intent::Nothing;
        }
        return select_nozzle(number, context);
    }
    let filament = &context.state.device.filament;
    if filament.units.is_empty() {
        return if number == 0 {
            Intent::Nothing
        } else {
            Intent::Refuse(format!("This printer has no tool T{number}."))
        };
    }
    if number >= filament.slots().count() {
        return Intent::Refuse(format!("There is no filament slot {number}."));
    }
    if !context.caps.filament.load {
        return Intent::Refuse("This printer cannot change filament by command.".to_owned());
    }
    Intent::Filament(vec![FilamentWord::ChangeTool(number)])
}

fn speed_text(context: Context<'_>) -> String {
    match context.state.device.speed.factor {
        Some(factor) => format!("FR:{:.0}%", factor * 100.0),
        None => "The printer does not tell its speed.".to_owned(),
    }
}
