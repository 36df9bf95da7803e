//! What is said on a printer's console: commands and answers as they were given, and what happens at the printer in
//! plain words.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::model::{ConsoleLine, Event, Fault, Job, JobPhase, LinkPhase, PrinterState, Severity, Speaker};
use crate::printer::PrinterHandle;
use crate::printer::clock::unix_now;

/// Lines kept for clients that connect later (the length of Moonraker's own store).
const LINES: usize = 1000;
/// New lines wait for a slow listener up to this many: a script may say hundreds at once, and no client has room for
/// more. The older ones are passed over.
const BEHIND: usize = 400;
const CONNECTED: &str = "The printer is connected.";

/// The last lines of a printer's console, oldest first. Cheap to clone.
#[derive(Clone, Default)]
pub struct Console {
    lines: Arc<Mutex<VecDeque<ConsoleLine>>>,
    /// How many lines were said so far.
    said: watch::Sender<usize>,
}

impl Console {
    /// Keeps a line, then tells it to everybody who listens.
    pub fn push(&self, line: ConsoleLine) {
        let mut lines = self.lines();
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
        // The number and the lines agree for whoever holds the lock.
        self.said.send_modify(|said| *said += 1);
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<ConsoleLine>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest `count` lines, oldest first.
    pub fn last(&self, count: usize) -> Vec<ConsoleLine> {
        let lines = self.lines();
        lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
    }

    /// How many lines were said so far.
    pub fn said(&self) -> usize {
        *self.said.borrow()
    }

    /// Lines from now on.
    pub fn listen(&self) -> Listener {
        Listener { news: self.said.subscribe(), next: self.said(), console: self.clone() }
    }

    /// Writes down what is said and what happens at the printer from this call on, until `cancel`, and first what there is:
    /// the printer may have been quicker.
    pub fn follow(
        self,
        printer: &PrinterHandle,
        cancel: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let mut events = printer.events();
        let mut narrator = Narrator::default();
        narrator.found(&printer.state()).into_iter().for_each(|line| self.push(line));
        async move {
            loop {
                let event = tokio::select! {
                    () = cancel.cancelled() => return,
                    event = events.recv() => event,
                };
                match event {
                    Ok(event) => narrator.line(event).into_iter().for_each(|line| self.push(line)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        }
    }
}

/// Reads the lines one by one.
pub struct Listener {
    console: Console,
    news: watch::Receiver<usize>,
    /// Number of the line that is read next.
    next: usize,
}

impl Listener {
    /// The next line. Cancel safe.
    pub async fn next(&mut self) -> ConsoleLine {
        loop {
            if let Some(line) = self.ready() {
                return line;
            }
            if self.news.changed().await.is_err() {
                // The console is held here: it cannot have ended.
                std::future::pending::<()>().await;
            }
        }
    }

    fn ready(&mut self) -> Option<ConsoleLine> {
        let lines = self.console.lines();
        let said = *self.news.borrow_and_update();
        self.next = self.next.max(said.saturating_sub(BEHIND));
        // Counted from the newest, as the oldest go.
        let line = lines.len().checked_sub(said - self.next).and_then(|at| lines.get(at)).cloned()?;
        self.next += 1;
        Some(line)
    }

    /// So many lines are behind it.
    pub fn read(&self) -> usize {
        self.next
    }
}

/// Puts events into words; remembers what would otherwise be told with every attempt to connect.
#[derive(Default)]
struct Narrator {
    online: bool,
    /// The job and the faults of the first look: their events may come after it.
    job: Option<u64>,
    faults: Vec<Fault>,
}

impl Narrator {
    /// What there is at the first look. Events from before are for nobody, and those of a moment ago tell the same again.
    fn found(&mut self, state: &PrinterState) -> Vec<ConsoleLine> {
        self.online = state.online();
        self.job = state.job.phase.active().then_some(state.job.serial);
        self.faults = state.faults().cloned().collect();
        let job = self.job.map(|_| (Speaker::Answer, under_way(&state.job)));
        let faults = self.faults.iter().map(|fault| (weight(fault), fault.line()));
        let connected = self.online.then(|| (Speaker::Answer, CONNECTED.to_owned()));
        let told = job.into_iter().chain(faults).chain(connected);
        told.map(|(speaker, text)| ConsoleLine { time: unix_now(), speaker, text }).collect()
    }

    /// Told by the first look already.
    fn known(&mut self, event: &Event) -> bool {
        match event {
            Event::JobStarted(job) => self.job.take() == Some(job.serial),
            Event::FaultRaised(fault) => fault.is_among(&self.faults),
            Event::FaultCleared(gone) => {
                self.faults.retain(|fault| fault.code != gone.code);
                false
            }
            _ => false,
        }
    }

    fn line(&mut self, event: Event) -> Option<ConsoleLine> {
        if self.known(&event) {
            return None;
        }
        let (speaker, text) = match event {
            Event::Console(line) => return Some(*line),
            Event::LinkChanged(phase) => {
                let online = phase == LinkPhase::Online;
                if std::mem::replace(&mut self.online, online) == online {
                    return None;
                }
                match online {
                    true => (Speaker::Answer, CONNECTED.to_owned()),
                    false => (Speaker::Error, "The connection to the printer is lost.".to_owned()),
                }
            }
            // Found at the first look, as after a restart of the gateway: nobody has started anything now.
            Event::JobStarted(job) if !self.online => (Speaker::Answer, under_way(&job)),
            Event::JobStarted(job) => (Speaker::Answer, format!("Print started: {}", name(&job))),
            Event::JobPaused(job) => {
                (Speaker::Answer, with_reason("Print paused", &name(&job), job.detail.as_deref()))
            }
            Event::JobResumed(job) => (Speaker::Answer, format!("Print resumed: {}", name(&job))),
            Event::JobEnded(job) => ended(&job),
            Event::FaultRaised(fault) => (weight(&fault), fault.line()),
            Event::FaultCleared(fault) => (Speaker::Answer, format!("No longer reported: {}", fault.line())),
            _ => return None,
        };
        Some(ConsoleLine { time: unix_now(), speaker, text })
    }
}

/// What the printer only mentions is no error.
fn weight(fault: &Fault) -> Speaker {
    if fault.severity == Severity::Info { Speaker::Answer } else { Speaker::Error }
}

fn name(job: &Job) -> String {
    job.file.clone().or_else(|| job.title.clone()).unwrap_or_else(|| "a job of the printer's own".to_owned())
}

fn under_way(job: &Job) -> String {
    with_reason("Print under way", &name(job), Some("paused").filter(|_| job.phase == JobPhase::Paused))
}

fn with_reason(what: &str, name: &str, reason: Option<&str>) -> String {
    match reason.filter(|reason| !reason.is_empty()) {
        Some(reason) => format!("{what}: {name} ({reason})"),
        None => format!("{what}: {name}"),
    }
}

fn ended(job: &Job) -> (Speaker, String) {
    let reason = job.reason.as_deref();
    match job.phase {
        JobPhase::Complete => (Speaker::Answer, format!("Print complete: {}", name(job))),
        JobPhase::Cancelled => (Speaker::Answer, with_reason("Print cancelled", &name(job), reason)),
        _ => (Speaker::Error, with_reason("Print failed", &name(job), reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FaultSource;

    fn told(events: Vec<Event>) -> Vec<(Speaker, String)> {
        let mut narrator = Narrator::default();
        let lines = events.into_iter().filter_map(|event| narrator.line(event));
        lines.map(|line| (line.speaker, line.text)).collect()
    }

    #[test]
    fn faults_are_told_with_their_code_when_they_come_and_go() {
        let fault = Fault {
            module: Some("AMS 1".to_owned()),
            ..Fault::new(FaultSource::Job, Severity::Serious, "0700_8011", "The filament ran out.")
        };
        let hint = Fault { severity: Severity::Info, module: None, ..fault.clone() };
        assert_eq!(
            told(vec![
                Event::FaultRaised(Box::new(fault.clone())),
                Event::FaultCleared(Box::new(fault)),
                Event::FaultRaised(Box::new(hint)),
            ]),
            [
                (Speaker::Error, "AMS 1: The filament ran out. (0700_8011)".to_owned()),
                (Speaker::Answer, "No longer reported: AMS 1: The filament ran out. (0700_8011)".to_owned()),
                (Speaker::Answer, "The filament ran out. (0700_8011)".to_owned()),
            ]
        );
    }

    #[test]
    fn a_job_is_told_from_start_to_end() {
        let job = |phase, reason: Option<&str>| {
            let title = Some("cube".to_owned());
            Box::new(Job { phase, title, reason: reason.map(str::to_owned), ..Job::default() })
        };
        let texts: Vec<String> = told(vec![
            Event::LinkChanged(LinkPhase::Online),
            Event::JobStarted(job(JobPhase::Printing, None)),
            Event::JobPaused(job(JobPhase::Paused, None)),
            Event::JobResumed(job(JobPhase::Printing, None)),
            Event::JobEnded(job(JobPhase::Complete, None)),
            Event::JobEnded(job(JobPhase::Failed, Some("Out of filament"))),
        ])
        .into_iter()
        .map(|(_, text)| text)
        .collect();
        assert_eq!(
            texts,
            [
                "The printer is connected.",
                "Print started: cube",
                "Print paused: cube",
                "Print resumed: cube",
                "Print complete: cube",
                "Print failed: cube (Out of filament)",
            ]
        );
    }

    #[test]
    fn a_print_that_was_there_before_the_connection_is_not_told_as_started() {
        let job = |phase| Box::new(Job { phase, file: Some("cube.gcode".to_owned()), ..Job::default() });
        let texts = |events| told(events).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        let found = vec![
            Event::JobStarted(job(JobPhase::Printing)),
            Event::LinkChanged(LinkPhase::Online),
            Event::JobEnded(job(JobPhase::Complete)),
            Event::JobStarted(job(JobPhase::Transferring)),
        ];
        let connected = "The printer is connected.";
        assert_eq!(
            texts(found),
            [
                "Print under way: cube.gcode",
                connected,
                "Print complete: cube.gcode",
                "Print started: cube.gcode"
            ]
        );
        let paused = vec![Event::JobStarted(job(JobPhase::Paused)), Event::LinkChanged(LinkPhase::Online)];
        assert_eq!(texts(paused), ["Print under way: cube.gcode (paused)", connected]);
    }

    /// As where the link is made before anybody listens.
    #[test]
    fn what_there_is_at_the_first_look_is_told_once() {
        let job = |serial| Job {
            serial,
            phase: JobPhase::Printing,
            file: Some("cube.gcode".to_owned()),
            ..Job::default()
        };
        let begun = |serial| Event::JobStarted(Box::new(job(serial)));
        let mut state = PrinterState::default();
        assert!(Narrator::default().found(&state).is_empty());
        state.link.phase = LinkPhase::Online;
        state.job = job(3);
        let fault = Fault::new(FaultSource::Job, Severity::Serious, "0700_8011", "The filament ran out.");
        state.device.faults = vec![Fault { since: 5.0, ..fault }];
        let fault = || Box::new(state.device.faults[0].clone());
        let mut narrator = Narrator::default();
        let found: Vec<String> = narrator.found(&state).into_iter().map(|line| line.text).collect();
        let out = "The filament ran out. (0700_8011)";
        assert_eq!(found, ["Print under way: cube.gcode", out, "The printer is connected."]);
        let events = [
            begun(3),
            Event::LinkChanged(LinkPhase::Online),
            Event::FaultRaised(fault()),
            Event::FaultCleared(fault()),
            Event::FaultRaised(fault()),
            Event::LinkChanged(LinkPhase::Backoff),
            Event::LinkChanged(LinkPhase::Online),
            begun(4),
            begun(3),
        ];
        let texts: Vec<String> =
            events.into_iter().filter_map(|event| narrator.line(event)).map(|line| line.text).collect();
        assert_eq!(
            texts,
            [
                "No longer reported: The filament ran out. (0700_8011)",
                out,
                "The connection to the printer is lost.",
                "The printer is connected.",
                "Print started: cube.gcode",
                "Print started: cube.gcode",
            ]
        );
    }

    #[test]
    fn attempts_to_connect_are_not_told_one_by_one() {
        let phases = [
            LinkPhase::Connecting,
            LinkPhase::Online,
            LinkPhase::Backoff,
            LinkPhase::Connecting,
            LinkPhase::Backoff,
            LinkPhase::Online,
        ];
        let texts = told(phases.into_iter().map(Event::LinkChanged).collect());
        assert_eq!(texts.len(), 3, "{texts:?}");
    }

    fn say(console: &Console, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let line = ConsoleLine { time: 0.0, speaker: Speaker::Answer, text: number.to_string() };
            console.push(line);
        }
    }

    /// A script says all its lines before anybody else's turn comes.
    #[tokio::test]
    async fn a_listener_hears_hundreds_of_lines_said_at_once_and_passes_over_more() {
        let console = Console::default();
        say(&console, 0..3);
        let mut listener = console.listen();
        say(&console, 3..BEHIND + 3);
        for number in 3..BEHIND + 3 {
            assert_eq!(listener.next().await.text, number.to_string());
        }
        assert_eq!((listener.read(), console.said()), (BEHIND + 3, BEHIND + 3));
        say(&console, 0..LINES + 7);
        assert_eq!(listener.next().await.text, (LINES + 7 - BEHIND).to_string());
        assert_eq!(listener.read(), console.said() - BEHIND + 1);
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let console = Console::default();
        say(&console, 0..LINES + 5);
        let kept = console.last(usize::MAX);
        assert_eq!((kept.len(), kept[0].text.as_str()), (LINES, "5"));
        assert_eq!(console.last(1)[0].text, (LINES + 4).to_string());
    }
}
