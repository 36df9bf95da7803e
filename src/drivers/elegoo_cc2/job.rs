//! The job in the merged status (pure; elegoo.md 3.7, 3.9, 4.1).

use serde_json::Value;

use super::codes;
use super::reduce::Wish;
use crate::drivers::elegoo::field::{as_int, count, int, list, num, percent, seconds, text};
use crate::drivers::elegoo::figures::{Figures, Reckoning};
use crate::drivers::elegoo::names::same_file;
use crate::drivers::elegoo::place::{Medium, Video};
use crate::drivers::elegoo::runs::{PastRun, Runs, SAME_START};
use crate::model::text::base_name;
use crate::model::{Device, DeviceJob, DeviceStage, Severity, StageDetail};

/// `speed_mode` flickers per move on 02.01.00.00: a mode counts once it has held this long, in seconds.
const SPEED_HOLDS: f64 = 5.0;
/// Progress from which a job that went idle unseen was complete (elegoo.md 3.9).
const COMPLETE_FROM: f64 = 0.99;
const STOPPED: &str = "The printer's list of jobs says that it was stopped.";

/// What later reports need to know of earlier ones. Lives as long as the driver.
#[derive(Debug, Default)]
pub struct Memory {
    pub runs: Runs,
    uuid: Option<String>,
    file: Option<String>,
    /// When the run began, in Unix seconds by our clock.
    begun: Option<f64>,
    last_progress: f64,
    reckoning: Reckoning,
    /// File of our last start, and where it lies: the status does not say.
    started: Option<(String, Medium)>,
    pub(super) speed: SpeedMode,
    /// The mode our user chose for this job.
    pub wanted_mode: Option<i64>,
    pub(super) swapping: bool,
    /// Layers of a file by method 1046, for slicers that do not write them into the status.
    layers: Option<(String, u32)>,
    layers_asked: Option<String>,
    held: bool,
    verdict: Option<DeviceStage>,
    /// What the history says of an earlier gateway's run.
    past: Option<PastRun>,
    /// Text of a fatal exception of this run.
    fatal: Option<String>,
    /// We sent a cancel: what follows is no failure.
    pub asked_to_stop: bool,
    pub(super) last_sub: i64,
}

/// `speed_mode` without its flicker.
#[derive(Debug, Default)]
pub struct SpeedMode {
    shown: Option<i64>,
    candidate: Option<(i64, f64)>,
}

impl SpeedMode {
    /// Takes a reported mode and gives the one to show; `wanted` is believed at once.
    pub fn seen(&mut self, mode: i64, now: f64, wanted: Option<i64>) -> Option<i64> {
        let held = self.candidate.filter(|(candidate, _)| *candidate == mode).map(|(_, since)| now - since);
        if self.shown.is_none() || wanted == Some(mode) || held.is_some_and(|held| held >= SPEED_HOLDS) {
            self.shown = Some(mode);
        }
        if held.is_none() {
            self.candidate = Some((mode, now));
        }
        self.shown
    }
}

impl Memory {
    /// A new link: what was not watched is not known.
    pub fn reconnected(&mut self) {
        self.held = false;
        self.verdict = None;
        self.speed = SpeedMode::default();
        self.swapping = false;
        self.layers_asked = None;
    }

    /// The history's word on the run that ended; `None` where it has none.
    pub fn judge(&mut self, stage: Option<DeviceStage>) {
        self.held = false;
        self.verdict = Some(stage.unwrap_or(DeviceStage::Unknown));
    }

    /// How the run that just ended went, by the history: its entry is the one of its id, else the newest, if that is of the
    /// same file and began when the run did (elegoo.md 3.9).
    pub fn end_in(&self, history: &[PastRun]) -> Option<DeviceStage> {
        let by_id = history.iter().rev().find(|past| self.uuid.as_ref() == Some(&past.id));
        let begun = |past: &PastRun| past.begun.unwrap_or(0.0);
        let newest = || history.iter().max_by(|a, b| begun(a).total_cmp(&begun(b)));
        let ours = |past: &&PastRun| {
            let file = self.file.as_deref().is_some_and(|file| same_file(file, &past.file));
            file && self.begun.is_some_and(|ours| (ours - begun(past)).abs() <= SAME_START)
        };
        by_id.or_else(|| newest().filter(ours))?.end
    }

