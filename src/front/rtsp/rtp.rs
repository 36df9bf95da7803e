//! Packets and sender reports (RFC 3550 sections 5.1, 6.4.1, 6.5, 6.6), framed for the RTSP connection.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use rand::Rng;
use tokio::time::Instant;

/// Bytes after the RTP header: with all headers still below the 1500 of a network, should somebody pass it on by UDP.
pub(super) const PAYLOAD: usize = 1400;
/// Ticks of all video formats.
pub(super) const CLOCK: u64 = 90_000;
/// From one report to the next.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// Seconds from 1900, where NTP begins, to 1970.
const NTP: u64 = 2_208_988_800;
const VERSION: u8 = 0x80;

/// The sending side of one stream.
pub(super) struct Sender {
    payload_type: u8,
    channels: (u8, u8),
    source: u32,
    sequence: u16,
    /// Timestamp of the first picture.
    base: u32,
    packets: u32,
    octets: u32,
    reported: Option<Instant>,
    heads: BytesMut,
    /// What is to be written: headers, and shared pieces of pictures.
    pieces: VecDeque<Bytes>,
}

impl Sender {
    /// `channels` are those of media and reports.
    pub fn new(payload_type: u8, channels: (u8, u8)) -> Self {
        let mut random = rand::rng();
        Self {
            payload_type,
            channels,
            source: random.random(),
            sequence: random.random(),
            base: random.random(),
            packets: 0,
            octets: 0,
            reported: None,
            heads: BytesMut::new(),
            pieces: VecDeque::new(),
        }
    }

    pub fn source(&self) -> u32 {
        self.source
    }

    pub fn channels(&self) -> (u8, u8) {
        self.channels
    }

    /// Sequence number of the next packet, and the timestamp of the first picture.
    pub fn beginning(&self) -> (u16, u32) {
        (self.sequence, self.base)
    }

    /// Queues one packet: `head` belongs to the payload format, `body` is shared, not copied. `time` is in ticks since
    /// the first picture.
    pub fn packet(&mut self, time: u64, last: bool, head: &[u8], body: Bytes) {
        let length = 12 + head.len() + body.len();
        self.frame(self.channels.0, length);
        self.heads.put_slice(&[VERSION, u8::from(last) << 7 | self.payload_type]);
        self.heads.put_u16(self.sequence);
        self.heads.put_u32(self.timestamp(time));
        self.heads.put_u32(self.source);
        self.heads.put_slice(head);
        self.pieces.push_back(self.heads.split().freeze());
        self.octets = self.octets.wrapping_add(u32::try_from(length - 12).unwrap_or(0));
        self.packets = self.packets.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(1);
        self.pieces.push_back(body);
    }

    /// Queues a report if it is time for one, to go before the picture of `time`: recorders take from it when pictures
    /// were made. True if it was.
    pub fn report(&mut self, time: u64) -> bool {
        if self.reported.is_some_and(|at| at.elapsed() < REPORT_EVERY) {
            return false;
        }
        self.reported = Some(Instant::now());
        let name = b"moongate";
        self.frame(self.channels.1, 28 + 20);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.heads.put_slice(&[VERSION, 200, 0, 6]);
        self.heads.put_u32(self.source);
        // NTP counts to 2036 and begins anew.
        self.heads.put_u32(((now.as_secs() + NTP) & u64::from(u32::MAX)) as u32);
        self.heads.put_u32(((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000) as u32);
        self.heads.put_u32(self.timestamp(time));
        self.heads.put_u32(self.packets);
        self.heads.put_u32(self.octets);
        // The source's name, ended and filled up with zeroes.
        self.heads.put_slice(&[VERSION | 1, 202, 0, 4]);
        self.heads.put_u32(self.source);
        self.heads.put_slice(&[1, name.len() as u8]);
        self.heads.put_slice(name);
        self.heads.put_slice(&[0, 0]);
        self.pieces.push_back(self.heads.split().freeze());
        true
    }

    /// Queues the end of the stream.
    pub fn bye(&mut self) {
        self.frame(self.channels.1, 16);
        // A packet of reports begins with a report, if an empty one.
        self.heads.put_slice(&[VERSION, 201, 0, 1]);
        self.heads.put_u32(self.source);
        self.heads.put_slice(&[VERSION | 1, 203, 0, 1]);
        self.heads.put_u32(self.source);
        self.pieces.push_back(self.heads.split().freeze());
    }

    /// What is queued, in order.
    pub fn take(&mut self) -> VecDeque<Bytes> {
        std::mem::take(&mut self.pieces)
    }

    fn timestamp(&self, time: u64) -> u32 {
        self.base.wrapping_add((time & u64::from(u32::MAX)) as u32)
    }

    /// The head of interleaved data.
    fn frame(&mut self, channel: u8, length: usize) {
        self.heads.put_slice(&[b'$', channel]);
        self.heads.put_u16(u16::try_from(length).unwrap_or(u16::MAX));
    }
}
