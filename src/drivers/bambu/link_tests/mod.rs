//! The whole driver against the simulated printer over real sockets on loopback.

mod around;
mod commands;
mod connection;
mod device;
mod filament;
mod files;
mod gate;
mod jobs;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::model::*;
use crate::printer::{self, CameraError, CameraFeed, FileError, PrinterHandle, PrinterSettings, ProgressFn};
use crate::sim::bambu::{self as sim, Fault, Simulator};

/// Nothing here may take longer; generous because the machine is shared.
const DEADLINE: Duration = Duration::from_secs(30);

struct Bench {
    sim: Simulator,
    handle: PrinterHandle,
    pins: Arc<Mutex<Vec<KnownKeys>>>,
    cancel: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn config(sim: &Simulator) -> BambuConfig {
    let addresses = sim.addresses();
    let mut config = BambuConfig::new(
        "test",
        "127.0.0.1",
        &sim.options().serial.to_lowercase(),
        Secret::new(sim.options().access_code.clone()),
    );
    config.ports = BambuPorts {
        mqtt: addresses.mqtt.port(),
        ftps: addresses.ftps.port(),
        detect: addresses.detect.port(),
        camera: addresses.camera.port(),
        rtsp: addresses.camera.port(),
    };
    // Short enough for tests, long enough for a loaded machine.
    config.timing = BambuTiming {
        reply: Duration::from_secs(4),
        silence: Duration::from_secs(4),
        ..BambuTiming::default()
    };
    config
}

async fn simulator(key: &str, change: impl FnOnce(&mut sim::Options)) -> Simulator {
    let mut options = sim::Options::new(sim::models::find(key).expect("model"));
    options.speed = 200.0;
    options.report_interval = Duration::from_millis(100);
    options.camera_interval = Duration::from_millis(100);
    change(&mut options);
    sim::start(options).await.expect("simulator")
}

fn run(sim: Simulator, change: impl FnOnce(&mut BambuConfig)) -> Bench {
    let pins = Arc::new(Mutex::new(Vec::new()));
    let mut config = config(&sim);
    let seen = pins.clone();
    config.on_keys = Arc::new(move |keys| seen.lock().expect("lock").push(keys.clone()));
    change(&mut config);
    let cancel = CancellationToken::new();
    let settings =
        PrinterSettings { name: "test".into(), title: "test".into(), read_only: false, allow_vendor: true };
    let handle = printer::start(settings, parts(config), &TaskTracker::new(), cancel.clone());
    Bench { sim, handle, pins, cancel }
}

impl Bench {
    async fn start(key: &str) -> Self {
        let bench = run(simulator(key, |_| {}).await, |_| {});
        bench.online().await;
        bench
    }

    async fn until(&self, what: &str, fits: impl Fn(&PrinterState) -> bool) -> Arc<PrinterState> {
        let mut watch = self.handle.watch();
        let found = tokio::time::timeout(DEADLINE, watch.wait_for(|state| fits(state))).await;
        match found {
            Ok(Ok(state)) => state.clone(),
            _ => {
                let state = self.handle.state();
                panic!("{what} was not reached: {:?} {:?} {:?}", state.link, state.control, state.device.job)
            }
        }
    }

    async fn online(&self) -> Arc<PrinterState> {
        self.until("online", |state| state.link.phase == LinkPhase::Online).await
    }

    async fn fault(&self, code: &str) -> LinkFault {
        let state = self.until(code, |state| state.link.fault.as_ref().is_some_and(|f| f.code == code)).await;
        state.link.fault.clone().expect("fault")
    }

    async fn send(&self, command: Command) -> Result<Outcome, CommandError> {
        tokio::time::timeout(DEADLINE, self.handle.send(command)).await.expect("an answer in time")
    }

    /// Sends a command that must be taken.
    async fn done(&self, command: Command) -> Outcome {
        let name = format!("{command:?}");
        self.send(command).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The last request of this name as the printer received it, without its sequence number.
    fn received(&self, command: &str) -> Value {
        let log = self.sim.truth().counters.commands;
        let found = log.iter().rfind(|received| received.command == command);
        let mut payload = found.unwrap_or_else(|| panic!("{command} was not received")).payload.clone();
        let sequence = payload.as_object_mut().and_then(|body| body.remove("sequence_id"));
        assert!(sequence.is_some_and(|id| id.is_string()), "{command} has a sequence number as text");
        payload
    }

    /// As [`Self::received`], for a request that nobody waits for.
    async fn receives(&self, command: &str) -> Value {
        let there = async {
            while !self.sim.truth().counters.commands.iter().any(|received| received.command == command) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _said_by_the_next_line = tokio::time::timeout(DEADLINE, there).await;
        self.received(command)
    }

    async fn start_cube(&self, mapping: Vec<Option<SlotId>>) -> Result<Outcome, CommandError> {
        self.send(Command::StartJob(Box::new(StartJob {
            remote_path: "cube.gcode.3mf".into(),
            title: "cube".into(),
            plate: 1,
            token: 77_001,
            mapping,
            ..StartJob::default()
        })))
        .await
    }
}

const SLOT: Option<SlotId> = Some(SlotId::Unit { unit: 0, slot: 0 });

/// A slot that has filament, as the printer reports it.
fn loaded(state: &PrinterState) -> Option<SlotId> {
    state.device.filament.slots().find(|slot| slot.present == Some(true)).map(|slot| slot.id)
}
