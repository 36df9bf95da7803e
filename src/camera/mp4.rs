//! Fragmented MP4 around H.264 samples (ISO/IEC 14496-12 section 8, 14496-15 section 5.3): one video track.

use bytes::{BufMut, Bytes, BytesMut};

use super::h264::Parameters;

/// Ticks per second of all times in the files.
pub(super) const TIMESCALE: u32 = 90_000;
const TRACK: u32 = 1;
/// Samples that depend on no other, and those that do (14496-12 section 8.8.3.1).
const FLAGS_KEY: u32 = 0x0200_0000;
const FLAGS_DELTA: u32 = 0x0101_0000;

/// One sample of a fragment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub size: usize,
    /// Ticks.
    pub duration: u32,
    pub key: bool,
}

/// `ftyp` and `moov`: what players need once.
pub(super) fn initialization(parameters: &Parameters) -> Bytes {
    let mut out = BytesMut::with_capacity(1024);
    boxed(&mut out, b"ftyp", |out| {
        out.put_slice(b"iso5");
        out.put_u32(0x200);
        out.put_slice(b"iso5iso6mp41avc1");
    });
    boxed(&mut out, b"moov", |out| {
        full(out, b"mvhd", 0, 0, |out| {
            out.put_slice(&[0; 8]);
            out.put_u32(TIMESCALE);
            out.put_u32(0);
            out.put_u32(0x0001_0000);
            out.put_u16(0x0100);
            out.put_slice(&[0; 10]);
            matrix(out);
            out.put_slice(&[0; 24]);
            out.put_u32(TRACK + 1);
        });
        boxed(out, b"trak", |out| track(out, parameters));
        boxed(out, b"mvex", |out| {
            full(out, b"trex", 0, 0, |out| {
                for value in [TRACK, 1, 0, 0, 0] {
                    out.put_u32(value);
                }
            });
        });
    });
    out.freeze()
}

fn track(out: &mut BytesMut, parameters: &Parameters) {
    full(out, b"tkhd", 0, 3, |out| {
        out.put_slice(&[0; 8]);
        out.put_u32(TRACK);
        out.put_slice(&[0; 24]);
        matrix(out);
        out.put_u32(u32::from(parameters.width) << 16);
        out.put_u32(u32::from(parameters.height) << 16);
    });
    boxed(out, b"mdia", |out| {
        full(out, b"mdhd", 0, 0, |out| {
            out.put_slice(&[0; 8]);
            out.put_u32(TIMESCALE);
            out.put_u32(0);
            // Language "und".
            out.put_u32(0x55C4_0000);
        });
        full(out, b"hdlr", 0, 0, |out| {
            out.put_u32(0);
            out.put_slice(b"vide");
            out.put_slice(&[0; 12]);
            out.put_slice(b"camera\0");
        });
        boxed(out, b"minf", |out| {
            full(out, b"vmhd", 0, 1, |out| out.put_slice(&[0; 8]));
            boxed(out, b"dinf", |out| {
                full(out, b"dref", 0, 0, |out| {
                    out.put_u32(1);
                    full(out, b"url ", 0, 1, |_| {});
                });
            });
            boxed(out, b"stbl", |out| sample_table(out, parameters));
        });
    });
}

/// Empty but for the codec: samples are described by the fragments.
fn sample_table(out: &mut BytesMut, parameters: &Parameters) {
    full(out, b"stsd", 0, 0, |out| {
        out.put_u32(1);
        boxed(out, b"avc1", |out| {
            out.put_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
            out.put_slice(&[0; 16]);
            out.put_u16(parameters.width);
            out.put_u16(parameters.height);
            // 72 dpi, one frame per sample, no compressor name.
            out.put_u32(0x0048_0000);
            out.put_u32(0x0048_0000);
            out.put_u32(0);
            out.put_u16(1);
            out.put_slice(&[0; 32]);
            out.put_u16(24);
            out.put_i16(-1);
            boxed(out, b"avcC", |out| decoder(out, parameters));
        });
    });
    for name in [b"stts", b"stsc", b"stco"] {
        full(out, name, 0, 0, |out| out.put_u32(0));
    }
    full(out, b"stsz", 0, 0, |out| out.put_u64(0));
}

fn decoder(out: &mut BytesMut, parameters: &Parameters) {
    out.put_u8(1);
    // Profile, constraints and level are the second to fourth byte of the set.
    out.put_slice(parameters.sequence_set.get(1..4).unwrap_or(&[0x42, 0, 0x1E]));
    // Lengths of four bytes; one set of each kind.
    out.put_slice(&[0xFF, 0xE1]);
    out.put_u16(u16::try_from(parameters.sequence_set.len()).unwrap_or(0));
    out.put_slice(&parameters.sequence_set);
    out.put_u8(1);
    out.put_u16(u16::try_from(parameters.picture_set.len()).unwrap_or(0));
    out.put_slice(&parameters.picture_set);
}

