//! The job and what else the machine is busy with (bambu.md 3.5, 3.6, T8 to T10).

use serde_json::Value;

use super::Source;
use super::ams::slot_of_code;
use crate::drivers::bambu::faults;
use crate::drivers::bambu::field::{at, int, list, num, small, text};
use crate::drivers::bambu::stages;
use crate::model::text::base_name;
use crate::model::{Activity, DeviceJob, DeviceStage};

/// Internal paths of extracted jobs, which are not names of files (bambu.md 5.4).
const INTERNAL: &str = "/data/";

/// Where the printer says its job is.
fn stage(tree: &Value, cancelled: bool) -> DeviceStage {
    let state = text(at(tree, "/gcode_state")).unwrap_or_default().to_ascii_uppercase();
    match state.as_str() {
        "IDLE" => DeviceStage::Idle,
        "PREPARE" | "SLICING" => DeviceStage::Preparing,
        // The second words are those of bridges and emulated printers.
        "RUNNING" | "PRINTING" => DeviceStage::Printing,
        "PAUSE" | "PAUSED" => DeviceStage::Paused,
        "FINISH" | "FINISHED" => DeviceStage::Finished,
        "FAILED" if cancelled => DeviceStage::Cancelled,
        "FAILED" => DeviceStage::Failed,
        _ => DeviceStage::Unknown,
    }
}

pub(super) fn job(source: Source<'_>) -> DeviceJob {
    let tree = source.tree();
    let stage = stage(tree, source.reports.cancelled());
    // A job that waits for its plate or its filament before the first layer.
    let unbegun = stage == DeviceStage::Paused && source.reports.unbegun();
    let figures = Figures::read(tree, if unbegun { DeviceStage::Preparing } else { stage });
    DeviceJob {
        stage,
        detail: stage.active().then(|| step(tree)).flatten().and_then(stages::detail),
        file: file(tree),
        title: text(at(tree, "/subtask_name")).or_else(|| calibration_title(tree)),
        token: text(at(tree, "/subtask_id")).filter(|token| token != "0"),
        plate: plate(tree),
        progress: figures.progress,
        remaining_s: figures.remaining_s,
        total_s: None,
        print_s: None,
        layer: figures.layer,
        total_layers: figures.total_layers,
        filament_used_mm: None,
        reason: (stage == DeviceStage::Failed).then(|| faults::failure_reason(tree)).flatten(),
        skipped: list(at(tree, "/s_obj")).iter().filter_map(small).collect(),
        mapping: list(at(tree, "/mapping")).iter().map(|code| slot_of_code(small(code)?)).collect(),
    }
}

#[derive(Default)]
struct Figures {
    progress: Option<f64>,
    remaining_s: Option<f64>,
    layer: Option<u32>,
    total_layers: Option<u32>,
}

impl Figures {
    /// Figures of the job before are still reported while the next one prepares, and a failed one keeps its remaining
    /// time for ever: they are shown only where they mean this job (bambu.md T10).
    fn read(tree: &Value, stage: DeviceStage) -> Self {
        let progress =
            number(tree, ["/mc_percent", "/percent"]).map(|percent| percent.clamp(0.0, 100.0) / 100.0);
        let layer = number(tree, ["/layer_num", "/3D/layer_num"]).and_then(count);
        let total_layers = number(tree, ["/total_layer_num", "/3D/total_layer_num"]).and_then(count);
        match stage {
            DeviceStage::Unknown => Self::default(),
            DeviceStage::Idle => {
                Self { progress: Some(0.0), remaining_s: Some(0.0), layer: Some(0), total_layers: None }
            }
            DeviceStage::Preparing => {
                Self { progress: Some(0.0), remaining_s: None, layer: Some(0), total_layers: None }
            }
            _ if stage.ended() => Self {
                progress,
                remaining_s: Some(0.0),
                layer,
                total_layers: total_layers.filter(|n| *n > 0),
            },
            _ => Self {
                progress,
                remaining_s: number(tree, ["/mc_remaining_time", "/remain_time"])
                    .filter(|minutes| *minutes >= 0.0)
                    .map(|minutes| minutes * 60.0),
                layer,
                total_layers: total_layers.filter(|n| *n > 0),
            },
        }
    }
}

fn number(tree: &Value, keys: [&str; 2]) -> Option<f64> {
    keys.iter().find_map(|key| num(at(tree, key)))
}

fn count(value: f64) -> Option<u32> {
    (0.0..1e6).contains(&value).then_some(value as u32)
}

/// The number of the current step; newer firmware may nest it.
fn step(tree: &Value) -> Option<i64> {
    int(at(tree, "/stg_cur")).or_else(|| int(at(tree, "/stage/_id")))
}

fn file(tree: &Value) -> Option<String> {
    let path = text(at(tree, "/gcode_file"))?;
    let name = base_name(&path);
    (!path.starts_with(INTERNAL) && !name.is_empty()).then(|| name.to_owned())
}

/// From `/data/Metadata/plate_3.gcode`, else from the plate index (bambu.md 5.5).
fn plate(tree: &Value) -> Option<u32> {
    let of_path = text(at(tree, "/gcode_file")).and_then(|path| {
        let number = base_name(&path).strip_prefix("plate_")?.strip_suffix(".gcode")?;
        number.parse().ok()
    });
    of_path.or_else(|| small(at(tree, "/plate_idx"))).filter(|plate| *plate > 0)
}

fn is_calibration(tree: &Value) -> bool {
    text(at(tree, "/print_type")).as_deref() == Some("system")
}

fn calibration_title(tree: &Value) -> Option<String> {
    is_calibration(tree).then(|| "Calibration".to_owned())
}

pub(super) fn activity(source: Source<'_>) -> Activity {
    let tree = source.tree();
    let stage = stage(tree, source.reports.cancelled());
    if stage.active() {
        return Activity::Job;
    }
    let upgrading = text(at(tree, "/upgrade_state/status")).is_some_and(|status| {
        ["DOWNLOADING", "FLASHING", "UPGRADING", "START"].contains(&status.to_ascii_uppercase().as_str())
    });
    if upgrading {
        return Activity::Updating;
    }
    if stage == DeviceStage::Unknown {
        // Right after power on the state is told, and empty (bambu.md 3.5): everything else may be of the time before.
        let starts = at(tree, "/gcode_state").as_str().is_some_and(|state| {
            let state = state.trim();
            state.is_empty() || state.eq_ignore_ascii_case("INIT")
        });
        return if starts { Activity::Busy("starting up".to_owned()) } else { Activity::Unknown };
    }
    match int(at(tree, "/ams_status")).map(|status| status >> 8) {
        Some(1) => Activity::Busy("changing filament".to_owned()),
        Some(2) => Activity::Busy("reading a spool tag".to_owned()),
        Some(4) => Activity::Busy("calibrating the filament system".to_owned()),
        // The step is not asked: P1S rarely reports it in deltas, so an old one would block starts for ever.
        _ => Activity::Idle,
    }
}
