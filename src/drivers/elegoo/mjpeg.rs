//! JPEG pictures out of a stream whose multipart headers cannot be trusted (elegoo.md 2.13).

use bytes::{Buf, Bytes, BytesMut};

/// A larger picture is no picture of these cameras (640x360): what was gathered is dropped.
const MAX_FRAME: usize = 4 << 20;
const START: [u8; 2] = [0xFF, 0xD8];
/// The end of a part's head with a picture behind it.
const NEW_PART: [u8; 6] = *b"\r\n\r\n\xFF\xD8";
/// The end of a picture with a boundary behind it.
const LAST_OF_PART: [u8; 6] = *b"\xFF\xD9\r\n--";
const END: u8 = 0xD9;

/// Finds whole pictures by their own marks, whatever lies around them: lengths and boundaries are not looked at.
///
/// Segments are stepped over by their length, so the marks of an embedded preview end nothing; a picture that breaks
/// off is dropped where the next one begins (ITU-T T.81 section B.1). Where a segment's length leads into the next part,
/// an end mark right before the boundary is believed instead.
#[derive(Debug, Default)]
pub struct JpegScanner {
    buffer: BytesMut,
    /// Where to go on inside the picture that begins the buffer; `None` between pictures.
    at: Option<usize>,
}

/// What the bytes from a place on are.
enum Found {
    /// Go on here.
    Next(usize),
    /// The picture ends before this place.
    End(usize),
    /// No picture after all: the search goes on from here.
    Broken(usize),
    /// More bytes are needed to tell; nothing before this place need be looked at again.
    More(usize),
}

impl JpegScanner {
    /// Takes what was received.
    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next whole picture.
    pub fn frame(&mut self) -> Option<Bytes> {
        loop {
            let Some(at) = self.at else {
                if !self.begin() {
                    return None;
                }
                continue;
            };
            match step(&self.buffer, at) {
                Found::Next(next) => self.at = Some(next),
                Found::End(end) => {
                    self.at = None;
                    return Some(self.buffer.split_to(end).freeze());
                }
                Found::Broken(place) => {
                    self.buffer.advance(place);
                    self.at = None;
                }
                Found::More(next) if self.buffer.len() <= MAX_FRAME => {
                    self.at = Some(next);
                    return None;
                }
                Found::More(_) => {
                    self.buffer.clear();
                    self.at = None;
                    return None;
                }
            }
        }
    }

    /// Drops what lies before the next picture; false where there is none yet.
    fn begin(&mut self) -> bool {
        if let Some(at) = self.buffer.windows(2).position(|pair| pair == START) {
            self.buffer.advance(at);
            self.at = Some(2);
            return true;
        }
        // The last byte may begin a mark.
        let keep = usize::from(self.buffer.last() == Some(&0xFF));
        self.buffer.advance(self.buffer.len() - keep);
        false
    }
}

/// Looks at the marker at `at`, or for the next one in coded data.
fn step(data: &[u8], at: usize) -> Found {
    let rest = data.get(at..).unwrap_or_default();
    let Some(offset) = rest.iter().position(|byte| *byte == 0xFF) else {
        return Found::More(data.len());
    };
    let marker = at + offset;
    match data.get(marker + 1..) {
        None | Some([]) => Found::More(marker),
        // Fill bytes, stuffed data, restarts and marks without a segment.
        Some([0xFF, ..]) => Found::Next(marker + 1),
        Some([0x00 | 0x01 | 0xD0..=0xD7, ..]) => Found::Next(marker + 2),
        Some([END, ..]) => Found::End(marker + 2),
        Some([0xD8, ..]) => Found::Broken(marker),
        // No picture has these: it broke off, and the head of the next part follows.
        Some([0x02..=0xBF, ..]) => Found::Broken(marker + 1),
        Some([_, high, low, ..]) => match usize::from(u16::from_be_bytes([*high, *low])) {
            0 | 1 => Found::Broken(marker + 2),
            length => segment(data, marker, marker + 2 + length),
        },
        Some(_) => Found::More(marker),
    }
}

