//! The `Content-Disposition` of a part of a form: the field's name and the file's (RFC 7578, RFC 6266, RFC 8187).

use std::iter::Peekable;

use axum::http::{HeaderMap, header};
use percent_encoding::percent_decode_str;

/// What a part of a form is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Disposition {
    /// The field; empty where the part has no name.
    pub field: String,
    /// As the client has it, with folders if it sent any. `filename*` goes before `filename`, which is what is left of
    /// the name for receivers that know no more (RFC 6266 4.3); OctoPrint's clients send it alone.
    pub file: Option<String>,
}

/// Reads it; names of parameters have no case.
pub fn of(headers: &HeaderMap) -> Disposition {
    let Some(value) = headers.get(header::CONTENT_DISPOSITION) else { return Disposition::default() };
    let mut bytes = value.as_bytes().iter().copied().peekable();
    // The type itself, "form-data".
    bytes.by_ref().find(|byte| *byte == b';');
    let (mut field, mut plain, mut extended) = (None, None, None);
    while let Some((key, value)) = parameter(&mut bytes) {
        match key.to_ascii_lowercase().as_str() {
            "name" => field = field.or(Some(value)),
            "filename" => plain = plain.or(Some(value)),
            "filename*" => extended = extended.or_else(|| decoded(&value)),
            _ => {}
        }
    }
    Disposition { field: field.unwrap_or_default(), file: extended.or(plain) }
}

/// The next parameter up to behind its `;`.
fn parameter(bytes: &mut Peekable<impl Iterator<Item = u8>>) -> Option<(String, String)> {
    bytes.peek()?;
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let mut has_value = false;
    while let Some(byte) = bytes.next_if(|byte| *byte != b';') {
        if byte == b'=' {
            has_value = true;
            break;
        }
        key.push(byte);
    }
    if has_value {
        while bytes.next_if(|byte| matches!(byte, b' ' | b'\t')).is_some() {}
        if bytes.next_if_eq(&b'"').is_some() {
            value = quoted(bytes);
            bytes.by_ref().find(|byte| *byte == b';');
            return Some((text(key).trim().to_owned(), text(value)));
        }
        while let Some(byte) = bytes.next_if(|byte| *byte != b';') {
            value.push(byte);
        }
    }
    bytes.next();
    Some((text(key).trim().to_owned(), text(value).trim().to_owned()))
}

/// Up to the closing quote. A backslash escapes a quote or itself only: Windows paths have them bare.
fn quoted(bytes: &mut Peekable<impl Iterator<Item = u8>>) -> Vec<u8> {
    let mut value = Vec::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => break,
            b'\\' => value.push(bytes.next_if(|next| matches!(next, b'"' | b'\\')).unwrap_or(byte)),
            _ => value.push(byte),
        }
    }
    value
}

/// `charset'language'percent-encoded`; only the two charsets that RFC 8187 knows of.
fn decoded(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, encoded) = rest.split_once('\'')?;
    let bytes = percent_decode_str(encoded).collect::<Vec<u8>>();
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" => String::from_utf8(bytes).ok(),
        "iso-8859-1" => Some(bytes.into_iter().map(char::from).collect()),
        _ => None,
    }
}

/// UTF-8, as all of today's clients send it, else Latin-1.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(value: &[u8]) -> (String, Option<String>) {
        let value = HeaderValue::from_bytes(value).unwrap();
        let read = of(&HeaderMap::from_iter([(header::CONTENT_DISPOSITION, value)]));
        (read.field, read.file)
    }

    #[test]
    fn names_in_each_spelling() {
        let cases: [(&[u8], &str); 12] = [
            (br#"form-data; name="file"; filename="a b.gcode""#, "a b.gcode"),
            (br#"form-data;filename="a.gcode";name="file""#, "a.gcode"),
            (br"form-data; name=file; filename=a.gcode", "a.gcode"),
            (br#"FORM-DATA; NAME="file"; FILENAME="a.gcode""#, "a.gcode"),
            (b"form-data; name=\"file\"; filename*=UTF-8''k%C3%A4se%20%26.gcode", "k\u{e4}se &.gcode"),
            (
                b"form-data; name=\"file\"; filename=\"k_se.gcode\"; filename*=utf-8'de'k%c3%a4se.gcode",
                "k\u{e4}se.gcode",
            ),
            (b"form-data; name=\"file\"; filename*=iso-8859-1''k%E4se.gcode", "k\u{e4}se.gcode"),
            (b"form-data; name=\"file\"; filename=\"a.gcode\"; filename*=UTF-8''%FF", "a.gcode"),
            (br#"form-data; name="file"; filename="q\"uo;te\\.gcode""#, "q\"uo;te\\.gcode"),
            (br#"form-data; name="file"; filename="C:\dir\a.gcode""#, "C:\\dir\\a.gcode"),
            ("form-data; name=\"file\"; filename=\"k\u{e4}se.gcode\"".as_bytes(), "k\u{e4}se.gcode"),
            (b"form-data; name=\"file\"; filename=\"k\xe4se.gcode\"", "k\u{e4}se.gcode"),
        ];
        for (value, file) in cases {
            let told = String::from_utf8_lossy(value);
            assert_eq!(read(value), ("file".to_owned(), Some(file.to_owned())), "{told}");
        }
    }

    #[test]
    fn fields_without_a_file_and_broken_headers() {
        assert_eq!(read(br#"form-data; name="print""#), ("print".to_owned(), None));
        assert_eq!(read(br#"form-data; name="root"; x; =; name="other""#), ("root".to_owned(), None));
        for broken in [&b""[..], b";", b"form-data", b"form-data; filename*=x; =\"", b"form-data;;;"] {
            assert_eq!(read(broken), (String::new(), None), "{}", String::from_utf8_lossy(broken));
        }
        assert_eq!(of(&HeaderMap::new()), Disposition::default());
    }
}
