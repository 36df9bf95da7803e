//! A start of ours that the printer shows by its file or title only: some never echo the number that came with it, or
//! keep that of an earlier job (bambu.md 3.5, 4.5, T15). Bridges and emulated printers may give each run a number of their
//! own: the first one under which our file appears after the start was acknowledged is ours, unless the printer is known
//! to echo. What was shown before the start proves nothing before a job runs, and no other run ever counts as ours.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::drivers::bambu::field::{at, text};
use crate::model::text::base_name;
use crate::model::{DeviceJob, DeviceStage, Ratio, StartJob, is_passed};

/// What the printer calls its job.
#[derive(Debug, Clone, PartialEq)]
struct Shown {
    file: Option<String>,
    title: Option<String>,
    /// `None` for the "0" of jobs without a number.
    id: Option<String>,
}

impl Shown {
    fn read(tree: &Value) -> Self {
        Self {
            file: text(at(tree, "/gcode_file")),
            title: text(at(tree, "/subtask_name")),
            id: text(at(tree, "/subtask_id")).filter(|id| id != "0"),
        }
    }
}

/// How far a start is seen.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sight {
    /// Nothing of it yet.
    No,
    Landed,
    Active,
    Over,
}

/// One start that was sent, and what became of it.
#[derive(Debug)]
pub(super) struct Echo {
    token: String,
    /// File and title without their endings.
    names: [String; 2],
    /// What follows them in the name of the extracted plate (bambu.md 5.4).
    plate: String,
    before: Shown,
    since: Instant,
    seen: Sight,
    /// The printer acknowledged the start, or never acknowledges anything.
    taken: bool,
    /// The printer has echoed a number of ours: any other number is another run's.
    echoes: bool,
    /// The number that the printer gave the run.
    own: Option<String>,
    /// The printer has shown the run under our title, which it keeps to its end.
    titled: bool,
}

/// Whose number a report shows.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    /// None, or one that stood there before.
    Nobodys,
    Ours,
    /// It may be ours when the start is acknowledged.
    Open,
    Anothers,
}

impl Echo {
    /// A start that is about to be sent; `title` is the one that goes with it. `echoes`: the printer is known to echo
    /// numbers.
    pub fn expect(job: &StartJob, title: &str, tree: &Value, echoes: bool) -> Self {
        Self {
            token: job.token.to_string(),
            names: [stem(&job.remote_path), stem(title)],
            plate: format!("_plate_{}", job.plate.max(1)),
            before: Shown::read(tree),
            since: Instant::now(),
            seen: Sight::No,
            taken: false,
            echoes,
            own: None,
            titled: false,
        }
    }

    pub fn taken(&mut self) {
        self.taken = true;
    }

    /// The printer shows the number that came with the start.
    pub fn is_echoed(&self, tree: &Value) -> bool {
        text(at(tree, "/subtask_id")).is_some_and(|id| id == self.token)
    }

    /// Names the run in a report by the number it was started with; false when it is not or no longer looked for. A run
    /// begins within `patience`, and gets a number of its own within `landing`. `reached`: in the first report after a
    /// lost link, how far the run was.
    pub fn follow(
        &mut self,
        tree: &Value,
        job: &mut DeviceJob,
        reached: Option<Ratio>,
        patience: Duration,
        landing: Duration,
    ) -> bool {
        let shown = Shown::read(tree);
        let number = self.number(&shown, landing);
        if number == Number::Open {
            return true;
        }
        // Either the printer tells numbers or titles, or somebody else's job is there.
        if number == Number::Anothers
            || number == Number::Nobodys && (self.retitled(&shown) || self.begun_anew(job, reached))
            || (self.seen == Sight::No && self.since.elapsed() > patience)
        {
            return false;
        }
        if number == Number::Ours {
            self.own.clone_from(&shown.id);
        }
        let named = self.named(&shown);
        self.seen = match (self.seen, job.stage.active()) {
            (Sight::No, active) if number == Number::Ours || self.news(&shown) => {
                if active {
                    Sight::Active
                } else {
                    Sight::Landed
                }
            }
            // The same file once more. No job ran when the start was sent, so that this one began after it.
            (Sight::No, true) if named => Sight::Active,
            (Sight::No, _) => return true,
            (Sight::Landed, true) if named => Sight::Active,
            (Sight::Landed, false) if named => Sight::Landed,
            // It may get other names while it runs, as that of the extracted plate.
            (Sight::Active, true) => Sight::Active,
            (Sight::Active | Sight::Over, false) if named || job.stage.ended() => Sight::Over,
            // Another one, were it of the same file: begun after the end of ours.
            _ => return false,
        };
        self.titled |= shown.title.as_ref().is_some_and(|title| self.is_ours(title));
        job.token = Some(self.token.clone());
        true
    }

    /// The run went under our title and another one stands there now: one that began while nobody listened.
    fn retitled(&self, shown: &Shown) -> bool {
        self.titled && shown.title.as_ref().is_some_and(|title| !self.is_ours(title))
    }

    /// Under our title, and less far than ours was: one that began while nobody listened.
    fn begun_anew(&self, job: &DeviceJob, reached: Option<Ratio>) -> bool {
        let shown = matches!(job.stage, DeviceStage::Printing | DeviceStage::Paused);
        let passed = reached.zip(job.progress).is_some_and(|(reached, now)| is_passed(reached, now));
        self.seen == Sight::Active && shown && passed
    }

    fn number(&self, shown: &Shown, landing: Duration) -> Number {
        let (Some(id), own) = (&shown.id, &self.own) else { return Number::Nobodys };
        let may_be_ours = !self.echoes && self.since.elapsed() <= landing && self.named(shown);
        match own {
            Some(own) if id == own => Number::Ours,
            Some(_) => Number::Anothers,
            None if shown.id == self.before.id => Number::Nobodys,
            None if *id == self.token || !may_be_ours => Number::Anothers,
            None if self.taken => Number::Ours,
            None => Number::Open,
        }
    }

    fn named(&self, shown: &Shown) -> bool {
        [&shown.file, &shown.title].into_iter().flatten().any(|name| self.is_ours(name))
    }

    /// The printer shows a name of ours where it showed another one before.
    fn news(&self, shown: &Shown) -> bool {
        let pairs = [(&shown.file, &self.before.file), (&shown.title, &self.before.title)];
        pairs
            .into_iter()
            .any(|(now, before)| now != before && now.as_ref().is_some_and(|now| self.is_ours(now)))
    }

    fn is_ours(&self, name: &str) -> bool {
        let name = stem(name);
        let whole = name.strip_suffix(&self.plate).unwrap_or(&name);
        [&*name, whole].into_iter().any(|name| !name.is_empty() && self.names.iter().any(|ours| ours == name))
    }
}

/// A file name without folders and endings, in lower case.
fn stem(path: &str) -> String {
    let name = base_name(path).to_lowercase();
    let ending = [".gcode.3mf", ".3mf", ".gcode"].into_iter().find(|ending| name.ends_with(ending));
    ending.and_then(|ending| name.strip_suffix(ending)).unwrap_or(&name).to_owned()
}
