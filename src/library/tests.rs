use bytes::Bytes;
use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::jobs::fake::{self, Fake, archive, gcode};
use crate::model::{DeviceStage, LinkPhase};

struct Room {
    _dir: tempfile::TempDir,
    fake: Fake,
    printer: PrinterHandle,
    library: Library,
    store: Store,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

async fn room() -> Room {
    room_with(LibraryLimits { min_free: 0, ..LibraryLimits::default() }).await
}

async fn room_with(limits: LibraryLimits) -> Room {
    let (dir, fake, store) = (tempfile::tempdir().unwrap(), Fake::new(), Store::in_memory());
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let printer = fake.connect(fake::caps(), &tasks, &cancel);
    let mut watch = printer.watch();
    watch.wait_for(|state| state.link.phase == LinkPhase::Online).await.unwrap();
    let root = dir.path().join("gcodes");
    let library =
        Library::start(root, limits, printer.clone(), store.clone(), &tasks, cancel.clone()).unwrap();
    Room { _dir: dir, fake, printer, library, store, tasks, cancel }
}

async fn put(
    library: &Library,
    directory: &str,
    name: &str,
    content: Vec<u8>,
) -> Result<Uploaded, LibraryError> {
    let mut upload = library.begin_upload(directory, name).await?;
    for piece in content.chunks(1000) {
        upload.write(Bytes::copy_from_slice(piece)).await?;
    }
    upload.finish(None, None).await
}

async fn paths(library: &Library) -> Vec<String> {
    library.list().await.unwrap().into_iter().filter(|e| !e.on_printer).map(|entry| entry.path).collect()
}

fn hidden_leftovers(room: &Room) -> usize {
    std::fs::read_dir(room.library.root().join(names::INCOMING)).unwrap().count()
}

const TWO: &[(u32, &str, &str)] = &[(1, "PLA", "#FF0000"), (2, "PETG", "#00FF00")];

#[tokio::test]
async fn plain_gcode_arrives_whole_with_its_record_and_pictures_of_its_own() {
    let room = room().await;
    let mut events = room.library.events();
    let done = put(&room.library, "a/b c", "Würfel 方块.gcode", gcode()).await.unwrap();
    assert_eq!(done.entry.path, "a/b c/Würfel 方块.gcode");
    assert_eq!(done.printable, vec![done.entry.clone()]);
    assert_eq!(paths(&room.library).await, ["a", "a/b c", "a/b c/Würfel 方块.gcode"]);
    let record = room.library.record(&done.entry.path).await.unwrap();
    assert!(record.metadata.estimated_time_s.is_some() && record.plate.is_none());
    assert_eq!(std::fs::read(room.library.open(&done.entry.path).await.unwrap()).unwrap(), gcode());
    let actions: Vec<_> = (0..3).map(|_| events.try_recv().unwrap().action).collect();
    use LibraryAction::*;
    assert_eq!(actions, [CreateDirectory, CreateDirectory, CreateFile]);
    assert_eq!(hidden_leftovers(&room), 0);
    let known = room.library.md5(record.source.clone()).await.unwrap();
    assert_eq!(known, disk::digest_of::<md5::Md5>(&record.source).unwrap());
}

#[tokio::test]
async fn every_plate_is_listed_as_gcode_with_figures_of_its_own() {
    let room = room().await;
    let mut upload = room.library.begin_upload("", "cube.gcode.3mf").await.unwrap();
    upload.write(archive(TWO).into()).await.unwrap();
    let done = upload.finish(None, Some(2)).await.unwrap();
    let printable: Vec<_> = done.printable.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(printable, ["cube_plate_2.gcode", "cube.gcode"]);
    assert_eq!(done.entry.kind, EntryKind::Other);
    assert_eq!(paths(&room.library).await, ["cube.gcode", "cube.gcode.3mf", "cube_plate_2.gcode"]);
    let second = room.library.record("cube_plate_2.gcode").await.unwrap();
    assert_eq!((second.plate, second.metadata.estimated_time_s), (Some(2), Some(200)));
    assert_eq!(second.metadata.filament_total_mm, Some(2000.0));
    let text = std::fs::read_to_string(room.library.open("cube_plate_2.gcode").await.unwrap()).unwrap();
    assert!(text.contains("; plate 2"));
    let job = room.library.job_file("cube.gcode.3mf").await.unwrap();
    assert_eq!((job.plate, job.chosen_plate, job.archive), (None, Some(2), true));
}

#[tokio::test]
async fn a_real_file_takes_a_published_name_and_names_stay_over_restarts() {
    let room = room().await;
    put(&room.library, "", "cube.3mf", archive(&TWO[..1])).await.unwrap();
    put(&room.library, "", "cube.gcode.3mf", archive(&TWO[..1])).await.unwrap();
    let names = ["cube.3mf", "cube.gcode", "cube.gcode.3mf", "cube_plate_1.gcode"];
    assert_eq!(paths(&room.library).await, names);
    let mut events = room.library.events();
    put(&room.library, "", "cube.gcode", gcode()).await.unwrap();
    // The plate leaves its name before the file takes it: clients that follow would move the file away.
    let moved = events.recv().await.unwrap();
    assert_eq!((moved.action, moved.source.as_deref()), (LibraryAction::MoveFile, Some("cube.gcode")));
    assert_eq!(moved.entry.path, "cube_plate_1_2.gcode");
    let taken = events.recv().await.unwrap();
    assert_eq!((taken.action, taken.entry.path.as_str()), (LibraryAction::CreateFile, "cube.gcode"));
    let before = paths(&room.library).await;
    assert_eq!(room.library.record("cube.gcode").await.unwrap().plate, None);
    let again = Library::start(
        room.library.root().to_owned(),
        LibraryLimits { min_free: 0, ..LibraryLimits::default() },
        room.printer.clone(),
        room.store.clone(),
        &room.tasks,
        room.cancel.clone(),
    )
    .unwrap();
    assert_eq!(paths(&again).await, before);
    let uuid = |library: &Library| {
        let library = library.clone();
        async move { library.record("cube.3mf").await.unwrap().uuid.clone() }
    };
    assert_eq!(uuid(&again).await, uuid(&room.library).await);
}

#[tokio::test]
async fn what_is_no_print_file_is_refused_with_the_reason_and_leaves_nothing() {
    let room = room().await;
    let mut unsliced = archive(&[]);
    unsliced.truncate(unsliced.len());
    let mut cut = archive(TWO);
    cut.truncate(cut.len() / 2);
    let cases = [
        ("a.3mf", unsliced, "not sliced"),
        ("b.gcode.3mf", cut, "export it again"),
        ("c.gcode", archive(TWO), ".gcode.3mf"),
        ("d.3mf", gcode(), "no 3MF"),
        ("e.gcode.3mf", Vec::new(), "empty"),
        ("f.gcode", b"GCDE\x01\x00".to_vec(), "binary"),
        ("g.gcode", vec![0; 100], "binary data"),
    ];
    for (name, content, why) in cases {
        let error = put(&room.library, "x", name, content).await.unwrap_err();
        assert!(matches!(&error, LibraryError::BadFile(text) if text.contains(why)), "{name}: {error}");
    }
    for name in ["a.txt", "../a.gcode", "x/y.gcode", ".a.gcode", "", "a.ufx", ".ufp"] {
        assert!(matches!(room.library.begin_upload("", name).await, Err(LibraryError::BadName(_))), "{name}");
    }
    assert!(matches!(room.library.begin_upload("printer", "a.gcode").await, Err(LibraryError::BadName(_))));
    assert_eq!((paths(&room.library).await.len(), hidden_leftovers(&room)), (0, 0));
}

#[tokio::test]
async fn a_new_file_without_a_line_is_kept_and_cannot_be_printed() {
    let room = room().await;
    put(&room.library, "", "new.gcode", Vec::new()).await.unwrap();
    let error = room.library.job_file("new.gcode").await.err();
    assert!(matches!(&error, Some(LibraryError::BadFile(text)) if text.contains("empty")), "{error:?}");
    put(&room.library, "", "new.gcode", gcode()).await.unwrap();
    assert!(room.library.job_file("new.gcode").await.is_ok());
}

#[tokio::test]
async fn limits_checksums_and_abandoned_uploads_leave_nothing() {
    let room = room_with(LibraryLimits { max_upload: 5000, min_free: 0 }).await;
    let error = put(&room.library, "", "big.gcode", vec![b';'; 6000]).await.unwrap_err();
    assert!(matches!(error, LibraryError::TooLarge(_)));
    let upload = |name: &'static str| async {
        let mut upload = room.library.begin_upload("", name).await.unwrap();
        upload.write(Bytes::from_static(b"G28\n")).await.unwrap();
        upload
    };
    drop(upload("gone.gcode").await);
    let wrong = upload("sum.gcode").await.finish(Some(&"0".repeat(64)), None).await;
    assert!(matches!(wrong, Err(LibraryError::Checksum(_))));
    let sum = "5D2A2C6F2C5C9A4A8A5E1E3A1B0A5C0D"; // of the wrong length: no match either
    assert!(upload("sum.gcode").await.finish(Some(sum), None).await.is_err());
    use sha2::Digest;
    let right = disk::hex(&sha2::Sha256::digest(b"G28\n")).to_uppercase();
    upload("ok.gcode").await.finish(Some(&right), None).await.unwrap();
    assert_eq!((paths(&room.library).await, hidden_leftovers(&room)), (vec!["ok.gcode".to_owned()], 0));
    let full = room_with(LibraryLimits { max_upload: 5000, min_free: u64::MAX }).await;
    assert!(matches!(full.library.begin_upload("", "a.gcode").await, Err(LibraryError::Full(_))));
}

