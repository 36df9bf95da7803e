//! From the bytes of one line to a typed [`Line`].
//!
//! The caller splits the stream into lines; the end of the slice is the end of the line. The checksum is
//! checked on the bytes as they came, everything else works on text (bytes that are not UTF-8 become the
//! replacement character, which is only allowed in texts and comments).

use std::collections::BTreeMap;

use nom::branch::alt;
use nom::bytes::complete::{take_while, take_while1};
use nom::character::complete::{char, digit1, one_of, satisfy, space0};
use nom::combinator::{map_opt, map_res, opt, recognize, verify};
use nom::sequence::{preceded, separated_pair};
use nom::{IResult, Parser};

use super::error::ParseError;
use super::line::{Command, Line, Value, Word};

/// Longest accepted line in bytes; Marlin stops at 96, Klipper has no limit, slicer comments are longer.
pub const MAX_LINE_BYTES: usize = 4096;

/// Reads one line, without or with its line end; never panics, and reads at most [`MAX_LINE_BYTES`].
pub fn parse(bytes: &[u8]) -> Result<Line, ParseError> {
    if bytes.len() > MAX_LINE_BYTES {
        return Err(ParseError::TooLong { length: bytes.len() });
    }
    let bytes = bytes.trim_ascii();
    if let Some(&byte) = bytes.iter().find(|byte| **byte < b' ' && **byte != b'\t') {
        return Err(ParseError::ControlCharacter { byte });
    }
    let numbered = is_numbered(bytes);
    let (body, tail) = split_checksum(bytes, numbered)?;
    let body = String::from_utf8_lossy(body);
    let mut rest = body.as_ref();
    let mut line = Line { checksummed: tail.is_some(), ..Line::default() };
    if numbered {
        let (after, number) = line_number(rest).map_err(|_| ParseError::LineNumber)?;
        (rest, line.number) = (after, Some(number));
    }
    parse_body(rest, &mut line)?;
    if let Some(comment) = tail.map(String::from_utf8_lossy) {
        add_comment(&mut line, comment.trim().trim_start_matches(';'));
    }
    Ok(line)
}

/// XOR of all bytes before the `*` (Marlin; OctoPrint dossier section 4).
pub(super) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte)
}

fn is_numbered(bytes: &[u8]) -> bool {
    starts_number(bytes, b"")
}

/// Whether this is an N and a number; Marlin reads it by `strtol`, so blanks may be between them.
fn starts_number(bytes: &[u8], also: &[u8]) -> bool {
    let [b'N' | b'n', number @ ..] = bytes else { return false };
    let first = number.trim_ascii_start().first();
    first.is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-' || also.contains(byte))
}

/// Splits off `*<checksum>` and what follows it (a comment), after checking it.
///
/// Only a numbered line may carry a `*` anywhere; in others `M117 a*5` is a text, so the checksum is
/// looked for only behind classic commands without text and outside comments.
fn split_checksum(bytes: &[u8], numbered: bool) -> Result<(&[u8], Option<&[u8]>), ParseError> {
    let found = bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'*').find_map(|(at, _)| {
        let (body, tail) = bytes.split_at_checked(at)?;
        let (value, tail) = checksum_value(tail.get(1..)?)?;
        Some((body, value, tail))
    });
    match found {
        Some((body, value, tail)) if numbered || may_be_checksum(body) => {
            let (stated, computed) = (u8::try_from(value).ok(), checksum(body));
            match stated.ok_or(ParseError::ChecksumFormat)? {
                stated if stated == computed => Ok((body, Some(tail))),
                stated => Err(ParseError::ChecksumMismatch { number: number_of(body), stated, computed }),
            }
        }
        None if numbered && bytes.contains(&b'*') => Err(ParseError::ChecksumFormat),
        _ => Ok((bytes, None)),
    }
}

/// One to three digits, then nothing or a comment.
fn checksum_value(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, tail) = bytes.split_at_checked(digits)?;
    let value = std::str::from_utf8(number).ok().filter(|text| text.len() <= 3)?.parse().ok()?;
    let tail = tail.trim_ascii_start();
    matches!(tail.first(), None | Some(b';')).then_some((value, tail))
}

fn may_be_checksum(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    match command(&text) {
        Ok((_, Some(command @ (Command::Code { .. } | Command::Tool(_))))) => {
            !takes_text(&command) && !text.contains([';', '(', '"'])
        }
        _ => false,
    }
}

fn number_of(body: &[u8]) -> Option<i64> {
    is_numbered(body).then(|| line_number(&String::from_utf8_lossy(body)).ok().map(|(_, number)| number))?
}

