//! One registered session from its first full status to its end: requests spaced, urgent ones at once, late answers
//! matched by id (elegoo.md 3.5).

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::encode::{self, Call, Plan, payload};
use super::link::{Cc2Driver, Topics};
use super::wire::{self, Document, Message};
use super::{codes, faults, models, reduce};
use crate::drivers::elegoo::door::{Ask, AskError};
use crate::drivers::elegoo::field::int;
use crate::model::text::base_name;
use crate::model::{Command, CommandError, LinkFault, LinkPhase, Outcome, Seen as SeenEffect};
use crate::net::mqtt::{self, MqttClient, MqttError, MqttEvents, Qos};
use crate::printer::clock::unix_now;
use crate::printer::{DriverIo, Request, StateWriter};

const DISK_EVERY: Duration = Duration::from_secs(300);
/// After a gap in the deltas the full status is read, but not more often than this.
const GAP_REFRESH: Duration = Duration::from_secs(5);
/// Requests that may wait; more are refused.
const MAX_QUEUE: usize = 32;
/// Unanswered requests that are remembered.
const MAX_PENDING: usize = 64;

/// A command of a front end with the steps left to send.
struct Batch {
    steps: VecDeque<Call>,
    request: Request,
    plan: Plan,
}

enum Work {
    Own(Call),
    /// How this run ended.
    History(String),
    Command(Box<Batch>),
    Ask(Ask<Call>),
}

struct Pending {
    call: Call,
    work: Work,
    until: Instant,
}

pub(super) struct Session<'a> {
    driver: &'a mut Cc2Driver,
    client: MqttClient,
    events: MqttEvents,
    topics: Topics,
    state: StateWriter,
    document: Document,
    queue: VecDeque<Work>,
    pending: HashMap<i64, Pending>,
    next_id: i64,
    has_canvas: bool,
    online: bool,
    /// When the next ordinary request may be sent.
    free_at: Instant,
    /// When the last two requests were sent.
    sent: [Option<Instant>; 2],
    next_ping: Instant,
    last_pong: Instant,
    last_full: Instant,
    next_poll: Instant,
    next_canvas: Instant,
    next_disk: Instant,
}

enum Event {
    Message(Result<mqtt::Message, MqttError>),
    Command(Option<Request>),
    Ask(Option<Ask<Call>>),
    Timer,
    Cancelled,
}

impl<'a> Session<'a> {
    pub fn new(
        driver: &'a mut Cc2Driver,
        client: MqttClient,
        events: MqttEvents,
        topics: Topics,
        state: StateWriter,
    ) -> Self {
        let now = Instant::now();
        let timing = driver.timing;
        Self {
            driver,
            client,
            events,
            topics,
            state,
            document: Document::default(),
            queue: VecDeque::from([Work::Own(Call::FullStatus), Work::Own(Call::SystemInfo)]),
            pending: HashMap::new(),
            // Ids of other clients start low as well; the topic tells them apart, this helps reading logs.
            next_id: i64::from(rand::random::<u16>()) + 1,
            has_canvas: false,
            online: false,
            free_at: now,
            sent: [None; 2],
            next_ping: now + timing.ping,
            last_pong: now,
            last_full: now - GAP_REFRESH,
            next_poll: now + timing.poll_printing,
            next_canvas: now,
            next_disk: now + timing.spacing * 2,
        }
    }

    /// Until the link is lost.
    pub async fn run(mut self, io: &mut DriverIo, cancel: &CancellationToken) -> LinkFault {
        let mut asks = self.driver.door.open();
        loop {
            if let Err(fault) = self.pump() {
                return fault;
            }
            let event = self.wait(io, &mut asks, cancel).await;
            let handled = match event {
                Event::Cancelled => return self.lost("the gateway stops"),
                Event::Message(Ok(message)) => self.take_message(&message),
                Event::Message(Err(error)) => Err(self.lost(&error.to_string())),
                Event::Command(Some(request)) => {
                    self.take_command(request);
                    Ok(())
                }
                Event::Command(None) => Err(self.lost("the gateway stops")),
                Event::Ask(ask) => {
                    self.take_ask(ask);
                    Ok(())
                }
                Event::Timer => Ok(()),
            };
            if let Err(fault) = handled.and_then(|()| self.tick()) {
                return fault;
            }
        }
    }

    async fn wait(
        &mut self,
        io: &mut DriverIo,
        asks: &mut mpsc::Receiver<Ask<Call>>,
        cancel: &CancellationToken,
    ) -> Event {
        let due = self.next_timer();
        tokio::select! {
            biased;
            () = cancel.cancelled() => Event::Cancelled,
            command = io.commands.recv() => Event::Command(command),
            message = self.events.next() => Event::Message(message),
            ask = next_ask(asks) => Event::Ask(ask),
            () = sleep_until(due) => Event::Timer,
        }
    }

