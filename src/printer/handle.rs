//! The side of a printer that front ends and services see.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::effect::{self, Progress};
use super::guard;
use super::heading::Heading;
use super::io::{CameraSource, PrinterFiles, Request, StateWriter};
use super::supervise::Nudge;
use super::supervise::PrinterSettings;
use crate::model::{
    Capabilities, Command, CommandError, Event, JobPhase, Outcome, PrinterState, SAME_SPEED, Seen,
};

/// How long a driver may take to deliver a command and hear the printer's acknowledgement. Motion on some printers is
/// acknowledged only when it ends (elegoo.md 3.5: up to 300 s for filament and calibration).
const ANSWER: Duration = Duration::from_secs(310);
/// How long a command waits for its turn behind others.
const TURN: Duration = Duration::from_secs(15);

/// One printer, for as long as the process lives. Cheap to clone.
#[derive(Clone)]
pub struct PrinterHandle {
    inner: Arc<Inner>,
}

struct Inner {
    settings: PrinterSettings,
    writer: StateWriter,
    commands: mpsc::Sender<Request>,
    /// One command at a time that moves something, and one setting; urgent ones pass by. A long move or filament change
    /// does not keep a light waiting.
    moving: Mutex<()>,
    setting: Mutex<()>,
    files: Arc<dyn PrinterFiles>,
    camera: Option<Arc<dyn CameraSource>>,
    nudge: Arc<Nudge>,
    heading: Heading,
    /// Emergency stops so far.
    stops: AtomicU64,
}