#[tokio::test]
async fn folders_moves_copies_and_deletions() {
    let room = room().await;
    let library = &room.library;
    library.make_directory("one/two").await.unwrap();
    assert!(matches!(library.make_directory("one").await, Err(LibraryError::Exists(_))));
    put(library, "one/two", "cube.gcode.3mf", archive(&TWO[..1])).await.unwrap();
    put(library, "one", "box.gcode", gcode()).await.unwrap();
    assert!(matches!(library.remove_directory("one", false).await, Err(LibraryError::Exists(_))));
    library.rename("one/two", "three").await.unwrap();
    assert_eq!(
        paths(library).await,
        ["one", "one/box.gcode", "three", "three/cube.gcode", "three/cube.gcode.3mf"]
    );
    assert_eq!(library.rename("one/box.gcode", "three").await.unwrap().path, "three/box.gcode");
    assert!(matches!(
        library.rename("three/box.gcode", "three/cube.gcode").await,
        Err(LibraryError::Exists(_))
    ));
    assert!(matches!(
        library.rename("three/box.gcode", "three/box.3mf").await,
        Err(LibraryError::BadName(_))
    ));
    assert!(matches!(library.rename("three", "three/sub").await, Err(LibraryError::BadName(_))));
    assert_eq!(library.rename("three/cube.gcode", "three/Neu.gcode").await.unwrap().path, "three/Neu.gcode");
    assert_eq!(library.rename("three/Neu.gcode", "one/Neu.gcode").await.unwrap().path, "one/Neu.gcode");
    assert_eq!(library.copy("three/box.gcode", "one/copy.gcode").await.unwrap().path, "one/copy.gcode");
    assert_eq!(library.copy("one/Neu.gcode", "one/twin.gcode").await.unwrap().path, "one/twin.gcode");
    assert_eq!(library.delete("one/Neu.gcode").await.unwrap().size, 0);
    let left = ["one", "one/copy.gcode", "one/twin.gcode", "one/twin.gcode.3mf", "three", "three/box.gcode"];
    assert_eq!(paths(library).await, left);
    assert!(library.record("one/copy.gcode").await.unwrap().metadata.estimated_time_s.is_some());
    library.remove_directory("one", true).await.unwrap();
    assert_eq!(paths(library).await, ["three", "three/box.gcode"]);
    assert_eq!(room.store.list("library/one").unwrap().len(), 1);
    assert!(matches!(library.delete("nothing.gcode").await, Err(LibraryError::NotFound(_))));
}

