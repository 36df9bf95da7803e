//! As much of H.264 as passing it on needs (ITU-T H.264 sections 7.3.1, 7.3.2.1, annex B).

use bytes::{BufMut, Bytes, BytesMut};

const NAL_SEQUENCE_SET: u8 = 7;
const NAL_PICTURE_SET: u8 = 8;
const NAL_DELIMITER: u8 = 9;

/// What a decoder must know before the first picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameters {
    pub sequence_set: Bytes,
    pub picture_set: Bytes,
    /// Pixels, as displayed.
    pub width: u16,
    pub height: u16,
}

/// The NAL units of an access unit in Annex B form, without start codes.
pub(super) fn nals(data: &Bytes) -> Vec<Bytes> {
    let mut found = Vec::new();
    let mut begin = None;
    let (mut at, bytes) = (0, data.as_ref());
    while let Some(offset) =
        bytes.get(at..).and_then(|rest| rest.windows(3).position(|code| code == [0, 0, 1]))
    {
        let code = at + offset;
        if let Some(begin) = begin {
            found.push(trimmed(data, begin, code));
        }
        at = code + 3;
        begin = Some(at);
    }
    if let Some(begin) = begin {
        found.push(trimmed(data, begin, bytes.len()));
    }
    found.retain(|nal| !nal.is_empty());
    found
}

/// Zeroes before a start code belong to neither unit.
fn trimmed(data: &Bytes, begin: usize, end: usize) -> Bytes {
    let end = data
        .get(begin..end)
        .and_then(|nal| nal.iter().rposition(|byte| *byte != 0))
        .map_or(begin, |last| begin + last + 1);
    data.slice(begin..end)
}

fn kind(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |first| first & 0x1F)
}

/// The parameters that an access unit brings; `None` unless both sets are there and readable.
pub(super) fn parameters(nals: &[Bytes]) -> Option<Parameters> {
    let sequence_set = nals.iter().find(|nal| kind(nal) == NAL_SEQUENCE_SET)?;
    let picture_set = nals.iter().find(|nal| kind(nal) == NAL_PICTURE_SET)?;
    let (width, height) = size(sequence_set)?;
    (sequence_set.len() <= 0xFFFF && picture_set.len() <= 0xFFFF).then(|| Parameters {
        // Copies: a slice would keep the whole picture alive.
        sequence_set: Bytes::copy_from_slice(sequence_set),
        picture_set: Bytes::copy_from_slice(picture_set),
        width,
        height,
    })
}

/// The units as MP4 wants them: length before each, parameter sets and delimiters left out.
pub(super) fn sample(nals: &[Bytes]) -> Bytes {
    let kept =
        || nals.iter().filter(|nal| !matches!(kind(nal), NAL_SEQUENCE_SET | NAL_PICTURE_SET | NAL_DELIMITER));
    let mut out = BytesMut::with_capacity(kept().map(|nal| nal.len() + 4).sum());
    for nal in kept() {
        out.put_u32(u32::try_from(nal.len()).unwrap_or(u32::MAX));
        out.put_slice(nal);
    }
    out.freeze()
}

/// Width and height in a sequence parameter set.
fn size(set: &[u8]) -> Option<(u16, u16)> {
    let payload = unescaped(set.get(1..)?);
    let mut bits = Bits { data: &payload, at: 0 };
    let profile = bits.read(8)?;
    bits.read(16)?;
    bits.golomb()?;
    let mut chroma = 1;
    if [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].contains(&profile) {
        chroma = high_profile(&mut bits)?;
    }
    bits.golomb()?;
    match bits.golomb()? {
        0 => {
            bits.golomb()?;
        }
        1 => {
            bits.read(1)?;
            bits.golomb()?;
            bits.golomb()?;
            for _ in 0..bits.golomb()?.min(255) {
                bits.golomb()?;
            }
        }
        _ => {}
    }
    bits.golomb()?;
    bits.read(1)?;
    let columns = bits.golomb()?.checked_add(1)?;
    let rows = bits.golomb()?.checked_add(1)?;
    let frames_only = bits.read(1)?;
    if frames_only == 0 {
        bits.read(1)?;
    }
    bits.read(1)?;
    let mut crop = [0; 4];
    if bits.read(1)? == 1 {
        for edge in &mut crop {
            *edge = bits.golomb()?;
        }
    }
    let [left, right, top, bottom] = crop;
    let (across, down) = match chroma {
        0 | 3 => (1, 1),
        2 => (2, 1),
        _ => (2, 2),
    };
    let field = 2 - frames_only;
    let width = columns.checked_mul(16)?.checked_sub(left.checked_add(right)?.checked_mul(across)?)?;
    let rows = rows.checked_mul(16 * field)?;
    let height = rows.checked_sub(top.checked_add(bottom)?.checked_mul(down * field)?)?;
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
        .filter(|(width, height)| *width > 0 && *height > 0)
}

