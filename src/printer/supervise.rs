//! Keeps one printer's driver running: calls it, catches what it dies of, waits, calls it again.

#[cfg(test)]
#[path = "supervise_tests.rs"]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::clock::unix_now;
use super::handle::PrinterHandle;
use super::io::{Driver, DriverIo, DriverParts, StateWriter};
use crate::model::{CommandError, Control, LinkFault, LinkPhase};
use crate::net::backoff::Backoff;

/// Commands that may wait for one printer's driver; more are refused as Busy.
const COMMAND_CAPACITY: usize = 16;
/// First wait after a lost link, and the longest (bambu.md 2.3: 1, 2, 5, 10, 30 s).
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The same for faults that only the user can mend: the wrong code must not become a storm of logins.
const RETRY_PERMANENT: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(120));
/// Spread of the waits, so that many printers do not knock together.
const JITTER: f64 = 0.25;
/// A link that held this long was a good one: the next wait is the shortest again.
const GOOD_LINK: Duration = Duration::from_secs(60);

/// What the configuration says of a printer, apart from its driver.
#[derive(Debug, Clone)]
pub struct PrinterSettings {
    /// The id everywhere: lower case, digits, dash.
    pub name: String,
    /// What people read; the name where nothing else is set.
    pub title: String,
    /// No command ever reaches the printer.
    pub read_only: bool,
    /// The vendor's own messages may be passed on.
    pub allow_vendor: bool,
}

/// What a user can ask of a connection.
#[derive(Default)]
pub struct Nudge {
    /// A lost one is tried again at once.
    pub retry: Notify,
    /// One that is up is ended and made anew.
    pub renew: Notify,
}

/// Starts the task tree of one printer, which ends with `cancel`.
pub fn start(
    settings: PrinterSettings,
    parts: DriverParts,
    tasks: &TaskTracker,
    cancel: CancellationToken,
) -> PrinterHandle {
    let writer = StateWriter::new(parts.capabilities);
    if settings.read_only {
        writer.control(Control::ReadOnly(read_only_text(&settings.name)));
    }
    let (sender, commands) = mpsc::channel(COMMAND_CAPACITY);
    let nudge = Arc::new(Nudge::default());
    let handle =
        PrinterHandle::new(settings, writer.clone(), sender, parts.files, parts.camera, nudge.clone());
    let span = tracing::info_span!("printer", id = handle.name());
    let io = DriverIo { state: writer, commands };
    tasks.spawn(keep_running(parts.driver, io, nudge, cancel).instrument(span));
    handle
}

fn read_only_text(name: &str) -> String {
    format!("Printer \"{name}\" is set to read_only in the configuration of the gateway.")
}

async fn keep_running(
    mut driver: Box<dyn Driver>,
    mut io: DriverIo,
    nudge: Arc<Nudge>,
    cancel: CancellationToken,
) {
    let mut quick = Backoff::new(RETRY.0, RETRY.1, JITTER);
    let mut slow = Backoff::new(RETRY_PERMANENT.0, RETRY_PERMANENT.1, JITTER);
    let mut last_told = None;
    while !cancel.is_cancelled() {
        let started = Instant::now();
        io.state.link(LinkPhase::Connecting);
        let (run, renewed) = run_once(driver.as_mut(), &mut io, &nudge, cancel.child_token()).await;
        if cancel.is_cancelled() {
            break;
        }
        if renewed {
            // Asked for by the user: no fault, and nothing to wait for.
            refuse_waiting(&mut io);
            continue;
        }
        let fault = run.unwrap_or_else(|_panic| panicked());
        if started.elapsed() >= GOOD_LINK {
            quick.reset();
            slow.reset();
        }
        let wait = match driver.wait_after(&fault) {
            Some(wait) => wait,
            None if fault.permanent => slow.next_delay(),
            None => quick.next_delay(),
        };
        if last_told.as_ref() != Some(&fault) {
            tracing::warn!(code = fault.code, "{}", fault.sentence());
            last_told = Some(fault.clone());
        }
        io.state.link_lost(fault, unix_now() + wait.as_secs_f64());
        refuse_waiting(&mut io);
        tokio::select! {
            () = cancel.cancelled() => break,
            () = nudge.retry.notified() => { quick.reset(); slow.reset(); }
            () = refuse_while_down(&mut io, wait) => {}
        }
    }
    io.state.link(LinkPhase::Off);
    refuse_waiting(&mut io);
}

/// One connection from its making to its end; true where the user had it ended to begin anew.
async fn run_once(
    driver: &mut dyn Driver,
    io: &mut DriverIo,
    nudge: &Nudge,
    cancel: CancellationToken,
) -> (std::thread::Result<LinkFault>, bool) {
    let state = io.state.clone();
    let mut run = std::pin::pin!(AssertUnwindSafe(driver.run(io, cancel.clone())).catch_unwind());
    let mut renewed = false;
    loop {
        tokio::select! {
            ended = &mut run => return (ended, renewed),
            () = nudge.renew.notified(), if !renewed => {
                // One that is just being made is not begun once more.
                if state.state().online() {
                    renewed = true;
                    cancel.cancel();
                }
            }
        }
    }
}

/// Answers commands that slip in while there is no link: nothing is kept for later (design D7).
async fn refuse_while_down(io: &mut DriverIo, wait: Duration) {
    let until = Instant::now() + wait;
    while let Ok(Some(request)) = tokio::time::timeout_at(until, io.commands.recv()).await {
        request.answer(Err(offline()));
    }
}

fn refuse_waiting(io: &mut DriverIo) {
    while let Ok(request) = io.commands.try_recv() {
        request.answer(Err(offline()));
    }
}

fn offline() -> CommandError {
    CommandError::Offline("The connection to the printer was lost before the command was sent.".to_owned())
}

fn panicked() -> LinkFault {
    LinkFault {
        code: "MG-BUG".to_owned(),
        text: "The driver of this printer crashed; the other printers are not affected.".to_owned(),
        remedy:
            "It is started again by itself. Please report it with the output of `moongate dump --redact`."
                .to_owned(),
        permanent: false,
    }
}
