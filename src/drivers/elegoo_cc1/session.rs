//! One WebSocket from its first frame to its end: one request in flight, urgent ones first, polls where nothing is
//! pushed (elegoo.md 2.3, 2.9).

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::encode::{self, Plan};
use super::link::{Cc1Driver, Socket};
use super::sdcp::{Envelope, Sdcp, frame};
use super::wire::{self, Frame};
use super::{codes, faults, models, reduce};
use crate::drivers::elegoo::door::{Ask, AskError};
use crate::drivers::elegoo::{canvas, field};
use crate::model::text::base_name;
use crate::model::{Command, CommandError, DeviceStage, LinkFault, LinkPhase, Outcome, Seen as SeenEffect};
use crate::printer::clock::unix_now;
use crate::printer::{DriverIo, Request, StateWriter};

/// The socket takes a frame within this time, or it is dead.
const SEND: Duration = Duration::from_secs(5);
/// Without a message of ours for 60 s the printer closes; protocol-level pings do not count (elegoo.md 2.3).
const PING_AFTER: Duration = Duration::from_secs(25);
/// Identity, free memory and address are read again.
const ATTRIBUTES_EVERY: Duration = Duration::from_secs(60);
const CANVAS_EVERY: Duration = Duration::from_secs(30);
/// Own requests and those of files that may wait; more are refused.
const MAX_QUEUE: usize = 32;

/// A command of a front end with the steps left to send.
struct Batch {
    steps: VecDeque<Sdcp>,
    request: Request,
    plan: Plan,
    trouble: Option<CommandError>,
}

enum Work {
    /// Polls, attributes, Canvas, a repeated stop.
    Own(Sdcp),
    /// How this run ended.
    History(String),
    Command(Box<Batch>),
    Ask(Ask<Sdcp>),
}

/// The one request that waits for its answer.
struct Outstanding {
    id: String,
    call: Sdcp,
    work: Work,
    until: Instant,
    acked: bool,
    framed: bool,
}

/// A stop that was acknowledged.
struct StopWatch {
    since: Instant,
    repeated: bool,
    /// The run that was to be stopped; another one is left alone.
    run: Option<String>,
}

pub(super) struct Session<'a> {
    driver: &'a mut Cc1Driver,
    socket: Socket,
    queue: VecDeque<Work>,
    outstanding: Option<Outstanding>,
    state: Option<StateWriter>,
    /// Last codes of `CurrentStatus`.
    codes: Vec<i64>,
    has_canvas: bool,
    firmware: String,
    stop: Option<StopWatch>,
    heard: Instant,
    reported: Instant,
    sent: Instant,
    next_poll: Instant,
    next_attributes: Instant,
    next_canvas: Instant,
    online: bool,
}

enum Event {
    Frame(Option<Result<Message, tokio_tungstenite::tungstenite::Error>>),
    Command(Option<Request>),
    Ask(Option<Ask<Sdcp>>),
    Timer,
    Cancelled,
}

impl<'a> Session<'a> {
    pub fn new(driver: &'a mut Cc1Driver, socket: Socket) -> Self {
        let now = Instant::now();
        Self {
            driver,
            socket,
            // Not waiting for a pushed frame: none comes while paused (elegoo.md 2.3, connect sequence).
            queue: VecDeque::from([Work::Own(Sdcp::Attributes), Work::Own(Sdcp::Status)]),
            outstanding: None,
            state: None,
            codes: Vec::new(),
            has_canvas: false,
            firmware: String::new(),
            stop: None,
            heard: now,
            reported: now,
            sent: now,
            next_poll: now + Duration::from_secs(1),
            next_attributes: now + ATTRIBUTES_EVERY,
            next_canvas: now,
            online: false,
        }
    }

    /// Until the link is lost.
    pub async fn run(mut self, io: &mut DriverIo, cancel: &CancellationToken) -> LinkFault {
        self.state = Some(io.state.clone());
        let mut asks = self.driver.door.open();
        let fault = loop {
            if let Err(fault) = self.pump().await {
                break fault;
            }
            match self.wait(io, &mut asks, cancel).await {
                Event::Cancelled => break faults::lost(&self.driver.place(), "the gateway stops"),
                event => {
                    if let Err(fault) = self.handle(event) {
                        break fault;
                    }
                }
            }
        };
        // A clean close frees the printer's slot at once (elegoo.md 2.3).
        let _closed = timeout(Duration::from_secs(1), self.socket.close(None)).await;
        fault
    }

