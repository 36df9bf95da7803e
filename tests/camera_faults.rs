//! Every kind of camera against its simulated printer: whatever goes wrong is told, and ends by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, reason = "tasks of a test end with its runtime")]
use std::time::Duration;

use moongate::camera::{CameraHub, Health, Settings};
use moongate::drivers::{bambu, elegoo_cc1, elegoo_cc2};
use moongate::printer::{self, PrinterHandle, PrinterSettings};
use moongate::secret::Secret;
use moongate::sim;
use moongate::sim::camera_faults::CameraFault;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const DEADLINE: Duration = Duration::from_secs(60);
const ALL: [CameraFault; 6] = [
    CameraFault::Stall,
    CameraFault::Truncated,
    CameraFault::WrongLength,
    CameraFault::OneByte,
    CameraFault::Refuse,
    CameraFault::Closed,
];

/// A simulated printer of any kind.
enum Simulated {
    Bambu(sim::bambu::Simulator),
    Cc1(sim::elegoo_cc1::Simulator),
    Cc2(sim::elegoo_cc2::Simulator),
}

impl Simulated {
    fn set(&self, how: CameraFault) {
        match self {
            Simulated::Bambu(sim) => sim.faults().apply(sim::bambu::Fault::Camera { how }).unwrap(),
            Simulated::Cc1(sim) => sim.faults().apply(sim::elegoo_cc1::Fault::Camera { how }).unwrap(),
            Simulated::Cc2(sim) => sim.faults().apply(sim::elegoo_cc2::Fault::Camera { how }).unwrap(),
        }
    }

    /// The most camera connections that were open at once.
    fn peak(&self) -> usize {
        match self {
            Simulated::Bambu(sim) => sim.truth().connections["camera"].peak,
            Simulated::Cc1(sim) => sim.truth().connections["camera"].peak,
            Simulated::Cc2(sim) => sim.truth().connections["camera"].peak,
        }
    }
}

