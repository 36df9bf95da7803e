//! Decides when a report is due and whether it is whole or a delta (dossier 3.2).

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::models::{Quirk, Reporting};
use super::printer::Printer;
use super::report;

type Object = Map<String, Value>;

/// Fields a P1 sends in full reports only (dossier 3.2).
const PUSHALL_ONLY: [&str; 5] = ["stg", "upload", "ipcam", "net", "home_flag"];
/// Interval of whole objects between partial ones on new Linux models.
const WHOLE_EVERY: Duration = Duration::from_secs(10);

/// What was published last.
#[derive(Default)]
pub(super) struct Reporter {
    last: Option<Object>,
    pushed: Option<Instant>,
    whole: Option<Instant>,
    urgent: Option<Urgent>,
}

/// A change in these is published at once.
#[derive(PartialEq)]
struct Urgent {
    state: &'static str,
    stage: i64,
    error: u32,
    alerts: usize,
    speed: u8,
    lights: Vec<(String, String)>,
    subtask: String,
    tray: u32,
    step: Option<u16>,
    door: bool,
}

fn urgent(p: &Printer) -> Urgent {
    Urgent {
        state: p.gcode_state(),
        stage: p.stage(),
        error: p.print_error,
        alerts: p.hms.len(),
        speed: p.speed_level,
        lights: p.lights.clone(),
        subtask: p.job.subtask_id.clone(),
        tray: p.ams.now,
        step: p.ams.status(),
        door: p.door_open,
    }
}

impl Reporter {
    /// The report to publish now, if any.
    pub fn due(&mut self, printer: &mut Printer, interval: Duration) -> Option<Value> {
        let now = Instant::now();
        let urgent = urgent(printer);
        let rested = self.pushed.is_none_or(|at| now - at >= interval);
        if !rested && self.urgent.as_ref() == Some(&urgent) {
            return None;
        }
        self.urgent = Some(urgent);
        self.pushed = Some(now);
        let mut new = report::full(printer);
        new.remove("sequence_id");
        let old = self.last.replace(new.clone());
        let active = printer.machine.stage.busy();
        let whole = match printer.model.reporting {
            Reporting::Delta => false,
            Reporting::Full => active || old.as_ref() != Some(&new),
            Reporting::Mixed => active && self.whole.is_none_or(|at| now - at >= WHOLE_EVERY),
        };
        if whole {
            self.whole = Some(now);
            return Some(envelope(printer, new, 0));
        }
        let changed = difference(printer, &old?, new);
        (!changed.is_empty()).then(|| envelope(printer, changed, 1))
    }
}

/// The answer to `pushall`.
pub(super) fn whole(printer: &mut Printer) -> Value {
    let full = report::full(printer);
    envelope(printer, full, 0)
}

/// Adds what every report carries. `msg` only where the model sends it.
fn envelope(printer: &mut Printer, mut body: Object, msg: u8) -> Value {
    printer.sequence += 1;
    body.insert("command".into(), "push_status".into());
    body.insert("sequence_id".into(), printer.sequence.to_string().into());
    if printer.template.contains_key("msg") {
        body.insert("msg".into(), msg.into());
    }
    json!({ "print": body })
}

fn difference(printer: &Printer, old: &Object, new: Object) -> Object {
    let (lean, no_stage) = (printer.model.has(Quirk::LeanDeltas), printer.model.has(Quirk::HidesStage));
    let hidden = |key: &str| lean && PUSHALL_ONLY.contains(&key) || no_stage && key == "stg_cur";
    let mut changed = Object::new();
    for (key, value) in new {
        if old.get(&key) == Some(&value) || hidden(&key) {
            continue;
        }
        let value = match (key.as_str(), old.get(&key)) {
            ("ams", Some(before)) => ams_difference(printer.model.reporting, before, value),
            _ => value,
        };
        changed.insert(key, value);
    }
    changed
}

/// P1 and A1: the unit list is left out when it did not change, else sent whole. Others: only changed units
/// (fixtures `delta-ams-*`).
fn ams_difference(style: Reporting, before: &Value, mut now: Value) -> Value {
    let units_before = before.get("ams").cloned().unwrap_or_default();
    let Some(object) = now.as_object_mut() else { return now };
    if object.get("ams") == Some(&units_before) {
        object.remove("ams");
        return now;
    }
    if style == Reporting::Delta {
        return now;
    }
    if let Some(Value::Array(units)) = object.get_mut("ams") {
        *units = units.iter().filter_map(|unit| unit_difference(&units_before, unit)).collect();
    }
    now
}

/// `id`, the changed scalars, and all trays: unchanged ones as `id` and `state` only (fixture
/// `delta-ams-h2-partial-tray`). `None` when nothing changed.
fn unit_difference(before: &Value, unit: &Value) -> Option<Value> {
    let unit = unit.as_object()?;
    let same = |other: &&Value| other.get("id") == unit.get("id");
    let Some(old) = before.as_array().and_then(|list| list.iter().find(same)) else {
        return Some(Value::Object(unit.clone()));
    };
    let mut changed: Object = unit.iter().filter(|(k, v)| old.get(*k) != Some(v)).map(pair).collect();
    if changed.is_empty() {
        return None;
    }
    let known = old.get("tray").and_then(Value::as_array);
    let trays = unit.get("tray").and_then(Value::as_array).into_iter().flatten().map(|tray| {
        let same = known.is_some_and(|known| known.contains(tray));
        if same { json!({"id": tray.get("id"), "state": tray.get("state")}) } else { tray.clone() }
    });
    changed.insert("tray".into(), trays.collect());
    changed.insert("id".into(), unit.get("id")?.clone());
    Some(Value::Object(changed))
}

fn pair((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}
