//! Which slot feeds which filament of a job (pure).
//!
//! What the user chose wins. The rest is matched by material and then by the distance of the colours, each slot once.
//! A filament that finds no slot is an objection, never a guess: printers take an unmapped filament for something else
//! than it is (bambu.md 4.5, rule 1).

use super::MappedFilament;
use super::plan::UNMAPPED;
use crate::metadata::FileMetadata;
use crate::model::{Color, FilamentSystem, Slot, SlotId};

/// RGB distance from which colours are told to differ (of 442 at most).
const OTHER_COLOR: f64 = 80.0;
/// Assumed distance where one of the two colours is unknown.
const UNKNOWN_COLOR: f64 = 150.0;
/// A spool outside the units is taken after an equal one inside.
const EXTERNAL_PENALTY: f64 = 1.0;
/// Filaments of one project; slicers offer far fewer.
const MAX_FILAMENTS: usize = 256;

/// A filament the job uses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Used {
    /// Number in the project, from 0.
    pub index: usize,
    pub material: Option<String>,
    pub color: Option<Color>,
    pub weight_g: Option<f64>,
    /// The nozzle that prints it, on printers with several.
    pub tool: Option<usize>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mapping {
    /// For each filament of the project; empty where the printer takes no mapping.
    pub slots: Vec<Option<SlotId>>,
    pub filaments: Vec<MappedFilament>,
    pub objections: Vec<(String, String)>,
}

/// The filaments that a plate uses, and how many the project has.
pub fn used(metadata: &FileMetadata, plate: Option<u32>) -> (Vec<Used>, usize) {
    let plates = &metadata.plates;
    let info = plate.and_then(|plate| metadata.plate(plate)).or_else(|| plates.first());
    let color = |text: Option<&String>| text.and_then(|text| Color::parse(text));
    let project = metadata.filament_types.len().max(metadata.filament_colors.len());
    let mut list: Vec<Used> = info
        .iter()
        .flat_map(|info| &info.filaments)
        .filter_map(|filament| {
            let index = (filament.id as usize).checked_sub(1).filter(|index| *index < MAX_FILAMENTS)?;
            Some(Used {
                index,
                material: filament.kind.clone().or_else(|| metadata.filament_types.get(index).cloned()),
                color: color(filament.color.as_ref().or_else(|| metadata.filament_colors.get(index))),
                weight_g: filament.used_g,
                tool: filament.nozzle_group.and_then(|group| tool(metadata, group)),
            })
        })
        .collect();
    if list.is_empty() {
        let tools = &metadata.referenced_tools;
        let all = || (0..project.min(MAX_FILAMENTS)).collect::<Vec<_>>();
        let named = || tools.iter().map(|tool| *tool as usize).filter(|tool| *tool < MAX_FILAMENTS).collect();
        let indexes: Vec<usize> = match (tools.is_empty(), project) {
            (false, _) => named(),
            (true, 0) => vec![0],
            // Old headers name all filaments of the project but not those in use: weights tell, else all are.
            (true, _) => {
                let weighty =
                    |index: &usize| metadata.filament_weights.get(*index).is_none_or(|grams| *grams > 0.0);
                all().into_iter().filter(weighty).collect()
            }
        };
        list = indexes
            .into_iter()
            .map(|index| Used {
                index,
                material: metadata.filament_types.get(index).cloned(),
                color: color(metadata.filament_colors.get(index)),
                weight_g: metadata.filament_weights.get(index).copied(),
                tool: None,
            })
            .collect();
    }
    list.sort_by_key(|used| used.index);
    list.dedup_by_key(|used| used.index);
    let count = list.iter().map(|used| used.index + 1).max().unwrap_or(0).max(project.min(MAX_FILAMENTS));
    (list, count)
}

