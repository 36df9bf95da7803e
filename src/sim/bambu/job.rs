//! Starting a job: which stored file a `project_file` means, what is in it, and what goes wrong (dossier 4.5, 5.6).

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use md5::{Digest, Md5};
use serde_json::{Map, Value};

use super::ams::EXTERNAL;
use super::models::{Model, Quirk, Urls};
use super::printer::{Printer, error};
use crate::sim::physics::{Plan, Stage};

/// Longest program that is read, in bytes.
const PROGRAM_CAP: u64 = 64 << 20;

/// The job last accepted.
#[derive(Debug, Clone, Default)]
pub(super) struct Job {
    /// Path from the storage root.
    pub file: String,
    /// What `gcode_file` shows.
    pub gcode_file: String,
    pub subtask_name: String,
    pub task_id: String,
    pub subtask_id: String,
    pub project_id: String,
    pub profile_id: String,
    pub plate: i64,
    /// `local`, `system` (calibration) or empty.
    pub print_type: &'static str,
    /// `identify_id`s of the plate.
    pub objects: Vec<i64>,
    pub skipped: Vec<i64>,
    /// Global tray numbers by filament; -1 unmapped.
    pub mapping: Vec<i64>,
    /// Tray that feeds, or is to.
    pub tray: Option<u32>,
    /// Tool changes to come: progress, tray.
    pub changes_due: Vec<(f64, u32)>,
}

/// A job that was accepted and has not started.
#[derive(Debug)]
pub(super) struct Pending {
    /// Real second at which it starts.
    pub at: f64,
    pub outcome: Result<Plan, u32>,
    /// The archive lacks its block guards: the printer hangs while unpacking.
    pub hangs: bool,
}

/// What the printer found in a file.
pub(super) struct Program {
    pub plan: Plan,
    pub objects: Vec<i64>,
    pub guarded: bool,
}

/// The stored path a URL means on this model; `None` for a form it does not know.
pub(super) fn stored_path(model: &Model, url: &str) -> Option<PathBuf> {
    let prefixes: &[&str] = match model.urls {
        Urls::X1 => &["ftp:///", "ftp://", "file:///sdcard/", "file:///mnt/sdcard/"],
        Urls::P1 => &["ftp:///", "ftp://", "file:///sdcard/", "file:///"],
        Urls::New => &["ftp:///", "ftp://", "file:///media/usb0/"],
    };
    let rest = prefixes.iter().find_map(|prefix| url.strip_prefix(prefix))?;
    if model.urls == Urls::P1 && rest.starts_with("mnt/") {
        return None;
    }
    let path = Path::new(rest);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && !rest.is_empty()).then(|| path.to_owned())
}

fn upper_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

/// Reads the program `entry` of a 3mf, or a bare `.gcode`, checking what the printer checks.
pub(super) fn read_program(path: &Path, entry: &str, md5: &str, nozzle: f64) -> Result<Program, u32> {
    let unreadable = |_| error::UNREADABLE_FILE;
    let mut file = File::open(path).map_err(|_| error::UNREADABLE_FILE)?;
    if !md5.is_empty() {
        let mut hash = Md5::new();
        std::io::copy(&mut file, &mut hash).map_err(|_| error::UNREADABLE_FILE)?;
        if !upper_hex(&hash.finalize()).eq_ignore_ascii_case(md5) {
            return Err(error::UNREADABLE_FILE);
        }
        file = File::open(path).map_err(|_| error::UNREADABLE_FILE)?;
    }
    if entry.is_empty() {
        let mut bytes = Vec::new();
        file.take(PROGRAM_CAP).read_to_end(&mut bytes).map_err(|_| error::UNREADABLE_FILE)?;
        let plan = Plan::from_gcode(&String::from_utf8_lossy(&bytes));
        return Ok(Program { plan, objects: Vec::new(), guarded: true });
    }
    let mut zip = zip::ZipArchive::new(file).map_err(unreadable)?;
    let mut read = |name: &str| -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        zip.by_name(name).ok()?.take(PROGRAM_CAP).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    };
    let program = read(entry).ok_or(error::UNREADABLE_FILE)?;
    if let Some(sidecar) = read(&format!("{entry}.md5")) {
        let said = String::from_utf8_lossy(&sidecar);
        if !said.trim().eq_ignore_ascii_case(&upper_hex(&Md5::digest(&program))) {
            return Err(error::UNREADABLE_FILE);
        }
    }
    let slice = read("Metadata/slice_info.config").unwrap_or_default();
    let (objects, sliced_nozzle) = slice_info(&String::from_utf8_lossy(&slice), entry);
    if sliced_nozzle.is_some_and(|d| (d - nozzle).abs() > 0.01) {
        return Err(error::WRONG_NOZZLE);
    }
    let text = String::from_utf8_lossy(&program);
    let guarded = ["HEADER_BLOCK_START", "CONFIG_BLOCK_START", "EXECUTABLE_BLOCK_START"]
        .iter()
        .all(|guard| text.contains(guard));
    Ok(Program { plan: Plan::from_gcode(&text), objects, guarded })
}