#[tokio::test]
async fn a_file_takes_the_place_of_a_named_one_and_nothing_of_that_is_left() {
    let room = room().await;
    let library = &room.library;
    put(library, "", "box.gcode", gcode()).await.unwrap();
    put(library, "", "old.gcode", b"G28\nM105\n".to_vec()).await.unwrap();
    put(library, "", "two.3mf", archive(TWO)).await.unwrap();
    put(library, "", "one.3mf", archive(&TWO[..1])).await.unwrap();
    put(library, "d", "box.gcode", b"G28\n".to_vec()).await.unwrap();
    let on_disk = |path: &str| std::fs::metadata(library.root().join(path)).unwrap().len();
    let box_size = on_disk("box.gcode");
    let mut events = library.events();
    assert_eq!(library.copy("box.gcode", "old.gcode").await.unwrap().size, box_size);
    assert_eq!(events.recv().await.unwrap().action, LibraryAction::ModifyFile);
    assert!(library.record("old.gcode").await.unwrap().metadata.estimated_time_s.is_some());
    // Into a folder only a copy replaces what happens to have the name, as at Moonraker.
    assert!(matches!(library.rename("box.gcode", "d").await, Err(LibraryError::Exists(_))));
    assert_eq!(library.copy("box.gcode", "d").await.unwrap().size, box_size);
    assert!(matches!(library.copy("box.gcode", "box.gcode").await, Err(LibraryError::Exists(_))));
    assert_eq!(on_disk("box.gcode"), box_size);
    library.rename("one.3mf", "two.3mf").await.unwrap();
    let listed = paths(library).await;
    assert_eq!(listed, ["box.gcode", "d", "d/box.gcode", "old.gcode", "two.3mf", "two.gcode"]);
    let elegoo = include_bytes!("../../fixtures/gcode/constructed/elegooslicer.gcode").to_vec();
    let orca = include_bytes!("../../fixtures/gcode/constructed/orcaslicer.gcode").to_vec();
    put(library, "", "shown.gcode", elegoo).await.unwrap();
    put(library, "", "new.gcode", orca).await.unwrap();
    library.rename("new.gcode", "shown.gcode").await.unwrap();
    let wanted: Vec<_> =
        library.record("shown.gcode").await.unwrap().thumbnails.iter().map(|p| p.width).collect();
    assert_eq!(wanted, [32, 48]);
    let left = std::fs::read_dir(library.root().join(names::THUMBNAILS)).unwrap().count();
    assert_eq!(left, 2, "the pictures of the file that was replaced are gone");
    let kept = room.store.list("library/one").unwrap();
    assert_eq!(kept.len(), 5, "one record for each file: {kept:?}");
    room.printer.writer().job(|job| {
        job.phase = crate::model::JobPhase::Transferring;
        job.file = Some("old.gcode".into());
    });
    for way in [library.rename("box.gcode", "old.gcode").await, library.copy("box.gcode", "old.gcode").await]
    {
        assert!(matches!(way, Err(LibraryError::InUse(_))), "{way:?}");
    }
}

