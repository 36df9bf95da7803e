//! Requests out of bytes, and answers (RFC 2326 sections 4 to 7, 10.12).

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BytesMut};

/// Longest head of a request, its lines, and the longest body: those of recorders have some hundred bytes.
const HEAD_LIMIT: usize = 8 << 10;
const HEADERS: usize = 40;
const BODY_LIMIT: usize = 4 << 10;

/// What came in.
#[derive(Debug)]
pub(super) enum Incoming {
    Request(Request),
    /// Interleaved: the client's reports, which tell nothing that TCP does not.
    Data,
}

#[derive(Debug)]
pub(super) struct Request {
    pub method: String,
    pub url: String,
    pub sequence: u32,
    headers: Vec<(String, String)>,
    pub has_body: bool,
}

impl Request {
    /// The first value of a header, blanks around it removed.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A request that cannot be answered as one: the answer's status, after which the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken(pub u16, pub &'static str);

/// Takes the next whole message off `buffer`; `None` if more bytes are needed.
pub(super) fn take(buffer: &mut BytesMut) -> Result<Option<Incoming>, Broken> {
    // Some clients put stray line ends between messages.
    while matches!(buffer.first(), Some(b'\r' | b'\n')) {
        buffer.advance(1);
    }
    match *buffer.as_ref() {
        [] => Ok(None),
        [b'$', _, high, low, ..] => {
            let whole = 4 + usize::from(u16::from_be_bytes([high, low]));
            if buffer.len() < whole {
                return Ok(None);
            }
            buffer.advance(whole);
            Ok(Some(Incoming::Data))
        }
        [b'$', ..] => Ok(None),
        _ => request(buffer),
    }
}

fn request(buffer: &mut BytesMut) -> Result<Option<Incoming>, Broken> {
    let Some(end) = buffer.windows(4).take(HEAD_LIMIT).position(|end| end == b"\r\n\r\n") else {
        // What can be no request is not waited for.
        let stranger = buffer.iter().take(16).any(|byte| !matches!(byte, b' '..=b'~' | b'\r' | b'\n'));
        if stranger || buffer.len() > HEAD_LIMIT {
            return Err(Broken(400, "Bad Request"));
        }
        return Ok(None);
    };
    let head = buffer.get(..end).and_then(|head| std::str::from_utf8(head).ok());
    let head = head.filter(|head| !head.chars().any(|c| c.is_control() && !matches!(c, '\r' | '\n' | '\t')));
    let mut lines = head.ok_or(Broken(400, "Bad Request"))?.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(url), Some(version), None) =
        (first.next(), first.next(), first.next(), first.next())
    else {
        return Err(Broken(400, "Bad Request"));
    };
    if version != "RTSP/1.0" {
        return Err(Broken(505, "RTSP Version Not Supported"));
    }
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect();
    if headers.len() > HEADERS {
        return Err(Broken(400, "Too Many Headers"));
    }
    let mut request =
        Request { method: method.to_owned(), url: url.to_owned(), sequence: 0, headers, has_body: false };
    let number = |text: &str| text.parse::<u32>().ok();
    let length = match request.header("Content-Length").map(number) {
        None => 0,
        Some(length) => length.and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX),
    };
    if length > BODY_LIMIT {
        return Err(Broken(413, "Request Entity Too Large"));
    }
    request.sequence = request.header("CSeq").and_then(number).ok_or(Broken(400, "CSeq Missing"))?;
    request.has_body = length > 0;
    if buffer.len() < end + 4 + length {
        return Ok(None);
    }
    buffer.advance(end + 4 + length);
    Ok(Some(Incoming::Request(request)))
}

/// Name and password of a basic login (RFC 7617).
pub(super) fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, text) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// An answer on its way.
pub(super) struct Answer {
    status: u16,
    reason: String,
    headers: String,
    body: String,
}

impl Answer {
    /// The reason is the line that clients show, so it says what is wrong.
    pub fn new(status: u16, reason: &str) -> Self {
        let reason = crate::model::text::one_line(reason, 200);
        Self { status, reason, headers: String::new(), body: String::new() }
    }

    pub fn ok() -> Self {
        Self::new(200, "OK")
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let _strings_take_all = write!(self.headers, "{name}: {value}\r\n");
        self
    }

    #[must_use]
    pub fn body(mut self, kind: &str, body: String) -> Self {
        self = self.header("Content-Type", kind).header("Content-Length", &body.len().to_string());
        self.body = body;
        self
    }

    /// As it is sent.
    pub fn text(&self, sequence: u32) -> String {
        let Self { status, reason, headers, body } = self;
        format!("RTSP/1.0 {status} {reason}\r\nCSeq: {sequence}\r\nServer: moongate\r\n{headers}\r\n{body}")
    }
}
