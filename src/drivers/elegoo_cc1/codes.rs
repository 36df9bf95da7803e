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

/// As [`activity`], of a machine that moves by itself or heats for a test. A homing is not among them: homings and moves
/// that follow one another wait for it elsewhere.
pub fn moves_itself(code: i64) -> Option<&'static str> {
    activity(code).filter(|_| matches!(code, 3..=7 | 10..=12))
}

/// `PrintInfo.Status` as a step of the job, where it tells more than the stage does; FW1's meaning for 23 to 26.
pub fn step(code: i64) -> Option<&'static str> {
    Some(match code {
        1 => "homing",
        10 => "checking the file",
        11 => "checking the machine",
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
        3 => "The file was made for another resolution. Slice it for this printer.".to_owned(),
        4 => "The printer does not understand the format of the file. Send plain G-code.".to_owned(),
        5 => "The file was sliced for another printer model. Slice it for this printer.".to_owned(),
        other => format!("The printer reports error {other}. Look at its screen."),
    }
}

/// `ErrorCode` of `sdcp/error` (elegoo.md 2.3).
pub fn file_error(code: i64) -> String {
    match code {
        1 => error_number(1),
        2 => error_number(4),
        other => format!("The printer rejects the file with code {other}. Look at its screen."),
    }
}

/// `ErrorStatusReason` of a history entry (elegoo.md 2.7): code, what happened, what to do. The words are our own; the
/// remedies are not the maker's.
const REASONS: [(i64, &str, &str); 20] = [
    (1, "a temperature was out of range", "Look at the heaters and their cables."),
    (3, "the filament ran out", "Insert filament and print again."),
    (6, "the filament is jammed", "Free the filament and clean the nozzle."),
    (7, "bed levelling failed", "Clean nozzle and plate."),
    (12, "the USB stick was removed", "Leave it inserted, or print from the internal storage."),
    (13, "the X axis could not be homed", "Clear its way."),
    (14, "the Z axis could not be homed", "Clear plate and nozzle of plastic."),
    (17, "homing failed", "Clear the ways of all axes."),
    (18, "the print came off the bed", "Clean the plate, and take it off before the next print."),
    (19, "it stopped with a general error", "Look at its screen."),
    (20, "the motion system misbehaved", "Clear the ways of all axes; look whether something is loose."),
    (23, "the Y axis could not be homed", "Clear its way."),
    (24, "the file is faulty", "Slice it again for this printer."),
    (25, "the camera failed", "Switch the printer off and on."),
    (26, "the network failed", "Check its connection."),
    (27, "the server could not be reached", "Check its connection to the internet."),
    (28, "the app was disconnected", "Print again."),
    (33, "the nozzle's temperature sensor failed", "Check the sensor's cable in the tool head."),
    (34, "the bed's temperature sensor failed", "Check the sensor's cable."),
    (45, "the filament is nearly used up", "Have the next spool ready."),
];

/// Why a job ended, with what to do; `None` for code 0, which is no reason.
pub fn reason(code: i64) -> Option<String> {
    if code == 0 {
        return None;
    }
    Some(match REASONS.iter().find(|(known, ..)| *known == code) {
        Some((_, text, remedy)) => format!("The printer says that {text} (reason {code}). {remedy}"),
        None => format!("The printer gives reason {code}; look at its screen."),
    })
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