#[tokio::test]
async fn a_folder_is_copied_with_all_that_it_holds() {
    let room = room().await;
    let library = &room.library;
    library.make_directory("a/empty").await.unwrap();
    put(library, "a/deep", "cube.gcode.3mf", archive(TWO)).await.unwrap();
    put(library, "a", "box.gcode", gcode()).await.unwrap();
    library.rename("a/deep/cube_plate_2.gcode", "a/deep/Zwei.gcode").await.unwrap();
    let copy = library.copy("a", "b").await.unwrap();
    assert_eq!((copy.path.as_str(), copy.kind), ("b", EntryKind::Directory));
    let below =
        ["", "/box.gcode", "/deep", "/deep/cube.gcode", "/deep/cube.gcode.3mf", "/deep/Zwei.gcode", "/empty"];
    let expected: Vec<String> = ["a", "b"]
        .iter()
        .flat_map(|folder| below.iter().map(move |rest| format!("{folder}{rest}")))
        .collect();
    assert_eq!(paths(library).await, expected);
    let (old, new) = (
        library.record("a/deep/Zwei.gcode").await.unwrap(),
        library.record("b/deep/Zwei.gcode").await.unwrap(),
    );
    assert_eq!(new.metadata, old.metadata);
    assert_ne!(new.uuid, old.uuid);
    for picture in &new.thumbnails {
        assert!(library.root().join("b/deep").join(&picture.relative_path).is_file(), "{picture:?}");
    }
    // Into a folder that exists, and not into itself.
    assert_eq!(library.copy("a/deep", "b/empty").await.unwrap().path, "b/empty/deep");
    assert!(matches!(library.copy("a", "a/deep/x").await, Err(LibraryError::BadName(_))));
    assert!(matches!(library.copy("a/deep", "b").await, Err(LibraryError::Exists(_))));
    library.delete("a/box.gcode").await.unwrap();
    assert!(library.root().join("b/box.gcode").is_file());
    assert_eq!(std::fs::read_dir(library.root().join(names::INCOMING)).unwrap().count(), 0);
}

