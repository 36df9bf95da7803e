//! Follows the job through the printer's reports, and tells what changed (pure).
//!
//! The printer's own report decides what is true; the gateway adds the phases that a printer does not have
//! (Transferring, Starting, and Pausing/Resuming/Cancelling while a command waits for its effect), keeps the end
//! figures that printers wipe, and tells a fresh run from an old one.

use crate::model::{
    DeviceStage, Event, Fault, Job, JobOrigin, JobPhase, LinkPhase, PrinterState, UnixSeconds, is_passed,
};

/// The gateway's count of the printing time and the printer's own may differ by so much, in seconds: reports are that old.
const COUNTS_DIFFER: f64 = 1.5;
/// Progress from which a job that simply vanished is taken as complete (elegoo.md 3.9).
const COMPLETE_FROM: f64 = 0.99;

/// Brings `next.job` up to date with `next.device`, and lists the events between the two snapshots.
pub fn follow(before: &PrinterState, next: &mut PrinterState, now: UnixSeconds, events: &mut Vec<Event>) {
    let ended_here =
        before.job.phase.active() && next.job.phase.ended() && next.job.serial == before.job.serial;
    if ended_here {
        // By the gateway, perhaps because the printer prints something else: first it is told how that ended.
        count_printing(&mut next.job, now);
        list_events(before, next, events);
        let ended = next.clone();
        return follow_on(&ended, next, now, events);
    }
    follow_on(before, next, now, events);
}

fn follow_on(before: &PrinterState, next: &mut PrinterState, now: UnixSeconds, events: &mut Vec<Event>) {
    if reports_count(next) {
        follow_job(before, next, now);
        believe_count(before, next, now);
    }
    count_printing(&mut next.job, now);
    list_events(before, next, events);
}

/// The wall clock was set by so many seconds: what is under way has lasted no longer for that.
pub fn shift(job: &mut Job, by: f64) {
    if by == 0.0 || !job.phase.active() {
        return;
    }
    for time in [&mut job.started_at, &mut job.printing_since].into_iter().flatten() {
        *time += by;
    }
}

/// A report is believed from the first complete one on.
fn reports_count(state: &PrinterState) -> bool {
    matches!(state.link.phase, LinkPhase::Online | LinkPhase::Stale | LinkPhase::Syncing)
        && state.device.job.stage != DeviceStage::Unknown
}

fn follow_job(before: &PrinterState, next: &mut PrinterState, now: UnixSeconds) {
    let stage = next.device.job.stage;
    match next.job.phase {
        JobPhase::Transferring => {}
        JobPhase::Starting => {
            if is_ours(next) && stage.active() {
                adopt(next);
            } else if is_ours(next) && stage.ended() && before.device.job.stage != stage {
                end(next, now);
            }
        }
        phase if phase.active() => {
            if stage.active() && (is_another_run(before, next) || began_unseen(before, next)) {
                begin_elsewhere(next, now);
            } else if stage.active() {
                adopt(next);
            } else {
                end(next, now);
            }
        }
        _ if stage.active() => begin_elsewhere(next, now),
        // `found_ended` on an idle job: the user has forgotten this end already.
        JobPhase::Idle if stage.ended() && !next.job.found_ended => {
            next.job = Job { serial: next.job.serial, found_ended: true, ..Job::default() };
            copy_figures(next);
            next.job.phase = end_phase(next);
            round_off(&mut next.job);
        }
        _ => {}
    }
}

/// The report shows the run that we started: by its token where the printer echoes it, else by being active.
fn is_ours(state: &PrinterState) -> bool {
    match (&state.device.job.token, &state.job.token) {
        (Some(theirs), Some(ours)) => theirs == ours,
        _ => state.device.job.stage.active(),
    }
}

fn is_another_run(before: &PrinterState, next: &PrinterState) -> bool {
    let (old, new) = (&before.device.job, &next.device.job);
    let other = match (&old.token, &new.token) {
        (Some(was), Some(is)) => was != is && !was.is_empty() && !is.is_empty(),
        // Runs without numbers: the driver no longer knows it as ours, and it goes by another title.
        (Some(_), None) => old.title.is_some() && new.title.is_some() && old.title != new.title,
        _ => false,
    };
    other && next.job.token.is_some() && next.job.token != new.token
}

