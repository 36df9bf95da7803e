//! Runs what `gcode_line` brings: temperatures, fans, moves, waits and claimed stages (dossier 4.3).
//!
//! Lines are executed in order on the simulated clock. Motion during a job is executed too, as on the real printer,
//! and counted in the truth as the damage it is. Nothing can be read back over MQTT.

use std::collections::VecDeque;

use super::printer::{Printer, stage};

/// Lines a client may have waiting; more are dropped by the printer.
const CAPACITY: usize = 4096;
/// mm: a generous volume; beyond it a move is counted as out of bounds (limits are not enforced, dossier 4.3).
const VOLUME: [f64; 3] = [256.0, 256.0, 256.0];

#[derive(Debug)]
pub(super) struct Queue {
    lines: VecDeque<String>,
    /// Simulated second at which the move under way ends.
    busy_until: f64,
    /// x, y, z, e in mm.
    pub position: [f64; 4],
    relative: bool,
    relative_e: bool,
    /// mm/s
    feed: f64,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            lines: VecDeque::new(),
            busy_until: 0.0,
            position: [0.0; 4],
            relative: false,
            relative_e: false,
            feed: 50.0,
        }
    }
}

impl Queue {
    /// Appends lines; true when all fitted.
    pub fn push(&mut self, text: &str) -> bool {
        let mut fitted = true;
        for line in text.lines() {
            let line = line.split(';').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            fitted &= self.lines.len() < CAPACITY;
            if fitted {
                self.lines.push_back(line.to_owned());
            }
        }
        fitted
    }

    pub fn clear(&mut self) {
        self.lines.clear();
    }
}

fn word(line: &str, letter: char) -> Option<f64> {
    line.split_whitespace().skip(1).find_map(|w| {
        let rest = w.strip_prefix(letter).or_else(|| w.strip_prefix(letter.to_ascii_lowercase()))?;
        rest.parse::<f64>().ok().filter(|v| v.is_finite())
    })
}

impl Printer {
    /// Executes what is due.
    pub(super) fn run_queue(&mut self) {
        while self.sim >= self.queue.busy_until {
            let Some(line) = self.queue.lines.front().cloned() else { return };
            if !self.execute(&line) {
                return;
            }
            self.queue.lines.pop_front();
        }
    }

    /// False while the line must wait for a temperature.
    fn execute(&mut self, line: &str) -> bool {
        let code = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        match code.as_str() {
            "M104" | "M109" => return self.heat_nozzle(line, code == "M109"),
            "M140" | "M190" => return self.heat_bed(line, code == "M190"),
            "M141" => self.set_chamber(word(line, 'S').unwrap_or(0.0)),
            "M106" => self.set_fan(line, word(line, 'S').unwrap_or(255.0)),
            "M107" => self.set_fan(line, 0.0),
            "M145" => self.airduct_mode = word(line, 'P').unwrap_or(0.0) as i64,
            "G28" => self.home(line),
            "G0" | "G1" => self.travel(line),
            "G4" => {
                let seconds = word(line, 'S').unwrap_or(0.0) + word(line, 'P').unwrap_or(0.0) / 1000.0;
                self.queue.busy_until = self.sim + seconds.clamp(0.0, 600.0);
            }
            "G90" => self.queue.relative = false,
            "G91" => self.queue.relative = true,
            "M82" => self.queue.relative_e = false,
            "M83" => self.queue.relative_e = true,
            "M84" | "M18" => self.machine.homed = false,
            "M400" if word(line, 'U') == Some(1.0) => {
                self.pause(stage::GCODE_PAUSE);
            }
            "M1002" => self.claim(line),
            _ => {}
        }
        true
    }

    fn heat_nozzle(&mut self, line: &str, wait: bool) -> bool {
        // T0 is the right (main) extruder, T1 the left one (dossier 4.3).
        let tool = word(line, 'T').map_or(self.machine.active_nozzle, |t| t as usize);
        let limit = self.model.nozzle_limit;
        let Some(nozzle) = self.machine.nozzles.get_mut(tool) else { return true };
        if let Some(target) = word(line, 'S') {
            nozzle.target = target.clamp(0.0, limit);
        }
        !wait || nozzle.reached()
    }

    fn heat_bed(&mut self, line: &str, wait: bool) -> bool {
        if let Some(target) = word(line, 'S') {
            self.machine.bed.target = target.clamp(0.0, self.model.bed_limit);
        }
        !wait || self.machine.bed.reached()
    }

    /// Chamber target in °C; ignored where nothing heats it.
    pub(super) fn set_chamber(&mut self, target: f64) {
        if let super::models::Chamber::Heated(limit) = self.model.chamber {
            self.chamber_target = target.clamp(0.0, limit);
            self.machine.chamber.target = self.chamber_target;
        }
    }

    fn set_fan(&mut self, line: &str, speed: f64) {
        let index = match word(line, 'P').unwrap_or(1.0) as u32 {
            2 | 10 => 1,
            3 => 2,
            _ => 0,
        };
        if let Some(fan) = self.fans.get_mut(index) {
            *fan = speed.clamp(0.0, 255.0) as u8;
        }
    }

    /// Homes at its own pace; `G28 Z` alone skips parking, which is counted.
    pub(super) fn home(&mut self, line: &str) {
        self.count_motion();
        if line.split_whitespace().count() > 1 {
            self.counters.partial_homings += 1;
        }
        self.machine.homed = true;
        self.queue.position = [0.0, 0.0, 0.0, self.queue.position[3]];
        self.queue.busy_until = self.sim + self.machine.pace.homing;
    }

    fn travel(&mut self, line: &str) {
        if let Some(feed) = word(line, 'F') {
            self.queue.feed = (feed / 60.0).max(0.1);
        }
        let mut longest: f64 = 0.0;
        let mut axes = false;
        let modes = [self.queue.relative, self.queue.relative, self.queue.relative, false];
        let relative_e = self.queue.relative || self.queue.relative_e;
        for (index, (letter, relative)) in ['X', 'Y', 'Z', 'E'].into_iter().zip(modes).enumerate() {
            let (Some(value), Some(place)) = (word(line, letter), self.queue.position.get_mut(index)) else {
                continue;
            };
            let relative = if letter == 'E' { relative_e } else { relative };
            let goal = if relative { *place + value } else { value };
            longest = longest.max((goal - *place).abs());
            *place = goal;
            axes |= letter != 'E';
        }
        if axes {
            self.count_motion();
            let outside = |(p, limit): (&f64, &f64)| *p < -5.0 || *p > *limit;
            if self.queue.position.iter().zip(&VOLUME).any(outside) {
                self.counters.out_of_bounds_moves += 1;
            }
            if !self.machine.homed {
                self.counters.unhomed_moves += 1;
            }
        }
        self.queue.busy_until = self.sim + (longest / self.queue.feed).min(120.0);
    }

    fn count_motion(&mut self) {
        if self.machine.stage.busy() {
            self.counters.motion_while_printing += 1;
        }
    }

    /// `M1002 gcode_claim_action : N` shows N as `stg_cur` once the queue gets there.
    fn claim(&mut self, line: &str) {
        let Some((_, number)) = line.split_once("gcode_claim_action") else { return };
        if self.ignores_claims {
            return;
        }
        if let Ok(number) = number.trim_start_matches([' ', ':']).trim().parse::<i64>() {
            self.claimed = (number != 0).then_some(number);
        }
    }
}