/// `moof` and the head of `mdat`; the samples' bytes follow in order.
pub(super) fn fragment_head(sequence: u32, decode_time: u64, entries: &[Entry]) -> Bytes {
    let mut out = BytesMut::with_capacity(128 + entries.len() * 12);
    let mut offset_at = 0;
    boxed(&mut out, b"moof", |out| {
        full(out, b"mfhd", 0, 0, |out| out.put_u32(sequence));
        boxed(out, b"traf", |out| {
            // Offsets count from this moof.
            full(out, b"tfhd", 0, 0x02_0000, |out| out.put_u32(TRACK));
            full(out, b"tfdt", 1, 0, |out| out.put_u64(decode_time));
            // With data offset, and duration, size and flags of each sample.
            full(out, b"trun", 0, 0x0701, |out| {
                out.put_u32(u32::try_from(entries.len()).unwrap_or(u32::MAX));
                offset_at = out.len();
                out.put_u32(0);
                for entry in entries {
                    out.put_u32(entry.duration);
                    out.put_u32(u32::try_from(entry.size).unwrap_or(u32::MAX));
                    out.put_u32(if entry.key { FLAGS_KEY } else { FLAGS_DELTA });
                }
            });
        });
    });
    let payload: usize = entries.iter().map(|entry| entry.size).sum();
    out.put_u32(u32::try_from(payload + 8).unwrap_or(u32::MAX));
    out.put_slice(b"mdat");
    patch(&mut out, offset_at);
    out.freeze()
}

fn matrix(out: &mut BytesMut) {
    for value in [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000] {
        out.put_u32(value);
    }
}

fn boxed(out: &mut BytesMut, name: &[u8; 4], content: impl FnOnce(&mut BytesMut)) {
    let begin = out.len();
    out.put_u32(0);
    out.put_slice(name);
    content(out);
    let length = u32::try_from(out.len() - begin).unwrap_or(u32::MAX);
    put_at(out, begin, length);
}

fn full(out: &mut BytesMut, name: &[u8; 4], version: u8, flags: u32, content: impl FnOnce(&mut BytesMut)) {
    boxed(out, name, |out| {
        out.put_u32(u32::from(version) << 24 | flags);
        content(out);
    });
}

/// The data offset is the length of everything before the samples, known only at the end.
fn patch(out: &mut BytesMut, offset_at: usize) {
    let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
    put_at(out, offset_at, length);
}

fn put_at(out: &mut BytesMut, at: usize, value: u32) {
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and nesting as an independent reader of lengths sees them.
    fn outline(data: &[u8]) -> String {
        let (mut out, mut rest) = (String::new(), data);
        while rest.len() >= 8 {
            let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let name = std::str::from_utf8(&rest[4..8]).unwrap();
            assert!((8..=rest.len()).contains(&length), "{name} of {length} bytes in {}", rest.len());
            out.push_str(name);
            if ["moov", "trak", "mdia", "minf", "dinf", "stbl", "mvex", "moof", "traf"].contains(&name) {
                out.push_str(&format!("({})", outline(&rest[8..length])));
            }
            rest = &rest[length..];
            out.push_str(if rest.is_empty() { "" } else { " " });
        }
        assert!(rest.is_empty());
        out
    }

    #[test]
    fn boxes_nest_and_offsets_point_at_the_samples() {
        let parameters = Parameters {
            sequence_set: Bytes::from_static(&[0x67, 0x64, 0, 0x1F, 1]),
            picture_set: Bytes::from_static(&[0x68, 2]),
            width: 1280,
            height: 720,
        };
        assert_eq!(
            outline(&initialization(&parameters)),
            "ftyp moov(mvhd trak(tkhd mdia(mdhd hdlr minf(vmhd dinf(dref) stbl(stsd stts stsc stco stsz)))) mvex(trex))"
        );
        let entries =
            [Entry { size: 5, duration: 3000, key: true }, Entry { size: 2, duration: 3000, key: false }];
        let mut fragment = fragment_head(7, 90_000, &entries).to_vec();
        let head = fragment.len();
        fragment.extend([1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(outline(&fragment), "moof(mfhd traf(tfhd tfdt trun)) mdat");
        let trun = fragment.windows(4).position(|name| name == b"trun").unwrap();
        let offset = u32::from_be_bytes(fragment[trun + 12..trun + 16].try_into().unwrap());
        assert_eq!(offset as usize, head);
    }
}