    fn next_timer(&self) -> Instant {
        let mut due = self.next_ping.min(self.next_poll).min(self.next_disk);
        if self.has_canvas {
            due = due.min(self.next_canvas);
        }
        if !self.queue.is_empty() {
            due = due.min(self.free_at);
        }
        if let Some(first) = self.pending.values().map(|pending| pending.until).min() {
            due = due.min(first);
        }
        // A timer that was already served must not spin.
        due.max(Instant::now() + Duration::from_millis(10))
    }

    fn lost(&self, why: &str) -> LinkFault {
        faults::lost(&self.driver.place(), why)
    }

    /// Everything that becomes due by time.
    fn tick(&mut self) -> Result<(), LinkFault> {
        let now = Instant::now();
        let timing = self.driver.timing;
        if now >= self.last_pong + timing.pong {
            return Err(faults::silent(&self.driver.place(), "any more"));
        }
        if now >= self.next_ping {
            self.next_ping = now + timing.ping;
            self.publish(r#"{"type":"PING"}"#.to_owned())?;
        }
        let late: Vec<i64> = self.pending.iter().filter(|(_, p)| now >= p.until).map(|(id, _)| *id).collect();
        for id in late {
            if let Some(pending) = self.pending.remove(&id) {
                if pending.call == Call::FullStatus && self.online {
                    self.state.link(LinkPhase::Stale);
                }
                self.finish(pending, Err(AskError::Timeout))?;
            }
        }
        if now >= self.next_poll {
            self.next_poll = now + self.poll_period();
            self.want(Call::FullStatus);
        }
        if self.has_canvas && now >= self.next_canvas {
            self.next_canvas = now + timing.canvas;
            self.want(Call::Canvas);
        }
        if now >= self.next_disk {
            self.next_disk = now + DISK_EVERY;
            self.want(Call::DiskVolume);
        }
        Ok(())
    }

    fn poll_period(&self) -> Duration {
        let timing = self.driver.timing;
        if self.state.state().device.job.stage.active() { timing.poll_printing } else { timing.poll_idle }
    }

    /// Queues a request of our own, once.
    fn want(&mut self, call: Call) {
        let queued = self.queue.iter().any(|work| matches!(work, Work::Own(own) if *own == call));
        let asked = self.pending.values().any(|p| p.call == call && matches!(p.work, Work::Own(_)));
        if !queued && !asked && self.queue.len() < MAX_QUEUE {
            self.queue.push_back(Work::Own(call));
        }
    }

    fn take_command(&mut self, request: Request) {
        match encode::plan(&request.command, &self.state.state()) {
            Err(error) => request.answer(Err(error)),
            Ok(plan) => {
                // Commands go before our own polls; urgent ones do not even wait for the spacing.
                let steps = plan.steps.iter().cloned().collect();
                let work = Work::Command(Box::new(Batch { steps, request, plan }));
                self.queue.push_front(work);
            }
        }
    }

    fn take_ask(&mut self, ask: Option<Ask<Call>>) {
        let Some(ask) = ask else { return };
        if self.queue.len() < MAX_QUEUE {
            self.queue.push_back(Work::Ask(ask));
        } else {
            let busy = AskError::NotNow("Too many requests wait for the printer.".to_owned());
            let _gone = ask.reply.send(Err(busy));
        }
    }

    /// Sends what may be sent now.
    fn pump(&mut self) -> Result<(), LinkFault> {
        loop {
            let now = Instant::now();
            let free = now >= self.free_at;
            // A third request in quick succession would be swallowed, whatever it is (elegoo.md 3.5).
            let third = self.sent[0].is_some_and(|sent| now < sent + self.driver.timing.spacing);
            let urgent = self.queue.iter().position(is_urgent).filter(|_| free || !third);
            let Some(at) = urgent.or_else(|| (free && !self.queue.is_empty()).then_some(0)) else {
                return Ok(());
            };
            let Some(mut work) = self.queue.remove(at) else { return Ok(()) };
            let call = match &mut work {
                Work::Own(call) => call.clone(),
                Work::History(_) => Call::History,
                Work::Ask(ask) if ask.reply.is_closed() => continue,
                Work::Ask(ask) => ask.call.clone(),
                Work::Command(batch) if batch.request.reply.is_closed() => continue,
                Work::Command(batch) => match batch.steps.pop_front() {
                    Some(step) => step,
                    None => continue,
                },
            };
            self.send(call, work)?;
        }
    }

    fn send(&mut self, call: Call, work: Work) -> Result<(), LinkFault> {
        self.next_id = self.next_id.wrapping_add(1).max(1);
        let id = self.next_id;
        let Ok(text) = payload(id, &call) else {
            return self.finish_with(work, call, AskError::NotNow("The request cannot be written.".into()));
        };
        if let (Call::Start(start), Work::Command(batch)) = (&call, &work)
            && let Command::StartJob(job) = &batch.request.command
        {
            self.driver.memory.runs.expect(&start.file, job.token);
        }
        if let (Call::Speed(mode), Work::Command(_)) = (&call, &work) {
            self.driver.memory.wanted_mode = Some(i64::from(*mode));
        }
        tracing::trace!(method = call.method(), "Request sent.");
        let now = Instant::now();
        self.free_at = now + self.driver.timing.spacing;
        self.sent = [self.sent[1], Some(now)];
        let quick = call.limit() <= Duration::from_secs(10);
        let limit = if quick { self.driver.timing.answer } else { call.limit() };
        if self.pending.len() >= MAX_PENDING {
            return self.finish_with(
                work,
                call,
                AskError::NotNow("Too many requests are unanswered.".into()),
            );
        }
        self.pending.insert(id, Pending { call, work, until: now + limit });
        self.publish(text)
    }

    fn finish_with(&mut self, work: Work, call: Call, error: AskError) -> Result<(), LinkFault> {
        self.finish(Pending { call, work, until: Instant::now() }, Err(error))
    }

    fn publish(&self, text: String) -> Result<(), LinkFault> {
        self.client
            .publish(&self.topics.request, text, Qos::AtLeastOnce)
            .map_err(|error| self.lost(&error.to_string()))
    }

    fn take_message(&mut self, message: &mqtt::Message) -> Result<(), LinkFault> {
        let ours = message.topic == self.topics.response;
        if !ours && message.topic != self.topics.status {
            return Ok(());
        }
        match wire::parse(&message.payload) {
            Message::Pong if ours => self.last_pong = Instant::now(),
            Message::Response { id, method, result } if ours => {
                let matches = self.pending.get(&id).is_some_and(|pending| pending.call.method() == method);
                if matches && let Some(pending) = self.pending.remove(&id) {
                    let code = wire::error_code(&result);
                    let result = if code == 0 { Ok(result) } else { Err(AskError::Refused(code)) };
                    return self.finish(pending, result);
                }
            }
            Message::Delta { id, change } => {
                if !self.document.merge(id, &change) && self.last_full.elapsed() >= GAP_REFRESH {
                    self.last_full = Instant::now();
                    self.want(Call::FullStatus);
                }
                self.reduce();
            }
            Message::Attributes(info) => self.take_attributes(&info)?,
            Message::Garbage => {
                tracing::debug!(length = message.payload.len(), "A message of the printer is not JSON.");
            }
            Message::Pong | Message::Response { .. } | Message::Other => {}
        }
        Ok(())
    }

    /// The document into the state, and what follows from it.
    fn reduce(&mut self) {
        let Some(status) = self.document.value() else { return };
        let memory = &mut self.driver.memory;
        if let Some(run) = self.state.take_expected_run() {
            memory.runs.expect_again(&run);
        }
        let mut wish = reduce::Wish::default();
        self.state.report(|device| wish = reduce::status(status, device, memory, unix_now()));
        let attached = reduce::has_canvas(status);
        let transferring =
            status.get("machine_status").and_then(|machine| int(machine, "status")) == Some(11);
        let snapshot = self.state.state();
        let job = &snapshot.device.job;
        let printing =
            job.file.as_deref().filter(|_| job.stage.active()).map(|file| base_name(file).to_owned());
        self.driver.door.note(|seen| {
            seen.reports += 1;
            seen.transferring = transferring;
            seen.printing = printing;
        });
        if let Some(attached) = attached.filter(|attached| *attached != self.has_canvas) {
            self.has_canvas = attached;
            self.state.set_capabilities(models::capabilities(self.driver.model, attached));
        }
        if let Some(uuid) = wish.history {
            self.queue.push_front(Work::History(uuid));
        }
        if let Some(file) = wish.file_info {
            self.want(Call::FileInfo(file));
        }
        if let Some(mode) = wish.speed {
            self.want(Call::Speed(mode));
        }
        if wish.canvas && self.has_canvas {
            self.want(Call::Canvas);
        }
        let soon = Instant::now() + self.poll_period();
        self.next_poll = self.next_poll.min(soon);
        self.online = true;
        self.state.link(LinkPhase::Online);
    }

    fn take_attributes(&mut self, info: &Value) -> Result<(), LinkFault> {
        let mut name = None;
        self.state.report(|device| name = reduce::attributes(info, device));
        match name {
            Some(name) => match models::find(&name) {
                Some(model) => {
                    self.driver.model = model;
                    Ok(())
                }
                None => Err(faults::other_model(&self.driver.place(), &name)),
            },
            None => Ok(()),
        }
    }

    fn finish(&mut self, done: Pending, result: Result<Value, AskError>) -> Result<(), LinkFault> {
        if result == Err(AskError::Refused(1000)) {
            // Not registered any more: only a new registration helps (elegoo.md 3.4).
            return Err(faults::unregistered(&self.driver.place()));
        }
        if let (Call::FullStatus, Ok(full)) = (&done.call, &result) {
            self.last_full = Instant::now();
            self.document.replace(full.clone());
            self.reduce();
        }
        match done.work {
            Work::Own(call) => return self.own_done(&call, result),
            Work::History(uuid) => {
                let verdict = result.ok().and_then(|result| reduce::verdict(&result, &uuid));
                self.driver.memory.judge(verdict);
                self.reduce();
            }
            Work::Ask(ask) => {
                let _gone = ask.reply.send(result);
            }
            Work::Command(batch) => self.step_done(*batch, &done.call, result),
        }
        Ok(())
    }

    fn own_done(&mut self, call: &Call, result: Result<Value, AskError>) -> Result<(), LinkFault> {
        let Ok(result) = result else {
            tracing::debug!(method = call.method(), "A request of the gateway itself had no result.");
            return Ok(());
        };
        match call {
            Call::SystemInfo => return self.take_attributes(&result),
            Call::Canvas => {
                if let Some(info) = result.get("canvas_info") {
                    self.document.set_canvas(info.clone());
                    self.reduce();
                }
            }
            Call::FileInfo(file) => {
                self.driver.memory.learn_layers(file, &result);
                self.reduce();
            }
            Call::DiskVolume => {
                let mut free = None;
                self.state.report(|device| free = reduce::disk(&result, device));
                self.driver.door.note(|seen| seen.free = free);
            }
            _ => {}
        }
        Ok(())
    }

    fn step_done(&mut self, batch: Batch, call: &Call, result: Result<Value, AskError>) {
        match (result, call) {
            (Err(error), _) => {
                if matches!((&error, call), (AskError::Refused(_), Call::Start(_))) {
                    self.driver.memory.runs.forget();
                }
                batch.request.answer(Err(refusal(&error)));
            }
            (Ok(_), _) if !batch.steps.is_empty() => {
                self.queue.push_front(Work::Command(Box::new(batch)));
                return;
            }
            (Ok(_), _) => {
                let Batch { request, plan, .. } = batch;
                request.answer(Ok(match plan.note {
                    Some(note) => Outcome::noted(SeenEffect::Acknowledged, note),
                    None => Outcome::new(SeenEffect::Acknowledged),
                }));
            }
        }
        // The acknowledgement is not the effect (elegoo.md 5): look.
        self.want(Call::FullStatus);
        if matches!(call, Call::EditTray(_) | Call::AutoRefill(_) | Call::LoadTray(..) | Call::UnloadTray(..))
        {
            self.want(Call::Canvas);
        }
    }
}

fn is_urgent(work: &Work) -> bool {
    match work {
        Work::Command(batch) => batch.steps.front().is_some_and(Call::urgent),
        _ => false,
    }
}

/// A closed door is not polled again: the link lives longer than its askers.
async fn next_ask(asks: &mut mpsc::Receiver<Ask<Call>>) -> Option<Ask<Call>> {
    match asks.recv().await {
        Some(ask) => Some(ask),
        None => pending().await,
    }
}

fn refusal(error: &AskError) -> CommandError {
    match error {
        AskError::Refused(1009) => CommandError::Busy(codes::error(1009)),
        AskError::Refused(1010) => CommandError::Invalid(codes::error(1010)),
        AskError::Refused(code) => {
            CommandError::Refused { code: code.to_string(), text: codes::error(*code) }
        }
        AskError::Timeout => CommandError::Timeout(
            "The printer did not answer in time; whether it acts on the command shows in its state."
                .to_owned(),
        ),
        AskError::Offline => CommandError::Offline(error.to_string()),
        AskError::NotNow(why) => CommandError::Busy(why.clone()),
    }
}
