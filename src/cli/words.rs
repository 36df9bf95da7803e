//! Tables, durations and progress as people read them on a terminal.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// A text of a JSON value by its pointer; empty where there is none.
pub fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Rows of cells as lines of aligned columns.
pub fn table(rows: Vec<Vec<String>>) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut lines = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        lines.push_str(cells.join("  ").trim_end());
        lines.push('\n');
    }
    lines
}

/// `42 s`, `5 min`, `1 h 05 min`.
pub fn duration(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default().as_secs();
    match (whole / 3600, whole / 60 % 60) {
        (0, 0) => format!("{whole} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes:02} min"),
    }
}

/// `512 B`, `12.3 kB`, `1.2 GB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS.get(unit).copied().unwrap_or_default())
}

/// A line that is written over itself; silent where nobody looks at a terminal.
pub struct Progress {
    label: String,
    shown: bool,
    last: Option<Instant>,
}

impl Progress {
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), shown: std::io::stderr().is_terminal(), last: None }
    }

    /// `part` of 1, and what stands behind the bar.
    pub fn set(&mut self, part: f64, note: &str) {
        const WIDTH: usize = 30;
        let now = Instant::now();
        let soon = self.last.is_some_and(|last| now - last < Duration::from_millis(100));
        if !self.shown || (soon && part < 1.0) {
            return;
        }
        self.last = Some(now);
        let part = part.clamp(0.0, 1.0);
        let full = (part * WIDTH as f64) as usize;
        let bar: String = (0..WIDTH).map(|at| if at < full { '#' } else { '.' }).collect();
        eprint!("\r{} [{bar}] {:>3.0} % {note}\x1b[K", self.label, part * 100.0);
        let _closed = std::io::stderr().flush();
    }

    /// Leaves the line.
    pub fn end(&mut self) {
        if self.shown && self.last.take().is_some() {
            eprintln!();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!([0.4, 61.0, 3_900.0, -3.0].map(duration), ["0 s", "1 min", "1 h 05 min", "0 s"]);
        assert_eq!(
            [999, 1000, 999_949, 999_950, 1_234_567_890].map(size),
            ["999 B", "1.0 kB", "999.9 kB", "1.0 MB", "1.2 GB"]
        );
        let rows = vec![vec!["a".to_owned(), "b".to_owned()], vec!["ccc".to_owned(), "ü".to_owned()]];
        assert_eq!(table(rows), "a    b\nccc  ü\n");
    }
}
