use super::*;
use crate::gcode::parse;
use crate::model::{
    Axes, Calibration, ControlCaps, FanId, FilamentCaps, FilamentUnit, HeaterCaps, LightId, MotionCaps, Slot,
    SlotId, SpeedLevel,
};

fn caps() -> Capabilities {
    Capabilities {
        nozzles: vec![HeaterCaps { max: Some(300.0) }],
        bed: HeaterCaps { max: Some(100.0) },
        fans: [FanId::Part, FanId::Auxiliary].into(),
        lights: [LightId::Chamber].into(),
        speed_levels: vec![
            SpeedLevel { name: "Silent".into(), factor: 0.5 },
            SpeedLevel { name: "Standard".into(), factor: 1.0 },
        ],
        motion: MotionCaps { home: true, jog: true, extrude: true, ..MotionCaps::default() },
        filament: FilamentCaps { load: true, unload: true, ..FilamentCaps::default() },
        calibrations: [Calibration::BedLevelling, Calibration::Vibration].into(),
        ..Capabilities::default()
    }
}

/// Named one by one: a new ability is decided on here.
pub(super) fn every_filament_ability() -> FilamentCaps {
    FilamentCaps {
        load: true,
        unload: true,
        edit: true,
        read_tag: true,
        map: true,
        auto_refill: true,
        recover: true,
        dry: true,
        flow_profile: true,
    }
}

fn state() -> PrinterState {
    let mut state = PrinterState::default();
    let slots = (0..4).map(|slot| Slot::empty(SlotId::Unit { unit: 0, slot })).collect();
    state.device.filament.units.push(FilamentUnit { name: "AMS 1".into(), slots, ..FilamentUnit::default() });
    state
}

fn run_with(text: &str, caps: &Capabilities) -> Vec<Intent> {
    let state = state();
    let mut session = Session::default();
    text.lines()
        .map(|line| {
            let line = parse(line.as_bytes()).expect("test lines are G-code");
            translate(&line, &mut session, Context { state: &state, caps })
        })
        .filter(|intent| *intent != Intent::Nothing)
        .collect()
}

fn run(text: &str) -> Vec<Intent> {
    run_with(text, &caps())
}

fn one(command: Command) -> Vec<Intent> {
    vec![Intent::Do(vec![command])]
}

#[test]
fn targets_and_waits() {
    assert_eq!(run("M104 S215"), one(Command::SetNozzle { tool: 0, target: 215.0 }));
    assert_eq!(run("m140s60"), one(Command::SetBed { target: 60.0 }));
    assert_eq!(
        run("M109 R200"),
        [Intent::DoAndWait(
            Command::SetNozzle { tool: 0, target: 200.0 },
            Wait::Nozzle { tool: 0, target: 200.0 }
        )]
    );
    assert_eq!(run("M190 S0"), one(Command::SetBed { target: 0.0 }), "waiting for 0 would never end");
    assert!(matches!(run("M141 S40")[..], [Intent::Refuse(_)]));
    assert!(matches!(run("M104 T1 S200")[..], [Intent::Refuse(_)]));
    assert_eq!(
        run("SET_HEATER_TEMPERATURE HEATER=heater_bed TARGET=55"),
        one(Command::SetBed { target: 55.0 })
    );
    assert_eq!(run("TURN_OFF_HEATERS").len(), 1);
}

#[test]
fn motors_that_nobody_can_switch_off_are_not_believed_to_be() {
    let [Intent::Note(told)] = &run("M84")[..] else { panic!("no refusal: files end with it") };
    assert!(told.contains("stay as they are"), "{told}");
    let mut able = caps();
    able.motion.motors_off = true;
    assert_eq!(run_with("M18", &able), one(Command::MotorsOff));
}

#[test]
fn the_front_ends_jog_block_is_one_relative_move() {
    let block =
        "SAVE_GCODE_STATE NAME=_ui_movement\nG91\nG1 X+10 F6000\nRESTORE_GCODE_STATE NAME=_ui_movement";
    assert_eq!(run(block), one(Command::Jog { delta: [10.0, 0.0, 0.0], feed: Some(100.0) }));
    assert_eq!(
        run("_CLIENT_LINEAR_MOVE Z=-5 F=1500"),
        one(Command::Jog { delta: [0.0, 0.0, -5.0], feed: Some(25.0) })
    );
    assert!(matches!(run("G1 X10")[..], [Intent::Refuse(_)]), "an absolute move needs a known position");
}

#[test]
fn extrusion_follows_its_mode() {
    assert_eq!(run("M83\nG1 E25 F300"), one(Command::Extrude { length: 25.0, feed: Some(5.0) }));
    assert_eq!(
        run("G92 E0\nG1 E10\nG1 E12"),
        [
            Intent::Do(vec![Command::Extrude { length: 10.0, feed: None }]),
            Intent::Do(vec![Command::Extrude { length: 2.0, feed: None }]),
        ]
    );
}