impl PrinterHandle {
    pub(super) fn new(
        settings: PrinterSettings,
        writer: StateWriter,
        commands: mpsc::Sender<Request>,
        files: Arc<dyn PrinterFiles>,
        camera: Option<Arc<dyn CameraSource>>,
        nudge: Arc<Nudge>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                settings,
                writer,
                commands,
                moving: Mutex::new(()),
                setting: Mutex::new(()),
                files,
                camera,
                nudge,
                heading: Heading::default(),
                stops: AtomicU64::new(0),
            }),
        }
    }

    /// The configured id.
    pub fn name(&self) -> &str {
        &self.inner.settings.name
    }

    /// What people read.
    pub fn title(&self) -> &str {
        &self.inner.settings.title
    }

    pub fn settings(&self) -> &PrinterSettings {
        &self.inner.settings
    }

    /// The newest snapshot.
    pub fn state(&self) -> Arc<PrinterState> {
        self.inner.writer.state()
    }

    /// Wakes at every new snapshot; a slow reader gets the newest.
    pub fn watch(&self) -> watch::Receiver<Arc<PrinterState>> {
        self.inner.writer.shared().state.subscribe()
    }

    pub fn capabilities(&self) -> Arc<Capabilities> {
        self.inner.writer.capabilities()
    }

    pub fn watch_capabilities(&self) -> watch::Receiver<Arc<Capabilities>> {
        self.inner.writer.shared().capabilities.subscribe()
    }

    /// What happens from now on; a reader that is told it lagged must show a full view again.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.writer.shared().events.subscribe()
    }

    /// For services that keep a part of the state (jobs) or speak on the console.
    pub fn writer(&self) -> &StateWriter {
        &self.inner.writer
    }

    /// The printer's own storage.
    pub fn files(&self) -> &Arc<dyn PrinterFiles> {
        &self.inner.files
    }

    pub fn camera(&self) -> Option<&Arc<dyn CameraSource>> {
        self.inner.camera.as_ref()
    }

    /// Tries a lost link again at once.
    pub fn reconnect(&self) {
        self.inner.nudge.retry.notify_one();
    }

    /// Ends a connection that is up and makes it anew at once; a print goes on meanwhile.
    pub fn renew(&self) {
        self.inner.nudge.renew.notify_one();
    }

    /// Counts the emergency stops that were asked for: what waited as one came is not done any more.
    pub fn stops(&self) -> u64 {
        self.inner.stops.load(Ordering::SeqCst)
    }

    /// Sends a command and follows it as far as it can be followed (design D6).
    ///
    /// # Errors
    /// Refused by the guard, by the link being down, by the printer, or not seen in time. Nothing is kept for later.
    pub async fn send(&self, command: Command) -> Result<Outcome, CommandError> {
        self.send_unless(command, &CancellationToken::new()).await
    }

    /// As [`Self::send`]; a command that still waits for its turn when it is `withdrawn` is not sent.
    ///
    /// # Errors
    /// As [`Self::send`], and [`CommandError::Busy`] where it was withdrawn.
    pub async fn send_unless(
        &self,
        command: Command,
        withdrawn: &CancellationToken,
    ) -> Result<Outcome, CommandError> {
        let name = command.name();
        let result = self.send_unrecorded(command, withdrawn).await;
        tracing::debug!(command = name, ?result, "Command done.");
        let error = result.as_ref().err().cloned().map(Box::new);
        self.inner.writer.event(Event::CommandDone { command: name, error });
        result
    }

    async fn send_unrecorded(
        &self,
        command: Command,
        withdrawn: &CancellationToken,
    ) -> Result<Outcome, CommandError> {
        if matches!(command, Command::EmergencyStop) {
            self.inner.stops.fetch_add(1, Ordering::SeqCst);
        }
        let (stops, link) = (self.stops(), self.state().link.made);
        let (command, note) = self.snapped(command);
        self.check(&command)?;
        let turn = if command.urgent() { None } else { Some(self.turn(&command, withdrawn).await?) };
        let Some(command) = self.inner.heading.aim(command, self.watch()).await? else {
            return Ok(Outcome::new(Seen::Effect));
        };
        if turn.is_some() {
            self.check(&command)?;
            self.check_still_wanted(&command, stops, link)?;
        }
        let baseline = self.state();
        let mut watch = self.watch();
        let mut asked = Asked { writer: &self.inner.writer, phase: requested_phase(&command) };
        if let Some(phase) = asked.phase {
            self.inner.writer.job(|job| job.requested = Some(phase));
        }
        let before = self.inner.heading.begin(&command, &baseline);
        let delivered = tokio::select! {
            // First, so that the command is on its way before anything is looked for.
            biased;
            delivered = self.deliver(command.clone()) => delivered,
            () = effect_appears(&command, &baseline, watch.clone()) => Ok(Outcome::new(Seen::Effect)),
        };
        self.inner.heading.end(&command, before, &delivered);
        let result = match delivered {
            Ok(outcome) => {
                drop(turn);
                self.await_effect(&command, &baseline, &mut watch, outcome).await
            }
            Err(error) => Err(error),
        };
        if result.is_ok() {
            asked.phase = None;
        }
        let overtaken = effect::overtaken(&command, &baseline, &self.state()).map(str::to_owned);
        result.map(|outcome| Outcome { note: overtaken.or(outcome.note).or(note), ..outcome })
    }

    /// A printer with speed levels gets the fitting one, and the user is told.
    fn snapped(&self, command: Command) -> (Command, Option<String>) {
        let Command::SetSpeed { factor } = command else { return (command, None) };
        // No level fits what is no speed: the guard says so.
        if !guard::SPEEDS.contains(&factor) {
            return (command, None);
        }
        let now = self.state().device.speed.factor;
        match self.capabilities().speed_for(factor, now) {
            Some(level) if (level.factor - factor).abs() > SAME_SPEED => {
                let note = format!(
                    "Speed set to {:.0} % ({}): this printer has levels only.",
                    level.factor * 100.0,
                    level.name
                );
                (Command::SetSpeed { factor: level.factor }, Some(note))
            }
            _ => (command, None),
        }
    }

    fn check(&self, command: &Command) -> Result<(), CommandError> {
        let state = match command {
            Command::Jog { .. } => self.inner.heading.steered(self.state()),
            _ => self.state(),
        };
        guard::check(command, &state, &self.capabilities(), &self.inner.settings)
    }

    /// What has come between while a command waited for its turn.
    fn check_still_wanted(&self, command: &Command, stops: u64, link: u64) -> Result<(), CommandError> {
        let name = command.name();
        if self.stops() != stops {
            return Err(CommandError::Busy(format!(
                "An emergency stop came first; \"{name}\" was not sent."
            )));
        }
        if !self.state().link.holds(link) {
            return Err(CommandError::Offline(format!(
                "The connection to the printer was lost meanwhile; \"{name}\" was not sent."
            )));
        }
        Ok(())
    }

    async fn turn(
        &self,
        command: &Command,
        withdrawn: &CancellationToken,
    ) -> Result<tokio::sync::MutexGuard<'_, ()>, CommandError> {
        let lane = if command.setting() { &self.inner.setting } else { &self.inner.moving };
        let busy = |why: &str| CommandError::Busy(format!("{why}; \"{}\" was not sent.", command.name()));
        tokio::select! {
            biased;
            () = withdrawn.cancelled() => Err(busy("It was cancelled")),
            turn = lane.lock() => Ok(turn),
            () = tokio::time::sleep(TURN) => Err(busy("The printer is still busy with another command")),
        }
    }

    async fn deliver(&self, command: Command) -> Result<Outcome, CommandError> {
        let name = command.name();
        let (reply, answer) = oneshot::channel();
        self.inner.commands.try_send(Request { command, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CommandError::Busy(format!(
                "Too many commands wait for the printer; \"{name}\" was not sent."
            )),
            mpsc::error::TrySendError::Closed(_) => {
                CommandError::Offline("The gateway is shutting down.".to_owned())
            }
        })?;
        match tokio::time::timeout(ANSWER, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_dropped)) => Err(CommandError::Offline(format!(
                "The connection was lost while \"{name}\" was under way; whether the printer got it is unknown."
            ))),
            Err(_late) => {
                Err(CommandError::Timeout(format!("The printer did not answer \"{name}\" in time.")))
            }
        }
    }

    async fn await_effect(
        &self,
        command: &Command,
        baseline: &PrinterState,
        watch: &mut watch::Receiver<Arc<PrinterState>>,
        outcome: Outcome,
    ) -> Result<Outcome, CommandError> {
        let Some(wait) = effect::wait_for(command) else { return Ok(outcome) };
        if outcome.seen == Seen::Effect {
            return Ok(outcome);
        }
        let follow = async {
            loop {
                let state = watch.borrow_and_update().clone();
                match effect::look(command, baseline, &state) {
                    Progress::Waiting => {}
                    Progress::Seen => return Ok(Outcome { seen: Seen::Effect, note: outcome.note.clone() }),
                    Progress::Refused(error) => return Err(error),
                }
                if watch.changed().await.is_err() {
                    return Err(CommandError::Offline("The gateway is shutting down.".to_owned()));
                }
            }
        };
        tokio::time::timeout(wait, follow).await.unwrap_or_else(|_late| {
            let name = command.name();
            let taken = match outcome.seen {
                Seen::Sent => format!("The printer was told \"{name}\", but did not acknowledge it and"),
                _ => format!("The printer took \"{name}\", but"),
            };
            let late = format!("{taken} its report does not show it after {} s.", wait.as_secs());
            let why = effect::hindrance(command, &self.state());
            Err(CommandError::Timeout(why.map_or_else(|| late.clone(), |why| format!("{late} {why}"))))
        })
    }
}

/// What a command asks of the job is shown until its effect is. It is taken back where the command fails, and where
/// nobody waits for its outcome any more: nobody would take it back later.
struct Asked<'a> {
    writer: &'a StateWriter,
    phase: Option<JobPhase>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(asked) = self.phase {
            // A later command may have asked for something else meanwhile.
            self.writer.job(|job| job.requested = job.requested.filter(|phase| *phase != asked));
        }
    }
}

/// Ends when the reports show what was wanted and was not so before, whether or not the printer acknowledges it.
async fn effect_appears(
    command: &Command,
    baseline: &PrinterState,
    mut watch: watch::Receiver<Arc<PrinterState>>,
) {
    if watch.wait_for(|state| effect::appeared(command, baseline, state)).await.is_err() {
        std::future::pending().await
    }
}

fn requested_phase(command: &Command) -> Option<JobPhase> {
    match command {
        Command::Pause => Some(JobPhase::Pausing),
        Command::Resume => Some(JobPhase::Resuming),
        Command::Cancel => Some(JobPhase::Cancelling),
        _ => None,
    }
}
