//! The words of the filament panels, as Happy Hare has them (moonraker.md 3.5): gates are the slots of all units in
//! order, then the spools outside any unit.
//!
//! What has no counterpart on these printers is answered with a word of information: the panels send some of it unasked.

use serde_json::Value;

use super::{Context, FilamentWord, Intent, JobWord, drying};
use crate::gcode::line::Line;
use crate::model::{
    Color, Command, FaultAction, Filament, FilamentAction, FilamentOperation, FilamentUnit, JobPhase, Slot,
    SlotEdit, SlotId,
};

/// `None` where the word is none of the panels', or the printer has no filament system.
pub fn named(name: &str, line: &Line, context: Context<'_>) -> Option<Intent> {
    let word = name.strip_prefix("MMU_")?;
    if context.state.device.filament.units.is_empty() {
        return None;
    }
    let done = match word {
        "SELECT" => select(line, context),
        "LOAD" => load(line, context),
        "UNLOAD" => unload(line, context),
        "EJECT" => eject(line, context),
        "CHANGE_TOOL" => change_tool(line, context),
        "GATE_MAP" => gate_map(line, context),
        "TTG_MAP" => tool_map(line, context),
        "REMAP_TTG" => remap(line, context),
        "ENDLESS_SPOOL" => endless_spool(line, context),
        "HEATER" => heater(line, context),
        "CHECK_GATE" | "CHECK_GATES" => check(word, line, context),
        "RECOVER" | "UNLOCK" => recover(word, context),
        "PAUSE" if context.state.job.phase.active() => Ok(Intent::Job(JobWord::Pause)),
        "PAUSE" => Ok(note("Nothing prints.")),
        "SPOOLMAN" => spoolman(line, context),
        "STATS" => one(FilamentWord::Stats),
        "SLICER_TOOL_MAP" => slicer_map(line),
        "PRELOAD" => {
            Ok(note("This printer takes the filament in by itself when it is pushed into the slot."))
        }
        _ => Ok(unsupported(name)),
    };
    Some(done.unwrap_or_else(Intent::Refuse))
}

fn note(text: &str) -> Intent {
    Intent::Note(text.to_owned())
}

fn unsupported(what: &str) -> Intent {
    Intent::Note(format!("{what}: this printer has nothing of the kind."))
}

fn one(word: FilamentWord) -> Result<Intent, String> {
    Ok(Intent::Filament(vec![word]))
}

fn send(command: Command) -> Result<Intent, String> {
    one(FilamentWord::Send(command))
}

/// The slot behind a gate's number.
fn gate_slot<'a>(text: &str, context: Context<'a>) -> Result<&'a Slot, String> {
    let found =
        text.trim().parse().ok().and_then(|gate: usize| context.state.device.filament.slots().nth(gate));
    let gates = context.state.device.filament.slots().count();
    found.ok_or_else(|| {
        format!("There is no gate {text}: this printer has gates 0 to {}.", gates.saturating_sub(1))
    })
}

/// `GATE=n`, where it is given.
fn gate<'a>(line: &Line, context: Context<'a>) -> Result<Option<&'a Slot>, String> {
    line.param("GATE").map(|text| gate_slot(text, context)).transpose()
}

fn tool(line: &Line) -> Result<Option<usize>, String> {
    let wrong = |text: &str| format!("The value '{text}' is not valid for TOOL");
    line.param("TOOL").map(|text| text.trim().parse().map_err(|_| wrong(text))).transpose()
}

fn on(line: &Line, name: &str) -> bool {
    line.param(name).is_some_and(|value| value.trim() != "0")
}

