//! What a simulated printer physically does: heating curves, preparation, layers, remaining time.
//!
//! Knows no protocol. A simulated printer owns one [`Machine`], calls [`Machine::tick`] with the scaled time that
//! went by, and reports what it reads here in its own words. Nothing is random: the same ticks give the same print.

/// A heated (or merely measured) body.
#[derive(Debug, Clone)]
pub struct Thermal {
    /// °C now.
    pub actual: f64,
    /// °C wanted; 0 is off.
    pub target: f64,
    /// °C the body falls back to.
    pub ambient: f64,
    /// °C per second with the heater fully on.
    pub heat_rate: f64,
    /// Part of the distance to ambient that is lost in each second.
    pub loss: f64,
}

impl Thermal {
    /// A cold body of the given heating rate (°C/s) and loss (1/s).
    pub fn cold(heat_rate: f64, loss: f64) -> Self {
        Self { actual: 24.0, target: 0.0, ambient: 24.0, heat_rate, loss }
    }

    /// True within 1.5 °C of a target that is on, or when the heater is off.
    pub fn reached(&self) -> bool {
        self.target <= 0.0 || (self.actual - self.target).abs() <= 1.5
    }

    fn tick(&mut self, dt: f64) {
        if self.target > self.actual {
            self.actual = (self.actual + self.heat_rate * dt).min(self.target);
        } else {
            let floor = self.target.max(self.ambient);
            let kept = (1.0 - self.loss).powf(dt);
            self.actual = floor + (self.actual - floor) * kept;
        }
    }
}

/// What a file asks of the printer, read from its header comments.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Number of layers, at least 1.
    pub layers: u32,
    /// Seconds of printing at 100 % speed, at least 1.
    pub seconds: f64,
    /// Nozzle target in °C.
    pub nozzle: f64,
    /// Bed target in °C.
    pub bed: f64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { layers: 50, seconds: 600.0, nozzle: 220.0, bed: 60.0 }
    }
}

impl Plan {
    /// Reads layer count, time and first-layer temperatures from G-code text; what is missing keeps its default.
    pub fn from_gcode(text: &str) -> Self {
        let mut plan = Self::default();
        for line in text.lines() {
            let line = line.trim();
            let Some(comment) = line.strip_prefix(';').map(str::trim) else {
                plan.read_command(line);
                continue;
            };
            let Some((key, value)) = comment.split_once(['=', ':']) else { continue };
            let (key, value) = (key.trim(), value.trim());
            match key {
                "total layer number" | "total layers count" | "LAYER_COUNT" | "total_layers" => {
                    if let Ok(n) = value.parse::<u32>() {
                        plan.layers = n.max(1);
                    }
                }
                "TIME" => {
                    if let Ok(s) = value.parse::<f64>() {
                        plan.seconds = s.max(1.0);
                    }
                }
                "estimated printing time (normal mode)" | "model printing time" => {
                    let first = value.split(';').next().unwrap_or(value);
                    if let Some(s) = spoken_duration(first) {
                        plan.seconds = s.max(1.0);
                    }
                }
                _ => {}
            }
        }
        plan
    }

    fn read_command(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let target = match words.next() {
            Some("M104" | "M109") => &mut self.nozzle,
            Some("M140" | "M190") => &mut self.bed,
            _ => return,
        };
        if let Some(value) = words.find_map(|w| w.strip_prefix('S')).and_then(|v| v.parse::<f64>().ok())
            && value > 0.0
        {
            *target = value;
        }
    }
}

/// `1d 2h 3m 4s` in seconds; `None` where no unit is found.
pub(super) fn spoken_duration(text: &str) -> Option<f64> {
    let mut total = None;
    for part in text.split_whitespace() {
        let unit = part.chars().last()?;
        let factor = match unit {
            'd' => 86_400.0,
            'h' => 3_600.0,
            'm' => 60.0,
            's' => 1.0,
            _ => continue,
        };
        let number: f64 = part.trim_end_matches(unit).parse().ok()?;
        *total.get_or_insert(0.0) += number * factor;
    }
    total
}

/// Where a job is, in no vendor's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stage {
    #[default]
    Idle,
    /// File received, being read; nothing moves yet.
    Loading,
    Heating,
    Homing,
    Levelling,
    Printing,
    Pausing,
    Paused,
    Resuming,
    Cancelling,
    Finished,
    Cancelled,
    Failed,
}