struct Bench {
    sim: Simulated,
    hub: CameraHub,
    _printer: PrinterHandle,
    cancel: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Bench {
    async fn start(key: &str) -> Self {
        // Longer than a simulated printer needs to draw its pictures in a debug build.
        let stale = Duration::from_secs(4);
        let (backoff_min, backoff_max) = (Duration::from_millis(100), Duration::from_millis(400));
        Self::with(key, Settings { stale, backoff_min, backoff_max, ..Settings::default() }).await
    }

    async fn with(key: &str, settings: Settings) -> Self {
        let (sim, parts) = match key {
            "cc1" => cc1().await,
            "cc2" => cc2().await,
            model => bambu(model).await,
        };
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let named = PrinterSettings {
            name: key.to_owned(),
            title: key.to_owned(),
            read_only: false,
            allow_vendor: false,
        };
        let printer = printer::start(named, parts, &tasks, cancel.clone());
        let mut watch = printer.watch();
        timeout(DEADLINE, watch.wait_for(|state| state.online())).await.unwrap().unwrap();
        drop(watch);
        let kind = printer.capabilities().camera;
        let hub = CameraHub::with_settings(printer.camera().cloned(), kind, settings, &tasks, cancel.clone());
        Self { sim, hub, _printer: printer, cancel }
    }

    /// Keeps watching until `wanted` is seen.
    async fn until(&self, what: &str, mut wanted: impl FnMut(&Health) -> bool) -> Health {
        let looking = async {
            loop {
                let health = self.hub.health();
                if wanted(&health) {
                    return health;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(DEADLINE, looking).await.unwrap_or_else(|_| panic!("never {what}: {:?}", self.hub.health()))
    }
}

async fn bambu(model: &str) -> (Simulated, printer::DriverParts) {
    let mut options = sim::bambu::Options::new(sim::bambu::models::find(model).unwrap());
    options.camera_interval = Duration::from_millis(100);
    let sim = sim::bambu::start(options).await.unwrap();
    let (at, told) = (sim.addresses().clone(), sim.options());
    let mut config =
        bambu::BambuConfig::new("bambu", "127.0.0.1", &told.serial, Secret::new(told.access_code.clone()));
    config.ports = bambu::BambuPorts {
        mqtt: at.mqtt.port(),
        ftps: at.ftps.port(),
        detect: at.detect.port(),
        camera: at.camera.port(),
        rtsp: at.camera.port(),
    };
    (Simulated::Bambu(sim), bambu::parts(config))
}

async fn cc1() -> (Simulated, printer::DriverParts) {
    let sim = sim::elegoo_cc1::start(sim::elegoo_cc1::Options::default()).await.unwrap();
    let at = sim.addresses();
    let mut config = elegoo_cc1::Cc1Config::new("cc1", "127.0.0.1");
    config.ports = elegoo_cc1::Ports {
        websocket: at.websocket.port(),
        http: at.http.port(),
        camera: at.camera.port(),
        discovery: at.discovery.port(),
    };
    let parts = elegoo_cc1::parts(config);
    (Simulated::Cc1(sim), parts)
}

async fn cc2() -> (Simulated, printer::DriverParts) {
    let options = sim::elegoo_cc2::Options::default();
    let code = options.access_code.clone();
    let sim = sim::elegoo_cc2::start(options).await.unwrap();
    let at = sim.addresses();
    let parts = elegoo_cc2::parts(elegoo_cc2::Cc2Config {
        name: "cc2".to_owned(),
        host: moongate::drivers::Whereabouts::fixed("127.0.0.1"),
        serial: None,
        access_code: Some(Secret::new(code)),
        client_number: None,
        jobs_on_usb: false,
        ports: elegoo_cc2::Ports {
            mqtt: at.mqtt.port(),
            http: at.http.port(),
            camera: at.camera.port(),
            discovery: at.discovery.port(),
        },
    });
    (Simulated::Cc2(sim), parts)
}

/// Pictures that go on being watched, decoded as far as their kind can be here.
fn watch(hub: &CameraHub, cancel: CancellationToken) {
    let hub = hub.clone();
    tokio::spawn(async move {
        let looking = async {
            if let Ok(mut viewer) = hub.video(true) {
                while viewer.next().await.is_some() {}
            } else if let Ok(mut viewer) = hub.subscribe() {
                while let Some(frame) = viewer.next().await {
                    image::load_from_memory(&frame.data).expect("only whole pictures are passed on");
                }
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = looking => {}
        }
    });
}

/// What is told while a fault lasts; `None` where pictures go on.
fn told(key: &str, fault: CameraFault) -> Option<&'static [&'static str]> {
    let jpeg = key != "h2d";
    match fault {
        CameraFault::None => None,
        // Every byte is read all the same.
        CameraFault::OneByte => None,
        // The Elegoo pictures are found by their own marks, whatever the headers say.
        CameraFault::WrongLength if key.starts_with("cc") => None,
        CameraFault::WrongLength if jpeg => Some(&["not a picture", "damaged", "no picture"]),
        CameraFault::WrongLength => {
            Some(&["cannot be understood", "no picture", "send data", "closed", "broke"])
        }
        CameraFault::Stall => Some(&["no picture", "No picture"]),
        CameraFault::Truncated => Some(&["damaged", "no picture", "not a picture"]),
        CameraFault::Refuse if key.starts_with("cc") => Some(&["503"]),
        CameraFault::Refuse if jpeg => Some(&["access code"]),
        CameraFault::Refuse => Some(&["503"]),
        CameraFault::Closed => Some(&["closed", "ended", "Liveview", "failed", "does not answer", "stopped"]),
    }
}

async fn every_fault_is_told_and_ends(key: &str) {
    let bench = Bench::start(key).await;
    watch(&bench.hub, bench.cancel.clone());
    bench.until("the first pictures", |health| health.open && health.frames > 2).await;
    for fault in ALL {
        let before = bench.hub.health();
        bench.sim.set(fault);
        match told(key, fault) {
            None => {
                let goal = before.frames + 5;
                bench.until("pictures in spite of it", |health| health.frames > goal).await;
            }
            Some(words) => {
                let says = |health: &Health| {
                    health
                        .reason
                        .as_ref()
                        .is_some_and(|reason| words.iter().any(|word| reason.contains(word)))
                };
                bench.until(&format!("{fault:?} told"), says).await;
            }
        }
        bench.sim.set(CameraFault::None);
        let frames = bench.hub.health().frames;
        bench
            .until(&format!("bright again after {fault:?}"), |health| {
                health.open && health.reason.is_none() && health.frames > frames + 1
            })
            .await;
    }
    assert_eq!(bench.sim.peak(), 1, "connections to the camera never overlapped");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jpeg_camera_of_bambu_lab() {
    every_fault_is_told_and_ends("p1s").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rtsps_camera_of_bambu_lab() {
    every_fault_is_told_and_ends("h2d").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_camera_of_the_centauri_carbon() {
    every_fault_is_told_and_ends("cc1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_camera_of_the_centauri_carbon_2() {
    every_fault_is_told_and_ends("cc2").await;
}

/// A stranger holds the only place: it is told, nothing is forced, and the pictures come when he leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_taken_place_is_waited_for() {
    let bench = Bench::start("cc1").await;
    let Simulated::Cc1(sim) = &bench.sim else { panic!("a CC1") };
    sim.faults().apply(sim::elegoo_cc1::Fault::CameraLeak { slots: 1 }).unwrap();
    watch(&bench.hub, bench.cancel.clone());
    bench.until("dark", |health| health.reason.is_some()).await;
    sim.faults().apply(sim::elegoo_cc1::Fault::CameraLeak { slots: 0 }).unwrap();
    bench.until("bright", |health| health.frames > 2 && health.reason.is_none()).await;
}

/// A hundred viewers share one connection and the bytes of each picture.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_viewers_share_one_connection() {
    for key in ["p1s", "h2d"] {
        let bench = Bench::with(key, Settings::default()).await;
        let mut viewers = Vec::new();
        for _ in 0..100 {
            let (hub, h264) = (bench.hub.clone(), key == "h2d");
            viewers.push(tokio::spawn(async move {
                let mut seen = Vec::new();
                if h264 {
                    let mut viewer = hub.video(true).unwrap();
                    while seen.len() < 12 {
                        let sample = viewer.next().await.unwrap();
                        seen.push((sample.time, sample.data.as_ptr() as usize));
                    }
                } else {
                    let mut viewer = hub.subscribe().unwrap();
                    while seen.len() < 5 {
                        let frame = viewer.next().await.unwrap();
                        seen.push((frame.number, frame.data.as_ptr() as usize));
                    }
                }
                seen
            }));
        }
        let mut copies = std::collections::HashMap::<u64, std::collections::HashSet<usize>>::new();
        for viewer in viewers {
            for (picture, place) in timeout(DEADLINE, viewer).await.unwrap().unwrap() {
                copies.entry(picture).or_default().insert(place);
            }
        }
        assert!(copies.values().all(|places| places.len() == 1), "{key}: one copy of each picture in memory");
        assert_eq!((bench.sim.peak(), bench.hub.health().opened), (1, 1), "{key}");
    }
}