    async fn wait(
        &mut self,
        io: &mut DriverIo,
        asks: &mut mpsc::Receiver<Ask<Sdcp>>,
        cancel: &CancellationToken,
    ) -> Event {
        let due = self.next_timer();
        tokio::select! {
            biased;
            () = cancel.cancelled() => Event::Cancelled,
            command = io.commands.recv() => Event::Command(command),
            frame = self.socket.next() => Event::Frame(frame),
            ask = next_ask(asks) => Event::Ask(ask),
            () = sleep_until(due) => Event::Timer,
        }
    }

    fn next_timer(&self) -> Instant {
        let mut due = self.next_poll.min(self.next_attributes).min(self.sent + PING_AFTER);
        due = due.min(self.heard + self.driver.timing.silent);
        if self.online {
            due = due.min(self.reported + self.driver.timing.stale);
        }
        if self.may_ask_canvas() {
            due = due.min(self.next_canvas);
        }
        if let Some(outstanding) = &self.outstanding {
            due = due.min(outstanding.until);
        }
        // A timer that was already served must not spin.
        due.max(Instant::now() + Duration::from_millis(20))
    }

    fn handle(&mut self, event: Event) -> Result<(), LinkFault> {
        match event {
            Event::Command(Some(request)) => self.take_command(request),
            Event::Command(None) => return Err(self.lost("the gateway stops")),
            Event::Ask(Some(ask)) if self.queue.len() < MAX_QUEUE => self.queue.push_back(Work::Ask(ask)),
            Event::Ask(Some(ask)) => {
                let busy = AskError::NotNow("Too many requests wait for the printer.".to_owned());
                let _gone = ask.reply.send(Err(busy));
            }
            Event::Frame(Some(Ok(message))) => self.take_message(message)?,
            Event::Frame(Some(Err(error))) => return Err(self.lost(&error.to_string())),
            Event::Frame(None) => return Err(self.lost("the printer closed it")),
            Event::Ask(None) | Event::Timer | Event::Cancelled => {}
        }
        self.tick()
    }

    fn lost(&self, why: &str) -> LinkFault {
        faults::lost(&self.driver.place(), why)
    }

    /// Everything that becomes due by time.
    fn tick(&mut self) -> Result<(), LinkFault> {
        let now = Instant::now();
        let timing = self.driver.timing;
        if now >= self.heard + timing.silent {
            return Err(faults::silent(&self.driver.place(), timing.silent.as_secs()));
        }
        if self.online && now >= self.reported + timing.stale {
            self.phase(LinkPhase::Stale);
        }
        if self.outstanding.as_ref().is_some_and(|outstanding| now >= outstanding.until)
            && let Some(late) = self.outstanding.take()
        {
            self.unanswered(late);
        }
        if now >= self.next_poll {
            self.next_poll = now + timing.poll;
            if !self.is_waiting(&Sdcp::Status) {
                self.queue.push_back(Work::Own(Sdcp::Status));
            }
        }
        if now >= self.next_attributes {
            self.next_attributes = now + ATTRIBUTES_EVERY;
            self.queue.push_back(Work::Own(Sdcp::Attributes));
        }
        if self.may_ask_canvas() && now >= self.next_canvas {
            self.next_canvas = now + CANVAS_EVERY;
            self.queue.push_back(Work::Own(Sdcp::Canvas));
        }
        Ok(())
    }

    fn is_waiting(&self, call: &Sdcp) -> bool {
        self.outstanding.as_ref().is_some_and(|outstanding| outstanding.call == *call)
            || self.queue.iter().any(|work| matches!(work, Work::Own(own) if own == call))
    }

    /// Both marks are needed: an unknown command kills the printer (elegoo.md 2.9, 2.14).
    fn may_ask_canvas(&self) -> bool {
        self.has_canvas && models::has_canvas_command(&self.firmware)
    }

