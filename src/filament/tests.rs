//! The book beside a scripted printer: the tool map of a start, the account over a refill and a killed gateway, and
//! reports to an inventory that loses an answer.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Json, Router, routing};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::jobs::fake::{Fake, archive, caps};
use crate::jobs::{Jobs, JobsConfig, StartRequest};
use crate::library::LibraryLimits;
use crate::model::{DeviceStage, Filament, FilamentUnit, JobPhase, Slot};

const DEADLINE: Duration = Duration::from_secs(20);

fn slot(number: u8) -> SlotId {
    SlotId::Unit { unit: 0, slot: number }
}

fn loaded_printer() -> Fake {
    let fake = Fake::new();
    let filament = Filament { material: Some("PLA".into()), ..Filament::default() };
    let held =
        |number| Slot { present: Some(true), filament: Some(filament.clone()), ..Slot::empty(slot(number)) };
    fake.machine().device.filament.units.push(FilamentUnit {
        name: "AMS 1".into(),
        slots: (0..4).map(held).collect(),
        ..FilamentUnit::default()
    });
    fake
}

/// One life of the gateway.
struct Life {
    printer: PrinterHandle,
    library: Library,
    jobs: Jobs,
    store: Store,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Life {
    fn begin(dir: &std::path::Path, fake: &Fake) -> Self {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let store = Store::open(&dir.join("state.redb")).unwrap();
        let printer = fake.connect(caps(), &tasks, &cancel);
        let limits = LibraryLimits { min_free: 0, ..LibraryLimits::default() };
        let root = dir.join("gcodes");
        let library =
            Library::start(root, limits, printer.clone(), store.clone(), &tasks, cancel.clone()).unwrap();
        let config = JobsConfig::default();
        let jobs =
            Jobs::open(printer.clone(), library.clone(), store.clone(), &tasks, cancel.clone(), config)
                .unwrap();
        Self { printer, library, jobs, store, tasks, cancel }
    }

    fn book(&self) -> &FilamentBook {
        self.jobs.filament()
    }

    /// Nothing of it reaches the disk any more.
    async fn kill(self) {
        self.store.kill();
        self.stop().await;
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn until(&self, what: &str, seen: impl Fn(&FilamentBook) -> bool) {
        within(what, async {
            while !seen(self.book()) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn until_phase(&self, phase: JobPhase) {
        let mut watch = self.printer.watch();
        within("phase", async { watch.wait_for(|state| state.job.phase == phase).await.map(drop) })
            .await
            .unwrap();
    }
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

fn accounted(book: &FilamentBook) -> f64 {
    book.inner.ledger().run.as_ref().map_or(0.0, |run| run.accounted)
}

fn feeding(book: &FilamentBook) -> Option<SlotId> {
    book.inner.ledger().run.as_ref().and_then(|run| run.feeding)
}

/// Starts the sample (1.5 g of one filament) with tool 0 mapped to slot 1, and lets it print.
async fn start(life: &Life, fake: &Fake) {
    let mut upload = life.library.begin_upload("", "part.gcode.3mf").await.unwrap();
    upload.write(archive(&[(1, "PLA", "#FF0000")]).into()).await.unwrap();
    upload.finish(None, None).await.unwrap();
    life.book().assign_spool(slot(1), Some(11));
    life.book().assign_spool(slot(2), Some(12));
    life.book().map_tools([(0, slot(1))]);
    let file = life
        .library
        .list()
        .await
        .unwrap()
        .into_iter()
        .find(|entry| entry.path.contains("part"))
        .unwrap()
        .path;
    life.jobs.start(StartRequest { file, ..StartRequest::default() }).await.unwrap();
    within("start", async {
        while fake.machine().starts.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    fake.run(DeviceStage::Printing);
    life.until_phase(JobPhase::Printing).await;
}

fn prints(fake: &Fake, feeding: u8, progress: f64) {
    fake.show(|device| {
        device.filament.active = Some(slot(feeding));
        device.job.progress = Some(progress);
    });
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6
}

#[tokio::test]
async fn a_start_takes_the_tool_map_and_a_killed_gateway_counts_on() {
    let (dir, fake) = (tempfile::tempdir().unwrap(), loaded_printer());
    let life = Life::begin(dir.path(), &fake);
    start(&life, &fake).await;
    assert_eq!(fake.machine().starts[0].mapping, [Some(slot(1))]);
    prints(&fake, 1, 0.4);
    life.until("0.4", |book| close(accounted(book), 0.4)).await;
    // Slot 1 runs empty, the printer goes on from slot 2.
    prints(&fake, 2, 0.4);
    life.until("refill", |book| feeding(book) == Some(slot(2))).await;
    life.store.flush().await.unwrap();
    life.kill().await;

    let life = Life::begin(dir.path(), &fake);
    prints(&fake, 2, 0.8);
    life.until("0.8", |book| close(accounted(book), 0.8)).await;
    fake.run(DeviceStage::Finished);
    life.until("end", |book| !book.totals().is_empty()).await;
    let totals = life.book().totals();
    assert!(close(totals["0.1"], 0.6) && close(totals["0.2"], 0.9), "{totals:?}");
    let pending = life.book().pending_reports();
    assert_eq!(pending.iter().map(|(spool, _)| *spool).collect::<Vec<_>>(), [11, 12]);
    life.until("the map was for one print", |book| book.choices().mapping(&Default::default()).is_none())
        .await;
    life.stop().await;
    let life = Life::begin(dir.path(), &fake);
    assert_eq!(life.book().pending_reports(), pending, "reports wait on disk");
    assert_eq!(life.book().totals(), totals);
    life.stop().await;
}

/// An inventory that counts, and answers its first "use" with an error after it has counted.
#[derive(Clone, Default)]
struct Inventory {
    used: Arc<Mutex<BTreeMap<u32, f64>>>,
    calls: Arc<Mutex<usize>>,
}

async fn serve(inventory: Inventory) -> String {
    async fn spool(State(all): State<Inventory>, Path(id): Path<u32>) -> Result<Json<Value>, StatusCode> {
        let used = all.used.lock().unwrap();
        used.get(&id).map(|used| Json(json!({"id": id, "used_weight": used}))).ok_or(StatusCode::NOT_FOUND)
    }
    async fn take(State(all): State<Inventory>, Path(id): Path<u32>, Json(body): Json<Value>) -> StatusCode {
        *all.used.lock().unwrap().get_mut(&id).unwrap() += body["use_weight"].as_f64().unwrap();
        let mut calls = all.calls.lock().unwrap();
        *calls += 1;
        if *calls == 1 { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
    }
    let router = Router::new()
        .route("/api/v1/health", routing::get(|| async { Json(json!({"status": "healthy"})) }))
        .route(
            "/api/v1/spool",
            routing::get(|| async { Json(json!([{"id": 13, "extra": {"tag": "\"AB12\""}}])) }),
        )
        .route("/api/v1/spool/{id}", routing::get(spool))
        .route("/api/v1/spool/{id}/use", routing::put(take))
        .with_state(inventory);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/")
}

/// Browsers read it (`server.config`): it says where, and nothing more.
#[tokio::test]
async fn the_address_that_is_told_has_no_credentials() {
    let cancel = CancellationToken::new();
    cancel.cancel();
    let address = |url: &str| Spoolman::start(url, &TaskTracker::new(), cancel.clone()).address();
    assert_eq!(address("http://192.0.2.5:7912/"), "http://192.0.2.5:7912");
    assert_eq!(address("https://ada:secret@spools.local/base/?key=x#y"), "https://spools.local/base");
    assert_eq!(address("nonsense"), "");
}

#[tokio::test]
async fn a_server_that_is_away_is_told_with_its_address_and_the_cause() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let url = format!("http://ada:secret@{closed}");
    let spoolman = Spoolman::start(&url, &TaskTracker::new(), cancel);
    let told = spoolman.request("GET", "/v1/spool", None, None).await.unwrap_err().to_string();
    assert!(told.contains(&format!("http://{closed} (Connection refused")), "{told}");
    assert!(told.contains("Is it running") && !told.contains("secret"), "{told}");
}

#[tokio::test]
async fn each_gram_reaches_the_inventory_once_though_an_answer_is_lost() {
    let (dir, fake) = (tempfile::tempdir().unwrap(), loaded_printer());
    let inventory = Inventory::default();
    inventory.used.lock().unwrap().extend([(11, 100.0), (13, 0.0)]);
    let url = serve(inventory.clone()).await;
    let life = Life::begin(dir.path(), &fake);
    let spoolman = Spoolman::start(&url, &life.tasks, life.cancel.clone());
    life.book().use_inventory(spoolman.clone());
    start(&life, &fake).await;
    prints(&fake, 1, 0.5);
    life.until("0.5", |book| close(accounted(book), 0.5)).await;
    // Spool 12 is unknown to the inventory: that is told, and holds nothing up.
    prints(&fake, 2, 0.5);
    life.until("refill", |book| feeding(book) == Some(slot(2))).await;
    prints(&fake, 2, 0.9);
    life.until("0.9", |book| close(accounted(book), 0.9)).await;
    fake.run(DeviceStage::Cancelled);
    life.until("report under way", |book| {
        let under_way =
            book.inner.ledger().pending.first().is_some_and(|report| report.used_before.is_some());
        under_way && *inventory.calls.lock().unwrap() == 1
    })
    .await;
    within("reports", async {
        while !life.book().pending_reports().is_empty() {
            life.book().refresh_inventory();
            tokio::task::yield_now().await;
        }
    })
    .await;
    let used = inventory.used.lock().unwrap().clone();
    assert!(close(used[&11], 100.75), "{used:?}");
    assert_eq!(*inventory.calls.lock().unwrap(), 1);
    // A tagged spool finds its place by itself.
    fake.show(|device| {
        if let Some(unit) = device.filament.units.first_mut() {
            let tagged = Filament { spool_uid: Some("ab12".into()), ..Filament::default() };
            unit.slots[3].filament = Some(tagged);
        }
    });
    life.until("tag", |book| book.choices().spool(slot(3)) == Some(13)).await;
    let refused = spoolman.request("GET", "/v1/spool/99", None, None).await.unwrap_err();
    assert!(matches!(refused, SpoolmanError::Refused { status: 404, .. }));
    for path in ["/v2/x", "/v1/../x", "http://other/v1/", "/v1/a?b"] {
        let refused = spoolman.request("GET", path, None, None).await;
        assert!(matches!(refused, Err(SpoolmanError::Invalid(_))), "{path}");
    }
    life.stop().await;
}
