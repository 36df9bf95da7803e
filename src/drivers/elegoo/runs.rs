//! Which run of the printer is ours. Neither protocol echoes a token of the client; both give each run an id of their
//! own. A start of ours is therefore bound to the first run of the same file that appears after it was sent.

use super::names::same_file;
use crate::model::{DeviceStage, UnixSeconds};
use crate::printer::ExpectedRun;

/// An entry of the printer's history that began so close to a start of ours is that run; in seconds. The clocks of
/// gateway and printer may differ, and a printer writes its entry after the warm-up at the latest.
pub const SAME_START: f64 = 600.0;

/// Remembers the last start and the run that came of it; it outlives a lost link.
#[derive(Debug, Default)]
pub struct Runs {
    /// File and token of a start that no run has answered yet.
    awaited: Option<(String, String)>,
    /// The printer's id of our run, and the token of our start.
    bound: Option<(String, String)>,
    /// The binding before the start that is awaited; it comes back where that start is refused.
    before: Option<(String, String)>,
    /// The token reported last, kept for the end figures: printers clear theirs (elegoo.md 2.4).
    shown: Option<String>,
    /// The id told last, and the one told last when the awaited start was sent: some printers go on telling that of the run
    /// before until they have made another, others keep one for all runs.
    told: Option<String>,
    stale: Option<String>,
    /// The awaited start is seen, under the id of the run before.
    under_stale: bool,
    /// The id of a run that is over: one that begins under it and is not ours has its own yet to come.
    over: Option<String>,
    /// A run was told since the last end, and whether anything was told at all.
    ran: bool,
    looked: bool,
    /// The run of an earlier gateway, until it is known what became of it.
    unseen: Option<ExpectedRun>,
}

/// A run as the printer's history tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct PastRun {
    /// The printer's id of it.
    pub id: String,
    /// Base name of its file.
    pub file: String,
    /// Unix seconds by the printer's clock.
    pub begun: Option<UnixSeconds>,
    /// Seconds from its begin to its end, by that clock; `None` before the end.
    pub lasted: Option<f64>,
    /// How it ended; `None` where it goes on or the printer does not say.
    pub end: Option<DeviceStage>,
    /// Why, where the printer says so.
    pub reason: Option<String>,
}

impl PastRun {
    /// `end` as the printer tells it beside `begun`; the clock may have been set between the two.
    pub fn lasted(begun: Option<UnixSeconds>, end: Option<UnixSeconds>) -> Option<f64> {
        let lasted = end? - begun.filter(|begun| *begun > 0.0)?;
        (lasted > 0.0).then_some(lasted)
    }
}

impl Runs {
    /// A start of `file` is about to be sent. Not every printer gives the next run another id.
    pub fn expect(&mut self, file: &str, token: u32) {
        self.keep_stale();
        self.awaited = Some((file.to_owned(), token.to_string()));
        self.before = self.bound.take();
        self.stale.clone_from(&self.told);
    }

    /// A run that ended under the id of the one before had no other.
    fn keep_stale(&mut self) {
        if std::mem::take(&mut self.under_stale)
            && let (Some(id), Some((_, ours))) = (self.stale.take(), self.awaited.take())
        {
            self.bound = Some((id, ours));
        }
    }

    /// An earlier gateway started this run; where it saw it running, an end without an id is the end of it.
    pub fn expect_again(&mut self, run: &ExpectedRun) {
        self.expect(&run.file, run.token);
        if run.ran {
            self.shown = Some(run.token.to_string());
        }
        self.unseen = Some(run.clone());
    }

    /// An earlier gateway's run is neither under way nor known to have ended: only the history can tell.
    pub fn is_unseen(&self) -> bool {
        self.unseen.is_some()
    }

    /// A report shows a job, or an end: the history is not needed.
    pub fn seen(&mut self) {
        self.unseen = None;
    }

    /// Finds the unseen run in the printer's history and takes its end for ours. `None` where the history has no end of
    /// it; either way the question is settled.
    pub fn recall(&mut self, history: &[PastRun]) -> Option<PastRun> {
        let wanted = self.unseen.take()?;
        let distance =
            |past: &PastRun| past.begun.map_or(f64::MAX, |begun| (begun - wanted.started_at).abs());
        let mut same = history.iter().filter(|past| same_file(&past.file, &wanted.file));
        let nearest = same.clone().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let found = match nearest.filter(|past| distance(past) <= SAME_START) {
            // The printer's clock may be wrong; a run that was seen to begin is its newest one of that file.
            None if wanted.ran => same.next_back(),
            nearest => nearest,
        };
        let found = found.filter(|past| past.end.is_some()).cloned();
        if found.is_some() {
            self.awaited = None;
            self.shown = Some(wanted.token.to_string());
        }
        found
    }

    /// The printer refused the start.
    pub fn forget(&mut self) {
        if self.awaited.take().is_some() {
            self.bound = self.before.take();
        }
        self.under_stale = false;
    }

