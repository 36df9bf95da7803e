//! How much filament left each slot during a job (pure).
//!
//! The printers count no grams. What is known is the sliced weight of each filament, the slot it is mapped to, the
//! progress, and the slot that feeds at each moment. Each step of the progress takes the same part of every filament
//! from the slot that feeds it now. A slot that begins to feed although no filament is mapped to it took over from the
//! one before: a refill, or a change by hand. Amounts are told by the progress they belong to, so that no step is ever
//! counted twice, also after a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Ratio, SlotId};

/// Reports that wait for the inventory; the oldest are joined by spool long before.
const MAX_PENDING: usize = 1000;

/// A filament of the job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// Number in the project, from 0.
    pub index: usize,
    /// Where it comes from now; `None` follows the slot that feeds.
    pub slot: Option<SlotId>,
    /// Sliced weight for the whole job.
    pub grams: f64,
}

/// An amount that left a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// `None` where nobody knows what was feeding.
    pub slot: Option<SlotId>,
    /// The spool that was in the slot at that time.
    pub spool: Option<u32>,
    pub grams: f64,
}

/// One job's account.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// Identifies the run at the printer, where the printer has such a thing.
    pub token: Option<String>,
    pub file: String,
    pub filaments: Vec<Planned>,
    /// Progress up to which everything is accounted for.
    pub accounted: Ratio,
    /// The slot that fed last.
    pub feeding: Option<SlotId>,
    pub used: Vec<Used>,
}

impl Run {
    /// Takes note of the slot that feeds now.
    pub fn feeds(&mut self, slot: SlotId) {
        let before = self.feeding.replace(slot);
        if before == Some(slot) || self.filaments.iter().any(|filament| filament.slot == Some(slot)) {
            return;
        }
        // A job of one filament prints with whatever feeds.
        let single = self.filaments.len() == 1;
        let follows = |planned: &Planned| planned.slot.is_some() && (single || planned.slot == before);
        for filament in self.filaments.iter_mut().filter(|filament| follows(filament)) {
            filament.slot = Some(slot);
        }
    }

    /// Accounts for the job up to this progress; what was accounted for before stays.
    pub fn advance(&mut self, progress: Ratio, spool: impl Fn(SlotId) -> Option<u32>) {
        let progress = if progress.is_finite() { progress.clamp(0.0, 1.0) } else { return };
        let step = progress - self.accounted;
        if step <= 0.0 {
            return;
        }
        self.accounted = progress;
        for filament in self.filaments.clone() {
            let slot = filament.slot.or(self.feeding);
            self.add(slot, slot.and_then(&spool), filament.grams * step);
        }
    }

    fn add(&mut self, slot: Option<SlotId>, spool: Option<u32>, grams: f64) {
        if grams <= 0.0 || !grams.is_finite() {
            return;
        }
        match self.used.iter_mut().find(|used| used.slot == slot && used.spool == spool) {
            Some(used) => used.grams += grams,
            None => self.used.push(Used { slot, spool, grams }),
        }
    }

    /// Grams accounted for, over all slots.
    #[cfg(test)]
    pub fn total(&self) -> f64 {
        self.used.iter().map(|used| used.grams).sum()
    }
}

/// Grams of one spool, to be told to the inventory once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub id: u64,
    pub spool: u32,
    pub grams: f64,
    /// What the inventory counted before the report was sent: tells after a lost answer whether it arrived.
    pub used_before: Option<f64>,
}

/// One value on disk, so that no gram is ever in two places or in none.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    pub run: Option<Run>,
    pub pending: Vec<Report>,
    pub next: u64,
    /// Grams by the slot's name since the counting began.
    pub totals: BTreeMap<String, f64>,
    /// The run comes from the disk and was not seen at the printer yet.
    #[serde(skip)]
    pub restored: bool,
    /// Progress of the run when it was written last.
    #[serde(skip)]
    pub kept: f64,
}