/// The tool of a nozzle group; where the file does not map them, group 0 is the left nozzle, which is tool 1, as on every
/// printer with two (bambu.md 5.6).
fn tool(metadata: &FileMetadata, group: u32) -> Option<usize> {
    let group = usize::try_from(group).ok()?;
    match (metadata.nozzle_groups.as_slice(), metadata.nozzle_diameters.len()) {
        ([], 2) => 1_usize.checked_sub(group),
        (map, _) => map.get(group).copied(),
    }
}

/// The nozzle that a slot feeds; `None` where it can be any, or there is only one.
fn fed_by(id: SlotId, system: &FilamentSystem) -> Option<usize> {
    match id {
        SlotId::Unit { unit, .. } => system.units.iter().find(|known| known.id == unit)?.tool,
        SlotId::External(number) => (system.external.len() > 1).then_some(usize::from(number)),
    }
}

fn reaches(used: &Used, id: SlotId, system: &FilamentSystem) -> bool {
    used.tool.zip(fed_by(id, system)).is_none_or(|(wanted, fed)| wanted == fed)
}

/// Assigns a slot to every used filament, or says what is missing.
pub fn assign(
    used: &[Used],
    count: usize,
    chosen: Option<&[Option<SlotId>]>,
    system: &FilamentSystem,
    can_map: bool,
) -> Mapping {
    let mut mapping = Mapping::default();
    if !can_map {
        mapping.filaments = used.iter().map(|used| told(used, None, None)).collect();
        if chosen.is_some_and(|chosen| chosen.iter().any(Option::is_some)) {
            mapping.objections.push(objection(
                "slots",
                "This printer does not let a job choose its slots: start it without them.".to_owned(),
            ));
        }
        return mapping;
    }
    let chosen_for = |used: &Used| chosen.and_then(|chosen| chosen.get(used.index).copied()).flatten();
    let taken: Vec<SlotId> = used.iter().filter_map(chosen_for).collect();
    let open: Vec<&Used> = used.iter().filter(|used| chosen_for(used).is_none()).collect();
    let free: Vec<&Slot> = system.slots().filter(|slot| !taken.contains(&slot.id)).collect();
    let matched = if system.units.is_empty() || only_external_is_left(system) {
        only_external(&open, &taken, system)
    } else if let Some(fed) = unnamed(&open, &free, system) {
        vec![fed]
    } else {
        best(&open, &free, system)
    };
    mapping.slots = vec![None; count];
    for filament in used {
        let slot = chosen_for(filament)
            .or_else(|| matched.iter().find(|(i, _)| *i == filament.index).map(|(_, s)| *s));
        mapping.filaments.push(told(filament, slot, slot.and_then(|slot| system.slot(slot))));
        match slot {
            Some(id) => {
                mapping.objections.extend(against(filament, id, system, chosen_for(filament).is_some()))
            }
            None => mapping.objections.push(nothing_fits(filament, system)),
        }
        if let Some(place) = mapping.slots.get_mut(filament.index) {
            *place = slot;
        }
    }
    mapping
}

/// Every slot of the units is empty, and the printer has a place for a spool outside them.
fn only_external_is_left(system: &FilamentSystem) -> bool {
    let mut slots = system.units.iter().flat_map(|unit| &unit.slots);
    !system.external.is_empty() && slots.all(|slot| slot.present == Some(false))
}

/// Without filament in a unit there is one spool for each nozzle: it feeds the job, if the job needs one filament only.
fn only_external(open: &[&Used], taken: &[SlotId], system: &FilamentSystem) -> Vec<(usize, SlotId)> {
    match open {
        [one] if taken.is_empty() => {
            let reached = system.external.iter().find(|slot| reaches(one, slot.id, system));
            vec![(one.index, reached.map_or(SlotId::External(0), |slot| slot.id))]
        }
        _ => {
            let free: Vec<&Slot> = system.external.iter().collect();
            best(open, &free, system).into_iter().filter(|(_, slot)| !taken.contains(slot)).collect()
        }
    }
}

