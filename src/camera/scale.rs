//! Pictures of another size or coding on request. Decoding costs time, so it happens off the runtime, only when asked,
//! and once for all viewers of one kind.

use std::io::Cursor;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat, ImageReader, Limits};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use tokio::sync::Mutex;

use super::Frame;

const QUALITY: u8 = 80;
/// A second coding should not be seen.
const PLAIN_QUALITY: u8 = 90;
/// Pixels per side and bytes of a decoded picture.
const SIDE_LIMIT: u32 = 8192;
const DECODED_LIMIT: u64 = 128 << 20;

#[derive(Default)]
pub(super) struct Scaler {
    /// The last results, newest last: one per kind that viewers ask for.
    made: Mutex<Vec<Made>>,
}

struct Made {
    number: u64,
    kind: Kind,
    /// `None` where it could not be made.
    data: Option<Bytes>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// At most this many pixels wide.
    Width(u32),
    /// Sequential, colours halved both ways, the standard's own code tables.
    Plain,
}

/// Kinds remembered; more different ones are made anew each time.
const KINDS: usize = 4;

impl Scaler {
    /// The picture at most `width` pixels wide; the original where it is narrower or cannot be decoded.
    pub async fn shrink(&self, frame: &Frame, width: u32) -> Bytes {
        self.make(frame, Kind::Width(width)).await.unwrap_or_else(|| frame.data.clone())
    }

    /// The picture as sequential JPEG with 4:2:0 colours and standard Huffman tables; `None` where it cannot be decoded.
    pub async fn plain(&self, frame: &Frame) -> Option<Bytes> {
        self.make(frame, Kind::Plain).await
    }

    async fn make(&self, frame: &Frame, kind: Kind) -> Option<Bytes> {
        // Held while decoding: viewers of one kind wait for one result instead of each making it, and one camera
        // never occupies more than one core.
        let mut made = self.made.lock().await;
        if let Some(known) = made.iter().find(|known| known.number == frame.number && known.kind == kind) {
            return known.data.clone();
        }
        let input = frame.data.clone();
        let work = move || match kind {
            Kind::Width(width) => shrink(&input, width),
            Kind::Plain => plain(&input),
        };
        let data = tokio::task::spawn_blocking(work).await.ok().flatten();
        made.retain(|known| known.kind != kind);
        if made.len() == KINDS {
            made.remove(0);
        }
        made.push(Made { number: frame.number, kind, data: data.clone() });
        data
    }
}

fn decode(jpeg: &[u8]) -> Option<DynamicImage> {
    let mut reader = ImageReader::with_format(Cursor::new(jpeg), ImageFormat::Jpeg);
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_LIMIT);
    limits.max_image_height = Some(SIDE_LIMIT);
    limits.max_alloc = Some(DECODED_LIMIT);
    reader.limits(limits);
    reader.decode().ok()
}

fn shrink(jpeg: &[u8], width: u32) -> Option<Bytes> {
    let picture = decode(jpeg)?;
    if picture.width() <= width {
        return None;
    }
    let height = (u64::from(picture.height()) * u64::from(width) / u64::from(picture.width())).max(1);
    let small = picture.resize_exact(width, u32::try_from(height).ok()?, FilterType::Triangle);
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, QUALITY).encode_image(&small.to_rgb8()).ok()?;
    Some(Bytes::from(out))
}

fn plain(jpeg: &[u8]) -> Option<Bytes> {
    let picture = decode(jpeg)?.into_rgb8();
    let (width, height) = (u16::try_from(picture.width()).ok()?, u16::try_from(picture.height()).ok()?);
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, PLAIN_QUALITY);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode(&picture, width, height, ColorType::Rgb).ok()?;
    Some(Bytes::from(out))
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    fn jpeg(width: u32, height: u32) -> Bytes {
        let mut out = Vec::new();
        JpegEncoder::new(&mut out).encode_image(&RgbImage::new(width, height)).unwrap();
        Bytes::from(out)
    }

    #[tokio::test]
    async fn shrinks_to_the_width_and_keeps_the_aspect() {
        let scaler = Scaler::default();
        let frame = Frame::new(jpeg(640, 360), 1);
        let small = scaler.shrink(&frame, 320).await;
        let read = image::load_from_memory(&small).unwrap();
        assert_eq!((read.width(), read.height()), (320, 180));
        let again = scaler.shrink(&frame, 320).await;
        assert_eq!(small.as_ptr(), again.as_ptr(), "made once for all viewers");
    }

    #[tokio::test]
    async fn narrow_or_broken_pictures_pass_unchanged() {
        for data in [jpeg(64, 48), Bytes::from_static(&[0xFF, 0xD8, 0xFF, 0xE0, 1, 2, 3])] {
            let frame = Frame::new(data.clone(), 1);
            assert_eq!(Scaler::default().shrink(&frame, 100).await, data);
        }
    }
}
