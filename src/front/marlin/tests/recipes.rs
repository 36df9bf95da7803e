//! Section 7.2 of the dossier, and what the host does in answer.

use super::*;

const OPENED: [&str; 3] = ["File opened: /cube.gco Size: 1000", "File selected", "SD printing byte 500/1000"];

#[test]
fn a_print_started_elsewhere_is_shown_once() {
    let mut rig = Rig::connected();
    assert_eq!(rig.printer(|state| state.job = job(1, JobOrigin::Elsewhere)), OPENED);
    assert!(rig.printer(|state| state.job.progress = 0.51).is_empty());
}

#[test]
fn an_external_start_begins_at_byte_1_however_little_is_done() {
    let mut rig = Rig::connected();
    let told = rig.printer(|state| {
        state.job = Job { phase: JobPhase::Preparing, progress: 0.0, ..job(1, JobOrigin::Elsewhere) };
    });
    assert_eq!(told[2], "SD printing byte 1/1000");
}

#[test]
fn a_running_print_is_shown_after_the_first_list() {
    let mut rig = Rig::new();
    Arc::make_mut(&mut rig.view.state).job = Job { phase: JobPhase::Paused, ..job(4, JobOrigin::Elsewhere) };
    for line in ["N0 M110 N0*125", "N1 M115*39", "M21"] {
        rig.send(line);
    }
    assert!(rig.printer(|state| state.device.bed.actual = Some(30.0)).is_empty());
    let told = rig.send("M20");
    let ok = told.iter().position(|line| line == "ok").unwrap();
    assert_eq!(told[ok + 1..], OPENED, "a pause told now would be undone by the host's own start");
    assert!(rig.printer(|state| state.device.bed.actual = Some(31.0)).is_empty());
    let told = rig.send("M27");
    assert_eq!(
        told[..4],
        ["SD printing byte 500/1000", "ok", "SD printing byte 500/1000", "// action:paused"]
    );
}

#[test]
fn an_end_just_after_the_start_waits_until_the_host_can_take_it() {
    let mut rig = Rig::connected();
    assert_eq!(rig.printer(|state| state.job = job(1, JobOrigin::Elsewhere)), OPENED);
    assert!(rig.phase(JobPhase::Cancelled).is_empty());
    assert_eq!(rig.wait(3000), ["Not SD printing"; 3], "without polls, after a while");
}

/// OctoPrint 1.11 forgets its M20 when a print is begun in the middle of the handshake.
#[test]
fn a_host_that_never_lists_is_asked_to() {
    let mut rig = Rig::new();
    for line in ["N0 M110 N0*125", "N1 M115*39", "M21"] {
        rig.send(line);
    }
    assert!(rig.printer(|state| state.job = job(1, JobOrigin::Gateway)).is_empty());
    rig.wait(3000);
    assert_eq!(rig.printer(|state| state.job.progress = 0.5), ["// action:sd_updated"]);
    assert!(rig.printer(|state| state.job.progress = 0.5).is_empty(), "not at every change");
    assert_eq!(rig.send("M20 L T")[4..], [&["ok"], &OPENED[..]].concat());
    let mut silent = Rig::new();
    silent.send("M115");
    silent.wait(60_000);
    assert!(
        silent.printer(|state| state.device.bed.actual = Some(30.0)).is_empty(),
        "without a job it need not"
    );
}

#[test]
fn pause_and_resume_at_the_printer() {
    let mut rig = Rig::printing();
    assert!(rig.phase(JobPhase::Pausing).is_empty());
    let told = rig.phase(JobPhase::Paused);
    assert_eq!(told[..2], ["SD printing byte 500/1000", "// action:paused"]);
    assert!(told[2].contains("The printer gives no reason here"), "{told:?}");
    assert!(rig.phase(JobPhase::Resuming).contains(&"// action:resumed".to_owned()));
    assert!(rig.phase(JobPhase::Printing).is_empty());
}

