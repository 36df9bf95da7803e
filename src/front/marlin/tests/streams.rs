//! Streamed prints that are assembled (design D11).

use super::*;

fn stream(rig: &mut Rig, lines: &[&str]) -> Vec<String> {
    rig.send("N0 M110 N0*125");
    let mut told = Vec::new();
    for (number, line) in (1..).zip(lines) {
        let answer = rig.numbered(number, line);
        assert_eq!(answer.iter().filter(|line| line.starts_with("ok")).count(), 1, "{answer:?}");
        told.extend(answer.into_iter().filter(|line| !line.starts_with("ok")));
    }
    told
}

const WHOLE: [&str; 8] = ["M1002 x", "M104 S200", "G28", "G90", "G1 X10 Y10 E1", "M104 S0", "M84", "M400"];

#[test]
fn a_whole_file_for_this_printer_is_printed_when_it_has_come() {
    let mut rig = Rig::connected();
    stream(&mut rig, &WHOLE);
    assert_eq!(rig.effects(), [Effect::BeginWrite(String::new())]);
    rig.send("M105");
    rig.wait(5000);
    let effects = rig.effects();
    let [Effect::Write(text), Effect::FinishStream] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(text.starts_with(b"M1002 x\nM104 S200\n") && text.ends_with(b"M84\nM400\n"));
    rig.done(Done::Streamed(Ok(())));
    let told = rig.printer(|state| state.job = job(1, JobOrigin::Gateway));
    assert_eq!(told[1], "File selected", "shown as a print of its own");
}

/// What the user is told of a stream that is not printed.
fn objection(rig: &mut Rig, lines: &[&str]) -> String {
    stream(rig, lines);
    let told = rig.wait(60_000);
    assert_eq!(rig.effects(), [Effect::BeginWrite(String::new()), Effect::AbortWrite], "{lines:?}: {told:?}");
    told.first().cloned().unwrap_or_default()
}

#[test]
fn a_file_for_another_printer_or_without_an_end_is_not_printed() {
    let cases: [(&[&str], &str); 7] = [
        (&["G28", "G1 X1 E1", "M104 S0", "M400"], "not sliced for the Bambu Lab P1S"),
        (&["M1002 x", "G28", "G1 X1 E1", "M400"], "not complete"),
        (&["M1002 x", "G28", "G1 X1 E1", "M104 S0"], "not complete"),
        (&["M1002 x", "G1 X1 E1", "M104 S0", "M400"], "without having homed"),
        (&["M1002 x", "G28", "G1 X900 E1", "M104 S0", "M400"], "goes to X 900 mm"),
        (&["M1002 x", "G28", "M104 S400", "G1 X9 E1", "M104 S0", "M400"], "heats the nozzle to 400"),
        (&["M1002 x", "G28", "M190 R130", "G1 X9 E1", "M104 S0", "M400"], "the bed to 130"),
    ];
    for (lines, why) in cases {
        let told = objection(&mut Rig::connected(), lines);
        assert!(told.contains(why), "{told}");
    }
}

/// A printer whose slices have no word of their own, as the Centauri Carbon's.
fn takes_any() -> Rig {
    let mut rig = Rig::connected();
    let caps = Arc::make_mut(&mut rig.view.caps);
    caps.gcode_markers.clear();
    caps.files.gcode = true;
    rig
}

#[test]
fn a_printer_that_takes_any_gcode_takes_what_stays_within_its_limits() {
    for file in [
        include_str!("../../../../fixtures/gcode/prusaslicer-2.5.0/box.gcode"),
        include_str!("../../../../fixtures/gcode/curaengine-4.13.0/box.gcode"),
    ] {
        let mut rig = takes_any();
        // As OctoPrint sends it: no comments, no empty lines, and an M400 at the end.
        let lines = file.lines().map(|line| line.split(';').next().unwrap_or_default().trim());
        let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).chain(["M400"]).collect();
        stream(&mut rig, &lines);
        rig.wait(5000);
        assert_eq!(rig.effects().last(), Some(&Effect::FinishStream));
    }
}

