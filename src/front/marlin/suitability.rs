//! Whether a streamed file may be printed here (docs/decisions/004). Hosts strip the comments, so the judgement rests on
//! the words and numbers of the file itself.

use std::collections::BTreeSet;

use crate::gcode::{Line, Value};
use crate::model::Capabilities;

/// Millimetres that purge lines and wipers of the printers' own profiles lie outside the build volume.
const MARGIN: f64 = 20.0;
/// Lines before the end among which a whole file switches its heaters off.
const END_LINES: u64 = 400;
/// Words that change or check the machine itself: steps, offsets, regulators, stored settings, the model (M862). Files for
/// printers that take any G-code have none of them.
const MACHINE_WORDS: [u32; 8] = [92, 206, 301, 304, 500, 502, 851, 862];
const AXES: [char; 3] = ['X', 'Y', 'Z'];

/// What tells for or against a file, gathered line by line.
#[derive(Debug, Default)]
pub struct Suitability {
    heads: BTreeSet<String>,
    extrusions: u64,
    lines: u64,
    /// Number of the last line that switched the nozzle off, with no printing behind it: a printer of several tools
    /// switches one off in the middle of a file.
    off_at: Option<u64>,
    /// The extruder counts relative, and where it is.
    extruder_relative: bool,
    extruder: f64,
    relative: bool,
    inches: bool,
    homed: [bool; 3],
    printed_unhomed: bool,
    /// Where the machine is, and what G92 added to its coordinates.
    position: [f64; 3],
    offset: [f64; 3],
    lowest: [f64; 3],
    highest: [f64; 3],
    hottest_nozzle: f64,
    hottest_bed: f64,
    hottest_chamber: f64,
    machine_word: Option<String>,
}

impl Suitability {
    /// Counts a line that means nothing to us.
    pub fn pass(&mut self) {
        self.lines += 1;
    }

    /// Takes one line of the file into account.
    pub fn take(&mut self, line: &Line) {
        const HEADS: usize = 500;
        self.lines += 1;
        let Some(command) = &line.command else { return };
        if self.heads.len() < HEADS {
            self.heads.insert(command.to_string());
        }
        let target = || line.value('S').or(line.value('R')).unwrap_or(0.0);
        match line.code() {
            Some(('G', 0..=3)) => self.moved(line),
            Some(('G', 20)) => self.inches = true,
            Some(('G', 28)) => self.home(line),
            Some(('G', 90)) => self.relative = false,
            Some(('G', 91)) => self.relative = true,
            Some(('G', 92)) => self.renamed(line),
            Some(('M', 82)) => self.extruder_relative = false,
            Some(('M', 83)) => self.extruder_relative = true,
            Some(('M', 104 | 109)) => {
                self.hottest_nozzle = self.hottest_nozzle.max(target());
                if target() == 0.0 {
                    self.off_at = Some(self.lines);
                }
            }
            Some(('M', 140 | 190)) => self.hottest_bed = self.hottest_bed.max(target()),
            Some(('M', 141 | 191)) => self.hottest_chamber = self.hottest_chamber.max(target()),
            Some(('M', word)) if MACHINE_WORDS.contains(&word) => {
                self.machine_word.get_or_insert_with(|| command.to_string());
            }
            _ if line.extended() == Some("SAVE_CONFIG") => {
                self.machine_word.get_or_insert_with(|| command.to_string());
            }
            _ => {}
        }
    }

    fn home(&mut self, line: &Line) {
        let all = !AXES.iter().any(|axis| line.flag(*axis));
        let places = self.homed.iter_mut().zip(&mut self.position).zip(&mut self.offset);
        for (axis, ((homed, position), offset)) in AXES.into_iter().zip(places) {
            if all || line.flag(axis) {
                (*homed, *position, *offset) = (true, 0.0, 0.0);
            }
        }
    }

    /// G92 gives the place another name; the machine stays where it is.
    fn renamed(&mut self, line: &Line) {
        self.extruder = line.value('E').unwrap_or(self.extruder);
        for ((axis, position), offset) in AXES.into_iter().zip(self.position).zip(&mut self.offset) {
            if let Some(name) = line.value(axis) {
                *offset = position - name;
            }
        }
    }

