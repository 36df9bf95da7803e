//! What is not done is said each time, and what the host asked for is not lost on the way.

use super::*;
use crate::gcode::translate::FilamentWord;

/// A job that the host sees paused.
fn paused() -> Rig {
    let mut rig = Rig::printing();
    rig.phase(JobPhase::Paused);
    rig.effects();
    rig
}

#[test]
fn a_paused_print_is_not_begun_again_and_not_resumed_for_that() {
    let mut rig = paused();
    assert!(rig.send("M23 /cube.gco").contains(&"File selected".to_owned()));
    let told = rig.send("M24");
    assert!(told.iter().any(|line| line.contains("notification A print cannot be begun again")), "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("ok"));
    assert_eq!(rig.effects(), []);
    let told = rig.wait(300);
    assert_eq!(told.last().map(String::as_str), Some("// action:paused"), "the host believes that it prints");
    assert!(!told.iter().any(|line| line.contains("another client")), "{told:?}");
    rig.send("M24");
    assert_eq!(rig.effects(), [Effect::Resume], "a resume has no M23 before it");
}

#[test]
fn a_second_start_of_a_running_print_is_refused_aloud() {
    let mut rig = Rig::printing();
    rig.effects();
    rig.send("M23 /cube.gco");
    let told = rig.send("M24");
    assert!(told[0].starts_with("echo:Not done: A print cannot be begun again"), "{told:?}");
    assert_eq!(rig.effects(), []);
    assert_eq!(rig.send("M24"), ["ok"], "said twice");
}

#[test]
fn a_start_of_a_file_that_is_not_there_resumes_nobodys_print() {
    // A host that asks for no list is shown no job.
    let mut rig = Rig::new();
    rig.printer(|state| state.job = Job { phase: JobPhase::Paused, ..job(7, JobOrigin::Elsewhere) });
    assert!(rig.send("M23 nothing.gco")[0].starts_with("open failed"));
    let told = rig.send("M24");
    assert!(told.iter().any(|line| line.contains("No file is selected")), "{told:?}");
    assert_eq!(rig.effects(), []);
}

#[test]
fn the_same_refusal_is_told_in_the_terminal_each_time() {
    let mut rig = Rig::connected();
    for round in 0..2 {
        let told = rig.done(Done::Sent(Err("Home first.".into())));
        assert_eq!(told[0], "echo:Not done: Home first.");
        assert_eq!(told.len(), 2 - round, "one notification: {told:?}");
    }
}

#[test]
fn a_pause_of_a_host_that_leaves_at_once_is_not_lost() {
    let mut rig = Rig::printing();
    rig.effects();
    rig.send("M25");
    rig.dialogue.closed();
    rig.lines();
    assert_eq!(rig.effects(), [Effect::Pause]);
}

/// Klipper's words for it, at the serial port of Klipper too (docs/decisions/009).
#[test]
fn an_emergency_stop_is_taken_back_by_its_word_only() {
    let mut rig = Rig::connected();
    for word in ["FIRMWARE_RESTART", "RESTART"] {
        assert_eq!(rig.send(word), ["ok"]);
        assert_eq!(rig.effects(), [Effect::Restart], "{word}");
    }
    rig.send("REFRESH");
    assert_eq!(rig.effects(), [Effect::Send(Command::Refresh)]);
}

#[test]
fn a_print_by_name_keeps_its_plate_and_overrides() {
    let mut rig = Rig::connected();
    rig.send("SDCARD_PRINT_FILE FILENAME=cube.gcode PLATE=2 OVERRIDE=model");
    let request = StartRequest {
        file: "cube.gcode".into(),
        plate: Some(2),
        overrides: vec!["model".into()],
        ..StartRequest::default()
    };
    assert_eq!(rig.effects(), [Effect::Start(Box::new(request))]);
}

#[test]
fn a_cancel_with_nothing_shown_withdraws_what_is_only_asked_for() {
    let mut rig = Rig::connected();
    assert_eq!(rig.send("M524"), ["ok"]);
    assert_eq!(rig.effects(), [Effect::Withdraw]);
}

#[test]
fn a_start_cancelled_before_it_was_a_job_hides_no_other_one() {
    let mut rig = Rig::connected();
    rig.send("M23 cube.gco");
    rig.send("M24");
    rig.send("M25");
    rig.send("M26 S0");
    rig.done(Done::Cancelled(Ok(())));
    rig.done(Done::Started(Err("Cancelled before the print began.".into())));
    rig.wait(10_000);
    let told = rig.printer(|state| state.job = job(1, JobOrigin::Elsewhere));
    assert!(told.contains(&"File selected".to_owned()), "{told:?}");
}

#[test]
fn a_tool_word_feeds_its_slot_where_one_nozzle_has_filament_units() {
    let mut rig = Rig::connected();
    Arc::make_mut(&mut rig.view.caps).filament.load = true;
    rig.printer(|state| {
        let slots = (0..2).map(|slot| Slot::empty(SlotId::Unit { unit: 0, slot })).collect();
        state.device.filament.units =
            vec![FilamentUnit { name: "AMS 1".into(), slots, ..FilamentUnit::default() }];
    });
    assert_eq!(rig.send("T1"), ["ok"]);
    assert_eq!(rig.effects(), [Effect::Filament(vec![FilamentWord::ChangeTool(1)])]);
}

#[test]
fn an_emergency_stop_of_a_start_that_is_only_asked_for_cancels_it() {
    let mut rig = Rig::connected();
    rig.dialogue.stop = SerialStop::Cancel;
    rig.send("M23 cube.gco");
    rig.send("M24");
    rig.effects();
    rig.send("M112");
    assert_eq!(rig.effects(), [Effect::Cancel]);
}
