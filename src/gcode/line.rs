//! What one line of G-code says, and how it is written back.

use std::collections::BTreeMap;
use std::fmt;

/// One line of G-code, taken apart; empty lines and pure comments have no command and no words.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Line {
    /// The line number of an `N<n>` prefix: of 32 bits, as Marlin's `long` on the boards it runs on.
    pub number: Option<i64>,
    /// Whether the line carried a checksum; it was right, or there would be no `Line`.
    pub checksummed: bool,
    /// What is to be done; absent for comments, empty lines and words alone (`X10 Y5`).
    pub command: Option<Command>,
    /// The parameters of a classic command, in order of appearance.
    pub words: Vec<Word>,
    /// The `NAME=value` parameters of an extended command, names in upper case.
    pub params: BTreeMap<String, String>,
    /// The raw argument of commands that take one (`M23 cube.gco`, `M117 Hello`, `@pause now`).
    pub text: Option<String>,
    /// Comment text without its `;` or parentheses; several comments are joined by a blank.
    pub comment: Option<String>,
}

/// The command at the head of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A letter and a number: `G0`, `M204.2`; the letter is upper case, one of G, M, D.
    Code {
        /// G, M or D.
        letter: char,
        /// The number behind the letter.
        code: u32,
        /// The number behind the point, if any.
        subcode: Option<u32>,
    },
    /// A tool change; `T-1` means no tool.
    Tool(i32),
    /// A named command as Klipper has them, in upper case.
    Extended(String),
    /// An OctoPrint host command, without its `@`, as written.
    Host(String),
}

/// One parameter of a classic command.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// Upper case letter A to Z.
    pub letter: char,
    /// What follows the letter.
    pub value: Value,
}

/// The value of a word.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// The letter stands alone, as in `G28 X`.
    Flag,
    /// A finite number.
    Number(f64),
    /// A quoted string, unescaped.
    Text(String),
}

impl Line {
    /// The letter and number of a classic command: `('M', 104)`; subcodes are not shown here.
    pub fn code(&self) -> Option<(char, u32)> {
        match self.command {
            Some(Command::Code { letter, code, .. }) => Some((letter, code)),
            _ => None,
        }
    }

    /// The name of an extended command.
    pub fn extended(&self) -> Option<&str> {
        match &self.command {
            Some(Command::Extended(name)) => Some(name),
            _ => None,
        }
    }

    /// Whether the line asks for nothing: no command, no words (a comment, or nothing).
    pub fn is_empty(&self) -> bool {
        self.command.is_none() && self.words.is_empty()
    }

    /// The last word of this letter; of doubled words the last one counts, as in Marlin.
    pub fn word(&self, letter: char) -> Option<&Value> {
        let letter = letter.to_ascii_uppercase();
        self.words.iter().rev().find(|word| word.letter == letter).map(|word| &word.value)
    }

    /// The number behind a letter: `value('S')` of `M104 S200` is 200.
    pub fn value(&self, letter: char) -> Option<f64> {
        match self.word(letter)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The quoted string behind a letter.
    pub fn string(&self, letter: char) -> Option<&str> {
        match self.word(letter)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether a letter is present, with or without a value.
    pub fn flag(&self, letter: char) -> bool {
        self.word(letter).is_some()
    }

    /// A parameter of an extended command; the name's case does not matter.
    pub fn param(&self, name: &str) -> Option<&str> {
        match self.params.get(name) {
            Some(value) => Some(value),
            None => self.params.get(&name.to_ascii_uppercase()).map(String::as_str),
        }
    }

    /// A parameter of an extended command as a finite number (`Z_ADJUST=+0.05`).
    pub fn param_value(&self, name: &str) -> Option<f64> {
        self.param(name)?.trim().parse().ok().filter(|number: &f64| number.is_finite())
    }

    fn body(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.number.map(|number| format!("N{number}")));
        parts.extend(self.command.as_ref().map(Command::to_string));
        parts.extend(self.words.iter().map(Word::to_string));
        parts.extend(self.params.iter().map(|(name, value)| format!("{name}={}", quoted_if_needed(value))));
        parts.extend(self.text.clone());
        parts.extend(self.comment.as_ref().map(|comment| format!(";{comment}")));
        parts.join(" ")
    }
}

/// Writes the line in canonical form, with a fresh checksum where it had one; reading it gives the line
/// again, as long as it is not longer than the parser's limit.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = self.body();
        f.write_str(&body)?;
        if self.checksummed { write!(f, "*{}", super::parse::checksum(body.as_bytes())) } else { Ok(()) }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Code { letter, code, subcode: None } => write!(f, "{letter}{code}"),
            Command::Code { letter, code, subcode: Some(subcode) } => write!(f, "{letter}{code}.{subcode}"),
            Command::Tool(tool) => write!(f, "T{tool}"),
            Command::Extended(name) => f.write_str(name),
            Command::Host(name) => write!(f, "@{name}"),
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Flag => write!(f, "{}", self.letter),
            Value::Number(number) => write!(f, "{}{number}", self.letter),
            Value::Text(text) => write!(f, "{}{}", self.letter, quoted(text)),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn quoted_if_needed(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.+-/:,".contains(c);
    if !value.is_empty() && value.chars().all(plain) { value.to_owned() } else { quoted(value) }
}
