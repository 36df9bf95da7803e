//! Commands of category `print` (dossier 4.2 to 4.6).

use std::path::Path;

use serde_json::{Value, json};

use super::super::ams::{EXTERNAL, NOTHING};
use super::super::printer::{Printer, stage};
use super::{Object, Taken, number, object, text};
use crate::sim::physics::Stage;

/// Runs one command.
pub(super) fn run(p: &mut Printer, root: &Path, command: &str, request: &Object) -> Taken {
    match command {
        "pause" => {
            p.pause(stage::USER_PAUSE);
            Taken::Ok
        }
        "resume" => resume(p),
        "stop" => {
            p.pending = None;
            p.machine.cancel();
            Taken::Ok
        }
        "print_speed" => speed(p, request),
        "gcode_line" => {
            let lines = text(request, "param");
            p.counters.log_gcode(lines);
            if p.queue.push(lines) { Taken::Ok } else { Taken::Refused("queue full") }
        }
        "project_file" => {
            p.project_file(root, request);
            Taken::Ok
        }
        "gcode_file" => {
            let ran = p.gcode_file(root, text(request, "param"));
            if ran { Taken::Ok } else { Taken::Refused("error string") }
        }
        "skip_objects" => skip(p, request),
        "clean_print_error" => {
            p.print_error = 0;
            p.error_clears_at = None;
            Taken::Ok
        }
        "ignore" | "idle_ignore" => {
            p.print_error = 0;
            p.hms.clear();
            p.machine.resume();
            Taken::Ok
        }
        "calibration" if p.calibrate() => Taken::Ok,
        "calibration" => Taken::Refused("printer is busy"),
        "print_option" => option(p, request),
        "set_ctt" => {
            p.set_chamber(number(request, "ctt_val").unwrap_or(0) as f64);
            Taken::Ok
        }
        "set_airduct" => {
            p.airduct_mode = number(request, "modeId").unwrap_or(0);
            Taken::Ok
        }
        "set_fan" => fan(p, request),
        "set_bed_temp" => gcode(p, format!("M140 S{}", number(request, "temp").unwrap_or(0))),
        "set_nozzle_temp" => {
            let tool = number(request, "extruder_index").unwrap_or(0);
            gcode(p, format!("M104 S{} T{tool}", number(request, "target_temp").unwrap_or(0)))
        }
        "back_to_center" => gcode(p, "G28".to_owned()),
        "xyz_ctrl" => jog(p, request),
        "select_extruder" => extruder(p, request),
        "buzzer_ctrl" | "ams_reset" | "get_auto_nozzle_mapping" => Taken::Ok,
        "unload_filament" => super::device::change(p, NOTHING),
        "auto_stop_ams_dry" => {
            p.ams.units.iter_mut().for_each(|unit| unit.drying = None);
            Taken::Ok
        }
        "ams_change_filament" => {
            let target = number(request, "target").unwrap_or(i64::from(NOTHING));
            let slot = number(request, "slot_id");
            let external = number(request, "ams_id") == Some(255) && matches!(slot, Some(254 | 0));
            // The AMS Lite of an A2L counts its trays by itself (dossier 4.5); which `target` it wants nobody has captured.
            let own = slot.filter(|slot| number(request, "ams_id") == Some(16) && *slot < 4);
            let target = own.unwrap_or(target);
            let target = if external { EXTERNAL } else { u32::try_from(target).unwrap_or(NOTHING) };
            super::device::change(p, target)
        }
        "ams_control" => super::device::ams_control(p, text(request, "param")),
        "ams_filament_setting" => super::device::filament(p, request),
        "ams_get_rfid" => super::device::rfid(p, request),
        "ams_user_setting" => super::device::user_setting(p, request),
        "ams_filament_drying" => super::device::dry(p, request),
        "extrusion_cali_get" => extrusion_get(p, request),
        "extrusion_cali_sel" | "extrusion_cali_del" | "extrusion_cali_set" => {
            extrusion_change(p, command, request)
        }
        _ => Taken::Refused("unknown command"),
    }
}

fn gcode(p: &mut Printer, line: String) -> Taken {
    p.queue.push(&line);
    Taken::Ok
}

/// A job stopped by an empty slot goes on only with filament in it.
fn resume(p: &mut Printer) -> Taken {
    let tray = p.job.tray.filter(|tray| *tray < EXTERNAL);
    let empty = tray.is_some_and(|tray| p.ams.slot(tray).is_some_and(|slot| slot.spool.is_none()));
    if p.pause_stage == stage::RUNOUT && empty {
        return Taken::Ok;
    }
    if p.machine.resume() {
        p.print_error = 0;
        p.error_clears_at = None;
        p.hms.clear();
        p.ams.retry();
    }
    Taken::Ok
}

