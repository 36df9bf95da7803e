//! Messages and interleaved data on one connection (RFC 2326 sections 4 to 7, 10.12).

use bytes::{Buf, Bytes, BytesMut};

use super::RtspError;

/// Longest head and body of a message; SDP answers of cameras are about 1 kB.
const HEAD_LIMIT: usize = 16 << 10;
const BODY_LIMIT: usize = 64 << 10;
const HEADERS: usize = 64;

/// What came in.
#[derive(Debug)]
pub(super) enum Incoming {
    Response(Response),
    /// A request of the server; cameras send none that matter.
    Request,
    Data {
        channel: u8,
        payload: Bytes,
    },
}

#[derive(Debug, Default)]
pub(super) struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Response {
    pub fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Takes the next whole message off `buffer`; `None` if more bytes are needed.
pub(super) fn take(buffer: &mut BytesMut) -> Result<Option<Incoming>, RtspError> {
    // Some servers put stray line ends between messages.
    while matches!(buffer.first(), Some(b'\r' | b'\n')) {
        buffer.advance(1);
    }
    match *buffer.as_ref() {
        [] => Ok(None),
        [b'$', channel, high, low, ..] => {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if buffer.len() < 4 + length {
                return Ok(None);
            }
            buffer.advance(4);
            Ok(Some(Incoming::Data { channel, payload: buffer.split_to(length).freeze() }))
        }
        [b'$', ..] => Ok(None),
        _ => message(buffer),
    }
}

fn message(buffer: &mut BytesMut) -> Result<Option<Incoming>, RtspError> {
    let Some(end) = buffer.windows(4).position(|end| end == b"\r\n\r\n") else {
        if buffer.len() > HEAD_LIMIT {
            return Err(RtspError::Protocol("endless header"));
        }
        return Ok(None);
    };
    if end > HEAD_LIMIT {
        return Err(RtspError::Protocol("header too long"));
    }
    let head = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).into_owned();
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let headers: Vec<(String, String)> = lines
        .take(HEADERS)
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect();
    let mut response = Response { status: 0, headers, body: Bytes::new() };
    let length = match response.header("Content-Length") {
        None => 0,
        Some(text) => text.parse().map_err(|_| RtspError::Protocol("Content-Length"))?,
    };
    if length > BODY_LIMIT {
        return Err(RtspError::Protocol("body too long"));
    }
    if buffer.len() < end + 4 + length {
        return Ok(None);
    }
    let status = first.strip_prefix("RTSP/1.0 ").and_then(|rest| rest.get(..3)).map(str::parse);
    let request = first.ends_with("RTSP/1.0");
    buffer.advance(end + 4);
    response.body = buffer.split_to(length).freeze();
    match status {
        Some(Ok(status)) => {
            response.status = status;
            Ok(Some(Incoming::Response(response)))
        }
        _ if request => Ok(Some(Incoming::Request)),
        _ => Err(RtspError::Protocol("not RTSP")),
    }
}
