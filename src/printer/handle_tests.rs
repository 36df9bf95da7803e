use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::jobs::fake::{Fake, caps};
use crate::model::LinkPhase;

async fn until(
    watch: &mut watch::Receiver<Arc<PrinterState>>,
    what: &str,
    seen: impl Fn(&PrinterState) -> bool,
) {
    let waited = tokio::time::timeout(Duration::from_secs(20), watch.wait_for(|state| seen(state))).await;
    assert!(waited.is_ok_and(|state| state.is_ok()), "never {what}");
}

/// Lets paused time go by until the printer was told so often to pause.
async fn pauses(fake: &Fake, count: usize) {
    let told = async {
        while fake.machine().pauses < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told).await.expect("told to pause");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_comes_too_early_is_said_again_when_the_print_begins() {
    let (fake, tasks, cancel) = (Fake::new(), TaskTracker::new(), CancellationToken::new());
    let printer = fake.connect(caps(), &tasks, &cancel);
    let mut watch = printer.watch();
    until(&mut watch, "online", |state| state.link.phase == LinkPhase::Online).await;
    fake.stage(DeviceStage::Preparing);
    until(&mut watch, "preparing", |state| state.job.phase == JobPhase::Preparing).await;

    let pausing = tokio::spawn({
        let printer = printer.clone();
        async move { printer.send(Command::Pause).await }
    });
    until(&mut watch, "asked to pause", |state| state.job.phase == JobPhase::Pausing).await;
    pauses(&fake, 1).await;
    fake.stage(DeviceStage::Printing);
    pauses(&fake, 2).await;
    fake.stage(DeviceStage::Paused);
    assert_eq!(pausing.await.expect("task").expect("paused").seen, Seen::Effect);

    fake.stage(DeviceStage::Printing);
    until(&mut watch, "printing", |state| state.job.phase == JobPhase::Printing).await;
    assert_eq!(fake.machine().pauses, 2, "said once more, not each time");
    cancel.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_made_anew_when_the_user_wants_it() {
    let (fake, tasks, cancel) = (Fake::new(), TaskTracker::new(), CancellationToken::new());
    let printer = fake.connect(caps(), &tasks, &cancel);
    let mut watch = printer.watch();
    until(&mut watch, "online", |state| state.online()).await;
    let mut events = printer.events();
    printer.renew();
    let mut phases = Vec::new();
    while phases.last() != Some(&LinkPhase::Online) {
        let event = tokio::time::timeout(Duration::from_secs(20), events.recv()).await;
        if let Event::LinkChanged(phase) = event.expect("in time").expect("an event") {
            phases.push(phase);
        }
    }
    assert_eq!(phases.first(), Some(&LinkPhase::Connecting), "{phases:?}");
    assert!(!phases.contains(&LinkPhase::Backoff), "no fault and no wait: {phases:?}");
    assert!(printer.state().link.fault.is_none());
    cancel.cancel();
}
