//! Small text rules that several rooms share.

/// A text that fits on one line of any protocol: control characters become spaces, the length is capped.
pub fn one_line(text: &str, max_chars: usize) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(max_chars).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A value as JSON text, without the detour over `Display` that `Value::to_string` takes.
pub fn json(value: &impl serde::Serialize) -> String {
    // Most answers are some hundred bytes: the library's own 128 would grow three times.
    let mut text = Vec::with_capacity(1024);
    // What is written here has text keys only, so nothing can fail.
    serde_json::to_writer(&mut text, value)
        .ok()
        .and_then(|()| String::from_utf8(text).ok())
        .unwrap_or_default()
}

/// The last element of a path, whichever slash it uses; empty for a path that ends in one.
pub fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The nearest of `known` to a mistyped word, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = word.len().div_ceil(3).min(3);
    known
        .into_iter()
        .map(|candidate| (edit_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, cb) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            let best = (diagonal + usize::from(ca != *cb)).min(above + 1).min(left + 1);
            (diagonal, left, *cell) = (above, best, best);
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word() {
        assert_eq!(nearest("serail", ["serial", "host", "kind"]), Some("serial"));
        assert_eq!(nearest("hots", ["serial", "host"]), Some("host"));
        assert_eq!(nearest("zzzzzz", ["serial", "host"]), None);
        assert_eq!(nearest("camera", ["name", "host"]), None, "half of another word");
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
    }

    #[test]
    fn one_line_drops_what_could_break_a_protocol() {
        assert_eq!(one_line("a\r\nok\u{7}  b", 20), "a ok b");
        assert_eq!(one_line("abcdef", 3), "abc");
        assert_eq!(base_name("/local/a.gcode"), "a.gcode");
    }
}