/// The first report of a new link shows the same title without a number, and less far than the run was: nobody saw that
/// one end. How far a run is that only prepares says nothing: figures of the last one may stand there (bambu.md T10).
fn began_unseen(before: &PrinterState, next: &PrinterState) -> bool {
    let new = &next.device.job;
    before.link.phase == LinkPhase::Syncing
        && matches!(new.stage, DeviceStage::Printing | DeviceStage::Paused)
        && new.token.is_none()
        && new.progress.is_some_and(|progress| is_passed(next.job.progress, progress))
}

fn begin_elsewhere(state: &mut PrinterState, now: UnixSeconds) {
    let late_start_of_ours = state.job.token.is_some() && state.job.token == state.device.job.token;
    let origin = if late_start_of_ours { state.job.origin } else { JobOrigin::Elsewhere };
    let file = if late_start_of_ours { state.job.file.take() } else { None };
    let elapsed = state.device.job.total_s.or(state.device.job.print_s).unwrap_or(0.0);
    state.job = Job {
        serial: state.job.serial + 1,
        origin,
        file,
        token: state.device.job.token.clone(),
        started_at: Some(now - elapsed),
        printed_s: state.device.job.print_s.unwrap_or(0.0),
        ..Job::default()
    };
    adopt(state);
}

/// Takes phase and figures from the report.
fn adopt(state: &mut PrinterState) {
    let reported = match state.device.job.stage {
        DeviceStage::Printing => JobPhase::Printing,
        DeviceStage::Pausing => JobPhase::Pausing,
        DeviceStage::Paused => JobPhase::Paused,
        DeviceStage::Resuming => JobPhase::Resuming,
        DeviceStage::Cancelling => JobPhase::Cancelling,
        _ => JobPhase::Preparing,
    };
    let fulfilled = matches!(
        (state.job.requested, reported),
        (Some(JobPhase::Pausing), JobPhase::Paused)
            | (Some(JobPhase::Resuming), JobPhase::Printing | JobPhase::Preparing)
    );
    if fulfilled {
        state.job.requested = None;
    }
    let phase = state.job.requested.unwrap_or(reported);
    let paused = state.job.out_of_pause || state.job.phase == JobPhase::Paused;
    state.job.out_of_pause = phase == JobPhase::Cancelling && paused;
    state.job.phase = phase;
    if state.job.token.is_none() {
        state.job.token = state.device.job.token.clone();
    }
    copy_figures(state);
}

fn copy_figures(state: &mut PrinterState) {
    let device = &state.device.job;
    let job = &mut state.job;
    if let Some(progress) = device.progress {
        job.progress = progress.clamp(0.0, 1.0);
    }
    job.remaining_s = device.remaining_s;
    job.layer = device.layer;
    job.total_layers = device.total_layers.or(job.total_layers);
    job.filament_used_mm = device.filament_used_mm.or(job.filament_used_mm);
    job.plate = device.plate.or(job.plate);
    job.title = device.title.clone().or_else(|| device.file.clone()).or(job.title.take());
    job.detail = device.detail.as_ref().map(|detail| detail.text.clone());
    job.skipped.clone_from(&device.skipped);
}

fn end(state: &mut PrinterState, now: UnixSeconds) {
    let phase = end_phase(state);
    count_until(&mut state.job, now);
    let device = &state.device.job;
    let job = &mut state.job;
    // Reports are seconds apart: the one that tells the end tells how far it came. Wiped figures are lower; those of a
    // job that never printed may be of the job before (bambu.md T10).
    let printed = job.printed_s > 0.0 || job.progress > 0.0;
    if device.stage.ended() && printed {
        job.progress = device.progress.map_or(job.progress, |last| job.progress.max(last.clamp(0.0, 1.0)));
        job.layer = job.layer.max(device.layer);
        job.filament_used_mm = at_least(job.filament_used_mm, device.filament_used_mm);
    }
    job.reason = match phase {
        JobPhase::Failed => device
            .reason
            .clone()
            .or_else(|| state.device.faults.first().map(Fault::line))
            .or_else(|| Some("The printer stopped the job without giving a reason.".to_owned())),
        JobPhase::Cancelled => device.reason.clone(),
        _ => None,
    };
    job.phase = phase;
    job.requested = None;
    job.ended_at = Some(now);
    job.remaining_s = None;
    job.detail = None;
    round_off(job);
}

/// A complete job is done to its last layer, whatever the last report said.
fn round_off(job: &mut Job) {
    if job.phase == JobPhase::Complete {
        job.progress = 1.0;
        job.layer = job.total_layers.or(job.layer);
    }
}

