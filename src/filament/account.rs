//! Follows the jobs of a printer and keeps their account, so that a restart goes on where it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{broadcast, broadcast::error::RecvError, watch};

use super::ledger::{Planned, Run};
use super::{Inner, LEDGER};
use crate::metadata::FileMetadata;
use crate::model::{DeviceStage, Event, Job, JobPhase, PrinterState, SlotId, Speaker, text::base_name};

/// The account is kept on disk at each change of the slot and at steps of this part of the job.
const KEEP_STEP: f64 = 0.005;
/// A job that was stopped does not come so far.
const ALL_BUT_COMPLETE: f64 = 0.99;

/// Whether the job at the printer is this run.
fn is_run(run: &Run, job: &Job) -> bool {
    match (&run.token, &job.token) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => {
            let named = [job.file.as_deref(), job.title.as_deref()];
            named.into_iter().flatten().any(|name| base_name(name) == base_name(&run.file))
        }
    }
}

/// Sliced weight of each filament that a plate uses.
fn weights(metadata: &FileMetadata, plate: Option<u32>) -> Vec<Planned> {
    let info = plate.and_then(|plate| metadata.plate(plate)).or_else(|| metadata.plates.first());
    let planned = |index: usize, grams: f64| Planned { index, slot: None, grams };
    let of_plate: Vec<Planned> = info
        .iter()
        .flat_map(|info| &info.filaments)
        .filter_map(|filament| Some(planned((filament.id as usize).checked_sub(1)?, filament.used_g?)))
        .collect();
    if !of_plate.is_empty() {
        return of_plate;
    }
    let listed: Vec<Planned> = metadata
        .filament_weights
        .iter()
        .enumerate()
        .filter(|(_, grams)| **grams > 0.0)
        .map(|(index, grams)| planned(index, *grams))
        .collect();
    if listed.is_empty() {
        return metadata.filament_weight_total.map(|grams| planned(0, grams)).into_iter().collect();
    }
    listed
}

impl Inner {
    pub async fn follow(
        self: Arc<Self>,
        mut events: broadcast::Receiver<Event>,
        mut state: watch::Receiver<Arc<PrinterState>>,
    ) {
        // The printer may have reported before we listened.
        state.mark_changed();
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => {
                    self.keep();
                    return;
                }
                event = events.recv() => match event {
                    Ok(Event::JobStarted(job)) => self.job_started(&job).await,
                    Ok(Event::JobEnded(job)) => self.job_ended(&job).await,
                    // The state tells what was missed.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                changed = state.changed() => {
                    if changed.is_err() { return }
                    let state = state.borrow_and_update().clone();
                    self.observe(&state).await;
                }
            }
        }
    }

    /// A job is about to be started with these filaments.
    pub async fn begin(&self, token: Option<String>, file: &str, filaments: Vec<Planned>) {
        let running: BTreeMap<usize, SlotId> =
            filaments.iter().filter_map(|planned| Some((planned.index, planned.slot?))).collect();
        {
            let choices = self.choices.borrow().clone();
            let state = self.printer.state();
            let mut ledger = self.ledger();
            // The next job can begin before the end of the last one was seen here.
            if let Some(run) = &mut ledger.run
                && ended_meanwhile(&state)
            {
                finish(run, &at_printer(&state), &choices);
            }
            ledger.close();
            ledger.run = Some(Run { token, file: file.to_owned(), filaments, ..Run::default() });
            (ledger.restored, ledger.kept) = (false, 0.0);
        }
        self.keep_durably().await;
        self.choose(|choices| choices.running = running);
    }

    async fn job_started(&self, job: &Job) {
        {
            let mut ledger = self.ledger();
            if ledger.run.as_ref().is_some_and(|run| is_run(run, job)) {
                ledger.restored = false;
                let running = ledger.run.iter().flat_map(|run| &run.filaments);
                let running: BTreeMap<usize, SlotId> =
                    running.filter_map(|planned| Some((planned.index, planned.slot?))).collect();
                drop(ledger);
                self.choose(|choices| choices.running = running);
                return;
            }
        }
        // Started at the printer's own screen: its filaments are those of the file, if that is known here.
        let filaments = match &job.file {
            Some(file) => match self.library.record(file).await {
                Ok(record) => weights(&record.metadata, job.plate),
                Err(_unknown) => Vec::new(),
            },
            None => Vec::new(),
        };
        let name = job.file.as_deref().or(job.title.as_deref()).unwrap_or_default();
        self.begin(job.token.clone(), name, filaments).await;
    }

    /// The newest report: progress, and what feeds.
    async fn observe(&self, state: &PrinterState) {
        let job = &state.job;
        let (mut ended, mut keep) = (None, false);
        {
            let choices = self.choices.borrow().clone();
            let mut ledger = self.ledger();
            let (restored, kept) = (ledger.restored, ledger.kept);
            if let Some(run) = &mut ledger.run {
                if is_run(run, job) && job.phase.active() {
                    let before = (run.feeding, run.filaments.clone());
                    self.account(run, state, &choices);
                    keep =
                        before != (run.feeding, run.filaments.clone()) || run.accounted - kept >= KEEP_STEP;
                } else if restored && ended_meanwhile(state) && (run.accounted > 0.0 || job.phase.ended()) {
                    ended = Some(left(run, state));
                }
            }
        }
        if keep {
            self.keep();
        }
        if let Some(job) = ended {
            self.job_ended(&job).await;
        }
        if !job.phase.active() && believed(state) {
            self.forget_removed(state);
        }
    }

    fn account(&self, run: &mut Run, state: &PrinterState, choices: &super::Choices) {
        let active = state.device.filament.active;
        if run.feeding.is_none()
            && let Some(slot) = active
        {
            run.feeds(slot);
        }
        if matches!(state.job.phase, JobPhase::Printing | JobPhase::Pausing | JobPhase::Paused) {
            run.advance(state.job.progress, |slot| choices.spool(slot));
        }
        if let Some(slot) = active.filter(|_| state.job.phase == JobPhase::Printing) {
            run.feeds(slot);
        }
    }

    /// Also for a run of which only the end was seen.
    async fn job_ended(&self, job: &Job) {
        let choices = self.choices.borrow().clone();
        let closed = {
            let mut ledger = self.ledger();
            if let Some(run) = &mut ledger.run {
                finish(run, job, &choices);
            }
            ledger.restored = false;
            ledger.close()
        };
        let Some(run) = closed else { return };
        self.keep_durably().await;
        let printed = run.accounted > 0.0;
        self.choose(|choices| {
            choices.running.clear();
            // A map is for one print; a start that failed before it printed can be repeated with it.
            if printed {
                choices.reset_map();
            }
        });
        self.reports_due.notify_one();
        if !run.used.is_empty() {
            self.printer.writer().console(Speaker::Answer, told(&run));
        }
    }

    fn forget_removed(&self, state: &PrinterState) {
        let mut gone = Vec::new();
        self.choose(|choices| gone = choices.forget_removed(&state.device.filament));
        for slot in gone {
            let text = format!("The spool of slot {slot} was taken out: say which spool is in it now.");
            self.printer.writer().console(Speaker::Answer, text);
        }
    }

    fn ledger_value(&self) -> Option<serde_json::Value> {
        let mut ledger = self.ledger();
        ledger.kept = ledger.run.as_ref().map_or(0.0, |run| run.accounted);
        serde_json::to_value(&*ledger).ok()
    }

    /// On disk within a second.
    fn keep(&self) {
        if let Some(value) = self.ledger_value()
            && let Err(error) = self.store.put(&self.space, LEDGER, value)
        {
            tracing::error!(%error, "The filament account is kept in memory only.");
        }
    }

    /// On disk when it returns; false when the disk cannot be written.
    pub async fn keep_durably(&self) -> bool {
        let Some(value) = self.ledger_value() else { return false };
        let kept = self.store.put_durably(&self.space, LEDGER, value).await;
        if let Err(error) = &kept {
            tracing::error!(%error, "The filament account is kept in memory only.");
        }
        kept.is_ok()
    }
}

