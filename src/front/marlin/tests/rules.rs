use super::*;

fn oks(lines: &[String]) -> usize {
    lines.iter().filter(|line| *line == "ok" || line.starts_with("ok ")).count()
}

#[test]
fn rule_1_every_line_has_one_ok_and_none_comes_unasked() {
    let mut rig = Rig::connected();
    for line in
        ["M105", "m105", "M104S200", "M104 S0 ; off", "G28 X0 Y0", "T0", "M117 hi", "M503", "X", "nonsense"]
    {
        let answer = rig.send(line);
        assert_eq!(oks(&answer), 1, "{line}: {answer:?}");
        assert!(answer.last().is_some_and(|last| last.starts_with("ok")), "{line}: {answer:?}");
    }
    assert!(rig.wait(60_000).is_empty());
    assert!(rig.send("").is_empty() && rig.send("   ").is_empty(), "auto-detection sends empty lines");
}

#[test]
fn rule_2_temperatures_come_on_the_ok_line_and_unasked_only_after_m155() {
    let mut rig = Rig::connected();
    assert_eq!(rig.send("M105"), ["ok T:21.0 /0.0 B:22.0 /0.0 @:0 B@:0"]);
    assert!(rig.printer(|state| state.device.bed.target = Some(60.0)).is_empty());
    assert_eq!(rig.send("M155 S2"), ["ok"]);
    assert_eq!(rig.wait(4000), [" T:21.0 /0.0 B:22.0 /60.0 @:0 B@:0"; 2]);
    assert_eq!(rig.send("M155"), ["ok"], "which changes nothing");
    assert_eq!(rig.wait(2000).len(), 1);
    assert_eq!(rig.send("M155 S0"), ["ok"]);
    assert!(rig.wait(10_000).is_empty());
}

/// Nothing times out, and nothing seems to be heated.
#[test]
fn rule_2_a_printer_that_is_away_has_its_last_temperatures_without_targets() {
    let mut rig = Rig::connected();
    rig.printer(|state| state.device.bed.target = Some(60.0));
    assert_eq!(rig.send("M105"), ["ok T:21.0 /0.0 B:22.0 /60.0 @:0 B@:0"]);
    rig.printer(|state| state.link.phase = LinkPhase::Backoff);
    assert_eq!(rig.send("M105"), ["ok T:21.0 /0.0 B:22.0 /0.0 @:0 B@:0"]);
    assert_eq!(rig.send("M155 S2"), ["ok"]);
    assert_eq!(rig.wait(2000), [" T:21.0 /0.0 B:22.0 /0.0 @:0 B@:0"]);
}

#[test]
fn rule_3_m115_names_the_firmware_and_capabilities() {
    let answer = Rig::new().send("N1 M115*39");
    assert!(answer[0].starts_with("FIRMWARE_NAME:moongate ") && answer[0].contains("(Bambu Lab P1S)"));
    assert!(answer[1..].iter().rev().skip(1).all(|line| line.starts_with("Cap:")));
    for word in ["klipper", "repetier", "malyan", "teacup", "ultimaker2", "prusa", "start"] {
        assert!(!answer.join("\n").to_lowercase().contains(word), "{word}");
    }
}