fn select(line: &Line, context: Context<'_>) -> Result<Intent, String> {
    if on(line, "BYPASS") {
        let external = context.state.device.filament.external.first();
        let slot = external.ok_or("This printer has no spool outside its units.")?;
        return one(FilamentWord::Select(slot.id));
    }
    if let Some(tool) = tool(line)? {
        return one(FilamentWord::SelectTool(tool));
    }
    let slot = gate(line, context)?.ok_or("MMU_SELECT needs GATE=, TOOL= or BYPASS=1.")?;
    one(FilamentWord::Select(slot.id))
}

fn load(line: &Line, context: Context<'_>) -> Result<Intent, String> {
    if on(line, "EXTRUDER_ONLY") {
        return Ok(unsupported("EXTRUDER_ONLY"));
    }
    if !context.caps.filament.load {
        return Err("This printer cannot load filament by command.".to_owned());
    }
    match gate(line, context)? {
        Some(slot) => send(Command::LoadFilament(slot.id)),
        None => one(FilamentWord::LoadSelected),
    }
}

fn unload(line: &Line, context: Context<'_>) -> Result<Intent, String> {
    if on(line, "EXTRUDER_ONLY") {
        return Ok(unsupported("EXTRUDER_ONLY"));
    }
    if !context.caps.filament.unload {
        return Err("This printer cannot unload filament by command.".to_owned());
    }
    send(Command::UnloadFilament)
}

/// These units let go of a filament that is not in the tool at any time.
fn eject(line: &Line, context: Context<'_>) -> Result<Intent, String> {
    let active = context.state.device.filament.active;
    match gate(line, context)? {
        Some(slot) if active != Some(slot.id) => {
            Ok(note("Nothing to do: this filament is not in the tool and can be taken out by hand."))
        }
        _ => unload(line, context),
    }
}

fn change_tool(line: &Line, context: Context<'_>) -> Result<Intent, String> {
    if !context.caps.filament.load {
        return Err("This printer cannot change filament by command.".to_owned());
    }
    if let Some(slot) = gate(line, context)? {
        return send(Command::LoadFilament(slot.id));
    }
    match tool(line)? {
        Some(tool) => one(FilamentWord::ChangeTool(tool)),
        None => Err("MMU_CHANGE_TOOL needs TOOL= or GATE=.".to_owned()),
    }
}

/// Edits one gate, or all by a map as Fluidd writes it.
fn gate_map(line: &Line, context: Context<'_>) -> Result<Intent, String> {
    if let Some(map) = line.param("MAP") {
        let mut words = Vec::new();
        for (gate, details) in read_map(map)? {
            let slot = gate_slot(&gate, context)?;
            let text = |key: &str| details.get(key).and_then(Value::as_str);
            words.extend(
                details.get("spool_id").and_then(Value::as_i64).map(|spool| spool_word(slot.id, spool)),
            );
            words.extend(edit(slot, text("material"), text("color"), text("name"), context)?);
            words.extend(unkept(slot, &details));
        }
        return Ok(Intent::Filament(words));
    }
    if on(line, "RESET") {
        let slots = context.state.device.filament.slots();
        return Ok(Intent::Filament(slots.map(|slot| spool_word(slot.id, -1)).collect()));
    }
    let Some(slot) = gate(line, context)? else { return Ok(Intent::Nothing) };
    let spool = line.param_value("SPOOLID").map(|spool| spool_word(slot.id, spool as i64));
    let mut words: Vec<FilamentWord> = spool.into_iter().collect();
    match edit(slot, line.param("MATERIAL"), line.param("COLOR"), line.param("NAME"), context) {
        // A spool of the inventory comes with its description: what is in the slot is known all the same.
        Err(reason) if !words.is_empty() => words.push(FilamentWord::Tell(reason)),
        edited => words.extend(edited?),
    }
    let unkept = ["AVAILABLE", "TEMP", "SPEED"].iter().any(|name| line.param(name).is_some());
    if words.is_empty() && unkept {
        return Ok(note(
            "The printer keeps neither availability nor single temperature nor speed of a slot.",
        ));
    }
    Ok(Intent::Filament(words))
}

