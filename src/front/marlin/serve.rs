//! The loop around the dialogue: pty, printer, files, timers and effects. Everything that waits is here.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::desk::SharedDesk;
use super::dialogue::{Dialogue, Done, Effect, View};
use super::pty::Pty;
use super::spool::{Spool, Stored, in_time};
use super::visits::Visit;
use crate::model::Command;

/// Commands of one port that may be under way at once.
const IN_FLIGHT: usize = 32;
/// After an error of the pty itself; it does not happen while the slave is open.
const PTY_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Service {
    desk: SharedDesk,
    dialogue: Dialogue,
    /// Polled in order of arrival, so that commands reach the printer in the order of their lines.
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    listing: Option<BoxFuture<'static, Result<Vec<crate::library::Entry>, String>>>,
    list_again: bool,
    spool: Spool,
    clients: usize,
    started: Instant,
}

impl Service {
    pub fn new(desk: SharedDesk, dialogue: Dialogue) -> Self {
        Self {
            spool: Spool::new(desk.clone()),
            desk,
            dialogue,
            under_way: FuturesUnordered::new(),
            listing: None,
            list_again: false,
            clients: 0,
            started: Instant::now(),
        }
    }

    /// Runs until cancelled.
    pub async fn run(mut self, pty: &Pty, cancel: CancellationToken) {
        let mut state = self.desk.printer().watch();
        let mut changes = self.desk.files_changed();
        let mut changes_come = true;
        // Hosts send lines, one or a few at a time; each printer holds this for as long as it lives.
        let mut buffer = vec![0; 1024];
        self.list();
        // Kept from round to round: to begin and to leave them takes a lock each.
        let cancelled = cancel.cancelled();
        let alarm = tokio::time::sleep_until(self.started);
        tokio::pin!(cancelled, alarm);
        loop {
            let due = self.dialogue.deadline().map(|due| self.started + due);
            if let Some(due) = due.filter(|due| *due != alarm.deadline()) {
                alarm.as_mut().reset(due);
            }
            tokio::select! {
                biased;
                () = &mut cancelled => return,
                visits = pty.visits() => self.visited(&visits, pty),
                written = pty.write(self.dialogue.output()), if !self.dialogue.output().is_empty() => match written {
                    Ok(count) => self.dialogue.written(count),
                    Err(error) => trouble("written", &error).await,
                },
                read = pty.read(&mut buffer), if !self.dialogue.full() => match read {
                    Ok(count) => {
                        // An opening belongs before the first bytes that come through it.
                        self.visited(&pty.visits_now(), pty);
                        let view = self.view();
                        self.dialogue.bytes(buffer.get(..count).unwrap_or_default(), &view);
                    }
                    Err(error) => trouble("read", &error).await,
                },
                Ok(()) = state.changed() => {
                    state.mark_unchanged();
                    let view = self.view();
                    self.dialogue.changed(&view);
                }
                Some(done) = self.under_way.next() => {
                    let view = self.view();
                    self.dialogue.done(done, &view);
                }
                stored = self.spool.next() => self.stored(stored),
                files = listed(&mut self.listing), if self.listing.is_some() => self.files(files),
                more = changes.next(), if changes_come => {
                    changes_come = more;
                    self.list();
                }
                () = &mut alarm, if due.is_some() => {
                    let view = self.view();
                    self.dialogue.tick(&view);
                }
            }
            self.act();
            self.write_now(pty);
        }
    }

    /// Answers in the round in which they were made, where the port takes them; the next round writes the rest, and
    /// tells of errors.
    fn write_now(&mut self, pty: &Pty) {
        if !self.dialogue.output().is_empty()
            && let Ok(count) = pty.write_now(self.dialogue.output())
        {
            self.dialogue.written(count);
        }
    }

    fn view(&self) -> View {
        let printer = self.desk.printer();
        View {
            state: printer.state(),
            caps: printer.capabilities(),
            now: self.started.elapsed(),
            unix: crate::printer::clock::unix_now(),
        }
    }

    /// Counts clients; the first opening begins a session, the last closing ends it.
    fn visited(&mut self, visits: &[Visit], pty: &Pty) {
        let before = self.clients;
        let mut reopened = false;
        for visit in visits {
            match visit {
                Visit::Opened => {
                    reopened |= self.clients == 0;
                    self.clients += 1;
                }
                Visit::Closed => self.clients = self.clients.saturating_sub(1),
            }
        }
        if self.clients == 0 && before > 0 {
            // What a client sent before it left still counts: it may be an emergency stop.
            let rest = pty.drain();
            let view = self.view();
            self.dialogue.bytes(&rest, &view);
            self.dialogue.closed();
            pty.reset();
            tracing::info!("The serial client has gone.");
        } else if reopened && self.clients > 0 {
            pty.flush();
            self.dialogue.opened();
            tracing::info!("A serial client came.");
        }
    }

