//! A driver that dies of its own mistake: its printer says so and comes back, the others notice nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::*;
use crate::jobs::fake::{Fake, caps};
use crate::model::{Capabilities, Command, CommandError, PrinterState};

const DEADLINE: Duration = Duration::from_secs(60);

/// Goes online, and panics at the first command, twice; after that it works.
struct Fragile {
    panics: Arc<AtomicUsize>,
}

impl Driver for Fragile {
    fn run<'a>(&'a mut self, io: &'a mut DriverIo, cancel: CancellationToken) -> BoxFuture<'a, LinkFault> {
        Box::pin(async move {
            io.state.link(LinkPhase::Online);
            tokio::select! {
                () = cancel.cancelled() => {}
                request = io.commands.recv() => {
                    if self.panics.fetch_add(1, Ordering::SeqCst) < 2 {
                        panic!("a mistake in the driver, with the code q7Zk2Xv9: {:?}", request.is_some());
                    }
                }
            }
            std::future::pending().await
        })
    }
}

fn settings(name: &str) -> PrinterSettings {
    PrinterSettings { name: name.to_owned(), title: name.to_owned(), read_only: false, allow_vendor: false }
}

async fn until(watch: &mut watch::Receiver<Arc<PrinterState>>, fits: impl Fn(&PrinterState) -> bool) {
    let found = tokio::time::timeout(DEADLINE, watch.wait_for(|state| fits(state))).await;
    assert!(found.is_ok_and(|state| state.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn one_printers_panic_is_unseen_by_the_others() {
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let panics = Arc::new(AtomicUsize::new(0));
    let parts = DriverParts {
        driver: Box::new(Fragile { panics: panics.clone() }),
        capabilities: caps(),
        files: Arc::new(Fake::new()),
        camera: None,
    };
    let broken = start(settings("broken"), parts, &tasks, cancel.clone());
    let fake = Fake::new();
    let healthy = fake.connect(caps(), &tasks, &cancel);
    let (mut watch, mut other) = (broken.watch(), healthy.watch());
    until(&mut other, |state| state.link.phase == LinkPhase::Online).await;
    for round in 1..=2 {
        until(&mut watch, |state| state.link.phase == LinkPhase::Online).await;
        other.mark_unchanged();
        let refused = broken.send(Command::Refresh).await;
        assert!(refused.is_err(), "the command is answered all the same");
        until(&mut watch, |state| state.link.fault.as_ref().is_some_and(|fault| fault.code == "MG-BUG"))
            .await;
        assert_eq!(panics.load(Ordering::SeqCst), round);
        assert!(!other.has_changed().unwrap(), "the other printer has nothing to tell");
        assert_eq!(healthy.state().link.phase, LinkPhase::Online);
    }
    until(&mut watch, |state| state.link.phase == LinkPhase::Online && state.link.fault.is_none()).await;
    assert!(healthy.state().link.fault.is_none());
    cancel.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_made_anew_when_the_user_wants_it() {
    let (fake, tasks, cancel) = (Fake::new(), tokio_util::task::TaskTracker::new(), CancellationToken::new());
    let printer = fake.connect(caps(), &tasks, &cancel);
    let mut watch = printer.watch();
    tokio::time::timeout(DEADLINE, watch.wait_for(|state| state.online())).await.unwrap().unwrap();
    let mut events = printer.events();
    printer.renew();
    let mut phases = Vec::new();
    while phases.last() != Some(&LinkPhase::Online) {
        let event = tokio::time::timeout(DEADLINE, events.recv()).await;
        if let crate::model::Event::LinkChanged(phase) = event.expect("in time").expect("an event") {
            phases.push(phase);
        }
    }
    assert_eq!(phases.first(), Some(&LinkPhase::Connecting), "{phases:?}");
    assert!(!phases.contains(&LinkPhase::Backoff), "no fault and no wait: {phases:?}");
    assert!(printer.state().link.fault.is_none());
    cancel.cancel();
}

/// The number of Home Assistant's speed begins at 0.
#[tokio::test(start_paused = true)]
async fn what_is_no_speed_is_not_taken_for_the_slowest_level() {
    let (fake, tasks, cancel) = (Fake::new(), TaskTracker::new(), CancellationToken::new());
    let level = |name: &str, factor| crate::model::SpeedLevel { name: name.into(), factor };
    let levels = vec![level("Silent", 0.5), level("Standard", 1.0)];
    let printer = fake.connect(Capabilities { speed_levels: levels, ..caps() }, &tasks, &cancel);
    until(&mut printer.watch(), |state| state.online()).await;
    for factor in [0.0, -0.05, 0.05, f64::NAN, 30.0] {
        let refused = printer.send(Command::SetSpeed { factor }).await.map(drop);
        let why = CommandError::Invalid("The speed must be between 10 and 300 %.".into());
        assert_eq!(refused, Err(why), "{factor}");
    }
    cancel.cancel();
}

/// Refused each time, and knows how long that lasts.
struct Refused {
    calls: Arc<AtomicUsize>,
}

impl Driver for Refused {
    fn run<'a>(&'a mut self, _io: &'a mut DriverIo, _cancel: CancellationToken) -> BoxFuture<'a, LinkFault> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let fault =
            LinkFault { code: "T".into(), text: "Full.".into(), remedy: "Wait.".into(), permanent: true };
        Box::pin(std::future::ready(fault))
    }

    fn wait_after(&self, fault: &LinkFault) -> Option<Duration> {
        (fault.code == "T").then_some(Duration::from_secs(30))
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_knows_when_to_try_again_is_called_then() {
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let calls = Arc::new(AtomicUsize::new(0));
    let parts = DriverParts {
        driver: Box::new(Refused { calls: calls.clone() }),
        capabilities: caps(),
        files: Arc::new(Fake::new()),
        camera: None,
    };
    let _printer = start(settings("full"), parts, &tasks, cancel.clone());
    tokio::time::sleep(Duration::from_secs(305)).await;
    assert_eq!(calls.load(Ordering::SeqCst), 11, "every 30 s, however often it was refused");
    cancel.cancel();
}
