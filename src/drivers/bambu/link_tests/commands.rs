//! Commands: what arrives at the printer, and what its reports show of it.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_seen_in_the_reports() {
    let bench = Bench::start("x1c").await;
    let wanted = [
        Command::SetNozzle { tool: 0, target: 200.0 },
        Command::SetBed { target: 60.0 },
        Command::SetLight { light: LightId::Chamber, on: false },
        Command::SetSpeed { factor: 1.24 },
    ];
    for command in wanted {
        let outcome = bench.send(command.clone()).await;
        assert_eq!(outcome.map(|outcome| outcome.seen), Ok(Seen::Effect), "{command:?}");
    }
    let home = bench.send(Command::Home(Axes::ALL)).await;
    assert!(home.is_ok(), "{home:?}");
    let gcode = bench.send(Command::Gcode(vec!["M106 P1 S255".into(), "G4 S1".into()])).await;
    assert_eq!(gcode.map(|outcome| outcome.seen), Ok(Seen::Effect), "the marker came back");
    bench
        .until("fan", |state| state.device.fans.get(&FanId::Part).is_some_and(|fan| fan.speed == Some(1.0)))
        .await;
    assert_eq!(bench.sim.truth().counters.partial_homings, 0);
    let refresh = bench.send(Command::Refresh).await.expect("refresh");
    assert!(refresh.note.is_some(), "asked for only at the start");
    assert_eq!(bench.sim.truth().counters.pushalls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_model_is_asked_what_is_homed() {
    let bench = Bench::start("p1s").await;
    let homed =
        |state: &PrinterState| state.device.motion.homed.is_some_and(|homed| homed.x && homed.y && homed.z);
    assert!(!homed(&bench.handle.state()));
    for target in [60.0, 0.0] {
        bench.send(Command::SetNozzle { tool: 0, target }).await.expect("target");
    }
    bench.send(Command::Home(Axes::ALL)).await.expect("home");
    bench.until("homed", homed).await;
    bench.send(Command::MotorsOff).await.expect("motors off");
    bench.until("not homed", |state| !homed(state)).await;
    // By now the first target would have been asked for again, had the second not taken its place.
    let sent = bench.sim.truth().counters.gcode;
    assert!(!sent.iter().any(|line| line.contains("M109")), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn filament_and_door_are_followed() {
    let bench = run(simulator("x1c", |options| options.speed = 20.0).await, |_| {});
    let slot = loaded(&*bench.online().await).expect("a spool");
    let faults = bench.sim.faults();
    faults.apply(Fault::Door { open: true }).expect("fault");
    bench.until("door", |state| state.device.door_open == Some(true)).await;
    faults.apply(Fault::Door { open: false }).expect("fault");
    bench.until("door", |state| state.device.door_open == Some(false)).await;
    bench.send(Command::LoadFilament(slot)).await.expect("load");
    bench.until("loaded", |state| state.device.filament.active == Some(slot)).await;
    bench.until("idle", |state| state.device.filament.operation == FilamentOperation::Idle).await;
    bench.send(Command::UnloadFilament).await.expect("unload");
    bench.until("unloaded", |state| state.device.filament.active.is_none()).await;
    bench.until("idle", |state| state.device.activity == Activity::Idle).await;
    faults.apply(Fault::AmsJam { on: true }).expect("fault");
    let _result = bench.send(Command::LoadFilament(slot)).await;
    bench.until("stuck", |state| state.device.filament.operation == FilamentOperation::Stuck).await;
    faults.apply(Fault::AmsJam { on: false }).expect("fault");
    let red = SlotEdit { material: Some("PLA".into()), color: Color::parse("FF0000"), ..SlotEdit::default() };
    bench.send(Command::FilamentAction(FilamentAction::Resume)).await.expect("retry");
    bench.until("free", |state| state.device.filament.operation == FilamentOperation::Idle).await;
    bench.send(Command::EditSlot { slot, edit: Box::new(red) }).await.expect("edit");
    bench
        .until("red", |state| {
            let filament = state.device.filament.slot(slot).and_then(|slot| slot.filament.clone());
            filament.is_some_and(|filament| filament.color == Color::parse("FF0000"))
        })
        .await;
}