#[test]
fn homing_single_axes_becomes_homing_all_where_parts_are_unsafe() {
    assert_eq!(run("G28 X Y"), one(Command::Home(Axes::ALL)));
    let mut fine = caps();
    fine.motion.home_axes = true;
    assert_eq!(run_with("G28 X", &fine), one(Command::Home(Axes { x: true, ..Axes::default() })));
}

#[test]
fn fans_and_lights() {
    assert_eq!(run("M106 S255"), one(Command::SetFan { fan: FanId::Part, speed: 1.0 }));
    assert_eq!(run("M106 P2 S0"), one(Command::SetFan { fan: FanId::Auxiliary, speed: 0.0 }));
    assert!(matches!(run("M106 P3 S255")[..], [Intent::Refuse(_)]), "this one has no chamber fan");
    assert_eq!(
        run("SET_PIN PIN=chamber_light VALUE=1.00"),
        one(Command::SetLight { light: LightId::Chamber, on: true })
    );
    assert_eq!(
        run("SET_LED LED=chamber_light WHITE=0.5"),
        one(Command::SetLight { light: LightId::Chamber, on: true })
    );
    for unknown in ["SET_LED LED=my_strip RED=1", "SET_PIN PIN=my_strip VALUE=1"] {
        assert!(
            matches!(run(unknown)[..], [Intent::Refuse(_)]),
            "{unknown}: another light is not switched instead"
        );
    }
    assert_eq!(run("LIGHT"), one(Command::SetLight { light: LightId::Chamber, on: true }));
}

#[test]
fn what_cannot_work_is_never_taken_for_done() {
    assert!(matches!(run("M302 S0")[..], [Intent::Refuse(_)]));
    // What the UIs show for every printer is answered with information.
    for text in [
        "M221 S90",
        "SET_PRESSURE_ADVANCE ADVANCE=0.04",
        "SET_GCODE_OFFSET Z_ADJUST=+0.05 MOVE=1",
        "SET_IDLE_TIMEOUT TIMEOUT=60",
    ] {
        assert!(matches!(run(text)[..], [Intent::Note(_)]), "{text}");
    }
    assert!(
        matches!(&run("PID_CALIBRATE HEATER=extruder TARGET=200")[..], [Intent::Refuse(why)] if why.contains("cannot be tuned"))
    );
    let mut tuned = caps();
    tuned.calibrations.insert(Calibration::Pid);
    let named = run_with("PID_CALIBRATE HEATER=extruder TARGET=200", &tuned);
    assert!(matches!(&named[..], [Intent::Refuse(why)] if why.contains("CALIBRATE PID=1")), "{named:?}");
    assert_eq!(run("FOO BAR=1"), [Intent::Unknown]);
    assert_eq!(run("G35"), [Intent::Unknown]);
    assert!(matches!(run("M851 Z0.1")[..], [Intent::Note(_)]));
}

#[test]
fn unknown_codes_go_to_printers_that_take_them() {
    let mut open = caps();
    open.control = ControlCaps { raw_gcode: true, ..ControlCaps::default() };
    assert_eq!(run_with("N5 M971 S11 C10", &open).len(), 1);
    assert_eq!(run_with("M973 S3 P1 ; light", &open), one(Command::Gcode(vec!["M973 S3 P1".into()])));
}

#[test]
fn tools_are_slots_where_there_is_one_nozzle() {
    assert_eq!(run("T2"), vec![Intent::Filament(vec![FilamentWord::ChangeTool(2)])]);
    assert!(matches!(run("T9")[..], [Intent::Refuse(_)]));
    assert_eq!(run("LOAD_FILAMENT SLOT=0.3"), one(Command::LoadFilament(SlotId::Unit { unit: 0, slot: 3 })));
    assert!(matches!(run("LOAD_FILAMENT SLOT=7")[..], [Intent::Refuse(_)]));
    let mut dual = caps();
    dual.nozzles.push(HeaterCaps { max: Some(300.0) });
    dual.control.select_tool = true;
    assert_eq!(run_with("T1", &dual), one(Command::SelectTool(1)));
}

