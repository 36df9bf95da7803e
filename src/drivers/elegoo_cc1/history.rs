//! What the printer remembers of past runs (Cmd 320 and 321; pure; elegoo.md 2.11).

use serde_json::Value;

use super::codes;
use crate::drivers::elegoo::field::{int, list, num, text};
use crate::drivers::elegoo::place::Video;
use crate::drivers::elegoo::runs::PastRun;
use crate::model::DeviceStage;
use crate::model::text::base_name;

/// Runs asked for with one Cmd 321; the printer keeps fifty.
const PAST_RUNS: usize = 10;

/// How a job ended, by the printer's history.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub stage: DeviceStage,
    pub reason: Option<String>,
}

/// The ids of the newest runs (Cmd 320), as many as one question may hold.
pub fn newest_runs(data: &Value) -> Vec<String> {
    list(data, "HistoryData").iter().filter_map(Value::as_str).take(PAST_RUNS).map(str::to_owned).collect()
}

/// The runs of Cmd 321, oldest first whatever the order told.
pub fn history(data: &Value) -> Vec<PastRun> {
    let run = |item: &Value| {
        let end = match int(item, "TaskStatus")? {
            1 => Some(DeviceStage::Finished),
            2 => Some(DeviceStage::Failed),
            3 => Some(DeviceStage::Cancelled),
            _ => None,
        };
        let begun = num(item, "BeginTime").filter(|time| *time > 0.0);
        Some(PastRun {
            id: text(item, "TaskId")?.to_owned(),
            file: base_name(text(item, "TaskName").unwrap_or_default()).to_owned(),
            begun,
            lasted: PastRun::lasted(begun, num(item, "EndTime")),
            end,
            reason: int(item, "ErrorStatusReason").and_then(codes::reason),
        })
    };
    let mut runs: Vec<PastRun> = list(data, "HistoryDetailList").iter().filter_map(run).collect();
    runs.sort_by(|a, b| a.begun.unwrap_or(0.0).total_cmp(&b.begun.unwrap_or(0.0)));
    runs
}

/// The videos of the runs of Cmd 321: `TimeLapseVideoStatus` 1 is ready (elegoo.md 2.11).
pub fn videos(data: &Value) -> Vec<Video> {
    let ready = |item: &&Value| int(item, "TimeLapseVideoStatus") == Some(1);
    let video = |item: &Value| {
        let url = text(item, "TimeLapseVideoUrl").filter(|url| !base_name(url).is_empty())?;
        let modified = num(item, "EndTime").filter(|time| *time > 0.0);
        Some(Video { url: url.to_owned(), size: 0, modified, made: true })
    };
    list(data, "HistoryDetailList").iter().filter(ready).filter_map(video).collect()
}

/// How the run of this id ended.
pub fn verdict(data: &Value, task: &str) -> Option<Verdict> {
    let past = history(data).into_iter().find(|past| past.id == task)?;
    Some(Verdict { stage: past.end?, reason: past.reason })
}
