use serde_json::json;

use super::*;

fn file() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state").join("moongate.redb");
    (dir, path)
}

#[tokio::test]
async fn what_was_written_durably_survives_a_kill_and_the_rest_a_clean_end() {
    let (_dir, path) = file();
    let store = Store::open(&path).unwrap();
    store.put_durably("jobs", "a", json!({"n": 1})).await.unwrap();
    store.kill();
    store.put("jobs", "b", json!(2)).unwrap();
    assert_eq!(store.get("jobs", "b").unwrap(), Some(json!(2)));
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.list("jobs").unwrap(), vec![("a".to_owned(), json!({"n": 1}))]);
    store.put("jobs", "c", json!([null])).unwrap();
    assert!(store.delete("jobs", "a").unwrap());
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.list("jobs").unwrap(), vec![("c".to_owned(), json!([null]))]);
}

#[tokio::test]
async fn an_emptied_space_is_gone() {
    let store = Store::in_memory();
    store.put("one", "k", json!(true)).unwrap();
    store.put("two", "k", json!(true)).unwrap();
    assert!(!store.delete("two", "missing").unwrap());
    store.delete("one", "k").unwrap();
    assert_eq!(store.spaces().unwrap(), ["two"]);
    assert_eq!(store.get("one", "k").unwrap(), None);
    store.flush().await.unwrap();
}

#[test]
fn a_file_of_something_else_or_of_a_running_gateway_is_refused_and_kept() {
    let (_dir, path) = file();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let junk = b"this is not a database".repeat(500);
    std::fs::write(&path, &junk).unwrap();
    let error = Store::open(&path).err().unwrap();
    assert!(error.to_string().contains("moongate.redb") && error.to_string().contains("Move the file away"));
    assert_eq!(std::fs::read(&path).unwrap(), junk);
    std::fs::remove_file(&path).unwrap();
    let _running = Store::open(&path).unwrap();
    let second = Store::open(&path).err().unwrap();
    assert!(second.to_string().contains("another gateway"), "{second}");
}

#[test]
fn a_damaged_file_is_told_and_never_brings_the_process_down() {
    let (_dir, path) = file();
    let store = Store::open(&path).unwrap();
    for n in 0..200 {
        store.put("space", &format!("key{n}"), json!("x".repeat(100))).unwrap();
    }
    drop(store);
    let good = std::fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut bad = good.clone();
        bad[at..(at + 64).min(good.len())].fill(0xA5);
        std::fs::write(&path, &bad).unwrap();
        match Store::open(&path) {
            Ok(store) => assert!(store.list("space").unwrap().len() <= 200),
            Err(error) => assert!(matches!(error, StoreError::Open { .. })),
        }
    }
}

#[tokio::test]
async fn the_file_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, path) = file();
    let _store = Store::open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn writers_on_many_tasks_lose_nothing() {
    let (_dir, path) = file();
    let store = Store::open(&path).unwrap();
    let tasks = (0..20).map(|n| {
        let store = store.clone();
        async move { store.put_durably("s", &format!("{n:02}"), json!(n)).await }
    });
    for result in futures_util::future::join_all(tasks).await {
        result.unwrap();
    }
    store.kill();
    drop(store);
    assert_eq!(Store::open(&path).unwrap().list("s").unwrap().len(), 20);
}

/// A disk that can be made to fail, and keeps what it took.
#[derive(Debug, Clone, Default)]
struct Faulty {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<std::sync::atomic::AtomicBool>,
    /// Makes the library panic in the middle of a commit.
    panics: Arc<std::sync::atomic::AtomicBool>,
}

impl Faulty {
    fn disk(&self) -> Disk {
        let backend = self.clone();
        let open =
            move || redb::Database::builder().create_with_backend(backend.clone()).map_err(|e| e.to_string());
        Disk::with(Box::new(open)).unwrap()
    }

    fn store(&self) -> Store {
        Store::start(self.disk()).unwrap()
    }

    fn check(&self) -> std::io::Result<()> {
        match self.full.load(std::sync::atomic::Ordering::SeqCst) {
            true => Err(std::io::Error::other("No space left on device")),
            false => Ok(()),
        }
    }
}

impl redb::StorageBackend for Faulty {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let from = offset as usize;
        out.copy_from_slice(bytes.get(from..from + out.len()).ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.check()?;
        self.bytes.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.check()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.check()?;
        assert!(!self.panics.load(std::sync::atomic::Ordering::SeqCst), "a fault of the library");
        let from = offset as usize;
        self.bytes.lock().unwrap()[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_is_told_memory_serves_on_and_everything_arrives_later() {
    let backend = Faulty::default();
    let store = backend.store();
    store.put_durably("s", "before", json!(1)).await.unwrap();
    backend.full.store(true, std::sync::atomic::Ordering::SeqCst);
    let error = store.put_durably("s", "during", json!(2)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Write(text) if text.contains("No space left")), "{error}");
    assert_eq!(store.put("s", "later", json!(3)), Err(error.clone()));
    assert_eq!((store.trouble(), store.list("s").unwrap().len()), (Some(error), 3));
    backend.full.store(false, std::sync::atomic::Ordering::SeqCst);
    store.put_durably("s", "after", json!(4)).await.unwrap();
    assert_eq!(store.trouble(), None);
    store.kill();
    drop(store);
    assert_eq!(backend.disk().load().unwrap()["s"].len(), 4);
}

#[tokio::test]
async fn a_commit_that_panics_is_a_failed_one() {
    let backend = Faulty::default();
    let store = backend.store();
    backend.panics.store(true, std::sync::atomic::Ordering::SeqCst);
    let (one, other) =
        tokio::join!(store.put_durably("s", "a", json!(1)), store.put_durably("s", "b", json!(2)));
    assert!(matches!((one, other), (Err(StoreError::Write(_)), Err(StoreError::Write(_)))));
    backend.panics.store(false, std::sync::atomic::Ordering::SeqCst);
    store.put_durably("s", "c", json!(3)).await.unwrap();
    store.kill();
    drop(store);
    assert_eq!(backend.disk().load().unwrap()["s"].len(), 3);
}

#[tokio::test]
async fn compaction_gives_back_space_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let store = Store::open(&path).unwrap();
    let large = json!("x".repeat(4 << 20));
    for key in ["a", "b", "c"] {
        store.put("space", key, large.clone()).unwrap();
    }
    store.flush().await.unwrap();
    for key in ["a", "b"] {
        store.delete("space", key).unwrap();
    }
    store.flush().await.unwrap();
    let (before, after) = store.compact().await.unwrap();
    assert!(after < before, "{before} to {after}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), after);
    store.put_durably("space", "d", json!(1)).await.unwrap();
    drop(store);
    let store = Store::open(&path).unwrap();
    let keys: Vec<String> = store.list("space").unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["c", "d"]);
}

#[tokio::test]
async fn a_change_that_is_on_disk_before_the_thread_wakes_does_not_make_it_miss_the_next() {
    let backend = Faulty::default();
    let store = backend.store();
    let pause = || tokio::time::sleep(Duration::from_millis(20));
    while !store.values().idle {
        pause().await;
    }
    // As `set` does, with somebody else's commit before the thread has come to look.
    store.values().idle = false;
    store.owner.shared.changed.notify_one();
    tokio::time::sleep(Duration::from_millis(100)).await;
    store.put("s", "later", json!(1)).unwrap();
    let on_disk = || backend.bytes.lock().unwrap().windows(5).any(|bytes| bytes == b"later");
    for _ in 0..500 {
        if on_disk() {
            return;
        }
        pause().await;
    }
    panic!("it was never written");
}
