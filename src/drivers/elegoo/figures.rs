//! Figures of a job that the printer's own reports get wrong for a while: those left from the job before, and a clock that
//! is set back (pure; elegoo.md 2.4, 2.12, 3.8).

use crate::model::DeviceStage;

/// A clock that goes back by less was rounded otherwise; in seconds.
const ROUNDING: f64 = 1.0;
/// What a clock can show beyond the time since the report before: that one was told late; in seconds.
const LATE: f64 = 2.0;
/// A clock that fell to less than this part was set back, however fast it runs.
const FALLEN: f64 = 0.25;

/// One figure that the printer keeps from the job before until it has one of the new job.
#[derive(Debug, Clone, Copy, Default)]
struct Leftover<T>(Option<T>);

impl<T: Copy + Default + PartialEq> Leftover<T> {
    /// A report without a job shows this.
    fn keep(&mut self, shown: Option<T>) {
        self.0 = shown.filter(|shown| *shown != T::default());
    }

    /// What a report of a job shows; `None` as long as it is what the job before left.
    fn fresh(&mut self, shown: Option<T>) -> Option<T> {
        let shown = shown.filter(|shown| Some(*shown) != self.0)?;
        self.0 = None;
        Some(shown)
    }
}

/// What the last report without a job showed.
#[derive(Debug, Clone, Copy, Default)]
struct Leftovers {
    progress: Leftover<f64>,
    layer: Leftover<u32>,
    seconds: Leftover<f64>,
}

/// The figures of one report, those of the job before left out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// 0 to 1.
    pub progress: Option<f64>,
    pub layer: Option<u32>,
    /// Printing time.
    pub seconds: Option<f64>,
}

impl Figures {
    /// Material was laid down.
    pub fn begun(&self) -> bool {
        self.layer.is_some_and(|layer| layer > 0) || self.progress.is_some_and(|progress| progress > 0.0)
    }
}

impl Leftovers {
    /// A report without a job shows these.
    fn keep(&mut self, shown: Figures) {
        self.progress.keep(shown.progress);
        self.layer.keep(shown.layer);
        self.seconds.keep(shown.seconds);
    }

    /// See [`Leftover::fresh`].
    fn fresh(&mut self, shown: Figures) -> Figures {
        Figures {
            progress: self.progress.fresh(shown.progress),
            layer: self.layer.fresh(shown.layer),
            seconds: self.seconds.fresh(shown.seconds),
        }
    }
}

/// The printing time of one run, where a line of the file can set the printer's own clock back.
#[derive(Debug, Clone, Copy, Default)]
struct Clock {
    told: f64,
    /// When it was told.
    at: f64,
    before: f64,
}

impl Clock {
    /// Seconds of the run so far, where the printer tells so many at the time `now`. A clock that was set back started at
    /// zero since the report before; one that only fell is an older report, or was corrected.
    fn seconds(&mut self, told: f64, now: f64) -> f64 {
        let since = (now - self.at).max(0.0);
        let fell = told < self.told - ROUNDING;
        if fell && (told <= since + LATE || told < self.told * FALLEN) {
            self.before += self.told;
        }
        (self.told, self.at) = (told, now);
        self.before + told
    }
}

/// The figures of a printer's runs from one report to the next.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reckoning {
    left: Leftovers,
    clock: Clock,
    printed: bool,
}

impl Reckoning {
    /// What a report shows of the run under way; what the job before left is no part of it.
    pub fn fresh(&mut self, shown: Figures) -> Figures {
        self.left.fresh(shown)
    }

    /// True where the run has another token than the one before, which nobody saw end: its clock is its own.
    pub fn begin_anew(&mut self, before: Option<&str>, token: Option<&str>) -> bool {
        let anew = before.zip(token).is_some_and(|(before, token)| before != token);
        if anew {
            (self.clock, self.printed) = (Clock::default(), false);
        }
        anew
    }

    /// What a run has come to by a report of the time `now` that leads from the first of the two stages to the second.
    pub fn follow(
        &mut self,
        (before, stage): (DeviceStage, DeviceStage),
        shown: Figures,
        fresh: Figures,
        now: f64,
    ) -> Figures {
        if !before.active() {
            (self.clock, self.printed) = (Clock::default(), false);
        }
        if !stage.active() {
            self.left.keep(shown);
            return fresh;
        }
        self.printed |= stage != DeviceStage::Preparing;
        Figures { seconds: fresh.seconds.map(|told| self.clock.seconds(told, now)), ..fresh }
    }

    /// The run was seen beyond its first warm-up: until then totals and the time left can be those of the file before.
    pub fn printed(&self) -> bool {
        self.printed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_job_before_left_is_not_of_this_one() {
        let all = |progress, layer, seconds| Figures {
            progress: Some(progress),
            layer: Some(layer),
            seconds: Some(seconds),
        };
        let mut left = Leftovers::default();
        assert_eq!(left.fresh(all(0.4, 8, 99.0)), all(0.4, 8, 99.0), "a job found under way");
        left.keep(all(1.0, 20, 600.0));
        assert_eq!(left.fresh(all(1.0, 20, 600.0)), Figures::default());
        let mixed = left.fresh(all(1.0, 20, 0.0));
        assert_eq!(mixed, Figures { seconds: Some(0.0), ..Figures::default() }, "each by itself");
        assert_eq!(left.fresh(all(0.02, 1, 3.0)), all(0.02, 1, 3.0));
        assert_eq!(left.fresh(all(1.0, 20, 600.0)), all(1.0, 20, 600.0), "it may come to the same");
        left.keep(all(0.0, 0, 0.0));
        assert_eq!(left.fresh(all(0.0, 0, 0.0)), all(0.0, 0, 0.0), "nothing was left");
    }

    #[test]
    fn a_clock_that_is_set_back_goes_on() {
        let mut clock = Clock::default();
        let told = [0.0, 100.0, 99.6, 2.0, 10.0];
        assert_eq!(told.map(|told| clock.seconds(told, 1000.0 + told)), [0.0, 100.0, 99.6, 101.6, 109.6]);
        // Nobody looked for a while.
        assert_eq!(clock.seconds(8.0, 1200.0), 117.6);
    }

    #[test]
    fn an_older_report_sets_no_clock_back() {
        let mut clock = Clock::default();
        let told = [(600.0, 1000.0), (615.0, 1015.0), (492.0, 1015.2), (616.0, 1016.0)];
        assert_eq!(told.map(|(told, now)| clock.seconds(told, now)), [600.0, 615.0, 492.0, 616.0]);
    }
}
