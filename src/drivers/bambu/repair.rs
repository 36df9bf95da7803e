//! Makes JSON out of what is almost JSON: words and numbers that JSON does not know, and nesting beyond any parser's
//! limit, become `null`. Used only after the parser refused the text.

/// The text with every unknown bare word, every overflowing number and everything deeper than `max_depth` as `null`.
pub(super) fn repaired(text: &str, max_depth: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '"' => string_length(rest),
            '[' | '{' => {
                depth += 1;
                if depth > max_depth {
                    depth -= 1;
                    let skipped = nested_length(rest);
                    out.push_str("null");
                    rest = rest.get(skipped..).unwrap_or("");
                    continue;
                }
                1
            }
            ']' | '}' => {
                depth = depth.saturating_sub(1);
                1
            }
            ',' | ':' => 1,
            c if c.is_whitespace() => c.len_utf8(),
            _ => {
                let length = word_length(rest);
                let word = rest.get(..length).unwrap_or("");
                out.push_str(if is_scalar(word) { word } else { "null" });
                rest = rest.get(length..).unwrap_or("");
                continue;
            }
        };
        out.push_str(rest.get(..length).unwrap_or(""));
        rest = rest.get(length..).unwrap_or("");
    }
    out
}

/// Bytes of the string at the start, both quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Bytes of the list or object at the start.
fn nested_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0_usize);
    while let Some(next) = text.get(at..).and_then(|rest| rest.chars().next()) {
        match next {
            '"' => at += text.get(at..).map_or(0, string_length),
            '[' | '{' => {
                depth += 1;
                at += 1;
            }
            ']' | '}' => {
                depth -= 1;
                at += 1;
                if depth == 0 {
                    return at;
                }
            }
            c => at += c.len_utf8(),
        }
    }
    text.len()
}

fn word_length(text: &str) -> usize {
    let end = text.find(|c: char| c.is_whitespace() || matches!(c, ',' | ':' | ']' | '}' | '[' | '{' | '"'));
    end.unwrap_or(text.len()).max(1)
}

fn is_scalar(word: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(word).is_ok()
}
