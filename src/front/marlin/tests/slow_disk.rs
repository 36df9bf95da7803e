//! The port while the library's disk hangs.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::desk::{Changes, Desk, Sink};
use super::super::spool::{Spool, Stored};
use super::super::{MarlinConfig, Visits};
use super::*;
use crate::gcode::translate::FilamentWord;
use crate::jobs::Intended;
use crate::printer::PrinterHandle;

/// A library whose disk does a step for each permit.
struct Slow {
    printer: PrinterHandle,
    disk: Arc<Semaphore>,
    stored: Arc<Mutex<Vec<u8>>>,
    sent: mpsc::UnboundedSender<Command>,
}

struct SlowFile {
    disk: Arc<Semaphore>,
    stored: Arc<Mutex<Vec<u8>>>,
}

async fn turn(disk: &Semaphore) {
    disk.acquire().await.expect("open").forget();
}

impl Sink for SlowFile {
    fn write(&mut self, piece: Bytes) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            turn(&self.disk).await;
            self.stored.lock().expect("lock").extend_from_slice(&piece);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<String, String>> {
        Box::pin(async move {
            turn(&self.disk).await;
            Ok("file.gcode".to_owned())
        })
    }
}

struct NoNews;

impl Changes for NoNews {
    fn next(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(false))
    }
}

/// What these tests do not ask for is not there.
impl Desk for Slow {
    fn printer(&self) -> &PrinterHandle {
        &self.printer
    }
    fn send(&self, command: Command) -> BoxFuture<'_, Result<Option<String>, String>> {
        self.sent.send(command).expect("somebody looks");
        Box::pin(std::future::ready(Ok(None)))
    }
    fn restart(&self) -> BoxFuture<'_, Result<Option<String>, String>> {
        unreachable!()
    }
    fn pause(&self) -> BoxFuture<'_, Result<(), String>> {
        unreachable!()
    }
    fn list(&self) -> BoxFuture<'_, Result<Vec<Entry>, String>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
    fn filament(&self, _words: Vec<FilamentWord>) -> BoxFuture<'_, Result<Option<String>, String>> {
        unreachable!()
    }
    fn intend(&self) -> Intended {
        unreachable!()
    }
    fn withdraw(&self) {}
    fn start(&self, _request: StartRequest, _intended: Intended) -> BoxFuture<'_, Result<(), String>> {
        unreachable!()
    }
    fn start_streamed(&self, _path: String, _intended: Intended) -> BoxFuture<'_, Result<(), String>> {
        unreachable!()
    }
    fn delete(&self, _path: String) -> BoxFuture<'_, Result<(), String>> {
        unreachable!()
    }
    fn begin(&self, _name: String) -> BoxFuture<'_, Result<Box<dyn Sink>, String>> {
        Box::pin(async {
            turn(&self.disk).await;
            self.stored.lock().expect("lock").clear();
            let file = SlowFile { disk: self.disk.clone(), stored: self.stored.clone() };
            Ok(Box::new(file) as Box<dyn Sink>)
        })
    }
    fn names(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn remember(&self, _names: crate::front::marlin::catalog::NameChanges) {}
    fn files_changed(&self) -> Box<dyn Changes> {
        Box::new(NoNews)
    }
}

/// A client of a served port, its reads and writes on a thread of their own.
struct Client {
    file: Arc<File>,
    told: mpsc::UnboundedReceiver<String>,
}

impl Client {
    fn open(path: &std::path::Path) -> Self {
        let mut options = OpenOptions::new();
        let file =
            options.read(true).write(true).custom_flags(nix::libc::O_NOCTTY).open(path).expect("it opens");
        let file = Arc::new(file);
        let (tell, told) = mpsc::unbounded_channel();
        let mut reader = std::io::BufReader::new(file.try_clone().expect("a second descriptor"));
        std::thread::spawn(move || {
            let mut line = String::new();
            let mut byte = [0];
            // Ends with the port.
            while reader.read(&mut byte).is_ok_and(|count| count == 1) {
                match byte[0] {
                    b'\n' if tell.send(std::mem::take(&mut line)).is_err() => return,
                    b'\n' => {}
                    other => line.push(char::from(other)),
                }
            }
        });
        Self { file, told }
    }

    fn send(&self, line: &str) {
        (&*self.file).write_all(format!("{line}\n").as_bytes()).expect("it is written");
    }

    /// Lines up to the next `ok`.
    async fn ok(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = tokio::time::timeout(Duration::from_secs(20), self.told.recv()).await;
            let line = line.expect("an answer in time").expect("the port is open");
            let last = line.starts_with("ok");
            lines.push(line);
            if last {
                return lines;
            }
        }
    }
}

