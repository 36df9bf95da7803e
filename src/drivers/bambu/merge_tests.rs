use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::drivers::bambu::testing::{Printer, bytes, names, state};
use crate::drivers::bambu::wire::{Incoming, parse};

fn delta(value: Value) -> StateFields {
    let Value::Object(fields) = value else { panic!("an object") };
    StateFields { fields, extent: Extent::Delta }
}

fn suffixes() -> Vec<String> {
    names("report-pushall-")
        .iter()
        .map(|name| name.trim_start_matches("report-pushall-").to_owned())
        .collect()
}

#[test]
fn answers_change_nothing() {
    for name in names("ack-") {
        let parts = parse(&bytes(&name)).expect("json");
        let answers = parts.iter().filter(|part| matches!(part, Incoming::Ack(_))).count();
        assert_eq!((answers, answers > 0), (parts.len(), true), "{name} is an answer, not state");
    }
}

#[test]
fn a_new_spool_inherits_nothing() {
    let mut printer = Printer::load("p2s-01.01.00.00-running");
    printer
        .reports
        .merge(&delta(json!({"ams": {"ams": [{"id": "0", "tray": [{"id": "1", "tray_type": "ABS"}]}]}})));
    let slot = printer.device().filament.units[0].slots[1].clone();
    let filament = slot.filament.expect("filament");
    assert_eq!((filament.material.as_deref(), filament.color, filament.profile), (Some("ABS"), None, None));
}

#[test]
fn a_later_full_report_removes_units_and_a_reconnect_replaces_all() {
    let mut printer = Printer::load("h2d-01.01.02.00-idle-mixed-ams");
    let mut full = state("report-pushall-h2d-01.01.02.00-idle-mixed-ams");
    let Some(Value::Array(units)) = full.fields.get_mut("ams").and_then(|ams| ams.get_mut("ams")) else {
        panic!()
    };
    units.pop();
    printer.reports.merge(&full);
    assert_eq!(printer.device().filament.units.len(), 2);
    printer.reports.await_full();
    assert_eq!(printer.device().filament.units.len(), 2, "shown until the next full report");
    printer.reports.merge(&state("report-pushall-p1p-01.08.02.00-finish-noams"));
    assert!(printer.device().filament.units.is_empty());
    assert!(at(printer.reports.tree(), "/device").is_null());
}

#[test]
fn plain_temperatures_win_over_older_packed_ones() {
    let mut printer = Printer::load("x1c-01.09.00.01-finish-4ams");
    printer.reports.merge(&delta(json!({"nozzle_temper": 31.0, "bed_temper": 33.0})));
    let device = printer.device();
    assert_eq!((device.nozzles[0].heater.actual, device.bed.actual), (Some(31.0), Some(33.0)));
    assert_eq!(device.chamber.actual, Some(25.0));
}

/// A full report tells both; deltas of some printers tell the plain ones alone, which are those of the nozzle in use.
#[test]
fn plain_temperatures_are_those_of_the_nozzle_in_use() {
    let mut printer = Printer::load("h2d-01.01.02.08-running-extspool-6ams");
    let before = printer.device();
    let (active, other) = (before.active_tool, 1 - before.active_tool);
    printer.reports.merge(&delta(json!({"nozzle_temper": 171.4, "mc_percent": 3})));
    let device = printer.device();
    assert_eq!(device.nozzles[active].heater.actual, Some(171.0));
    assert_eq!(device.nozzles[active].heater.target, before.nozzles[active].heater.target);
    printer.reports.merge(&delta(json!({"nozzle_target_temper": "225"})));
    let device = printer.device();
    assert_eq!(
        (device.nozzles[active].heater.actual, device.nozzles[active].heater.target),
        (Some(171.0), Some(225.0))
    );
    assert_eq!(device.nozzles[other].heater, before.nozzles[other].heater);
    let packed = json!({"device": {"extruder": {"info": [{"id": active, "temp": (230 << 16) + 229}]}}, "nozzle_temper": 1});
    printer.reports.merge(&delta(packed));
    assert_eq!(
        printer.device().nozzles[active].heater.actual,
        Some(229.0),
        "the packed one of the same report counts"
    );
}

