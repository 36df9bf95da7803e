//! Where the head will be when it has done what it was told.
//!
//! A report shows a move a second or two after it was sent. What is computed from an older one, a move to a place or the
//! look whether a move stays inside the machine, would end elsewhere: two moves in a row, or one right after homing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::model::{Activity, Command, CommandError, FilamentOperation, Outcome, PrinterState};

/// Slower than any printer travels when it is told to, in mm/s: X and Y, and Z.
const TRAVEL: f64 = 50.0;
const LIFT: f64 = 5.0;
/// A report shows the place at the latest so long after the head has come to rest.
const REPORTED: Duration = Duration::from_secs(3);
/// So long a move waits for the end of what moves the head, the longest homing included (elegoo.md 3.5: 50 s).
const REST: Duration = Duration::from_secs(90);
/// In mm.
const NO_MOVE: f64 = 1e-6;

/// One per printer; what is sent one after the other changes it in that order.
#[derive(Debug, Default)]
pub struct Heading(Mutex<Head>);

#[derive(Debug, Clone, Copy, Default)]
enum Head {
    /// Where the report shows it.
    #[default]
    Reported,
    /// It goes there, and is reported there by then.
    Going { to: [f64; 3], until: Instant },
    /// Something moves it that does not say where to: sent then, or done then where the printer was seen busy with it.
    Unknown { since: Instant, busy: bool },
}

/// What was known before a command was sent.
pub struct Before(Head);

impl Heading {
    fn head(&self) -> MutexGuard<'_, Head> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state with the head where the moves under way lead it.
    pub fn steered(&self, state: Arc<PrinterState>) -> Arc<PrinterState> {
        match *self.head() {
            Head::Going { to, until } if Instant::now() < until && state.device.motion.position.is_some() => {
                let mut state = PrinterState::clone(&state);
                state.device.motion.position = Some(to);
                Arc::new(state)
            }
            _ => state,
        }
    }

    /// A move is begun when nothing else moves the head and when it is known where from; one to a place becomes the way
    /// there. `None` where the head is there.
    ///
    /// # Errors
    /// The printer loads or unloads filament that nobody here told it to, or does so for too long; it does not tell where
    /// its head is, or not in time.
    pub async fn aim(
        &self,
        command: Command,
        watch: watch::Receiver<Arc<PrinterState>>,
    ) -> Result<Option<Command>, CommandError> {
        if !leads(&command) {
            return Ok(Some(command));
        }
        let deadline = Instant::now() + REST;
        self.fed(&command, watch.clone(), deadline).await?;
        if !matches!(command, Command::Jog { .. } | Command::MoveTo { .. }) {
            return Ok(Some(command));
        }
        let late = |_late| {
            CommandError::Busy(
                "The printer does not show yet where its head is; \"move\" was not sent. Try again when it rests."
                    .to_owned(),
            )
        };
        let state = tokio::time::timeout_at(deadline, self.rest(watch)).await.map_err(late)?;
        let Command::MoveTo { place, feed } = command else { return Ok(Some(command)) };
        let at = self.steered(state).device.motion.position.ok_or_else(|| {
            CommandError::Invalid(
                "The printer does not tell where its head is: move relatively (G91).".to_owned(),
            )
        })?;
        let mut delta = [0.0; 3];
        for ((delta, at), place) in delta.iter_mut().zip(at).zip(place) {
            *delta = place.map_or(0.0, |place| place - at);
        }
        Ok(delta.iter().any(|way| way.abs() > NO_MOVE).then_some(Command::Jog { delta, feed }))
    }

    /// Ends when the machine does not move filament outside a job: for that it goes to its cutter and its bin, whether it
    /// tells where it is or not.
    async fn fed(
        &self,
        command: &Command,
        mut watch: watch::Receiver<Arc<PrinterState>>,
        deadline: Instant,
    ) -> Result<(), CommandError> {
        loop {
            let Some(what) = feeding(&watch.borrow_and_update()) else { return Ok(()) };
            let ours = matches!(*self.head(), Head::Unknown { .. });
            let changed = tokio::time::timeout_at(deadline, watch.changed());
            if !ours || !matches!(changed.await, Ok(Ok(()))) {
                let name = command.name();
                return Err(CommandError::Busy(format!(
                    "The printer is {what}; \"{name}\" was not sent. Try again when it is done."
                )));
            }
        }
    }

