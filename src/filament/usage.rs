//! What jobs used is told to the inventory, and tagged spools are found in it.
//!
//! A job's grams are reported as "use" of a spool. An answer can be lost after the server has counted, so the amount
//! that the server counted before is on disk before a report is sent, and is compared before it is sent again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::ledger::Report;
use super::{Inner, Spoolman, SpoolmanError};
use crate::model::Speaker;

/// Wait before a report that failed is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// What is to be done with a report.
#[derive(Debug, PartialEq)]
enum Step {
    /// The server has counted it already.
    Counted,
    Send,
}

/// `used` is what the server counts now.
fn step(report: &Report, used: f64) -> Step {
    match report.used_before {
        Some(before) if used >= before + report.grams * 0.999 => Step::Counted,
        _ => Step::Send,
    }
}

impl Inner {
    /// Tells the inventory what was used, each amount once.
    pub async fn report_usage(self: Arc<Self>, spoolman: Spoolman) {
        let mut connected = spoolman.watch();
        loop {
            let next = self.ledger().pending.first().cloned();
            let due = self.reports_due.notified();
            let pause = match next {
                Some(report) if *connected.borrow_and_update() => match self.report(&spoolman, &report).await
                {
                    Ok(()) => continue,
                    Err(error) => {
                        tracing::warn!(printer = self.printer.name(), %error, "A use of filament waits for Spoolman.");
                        if matches!(error, SpoolmanError::Refused { .. }) {
                            self.let_others_pass(report.spool);
                        }
                        RETRY
                    }
                },
                _ => RETRY,
            };
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = due => {}
                changed = connected.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn report(&self, spoolman: &Spoolman, report: &Report) -> Result<(), SpoolmanError> {
        let used = match spoolman.used_weight(report.spool).await {
            Err(SpoolmanError::Refused { status: 404, .. }) => {
                let text = format!(
                    "Spoolman has no spool {}: {:.1} g were not reported to it.",
                    report.spool, report.grams
                );
                self.printer.writer().console(Speaker::Error, text);
                self.reported(report.id).await;
                return Ok(());
            }
            used => used?,
        };
        if step(report, used) == Step::Send {
            let noted = {
                let mut ledger = self.ledger();
                let waiting = ledger.pending.iter_mut().find(|pending| pending.id == report.id);
                waiting.map(|pending| pending.used_before = Some(used))
            };
            if noted.is_none() || !self.keep_durably().await {
                return Err(SpoolmanError::Invalid("the report could not be noted on disk".to_owned()));
            }
            let path = format!("/v1/spool/{}/use", report.spool);
            spoolman.request("PUT", &path, None, Some(&json!({"use_weight": report.grams}))).await?;
        }
        self.reported(report.id).await;
        Ok(())
    }

    /// A report that the server refuses does not hold up those of other spools. The reports of one spool stay in their
    /// order: what the server counted before one of them tells nothing once a later one was counted.
    fn let_others_pass(&self, spool: u32) {
        self.ledger().pending.sort_by_key(|report| report.spool == spool);
    }

    async fn reported(&self, id: u64) {
        self.ledger().pending.retain(|pending| pending.id != id);
        self.keep_durably().await;
    }

    /// Finds tagged spools in the inventory and puts them into their slots.
    pub async fn match_tags(self: Arc<Self>, spoolman: Spoolman) {
        let (mut state, mut choices, mut connected) =
            (self.printer.watch(), self.choices.subscribe(), spoolman.watch());
        let mut asked: BTreeSet<String> = BTreeSet::new();
        loop {
            let (now, chosen) = (state.borrow_and_update().clone(), choices.borrow_and_update().clone());
            let tags: Vec<_> = now
                .device
                .filament
                .slots()
                .filter(|slot| chosen.spool(slot.id).is_none())
                .filter_map(|slot| Some((slot.id, slot.filament.as_ref()?.spool_uid.clone()?)))
                .collect();
            let wanted: BTreeSet<String> = tags.iter().map(|(_, tag)| tag.clone()).collect();
            if *connected.borrow_and_update()
                && !wanted.is_subset(&asked)
                && let Ok(found) = spoolman.spool_of_tag(&wanted).await
            {
                for (tag, spool) in found {
                    for (slot, _) in tags.iter().filter(|(_, other)| *other == tag) {
                        self.assign(*slot, Some(spool));
                    }
                }
                asked = wanted;
            }
            tokio::select! {
                () = self.cancel.cancelled() => return,
                changed = state.changed() => if changed.is_err() { return },
                changed = choices.changed() => {
                    if changed.is_err() { return }
                    asked.clear();
                }
                changed = connected.changed() => if changed.is_err() { return },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_whose_answer_was_lost_is_compared_first() {
        let report = |used_before| Report { id: 1, spool: 2, grams: 10.0, used_before };
        assert_eq!(step(&report(None), 500.0), Step::Send);
        assert_eq!(step(&report(Some(100.0)), 100.0), Step::Send, "it did not arrive");
        assert_eq!(step(&report(Some(100.0)), 110.0), Step::Counted);
        assert_eq!(step(&report(Some(100.0)), 400.0), Step::Counted, "never twice, whoever used the rest");
    }
}
