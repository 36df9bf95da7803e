//! Axes, position and speed (moonraker.md 3.3).

use serde_json::{Value, json};

use super::{Builder, Input, heaters};
use crate::model::DeviceStage;

/// Limits that the front ends insist on and that none of the printers reports; shown, never used.
const NOMINAL_VELOCITY: f64 = 500.0;
const NOMINAL_ACCELERATION: f64 = 20_000.0;
const NOMINAL_Z_VELOCITY: f64 = 20.0;
const NOMINAL_Z_ACCELERATION: f64 = 500.0;
const NOMINAL_CORNER_VELOCITY: f64 = 5.0;
const NOMINAL_CRUISE_RATIO: f64 = 0.5;

pub fn add(builder: &mut Builder, input: &Input<'_>) {
    let device = &input.state.device;
    let [x, y, z] = device.motion.position.unwrap_or_default();
    let position = json!([x, y, z, 0.0]);
    let [max_x, max_y, max_z] = input.caps.volume_mm;
    let commanded = device.motion.velocity.unwrap_or(0.0);
    // The printers that tell a speed keep the last commanded one when they stand still.
    let live = if device.job.stage == DeviceStage::Printing { commanded } else { 0.0 };
    builder.object(
        "toolhead",
        json!({
            "homed_axes": homed(input),
            "axis_minimum": [0.0, 0.0, 0.0, 0.0],
            "axis_maximum": [max_x, max_y, max_z, 0.0],
            "print_time": 0.0,
            "stalls": 0,
            "estimated_print_time": 0.0,
            "extruder": heaters::object_name(device.active_tool),
            "position": position,
            "max_velocity": NOMINAL_VELOCITY,
            "max_accel": NOMINAL_ACCELERATION,
            "minimum_cruise_ratio": NOMINAL_CRUISE_RATIO,
            "square_corner_velocity": NOMINAL_CORNER_VELOCITY,
        }),
    );
    builder.object(
        "gcode_move",
        json!({
            "speed_factor": device.speed.factor.unwrap_or(1.0),
            "speed": commanded * 60.0,
            "extrude_factor": 1.0,
            "absolute_coordinates": true,
            "absolute_extrude": true,
            "homing_origin": [0.0, 0.0, 0.0, 0.0],
            "position": position,
            "gcode_position": position,
        }),
    );
    builder.object(
        "motion_report",
        json!({
            "live_position": position,
            "live_velocity": live,
            "live_extruder_velocity": 0.0,
            "steppers": [],
            "trapq": [],
        }),
    );
    builder.section("printer", printer(input));
}

fn printer(input: &Input<'_>) -> Value {
    json!({
        "kinematics": if input.caps.bed_slinger { "cartesian" } else { "corexy" },
        "max_velocity": NOMINAL_VELOCITY,
        "max_accel": NOMINAL_ACCELERATION,
        "max_z_velocity": NOMINAL_Z_VELOCITY,
        "max_z_accel": NOMINAL_Z_ACCELERATION,
        "square_corner_velocity": NOMINAL_CORNER_VELOCITY,
        "minimum_cruise_ratio": NOMINAL_CRUISE_RATIO,
    })
}

/// The axes that the printer says are homed; a printer in the middle of a job knows where it is.
fn homed(input: &Input<'_>) -> String {
    let Some(homed) = input.state.device.motion.homed else {
        return if input.state.device.job.stage.active() { "xyz".to_owned() } else { String::new() };
    };
    [(homed.x, 'x'), (homed.y, 'y'), (homed.z, 'z')]
        .into_iter()
        .filter_map(|(known, axis)| known.then_some(axis))
        .collect()
}