impl Stage {
    /// A job holds the machine.
    pub fn busy(self) -> bool {
        !matches!(self, Stage::Idle | Stage::Finished | Stage::Cancelled | Stage::Failed)
    }
}

/// The job on the machine, kept after its end until the next one.
#[derive(Debug, Clone)]
pub struct Run {
    pub file: String,
    pub plan: Plan,
    /// Seconds of printing done, at 100 % speed.
    pub printed: f64,
    /// Seconds since the start, pauses included.
    pub elapsed: f64,
}

impl Run {
    /// Part done, 0 to 1.
    pub fn progress(&self) -> f64 {
        (self.printed / self.plan.seconds).clamp(0.0, 1.0)
    }

    /// Layer being printed, from 1; 0 before the first.
    pub fn layer(&self) -> u32 {
        if self.printed <= 0.0 {
            return 0;
        }
        ((self.progress() * f64::from(self.plan.layers)).floor() as u32 + 1).min(self.plan.layers)
    }

    /// Seconds left at the given speed (1.0 = 100 %).
    pub fn remaining(&self, speed: f64) -> f64 {
        ((self.plan.seconds - self.printed) / speed.max(0.01)).max(0.0)
    }
}

/// How long the steps around a print take, in simulated seconds.
#[derive(Debug, Clone)]
pub struct Pace {
    pub loading: f64,
    pub homing: f64,
    pub levelling: f64,
    pub pausing: f64,
    pub resuming: f64,
    pub cancelling: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { loading: 3.0, homing: 5.0, levelling: 10.0, pausing: 2.0, resuming: 2.0, cancelling: 3.0 }
    }
}

/// The machine. Fields that a protocol merely sets and reads back (fans, lights) belong to the simulated printer.
#[derive(Debug, Clone)]
pub struct Machine {
    pub nozzles: Vec<Thermal>,
    pub active_nozzle: usize,
    pub bed: Thermal,
    pub chamber: Thermal,
    /// 1.0 = 100 %.
    pub speed: f64,
    pub homed: bool,
    pub stage: Stage,
    pub run: Option<Run>,
    pub pace: Pace,
    in_stage: f64,
    resume_to: Stage,
}

impl Default for Machine {
    /// With one nozzle.
    fn default() -> Self {
        Self::new(1)
    }
}

impl Machine {
    pub fn new(nozzles: usize) -> Self {
        Self {
            nozzles: vec![Thermal::cold(6.0, 0.01); nozzles.max(1)],
            active_nozzle: 0,
            bed: Thermal::cold(1.5, 0.004),
            chamber: Thermal::cold(0.2, 0.002),
            speed: 1.0,
            homed: false,
            stage: Stage::Idle,
            run: None,
            pace: Pace::default(),
            in_stage: 0.0,
            resume_to: Stage::Printing,
        }
    }

    /// The nozzle in use.
    pub fn nozzle(&mut self) -> Option<&mut Thermal> {
        self.nozzles.get_mut(self.active_nozzle)
    }

    /// Begins a job; false when one is running.
    pub fn start(&mut self, file: &str, plan: Plan) -> bool {
        if self.stage.busy() {
            return false;
        }
        self.run = Some(Run { file: file.to_owned(), plan, printed: 0.0, elapsed: 0.0 });
        self.enter(Stage::Loading);
        true
    }

    /// False when there is nothing to pause.
    pub fn pause(&mut self) -> bool {
        match self.stage {
            Stage::Heating | Stage::Homing | Stage::Levelling | Stage::Printing => {
                self.resume_to = self.stage;
                self.enter(Stage::Pausing);
                true
            }
            _ => false,
        }
    }

    /// False when nothing is paused.
    pub fn resume(&mut self) -> bool {
        let paused = self.stage == Stage::Paused;
        if paused {
            self.enter(Stage::Resuming);
        }
        paused
    }

    /// False when there is no job.
    pub fn cancel(&mut self) -> bool {
        let busy = self.stage.busy();
        if busy && self.stage != Stage::Cancelling {
            self.enter(Stage::Cancelling);
        }
        busy
    }

    /// The job ends badly at once; heaters off.
    pub fn fail(&mut self) {
        if self.stage.busy() {
            self.heaters_off();
            self.enter(Stage::Failed);
        }
    }

    /// Everything forgotten as by a power cut.
    pub fn power_cycle(&mut self) {
        self.heaters_off();
        self.homed = false;
        self.run = None;
        self.enter(Stage::Idle);
    }

