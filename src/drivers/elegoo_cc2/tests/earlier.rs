//! What an earlier gateway left, and orders that come while another is under way.

use super::linked::{Bench, bench, bench_on, fast, quick};
use crate::model::*;
use crate::printer::ExpectedRun;
use crate::printer::clock::unix_now;
use crate::sim::elegoo_cc2::{Fault, Options};

/// A gateway that comes after another, which saw run 77 of the cube.
async fn successor(first: &Bench, started_at: f64) -> Bench {
    let second = bench_on(first.sim.clone(), quick(), |_| ());
    let run = ExpectedRun { file: "cube.gcode".into(), token: 77, ran: true, started_at };
    second.printer.writer().expect_run(run);
    second.online().await;
    second
}

#[tokio::test]
async fn the_end_that_nobody_watched_is_read_from_the_history() {
    for (cancelled, wanted) in [(false, JobPhase::Complete), (true, JobPhase::Cancelled)] {
        let first = bench(fast()).await;
        first.online().await;
        let began = unix_now();
        first.start_cube(77).await;
        first.phase(JobPhase::Printing).await;
        if cancelled {
            first.printer.send(Command::Cancel).await.unwrap();
        }
        first.leave();
        first.until_sim("the end", |sim| sim.truth().file.is_empty()).await;
        let second = successor(&first, began).await;
        let state = second.printer.state();
        assert_eq!((state.job.phase, state.job.found_ended), (wanted, true));
        assert_eq!(state.device.job.token.as_deref(), Some("77"));
        assert_eq!(state.job.title.as_deref(), Some("cube.gcode"), "the report after it is idle already");
        assert_eq!(second.sent(1036).len(), 1, "asked once");
        second.unharmed();
    }
}

#[tokio::test]
async fn a_run_that_goes_on_needs_no_history() {
    let first = bench(Options { speed: 20.0, ..fast() }).await;
    first.online().await;
    let began = unix_now();
    first.start_cube(77).await;
    first.phase(JobPhase::Printing).await;
    first.leave();
    let second = successor(&first, began).await;
    second.until("our run", |state| state.device.job.token.as_deref() == Some("77")).await;
    assert!(second.printer.state().job.phase.active());
    assert!(second.sent(1036).is_empty());
    let paused = second.printer.send(Command::Pause).await;
    assert!(paused.is_ok_and(|outcome| outcome.seen == Seen::Effect), "a pause right after the restart");
    second.phase(JobPhase::Paused).await;
}

#[tokio::test]
async fn trays_are_known_before_the_printer_counts_as_connected() {
    let bench = bench(fast()).await;
    bench.online().await;
    let state = bench.printer.state();
    assert_eq!(state.device.filament.units.len(), 1);
    assert!(bench.printer.capabilities().filament.map);
    bench.unharmed();
}

#[tokio::test]
async fn a_stop_while_the_print_resumes_is_carried_out() {
    let bench = bench(Options { speed: 10.0, ..fast() }).await;
    bench.online().await;
    bench.start_cube(77).await;
    bench.stops_while_the_print_resumes().await;
    bench.unharmed();
}

#[tokio::test]
async fn a_pause_that_the_printer_swallows_is_said_once_more() {
    let bench = bench(Options { speed: 10.0, ..fast() }).await;
    bench.online().await;
    bench.start_cube(77).await;
    bench.phase(JobPhase::Printing).await;
    bench.sim.faults().apply(Fault::Silence { seconds: 0.3 }).unwrap();
    let paused = bench.printer.send(Command::Pause).await;
    assert_eq!(paused.map(|outcome| outcome.seen), Ok(Seen::Effect));
    assert_eq!(bench.sent(1021).len(), 1, "the first one was not heard");
    bench.unharmed();
}

#[tokio::test]
async fn questions_that_the_printer_swallows_are_asked_again_whichever_is_answered_first() {
    for methods in [vec![1002], vec![1036, 2005], vec![1036], vec![2005]] {
        let first = bench(fast()).await;
        first.online().await;
        let began = unix_now();
        first.start_cube(77).await;
        first.phase(JobPhase::Printing).await;
        first.leave();
        first.until_sim("the end", |sim| sim.truth().file.is_empty()).await;
        first.sim.faults().apply(Fault::Swallow { methods: methods.clone() }).unwrap();
        let second = successor(&first, began).await;
        assert_eq!(second.printer.state().job.phase, JobPhase::Complete, "{methods:?} swallowed");
        assert_eq!(second.printer.state().device.filament.units.len(), 1);
    }
}

#[tokio::test]
async fn a_halt_is_told_until_the_power_was_off() {
    let bench = bench(fast()).await;
    bench.online().await;
    bench.printer.send(Command::EmergencyStop).await.unwrap();
    bench.until("halted", |state| state.device.halted.is_some()).await;
    bench.sim.faults().apply(Fault::PowerCut).unwrap();
    bench.until("away", |state| !state.online()).await;
    bench.sim.faults().apply(Fault::PowerOn).unwrap();
    bench.printer.reconnect();
    bench.until("back", |state| state.online() && state.device.halted.is_none()).await;
}
