//! The USB stick and the printer's own videos (elegoo.md 3.10, 3.13).

use super::linked::{Bench, bench, bench_with, fast, quick};
use crate::drivers::elegoo::testing::file_of;
use crate::model::*;
use crate::printer::FileError;
use crate::sim::elegoo_cc2::{Fault, Options};
use crate::sim::elegoo_storage::{ON_STICK, VIDEO};

async fn with_stick() -> Bench {
    let bench = bench_with(fast(), quick(), |config| config.jobs_on_usb = true).await;
    bench.online().await;
    bench.sim.faults().apply(Fault::UsbStick { on: true }).unwrap();
    bench.until_listed(&format!("usb/{ON_STICK}")).await;
    bench
}

#[tokio::test]
async fn files_of_the_stick_are_listed_sent_fetched_and_deleted() {
    let bench = with_stick().await;
    assert!(bench.until_listed("usb").await.directory);
    let path = bench.printer.files().job_path("part.gcode");
    assert_eq!(path, "usb/part.gcode");
    bench.upload(file_of("G28\n").path(), &path).await.unwrap();
    assert_eq!(bench.until_listed(&path).await.size, 4);
    assert_eq!(bench.download(&path).await.unwrap(), b"G28\n");
    bench.printer.files().delete(path.clone()).await.unwrap();
    let internal = bench.download("part.gcode").await;
    assert!(
        matches!(internal, Err(FileError::NotFound(_))),
        "the internal storage never had it: {internal:?}"
    );
    bench.sim.faults().apply(Fault::UsbStick { on: false }).unwrap();
    let gone = bench.upload(file_of("G28\n").path(), &path).await;
    assert!(matches!(&gone, Err(FileError::Failed(text)) if text.contains("USB")), "{gone:?}");
    bench.unharmed();
}

#[tokio::test]
async fn a_job_starts_from_the_stick() {
    let bench = with_stick().await;
    bench.start_file(&format!("usb/{ON_STICK}"), 77).await.unwrap();
    let state = bench.phase(JobPhase::Printing).await;
    assert_eq!(state.device.job.token.as_deref(), Some("77"));
    let sent = &bench.sent(1020)[0];
    assert_eq!((&sent["storage_media"], &sent["filename"]), (&"u-disk".into(), &ON_STICK.into()));
    bench.unharmed();
}

#[tokio::test]
async fn a_video_of_the_printer_is_listed_made_and_fetched() {
    let bench = bench(fast()).await;
    bench.online().await;
    let (listed, video) = bench.records_a_video().await;
    assert!(listed.iter().any(|file| file.path == "timelapse" && file.directory));
    assert_eq!(bench.download(&video.path).await.unwrap(), VIDEO);
    assert_eq!(bench.sent(1051).len(), 1, "it had pictures only");
    let missing = bench.download("timelapse/other.mp4").await;
    assert!(matches!(missing, Err(FileError::NotFound(_))), "{missing:?}");
    bench.unharmed();
}

#[tokio::test]
async fn every_file_is_listed_whether_the_printer_tells_how_many_or_not() {
    let storage = tempfile::tempdir().unwrap();
    for number in 0..119 {
        std::fs::write(storage.path().join(format!("part-{number}.gcode")), "G28\n").unwrap();
    }
    let bench = bench(Options { storage_dir: Some(storage.path().into()), ..fast() }).await;
    bench.online().await;
    let listed = async |total, offset| {
        bench.sim.faults().apply(Fault::Listings { total, offset }).unwrap();
        let before = bench.sent(1044).len();
        let files = bench.printer.files().list().await.unwrap();
        let mut names: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), files.len(), "each of them once");
        (names.len(), bench.sent(1044).len() - before)
    };
    assert_eq!(listed(true, true).await, (120, 3));
    assert_eq!(listed(false, true).await, (120, 3), "the third page is not full");
    assert_eq!(listed(false, false).await, (50, 2), "nothing new: it is not asked for ever");
    bench.unharmed();
}

#[tokio::test]
async fn a_stick_that_is_plugged_in_is_told_at_once() {
    let bench = bench(fast()).await;
    bench.online().await;
    let mut events = bench.printer.events();
    bench.sim.faults().apply(Fault::UsbStick { on: true }).unwrap();
    let told = async { while !matches!(events.recv().await, Ok(Event::PrinterFilesChanged)) {} };
    tokio::time::timeout(std::time::Duration::from_secs(30), told).await.expect("the files have changed");
    let listed = bench.printer.files().list().await.unwrap();
    assert!(listed.iter().any(|file| file.path == format!("usb/{ON_STICK}")), "{listed:?}");
    bench.unharmed();
}