#[test]
fn a_stop_at_the_printer_is_three_lines_and_its_reason() {
    let mut rig = Rig::printing();
    let told = rig.printer(|state| {
        state.job.phase = JobPhase::Failed;
        state.job.reason = Some("Nozzle clogged (0300_8009)".into());
    });
    let reason = "// action:notification The print has ended: Nozzle clogged (0300_8009)";
    assert_eq!(told, [reason, "Not SD printing", "Not SD printing", "Not SD printing"]);
    assert_eq!(rig.send("M27"), ["Not SD printing", "ok"]);
}

#[test]
fn a_stop_while_paused_lets_the_host_cancel_and_does_not_send_it_on() {
    let mut rig = Rig::printing();
    rig.phase(JobPhase::Paused);
    assert_eq!(rig.phase(JobPhase::Cancelled), ["// action:cancel"]);
    for line in ["M108", "M25", "M27", "M26 S0", "M84", "M104 T0 S0", "M140 S0", "M106 S0"] {
        rig.send(line);
    }
    rig.wait(1000);
    assert_eq!(rig.effects(), []);
}

#[test]
fn a_refused_pause_is_taken_back() {
    let mut rig = Rig::printing();
    rig.send("M25");
    rig.wait(300);
    let told = rig.done(Done::Paused(Err("The printer refused.".into())));
    assert_eq!(told, ["// action:notification The printer refused.", "// action:resumed"]);
    assert_eq!(rig.send("M27"), ["SD printing byte 500/1000", "ok"]);
}

#[test]
fn a_refused_resume_is_taken_back() {
    let mut rig = Rig::printing();
    rig.phase(JobPhase::Paused);
    rig.send("M24");
    let told = rig.done(Done::Resumed(Err("No filament.".into())));
    assert_eq!(told[0], "// action:notification No filament.");
    assert_eq!(told.last().map(String::as_str), Some("// action:paused"));
}

#[test]
fn a_start_that_fails_is_a_stop() {
    let mut rig = Rig::connected();
    rig.send("M23 cube.gco");
    rig.send("M24");
    let told = rig.done(Done::Started(Err("The printer is busy.".into())));
    assert_eq!(told[0], "echo:Not done: The print was not started: The printer is busy.");
    assert_eq!(told[1..], ["// action:notification The print was not started: The printer is busy."]);
    assert_eq!(rig.wait(300), ["Not SD printing"; 3], "when the host has left its \"Starting\"");
}

#[test]
fn a_start_that_never_shows_is_a_stop() {
    let mut rig = Rig::connected();
    rig.send("M23 cube.gco");
    rig.send("M24");
    rig.done(Done::Started(Ok(())));
    assert!(rig.wait(29_999).is_empty());
    assert_eq!(rig.wait(2), ["Not SD printing"; 3]);
}

#[test]
fn a_start_cancelled_before_the_printer_shows_it_stays_cancelled() {
    let mut rig = Rig::connected();
    rig.send("M23 cube.gco");
    rig.send("M24");
    rig.effects();
    rig.send("M25");
    rig.send("M26 S0");
    assert_eq!(rig.effects(), [Effect::Cancel]);
    assert!(rig.printer(|state| state.job = job(1, JobOrigin::Gateway)).is_empty());
}

#[test]
fn another_print_in_its_place_ends_the_first_and_is_shown_after_a_while() {
    let mut rig = Rig::printing();
    assert_eq!(rig.printer(|state| state.job = job(2, JobOrigin::Elsewhere)), ["Not SD printing"; 3]);
    assert_eq!(rig.wait(1500), OPENED);
}

#[test]
fn a_lost_link_freezes_the_print_and_tells_why() {
    let mut rig = Rig::printing();
    let told = rig.printer(|state| {
        state.link.phase = LinkPhase::Backoff;
        state.job.printed_s = 180.0;
        state.link.fault = Some(LinkFault {
            code: "MG-X".into(),
            text: "The printer does not answer.".into(),
            remedy: "Is it switched on?".into(),
            permanent: false,
        });
    });
    assert_eq!(told, ["// action:notification The printer does not answer. Is it switched on?"]);
    assert_eq!(rig.send("M27"), ["SD printing byte 500/1000", "ok"]);
}