    /// The token to report for a run that the printer calls `id` and that prints `file`; `stage` is `Unknown` where its
    /// end is not clear yet.
    pub fn token(&mut self, id: Option<&str>, file: Option<&str>, stage: DeviceStage) -> Option<String> {
        self.watch_end(id, stage);
        self.told = id.map(str::to_owned).or(self.told.take());
        if !stage.active() {
            self.keep_stale();
            return self.shown.clone();
        }
        self.unseen = None;
        let awaited = self
            .awaited
            .as_ref()
            .filter(|(name, _)| file.is_some_and(|file| same_file(file, name)))
            .map(|(_, token)| token.clone());
        if let Some(ours) = awaited {
            // The id can come later than the file name; the binding waits for it, and for one that is not the last run's.
            self.under_stale = id.is_some() && id == self.stale.as_deref();
            if let Some(id) = id.filter(|_| !self.under_stale) {
                self.bound = Some((id.to_owned(), ours.clone()));
                self.awaited = None;
            }
            self.shown = Some(ours);
            return self.shown.clone();
        }
        // Without a token until it has an id of its own: it is one job from the first report on.
        let id = id.filter(|id| self.over.as_deref() != Some(*id));
        self.shown = match (id, &self.bound) {
            (Some(id), Some((bound, ours))) if id == bound => Some(ours.clone()),
            (id, _) => id.map(str::to_owned),
        };
        self.shown.clone()
    }

