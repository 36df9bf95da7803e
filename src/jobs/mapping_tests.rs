use proptest::prelude::*;

use super::*;
use crate::metadata::{FilamentUse, PlateInfo};
use crate::model::{Filament, FilamentUnit};

fn slot(id: SlotId, material: &str, color: &str) -> Slot {
    let filament =
        Filament { material: Some(material.into()), color: Color::parse(color), ..Filament::default() };
    Slot { present: Some(true), filament: Some(filament), ..Slot::empty(id) }
}

fn unit(slots: &[(&str, &str)]) -> FilamentSystem {
    let at = |n: usize| SlotId::Unit { unit: 0, slot: n as u8 };
    let slots = slots.iter().enumerate().map(|(n, (material, color))| slot(at(n), material, color)).collect();
    let unit = FilamentUnit { name: "Unit".into(), slots, ..FilamentUnit::default() };
    FilamentSystem { units: vec![unit], ..FilamentSystem::default() }
}

fn need(index: usize, material: &str, color: &str) -> Used {
    Used { index, material: Some(material.into()), color: Color::parse(color), weight_g: None, tool: None }
}

fn id(slot: u8) -> Option<SlotId> {
    Some(SlotId::Unit { unit: 0, slot })
}

#[test]
fn material_decides_before_colour_and_the_whole_is_nearest() {
    let system = unit(&[("PETG", "FF0000"), ("PLA", "F00000"), ("PLA", "0000FF")]);
    let used = [need(0, "pla", "FF0000"), need(2, "PETG", "00FF00")];
    let mapping = assign(&used, 3, None, &system, true);
    assert_eq!(mapping.slots, [id(1), None, id(0)]);
    assert!(mapping.objections.is_empty());
    assert_eq!(mapping.filaments[1].warning.as_deref(), Some("The colour differs."));
    // The nearest pair first would leave the other filament with the far slot.
    let system = unit(&[("PLA", "000000"), ("PLA", "000014")]);
    let used = [need(0, "PLA", "000005"), need(1, "PLA", "000000")];
    assert_eq!(assign(&used, 2, None, &system, true).slots, [id(1), id(0)]);
}

#[test]
fn a_choice_wins_and_is_checked() {
    let system = unit(&[("PETG", "FF0000"), ("PLA", "FF0000")]);
    let chosen = [id(0)];
    let mapping = assign(&[need(0, "PLA", "FF0000")], 1, Some(&chosen), &system, true);
    assert_eq!((mapping.slots.as_slice(), mapping.objections[0].0.as_str()), (chosen.as_slice(), "filament"));
    let missing = assign(&[need(0, "PLA", "FF0000")], 1, Some(&[id(9)]), &system, true);
    assert_eq!(missing.objections[0].0, "slots");
    let mut empty = system.clone();
    empty.units[0].slots[1].present = Some(false);
    assert_eq!(
        assign(&[need(0, "PLA", "FF0000")], 1, Some(&[id(1)]), &empty, true).objections[0].0,
        "filament"
    );
    assert_eq!(assign(&[need(0, "PLA", "FF0000")], 1, None, &empty, true).objections[0].0, "slots");
}

#[test]
fn a_spool_of_unknown_material_feeds_a_job_only_where_the_units_are_empty() {
    let external = vec![Slot { filament: None, present: None, ..Slot::empty(SlotId::External(0)) }];
    let mut system = FilamentSystem { external, ..unit(&[("PETG", "FF0000"), ("PLA", "0000FF")]) };
    let abs = [need(0, "ABS", "FF0000")];
    assert_eq!(assign(&abs, 1, None, &system, true).objections[0].0, "slots");
    for slot in &mut system.units[0].slots {
        (slot.present, slot.filament) = (Some(false), None);
    }
    let fed = assign(&abs, 1, None, &system, true);
    assert_eq!((fed.slots.as_slice(), fed.objections.len()), ([Some(SlotId::External(0))].as_slice(), 0));
    assert_eq!(fed.filaments[0].warning.as_deref(), Some("What is on this spool is not known."));
    system.external[0] = slot(SlotId::External(0), "PLA", "FFFFFF");
    assert_eq!(assign(&abs, 1, None, &system, true).objections[0].0, "filament");
}

