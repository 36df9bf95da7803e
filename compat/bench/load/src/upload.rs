//! A large file as a slicer sends it: one POST of multipart/form-data.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Failure, frames, number, text};

const BOUNDARY: &str = "----moongate-bench-0123456789";
/// What is handed to the kernel at once.
pub const PIECE: usize = 256 << 10;
/// Both sides may still have to check what they got.
const PATIENCE: Duration = Duration::from_secs(120);

/// Lines of G-code that a parser of comments has nothing to do with.
pub fn piece() -> Vec<u8> {
    let line = b"G1 X101.325 Y98.117 E.04521 F7200\n";
    line.iter().copied().cycle().take(PIECE).collect()
}

/// Orders: `port`, `name`, `bytes`. Seconds until all of it was taken by the kernel, and until the answer.
pub fn measure(order: &Value) -> Result<Value, Failure> {
    let (port, bytes) = (number(order, "port")?, number(order, "bytes")?);
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"root\"\r\n\r\ngcodes\r\n--{BOUNDARY}\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n",
        text(order, "name")?
    );
    let tail = format!("\r\n--{BOUNDARY}--\r\n");
    let length = head.len() as u64 + bytes + tail.len() as u64;
    let mut stream = frames::connect(port)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let piece = piece();
    let began = Instant::now();
    write!(
        stream,
        "POST /server/files/upload HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\n\
         Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n{head}"
    )?;
    send(&mut stream, &piece, bytes)?;
    stream.write_all(tail.as_bytes())?;
    let sent = began.elapsed().as_secs_f64();
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while frames::http_answer(&answer)?.is_none() {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(format!("no answer but {:?}", String::from_utf8_lossy(&answer)).into());
        }
        answer.extend_from_slice(&buffer[..count]);
    }
    Ok(json!({"sent": sent, "answered": began.elapsed().as_secs_f64()}))
}

/// So many bytes of the piece again and again.
pub fn send(stream: &mut impl Write, piece: &[u8], bytes: u64) -> Result<(), Failure> {
    let mut rest = bytes;
    while rest > 0 {
        let next = piece.len().min(usize::try_from(rest)?);
        stream.write_all(&piece[..next])?;
        rest -= next as u64;
    }
    Ok(())
}
