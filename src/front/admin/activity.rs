//! What was asked, and what came of it: the last events of all printers, refusals with their reason.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::Gateway;
use crate::model::{Event, JobPhase, LinkPhase, Speaker, UnixSeconds};
use crate::printer::clock::unix_now;
use crate::secret::redact;

/// Entries kept for all printers together: some days of ordinary use.
const KEPT: usize = 1000;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A line that a client typed or sent.
    Asked,
    Done,
    Refused,
    Link,
    Job,
    Fault,
    /// Events came faster than they could be written down; some are missing here.
    Gap,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub time: UnixSeconds,
    pub printer: String,
    pub what: What,
    pub text: String,
}

/// The newest entries, oldest first. Cheap to clone.
#[derive(Clone, Default)]
pub struct Activity {
    entries: Arc<Mutex<VecDeque<Entry>>>,
}

impl Activity {
    fn push(&self, entry: Entry) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    /// The newest `limit` entries of one or all printers, oldest first.
    pub fn last(&self, printer: Option<&str>, limit: usize) -> Vec<Entry> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = entries.iter().rev().filter(|entry| printer.is_none_or(|name| entry.printer == name));
        let mut newest: Vec<Entry> = wanted.take(limit).cloned().collect();
        newest.reverse();
        newest
    }
}

#[derive(Deserialize)]
pub struct Wanted {
    printer: Option<String>,
    limit: Option<usize>,
}

/// Answers `/activity?printer=NAME&limit=N`.
pub async fn activity(State(gateway): State<Gateway>, Query(wanted): Query<Wanted>) -> Json<Vec<Entry>> {
    Json(gateway.activity.last(wanted.printer.as_deref(), wanted.limit.unwrap_or(KEPT)))
}

/// Writes down what happens at one printer until `cancel`; `link` is how it stood when `events` began.
pub async fn follow(
    mut events: broadcast::Receiver<Event>,
    printer: String,
    mut link: LinkPhase,
    activity: Activity,
    cancel: CancellationToken,
) {
    loop {
        let received = tokio::select! {
            () = cancel.cancelled() => return,
            received = events.recv() => received,
        };
        let told = match received {
            Ok(event) => {
                let told = describe(&event, link);
                if let Event::LinkChanged(phase) = event {
                    link = phase;
                }
                told
            }
            Err(RecvError::Lagged(missed)) => Some((What::Gap, format!("{missed} events are missing here."))),
            Err(RecvError::Closed) => return,
        };
        if let Some((what, text)) = told {
            activity.push(Entry { time: unix_now(), printer: printer.clone(), what, text: redact(&text) });
        }
    }
}

/// `None` for what is of no interest afterwards.
fn describe(event: &Event, link: LinkPhase) -> Option<(What, String)> {
    match event {
        Event::LinkChanged(phase) => Some((What::Link, super::word(phase))),
        // At the first look, as after a restart of the gateway: nobody has started anything now.
        Event::JobStarted(job) if !matches!(link, LinkPhase::Online | LinkPhase::Stale) => {
            let paused = job.phase == JobPhase::Paused;
            let how = if paused { "found paused" } else { "found running" };
            Some((What::Job, format!("{how}: {}", title(job))))
        }
        Event::JobStarted(job) => Some((What::Job, format!("started {}", title(job)))),
        Event::JobPaused(job) => Some((What::Job, format!("paused {}", title(job)))),
        Event::JobResumed(job) => Some((What::Job, format!("resumed {}", title(job)))),
        Event::JobEnded(job) => {
            let reason = job.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
            Some((What::Job, format!("{} {}{reason}", super::word(&job.phase), title(job))))
        }
        Event::FaultRaised(fault) => Some((What::Fault, fault.line())),
        Event::FaultCleared(fault) => Some((What::Fault, format!("cleared: {}", fault.line()))),
        Event::Console(line) | Event::Said(line) => match line.speaker {
            Speaker::Client => Some((What::Asked, line.text.clone())),
            Speaker::Error => Some((What::Refused, line.text.clone())),
            Speaker::Answer => None,
        },
        Event::CommandDone { command, error: None } => Some((What::Done, (*command).to_owned())),
        Event::CommandDone { command, error: Some(error) } => {
            Some((What::Refused, format!("{command}: {error}")))
        }
        Event::PrinterFilesChanged | Event::CapabilitiesChanged => None,
    }
}

fn title(job: &crate::model::Job) -> &str {
    job.file.as_deref().or(job.title.as_deref()).unwrap_or("a job without a name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CommandError, ConsoleLine};

    #[tokio::test]
    async fn refusals_are_kept_with_their_reason_and_secrets_are_not() {
        let (sender, events) = broadcast::channel(8);
        let activity = Activity::default();
        let code = crate::secret::Secret::new("topsecret42");
        let say = |speaker, text: &str| {
            Event::Console(Box::new(ConsoleLine { time: 0.0, speaker, text: text.to_owned() }))
        };
        let refused = CommandError::Busy("A print runs.".to_owned());
        for event in [
            say(Speaker::Client, &format!("M117 {}", code.expose())),
            say(Speaker::Answer, "ok"),
            Event::CommandDone { command: "home", error: Some(Box::new(refused)) },
            Event::CommandDone { command: "pause", error: None },
        ] {
            sender.send(event).expect("heard");
        }
        drop(sender);
        let link = LinkPhase::Online;
        follow(events, "p1s".to_owned(), link, activity.clone(), CancellationToken::new()).await;
        let told: Vec<_> = activity.last(Some("p1s"), 10).into_iter().map(|e| (e.what, e.text)).collect();
        let expected = [
            (What::Asked, "M117 ***".to_owned()),
            (What::Refused, "home: A print runs.".to_owned()),
            (What::Done, "pause".to_owned()),
        ];
        assert_eq!(told, expected);
        assert_eq!(activity.last(None, 1).len(), 1);
        assert!(activity.last(Some("cc1"), 10).is_empty());
    }

    #[tokio::test]
    async fn a_print_that_ran_before_is_found_and_not_started() {
        let (sender, events) = broadcast::channel(8);
        let activity = Activity::default();
        let job = |phase| {
            let file = Some("cube.gcode".to_owned());
            Event::JobStarted(Box::new(crate::model::Job { phase, file, ..Default::default() }))
        };
        for event in [
            Event::LinkChanged(LinkPhase::Syncing),
            job(JobPhase::Printing),
            Event::LinkChanged(LinkPhase::Online),
            job(JobPhase::Transferring),
            Event::LinkChanged(LinkPhase::Backoff),
            job(JobPhase::Paused),
        ] {
            sender.send(event).expect("heard");
        }
        drop(sender);
        let link = LinkPhase::Connecting;
        follow(events, "p1s".to_owned(), link, activity.clone(), CancellationToken::new()).await;
        let jobs = activity.last(None, 10).into_iter().filter(|entry| entry.what == What::Job);
        assert_eq!(
            jobs.map(|entry| entry.text).collect::<Vec<_>>(),
            ["found running: cube.gcode", "started cube.gcode", "found paused: cube.gcode"]
        );
    }
}