/// Skips the segment from `marker` to `end`, unless the next picture begins in it: then this one broke off in its head,
/// or it ends where it says so in spite of the length.
fn segment(data: &[u8], marker: usize, end: usize) -> Found {
    let inside = data.get(marker..end.min(data.len())).unwrap_or_default();
    match place_of(inside, NEW_PART) {
        Some(place) => match place_of(inside.get(..place).unwrap_or_default(), LAST_OF_PART) {
            Some(last) => Found::End(marker + last + 2),
            None => Found::Broken(marker + place + NEW_PART.len() - START.len()),
        },
        None if data.len() < end => Found::More(marker),
        None => Found::Next(end),
    }
}

fn place_of(data: &[u8], what: [u8; 6]) -> Option<usize> {
    data.windows(what.len()).position(|bytes| bytes == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With an embedded preview that has marks of its own.
    const PICTURE: [u8; 22] = [
        0xFF, 0xD8, 0xFF, 0xE1, 0, 8, 0xFF, 0xD8, 1, 0xFF, 0xD9, 0, 0xFF, 0xDA, 0, 2, 5, 0xFF, 0, 2, 0xFF,
        0xD9,
    ];

    fn frames(stream: &[u8], piece: usize) -> Vec<Bytes> {
        let mut scanner = JpegScanner::default();
        let mut frames = Vec::new();
        for part in stream.chunks(piece) {
            scanner.push(part);
            while let Some(frame) = scanner.frame() {
                frames.push(frame);
            }
        }
        frames
    }

    #[test]
    fn pictures_are_found_however_the_stream_is_cut() {
        let mut stream = b"--foo\r\nContent-Type: x\r\n\r\n".to_vec();
        stream.extend_from_slice(&PICTURE);
        stream.extend_from_slice(b"\r\n----foo\r\nExpires: %s\r\n\r\n\xFF");
        stream.extend_from_slice(&PICTURE);
        for piece in 1..stream.len() {
            assert_eq!(frames(&stream, piece), [&PICTURE[..], &PICTURE[..]], "pieces of {piece}");
        }
    }

    #[test]
    fn a_picture_that_breaks_off_does_not_spoil_the_next() {
        for kept in 2..PICTURE.len() - 1 {
            let mut stream = PICTURE[..kept].to_vec();
            stream.extend_from_slice(b"\r\n--foo\r\nContent-Length: 999\r\n\r\n");
            for _ in 0..3 {
                stream.extend_from_slice(&PICTURE);
            }
            for piece in [1, 7, stream.len()] {
                let found = frames(&stream, piece);
                assert!(
                    found.len() >= 2 && found.ends_with(&[Bytes::from_static(&PICTURE)]),
                    "{kept} {piece}"
                );
            }
        }
    }

    #[test]
    fn a_segment_length_that_leads_out_of_the_picture_is_not_believed() {
        let picture = b"\xFF\xD8\xFF\xE0JFIF and no more than that\xFF\xD9";
        let mut stream = Vec::new();
        for _ in 0..3 {
            stream.extend_from_slice(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n");
            stream.extend_from_slice(picture);
            stream.extend_from_slice(b"\r\n");
        }
        for piece in [1, 7, stream.len()] {
            assert_eq!(
                frames(&stream, piece),
                [&picture[..], &picture[..]],
                "the third waits for its boundary"
            );
        }
    }

    #[test]
    fn an_endless_picture_is_dropped() {
        let mut scanner = JpegScanner::default();
        scanner.push(&START);
        for _ in 0..6 {
            scanner.push(&vec![0; 1 << 20]);
            assert_eq!(scanner.frame(), None);
        }
        assert!(scanner.buffer.len() < MAX_FRAME);
    }
}