#[test]
fn a_file_that_names_no_filament_takes_what_is_loaded_or_the_only_spool() {
    let unnamed = [Used::default()];
    let mut system = unit(&[("PETG", "FF0000"), ("PLA", "0000FF")]);
    let refused = assign(&unnamed, 1, None, &system, true);
    assert_eq!((refused.slots.as_slice(), refused.objections[0].0.as_str()), ([None].as_slice(), UNMAPPED));
    system.active = id(1);
    let loaded = assign(&unnamed, 1, None, &system, true);
    assert_eq!((loaded.slots.as_slice(), loaded.objections.len()), ([id(1)].as_slice(), 0));
    assert!(loaded.filaments[0].warning.as_ref().is_some_and(|text| text.contains("does not say")));
    system.units[0].slots[1].present = Some(false);
    assert_eq!(assign(&unnamed, 1, None, &system, true).slots, [id(0)], "the only spool that is left");
    system.units[0].slots[0].present = Some(false);
    assert_eq!(assign(&unnamed, 1, None, &system, true).slots, [None]);
    // Two filaments are no guess to make.
    let two = [Used::default(), Used { index: 1, ..Used::default() }];
    system = FilamentSystem { active: id(0), ..unit(&[("PLA", "FF0000")]) };
    assert_eq!(assign(&two, 2, None, &system, true).objections.len(), 2);
}

#[test]
fn without_units_the_one_spool_feeds_one_filament_only() {
    let none = FilamentSystem::default();
    let one = assign(&[need(0, "PLA", "FF0000")], 1, None, &none, true);
    assert_eq!((one.slots, one.objections.len()), (vec![Some(SlotId::External(0))], 0));
    let two = assign(&[need(0, "PLA", "FF0000"), need(1, "PLA", "00FF00")], 2, None, &none, true);
    assert_eq!(two.objections.len(), 2);
    let other = FilamentSystem { external: vec![slot(SlotId::External(0), "ABS", "FFFFFF")], ..none };
    assert_eq!(assign(&[need(0, "PLA", "FF0000")], 1, None, &other, true).objections[0].0, "filament");
}

#[test]
fn a_printer_without_mapping_gets_none() {
    let used = [need(0, "PLA", "FF0000")];
    assert_eq!(assign(&used, 1, None, &FilamentSystem::default(), false).slots, []);
    assert_eq!(assign(&used, 1, Some(&[id(0)]), &FilamentSystem::default(), false).objections[0].0, "slots");
}

#[test]
fn the_array_covers_the_whole_project() {
    let filament =
        FilamentUse { id: 3, kind: Some("PLA".into()), color: Some("#00FF00".into()), ..Default::default() };
    let metadata = FileMetadata {
        filament_types: vec!["ABS".into(), "PETG".into(), "PLA".into(), "PLA".into()],
        plates: vec![PlateInfo { index: 1, filaments: vec![filament], ..PlateInfo::default() }],
        ..FileMetadata::default()
    };
    let (used, count) = used(&metadata, Some(1));
    assert_eq!((used.len(), used[0].index, count), (1, 2, 4));
    let slots = assign(&used, count, None, &unit(&[("PLA", "00FF00")]), true).slots;
    assert_eq!(slots, [None, None, id(0), None]);
}