    /// Ends when the report can be believed, or where moves of ours lead is known.
    async fn rest(&self, mut watch: watch::Receiver<Arc<PrinterState>>) -> Arc<PrinterState> {
        loop {
            let state = watch.borrow_and_update().clone();
            let busy = state.device.activity.occupation().is_some();
            let tells = state.online() && state.device.motion.position.is_some();
            let Some(known) = self.known(busy).filter(|_| tells) else { return state };
            tokio::select! {
                () = tokio::time::sleep_until(known), if !busy => {}
                changed = watch.changed() => if changed.is_err() { return state },
            }
        }
    }

    /// When the report can be believed; `None` where nothing speaks against it.
    fn known(&self, busy: bool) -> Option<Instant> {
        let mut head = self.head();
        let Head::Unknown { since, busy: was_busy } = &mut *head else { return None };
        if busy || *was_busy {
            *since = Instant::now();
        }
        *was_busy = busy;
        let known = *since + REPORTED;
        if busy || Instant::now() < known {
            return Some(known);
        }
        *head = Head::Reported;
        None
    }

    /// A command is about to be sent.
    pub fn begin(&self, command: &Command, state: &PrinterState) -> Before {
        let mut head = self.head();
        let before = *head;
        let now = Instant::now();
        match command {
            Command::Jog { delta, feed } => {
                let going = match before {
                    Head::Going { to, until } if now < until => Some((to, until)),
                    _ => state.device.motion.position.map(|at| (at, now)),
                };
                if let Some((from, earlier)) = going {
                    let mut to = from;
                    to.iter_mut().zip(delta).for_each(|(to, way)| *to += way);
                    // The moves before it may still be under way.
                    let began = earlier.checked_sub(REPORTED).map_or(now, |rest| rest.max(now));
                    *head = Head::Going { to, until: began + travel(*delta, *feed) + REPORTED };
                }
            }
            command if displaces(command) => *head = Head::Unknown { since: now, busy: false },
            _ => {}
        }
        Before(before)
    }

    /// What came of it.
    pub fn end(&self, command: &Command, before: Before, result: &Result<Outcome, CommandError>) {
        let mut head = self.head();
        let now = Instant::now();
        match (command, result) {
            // Some printers acknowledge a move when it is done, some when it begins.
            (Command::Jog { .. }, Ok(_)) => {
                if let Head::Going { until, .. } = &mut *head {
                    *until = (*until).max(now + REPORTED);
                }
            }
            (Command::Jog { .. }, Err(CommandError::Offline(_) | CommandError::Timeout(_))) => {
                *head = Head::Unknown { since: now, busy: false };
            }
            (Command::Jog { .. }, Err(_refused)) => *head = before.0,
            (command, _) if displaces(command) => *head = Head::Unknown { since: now, busy: false },
            _ => {}
        }
    }
}

/// How long a move takes at most.
fn travel(delta: [f64; 3], feed: Option<f64>) -> Duration {
    const LONGEST: f64 = 120.0;
    let slowest = |speed: f64| feed.filter(|feed| *feed > 0.0).map_or(speed, |feed| speed.min(feed));
    let [x, y, z] = delta.map(f64::abs);
    let seconds = x.max(y) / slowest(TRAVEL) + z / slowest(LIFT);
    Duration::from_secs_f64(if seconds.is_finite() { seconds.min(LONGEST) } else { LONGEST })
}

/// Moves the head by hand, as it were.
fn leads(command: &Command) -> bool {
    matches!(
        command,
        Command::Jog { .. }
            | Command::MoveTo { .. }
            | Command::Home(_)
            | Command::MotorsOff
            | Command::Calibrate(_)
    )
}

/// What the machine says while it moves filament outside a job. Where it is stuck its user has to help, and may have to
/// move the head for that.
fn feeding(state: &PrinterState) -> Option<String> {
    use FilamentOperation::{Cutting, Heating, Loading, Purging, Switching, Unloading};
    let device = &state.device;
    let operation = device.filament.operation;
    let moves = matches!(operation, Heating | Loading | Unloading | Cutting | Purging | Switching);
    match &device.activity {
        Activity::Busy(what) if moves && state.online() => Some(what.clone()),
        _ => None,
    }
}

/// Moves the head without saying where to.
fn displaces(command: &Command) -> bool {
    matches!(
        command,
        Command::Home(_)
            | Command::MotorsOff
            | Command::SelectTool(_)
            | Command::Calibrate(_)
            | Command::LoadFilament(_)
            | Command::UnloadFilament
            | Command::FilamentAction(_)
            | Command::ReadTag(_)
            | Command::Gcode(_)
            | Command::RawVendor(_)
            | Command::StartJob(_)
            | Command::Cancel
            | Command::EmergencyStop
    )
}

#[cfg(test)]
#[path = "heading_tests.rs"]
mod tests;