struct Site {
    client: Client,
    disk: Arc<Semaphore>,
    stored: Arc<Mutex<Vec<u8>>>,
    sent: mpsc::UnboundedReceiver<Command>,
    cancel: CancellationToken,
    _directory: tempfile::TempDir,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn slow(cancel: &CancellationToken) -> (Slow, mpsc::UnboundedReceiver<Command>) {
    let printer =
        crate::jobs::fake::Fake::new().connect(crate::jobs::fake::caps(), &TaskTracker::new(), cancel);
    let (tell, sent) = mpsc::unbounded_channel();
    (Slow { printer, disk: Arc::new(Semaphore::new(0)), stored: Arc::default(), sent: tell }, sent)
}

async fn site() -> Site {
    let directory = tempfile::tempdir().expect("a directory");
    let cancel = CancellationToken::new();
    let (desk, sent) = slow(&cancel);
    let (disk, stored) = (desk.disk.clone(), desk.stored.clone());
    let config = MarlinConfig { link: directory.path().join("p1s"), ..MarlinConfig::default() };
    let port = super::super::open(config, &Visits::start().expect("inotify")).expect("the port opens");
    let mut client = Client::open(port.device());
    tokio::spawn(port.serve_desk(Arc::new(desk), cancel.clone()));
    client.send("M115");
    client.ok().await;
    Site { client, disk, stored, sent, cancel, _directory: directory }
}

/// A kilobyte of a file in sixteen lines.
fn lines() -> impl Iterator<Item = String> {
    (0..).map(|number| format!("G1 X1.{number:054} E1"))
}

#[tokio::test]
async fn an_emergency_stop_is_heard_while_the_disk_hangs() {
    let mut site = site().await;
    site.client.send("M28 big.gco");
    site.client.ok().await;
    site.client.send("M112");
    let sent = tokio::time::timeout(Duration::from_secs(20), site.sent.recv()).await;
    assert_eq!(sent.expect("it is heard"), Some(Command::EmergencyStop));
}

/// Each `ok` is one line more of the host, so that a held one keeps the host back; nothing is lost or doubled.
#[tokio::test]
async fn a_host_waits_for_the_disk_and_the_file_is_whole() {
    let mut site = site().await;
    site.client.send("M28 big.gco");
    site.client.ok().await;
    let mut file = Vec::new();
    let mut lines = lines();
    let waited = loop {
        let line = lines.next().expect("endless");
        site.client.send(&line);
        file.extend_from_slice(format!("{line}\n").as_bytes());
        let answer = tokio::time::timeout(Duration::from_millis(500), site.client.told.recv()).await;
        match answer {
            Ok(answer) => assert_eq!(answer.as_deref(), Some("ok")),
            Err(_held) => break file.len(),
        }
        assert!(file.len() < 1 << 20, "a disk that takes nothing does not keep the host back");
    };
    assert!(waited > 64 * 1024, "some pieces may wait: {waited}");
    site.disk.add_permits(1000);
    assert_eq!(site.client.ok().await, ["ok"]);
    for line in lines.take(3000) {
        site.client.send(&line);
        file.extend_from_slice(format!("{line}\n").as_bytes());
        assert_eq!(site.client.ok().await, ["ok"]);
    }
    site.client.send("M29");
    assert_eq!(site.client.ok().await, ["Done saving file.", "ok"]);
    assert!(*site.stored.lock().expect("lock") == file, "the file is another");
}

#[tokio::test]
async fn a_file_given_up_takes_neither_the_one_before_it_nor_the_one_behind_it_along() {
    let cancel = CancellationToken::new();
    let (desk, _sent) = slow(&cancel);
    let (disk, stored) = (desk.disk.clone(), desk.stored.clone());
    let mut spool = Spool::new(Arc::new(desk));
    let whole = |spool: &mut Spool, text: &'static str| {
        spool.begin(text.to_owned());
        spool.write(Bytes::from_static(text.as_bytes()));
        spool.end();
    };
    whole(&mut spool, "first");
    spool.begin("given up".to_owned());
    spool.write(Bytes::from_static(b"given up"));
    assert!(spool.behind());
    spool.abort();
    disk.add_permits(3);
    assert!(matches!(spool.next().await, Stored::Piece));
    assert!(matches!(spool.next().await, Stored::Piece));
    assert!(matches!(spool.next().await, Stored::Whole(Ok(()))));
    assert_eq!(*stored.lock().expect("lock"), b"first");
    // Given up in the middle of a step that hangs.
    spool.begin("hangs".to_owned());
    let hangs = tokio::time::timeout(Duration::from_millis(20), spool.next()).await;
    assert!(hangs.is_err());
    spool.abort();
    whole(&mut spool, "third");
    disk.add_permits(3);
    for _step in 0..2 {
        assert!(matches!(spool.next().await, Stored::Piece));
    }
    assert!(matches!(spool.next().await, Stored::Whole(Ok(()))));
    assert_eq!(*stored.lock().expect("lock"), b"third");
    cancel.cancel();
}
