//! The video store with made-up pictures behind real parameter sets.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::time::{Duration, advance};

use super::*;
use crate::camera::upstream::Outlet;
use crate::camera::{CameraHub, Settings};
use crate::model::CameraKind;
use crate::printer::io::{CameraError, CameraFeed, CameraSource};
use tokio_util::task::TaskTracker;

/// Baseline, 640x360, and high, 1280x720 (libx264).
const SMALL: &str = "Z0LAFtkAoC/5cBEAAAMAAQAAAwAKDxYuSA==";
const LARGE: &str = "Z2QAH6zZQFAFuwEQAAADABAAAAMAoPGDGWA=";

fn unit(set: Option<&str>, mark: u8, pts: u64) -> AccessUnit {
    let mut data = Vec::new();
    if let Some(set) = set {
        data.extend([0, 0, 0, 1]);
        data.extend(STANDARD.decode(set).unwrap());
        data.extend([0, 0, 0, 1, 0x68, 0xCE, 0x38, 0x80]);
    }
    data.extend([0, 0, 0, 1, if set.is_some() { 0x65 } else { 0x41 }, 0x88, mark]);
    AccessUnit { data: data.into(), pts, key: set.is_some() }
}

/// Half a second per picture, a key picture each second.
async fn play(video: &Video, set: &str, range: std::ops::Range<u64>) {
    for n in range {
        let set = Some(set).filter(|_| n % 2 == 0);
        assert!(video.accept(unit(set, n as u8 | 1, n * 45_000)));
        advance(Duration::from_millis(500)).await;
    }
}

fn viewer(video: &Arc<Video>, replay: bool) -> VideoViewer {
    let upstream = Upstream::new(Settings::default(), Outlet::Video(Arc::clone(video)));
    VideoViewer::new(&upstream, video, replay, CancellationToken::new())
}

#[tokio::test(start_paused = true)]
async fn the_playlist_slides_and_names_what_is_kept() {
    let video = Video::new();
    assert_eq!(video.playlist(), None);
    play(&video, SMALL, 0..3).await;
    let first = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n\
        #EXT-X-DISCONTINUITY-SEQUENCE:0\n#EXT-X-MAP:URI=\"init-1.mp4\"\n#EXTINF:1.00000,\nseg-0.m4s\n";
    assert_eq!(video.playlist().as_deref(), Some(first));
    play(&video, SMALL, 3..41).await;
    let text = video.playlist().unwrap();
    assert!(text.contains("MEDIA-SEQUENCE:14\n") && text.ends_with("seg-19.m4s\n"), "{text}");
    for number in 0..21 {
        assert_eq!(video.segment(number).is_some(), (7..20).contains(&number), "{number}");
    }
    assert!(video.initialization(1).is_some() && video.initialization(2).is_none());
}

