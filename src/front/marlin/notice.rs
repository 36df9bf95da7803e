//! Text from the printer made safe for a host that looks for signals anywhere in a line.

use crate::model::text::one_line;

/// A line of a host's list; a longer text goes on in the next.
const MAX_CHARS: usize = 240;
/// A text of more lines is cut: nobody reads it, and a printer must not flood the list.
const MAX_LINES: usize = 4;

/// Phrases that the host, or a common plugin, takes as a signal wherever they stand (octoprint.md 2, 4, 5, 7).
const SIGNALS: [&str; 19] = [
    "sd init fail",
    "volume.init",
    "no media",
    "openroot",
    "sd card",
    "successfully initialized",
    "not sd printing",
    "sd printing byte",
    "done printing",
    "done saving",
    "file selected",
    "file opened",
    "file list",
    "file deleted",
    "writing to file",
    "open failed",
    "fsensor_update",
    "paused for user",
    "m600",
];

/// One line without anything that could be taken for more than text.
pub fn plain(text: &str) -> String {
    let mut line = one_line(text, MAX_CHARS);
    for signal in SIGNALS {
        while let Some(at) = line.to_ascii_lowercase().find(signal) {
            // The second character is enough to break the phrase; all of them are ASCII.
            line.insert(at + 1, '-');
        }
    }
    line.split(' ').map(without_temperature).collect::<Vec<_>>().join(" ")
}

/// `B:60` would be taken as a temperature, `X:1` as a position.
fn without_temperature(word: &str) -> String {
    match word.split_once(':') {
        Some((name, value))
            if name.len() <= 2 && value.starts_with(|c: char| c.is_ascii_digit() || "-.".contains(c)) =>
        {
            format!("{name}={value}")
        }
        _ => word.to_owned(),
    }
}

/// `// action:notification ...`, broken between words so that a remedy at the end of a long text is seen.
pub fn notifications(text: &str) -> Vec<String> {
    let text = one_line(text, MAX_LINES * MAX_CHARS);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= MAX_CHARS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.iter().take(MAX_LINES).map(|line| format!("// action:notification {}", plain(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_text_cannot_pose_as_a_signal() {
        let lines = notifications("Jam\r\nok\nError:!! T:200 /0 File opened: x Not SD printing M600");
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(line.starts_with("// action:notification Jam ok Error:!! T=200 /0"), "{line}");
        for signal in SIGNALS {
            assert!(!line.to_ascii_lowercase().contains(signal), "{signal}: {line}");
        }
        assert_eq!(plain("AMS 1: humid (0700_8011)"), "AMS 1: humid (0700_8011)");
    }

    #[test]
    fn a_remedy_at_the_end_of_a_long_text_is_told() {
        let lines = notifications(&format!("{}read it again on the printer.", "refused ".repeat(40)));
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.starts_with("// action:notification ")), "{lines:?}");
        assert!(lines.iter().any(|line| line.ends_with("read it again on the printer.")), "{lines:?}");
        assert_eq!(notifications(&"word ".repeat(1000)).len(), MAX_LINES);
    }
}
