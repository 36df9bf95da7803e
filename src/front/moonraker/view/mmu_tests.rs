//! The filament objects: of every captured report with a filament system, and of any system at all.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::*;
use crate::drivers::bambu::testing::{Printer, names};
use crate::filament::Choices;
use crate::front::moonraker::klippy::Gate;
use crate::model::*;

static CAPS: LazyLock<Arc<Capabilities>> = LazyLock::new(|| {
    Arc::new(Capabilities {
        vendor: "Acme".into(),
        nozzles: vec![HeaterCaps { max: Some(300.0) }],
        filament: FilamentCaps { load: true, recover: true, dry: true, map: true, ..FilamentCaps::default() },
        ..Capabilities::default()
    })
});

fn seen(state: &PrinterState, choices: &Choices) -> BTreeMap<String, Object> {
    seen_after(state, choices, &mut Kept::default())
}

fn seen_after(state: &PrinterState, choices: &Choices, kept: &mut Kept) -> BTreeMap<String, Object> {
    let input = Input {
        state,
        caps: &CAPS,
        klippy: &Klippy::of(state, &Gate::Open),
        file: None,
        library: Path::new("/lib"),
        filament: choices,
        spoolman: false,
        host: HostLoad::default(),
        extremes: &BTreeMap::new(),
        now: 1300.0,
    };
    let objects = objects(&input, kept);
    objects.into_iter().map(|(name, object)| (name, Object::clone(&object))).collect()
}

fn of(device: Device) -> BTreeMap<String, Object> {
    let mut state = PrinterState { device, ..PrinterState::default() };
    state.link.phase = LinkPhase::Online;
    seen(&state, &Choices::default())
}

/// Names of what this file is about.
fn is_filament(name: &str) -> bool {
    let of_unit = ["temperature_sensor ams", "htu21d ", "heater_generic ams"];
    name.starts_with("mmu") || name.contains("_MMU_") || of_unit.iter().any(|kind| name.starts_with(kind))
}

#[test]
fn every_captured_report_is_seen_through_to_the_panels() {
    let mut with_units = 0;
    for name in names("report-pushall-") {
        let suffix = name.strip_prefix("report-pushall-").unwrap();
        let device = Printer::load(suffix).device();
        let units = device.filament.units.len();
        let objects = of(device);
        assert_eq!(objects.contains_key("mmu"), units > 0, "{suffix}");
        check(&objects);
        if units > 0 {
            with_units += 1;
            let shown: BTreeMap<&String, &Object> =
                objects.iter().filter(|(name, _)| is_filament(name)).collect();
            insta::assert_json_snapshot!(format!("mmu_{suffix}"), shown);
        }
    }
    assert!(with_units >= 12, "only {with_units} reports have a filament system");
}

/// What both panels rely on (moonraker.md 3.5).
fn check(objects: &BTreeMap<String, Object>) {
    let Some(mmu) = objects.get("mmu") else { return };
    let gates = usize::try_from(mmu["num_gates"].as_u64().unwrap()).unwrap();
    for (field, value) in mmu {
        assert_no_null(field, value);
        let per_gate = field.starts_with("gate_")
            || field.starts_with("tool_")
            || ["ttg_map", "endless_spool_groups", "drying_state"].contains(&field.as_str());
        if per_gate {
            assert_eq!(value.as_array().unwrap().len(), gates, "{field}");
        }
    }
    assert!(!mmu.contains_key("encoder"), "null draws an empty one, anything else a wrong one");
    for color in mmu["gate_color"].as_array().unwrap() {
        let color = color.as_str().unwrap();
        assert!(
            color.is_empty() || (color.len() == 6 && color.bytes().all(|b| b.is_ascii_hexdigit())),
            "{color}"
        );
    }
    for gate in
        mmu["ttg_map"].as_array().unwrap().iter().chain(mmu["endless_spool_groups"].as_array().unwrap())
    {
        assert!((gate.as_u64().unwrap() as usize) < gates);
    }
    let machine = &objects["mmu_machine"];
    let units = machine["num_units"].as_u64().unwrap();
    for field in ["gate", "tool"] {
        let value = mmu[field].as_i64().unwrap();
        assert!((-1..gates as i64).contains(&value), "{field} {value}");
    }
    // Happy Hare's KlipperScreen: a unit that there is, and an option without which it draws nothing.
    assert!(mmu["unit"].as_u64().unwrap() < units, "unit {}", mmu["unit"]);
    let section = &objects["configfile"]["config"]["mmu"];
    assert_eq!(section["gate_homing_endstop"], "mmu_gate");
    assert_eq!(section["spoolman_support"], mmu["spoolman_support"]);
    let mut first = 0;
    for number in 0..units {
        let unit = &machine[&format!("unit_{number}")];
        assert_no_null("unit", unit);
        assert_eq!(unit["first_gate"], first);
        first += unit["num_gates"].as_u64().unwrap();
        for sensor in ["environment_sensor", "filament_heater"] {
            if let Some(name) = unit.get(sensor) {
                assert!(objects.contains_key(name.as_str().unwrap()), "{name}");
            }
        }
    }
    assert_eq!(first, gates as u64);
    assert!(objects.contains_key("gcode_macro _MMU_SOFTWARE_VARS"), "Mainsail throws without it");
    let settings = objects["configfile"]["settings"].as_object().unwrap();
    for name in objects.keys().filter(|name| name.starts_with("htu21d ")) {
        let sensor = name.replace("htu21d", "temperature_sensor");
        assert_eq!(settings[&sensor]["sensor_type"], "HTU21D", "{name}");
    }
}