fn parse_body(rest: &str, line: &mut Line) -> Result<(), ParseError> {
    let rest = comments(rest, line)?;
    // Not at the line's beginning, or one that Marlin would not read as we do (`N.5`).
    if line.number.is_none() && starts_number(rest.as_bytes(), b"+.") {
        return Err(ParseError::LineNumber);
    }
    let (rest, command) = command(rest)?;
    line.command = command;
    match &line.command {
        Some(Command::Extended(_)) => extended_arguments(rest, line)?,
        Some(command) if takes_text(command) => raw_text(rest, line),
        Some(code) if may_take_text(code) => {
            let before = line.clone();
            if words(rest, line).is_err() {
                *line = before;
                raw_text(rest, line);
            }
        }
        _ => words(rest, line)?,
    }
    Ok(())
}

/// OctoPrint's host commands, and Marlin's whose argument is the rest of the line: file names and messages.
fn takes_text(command: &Command) -> bool {
    const CODES: [u32; 10] = [16, 23, 28, 30, 32, 33, 36, 117, 118, 928];
    match command {
        Command::Code { letter: 'M', code, subcode: None } => CODES.contains(code),
        Command::Host(_) => true,
        _ => false,
    }
}

/// Commands that have words in one dialect and a message or path in another (1002: Bambu's start scripts).
fn may_take_text(command: &Command) -> bool {
    matches!(command, Command::Code { letter: 'M', code: 0 | 1 | 20 | 486 | 1002, .. })
}

/// The command at the head of the text, if there is one.
fn command(rest: &str) -> Result<(&str, Option<Command>), ParseError> {
    let rest = rest.trim_start();
    if let Ok((rest, name)) = host_command(rest) {
        return Ok((rest, Some(Command::Host(name.to_owned()))));
    }
    let Ok((after, name)) = identifier(rest) else { return Ok((rest, None)) };
    if is_extended(name) {
        return Ok((after, Some(Command::Extended(name.to_ascii_uppercase()))));
    }
    let letter = name.chars().next().map_or('?', |letter| letter.to_ascii_uppercase());
    match letter {
        'G' | 'M' | 'D' => code(rest, letter).map(|(rest, code)| (rest, Some(code))),
        'T' => match map_res(preceded(one_of("Tt"), integer), str::parse).parse(rest) {
            Ok((rest, tool)) => Ok((rest, Some(Command::Tool(tool)))),
            Err(_) => Err(ParseError::Code { letter }),
        },
        _ => Ok((rest, None)),
    }
}

fn host_command(input: &str) -> IResult<&str, &str> {
    preceded(char('@'), take_while1(|c: char| !c.is_whitespace() && c != ';')).parse(input)
}

/// `SET_PIN`, `PAUSE`, `M600_PARK`: a second letter, or an underscore, makes it a name.
fn is_extended(name: &str) -> bool {
    let second = name.chars().nth(1);
    second.is_some_and(|second| second.is_ascii_alphabetic()) || name.contains('_')
}

fn identifier(input: &str) -> IResult<&str, &str> {
    recognize((
        satisfy(|c| c.is_ascii_alphabetic() || c == '_'),
        take_while(|c: char| c.is_ascii_alphanumeric() || c == '_'),
    ))
    .parse(input)
}

fn code(rest: &str, letter: char) -> Result<(&str, Command), ParseError> {
    let number = || map_res(digit1::<&str, nom::error::Error<&str>>, str::parse::<u32>);
    let mut parser = (satisfy(|_| true), number(), opt(preceded(char('.'), number())));
    match parser.parse(rest) {
        Ok((rest, _)) if rest.starts_with('.') => Err(ParseError::Code { letter }),
        Ok((rest, (_, code, subcode))) => Ok((rest, Command::Code { letter, code, subcode })),
        Err(_) => Err(ParseError::Code { letter }),
    }
}

fn integer(input: &str) -> IResult<&str, &str> {
    recognize((opt(char('-')), digit1)).parse(input)
}

fn line_number(input: &str) -> IResult<&str, i64> {
    let number = preceded((one_of("Nn"), space0), integer);
    map_res(number, |text: &str| text.parse::<i32>().map(i64::from)).parse(input)
}

/// Skips blanks and comments, keeping the comments' text.
fn comments<'a>(mut rest: &'a str, line: &mut Line) -> Result<&'a str, ParseError> {
    loop {
        rest = rest.trim_start();
        if let Some(comment) = rest.strip_prefix(';') {
            add_comment(line, comment);
            return Ok("");
        }
        let Some(open) = rest.strip_prefix('(') else { return Ok(rest) };
        let (comment, after) = open.split_once(')').ok_or(ParseError::UnclosedComment)?;
        add_comment(line, comment);
        rest = after;
    }
}

fn add_comment(line: &mut Line, comment: &str) {
    let comment = comment.trim();
    if comment.is_empty() {
        return;
    }
    line.comment = Some(match line.comment.take() {
        Some(first) => format!("{first} {comment}"),
        None => comment.to_owned(),
    });
}