/// The one filament of a file that does not name it comes from the loaded slot, as it would on a printer without slots,
/// or from the only spool there is.
fn unnamed(open: &[&Used], free: &[&Slot], system: &FilamentSystem) -> Option<(usize, SlotId)> {
    let [one] = open else { return None };
    if one.material.is_some() {
        return None;
    }
    let usable = || free.iter().filter(|slot| slot.present != Some(false) && reaches(one, slot.id, system));
    let loaded = usable().find(|slot| system.active == Some(slot.id));
    let mut spools = usable().filter(|slot| slot.filament.is_some());
    let only = || spools.next().filter(|_| spools.next().is_none());
    loaded.or_else(only).map(|slot| (one.index, slot.id))
}

/// Each filament to a slot of its material, each slot once, the colours as near as can be: the nearest pairs first,
/// then exchanged and moved as long as that brings the whole nearer.
fn best(open: &[&Used], free: &[&Slot], system: &FilamentSystem) -> Vec<(usize, SlotId)> {
    let cost = |used: &Used, slot: &Slot| cost(used, slot).filter(|_| reaches(used, slot.id, system));
    let mut pairs: Vec<(f64, &Used, &Slot)> = open
        .iter()
        .flat_map(|used| free.iter().filter_map(|slot| Some((cost(used, slot)?, *used, *slot))))
        .collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut assigned: Vec<(&Used, &Slot)> = Vec::new();
    for (_, used, slot) in pairs {
        if !assigned.iter().any(|(u, s)| u.index == used.index || s.id == slot.id) {
            assigned.push((used, slot));
        }
    }
    while improve(&mut assigned, free, &cost) {}
    assigned.into_iter().map(|(used, slot)| (used.index, slot.id)).collect()
}