#[tokio::test]
async fn a_folder_that_was_cleaned_up_by_hand_takes_uploads_again() {
    let room = room().await;
    std::fs::remove_dir_all(room.library.root()).unwrap();
    put(&room.library, "", "new.gcode", b"G28\n".to_vec()).await.unwrap();
    assert_eq!(std::fs::read(room.library.root().join("new.gcode")).unwrap(), b"G28\n");
}

/// Over a network share, for one: what is checked before a start must be what is sent.
#[tokio::test]
async fn a_file_changed_or_removed_by_hand_is_seen_before_it_is_printed() {
    let room = room().await;
    put(&room.library, "", "part.gcode", b"; layer_height = 0.2\nG28\n".to_vec()).await.unwrap();
    let before = room.library.job_file("part.gcode").await.unwrap();
    let digest = room.library.md5(before.local.clone().unwrap()).await.unwrap();
    let file = room.library.root().join("part.gcode");
    std::fs::write(&file, b"; layer_height = 0.3\nG28 X\n").unwrap();
    let after = room.library.job_file("part.gcode").await.unwrap();
    assert_eq!((after.size, after.metadata.layer_height), (27, Some(0.3)));
    assert_ne!(after.uuid, before.uuid);
    assert_ne!(room.library.md5(after.local.unwrap()).await.unwrap(), digest);
    std::fs::remove_file(&file).unwrap();
    let gone = room.library.job_file("part.gcode").await.unwrap_err();
    assert!(matches!(gone, LibraryError::NotFound(_)), "{gone}");
    assert_eq!(paths(&room.library).await, [""; 0]);
}

#[tokio::test]
async fn one_of_several_plates_is_only_taken_off_the_list() {
    let room = room().await;
    put(&room.library, "", "cube.3mf", archive(TWO)).await.unwrap();
    room.library.delete("cube.gcode").await.unwrap();
    assert_eq!(paths(&room.library).await, ["cube.3mf", "cube_plate_2.gcode"]);
    room.library.delete("cube_plate_2.gcode").await.unwrap();
    assert!(paths(&room.library).await.is_empty() && !room.library.root().join("cube.3mf").exists());
}

#[tokio::test]
async fn what_is_printing_is_left_alone() {
    let room = room().await;
    put(&room.library, "d", "cube.3mf", archive(&TWO[..1])).await.unwrap();
    room.printer.writer().job(|job| {
        job.phase = crate::model::JobPhase::Transferring;
        job.file = Some("d/cube.gcode".into());
    });
    for path in ["d/cube.gcode", "d/cube.3mf"] {
        assert!(matches!(room.library.delete(path).await, Err(LibraryError::InUse(_))), "{path}");
        assert!(matches!(room.library.rename(path, "x.gcode").await, Err(LibraryError::InUse(_))), "{path}");
    }
    assert!(matches!(room.library.remove_directory("d", false).await, Err(LibraryError::Exists(_))));
    assert!(matches!(room.library.remove_directory("d", true).await, Err(LibraryError::InUse(_))));
    assert!(matches!(room.library.begin_upload("d", "cube.3mf").await, Err(LibraryError::InUse(_))));
}