/// What the printer keeps of no slot, where it was changed.
fn unkept(slot: &Slot, details: &Value) -> Option<FilamentWord> {
    let number = |key: &str| details.get(key).and_then(Value::as_f64);
    let shown = slot.filament.as_ref().and_then(Filament::nozzle_middle).unwrap_or(0.0);
    let hot = number("temp").is_some_and(|temp| temp > 0.0 && (temp - shown).abs() > 0.5);
    let speed = number("speed_override").is_some_and(|speed| speed != 100.0);
    let what = match (hot, speed) {
        (true, _) => "single temperature",
        (_, true) => "speed",
        _ => return None,
    };
    Some(FilamentWord::Tell(format!(
        "The printer keeps no {what} of a slot: that of slot {} stays.",
        slot.id
    )))
}

fn spool_word(slot: SlotId, spool: i64) -> FilamentWord {
    FilamentWord::Spool { slot, spool: u32::try_from(spool).ok().filter(|spool| *spool > 0) }
}

/// What differs from what the slot is known to hold.
fn edit(
    slot: &Slot,
    material: Option<&str>,
    color: Option<&str>,
    name: Option<&str>,
    context: Context<'_>,
) -> Result<Option<FilamentWord>, String> {
    let known = slot.filament.clone().unwrap_or_default();
    let said = |text: &Option<&str>| text.is_some_and(|text| !text.is_empty() && text != "Unknown");
    let material = material.filter(|text| said(&Some(text)) && known.material.as_deref() != Some(*text));
    let name = name.filter(|text| said(&Some(text)) && known.name.as_deref() != Some(*text));
    let color = match color.filter(|text| !text.is_empty()) {
        Some(text) => {
            let wrong = || format!("The colour '{text}' must be written RRGGBB.");
            let color = Color::parse(text).ok_or_else(wrong)?;
            (known.color.map(Color::rgb_hex) != Some(color.rgb_hex())).then_some(color)
        }
        None => None,
    };
    if material.is_none() && color.is_none() && name.is_none() {
        return Ok(None);
    }
    if !context.caps.filament.edit {
        return Err("This printer does not take changes of its slots; set them at its own screen.".to_owned());
    }
    let edit = SlotEdit {
        material: material.map(str::to_owned),
        name: name.map(str::to_owned),
        color,
        ..SlotEdit::default()
    };
    Ok(Some(FilamentWord::Send(Command::EditSlot { slot: slot.id, edit: Box::new(edit) })))
}

/// `{0: {'material': 'PLA', ...}, 1: {...}}`: Python's way to write it, with bare numbers as keys.
fn read_map(text: &str) -> Result<Vec<(String, Value)>, String> {
    let mut json = String::with_capacity(text.len() + 16);
    let mut letters = text.chars().peekable();
    let mut quote = None;
    let mut key = true;
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, '\'' | '"') => {
                quote = Some(letter);
                json.push('"');
            }
            (Some(open), letter) if letter == open => {
                quote = None;
                json.push('"');
            }
            (Some(_), '"' | '\\') => json.extend(['\\', letter]),
            (None, digit) if key && digit.is_ascii_digit() => {
                json.extend(['"', digit]);
                while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                    json.push(digit);
                }
                json.push('"');
            }
            (_, letter) => json.push(letter),
        }
        if quote.is_none() && !letter.is_whitespace() {
            key = matches!(letter, '{' | ',');
        }
    }
    match serde_json::from_str(&json) {
        Ok(Value::Object(gates)) => Ok(gates.into_iter().collect()),
        _ => Err("MAP= cannot be read: write {0: {'material': 'PLA', 'color': 'FF0000'}, ...}.".to_owned()),
    }
}

/// A map is for the next print; that of a running one is the printer's.
fn idle(context: Context<'_>) -> Result<(), String> {
    if context.state.job.phase.active() {
        return Err(
            "The slots of a print that runs are not changed; set them before the next one.".to_owned()
        );
    }
    Ok(())
}

