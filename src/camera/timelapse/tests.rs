//! Recording a job layer by layer, the limits, and the zip read back.

use std::io::{Cursor, Read};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::camera::CameraHub;
use crate::camera::tests::jpeg;
use crate::model::{CameraKind, JobPhase, LinkPhase};
use crate::model::{Job, PrinterState};
use crate::printer::io::{CameraError, CameraFeed, CameraSource};
use std::time::Duration;

/// A picture every 10 ms.
struct Steady;

impl CameraSource for Steady {
    fn open(&self) -> BoxFuture<'_, Result<CameraFeed, CameraError>> {
        async {
            let feed = stream::unfold(0_u8, |n| async move {
                sleep(Duration::from_millis(10)).await;
                Some((Ok(jpeg(n)), n.wrapping_add(1)))
            });
            Ok(CameraFeed::Jpeg(feed.boxed()))
        }
        .boxed()
    }
}

fn state(phase: JobPhase, layer: u32) -> Arc<PrinterState> {
    let mut state = PrinterState::default();
    state.link.phase = LinkPhase::Online;
    (state.job.serial, state.job.phase, state.job.layer) = (1, phase, Some(layer));
    Arc::new(state)
}

async fn until_frames(timelapses: &Timelapses, count: usize) {
    timeout(Duration::from_secs(20), async {
        while timelapses.list().await.unwrap().first().map_or(0, |recording| recording.frames) != count {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the pictures in time");
}

#[tokio::test]
async fn a_job_is_recorded_and_comes_back_as_a_zip() {
    let home = tempfile::tempdir().unwrap();
    let timelapses = Timelapses::new(
        home.path().join("timelapse"),
        Limits::default(),
        Choices { enabled: true, autorender: false, framerate: 5 },
    );
    assert_eq!(timelapses.list().await.unwrap(), []);
    let cancel = CancellationToken::new();
    let hub = CameraHub::new(Some(Arc::new(Steady)), CameraKind::Jpeg, &TaskTracker::new(), cancel.clone());
    let (states, watching) = watch::channel(state(JobPhase::Preparing, 0));
    let (recorder, stop) = (timelapses.clone(), cancel.clone());
    // The history forgets the job that is over before its last picture.
    let id_of = |job: &Job| {
        (!job.phase.ended())
            .then(|| Subject { id: format!("{:06X}", job.serial), name: "a/cube.gcode.3mf".to_owned() })
    };
    let following = tokio::spawn(async move { recorder.follow(hub, watching, id_of, stop).await });
    for layer in 1..=3 {
        states.send_replace(state(JobPhase::Printing, layer));
        until_frames(&timelapses, layer as usize).await;
    }
    let mut events = timelapses.events();
    states.send_replace(state(JobPhase::Complete, 3));
    until_frames(&timelapses, 4).await;
    let ended = loop {
        let event = timeout(Duration::from_secs(20), events.recv()).await.unwrap().unwrap();
        if let TimelapseEvent::Ended { recording, removed } = event {
            break (recording.map(|recording| recording.frames), removed);
        }
    };
    assert_eq!(ended, (Some(4), Vec::new()));
    cancel.cancel();
    following.await.unwrap();
    assert_eq!(timelapses.get("000001").await.unwrap().title(), "cube_000001");
    let zip: Vec<u8> =
        timelapses.zip("000001").await.unwrap().map_ok(Bytes::into).try_concat().await.unwrap();
    assert_eq!(timelapses.zip_size("000001").await.unwrap(), Some(zip.len() as u64));
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
    let names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    assert_eq!(names, ["layer-00001.jpg", "layer-00002.jpg", "layer-00003.jpg", "layer-00004.jpg"]);
    let mut picture = Vec::new();
    archive.by_name("layer-00002.jpg").unwrap().read_to_end(&mut picture).unwrap();
    assert!(picture.starts_with(&[0xFF, 0xD8, 0xFF]));
    let missing = timelapses.video("000001", 10, Path::new("/no/such/ffmpeg")).await;
    assert!(matches!(missing, Err(ExportError::NoEncoder)));
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_make_the_newest_recording_the_oldest() {
    let home = tempfile::tempdir().unwrap();
    let limits = Limits { jobs: 2, ..Limits::default() };
    let timelapses = Timelapses::new(home.path(), limits, Choices::default());
    for (id, year) in [("FFFFFE", 3), ("FFFFFF", 2), ("1000000", 1)] {
        timelapses.keep(id, 1, &jpeg(1)).await.unwrap();
        let picture =
            std::fs::File::options().append(true).open(home.path().join(id).join("layer-00001.jpg"));
        let time = std::time::UNIX_EPOCH + Duration::from_secs(year * 365 * 24 * 3600);
        picture.unwrap().set_modified(time).unwrap();
    }
    let mut removed = Vec::new();
    timelapses.prune("1000000", &mut removed).await.unwrap();
    assert_eq!(removed.iter().map(|recording| recording.id.as_str()).collect::<Vec<_>>(), ["FFFFFE"]);
}

#[tokio::test]
async fn limits_hold_and_ids_cannot_leave_the_folder() {
    let home = tempfile::tempdir().unwrap();
    let timelapses =
        Timelapses::new(home.path(), Limits { frames: 2, jobs: 2, bytes: 1 << 20 }, Choices::default());
    for id in ["a", "b", "c"] {
        for layer in 1..=3 {
            timelapses.keep(id, layer, &jpeg(1)).await.unwrap();
        }
        let full = timelapses.keep(id, 4, &jpeg(1)).await.unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }
    timelapses.prune("a", &mut Vec::new()).await.unwrap();
    let mut left: Vec<String> =
        timelapses.list().await.unwrap().into_iter().map(|recording| recording.id).collect();
    left.sort();
    assert!(left.contains(&"a".to_owned()) && left.len() <= 3, "the current job stays: {left:?}");
    let limits = Limits { frames: 2, jobs: 2, bytes: 1 };
    let tight = Timelapses::new(home.path(), limits, Choices::default());
    let mut removed = Vec::new();
    tight.prune("a", &mut removed).await.unwrap();
    let mut names: Vec<&str> = removed.iter().map(|recording| recording.id.as_str()).collect();
    names.sort_unstable();
    assert_eq!(timelapses.list().await.unwrap().len(), 1);
    left.retain(|id| id != "a");
    assert_eq!(names, left, "what went is told");
    for id in ["", "..", "a/b", "../x", &"x".repeat(65)] {
        assert_eq!(
            timelapses.keep(id, 1, b"").await.unwrap_err().kind(),
            io::ErrorKind::InvalidInput,
            "{id}"
        );
        assert!(matches!(timelapses.zip(id).await, Err(ExportError::NotFound)));
    }
    timelapses.remove("a").await.unwrap();
    assert_eq!(timelapses.list().await.unwrap(), []);
}

#[tokio::test]
async fn choices_outlive_a_restart_and_nothing_is_taken_without_them() {
    let home = tempfile::tempdir().unwrap();
    let open = || Timelapses::new(home.path(), Limits::default(), Choices::default());
    let chosen = Choices { enabled: true, autorender: false, framerate: 99 };
    open().choose(chosen).await.unwrap();
    assert_eq!(open().choices(), Choices { enabled: true, autorender: false, framerate: 60 });
    std::fs::write(home.path().join("settings.json"), "{").unwrap();
    assert_eq!(open().choices(), Choices::default());
    assert_eq!(open().list().await.unwrap(), []);
}
