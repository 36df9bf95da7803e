//! The G-code language: one parser, one translator, for every front end (design D10).
//!
//! Owns: what a line of G-code says (`line`), and how bytes become such a line (`parse`). The
//! translation into printer commands (`translate`) builds on the accessors of [`Line`].
//!
//! Must not know: printers, drivers, clients, transports. A line is judged by its grammar only; whether
//! `M104` or `EXCLUDE_OBJECT` means anything here is decided by the translator.
//!
//! One grammar serves all senders:
//!
//! | form | example | becomes |
//! |---|---|---|
//! | classic | `N7 G1X10 Y-5.5*90`, `m104s200` | [`Command::Code`] and words |
//! | classic with a raw argument | `M117 Hello`, `M23 cube.gco` | [`Command::Code`] and `text` |
//! | tool change | `T0` | [`Command::Tool`] |
//! | extended (Klipper) | `SET_PIN PIN=light VALUE=1` | [`Command::Extended`] and params |
//! | host command (OctoPrint) | `@pause now` | [`Command::Host`] and `text` |
//! | words alone | `X10 Y5` | no command, words |
//!
//! A line whose checksum does not match is an error, never a [`Line`]: it cannot be executed by mistake.

mod error;
mod line;
mod parse;
#[cfg(test)]
mod tests;
pub mod translate;

pub use error::ParseError;
pub use line::{Command, Line, Value, Word};
pub use parse::{MAX_LINE_BYTES, parse};