fn tool_map(line: &Line, context: Context<'_>) -> Result<Intent, String> {
    if on(line, "RESET") {
        idle(context)?;
        return one(FilamentWord::ResetMap);
    }
    let Some(map) = line.param("MAP") else { return remap(line, context) };
    idle(context)?;
    let slots = map.split(',').map(|gate| gate_slot(gate, context).map(|slot| slot.id));
    one(FilamentWord::Map(slots.collect::<Result<_, String>>()?))
}

fn remap(line: &Line, context: Context<'_>) -> Result<Intent, String> {
    idle(context)?;
    if on(line, "RESET") {
        return one(FilamentWord::ResetMap);
    }
    match (tool(line)?, gate(line, context)?) {
        (Some(tool), Some(slot)) => one(FilamentWord::MapTools(vec![(tool, slot.id)])),
        _ => Ok(Intent::Nothing),
    }
}

/// The tools themselves are read from the file; what the panels' dialogs set is whether the map is matched.
fn slicer_map(line: &Line) -> Result<Intent, String> {
    match line.param("SKIP_AUTOMAP") {
        Some(_) => one(FilamentWord::Automap(!on(line, "SKIP_AUTOMAP"))),
        None => Ok(note("The tools of a file are read from the file.")),
    }
}

fn endless_spool(line: &Line, context: Context<'_>) -> Result<Intent, String> {
    match line.param("ENABLE") {
        Some(enable) if context.caps.filament.auto_refill => {
            send(Command::SetAutoRefill(enable.trim() != "0"))
        }
        Some(_) => Ok(unsupported("MMU_ENDLESS_SPOOL")),
        None => match line.param("GROUPS") {
            Some(text) if groups(text, context)? => Ok(Intent::Nothing),
            Some(_) => {
                Err("The printer itself decides which equal spools stand in for each other.".to_owned())
            }
            None => Ok(note("The printer itself decides which equal spools stand in for each other.")),
        },
    }
}

/// Whether these are the groups of gates as they are; only which gates belong together counts, not the numbers.
fn groups(text: &str, context: Context<'_>) -> Result<bool, String> {
    let system = &context.state.device.filament;
    let wrong = || "GROUPS= takes one number for each gate.".to_owned();
    let asked: Vec<i64> =
        text.split(',').map(|part| part.trim().parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
    let now = system.backup_numbers();
    if asked.len() != now.len() {
        return Err(wrong());
    }
    let together = |a: usize, b: usize| asked.get(a) == asked.get(b);
    let mut pairs = (0..now.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
    Ok(pairs.all(|(a, b)| together(a, b) == (now.get(a) == now.get(b))))
}

/// The unit named by `UNIT=` (number in the panel's order, or its name), by `GATE=`, or the only one that can dry.
fn dryer<'a>(line: &Line, context: Context<'a>) -> Result<&'a FilamentUnit, String> {
    let system = &context.state.device.filament;
    let named = line.param("UNIT").map(|text| {
        let by_number = text.trim().parse().ok().and_then(|number: usize| system.units.get(number));
        by_number.or_else(|| system.units.iter().find(|unit| unit.key().eq_ignore_ascii_case(text)))
    });
    let of_gate = line.param("GATE").or_else(|| line.param("GATES")).and_then(|text| text.split(',').next());
    let unit = match (named, of_gate) {
        (Some(unit), _) => unit,
        (None, Some(text)) => system.unit_of(gate_slot(text, context)?.id),
        (None, None) => system.units.iter().find(|unit| unit.dryer.is_some()),
    };
    unit.filter(|unit| unit.dryer.is_some()).ok_or_else(|| "No such unit can dry.".to_owned())
}

