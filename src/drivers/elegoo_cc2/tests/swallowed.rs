//! A printer that swallows requests and forgets to tell how a print ended (elegoo.md 3.5, 3.9).

use std::time::Duration;

use super::super::Timing;
use super::linked::{Bench, bench, bench_on, bench_with, fast, quick};
use crate::drivers::elegoo::testing::file_of;
use crate::model::*;
use crate::printer::ExpectedRun;
use crate::sim::elegoo_cc2::{self as sim, Fault, Options};
use crate::sim::elegoo_storage::ON_STICK;

const NEVER: Duration = Duration::from_secs(3600);

/// Without polls: whatever is asked again is asked for the reason under test.
fn unpolled() -> Timing {
    Timing { poll_idle: NEVER, poll_printing: NEVER, canvas: NEVER, ..quick() }
}

impl Bench {
    async fn until_sent(&self, number: i64, times: usize) {
        let sent = move |sim: &sim::Simulator| {
            sim.truth().commands.iter().filter(|got| got.number == number).count() >= times
        };
        self.until_sim(&format!("{times} of {number}"), sent).await;
    }

    fn swallow(&self, methods: &[i64]) {
        self.sim.faults().apply(Fault::Swallow { methods: methods.to_vec() }).unwrap();
    }
}

#[tokio::test]
async fn a_swallowed_status_is_asked_again_and_one_of_them_is_no_silence() {
    let timing = Timing { answer: Duration::from_millis(400), ..unpolled() };
    let started = sim::start(fast()).await.unwrap();
    started.faults().apply(Fault::Swallow { methods: vec![1002, 1002] }).unwrap();
    let bench = bench_on(started.into(), timing, |_| ());
    bench.online().await;
    let mut events = bench.printer.events();
    for (lost, stale) in [(1, false), (2, true)] {
        let before = bench.sent(1002).len();
        bench.swallow(&vec![1002; lost]);
        // Its acknowledgement makes the driver look.
        let light = bench.printer.send(Command::SetFan { fan: FanId::Part, speed: lost as f64 / 4.0 });
        light.await.unwrap();
        bench.until_sent(1002, before + lost + 1).await;
        bench.until("news", |state| state.online()).await;
        let mut seen = false;
        while let Ok(event) = events.try_recv() {
            seen |= matches!(event, Event::LinkChanged(LinkPhase::Stale));
        }
        assert_eq!(seen, stale, "{lost} in a row");
    }
}

#[tokio::test]
async fn who_is_answered_is_connected_without_a_pong() {
    let bench = bench(fast()).await;
    bench.online().await;
    bench.sim.faults().apply(Fault::NoPongs { on: true }).unwrap();
    // Together they take longer than a PONG may.
    let polls = quick().pong.as_millis() / quick().poll_idle.as_millis() + 2;
    bench.until_sent(1002, bench.sent(1002).len() + polls as usize).await;
    assert_eq!((bench.printer.state().link.made, bench.printer.state().link.fault.clone()), (1, None));
}

#[tokio::test]
async fn identity_free_room_and_layers_are_asked_again() {
    let started = sim::start(fast()).await.unwrap();
    started.faults().apply(Fault::Swallow { methods: vec![1001, 1048, 1048, 1046] }).unwrap();
    let bench = bench_on(started.into(), quick(), |_| ());
    bench.online().await;
    bench.until("identity", |state| state.device.identity.firmware.is_some()).await;
    bench.until("free room", |state| state.device.storage.free_bytes.is_some()).await;
    bench.start_cube(2).await;
    bench.until("layers", |state| state.job.total_layers == Some(60)).await;
    bench.unharmed();
}

#[tokio::test]
async fn a_question_that_is_never_answered_is_not_asked_for_ever() {
    let timing = Timing { answer: Duration::from_millis(100), ..quick() };
    let started = sim::start(fast()).await.unwrap();
    started.faults().apply(Fault::Swallow { methods: vec![1001; 50] }).unwrap();
    let bench = bench_on(started.into(), timing, |_| ());
    bench.online().await;
    bench.until_sent(1001, 3).await;
    bench.until_sent(1002, bench.sent(1002).len() + 4).await;
    assert_eq!(bench.sent(1001).len(), 3);
}

#[tokio::test]
async fn the_layers_of_a_job_on_the_stick_are_read_from_the_stick() {
    let bench = bench(fast()).await;
    bench.online().await;
    bench.sim.faults().apply(Fault::UsbStick { on: true }).unwrap();
    let file = bench.until_listed(&format!("usb/{ON_STICK}")).await;
    bench.start_file(&file.path, 2).await.unwrap();
    bench.until("layers", |state| state.job.total_layers.is_some()).await;
    let media: Vec<_> = bench.sent(1046).iter().map(|body| body["storage_media"].clone()).collect();
    assert_eq!(media, ["u-disk"], "where we started it");
}

#[tokio::test]
async fn the_layers_of_a_stranger_on_the_stick_are_found_there_too() {
    let first = bench(fast()).await;
    first.online().await;
    first.sim.faults().apply(Fault::UsbStick { on: true }).unwrap();
    let file = first.until_listed(&format!("usb/{ON_STICK}")).await;
    let second = bench_on(first.sim.clone(), quick(), |_| ());
    second.online().await;
    first.start_file(&file.path, 2).await.unwrap();
    second.until("layers", |state| state.job.total_layers.is_some()).await;
}