/// The run ended while the gateway was away: the printer itself says that it does not print any more.
fn ended_meanwhile(state: &PrinterState) -> bool {
    believed(state) && !state.device.job.stage.active()
}

/// How the printer left a run: by the job as it is followed, else, where nothing follows it after a restart, by the
/// printer's own last word of it.
fn left(run: &Run, state: &PrinterState) -> Job {
    if is_run(run, &state.job) { state.job.clone() } else { at_printer(state) }
}

/// Accounts for a run up to its end, if this job is the run.
fn finish(run: &mut Run, job: &Job, choices: &super::Choices) {
    if is_run(run, job) {
        // Of a run that was not seen printing the printer may still show the figures of the one before (bambu.md T10).
        let stale = run.accounted == 0.0 && job.progress >= ALL_BUT_COMPLETE;
        let progress = match job.phase {
            JobPhase::Complete => 1.0,
            _ if stale => 0.0,
            _ => job.progress,
        };
        run.advance(progress, |slot| choices.spool(slot));
    }
}

/// The job as the printer itself shows it, running or ended.
fn at_printer(state: &PrinterState) -> Job {
    let device = &state.device.job;
    let phase = match device.stage {
        DeviceStage::Finished => JobPhase::Complete,
        DeviceStage::Cancelled => JobPhase::Cancelled,
        DeviceStage::Failed => JobPhase::Failed,
        _ => JobPhase::Idle,
    };
    Job {
        phase,
        token: device.token.clone(),
        file: device.file.clone(),
        title: device.title.clone(),
        progress: device.progress.unwrap_or(0.0),
        ..Job::default()
    }
}

/// The printer is heard and says what it does.
fn believed(state: &PrinterState) -> bool {
    state.online() && state.device.job.stage != DeviceStage::Unknown
}

fn told(run: &Run) -> String {
    let part = |used: &super::Used| {
        let place = used.slot.map_or_else(|| "an unknown slot".to_owned(), |slot| format!("slot {slot}"));
        let spool = used.spool.map(|spool| format!(" (spool {spool})")).unwrap_or_default();
        format!("{:.1} g from {place}{spool}", used.grams)
    };
    let parts: Vec<String> = run.used.iter().map(part).collect();
    format!("Filament used by \"{}\", by the sliced weights: {}.", run.file, parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a restart the printer is heard before its job is followed again.
    #[test]
    fn a_run_that_ended_unseen_is_closed_by_the_printers_own_word() {
        let run = Run { token: Some("77".into()), file: "a.gcode".into(), accounted: 0.4, ..Run::default() };
        let mut state = PrinterState::default();
        state.link.phase = crate::model::LinkPhase::Online;
        state.device.job.token = Some("77".into());
        state.device.job.progress = Some(0.6);
        state.device.job.stage = DeviceStage::Printing;
        assert!(!ended_meanwhile(&state), "it still prints");
        state.device.job.stage = DeviceStage::Finished;
        assert!(ended_meanwhile(&state));
        let job = left(&run, &state);
        assert!(is_run(&run, &job) && job.phase == JobPhase::Complete);
        state.device.job.stage = DeviceStage::Failed;
        assert_eq!((left(&run, &state).phase, left(&run, &state).progress), (JobPhase::Failed, 0.6));
        // Another job, or a printer that was switched off and on, says nothing of this run.
        state.device.job.token = Some("78".into());
        assert!(!is_run(&run, &left(&run, &state)));
    }
}
