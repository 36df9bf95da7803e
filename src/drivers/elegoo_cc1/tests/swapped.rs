//! Who was at the address before the gateway was started, and who is there now (elegoo.md 2.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::linked::{bench_with, fast, quick};
use super::thin;
use crate::drivers::elegoo::whereabouts::{Identity, Whereabouts};
use crate::model::*;
use crate::sim::elegoo_cc1::Options;

fn remembering(kept: Identity, confirmed: &Arc<AtomicBool>) -> Whereabouts {
    let another_confirmed = confirmed.clone();
    Whereabouts { kept: Some(kept), another_confirmed, ..Whereabouts::fixed("127.0.0.1") }
}

fn stranger() -> Identity {
    Identity { serial: "ab".repeat(16), mac: Some("02:00:00:CC:99:99".to_owned()) }
}

#[tokio::test]
async fn a_printer_that_took_the_address_while_the_gateway_was_off_is_given_nothing_until_a_person_says_so() {
    let confirmed = Arc::default();
    let bench = bench_with(fast(), quick(), |config| config.host = remembering(stranger(), &confirmed)).await;
    let fault = bench.link_fault("MG-CC1-OTHER").await;
    assert!(fault.permanent && fault.text.contains(&stranger().serial), "{}", fault.text);
    assert!(fault.remedy.contains("moongate trust cc1"), "{}", fault.remedy);
    let refused = bench.start_file("cube.gcode", 3).await;
    assert!(matches!(refused, Err(CommandError::Offline(_))), "{refused:?}");
    assert!(bench.sent(128).is_empty());

    confirmed.store(true, Ordering::Relaxed);
    bench.printer.reconnect();
    bench.online().await;
    bench.unharmed();
}

#[tokio::test]
async fn an_id_that_a_firmware_update_changed_is_believed_where_the_hardware_address_is_the_same() {
    let own = Options::default();
    let confirmed = Arc::default();
    let kept = Identity { mac: Some(own.mac.to_lowercase()), ..stranger() };
    let bench = bench_with(fast(), quick(), |config| config.host = remembering(kept, &confirmed)).await;
    bench.online().await;
    let kept = Identity { serial: own.mainboard_id.to_uppercase(), mac: None };
    let bench = bench_with(fast(), quick(), |config| config.host = remembering(kept, &confirmed)).await;
    bench.online().await;
    let kept = Identity { mac: None, ..stranger() };
    let bench = bench_with(fast(), quick(), |config| config.host = remembering(kept, &confirmed)).await;
    bench.link_fault("MG-CC1-OTHER").await;
}

#[tokio::test]
async fn a_configured_id_decides() {
    let bench = bench_with(fast(), quick(), |config| config.mainboard_id = Some("ab".repeat(16))).await;
    let fault = bench.link_fault("MG-CC1-OTHER").await;
    let told = format!("put {} in serial", Options::default().mainboard_id);
    assert!(fault.remedy.contains(&told) && fault.remedy.contains("firmware updated"), "{}", fault.remedy);
}

#[tokio::test]
async fn a_paused_printer_that_tells_no_attributes_is_known_by_its_status() {
    for (board, is_ours) in [("ours", true), ("theirs", false)] {
        let paused = thin::status(serde_json::json!([1]), 6, "a.gcode");
        let confirmed = Arc::default();
        let bench = thin::bench_of(paused, Some(board), |config| {
            config.host = remembering(Identity::of("ours"), &confirmed);
        });
        let bench = bench.await;
        if is_ours {
            bench.phase(JobPhase::Paused).await;
            bench.online().await;
        } else {
            // Not even what is asked in the moment before it is known to be another.
            bench.until("the link", |state| state.link.phase == LinkPhase::Syncing).await;
            let asked = bench.printer.files().list().await;
            assert!(asked.is_err(), "{asked:?}");
            bench.link_fault("MG-CC1-OTHER").await;
            assert!(!bench.printer.state().online());
            bench.sim.given_nothing();
        }
    }
}
