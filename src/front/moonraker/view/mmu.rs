//! The filament system as Happy Hare's objects, which Mainsail and Fluidd have panels for (moonraker.md 3.5).
//!
//! Gates are the slots of all units in order, then the spools outside any unit, which are a unit of their own: so they
//! show their colour, take part in the tool map, and need no bypass. Every list has one entry per gate, nothing is
//! null, and what these printers do not have (encoder, servo, espooler) is left out.

use serde_json::{Map, Value, json};

use super::climate;
use super::{Builder, Input};
use crate::model::{
    Color, DryerPhase, Fault, Filament, FilamentOperation, FilamentSystem, JobPhase, Severity, Slot, SlotId,
};

/// No gate or tool is known.
const UNKNOWN: i64 = -1;
/// `filament_pos`: parked, under way between gate and tool, in the nozzle.
const PARKED: i64 = 0;
const UNDER_WAY: i64 = 3;
const IN_NOZZLE: i64 = 10;
/// How tools that nobody mapped find their gate: the same material, the nearest colour.
const AUTOMAP: &str = "closest_color";
/// The panels show nothing of a unit's vendor but a logo, and Fluidd asks its server for a picture of that name: of those
/// that both have, the one that they draw for makers they do not know (moonraker.md 3.5).
const LOGO: &str = "HappyHare";
/// Where filament waits, in Happy Hare's words: behind the unit's common way out.
const HOMING_ENDSTOP: &str = "mmu_gate";
/// Name of the unit of spools outside any unit.
const EXTERNAL_UNIT: &str = "External";

pub fn add(builder: &mut Builder, input: &Input<'_>) {
    let system = &input.state.device.filament;
    if system.units.is_empty() {
        return;
    }
    builder.object("mmu", mmu(input, system));
    builder.object("mmu_machine", machine(input, system));
    // Happy Hare's KlipperScreen finds the filament system by this section, and draws nothing without the option.
    let section = json!({"gate_homing_endstop": HOMING_ENDSTOP, "spoolman_support": spoolman_support(input)});
    builder.section("mmu", section);
    // Without it Mainsail throws at every drawing of the panel (moonraker.md 3.5).
    let variables = if input.caps.filament.map { json!({"automap_strategy": AUTOMAP}) } else { json!({}) };
    builder.object("gcode_macro _MMU_SOFTWARE_VARS", variables);
    for unit in &system.units {
        climate::add(builder, input, unit);
    }
}

fn mmu(input: &Input<'_>, system: &FilamentSystem) -> Value {
    let gates: Vec<&Slot> = system.slots().collect();
    let mut fields = Map::new();
    for part in [status(input, system), gates_of(input, system, &gates), maps(input, system, &gates)] {
        if let Value::Object(part) = part {
            fields.extend(part);
        }
    }
    fields.into()
}

/// What is selected and under way.
fn status(input: &Input<'_>, system: &FilamentSystem) -> Value {
    let job = &input.state.job;
    let stuck = system.operation == FilamentOperation::Stuck;
    let selected = system.active.or(input.filament.selected);
    let unit = selected.and_then(|slot| unit_number(system, slot));
    let (filament, position) = filament(input, system);
    let mut sensors = Map::new();
    if let Some(there) = detected(input) {
        sensors.insert("toolhead".to_owned(), there.into());
    }
    json!({
        "enabled": true,
        "is_homed": true,
        "is_locked": stuck && input.caps.filament.recover,
        "is_paused": job.phase == JobPhase::Paused,
        "is_in_print": job.phase.active(),
        "print_state": print_state(input, stuck),
        // As Happy Hare counts while no gate is selected: Happy Hare's KlipperScreen draws nothing of unit -1.
        "unit": unit.unwrap_or(0),
        "gate": number(selected.and_then(|slot| system.number(slot))),
        "tool": tool_of(input, system, selected),
        "last_tool": UNKNOWN,
        "next_tool": tool_of(input, system, system.target.filter(|target| system.active != Some(*target))),
        "active_filament": active_filament(input, system, selected),
        "action": action(system.operation),
        "operation": operation(system.operation),
        "reason_for_pause": reason(input, stuck),
        "filament": filament,
        "filament_pos": position,
        "filament_position": 0.0,
        "filament_direction": direction(system.operation),
        "bowden_progress": UNKNOWN,
        "runout": input.state.faults().any(Fault::filament_ran_out),
        "has_bypass": false,
        "sync_drive": false,
        "sensors": sensors,
        "spoolman_support": spoolman_support(input),
        "pending_spool_id": UNKNOWN,
        "endless_spool": i64::from(system.auto_refill == Some(true)),
        "endless_spool_enabled": i64::from(system.auto_refill == Some(true)),
        "clog_detection": 0,
        "clog_detection_enabled": 0,
        "espooler_active": "",
    })
}

