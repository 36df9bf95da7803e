//! Commands that travel as lines of G-code in `gcode_line` (bambu.md 4.3).

use serde_json::json;

use super::{Context, Encoded, HeatFallback, Message, Plan};
use crate::drivers::bambu::models::ModelRow;
use crate::model::{CommandError, FanId};

/// Longest program passed on at once, in bytes; longer ones are jobs.
const MAX_PROGRAM: usize = 4096;

/// One `gcode_line` message; the lines are executed as a unit.
pub(super) fn lines(program: &str) -> Message {
    Message::print("gcode_line", json!({ "param": format!("{}\n", program.trim_end()) }))
}

/// Lines with a marker behind them that shows when they are executed; only for an idle printer.
pub(super) fn settling(program: &str, context: &Context<'_>) -> Plan {
    let marker = context.marker;
    let marked = format!("{}\nM400\nM1002 gcode_claim_action : {marker}", program.trim_end());
    Plan { settles: true, ..Plan::from(lines(&marked)) }
}

/// The marker taken away again.
pub(in super::super) fn clear_marker() -> Message {
    lines("M1002 gcode_claim_action : 0")
}

/// There is no emergency stop: the job is stopped and all heaters go off (bambu.md 4.7).
pub(super) fn emergency(context: &Context<'_>) -> Plan {
    let nozzles = if context.row.dual() { "M104 S0 T0\nM104 S0 T1" } else { "M104 S0" };
    let heaters_off = lines(&format!("{nozzles}\nM140 S0"));
    let mut messages = vec![heaters_off];
    if context.device.job.stage.active() {
        messages.insert(0, Message::print("stop", json!({ "param": "" })));
    }
    let mut plan = Plan::several(messages);
    plan.note =
        Some("The printer has no emergency stop: the job was stopped and the heaters switched off.".into());
    plan
}

pub(super) fn set_nozzle(tool: usize, target: f64, row: &ModelRow) -> Plan {
    let suffix = if row.dual() { format!(" T{tool}") } else { String::new() };
    heat("M104", "M109", Some(tool), target, &suffix, row)
}

pub(super) fn set_bed(target: f64, row: &ModelRow) -> Plan {
    heat("M140", "M190", None, target, "", row)
}

fn heat(code: &str, waiting: &str, tool: Option<usize>, target: f64, suffix: &str, row: &ModelRow) -> Plan {
    let value = target.round() as i64;
    let fallback = row.heat_needs_wait_code.then(|| HeatFallback {
        tool,
        target,
        message: lines(&format!("{waiting} S{value}{suffix}")),
    });
    Plan { fallback, ..Plan::from(lines(&format!("{code} S{value}{suffix}"))) }
}

pub(super) fn set_fan(fan: FanId, speed: f64) -> Encoded {
    let number = match fan {
        FanId::Part => 1,
        FanId::Auxiliary => 2,
        FanId::Chamber => 3,
        FanId::AuxiliaryLeft => 10,
        FanId::Hotend | FanId::Controller | FanId::Circulation => {
            return Err(CommandError::unsupported("set this fan"));
        }
    };
    let duty = (speed.clamp(0.0, 1.0) * 255.0).round() as u8;
    Ok(lines(&format!("M106 P{number} S{duty}")).into())
}

/// mm/s where the user names none: XY, and Z alone.
const JOG_FEED: (f64, f64) = (50.0, 10.0);
const EXTRUDE_FEED: f64 = 5.0;

/// A relative move inside the soft limits, which are otherwise not enforced over MQTT (bambu.md 4.3).
pub(super) fn jog(delta: [f64; 3], feed: Option<f64>) -> Plan {
    let [x, y, z] = delta;
    let words: Vec<String> = [('X', x), ('Y', y), ('Z', z)]
        .into_iter()
        .filter(|(_, distance)| *distance != 0.0)
        .map(|(axis, distance)| format!("{axis}{}", round(distance)))
        .collect();
    let usual = if x == 0.0 && y == 0.0 { JOG_FEED.1 } else { JOG_FEED.0 };
    let feed = per_minute(feed, usual);
    let words = words.join(" ");
    lines(&format!(
        "M211 S\nM211 X1 Y1 Z1\nM1002 push_ref_mode\nG91\nG1 {words} F{feed}\nM1002 pop_ref_mode\nM211 R"
    ))
    .into()
}

pub(super) fn extrude(length: f64, feed: Option<f64>) -> Plan {
    let feed = per_minute(feed, EXTRUDE_FEED);
    lines(&format!("M83\nG1 E{} F{feed}\nM82", round(length))).into()
}

fn per_minute(feed: Option<f64>, usual: f64) -> u32 {
    let feed = feed.filter(|feed| feed.is_finite() && *feed > 0.0).unwrap_or(usual);
    (feed.min(500.0) * 60.0).round() as u32
}

fn round(millimeters: f64) -> f64 {
    (millimeters * 1000.0).round() / 1000.0
}

/// Lines of a user: checked one by one, sent as a unit, with a marker while nothing prints.
pub(super) fn pass_on(program: &[String], context: &Context<'_>) -> Encoded {
    let mut clean = Vec::new();
    for line in program.iter().flat_map(|lines| lines.lines()) {
        let line = line.split(';').next().unwrap_or("").trim();
        if !line.is_empty() {
            check(line)?;
            clean.push(line);
        }
    }
    let text = clean.join("\n");
    if text.is_empty() {
        return Err(CommandError::Invalid("There is no G-code in this.".to_owned()));
    }
    if text.len() > MAX_PROGRAM {
        return Err(CommandError::Invalid(format!(
            "The printer takes up to {MAX_PROGRAM} bytes of G-code at once; print longer programs as a file."
        )));
    }
    if context.device.job.stage.active() {
        return Ok(lines(&text).into());
    }
    Ok(settling(&text, context))
}

/// Lines that mean nothing to the printer, and lines that could damage it (bambu.md 4.3).
fn check(line: &str) -> Result<(), CommandError> {
    if !line.chars().all(|c| (' '..='~').contains(&c)) {
        return Err(CommandError::Invalid(format!("\"{}\" is not G-code.", line.escape_debug())));
    }
    let mut words = line.split_ascii_whitespace().map(str::to_ascii_uppercase);
    let code = words.next().unwrap_or_default();
    let number = code.get(1..).and_then(|digits| digits.parse::<u32>().ok());
    match (code.as_bytes().first(), number) {
        (Some(b'M'), Some(105 | 114 | 115 | 20..=30 | 117 | 118 | 155 | 503)) => {
            Err(CommandError::Unsupported(format!(
                "{code} is answered by the gateway; the printer does not know it."
            )))
        }
        (Some(b'M'), Some(302)) => {
            Err(CommandError::NotAllowed("Cold extrusion (M302) is never passed on.".to_owned()))
        }
        (Some(b'T'), _) => Err(CommandError::NotAllowed(
            "A bare tool change can freeze the machine; load a filament slot instead.".to_owned(),
        )),
        (Some(b'G'), Some(28)) if words.next().is_some() => Err(CommandError::NotAllowed(
            "This printer homes all axes together only (G28 alone); single axes could collide.".to_owned(),
        )),
        _ => Ok(()),
    }
}
