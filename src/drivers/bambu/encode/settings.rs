//! Lights, options, nozzle, faults and the vendor's own messages (bambu.md 4.2, 4.4).

use serde_json::{Value, json};

use super::{Context, Encoded, Message, Plan};
use crate::drivers::bambu::field::{at, bits32, text};
use crate::drivers::bambu::models::{self, ModelRow};
use crate::model::{AirMode, CommandError, LightId, PrintOption};

pub(super) fn light(light: LightId, on: bool, row: &ModelRow) -> Plan {
    let nodes: &[&str] = match light {
        LightId::Chamber if row.second_chamber_light => &["chamber_light", "chamber_light2"],
        LightId::Chamber => &["chamber_light"],
        LightId::Work => &["work_light"],
        LightId::Bed => &["heatbed_light"],
    };
    let mode = if on { "on" } else { "off" };
    let message = |node: &&str| {
        // All fields, always: firmware ignores messages that lack one (bambu.md 4.4).
        let fields = json!({
            "led_node": node, "led_mode": mode, "led_on_time": 500, "led_off_time": 500,
            "loop_times": 0, "interval_time": 0,
        });
        Message::new("system", "ledctrl", fields)
    };
    Plan::several(nodes.iter().map(message).collect())
}

/// Sub-modes are not known; -1 leaves the printer's own (bambu.md 4.4).
pub(super) fn air_mode(mode: AirMode) -> Encoded {
    let number = models::air_mode_number(mode).ok_or_else(|| CommandError::unsupported("lead its air so"))?;
    Ok(Message::print("set_airduct", json!({ "modeId": number, "submode": -1 })).into())
}

pub(super) fn option(option: PrintOption, on: bool, context: &Context<'_>) -> Plan {
    let print_option = |key: &str| Message::print("print_option", json!({ key: on }));
    let message = match option {
        PrintOption::AutoRecovery => print_option("auto_recovery"),
        PrintOption::FilamentTangleDetection => print_option("filament_tangle_detect"),
        PrintOption::NozzleBlobDetection => print_option("nozzle_blob_detect"),
        PrintOption::AirPrintDetection => print_option("air_print_detect"),
        PrintOption::PromptSound => print_option("sound_enable"),
        PrintOption::AutoSwitchFilament => print_option("auto_switch_filament"),
        PrintOption::BuildPlateMarker => detector("buildplate_marker_detector", on, context),
        PrintOption::FirstLayerInspection => detector("first_layer_inspector", on, context),
        PrintOption::SpaghettiDetection => detector("spaghetti_detector", on, context),
        PrintOption::PileUpDetection => detector("pileup_detector", on, context),
        PrintOption::NozzleClumpDetection => detector("clump_detector", on, context),
        PrintOption::AiAirPrintDetection => detector("airprint_detector", on, context),
        PrintOption::PlateAlignment => detector("plate_offset_switch", on, context),
        PrintOption::AllowSkippingParts => detector("allow_skip_parts", on, context),
        PrintOption::Timelapse => camera("ipcam_timelapse", on),
        PrintOption::CameraRecording => camera("ipcam_record_set", on),
        PrintOption::AmsReadOnInsert | PrintOption::AmsReadAtStart | PrintOption::AmsEstimateRemaining => {
            ams_setting(option, on, context)
        }
    };
    message.into()
}

fn detector(module: &str, on: bool, context: &Context<'_>) -> Message {
    let sensitivity =
        text(at(context.tree, "/xcam/halt_print_sensitivity")).unwrap_or_else(|| "medium".to_owned());
    let fields = json!({
        "module_name": module, "control": on, "enable": on, "print_halt": on,
        "halt_print_sensitivity": sensitivity,
    });
    Message::new("xcam", "xcam_control_set", fields)
}

fn camera(command: &str, on: bool) -> Message {
    Message::new("camera", command, json!({ "control": if on { "enable" } else { "disable" } }))
}

/// The three settings travel together: the other two keep their reported value.
fn ams_setting(option: PrintOption, on: bool, context: &Context<'_>) -> Message {
    let value = |wanted: PrintOption| {
        if wanted == option { on } else { context.device.options.get(&wanted).copied().unwrap_or(false) }
    };
    let fields = json!({
        "ams_id": -1,
        "startup_read_option": value(PrintOption::AmsReadAtStart),
        "tray_read_option": value(PrintOption::AmsReadOnInsert),
        "calibrate_remain_flag": value(PrintOption::AmsEstimateRemaining),
    });
    Message::print("ams_user_setting", fields)
}

const MATERIALS: [&str; 3] = ["stainless_steel", "hardened_steel", "tungsten_carbide"];

