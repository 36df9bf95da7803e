use super::*;

#[test]
fn deletion_is_answered_when_it_is_done() {
    let mut rig = Rig::connected();
    assert!(rig.send("M30 /cube.gco").is_empty());
    assert_eq!(rig.effects(), [Effect::Delete { path: "cube.gcode".into(), short: "cube.gco".into() }]);
    let told = rig.done(Done::Deleted { short: "cube.gco".into(), result: Ok(()) });
    assert_eq!(told, ["File deleted:cube.gco", "ok"]);
    assert_eq!(rig.send("M30 /cube.gco"), ["Deletion failed, File:/cube.gco.", "ok"]);
    rig.send("M30 /long_n~1.gco");
    assert_eq!(rig.wait(4000), ["ok"], "a slow printer does not hang the host");
}

#[test]
fn a_changed_list_is_told_when_the_host_can_take_it() {
    let mut rig = Rig::printing();
    rig.dialogue.files(&[entry("new.gcode", 5)], &rig.view);
    assert!(rig.lines().is_empty());
    rig.phase(JobPhase::Complete);
    assert_eq!(rig.wait(2000), ["// action:sd_updated"]);
    rig.dialogue.files(&[entry("new.gcode", 6)], &rig.view);
    assert_eq!(rig.lines(), ["// action:sd_updated"]);
    rig.dialogue.files(&[entry("new.gcode", 6)], &rig.view);
    assert!(rig.lines().is_empty());
}

#[test]
fn a_list_that_changes_with_the_end_of_a_print_is_told_when_the_host_is_done_with_it() {
    let mut rig = Rig::printing();
    rig.phase(JobPhase::Complete);
    rig.dialogue.files(&[entry("new.gcode", 5)], &rig.view);
    assert!(rig.lines().is_empty(), "OctoPrint finishes the print and would ignore it");
    assert_eq!(rig.wait(2000), ["// action:sd_updated"]);
}

#[test]
fn an_empty_list_and_a_long_one() {
    let mut rig = Rig::connected();
    rig.dialogue.files(&[], &rig.view);
    rig.lines();
    assert_eq!(rig.send("M20"), ["Begin file list", "End file list", "ok"]);
    let many: Vec<Entry> = (0..500).map(|n| entry(&format!("Some long name {n}.gcode"), n)).collect();
    rig.dialogue.files(&many, &rig.view);
    rig.lines();
    let answer = rig.send("M20");
    assert_eq!(answer.len(), 503);
    let names: std::collections::BTreeSet<&str> = answer
        .iter()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| name.ends_with(".gco"))
        .collect();
    assert_eq!(names.len(), 500);
    assert!(names.iter().all(|name| name.len() <= 12), "8.3");
}

#[test]
fn an_upload_over_the_port_becomes_a_file() {
    let mut rig = Rig::connected();
    rig.send("M20");
    rig.send("N0 M110 N0*125");
    assert_eq!(rig.send("M28 /hello_~1.gco"), ["Writing to file: hello_~1.gco", "ok"]);
    rig.effects();
    assert_eq!(rig.numbered(1, "G28"), ["ok"]);
    assert_eq!(rig.numbered(2, "SOME words % of 1ts own"), ["ok"]);
    assert_eq!(rig.numbered(2, "SOME words % of 1ts own"), ["ok"], "a repeated line is not written twice");
    assert_eq!(rig.numbered(4, "G1 X1")[1], "Resend: 3", "a missing one is asked for");
    assert_eq!(rig.numbered(3, "M117 x"), ["ok"]);
    assert!(rig.numbered(4, "M29").is_empty(), "until the library has it");
    let text = "G28\nSOME words % of 1ts own\nM117 x\n";
    assert_eq!(rig.effects(), [Effect::Write(text.into()), Effect::EndWrite]);
    assert_eq!(rig.done(Done::Written(Ok(()))), ["Done saving file.", "ok"]);
}

#[test]
fn an_upload_of_a_host_that_numbers_everything_becomes_a_file_and_no_print() {
    let mut rig = Rig::connected();
    rig.send("N0 M110 N0*125");
    assert_eq!(rig.numbered(1, "M28 /hello_~1.gco"), ["Writing to file: hello_~1.gco", "ok"]);
    assert_eq!(rig.effects(), [Effect::BeginWrite("hello_~1.gcode".into())]);
    assert_eq!(rig.numbered(2, "G28"), ["ok"]);
    assert!(rig.numbered(3, "M29").is_empty(), "until the library has it");
    assert_eq!(rig.effects(), [Effect::Write("G28\n".into()), Effect::EndWrite]);
    assert_eq!(rig.done(Done::Written(Ok(()))), ["Done saving file.", "ok"]);
}

#[test]
fn a_binary_upload_is_refused_without_hanging_the_host() {
    let mut rig = Rig::connected();
    let answer = rig.send("M28 B1 x.gco");
    assert_eq!(answer[0], "Writing to file: B1 x.gco");
    assert_eq!(answer[2..], ["// action:cancel", "ok"]);
    assert_eq!(rig.numbered(1, "G28"), ["ok"]);
    assert_eq!(rig.numbered(2, "M29"), ["Done saving file.", "ok"]);
    assert_eq!(rig.effects(), []);
    rig.send("M28 y.gco");
    let answer = rig.send("PK\u{3}\u{4}\u{0}");
    assert_eq!(answer[1..], ["// action:cancel", "ok"]);
    assert_eq!(rig.effects(), [Effect::BeginWrite("y.gcode".into()), Effect::AbortWrite]);
}

/// printrun's `startprint` begins with `N-1 M110`, also behind the M28 of an upload.
#[test]
fn an_upload_whose_numbers_begin_anew_behind_its_name_becomes_a_file() {
    let mut rig = Rig::connected();
    assert_eq!(rig.send("M28 part.gco"), ["Writing to file: part.gco", "ok"]);
    assert_eq!(rig.numbered(-1, "M110"), ["ok"]);
    assert_eq!(rig.numbered(0, "G28"), ["ok"]);
    assert_eq!(rig.numbered(2, "G1 X1")[1], "Resend: 1");
    assert_eq!(rig.numbered(1, "M117 x"), ["ok"]);
    assert!(rig.send("M29").is_empty(), "until the library has it");
    let began = Effect::BeginWrite("part.gcode".into());
    assert_eq!(rig.effects(), [began.clone(), Effect::Write("G28\nM117 x\n".into()), Effect::EndWrite]);
    rig.done(Done::Written(Ok(())));

    rig.effects();
    rig.send("M28 part.gco");
    rig.numbered(-1, "M110");
    rig.numbered(0, "G28");
    rig.send("N0 M110 N0*125");
    assert_eq!(rig.effects(), [began, Effect::AbortWrite], "a host that greets anew has left its file");
}

#[test]
fn a_long_name_is_told() {
    let mut rig = Rig::connected();
    rig.dialogue.files(&[entry("sub/Long name 20mm.gcode", 5)], &rig.view);
    rig.lines();
    let short = rig.send("M20")[1].split(' ').next().unwrap().to_owned();
    rig.effects();
    for command in [format!("M33 {short}"), format!("m33 /{short} ; where is it")] {
        assert_eq!(rig.send(&command), ["/sub/Long name 20mm.gcode", "ok"], "{command}");
    }
    assert_eq!(rig.send("M33 nope.gco"), ["open failed, File: nope.gco.", "ok"]);
    assert_eq!(rig.send("M33"), ["open failed, File: .", "ok"]);
    assert!(rig.effects().is_empty(), "nothing for the printer");
}
