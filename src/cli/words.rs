//! Tables, durations and progress as people read them on a terminal.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// Says it on standard error, where that can be written: a complaint must not take the place of what it is about.
pub fn tell(text: std::fmt::Arguments<'_>) {
    let _nobody_hears = writeln!(std::io::stderr(), "{text}");
}

/// [`tell`] with the program's name before it.
macro_rules! complain {
    ($($told:tt)*) => {
        $crate::cli::words::tell(format_args!("moongate: {}", format_args!($($told)*)))
    };
}

/// A text from elsewhere as it may go to a terminal: names and messages could hold words that steer it.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}

/// A text of a JSON value by its pointer; empty where there is none.
pub fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Rows of cells as lines of aligned columns.
pub fn table(mut rows: Vec<Vec<String>>) -> String {
    for cell in rows.iter_mut().flatten() {
        *cell = harmless(cell).replace(['\n', '\t'], " ");
    }
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
        Self {
            label: harmless(&label.into()).replace(['\n', '\t'], " "),
            shown: std::io::stderr().is_terminal(),
            last: None,
        }
    }

    /// `part` of 1, and what stands behind the bar.
    pub fn set(&mut self, part: f64, note: &str) {
        let now = Instant::now();
        let soon = self.last.is_some_and(|last| now - last < Duration::from_millis(100));
        if !self.shown || (soon && part < 1.0) {
            return;
        }
        self.last = Some(now);
        // A line that does not fit would be broken, and each new one stand below the last.
        let columns = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| size.ws_col);
        let columns = if columns == 0 { 80 } else { columns.into() };
        let _closed =
            write!(std::io::stderr(), "\r{}\x1b[K", progress_line(&self.label, part, note, columns));
        let _closed = std::io::stderr().flush();
    }

    /// Leaves the line.
    pub fn end(&mut self) {
        if self.shown && self.last.take().is_some() {
            tell(format_args!(""));
        }
    }
}

/// Label, bar and note in less than `columns`: first the bar gets short, then the label.
fn progress_line(label: &str, part: f64, note: &str, columns: usize) -> String {
    const BAR: usize = 30;
    const SHORTEST: usize = 5;
    let part = part.clamp(0.0, 1.0);
    let figures = format!("{:>3.0} % {note}", part * 100.0);
    let room = columns.saturating_sub(figures.chars().count() + " [] ".len() + 1);
    let label: String = label.chars().take(room.saturating_sub(SHORTEST)).collect();
    let width = room.saturating_sub(label.chars().count()).min(BAR);
    let full = (part * width as f64) as usize;
    let bar: String = (0..width).map(|at| if at < full { '#' } else { '.' }).collect();
    format!("{label} [{bar}] {figures}").chars().take(columns.saturating_sub(1)).collect()
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

    #[test]
    fn a_name_does_not_steer_the_terminal() {
        let rows = vec![vec!["\x1b]0;x\x07a\nb".to_owned(), "1 B".to_owned()]];
        assert_eq!(table(rows), "\u{fffd}]0;x\u{fffd}a b  1 B\n");
        assert_eq!(harmless("one\ntwo\r\u{9b}31m"), "one\ntwo\u{fffd}\u{fffd}31m");
    }

    #[test]
    fn progress_stays_on_its_line() {
        let wide = progress_line("upload big.gcode", 0.5, "1.0 MB", 160);
        assert_eq!(wide, format!("upload big.gcode [{}{}]  50 % 1.0 MB", "#".repeat(15), ".".repeat(15)));
        assert_eq!(
            progress_line("upload big.gcode", 0.5, "1.0 MB", 40),
            "upload big.gcode [###....]  50 % 1.0 MB"
        );
        for columns in 0..120 {
            let line = progress_line(&"x".repeat(200), 1.0, "999.9 MB", columns);
            assert!(line.chars().count() < columns.max(1), "{columns}: {line}");
            assert!(columns < 30 || line.ends_with("] 100 % 999.9 MB"), "{columns}: {line}");
        }
    }
}
