//! H.264 as it comes: each picture counts, so viewers get a short queue, and who falls behind goes on at a key picture.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use super::demand::Seat;
use super::h264::{self, Parameters};
use super::hls::Segmenter;
use super::mp4::{self, Entry, TIMESCALE};
use super::timeline::Timeline;
use super::upstream::Upstream;
use crate::printer::io::AccessUnit;

/// Pictures a viewer may be behind: two seconds at 30 per second.
const QUEUE: usize = 64;
/// Pictures and bytes kept since the last key picture, for viewers that must decode at once.
const GROUP: usize = 600;
const GROUP_BYTES: usize = 16 << 20;
/// Initialisation segments kept: one per change of the camera's format that the playlist may still name.
const FORMATS: usize = 4;
/// A player asks for the playlist every second or two, one in a hidden tab once a minute.
const PLAYER: Duration = Duration::from_secs(90);

/// One picture in both forms.
#[derive(Debug)]
pub struct Sample {
    /// With length prefixes, for MP4.
    pub data: Bytes,
    /// With start codes, as it came.
    pub annexb: Bytes,
    /// Decode time in 1/90000 s; grows from picture to picture.
    pub time: u64,
    pub key: bool,
    /// Counts the formats; another one needs another initialisation segment.
    pub generation: u64,
}

impl Sample {
    /// Its NAL units, without parameter sets and delimiters.
    pub fn nals(&self) -> impl Iterator<Item = Bytes> + '_ {
        let mut rest = self.data.clone();
        std::iter::from_fn(move || {
            let length = rest.try_get_u32().ok()?;
            let length = usize::try_from(length).ok()?.min(rest.len());
            Some(rest.split_to(length))
        })
    }
}

pub(super) struct Video {
    state: Mutex<State>,
    samples: broadcast::Sender<Arc<Sample>>,
    /// Finished segments.
    segments: watch::Sender<u64>,
    epoch: Instant,
}

#[derive(Default)]
struct State {
    timeline: Timeline,
    formats: VecDeque<(u64, Parameters)>,
    generation: u64,
    group: Vec<Arc<Sample>>,
    group_bytes: usize,
    segmenter: Segmenter,
    /// When a player was last given the playlist.
    played: Option<Instant>,
    /// A connection began: wait for a key picture.
    fresh: bool,
}

impl Video {
    pub fn new() -> Self {
        Self {
            state: Mutex::default(),
            samples: broadcast::Sender::new(QUEUE),
            segments: watch::Sender::default(),
            epoch: Instant::now(),
        }
    }

    /// A new connection: nothing of the old one continues.
    pub fn restart(&self) {
        self.change(|state| {
            state.timeline.restart();
            state.group.clear();
            state.group_bytes = 0;
            state.segmenter.restart();
            state.fresh = true;
        });
    }

    /// Takes a picture; false if it cannot be shown.
    pub fn accept(&self, unit: AccessUnit) -> bool {
        let nals = h264::nals(&unit.data);
        let parameters = h264::parameters(&nals).filter(|_| unit.key);
        let data = h264::sample(&nals);
        let arrived = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX) / 100 * 9;
        if data.is_empty() {
            return false;
        }
        self.change(|state| {
            if let Some(parameters) = parameters {
                state.format(parameters);
            }
            if state.formats.is_empty() || (state.fresh && !unit.key) {
                return false;
            }
            state.fresh = false;
            let time = state.timeline.next(unit.pts, arrived);
            let generation = state.generation;
            let sample = Arc::new(Sample { data, annexb: unit.data, time, key: unit.key, generation });
            state.collect(&sample);
            if state.segmenter.push(&sample) {
                self.segments.send_modify(|count| *count += 1);
            }
            // Sent under the lock, so that a viewer joining now has it either in the group or in its queue.
            let _nobody_watches = self.samples.send(sample);
            true
        })
    }

    /// The initialisation segment of `generation`.
    pub fn initialization(&self, generation: u64) -> Option<Bytes> {
        self.change(|state| {
            let format = state.formats.iter().find(|(number, _)| *number == generation);
            format.map(|(_, parameters)| mp4::initialization(parameters))
        })
    }

    /// Sequence and picture parameter set of `generation`.
    pub fn parameter_sets(&self, generation: u64) -> Option<[Bytes; 2]> {
        self.change(|state| {
            let (_, format) = state.formats.iter().find(|(number, _)| *number == generation)?;
            Some([format.sequence_set.clone(), format.picture_set.clone()])
        })
    }

    /// Pixels of the present format.
    pub fn size(&self) -> Option<(u32, u32)> {
        self.change(|state| {
            let (_, format) = state.formats.back()?;
            Some((format.width.into(), format.height.into()))
        })
    }

    pub fn playlist(&self) -> Option<String> {
        self.change(|state| state.segmenter.playlist())
    }

    /// The playlist, to a player that will come for it again.
    pub fn playlist_for_player(&self) -> Option<String> {
        self.change(|state| {
            let text = state.segmenter.playlist()?;
            state.played = Some(Instant::now());
            Some(text)
        })
    }

    /// Whether a player that has the playlist is likely to be there still.
    pub fn played(&self) -> bool {
        self.change(|state| state.played.is_some_and(|at| at.elapsed() < PLAYER))
    }

    pub fn segment(&self, number: u64) -> Option<Bytes> {
        self.change(|state| state.segmenter.segment(number))
    }

    /// Counts finished segments.
    pub fn segments(&self) -> watch::Receiver<u64> {
        self.segments.subscribe()
    }

    /// Pictures from now on, and those since the last key picture.
    fn join(&self) -> (VecDeque<Arc<Sample>>, broadcast::Receiver<Arc<Sample>>) {
        self.change(|state| (state.group.iter().cloned().collect(), self.samples.subscribe()))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn format(&mut self, parameters: Parameters) {
        if self.formats.back().is_some_and(|(_, known)| *known == parameters) {
            return;
        }
        self.generation += 1;
        if self.formats.len() == FORMATS {
            self.formats.pop_front();
        }
        self.formats.push_back((self.generation, parameters));
    }

    fn collect(&mut self, sample: &Arc<Sample>) {
        if sample.key {
            self.group.clear();
            self.group_bytes = 0;
        } else if self.group.is_empty() {
            return;
        }
        self.group_bytes += sample.annexb.len();
        self.group.push(Arc::clone(sample));
        if self.group.len() > GROUP || self.group_bytes > GROUP_BYTES {
            self.group.clear();
        }
    }
}

