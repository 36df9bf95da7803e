//! The USB stick and the printer's own videos (elegoo.md 2.9, 2.11).

use super::linked::{bench, fast};
use crate::drivers::elegoo::testing::file_of;
use crate::model::*;
use crate::printer::FileError;
use crate::sim::elegoo_cc1::Fault;
use crate::sim::elegoo_storage::{ON_STICK, VIDEO};

#[tokio::test]
async fn the_stick_is_read_and_printed_from_and_never_written() {
    let bench = bench(fast()).await;
    bench.online().await;
    assert!(bench.printer.files().list().await.unwrap().iter().all(|file| !file.path.starts_with("usb")));
    assert!(bench.sent(258).iter().all(|body| body["Url"] == "/local"), "no stick, no question");
    bench.sim.faults().apply(Fault::UsbStick { on: true }).unwrap();
    // The stick is part of the attributes, which are read once a minute or when asked.
    bench.printer.send(Command::Refresh).await.unwrap();
    let path = format!("usb/{ON_STICK}");
    bench.until_listed(&path).await;
    assert!(!bench.download(&path).await.unwrap().is_empty());
    let refused = bench.upload(file_of("G28\n").path(), "usb/part.gcode").await;
    assert!(matches!(refused, Err(FileError::Unsupported(_))), "{refused:?}");
    bench.start_file(&path, 77).await.unwrap();
    bench.phase(JobPhase::Printing).await;
    assert_eq!(bench.sent(128)[0]["Filename"], format!("/usb/{ON_STICK}"));
    bench.printer.send(Command::Cancel).await.unwrap();
    bench.phase(JobPhase::Cancelled).await;
    bench.until("idle", |state| state.device.activity == Activity::Idle).await;
    bench.printer.files().delete(path).await.unwrap();
    bench.unharmed();
}

#[tokio::test]
async fn a_video_of_the_printer_is_listed_and_fetched() {
    let bench = bench(fast()).await;
    bench.online().await;
    let (_, video) = bench.records_a_video().await;
    assert_eq!(bench.download(&video.path).await.unwrap(), VIDEO);
    let refused = bench.printer.files().delete(video.path.clone()).await;
    assert!(matches!(refused, Err(FileError::Unsupported(_))), "{refused:?}");
    bench.unharmed();
}

#[tokio::test]
async fn a_stick_that_is_plugged_in_is_told_at_once() {
    let bench = bench(fast()).await;
    bench.online().await;
    let mut events = bench.printer.events();
    bench.sim.faults().apply(Fault::UsbStick { on: true }).unwrap();
    // The attributes come once a minute, or when somebody looks at the files.
    bench.printer.files().look();
    let told = async { while !matches!(events.recv().await, Ok(Event::PrinterFilesChanged)) {} };
    tokio::time::timeout(std::time::Duration::from_secs(30), told).await.expect("the files have changed");
    let listed = bench.printer.files().list().await.unwrap();
    assert!(listed.iter().any(|file| file.path == format!("usb/{ON_STICK}")), "{listed:?}");
    bench.unharmed();
}