fn assert_no_null(place: &str, value: &Value) {
    match value {
        Value::Null => panic!("{place} is null"),
        Value::Array(items) => items.iter().for_each(|item| assert_no_null(place, item)),
        Value::Object(members) => members.iter().for_each(|(name, member)| assert_no_null(name, member)),
        _ => {}
    }
}

fn slot() -> impl Strategy<Value = Slot> {
    let filament = (
        prop::option::of("[A-Z]{2,5}"),
        prop::option::of(any::<[u8; 4]>()),
        prop::option::of(150.0f64..300.0),
        prop::option::of(150.0f64..300.0),
    )
        .prop_map(|(material, color, nozzle_min, nozzle_max)| Filament {
            material,
            color: color.map(|[r, g, b, a]| Color { r, g, b, a }),
            nozzle_min,
            nozzle_max,
            ..Filament::default()
        });
    (prop::option::of(any::<bool>()), prop::option::of(filament)).prop_map(|(present, filament)| Slot {
        present,
        filament,
        ..Slot::empty(SlotId::External(0))
    })
}

prop_compose! {
    fn system()(
        units in prop::collection::vec(
            (prop::collection::vec(slot(), 0..5), prop::option::of(0.0f64..100.0), prop::option::of(-5.0f64..90.0), any::<bool>()),
            0..5,
        ),
        external in prop::collection::vec(slot(), 0..3),
        pick in 0usize..30, pick_target in 0usize..30,
        operation in 0usize..4,
        groups in prop::collection::vec(prop::collection::vec(0usize..30, 0..4), 0..3),
    ) -> FilamentSystem {
        let mut system = FilamentSystem::default();
        for (number, (slots, humidity, temperature, dries)) in units.into_iter().enumerate() {
            let unit = number as u16;
            let slots = slots.into_iter().enumerate();
            system.units.push(FilamentUnit {
                id: unit,
                name: format!("AMS {}", number + 1),
                slots: slots.map(|(slot, held)| Slot { id: SlotId::Unit { unit, slot: slot as u8 }, ..held }).collect(),
                humidity_percent: humidity,
                temperature,
                dryer: dries.then_some(Dryer { phase: DryerPhase::Drying, remaining_min: None, target: None, max: 65.0, refused: None }),
                ..FilamentUnit::default()
            });
        }
        for (number, held) in external.into_iter().enumerate() {
            system.external.push(Slot { id: SlotId::External(number as u8), ..held });
        }
        let ids: Vec<SlotId> = system.slots().map(|slot| slot.id).collect();
        system.active = ids.get(pick).copied();
        system.target = ids.get(pick_target).copied();
        system.operation = [FilamentOperation::Idle, FilamentOperation::Loading, FilamentOperation::Stuck, FilamentOperation::Purging][operation];
        // Also slots that are not there: a report may come in parts.
        let id = |number: usize| ids.get(number).copied().unwrap_or(SlotId::External(9));
        system.backup_groups = groups.into_iter().map(|group| group.into_iter().map(id).collect()).collect();
        system
    }
}

