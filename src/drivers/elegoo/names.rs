//! File names that both printers take (elegoo.md 2.10, 3.13).

use crate::model::text::base_name;

/// Longest name in bytes (elegoo.md 2.10: about 100).
const MAX_BYTES: usize = 100;
/// Ending of every job file.
const ENDING: &str = ".gcode";

/// The name under which a file goes to the printer: base name only, safe characters, `.gcode` at its end.
///
/// Stock upload handlers have written outside their folder for names with path components (elegoo.md 3.13).
pub fn safe_name(name: &str) -> String {
    let base = base_name(name.trim_end_matches(['/', '\\']));
    let lower = base.to_ascii_lowercase();
    let stem_length = [".gcode", ".gco", ".g"]
        .iter()
        .find(|ending| lower.ends_with(*ending))
        .map_or(base.len(), |ending| base.len() - ending.len());
    let stem: String =
        base.get(..stem_length).unwrap_or(base).chars().map(|c| if safe(c) { c } else { '_' }).collect();
    let stem = stem.trim_matches([' ', '.']);
    let stem: String = stem.chars().take(MAX_BYTES - ENDING.len()).collect();
    let stem = stem.trim_end();
    if stem.is_empty() { format!("job{ENDING}") } else { format!("{stem}{ENDING}") }
}

fn safe(c: char) -> bool {
    c.is_ascii_alphanumeric() || " ._+()-".contains(c)
}

/// An id that becomes part of topics: nothing else may come in with it.
pub fn sane_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !id.is_empty() && id.len() <= 64 && id.bytes().all(plain)
}

/// Printers report bare names or paths: the same file has the same base name, whatever its case (elegoo.md 2.4).
pub fn same_file(a: &str, b: &str) -> bool {
    base_name(a).eq_ignore_ascii_case(base_name(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_folder_and_keep_to_the_safe_set() {
        for (given, safe) in [
            ("cube.gcode", "cube.gcode"),
            ("../../etc/passwd", "passwd.gcode"),
            ("a\\b\\Part 1 (2).GCODE", "Part 1 (2).gcode"),
            ("würfel#1.gco", "w_rfel_1.gcode"),
            ("..", "job.gcode"),
            ("", "job.gcode"),
            (".gcode", "job.gcode"),
            ("x/", "x.gcode"),
        ] {
            assert_eq!(safe_name(given), safe, "{given}");
        }
        assert_eq!(safe_name(&"a".repeat(300)).len(), MAX_BYTES);
        assert_eq!(safe_name(&safe_name("w\u{fc} .gcode")), safe_name("w\u{fc} .gcode"));
    }

    #[test]
    fn the_same_file_is_known_by_its_base_name() {
        assert!(same_file("/local/Cube.gcode", "cube.gcode"));
        assert!(!same_file("cube.gcode", "cube2.gcode"));
    }
}