fn text(rest: &str) -> Option<String> {
    let rest = rest.trim();
    (!rest.is_empty()).then(|| rest.to_owned())
}

/// A raw argument ends at a `;`, as in Marlin and OctoPrint, which cut comments before they look at the command.
fn raw_text(rest: &str, line: &mut Line) {
    let (argument, comment) = rest.split_once(';').unwrap_or((rest, ""));
    line.text = text(argument);
    add_comment(line, comment);
}

fn words(rest: &str, line: &mut Line) -> Result<(), ParseError> {
    let mut rest = comments(rest, line)?;
    while !rest.is_empty() {
        let (after, word) = word(rest)?;
        line.words.push(word);
        rest = comments(after, line)?;
    }
    Ok(())
}

/// A letter, optional blanks, and a number, a quoted string or nothing.
fn word(rest: &str) -> Result<(&str, Word), ParseError> {
    let Ok((after, letter)) =
        satisfy::<_, &str, nom::error::Error<&str>>(|c| c.is_ascii_alphabetic()).parse(rest)
    else {
        return Err(unexpected(rest));
    };
    let letter = letter.to_ascii_uppercase();
    let value = after.trim_start_matches([' ', '\t']);
    if let Some(open) = value.strip_prefix('"') {
        let (after, text) = until_quote(open, '"')?;
        return Ok((after, Word { letter, value: Value::Text(text) }));
    }
    if let Ok((after, number)) = number(value) {
        return match number.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok((after, Word { letter, value: Value::Number(number) })),
            _ => Err(ParseError::Number { letter }),
        };
    }
    Ok((after, Word { letter, value: Value::Flag }))
}

/// A decimal number without exponent: in `X1E5` the E is the next word.
///
/// The fraction is not recognised with `digit0`: at the end of the input nom 8.0.0 makes it return the start
/// of the text as its remainder, and `recognize` then loses the fraction.
fn number(input: &str) -> IResult<&str, &str> {
    let fraction = || (char('.'), digit1);
    let digits =
        alt((recognize((digit1, fraction())), recognize((digit1, opt(char('.')))), recognize(fraction())));
    recognize((opt(one_of("+-")), digits)).parse(input)
}

/// The unescaped text up to the closing quote; a backslash takes the next character literally.
fn until_quote(input: &str, quote: char) -> Result<(&str, String), ParseError> {
    let mut text = String::new();
    let mut chars = input.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => return Ok((chars.as_str(), text)),
            // In single quotes a shell, and so Klipper, knows no escapes.
            '\\' if quote == '"' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    Err(ParseError::UnclosedQuote)
}

/// `NAME=value` pairs, or, when the first argument is no pair, a raw text.
fn extended_arguments(rest: &str, line: &mut Line) -> Result<(), ParseError> {
    let trimmed = rest.trim_start();
    if !trimmed.is_empty() && !trimmed.starts_with(';') && pair_name(trimmed).is_err() {
        raw_text(rest, line);
        return Ok(());
    }
    let mut params = BTreeMap::new();
    let mut rest = trimmed;
    while !rest.is_empty() {
        if let Some(comment) = rest.strip_prefix(';') {
            add_comment(line, comment);
            break;
        }
        let Ok((after, name)) = pair_name(rest) else {
            let name = rest.split_whitespace().next().unwrap_or_default().chars().take(40).collect();
            return Err(ParseError::MissingValue { name });
        };
        let (after, value) = param_value(after)?;
        params.insert(name, value);
        rest = after.trim_start();
    }
    line.params = params;
    Ok(())
}

fn pair_name(input: &str) -> IResult<&str, String> {
    let pair = separated_pair(verify(identifier, |name: &str| !name.is_empty()), space0, char('='));
    map_opt(pair, |(name, _)| Some(name.to_ascii_uppercase())).parse(input)
}

/// A value in the manner of a shell: bare and quoted pieces may be mixed, blanks end it.
fn param_value(mut rest: &str) -> Result<(&str, String), ParseError> {
    let mut value = String::new();
    loop {
        let mut chars = rest.chars();
        match chars.next() {
            Some(quote @ ('"' | '\'')) => {
                let (after, text) = until_quote(chars.as_str(), quote)?;
                value.push_str(&text);
                rest = after;
                continue;
            }
            Some('\\') => value.extend(chars.next()),
            Some(c) if !c.is_whitespace() && c != ';' => value.push(c),
            _ => return Ok((rest, value)),
        }
        rest = chars.as_str();
    }
}

fn unexpected(rest: &str) -> ParseError {
    let found = rest.chars().next().unwrap_or(' ');
    ParseError::Unexpected { found, rest: rest.chars().take(40).collect() }
}