proptest! {
    #[test]
    fn every_used_filament_has_a_slot_of_its_own_or_an_objection(
        wanted in prop::collection::vec((0_u8..3, any::<u8>()), 1..8),
        held in prop::collection::vec((0_u8..3, any::<u8>(), any::<bool>()), 0..8),
    ) {
        let material = |n: u8| ["PLA", "PETG", "ABS"][usize::from(n)];
        let color = |n: u8| format!("{n:02X}00{:02X}", 255 - n);
        let used: Vec<Used> =
            wanted.iter().enumerate().map(|(i, (m, c))| need(i, material(*m), &color(*c))).collect();
        let mut system = unit(&held.iter().map(|(m, _, _)| (material(*m), "000000")).collect::<Vec<_>>());
        for (slot, (_, c, present)) in system.units[0].slots.iter_mut().zip(&held) {
            slot.filament.as_mut().unwrap().color = Color::parse(&color(*c));
            slot.present = Some(*present);
        }
        let mapping = assign(&used, used.len(), None, &system, true);
        prop_assert_eq!(mapping.slots.len(), used.len());
        let mut seen = Vec::new();
        for (filament, slot) in used.iter().zip(&mapping.slots) {
            match slot {
                Some(id) => {
                    prop_assert!(!seen.contains(id), "a slot feeds one filament");
                    seen.push(*id);
                    let slot = system.slot(*id).unwrap();
                    prop_assert_eq!(slot.present, Some(true));
                    prop_assert_eq!(&slot.filament.as_ref().unwrap().material, &filament.material);
                }
                None => prop_assert!(!mapping.objections.is_empty()),
            }
        }
        let unassigned = mapping.slots.iter().filter(|slot| slot.is_none()).count();
        prop_assert_eq!(unassigned, mapping.objections.len());
    }
}

/// Two units of one slot each, unit 0 on the right nozzle and unit 1 on the left, and a spool for each nozzle.
fn two_nozzles() -> FilamentSystem {
    let fed = |id: u16, tool: usize| {
        let place = SlotId::Unit { unit: id, slot: 0 };
        let one = unit(&[("PLA", "FF0000")]).units.remove(0);
        FilamentUnit { id, slots: vec![slot(place, "PLA", "FF0000")], tool: Some(tool), ..one }
    };
    FilamentSystem {
        units: vec![fed(0, 0), fed(1, 1)],
        external: vec![Slot::empty(SlotId::External(0)), Slot::empty(SlotId::External(1))],
        ..FilamentSystem::default()
    }
}

#[test]
fn a_filament_comes_from_a_slot_of_its_own_nozzle() {
    let system = two_nozzles();
    let printed_by = |tool| [Used { tool, ..need(0, "PLA", "FF0000") }];
    let place = |unit| SlotId::Unit { unit, slot: 0 };
    for (tool, unit) in [(Some(0), 0), (Some(1), 1)] {
        let mapping = assign(&printed_by(tool), 1, None, &system, true);
        assert_eq!((mapping.slots.as_slice(), mapping.objections.len()), ([Some(place(unit))].as_slice(), 0));
        let other = assign(&printed_by(tool), 1, Some(&[Some(place(1 - unit))]), &system, true);
        assert_eq!(other.objections[0].0, "slots");
        assert!(other.objections[0].1.contains("nozzle"), "{}", other.objections[0].1);
        let spool = SlotId::External(1 - unit as u8);
        assert_eq!(
            assign(&printed_by(tool), 1, Some(&[Some(spool)]), &system, true).objections[0].0,
            "slots"
        );
    }
    assert!(assign(&printed_by(None), 1, None, &system, true).objections.is_empty(), "either will do");
    let bare = FilamentSystem { units: Vec::new(), ..two_nozzles() };
    assert_eq!(assign(&printed_by(Some(1)), 1, None, &bare, true).slots, [Some(SlotId::External(1))]);
}

#[test]
fn the_nozzle_of_a_filament_is_that_of_its_group() {
    let metadata = |groups: Vec<usize>, diameters: usize| FileMetadata {
        nozzle_groups: groups,
        nozzle_diameters: vec![0.4; diameters],
        plates: vec![PlateInfo {
            index: 1,
            filaments: vec![FilamentUse { id: 1, nozzle_group: Some(0), ..FilamentUse::default() }],
            ..PlateInfo::default()
        }],
        ..FileMetadata::default()
    };
    let tool = |groups, diameters| used(&metadata(groups, diameters), Some(1)).0[0].tool;
    assert_eq!(tool(vec![1, 0], 2), Some(1));
    assert_eq!(tool(vec![0, 1], 2), Some(0));
    assert_eq!(tool(vec![], 2), Some(1), "the left one");
    assert_eq!(tool(vec![], 1), None);
}
