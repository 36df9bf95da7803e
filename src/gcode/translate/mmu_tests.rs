//! The words of the filament panels as tables: what Mainsail and Fluidd send, and what it means.

use super::super::tests::every_filament_ability;
use super::super::{Context, FilamentWord, Intent, JobWord, Session, help, translate};
use crate::gcode::parse;
use crate::model::*;

const GATE: fn(u8) -> SlotId = |slot| SlotId::Unit { unit: 0, slot };

fn state() -> PrinterState {
    let mut state = PrinterState::default();
    let pla = Filament { material: Some("PLA".into()), color: Color::parse("FF0000"), ..Filament::default() };
    let slot = |number: u8| Slot {
        filament: Some(pla.clone()),
        present: Some(number != 3),
        ..Slot::empty(GATE(number))
    };
    state.device.filament.units.push(FilamentUnit {
        name: "AMS 1".into(),
        slots: (0..4).map(slot).collect(),
        dryer: Some(Dryer {
            phase: DryerPhase::Off,
            remaining_min: None,
            target: None,
            max: 65.0,
            refused: None,
        }),
        ..FilamentUnit::default()
    });
    state.device.filament.external.push(Slot::empty(SlotId::External(0)));
    state
}

fn able() -> Capabilities {
    let filament = every_filament_ability();
    Capabilities { nozzles: vec![HeaterCaps { max: Some(300.0) }], filament, ..Capabilities::default() }
}

fn said(text: &str, state: &PrinterState, caps: &Capabilities) -> Intent {
    let line = parse(text.as_bytes()).unwrap();
    translate(&line, &mut Session::default(), Context { state, caps })
}

