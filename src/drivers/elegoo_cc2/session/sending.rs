//! From commands and questions to requests, spaced as the printer can bear them.

use std::time::Duration;

use tokio::time::Instant;

use super::{Batch, MAX_QUEUE, Pending, QUESTIONS, Session, Work};
use crate::drivers::elegoo::door::Ask;
use crate::drivers::elegoo::work;
use crate::drivers::elegoo_cc2::encode::{self, Call, payload};
use crate::model::{Command, LinkFault};
use crate::net::mqtt::Qos;
use crate::printer::Request;

/// Unanswered requests that are remembered.
const MAX_PENDING: usize = 64;

impl Session<'_> {
    /// Queues a request of our own, once.
    pub(super) fn want(&mut self, call: Call) {
        let queued = self.queue.iter().any(|work| matches!(work, Work::Own(own) if *own == call));
        let asked = self.pending.values().any(|p| p.call == call && matches!(p.work, Work::Own(_)));
        if !queued && !asked && self.queue.len() < MAX_QUEUE {
            self.queue.push_back(Work::Own(call));
        }
    }

    /// Notes that a question of our own had no answer; true if it is to be asked again.
    pub(super) fn asks_again(&mut self, call: &Call) -> bool {
        let known = self.unanswered.iter().position(|(asked, _)| asked == call);
        let times = known.map_or(0, |at| self.unanswered.swap_remove(at).1) + 1;
        let again = times < QUESTIONS;
        if again {
            self.unanswered.push((call.clone(), times));
        }
        again
    }

    pub(super) fn take_command(&mut self, request: Request) {
        match encode::plan(&request.command, &self.state.state()) {
            Err(error) => request.answer(Err(error)),
            Ok(plan) => {
                work::withdraw_for(&request.command, &mut self.queue);
                let halts = request.command == Command::EmergencyStop;
                if halts {
                    self.halted = Some(Instant::now());
                }
                // Commands go before our own polls; urgent ones do not even wait for the spacing.
                let before = |work: &&Work| !halts && matches!(work, Work::Command(_));
                let place = self.queue.iter().take_while(before).count();
                self.queue.insert(place, Work::Command(Box::new(Batch::new(request, plan))));
            }
        }
    }

    pub(super) fn take_ask(&mut self, ask: Ask<Call>) {
        if self.queue.len() >= MAX_QUEUE {
            return Work::Ask(ask).refuse("Too many requests wait for the printer.");
        }
        // The check of a file that was just sent: a job waits for it, and listings and polls can take minutes.
        let place = match ask.call {
            Call::FullStatus | Call::FileInfo(..) => {
                self.queue.iter().take_while(|work| matches!(work, Work::Command(_))).count()
            }
            _ => self.queue.len(),
        };
        self.queue.insert(place, Work::Ask(ask));
    }

    /// Sends what may be sent now.
    pub(super) fn pump(&mut self) -> Result<(), LinkFault> {
        loop {
            let now = Instant::now();
            let free = now >= self.free_at;
            // A third request in quick succession would be swallowed, whatever it is (elegoo.md 3.5).
            let third = self.sent[0].is_some_and(|sent| now < sent + self.driver.timing.spacing);
            // What is asked before a printer counts as connected must not wait longer than needed either.
            let stage = self.stage();
            let hurried = |work: &Work| (is_urgent(work) || !self.online) && !work.waits(stage);
            let urgent = self.queue.iter().position(hurried).filter(|_| free || !third);
            if urgent.is_none() && free && now >= self.next_ping {
                self.ping(now)?;
                continue;
            }
            let next = || self.queue.iter().position(|work| !work.waits(stage)).filter(|_| free);
            let Some(at) = urgent.or_else(next) else { return Ok(()) };
            let Some(mut work) = self.queue.remove(at) else { return Ok(()) };
            let Some(call) = work.take_call(|_run| Call::History) else { continue };
            self.send(call, work)?;
        }
    }

    /// It keeps the registration (elegoo.md 3.4), and it is a request like others where they must not come too fast.
    fn ping(&mut self, now: Instant) -> Result<(), LinkFault> {
        self.next_ping = now + self.driver.timing.ping;
        self.sent_at(now);
        self.publish(r#"{"type":"PING"}"#.to_owned())
    }

    fn sent_at(&mut self, now: Instant) {
        self.free_at = now + self.driver.timing.spacing;
        self.sent = [self.sent[1], Some(now)];
    }

    fn send(&mut self, call: Call, work: Work) -> Result<(), LinkFault> {
        self.next_id = self.next_id.wrapping_add(1).max(1);
        let id = self.next_id;
        let Ok(text) = payload(id, &call) else {
            work.refuse("The request cannot be written.");
            return Ok(());
        };
        if let (Call::Start(start), Work::Command(batch)) = (&call, &work)
            && let Command::StartJob(job) = &batch.request.command
        {
            self.driver.memory.runs.expect(&start.file, job.token);
            self.driver.memory.started_on(&start.file, start.medium);
        }
        if let (Call::Speed(mode), Work::Command(_)) = (&call, &work) {
            self.driver.memory.wanted_mode = Some(i64::from(*mode));
        }
        if call == Call::Cancel {
            self.driver.memory.asked_to_stop = true;
        }
        tracing::trace!(method = call.method(), "Request sent.");
        let now = Instant::now();
        self.sent_at(now);
        let quick = call.limit() <= Duration::from_secs(10);
        let limit = if quick { self.driver.timing.answer } else { call.limit() };
        if self.pending.len() >= MAX_PENDING {
            work.refuse("Too many requests are unanswered.");
            return Ok(());
        }
        let (sent, stage, until) = (now, self.stage(), now + limit);
        let (followed, repeated) = (false, false);
        self.pending.insert(id, Pending { call, work, sent, stage, followed, repeated, until });
        self.publish(text)
    }

    /// Says an order once more that the printer did not hear. A second one of the same kind does no harm: the motion layer
    /// ends a pause of a paused print, and a resume of a running one, at once (FW2 `pause_resume.cpp`).
    pub(super) fn repeat_lost(&mut self) -> Result<(), LinkFault> {
        let again = self.driver.timing.again;
        let (heard, now) = (self.last_full, Instant::now());
        let lost = self.pending.iter_mut().find(|(_, pending)| pending.is_lost(heard, again));
        let Some((id, pending)) = lost else { return Ok(()) };
        pending.repeated = true;
        let text = payload(*id, &pending.call).unwrap_or_default();
        tracing::info!(
            method = pending.call.method(),
            "The printer did not hear an order; it is sent once more."
        );
        self.sent_at(now);
        self.publish(text)
    }

    fn publish(&self, text: String) -> Result<(), LinkFault> {
        self.client
            .publish(&self.topics.request, text, Qos::AtLeastOnce)
            .map_err(|error| self.lost(&error.to_string()))
    }
}

fn is_urgent(work: &Work) -> bool {
    match work {
        Work::Command(batch) => batch.next().is_some_and(Call::urgent),
        _ => false,
    }
}
