//! The storage over FTPS.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn files_go_there_and_back() {
    for key in ["p1s", "a1", "p2s"] {
        let bench = Bench::start(key).await;
        let files = bench.handle.files().clone();
        let folder = tempfile::tempdir().expect("folder");
        let local = folder.path().join("job.3mf");
        let content: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&local, &content).expect("write");
        let sent = Arc::new(Mutex::new(0));
        let count = sent.clone();
        let progress: ProgressFn = Arc::new(move |bytes| *count.lock().expect("lock") = bytes);
        let remote = files.job_path("job.gcode.3mf");
        let cancel = CancellationToken::new();
        files
            .upload(local.clone(), remote.clone(), String::new(), progress.clone(), cancel.clone())
            .await
            .unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(*sent.lock().expect("lock"), 300_000, "{key}");
        let listed = files.list().await.unwrap_or_else(|error| panic!("{key}: {error}"));
        let entry =
            listed.iter().find(|file| file.path == remote).unwrap_or_else(|| panic!("{key}: {listed:?}"));
        assert_eq!((entry.size, entry.directory), (300_000, false), "{key}");
        assert!(listed.iter().any(|file| file.directory && file.path == "cache"), "{key}");
        let back = folder.path().join("back.3mf");
        files
            .download(remote.clone(), back.clone(), progress.clone(), cancel.clone())
            .await
            .expect("download");
        assert_eq!(std::fs::read(&back).expect("read"), content, "{key}");
        files.delete(remote.clone()).await.expect("delete");
        let gone = files.download(remote, back.clone(), progress, cancel).await;
        assert!(matches!(gone, Err(FileError::NotFound(_))), "{key}: {gone:?}");
        assert!(!back.exists(), "{key}: nothing half is left");
        assert_eq!(bench.sim.truth().connections["ftps"].peak, 1, "{key}: never two sessions");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_may_be_encrypted_before_the_transfer_is_announced() {
    let bench = Bench::start("p1s").await;
    bench.sim.faults().apply(Fault::EncryptFirst { on: true }).expect("fault");
    let files = bench.handle.files().clone();
    let folder = tempfile::tempdir().expect("folder");
    let (local, back) = (folder.path().join("job.3mf"), folder.path().join("back.3mf"));
    std::fs::write(&local, vec![7_u8; 300_000]).expect("write");
    let progress: ProgressFn = Arc::new(|_| {});
    let cancel = CancellationToken::new();
    let sent = files.upload(local.clone(), "job.3mf".into(), String::new(), progress.clone(), cancel.clone());
    assert_eq!(sent.await, Ok(()));
    let listed = files.list().await.expect("list");
    assert!(listed.iter().any(|file| file.path == "job.3mf" && file.size == 300_000), "{listed:?}");
    assert_eq!(files.download("job.3mf".into(), back.clone(), progress, cancel).await, Ok(()));
    assert_eq!(std::fs::read(&back).expect("read"), std::fs::read(&local).expect("read"));
    assert_eq!(bench.sim.truth().counters.unresumed_data, 0, "each resumed the session of the login");
    assert_eq!(bench.sim.truth().connections["ftps"].peak, 1, "never two sessions");
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_fail_with_a_reason() {
    let bench = Bench::start("p1s").await;
    let folder = tempfile::tempdir().expect("folder");
    let local = folder.path().join("job.3mf");
    std::fs::write(&local, vec![7_u8; 700_000]).expect("write");
    let upload = || {
        let progress: ProgressFn = Arc::new(|_| {});
        bench.handle.files().upload(
            local.clone(),
            "big.3mf".into(),
            String::new(),
            progress,
            CancellationToken::new(),
        )
    };
    bench.sim.faults().apply(Fault::FullDisk { on: true }).expect("fault");
    assert!(matches!(upload().await, Err(FileError::Full(_))));
    bench.sim.faults().apply(Fault::FullDisk { on: false }).expect("fault");
    bench.sim.faults().apply(Fault::Abort426 { on: true }).expect("fault");
    assert!(matches!(upload().await, Err(FileError::Failed(_))));
    bench.sim.faults().apply(Fault::Abort426 { on: false }).expect("fault");
    bench.sim.faults().apply(Fault::Late426 { on: true }).expect("fault");
    assert_eq!(upload().await, Ok(()), "the size says that it is complete");
    assert_eq!(bench.sim.truth().connections["ftps"].peak, 1, "never two sessions, whatever went wrong");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_printer_is_asked_again_and_gets_nothing_in_clear_text() {
    let bench = Bench::start("p1s").await;
    let folder = tempfile::tempdir().expect("folder");
    let local = folder.path().join("job.3mf");
    std::fs::write(&local, vec![7_u8; 300_000]).expect("write");
    let progress: ProgressFn = Arc::new(|_| {});
    bench.sim.faults().apply(Fault::BusyData { times: 1 }).expect("fault");
    let files = bench.handle.files().clone();
    let upload = files.upload(local, "job.3mf".into(), String::new(), progress, CancellationToken::new());
    assert_eq!(upload.await, Ok(()));
    assert_eq!(bench.sim.truth().connections["ftps"].total, 2, "one more session, and none in clear text");
}

/// The simulated A1 takes both, as long as no data went to it encrypted.
#[tokio::test(flavor = "multi_thread")]
async fn a_printer_that_stays_busy_is_told_and_gets_nothing_in_clear_text() {
    let clear = |options: &mut sim::Options| options.data_channel = Some(sim::models::DataChannel::Clear);
    let bench = run(simulator("a1", clear).await, |_| {});
    bench.online().await;
    let files = bench.handle.files().clone();
    let faults = bench.sim.faults();
    faults.apply(Fault::BusyData { times: 3 }).expect("fault");
    let listed = files.list().await;
    assert!(matches!(listed, Err(FileError::Busy(_))), "{listed:?}");
    assert_eq!(bench.sim.truth().connections["ftps"].total, 3, "tried again, and not in clear text");
    faults.apply(Fault::BusyData { times: 2 }).expect("fault");
    faults.apply(Fault::EncryptData { on: true }).expect("fault");
    assert!(files.list().await.is_ok());
    assert_eq!(bench.sim.truth().connections["ftps"].total, 6, "the third was not refused");
    faults.apply(Fault::EncryptData { on: false }).expect("fault");
    let listed = files.list().await;
    assert!(matches!(&listed, Err(FileError::Failed(text)) if text.contains("clear text")), "{listed:?}");
    assert_eq!(bench.sim.truth().connections["ftps"].total, 7, "it has taken encrypted data before");
}

/// Clear text is remembered where it works: a busy printer changes nothing about it, one that wants TLS now does.
#[tokio::test(flavor = "multi_thread")]
async fn clear_text_is_kept_for_a_busy_printer_and_given_up_where_it_is_refused() {
    let clear = |options: &mut sim::Options| options.data_channel = Some(sim::models::DataChannel::Clear);
    let bench = run(simulator("a1", clear).await, |_| {});
    bench.online().await;
    let files = bench.handle.files().clone();
    let faults = bench.sim.faults();
    let sessions = async |succeeds: bool| {
        let before = bench.sim.truth().connections["ftps"].total;
        assert_eq!(files.list().await.is_ok(), succeeds);
        bench.sim.truth().connections["ftps"].total - before
    };
    assert!(files.list().await.is_ok());
    assert_eq!(sessions(true).await, 1, "it is remembered");
    faults.apply(Fault::BusyData { times: 1 }).expect("fault");
    assert_eq!(sessions(false).await, 1);
    assert_eq!(sessions(true).await, 1, "and still is");
    faults.apply(Fault::EncryptData { on: true }).expect("fault");
    assert_eq!(sessions(true).await, 2);
    assert_eq!(sessions(true).await, 1, "encrypted again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_loses_its_connections_is_sent_once_more() {
    let bench = Bench::start("p1s").await;
    let folder = tempfile::tempdir().expect("folder");
    let local = folder.path().join("job.3mf");
    std::fs::write(&local, vec![7_u8; 3 << 20]).expect("write");
    let files = bench.handle.files().clone();
    let upload = || {
        let progress: ProgressFn = Arc::new(|_| {});
        files.upload(local.clone(), "job.3mf".into(), String::new(), progress, CancellationToken::new())
    };
    assert!(files.unbroken());
    bench.sim.faults().apply(Fault::CutUploads { times: 1 }).expect("fault");
    assert_eq!(upload().await, Ok(()));
    assert_eq!(std::fs::metadata(bench.sim.storage().join("job.3mf")).expect("stored").len(), 3 << 20);
    assert!(!files.unbroken(), "whether the printer was on all the time is not known");
    assert_eq!(upload().await, Ok(()));
    assert!(files.unbroken());
    bench.sim.faults().apply(Fault::CutUploads { times: 2 }).expect("fault");
    assert!(upload().await.is_err(), "twice is enough");
    assert_eq!(bench.sim.truth().connections["ftps"].peak, 1, "never two sessions");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_printer_that_cuts_a_handshake_off_is_asked_again_and_gets_nothing_in_clear_text() {
    let bench = Bench::start("p1s").await;
    let files = bench.handle.files().clone();
    assert!(files.list().await.is_ok(), "it takes encrypted data");
    let faults = bench.sim.faults();
    faults.apply(Fault::CutHandshakes { times: 2 }).expect("fault");
    let folder = tempfile::tempdir().expect("folder");
    let local = folder.path().join("job.3mf");
    std::fs::write(&local, vec![7_u8; 300_000]).expect("write");
    let progress: ProgressFn = Arc::new(|_| {});
    let upload = files.upload(local, "job.3mf".into(), String::new(), progress, CancellationToken::new());
    assert_eq!(upload.await, Ok(()));
    assert_eq!(std::fs::metadata(bench.sim.storage().join("job.3mf")).expect("stored").len(), 300_000);
    faults.apply(Fault::CutHandshakes { times: 9 }).expect("fault");
    let listed = files.list().await;
    assert!(matches!(&listed, Err(FileError::Failed(text)) if text.contains("breaks off")), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_folders_are_arranged_in_one_session_at_a_time() {
    for key in ["p1s", "a1", "h2d"] {
        let bench = Bench::start(key).await;
        let files = bench.handle.files().clone();
        let told = |error: FileError| panic!("{key}: {error}");
        files.make_directory("parts".into()).await.unwrap_or_else(told);
        files.rename("cube.gcode.3mf".into(), "parts/box.gcode.3mf".into()).await.unwrap_or_else(told);
        assert!(bench.sim.storage().join("parts/box.gcode.3mf").exists(), "{key}");
        let full = files.remove_directory("parts".into()).await;
        assert!(full.is_err() && bench.sim.storage().join("parts/box.gcode.3mf").exists(), "{key}: {full:?}");
        let gone = files.rename("cube.gcode.3mf".into(), "other.3mf".into()).await;
        assert!(matches!(gone, Err(FileError::NotFound(_))), "{key}: {gone:?}");
        files.delete("parts/box.gcode.3mf".into()).await.unwrap_or_else(told);
        files.remove_directory("parts".into()).await.unwrap_or_else(told);
        assert!(!bench.sim.storage().join("parts").exists(), "{key}");
        let listing = [files.list(), files.list(), files.list()];
        let listed = futures_util::future::join_all(listing).await;
        assert!(listed.iter().all(Result::is_ok), "{key}: {listed:?}");
        assert_eq!(bench.sim.truth().connections["ftps"].peak, 1, "{key}: never two sessions");
        bench.until("room", |state| state.device.storage.free_bytes == Some(4 << 30)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_card_and_a_cancelled_upload_are_told() {
    for (key, told) in [("x1c", Some(false)), ("h2d", None)] {
        let bench = Bench::start(key).await;
        bench.sim.faults().apply(Fault::StorageMissing { on: true }).expect("fault");
        bench.sim.faults().apply(Fault::DropLink).expect("fault");
        // An H2D denies any storage also while it prints from its own: an upload tells.
        bench.until("no storage", |state| state.device.storage.present == told).await;
        let folder = tempfile::tempdir().expect("folder");
        let local = folder.path().join("job.3mf");
        std::fs::write(&local, vec![7_u8; 1000]).expect("write");
        let progress: ProgressFn = Arc::new(|_| {});
        let files = bench.handle.files();
        let upload = files.upload(local, "job.3mf".into(), String::new(), progress, CancellationToken::new());
        let refused = upload.await;
        assert!(
            matches!(&refused, Err(FileError::NotFound(text)) if text.contains("USB stick") && text.contains("550")),
            "{refused:?}"
        );
    }
    let bench = Bench::start("h2d").await;
    let faults = bench.sim.faults();
    faults.apply(Fault::SlowFtp { bytes_per_second: 50_000 }).expect("fault");
    let folder = tempfile::tempdir().expect("folder");
    let local = folder.path().join("job.3mf");
    std::fs::write(&local, vec![7_u8; 8 << 20]).expect("write");
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let progress: ProgressFn = Arc::new(move |bytes| {
        if bytes > 0 {
            stop.cancel();
        }
    });
    let upload = bench.handle.files().upload(local, "big.3mf".into(), String::new(), progress, cancel);
    let ended = tokio::time::timeout(DEADLINE, upload).await.expect("ends at once");
    assert_eq!(ended, Err(FileError::Cancelled));
    faults.apply(Fault::SlowFtp { bytes_per_second: 0 }).expect("fault");
    assert!(bench.handle.files().list().await.is_ok(), "the way is free for the next one");
    assert_eq!(bench.sim.truth().connections["ftps"].peak, 1, "never two sessions");
}
