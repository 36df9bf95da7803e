//! RTP packets to H.264 access units (RFC 3550 section 5.1, RFC 6184 sections 5.6 to 5.8).

use bytes::{Bytes, BytesMut};

use super::Picture;

/// Largest picture taken: about ten times a 1080p key picture at high rate.
const UNIT_LIMIT: usize = 4 << 20;
/// NAL units of one picture.
const NALS: usize = 512;
const START_CODE: [u8; 4] = [0, 0, 0, 1];

const NAL_KEY_SLICE: u8 = 5;
const NAL_SEQUENCE_SET: u8 = 7;
const NAL_PICTURE_SET: u8 = 8;
const NAL_STAP_A: u8 = 24;
const NAL_FU_A: u8 = 28;

/// One H.264 track in order of arrival.
pub(super) struct Depacketizer {
    payload_type: u8,
    clock: u32,
    /// From the session description, put before key pictures that bring none.
    parameter_sets: Vec<Bytes>,
    sequence: Option<u16>,
    /// Last timestamp as sent, and its sum since the first.
    timestamp: Option<u32>,
    ticks: u64,
    unit: Unit,
    fragment: Option<BytesMut>,
}

/// The picture being collected.
#[derive(Default)]
struct Unit {
    nals: Vec<Bytes>,
    size: usize,
    ticks: u64,
    slices: bool,
    /// A packet of it is missing.
    damaged: bool,
}

/// The fields of an RTP packet that matter.
struct Packet<'a> {
    marker: bool,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        let [first, second, s1, s2, t1, t2, t3, t4, _, _, _, _, rest @ ..] = data else { return None };
        if first >> 6 != 2 {
            return None;
        }
        let mut payload = rest.get(usize::from(first & 0x0F) * 4..)?;
        if first & 0x10 != 0 {
            let [_, _, high, low, rest @ ..] = payload else { return None };
            payload = rest.get(usize::from(u16::from_be_bytes([*high, *low])) * 4..)?;
        }
        if first & 0x20 != 0 {
            let padding = usize::from(*payload.last()?);
            payload = payload.get(..payload.len().checked_sub(padding)?)?;
        }
        Some(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7F,
            sequence: u16::from_be_bytes([*s1, *s2]),
            timestamp: u32::from_be_bytes([*t1, *t2, *t3, *t4]),
            payload,
        })
    }
}

impl Depacketizer {
    pub fn new(payload_type: u8, clock: u32, parameter_sets: Vec<Bytes>) -> Self {
        Self {
            payload_type,
            clock: clock.max(1),
            parameter_sets,
            sequence: None,
            timestamp: None,
            ticks: 0,
            unit: Unit::default(),
            fragment: None,
        }
    }

    /// Takes one RTP packet and returns the pictures it completes: mostly none or one.
    pub fn push(&mut self, data: &[u8]) -> Vec<Picture> {
        let mut done = Vec::new();
        let Some(packet) = Packet::parse(data).filter(|packet| packet.payload_type == self.payload_type)
        else {
            return done;
        };
        let gap = self.sequence.is_some_and(|last| last.wrapping_add(1) != packet.sequence);
        self.sequence = Some(packet.sequence);
        let step = self.timestamp.map_or(0, |last| packet.timestamp.wrapping_sub(last).cast_signed());
        if gap {
            self.fragment = None;
            self.unit.damaged |= !self.unit.nals.is_empty();
        }
        if step != 0 {
            done.extend(self.finish());
        }
        // What is missing may also be the beginning of this packet's picture.
        self.unit.damaged |= gap;
        self.timestamp = Some(packet.timestamp);
        // A step back is a camera that counts badly; time never runs backwards here.
        self.ticks += u64::try_from(step).unwrap_or(0);
        self.payload(packet.payload, &mut done);
        if packet.marker {
            done.extend(self.finish());
        }
        done
    }

    fn payload(&mut self, payload: &[u8], done: &mut Vec<Picture>) {
        let Some(kind) = payload.first().map(|first| first & 0x1F) else { return };
        match kind {
            1..=23 => self.nal(Bytes::copy_from_slice(payload), done),
            NAL_STAP_A => {
                let mut rest = payload.get(1..).unwrap_or_default();
                while let [high, low, after @ ..] = rest {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    let Some(nal) = after.get(..length) else {
                        self.unit.damaged = true;
                        return;
                    };
                    self.nal(Bytes::copy_from_slice(nal), done);
                    rest = after.get(length..).unwrap_or_default();
                }
            }
            NAL_FU_A => self.fragment(payload, done),
            // Interleaved mode, never negotiated.
            _ => self.unit.damaged = true,
        }
    }

    fn fragment(&mut self, payload: &[u8], done: &mut Vec<Picture>) {
        let [indicator, header, data @ ..] = payload else { return };
        let (start, end) = (header & 0x80 != 0, header & 0x40 != 0);
        if start {
            let mut nal = BytesMut::with_capacity(data.len() * 4 + 1);
            nal.extend_from_slice(&[(indicator & 0xE0) | (header & 0x1F)]);
            self.fragment = Some(nal);
        }
        let Some(mut nal) = self.fragment.take() else {
            self.unit.damaged = true;
            return;
        };
        if nal.len() + data.len() > UNIT_LIMIT {
            self.unit.damaged = true;
            return;
        }
        nal.extend_from_slice(data);
        if end {
            self.nal(nal.freeze(), done);
        } else {
            self.fragment = Some(nal);
        }
    }

    fn nal(&mut self, nal: Bytes, done: &mut Vec<Picture>) {
        let Some(kind) = nal.first().map(|first| first & 0x1F) else { return };
        let slice = (1..=5).contains(&kind);
        // A slice that begins at macroblock 0 begins a picture, whatever marker and timestamp say (bambu.md 6.2: P2S).
        let begins = slice && nal.get(1).is_some_and(|first| first & 0x80 != 0);
        let prefix = (6..=9).contains(&kind);
        if self.unit.slices && (begins || prefix) {
            done.extend(self.finish());
        }
        if self.unit.nals.len() >= NALS || self.unit.size + nal.len() > UNIT_LIMIT {
            self.unit.damaged = true;
            return;
        }
        if self.unit.nals.is_empty() || (slice && !self.unit.slices) {
            self.unit.ticks = self.ticks;
        }
        self.unit.slices |= slice;
        self.unit.size += nal.len() + START_CODE.len();
        self.unit.nals.push(nal);
    }

    /// The collected picture. Parameter sets without a picture wait for the one that follows.
    fn finish(&mut self) -> Option<Picture> {
        if !self.unit.slices && !self.unit.damaged {
            return None;
        }
        let unit = std::mem::take(&mut self.unit);
        if unit.damaged {
            return None;
        }
        let has =
            |kind: u8| unit.nals.iter().any(|nal| nal.first().is_some_and(|first| first & 0x1F == kind));
        let key = has(NAL_KEY_SLICE);
        let mut data = BytesMut::with_capacity(unit.size + 128);
        if key && !(has(NAL_SEQUENCE_SET) && has(NAL_PICTURE_SET)) {
            append(&mut data, &self.parameter_sets);
        }
        append(&mut data, &unit.nals);
        let pts = u128::from(unit.ticks) * 90_000 / u128::from(self.clock);
        Some(Picture { data: data.freeze(), pts: u64::try_from(pts).unwrap_or(u64::MAX), key })
    }
}

fn append(data: &mut BytesMut, nals: &[Bytes]) {
    for nal in nals {
        data.extend_from_slice(&START_CODE);
        data.extend_from_slice(nal);
    }
}
