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
        10 => "homing",
        11 => "receiving a file",
        12 => "rendering a timelapse",
        13 => "moving filament",
        14 => "in emergency stop; switch it off and on again",
        _ => return None,
    })
}

/// `sub_status` as a step, where it tells more than the stage does.
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
        2403 => "resume was given up",
        2405 | 2406 => "resuming after a power failure",
        2505 => "filament has run out",
        2506 => "trouble with the CANVAS",
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

/// `error_code` of a response or HTTP body, with what to do where something can be done.
pub fn error(code: i64) -> String {
    let text = match code {
        109 => "the filament has run out; insert filament first",
        1000 => "it does not know this client any more; it is registered again by itself",
        1001 => "its firmware does not know this command",
        1002 => "it cannot open the folder",
        1003 => "its firmware does not understand the values",
        1004 => "it cannot write the file; its storage may be full",
        1005 => "it could not change its access code",
        1006 => "the update of its electronics failed; try it at its screen",
        1007 => "it cannot delete the file; it may be in use",
        1008 => "it has no data",
        1009 => "it is busy; try again in a moment",
        1010 => "nothing is printing",
        1011 => "copying failed; its storage may be full",
        1012 => "it does not know this job",
        1013 => "its database failed; switch it off and on",
        1014 => "the file is no valid G-code; slice it again for this printer",
        1015 | 1016 => "the file has no readable preview",
        1017 => "no USB stick is inserted",
        1018 => "the USB stick was removed; insert it again",
        1019 | 1020 => "the timelapse is missing or failed",
        1021 => "it does not find the file; send it again",
        1026 => "it has no bed mesh for this side of the plate; level the bed first",
        9000 => "the position in the file was wrong; send it again",
        9001..=9003 | 9009 => "it cannot store the file; its storage may be full",
        9004 => "the file arrived damaged; send it again",
        9005 => "there is nothing to cancel",
        9006 => "it could not be cancelled",
        9007 => "the folder does not exist",
        9008 => "its system failed; switch it off and on",
        9999 => "it gives no reason; look at its screen",
        _ => return format!("The printer refused with code {code}."),
    };
    format!("The printer refused: {text}.")
}