#[test]
fn storage_must_change_twice() {
    let mut printer = Printer::load("p1s-finish-ams2pro");
    let gone = delta(json!({"sdcard": false}));
    printer.reports.merge(&gone);
    assert_eq!(printer.device().storage.present, Some(true));
    printer.reports.merge(&gone);
    assert_eq!(printer.device().storage.present, Some(false));
}

#[test]
fn trouble_with_the_storage_must_be_told_twice() {
    let mut printer = Printer::load("p1s-finish-ams2pro");
    let flag = |condition: u32| delta(json!({"home_flag": condition << 8}));
    for report in [flag(1), flag(3), flag(1), flag(3)] {
        printer.reports.merge(&report);
        assert_eq!(printer.device().storage.trouble, None, "it flaps");
    }
    printer.reports.merge(&flag(3));
    assert!(printer.device().storage.trouble.is_some_and(|text| text.contains("write-protected")));
}

#[test]
fn a_new_spool_at_the_external_holder_inherits_nothing() {
    let mut printer = Printer::load("p1s-finish-ams2pro");
    printer
        .reports
        .merge(&delta(json!({"vt_tray": {"id": "254", "tray_type": "PLA", "tray_color": "FF0000FF"}})));
    printer.reports.merge(&delta(json!({"vt_tray": {"id": "254", "remain": 50}})));
    assert_eq!(at(printer.reports.tree(), "/vt_tray/tray_color"), "FF0000FF", "the same spool");
    printer.reports.merge(&delta(json!({"vt_tray": {"id": "254", "tray_type": "PETG"}})));
    assert_eq!(at(printer.reports.tree(), "/vt_tray"), &json!({"id": "254", "tray_type": "PETG"}));
}

#[test]
fn every_delta_on_every_full_report_leaves_a_valid_state() {
    for suffix in suffixes() {
        for name in names("delta-") {
            let mut printer = Printer::load(&suffix);
            printer.reports.merge(&state(&name));
            let device = printer.device();
            assert_eq!(device.nozzles.len(), printer.row.nozzles, "{suffix} {name}");
            assert!(device.active_tool < device.nozzles.len(), "{suffix} {name}");
            let once = printer.reports.tree().clone();
            printer.reports.merge(&state(&name));
            assert_eq!(&once, printer.reports.tree(), "{suffix} {name}: repeating changes nothing");
        }
    }
}

/// A value of a kind that the field does not have.
fn hostile() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(Value::from("")),
        Just(Value::from("-90dBm")),
        Just(Value::from("FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF")),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("id|tray|tray_type|info|temp|state|[a-z]{1,4}", inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// All paths to a field of the tree, as JSON pointers.
fn pointers(value: &Value, path: String, out: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => return,
    };
    for (key, child) in children {
        let path = format!("{path}/{key}");
        out.push(path.clone());
        pointers(child, path, out);
    }
}

/// Merges the deltas with and without a look in between, and the last of them twice.
fn merges_the_same_way(suffix: &str, order: &[String]) {
    let mut stepwise = Printer::load(suffix);
    for name in order {
        stepwise.reports.merge(&state(name));
        // Looking in between must not matter: the state is a function of the tree.
        let _between = stepwise.device();
    }
    let mut at_once = Printer::load(suffix);
    order.iter().for_each(|name| at_once.reports.merge(&state(name)));
    assert_eq!(stepwise.device(), at_once.device());
    // An immediately repeated delta changes nothing.
    if let Some(last) = order.last() {
        let before = at_once.device();
        at_once.reports.merge(&state(last));
        assert_eq!(before, at_once.device());
    }
}

