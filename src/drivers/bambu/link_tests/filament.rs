//! The filament system: what arrives at the printer, and what its reports show of it.

use serde_json::json;

use super::*;

fn unit_slot(unit: u16, slot: u8) -> SlotId {
    SlotId::Unit { unit, slot }
}

fn dryer_phase(state: &PrinterState, unit: u16) -> Option<DryerPhase> {
    let unit = state.device.filament.units.iter().find(|known| known.id == unit)?;
    unit.dryer.as_ref().map(|dryer| dryer.phase)
}

#[tokio::test(flavor = "multi_thread")]
async fn drying_starts_and_stops() {
    let bench = run(simulator("h2d", |options| options.speed = 10.0).await, |_| {});
    let state = bench.online().await;
    let units = &state.device.filament.units;
    let unit = units.iter().find(|unit| unit.dryer.is_some()).expect("a unit that dries");
    let material = unit.slots.iter().find_map(|slot| slot.filament.as_ref()?.material.clone());
    let (id, request) = (unit.id, DryRequest { temperature: 55.0, hours: 8 });
    let outcome = bench.done(Command::StartDrying { unit: id, request }).await;
    assert_eq!(outcome.seen, Seen::Effect, "the report shows it");
    assert_eq!(
        bench.received("ams_filament_drying"),
        json!({
            "command": "ams_filament_drying", "ams_id": id, "mode": 1,
            "filament": material.unwrap_or_else(|| "PLA".into()), "temp": 55, "duration": 8, "humidity": 0,
            "rotate_tray": true, "cooling_temp": 35, "close_power_conflict": false,
        })
    );
    let state = bench.handle.state();
    let unit = state.device.filament.units.iter().find(|unit| unit.id == id).expect("unit");
    let dryer = unit.dryer.clone().expect("dryer");
    assert!(dryer.remaining_min.is_some_and(|minutes| (400..=480).contains(&minutes)), "{dryer:?}");
    let outcome = bench.done(Command::StopDrying { unit: id }).await;
    assert_eq!(outcome.seen, Seen::Effect);
    assert_eq!(bench.received("ams_filament_drying")["mode"], 0);
    assert_eq!(dryer_phase(&bench.handle.state(), id), Some(DryerPhase::Off));
    // Out of range: refused before anything is sent.
    let hot = Command::StartDrying { unit: id, request: DryRequest { temperature: 95.0, hours: 8 } };
    assert!(matches!(bench.send(hot).await, Err(CommandError::Invalid(_))));
    assert_eq!(bench.received("ams_filament_drying")["mode"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_printer_that_only_pretends_to_dry_is_not_asked() {
    let bench = Bench::start("p1s").await;
    let unit = bench.handle.state().device.filament.units.first().map(|unit| unit.id).expect("unit");
    let request = DryRequest { temperature: 55.0, hours: 8 };
    let refused = bench.send(Command::StartDrying { unit, request }).await;
    assert!(
        matches!(&refused, Err(CommandError::Unsupported(text)) if text.contains("own screen")),
        "{refused:?}"
    );
    assert!(!bench.sim.truth().counters.commands.iter().any(|c| c.command == "ams_filament_drying"));
}

#[tokio::test(flavor = "multi_thread")]
async fn filament_is_loaded_changed_and_unloaded() {
    let bench = Bench::start("p1s").await;
    let loaded = |slot: SlotId| move |state: &PrinterState| state.device.filament.active == Some(slot);
    let idle = |state: &PrinterState| {
        state.device.filament.operation == FilamentOperation::Idle && state.device.activity == Activity::Idle
    };
    for number in [0_u8, 1] {
        let slot = unit_slot(0, number);
        bench.done(Command::LoadFilament(slot)).await;
        assert_eq!(
            bench.received("ams_change_filament"),
            json!({
                "command": "ams_change_filament", "ams_id": 0, "slot_id": number, "target": number,
                "curr_temp": -1, "tar_temp": -1,
            })
        );
        bench.until("loaded", loaded(slot)).await;
        bench.until("idle", idle).await;
    }
    bench.done(Command::UnloadFilament).await;
    let unload = bench.received("ams_change_filament");
    assert_eq!(
        (&unload["ams_id"], &unload["slot_id"], &unload["target"]),
        (&json!(0), &json!(255), &json!(255))
    );
    assert!(unload["tar_temp"].as_i64().is_some_and(|celsius| celsius >= 200), "{unload}");
    bench.until("unloaded", |state| state.device.filament.active.is_none()).await;
    bench.until("idle", idle).await;
    bench.done(Command::LoadFilament(SlotId::External(0))).await;
    let external = bench.received("ams_change_filament");
    assert_eq!(
        (&external["ams_id"], &external["slot_id"], &external["target"]),
        (&json!(255), &json!(254), &json!(254))
    );
    bench.until("external", loaded(SlotId::External(0))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_external_spools_of_two_nozzles_are_loaded() {
    let bench = Bench::start("h2d").await;
    for (tool, fields) in [(0_usize, [255, 0, 255]), (1, [255, 254, 254])] {
        if bench.handle.state().device.active_tool != tool {
            let outcome = bench.done(Command::SelectTool(tool)).await;
            assert_eq!(outcome.seen, Seen::Effect);
            assert_eq!(
                bench.received("select_extruder"),
                json!({"command": "select_extruder", "extruder_index": tool})
            );
        }
        let spool = SlotId::External(tool as u8);
        bench.done(Command::LoadFilament(spool)).await;
        let sent = bench.received("ams_change_filament");
        assert_eq!([&sent["ams_id"], &sent["slot_id"], &sent["target"]].map(Value::as_i64), fields.map(Some));
        bench.until("loaded", |state| state.device.filament.active == Some(spool)).await;
        bench.until("idle", |state| state.device.activity == Activity::Idle).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_read_again() {
    let bench = run(simulator("p1s", |options| options.speed = 2.0).await, |_| {});
    bench.online().await;
    let slot = unit_slot(0, 1);
    let reading = |wanted: bool| {
        move |state: &PrinterState| state.device.filament.slot(slot).is_some_and(|s| s.reading == wanted)
    };
    bench.done(Command::ReadTag(slot)).await;
    assert_eq!(bench.received("ams_get_rfid"), json!({"command": "ams_get_rfid", "ams_id": 0, "slot_id": 1}));
    bench.until("reading", reading(true)).await;
    bench.until("read", reading(false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_described_and_given_a_flow_profile() {
    let bench = Bench::start("x1c").await;
    let known = |slot: SlotId, state: &PrinterState| {
        state.device.filament.slot(slot).and_then(|s| s.filament.clone())
    };
    let slot = loaded(&bench.handle.state()).expect("a spool");
    let edit = SlotEdit {
        material: Some("petg".into()),
        color: Color::parse("00FF00"),
        nozzle_min: Some(230.0),
        nozzle_max: Some(260.0),
        ..SlotEdit::default()
    };
    bench.done(Command::EditSlot { slot, edit: Box::new(edit.clone()) }).await;
    let SlotId::Unit { unit, slot: number } = slot else { panic!("a slot of a unit") };
    let shown = json!({
        "command": "ams_filament_setting", "ams_id": unit, "tray_id": number, "slot_id": number,
        "tray_info_idx": "GFG99", "setting_id": "", "tray_type": "PETG", "tray_color": "00FF00FF",
        "nozzle_temp_min": 230, "nozzle_temp_max": 260,
    });
    assert_eq!(bench.received("ams_filament_setting"), shown);
    bench
        .until("PETG", |state| {
            known(slot, state)
                .is_some_and(|f| f.material.as_deref() == Some("PETG") && f.nozzle_max == Some(260.0))
        })
        .await;
    bench.done(Command::EditSlot { slot: SlotId::External(0), edit: Box::new(edit) }).await;
    let external = bench.received("ams_filament_setting");
    assert_eq!(
        [&external["ams_id"], &external["tray_id"], &external["slot_id"]].map(Value::as_i64),
        [255, 254, 0].map(Some)
    );
    bench.done(Command::SelectFlowProfile { slot, profile: Some(3) }).await;
    assert_eq!(
        bench.received("extrusion_cali_sel"),
        json!({
            "command": "extrusion_cali_sel", "tray_id": u32::from(unit) * 4 + u32::from(number), "cali_idx": 3,
            "filament_id": "GFG99", "nozzle_diameter": "0.4",
        })
    );
    bench.until("profile", |state| known(slot, state).is_some_and(|f| f.flow_profile == Some(3))).await;
    bench.done(Command::SelectFlowProfile { slot, profile: None }).await;
    bench.until("default", |state| known(slot, state).is_some_and(|f| f.flow_profile.is_none())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_change_is_given_up_or_said_to_be_done() {
    let bench = run(simulator("a1", |options| options.speed = 20.0).await, |_| {});
    let state = bench.online().await;
    let slot = loaded(&state).expect("a spool");
    let unasked = bench.send(Command::FilamentAction(FilamentAction::Done)).await;
    assert!(matches!(unasked, Err(CommandError::Invalid(_))), "{unasked:?}");
    for (action, word) in
        [(FilamentAction::Abort, "abort"), (FilamentAction::Reset, "reset"), (FilamentAction::Done, "done")]
    {
        bench.sim.faults().apply(Fault::AmsJam { on: true }).expect("fault");
        let _result = bench.send(Command::LoadFilament(slot)).await;
        let state =
            bench.until("stuck", |state| state.device.filament.operation == FilamentOperation::Stuck).await;
        let told = |fault: &crate::model::Fault| fault.text.contains("tangled") && !fault.actions.is_empty();
        assert!(state.device.faults.iter().any(told), "{:?}", state.device.faults);
        bench.sim.faults().apply(Fault::AmsJam { on: false }).expect("fault");
        bench.done(Command::FilamentAction(action)).await;
        assert_eq!(bench.received("ams_control"), json!({"command": "ams_control", "param": word}));
        // What goes on takes its error with it.
        if action != FilamentAction::Done {
            bench.done(Command::ClearFault { code: None }).await;
        }
        bench.until("free", |state| state.device.filament.operation == FilamentOperation::Idle).await;
    }
}
