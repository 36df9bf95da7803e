//! JPEG pictures out of a stream whose multipart headers cannot be trusted (elegoo.md 2.13).

use bytes::{Buf, Bytes, BytesMut};

/// A larger picture is no picture of these cameras (640x360): what was gathered is dropped.
const MAX_FRAME: usize = 4 << 20;
const START: [u8; 2] = [0xFF, 0xD8];
const END: [u8; 2] = [0xFF, 0xD9];

/// Finds whole pictures between their start and end marks, whatever lies around them.
#[derive(Debug, Default)]
pub struct JpegScanner {
    buffer: BytesMut,
    /// Bytes of the buffer that were searched already.
    searched: usize,
    inside: bool,
}

impl JpegScanner {
    /// Takes what was received.
    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next whole picture.
    pub fn frame(&mut self) -> Option<Bytes> {
        loop {
            let mark = if self.inside { END } else { START };
            match find(&self.buffer, self.searched, mark) {
                Some(at) if self.inside => {
                    self.inside = false;
                    self.searched = 0;
                    return Some(self.buffer.split_to(at + 2).freeze());
                }
                Some(at) => {
                    self.buffer.advance(at);
                    self.inside = true;
                    self.searched = 2;
                }
                None => {
                    self.keep_rest();
                    return None;
                }
            }
        }
    }

    /// Nothing was found: keep the picture begun, or the one byte that may begin a mark.
    fn keep_rest(&mut self) {
        if self.inside && self.buffer.len() <= MAX_FRAME {
            self.searched = self.buffer.len().saturating_sub(1).max(2);
            return;
        }
        self.inside = false;
        self.searched = 0;
        let keep = usize::from(self.buffer.last() == Some(&0xFF));
        self.buffer.advance(self.buffer.len() - keep);
    }
}

fn find(data: &[u8], from: usize, mark: [u8; 2]) -> Option<usize> {
    data.get(from..)?.windows(2).position(|pair| pair == mark).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_found_however_the_stream_is_cut() {
        let one = [0xFF, 0xD8, 1, 0xFF, 0, 2, 0xFF, 0xD9];
        let mut stream = b"--foo\r\nContent-Type: x\r\n\r\n".to_vec();
        stream.extend_from_slice(&one);
        stream.extend_from_slice(b"\r\n----foo\r\nExpires: %s\r\n\r\n\xFF");
        stream.extend_from_slice(&one);
        for piece in 1..stream.len() {
            let mut scanner = JpegScanner::default();
            let mut frames = Vec::new();
            for part in stream.chunks(piece) {
                scanner.push(part);
                while let Some(frame) = scanner.frame() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, [&one[..], &one[..]], "pieces of {piece}");
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
