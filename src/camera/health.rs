//! What is told about a camera: age, rate, and why it is dark.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::model::CameraKind;

/// Where the upstream connection stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nobody watches.
    #[default]
    Closed,
    Opening,
    Open,
    /// The last attempt failed; the next one follows after a pause.
    Waiting,
}

/// A camera at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    pub kind: CameraKind,
    pub phase: Phase,
    /// The upstream connection stands.
    pub open: bool,
    /// Viewers connected to the gateway.
    pub viewers: usize,
    /// Seconds since the last picture.
    pub last_frame_age: Option<f64>,
    /// Pictures per second over the last ten seconds.
    pub fps: f64,
    /// Why there is no picture, in plain words; `None` while all is well.
    pub reason: Option<String>,
    /// Pictures since the process began.
    pub frames: u64,
    /// Pictures thrown away because they were none.
    pub discarded: u64,
    /// Connections opened since the process began.
    pub opened: u64,
}

impl Health {
    /// Of a printer without camera.
    pub(super) fn absent(kind: CameraKind, reason: String) -> Self {
        let (status, reading) = (Status { reason: Some(reason), ..Status::default() }, Reading::default());
        Self::of(kind, status, reading, 0)
    }

    pub(super) fn of(kind: CameraKind, status: Status, reading: Reading, viewers: usize) -> Self {
        let open = status.phase == Phase::Open;
        Self {
            kind,
            phase: status.phase,
            open,
            viewers,
            last_frame_age: reading.last_frame_age,
            fps: if open { reading.fps } else { 0.0 },
            reason: status.reason,
            frames: reading.frames,
            discarded: reading.discarded,
            opened: status.opened,
        }
    }
}

/// The state of the connection that viewers wait on.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Status {
    pub phase: Phase,
    pub reason: Option<String>,
    /// `reason` needs the user.
    pub blocked: bool,
    pub opened: u64,
}

/// Over which the rate is measured.
const WINDOW: Duration = Duration::from_secs(10);
/// Instants kept: enough for 30 pictures a second.
const WINDOW_LENGTH: usize = 300;

/// Intervals from which a rate is believed.
const ENOUGH: usize = 5;

/// Counts pictures.
#[derive(Default)]
pub(super) struct Meter(Mutex<Counts>);

#[derive(Default, Clone)]
struct Counts {
    recent: VecDeque<Instant>,
    /// The last rate that was measured over enough pictures, also while the camera is closed.
    usual: Option<f64>,
    frames: u64,
    discarded: u64,
}

impl Counts {
    fn forget_old(&mut self) {
        while self.recent.len() > 1 && self.recent.front().is_some_and(|first| first.elapsed() > WINDOW) {
            self.recent.pop_front();
        }
    }

    /// Pictures per second over what is kept.
    fn rate(&self) -> Option<f64> {
        let span = self.recent.back()?.duration_since(*self.recent.front()?).as_secs_f64();
        (span > 0.0).then(|| self.recent.len().saturating_sub(1) as f64 / span)
    }
}

/// What a [`Meter`] has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Reading {
    pub last_frame_age: Option<f64>,
    pub fps: f64,
    pub frames: u64,
    pub discarded: u64,
}

impl Meter {
    /// Counts a picture and returns its number, from 1.
    pub fn frame(&self) -> u64 {
        self.change(|counts| {
            if counts.recent.len() == WINDOW_LENGTH {
                counts.recent.pop_front();
            }
            counts.recent.push_back(Instant::now());
            counts.forget_old();
            if let Some(rate) = counts.rate().filter(|_| counts.recent.len() > ENOUGH) {
                counts.usual = Some(rate);
            }
            counts.frames += 1;
            counts.frames
        })
    }

    /// Pictures per second as last measured.
    pub fn usual_rate(&self) -> Option<f64> {
        self.change(|counts| counts.usual)
    }

    pub fn discard(&self) {
        self.change(|counts| counts.discarded += 1);
    }

    pub fn read(&self) -> Reading {
        self.change(|counts| {
            let last = counts.recent.back().copied();
            counts.forget_old();
            Reading {
                last_frame_age: last.map(|last| last.elapsed().as_secs_f64()),
                fps: counts.rate().unwrap_or(0.0),
                frames: counts.frames,
                discarded: counts.discarded,
            }
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