fn heater(line: &Line, context: Context<'_>) -> Result<Intent, String> {
    let unit = dryer(line, context)?.id;
    if on(line, "OFF") || on(line, "STOP") || line.param("DRY") == Some("0") {
        return send(Command::StopDrying { unit });
    }
    let minutes = line.param_value("TIMER").map(|minutes| minutes / 60.0);
    let hours = line.param_value("HOURS").or(minutes);
    start_drying(unit, line.param_value("TEMP"), hours)
}

/// A part of an hour is dried as a whole one.
fn start_drying(unit: u16, temperature: Option<f64>, hours: Option<f64>) -> Result<Intent, String> {
    let limits = "Drying takes TEMP=30 to 90 (°C) and TIMER=60 to 1440 (minutes).";
    let request = drying::request(temperature, hours.map(f64::ceil)).ok_or(limits)?;
    send(Command::StartDrying { unit, request })
}

/// A target for a unit's dryer, as the temperature panels set it: `SET_HEATER_TEMPERATURE HEATER=ams_ht_1 TARGET=45`.
pub fn heater_target(name: &str, target: f64, context: Context<'_>) -> Option<Intent> {
    let units = &context.state.device.filament.units;
    let unit = units.iter().find(|unit| unit.dryer.is_some() && unit.dryer_key() == name)?.id;
    let done = if target > 0.0 {
        start_drying(unit, Some(target), None)
    } else {
        send(Command::StopDrying { unit })
    };
    Some(done.unwrap_or_else(Intent::Refuse))
}

/// Reads the tags: of one gate, of the named ones, or of all that hold something and do not feed.
fn check(word: &str, line: &Line, context: Context<'_>) -> Result<Intent, String> {
    if !context.caps.filament.read_tag {
        return Ok(unsupported(&format!("MMU_{word}")));
    }
    let system = &context.state.device.filament;
    let read = |slot: &Slot| FilamentWord::Send(Command::ReadTag(slot.id));
    if let Some(slot) = gate(line, context)? {
        return Ok(Intent::Filament(vec![read(slot)]));
    }
    if let Some(list) = line.param("GATES") {
        let slots = list.split(',').map(|text| gate_slot(text, context).map(read));
        return Ok(Intent::Filament(slots.collect::<Result<_, String>>()?));
    }
    if word == "CHECK_GATE" && !on(line, "ALL") {
        return one(FilamentWord::CheckSelected);
    }
    let slots = system.units.iter().flat_map(|unit| &unit.slots);
    let readable = |slot: &&Slot| slot.present != Some(false) && system.active != Some(slot.id);
    Ok(Intent::Filament(slots.filter(readable).map(read).collect()))
}

fn recover(word: &str, context: Context<'_>) -> Result<Intent, String> {
    let stuck = context.state.device.filament.operation == FilamentOperation::Stuck;
    match (stuck, context.caps.filament.recover) {
        (true, true) if waits_for_spool(context) => send(Command::Resume),
        (true, true) => send(Command::FilamentAction(FilamentAction::Resume)),
        (true, false) => Err("A stuck filament of this printer is recovered at its own screen.".to_owned()),
        (false, _) if word == "RECOVER" => send(Command::Refresh),
        (false, _) => Ok(note("Nothing is locked.")),
    }
}

/// A print paused for want of filament goes on by itself being resumed; a stuck change is tried again.
fn waits_for_spool(context: Context<'_>) -> bool {
    let offers = |action| context.state.faults().any(|fault| fault.actions.contains(&action));
    context.state.job.phase == JobPhase::Paused
        && offers(FaultAction::Resume)
        && !offers(FaultAction::RetryFilament)
}

fn spoolman(line: &Line, context: Context<'_>) -> Result<Intent, String> {
    match line.param("CREATE") {
        Some(text) => one(FilamentWord::CreateSpool(gate_slot(text, context)?.id)),
        None => one(FilamentWord::RefreshSpools),
    }
}

#[cfg(test)]
#[path = "mmu_tests.rs"]
mod tests;
