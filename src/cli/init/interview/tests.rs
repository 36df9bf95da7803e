use super::*;
use crate::secret::Secret;

fn found(kind: &'static str, name: &str) -> FoundPrinter {
    FoundPrinter {
        kind,
        address: "192.168.1.50".parse().ok(),
        name: Some(name.to_owned()),
        model: Some("P1S".to_owned()),
        serial: (kind == "bambu").then(|| "01P00A000000001".to_owned()),
        firmware: None,
        needs_code: kind == "bambu",
        lan_only: None,
    }
}

fn step(verdict: Verdict, fault: Option<&str>) -> Step {
    let told = "login refused.".to_owned();
    Step { what: "login".to_owned(), verdict, milliseconds: 1, told, fault: fault.map(ToOwned::to_owned) }
}

/// The outcome, and everything that was said.
fn talk_with(
    found: &[FoundPrinter],
    answers: &str,
    mut tester: impl FnMut(&PrinterConfig) -> Vec<Step>,
) -> (Vec<Answered>, bool, String) {
    let mut said = Vec::new();
    let terminal = Terminal { input: answers.as_bytes(), output: &mut said };
    let tell = |printer: &PrinterConfig, tell: &mut dyn FnMut(&Step)| {
        let steps = tester(printer);
        steps.iter().for_each(tell);
        steps
    };
    let interview = Interview::new(terminal, tell, Environment::of(&[]));
    let (printers, open) = interview.hold(found).expect("streams in memory");
    (printers, open, String::from_utf8(said).expect("text"))
}

fn talk(found: &[FoundPrinter], answers: &str) -> (Vec<Answered>, bool) {
    let (printers, open, _) = talk_with(found, answers, |_| Vec::new());
    (printers, open)
}

fn code(config: &PrinterConfig) -> Option<&str> {
    config.access_code.as_ref().map(Secret::expose)
}

#[test]
fn answers_become_a_configuration_that_checks() {
    let seen = [found("bambu", "My \"P1S\"!"), found("elegoo_cc1", "My P1S")];
    let (printers, open) = talk(&seen, "\n\n12345678\ny\n\ny\nelegoo_cc2\n10.0.0.7\ncc2\n\nn\ny\n");
    let names: Vec<&str> = printers.iter().map(|printer| printer.name.as_str()).collect();
    assert_eq!(names, ["my-p1s", "my-p1s-2", "cc2"]);
    assert!(open);
    let config = Config::parse(&configuration(&printers, open), &Environment::of(&[])).expect("valid");
    assert_eq!(code(&config.printers[0]), Some("12345678"));
    assert_eq!(config.printers[0].title, "My \"P1S\"!");
    assert_eq!(config.printers[2].host, "10.0.0.7");
    assert!(!config.gateway.listen.is_loopback() && config.gateway.announce);
}

#[test]
fn the_end_of_the_input_is_no_answer() {
    let whole = "y\n\n1\ny\nbambu\n10.0.0.7\n01P00A000000002\np1s\n2\nn\nn\n";
    let seen = [found("bambu", "x")];
    assert_eq!(talk(&seen, whole).0.len(), 2);
    for (end, _) in whole.match_indices('\n') {
        let mut said = Vec::new();
        let terminal = Terminal { input: &whole.as_bytes()[..end - end.min(1)], output: &mut said };
        let tester = |_: &PrinterConfig, _: &mut dyn FnMut(&Step)| Vec::new();
        let held = Interview::new(terminal, tester, Environment::of(&[])).hold(&seen);
        assert_eq!(held.expect_err("it ended").kind(), ErrorKind::UnexpectedEof, "after {end} bytes");
    }
}

#[test]
fn quotes_in_an_answer_stay_what_they_are() {
    let (printers, open) = talk(&[], "y\nbambu\n10.0.0.7\n01P\" x\np1s\n12\"3\nn\nn\n");
    assert_eq!((printers.len(), open), (1, false));
    let config = Config::parse(&configuration(&printers, open), &Environment::of(&[])).expect("quoted");
    assert_eq!(code(&config.printers[0]), Some("12\"3"));
}