impl Ledger {
    /// Closes the run: what was used waits for its report.
    pub fn close(&mut self) -> Option<Run> {
        let run = self.run.take()?;
        for used in &run.used {
            let name = used.slot.map_or_else(|| "unknown".to_owned(), |slot| slot.to_string());
            *self.totals.entry(name).or_default() += used.grams;
            let Some(spool) = used.spool else { continue };
            self.next += 1;
            self.pending.push(Report { id: self.next, spool, grams: used.grams, used_before: None });
        }
        if self.pending.len() > MAX_PENDING {
            self.join_reports();
        }
        Some(run)
    }

    /// One report for each spool, apart from those that may be under way.
    fn join_reports(&mut self) {
        let mut joined: Vec<Report> = Vec::new();
        for report in std::mem::take(&mut self.pending) {
            let same = |other: &&mut Report| other.spool == report.spool && other.used_before.is_none();
            match joined.iter_mut().find(same) {
                Some(other) if report.used_before.is_none() => other.grams += report.grams,
                _ => joined.push(report),
            }
        }
        self.pending = joined;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slot(number: u8) -> SlotId {
        SlotId::Unit { unit: u16::from(number / 4), slot: number % 4 }
    }

    fn run(filaments: &[(Option<u8>, f64)]) -> Run {
        let planned = |(index, (from, grams)): (usize, &(Option<u8>, f64))| Planned {
            index,
            slot: from.map(slot),
            grams: *grams,
        };
        Run { filaments: filaments.iter().enumerate().map(planned).collect(), ..Run::default() }
    }

    fn of(run: &Run, number: u8) -> f64 {
        run.used.iter().filter(|used| used.slot == Some(slot(number))).map(|used| used.grams).sum()
    }

    #[test]
    fn each_filament_is_taken_from_its_slot_as_far_as_the_job_came() {
        let mut run = run(&[(Some(0), 10.0), (Some(2), 30.0)]);
        run.feeds(slot(0));
        run.advance(0.25, |_| None);
        run.feeds(slot(2));
        run.advance(0.5, |_| None);
        assert_eq!((of(&run, 0), of(&run, 2)), (5.0, 15.0));
    }

    #[test]
    fn a_refill_takes_over_from_the_slot_that_ran_empty() {
        let mut run = run(&[(Some(0), 10.0), (Some(1), 10.0)]);
        run.feeds(slot(1));
        run.advance(0.5, |_| None);
        run.feeds(slot(3));
        run.advance(1.0, |_| None);
        assert_eq!((of(&run, 0), of(&run, 1), of(&run, 3)), (10.0, 5.0, 5.0));
    }

    #[test]
    fn a_spool_that_is_exchanged_counts_from_then_on() {
        let mut run = run(&[(Some(0), 10.0)]);
        run.advance(0.3, |_| Some(7));
        run.advance(1.0, |_| Some(8));
        let grams = |spool| run.used.iter().find(|used| used.spool == Some(spool)).map(|used| used.grams);
        assert!((grams(7).unwrap() - 3.0).abs() < 1e-9 && (grams(8).unwrap() - 7.0).abs() < 1e-9);
    }

    #[test]
    fn an_unmapped_job_is_taken_from_what_feeds() {
        let mut run = run(&[(None, 8.0)]);
        run.advance(0.25, |_| None);
        run.feeds(slot(1));
        run.advance(1.0, |_| None);
        assert_eq!(of(&run, 1), 6.0);
        assert_eq!(run.used[0], Used { slot: None, spool: None, grams: 2.0 });
    }

    #[derive(Debug, Clone)]
    enum Step {
        Feeds(u8),
        Advance(f64),
        /// The gateway is restarted: only what is on disk goes on.
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u8..8).prop_map(Step::Feeds),
            (-0.5f64..1.5).prop_map(Step::Advance),
            Just(Step::Restart)
        ]
    }

    proptest! {
        #[test]
        fn the_slots_add_up_to_the_part_that_was_printed(
            filaments in prop::collection::vec((prop::option::of(0u8..8), 0.0f64..500.0), 0..6),
            steps in prop::collection::vec(step(), 0..60),
        ) {
            let mut run = run(&filaments);
            let whole: f64 = filaments.iter().map(|(_, grams)| grams).sum();
            let mut furthest: f64 = 0.0;
            for step in steps {
                match step {
                    Step::Feeds(number) => run.feeds(slot(number)),
                    Step::Advance(progress) => {
                        let before = run.total();
                        run.advance(progress, |slot| matches!(slot, SlotId::Unit { slot: 0, .. }).then_some(1));
                        furthest = furthest.max(progress.clamp(0.0, 1.0));
                        prop_assert!(run.total() >= before);
                    }
                    Step::Restart => {
                        let disk = serde_json::to_string(&run).unwrap();
                        run = serde_json::from_str(&disk).unwrap();
                    }
                }
                prop_assert!((run.total() - whole * furthest).abs() < 1e-6);
            }
        }
    }

    /// One job: grams of each filament with its slot, how far it came, and after which part the gateway is killed.
    type Played = (Vec<(u8, f64)>, f64, Option<f64>);

    fn jobs() -> impl Strategy<Value = Vec<Played>> {
        let job = (
            prop::collection::vec((0u8..4, 0.0f64..100.0), 1..5),
            0.0f64..=1.0,
            prop::option::of(0.0f64..=1.0),
        );
        prop::collection::vec(job, 1..12)
    }

    fn restarted(ledger: &Ledger) -> Ledger {
        let disk = serde_json::to_string(ledger).unwrap();
        let mut ledger: Ledger = serde_json::from_str(&disk).unwrap();
        ledger.restored = ledger.run.is_some();
        ledger
    }

    proptest! {
        /// What the slots fed, what waits for its report and what was printed are the same, over any number of jobs
        /// and restarts; each report has a number of its own.
        #[test]
        fn no_gram_is_lost_or_counted_twice(jobs in jobs(), joined in any::<bool>()) {
            let spool = |slot: SlotId| match slot {
                SlotId::Unit { slot: 0, .. } => None,
                SlotId::Unit { slot, .. } => Some(u32::from(slot)),
                SlotId::External(_) => None,
            };
            let mut ledger = Ledger::default();
            let (mut printed, mut with_spool) = (0.0, 0.0);
            for (filaments, progress, killed) in jobs {
                let planned = |(index, (slot, grams)): (usize, &(u8, f64))| Planned {
                    index,
                    slot: Some(SlotId::Unit { unit: 0, slot: *slot }),
                    grams: *grams,
                };
                let planned: Vec<Planned> = filaments.iter().enumerate().map(planned).collect();
                printed += filaments.iter().map(|(_, grams)| grams * progress).sum::<f64>();
                with_spool +=
                    filaments.iter().filter(|(slot, _)| *slot > 0).map(|(_, grams)| grams * progress).sum::<f64>();
                ledger.run = Some(Run { filaments: planned, ..Run::default() });
                if let (Some(killed), Some(run)) = (killed, &mut ledger.run) {
                    run.advance(killed * progress, spool);
                    ledger = restarted(&ledger);
                }
                if let Some(run) = &mut ledger.run {
                    run.advance(progress, spool);
                }
                prop_assert!(ledger.close().is_some());
                prop_assert!(ledger.close().is_none(), "closed once");
                if joined {
                    ledger.join_reports();
                }
                ledger = restarted(&ledger);
                let totals: f64 = ledger.totals.values().sum();
                let pending: f64 = ledger.pending.iter().map(|report| report.grams).sum();
                prop_assert!((totals - printed).abs() < 1e-6, "{totals} of {printed}");
                prop_assert!((pending - with_spool).abs() < 1e-6, "{pending} of {with_spool}");
            }
            let mut ids: Vec<u64> = ledger.pending.iter().map(|report| report.id).collect();
            ids.sort_unstable();
            ids.dedup();
            prop_assert_eq!(ids.len(), ledger.pending.len());
        }
    }
}
