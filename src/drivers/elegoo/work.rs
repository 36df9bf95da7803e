//! What waits at a link: commands with their steps, questions of file room and camera, requests of the link itself.

use std::collections::VecDeque;
use std::future::pending;

use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::door::{Ask, AskError};
use crate::model::{Command, CommandError, DeviceStage, Outcome, Seen};
use crate::printer::Request;

/// How long a pause, resume or stop waits for the one before it. Parking and heating up again are done by then
/// (elegoo.md 2.9).
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a start is tried at a printer that calls itself busy or is not done with the job before, which passes
/// (elegoo.md 2.6, 3.12).
const START_PATIENCE: Duration = Duration::from_secs(20);

/// The requests of one command, sent one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan<C> {
    pub steps: Vec<C>,
    /// What the user should know although it works.
    pub note: Option<&'static str>,
    /// Go on after a refused step: every one of them makes the machine safer.
    pub all_steps: bool,
}

impl<C> Plan<C> {
    /// Steps of which each needs the one before.
    pub fn of(steps: Vec<C>) -> Self {
        Self { steps, note: None, all_steps: false }
    }

    /// A single request.
    ///
    /// # Errors
    /// Never; the result fits the arms of a planner.
    pub fn one(step: C) -> Result<Self, CommandError> {
        Ok(Self::of(vec![step]))
    }
}

/// A command of a front end with the steps left to send.
pub struct Batch<C> {
    pub request: Request,
    steps: VecDeque<C>,
    note: Option<&'static str>,
    all_steps: bool,
    trouble: Option<CommandError>,
    taken: Instant,
    /// A step that the printer was too busy for is not sent again before this.
    not_before: Option<Instant>,
}

impl<C> Batch<C> {
    pub fn new(request: Request, plan: Plan<C>) -> Self {
        let Plan { steps, note, all_steps } = plan;
        let (steps, taken) = (steps.into(), Instant::now());
        Self { request, steps, note, all_steps, trouble: None, taken, not_before: None }
    }

    /// Pause, resume or stop: the printer does one of them at a time.
    fn is_lifecycle(&self) -> bool {
        matches!(self.request.command, Command::Pause | Command::Resume | Command::Cancel)
    }

    /// While a pause or resume is under way the firmware ignores another order of the kind, or calls itself busy.
    fn waits(&self, stage: DeviceStage) -> bool {
        let under_way = matches!(stage, DeviceStage::Pausing | DeviceStage::Resuming);
        let patient = self.taken.elapsed() < PATIENCE;
        let early = self.not_before.is_some_and(|at| Instant::now() < at);
        early || self.is_lifecycle() && under_way && patient
    }

    /// Puts a step back that the printer was too busy for; false where it is not worth another try. A start is none as
    /// soon as the printer has a job: that is what it is busy with.
    pub fn try_again(&mut self, step: &C, stage: DeviceStage, after: Duration) -> bool
    where
        C: Clone,
    {
        let waited = self.taken.elapsed();
        let order =
            self.is_lifecycle() && stage.active() && stage != DeviceStage::Cancelling && waited < PATIENCE;
        let start = matches!(self.request.command, Command::StartJob(_));
        let again = order || start && !stage.active() && waited < START_PATIENCE;
        if again {
            self.steps.push_front(step.clone());
            self.not_before = Some(Instant::now() + after);
        }
        again
    }

    /// What is left of a command that was taken before the last emergency stop is not done.
    pub fn overruled(&mut self, stopped: Option<Instant>) -> bool {
        let overruled = stopped.is_some_and(|stopped| self.taken < stopped);
        if overruled && !self.steps.is_empty() {
            self.steps.clear();
            self.trouble.get_or_insert_with(|| came_first(&self.request.command));
        }
        overruled
    }

    /// A step was refused, or got lost.
    pub fn failed(&self) -> bool {
        self.trouble.is_some()
    }

    /// The step that comes next.
    pub fn next(&self) -> Option<&C> {
        self.steps.front()
    }

    /// Refused steps do not stop this one.
    pub fn goes_on(&self) -> bool {
        self.all_steps
    }

    /// Notes how a step went; true if another is to be sent.
    pub fn step_done(&mut self, trouble: Option<CommandError>) -> bool {
        self.trouble = self.trouble.take().or(trouble);
        !self.steps.is_empty() && (self.trouble.is_none() || self.all_steps)
    }