#[test]
fn a_wrong_code_is_told_and_asked_for_again() {
    let wrong_first = |config: &PrinterConfig| match code(config) {
        Some("12345678") => vec![step(Verdict::Fine, None)],
        _ => vec![step(Verdict::Bad, Some("MG-BAMBU-AUTH"))],
    };
    let (printers, _, said) = talk_with(&[found("bambu", "x")], "y\n\n999\ny\n12345678\nn\nn\n", wrong_first);
    assert_eq!(printers[0].code.as_deref(), Some("12345678"));
    assert!(said.contains("BAD  login: login refused.") && said.contains("refuses this code"), "{said}");
    let (kept, _, _) = talk_with(&[found("bambu", "x")], "y\n\n999\nn\nn\nn\n", wrong_first);
    assert_eq!(kept[0].code.as_deref(), Some("999"), "the user may leave it at that");
}

#[test]
fn an_address_where_nothing_answers_can_be_corrected() {
    let only = |config: &PrinterConfig| {
        let verdict = if config.host == "10.0.0.8" { Verdict::Fine } else { Verdict::Bad };
        vec![step(verdict, None)]
    };
    let (printers, _, said) = talk_with(&[], "y\nelegoo_cc1\n10.0.0.7\ncc1\ny\n10.0.0.8\nn\nn\n", only);
    assert_eq!(printers[0].host, "10.0.0.8");
    assert!(said.contains("Something is wrong there."), "{said}");
}

#[test]
fn what_cannot_be_is_asked_again() {
    let (printers, _, said) = talk_with(
        &[],
        "maybe\ny\nprusa\nbambu\n10.0.0.7\n01P00A000000001\nMy Printer\n\ny\np1s\n1\nn\nn\n",
        |_| Vec::new(),
    );
    assert_eq!((printers[0].name.as_str(), printers[0].code.as_deref()), ("p1s", Some("1")));
    for told in ["answer y or n", "no kind \"prusa\"", "name \"My Printer\" must be"] {
        assert!(said.contains(told), "{told} in {said}");
    }
}

#[test]
fn an_address_or_serial_number_that_cannot_be_is_asked_again() {
    let answers =
        "y\nbambu\nhttp://10.0.0.7\n\ny\n10.0.0.7:8883\n01P00A000000001\ny\n10.0.0.7\n\np1s\n1\nn\nn\n";
    let (printers, _, said) = talk_with(&[], answers, |_| Vec::new());
    assert_eq!(printers[0].host, "10.0.0.7", "{said}");
    assert_eq!(printers[0].serial.as_deref(), Some("01P00A000000001"), "the answer before is the default");
    assert!(said.contains("must be a bare address or name") && said.contains("lacks serial"), "{said}");
    let (given_up, _, _) = talk_with(&[], "y\nbambu\n10.0.0.7\n\nn\nn\n", |_| Vec::new());
    assert_eq!(given_up, []);
}

#[test]
fn a_printer_that_does_not_answer_can_be_left_out() {
    let never = |_: &PrinterConfig| vec![step(Verdict::Bad, None)];
    let (kept, _, _) = talk_with(&[], "y\nelegoo_cc1\n10.0.0.7\na\nn\n\nn\nn\n", never);
    assert_eq!(kept.len(), 1);
    let (left_out, _, said) = talk_with(&[], "y\nelegoo_cc1\n10.0.0.7\na\nn\ny\nn\n", never);
    assert!(left_out.is_empty() && said.contains("10.0.0.7 is left out."), "{said}");
}

#[test]
fn a_letter_of_another_encoding_spoils_nothing_else() {
    let mut said = Vec::new();
    let answers = b"y\nelegoo_cc1\n10.0.0.7\n\xfc\ny\nok\nn\nn\n".as_slice();
    let terminal = Terminal { input: answers, output: &mut said };
    let tester = |_: &PrinterConfig, _: &mut dyn FnMut(&Step)| Vec::new();
    let (printers, _) = Interview::new(terminal, tester, Environment::of(&[])).hold(&[]).expect("held");
    assert_eq!(printers[0].name, "ok");
}