#[test]
fn a_printer_that_takes_any_gcode_takes_nothing_that_could_harm_it() {
    let cases: [(&[&str], &str); 8] = [
        (&["G1 X1 E1", "M104 S0", "M400"], "without having homed"),
        (&["G28 X Y", "G1 X1 E1", "M104 S0", "M400"], "without having homed"),
        (&["G28", "G1 X1 E1 Y-90", "M104 S0", "M400"], "goes to Y -90 mm"),
        (&["G28", "G91", "G1 Z200", "G1 Z200 E1", "M104 S0", "M400"], "goes to Z 400 mm"),
        (&["G28", "G1 X200", "G92 X0", "G1 X100 E1", "M104 S0", "M400"], "goes to X 300 mm"),
        (&["G28", "G20", "G1 X1 E1", "M104 S0", "M400"], "inches"),
        (&["M92 E400", "G28", "G1 X1 E1", "M104 S0", "M400"], "another machine: M92"),
        (&["M862.3 P \"MK3S\"", "G28", "G1 X1 E1", "M104 S0", "M400"], "another machine: M862.3"),
    ];
    for (lines, why) in cases {
        let told = objection(&mut takes_any(), lines);
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn what_a_printer_is_decides_when_the_stream_ends_not_when_the_port_opens() {
    let mut rig = takes_any();
    let lines = ["G28", "G1 X1 E1", "M104 S0", "M400"];
    stream(&mut rig, &lines);
    Arc::make_mut(&mut rig.view.caps).gcode_markers = vec!["M1002".to_owned()];
    assert!(rig.wait(5000)[0].contains("not sliced for"));
}

#[test]
fn a_printer_that_may_not_be_controlled_takes_no_stream() {
    let mut rig = Rig::connected();
    rig.printer(|state| state.control = Control::ReadOnly("Developer mode is off.".into()));
    let told = stream(&mut rig, &WHOLE);
    assert!(told[0].contains("does not permit control"), "{told:?}");
    assert_eq!(rig.effects(), []);
}

#[test]
fn a_pause_of_the_host_is_no_end() {
    let mut rig = Rig::connected();
    stream(&mut rig, &["M1002 x", "G28", "G1 X1 E1", "M104 S0", "M400"]);
    rig.send("M400");
    rig.wait(600_000);
    assert_eq!(rig.effects(), [Effect::BeginWrite(String::new())]);
    rig.numbered(6, "M400");
    rig.wait(5000);
    assert_eq!(rig.effects().last(), Some(&Effect::FinishStream));
}

/// As OctoPrint pauses while it streams: all its lines are numbered then.
#[test]
fn a_numbered_pause_of_the_host_is_answered_and_no_part_of_the_file() {
    let mut rig = Rig::connected();
    stream(&mut rig, &["M1002 x", "G28", "G1 X1 E1", "M400"]);
    let answer = rig.numbered(5, "M114");
    assert!(answer[0].starts_with("X:") && answer[0].contains(" E:"), "{answer:?}");
    assert_eq!(answer.last().map(String::as_str), Some("ok"));
    rig.wait(600_000);
    assert_eq!(rig.effects(), [Effect::BeginWrite(String::new())]);
    for (number, line) in (6..).zip(["G1 X2 E2", "M104 S0", "M400"]) {
        rig.numbered(number, line);
    }
    rig.wait(5000);
    let effects = rig.effects();
    let [Effect::Write(text), Effect::FinishStream] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(!text.windows(4).any(|word| word == b"M114"));
}

#[test]
fn a_tool_switched_off_in_the_middle_of_a_file_is_not_its_end() {
    for (extruder, more, ends) in
        [("M83", "G1 X2 E0.1", false), ("M82", "G1 X2 E3", false), ("M82", "G1 X2 E1.5", true)]
    {
        let mut rig = Rig::connected();
        stream(&mut rig, &["M1002 x", "G28", extruder, "G1 X1 E2", "M104 T1 S0", more, "M400"]);
        rig.wait(60_000);
        assert_eq!(rig.effects().last() == Some(&Effect::FinishStream), ends, "{extruder} {more}");
    }
}

#[test]
fn a_wait_in_the_middle_of_a_file_is_no_end() {
    let mut rig = Rig::connected();
    stream(&mut rig, &["M1002 x", "G28", "M400"]);
    rig.wait(30_000);
    for (number, line) in (4..).zip(["G1 X1 E1", "M104 S0", "M400"]) {
        rig.numbered(number, line);
    }
    rig.wait(5000);
    assert_eq!(rig.effects().last(), Some(&Effect::FinishStream));
}

#[test]
fn a_cancelled_stream_leaves_nothing() {
    let mut rig = Rig::connected();
    stream(&mut rig, &["M1002 x", "G1 X1 E1", "M108", "M84", "M104 T0 S0", "M140 S0", "M106 S0"]);
    rig.wait(100_000);
    assert_eq!(rig.effects(), [Effect::BeginWrite(String::new()), Effect::AbortWrite]);
}

#[test]
fn lines_that_a_host_sends_again_are_in_the_file_once() {
    let mut rig = Rig::connected();
    rig.send("N0 M110 N0*125");
    rig.numbered(1, "M1002 x");
    rig.numbered(2, "G1 X1 E1");
    // One is lost, and the host goes further back than it was asked to.
    assert_eq!(rig.numbered(4, "G1 X3 E1")[1], "Resend: 3");
    for (number, line) in
        (1..).zip(["M1002 x", "G1 X1 E1", "G1 X2 E1", "G1 X3 E1", "what is this?", "what is this?"])
    {
        assert_eq!(rig.numbered(number.min(5), line), ["ok"]);
    }
    rig.effects();
    // Until a piece is full.
    for number in 6..4000 {
        rig.numbered(number, "G1 X10.123 Y20.456 E1");
    }
    let file = "M1002 x\nG1 X1 E1\nG1 X2 E1\nG1 X3 E1\nwhat is this?\nG1 X10.123 ";
    let pieces: Vec<u8> = rig
        .effects()
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Write(piece) => Some(piece.to_vec()),
            _ => None,
        })
        .flatten()
        .collect();
    assert!(pieces.starts_with(file.as_bytes()), "{}", String::from_utf8_lossy(&pieces[..80]));
}

