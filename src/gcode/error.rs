//! Why a line is refused.

use super::parse::MAX_LINE_BYTES;

/// Why a line could not be understood; the text is meant for the sender's console.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ParseError {
    /// The line is longer than [`MAX_LINE_BYTES`].
    #[error("line of {length} bytes is too long, at most {MAX_LINE_BYTES} are accepted")]
    TooLong {
        /// Length in bytes.
        length: usize,
    },
    /// A control character other than a tab: the line was damaged on its way.
    #[error("line contains the control character 0x{byte:02x}, send it again as plain text")]
    ControlCharacter {
        /// The first such byte.
        byte: u8,
    },
    /// The checksum does not match the bytes before it.
    #[error("checksum mismatch, the line says {stated} and its bytes give {computed}")]
    ChecksumMismatch {
        /// The line's own number, as far as it can be trusted.
        number: Option<i64>,
        /// Checksum in the line.
        stated: u8,
        /// XOR of the bytes before the `*`.
        computed: u8,
    },
    /// A numbered line has a `*` that is not followed by a number from 0 to 255.
    #[error("format error in the checksum, expected * and a number from 0 to 255 at the end of the line")]
    ChecksumFormat,
    /// The line number is not an integer of 32 bits.
    #[error("format error in the line number")]
    LineNumber,
    /// G, M, T or D without a usable number.
    #[error("{letter} needs a whole number behind it, for example {letter}1")]
    Code {
        /// The letter.
        letter: char,
    },
    /// A number that cannot be represented.
    #[error("the number behind {letter} is out of range")]
    Number {
        /// The letter of the word.
        letter: char,
    },
    /// A quoted string without its closing quote.
    #[error("a quoted text is not closed, add the missing quote")]
    UnclosedQuote,
    /// A `(` comment without its `)`.
    #[error("a comment in parentheses is not closed, add the missing )")]
    UnclosedComment,
    /// An extended command has a parameter without `=`.
    #[error("parameter {name:?} has no value, write it as NAME=value")]
    MissingValue {
        /// The parameter as written.
        name: String,
    },
    /// Something that no rule accepts.
    #[error("unexpected {found:?} in {rest:?}")]
    Unexpected {
        /// The offending character.
        found: char,
        /// The text from there on, shortened.
        rest: String,
    },
}
