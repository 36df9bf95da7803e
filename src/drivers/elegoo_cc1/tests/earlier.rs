//! What an earlier gateway left, and orders that come while another is under way.

use super::linked::{bench, bench_on, fast, quick};
use crate::model::*;
use crate::printer::ExpectedRun;
use crate::printer::clock::unix_now;
use crate::sim::elegoo_cc1::{Fault, Options};

#[tokio::test]
async fn the_end_that_nobody_watched_is_read_from_the_history() {
    let first = bench(fast()).await;
    first.online().await;
    let began = unix_now();
    first.start_file("cube.gcode", 77).await.unwrap();
    first.phase(JobPhase::Printing).await;
    first.leave();
    first.until_sim("the end", |sim| sim.truth().stage == "Finished").await;
    // Switched off and on it has forgotten everything but its history.
    first.sim.faults().apply(Fault::PowerCut).unwrap();
    first.sim.faults().apply(Fault::PowerOn).unwrap();
    let second = bench_on(first.sim.clone(), quick(), |_| ());
    let run = ExpectedRun { file: "cube.gcode".into(), token: 77, ran: true, started_at: began };
    second.printer.writer().expect_run(run);
    second.online().await;
    let state = second.printer.state();
    assert_eq!((state.job.phase, state.job.found_ended), (JobPhase::Complete, true));
    assert_eq!(state.device.job.token.as_deref(), Some("77"));
    assert_eq!((second.sent(320).len(), second.sent(321).len()), (1, 1));
    second.unharmed();
}

#[tokio::test]
async fn a_stop_while_the_print_resumes_is_carried_out() {
    let bench = bench(Options { speed: 10.0, ..fast() }).await;
    bench.online().await;
    bench.start_file("cube.gcode", 77).await.unwrap();
    bench.stops_while_the_print_resumes().await;
    bench.unharmed();
}

#[tokio::test]
async fn only_the_axes_that_were_homed_count() {
    let bench = bench(fast()).await;
    bench.online().await;
    bench.printer.send(Command::Home(Axes { x: true, y: false, z: false })).await.unwrap();
    let x = Homed { x: true, ..Homed::default() };
    bench.until("x homed", |state| state.device.motion.homed == Some(x)).await;
    bench.idle().await;
    let refused = bench.printer.send(Command::Jog { delta: [0.0, 1.0, 0.0], feed: None }).await;
    assert!(matches!(refused, Err(CommandError::Invalid(_))), "{refused:?}");
    bench.printer.send(Command::Home(Axes::ALL)).await.unwrap();
    bench.until("all homed", |state| state.device.motion.homed == Some(Homed::ALL)).await;
    bench.unharmed();
}
