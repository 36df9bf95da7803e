//! Pictures of the simulated Elegoo cameras: 640x360 JPEG frames in which a bar wanders across the bed.

use std::io::{self, Cursor};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::camera_faults::CameraFault;

/// About 10 frames a second.
const PERIOD: Duration = Duration::from_millis(100);
/// A viewer that asks for nothing for this long is given up.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// A viewer that takes nothing for this long is given up.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Frames in the loop.
const FRAMES: u32 = 8;

/// Frame number `n` of an endless loop of eight.
pub fn frame(n: usize) -> Bytes {
    static LOOP: OnceLock<Vec<Bytes>> = OnceLock::new();
    let frames = LOOP.get_or_init(|| (0..FRAMES).filter_map(draw).collect());
    frames.get(n % frames.len().max(1)).cloned().unwrap_or_default()
}

/// Reads up to the blank line, at most 8 KiB.
pub async fn read_request(stream: &mut TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < 8192 {
        request.push(timeout(REQUEST_LIMIT, stream.read_u8()).await??);
    }
    Ok(())
}

/// Sends pictures between lines of `boundary` until the viewer leaves or is closed out. `now` says whether pictures flow,
/// and what is wrong with them.
pub async fn show(
    stream: &mut TcpStream,
    boundary: &str,
    now: impl Fn() -> (bool, CameraFault),
) -> io::Result<()> {
    let mut sink = [0_u8; 64];
    for n in 0.. {
        let (flowing, fault) = now();
        if matches!(fault, CameraFault::Closed | CameraFault::Refuse) {
            return Ok(());
        }
        if flowing && fault != CameraFault::Stall {
            send(stream, boundary, n, fault).await?;
        }
        tokio::select! {
            () = sleep(PERIOD) => {}
            read = stream.read(&mut sink) => if read? == 0 { return Ok(()) },
        }
    }
    Ok(())
}

/// Writes picture `n` as a part, as `fault` has it.
async fn send(stream: &mut TcpStream, boundary: &str, n: usize, fault: CameraFault) -> io::Result<()> {
    let picture = frame(n);
    let length = fault.length(&picture);
    let head = format!("--{boundary}\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n");
    let mut part = head.into_bytes();
    part.extend_from_slice(fault.cut(&picture));
    part.extend_from_slice(b"\r\n");
    timeout(WRITE_LIMIT, fault.write(stream, &part)).await?
}

/// Answers a viewer that is refused.
pub async fn refuse(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.0 503 Service Unavailable\r\nConnection: close\r\n\r\n").await?;
    stream.shutdown().await
}

fn draw(step: u32) -> Option<Bytes> {
    let bar = step * 640 / FRAMES;
    let picture = RgbImage::from_fn(640, 360, |x, y| {
        if x >= bar && x < bar + 40 && (60..300).contains(&y) {
            Rgb([240, 150, 30])
        } else if y > 300 {
            Rgb([60, 60, 66])
        } else {
            Rgb([24, (y / 4) as u8, 40])
        }
    });
    let mut out = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(picture).write_to(&mut out, ImageFormat::Jpeg).ok()?;
    Some(Bytes::from(out.into_inner()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn frames_are_jpeg_and_differ() {
        let (first, second) = (super::frame(0), super::frame(1));
        assert!(first.starts_with(&[0xFF, 0xD8]) && first.ends_with(&[0xFF, 0xD9]));
        assert_ne!(first, second);
        assert_eq!(first, super::frame(8));
    }
}
