//! Moves: G0, G1 and the modes around them, as jogs and extrusions.

use super::{Context, Intent, Session};
use crate::gcode::line::Line;
use crate::model::{Axes, Command};

const AXES: [char; 3] = ['X', 'Y', 'Z'];
const MM_PER_INCH: f64 = 25.4;

/// G0 and G1: a jog of X, Y, Z, an extrusion of E, or both in that order.
pub fn linear(line: &Line, session: &mut Session, context: Context<'_>) -> Intent {
    let unit = if session.inches { MM_PER_INCH } else { 1.0 };
    if let Some(feed) = line.value('F').filter(|feed| *feed > 0.0) {
        session.feed = Some(feed * unit / 60.0);
    }
    let words = AXES.map(|axis| line.value(axis).map(|value| value * unit));
    let extrusion = line.value('E').map(|value| value * unit);
    let at = session.position(context.state);
    let mut delta = [0.0; 3];
    for ((target, at), delta) in words.iter().zip(at).zip(&mut delta) {
        let Some(target) = target else { continue };
        *delta = match (session.relative, at) {
            (true, _) => *target,
            (false, Some(at)) => target - at,
            (false, None) => {
                return Intent::Refuse(
                    "The printer does not tell where its head is: move relatively (G91) instead.".to_owned(),
                );
            }
        };
    }
    let mut commands = Vec::new();
    let to_a_place = !session.relative && words.iter().any(Option::is_some);
    if to_a_place || delta.iter().any(|d| *d != 0.0) {
        if !context.caps.motion.jog {
            return Intent::Refuse("This printer cannot be moved by command.".to_owned());
        }
        // The way to a place is known when it is this move's turn: those before it may be under way.
        commands.push(match to_a_place {
            true => Command::MoveTo { place: words, feed: session.feed },
            false => Command::Jog { delta, feed: session.feed },
        });
    }
    if let Some(length) = extrusion.map(|e| extruded(e, session)).filter(|length| *length != 0.0) {
        if !context.caps.motion.extrude {
            return Intent::Refuse("This printer cannot extrude by command.".to_owned());
        }
        commands.push(Command::Extrude { length, feed: session.feed });
    }
    for ((at, delta), commanded) in at.iter().zip(delta).zip(&mut session.commanded) {
        *commanded = at.map(|at| at + delta);
    }
    if commands.is_empty() { Intent::Nothing } else { Intent::Do(commands) }
}

fn extruded(e: f64, session: &mut Session) -> f64 {
    let relative = session.extrude_relative || session.relative;
    let length = if relative { e } else { e - session.extruded };
    session.extruded = if relative { session.extruded + e } else { e };
    length
}

/// G28: the named axes, all without any.
pub fn home(line: &Line, session: &mut Session, context: Context<'_>) -> Intent {
    if !context.caps.motion.home {
        return Intent::Refuse("This printer cannot be homed by command.".to_owned());
    }
    let named = Axes { x: line.flag('X'), y: line.flag('Y'), z: line.flag('Z') };
    session.commanded = [None; 3];
    if named == Axes::default() || named == Axes::ALL || context.caps.motion.home_axes {
        let axes = if named == Axes::default() { Axes::ALL } else { named };
        return Intent::Do(vec![Command::Home(axes)]);
    }
    // Homing single axes skips the parking of the head on some machines (bambu.md T35): all of them instead.
    Intent::Do(vec![Command::Home(Axes::ALL)])
}

/// G92: the sender declares where it thinks the head is; only the extruder's count is ours to change.
pub fn set_position(line: &Line, session: &mut Session) -> Intent {
    if let Some(e) = line.value('E') {
        session.extruded = e;
    }
    Intent::Nothing
}

/// SAVE_GCODE_STATE and its counterpart.
pub fn save_modes(name: &str, session: &mut Session) {
    const KEPT: usize = 32;
    if session.saved.len() < KEPT || session.saved.contains_key(name) {
        session.saved.insert(name.to_owned(), (session.relative, session.extrude_relative));
    }
}

/// True where such a state was saved.
pub fn restore_modes(name: &str, session: &mut Session) -> bool {
    match session.saved.get(name) {
        Some((relative, extrude_relative)) => {
            (session.relative, session.extrude_relative) = (*relative, *extrude_relative);
            true
        }
        None => false,
    }
}
