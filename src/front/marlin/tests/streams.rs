//! Streamed prints that are assembled (design D11).

use super::*;

fn stream(rig: &mut Rig, lines: &[&str]) -> Vec<String> {
    rig.send("N0 M110 N0*125");
    let mut told = Vec::new();
    for (number, line) in (1..).zip(lines) {
        let answer = rig.numbered(number, line);
        assert_eq!(answer.iter().filter(|line| *line == "ok").count(), 1, "{answer:?}");
        told.extend(answer.into_iter().filter(|line| line != "ok"));
    }
    told
}

const WHOLE: [&str; 7] = ["M1002 x", "M104 S200", "G90", "G1 X10 Y10 E1", "M104 S0", "M84", "M400"];

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

#[test]
fn a_file_for_another_printer_or_without_an_end_is_not_printed() {
    let cases: [(&[&str], &str); 4] = [
        (&["M862 x", "G1 X1 E1", "M104 S0", "M400"], "not sliced for"),
        (&["M1002 x", "G1 X1 E1", "M400"], "not complete"),
        (&["M1002 x", "G1 X900 E1", "M104 S0", "M400"], "goes to X 900 mm"),
        (&["M1002 x", "M104 S400", "G1 X9 E1", "M104 S0", "M400"], "heats the nozzle to 400"),
    ];
    for (lines, why) in cases {
        let mut rig = Rig::connected();
        stream(&mut rig, lines);
        let told = rig.wait(5000);
        assert!(told[0].contains(why), "{told:?}");
        assert_eq!(rig.effects(), [Effect::BeginWrite(String::new()), Effect::AbortWrite]);
    }
}

#[test]
fn a_pause_of_the_host_is_no_end() {
    let mut rig = Rig::connected();
    stream(&mut rig, &["M1002 x", "G1 X1 E1", "M104 S0", "M400"]);
    rig.send("M400");
    rig.wait(600_000);
    assert_eq!(rig.effects(), [Effect::BeginWrite(String::new())]);
    rig.numbered(5, "M400");
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