/// One viewer of H.264.
pub struct VideoViewer {
    seat: Seat,
    upstream: Arc<Upstream>,
    video: Arc<Video>,
    backlog: VecDeque<Arc<Sample>>,
    queue: broadcast::Receiver<Arc<Sample>>,
    /// Nothing can be decoded before the next key picture.
    lost: bool,
    sequence: u32,
    last: Option<u64>,
    cancel: CancellationToken,
}

impl VideoViewer {
    /// With `replay` a viewer begins with the last key picture, else with the next one, which is less behind.
    pub(super) fn new(
        upstream: &Arc<Upstream>,
        video: &Arc<Video>,
        replay: bool,
        cancel: CancellationToken,
    ) -> Self {
        let (mut backlog, queue) = video.join();
        if !replay {
            backlog.clear();
        }
        Self {
            seat: upstream.demand.join(),
            upstream: Arc::clone(upstream),
            video: Arc::clone(video),
            lost: backlog.is_empty(),
            backlog,
            queue,
            sequence: 0,
            last: None,
            cancel,
        }
    }

    /// The next picture; the first one is a key picture, and so is the one after a gap. `None` once the hub has stopped.
    pub async fn next(&mut self) -> Option<Arc<Sample>> {
        let _waiting = self.seat.demand().wait();
        loop {
            let sample = match self.backlog.pop_front() {
                Some(sample) => sample,
                None => {
                    let received = tokio::select! {
                        () = self.cancel.cancelled() => return None,
                        received = self.queue.recv() => received,
                    };
                    match received {
                        Ok(sample) => sample,
                        Err(RecvError::Lagged(_)) => {
                            self.lost = true;
                            continue;
                        }
                        Err(RecvError::Closed) => return None,
                    }
                }
            };
            self.lost &= !sample.key;
            if !self.lost {
                return Some(sample);
            }
        }
    }

    /// The first picture.
    ///
    /// # Errors
    /// Why there is none: at once if the camera just refused, else after `Settings::first_picture`.
    pub async fn first(&mut self) -> Result<Arc<Sample>, crate::printer::io::CameraError> {
        let upstream = Arc::clone(&self.upstream);
        upstream.first(self.next()).await
    }

    /// `sample` as a fragment of an endless MP4 file, in two chunks.
    pub fn fragment(&mut self, sample: &Sample) -> [Bytes; 2] {
        // The true duration is known only with the next picture; the decode times correct the guess.
        let guess = self.last.map_or(u64::from(TIMESCALE) / 15, |last| sample.time.saturating_sub(last));
        let duration = u32::try_from(guess).unwrap_or(TIMESCALE);
        self.last = Some(sample.time);
        self.sequence = self.sequence.wrapping_add(1);
        let entry = Entry { size: sample.data.len(), duration, key: sample.key };
        [mp4::fragment_head(self.sequence, sample.time, &[entry]), sample.data.clone()]
    }

    /// The sequence and the picture parameter set that `sample` needs.
    pub fn parameter_sets(&self, sample: &Sample) -> Option<[Bytes; 2]> {
        self.video.parameter_sets(sample.generation)
    }

    /// The initialisation segment that `sample` needs.
    pub fn initialization(&self, sample: &Sample) -> Option<Bytes> {
        self.video.initialization(sample.generation)
    }
}

#[cfg(test)]
#[path = "video_tests.rs"]
mod tests;
