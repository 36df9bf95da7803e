//! The job: `print_stats` and what goes with it (moonraker.md 3.1, 2.16).

use serde_json::{Value, json};

use super::{Builder, Input};
use crate::model::{Control, Job, JobPhase};

pub fn add(builder: &mut Builder, input: &Input<'_>) {
    let job = &input.state.job;
    let state = state_word(input);
    builder.object("print_stats", print_stats(input, state));
    builder.object("virtual_sdcard", virtual_sdcard(input, state));
    builder.object("display_status", json!({"progress": rounded(job.progress), "message": message(input)}));
    builder.object("pause_resume", json!({"is_paused": state == "paused"}));
    // As Klipper while a G-code runs: clients keep their controls away from a machine that is busy by itself.
    let busy = input.state.device.activity.occupation().is_some();
    let timeout = if state == "printing" || (busy && !job.phase.active()) { "Printing" } else { "Ready" };
    let printing_time = if state == "printing" { job.total_seconds(input.now) } else { 0.0 };
    builder.object("idle_timeout", json!({"state": timeout, "printing_time": tenths(printing_time)}));
}

/// One of the six words that clients know, never a transient `standby` within a job (moonraker.md 2.10).
pub fn state_word(input: &Input<'_>) -> &'static str {
    let job = &input.state.job;
    if input.klippy.state == "shutdown" && job.phase.active() {
        return "error";
    }
    match job.phase {
        JobPhase::Idle => "standby",
        JobPhase::Paused | JobPhase::Resuming => "paused",
        JobPhase::Complete => "complete",
        JobPhase::Cancelled => "cancelled",
        JobPhase::Failed => "error",
        // As with Klipper, where a paused job is cancelled without being resumed.
        JobPhase::Cancelling if job.out_of_pause => "paused",
        JobPhase::Cancelling if input.state.device.job.stage == crate::model::DeviceStage::Paused => "paused",
        _ => "printing",
    }
}

/// The path under which the library lists the file; a job of the printer's own has only a title.
pub fn file_name(job: &Job) -> &str {
    job.file.as_deref().or(job.title.as_deref()).unwrap_or("")
}

fn print_stats(input: &Input<'_>, state: &str) -> Value {
    let job = &input.state.job;
    let shown = job.phase != JobPhase::Idle;
    let (used, total) = (filament_used(input), filament_total(input));
    // As Klipper's print_stats.py: the clock of printing starts with the first filament. Mobileraker's companion divides
    // by what was used as soon as both clock and total are known.
    let extruding = used > 0.0 || total.is_none();
    json!({
        "filename": if shown { file_name(job) } else { "" },
        "total_duration": if shown { tenths(job.total_seconds(input.now)) } else { 0.0 },
        "print_duration": if shown && extruding { tenths(job.print_seconds(input.now)) } else { 0.0 },
        "filament_used": used,
        "state": state,
        "message": problem(input),
        "info": {"total_layer": job.total_layers, "current_layer": job.layer},
    })
}

/// As reported, else the slicer's total in proportion to the progress.
fn filament_used(input: &Input<'_>) -> f64 {
    let job = &input.state.job;
    if job.phase == JobPhase::Idle {
        return 0.0;
    }
    // A printer that counts none reports none, however far it is.
    let reported = job.filament_used_mm.filter(|used| *used > 0.0);
    tenths(reported.or_else(|| filament_total(input).map(|total| total * job.progress)).unwrap_or(0.0))
}

/// Millimetres that the slicer expects of the whole file.
fn filament_total(input: &Input<'_>) -> Option<f64> {
    input.file.and_then(|file| file.metadata.get("filament_total_mm")).and_then(Value::as_f64)
}

/// Why the job ended or waits: faults while it runs, the reason at its end.
fn problem(input: &Input<'_>) -> String {
    let job = &input.state.job;
    match job.phase {
        JobPhase::Failed | JobPhase::Cancelled => job.reason.clone().unwrap_or_default(),
        phase if phase.active() => {
            input.state.faults().next().map(crate::model::Fault::line).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// The line on the display: the transfer, the step, or why the printer is busy.
fn message(input: &Input<'_>) -> Option<String> {
    let job = &input.state.job;
    if let (JobPhase::Transferring, Some(transfer)) = (job.phase, job.transfer) {
        let percent = (transfer.sent * 100).checked_div(transfer.total).unwrap_or(0);
        return Some(format!("Sending the file to the printer: {percent} %"));
    }
    match (job.phase, input.state.device.activity.occupation()) {
        (JobPhase::Starting, _) => Some("Waiting for the printer to start".to_owned()),
        (phase, _) if phase.active() => job.detail.clone(),
        (_, Some(what)) => Some(what.to_owned()),
        // A printer that may only be watched looks like any other to the UIs: here they show why nothing is obeyed.
        _ => match &input.state.control {
            Control::ReadOnly(reason) => Some(format!("Read only: {reason}")),
            _ => None,
        },
    }
}

fn virtual_sdcard(input: &Input<'_>, state: &str) -> Value {
    let job = &input.state.job;
    let size = input.file.map(|file| file.size).or(job.transfer.map(|transfer| transfer.total)).unwrap_or(0);
    let path = job.file.as_ref().filter(|_| job.phase != JobPhase::Idle);
    // Clients compute the same progress from position and size: the printers report percent only.
    let position = (job.progress.clamp(0.0, 1.0) * size as f64) as u64;
    json!({
        "file_path": path.map(|path| input.library.join(path).to_string_lossy().into_owned()),
        "progress": rounded(job.progress),
        "is_active": state == "printing",
        "file_position": if path.is_some() { position } else { 0 },
        "file_size": if path.is_some() { size } else { 0 },
    })
}

fn rounded(ratio: f64) -> f64 {
    (ratio.clamp(0.0, 1.0) * 10_000.0).round() / 10_000.0
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