/// Fluidd's list of extruders sends this word alone.
#[test]
fn an_extruder_is_a_nozzle_and_never_a_slot() {
    let mut dual = caps();
    dual.nozzles.push(HeaterCaps { max: Some(300.0) });
    dual.control.select_tool = true;
    assert_eq!(run_with("ACTIVATE_EXTRUDER EXTRUDER=extruder1", &dual), one(Command::SelectTool(1)));
    let used = "Extruder extruder already active".to_owned();
    assert_eq!(run_with("ACTIVATE_EXTRUDER EXTRUDER=extruder", &dual), [Intent::Note(used.clone())]);
    assert_eq!(run("ACTIVATE_EXTRUDER EXTRUDER=extruder"), [Intent::Note(used)]);
    for wrong in ["extruder1", "extruder0", "heater_bed", ""] {
        let refused = run(&format!("ACTIVATE_EXTRUDER EXTRUDER={wrong}"));
        assert_eq!(refused, [Intent::Refuse(format!("The value '{wrong}' is not valid for EXTRUDER"))]);
    }
    dual.control.select_tool = false;
    let refused = run_with("ACTIVATE_EXTRUDER EXTRUDER=extruder1", &dual);
    assert!(matches!(refused[..], [Intent::Refuse(_)]), "it cannot be chosen from here: {refused:?}");
}

#[test]
fn features_take_parameters() {
    assert_eq!(run("SPEED_PROFILE LEVEL=silent"), one(Command::SetSpeed { factor: 0.5 }));
    assert_eq!(run("CALIBRATE VIBRATION=1"), one(Command::Calibrate([Calibration::Vibration].into())));
    assert!(matches!(run("CALIBRATE")[..], [Intent::Refuse(_)]));
    assert!(
        matches!(run("DRY_FILAMENT UNIT=0 TEMP=50 HOURS=4")[..], [Intent::Refuse(_)]),
        "this unit cannot dry"
    );
}

/// Mainsail's console begins with "Type HELP to get a list of available commands".
#[test]
fn help_lists_the_words_of_this_printer() {
    let [Intent::Note(text)] = &run("HELP")[..] else { panic!("told on the console") };
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("Available extended commands:"), "as Klipper begins");
    let names: Vec<&str> = lines.map(|line| line.split([' ', ':']).next().unwrap_or_default()).collect();
    assert!(names.is_sorted(), "{names:?}");
    let listed = help::words(&caps(), help::Fitted::of(&state()));
    assert_eq!(names.len(), listed.len());
    assert!(listed.iter().all(|word| names.contains(&word.name)), "{names:?}");
    assert!(text.contains("\nPAUSE     : Pause the print\n"), "{text}");
}

#[test]
fn every_word_of_the_help_is_understood() {
    let (caps, state) = (caps(), state());
    let words = help::words(&caps, help::Fitted::of(&state));
    assert!(words.len() > 10, "{}", words.len());
    for word in words {
        let line = parse(word.name.as_bytes()).expect("a word");
        let intent = translate(&line, &mut Session::default(), Context { state: &state, caps: &caps });
        assert_ne!(intent, Intent::Unknown, "{}", word.name);
    }
}

#[test]
fn device_words_name_what_the_printer_has() {
    use crate::model::{AirMode, SlotEdit};
    let caps = Capabilities {
        air_modes: [AirMode::Cooling, AirMode::Heating].into(),
        filament: FilamentCaps { edit: true, flow_profile: true, recover: true, ..FilamentCaps::default() },
        control: ControlCaps { set_nozzle: true, raw_vendor: true, ..ControlCaps::default() },
        ..caps()
    };
    let slot = SlotId::Unit { unit: 0, slot: 2 };
    let edit = SlotEdit {
        material: Some("PETG".into()),
        color: crate::model::Color::parse("00FF00"),
        nozzle_max: Some(260.0),
        ..SlotEdit::default()
    };
    for (line, command) in [
        ("AIR_MODE MODE=heating", Command::SetAirMode(AirMode::Heating)),
        (
            "SET_NOZZLE DIAMETER=0.6 MATERIAL=hardened_steel",
            Command::SetNozzleType { tool: 0, diameter: 0.6, material: "hardened_steel".into() },
        ),
        ("FLOW_PROFILE SLOT=0.2 PROFILE=3", Command::SelectFlowProfile { slot, profile: Some(3) }),
        ("FLOW_PROFILE SLOT=2 PROFILE=DEFAULT", Command::SelectFlowProfile { slot, profile: None }),
        (
            "EDIT_SLOT SLOT=0.2 MATERIAL=PETG COLOR=00FF00 NOZZLE_MAX=260",
            Command::EditSlot { slot, edit: Box::new(edit) },
        ),
        ("FILAMENT_DONE", Command::FilamentAction(crate::model::FilamentAction::Done)),
        (
            r#"VENDOR_JSON MESSAGE='{"print":{"command":"buzzer_ctrl","mode":1}}'"#,
            Command::RawVendor(serde_json::json!({"print": {"command": "buzzer_ctrl", "mode": 1}})),
        ),
    ] {
        assert_eq!(run_with(line, &caps), one(command), "{line}");
    }
    for line in [
        "AIR_MODE MODE=sideways",
        "SET_NOZZLE DIAMETER=0.4",
        "SET_NOZZLE TOOL=-1 DIAMETER=0.6 MATERIAL=hardened_steel",
        "SET_NOZZLE TOOL=9 DIAMETER=0.6 MATERIAL=hardened_steel",
        "SET_NOZZLE TOOL=x DIAMETER=0.6 MATERIAL=hardened_steel",
        "SET_NOZZLE TOOL=0.5 DIAMETER=0.6 MATERIAL=hardened_steel",
        "FLOW_PROFILE SLOT=0.2 PROFILE=x",
        "VENDOR_JSON MESSAGE='{'",
    ] {
        assert!(matches!(run_with(line, &caps).as_slice(), [Intent::Refuse(_)]), "{line}");
    }
    assert!(matches!(run("AIR_MODE MODE=HEATING").as_slice(), [Intent::Refuse(_)]), "no air duct");
}

