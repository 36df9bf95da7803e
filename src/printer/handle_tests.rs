use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::jobs::fake::{Fake, caps};
use crate::model::LinkPhase;

#[tokio::test(start_paused = true)]
async fn a_pause_that_comes_too_early_is_said_again_when_the_print_begins() {
    let (fake, tasks, cancel) = (Fake::new(), TaskTracker::new(), CancellationToken::new());
    let printer = fake.connect(caps(), &tasks, &cancel);
    let mut watch = printer.watch();
    watch.wait_for(|state| state.link.phase == LinkPhase::Online).await.expect("online");
    fake.stage(DeviceStage::Preparing);
    watch.wait_for(|state| state.job.phase == JobPhase::Preparing).await.expect("preparing");

    let pausing = tokio::spawn({
        let printer = printer.clone();
        async move { printer.send(Command::Pause).await }
    });
    watch.wait_for(|state| state.job.phase == JobPhase::Pausing).await.expect("asked to pause");
    while fake.machine().pauses < 1 {
        tokio::task::yield_now().await;
    }
    fake.stage(DeviceStage::Printing);
    while fake.machine().pauses < 2 {
        tokio::task::yield_now().await;
    }
    fake.stage(DeviceStage::Paused);
    assert_eq!(pausing.await.expect("task").expect("paused").seen, Seen::Effect);

    fake.stage(DeviceStage::Printing);
    watch.wait_for(|state| state.job.phase == JobPhase::Printing).await.expect("printing");
    assert_eq!(fake.machine().pauses, 2, "said once more, not each time");
    cancel.cancel();
}