/// `exception_status` (elegoo.md 3.12): code, what it means, what to do. The words are our own; the remedies are not
/// the maker's.
// One line a code, however long.
#[rustfmt::skip]
pub const EXCEPTIONS: [(i64, &str, &str); 55] = [
    (101, "The bed does not heat as it should.", "Switch the printer off; look at the bed's cable and heater."),
    (102, "The bed's temperature sensor is disconnected.", "Switch the printer off and check the sensor's cable."),
    (103, "The nozzle does not heat as it should.", "Switch the printer off; look at the heater and its cable in the tool head."),
    (104, "The nozzle's temperature sensor is disconnected.", "Switch the printer off and check the sensor's cable in the tool head."),
    (105, "The nozzle's temperature sensor has a short circuit.", "Switch the printer off and replace the sensor."),
    (106, "The bed's temperature sensor has a short circuit.", "Switch the printer off and replace the sensor."),
    (107, "The tool head is too hot.", "Let it cool down, and look at its fans."),
    (108, "The bed is too hot.", "Switch the printer off and let it cool down before it is used again."),
    (109, "The filament has run out.", "Insert filament, then resume."),
    (205, "The chamber's temperature sensor is disconnected.", "Check the sensor's cable."),
    (206, "The chamber's temperature sensor has a short circuit.", "Replace the sensor."),
    (304, "The Z axis could not be homed.", "Clear the plate and the nozzle of plastic, then home again."),
    (401, "The acceleration sensor fails.", "Switch the printer off and on; then check the tool head's cable."),
    (605, "The pressure sensor fails.", "Switch the printer off and on; then check the tool head's cable."),
    (701, "The fan of the electronics fails.", "Look whether something blocks it; replace it if it does not turn."),
    (702, "The fan of the hot end fails.", "Look whether something blocks it; replace it if it does not turn."),
    (703, "The part cooling fan fails.", "Look whether something blocks it; replace it if it does not turn."),
    (704, "Bed levelling failed.", "Clean nozzle and plate, and level again."),
    (705, "The auxiliary fan fails.", "Look whether something blocks it; replace it if it does not turn."),
    (706, "The chamber fan fails.", "Look whether something blocks it; replace it if it does not turn."),
    (707, "The cover of the tool head is off, or its fan fails.", "Put the cover on until it clicks."),
    (801, "The electronics of the tool head do not answer.", "Switch the printer off and check the tool head's cable."),
    (802, "The levelling sensor does not answer.", "Switch the printer off and check the sensor's cable."),
    (803, "The printer's system failed.", "Switch the printer off and on."),
    (901, "The chamber is hot.", "Open the door or the lid for a while."),
    (902, "The chamber is too hot.", "Open the door and the lid, and let it cool down."),
    (903, "The motor drivers are too hot.", "Let the printer cool down, and look at the fan of its electronics."),
    (904, "The USB stick is full.", "Delete files on it, or take it out."),
    (905, "The USB stick cannot be read.", "Insert another one, formatted as FAT32."),
    (906, "The firmware update failed.", "Switch the printer off and on, and start the update at its screen again."),
    (1101, "The exhaust grille is not where it should be.", "Move the grille by hand and look what blocks it."),
    (1102, "The exhaust grille is not where it should be.", "Move the grille by hand and look what blocks it."),
    (1103, "The exhaust grille is not where it should be.", "Switch the printer off, and look what blocks the grille."),
    (1104, "The driver of the Y motor reports an error.", "Switch the printer off and check the motor's cable."),
    (1105, "The driver of the Z motor reports an error.", "Switch the printer off and check the motor's cable."),
    (1106, "The driver of the extruder reports an error.", "Switch the printer off and check the motor's cable."),
    (1210, "The CANVAS does not answer.", "Check the cable between CANVAS and printer."),
    (1211, "A CANVAS tray is out of filament.", "Insert filament in this tray, then resume."),
    (1220, "Filament is left where there should be none.", "Pull the rest out of the tube, then resume."),
    (1231, "The cutter was not pressed.", "Look whether filament or plastic blocks the cutter."),
    (1232, "The cutter was not released.", "Look whether filament or plastic blocks the cutter."),
    (1241, "The sensor of the filament feed fails.", "Check the cable of the CANVAS."),
    (1242, "Feeding filament took too long.", "Check that the spool turns freely and the tube is straight."),
    (1243, "The filament feed is blocked.", "Pull the filament out, cut its end straight and insert it again."),
    (1244, "The filament does not come out of the nozzle.", "The nozzle may be clogged: heat it and clean it."),
    (1251, "The filament broke while it was pulled back.", "Take the piece out of the tool head and the tube."),
    (1252, "Pulling the filament back took too long.", "Check that the spool turns freely and nothing holds the filament."),
    (1260, "The CANVAS has run out of filament.", "Insert filament, then resume."),
    (1261, "The cover of the CANVAS is off.", "Close the cover."),
    (1262, "The cutter does not work.", "Look whether filament or plastic blocks the cutter."),
    (1263, "The filament is tangled.", "Free the filament on its spool, then resume."),
    (1264, "The filament of the external spool is blocked.", "Check that the spool turns freely and nothing holds the filament."),
    (1300, "The file being printed is gone.", "Send the file again and start it anew."),
    (1301, "The print looks like spaghetti.", "Look at the print; resume it or cancel it."),
    (1302, "The print looks defective.", "Look at the print; resume it or cancel it."),
];

/// Severity and text of an active exception, with what to do about it.
pub fn exception(code: i64) -> (Severity, String) {
    let known = EXCEPTIONS.iter().find(|(known, ..)| *known == code);
    let text = match known {
        Some((_, text, remedy)) => format!("{text} {remedy}"),
        None => "The printer reports a fault that has no text here. Look at its screen.".to_owned(),
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
