//! HTTP answers and WebSocket frames, as far as a client must read them to know where they end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::Failure;

const PATIENCE: Duration = Duration::from_secs(20);

/// A connection with its deadline and without delay for small frames.
pub fn connect(port: u64) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(("127.0.0.1", u16::try_from(port)?))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Opens a WebSocket; the bytes behind the answer's head are returned too.
pub fn open_socket(port: u64) -> Result<(TcpStream, Vec<u8>), Failure> {
    let mut stream = connect(port)?;
    write!(
        stream,
        "GET /websocket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )?;
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err("the server closed during the upgrade".into());
        }
        head.extend_from_slice(&buffer[..count]);
        if let Some(end) = find(&head, b"\r\n\r\n") {
            if !head.starts_with(b"HTTP/1.1 101") {
                return Err(format!("no upgrade: {}", String::from_utf8_lossy(&head[..end])).into());
            }
            return Ok((stream, head.split_off(end + 4)));
        }
    }
}

/// A text frame as clients send it: masked, with a mask of zeros.
pub fn text_frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(long).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// The answer to a ping, whose payload has less than 126 bytes (RFC 6455, 5.5).
pub fn pong(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x8A, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

/// The payload's range and the end of the first whole server frame, with its opcode.
pub fn server_frame(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let opcode = bytes.first()? & 0x0F;
    let (length, head) = match bytes.get(1)? & 0x7F {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
        short => (usize::from(short), 2),
    };
    let payload = head..head + length;
    (bytes.len() >= payload.end).then_some((opcode, payload))
}

/// The length of the first whole HTTP answer; chunked ones are not understood.
pub fn http_answer(bytes: &[u8]) -> Result<Option<usize>, Failure> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    if !head.starts_with("http/1.1 2") {
        return Err(format!("refused: {}", head.lines().next().unwrap_or_default()).into());
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.ok_or("an answer without its length")?.trim().parse()?;
    let whole = end + 4 + length;
    Ok((bytes.len() >= whole).then_some(whole))
}

/// Where `wanted` begins.
pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