/// Object ids and nozzle diameter of the plate that `entry` belongs to.
fn slice_info(xml: &str, entry: &str) -> (Vec<i64>, Option<f64>) {
    let Ok(document) = roxmltree::Document::parse(xml) else { return (Vec::new(), None) };
    let plate = plate_number(entry).to_string();
    let metadata = |node: &roxmltree::Node<'_, '_>, key: &str| {
        node.children()
            .find(|c| c.has_tag_name("metadata") && c.attribute("key") == Some(key))
            .and_then(|c| c.attribute("value").map(str::to_owned))
    };
    let Some(node) = document
        .descendants()
        .find(|n| n.has_tag_name("plate") && metadata(n, "index").as_deref() == Some(plate.as_str()))
    else {
        return (Vec::new(), None);
    };
    let ids = node.children().filter(|c| c.has_tag_name("object"));
    let objects = ids.filter_map(|c| c.attribute("identify_id")?.parse().ok()).collect();
    let nozzle = metadata(&node, "nozzle_diameters").and_then(|d| d.split(',').next()?.parse().ok());
    (objects, nozzle)
}

fn plate_number(entry: &str) -> i64 {
    let digits = entry.rsplit("plate_").next().and_then(|rest| rest.split('.').next());
    digits.and_then(|d| d.parse().ok()).unwrap_or(1)
}

