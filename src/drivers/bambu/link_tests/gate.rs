//! The permission to control.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_shown_by_the_reports_needs_no_write() {
    let bench = run(simulator("x1c", |options| options.gated = true).await, |_| {});
    bench
        .until(
            "read-only",
            |state| matches!(&state.control, Control::ReadOnly(text) if text.contains("Developer")),
        )
        .await;
    bench.online().await;
    let refused = bench.send(Command::SetBed { target: 50.0 }).await;
    assert!(matches!(refused, Err(CommandError::NotAllowed(_))), "{refused:?}");
    assert_eq!(bench.sim.truth().counters.rejected, 0, "no screen error was provoked");
    // Developer Mode is switched on: reports say so.
    bench.sim.faults().apply(Fault::Gate { on: false }).expect("fault");
    bench.sim.faults().apply(Fault::DropLink).expect("fault");
    bench.until("allowed", |state| state.control == Control::Allowed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_is_learned_from_the_first_rejection() {
    for key in ["p1s", "a1"] {
        let bench = run(simulator(key, |options| options.gated = true).await, |_| {});
        let state = bench.online().await;
        assert_eq!(state.control, Control::Unknown, "{key}");
        let refused = bench.send(Command::SetBed { target: 50.0 }).await;
        assert!(refused.is_err(), "{key}: {refused:?}");
        if bench.sim.options().model.rejection == sim::models::Rejection::Silent {
            assert!(matches!(refused, Err(CommandError::Timeout(_))), "{key}: {refused:?}");
            continue;
        }
        bench.until("read-only", |state| matches!(state.control, Control::ReadOnly(_))).await;
        let again = bench.send(Command::SetBed { target: 50.0 }).await;
        assert!(matches!(again, Err(CommandError::NotAllowed(_))), "{key}: {again:?}");
        assert_eq!(bench.sim.truth().counters.rejected, 1, "{key}");
    }
}