/// Anything but "1" to "4" gives nonsense on the real printer (trap T39: 254 %); here it is taken as level 0.
fn speed(p: &mut Printer, request: &Object) -> Taken {
    let level = text(request, "param").parse::<u8>().unwrap_or(0);
    p.set_speed_level(level);
    Taken::Ok
}

fn skip(p: &mut Printer, request: &Object) -> Taken {
    if !matches!(p.machine.stage, Stage::Printing | Stage::Paused) || p.job.objects.len() < 2 {
        return Taken::Refused("cannot skip");
    }
    let list = request.get("obj_list").and_then(Value::as_array).into_iter().flatten();
    for id in list.filter_map(Value::as_i64) {
        if p.job.objects.contains(&id) && !p.job.skipped.contains(&id) {
            p.job.skipped.push(id);
        }
    }
    Taken::Ok
}

/// `print_option`: key, bit of `home_flag`, bit of `cfg` (dossier 3.10, 3.11).
const OPTIONS: [(&str, u32, u32); 6] = [
    ("auto_recovery", 4, 16),
    ("auto_switch_filament", 10, 18),
    ("sound_enable", 17, 22),
    ("filament_tangle_detect", 20, 23),
    ("nozzle_blob_detect", 24, 24),
    ("air_print_detect", 28, 40),
];

fn option(p: &mut Printer, request: &Object) -> Taken {
    for (key, home, cfg) in OPTIONS {
        let Some(on) = request.get(key).and_then(Value::as_bool) else { continue };
        p.home_flag = p.home_flag & !(1 << home) | u32::from(on) << home;
        if cfg < 40 {
            p.cfg = p.cfg & !(1 << cfg) | u64::from(on) << cfg;
        }
    }
    Taken::Ok
}

fn fan(p: &mut Printer, request: &Object) -> Taken {
    let index = number(request, "fan_index").unwrap_or(1).clamp(1, 3);
    let percent = number(request, "speed").unwrap_or(0).clamp(0, 100);
    gcode(p, format!("M106 P{index} S{}", percent * 255 / 100))
}

fn jog(p: &mut Printer, request: &Object) -> Taken {
    let axis = text(request, "axis");
    if !matches!(axis, "X" | "Y" | "Z") {
        return Taken::Refused("bad axis");
    }
    let step = if number(request, "mode") == Some(1) { 10 } else { 1 };
    let distance = step * number(request, "dir").unwrap_or(1).signum();
    gcode(p, format!("G91\nG1 {axis}{distance}\nG90"))
}

fn extruder(p: &mut Printer, request: &Object) -> Taken {
    let index = number(request, "extruder_index").and_then(|i| usize::try_from(i).ok());
    match index {
        Some(index) if index < p.machine.nozzles.len() && !p.machine.stage.busy() => {
            p.machine.active_nozzle = index;
            Taken::Ok
        }
        _ => Taken::Refused("no such extruder"),
    }
}

fn extrusion_get(p: &Printer, request: &Object) -> Taken {
    // The answer names the nozzle it was asked for, which is not the one mounted (trap T5).
    let mounted = p.nozzle_diameter.to_string();
    let asked = request.get("nozzle_diameter").cloned().unwrap_or_else(|| json!(mounted));
    Taken::With(object(json!({
        "nozzle_diameter": asked,
        "filaments": [{"cali_idx": 1, "filament_id": text(request, "filament_id"), "k_value": "0.020000",
            "n_coef": "1.000000", "name": "Simulated", "nozzle_diameter": asked, "setting_id": ""}],
    })))
}

fn extrusion_change(p: &mut Printer, command: &str, request: &Object) -> Taken {
    let tray = number(request, "tray_id").and_then(|tray| u32::try_from(tray).ok());
    match tray {
        Some(EXTERNAL | NOTHING) => {
            if let Some(index) = number(request, "cali_idx") {
                p.ams.external.insert("cali_idx".into(), index.into());
            }
            Taken::Ok
        }
        Some(tray) => match p.ams.slot(tray).and_then(|slot| slot.spool.as_mut()) {
            Some(spool) => {
                if let Some(index) = number(request, "cali_idx") {
                    spool.insert("cali_idx".into(), index.into());
                }
                Taken::Ok
            }
            None => Taken::Refused("invalid tray_id"),
        },
        None if command == "extrusion_cali_del" => Taken::Ok,
        None => Taken::Refused("invalid tray_id"),
    }
}
