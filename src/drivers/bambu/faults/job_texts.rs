//! What `print_error` codes mean and what to do, in our own words; the numbers are the printers' (bambu.md 3.9 and
//! what users publish of their screens). Codes that are not here keep their number, module and kind.

use crate::model::Severity::{self, Info, Serious, Warning};

/// A `print_error` code, how bad it is, and its text.
pub(super) type Row = (u32, Severity, &'static str);

// One line a code, however long.
#[rustfmt::skip]
pub(super) const CODES: &[Row] = &[
    // Stopped: motion, heat, calibration.
    (0x0300_4000, Serious, "Homing the Z axis failed and the job was stopped. Look for something below the bed or on the plate."),
    (0x0300_4001, Serious, "The nozzle did not cool down in time for homing. Check the fan of the hotend, then start again."),
    (0x0300_4002, Serious, "Levelling the bed failed and the job was stopped. Clean nozzle tip and plate, then start again."),
    (0x0300_4005, Serious, "The fan of the hotend does not run as it should. Check it for filament and its cable."),
    (0x0300_4006, Serious, "The nozzle is clogged. Clean or change it, then start again."),
    (0x0300_4008, Serious, "The AMS could not change the filament, so the job was stopped. Check the tubes and the spools."),
    (0x0300_4009, Serious, "Homing X and Y failed. Remove what blocks the toolhead, then start again."),
    (0x0300_400A, Serious, "Measuring the resonance failed. Check the belts, then calibrate again."),
    (0x0300_400B, Serious, "Parts of the printer cannot talk to each other. Switch it off and on again."),
    (0x0300_400D, Serious, "The print could not go on after the power loss. Start it again."),
    (0x0300_400E, Serious, "The self-check of the motors failed. Switch the printer off and on, then try again."),
    (0x0300_400F, Serious, "The mains voltage is not the one this printer is made for."),
    (0x0300_4010, Serious, "Calibrating the nozzle offset failed. Clean both nozzles and try again."),
    (0x0300_4011, Serious, "Calibrating the filament flow failed. Start the print or the calibration again."),
    (0x0300_4013, Serious, "Nothing can be printed while a filament unit dries. Stop the drying or wait."),
    (0x0300_4014, Serious, "Homing Z failed because the temperature is not under control. Check the hotend."),
    (0x0300_4020, Serious, "The printer does not find its nozzle. Check that it sits right."),
    (0x0300_404B, Serious, "The job was stopped because the front door or the top cover is open."),
    (0x0300_404D, Serious, "Hotend, bed or chamber are too hot for this. Wait until they are cool."),
    (0x0300_4057, Serious, "The Z axis lost steps and the job was stopped. Look for something below the bed."),
    (0x0300_4070, Warning, "The nozzle is too cold for this. Heat it to 170 °C or more."),
    // Waiting for somebody.
    (0x0300_8000, Info, "The print is paused."),
    (0x0300_8001, Info, "The print was paused by the user."),
    (0x0300_8002, Serious, "The scan of the first layer shows defects. Look at the print, then resume or cancel."),
    (0x0300_8003, Serious, "The camera saw failed (spaghetti) printing, so the print is paused."),
    (0x0300_8004, Serious, "The filament has run out. Load new filament, then resume."),
    (0x0300_8005, Serious, "The front cover of the toolhead fell off. Put it back, look at the print, then resume."),
    (0x0300_8006, Serious, "The marker of the build plate was not found. Put the plate straight on all four corners, then resume."),
    (0x0300_8007, Serious, "The power failed during a print. If the part still sticks to the plate, resume, else cancel."),
    (0x0300_8008, Serious, "The temperature of the nozzle is not under control. Switch the printer off and check the hotend."),
    (0x0300_8009, Serious, "The temperature of the bed is not under control. Switch the printer off and check the heater."),
    (0x0300_800A, Serious, "Purged filament piles up at the waste chute. Clear it away, then resume."),
    (0x0300_800B, Serious, "The filament cutter is stuck. Pull its handle out, then resume."),
    (0x0300_800C, Serious, "The toolhead was pushed out of place. Remove what blocks it; resume only if the part is still right."),
    (0x0300_800D, Serious, "No filament comes out as it should. Look at the print, then resume or cancel."),
    (0x0300_800E, Serious, "The print file is gone: the card or stick may have been pulled. Put it back, then resume."),
    (0x0300_800F, Serious, "The door seems to be open, so the print is paused. Close it, then resume."),
    (0x0300_8010, Serious, "The fan of the hotend does not run as it should. Check it before the hotend clogs."),
    (0x0300_8011, Serious, "The build plate is not the one the file was sliced for. Change the plate or slice again."),
    (0x0300_8013, Info, "The G-code of the print asked for a pause."),
    (0x0300_8014, Serious, "The nozzle is wrapped in filament, or the plate lies crooked. Clean and straighten, then resume."),
    (0x0300_8015, Serious, "The filament has run out. Load new filament, then resume."),
    (0x0300_8016, Serious, "The nozzle is clogged. Clean it, then resume, or cancel."),
    (0x0300_8017, Serious, "Something lies on the bed. Take it away, then resume."),
    (0x0300_8018, Serious, "The temperature of the chamber is not under control."),
    (0x0300_8019, Serious, "There is no build plate on the bed. Put it on, then resume."),
    (0x0300_801A, Serious, "The filament is not extruded properly. Check extruder and nozzle, then resume or cancel."),
    (0x0300_801C, Serious, "The filament is hard to push: the nozzle may be clogged. Check it, then resume."),
    (0x0300_801E, Serious, "The motor of the extruder is overloaded. Free the filament in the toolhead, then resume."),
    (0x0300_8021, Serious, "The nozzle is missing or sits loose. Fit it, then resume."),
    (0x0300_8022, Serious, "The bed is blocked on its way down. Take away what lies below it, then resume."),
    (0x0300_8042, Serious, "The print is paused because the door or the top cover is open. Close it, then resume."),
    (0x0300_8044, Serious, "The printer saw fire in its chamber. Look at it at once and cut the power."),
    (0x0300_8061, Serious, "The flap of the air duct did not move. Check it."),
    (0x0300_8062, Serious, "The chamber is too hot. Let it cool, then resume."),
    (0x0300_8063, Serious, "The chamber is too hot. Open top cover and door to let it cool, then resume."),
    (0x0300_806E, Serious, "The nozzle heats out of control: its heater may be broken. Cut the power at once."),
    (0x0300_806F, Serious, "The bed heats out of control: its heater may be broken. Cut the power at once."),
    (0x0300_8070, Serious, "The chamber heater is out of control and may be broken. Cut the power at once."),
    // The job itself.
    (0x0500_4001, Warning, "The printer does not reach Bambu's cloud. Printing over the local network does not need it."),
    (0x0500_4002, Serious, "The printer does not like the path or name of the print file. Rename it and send it again."),
    (0x0500_4003, Serious, "The printer cannot read the print file: it is damaged, incomplete or gone. Send it again."),
    (0x0500_4004, Serious, "The printer is busy and did not take the job."),
    (0x0500_4005, Serious, "The printer updates its firmware and takes no job meanwhile."),
    (0x0500_4006, Serious, "There is no room left for the print file. Delete files on the printer."),
    (0x0500_4007, Serious, "The printer wants a firmware repair before it prints. Do that at its screen."),
    (0x0500_4008, Serious, "The print did not start. Switch the printer off and on, then send the job again."),
    (0x0500_4009, Serious, "The printer uploads its logs and takes no job meanwhile."),
    (0x0500_400A, Serious, "The printer does not like the name of the file. Rename it and start again."),
    (0x0500_400B, Serious, "The printer could not fetch the file. Check the network, then send the job again."),
    (0x0500_400C, Serious, "There is no memory card in the printer. Insert one, then start again."),
    (0x0500_400D, Serious, "The printer wants its self-test first. Run it at its screen, then start again."),
    (0x0500_4014, Serious, "Slicing failed. Check the settings, then start again."),
    (0x0500_4015, Serious, "The memory card is full. Delete files or format it."),
    (0x0500_4016, Serious, "The memory card is write-protected. Use another one."),
    (0x0500_4047, Serious, "The mounted nozzle is not the one the file was sliced for. Slice again or change the nozzle."),
    (0x0500_C010, Serious, "Reading or writing the printer's storage failed. Check the card or USB stick."),
    // Camera and lidar.
    (0x0C00_8001, Serious, "The first layer shows defects. Look at it, then resume or cancel."),
    (0x0C00_8005, Serious, "Purged filament piles up at the waste chute. Clear it away, then resume."),
    (0x0C00_8009, Serious, "The marker of the build plate was not found. Put the plate on straight, then resume."),
    (0x0C00_8015, Serious, "Something lies on the plate. Take it away, then resume."),
    (0x0C00_8017, Serious, "Something lies on the plate. Take it away, then resume."),
    (0x0C00_8033, Serious, "The quick-release lever of the toolhead is open. Push it down, then resume."),
    (0x0C00_803F, Serious, "The camera saw filament around the nozzle. Clean it, then resume or cancel."),
    (0x0C00_8040, Serious, "The camera saw that nothing comes out of the nozzle. Check the filament, then resume or cancel."),
    (0x0C00_8042, Serious, "The camera saw failed (spaghetti) printing. Look at it, then resume or cancel."),
    (0x0C00_8043, Serious, "The camera saw filament around the nozzle. Clean it, then resume or cancel."),
    (0x0C00_C003, Info, "The first layer may have defects. Have a look."),
    (0x0C00_C004, Info, "The print may be failing (spaghetti). Have a look."),
    (0x0C00_C006, Info, "Purged filament may pile up at the waste chute. Have a look."),
    // The external spool.
    (0x07FF_8003, Serious, "Pull the filament out of the tube by hand, then retry."),
    (0x07FF_8005, Serious, "Outside the AMS the filament does not move. Cut its end straight, free the spool, then retry."),
    (0x07FF_8006, Warning, "Push the filament into the tube until it stops, then retry."),
    (0x07FF_8007, Warning, "Push the filament into the extruder by hand, then continue."),
    (0x07FF_8010, Serious, "The external spool or its filament is stuck. Free it, then retry."),
    (0x07FF_8011, Serious, "The filament of the external spool has run out. Load new filament, then resume."),
    (0x07FF_C003, Warning, "Pull the filament out of the tube by hand."),
    (0x07FF_C006, Warning, "Push the filament into the tube until it stops."),
    (0x07FF_C008, Warning, "Pull the filament out of the tube by hand."),
    (0x07FF_C009, Warning, "Push the filament into the tube until it stops."),
    (0x07FF_C00A, Warning, "Look at the nozzle: if filament comes out, continue, else push it a little and retry."),
];

/// The same message from any filament unit: its low half.
#[rustfmt::skip]
pub(super) const OF_ANY_UNIT: &[(u16, Severity, &str)] = &[
    (0x4001, Serious, "Filament of a unit that is switched off is still loaded. Unload it, then start again."),
    (0x4025, Serious, "The tag of the spool could not be read."),
    (0x8001, Serious, "The filament could not be cut. Check the cutter, then retry."),
    (0x8002, Serious, "The filament cutter is stuck. Pull its handle out, then retry."),
    (0x8003, Serious, "The filament does not come out of the extruder: it may be clogged or broken inside. Free it, then retry."),
    (0x8004, Serious, "The filament cannot be pulled back. Free the spool and the tube, then retry."),
    (0x8005, Serious, "The unit cannot feed the filament out. Cut its end straight and put it in again, then retry."),
    (0x8006, Serious, "The unit cannot feed the filament to the extruder: it is tangled or stuck. Free it, then retry."),
    (0x8007, Serious, "The filament does not come out of the nozzle: the extruder may be clogged. Check it, then retry."),
    (0x800A, Serious, "The tube between the filament unit and the extruder is off. Put it back, then retry."),
    (0x8010, Serious, "The filament unit works too hard: the spool is stuck or the filament tangled. Free it, then retry."),
    (0x8011, Serious, "The filament has run out. Put a new spool into the same slot, then resume."),
    (0x8012, Serious, "The assignment of filaments to AMS slots is not valid for this printer."),
    (0x8013, Serious, "Purging the old filament took too long: it is stuck or the extruder clogged. Check it, then retry."),
    (0x8016, Serious, "The filament is not extruded properly. Check the extruder, then resume or cancel."),
    (0x8017, Serious, "The unit dries its spools; stop that before filament is loaded or unloaded."),
    (0x8023, Serious, "The filament unit does not cool down: the room may be too warm."),
    (0xC069, Warning, "Drying ended with an error. The printer's screen shows more."),
    (0xC06A, Warning, "The unit reads a tag and cannot dry now. Try again later."),
    (0xC06B, Warning, "The unit changes filament and cannot dry now. Try again later."),
    (0xC06C, Warning, "The unit assists a print and cannot dry now. Try again later."),
    (0xC06D, Warning, "The unit helps to insert filament and cannot dry now. Try again later."),
    (0xC06E, Warning, "The unit tests its motors and cannot dry now. Try again later."),
];

/// Modules of filament units: AMS and AMS 2 Pro, AMS Lite, AMS HT.
pub(super) const UNITS: [u32; 3] = [0x07, 0x12, 0x18];

/// How bad a code is and what it says, where it is known.
pub(super) fn find(code: u32) -> Option<(Severity, &'static str)> {
    let exact = CODES.iter().find(|row| row.0 == code).map(|row| (row.1, row.2));
    exact.or_else(|| {
        let of_unit = UNITS.contains(&(code >> 24));
        let row = OF_ANY_UNIT.iter().find(|row| of_unit && u32::from(row.0) == code & 0xFFFF)?;
        Some((row.1, row.2))
    })
}
