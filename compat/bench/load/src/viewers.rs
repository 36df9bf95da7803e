//! Viewers of a camera's motion JPEG.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Failure, frames, number};

/// Orders: `port`, `viewers`, `seconds`, `picture_bytes`. Begins to count when all have seen a picture; the bytes of a
/// viewer, as multiples of the pictures in them, tell what is copied beside the pictures.
pub fn watch(order: &Value) -> Result<Value, Failure> {
    let port = number(order, "port")?;
    let lasting = Duration::from_secs_f64(order["seconds"].as_f64().unwrap_or(3.0));
    let readers: Vec<_> =
        (0..number(order, "viewers")?).map(|_| std::thread::spawn(move || view(port, lasting))).collect();
    let mut all = Vec::new();
    for reader in readers {
        all.push(reader.join().map_err(|_| "a viewer failed")??);
    }
    let (bytes, pictures) = all.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let each = number(order, "picture_bytes")? as f64;
    Ok(json!({
        "pictures_per_viewer": pictures as f64 / all.len().max(1) as f64,
        "bytes_per_picture_byte": bytes as f64 / (pictures as f64 * each),
    }))
}

/// Bytes and pictures that came.
fn view(port: u64, lasting: Duration) -> Result<(usize, usize), Failure> {
    let mut stream = frames::connect(port)?;
    write!(stream, "GET /webcam/?action=stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")?;
    let mut buffer = vec![0; 256 << 10];
    let first = stream.read(&mut buffer)?;
    if !buffer[..first].starts_with(b"HTTP/1.0 200") && !buffer[..first].starts_with(b"HTTP/1.1 200") {
        return Err(format!("no stream: {}", String::from_utf8_lossy(&buffer[..first.min(200)])).into());
    }
    let (mut bytes, mut pictures) = (0, 0);
    let began = Instant::now();
    while began.elapsed() < lasting {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err("the stream ended".into());
        }
        bytes += count;
        // A mark that two reads share is missed; with pictures of one byte value that is one in thousands.
        pictures += buffer[..count].windows(11).filter(|part| part == b"boundarydon").count();
    }
    Ok((bytes, pictures))
}