    pub fn heaters_off(&mut self) {
        for nozzle in &mut self.nozzles {
            nozzle.target = 0.0;
        }
        self.bed.target = 0.0;
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.in_stage = 0.0;
        let plan = self.run.as_ref().map(|r| r.plan.clone());
        match stage {
            Stage::Heating => {
                if let Some(plan) = plan {
                    self.bed.target = plan.bed;
                    if let Some(nozzle) = self.nozzle() {
                        nozzle.target = plan.nozzle;
                    }
                }
            }
            Stage::Finished | Stage::Cancelled => self.heaters_off(),
            _ => {}
        }
    }

    /// Lets `dt` simulated seconds go by.
    pub fn tick(&mut self, dt: f64) {
        for nozzle in &mut self.nozzles {
            nozzle.tick(dt);
        }
        self.bed.tick(dt);
        self.chamber.ambient = 24.0 + (self.bed.actual - 24.0).max(0.0) * 0.3;
        self.chamber.tick(dt);
        self.in_stage += dt;
        if self.stage.busy()
            && let Some(run) = &mut self.run
        {
            run.elapsed += dt;
        }
        self.advance(dt);
    }

    fn advance(&mut self, dt: f64) {
        let pace = self.pace.clone();
        let hot = self.bed.reached() && self.nozzles.get(self.active_nozzle).is_none_or(Thermal::reached);
        match self.stage {
            Stage::Loading if self.in_stage >= pace.loading => self.enter(Stage::Heating),
            Stage::Heating if hot => self.enter(Stage::Homing),
            Stage::Homing if self.in_stage >= pace.homing => {
                self.homed = true;
                self.enter(Stage::Levelling);
            }
            Stage::Levelling if self.in_stage >= pace.levelling => self.enter(Stage::Printing),
            Stage::Printing => {
                let speed = self.speed;
                let done = self.run.as_mut().is_none_or(|run| {
                    run.printed += dt * speed;
                    run.printed >= run.plan.seconds
                });
                if done {
                    self.enter(Stage::Finished);
                }
            }
            Stage::Pausing if self.in_stage >= pace.pausing => self.enter(Stage::Paused),
            Stage::Resuming if self.in_stage >= pace.resuming => {
                let back = self.resume_to;
                self.enter(back);
            }
            Stage::Cancelling if self.in_stage >= pace.cancelling => self.enter(Stage::Cancelled),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_print_goes_through_its_stages_and_ends() {
        let mut machine = Machine::new(1);
        assert!(machine.start("cube.gcode", Plan { layers: 10, seconds: 100.0, nozzle: 200.0, bed: 50.0 }));
        assert!(!machine.start("other.gcode", Plan::default()), "a second start is refused");
        let mut seen = vec![machine.stage];
        for _ in 0..400 {
            machine.tick(1.0);
            if seen.last() != Some(&machine.stage) {
                seen.push(machine.stage);
            }
        }
        use Stage::*;
        assert_eq!(seen, [Loading, Heating, Homing, Levelling, Printing, Finished]);
        assert_eq!(machine.run.as_ref().map(|r| r.layer()), Some(10));
        assert_eq!(machine.bed.target, 0.0);
    }

    #[test]
    fn pause_keeps_the_progress_and_resume_goes_on() {
        let mut machine = Machine::new(1);
        machine.start("a", Plan { layers: 4, seconds: 1000.0, nozzle: 30.0, bed: 25.0 });
        (0..100).for_each(|_| machine.tick(1.0));
        assert_eq!(machine.stage, Stage::Printing);
        assert!(machine.pause());
        (0..3).for_each(|_| machine.tick(1.0));
        let kept = machine.run.as_ref().map(|r| r.printed);
        (0..50).for_each(|_| machine.tick(1.0));
        assert_eq!((machine.stage, machine.run.as_ref().map(|r| r.printed)), (Stage::Paused, kept));
        assert!(machine.resume());
        (0..5).for_each(|_| machine.tick(1.0));
        assert_eq!(machine.stage, Stage::Printing);
        assert!(machine.cancel());
        (0..5).for_each(|_| machine.tick(1.0));
        assert_eq!(machine.stage, Stage::Cancelled);
    }

    #[test]
    fn the_plan_is_read_from_the_header() {
        let text = "; total layer number: 80\n; model printing time: 1h 2m 3s; total estimated time: 2h\nM104 S215\nM190 S65\n";
        assert_eq!(Plan::from_gcode(text), Plan { layers: 80, seconds: 3723.0, nozzle: 215.0, bed: 65.0 });
    }
}
