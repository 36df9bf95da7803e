//! Pictures of the simulated Elegoo cameras: 640x360 JPEG frames in which a bar wanders across the bed.

use std::io::Cursor;
use std::sync::OnceLock;

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

/// Frames in the loop.
const FRAMES: u32 = 8;

/// Frame number `n` of an endless loop of eight.
pub fn frame(n: usize) -> Bytes {
    static LOOP: OnceLock<Vec<Bytes>> = OnceLock::new();
    let frames = LOOP.get_or_init(|| (0..FRAMES).filter_map(draw).collect());
    frames.get(n % frames.len().max(1)).cloned().unwrap_or_default()
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
