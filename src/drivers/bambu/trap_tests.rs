//! Traps of bambu.md section 8 that no other test of this folder sets up; `docs/ref/bambu.md` lists where each is met.

use serde_json::{Value, json};

use super::models::{ModelRow, by_code_or_name};
use super::testing::{Printer, shown};
use super::wire::{Incoming, parse};
use crate::model::{DeviceStage, FanId};

fn row(name: &str) -> &'static ModelRow {
    by_code_or_name(name).expect("row")
}

/// Merges one report as it comes over the wire.
fn hear(printer: &mut Printer, fields: Value) {
    let payload = json!({ "print": fields }).to_string();
    for part in parse(payload.as_bytes()).expect("json") {
        if let Incoming::State(state) = part {
            printer.reports.merge(&state);
        }
    }
}

#[test]
fn t7_an_unreadable_state_is_replaced_by_the_next_word_and_nothing_else_is_lost() {
    let mut printer = Printer::load("p1p-01.08.02.00-finish-noams");
    let bed = printer.device().bed;
    hear(&mut printer, json!({"command": "push_status", "msg": 1, "gcode_state": "WHATEVER"}));
    assert_eq!(printer.device().job.stage, DeviceStage::Unknown);
    assert_eq!(printer.device().bed, bed);
    hear(&mut printer, json!({"command": "push_status", "msg": 1, "gcode_state": "IDLE"}));
    assert_eq!(printer.device().job.stage, DeviceStage::Idle);
}

#[test]
fn t8_step_0_is_no_print() {
    let device = shown(row("P1S"), json!({"gcode_state": "IDLE", "stg_cur": 0, "mc_percent": 100}));
    assert_eq!((device.job.stage, device.job.detail), (DeviceStage::Idle, None));
}

#[test]
fn t10_figures_of_the_job_before_are_not_shown() {
    let left = json!({"mc_percent": 73, "layer_num": 44, "total_layer_num": 80, "mc_remaining_time": 759});
    let with = |state: &str| {
        let mut fields = left.clone();
        fields["gcode_state"] = json!(state);
        shown(row("P1P"), fields).job
    };
    let preparing = with("PREPARE");
    assert_eq!((preparing.progress, preparing.layer, preparing.remaining_s), (Some(0.0), Some(0), None));
    assert_eq!(with("FAILED").remaining_s, Some(0.0), "as fixture p1p-01.07.00.00-failed has it");
    assert_eq!(with("RUNNING").remaining_s, Some(759.0 * 60.0));
    let idle = with("IDLE");
    assert_eq!((idle.progress, idle.remaining_s), (Some(0.0), Some(0.0)));
}

#[test]
fn t39_a_speed_that_is_no_level_is_not_shown() {
    for level in [json!(254), json!(0), json!("A"), json!(-1)] {
        let device = shown(row("X1C"), json!({"gcode_state": "IDLE", "spd_lvl": level, "spd_mag": 510}));
        assert_eq!((device.speed.factor, device.speed.level), (None, None));
    }
}

#[test]
fn t42_a_partial_list_of_fans_keeps_the_others() {
    let mut printer = Printer::load("h2d-01.01.02.00-idle-mixed-ams");
    let before = printer.device().fans;
    hear(
        &mut printer,
        json!({"command": "push_status", "msg": 1, "device": {"airduct": {"parts": [{"id": 32, "state": 70}]}}}),
    );
    let after = printer.device().fans;
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert_eq!(after.get(&FanId::Auxiliary).and_then(|fan| fan.speed), Some(0.7));
    assert_eq!(after.get(&FanId::Chamber), before.get(&FanId::Chamber));
}

/// Words, steps and bits as bridges and emulated printers write them.
#[test]
fn bridges_are_understood() {
    let stage = |word: &str| shown(row("P1S"), json!({ "gcode_state": word })).job.stage;
    assert_eq!(stage("PRINTING"), DeviceStage::Printing);
    assert_eq!(stage("paused"), DeviceStage::Paused);
    assert_eq!(stage("FINISHED"), DeviceStage::Finished);
    // A fan of 8000 somethings loses itself only.
    let fans = shown(
        row("P1S"),
        json!({"gcode_state": "IDLE", "cooling_fan_speed": "8000", "big_fan1_speed": "15"}),
    );
    assert_eq!(fans.fans.get(&FanId::Part), None);
    assert_eq!(fans.fans.get(&FanId::Auxiliary).and_then(|fan| fan.speed), Some(1.0));
    // Bits of slots that only a unit that is not there has: the trays themselves tell.
    let trays =
        json!([{"id": "0", "tray_type": "PLA", "state": 3}, {"id": "1", "tray_type": "PETG", "state": 10}]);
    let ams = json!({"ams": [{"id": "0", "tray": trays}], "ams_exist_bits": "1", "tray_exist_bits": "F0"});
    let device = shown(row("P1S"), json!({"gcode_state": "IDLE", "ams": ams}));
    let present: Vec<_> = device.filament.units[0].slots.iter().map(|slot| slot.present).collect();
    assert_eq!(present[..2], [Some(true), Some(false)]);
}