    fn phase(&self, phase: LinkPhase) {
        if let Some(state) = &self.state {
            state.link(phase);
        }
    }

    fn take_command(&mut self, request: Request) {
        let Some(state) = &self.state else { return };
        match encode::plan(&request.command, &state.state()) {
            Err(error) => request.answer(Err(error)),
            Ok(plan) => {
                let urgent = request.command.urgent();
                let steps = plan.steps.iter().cloned().collect();
                let work = Work::Command(Box::new(Batch { steps, request, plan, trouble: None }));
                if urgent { self.queue.push_front(work) } else { self.queue.push_back(work) }
            }
        }
    }

    /// Sends the next request if none is in flight, and the keep-alive if nothing else was sent.
    async fn pump(&mut self) -> Result<(), LinkFault> {
        while self.outstanding.is_none() {
            let Some(mut work) = self.queue.pop_front() else { break };
            let call = match &mut work {
                Work::Own(call) => call.clone(),
                Work::History(task) => Sdcp::HistoryDetail(task.clone()),
                Work::Ask(ask) if ask.reply.is_closed() && !matches!(ask.call, Sdcp::Video(false)) => {
                    continue;
                }
                Work::Ask(ask) => ask.call.clone(),
                Work::Command(batch) if batch.request.reply.is_closed() => continue,
                Work::Command(batch) => match batch.steps.pop_front() {
                    Some(step) => step,
                    None => continue,
                },
            };
            if self.codes.contains(&1) && !call.allowed_while_printing() {
                refuse(work, "A job is under way at the printer; this is not sent.");
                continue;
            }
            self.send(call, work).await?;
        }
        if self.sent.elapsed() >= PING_AFTER {
            self.write(Message::Text(Utf8Bytes::from_static("ping"))).await?;
        }
        Ok(())
    }

    async fn send(&mut self, call: Sdcp, work: Work) -> Result<(), LinkFault> {
        let id = format!("{:016x}", rand::random::<u64>());
        let envelope =
            Envelope { request: &id, mainboard: &self.driver.mainboard, time: unix_now().max(0.0) as u64 };
        let Ok(text) = frame(&call, &envelope) else {
            refuse(work, "The request cannot be written.");
            return Ok(());
        };
        if let (Sdcp::Start(start), Work::Command(batch)) = (&call, &work)
            && let Command::StartJob(job) = &batch.request.command
        {
            self.driver.memory.runs.expect(&start.file, job.token);
        }
        tracing::trace!(command = call.number(), "Request sent.");
        let until = Instant::now() + self.driver.timing.answer;
        self.outstanding = Some(Outstanding { id, call, work, until, acked: false, framed: false });
        self.write(Message::Text(text.into())).await
    }