fn at_least(known: Option<f64>, told: Option<f64>) -> Option<f64> {
    match (known, told) {
        (Some(known), Some(told)) => Some(known.max(told)),
        (known, told) => known.or(told),
    }
}

/// The last figures are those of a job that has come to its end.
fn is_done(state: &PrinterState) -> bool {
    state.device.job.progress.unwrap_or(state.job.progress).max(state.job.progress) >= COMPLETE_FROM
}

fn end_phase(state: &PrinterState) -> JobPhase {
    let cancelling =
        state.job.requested == Some(JobPhase::Cancelling) || state.job.phase == JobPhase::Cancelling;
    match state.device.job.stage {
        // Some firmware calls a stopped job finished. What was done to the end before the stop came is complete.
        DeviceStage::Finished if cancelling && !is_done(state) => JobPhase::Cancelled,
        DeviceStage::Finished => JobPhase::Complete,
        DeviceStage::Cancelled => JobPhase::Cancelled,
        DeviceStage::Failed if cancelling => JobPhase::Cancelled,
        DeviceStage::Failed => JobPhase::Failed,
        _ if cancelling => JobPhase::Cancelled,
        _ if state.job.progress >= COMPLETE_FROM => JobPhase::Complete,
        _ => JobPhase::Failed,
    }
}

/// The printer's own count of the printing time where it tells one (elegoo.md 4.1); the gateway counts between two reports.
fn believe_count(before: &PrinterState, next: &mut PrinterState, now: UnixSeconds) {
    let told = next.device.job.print_s.filter(|_| next.device.job.print_s != before.device.job.print_s);
    let job = &mut next.job;
    let counts = matches!(
        job.phase,
        JobPhase::Printing | JobPhase::Pausing | JobPhase::Paused | JobPhase::Resuming | JobPhase::Cancelling
    );
    let Some(told) = told.filter(|_| counts) else { return };
    let ahead = job.print_seconds(now) - told;
    if !(0.0..=COUNTS_DIFFER).contains(&ahead) {
        job.printed_s = told;
        job.printing_since = job.printing_since.map(|_| now);
    }
}

/// Keeps the count of printing seconds: runs only in Printing.
fn count_printing(job: &mut Job, now: UnixSeconds) {
    if job.phase == JobPhase::Printing {
        job.printing_since.get_or_insert(now);
    } else {
        count_until(job, now);
    }
}

fn count_until(job: &mut Job, now: UnixSeconds) {
    if let Some(since) = job.printing_since.take() {
        job.printed_s += (now - since).max(0.0);
    }
}

fn list_events(before: &PrinterState, next: &PrinterState, events: &mut Vec<Event>) {
    if before.link.phase != next.link.phase {
        events.push(Event::LinkChanged(next.link.phase));
    }
    let (old, new) = (&before.job, &next.job);
    let fresh = new.serial != old.serial;
    if old.phase.active() && (fresh || new.phase.ended()) {
        let unseen = || Job {
            phase: JobPhase::Failed,
            reason: Some("Another job began before this one was seen to end.".to_owned()),
            ..old.clone()
        };
        let ended = if fresh { unseen() } else { new.clone() };
        events.push(Event::JobEnded(Box::new(ended)));
    }
    if new.phase.active() && (fresh || !old.phase.active()) {
        events.push(Event::JobStarted(Box::new(new.clone())));
    }
    let paused = |phase: JobPhase| matches!(phase, JobPhase::Paused | JobPhase::Resuming);
    if !fresh && !paused(old.phase) && new.phase == JobPhase::Paused {
        events.push(Event::JobPaused(Box::new(new.clone())));
    }
    if !fresh && paused(old.phase) && matches!(new.phase, JobPhase::Printing | JobPhase::Preparing) {
        events.push(Event::JobResumed(Box::new(new.clone())));
    }
    let known = |faults: &[Fault], code: &str| faults.iter().any(|fault| fault.code == code);
    for fault in &next.device.faults {
        if !known(&before.device.faults, &fault.code) {
            events.push(Event::FaultRaised(Box::new(fault.clone())));
        }
    }
    for fault in &before.device.faults {
        if !known(&next.device.faults, &fault.code) {
            events.push(Event::FaultCleared(Box::new(fault.clone())));
        }
    }
}

#[cfg(test)]
#[path = "track_tests.rs"]
mod tests;