    /// A start of `file` is about to be sent.
    pub fn started_on(&mut self, file: &str, medium: Medium) {
        self.started = Some((file.to_owned(), medium));
    }

    /// Where a file of this name most likely lies.
    pub fn medium_of(&self, file: &str) -> Medium {
        let ours = self.started.as_ref().filter(|(started, _)| same_file(started, file));
        ours.map_or(Medium::Internal, |(_, medium)| *medium)
    }

    /// The history's word on the run of an earlier gateway; an empty history where it could not be read.
    pub fn recall(&mut self, history: &[PastRun]) {
        self.past = self.runs.recall(history);
    }

    /// The end of an earlier gateway's run has reached those who follow the printer, who look from Online on.
    pub fn told(&mut self) {
        self.past = None;
    }

    /// Method 1046 told the layers of `file`.
    pub fn learn_layers(&mut self, file: &str, info: &Value) {
        let layers = ["layer", "TotalLayers", "total_layer"].iter().find_map(|key| count(info, key));
        if let Some(layers) = layers.filter(|layers| *layers > 0) {
            self.layers = Some((file.to_owned(), layers));
        }
    }
}

/// `history_task_list` of 1036, oldest first. 2 and 3 are read both ways by clients: both count as stopped, and the
/// printer does not say by whom (elegoo.md 3.13).
pub fn history(result: &Value) -> Vec<PastRun> {
    let task = |task: &Value| {
        let (end, reason) = match int(task, "task_status")? {
            1 => (Some(DeviceStage::Finished), None),
            2 | 3 => (Some(DeviceStage::Cancelled), Some(STOPPED.to_owned())),
            _ => (None, None),
        };
        let begun = num(task, "begin_time").filter(|time| *time > 0.0);
        Some(PastRun {
            id: text(task, "task_id").unwrap_or_default().to_owned(),
            file: base_name(text(task, "task_name")?).to_owned(),
            begun,
            lasted: PastRun::lasted(begun, num(task, "end_time")),
            end,
            reason,
        })
    };
    list(result, "history_task_list").iter().filter_map(task).collect()
}

/// The videos of 1036: 1 is captured and not rendered, 2 is ready (elegoo.md 3.13).
pub fn videos(result: &Value) -> Vec<Video> {
    let video = |task: &Value| {
        let made = match int(task, "time_lapse_video_status")? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let url = text(task, "time_lapse_video_url").filter(|url| !base_name(url).is_empty())?;
        Some(Video {
            url: url.to_owned(),
            size: int(task, "time_lapse_video_size").and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            modified: num(task, "end_time").filter(|time| *time > 0.0),
            made,
        })
    };
    list(result, "history_task_list").iter().filter_map(video).collect()
}

/// The parts of the status that tell of the job.
pub struct Job<'a> {
    pub code: i64,
    pub sub: i64,
    pub machine: &'a Value,
    pub print: &'a Value,
}

