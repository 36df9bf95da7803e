//! Requests that are answered by half or not at all, toggles in a row, and a Canvas that the status does not tell of
//! (elegoo.md 2.3, 2.9, 2.14).

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;

use super::super::Timing;
use super::linked::{Bench, bench, bench_on, bench_with, fast, quick};
use crate::model::*;
use crate::printer::CameraFeed;
use crate::sim::elegoo_cc1::{self as sim, Answers, Fault, Options};

const DEADLINE: Duration = Duration::from_secs(20);

/// An answer that does not come is waited for without end, unless something ends it.
fn patient() -> Timing {
    Timing { answer: Duration::from_secs(3600), ..quick() }
}

impl Bench {
    async fn polls(&self, more: usize) {
        let wanted = self.sent(0).len() + more;
        let polled = move |sim: &sim::Simulator| {
            sim.truth().commands.iter().filter(|got| got.number == 0).count() >= wanted
        };
        self.until_sim("polls", polled).await;
    }

    async fn in_time(&self, command: Command) -> Result<Outcome, CommandError> {
        tokio::time::timeout(DEADLINE, self.printer.send(command)).await.expect("an answer")
    }
}

#[tokio::test]
async fn half_an_answer_does_not_block_the_link() {
    for how in [Answers::FrameOnly, Answers::Combined] {
        let started = sim::start(Options { pushes: false, ..fast() }).await.unwrap();
        started.faults().apply(Fault::Answers { how }).unwrap();
        let bench = bench_on(started.into(), patient(), |_| ());
        bench.online().await;
        bench.polls(3).await;
        let heated = bench.in_time(Command::SetBed { target: 40.0 }).await;
        assert_eq!(heated.map(|outcome| outcome.seen), Ok(Seen::Effect), "{how:?}");
        bench.unharmed();
    }
    let bench = bench_with(fast(), patient(), |_| ()).await;
    bench.online().await;
    bench.sim.faults().apply(Fault::Answers { how: Answers::AckOnly }).unwrap();
    bench.polls(2).await;
    assert!(bench.in_time(Command::SetFan { fan: FanId::Part, speed: 0.5 }).await.is_ok());
}

#[tokio::test]
async fn a_stop_does_not_wait_behind_a_request_that_was_lost() {
    let options = Options { speed: 10.0, pushes: false, ..fast() };
    let timing = Timing { silent: DEADLINE, ..patient() };
    let bench = bench_with(options, timing, |_| ()).await;
    bench.online().await;
    bench.start_file("cube.gcode", 3).await.unwrap();
    bench.phase(JobPhase::Printing).await;
    bench.sim.faults().apply(Fault::Swallow { commands: vec![0] }).unwrap();
    bench.polls(1).await;
    let stopped = bench.in_time(Command::Cancel).await;
    assert_eq!(stopped.map(|outcome| outcome.seen), Ok(Seen::Effect));
    bench.phase(JobPhase::Cancelled).await;
    assert_eq!(bench.sent(130).len(), 1);
    bench.unharmed();
}

#[tokio::test]
async fn nothing_that_waited_follows_an_emergency_stop() {
    let options = Options { pushes: false, ..fast() };
    let timing = Timing { silent: DEADLINE, ..patient() };
    let bench = bench_with(options, timing, |_| ()).await;
    bench.online().await;
    bench.sim.faults().apply(Fault::Swallow { commands: vec![0] }).unwrap();
    bench.polls(1).await;
    let heat = Command::SetNozzle { tool: 0, target: 220.0 };
    let (heated, stopped) = tokio::join!(bench.in_time(heat), bench.in_time(Command::EmergencyStop));
    assert!(matches!(&heated, Err(CommandError::Busy(why)) if why.contains("emergency stop")), "{heated:?}");
    assert!(stopped.is_ok(), "{stopped:?}");
    bench.polls(2).await;
    assert_eq!(bench.sent(403), [json!({"TempTargetNozzle": 0}), json!({"TempTargetHotbed": 0})]);
}

#[tokio::test]
async fn toggles_in_a_row_all_count() {
    let bench = bench(fast()).await;
    bench.online().await;
    let toggles =
        [false, true, false].map(|on| bench.printer.send(Command::SetLight { light: LightId::Chamber, on }));
    for toggled in futures_util::future::join_all(toggles).await {
        toggled.unwrap();
    }
    let lit: Vec<_> = bench.sent(403).iter().map(|body| body["LightStatus"]["SecondLight"].clone()).collect();
    assert_eq!(lit, [json!(0), json!(1), json!(0)]);
    assert!(!bench.sim.truth().light, "the last word counts");
}

#[tokio::test]
async fn firmware_that_does_not_tell_of_a_canvas_is_asked_once() {
    let silent = |canvas| Options { firmware: "V1.4.46".into(), canvas, tells_canvas: false, ..fast() };
    let with = bench(silent(true)).await;
    with.until("trays", |state| state.device.filament.units.len() == 1).await;
    assert!(with.printer.capabilities().filament.map);
    let without = bench(silent(false)).await;
    without.online().await;
    without.polls(5).await;
    assert_eq!(without.sent(324).len(), 1);
    assert!(!without.printer.capabilities().filament.map);
    let told = bench(Options { tells_canvas: true, ..silent(false) }).await;
    told.online().await;
    told.polls(5).await;
    assert!(told.sent(324).is_empty(), "it says that there is none");
}

#[tokio::test]
async fn a_canvas_that_was_pulled_out_while_nobody_watched_leaves_no_trays() {
    let first = bench(Options { firmware: "V1.4.46".into(), canvas: true, ..fast() }).await;
    first.online().await;
    first.until("trays", |state| state.device.filament.units.len() == 1).await;
    first.sim.faults().apply(Fault::Refuse { on: true }).unwrap();
    first.sim.faults().apply(Fault::Drop).unwrap();
    first.until("away", |state| !state.online()).await;
    first.sim.faults().apply(Fault::Canvas { on: false }).unwrap();
    first.sim.faults().apply(Fault::Refuse { on: false }).unwrap();
    first.printer.reconnect();
    first.online().await;
    first.until("no trays", |state| state.device.filament.units.is_empty()).await;
    assert!(!first.printer.capabilities().filament.map);
}

#[tokio::test]
async fn a_camera_that_shows_nothing_twice_is_left_alone_for_a_while() {
    let timing = Timing { camera_idle: Duration::from_millis(200), ..quick() };
    let bench = bench_with(fast(), timing, |_| ()).await;
    bench.online().await;
    let camera = bench.printer.camera().unwrap().clone();
    bench.sim.faults().apply(Fault::CameraStall { seconds: 600.0 }).unwrap();
    let looks = async {
        let mut reason = String::new();
        while !reason.contains("No picture came") || bench.sent(386).len() < 4 {
            match camera.open().await {
                Ok(CameraFeed::Jpeg(mut pictures)) => {
                    reason = pictures
                        .next()
                        .await
                        .and_then(Result::err)
                        .map_or_else(String::new, |e| e.to_string());
                }
                Ok(CameraFeed::H264(_)) => panic!("not JPEG"),
                Err(error) => reason = error.to_string(),
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, looks).await.expect("two connections without a picture");
    let before = bench.sim.truth().connections["camera"].total;
    for _ in 0..5 {
        let refused = camera.open().await.err().expect("left alone").to_string();
        assert!(refused.contains("No picture came"), "{refused}");
    }
    assert_eq!(bench.sim.truth().connections["camera"].total, before);
}
