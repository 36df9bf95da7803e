use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::parse::checksum;
use super::{Command, Line, MAX_LINE_BYTES, ParseError, Value, Word, parse};

fn ok(text: &str) -> Line {
    parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn err(text: &str) -> ParseError {
    parse(text.as_bytes()).expect_err(text)
}

fn with_checksum(body: &str) -> String {
    format!("{body}*{}", checksum(body.as_bytes()))
}

#[test]
fn classic_forms() {
    for text in ["M104 S200", "M104S200", "m104 s200", "  M104\tS200\r\n", "M104 S 200", "M104 S200 ; hot"] {
        let line = ok(text);
        assert_eq!(line.code(), Some(('M', 104)), "{text}");
        assert_eq!(line.value('S'), Some(200.0), "{text}");
    }
    let line = ok("G1X10Y-5.5F6000");
    assert_eq!((line.value('X'), line.value('y'), line.value('F')), (Some(10.0), Some(-5.5), Some(6000.0)));
    assert_eq!(ok("G1 X+10 F6000").value('X'), Some(10.0));
    assert_eq!(ok("G1 X.5 E1.").words.len(), 2);
    assert_eq!(ok("G1 X-6.25").value('X'), Some(-6.25), "the fraction ends the line");
    assert_eq!(ok("G01").code(), Some(('G', 1)));
    let line = ok("G28 X Y");
    assert!(line.flag('X') && line.flag('Y') && !line.flag('Z'));
    assert_eq!(line.value('X'), None);
    assert_eq!(ok("M204.2").command, Some(Command::Code { letter: 'M', code: 204, subcode: Some(2) }));
    assert_eq!(ok("G1 X1E5").value('E'), Some(5.0), "E is a letter, not an exponent");
    assert_eq!(ok("G1 X1 X2").value('X'), Some(2.0), "the last one counts");
    assert_eq!(ok("T0").command, Some(Command::Tool(0)));
    assert_eq!(ok("T-1").command, Some(Command::Tool(-1)));
    assert_eq!(ok("M20 LT").words.len(), 2);
    let words = ok("X10 Y5");
    assert!(words.command.is_none() && words.value('X') == Some(10.0) && !words.is_empty());
}

#[test]
fn numbers_and_checksums() {
    let line = ok("N0 M110 N0*125");
    assert_eq!((line.number, line.checksummed, line.value('N')), (Some(0), true, Some(0.0)));
    assert_eq!(ok("N-1 M105").number, Some(-1));
    assert!(!ok("N3 M105").checksummed);
    assert_eq!(
        err("N3 M105*1"),
        ParseError::ChecksumMismatch { number: Some(3), stated: 1, computed: checksum(b"N3 M105") }
    );
    assert_eq!(err("N3 M105*999"), ParseError::ChecksumFormat);
    assert_eq!(err("N3 M105*"), ParseError::ChecksumFormat);
    assert_eq!(ok("N2147483647 M105").number, Some(i64::from(i32::MAX)));
    assert_eq!(err("N2147483648 M105"), ParseError::LineNumber);
    assert_eq!(ok("N 5 M105").number, Some(5));
    for wrong in ["N.5 M105", "N+5 M105", "(first) N5 M105"] {
        assert_eq!(err(wrong), ParseError::LineNumber, "{wrong}");
    }
    assert!(ok(&with_checksum("M105")).checksummed);
    let line = ok(&format!("{} ; tail", with_checksum("N4 G1 X1")));
    assert_eq!(line.comment.as_deref(), Some("tail"));
    let line = ok(&with_checksum("N5 M117 a*7 b"));
    assert_eq!(line.text.as_deref(), Some("a*7 b"));
    assert_eq!(ok("M117 five*5").text.as_deref(), Some("five*5"), "a text, not a checksum");
}

#[test]
fn texts_and_comments() {
    assert_eq!(ok("M117 Hello (you) \"x\" ; note").text.as_deref(), Some("Hello (you) \"x\""));
    assert_eq!(ok("M23 Sub/cube~1.gco").text.as_deref(), Some("Sub/cube~1.gco"));
    assert_eq!(ok("M117").text, None);
    assert_eq!(ok("M0 don't").text.as_deref(), Some("don't"));
    assert_eq!(ok("M1002 judge_flag x_y").text.as_deref(), Some("judge_flag x_y"));
    assert_eq!(ok("M0 S5").value('S'), Some(5.0));
    let line = ok("G1 (first) X1 (second) ; third");
    assert_eq!(line.comment.as_deref(), Some("first second third"));
    assert!(ok("; only").is_empty() && ok("").is_empty() && ok("  \r\n").is_empty());
    assert_eq!(ok(r#"M587 S"my \"net\" \\" P "p;w""#).string('S'), Some(r#"my "net" \"#));
    assert_eq!(ok(r#"M587 S"my" P "p;w""#).string('P'), Some("p;w"));
    let line = parse(b"M117 caf\xe9").expect("lossy");
    assert_eq!(line.text.as_deref(), Some("caf\u{fffd}"));
    let line = ok("@pause now ; please");
    assert_eq!(line.command, Some(Command::Host("pause".into())));
    assert_eq!(line.text.as_deref(), Some("now"));
}

#[test]
fn extended_commands() {
    let line = ok("set_heater_temperature heater=extruder TARGET=200");
    assert_eq!(line.extended(), Some("SET_HEATER_TEMPERATURE"));
    assert_eq!((line.param("HEATER"), line.param_value("target")), (Some("extruder"), Some(200.0)));
    assert_eq!(ok(r#"EXCLUDE_OBJECT NAME="a b""#).param("NAME"), Some("a b"));
    assert_eq!(ok("EXCLUDE_OBJECT NAME='a;b' ; c").param("NAME"), Some("a;b"));
    assert_eq!(ok(r"RESPOND MSG=a\ b").param("MSG"), Some("a b"));
    assert_eq!(ok("SET_GCODE_OFFSET Z_ADJUST=+0.05 MOVE=1").param_value("Z_ADJUST"), Some(0.05));
    assert_eq!(ok("SAVE_GCODE_STATE NAME=_ui_movement").param("NAME"), Some("_ui_movement"));
    assert_eq!(ok("_CLIENT_LINEAR_MOVE X=+10 F=6000").param_value("X"), Some(10.0));
    assert_eq!(ok("M600_PARK").extended(), Some("M600_PARK"));
    assert_eq!(ok("PAUSE").extended(), Some("PAUSE"));
    let line = ok("hello big world ; c");
    assert_eq!((line.extended(), line.text.as_deref()), (Some("HELLO"), Some("big world")));
}

#[test]
fn errors_say_what_is_wrong() {
    assert_eq!(err("G"), ParseError::Code { letter: 'G' });
    assert_eq!(err("M99999999999"), ParseError::Code { letter: 'M' });
    assert_eq!(err("G1.2.3"), ParseError::Code { letter: 'G' });
    assert_eq!(err("T S1"), ParseError::Code { letter: 'T' });
    assert_eq!(err("G1 X(open"), ParseError::UnclosedComment);
    assert_eq!(err("M587 S\"open"), ParseError::UnclosedQuote);
    assert_eq!(err("EXCLUDE_OBJECT NAME=\"open"), ParseError::UnclosedQuote);
    assert_eq!(err("SET_PIN PIN=a 5"), ParseError::MissingValue { name: "5".into() });
    assert!(matches!(err("G1 X1 ?"), ParseError::Unexpected { found: '?', .. }));
    assert!(matches!(err("%"), ParseError::Unexpected { found: '%', .. }));
    assert_eq!(err("G1\0X5"), ParseError::ControlCharacter { byte: 0 });
    assert_eq!(err("G1\nM104"), ParseError::ControlCharacter { byte: b'\n' });
    assert_eq!(parse(&[b'x'; MAX_LINE_BYTES + 1]), Err(ParseError::TooLong { length: MAX_LINE_BYTES + 1 }));
    assert_eq!(err(&format!("G1 X{}", "9".repeat(400))), ParseError::Number { letter: 'X' });
    assert_eq!(err("SET_PIN PIN=a 5").to_string(), "parameter \"5\" has no value, write it as NAME=value");
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Flag),
        (-1e6..1e6f64).prop_map(Value::Number),
        "[ -~]{0,12}".prop_map(Value::Text),
    ]
}

fn word() -> impl Strategy<Value = Word> {
    ("[A-Z]", value()).prop_map(|(letter, value)| Word { letter: letter.chars().next().unwrap(), value })
}

/// Text without `;` and without blanks around it.
fn trimmed(pattern: &'static str) -> impl Strategy<Value = Option<String>> {
    option::of(
        pattern.prop_map(|text| text.trim().to_owned()).prop_filter("not empty", |text| !text.is_empty()),
    )
}

fn classic() -> impl Strategy<Value = Line> {
    let code = prop_oneof![
        (0u32..1000, option::of(0u32..10))
            .prop_filter("takes a raw text", |(code, subcode)| {
                subcode.is_some()
                    || ![0, 1, 16, 20, 23, 28, 30, 32, 33, 36, 117, 118, 486, 928].contains(code)
            })
            .prop_map(|(code, subcode)| Command::Code { letter: 'M', code, subcode }),
        (0u32..100).prop_map(|code| Command::Code { letter: 'G', code, subcode: None }),
        (-1i32..70000).prop_map(Command::Tool),
    ];
    (code, vec(word(), 0..6)).prop_map(|(command, words)| Line {
        command: Some(command),
        words,
        ..Line::default()
    })
}

fn textual() -> impl Strategy<Value = Line> {
    let command = prop_oneof![
        Just(Command::Code { letter: 'M', code: 117, subcode: None }),
        Just(Command::Code { letter: 'M', code: 23, subcode: None }),
    ];
    (command, trimmed("[ -:<-~äß]{1,20}")).prop_map(|(command, text)| Line {
        command: Some(command),
        text,
        ..Line::default()
    })
}

fn extended() -> impl Strategy<Value = Line> {
    let params = proptest::collection::btree_map("[A-Z_][A-Z0-9_]{0,8}", "[ -~äß]{0,12}", 0..4);
    ("[A-Z]{2}[A-Z0-9_]{0,10}", params).prop_map(|(name, params)| Line {
        command: Some(Command::Extended(name)),
        params,
        ..Line::default()
    })
}

fn line() -> impl Strategy<Value = Line> {
    let framing = (option::of(-5i64..1_000_000), trimmed("[ -~äß]{1,20}"));
    (prop_oneof![classic(), textual(), extended()], framing).prop_map(|(line, (number, comment))| Line {
        number,
        checksummed: number.is_some(),
        comment,
        ..line
    })
}

proptest! {
    #[test]
    fn never_panics(bytes in vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn display_reads_back(line in line()) {
        let shown = line.to_string();
        prop_assert_eq!(parse(shown.as_bytes()), Ok(line), "{}", shown);
    }

    #[test]
    fn whatever_parses_reads_back(
        text in "[NGMTX@;()*\"' =0-9.a-z_\\\\+-]{0,30}",
        numbered in any::<bool>(),
    ) {
        let text = if numbered { with_checksum(&format!("N7 {text}")) } else { text };
        if let Ok(line) = parse(text.as_bytes()) {
            let shown = line.to_string();
            prop_assert_eq!(parse(shown.as_bytes()), Ok(line), "{} -> {}", text, shown);
        }
    }

    #[test]
    fn one_changed_byte_is_noticed(
        line in line().prop_filter("framed", |line| line.checksummed),
        at in any::<prop::sample::Index>(),
        flip in 1u8..=255,
    ) {
        let mut bytes = line.to_string().into_bytes();
        let star = bytes.iter().rposition(|byte| *byte == b'*').unwrap();
        // `N` and the first digit are left alone: without them it is a line without number, which a
        // caller that expects numbered lines refuses.
        let at = 2 + at.index(star - 2);
        bytes[at] ^= flip;
        prop_assert!(parse(&bytes).is_err());
    }
}