impl Job<'_> {
    fn shown(&self) -> Figures {
        Figures {
            progress: percent(self.machine, "progress"),
            layer: count(self.print, "current_layer"),
            seconds: seconds(self.print, "print_duration"),
        }
    }

    /// elegoo.md 3.9 and 4.1.
    fn stage(&self, before: DeviceStage, fresh: &Figures) -> DeviceStage {
        let word = text(self.print, "state").unwrap_or_default();
        match self.code {
            2 => self.printing_stage(word, fresh),
            15 => DeviceStage::Paused,
            14 if before.active() || before == DeviceStage::Failed => DeviceStage::Failed,
            14 => DeviceStage::Idle,
            // Whatever the machine does by then: after the last layer it may make the timelapse.
            _ if self.sub == 2077 || word == "complete" => DeviceStage::Finished,
            _ if self.sub == 2504 || word == "cancelled" => DeviceStage::Cancelled,
            _ if word == "error" => DeviceStage::Failed,
            // A file that arrives, or a tool that changes, beside a job does not end it.
            3..=13 if before.active() && matches!(word, "printing" | "paused") => before,
            _ => DeviceStage::Idle,
        }
    }

    fn printing_stage(&self, word: &str, fresh: &Figures) -> DeviceStage {
        match self.sub {
            2077 => DeviceStage::Finished,
            2401 => DeviceStage::Resuming,
            2501 => DeviceStage::Pausing,
            2502 | 2505 | 2506 | 2403 => DeviceStage::Paused,
            2503 => DeviceStage::Cancelling,
            2504 => DeviceStage::Cancelled,
            2075 | 2402 => DeviceStage::Printing,
            _ if word == "paused" => DeviceStage::Paused,
            _ if word == "cancelled" => DeviceStage::Cancelling,
            _ if word == "error" => DeviceStage::Failed,
            // Every other step belongs to the warm-up before the first extrusion, to the print after it.
            _ if fresh.seconds.is_some_and(|seconds| seconds > 0.0) => DeviceStage::Printing,
            _ => DeviceStage::Preparing,
        }
    }

    /// Takes the job into `device`, and notes in `wish` what is to be asked.
    pub fn reduce(&self, device: &mut Device, memory: &mut Memory, now: f64, wish: &mut Wish) {
        let before = device.job.stage;
        let file = text(self.print, "filename").map(|name| base_name(name).to_owned());
        let uuid = text(self.print, "uuid").map(str::to_owned);
        let shown = self.shown();
        let fresh = memory.reckoning.fresh(shown);
        let mut stage = self.stage(before, &fresh);
        self.judge_fatal(&mut stage, before, memory);
        if before == DeviceStage::Cancelling && stage == DeviceStage::Idle {
            stage = DeviceStage::Cancelled;
        }
        if memory.runs.is_unseen() {
            if stage == DeviceStage::Idle {
                wish.past = true;
                return;
            }
            memory.runs.seen();
        }
        let past = memory.past.clone().filter(|_| stage == DeviceStage::Idle);
        let lasted = past.as_ref().and_then(|past| past.lasted);
        let reason = past.and_then(|past| {
            stage = past.end.unwrap_or(stage);
            memory.file = Some(past.file);
            past.reason
        });
        let asked = self.missed_end(&mut stage, before, memory);
        if memory.held {
            wish.history = asked;
            return;
        }
        if stage.active() {
            memory.uuid = uuid.clone().or(memory.uuid.take().filter(|_| before.active()));
            memory.file = file.clone().or(memory.file.take().filter(|_| before.active()));
            memory.last_progress = fresh.progress.unwrap_or(0.0);
            let elapsed = seconds(self.print, "total_duration").filter(|seconds| *seconds > 0.0);
            let seen = memory.begun.filter(|_| before.active()).unwrap_or(now);
            memory.begun = Some(elapsed.map_or(seen, |elapsed| now - elapsed));
        }
        let token = memory.runs.token(uuid.as_deref(), file.as_deref(), stage);
        if memory.reckoning.begin_anew(device.job.token.as_deref(), token.as_deref()) {
            (memory.fatal, memory.asked_to_stop) = (None, false);
        }
        let run = memory.reckoning.follow((before, stage), shown, fresh, now);
        let figures = self.figures(stage, run, memory.reckoning.printed());
        // A printer that halted by itself has said why.
        let fatal = memory.fatal.clone().filter(|_| stage == DeviceStage::Failed);
        let reason = reason.or(fatal).or_else(|| figures.reason.clone());
        let total_s = lasted.or(figures.total_s);
        device.job = DeviceJob { stage, token, reason, total_s, ..figures };
        if stage.active() || stage.ended() {
            device.job.file.clone_from(&memory.file);
            device.job.total_layers = device.job.total_layers.or_else(|| layers_of(memory));
        }
        if stage.active()
            && device.job.total_layers.is_none()
            && let Some(file) = &device.job.file
            && memory.layers_asked.as_ref() != Some(file)
        {
            memory.layers_asked = Some(file.clone());
            wish.file_info = Some(file.clone());
        }
    }

    /// A run that the printer stops by itself after a fatal exception has failed (elegoo.md 4.1).
    fn judge_fatal(&self, stage: &mut DeviceStage, before: DeviceStage, memory: &mut Memory) {
        if !before.active() {
            if stage.active() {
                (memory.fatal, memory.asked_to_stop) = (None, false);
            } else {
                return;
            }
        }
        let codes = list(self.machine, "exception_status").iter().filter_map(as_int);
        let fatal = codes.map(codes::exception).find(|(severity, _)| *severity == Severity::Fatal);
        memory.fatal = memory.fatal.take().or(fatal.map(|(_, text)| text));
        if memory.fatal.is_none() || memory.asked_to_stop {
            return;
        }
        *stage = match *stage {
            DeviceStage::Cancelling if before.active() => before,
            DeviceStage::Cancelling => DeviceStage::Printing,
            DeviceStage::Cancelled | DeviceStage::Idle => DeviceStage::Failed,
            other => other,
        };
    }

    /// 2077 lasts briefly: a job that went idle without it is judged by its progress, else by the history.
    fn missed_end(
        &self,
        stage: &mut DeviceStage,
        before: DeviceStage,
        memory: &mut Memory,
    ) -> Option<String> {
        let missed = before.active() && *stage == DeviceStage::Idle;
        if !missed {
            memory.held = false;
            memory.verdict = None;
            return None;
        }
        if memory.last_progress >= COMPLETE_FROM {
            *stage = DeviceStage::Finished;
            return None;
        }
        if let Some(verdict) = memory.verdict.take() {
            if verdict != DeviceStage::Unknown {
                *stage = verdict;
            }
            return None;
        }
        let ask = !memory.held;
        memory.held = true;
        ask.then(|| memory.uuid.clone().unwrap_or_default())
    }

    /// `printed` as [`Reckoning::printed`].
    fn figures(&self, stage: DeviceStage, run: Figures, printed: bool) -> DeviceJob {
        if !stage.active() && !stage.ended() {
            return DeviceJob::default();
        }
        let running = stage.active();
        let quiet = stage == DeviceStage::Printing && self.sub == 2075;
        DeviceJob {
            detail: codes::step(self.sub)
                .filter(|_| running && !quiet)
                .map(|text| StageDetail { code: self.sub, text: text.to_owned() })
                .or_else(|| self.recovery()),
            progress: run.progress.filter(|_| running),
            remaining_s: seconds(self.print, "remaining_time_sec").filter(|_| running && printed),
            // Elapsed wall time, not the estimate some clients take it for (elegoo.md 3.7).
            total_s: seconds(self.print, "total_duration"),
            print_s: run.seconds,
            layer: run.layer.filter(|_| running),
            total_layers: count(self.print, "total_layer").filter(|layers| *layers > 0),
            reason: (stage == DeviceStage::Failed && self.code == 14)
                .then(|| "The printer was halted by an emergency stop; switch it off and on.".to_owned()),
            ..DeviceJob::default()
        }
    }

    fn recovery(&self) -> Option<StageDetail> {
        (self.code == 15).then(|| StageDetail {
            code: 15,
            text: "power failed during the print: resume or cancel it".to_owned(),
        })
    }
}

fn layers_of(memory: &Memory) -> Option<u32> {
    let (file, layers) = memory.layers.as_ref()?;
    (memory.file.as_ref() == Some(file)).then_some(*layers)
}