#[test]
fn a_job_whose_file_is_unknown_is_listed_before_it_is_shown() {
    let mut rig = Rig::connected();
    let cloud = Job { file: None, title: Some("Boat".into()), ..job(1, JobOrigin::Elsewhere) };
    assert_eq!(rig.printer(|state| state.job = cloud), ["// action:sd_updated"]);
    let listed = rig.send("M20 L T");
    assert!(listed.contains(&r#"job/boat.gco 1000000 "Boat""#.to_owned()), "{listed:?}");
    assert!(listed.contains(&"File opened: /job/boat.gco Size: 1000000".to_owned()), "{listed:?}");
    rig.send("M27");
    rig.phase(JobPhase::Complete);
    assert_eq!(rig.wait(2000), ["// action:sd_updated"], "and leaves the list with its end");
    assert_eq!(rig.send("M23 /job/boat.gco")[0], "open failed, File: /job/boat.gco.");
}

fn runout() -> Fault {
    Fault {
        module: Some("AMS 1".into()),
        actions: vec![FaultAction::Resume, FaultAction::Cancel],
        ..Fault::new(FaultSource::Device, Severity::Serious, "0700_8011", "The filament ran out.")
    }
}

#[test]
fn a_fault_with_actions_is_a_dialog_whose_buttons_act() {
    let mut rig = Rig::printing();
    rig.phase(JobPhase::Paused);
    let told = rig.printer(|state| state.device.faults.push(runout()));
    let expected = [
        "// action:notification AMS 1: The filament ran out. (0700_8011)",
        "echo:M600 filament change",
        "// action:prompt_begin AMS 1: The filament ran out. (0700_8011)",
        "// action:prompt_choice Resume",
        "// action:prompt_choice Stop the print",
        "// action:prompt_show",
    ];
    assert_eq!(told, expected);
    assert_eq!(rig.send("M876 S1"), ["ok"]);
    assert_eq!(rig.effects(), [Effect::Cancel]);
    rig.send("M876 S0");
    assert_eq!(rig.effects(), [], "one answer to one question");
}

/// A Centauri Carbon 2 tells the fault first, and then that it paused.
#[test]
fn a_remedy_that_comes_after_its_fault_opens_the_dialog_then() {
    let mut rig = Rig::printing();
    let told = rig.printer(|state| state.device.faults.push(Fault { actions: Vec::new(), ..runout() }));
    assert!(!told.iter().any(|line| line.contains("prompt")), "{told:?}");
    let told = rig.printer(|state| state.device.faults = vec![runout()]);
    assert_eq!(told.len(), 4, "the dialog, without a second notification: {told:?}");
    assert!(rig.printer(|state| state.device.bed.actual = Some(31.0)).is_empty(), "once");
    let told = rig.printer(|state| state.device.faults = vec![Fault { actions: Vec::new(), ..runout() }]);
    assert_eq!(told, ["// action:prompt_end"], "it goes on: there is nothing to ask any more");
}

#[test]
fn a_fault_that_goes_away_closes_its_dialog() {
    let mut rig = Rig::connected();
    rig.printer(|state| state.device.faults.push(runout()));
    assert_eq!(rig.printer(|state| state.device.faults.clear()), ["// action:prompt_end"]);
    rig.send("M876 S0");
    assert_eq!(rig.effects(), []);
}

#[test]
fn a_new_session_keeps_what_was_cancelled_and_owned() {
    let mut rig = Rig::printing();
    rig.dialogue.opened();
    rig.handshake();
    let told = rig.printer(|state| state.job.printed_s = 101.0);
    assert!(
        told.is_empty() && rig.send("M27")[0].starts_with("SD printing byte 50"),
        "shown in the handshake"
    );
    rig.send("M104 S0");
    assert_eq!(rig.effects().len(), 1, "its own print is not protected from it");
    rig.send("M25");
    rig.send("M26 S0");
    rig.dialogue.opened();
    rig.handshake();
    assert_eq!(rig.send("M27"), ["Not SD printing", "ok"]);
}