fn words(text: &str) -> Vec<FilamentWord> {
    match said(text, &state(), &able()) {
        Intent::Filament(words) => words,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn what_the_panels_send_is_understood() {
    use FilamentWord::*;
    let dry = |temperature, hours| {
        Send(Command::StartDrying { unit: 0, request: DryRequest { temperature, hours } })
    };
    let read = |slot| Send(Command::ReadTag(GATE(slot)));
    let spool = |slot, spool| Spool { slot: GATE(slot), spool };
    let table: Vec<(&str, Vec<FilamentWord>)> = vec![
        ("MMU_SELECT GATE=2", vec![Select(GATE(2))]),
        ("MMU_SELECT TOOL=1", vec![SelectTool(1)]),
        ("MMU_SELECT BYPASS=1", vec![Select(SlotId::External(0))]),
        ("MMU_LOAD", vec![LoadSelected]),
        ("MMU_LOAD GATE=4", vec![Send(Command::LoadFilament(SlotId::External(0)))]),
        ("MMU_UNLOAD", vec![Send(Command::UnloadFilament)]),
        ("MMU_EJECT", vec![Send(Command::UnloadFilament)]),
        ("MMU_CHANGE_TOOL TOOL=3", vec![ChangeTool(3)]),
        ("MMU_CHANGE_TOOL GATE=1", vec![Send(Command::LoadFilament(GATE(1)))]),
        ("MMU_REMAP_TTG TOOL=2 GATE=0 QUIET=1", vec![MapTools(vec![(2, GATE(0))])]),
        ("MMU_TTG_MAP MAP=\"1,0\" QUIET=1", vec![Map(vec![GATE(1), GATE(0)])]),
        ("MMU_SLICER_TOOL_MAP SKIP_AUTOMAP=0", vec![Automap(true)]),
        ("MMU_SLICER_TOOL_MAP SKIP_AUTOMAP=1", vec![Automap(false)]),
        ("MMU_STATS SHOWCOUNTS=1", vec![Stats]),
        ("T3", vec![ChangeTool(3)]),
        ("MMU_TTG_MAP RESET=1", vec![ResetMap]),
        ("MMU_ENDLESS_SPOOL ENABLE=1", vec![Send(Command::SetAutoRefill(true))]),
        ("MMU_HEATER UNIT=0 TEMP=55 TIMER=240", vec![dry(55.0, 4)]),
        ("MMU_HEATER STOP=1", vec![Send(Command::StopDrying { unit: 0 })]),
        ("SET_HEATER_TEMPERATURE HEATER=ams_1_dryer TARGET=50", vec![dry(50.0, 8)]),
        ("SET_HEATER_TEMPERATURE HEATER=ams_1_dryer TARGET=0", vec![Send(Command::StopDrying { unit: 0 })]),
        ("MMU_CHECK_GATE", vec![CheckSelected]),
        ("MMU_CHECK_GATE GATE=1", vec![read(1)]),
        ("MMU_CHECK_GATES", vec![read(0), read(1), read(2)]),
        ("MMU_RECOVER", vec![Send(Command::Refresh)]),
        ("MMU_GATE_MAP GATE=1 SPOOLID=7 QUIET=1", vec![spool(1, Some(7))]),
        ("MMU_GATE_MAP GATE=1 SPOOLID=-1", vec![spool(1, None)]),
        ("MMU_SPOOLMAN REFRESH=1 QUIET=1", vec![RefreshSpools]),
        ("MMU_SPOOLMAN CREATE=2", vec![CreateSpool(GATE(2))]),
    ];
    for (text, expected) in table {
        assert_eq!(words(text), expected, "{text}");
    }
}

#[test]
fn only_what_differs_is_edited() {
    let edit = |slot, edit| FilamentWord::Send(Command::EditSlot { slot: GATE(slot), edit: Box::new(edit) });
    let blue = SlotEdit { color: Color::parse("0000FFFF"), ..SlotEdit::default() };
    assert_eq!(words("MMU_GATE_MAP GATE=0 COLOR=0000FFFF QUIET=1"), [edit(0, blue)]);
    // As Fluidd writes it.
    let map = "MMU_GATE_MAP MAP=\"{0: {'status':1,'spool_id':-1,'material':'PLA','color':'FF0000FF','name':''},\
               1: {'status':1,'spool_id':4,'material':'PETG','color':'FF0000FF','name':'It, 2: x'}}\" QUIET=1";
    let petg =
        SlotEdit { material: Some("PETG".into()), name: Some("It, 2: x".into()), ..SlotEdit::default() };
    let spool = |slot, spool| FilamentWord::Spool { slot: GATE(slot), spool };
    assert_eq!(words(map), [spool(0, None), spool(1, Some(4)), edit(1, petg)]);
    assert!(matches!(said("MMU_GATE_MAP MAP=\"{0: \"", &state(), &able()), Intent::Refuse(_)));
}

#[test]
fn what_the_printer_does_not_keep_is_said_and_nothing_else_is_lost() {
    let tell = |text: &str| FilamentWord::Tell(text.to_owned());
    let spool = FilamentWord::Spool { slot: GATE(0), spool: Some(4) };
    let map = |more: &str| {
        format!(
            "MMU_GATE_MAP MAP=\"{{0: {{'spool_id':4,'material':'PLA','color':'FF0000','name':'',{more}}}}}\" QUIET=1"
        )
    };
    assert_eq!(words(&map("'temp':0,'speed_override':100")), std::slice::from_ref(&spool));
    let hot = tell("The printer keeps no single temperature of a slot: that of slot 0.0 stays.");
    assert_eq!(words(&map("'temp':230,'speed_override':100")), [spool.clone(), hot]);
    let slow = tell("The printer keeps no speed of a slot: that of slot 0.0 stays.");
    assert_eq!(words(&map("'temp':0,'speed_override':50")), [spool.clone(), slow]);
    // The spool of the inventory is noted also where the printer takes no description of it.
    let caps = Capabilities::default();
    let line = "MMU_GATE_MAP GATE=0 SPOOLID=4 NAME=\"x\" MATERIAL=\"PETG\" COLOR=\"00FF00\" TEMP=240 QUIET=1";
    match said(line, &state(), &caps) {
        Intent::Filament(words) => {
            assert!(words[0] == spool && matches!(words[1], FilamentWord::Tell(_)), "{words:?}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn backup_groups_are_the_printers_own() {
    let mut state = state();
    state.device.filament.backup_groups = vec![vec![GATE(1), GATE(2)]];
    let done = |text: &str| said(text, &state, &able());
    // As Fluidd's dialog sends them at each print: nothing was changed, whatever the numbers are.
    assert_eq!(done("MMU_ENDLESS_SPOOL GROUPS=\"0,1,1,3,4\" QUIET=1"), Intent::Nothing);
    assert_eq!(done("MMU_ENDLESS_SPOOL GROUPS=\"7,2,2,0,9\" QUIET=1"), Intent::Nothing);
    for other in ["0,1,2,3,4", "0,0,1,3,4", "0,1", "a"] {
        let text = format!("MMU_ENDLESS_SPOOL GROUPS=\"{other}\" QUIET=1");
        assert!(matches!(done(&text), Intent::Refuse(_)), "{text}");
    }
    assert!(matches!(done("MMU_ENDLESS_SPOOL RESET=1"), Intent::Note(_)));
}

#[test]
fn a_print_that_waits_for_a_spool_is_resumed() {
    let mut state = state();
    state.device.filament.operation = FilamentOperation::Stuck;
    state.job.phase = JobPhase::Paused;
    state.device.faults.push(Fault {
        actions: vec![FaultAction::Resume, FaultAction::Cancel],
        ..Fault::new(FaultSource::Job, Severity::Serious, "0700_8011", "The filament ran out.")
    });
    let resume = Intent::Filament(vec![FilamentWord::Send(Command::Resume)]);
    assert_eq!(said("MMU_UNLOCK", &state, &able()), resume);
    state.device.faults[0].actions.push(FaultAction::RetryFilament);
    let again = Intent::Filament(vec![FilamentWord::Send(Command::FilamentAction(FilamentAction::Resume))]);
    assert_eq!(said("MMU_UNLOCK", &state, &able()), again);
}

#[test]
fn all_heaters_off_means_the_dryers_that_heat_as_well() {
    let mut state = state();
    let nozzle = Command::SetNozzle { tool: 0, target: 0.0 };
    assert_eq!(said("TURN_OFF_HEATERS", &state, &able()), Intent::Do(vec![nozzle.clone()]));
    if let Some(dryer) = &mut state.device.filament.units[0].dryer {
        dryer.phase = DryerPhase::Drying;
    }
    let stop = Command::StopDrying { unit: 0 };
    assert_eq!(said("TURN_OFF_HEATERS", &state, &able()), Intent::Do(vec![nozzle.clone(), stop]));
    // One that is dried with at the printer's screen only is no heater.
    let mut caps = able();
    caps.filament.dry = false;
    assert_eq!(said("TURN_OFF_HEATERS", &state, &caps), Intent::Do(vec![nozzle]));
}

#[test]
fn the_first_unit_that_can_dry_is_meant_without_a_name() {
    let mut state = state();
    let mut ht = state.device.filament.units[0].clone();
    (ht.id, ht.name) = (128, "AMS HT 1".into());
    state.device.filament.units[0].dryer = None;
    state.device.filament.units.push(ht);
    let dry = |text: &str| said(text, &state, &able());
    let started = Intent::Do(vec![Command::StartDrying {
        unit: 128,
        request: DryRequest { temperature: 45.0, hours: 8 },
    }]);
    for text in [
        "DRY_FILAMENT",
        "DRY_FILAMENT UNIT= TEMP=45 HOURS=8",
        "DRY_FILAMENT UNIT=ams_ht_1",
        "DRY_FILAMENT UNIT=128",
    ] {
        assert_eq!(dry(text), started, "{text}");
    }
    assert!(matches!(dry("DRY_FILAMENT UNIT=0"), Intent::Refuse(_)));
}

#[test]
fn what_cannot_be_done_is_said() {
    let (state, none) = (state(), Capabilities::default());
    for text in [
        "MMU_LOAD",
        "MMU_UNLOAD",
        "MMU_CHANGE_TOOL TOOL=0",
        "MMU_GATE_MAP GATE=0 MATERIAL=ABS",
        "MMU_SELECT GATE=9",
    ] {
        assert!(matches!(said(text, &state, &none), Intent::Refuse(_)), "{text}");
    }
    for text in ["MMU_HOME", "MMU_SERVO POS=up", "MMU_LED QUIET=1", "MMU_GRIP", "MMU_LOAD EXTRUDER_ONLY=1"] {
        let Intent::Note(told) = said(text, &state, &able()) else { panic!("{text} is no refusal") };
        let (named, why) = told.split_once(": ").expect("what it is, and why");
        assert!(text.contains(named), "{text}: {told}");
        assert_eq!(why, "this printer has nothing of the kind.");
    }
    let mut running = state.clone();
    running.job.phase = JobPhase::Printing;
    assert!(matches!(said("MMU_REMAP_TTG TOOL=0 GATE=1", &running, &able()), Intent::Refuse(_)));
    // Happy Hare's KlipperScreen, button "MMU Pause".
    let pause = "MMU_PAUSE FORCE_IN_PRINT=1";
    assert_eq!(said(pause, &running, &able()), Intent::Job(JobWord::Pause));
    assert_eq!(said(pause, &state, &able()), Intent::Note("Nothing prints.".into()));
    let bare = PrinterState::default();
    assert_eq!(said("MMU_SELECT GATE=0", &bare, &able()), Intent::Unknown);
    assert!(help::words(&able(), help::Fitted::of(&bare)).iter().all(|word| !word.name.starts_with("MMU_")));
}

#[test]
fn a_stuck_filament_is_tried_again() {
    let mut state = state();
    state.device.filament.operation = FilamentOperation::Stuck;
    let again = Intent::Filament(vec![FilamentWord::Send(Command::FilamentAction(FilamentAction::Resume))]);
    for text in ["MMU_UNLOCK", "MMU_RECOVER TOOL=0 GATE=0 LOADED=1"] {
        assert_eq!(said(text, &state, &able()), again, "{text}");
    }
}

#[test]
fn every_word_of_the_help_is_understood() {
    let (state, caps) = (state(), able());
    let listed = help::words(&caps, help::Fitted::of(&state));
    assert!(listed.iter().filter(|word| word.name.starts_with("MMU_")).count() >= 16);
    for word in listed {
        assert_ne!(said(word.name, &state, &caps), Intent::Unknown, "{}", word.name);
    }
}