/// The fields that only high profiles have; returns the chroma format.
fn high_profile(bits: &mut Bits<'_>) -> Option<u32> {
    let chroma = bits.golomb()?;
    if chroma == 3 {
        bits.read(1)?;
    }
    bits.golomb()?;
    bits.golomb()?;
    bits.read(1)?;
    if bits.read(1)? == 1 {
        for list in 0..if chroma == 3 { 12 } else { 8 } {
            if bits.read(1)? == 1 {
                scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(chroma)
}

fn scaling_list(bits: &mut Bits<'_>, length: u32) -> Option<()> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..length {
        if next != 0 {
            let code = i64::from(bits.golomb()?);
            let delta = if code % 2 == 0 { -(code / 2) } else { (code + 1) / 2 };
            next = (last + delta).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

/// Without the bytes that keep start codes out of the payload.
fn unescaped(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut zeroes = 0;
    for byte in data {
        if zeroes >= 2 && *byte == 3 {
            zeroes = 0;
            continue;
        }
        zeroes = if *byte == 0 { zeroes + 1 } else { 0 };
        out.push(*byte);
    }
    out
}

struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn read(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.data.get(self.at / 8)?;
            value = (value << 1) | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// An unsigned Exp-Golomb code.
    fn golomb(&mut self) -> Option<u32> {
        let mut zeroes = 0;
        while self.read(1)? == 0 {
            zeroes += 1;
            if zeroes > 31 {
                return None;
            }
        }
        Some((1_u32 << zeroes) - 1 + self.read(zeroes)?)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// (set in base64, width, height). The sets are answers of ffmpeg 5.1's libx264 for that size.
    const SETS: [(&str, u16, u16); 5] = [
        ("Z0LAFtkAoC/5cBEAAAMAAQAAAwAKDxYuSA==", 640, 360),
        ("Z2QAH6zZQFAFuwEQAAADABAAAAMAoPGDGWA=", 1280, 720),
        ("Z01AKOygPAET8uAiAAADAAIAAAMAFB4wYyw=", 1920, 1080),
        ("Z2QAKKzZQGkCJ+XARAAAAwAEAAADACg8YMZY", 1680, 1080),
        ("Z2QADKzZQVCHiIjARAAAAwAEAAADACg8UKZY", 322, 242),
    ];

    #[test]
    fn sizes_of_sequence_sets() {
        for (set, width, height) in SETS {
            let set = STANDARD.decode(set).unwrap();
            assert_eq!(size(&set), Some((width, height)));
            for end in 0..set.len() {
                size(&set[..end]);
            }
        }
    }

    #[test]
    fn units_are_split_at_start_codes_of_both_lengths() {
        let data =
            Bytes::from_static(&[0, 0, 0, 1, 9, 0xF0, 0, 0, 1, 0x65, 1, 0, 0, 3, 0, 0, 0, 0, 1, 0x41, 2]);
        let found = nals(&data);
        assert_eq!(found, [&[9, 0xF0][..], &[0x65, 1, 0, 0, 3], &[0x41, 2]]);
        assert_eq!(sample(&found).as_ref(), [0, 0, 0, 5, 0x65, 1, 0, 0, 3, 0, 0, 0, 2, 0x41, 2]);
        for nothing in [&[][..], &[0, 0, 0], &[1, 2, 3, 4], &[0, 0, 1]] {
            assert!(nals(&Bytes::copy_from_slice(nothing)).is_empty());
        }
    }
}
