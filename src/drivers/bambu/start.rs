//! Starting a file that is on the printer: the `project_file` message (bambu.md 4.5).

use serde_json::{Value, json};

use super::encode::{Context, Message, Plan};
use crate::model::text::{base_name, one_line};
use crate::model::{Activity, CommandError, SlotId, StartJob};

/// How a file is named in `url`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum UrlForm {
    /// `ftp:///path`: field proven on all models.
    #[default]
    Ftp,
    /// `file:///sdcard/path`: for a second try on X1, P1 and A1.
    SdCard,
}

/// Identifiers are below this, or a P1S stays idle for ever (bambu.md T19).
const MAX_TOKEN: u32 = i32::MAX.cast_unsigned();
const MAX_TITLE: usize = 120;

/// The filament part of the message.
struct Mapping {
    use_ams: bool,
    flat: Vec<i32>,
    detailed: Vec<Value>,
    note: Option<String>,
}

/// Encodes the start of a job.
///
/// # Errors
/// Busy (a second job is never started), a file that is no sliced archive, a name that URLs cannot carry, slots that do
/// not exist, filaments without a slot.
pub(super) fn project_file(job: &StartJob, context: &Context<'_>) -> Result<Plan, CommandError> {
    check_free(context)?;
    check_file(job)?;
    let mapping = mapping(job, context)?;
    let options = &job.options;
    let level = options.bed_levelling;
    let timelapse = options.timelapse.unwrap_or(false);
    let three_way = |choice: Option<bool>| choice.map_or(2, i32::from);
    let path = job.remote_path.trim_start_matches('/');
    let url = match context.url {
        UrlForm::Ftp => format!("ftp:///{path}"),
        UrlForm::SdCard => format!("file:///sdcard/{path}"),
    };
    let id = job.token.to_string();
    let fields = json!({
        "param": format!("Metadata/plate_{}.gcode", job.plate.max(1)),
        "project_id": "0",
        "profile_id": "0",
        "task_id": id,
        "subtask_id": id,
        "subtask_name": title(job),
        "file": base_name(path),
        "url": url,
        "md5": job.md5.as_deref().unwrap_or("").to_ascii_uppercase(),
        "bed_type": options.bed_type.as_deref().unwrap_or("auto"),
        // Booleans, never numbers: H2 firmware reads numbers as something else (bambu.md 4.5).
        "bed_leveling": level.unwrap_or(true),
        "flow_cali": options.flow_calibration.unwrap_or(false),
        "vibration_cali": options.vibration_calibration.unwrap_or(context.row.vibration_default),
        "layer_inspect": options.first_layer_inspection.unwrap_or(false),
        "timelapse": timelapse,
        "use_ams": mapping.use_ams,
        "ams_mapping": mapping.flat,
        "ams_mapping2": mapping.detailed,
        "auto_bed_leveling": three_way(level),
        "cfg": if timelapse && context.row.internal_storage { "4" } else { "0" },
        "extrude_cali_flag": i32::from(options.flow_calibration.unwrap_or(false)),
        "nozzle_offset_cali": three_way(options.nozzle_offset_calibration),
    });
    Ok(Plan { note: mapping.note, ..Plan::from(Message::print("project_file", fields)) })
}

fn check_free(context: &Context<'_>) -> Result<(), CommandError> {
    if context.device.job.stage.active() {
        // A1 mini cancels its running job when asked for another (bambu.md T16).
        return Err(CommandError::Busy(
            "The printer is busy with a job; a second one is never started.".into(),
        ));
    }
    if let Some(what) = context.device.activity.occupation() {
        return Err(CommandError::Busy(format!("The printer is {what}; start the job when it is done.")));
    }
    match &context.device.activity {
        Activity::Unknown => {
            Err(CommandError::Busy("The printer has not said yet whether it is free.".into()))
        }
        _ => Ok(()),
    }
}