#[test]
fn a_host_that_numbers_everything_is_no_stream() {
    let mut rig = Rig::new();
    rig.send("N0 M110 N0*125");
    for (number, line) in (1..).zip(["M115", "M21", "M155 S2", "M20", "M104 S100", "G91", "G1 X10"]) {
        rig.numbered(number, line);
    }
    assert!(rig.effects().contains(&Effect::Send(Command::SetNozzle { tool: 0, target: 100.0 })));
    stream(&mut rig, &["M1002 x"]);
    assert_eq!(rig.effects(), [Effect::BeginWrite(String::new())]);
}

#[test]
fn a_flood_of_printing_moves_without_numbers_is_stopped() {
    let mut rig = Rig::connected();
    rig.send("M83");
    let told: Vec<String> = (0..40).flat_map(|n| rig.send(&format!("G1 X{n} E0.1"))).collect();
    assert_eq!(told.iter().filter(|line| *line == "// action:cancel").count(), 1);
}

#[test]
fn nothing_is_assembled_while_the_printer_is_busy() {
    let mut rig = Rig::printing();
    let told = stream(&mut rig, &WHOLE);
    assert!(told[0].contains("(the printer is busy)"), "{told:?}");
    assert_eq!(rig.effects(), []);
}

#[test]
fn a_print_begun_in_the_middle_of_the_handshake_is_a_file_only_after_the_number_reset() {
    let mut rig = Rig::new();
    for line in ["N0 M110 N0*125", "N0 M110 N0*125", "N1 M115*39", "M21"] {
        rig.send(line);
    }
    assert_eq!(rig.numbered(2, "M155 S0"), ["ok"]);
    assert_eq!(rig.numbered(3, "M876 P1"), ["ok"]);
    assert_eq!(rig.numbered(4, "M20 L T").last().map(String::as_str), Some("ok"));
    rig.effects();
    stream(&mut rig, &WHOLE);
    assert_eq!(rig.effects(), [Effect::BeginWrite(String::new())]);
}

#[test]
fn the_burst_after_a_refused_stream_is_no_file_though_numbers_begin_anew() {
    let mut rig = Rig::with(StreamedPrints::Refuse);
    rig.handshake();
    stream(&mut rig, &WHOLE[..2]);
    let told = stream(&mut rig, &["M84", "M104 T0 S0", "M140 S0", "M106 S0"]);
    assert!(told.iter().all(|line| line.starts_with("echo:Ignored")), "{told:?}");
    assert_eq!(rig.effects(), []);
}

/// printrun's hosts never ask for the firmware; their prints begin with `N-1 M110` and line 0.
#[test]
fn a_stream_of_a_host_that_only_polls_is_recognised_at_its_first_line() {
    let mut rig = Rig::new();
    assert_eq!(rig.send("M105").len(), 1);
    rig.numbered(-1, "M110");
    for (number, line) in (0..).zip(WHOLE) {
        rig.numbered(number, line);
    }
    rig.wait(5000);
    let effects = rig.effects();
    let [Effect::BeginWrite(_), Effect::Write(text), Effect::FinishStream] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert!(text.starts_with(b"M1002 x\nM104 S200\n"), "nothing of it reached the printer by itself");
}
