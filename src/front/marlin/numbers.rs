//! Line numbers: each line of a file is taken once, and none is left out.

use super::dialogue::{Dialogue, Reply};

/// Takes line number and checksum off; the checksum has been verified.
pub(super) fn number_and_body(bytes: &[u8]) -> (Option<i64>, &[u8]) {
    let bytes = bytes.trim_ascii();
    let Some((b'N' | b'n', rest)) = bytes.split_first() else { return (None, bytes) };
    // Blanks may be between, as for the parser.
    let rest = rest.trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let Some((number, body)) = rest.split_at_checked(digits) else { return (None, bytes) };
    let Some(number) = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok()) else {
        return (None, bytes);
    };
    let end = body.iter().rposition(|byte| *byte == b'*').unwrap_or(body.len());
    (Some(number), body.get(..end).unwrap_or(body).trim_ascii())
}

impl Dialogue {
    /// Takes the line's number; the reply of a line that is not to be acted upon.
    pub(super) fn count(&mut self, number: i64) -> Option<Reply> {
        if let Some(last) = self.session.last_number {
            let collects = self.session.mode.collects();
            if number == last || collects && number < last {
                // Sent again after an ok that the host missed, or asked for twice: it is done already.
                return Some(Reply::Ok);
            }
            if collects && number > last + 1 {
                return Some(self.resend("Line Number is not Last Line Number+1", Some(number)));
            }
        }
        self.session.last_number = Some(number);
        None
    }

    /// One of the two errors that do not throw the host out (rule 14), and the request to send the line again.
    pub(super) fn resend(&mut self, why: &str, number: Option<i64>) -> Reply {
        let last = self.session.last_number.or(number.map(|n| n - 1)).unwrap_or(0);
        self.push(format!("Error:{why}, Last Line: {last}"));
        self.push(format!("Resend: {}", last + 1));
        Reply::Ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_off_as_the_parser_reads_it() {
        for numbered in [&b"N5 G1 X1*33"[..], b"N 5 G1 X1*33", b" n5G1 X1*33 "] {
            assert_eq!(number_and_body(numbered), (Some(5), &b"G1 X1"[..]));
            let text = numbered.split(|byte| *byte == b'*').next().unwrap();
            assert_eq!(crate::gcode::parse(text).unwrap().number, Some(5));
        }
        for plain in [&b"G1 X1"[..], b"N G1", b"NOTE 5"] {
            assert_eq!(number_and_body(plain), (None, plain));
        }
    }
}