#[tokio::test]
async fn files_put_there_by_hand_are_found_and_links_are_not_followed() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = dir.path().join("gcodes");
    std::fs::create_dir_all(root.join("sub/.hidden")).unwrap();
    std::fs::write(root.join("sub/hand.gcode"), gcode()).unwrap();
    std::fs::write(root.join("sub/hand.3mf"), archive(TWO)).unwrap();
    std::fs::write(root.join("bad.3mf"), b"PK\x03\x04 nothing").unwrap();
    std::fs::write(outside.path().join("secret.gcode"), gcode()).unwrap();
    std::os::unix::fs::symlink(outside.path(), root.join("link")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret.gcode"), root.join("link.gcode")).unwrap();
    let (tasks, cancel, store) = (TaskTracker::new(), CancellationToken::new(), Store::in_memory());
    let printer = Fake::new().connect(fake::caps(), &tasks, &cancel);
    let limits = LibraryLimits { min_free: 0, ..LibraryLimits::default() };
    let library = Library::start(root, limits, printer, store, &tasks, cancel).unwrap();
    assert_eq!(library.record("sub/hand.3mf").await.unwrap().metadata.plates.len(), 2);
    let bad = library.record("bad.3mf").await.unwrap_err();
    assert!(matches!(bad, LibraryError::BadFile(_)), "{bad}");
    let listed = [
        "bad.3mf",
        "sub",
        "sub/hand.3mf",
        "sub/hand.gcode",
        "sub/hand_plate_1.gcode",
        "sub/hand_plate_2.gcode",
    ];
    assert_eq!(paths(&library).await, listed);
    assert!(library.open("link/secret.gcode").await.is_err());
    assert!(matches!(put(&library, "link", "x.gcode", gcode()).await, Err(LibraryError::BadName(_))));
    std::fs::write(library.root().join("late.gcode"), gcode()).unwrap();
    assert!(library.record("late.gcode").await.is_err());
    library.rescan("late.gcode").await.unwrap();
    assert!(paths(&library).await.contains(&"late.gcode".to_owned()));
}