proptest! {
    #[test]
    fn the_panels_can_rely_on_any_system(
        system in system(),
        tools in prop::collection::vec((0usize..20, 0usize..30, 0u32..9), 0..6),
    ) {
        let mut choices = Choices::default();
        let ids: Vec<SlotId> = system.slots().map(|slot| slot.id).collect();
        for (tool, slot, spool) in tools {
            let id = ids.get(slot).copied().unwrap_or(SlotId::Unit { unit: 200, slot: 0 });
            choices.tools.insert(tool, id);
            choices.assign(id, Some(spool), None);
            choices.selected = Some(id);
        }
        let device = Device { filament: system.clone(), ..Device::default() };
        let mut state = PrinterState { device, ..PrinterState::default() };
        state.link.phase = LinkPhase::Online;
        let objects = seen(&state, &choices);
        check(&objects);
        for (name, lane) in lane_data(&system, &choices) {
            assert_no_null(&name, &lane);
            prop_assert!(lane["lane"].is_string());
        }
    }

    #[test]
    fn what_is_kept_of_a_view_does_not_show_in_the_next(earlier in system(), later in system()) {
        let with = |filament: &FilamentSystem| {
            let device = Device { filament: filament.clone(), ..Device::default() };
            PrinterState { device, ..PrinterState::default() }
        };
        let (mut kept, choices) = (Kept::default(), Choices::default());
        for system in [&earlier, &later, &later] {
            let state = with(system);
            prop_assert_eq!(seen_after(&state, &choices, &mut kept), seen(&state, &choices));
        }
    }
}

/// A unit with one empty slot, and an empty holder outside.
fn small_system() -> FilamentSystem {
    let unit = FilamentUnit {
        name: "AMS 1".into(),
        slots: vec![Slot::empty(SlotId::Unit { unit: 0, slot: 0 })],
        ..FilamentUnit::default()
    };
    let external = vec![Slot::empty(SlotId::External(0))];
    FilamentSystem { units: vec![unit], external, ..FilamentSystem::default() }
}

/// What a web interface lets the user type.
#[test]
fn a_dryer_takes_what_its_product_does() {
    let objects = of(Printer::load("h2d-01.01.02.00-idle-mixed-ams").device());
    let settings = &objects["configfile"]["settings"];
    for (dryer, max) in [("ams_2_dryer", 65.0), ("ams_ht_1_dryer", 85.0)] {
        assert_eq!(settings[&format!("heater_generic {dryer}")]["max_temp"], max, "{dryer}");
    }
}

/// Not every printer tells what a dryer heats to; that it heats is never hidden.
#[test]
fn a_dryer_without_a_target_is_shown_to_heat() {
    let mut device = Printer::load("h2d-01.01.02.00-idle-mixed-ams").device();
    for (told, shown) in [(None, 0.0), (Some(55.0), 55.0)] {
        for unit in &mut device.filament.units {
            if let Some(dryer) = &mut unit.dryer {
                (dryer.phase, dryer.target) = (DryerPhase::Drying, told);
            }
        }
        let objects = of(device.clone());
        let heater = &objects["heater_generic ams_2_dryer"];
        assert_eq!((heater["target"].as_f64(), heater["power"].as_f64()), (Some(shown), Some(1.0)));
        let state = objects["mmu"]["drying_state"].to_string();
        assert!(state.contains("active"), "{state}");
    }
}

#[test]
fn a_stuck_change_waits_for_the_user() {
    let system = FilamentSystem { operation: FilamentOperation::Stuck, ..small_system() };
    let objects = of(Device { filament: system, ..Device::default() });
    assert_eq!(objects["mmu"]["print_state"], "pause_locked");
    assert_eq!(objects["mmu"]["operation"], "Waiting for help");
    assert!(!objects.contains_key("heater_generic ams_1_dryer"), "this unit has no dryer");
    assert!(!objects.contains_key("htu21d ams_1"), "and no sensor");
}

#[test]
fn a_pause_that_somebody_asked_for_is_no_error() {
    let mut state = PrinterState::default();
    state.link.phase = LinkPhase::Online;
    state.device.filament = small_system();
    (state.job.phase, state.job.detail) = (JobPhase::Paused, Some("paused by the user".into()));
    let reason = |state: &PrinterState| seen(state, &Choices::default())["mmu"]["reason_for_pause"].clone();
    assert_eq!(reason(&state), "");
    let fault = Fault {
        since: 1.0,
        ..Fault::new(FaultSource::Job, Severity::Info, "0700_8011", "The print was paused by the user.")
    };
    state.device.faults.push(fault.clone());
    assert_eq!(reason(&state), "");
    state.device.faults.push(Fault {
        severity: Severity::Serious,
        text: "The nozzle is cold.".into(),
        ..fault
    });
    assert!(reason(&state).as_str().is_some_and(|text| text.contains("The nozzle is cold.")));
}