pub(super) fn nozzle_type(tool: usize, diameter: f64, material: &str, row: &ModelRow) -> Encoded {
    if row.dual() || tool > 0 {
        // The message names no extruder; which one it would change is not known.
        return Err(CommandError::Unsupported(
            "The nozzles of this printer are set on its own screen only.".to_owned(),
        ));
    }
    let material = material.trim().to_ascii_lowercase().replace([' ', '-'], "_");
    if !MATERIALS.contains(&material.as_str()) {
        return Err(CommandError::Invalid(format!(
            "The nozzle material is one of {}.",
            MATERIALS.join(", ")
        )));
    }
    if ![0.2, 0.4, 0.6, 0.8].iter().any(|known: &f64| (known - diameter).abs() < 0.001) {
        return Err(CommandError::Invalid("The nozzle diameter is 0.2, 0.4, 0.6 or 0.8 mm.".to_owned()));
    }
    let fields = json!({ "accessory_type": "nozzle", "nozzle_diameter": diameter, "nozzle_type": material });
    Ok(Message::new("system", "set_accessories", fields).into())
}

/// Closes the error dialog. Health messages go away by themselves when their cause is gone.
pub(super) fn clear_fault(code: Option<&str>, context: &Context<'_>) -> Encoded {
    let error = bits32(at(context.tree, "/print_error")).filter(|error| *error != 0);
    let Some(error) = error else {
        return Err(CommandError::Invalid(
            "The printer shows no error that can be closed; other messages go away with their cause."
                .to_owned(),
        ));
    };
    let shown = format!("{:04X}_{:04X}", error >> 16, error & 0xFFFF);
    if code.is_some_and(|code| !code.eq_ignore_ascii_case(&shown)) {
        return Err(CommandError::Invalid(format!(
            "The printer shows {shown}; only that one can be closed."
        )));
    }
    let subtask = text(at(context.tree, "/subtask_id")).unwrap_or_else(|| "0".to_owned());
    let clean = Message::print("clean_print_error", json!({ "subtask_id": subtask, "print_error": error }));
    let dialog = json!({
        "name": "print_error", "action": "close", "source": 1, "type": "dialog", "err": format!("{error:08X}"),
    });
    Ok(Plan::several(vec![clean, Message::new("system", "uiop", dialog).unanswered()]))
}

/// Messages of the vendor's that neither move nor heat, neither change a file nor a slot, and therefore pass while a job
/// is under way; a pause, a resume and a stop are what they are everywhere. Not `gcode_line`: G-code has a way of its own,
/// where each line is looked at.
const ALWAYS: &[(&str, &[&str])] = &[
    ("pushing", &["pushall", "start"]),
    ("info", &["get_version"]),
    (
        "print",
        &["pause", "resume", "stop", "print_speed", "print_option", "buzzer_ctrl", "extrusion_cali_get"],
    ),
    ("system", &["ledctrl", "get_accessories"]),
    ("camera", &["ipcam_record_set", "ipcam_timelapse", "ipcam_get_media_info"]),
    ("xcam", &["xcam_control_set"]),
];

/// The vendor's own message: one category with one object. Firmware is not to be had this way, and only what is known to
/// be harmless passes while a job is under way.
pub(super) fn raw(value: &Value, context: &Context<'_>) -> Encoded {
    let shape = || {
        CommandError::Invalid("Write one object such as {\"print\": {\"command\": \"pause\"}}.".to_owned())
    };
    let mut categories = value.as_object().ok_or_else(shape)?.iter();
    let (Some((category, Value::Object(body))), None) = (categories.next(), categories.next()) else {
        return Err(shape());
    };
    let command = body.get("command").and_then(Value::as_str).unwrap_or_default();
    if category == "upgrade" {
        return Err(CommandError::NotAllowed(
            "Firmware is changed at the printer's own screen only.".to_owned(),
        ));
    }
    let starts = matches!(command, "project_file" | "gcode_file");
    if starts && (context.job_under_way || context.device.activity != crate::model::Activity::Idle) {
        return Err(CommandError::Busy("The printer is busy; a second job is never started.".to_owned()));
    }
    let passes = || ALWAYS.iter().any(|(known, commands)| category == known && commands.contains(&command));
    if context.job_under_way && !passes() {
        let what = if command.is_empty() { category } else { command };
        return Err(CommandError::Busy(format!(
            "\"{what}\" may move or heat the machine and a job is under way: only messages that are known to do neither \
             are passed on then. Send G-code as it is, not in a message."
        )));
    }
    let answered = category != "pushing" && command != "reboot";
    Ok(Message { category: category.clone(), body: body.clone(), answered }.into())
}