    /// One listing at a time; news during one make another.
    fn list(&mut self) {
        if self.listing.is_some() {
            self.list_again = true;
            return;
        }
        let desk = self.desk.clone();
        self.listing = Some(Box::pin(async move { desk.list().await }));
    }

    fn files(&mut self, files: Result<Vec<crate::library::Entry>, String>) {
        self.listing = None;
        match files {
            Ok(entries) => {
                let view = self.view();
                let names = self.dialogue.files(&entries, &view);
                if !names.is_empty() {
                    self.desk.remember(names);
                }
            }
            Err(error) => tracing::debug!(error, "The files could not be listed."),
        }
        if std::mem::take(&mut self.list_again) {
            self.list();
        }
    }

    fn act(&mut self) {
        loop {
            for effect in self.dialogue.take_effects() {
                match effect {
                    Effect::RefreshFiles => self.list(),
                    Effect::BeginWrite(name) => self.spool.begin(name),
                    Effect::Write(piece) => self.spool.write(piece),
                    Effect::AbortWrite => self.spool.abort(),
                    Effect::EndWrite => self.spool.end(),
                    Effect::FinishStream => self.spool.print(self.desk.intend()),
                    Effect::Withdraw => self.desk.withdraw(),
                    effect => self.begin(effect),
                }
            }
            // A host cannot send faster than the disk takes it.
            let behind = self.spool.behind();
            if behind == self.dialogue.stands() {
                return;
            }
            let view = self.view();
            self.dialogue.stand(behind, &view);
        }
    }

    /// A step of a file for the library has ended.
    fn stored(&mut self, stored: Stored) {
        let result = match stored {
            Stored::Piece => return,
            Stored::Failed(error) => Err(error),
            Stored::Whole(result) => result,
            Stored::Printable(path, intended) => {
                let desk = self.desk.clone();
                self.under_way.push(Box::pin(async move {
                    Done::Streamed(match path {
                        Ok(path) => desk.start_streamed(path, intended).await,
                        Err(error) => Err(error),
                    })
                }));
                return;
            }
        };
        let view = self.view();
        self.dialogue.done(Done::Written(result), &view);
    }

    /// Starts what may take long; its result comes back to the dialogue.
    fn begin(&mut self, effect: Effect) {
        let desk = self.desk.clone();
        let crowded = self.under_way.len() >= IN_FLIGHT;
        let future: BoxFuture<'static, Done> = match effect {
            Effect::Send(command) if crowded && !command.urgent() => {
                let text = format!(
                    "Too many commands at once: \"{}\" was not sent. Wait for the others.",
                    command.name()
                );
                Box::pin(std::future::ready(Done::Sent(Err(text))))
            }
            Effect::Send(command) => Box::pin(async move { Done::Sent(desk.send(command).await) }),
            Effect::Pause => Box::pin(async move { Done::Paused(desk.pause().await) }),
            Effect::Resume => {
                Box::pin(async move { Done::Resumed(desk.send(Command::Resume).await.map(drop)) })
            }
            Effect::Cancel => {
                Box::pin(async move { Done::Cancelled(desk.send(Command::Cancel).await.map(drop)) })
            }
            Effect::Restart => Box::pin(async move { Done::Sent(desk.restart().await) }),
            Effect::Filament(words) => Box::pin(async move { Done::Sent(desk.filament(words).await) }),
            Effect::Start(request) => {
                let intended = desk.intend();
                Box::pin(async move { Done::Started(desk.start(*request, intended).await) })
            }
            Effect::Delete { path, short } => {
                Box::pin(async move { Done::Deleted { short, result: in_time(desk.delete(path)).await } })
            }
            _ => return,
        };
        self.under_way.push(future);
    }
}

async fn listed(
    listing: &mut Option<BoxFuture<'static, Result<Vec<crate::library::Entry>, String>>>,
) -> Result<Vec<crate::library::Entry>, String> {
    match listing {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn trouble(what: &str, error: &std::io::Error) {
    tracing::warn!(%error, "The pty cannot be {what}.");
    tokio::time::sleep(PTY_PAUSE).await;
}
