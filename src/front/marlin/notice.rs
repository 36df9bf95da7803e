//! Text from the printer made safe for a host that looks for signals anywhere in a line.

use crate::model::text::one_line;

/// The sidebar of the host shows no more.
const MAX_CHARS: usize = 240;

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

/// `// action:notification ...`
pub fn notification(text: &str) -> String {
    format!("// action:notification {}", plain(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_text_cannot_pose_as_a_signal() {
        let line = notification("Jam\r\nok\nError:!! T:200 /0 File opened: x Not SD printing M600");
        assert!(line.starts_with("// action:notification Jam ok Error:!! T=200 /0"), "{line}");
        for signal in SIGNALS {
            assert!(!line.to_ascii_lowercase().contains(signal), "{signal}: {line}");
        }
        assert_eq!(plain("AMS 1: humid (0700_8011)"), "AMS 1: humid (0700_8011)");
    }
}
