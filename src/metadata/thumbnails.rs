//! The picture set that Moonraker clients expect (dossier moonraker 2.8): 32, 300 and the original.

use std::io::Cursor;

use image::imageops::FilterType;
use image::{ImageFormat, ImageReader, Limits};

use super::types::{MetadataError, Thumbnail};

/// Sides of the boxes the pictures are fitted into, in pixels.
const SIDES: [u32; 2] = [32, 300];
/// Pixels of one side of an original.
const MAX_SIDE: u32 = 4096;
/// Memory for decoding one original: 4096 x 4096 at four bytes.
const MAX_DECODED_BYTES: u64 = 64 * 1024 * 1024;

/// Makes the set for one picture, smallest first, the original last; nothing is enlarged.
///
/// # Errors
/// [`MetadataError::Picture`] when it is no PNG, is damaged, or is larger than 4096 pixels on a side.
pub fn moonraker_set(original: &Thumbnail) -> Result<Vec<Thumbnail>, MetadataError> {
    let refuse = |reason: String| MetadataError::Picture { reason };
    let (width, height) = png_size(&original.png).ok_or_else(|| refuse("it is not a PNG file".into()))?;
    if width.max(height) > MAX_SIDE {
        return Err(refuse(format!("{width}x{height} pixels are too many, at most {MAX_SIDE} a side")));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(&original.png), ImageFormat::Png);
    reader.limits(limits);
    let image = reader.decode().map_err(|error| refuse(error.to_string()))?;
    let mut set = Vec::new();
    for side in SIDES.into_iter().filter(|side| width.max(height) > *side) {
        let small = image.resize(side, side, FilterType::Triangle);
        let mut png = Vec::new();
        small
            .to_rgba8()
            .write_to(&mut Cursor::new(&mut png), ImageFormat::Png)
            .map_err(|error| refuse(error.to_string()))?;
        set.push(Thumbnail { plate: original.plate, width: small.width(), height: small.height(), png });
    }
    set.push(Thumbnail { width, height, ..original.clone() });
    Ok(set)
}

/// Width and height that the header of a PNG file states; nothing is decoded.
pub(super) fn png_size(png: &[u8]) -> Option<(u32, u32)> {
    let rest = png.strip_prefix(b"\x89PNG\r\n\x1a\n")?;
    let header = rest.get(4..)?.strip_prefix(b"IHDR")?;
    let (width, header) = header.split_first_chunk::<4>()?;
    let (height, _) = header.split_first_chunk::<4>()?;
    let size = (u32::from_be_bytes(*width), u32::from_be_bytes(*height));
    (size.0 > 0 && size.1 > 0).then_some(size)
}
