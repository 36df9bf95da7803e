//! From a stream of bytes to lines.

use crate::gcode::MAX_LINE_BYTES;

/// One line without its end; blank lines do not come out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawLine {
    Text(Vec<u8>),
    /// Longer than the parser takes; the bytes are gone.
    TooLong,
}

/// Splits at CR and LF; holds at most one line.
#[derive(Debug, Default)]
pub struct Splitter {
    partial: Vec<u8>,
    overflow: bool,
}

impl Splitter {
    pub fn push(&mut self, bytes: &[u8]) -> Vec<RawLine> {
        let mut lines = Vec::new();
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => lines.extend(self.take()),
                _ if self.overflow => {}
                _ if self.partial.len() == MAX_LINE_BYTES => {
                    self.overflow = true;
                    self.partial.clear();
                }
                _ => self.partial.push(byte),
            }
        }
        lines
    }

    fn take(&mut self) -> Option<RawLine> {
        let text = std::mem::take(&mut self.partial);
        if std::mem::take(&mut self.overflow) {
            return Some(RawLine::TooLong);
        }
        (!text.trim_ascii().is_empty()).then_some(RawLine::Text(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(splitter: &mut Splitter, bytes: &[u8]) -> Vec<String> {
        let text = |line| match line {
            RawLine::Text(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            RawLine::TooLong => "<too long>".to_owned(),
        };
        splitter.push(bytes).into_iter().map(text).collect()
    }

    #[test]
    fn lines_end_in_every_manner_and_blank_ones_vanish() {
        let mut splitter = Splitter::default();
        assert_eq!(texts(&mut splitter, b"M105\r\n\n  \nM11"), ["M105"]);
        assert_eq!(texts(&mut splitter, b"5\rT0\n"), ["M115", "T0"]);
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let mut splitter = Splitter::default();
        assert!(splitter.push(&[b'x'; 100_000]).is_empty());
        assert!(splitter.partial.capacity() <= 2 * MAX_LINE_BYTES);
        assert_eq!(texts(&mut splitter, b"\nM105\n"), ["<too long>", "M105"]);
    }
}