/// A printer that can do everything: each of its macros is in docs/ref/macros.md.
#[test]
fn every_button_is_documented() {
    use crate::model::{AirMode, Dryer, DryerPhase, PrintOption};
    let mut caps = Capabilities {
        air_modes: [AirMode::Cooling].into(),
        options: [PrintOption::AutoRecovery].into(),
        filament: every_filament_ability(),
        ..caps()
    };
    caps.control = ControlCaps {
        clear_fault: true,
        set_nozzle: true,
        buzzer: true,
        raw_vendor: true,
        ..ControlCaps::default()
    };
    let mut state = state();
    state.device.filament.units[0].dryer =
        Some(Dryer { phase: DryerPhase::Off, remaining_min: None, target: None, max: 65.0, refused: None });
    let page = include_str!("../../../docs/ref/macros.md");
    let buttons = help::words(&caps, help::Fitted::of(&state)).into_iter().filter(|word| word.button);
    let names: Vec<&str> = buttons.map(|word| word.name).collect();
    assert!(names.len() >= 17, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("`{name}`")), "docs/ref/macros.md lacks {name}");
    }
}

/// Clients show the default and send nothing for it.
#[test]
fn a_button_with_its_defaults_left_out_does_what_it_does_with_them() {
    let caps = Capabilities {
        filament: FilamentCaps { load: true, edit: true, flow_profile: true, ..FilamentCaps::default() },
        control: ControlCaps { set_nozzle: true, buzzer: true, ..ControlCaps::default() },
        ..caps()
    };
    let given = |name: &str| match name {
        "SLOT" => " SLOT=0.1",
        "DIAMETER" => " DIAMETER=0.6",
        "MATERIAL" => " MATERIAL=hardened_steel",
        "LEVEL" => " LEVEL=Standard",
        _ => "",
    };
    for word in help::words(&caps, help::Fitted::of(&state()))
        .iter()
        .filter(|word| word.button && word.name != "CALIBRATE")
    {
        let needed: String = word.params.iter().map(|(name, _)| given(name)).collect();
        let defaults = word.params.iter().filter(|(_, default)| !default.is_empty());
        let defaults: String = defaults.map(|(name, default)| format!(" {name}={default}")).collect();
        let bare = run_with(&format!("{}{needed}", word.name), &caps);
        assert_eq!(bare, run_with(&format!("{}{needed}{defaults}", word.name), &caps), "{}", word.name);
        assert!(matches!(bare.as_slice(), [Intent::Do(_)]), "{}: {bare:?}", word.name);
    }
}

#[test]
fn without_a_unit_the_spool_outside_needs_no_name() {
    let load = |state: &PrinterState| {
        let line = parse(b"LOAD_FILAMENT").expect("G-code");
        translate(&line, &mut Session::default(), Context { state, caps: &caps() })
    };
    let outside = Intent::Do(vec![Command::LoadFilament(SlotId::External(0))]);
    assert_eq!(load(&PrinterState::default()), outside);
    assert!(matches!(load(&state()), Intent::Refuse(_)), "which of them?");
}

/// Clients offer to heat for a file by the codes that they find here.
#[test]
fn plain_codes_are_listed_where_the_printer_follows_them() {
    let listed = help::codes(&caps());
    assert!(["M104", "M140", "M106", "G28"].iter().all(|code| listed.contains(code)), "{listed:?}");
    assert!(!listed.contains(&"M141"), "no heated chamber");
    assert!(run(&listed.join("\n")).iter().all(|intent| *intent != Intent::Unknown));
    let bare = help::codes(&Capabilities::default());
    assert!(bare.contains(&"M105") && !bare.contains(&"M104") && !bare.contains(&"G1"), "{bare:?}");
}
