//! Numbers of the Centauri Carbon 2 in words (elegoo.md 3.9, 3.12). The texts are our own.

use crate::model::{FilamentOperation, Severity};

/// `machine_status.status` of a machine that is busy with something else than a job.
pub fn activity(status: i64) -> Option<&'static str> {
    Some(match status {
        0 => "starting up",
        3 => "loading filament",
        4 => "unloading filament",
        5 => "levelling the bed",
        6 => "tuning the heaters",
        7 => "testing resonances",
        8 => "checking itself",
        9 => "updating its firmware",
        10 => "homing",
        11 => "receiving a file",
        12 => "rendering a timelapse",
        13 => "moving filament",
        14 => "in emergency stop; switch it off and on again",
        _ => return None,
    })
}

/// `sub_status` as a step.
pub fn step(sub: i64) -> Option<&'static str> {
    Some(match sub {
        1041 => "surroundings too cold",
        1045 => "heating the nozzle",
        1096 => "cooling the nozzle",
        1405 => "heating the bed",
        1906 => "cooling the bed",
        1061 | 1133..=1136 => "loading filament",
        1062 | 1142..=1145 => "unloading filament",
        1070..=1072 => "cooling the chamber",
        1150..=1158 => "loading filament from the CANVAS",
        1160..=1166 => "unloading filament into the CANVAS",
        1503..=1506 => "tuning the heaters",
        2401 => "resuming",
        2403 => "resume was given up",
        2405 | 2406 => "resuming after a power failure",
        2501 => "pausing",
        2502 => "paused",
        2503 => "stopping",
        2505 => "paused: filament has run out",
        2506 => "paused: trouble with the CANVAS",
        2801 | 2802 => "homing",
        2803 => "homing failed",
        2901 | 2902 => "levelling the bed",
        5932..=5936 => "testing resonances",
        _ => return None,
    })
}

/// What the filament system does, by `sub_status` (elegoo.md 3.9).
pub fn filament_operation(sub: i64) -> FilamentOperation {
    match sub {
        1133 | 1151 | 1161 => FilamentOperation::Heating,
        1143 | 1153 | 1163 => FilamentOperation::Cutting,
        1156 => FilamentOperation::Purging,
        1061 | 1134..=1135 | 1150 | 1152 | 1155 => FilamentOperation::Loading,
        1062 | 1142 | 1144 | 1154 | 1160 | 1162 | 1164 => FilamentOperation::Unloading,
        1158 | 1166 | 2506 => FilamentOperation::Stuck,
        _ => FilamentOperation::Idle,
    }
}

/// After these the Canvas has changed (elegoo.md 3.11).
pub fn canvas_changed(sub: i64) -> bool {
    matches!(sub, 1145 | 1157 | 1165)
}

/// Sub-statuses that a Canvas tool change shows in mid-print (elegoo.md 3.9).
pub fn swapping(sub: i64) -> bool {
    matches!(sub, 1045 | 1066 | 1061..=1064 | 1133..=1136 | 1142..=1145 | 1150..=1157 | 1160..=1165)
}

/// `error_code` of a response or HTTP body.
pub fn error(code: i64) -> String {
    let text = match code {
        109 => "the filament has run out; insert filament first",
        1000 => "it does not know this client any more",
        1001 => "it does not know this command",
        1002 => "it cannot open the folder",
        1003 => "it does not understand the values",
        1004 => "it cannot write the file",
        1007 => "it cannot delete the file",
        1008 => "it has no data",
        1009 => "it is busy; try again in a moment",
        1010 => "nothing is printing",
        1011 => "copying failed",
        1012 => "it does not know this job",
        1013 => "its database failed",
        1014 => "the file is no valid G-code",
        1015 | 1016 => "the file has no readable preview",
        1017 => "no USB stick is inserted",
        1018 => "the USB stick was removed",
        1019 | 1020 => "the timelapse is missing or failed",
        1021 => "it does not find the file",
        1026 => "it has no bed mesh for this side of the plate; level the bed first",
        9000 => "the position in the file was wrong",
        9001..=9003 | 9009 => "it cannot store the file",
        9004 => "the file arrived damaged",
        9008 => "its system failed",
        _ => return format!("The printer refused with code {code}."),
    };
    format!("The printer refused: {text}.")
}

/// Severity and text of an active exception.
pub fn exception(code: i64) -> (Severity, &'static str) {
    let text = match code {
        101 => "The bed does not heat as it should.",
        102 => "The bed's temperature sensor is disconnected.",
        103 => "The nozzle does not heat as it should.",
        104 => "The nozzle's temperature sensor is disconnected.",
        105 => "The nozzle's temperature sensor has a short circuit.",
        106 => "The bed's temperature sensor has a short circuit.",
        107 => "The tool head is too hot.",
        108 => "The bed is too hot.",
        109 => "The filament has run out.",
        205 => "The chamber's temperature sensor is disconnected.",
        206 => "The chamber's temperature sensor has a short circuit.",
        304 => "The Z axis could not be homed.",
        401 => "The acceleration sensor fails.",
        605 => "The pressure sensor fails.",
        701 => "The fan of the electronics fails.",
        702 => "The fan of the hot end fails.",
        703 => "The part cooling fan fails.",
        704 => "Bed levelling failed.",
        705 => "The auxiliary fan fails.",
        706 => "The chamber fan fails.",
        707 => "The cover of the tool head is off, or its fan fails.",
        801 => "The electronics of the tool head do not answer.",
        802 => "The levelling sensor does not answer.",
        803 => "The printer's system failed.",
        901 => "The chamber is hot.",
        902 => "The chamber is too hot.",
        903 => "The motor drivers are too hot.",
        904 => "The USB stick is full.",
        905 => "The USB stick cannot be read.",
        906 => "The firmware update failed.",
        1101..=1103 => "The exhaust grille is not where it should be.",
        1104 => "The driver of the Y motor reports an error.",
        1105 => "The driver of the Z motor reports an error.",
        1106 => "The driver of the extruder reports an error.",
        1210 => "The CANVAS does not answer.",
        1211 => "A CANVAS tray is out of filament.",
        1220 => "Filament is left where there should be none.",
        1231 => "The cutter was not pressed.",
        1232 => "The cutter was not released.",
        1241 => "The sensor of the filament feed fails.",
        1242 => "Feeding filament took too long.",
        1243 => "The filament feed is blocked.",
        1244 => "The filament does not come out of the nozzle.",
        1251 => "The filament broke while it was pulled back.",
        1252 => "Pulling the filament back took too long.",
        1260 => "The CANVAS has run out of filament.",
        1261 => "The cover of the CANVAS is off.",
        1262 => "The cutter does not work.",
        1263 => "The filament is tangled.",
        1264 => "The filament of the external spool is blocked.",
        1300 => "The file being printed is gone.",
        1301 => "The print looks like spaghetti.",
        1302 => "The print looks defective.",
        _ => "The printer reports a fault that has no text here.",
    };
    let severity = match code {
        101..=108 | 801 | 803 | 902 | 903 | 1103..=1106 | 1210 => Severity::Fatal,
        _ => Severity::Warning,
    };
    (severity, text)
}

/// Exceptions that a tool change shows while nothing is wrong (elegoo.md 3.9).
pub fn normal_in_swap(code: i64) -> bool {
    code == 1211
}