#[test]
fn rule_4_names_in_the_list_are_lower_case_8_3_with_long_names() {
    let mut rig = Rig::new();
    let answer = rig.send("M20");
    let expected = [
        "Begin file list",
        r#"cube.gco 1000 "cube.gcode""#,
        r#"long_n~1.gco 500 "Long name 20mm.gcode""#,
        "End file list",
        "ok",
    ];
    assert_eq!(answer, expected);
    let answer = rig.send("M20 L T");
    assert!(
        answer[1].starts_with("cube.gco 1000 0x5b4") && answer[1].ends_with(r#""cube.gcode""#),
        "{}",
        answer[1]
    );
}

#[test]
fn rule_5_and_6_a_pause_of_octoprint_goes_through() {
    let mut rig = Rig::printing();
    assert_eq!(rig.send("M25"), ["SD printing byte 500/1000", "ok"]);
    assert!(rig.send("M400").is_empty(), "held back");
    assert_eq!(rig.effects(), [Effect::Pause]);
    assert!(rig.wait(149).is_empty());
    assert_eq!(rig.wait(1), ["ok"]);
    assert_eq!(rig.send("M114"), ["X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0", "ok"]);
    rig.phase(JobPhase::Paused);
    assert!(rig.done(Done::Paused(Ok(()))).is_empty());
    assert_eq!(rig.send("M24"), ["ok"]);
    assert_eq!(rig.effects(), [Effect::Resume]);
    assert!(rig.phase(JobPhase::Printing).is_empty());
    assert!(rig.done(Done::Resumed(Ok(()))).is_empty());
}

/// OctoPrint's pause between its start and the printer's first sign of the job.
fn paused_early() -> Rig {
    let mut rig = Rig::connected();
    for line in ["M23 /cube.gco", "M24", "M25", "M400", "M114"] {
        rig.send(line);
    }
    rig.wait(150);
    assert_eq!(rig.effects(), [start("cube.gcode")]);
    let sent = |phase| Job { phase, ..job(1, JobOrigin::Gateway) };
    let told = rig.printer(|state| state.job = sent(JobPhase::Transferring));
    assert!(told.is_empty(), "{told:?}");
    assert!(rig.done(Done::Started(Ok(()))).is_empty());
    assert_eq!(rig.send("M27"), ["SD printing byte 0/1000", "ok"]);
    assert_eq!(rig.effects(), [Effect::Pause], "waits in the job room");
    rig
}

#[test]
fn a_pause_before_the_job_has_begun_is_passed_on_once() {
    let mut rig = paused_early();
    assert!(rig.phase(JobPhase::Preparing).is_empty());
    assert_eq!(rig.effects(), [], "said once");
    rig.phase(JobPhase::Paused);
    assert!(rig.done(Done::Paused(Ok(()))).is_empty());
    rig.send("M24");
    assert_eq!(rig.effects(), [Effect::Resume]);
}

#[test]
fn an_early_pause_that_is_refused_for_good_is_told() {
    let mut rig = paused_early();
    assert!(rig.phase(JobPhase::Printing).is_empty());
    let told = rig.done(Done::Paused(Err("No.".into())));
    assert_eq!(told, ["// action:notification No.", "// action:resumed"]);
}

#[test]
fn a_pause_that_the_printer_never_makes_is_not_believed_for_good() {
    let mut rig = Rig::printing();
    rig.printer(|state| state.device.job.stage = DeviceStage::Printing);
    rig.send("M25");
    rig.wait(300);
    assert_eq!(rig.effects(), [Effect::Pause]);
    assert!(rig.wait(39_000).is_empty());
    let told = rig.wait(2000);
    assert!(told[0].contains("has not paused"), "{told:?}");
    assert_eq!(told[1..], ["// action:resumed"]);
    let mut late = paused_early();
    late.phase(JobPhase::Preparing);
    assert!(late.wait(300_000).is_empty(), "a printer that prepares may take its time");
}

#[test]
fn a_pause_before_the_job_has_begun_is_taken_back_by_m24() {
    let mut rig = paused_early();
    assert_eq!(rig.send("M24"), ["ok"]);
    assert_eq!(rig.effects(), [Effect::Resume], "withdraws it in the job room");
    assert!(rig.done(Done::Paused(Ok(()))).is_empty());
    assert!(rig.done(Done::Resumed(Ok(()))).is_empty());
    assert!(rig.phase(JobPhase::Preparing).is_empty());
    assert_eq!(rig.effects(), []);
}

#[test]
fn a_job_that_ends_while_its_early_pause_waits_ends_for_a_paused_host() {
    let mut rig = paused_early();
    assert_eq!(rig.phase(JobPhase::Cancelled), ["// action:cancel"]);
    for line in ["M108", "M25", "M27", "M26 S0"] {
        rig.send(line);
    }
    rig.wait(1000);
    assert_eq!(rig.effects(), []);
}

#[test]
fn a_job_paused_before_it_has_begun_can_be_cancelled() {
    let mut rig = paused_early();
    for line in ["M108", "M25", "M27", "M26 S0"] {
        rig.send(line);
    }
    assert_eq!(rig.effects(), [Effect::Cancel]);
    assert_eq!(rig.send("M27"), ["Not SD printing", "ok"]);
}

#[test]
fn rule_7_and_10_the_byte_stands_still_while_paused() {
    let mut rig = Rig::printing();
    rig.send("M25");
    rig.wait(300);
    for phase in [JobPhase::Printing, JobPhase::Pausing, JobPhase::Paused] {
        let told = rig.printer(|state| {
            state.job.phase = phase;
            state.job.progress = 0.6;
            state.job.printed_s = 150.0;
        });
        assert!(told.is_empty(), "{told:?}");
        assert_eq!(rig.send("M27"), ["SD printing byte 500/1000", "ok"]);
    }
}

#[test]
fn rule_8_after_a_cancel_nothing_prints_any_more() {
    let mut rig = Rig::printing();
    for line in ["M108", "M25", "M27", "M26 S0"] {
        rig.send(line);
    }
    assert_eq!(rig.effects(), [Effect::Cancel]);
    assert_eq!(rig.send("M27"), ["Not SD printing", "ok"]);
    assert!(rig.wait(30_000).is_empty());
    assert!(
        rig.printer(|state| state.job.printed_s = 180.0).is_empty(),
        "the printer still prints for a while"
    );
    assert!(rig.phase(JobPhase::Cancelling).is_empty());
    assert!(rig.phase(JobPhase::Cancelled).is_empty());
    let told = rig.printer(|state| state.job = job(2, JobOrigin::Elsewhere));
    assert_eq!(told[0], "File opened: /cube.gco Size: 1000", "a genuine external start is shown");
}

#[test]
fn rule_8_a_refused_cancel_shows_the_print_again() {
    let mut rig = Rig::printing();
    rig.send("M25");
    rig.send("M26 S0");
    let told = rig.done(Done::Cancelled(Err("The printer refused.".into())));
    assert_eq!(told[0], "// action:notification The printer refused.");
    assert_eq!(told[2], "File selected");
}

#[test]
fn rule_9_a_job_under_preparation_prints_byte_0() {
    let mut rig = Rig::connected();
    rig.send("M23 cube.gco");
    rig.send("M24");
    for _ in 0..5 {
        assert_eq!(rig.send("M27"), ["SD printing byte 0/1000", "ok"]);
        assert!(rig.wait(1000).is_empty());
    }
    for phase in [JobPhase::Transferring, JobPhase::Starting, JobPhase::Preparing] {
        let told =
            rig.printer(|state| state.job = Job { phase, progress: 0.0, ..job(1, JobOrigin::Gateway) });
        assert!(told.is_empty());
        assert_eq!(rig.send("M27"), ["SD printing byte 0/1000", "ok"]);
    }
}

#[test]
fn rule_11_a_finished_print_says_so() {
    let mut rig = Rig::printing();
    assert_eq!(rig.phase(JobPhase::Complete), ["SD printing byte 1000/1000", "Done printing file"]);
    assert_eq!(rig.send("M27"), ["Not SD printing", "ok"]);
    let mut rig = Rig::printing();
    rig.phase(JobPhase::Paused);
    assert_eq!(rig.phase(JobPhase::Complete)[0], "// action:resumed");
}

#[test]
fn rule_12_m25_is_a_pause_after_300_ms_or_a_cancel_before() {
    let mut rig = Rig::printing();
    rig.send("M25");
    rig.wait(299);
    assert_eq!(rig.effects(), []);
    rig.wait(1);
    assert_eq!(rig.effects(), [Effect::Pause]);
    rig.phase(JobPhase::Paused);
    rig.done(Done::Paused(Ok(())));
    rig.send("M25");
    rig.send("M26 S0");
    assert_eq!(rig.effects(), [Effect::Cancel], "also while paused, and never a second pause");
    let mut rig = Rig::printing();
    rig.send("M524");
    assert_eq!(rig.effects(), [Effect::Cancel]);
}

#[test]
fn a_pause_by_name_is_nobody_elses() {
    let paused = |lines: &[String]| lines.iter().any(|line| line == "// action:paused");
    let explained = |lines: &[String]| lines.iter().any(|line| line.contains("by another client"));
    let mut rig = Rig::printing();
    rig.send("M600");
    assert_eq!(rig.effects(), [Effect::Pause]);
    let told = rig.phase(JobPhase::Paused);
    assert!(paused(&told) && !explained(&told), "{told:?}");
    let mut refused = Rig::printing();
    refused.send("M600");
    refused.done(Done::Paused(Err("The printer is busy.".to_owned())));
    let told = refused.phase(JobPhase::Paused);
    assert!(paused(&told) && explained(&told), "{told:?}");
}

#[test]
fn rule_13_the_burst_after_a_cancel_is_swallowed() {
    let burst = ["M84", "M104 T0 S0", "M140 S0", "M106 S0"];
    let mut rig = Rig::printing();
    rig.send("M25");
    rig.send("M26 S0");
    rig.effects();
    for line in burst {
        let answer = rig.send(line);
        assert!(answer[0].starts_with("echo:Ignored M") && answer[1] == "ok", "{answer:?}");
    }
    rig.phase(JobPhase::Cancelled);
    rig.printer(|state| state.job = job(2, JobOrigin::Elsewhere));
    rig.wait(60_000);
    for line in burst {
        rig.send(line);
    }
    assert_eq!(rig.effects(), [], "another's print is protected");
    rig.phase(JobPhase::Complete);
    rig.wait(60_000);
    rig.send("M104 S0");
    assert_eq!(rig.effects(), [Effect::Send(Command::SetNozzle { tool: 0, target: 0.0 })]);
}

#[test]
fn rule_14_and_16_trouble_is_told_by_notifications_only() {
    let mut rig = Rig::printing();
    let mut told = rig.done(Done::Sent(Err("Error: !! start busy: processing".into())));
    told.extend(rig.done(Done::Sent(Err("busy: processing".into()))));
    told.extend(rig.phase(JobPhase::Failed));
    told.extend(rig.send("M221 S90"));
    for line in &told {
        for wrong in ["Error", "!!", "fatal:", "start", "busy:", "echo:busy"] {
            assert!(!line.starts_with(wrong), "{line}");
        }
    }
    assert!(told[1].starts_with("// action:notification Error: !!"));
}

#[test]
fn rule_15_the_handshake_never_contains_start() {
    let mut rig = Rig::new();
    let mut told = Vec::new();
    for line in ["N0 M110 N0*125", "N0 M110 N0*125", "N1 M115*39", "M21", "M155 S2"] {
        told.extend(rig.send(line));
    }
    assert!(!told.join("\n").to_lowercase().contains("start"));
}

#[test]
fn rule_17_unknown_words_are_told() {
    let mut rig = Rig::connected();
    assert_eq!(rig.send("M9999 X1"), [r#"echo:Unknown command: "M9999 X1""#, "ok"]);
    assert_eq!(rig.send("?%&"), [r#"echo:Unknown command: "?%&""#, "ok"]);
}

#[test]
fn rule_19_a_streamed_file_is_refused_before_anything_moves() {
    let mut rig = Rig::with(StreamedPrints::Refuse);
    rig.handshake();
    rig.send("N0 M110 N0*125");
    let answer = rig.numbered(1, "G28");
    assert!(answer[0].starts_with("// action:notification This printer cannot print files streamed"));
    assert_eq!(answer[1..], ["// action:cancel", "ok"]);
    for (number, line) in [(2, "G1 X10 E1"), (3, "M84"), (4, "M104 T0 S0")] {
        assert_eq!(rig.numbered(number, line), ["ok"]);
    }
    assert_eq!(rig.effects(), []);
    rig.wait(10_000);
    rig.send("M104 S100");
    assert_eq!(rig.effects(), [Effect::Send(Command::SetNozzle { tool: 0, target: 100.0 })]);
}

#[test]
fn rule_20_m24_starts_only_what_the_last_m23_selected() {
    let mut rig = Rig::connected();
    rig.send("M23 /cube.gco");
    assert_eq!(rig.send("M23 /gone.gco"), ["open failed, File: /gone.gco.", "ok"]);
    assert_eq!(rig.send("M24")[0], "ok");
    assert_eq!(rig.effects(), []);
    assert_eq!(rig.wait(300), ["Not SD printing"; 3]);
}

#[test]
fn a_wrong_checksum_asks_for_the_line_again() {
    let mut rig = Rig::connected();
    rig.send("N0 M110 N0*125");
    assert_eq!(rig.send("N1 M105*1"), ["Error:checksum mismatch, Last Line: 0", "Resend: 1", "ok"]);
    assert_eq!(rig.send("N1 M105*x")[1], "Resend: 1");
    // Numbers have 32 bits; what is more was found by the fuzzer.
    rig.send("M110 N99999999999999999999");
    assert_eq!(rig.send("N1 M105*x")[1], "Resend: 2147483648");
    assert_eq!(rig.send("N99999999999 M105")[0], "Error:format error, Last Line: 2147483647");
}

#[test]
fn an_emergency_stop_passes_a_held_reply_and_acts_once() {
    let mut rig = Rig::printing();
    rig.send("M400");
    assert!(rig.send("M112").is_empty());
    assert_eq!(rig.effects(), [Effect::Send(Command::EmergencyStop)]);
    assert_eq!(rig.wait(150), ["ok", "ok"]);
    assert_eq!(rig.numbered(5, "M112"), ["ok"]);
    assert_eq!(rig.effects(), []);
    rig.dialogue.opened();
    rig.handshake();
    let told = rig.printer(|state| state.device.bed.actual = Some(1.0));
    assert!(told.is_empty(), "told during the handshake already: {told:?}");
}

#[test]
fn positions_are_reported_by_themselves_when_asked() {
    let mut rig = Rig::connected();
    assert_eq!(rig.send("M154 S2"), ["ok"]);
    assert_eq!(rig.wait(4000), ["X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0"; 2]);
    assert_eq!(rig.send("M154 S0"), ["ok"]);
    assert!(rig.wait(10_000).is_empty());
}

#[test]
fn m118_speaks_to_the_host() {
    let mut rig = Rig::connected();
    assert_eq!(rig.send("M118 hello there"), ["echo:hello there", "ok"]);
    assert_eq!(rig.send("M118 E1 hello"), ["echo:hello", "ok"]);
    assert_eq!(rig.send("M118 A1 action:notification hi")[0], "// action:notification hi");
    assert!(rig.send("M118 A1 Not SD printing")[0].starts_with("// N-ot SD"));
}

/// Pronterface and the like: no M115, no wish for news, an M20 at most.
#[test]
fn a_host_that_asks_for_nothing_can_steer_its_print() {
    let mut rig = Rig::new();
    rig.send("M23 cube.gco");
    assert_eq!(rig.send("M24"), ["ok"]);
    rig.printer(|state| state.job = job(1, JobOrigin::Gateway));
    rig.done(Done::Started(Ok(())));
    rig.effects();
    assert_eq!(rig.send("M27")[0], "SD printing byte 500/1000");
    rig.send("M25");
    rig.wait(300);
    assert_eq!(rig.effects(), [Effect::Pause]);
    rig.phase(JobPhase::Paused);
    rig.done(Done::Paused(Ok(())));
    rig.send("M24");
    assert_eq!(rig.effects(), [Effect::Resume]);
    let mut unseen = Rig::new();
    unseen.printer(|state| state.job = job(1, JobOrigin::Elsewhere));
    unseen.send("M25");
    unseen.wait(300);
    assert_eq!(unseen.effects(), [Effect::Pause], "a print that it was not told of");
}

#[test]
fn m112_can_be_a_cancel_or_nothing() {
    for (stop, printing, effects) in [
        (SerialStop::Cancel, true, vec![Effect::Cancel]),
        (SerialStop::Disconnect, true, vec![]),
        (SerialStop::Cancel, false, vec![Effect::Send(Command::SetBed { target: 0.0 })]),
        (SerialStop::Disconnect, false, vec![Effect::Send(Command::SetBed { target: 0.0 })]),
    ] {
        let mut rig = if printing { Rig::printing() } else { Rig::connected() };
        rig.dialogue.stop = stop;
        for line in ["M112", "M112", "M140 S0"] {
            rig.send(line);
        }
        assert_eq!(rig.effects(), effects, "{stop:?}, printing: {printing}");
    }
}

#[test]
fn waits_for_temperatures_are_acknowledged_at_once() {
    let mut rig = Rig::connected();
    assert_eq!(rig.send("M109 S215"), ["ok"]);
    assert_eq!(rig.send("M190 S60"), ["ok"]);
    let expected = [
        Effect::Send(Command::SetNozzle { tool: 0, target: 215.0 }),
        Effect::Send(Command::SetBed { target: 60.0 }),
    ];
    assert_eq!(rig.effects(), expected);
}

#[test]
fn an_unreachable_printer_has_no_card_and_says_why() {
    let mut rig = Rig::new();
    rig.printer(|state| {
        state.link.phase = LinkPhase::Backoff;
        state.device.bed.target = Some(60.0);
        state.link.fault = Some(LinkFault {
            code: "MG-X".into(),
            text: "The access code was refused.".into(),
            remedy: "Read it again on the printer.".into(),
            permanent: true,
        });
    });
    rig.send("N1 M115*39");
    let told = rig.send("M21");
    let sentence = "// action:notification The access code was refused. Read it again on the printer.";
    assert_eq!(told, ["echo:No media", sentence, "ok"]);
    assert_eq!(rig.send("M105"), ["ok T:21.0 /0.0 B:22.0 /0.0 @:0 B@:0"]);
    let told = rig.printer(|state| {
        state.link.phase = LinkPhase::Online;
        state.link.fault = None;
    });
    assert_eq!(told, ["// action:notification The printer is connected again.", "// action:sd_inserted"]);
}