#[tokio::test(start_paused = true)]
async fn another_format_is_a_discontinuity() {
    let video = Video::new();
    play(&video, SMALL, 0..4).await;
    video.restart();
    assert!(!video.accept(unit(None, 1, 0)), "nothing before a key picture");
    play(&video, LARGE, 0..5).await;
    let text = video.playlist().unwrap();
    assert!(
        text.contains("init-1.mp4") && text.contains("#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-2.mp4\"\n"),
        "{text}"
    );
    play(&video, LARGE, 5..25).await;
    let text = video.playlist().unwrap();
    assert!(text.contains("DISCONTINUITY-SEQUENCE:1\n") && !text.contains("init-1.mp4"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn viewers_begin_at_a_key_picture_and_skip_to_one_after_a_gap() {
    let video = Arc::new(Video::new());
    play(&video, SMALL, 0..4).await;
    let mut replaying = viewer(&video, true);
    assert!(replaying.next().await.unwrap().key);
    assert!(!replaying.next().await.unwrap().key);
    let mut live = viewer(&video, false);
    play(&video, SMALL, 3..5).await;
    let next = live.next().await.unwrap();
    assert_eq!((next.key, next.annexb.last()), (true, Some(&5)));
    play(&video, SMALL, 5..105).await;
    let after_gap = live.next().await.unwrap();
    assert!(after_gap.key && after_gap.time > next.time + 90_000 * 10);
    let fragment = live.fragment(&after_gap);
    assert!(fragment[0].windows(4).any(|name| name == b"moof") && fragment[1] == after_gap.data);
}

/// Key pictures, ten a second.
struct Keys;

impl CameraSource for Keys {
    fn open(&self) -> BoxFuture<'_, Result<CameraFeed, CameraError>> {
        async {
            let feed = stream::unfold(0, |n| async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Some((Ok(unit(Some(SMALL), 1, n * 9_000)), n + 1))
            });
            Ok(CameraFeed::H264(feed.boxed()))
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn without_ffmpeg_pictures_are_refused_with_the_remedy_and_video_still_plays() {
    let settings = Settings { ffmpeg: "/no/such/ffmpeg".into(), ..Settings::default() };
    let cancel = CancellationToken::new();
    let (source, tasks) = (Arc::new(Keys), TaskTracker::new());
    let hub = CameraHub::with_settings(Some(source), CameraKind::H264, settings, &tasks, cancel);
    let refused = hub.snapshot(Duration::from_secs(2)).await.unwrap_err();
    assert!(
        matches!(&refused, CameraError::Blocked(text) if text.contains("apt install ffmpeg")),
        "{refused}"
    );
    assert!(hub.video(false).unwrap().first().await.unwrap().key);
    assert!(hub.playlist().await.unwrap().contains("seg-0.m4s"));
    let health = hub.health();
    assert_eq!((health.open, health.opened), (true, 1));
    assert!(health.reason.unwrap().contains("ffmpeg"), "told although the video runs");
}

/// [`Keys`] for six seconds, then nobody there for as long as `dark` says.
struct Failing {
    opened: AtomicUsize,
    dark: AtomicBool,
}

impl CameraSource for Failing {
    fn open(&self) -> BoxFuture<'_, Result<CameraFeed, CameraError>> {
        async {
            if self.dark.load(Ordering::Relaxed) {
                return Err(CameraError::Lost("the camera is off".to_owned()));
            }
            let CameraFeed::H264(feed) = Keys.open().await? else { unreachable!("Keys sends video") };
            let first = self.opened.fetch_add(1, Ordering::Relaxed) == 0;
            self.dark.store(first, Ordering::Relaxed);
            Ok(CameraFeed::H264(if first { feed.take(60).boxed() } else { feed }))
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_player_outlives_a_dark_camera() {
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let source = Arc::new(Failing { opened: AtomicUsize::new(0), dark: AtomicBool::new(false) });
    let hub = CameraHub::with_settings(
        Some(source.clone()),
        CameraKind::H264,
        Settings::default(),
        &tasks,
        cancel.clone(),
    );
    let mut last = hub.playlist().await.unwrap();
    while hub.health().reason.is_none() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        last = hub.playlist().await.expect("the player is kept");
    }
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(hub.playlist().await.unwrap(), last, "as it was, for as long as the camera is dark");
    }
    source.dark.store(false, Ordering::Relaxed);
    while hub.playlist().await.unwrap() == last {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    source.dark.store(true, Ordering::Relaxed);
    assert!(hub.health().open);
    cancel.cancel();
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_the_camera_is_dark_is_told_why() {
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let source = Arc::new(Failing { opened: AtomicUsize::new(0), dark: AtomicBool::new(false) });
    let hub =
        CameraHub::with_settings(Some(source), CameraKind::H264, Settings::default(), &tasks, cancel.clone());
    hub.playlist().await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    let told = hub.playlist().await.unwrap_err();
    assert!(told.to_string().contains("the camera is off"), "{told}");
    cancel.cancel();
}