fn spoolman_support(input: &Input<'_>) -> &'static str {
    if input.spoolman { "push" } else { "off" }
}

/// One entry per gate.
fn gates_of(input: &Input<'_>, system: &FilamentSystem, gates: &[&Slot]) -> Value {
    let each = |value: &dyn Fn(&Slot) -> Value| gates.iter().map(|slot| value(slot)).collect::<Value>();
    let known = |slot: &Slot, value: &dyn Fn(&Filament) -> Option<String>| -> Value {
        slot.filament.as_ref().and_then(value).unwrap_or_default().into()
    };
    json!({
        "num_gates": gates.len(),
        "gate_status": each(&|slot| gate_status(slot).into()),
        "gate_filament_name": each(&|slot| known(slot, &|f| f.name.clone().or_else(|| f.material.clone()))),
        "gate_material": each(&|slot| known(slot, &|f| f.material.clone())),
        "gate_color": each(&|slot| known(slot, &|f| f.color.map(Color::rgb_hex))),
        "gate_color_rgb": each(&|slot| rgb(slot.filament.as_ref().and_then(|f| f.color))),
        "gate_temperature": each(&|slot| slot.filament.as_ref().map_or(0, temperature).into()),
        "gate_spool_id": each(&|slot| input.filament.spool(slot.id).map_or(UNKNOWN, i64::from).into()),
        "gate_speed_override": each(&|_| 100.into()),
        "drying_state": each(&|slot| drying_state(system, slot.id).into()),
    })
}

/// Which gate feeds which tool, and which gates stand in for each other.
fn maps(input: &Input<'_>, system: &FilamentSystem, gates: &[&Slot]) -> Value {
    let gate_of = |tool: usize| {
        let slot = input.filament.slot_of_tool(tool, system);
        slot.and_then(|slot| system.number(slot)).unwrap_or(tool)
    };
    let tools: Vec<usize> = (0..gates.len()).map(gate_of).collect();
    let ones: Vec<f64> = vec![1.0; gates.len()];
    json!({
        "ttg_map": tools,
        "endless_spool_groups": system.backup_numbers(),
        "tool_extrusion_multipliers": ones,
        "tool_speed_multipliers": ones,
        "slicer_tool_map": slicer_tools(input),
    })
}

/// The filaments of the job's file as the slicer named them.
fn slicer_tools(input: &Input<'_>) -> Value {
    let metadata = input.file.filter(|_| input.state.job.phase.active()).map(|file| &file.metadata);
    let list = |key: &str| metadata.and_then(|metadata| metadata.get(key)).and_then(Value::as_array);
    let at = |key: &str, index: usize| list(key).and_then(|list| list.get(index)).cloned();
    let used = list("referenced_tools").cloned().unwrap_or_default();
    let count = list("filament_types").map_or(0, Vec::len);
    let tools: Map<String, Value> = (0..count)
        .map(|index| {
            let text = |key: &str| {
                at(key, index).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
            };
            let tool = json!({
                "color": text("filament_colors").trim_start_matches('#'),
                "material": text("filament_types"),
                "name": text("filament_names"),
                "temp": at("filament_temps", index).and_then(|value| value.as_f64()).unwrap_or(0.0),
                "in_use": used.is_empty() || used.iter().any(|tool| tool.as_u64() == Some(index as u64)),
            });
            (index.to_string(), tool)
        })
        .collect();
    json!({"tools": tools, "referenced_tools": used, "purge_volumes": [], "skip_automap": input.filament.automap == Some(false)})
}

fn machine(input: &Input<'_>, system: &FilamentSystem) -> Value {
    let mut machine = Map::new();
    let mut first = 0;
    for (index, unit) in system.units.iter().enumerate() {
        let product = unit.product.as_deref().unwrap_or_default();
        let mut fields = unit_fields(&unit.name, product, unit.slots.len(), first);
        climate::name_sensors(&mut fields, input, unit);
        machine.insert(format!("unit_{index}"), fields.into());
        first += unit.slots.len();
    }
    let mut units = system.units.len();
    if !system.external.is_empty() {
        let fields = unit_fields(EXTERNAL_UNIT, "", system.external.len(), first);
        machine.insert(format!("unit_{units}"), fields.into());
        units += 1;
    }
    machine.insert("num_units".to_owned(), units.into());
    machine.into()
}

fn unit_fields(name: &str, version: &str, gates: usize, first: usize) -> Map<String, Value> {
    let fields = json!({
        "name": name,
        "vendor": LOGO,
        "version": version,
        "num_gates": gates,
        "first_gate": first,
        "selector_type": "VirtualSelector",
        "variable_rotation_distances": false,
        "variable_bowden_lengths": false,
        "require_bowden_move": true,
        "filament_always_gripped": true,
        "can_crossload": true,
        "has_bypass": false,
        "multi_gear": true,
    });
    if let Value::Object(fields) = fields { fields } else { Map::new() }
}

fn number(value: Option<usize>) -> i64 {
    value.and_then(|value| i64::try_from(value).ok()).unwrap_or(UNKNOWN)
}

/// Spools outside any unit are the last one.
fn unit_number(system: &FilamentSystem, slot: SlotId) -> Option<usize> {
    let within = system.units.iter().position(|unit| unit.slots.iter().any(|other| other.id == slot));
    within.or_else(|| system.external.iter().any(|other| other.id == slot).then_some(system.units.len()))
}

/// The tool that the map feeds from this slot.
fn tool_of(input: &Input<'_>, system: &FilamentSystem, slot: Option<SlotId>) -> i64 {
    let Some(slot) = slot else { return UNKNOWN };
    let tool =
        (0..system.slots().count()).find(|tool| input.filament.slot_of_tool(*tool, system) == Some(slot));
    number(tool)
}

/// -1 unknown, 0 empty, 1 available.
fn gate_status(slot: &Slot) -> i64 {
    match (slot.present, &slot.filament) {
        (Some(false), _) => 0,
        (Some(true), _) | (None, Some(_)) => 1,
        (None, None) => UNKNOWN,
    }
}

fn rgb(color: Option<Color>) -> Value {
    let part = |part: u8| (f64::from(part) / 255.0 * 1000.0).round() / 1000.0;
    color.map_or_else(|| json!([0.0, 0.0, 0.0]), |color| json!([part(color.r), part(color.g), part(color.b)]))
}

/// The middle of the filament's range, 0 where it is not known.
fn temperature(filament: &Filament) -> i64 {
    filament.nozzle_middle().unwrap_or(0.0).round() as i64
}

fn active_filament(input: &Input<'_>, system: &FilamentSystem, selected: Option<SlotId>) -> Value {
    let filament = selected.and_then(|slot| system.slot(slot)).and_then(|slot| slot.filament.as_ref());
    let Some(filament) = filament else { return json!({}) };
    let spool = selected.and_then(|slot| input.filament.spool(slot));
    json!({
        "filament_name": filament.name.as_deref().or(filament.material.as_deref()).unwrap_or_default(),
        "material": filament.material.as_deref().unwrap_or_default(),
        "color": filament.color.map(Color::rgb_hex).unwrap_or_default(),
        "spool_id": spool.map_or(UNKNOWN, i64::from),
        "temperature": temperature(filament),
    })
}

/// Of the tool that is used.
fn detected(input: &Input<'_>) -> Option<bool> {
    let device = &input.state.device;
    device.nozzles.get(device.active_tool).and_then(|nozzle| nozzle.filament_detected)
}

fn filament(input: &Input<'_>, system: &FilamentSystem) -> (&'static str, i64) {
    use FilamentOperation::{Cutting, Loading, Switching, Unloading};
    match (system.operation, system.active, detected(input)) {
        (Loading | Unloading | Switching | Cutting, ..) => ("Unknown", UNDER_WAY),
        (_, Some(_), _) | (_, None, Some(true)) => ("Loaded", IN_NOZZLE),
        (_, None, _) => ("Unloaded", PARKED),
    }
}

fn direction(operation: FilamentOperation) -> i64 {
    match operation {
        FilamentOperation::Loading | FilamentOperation::Purging => 1,
        FilamentOperation::Unloading => -1,
        _ => 0,
    }
}

/// The words that both panels have pictures for.
fn action(operation: FilamentOperation) -> &'static str {
    match operation {
        FilamentOperation::Idle | FilamentOperation::Stuck => "Idle",
        FilamentOperation::Heating => "Heating",
        FilamentOperation::Loading => "Loading",
        FilamentOperation::Unloading => "Unloading",
        FilamentOperation::Cutting => "Cutting Filament",
        FilamentOperation::Purging => "Purging",
        FilamentOperation::Switching => "Selecting",
        FilamentOperation::ReadingTag | FilamentOperation::Calibrating => "Checking",
    }
}

