//! A start of ours that the printer shows by its file or title only: some never echo the number that came with it, or
//! keep that of an earlier job (bambu.md 3.5, 4.5, T15). What was shown before the start proves nothing before a job runs,
//! and no other run ever counts as ours.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::drivers::bambu::field::{at, text};
use crate::model::text::base_name;
use crate::model::{DeviceJob, StartJob};

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
    before: Shown,
    since: Instant,
    seen: Sight,
}

impl Echo {
    /// A start that is about to be sent; `title` is the one that goes with it.
    pub fn expect(job: &StartJob, title: &str, tree: &Value) -> Self {
        Self {
            token: job.token.to_string(),
            names: [stem(&job.remote_path), stem(title)],
            before: Shown::read(tree),
            since: Instant::now(),
            seen: Sight::No,
        }
    }

    /// Names the run in a report by the number it was started with; false when it is not or no longer looked for.
    pub fn follow(&mut self, tree: &Value, job: &mut DeviceJob, patience: Duration) -> bool {
        let shown = Shown::read(tree);
        // Either the printer tells numbers, or somebody else's job is there.
        let other = shown.id.is_some() && shown.id != self.before.id;
        if other || (self.seen == Sight::No && self.since.elapsed() > patience) {
            return false;
        }
        let named = self.named(&shown);
        self.seen = match (self.seen, job.stage.active()) {
            (Sight::No, active) if self.news(&shown) => {
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
        job.token = Some(self.token.clone());
        true
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
        !name.is_empty() && self.names.contains(&name)
    }
}

/// A file name without folders and endings, in lower case.
fn stem(path: &str) -> String {
    let name = base_name(path).to_lowercase();
    let ending = [".gcode.3mf", ".3mf", ".gcode"].into_iter().find(|ending| name.ends_with(ending));
    ending.and_then(|ending| name.strip_suffix(ending)).unwrap_or(&name).to_owned()
}