/// One exchange or move that brings the colours nearer; false when there is none.
fn improve<'a>(
    assigned: &mut [(&Used, &'a Slot)],
    free: &[&'a Slot],
    cost: &impl Fn(&Used, &Slot) -> Option<f64>,
) -> bool {
    const GAIN: f64 = 1e-6;
    for a in 0..assigned.len() {
        let Some(&(used, slot)) = assigned.get(a) else { return false };
        let now = cost(used, slot).unwrap_or(f64::INFINITY);
        for other in free {
            let holder = assigned.iter().position(|(_, s)| s.id == other.id);
            let Some(new) = cost(used, other) else { continue };
            match holder {
                None if new + GAIN < now => {
                    if let Some(place) = assigned.get_mut(a) {
                        place.1 = other;
                    }
                    return true;
                }
                Some(b) if b != a => {
                    let Some(&(other_used, _)) = assigned.get(b) else { continue };
                    let (Some(back), old) = (cost(other_used, slot), cost(other_used, other)) else {
                        continue;
                    };
                    if new + back + GAIN < now + old.unwrap_or(f64::INFINITY) {
                        if let Some(place) = assigned.get_mut(a) {
                            place.1 = other;
                        }
                        if let Some(place) = assigned.get_mut(b) {
                            place.1 = slot;
                        }
                        return true;
                    }
                }
                _ => {}
            }
        }
    }
    false
}

/// `None` where the slot cannot feed the filament.
fn cost(used: &Used, slot: &Slot) -> Option<f64> {
    if slot.present == Some(false) {
        return None;
    }
    let filament = slot.filament.as_ref()?;
    if !same_material(used.material.as_deref()?, filament.material.as_deref()?) {
        return None;
    }
    let penalty = if matches!(slot.id, SlotId::External(_)) { EXTERNAL_PENALTY } else { 0.0 };
    Some(color_distance(used, slot).unwrap_or(UNKNOWN_COLOR) + penalty)
}

fn color_distance(used: &Used, slot: &Slot) -> Option<f64> {
    Some(used.color?.distance(slot.filament.as_ref()?.color?))
}

fn same_material(a: &str, b: &str) -> bool {
    let plain = |text: &str| text.trim().to_uppercase().replace([' ', '_'], "-");
    plain(a) == plain(b)
}

fn objection(code: &str, text: String) -> (String, String) {
    (code.to_owned(), text)
}

fn describe(used: &Used) -> String {
    let material = used.material.as_deref().unwrap_or("unknown material");
    let color = used.color.map(|color| format!(", #{}", color.rgb_hex())).unwrap_or_default();
    format!("Filament {} ({material}{color})", used.index + 1)
}

fn slot_text(slot: &Slot) -> String {
    let Some(filament) = slot.filament.as_ref().filter(|_| slot.present != Some(false)) else {
        return if slot.present == Some(false) { "empty" } else { "unknown filament" }.to_owned();
    };
    let name = filament.name.as_deref().or(filament.material.as_deref()).unwrap_or("unknown filament");
    let color = filament.color.map(|color| format!(" #{}", color.rgb_hex())).unwrap_or_default();
    format!("{name}{color}")
}

fn told(used: &Used, id: Option<SlotId>, slot: Option<&Slot>) -> MappedFilament {
    let far = slot.and_then(|slot| color_distance(used, slot)).filter(|distance| *distance > OTHER_COLOR);
    let unknown = slot.is_some_and(|slot| slot.present != Some(false) && slot.filament.is_none());
    MappedFilament {
        index: used.index,
        material: used.material.clone(),
        color: used.color.map(Color::rgb_hex),
        weight_g: used.weight_g,
        slot: id,
        slot_text: slot.map(slot_text),
        warning: if far.is_some() {
            Some("The colour differs.".to_owned())
        } else if unknown {
            Some("What is on this spool is not known.".to_owned())
        } else {
            let unnamed = slot.is_some() && used.material.is_none();
            unnamed.then(|| "The file does not say which filament it was sliced for.".to_owned())
        },
    }
}

fn against(used: &Used, id: SlotId, system: &FilamentSystem, chosen: bool) -> Option<(String, String)> {
    let Some(slot) = system.slot(id) else {
        let known = matches!(id, SlotId::External(0));
        let text = format!("{} was given slot {id}, which this printer does not have.", describe(used));
        return (!known).then(|| objection("slots", text));
    };
    if !reaches(used, id, system) {
        let nozzle = |tool: Option<usize>| if tool == Some(0) { "right" } else { "left" };
        let text = format!(
            "{} is printed with the {} nozzle, and slot {id} feeds the {} one: choose a slot of the other nozzle.",
            describe(used),
            nozzle(used.tool),
            nozzle(fed_by(id, system))
        );
        return Some(objection("slots", text));
    }
    if slot.present == Some(false) {
        let text = format!(
            "{} is to come from slot {id}, which is empty: load it or choose another.",
            describe(used)
        );
        return Some(objection("filament", text));
    }
    let held = slot.filament.as_ref().and_then(|filament| filament.material.as_deref())?;
    let wanted = used.material.as_deref()?;
    if same_material(wanted, held) {
        return None;
    }
    let choose = if chosen { "choose another slot" } else { "change the spool" };
    let text = format!(
        "{} is to come from slot {id}, which holds {held}: {choose}, or override \"filament\".",
        describe(used)
    );
    Some(objection("filament", text))
}

fn nothing_fits(used: &Used, system: &FilamentSystem) -> (String, String) {
    let slots: Vec<String> = system.slots().map(|slot| format!("{}: {}", slot.id, slot_text(slot))).collect();
    let there = if slots.is_empty() { "no slots".to_owned() } else { slots.join("; ") };
    if used.material.is_none() {
        let reached = |slot: &&Slot| slot.present != Some(false) && reaches(used, slot.id, system);
        let why = match system.slots().filter(reached).count() {
            0 => "and none is loaded that could feed it",
            _ => "so nobody but you can tell which of those that are loaded is to feed it",
        };
        let text = "The file does not say which filament it was sliced for,";
        return objection(UNMAPPED, format!("{text} {why}. The printer has {there}."));
    }
    let filament = describe(used);
    let text = "finds no free slot of its material. The printer has";
    objection("slots", format!("{filament} {text} {there}. Load it, or choose a slot."))
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