    async fn write(&mut self, message: Message) -> Result<(), LinkFault> {
        self.sent = Instant::now();
        match timeout(SEND, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.lost(&error.to_string())),
            Err(_late) => Err(self.lost("it no longer takes anything")),
        }
    }

    fn take_message(&mut self, message: Message) -> Result<(), LinkFault> {
        let text = match message {
            Message::Text(text) => text.to_string(),
            Message::Binary(bytes) => lossy(&bytes),
            Message::Close(_) => return Err(self.lost("the printer closed it")),
            _ => return Ok(()),
        };
        self.heard = Instant::now();
        match wire::parse(&text) {
            Frame::Status(status) => self.take_status(&status),
            Frame::Attributes(attributes) => self.take_attributes(&attributes)?,
            Frame::Response { request, data, .. } => self.take_response(&request, data),
            Frame::FileError(code) => {
                self.driver.door.note(|seen| seen.file_errors = (seen.file_errors.0 + 1, code));
            }
            Frame::Garbage => tracing::debug!(length = text.len(), "A frame of the printer is not JSON."),
            Frame::Pong | Frame::Other => {}
        }
        Ok(())
    }

    fn take_status(&mut self, status: &Value) {
        let Some(writer) = self.state.clone() else { return };
        let codes = wire::current_status(status);
        self.reported = Instant::now();
        self.next_poll = self.reported + self.driver.timing.poll;
        self.codes.clone_from(&codes);
        if let Some(attached) = field::flag(status, "AmsConnectStatus") {
            self.learn_canvas(&writer, attached);
        }
        let mut wish = reduce::Wish::default();
        let memory = &mut self.driver.memory;
        if let Some(run) = writer.take_expected_run() {
            memory.runs.expect_again(&run);
        }
        writer.report(|device| wish = reduce::status(status, device, memory, unix_now()));
        if let Some(task) = wish.history {
            self.queue.push_front(Work::History(task));
        }
        let snapshot = writer.state();
        let job = &snapshot.device.job;
        let printing =
            job.file.as_deref().filter(|_| job.stage.active()).map(|file| base_name(file).to_owned());
        self.driver.door.note(|seen| {
            seen.reports += 1;
            seen.transferring = codes.contains(&2) || codes.contains(&8);
            seen.printing = printing;
        });
        self.watch_stop(job.stage, job.token.as_deref());
        self.online = true;
        self.phase(LinkPhase::Online);
        self.framed(&Sdcp::Status);
    }

    fn learn_canvas(&mut self, writer: &StateWriter, attached: bool) {
        if attached != self.has_canvas {
            self.has_canvas = attached;
            writer.set_capabilities(models::capabilities(self.driver.model, attached));
            if !attached {
                writer.report(|device| device.filament = Default::default());
            }
        }
    }

    fn take_attributes(&mut self, attributes: &Value) -> Result<(), LinkFault> {
        let Some(writer) = self.state.clone() else { return Ok(()) };
        let mut who = reduce::Identification::default();
        let mut free = None;
        writer.report(|device| {
            who = reduce::attributes(attributes, device);
            free = device.storage.free_bytes;
        });
        self.driver.door.note(|seen| seen.free = free);
        if let Some(name) = &who.machine_name {
            self.driver.learn_model(name)?;
            writer.set_capabilities(models::capabilities(self.driver.model, self.has_canvas));
        }
        if let Some(id) = &who.mainboard_id {
            self.driver.learn_mainboard(id);
        }
        if who.mac.is_some() && self.driver.mac.is_some() && who.mac != self.driver.mac {
            tracing::warn!(
                "Another printer than before answers at this address (its hardware address differs)."
            );
        }
        self.driver.mac = who.mac.or(self.driver.mac.take());
        self.firmware = who.firmware.unwrap_or_else(|| std::mem::take(&mut self.firmware));
        self.framed(&Sdcp::Attributes);
        Ok(())
    }

    /// A frame without request id: the second half of the answer to Cmd 0 or 1, or a push.
    fn framed(&mut self, call: &Sdcp) {
        if let Some(outstanding) = self.outstanding.as_mut().filter(|o| o.call == *call) {
            outstanding.framed = true;
            if outstanding.acked
                && let Some(done) = self.outstanding.take()
            {
                self.finish(done, Ok(Value::Null));
            }
        }
    }

    fn take_response(&mut self, request: &str, data: Value) {
        let Some(outstanding) = self.outstanding.as_mut().filter(|o| o.id == request) else { return };
        let refused = wire::ack(&data) != 0;
        outstanding.acked = true;
        if outstanding.call.answered_by_frame() && !outstanding.framed && !refused {
            return;
        }
        if let Some(done) = self.outstanding.take() {
            let result = if refused { Err(AskError::Refused(wire::ack(&data))) } else { Ok(data) };
            self.finish(done, result);
        }
    }

    fn unanswered(&mut self, late: Outstanding) {
        // A frame or Ack alone is enough for a poll: pushes cross the answers.
        let result = if late.acked || late.framed { Ok(Value::Null) } else { Err(AskError::Timeout) };
        self.finish(late, result);
    }

    fn finish(&mut self, done: Outstanding, result: Result<Value, AskError>) {
        let Outstanding { call, work, .. } = done;
        match work {
            Work::Own(Sdcp::Canvas) => {
                if let (Ok(data), Some(writer)) = (&result, &self.state) {
                    writer.report(|device| canvas::reduce(data, &mut device.filament));
                }
            }
            Work::Own(_) => {}
            Work::History(task) => {
                let verdict = result.ok().and_then(|data| reduce::verdict(&data, &task));
                self.driver.memory.judge(verdict);
                self.queue.push_front(Work::Own(Sdcp::Status));
            }
            Work::Ask(ask) => {
                let _gone = ask.reply.send(result);
            }
            Work::Command(batch) => self.step_done(*batch, &call, result),
        }
    }

    fn step_done(&mut self, mut batch: Batch, call: &Sdcp, result: Result<Value, AskError>) {
        match (&result, call) {
            (Ok(_), Sdcp::Stop) => {
                let run = self.state.as_ref().and_then(|state| state.state().device.job.token.clone());
                self.stop = Some(StopWatch { since: Instant::now(), repeated: false, run });
            }
            (Err(AskError::Refused(_)), Sdcp::Start(_)) => self.driver.memory.runs.forget(),
            _ => {}
        }
        // A stop without a job is no failure of an emergency stop.
        let harmless =
            batch.plan.all_steps && *call == Sdcp::Stop && matches!(result, Err(AskError::Refused(_)));
        if let Err(error) = result
            && !harmless
        {
            batch.trouble.get_or_insert(refusal(call, &error));
        }
        if !batch.steps.is_empty() && (batch.trouble.is_none() || batch.plan.all_steps) {
            self.queue.push_front(Work::Command(Box::new(batch)));
            return;
        }
        let Batch { request, plan, trouble, .. } = batch;
        request.answer(match (trouble, plan.note) {
            (Some(error), _) => Err(error),
            (None, Some(note)) => Ok(Outcome::noted(SeenEffect::Acknowledged, note)),
            (None, None) => Ok(Outcome::new(SeenEffect::Acknowledged)),
        });
        // The effect is wanted soon: do not wait for the next poll.
        self.next_poll = Instant::now();
    }

    /// A stop during the warm-up can get lost (elegoo.md 2.9): it is sent once more, also if the print itself has
    /// begun meanwhile, but never to another run.
    fn watch_stop(&mut self, stage: DeviceStage, run: Option<&str>) {
        let again = self.driver.timing.stop_again;
        match &mut self.stop {
            Some(watch)
                if !stage.active() || stage == DeviceStage::Cancelling || watch.run.as_deref() != run =>
            {
                self.stop = None;
            }
            Some(watch) if !watch.repeated && watch.since.elapsed() >= again => {
                watch.repeated = true;
                tracing::warn!("The printer acknowledged a stop and goes on; the stop is sent once more.");
                self.queue.push_front(Work::Own(Sdcp::Stop));
            }
            _ => {}
        }
    }
}

