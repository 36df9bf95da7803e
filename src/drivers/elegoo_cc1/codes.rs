//! Numbers of the Centauri Carbon in words (elegoo.md 2.5 to 2.7). The texts are our own.

/// `CurrentStatus`, vendor SDK column, for a machine that is busy with something else than a job.
pub fn activity(code: i64) -> Option<&'static str> {
    Some(match code {
        2 => "receiving a file",
        3 => "running an exposure test",
        4 => "checking itself",
        5 => "levelling the bed",
        6 => "testing resonances",
        7 => "busy",
        8 => "checking a file",
        9 => "homing",
        10 => "moving filament",
        11 => "tuning the heaters",
        12 => "recovering",
        _ => return None,
    })
}

/// `PrintInfo.Status` as a step of the job; FW1's meaning for 23 to 26.
pub fn step(code: i64) -> Option<&'static str> {
    Some(match code {
        1 => "homing",
        5 => "pausing",
        7 => "stopping",
        10 => "checking the file",
        11 => "checking the machine",
        12 => "resuming",
        15 => "levelling the bed",
        16 => "heating",
        17 => "testing resonances",
        18 => "starting",
        19 => "levelling done",
        20 => "heated",
        21 => "homed",
        22 => "resonance test done",
        23 => "looking for foreign objects",
        24 => "no foreign object found",
        25 => "changing filament",
        26 => "filament changed",
        _ => return None,
    })
}

/// `PrintInfo.ErrorNumber`.
pub fn error_number(code: i64) -> String {
    match code {
        1 => "The file arrived damaged (its checksum differs). Send it again.".to_owned(),
        2 => "The printer could not read the file. Send it again.".to_owned(),
        3 => "The file was made for another resolution.".to_owned(),
        4 => "The printer does not understand the format of the file.".to_owned(),
        5 => "The file was sliced for another printer model.".to_owned(),
        other => format!("The printer reports error {other}."),
    }
}

/// `ErrorStatusReason` of a history entry.
pub fn reason(code: i64) -> Option<String> {
    let text = match code {
        0 => return None,
        1 => "a temperature was out of range",
        3 => "the filament ran out",
        6 => "the filament is jammed",
        7 => "bed levelling failed",
        12 => "the USB stick was removed",
        13 => "the X axis could not be homed",
        14 => "the Z axis could not be homed",
        17 => "homing failed",
        18 => "the print came off the bed",
        19 => "the printer stopped with a general error",
        20 => "the motion system misbehaved",
        23 => "the Y axis could not be homed",
        24 => "the file is faulty",
        25 => "the camera failed",
        26 => "the network failed",
        27 => "the server could not be reached",
        28 => "the app was disconnected",
        33 => "the nozzle's temperature sensor failed",
        34 => "the bed's temperature sensor failed",
        45 => "the filament is nearly used up",
        other => return Some(format!("The printer gives reason {other}.")),
    };
    Some(format!("The printer says that {text} (reason {code})."))
}

/// `Ack` of a start (elegoo.md 2.9).
pub fn start_refusal(ack: i64) -> String {
    match ack {
        1 => "The printer is busy.".to_owned(),
        2 => "The printer does not find the file.".to_owned(),
        3 => "The file arrived damaged; send it again.".to_owned(),
        4 => "The printer cannot read the file.".to_owned(),
        5 => "The file was made for another resolution.".to_owned(),
        6 => "The printer does not understand the file.".to_owned(),
        7 => "The file was sliced for another printer model.".to_owned(),
        other => format!("The printer refused the start with code {other}."),
    }
}

/// `message` of a refused upload (elegoo.md 2.10).
pub fn upload_refusal(code: i64) -> &'static str {
    match code {
        -1 => "the position in the file was wrong",
        -2 => "the position in the file did not continue the last one",
        -3 => "the printer could not open the file; its storage may be full",
        -4 => "the printer gives no reason",
        _ => "the printer refused it",
    }
}