/// Once found by the property below.
#[test]
fn slots_that_come_after_their_unit_went_merge_the_same_way() {
    let partial = || "delta-ams-h2-partial-tray".to_owned();
    let order = ["delta-ams-shutdown".to_owned(), partial(), partial(), partial()];
    merges_the_same_way("a1-01.05.00.00-idle", &order);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_deltas_equals_merging_them_in_order(
        suffix in prop::sample::select(suffixes()),
        order in prop::collection::vec(prop::sample::select(names("delta-")), 0..12),
    ) {
        merges_the_same_way(&suffix, &order);
    }

    #[test]
    fn the_last_word_on_a_field_stays(
        suffix in prop::sample::select(suffixes()),
        order in prop::collection::vec(prop::sample::select(names("delta-")), 1..12),
    ) {
        let mut printer = Printer::load(&suffix);
        let plain = |value: &Value| !value.is_null() && !value.is_object() && !value.is_array();
        let mut last = std::collections::BTreeMap::new();
        for name in &order {
            let delta = state(name);
            let known = printer.reports.tree();
            // A scalar never takes the place of a block.
            let fits = |key: &str| known.get(key).is_none_or(|known| plain(known) || known.is_null());
            let said = delta.fields.iter().filter(|(key, value)| plain(value) && fits(key));
            last.extend(said.map(|(key, value)| (key.clone(), value.clone())));
            printer.reports.merge(&delta);
        }
        for (key, value) in last {
            prop_assert_eq!(printer.reports.tree().get(&key), Some(&value), "{}", key);
        }
    }

    #[test]
    fn deltas_of_different_fields_may_come_in_any_order(
        suffix in prop::sample::select(suffixes()),
        mut order in prop::collection::vec(prop::sample::select(names("delta-")), 2..8),
        seed in any::<prop::sample::Index>(),
    ) {
        let mut taken = std::collections::BTreeSet::new();
        order.retain(|name| {
            // A plain temperature takes the place of its packed twin in `device`: the two are one field.
            let field = |key: &String| if key.ends_with("_temper") { "device".to_owned() } else { key.clone() };
            let keys: std::collections::BTreeSet<String> = state(name).fields.keys().map(field).collect();
            let free = keys.iter().all(|key| !taken.contains(key));
            if free {
                taken.extend(keys);
            }
            free
        });
        let merged = |order: &[String]| {
            let mut printer = Printer::load(&suffix);
            order.iter().for_each(|name| printer.reports.merge(&state(name)));
            printer.reports.tree().clone()
        };
        let mut turned = order.clone();
        turned.rotate_left(seed.index(order.len()));
        turned.reverse();
        prop_assert_eq!(merged(&order), merged(&turned));
    }

    #[test]
    fn a_damaged_field_never_takes_the_report_with_it(
        suffix in prop::sample::select(suffixes()),
        pick in any::<prop::sample::Index>(),
        value in hostile(),
    ) {
        let mut full = state(&format!("report-pushall-{suffix}"));
        let mut tree = Value::Object(full.fields.clone());
        let mut all = Vec::new();
        pointers(&tree, String::new(), &mut all);
        let path = pick.get(&all).clone();
        *tree.pointer_mut(&path).expect("path") = value;
        let Value::Object(fields) = tree else { panic!() };
        full.fields = fields;
        let intact = Printer::load(&suffix);
        let mut printer = Printer { reports: Reports::default(), ..intact.clone() };
        printer.reports.merge(&full);
        let (device, whole) = (printer.device(), intact.device());
        let top = path.split('/').nth(1).unwrap_or_default();
        if top != "device" && !top.starts_with("nozzle") {
            prop_assert_eq!(device.nozzles.iter().map(|n| n.heater).collect::<Vec<_>>(),
                whole.nozzles.iter().map(|n| n.heater).collect::<Vec<_>>());
        }
        if !top.starts_with("gcode_state") && !top.contains("err") && !top.contains("reason") && top != "hms" {
            prop_assert_eq!(device.job.stage, whole.job.stage);
        }
        if top != "ams" && top != "device" {
            prop_assert_eq!(&device.filament.active, &whole.filament.active);
        }
        // As a delta on an intact state it may not do more.
        let mut later = intact.clone();
        full.extent = Extent::Delta;
        later.reports.merge(&full);
        let _valid = later.device();
    }

    #[test]
    fn no_payload_breaks_the_reader(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let _any = parse(&payload);
    }

    #[test]
    fn a_broken_byte_is_survived(
        name in prop::sample::select(names("report-")),
        index in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut payload = bytes(&name);
        let at = index.index(payload.len());
        payload[at] = byte;
        if let Ok(parts) = parse(&payload) {
            for part in parts {
                if let Incoming::State(fields) = part {
                    let mut printer = Printer::load("p1s-finish-ams2pro");
                    printer.reports.merge(&fields);
                    let _valid = printer.device();
                }
            }
        }
    }
}
