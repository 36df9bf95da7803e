//! The hub against a scripted camera, with paused time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::model::{CameraKind, Capabilities};
use crate::printer::io::{CameraError, CameraFeed, CameraSource};

type Script = mpsc::UnboundedReceiver<Result<Bytes, CameraError>>;

/// Counts its connections and notices overlaps; each opening takes the next scripted feed.
#[derive(Default)]
pub(super) struct Scripted {
    feeds: Mutex<std::collections::VecDeque<Result<Script, CameraError>>>,
    opened: AtomicUsize,
    open: Arc<AtomicUsize>,
    most: AtomicUsize,
    at: Mutex<Vec<Instant>>,
}

struct Socket(Arc<AtomicUsize>);

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Scripted {
    fn feed(&self) -> mpsc::UnboundedSender<Result<Bytes, CameraError>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.feeds.lock().unwrap().push_back(Ok(receiver));
        sender
    }

    fn refuse(&self, error: CameraError) {
        self.feeds.lock().unwrap().push_back(Err(error));
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }
}

impl CameraSource for Scripted {
    fn open(&self) -> BoxFuture<'_, Result<CameraFeed, CameraError>> {
        async {
            self.opened.fetch_add(1, Ordering::SeqCst);
            self.at.lock().unwrap().push(Instant::now());
            let now = self.open.fetch_add(1, Ordering::SeqCst) + 1;
            let socket = Socket(Arc::clone(&self.open));
            self.most.fetch_max(now, Ordering::SeqCst);
            let script = self.feeds.lock().unwrap().pop_front();
            let script = script.unwrap_or_else(|| Err(CameraError::Lost("not scripted".to_owned())))?;
            let feed = stream::unfold((script, socket), |(mut script, socket)| async move {
                let item = script.recv().await?;
                Some((item, (script, socket)))
            });
            Ok(CameraFeed::Jpeg(feed.boxed()))
        }
        .boxed()
    }
}

pub(super) fn jpeg(mark: u8) -> Bytes {
    Bytes::from(vec![0xFF, 0xD8, 0xFF, 0xE0, mark, 0xFF, 0xD9])
}

