//! A moving H.264 picture without a codec: what does not change is copied or skipped, the rest is sent as raw samples
//! (ITU-T H.264, constrained baseline: I_PCM, Intra_16x16 without residual, P_Skip).
//!
//! Enough for every decoder, and small: a picture of 1280x720 is a few kilobytes.

use bytes::Bytes;

/// Size in macroblocks of 16 x 16 pixels: 1280 x 720.
const COLUMNS: usize = 80;
const ROWS: usize = 45;
/// Pictures from one key picture to the next.
pub const GROUP: u64 = 10;
/// The wandering bar, in macroblocks.
const BAR_WIDTH: usize = 6;
const BAR_ROWS: std::ops::Range<usize> = 12..32;

/// Luma and the two chroma values of a macroblock of one colour.
type Colour = [u8; 3];

/// One coded picture.
pub struct Picture {
    /// NAL units without start codes, parameter sets in front of a key picture not included.
    pub slice: Bytes,
    pub key: bool,
}

/// NAL unit of the sequence parameter set.
pub fn sequence_set() -> Bytes {
    let mut bits = Bits::default();
    // Constrained baseline, level 3.1.
    bits.bytes(&[66, 0xC0, 31]);
    bits.golomb(0);
    // frame_num counts to 16; pictures are shown in the order they come.
    bits.golomb(0);
    bits.golomb(2);
    bits.golomb(1);
    bits.put(0, 1);
    bits.golomb(COLUMNS as u32 - 1);
    bits.golomb(ROWS as u32 - 1);
    // Frames only, direct_8x8_inference, no cropping, no VUI.
    bits.put(0b1100, 4);
    bits.finish(0x67)
}

/// NAL unit of the picture parameter set.
pub fn picture_set() -> Bytes {
    let mut bits = Bits::default();
    bits.golomb(0);
    bits.golomb(0);
    bits.put(0b00, 2);
    for _ in 0..3 {
        bits.golomb(0);
    }
    bits.put(0b000, 3);
    for _ in 0..3 {
        bits.golomb(0);
    }
    // The deblocking filter can be switched off, which keeps colours exact.
    bits.put(0b100, 3);
    bits.finish(0x68)
}

/// Picture `number` of an endless sequence; nearly black without light.
pub fn picture(number: u64, lit: bool) -> Picture {
    let within = number % GROUP;
    let colour = |at: u64| move |column, row| colour(at, column, row, lit);
    if within == 0 {
        let slice = key(colour(number), (number / GROUP % 2) as u32);
        return Picture { slice, key: true };
    }
    Picture { slice: delta(colour(number - 1), colour(number), within as u32), key: false }
}

/// A ground that is lighter towards the front, and a bar that moves one macroblock per picture.
fn colour(number: u64, column: usize, row: usize, lit: bool) -> Colour {
    let left = (number % (COLUMNS - BAR_WIDTH) as u64) as usize;
    let bar = (left..left + BAR_WIDTH).contains(&column) && BAR_ROWS.contains(&row);
    let [luma, blue, red] = if bar { [170, 60, 180] } else { [60 + row as u8 * 2, 135, 120] };
    if lit { [luma, blue, red] } else { [16 + luma / 16, 128, 128] }
}

/// All macroblocks in one I slice: like the one on the left, like the one above, or raw.
fn key(colour: impl Fn(usize, usize) -> Colour, idr: u32) -> Bytes {
    let mut bits = Bits::default();
    bits.golomb(0);
    bits.golomb(7);
    bits.golomb(0);
    bits.put(0, 4);
    bits.golomb(idr);
    bits.put(0b00, 2);
    bits.golomb(0);
    bits.golomb(1);
    // Which macroblocks of the row above were raw; the decoder counts 16 coefficients for those (9.2.1).
    let mut above = [false; COLUMNS];
    for row in 0..ROWS {
        let mut left = false;
        for (column, above) in above.iter_mut().enumerate() {
            let own = colour(column, row);
            let like_left = column > 0 && colour(column - 1, row) == own;
            let like_above = row > 0 && colour(column, row - 1) == own;
            let raw = !like_left && !like_above;
            if raw {
                bits.golomb(25);
                bits.raw(own);
            } else {
                // Intra_16x16, vertical (1) or horizontal (2), chroma the same way, no quantiser change.
                let (luma, chroma) = if like_left { (2, 1) } else { (1, 2) };
                bits.golomb(luma);
                bits.golomb(chroma);
                bits.golomb(0);
                // No coefficients: one bit, or six beside raw neighbours.
                let many = (column > 0 && left) || (row > 0 && *above);
                if many {
                    bits.put(0b00_0011, 6);
                } else {
                    bits.put(1, 1);
                }
            }
            (left, *above) = (raw, raw);
        }
    }
    bits.finish(0x65)
}

/// A P slice: what stays is skipped, what changed is raw.
fn delta(
    before: impl Fn(usize, usize) -> Colour,
    now: impl Fn(usize, usize) -> Colour,
    frame: u32,
) -> Bytes {
    let mut bits = Bits::default();
    bits.golomb(0);
    bits.golomb(5);
    bits.golomb(0);
    bits.put(frame % 16, 4);
    bits.put(0b000, 3);
    bits.golomb(0);
    bits.golomb(1);
    let mut skipped = 0;
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let own = now(column, row);
            if own == before(column, row) {
                skipped += 1;
                continue;
            }
            bits.golomb(skipped);
            skipped = 0;
            bits.golomb(5 + 25);
            bits.raw(own);
        }
    }
    if skipped > 0 {
        bits.golomb(skipped);
    }
    bits.finish(0x41)
}

/// Writes bits, most significant first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Free bits of the last byte.
    free: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        for at in (0..count).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            let bit = (value >> at & 1) as u8;
            if let Some(last) = self.bytes.last_mut() {
                *last |= bit << self.free;
            }
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.put(u32::from(*byte), 8);
        }
    }

    /// Unsigned Exp-Golomb code.
    fn golomb(&mut self, value: u32) {
        let length = (value + 1).ilog2();
        self.put(0, length);
        self.put(value + 1, length + 1);
    }

    /// The samples of a macroblock of one colour, after alignment.
    fn raw(&mut self, [luma, blue, red]: Colour) {
        self.free = 0;
        self.bytes.extend([luma; 256]);
        self.bytes.extend([blue; 64]);
        self.bytes.extend([red; 64]);
    }

    /// The NAL unit: stop bit, and a 3 wherever the bytes would look like a start code (7.4.1).
    fn finish(mut self, header: u8) -> Bytes {
        self.put(1, 1);
        let mut out = Vec::with_capacity(self.bytes.len() + 16);
        out.push(header);
        let mut zeroes = 0;
        for byte in self.bytes {
            if zeroes == 2 && byte <= 3 {
                out.push(3);
                zeroes = 0;
            }
            zeroes = if byte == 0 { zeroes + 1 } else { 0 };
            out.push(byte);
        }
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_move_and_stay_small() {
        let key = picture(0, true);
        assert!(key.key && key.slice.len() > 10_000 && key.slice.len() < 60_000, "{}", key.slice.len());
        let delta = picture(1, true);
        assert!(!delta.key && delta.slice.len() > 5_000 && delta.slice.len() < 20_000);
        assert_ne!(picture(GROUP, true).slice, key.slice);
        for nal in [sequence_set(), picture_set(), key.slice, delta.slice] {
            assert!(!nal.windows(3).any(|three| three[..2] == [0, 0] && three[2] < 3), "start code inside");
        }
    }
}