/// Cura's Moonraker plugin can send its own format; the real server unpacks it.
#[tokio::test]
async fn a_package_of_cura_is_kept_as_its_gcode_and_picture() {
    use std::io::Write;
    let room = room().await;
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbaImage::new(64, 48).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let png = png.into_inner();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let material =
        br#"<fdmmaterial><metadata><name><material>PETG</material></name></metadata></fdmmaterial>"#;
    for (name, content) in [
        ("/3D/model.gcode", gcode().as_slice()),
        ("/Metadata/thumbnail.png", png.as_slice()),
        ("/Materials/generic_petg.xml.fdm_material", material),
    ] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    let packed = zip.finish().unwrap().into_inner();
    let done = put(&room.library, "cura", "Box v2.UFP", packed.clone()).await.unwrap();
    assert_eq!((done.entry.path.as_str(), done.entry.kind), ("cura/Box v2.gcode", EntryKind::Printable));
    assert_eq!(std::fs::read(room.library.open(&done.entry.path).await.unwrap()).unwrap(), gcode());
    let record = room.library.record(&done.entry.path).await.unwrap();
    assert_eq!(record.metadata.filament_types, ["PETG"]);
    let picture = record.thumbnails.first().expect("the picture of the package");
    assert!(room.library.open(&format!("cura/{}", picture.relative_path)).await.unwrap().exists());
    assert_eq!(hidden_leftovers(&room), 0);
    for wrong in [b"G28\n".to_vec(), archive(TWO), packed[..packed.len() / 2].to_vec()] {
        let refused = put(&room.library, "", "wrong.ufp", wrong).await;
        assert!(matches!(refused, Err(LibraryError::BadFile(_))), "{refused:?}");
    }
    let small = room_with(LibraryLimits { min_free: 0, max_upload: 300_000 }).await;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("/3D/model.gcode", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(&b"G1 X1\n".repeat(100_000)).unwrap();
    let refused = put(&small.library, "", "large.ufp", zip.finish().unwrap().into_inner()).await;
    assert!(matches!(refused, Err(LibraryError::BadFile(_))), "{refused:?}");
    assert_eq!(
        (paths(&room.library).await.len(), hidden_leftovers(&room), hidden_leftovers(&small)),
        (2, 0, 0)
    );
}

#[tokio::test]
async fn pictures_are_served_and_follow_their_file() {
    let room = room().await;
    let orca = include_bytes!("../../fixtures/gcode/constructed/orcaslicer.gcode").to_vec();
    put(&room.library, "", "orca.gcode", orca).await.unwrap();
    let record = room.library.record("orca.gcode").await.unwrap();
    let first = record.thumbnails.first().expect("the fixture holds a picture");
    assert!(room.library.open(&first.relative_path).await.unwrap().exists());
    room.library.rename("orca.gcode", "moved.gcode").await.unwrap();
    assert!(room.library.open(&first.relative_path).await.is_err());
    let moved = room.library.record("moved.gcode").await.unwrap();
    let png = room.library.open(&moved.thumbnails[0].relative_path).await.unwrap();
    assert_eq!(std::fs::metadata(png).unwrap().len(), first.size);
    room.library.delete("moved.gcode").await.unwrap();
    assert!(!room.library.root().join(names::THUMBNAILS).exists());
    assert!(room.library.open(".thumbs/../../x").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_printers_own_files_are_listed_once_fetched_and_deleted() {
    let room = room().await;
    room.fake
        .machine()
        .files
        .extend([("model/Old.gcode.3mf".to_owned(), 10), ("plain.gcode".to_owned(), 20)]);
    let listed = room.library.directory("printer").await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    let all: Vec<_> =
        room.library.list().await.unwrap().into_iter().map(|entry| (entry.path, entry.kind)).collect();
    assert!(all.contains(&("printer/model/Old.gcode".into(), EntryKind::Printable)), "{all:?}");
    assert!(all.contains(&("printer/model/Old.gcode.3mf".into(), EntryKind::Other)));
    assert_eq!(room.fake.machine().listings, 1);
    let copy = room.library.open("printer/plain.gcode").await.unwrap();
    assert_eq!(std::fs::read(copy).unwrap(), b"plain.gcode");
    let job = room.library.job_file("printer/model/Old.gcode").await.unwrap();
    assert_eq!((job.local, job.stored.as_str(), job.archive), (None, "model/Old.gcode.3mf", true));
    room.fake.stage(DeviceStage::Printing);
    tokio::time::advance(std::time::Duration::from_secs(600)).await;
    room.library.list().await.unwrap();
    room.library.directory("printer").await.unwrap();
    assert_eq!(room.fake.machine().listings, 1, "nothing is listed while printing");
    assert!(matches!(room.library.delete("printer/plain.gcode").await, Err(LibraryError::InUse(_))));
    room.fake.stage(DeviceStage::Idle);
    let mut events = room.library.events();
    room.library.delete("printer/plain.gcode").await.unwrap();
    assert_eq!(room.fake.machine().deleted, ["plain.gcode"]);
    let gone = timeout(std::time::Duration::from_secs(5), events.recv()).await.unwrap().unwrap();
    assert_eq!((gone.action, gone.entry.path.as_str()), (LibraryAction::DeleteFile, "printer/plain.gcode"));
    assert!(room.library.rename("printer/model/Old.gcode", "x.gcode").await.is_err());
}

/// A stick that was just plugged in, on a printer that tells it only when it is asked.
#[tokio::test(start_paused = true)]
async fn who_looks_at_a_fresh_listing_makes_the_printer_be_asked_for_changes() {
    let room = room().await;
    room.library.directory("printer").await.unwrap();
    let looks = room.fake.machine().looks;
    room.library.directory("printer").await.unwrap();
    assert_eq!(room.fake.machine().looks, looks + 1);
    assert_eq!(room.fake.machine().listings, 1);
    room.fake.machine().files.insert("usb/part.gcode".to_owned(), 10);
    let mut events = room.library.events();
    room.fake.files_changed();
    let seen = async { while events.recv().await.unwrap().entry.path != "printer/usb/part.gcode" {} };
    timeout(std::time::Duration::from_secs(5), seen).await.expect("without another question");
    assert_eq!(room.fake.machine().listings, 2);
    room.fake.stage(DeviceStage::Printing);
    let looks = room.fake.machine().looks;
    room.library.directory("printer").await.unwrap();
    assert_eq!(room.fake.machine().looks, looks, "not while printing");
}

#[tokio::test(start_paused = true)]
async fn the_printers_own_files_are_renamed_and_put_into_folders() {
    let room = room().await;
    room.fake.machine().files.extend([("Old.gcode.3mf".to_owned(), 10), ("Other.gcode.3mf".to_owned(), 11)]);
    let made = room.library.make_directory("printer/parts").await.unwrap();
    assert_eq!((made.kind, made.path.as_str()), (EntryKind::Directory, "printer/parts"));
    let moved = room.library.rename("printer/Old.gcode", "printer/parts/New.gcode").await.unwrap();
    assert_eq!(moved.path, "printer/parts/New.gcode", "the plate is shown under its new name");
    assert!(room.fake.machine().files.contains_key("parts/New.gcode.3mf"), "the archive keeps its ending");
    let moved = room.library.rename("printer/parts/New.gcode.3mf", "printer").await.unwrap();
    assert_eq!(moved.path, "printer/New.gcode.3mf");
    for (from, to) in [
        ("printer/New.gcode", "printer/Other.gcode"),
        ("printer/New.gcode", "printer/New.txt"),
        ("printer/New.gcode", "printer/nowhere/New.gcode"),
        ("printer/New.gcode", "New.gcode"),
        ("printer/ghost.gcode", "printer/x.gcode"),
    ] {
        assert!(room.library.rename(from, to).await.is_err(), "{from} to {to}");
    }
    room.fake.stage(DeviceStage::Printing);
    assert!(matches!(
        room.library.rename("printer/New.gcode", "printer/x.gcode").await,
        Err(LibraryError::InUse(_))
    ));
    room.fake.stage(DeviceStage::Idle);
    room.library.remove_directory("printer/parts", false).await.unwrap();
    assert!(room.library.directory("printer/parts").await.is_err());
    assert_eq!(room.fake.machine().listings, 1, "nothing is listed anew for it");
}

#[test]
fn rows_survive_the_store() {
    let mut row = FileRow::new(names::Content::Archive, 5, 1.5);
    row.published.insert(1, "a.gcode".into());
    row.prints.insert(0, (2.0, "000001".into()));
    let text = serde_json::to_value(&row).unwrap();
    assert_eq!(serde_json::from_value::<FileRow>(text).unwrap(), row);
    assert!(serde_json::from_value::<FileRow>(json!({"size": "x"})).is_err());
}

/// Polls so many times, and never again.
async fn leave(work: impl Future, steps: usize) {
    let mut work = std::pin::pin!(work);
    for _ in 0..steps {
        if futures_util::poll!(&mut work).is_ready() {
            return;
        }
        // Work off the runtime needs real time to get ahead.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
    }
}

#[tokio::test]
async fn who_leaves_in_the_middle_of_an_upload_or_a_move_leaves_disk_and_list_at_one() {
    for steps in 1..30 {
        let room = room().await;
        put(&room.library, "", "old.gcode", gcode()).await.unwrap();
        leave(put(&room.library, "", "fresh.gcode", gcode()), steps).await;
        leave(room.library.rename("old.gcode", "moved.gcode"), steps).await;
        room.cancel.cancel();
        room.tasks.close();
        room.tasks.wait().await;
        drop(room.library.inner.blocking.acquire_many(2).await.unwrap());
        for name in ["old.gcode", "fresh.gcode", "moved.gcode"] {
            let listed = room.library.index().find(name).is_some();
            assert_eq!(room.library.root().join(name).exists(), listed, "{name} after {steps} steps");
        }
    }
}