struct Rig {
    source: Arc<Scripted>,
    hub: CameraHub,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

fn rig() -> Rig {
    with(Settings::default())
}

fn with(settings: Settings) -> Rig {
    let source = Arc::new(Scripted::default());
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let (known, kind) = (source.clone(), CameraKind::Jpeg);
    let hub = CameraHub::with_settings(Some(known), kind, settings, &tasks, cancel.clone());
    Rig { source, hub, cancel, tasks }
}

async fn shown(viewer: &mut Viewer) -> u8 {
    timeout(Duration::from_secs(60), viewer.next())
        .await
        .expect("a picture in time")
        .expect("a running hub")
        .data[4]
}

/// Waits until `met`, in paused time.
async fn until(met: impl Fn() -> bool) {
    timeout(Duration::from_secs(600), async {
        while !met() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the state in time");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_viewers_share_one_connection_and_the_same_bytes() {
    let rig = rig();
    assert_eq!(rig.source.opened(), 0);
    let feed = rig.source.feed();
    let mut viewers: Vec<Viewer> = (0..100).map(|_| rig.hub.subscribe().unwrap()).collect();
    assert_eq!(rig.hub.health().viewers, 100);
    feed.send(Ok(jpeg(1))).unwrap();
    let frames = futures_util::future::join_all(viewers.iter_mut().map(Viewer::next)).await;
    let address = frames[0].as_ref().unwrap().data.as_ptr();
    assert!(frames.iter().all(|frame| frame.as_ref().unwrap().data.as_ptr() == address));
    assert_eq!((rig.source.opened(), rig.source.most.load(Ordering::SeqCst)), (1, 1));
    let mut late = rig.hub.subscribe().unwrap();
    assert_eq!(shown(&mut late).await, 1, "the last picture is replayed");
    drop(viewers);
    assert_eq!(rig.hub.health().viewers, 1);
}

#[tokio::test(start_paused = true)]
async fn the_connection_closes_after_the_last_viewer_and_opens_again_for_the_next() {
    let rig = rig();
    let feed = rig.source.feed();
    let mut viewer = rig.hub.subscribe().unwrap();
    feed.send(Ok(jpeg(1))).unwrap();
    assert_eq!(shown(&mut viewer).await, 1);
    drop(viewer);
    sleep(Duration::from_secs(9)).await;
    assert!(!feed.is_closed(), "kept for a viewer who comes back");
    let mut back = rig.hub.subscribe().unwrap();
    feed.send(Ok(jpeg(2))).unwrap();
    until(|| rig.hub.health().frames == 2).await;
    assert_eq!(shown(&mut back).await, 2);
    drop(back);
    until(|| feed.is_closed()).await;
    assert_eq!((rig.hub.health().phase, rig.hub.health().reason), (Phase::Closed, None));
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(rig.source.opened(), 1);
    let feed = rig.source.feed();
    let mut viewer = rig.hub.subscribe().unwrap();
    feed.send(Ok(jpeg(3))).unwrap();
    assert_eq!(shown(&mut viewer).await, 3, "a picture an hour old is not replayed");
    assert_eq!((rig.source.opened(), rig.source.most.load(Ordering::SeqCst)), (2, 1));
}

/// What a killed gateway left open at the printer is gone by then.
#[tokio::test(start_paused = true)]
async fn a_hub_rests_before_its_first_connection_only() {
    let rig = with(Settings { rest: Duration::from_secs(5), ..Settings::default() });
    let feed = rig.source.feed();
    let mut viewer = rig.hub.subscribe().unwrap();
    let began = Instant::now();
    feed.send(Ok(jpeg(1))).unwrap();
    assert_eq!(shown(&mut viewer).await, 1);
    assert_eq!(began.elapsed().as_secs(), 5);
    drop(viewer);
    until(|| feed.is_closed()).await;
    let feed = rig.source.feed();
    feed.send(Ok(jpeg(2))).unwrap();
    let began = Instant::now();
    let mut viewer = rig.hub.subscribe().unwrap();
    while shown(&mut viewer).await != 2 {}
    assert!(began.elapsed().as_secs() < 2);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_takes_nothing_does_not_keep_the_camera_awake() {
    let rig = rig();
    let feed = rig.source.feed();
    let mut stuck = rig.hub.subscribe().unwrap();
    feed.send(Ok(jpeg(1))).unwrap();
    assert_eq!(shown(&mut stuck).await, 1);
    until(|| feed.is_closed()).await;
    assert_eq!(rig.hub.health().viewers, 1);
    let feed = rig.source.feed();
    feed.send(Ok(jpeg(2))).unwrap();
    assert_eq!(shown(&mut stuck).await, 2, "the picture comes when the viewer is back");
}

#[tokio::test(start_paused = true)]
async fn a_stall_reopens_with_growing_pauses_and_says_why() {
    let rig = rig();
    let stalled: Vec<_> = (0..5).map(|_| rig.source.feed()).collect();
    let mut viewer = rig.hub.subscribe().unwrap();
    let waiting = tokio::spawn(async move { (shown(&mut viewer).await, viewer) });
    sleep(Duration::from_secs(16)).await;
    let health = rig.hub.health();
    assert_eq!((health.phase, health.open), (Phase::Waiting, false));
    assert_eq!(health.reason.as_deref(), Some("no picture for 15 s"));
    until(|| rig.source.opened() == 3).await;
    stalled[2].send(Ok(jpeg(7))).unwrap();
    let (mark, _viewer) = waiting.await.unwrap();
    assert_eq!(mark, 7);
    assert_eq!(rig.hub.health().reason, None, "a picture ends the trouble");
    let at = rig.source.at.lock().unwrap().clone();
    let pauses: Vec<f64> = at.windows(2).map(|two| (two[1] - two[0]).as_secs_f64() - 15.0).collect();
    assert!((1.6..=2.1).contains(&pauses[0]) && (3.2..=4.1).contains(&pauses[1]), "{pauses:?}");
    assert_eq!(rig.source.most.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn snapshots_use_a_young_picture_wait_for_a_new_one_and_tell_the_reason() {
    let rig = rig();
    rig.source.refuse(CameraError::Blocked("liveview is off: switch it on".to_owned()));
    let began = Instant::now();
    let refused = rig.hub.snapshot(Duration::from_secs(2)).await;
    assert_eq!(refused.unwrap_err(), CameraError::Blocked("liveview is off: switch it on".to_owned()));
    assert!(began.elapsed() < Duration::from_secs(1), "told at once");
    sleep(Duration::from_secs(60)).await;
    let feed = rig.source.feed();
    feed.send(Ok(jpeg(1))).unwrap();
    let first = rig.hub.snapshot(Duration::from_secs(2)).await.unwrap();
    let again = rig.hub.snapshot(Duration::from_secs(2)).await.unwrap();
    assert_eq!((first.number, again.number), (1, 1));
    sleep(Duration::from_secs(3)).await;
    feed.send(Ok(jpeg(2))).unwrap();
    assert_eq!(rig.hub.snapshot(Duration::from_secs(2)).await.unwrap().number, 2);
    sleep(Duration::from_secs(3)).await;
    let late = rig.hub.snapshot(Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(late, CameraError::Lost("no picture for 15 s".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn polling_snapshots_keep_the_connection() {
    let rig = rig();
    let feed = rig.source.feed();
    for number in 1..=60 {
        feed.send(Ok(jpeg(0))).unwrap();
        let frame = rig.hub.snapshot(Duration::from_secs(2)).await.unwrap();
        assert!(frame.number <= number);
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(rig.source.opened(), 1);
    assert!((rig.hub.health().fps - 1.0).abs() < 0.2, "{}", rig.hub.health().fps);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_picture_is_not_shown() {
    let rig = rig();
    let feed = rig.source.feed();
    let mut viewer = rig.hub.subscribe().unwrap();
    feed.send(Ok(Bytes::from_static(b"HTTP/1.1 500"))).unwrap();
    feed.send(Ok(Bytes::from(vec![0xFF; 11 << 20]))).unwrap();
    feed.send(Ok(jpeg(5))).unwrap();
    assert_eq!(shown(&mut viewer).await, 5);
    assert_eq!((rig.hub.health().frames, rig.hub.health().discarded), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn shutdown_closes_the_connection_and_ends_viewers() {
    let rig = rig();
    let feed = rig.source.feed();
    let mut viewer = rig.hub.subscribe().unwrap();
    feed.send(Ok(jpeg(1))).unwrap();
    assert_eq!(shown(&mut viewer).await, 1);
    rig.cancel.cancel();
    assert!(viewer.next().await.is_none());
    rig.tasks.close();
    timeout(Duration::from_secs(5), rig.tasks.wait()).await.expect("the task ends");
    assert!(feed.is_closed());
}

#[tokio::test]
async fn a_printer_without_camera_says_so() {
    let hub = CameraHub::new(None, CameraKind::None, &TaskTracker::new(), CancellationToken::new());
    assert!(matches!(hub.subscribe(), Err(CameraError::Blocked(_))));
    assert!(hub.health().reason.unwrap().contains("no camera"));
}

/// The model is a guess by the serial number until the first contact.
#[tokio::test(start_paused = true)]
async fn what_shows_a_camera_of_another_kind_ends_with_its_connection() {
    let Rig { source, hub, tasks, .. } = rig();
    let caps = |camera| Arc::new(Capabilities { camera, ..Capabilities::default() });
    let known = watch::Sender::new(caps(CameraKind::Jpeg));
    tasks.spawn(hub.clone().follow(known.subscribe(), tasks.clone()));
    let feed = source.feed();
    let mut viewer = hub.subscribe().expect("a camera");
    feed.send(Ok(jpeg(1))).expect("the feed is read");
    assert_eq!(shown(&mut viewer).await, 1);
    known.send_replace(caps(CameraKind::H264));
    until(|| hub.kind() == CameraKind::H264).await;
    let next = timeout(Duration::from_secs(60), viewer.next()).await;
    assert!(next.expect("the viewer is told").is_none());
    until(|| source.open.load(Ordering::SeqCst) == 0).await;
}