fn operation(operation: FilamentOperation) -> &'static str {
    match operation {
        FilamentOperation::Idle => "",
        FilamentOperation::Heating => "Heating the nozzle",
        FilamentOperation::Loading => "Loading",
        FilamentOperation::Unloading => "Unloading",
        FilamentOperation::Cutting => "Cutting",
        FilamentOperation::Purging => "Purging",
        FilamentOperation::Switching => "Changing",
        FilamentOperation::ReadingTag => "Reading the spool's tag",
        FilamentOperation::Calibrating => "Calibrating",
        FilamentOperation::Stuck => "Waiting for help",
    }
}

fn print_state(input: &Input<'_>, stuck: bool) -> &'static str {
    match input.state.job.phase {
        _ if stuck && input.caps.filament.recover => "pause_locked",
        JobPhase::Idle => "ready",
        JobPhase::Transferring | JobPhase::Starting | JobPhase::Preparing => "started",
        JobPhase::Paused | JobPhase::Resuming => "paused",
        JobPhase::Complete => "complete",
        JobPhase::Cancelled => "cancelled",
        JobPhase::Failed => "error",
        JobPhase::Printing | JobPhase::Pausing | JobPhase::Cancelling => "printing",
    }
}

/// What the panels show as the last error: a pause that somebody asked for is none.
fn reason(input: &Input<'_>, stuck: bool) -> String {
    let counts = |fault: &&Fault| stuck || fault.severity > Severity::Info || fault.filament_ran_out();
    let fault = input.state.faults().find(counts).map(Fault::line);
    match input.state.job.phase {
        _ if stuck => fault.or_else(|| input.state.job.detail.clone()).unwrap_or_default(),
        JobPhase::Paused => fault.unwrap_or_default(),
        _ => String::new(),
    }
}

fn drying_state(system: &FilamentSystem, slot: SlotId) -> &'static str {
    let dryer = system.unit_of(slot).and_then(|unit| unit.dryer.as_ref());
    match dryer.map(|dryer| dryer.phase) {
        Some(DryerPhase::Checking) => "queued",
        Some(DryerPhase::Heating | DryerPhase::Drying) => "active",
        Some(DryerPhase::Cooling | DryerPhase::Stopping) => "complete",
        Some(DryerPhase::Error) => "cancelled",
        Some(DryerPhase::Off) | None => "",
    }
}