fn check_file(job: &StartJob) -> Result<(), CommandError> {
    let invalid = |text: String| Err(CommandError::Invalid(text));
    let path = &job.remote_path;
    if !path.to_ascii_lowercase().ends_with(".3mf") {
        return invalid(format!("\"{path}\" is not a sliced .3mf file; this printer starts no other kind."));
    }
    if path.chars().any(|c| c.is_control() || "#?%\\".contains(c)) || path.split('/').any(|part| part == "..")
    {
        // Percent encoding is decoded differently by each firmware (bambu.md 4.5).
        return invalid(format!(
            "The printer cannot open \"{}\": rename the file without # ? % and control characters.",
            path.escape_debug()
        ));
    }
    if !(1..MAX_TOKEN).contains(&job.token) {
        return Err(CommandError::Internal("the token of a start is out of range".to_owned()));
    }
    Ok(())
}

/// The title that goes with the start.
pub(super) fn title(job: &StartJob) -> String {
    let raw = if job.title.trim().is_empty() { base_name(&job.remote_path) } else { &job.title };
    let lower = raw.to_ascii_lowercase();
    let stem = [".gcode.3mf", ".3mf", ".gcode"].iter().find(|ending| lower.ends_with(**ending));
    let length = raw.len() - stem.map_or(0, |ending| ending.len());
    one_line(raw.get(..length).unwrap_or(raw), MAX_TITLE)
}

fn mapping(job: &StartJob, context: &Context<'_>) -> Result<Mapping, CommandError> {
    let filament = &context.device.filament;
    let fitted = !filament.units.is_empty();
    let (wanted, note) = if job.mapping.is_empty() && fitted {
        let Some(active) = filament.active else {
            return Err(CommandError::Invalid(
                "Say which slot feeds the job: none is assigned and none is loaded.".to_owned(),
            ));
        };
        (
            vec![Some(active)],
            Some(format!("No slots were assigned: the loaded one ({active}) feeds the job.")),
        )
    } else {
        (job.mapping.clone(), None)
    };
    if !wanted.is_empty() && wanted.iter().all(Option::is_none) {
        return Err(CommandError::Invalid("No slot is assigned to any filament of the job.".to_owned()));
    }
    for slot in wanted.iter().flatten() {
        if matches!(slot, SlotId::Unit { .. })
            && filament.slot(*slot).is_none_or(|slot| slot.present == Some(false))
        {
            return Err(CommandError::Invalid(format!(
                "Slot {slot} is empty or does not exist; assign another."
            )));
        }
        if matches!(slot, SlotId::External(n) if usize::from(*n) >= context.row.nozzles) {
            return Err(CommandError::Invalid(format!("This printer has no {slot} spool.")));
        }
    }
    let from_unit = wanted.iter().flatten().any(|slot| matches!(slot, SlotId::Unit { .. }));
    // External spools only: false on one nozzle, or without any unit (07FF_8012 otherwise). With two nozzles and a
    // unit the printer looks up the side in the detailed list: unverified.
    let use_ams = from_unit || (context.row.dual() && fitted && !wanted.is_empty());
    Ok(Mapping {
        use_ams,
        flat: wanted.iter().map(|slot| flat(*slot)).collect(),
        detailed: wanted.iter().map(|slot| detailed(*slot, context.row.dual())).collect(),
        note,
    })
}

/// Global tray number; external spools are never named here (0700_8012 on H2D otherwise).
fn flat(slot: Option<SlotId>) -> i32 {
    match slot {
        Some(SlotId::Unit { unit: 16, slot }) => i32::from(slot),
        Some(SlotId::Unit { unit, .. }) if unit >= 128 => i32::from(unit),
        Some(SlotId::Unit { unit, slot }) => i32::from(unit) * 4 + i32::from(slot),
        Some(SlotId::External(_)) | None => -1,
    }
}

fn detailed(slot: Option<SlotId>, dual: bool) -> Value {
    let (unit, slot) = match slot {
        Some(SlotId::Unit { unit, slot }) => (unit, slot),
        Some(SlotId::External(n)) if dual && n > 0 => (254, 0),
        Some(SlotId::External(_)) => (255, 0),
        None => (255, 255),
    };
    json!({ "ams_id": unit, "slot_id": slot })
}
