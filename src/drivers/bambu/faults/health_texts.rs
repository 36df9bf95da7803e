//! What health messages (`hms`) mean and what to do, in our own words; the numbers are the printers' (bambu.md 3.9 and
//! what users publish of their screens). Severity is in the code itself and is not repeated here.

use super::job_texts::UNITS;

/// Module and part (`attr` without its instance), message number (0 = any), text.
type Row = (u32, u16, &'static str);

/// Messages of the machine: `attr` with the instance taken out.
const MACHINE: &[Row] = &[
    (
        0x0300_0100,
        1,
        "The bed's heater may have a short circuit. Switch the printer off and have the bed checked.",
    ),
    (
        0x0300_0100,
        2,
        "The bed's heater or its thermal switch may be interrupted. Switch off and check the bed's cable.",
    ),
    (0x0300_0100, 3, "The bed is too hot. Switch the printer off and let it cool."),
    (0x0300_0100, 6, "The bed's temperature sensor may have a short circuit. Check its cable."),
    (0x0300_0100, 7, "The bed's temperature sensor may be interrupted. Check its cable."),
    (0x0300_0100, 0, "The bed does not heat as it should."),
    (0x0300_0200, 1, "The nozzle's heater may have a short circuit. Switch off and check the hotend."),
    (0x0300_0200, 2, "The nozzle's heater may be interrupted. Switch off and check the hotend's cable."),
    (0x0300_0200, 3, "The nozzle is too hot. Switch the printer off and let it cool."),
    (0x0300_0200, 6, "The nozzle's temperature sensor may have a short circuit. Check the hotend's plug."),
    (0x0300_0200, 7, "The nozzle's temperature sensor may be interrupted. Check the hotend's plug."),
    (0x0300_0200, 9, "The hotend does not heat up; it may not be fitted."),
    (0x0300_0200, 0, "The nozzle does not heat as it should."),
    (0x0300_1E00, 0, "The left nozzle does not heat as it should."),
    (0x0300_0300, 0, "The fan of the hotend is slow or stands still. Clean it and check its plug."),
    (0x0300_1700, 0, "The fan of the hotend is slow or stands still. Clean it and check its plug."),
    (0x0300_0400, 0, "The part fan is slow or stands still. Clean it and check its plug."),
    (0x0300_0500, 0, "A motor driver is too hot. Check the fan of the electronics."),
    (0x0300_0600, 0, "Motor A or its cable has a fault."),
    (0x0300_0700, 0, "Motor B or its cable has a fault."),
    (0x0300_0800, 0, "The Z motor or its cable has a fault."),
    (0x0300_0900, 0, "The extruder works too hard or its motor has a fault: it may be clogged."),
    (0x0300_0A00, 0, "Force sensor 1 of the bed gives no good signal. Check that the bed moves freely."),
    (0x0300_0B00, 0, "Force sensor 2 of the bed gives no good signal. Check that the bed moves freely."),
    (0x0300_0C00, 0, "Force sensor 3 of the bed gives no good signal. Check that the bed moves freely."),
    (
        0x0300_0D00,
        1,
        "Homing on the bed failed: something may stick to the plate or the nozzle tip. Clean both.",
    ),
    (0x0300_0D00, 2, "Homing on the bed failed: something shakes the printer."),
    (0x0300_0D00, 11, "The Z axis is stuck. Look for something in its way."),
    (0x0300_0D00, 12, "The levelling found impossible heights. Look for something below the plate."),
    (0x0300_0D00, 0, "The build plate does not lie right. Straighten it."),
    (0x0300_0F00, 0, "The acceleration sensor gives no good values. Switch the printer off and on again."),
    (0x0300_1000, 0, "The X axis swings other than before: its belt may be loose. Tighten it and calibrate."),
    (0x0300_1100, 0, "The Y axis swings other than before: its belt may be loose. Tighten it and calibrate."),
    (0x0300_1200, 0, "The front cover of the toolhead fell off. Put it back."),
    (0x0300_1800, 1, "The extruder's force sensor feels nothing: the nozzle may not be fitted."),
    (0x0300_1800, 5, "The Z axis is stuck. Look for something in its way."),
    (0x0300_1800, 0, "The extruder's force sensor gives no good signal. Check that the nozzle sits right."),
    (0x0300_1A00, 1, "The nozzle is wrapped in filament, or the plate lies crooked. Clean and straighten."),
    (0x0300_1A00, 2, "The nozzle is clogged. Clean it."),
    (0x0300_2000, 1, "Homing X failed: the toolhead or its rods may be blocked."),
    (0x0300_2000, 2, "Homing Y failed: the toolhead or its carriage may be blocked."),
    (0x0300_2000, 0, "Homing failed: a belt may be loose."),
    (
        0x0500_0500,
        7,
        "The printer rejected a command because it accepts only signed ones; see the note on Developer Mode.",
    ),
    (0x0C00_0100, 4, "The lens of the lidar is dirty. Clean it."),
    (0x0C00_0100, 8, "The camera gives no picture; it does not watch for failed prints now."),
    (0x0C00_0100, 0, "The lidar or camera does not work as it should."),
    (0x0C00_0200, 0, "The laser of the lidar is not seen well. Clean the lidar and the plate."),
    (0x0C00_0300, 6, "Purged filament may pile up at the waste chute. Have a look."),
    (0x0C00_0300, 7, "The first layer may have defects. Have a look."),
    (0x0C00_0300, 8, "The print may be failing (spaghetti). Have a look."),
    (0x0C00_0300, 11, "The first layer is being inspected."),
    (0x0C00_0300, 12, "The marker of the build plate was not found. Put the plate on straight."),
    (0x0C00_0300, 13, "Perhaps nothing comes out of the nozzle. Have a look."),
    (0x0C00_0300, 16, "Something lies on the plate. Take it away."),
];

/// Messages of the slots of any filament unit: tens of the part, message number (0 = any), text after "Slot 2: ".
const SLOTS: &[(u8, u16, &str)] = &[
    (0x10, 1, "its motor slips; the feeder wheel may be worn or the filament too smooth."),
    (0x10, 2, "its motor works too hard: the filament is tangled or the spool stuck. Free it."),
    (0x10, 0, "its motor has a fault."),
    (0x20, 1, "the filament has run out. Put a new spool in."),
    (0x20, 2, "it is empty. Put a spool in."),
    (0x20, 3, "the filament may be broken in the tube. Pull it out and put it in again."),
    (0x20, 4, "the filament may be broken in the toolhead. Take it out there."),
    (0x20, 5, "the filament has run out and the rest could not be purged. Check the toolhead."),
    (0x20, 6, "the filament cannot be extruded: the extruder may be clogged."),
    (0x30, 2, "the tag of the spool is damaged."),
    (0x30, 0, "the tag of the spool cannot be read."),
    (0x60, 0, "it works too hard: the filament is tangled or the buffer stuck. Free it."),
    (0x70, 0, "the filament moves other than the unit feeds it; its sensor may have a fault."),
    (0x80, 0, "the filament may be tangled or stuck. Free it."),
];

/// Messages of a filament unit as a whole.
const UNIT: &[(u8, u16, &str)] = &[
    (0x01, 2, "The filament unit works too hard: filament is tangled or a spool stuck. Free it."),
    (0x01, 0, "The motor of the filament unit has a fault."),
    (0x02, 0, "The filament unit does not measure how far the filament moves."),
    (0x40, 3, "The printer does not hear the hub of the filament units. Check its cable."),
    (0x40, 4, "The filament buffer is stuck, or the filament before it. Free it."),
    (0x40, 0, "The sensor of the filament buffer has a fault. Check its cable."),
    (0x45, 3, "The filament cutter is stuck. Pull its handle out."),
    (0x45, 0, "The filament cutter's sensor or path has a fault."),
    (0x50, 0, "The printer cannot talk to the filament unit. Check its cable."),
    (0x51, 0, "The filament unit is switched off; filament comes from the external spool."),
    (0x55, 0, "The filament unit is not set up: tell the printer at its screen which extruder it feeds."),
    (0x56, 0, "The filament unit cools down after drying. Wait before it is used."),
    (0x90, 0, "A valve of the filament unit's dryer has a fault."),
    (0x91, 0, "A valve of the filament unit's dryer has a fault."),
    (0x92, 3, "The filament unit cannot dry without its power adapter. Plug it in."),
    (0x93, 3, "The filament unit cannot dry without its power adapter. Plug it in."),
    (0x92, 0, "A fan of the filament unit's dryer is blocked or slow. Clean it."),
    (0x93, 0, "A fan of the filament unit's dryer is blocked or slow. Clean it."),
    (0x94, 0, "A temperature sensor of the filament unit's dryer has a fault."),
    (0x95, 0, "A temperature sensor of the filament unit's dryer has a fault."),
    (0x96, 1, "The dryer heats out of control. Switch the filament unit off at once."),
    (0x96, 3, "Drying cannot start while filament is fed in. Pull it back out of the hub."),
    (0x96, 0, "The dryer does not reach its temperature: the lid may be open or the room cold."),
    (0x97, 0, "The filament unit is too warm to feed or to read tags. Let it cool."),
    (0x98, 0, "The power adapter of the filament unit gives a wrong voltage."),
];

/// Messages 10 to 1F of the mainboard: the slot of the first four units whose tag cannot be read.
const UNREAD_TAG: std::ops::RangeInclusive<u16> = 0x10..=0x1F;

/// The text of a health message, where it is known; a message number of its own goes before a general one.
pub(super) fn find(attr: u32, code: u32) -> Option<String> {
    let (part, message) = ((attr >> 8 & 0xFF) as u8, (code & 0xFFFF) as u16);
    let fits = |number: u16| number == message || number == 0;
    if UNITS.contains(&(attr >> 24)) {
        let slot = SLOTS.iter().find(|row| row.0 == part & 0xF0 && part & 0x0F < 4 && fits(row.1));
        if let Some((_, _, text)) = slot {
            return Some(format!("Slot {}: {text}", (part & 0x0F) + 1));
        }
        return UNIT.iter().find(|row| row.0 == part && fits(row.1)).map(|row| row.2.to_owned());
    }
    let place = attr & 0xFF00_FF00;
    if place == 0x0500_0400 && code >> 16 == 2 && UNREAD_TAG.contains(&message) {
        let number = message - UNREAD_TAG.start();
        return Some(format!("The tag of slot {} of AMS {} cannot be read.", number % 4 + 1, number / 4 + 1));
    }
    MACHINE.iter().find(|row| row.0 == place && fits(row.1)).map(|row| row.2.to_owned())
}
