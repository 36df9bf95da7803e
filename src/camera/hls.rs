//! Live playlist of fMP4 segments in memory (RFC 8216): what the web front ends play as `hlsstream`.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::mp4::{self, Entry, TIMESCALE};
use super::video::Sample;

/// A segment ends at the first key picture after this, in ticks; or at the limits below without one.
const SEGMENT: u64 = TIMESCALE as u64;
const LONGEST: u64 = 15 * TIMESCALE as u64;
const SEGMENT_BYTES: usize = 12 << 20;
/// Segments in the playlist. Those that left it stay for as long as a playlist lasts, and one more (RFC 8216 section
/// 6.2.2): players read it, and fetch later. Large ones go earlier.
const LISTED: usize = 6;
const KEPT: usize = 2 * LISTED + 1;
const KEPT_BYTES: usize = 48 << 20;

/// Finished segments and the one being collected.
#[derive(Default)]
pub(super) struct Segmenter {
    current: Vec<Arc<Sample>>,
    bytes: usize,
    done: VecDeque<Segment>,
    /// Number of the next segment.
    next: u64,
    discontinuities: u64,
}

struct Segment {
    number: u64,
    seconds: f64,
    generation: u64,
    data: Bytes,
}

impl Segmenter {
    /// Takes the next sample; true if that finished a segment.
    pub fn push(&mut self, sample: &Arc<Sample>) -> bool {
        let began = self.current.first().map(|first| first.time);
        let length = began.map_or(0, |began| sample.time.saturating_sub(began));
        let full = length >= LONGEST || self.bytes + sample.data.len() > SEGMENT_BYTES;
        let cut = began.is_some() && ((sample.key && length >= SEGMENT) || full);
        if cut {
            self.finish(sample.time);
        }
        if self.current.is_empty() && !sample.key {
            return cut;
        }
        self.bytes += sample.data.len();
        self.current.push(Arc::clone(sample));
        cut
    }

    /// The connection broke: what was begun is not finished.
    pub fn restart(&mut self) {
        self.current.clear();
        self.bytes = 0;
    }

    fn finish(&mut self, end: u64) {
        let samples = std::mem::take(&mut self.current);
        let Some(first) = samples.first() else { return };
        let ends = samples.iter().skip(1).map(|sample| sample.time).chain([end]);
        let entries: Vec<Entry> = samples
            .iter()
            .zip(ends)
            .map(|(sample, end)| Entry {
                size: sample.data.len(),
                duration: u32::try_from(end.saturating_sub(sample.time)).unwrap_or(u32::MAX),
                key: sample.key,
            })
            .collect();
        let sequence = u32::try_from(self.next & 0x7FFF_FFFF).unwrap_or_default() + 1;
        let head = mp4::fragment_head(sequence, first.time, &entries);
        let mut data = BytesMut::with_capacity(head.len() + self.bytes);
        data.extend_from_slice(&head);
        for sample in &samples {
            data.extend_from_slice(&sample.data);
        }
        let seconds = end.saturating_sub(first.time) as f64 / f64::from(TIMESCALE);
        self.bytes = 0;
        let generation = first.generation;
        self.done.push_back(Segment { number: self.next, seconds, generation, data: data.freeze() });
        self.next += 1;
        self.forget();
    }

    fn forget(&mut self) {
        let mut bytes: usize = self.done.iter().map(|segment| segment.data.len()).sum();
        while self.done.len() > KEPT || (self.done.len() > LISTED && bytes > KEPT_BYTES) {
            let Some(gone) = self.done.pop_front() else { return };
            bytes -= gone.data.len();
            if self.done.front().is_some_and(|next| next.generation != gone.generation) {
                self.discontinuities += 1;
            }
        }
    }

    /// The playlist; `None` before the first segment.
    pub fn playlist(&self) -> Option<String> {
        let skipped = self.done.len().saturating_sub(LISTED);
        let first = self.done.get(skipped)?;
        let longest = self.done.iter().map(|segment| segment.seconds).fold(1.0, f64::max);
        let mut before = self.done.front().map_or(0, |segment| segment.generation);
        let changed = |segment: &Segment, before: &mut u64| {
            std::mem::replace(before, segment.generation) != segment.generation
        };
        let passed =
            self.done.iter().take(skipped + 1).filter(|segment| changed(segment, &mut before)).count() as u64;
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:{}\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:{}\n#EXT-X-MAP:URI=\"init-{}.mp4\"\n",
            longest.ceil(),
            first.number,
            self.discontinuities + passed,
            first.generation
        );
        let mut generation = first.generation;
        for segment in self.done.iter().skip(skipped) {
            if std::mem::replace(&mut generation, segment.generation) != segment.generation {
                let _infallible =
                    write!(text, "#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-{generation}.mp4\"\n");
            }
            let _infallible = write!(text, "#EXTINF:{:.5},\nseg-{}.m4s\n", segment.seconds, segment.number);
        }
        Some(text)
    }

    /// The bytes of segment `number`, while it is kept.
    pub fn segment(&self, number: u64) -> Option<Bytes> {
        self.done.iter().find(|segment| segment.number == number).map(|segment| segment.data.clone())
    }
}