fn text(request: &Map<String, Value>, key: &str) -> String {
    match request.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

impl Printer {
    /// Accepts `project_file` and lets it start, or fail, a moment later: the acknowledgement is `success` all the same.
    pub(super) fn project_file(&mut self, root: &Path, request: &Map<String, Value>) {
        self.counters.project_files += 1;
        if self.machine.stage.busy() || self.pending.is_some() {
            self.print_error = error::BUSY;
            if self.model.has(Quirk::StartEndsJob) {
                self.machine.cancel();
            }
            return;
        }
        let ids_fit = ["task_id", "subtask_id"].iter().all(|key| text(request, key).len() <= 10);
        if !ids_fit && self.model.has(Quirk::HangsOnLongIds) {
            return;
        }
        let entry = text(request, "param");
        let path = stored_path(self.model, &text(request, "url"));
        let program =
            self.check_mapping(request).and_then(|()| path.clone().ok_or(error::UNREADABLE_FILE)).and_then(
                |path| read_program(&root.join(path), &entry, &text(request, "md5"), self.nozzle_diameter),
            );
        let stored = path.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
        let plate = plate_number(&entry);
        let shown = if self.model.ram_path { format!("/data/{entry}") } else { stored.clone() };
        let mapping: Vec<i64> = match request.get("ams_mapping") {
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_i64).collect(),
            _ => Vec::new(),
        };
        let use_ams = request.get("use_ams").and_then(Value::as_bool).unwrap_or(false);
        let first = mapping.iter().find_map(|tray| u32::try_from(*tray).ok());
        self.accept(
            Job {
                file: stored,
                gcode_file: shown,
                subtask_name: text(request, "subtask_name"),
                task_id: text(request, "task_id"),
                subtask_id: if self.keeps_ids {
                    self.job.subtask_id.clone()
                } else {
                    text(request, "subtask_id")
                },
                project_id: text(request, "project_id"),
                profile_id: text(request, "profile_id"),
                plate,
                print_type: "local",
                tray: if use_ams {
                    first.or(self.external_spool(request).map(|_| EXTERNAL))
                } else {
                    Some(EXTERNAL)
                },
                changes_due: if use_ams { super::feed::changes(&mapping) } else { Vec::new() },
                mapping,
                ..Job::default()
            },
            program,
        );
    }

    /// A bare `.gcode`; false where a job holds the machine or the file is missing.
    pub(super) fn gcode_file(&mut self, root: &Path, param: &str) -> bool {
        if self.model.has(Quirk::IgnoresGcodeFile) {
            return true;
        }
        if self.machine.stage.busy() || self.pending.is_some() {
            return false;
        }
        let name = param.strip_prefix("file:///sdcard/").unwrap_or(param).trim_start_matches('/');
        let Some(path) = stored_path(self.model, &format!("ftp:///{name}")) else { return false };
        let Ok(program) = read_program(&root.join(&path), "", "", self.nozzle_diameter) else { return false };
        let job = Job {
            file: name.to_owned(),
            gcode_file: name.to_owned(),
            subtask_name: name.trim_end_matches(".gcode").to_owned(),
            plate: 1,
            print_type: "local",
            ..Job::default()
        };
        self.accept(job, Ok(program));
        true
    }

    /// The calibration run of `calibration` (dossier 4.2).
    pub(super) fn calibrate(&mut self) -> bool {
        if self.machine.stage.busy() {
            return false;
        }
        self.job = Job { print_type: "system", plate: 1, ..Job::default() };
        let plan = Plan { layers: 1, seconds: 60.0, nozzle: 0.0, bed: 0.0 };
        self.machine.start("auto_cali_for_user.gcode", plan)
    }

    fn accept(&mut self, mut job: Job, program: Result<Program, u32>) {
        self.print_error = 0;
        self.error_clears_at = None;
        self.stages.clear();
        let (outcome, hangs) = match program {
            Ok(program) => {
                job.objects = program.objects;
                (Ok(program.plan), !program.guarded)
            }
            Err(code) => (Err(code), false),
        };
        self.job = job;
        self.pending = Some(Pending { at: self.wall + self.start_delay, outcome, hangs });
    }

    /// Why this mapping cannot be printed (rules of dossier 4.5).
    fn check_mapping(&self, request: &Map<String, Value>) -> Result<(), u32> {
        let use_ams = request.get("use_ams").and_then(Value::as_bool).unwrap_or(false);
        let list = request.get("ams_mapping").and_then(Value::as_array);
        let trays: Vec<i64> = list.map(|l| l.iter().filter_map(Value::as_i64).collect()).unwrap_or_default();
        if trays.iter().any(|tray| matches!(tray, 254 | 255)) {
            return Err(error::MAPPING);
        }
        if !use_ams {
            return Ok(());
        }
        let of_no_unit = trays.iter().all(|tray| *tray < 0) && self.external_spool(request).is_none();
        if self.ams.units.is_empty() || of_no_unit {
            return Err(error::NO_AMS);
        }
        let present = |tray: &i64| {
            let located = u32::try_from(*tray).ok().and_then(|tray| self.ams.locate(tray));
            let slot = located.and_then(|(unit, slot)| self.ams.units.get(unit)?.slots.get(slot));
            slot.is_some_and(|slot| slot.spool.is_some())
        };
        let all = trays.iter().filter(|tray| **tray >= 0).all(present);
        all.then_some(()).ok_or(error::MAPPING)
    }

    /// The external spool that the detailed list names: printers of two nozzles have one for each (254 left, 255 right).
    fn external_spool(&self, request: &Map<String, Value>) -> Option<u32> {
        let list = request.get("ams_mapping2").and_then(Value::as_array)?;
        let places = list.iter().filter(|place| place.get("slot_id").and_then(Value::as_u64) == Some(0));
        let units = places.filter_map(|place| u32::try_from(place.get("ams_id")?.as_u64()?).ok());
        units.filter(|_| self.machine.nozzles.len() > 1).find(|unit| matches!(unit, 254 | 255))
    }

    /// Starts what was accepted once its delay is over.
    pub(super) fn start_pending(&mut self) {
        if self.pending.as_ref().is_none_or(|pending| self.wall < pending.at) {
            return;
        }
        let Some(pending) = self.pending.take() else { return };
        self.claimed = None;
        let file = self.job.file.clone();
        match pending.outcome {
            Ok(plan) => {
                if self.machine.start(&file, plan) {
                    self.counters.jobs_started += 1;
                    self.machine.pace.loading = if pending.hangs { f64::INFINITY } else { 3.0 };
                }
            }
            Err(code) => {
                self.machine.start(&file, Plan::default());
                self.fail(code);
            }
        }
    }

    /// Percent of unpacking, for `gcode_file_prepare_percent`.
    pub(super) fn prepare_percent(&self) -> i64 {
        match self.machine.stage {
            Stage::Idle => 0,
            Stage::Loading => {
                let elapsed = self.machine.run.as_ref().map_or(0.0, |run| run.elapsed);
                let part = elapsed / self.machine.pace.loading;
                if part.is_finite() { (part * 100.0).clamp(0.0, 99.0) as i64 } else { 99 }
            }
            _ => 100,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::models::find;
    use super::*;

    #[test]
    fn each_model_resolves_its_own_url_forms() {
        let path = |model: &str, url: &str| stored_path(find(model).unwrap(), url);
        for model in ["p1s", "x1c", "a1mini", "h2d"] {
            assert_eq!(path(model, "ftp://a b.3mf"), Some(PathBuf::from("a b.3mf")));
            assert_eq!(path(model, "ftp:///cache/a.3mf"), Some(PathBuf::from("cache/a.3mf")));
            assert_eq!(path(model, "ftp:///../etc/passwd"), None);
            assert_eq!(path(model, "https://example.com/a.3mf"), None);
        }
        assert_eq!(path("p1s", "file:///sdcard/a.3mf"), Some(PathBuf::from("a.3mf")));
        assert_eq!(path("p1s", "file:///mnt/sdcard/a.3mf"), None);
        assert_eq!(path("x1c", "file:///mnt/sdcard/a.3mf"), Some(PathBuf::from("a.3mf")));
        assert_eq!(path("h2d", "file:///sdcard/a.3mf"), None);
    }
}