    /// An id that is told before the first run or at the end of one is not that of the next run. What failed may go on.
    fn watch_end(&mut self, id: Option<&str>, stage: DeviceStage) {
        let first = !std::mem::replace(&mut self.looked, true);
        match stage {
            _ if stage.active() => self.ran = true,
            DeviceStage::Finished | DeviceStage::Cancelled if std::mem::take(&mut self.ran) => {
                self.over.clone_from(&self.told);
            }
            DeviceStage::Unknown => {}
            _ if first => self.over = id.map(str::to_owned),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNS: DeviceStage = DeviceStage::Printing;
    const OVER: DeviceStage = DeviceStage::Finished;

    #[test]
    fn our_start_is_known_by_its_file_and_then_by_the_printers_id() {
        let mut runs = Runs::default();
        assert_eq!(runs.token(Some("old"), Some("a.gcode"), RUNS).as_deref(), Some("old"));
        runs.expect("b.gcode", 77);
        assert_eq!(runs.token(None, None, OVER).as_deref(), Some("old"), "an old end is not ours");
        assert_eq!(runs.token(Some("x"), Some("other.gcode"), RUNS).as_deref(), Some("x"));
        assert_eq!(runs.token(None, Some("/local/B.gcode"), RUNS).as_deref(), Some("77"));
        assert_eq!(runs.token(Some("id1"), Some("b.gcode"), RUNS).as_deref(), Some("77"));
        assert_eq!(runs.token(Some("id1"), None, RUNS).as_deref(), Some("77"));
        assert_eq!(runs.token(None, None, OVER).as_deref(), Some("77"), "kept for the end");
        let again = runs.token(Some("id2"), Some("b.gcode"), RUNS);
        assert_eq!(again.as_deref(), Some("id2"), "the same file printed anew at the screen is not ours");
    }

    #[test]
    fn a_run_that_keeps_the_id_of_the_last_is_ours_by_its_file() {
        let mut runs = Runs::default();
        for token in [77, 78] {
            runs.expect("b.gcode", token);
            let shown = runs.token(Some("same"), Some("b.gcode"), RUNS);
            assert_eq!(shown.as_deref(), Some(token.to_string().as_str()));
        }
        runs.expect("b.gcode", 79);
        runs.forget();
        assert_eq!(
            runs.token(Some("same"), Some("b.gcode"), RUNS).as_deref(),
            Some("78"),
            "refused: it goes on"
        );
    }

    #[test]
    fn the_id_of_the_last_run_may_stay_until_the_new_one_has_its_own() {
        let mut runs = Runs::default();
        assert_eq!(runs.token(Some("run-0"), None, OVER), None, "of a run that nobody saw");
        runs.expect("b.gcode", 77);
        for id in ["run-0", "run-1"] {
            assert_eq!(runs.token(Some(id), Some("b.gcode"), RUNS).as_deref(), Some("77"), "{id}");
        }
        assert_eq!(runs.token(Some("run-1"), Some("b.gcode"), OVER).as_deref(), Some("77"));
        runs.expect("b.gcode", 78);
        for id in ["run-1", "run-1", "run-2", "run-2"] {
            assert_eq!(runs.token(Some(id), Some("b.gcode"), RUNS).as_deref(), Some("78"), "{id}");
        }
        assert_eq!(runs.token(Some("run-2"), Some("b.gcode"), OVER).as_deref(), Some("78"));
        let at_the_screen = runs.token(Some("run-3"), Some("b.gcode"), RUNS);
        assert_eq!(at_the_screen.as_deref(), Some("run-3"));
        // One id for all runs: after the end of ours the next one is another.
        runs.expect("b.gcode", 79);
        assert_eq!(runs.token(Some("run-3"), Some("b.gcode"), RUNS).as_deref(), Some("79"));
        assert_eq!(runs.token(None, None, OVER).as_deref(), Some("79"));
        assert_eq!(runs.token(Some("run-4"), Some("b.gcode"), RUNS).as_deref(), Some("run-4"));
    }

    /// Begun at the screen, while the printer still tells the id of the run before: it is neither that run once more, nor
    /// another one when its own id comes.
    #[test]
    fn a_run_of_the_screen_has_no_token_until_it_has_its_own_id() {
        let mut runs = Runs::default();
        assert_eq!(runs.token(Some("run-0"), None, DeviceStage::Idle), None);
        assert_eq!(runs.token(Some("run-0"), Some("a.gcode"), RUNS), None, "of before the gateway");
        assert_eq!(runs.token(Some("run-1"), Some("a.gcode"), RUNS).as_deref(), Some("run-1"));
        assert_eq!(runs.token(Some("run-1"), Some("a.gcode"), OVER).as_deref(), Some("run-1"));
        runs.expect("b.gcode", 77);
        assert_eq!(runs.token(Some("run-2"), Some("b.gcode"), RUNS).as_deref(), Some("77"));
        assert_eq!(runs.token(Some("run-2"), None, OVER).as_deref(), Some("77"));
        for (id, token) in [("run-2", None), ("run-2", None), ("run-3", Some("run-3"))] {
            assert_eq!(runs.token(Some(id), Some("b.gcode"), RUNS).as_deref(), token, "{id} is not ours");
        }
        // What failed goes on where the printer says so, with all that is known of it.
        assert_eq!(runs.token(Some("run-3"), None, DeviceStage::Failed).as_deref(), Some("run-3"));
        assert_eq!(runs.token(Some("run-3"), Some("b.gcode"), RUNS).as_deref(), Some("run-3"));
    }

    #[test]
    fn a_refused_start_binds_nothing() {
        let mut runs = Runs::default();
        runs.expect("b.gcode", 77);
        runs.forget();
        assert_eq!(runs.token(Some("id"), Some("b.gcode"), RUNS).as_deref(), Some("id"));
    }

    #[test]
    fn a_run_of_an_earlier_gateway_is_found_again_by_its_file() {
        let earlier = |ran| ExpectedRun { file: "b.gcode".into(), token: 77, ran, started_at: 1000.0 };
        for ran in [true, false] {
            let mut runs = Runs::default();
            runs.expect_again(&earlier(ran));
            assert_eq!(runs.token(Some("x"), Some("a.gcode"), RUNS).as_deref(), Some("x"), "another file");
            let mut runs = Runs::default();
            runs.expect_again(&earlier(ran));
            assert_eq!(runs.token(Some("id1"), Some("/local/b.gcode"), RUNS).as_deref(), Some("77"));
            assert_eq!(runs.token(None, None, OVER).as_deref(), Some("77"));
        }
        let mut ended = Runs::default();
        ended.expect_again(&earlier(true));
        assert_eq!(ended.token(None, None, OVER).as_deref(), Some("77"), "it ended while nobody looked");
        let mut old_end = Runs::default();
        old_end.expect_again(&earlier(false));
        assert_eq!(old_end.token(None, None, OVER), None, "an end from before a start that never landed");
    }

    fn past(file: &str, begun: f64, end: Option<DeviceStage>) -> PastRun {
        PastRun {
            id: format!("{file} {begun}"),
            file: file.into(),
            begun: Some(begun),
            lasted: None,
            end,
            reason: None,
        }
    }

    fn recalled(ran: bool, history: &[PastRun]) -> (Option<DeviceStage>, Option<String>) {
        let mut runs = Runs::default();
        runs.expect_again(&ExpectedRun { file: "b.gcode".into(), token: 77, ran, started_at: 10_000.0 });
        assert!(runs.is_unseen());
        let end = runs.recall(history).and_then(|past| past.end);
        assert!(!runs.is_unseen(), "asked once");
        (end, runs.token(None, None, OVER))
    }

    #[test]
    fn the_history_tells_how_an_earlier_gateways_run_ended() {
        use DeviceStage::{Cancelled, Failed, Finished};
        let ours = Some("77".to_owned());
        let history = [
            past("b.gcode", 2_000.0, Some(Failed)),
            past("B.gcode", 10_030.0, Some(Finished)),
            past("a.gcode", 10_040.0, Some(Cancelled)),
            past("b.gcode", 20_000.0, Some(Cancelled)),
        ];
        for ran in [true, false] {
            assert_eq!(
                recalled(ran, &history),
                (Some(Finished), ours.clone()),
                "the one that began with ours"
            );
        }
        let wrong_clock = [past("b.gcode", 5.0, Some(Failed)), past("b.gcode", 90.0, Some(Finished))];
        assert_eq!(recalled(true, &wrong_clock), (Some(Finished), ours.clone()), "the newest");
        assert_eq!(recalled(false, &wrong_clock), (None, None), "whether it began is not known");
        assert_eq!(recalled(true, &[past("b.gcode", 10_030.0, None)]), (None, ours), "it has no end");
        assert_eq!(recalled(true, &[past("a.gcode", 10_000.0, Some(Finished))]).0, None);
    }
}