/// A closed door is not polled again: the link lives longer than its askers.
async fn next_ask(asks: &mut mpsc::Receiver<Ask<Sdcp>>) -> Option<Ask<Sdcp>> {
    match asks.recv().await {
        Some(ask) => Some(ask),
        None => pending().await,
    }
}

fn lossy(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn refuse(work: Work, why: &str) {
    match work {
        Work::Command(batch) => batch.request.answer(Err(CommandError::Busy(why.to_owned()))),
        Work::Ask(Ask { reply, .. }) => answer(reply, AskError::NotNow(why.to_owned())),
        Work::Own(_) | Work::History(_) => {}
    }
}

fn answer(reply: oneshot::Sender<Result<Value, AskError>>, error: AskError) {
    let _gone = reply.send(Err(error));
}

fn refusal(call: &Sdcp, error: &AskError) -> CommandError {
    match (error, call) {
        (AskError::Refused(code), Sdcp::Start(_)) => {
            CommandError::Refused { code: format!("Ack {code}"), text: codes::start_refusal(*code) }
        }
        (AskError::Refused(code), _) => CommandError::Refused {
            code: format!("Ack {code}"),
            text: "The printer refused the command.".to_owned(),
        },
        (AskError::Timeout, _) => CommandError::Timeout(
            "The printer did not answer; whether it acts on the command is unknown.".to_owned(),
        ),
        (AskError::Offline, _) => CommandError::Offline(error.to_string()),
        (AskError::NotNow(why), _) => CommandError::Busy(why.clone()),
    }
}