    fn moved(&mut self, line: &Line) {
        let extrudes = line.value('E').is_some_and(|length| length > 0.0);
        self.extrusions += u64::from(extrudes);
        let travels = AXES.iter().any(|axis| matches!(line.word(*axis), Some(Value::Number(_))));
        if let Some(length) = line.value('E') {
            if extrudes && travels && (self.extruder_relative || length > self.extruder) {
                self.off_at = None;
            }
            self.extruder = length;
        }
        self.printed_unhomed |= extrudes && travels && self.homed.contains(&false);
        let places = self.position.iter_mut().zip(self.offset);
        let bounds = self.lowest.iter_mut().zip(&mut self.highest);
        for ((axis, (position, offset)), (low, high)) in AXES.into_iter().zip(places).zip(bounds) {
            if let Some(value) = line.value(axis) {
                *position = if self.relative { *position + value } else { value + offset };
                *low = low.min(*position);
                *high = high.max(*position);
            }
        }
    }

    /// Something was printed, and the nozzle was switched off a short while ago.
    pub fn complete(&self) -> bool {
        self.extrusions > 0 && self.off_at.is_some_and(|line| self.lines.saturating_sub(line) <= END_LINES)
    }

    /// What is against printing the file; `ended` if the host said that all of it has come.
    ///
    /// # Errors
    /// The objection, as the end of a sentence.
    pub fn verdict(&self, ended: bool, caps: &Capabilities) -> Result<(), String> {
        if !ended || !self.complete() {
            return Err("it is not complete: its end, where the nozzle is switched off, did not come.".into());
        }
        self.origin(caps)?;
        if self.printed_unhomed {
            return Err("it prints without having homed all axes (G28).".to_owned());
        }
        self.bounds(caps)?;
        self.heat(caps)
    }

    fn origin(&self, caps: &Capabilities) -> Result<(), String> {
        let printer = format!("{} {}", caps.vendor, caps.model);
        let markers = &caps.gcode_markers;
        if !markers.is_empty() && !markers.iter().any(|marker| self.heads.contains(marker)) {
            return Err(format!(
                "it was not sliced for the {printer}: none of {} is in it. Slice it with the profile of this printer.",
                markers.join(", ")
            ));
        }
        match &self.machine_word {
            Some(word) if markers.is_empty() => Err(format!(
                "it was made for another machine: {word} is in it. Slice it with the profile of the {printer}."
            )),
            _ => Ok(()),
        }
    }

    fn bounds(&self, caps: &Capabilities) -> Result<(), String> {
        if self.inches {
            return Err("it counts in inches (G20).".to_owned());
        }
        let reach = self.lowest.iter().zip(&self.highest).zip(caps.volume_mm);
        for (axis, ((low, high), size)) in AXES.into_iter().zip(reach) {
            if *high > size + MARGIN {
                return Err(format!("it goes to {axis} {high:.0} mm, but the printer ends at {size:.0} mm."));
            }
            // Wipers of the printers' own profiles lie farther out (the A1's at X -48).
            if caps.gcode_markers.is_empty() && *low < -MARGIN {
                return Err(format!("it goes to {axis} {low:.0} mm, outside the printer."));
            }
        }
        Ok(())
    }

    fn heat(&self, caps: &Capabilities) -> Result<(), String> {
        let nozzle = caps.nozzles.iter().filter_map(|nozzle| nozzle.max).fold(0.0, f64::max);
        let bed = caps.bed.max.unwrap_or(0.0);
        if self.hottest_nozzle > nozzle || self.hottest_bed > bed {
            return Err(format!(
                "it heats the nozzle to {:.0} and the bed to {:.0} °C; the printer takes {nozzle:.0} and {bed:.0} °C.",
                self.hottest_nozzle, self.hottest_bed
            ));
        }
        // Profiles write a chamber target also for printers that have no heater there; those ignore it.
        let chamber = caps.chamber.and_then(|chamber| chamber.max);
        match chamber {
            Some(most) if self.hottest_chamber > most => Err(format!(
                "it heats the chamber to {:.0} °C; the printer takes {most:.0} °C.",
                self.hottest_chamber
            )),
            _ => Ok(()),
        }
    }
}