    /// Tells the front end what became of its command.
    pub fn answer(self) {
        let Self { request, trouble, note, .. } = self;
        request.answer(match (trouble, note) {
            (Some(error), _) => Err(error),
            (None, Some(note)) => Ok(Outcome::noted(Seen::Acknowledged, note)),
            (None, None) => Ok(Outcome::new(Seen::Acknowledged)),
        });
    }
}

/// One entry of a link's queue.
pub enum Work<C> {
    /// Polls and whatever else the link wants itself.
    Own(C),
    /// How the run of this id ended.
    History(String),
    Command(Box<Batch<C>>),
    Ask(Ask<C>),
}

impl<C> Work<C> {
    /// Not to be sent while the printer is at this stage.
    pub fn waits(&self, stage: DeviceStage) -> bool {
        matches!(self, Work::Command(batch) if batch.waits(stage))
    }

    /// A start that can wait some more for a printer that is not quite done with the job before.
    pub fn is_patient_start(&self) -> bool {
        matches!(self, Work::Command(batch)
            if matches!(batch.request.command, Command::StartJob(_)) && batch.taken.elapsed() < START_PATIENCE)
    }
}

/// A stop takes the place of every pause and resume that still waits, an emergency stop that of every command: heat and
/// motion that were asked for before it must not follow it.
pub fn withdraw_for(command: &Command, queue: &mut VecDeque<Work<impl Clone>>) {
    let halts = |command: &Command| *command == Command::EmergencyStop;
    let waiting = |work: &Work<_>| match work {
        Work::Command(batch) if halts(command) => !halts(&batch.request.command),
        Work::Command(batch) => *command == Command::Cancel && batch.is_lifecycle(),
        _ => false,
    };
    while let Some(work) = queue.iter().position(waiting).and_then(|at| queue.remove(at)) {
        if let Work::Command(batch) = work {
            let error = if halts(command) {
                came_first(&batch.request.command)
            } else {
                CommandError::Invalid("The print is being stopped.".to_owned())
            };
            batch.request.answer(Err(error));
        }
    }
}

fn came_first(command: &Command) -> CommandError {
    CommandError::Busy(format!(
        "An emergency stop came first; \"{}\" was not carried out to its end.",
        command.name()
    ))
}

impl<C: Clone> Work<C> {
    /// The request to send for it; `None` where nobody waits for it any more.
    pub fn take_call(&mut self, history: impl FnOnce(&str) -> C) -> Option<C> {
        match self {
            Work::Own(call) => Some(call.clone()),
            Work::History(run) => Some(history(run)),
            Work::Ask(ask) => (!ask.forgotten()).then(|| ask.call.clone()),
            Work::Command(batch) if batch.request.reply.is_closed() => None,
            Work::Command(batch) => batch.steps.pop_front(),
        }
    }

    /// It is not sent, for the reason given.
    pub fn refuse(self, why: &str) {
        match self {
            Work::Command(batch) => batch.request.answer(Err(CommandError::Busy(why.to_owned()))),
            Work::Ask(ask) => ask.answer(Err(AskError::NotNow(why.to_owned()))),
            Work::Own(_) | Work::History(_) => {}
        }
    }
}

/// What a link wakes up for.
pub enum Event<M, C> {
    Message(M),
    /// `None` when the gateway stops.
    Command(Option<Request>),
    Ask(Ask<C>),
    Timer,
    Cancelled,
}

/// Waits for the first of all that a link has to serve, until `due` at the latest; commands come before messages.
pub async fn next_event<M, C>(
    commands: &mut mpsc::Receiver<Request>,
    message: impl Future<Output = M>,
    asks: &mut mpsc::Receiver<Ask<C>>,
    due: Instant,
    cancel: &CancellationToken,
) -> Event<M, C> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Event::Cancelled,
        command = commands.recv() => Event::Command(command),
        message = message => Event::Message(message),
        ask = next_ask(asks) => Event::Ask(ask),
        () = sleep_until(due) => Event::Timer,
    }
}

/// The next question; a closed door is not polled again, because the link lives longer than its askers.
async fn next_ask<C>(asks: &mut mpsc::Receiver<Ask<C>>) -> Ask<C> {
    match asks.recv().await {
        Some(ask) => ask,
        None => pending().await,
    }
}

/// Result of one request: the printer's data, or why there are none.
pub type Answer = Result<Value, AskError>;
