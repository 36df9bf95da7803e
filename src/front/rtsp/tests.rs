//! The protocol over pipes with a clock of their own, and another's client over sockets (`retina`).

mod protocol;
mod readers;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use image::{Rgb, RgbImage};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Camera, Shared};
use crate::access::{Access, AccessSettings};
use crate::camera::CameraHub;
use crate::model::CameraKind;
use crate::printer::io::{AccessUnit, CameraError, CameraFeed, CameraSource};
use crate::sim::h264;
use crate::store::Store;

const DEADLINE: Duration = Duration::from_secs(20);

/// A camera that shows what a test puts in.
struct Source {
    kind: CameraKind,
    opened: AtomicUsize,
    refusal: Option<CameraError>,
    pictures: Mutex<Option<mpsc::UnboundedSender<u64>>>,
    /// How picture number n looks.
    draw: fn(u64) -> Bytes,
}

impl Source {
    /// Shows the next picture of a connection that is open.
    fn show(&self, number: u64) -> bool {
        self.pictures.lock().unwrap().as_ref().is_some_and(|pictures| pictures.send(number).is_ok())
    }
}

impl CameraSource for Source {
    fn open(&self) -> BoxFuture<'_, Result<CameraFeed, CameraError>> {
        async {
            if let Some(refusal) = &self.refusal {
                return Err(refusal.clone());
            }
            self.opened.fetch_add(1, Ordering::SeqCst);
            let (sender, numbers) = mpsc::unbounded_channel();
            *self.pictures.lock().unwrap() = Some(sender);
            let draw = self.draw;
            let numbers = futures_util::stream::unfold(numbers, |mut numbers| async move {
                Some((numbers.recv().await?, numbers))
            });
            Ok(match self.kind {
                CameraKind::H264 => CameraFeed::H264(numbers.map(|number| Ok(unit(number))).boxed()),
                _ => CameraFeed::Jpeg(numbers.map(move |number| Ok(draw(number))).boxed()),
            })
        }
        .boxed()
    }
}

/// Picture `number` of the simulated printers, 20 a second.
fn unit(number: u64) -> AccessUnit {
    let picture = h264::picture(number, true);
    let sets = if picture.key { vec![h264::sequence_set(), h264::picture_set()] } else { Vec::new() };
    let mut data = Vec::new();
    for nal in sets.iter().chain([&picture.slice]) {
        data.extend_from_slice(&[0, 0, 0, 1]);
        data.extend_from_slice(nal);
    }
    AccessUnit { data: data.into(), pts: number * 4500, key: picture.key }
}

/// A picture in a form that RTP carries, of the size of a P1's.
fn plain(number: u64) -> Bytes {
    coded(number, SamplingFactor::F_2_2)
}

/// One in a form that it does not.
fn full(number: u64) -> Bytes {
    coded(number, SamplingFactor::F_1_1)
}

/// On the left the number modulo 32 as a grey, on the right something smooth.
fn coded(number: u64, sampling: SamplingFactor) -> Bytes {
    let grey = (number % 32) as u8 * 8;
    let image = RgbImage::from_fn(322, 180, |x, y| {
        if x < 160 { Rgb([grey; 3]) } else { Rgb([(x / 2) as u8, y as u8, 128]) }
    });
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, 80);
    encoder.set_sampling_factor(sampling);
    encoder.encode(&image, 322, 180, ColorType::Rgb).unwrap();
    out.into()
}

/// A server with one printer, called `p1s`.
struct Rig {
    source: Arc<Source>,
    shared: Arc<Shared>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.shared.cancel.cancel();
    }
}

impl Rig {
    /// Callers are trusted.
    fn new(kind: CameraKind) -> Self {
        Self::with(kind, AccessSettings::default(), None, plain)
    }

    /// Callers must log in.
    fn locked(kind: CameraKind) -> Self {
        Self::with(
            kind,
            AccessSettings { trusted_clients: Vec::new(), ..AccessSettings::default() },
            None,
            plain,
        )
    }

    fn with(
        kind: CameraKind,
        access: AccessSettings,
        refusal: Option<CameraError>,
        draw: fn(u64) -> Bytes,
    ) -> Self {
        let (opened, pictures) = (AtomicUsize::new(0), Mutex::default());
        let source = Arc::new(Source { kind, opened, refusal, pictures, draw });
        let cancel = CancellationToken::new();
        let hub = CameraHub::new(Some(source.clone()), kind, &TaskTracker::new(), cancel.clone());
        let cameras = vec![Camera { name: "p1s".to_owned(), title: "P1S: cellar".to_owned(), hub }];
        let access = Access::open(access, &Store::in_memory());
        Self { source, shared: Arc::new(Shared { cameras, access, cancel }) }
    }

    /// Shows pictures, one each `pause`, as long as the rig lives.
    fn run(&self, pause: Duration) {
        let (source, cancel) = (self.source.clone(), self.shared.cancel.clone());
        tokio::spawn(async move {
            let mut number = 0;
            while !cancel.is_cancelled() {
                number += u64::from(source.show(number));
                tokio::time::sleep(pause).await;
            }
        });
    }
}