/// A gateway that misses the end of the cube's print, whose last report is far from the end.
async fn missed(options: Options, swallowed: &[i64]) -> Bench {
    // Slow reports: the last one before the end shows little progress.
    let timing = Timing { poll_printing: NEVER, poll_idle: Duration::from_millis(600), ..quick() };
    let bench = bench_with(options, timing, |_| ()).await;
    bench.online().await;
    bench.start_cube(2).await;
    bench.phase(JobPhase::Printing).await;
    bench.swallow(swallowed);
    bench
}

#[tokio::test]
async fn a_missed_end_is_asked_for_again_and_known_by_file_and_time() {
    let unseen = Options { completion_shown: 0.0, ..fast() };
    for (options, swallowed) in [
        (unseen.clone(), vec![1036, 1036]),
        (Options { history_ids_differ: true, ..unseen.clone() }, vec![]),
        (Options { renders_for: 60.0, ..unseen.clone() }, vec![]),
    ] {
        let bench = missed(options.clone(), &swallowed).await;
        bench.phase(JobPhase::Complete).await;
        assert_eq!(bench.sent(1036).len(), swallowed.len() + 1, "{options:?}");
    }
}

#[tokio::test]
async fn an_end_that_no_history_tells_is_no_success() {
    let bench = missed(Options { completion_shown: 0.0, ..fast() }, &[1036; 10]).await;
    let state = bench.until("an end", |state| !state.job.phase.active()).await;
    assert_ne!(state.job.phase, JobPhase::Complete);
    assert_eq!(bench.sent(1036).len(), 3);
}

#[tokio::test]
async fn a_canvas_that_is_pulled_out_leaves_no_trays() {
    let bench = bench(fast()).await;
    let trays = |state: &std::sync::Arc<PrinterState>| state.device.filament.units.len();
    bench.until("trays", |state| trays(state) == 1).await;
    bench.sim.faults().apply(Fault::Canvas { on: false }).unwrap();
    bench.until("no trays", |state| trays(state) == 0).await;
    assert!(!bench.printer.capabilities().filament.map);
    bench.sim.faults().apply(Fault::Canvas { on: true }).unwrap();
    bench.until("trays again", |state| trays(state) == 1).await;
    assert!(bench.printer.capabilities().filament.map);
    // Now nobody watches.
    bench.sim.faults().apply(Fault::Refuse { on: true }).unwrap();
    bench.sim.faults().apply(Fault::Drop).unwrap();
    bench.until("away", |state| !state.online()).await;
    bench.sim.faults().apply(Fault::Canvas { on: false }).unwrap();
    bench.sim.faults().apply(Fault::Refuse { on: false }).unwrap();
    bench.printer.reconnect();
    bench.online().await;
    bench.until("no trays", |state| trays(state) == 0).await;
    assert!(!bench.printer.capabilities().filament.map);
}

#[tokio::test]
async fn pings_count_as_requests_where_these_must_not_come_too_fast() {
    let timing = Timing { spacing: Duration::from_millis(600), ping: Duration::from_millis(100), ..quick() };
    let options =
        Options { burst_window: Duration::from_millis(300), burst_deaf: Duration::from_secs(1), ..fast() };
    let bench = bench_with(options, timing, |_| ()).await;
    bench.online().await;
    bench.until_sim("pings", |sim| sim.truth().counters.pings >= 3).await;
    let halts = [Command::EmergencyStop, Command::EmergencyStop].map(|halt| bench.printer.send(halt));
    assert!(futures_util::future::join_all(halts).await[0].is_ok());
    bench.until_sim("more pings", |sim| sim.truth().counters.pings >= 6).await;
    assert_eq!(bench.sim.truth().counters.swallowed, 0);
}

#[tokio::test]
async fn an_upload_outlives_a_swallowed_status_and_a_lost_answer() {
    let bench = bench_with(fast(), unpolled(), |_| ()).await;
    bench.online().await;
    bench.until("idle", |state| state.device.activity == Activity::Idle).await;
    bench.until_sent(1048, 1).await;
    bench.swallow(&[1002]);
    bench.upload(file_of("G28\n").path(), "a.gcode").await.unwrap();
    let long: String = (0..60_000).map(|n| format!("G1 X{} Y10 E0.05 F3000\n", n % 200)).collect();
    let local = file_of(&long);
    bench.sim.faults().apply(Fault::LoseChunkAnswers { chunks: 1 }).unwrap();
    bench.upload(local.path(), "b.gcode").await.unwrap();
    assert_eq!(bench.download("b.gcode").await.unwrap(), long.as_bytes());
    bench.unharmed();
}

#[tokio::test]
async fn an_earlier_run_is_found_by_the_history_though_its_ids_differ() {
    let options = Options { history_ids_differ: true, ..fast() };
    let first = bench(options).await;
    first.online().await;
    let started_at = crate::printer::clock::unix_now();
    first.start_cube(77).await;
    first.phase(JobPhase::Printing).await;
    first.leave();
    first.until_sim("the end", |sim| sim.truth().file.is_empty()).await;
    let second = bench_on(first.sim.clone(), quick(), |_| ());
    second.printer.writer().expect_run(ExpectedRun {
        file: "cube.gcode".into(),
        token: 77,
        ran: true,
        started_at,
    });
    second.online().await;
    assert_eq!(second.printer.state().job.phase, JobPhase::Complete);
}
