//! From frames to the state, and to the answers of what was asked.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::{Batch, HALF, Homing, Outstanding, Session, StopWatch, VERDICTS, VerdictAgain, Work};
use crate::drivers::elegoo::door::AskError;
use crate::drivers::elegoo::work::Answer;
use crate::drivers::elegoo::{canvas, field};
use crate::drivers::elegoo_cc1::sdcp::{HomeAxes, Sdcp};
use crate::drivers::elegoo_cc1::wire::{self, Frame};
use crate::drivers::elegoo_cc1::{codes, models, reduce};
use crate::model::text::base_name;
use crate::model::{CommandError, DeviceStage, Event, Homed, LinkFault, LinkPhase};
use crate::printer::StateWriter;
use crate::printer::clock::unix_now;

/// The check of the file that a start asked for is over by then.
const STARTING: Duration = Duration::from_secs(90);
/// How long a homing is waited for.
const HOMING: Duration = Duration::from_secs(120);
/// A start that came too early, while the printer still checks the file, has this Ack (elegoo.md 2.10); it is sent again
/// after this time.
const BUSY: i64 = 1;
const START_AGAIN: Duration = Duration::from_secs(2);

impl Session<'_> {
    pub(super) fn take_message(&mut self, message: Message) -> Result<(), LinkFault> {
        let text = match message {
            Message::Text(text) => text.to_string(),
            Message::Binary(bytes) => lossy(&bytes),
            Message::Close(_) => return Err(self.lost("the printer closed it")),
            _ => return Ok(()),
        };
        self.heard = Instant::now();
        match wire::parse(&text) {
            Frame::Status(status, request) => {
                self.look_who(&text);
                self.take_status(&status);
                self.framed(&Sdcp::Status, request.as_deref());
            }
            Frame::Attributes(attributes, request) => {
                self.take_attributes(&attributes)?;
                self.framed(&Sdcp::Attributes, request.as_deref());
            }
            Frame::Response { request, command, data } => self.take_response(&request, command, data),
            Frame::FileError(code) => {
                self.driver.door.note(|seen| seen.file_errors = (seen.file_errors.0 + 1, code));
                if self.started.take().is_some_and(|at| at.elapsed() < STARTING) {
                    self.driver.memory.rejects_file(code, unix_now());
                    self.next_poll = Instant::now();
                }
            }
            Frame::Garbage => tracing::debug!(length = text.len(), "A frame of the printer is not JSON."),
            Frame::Pong | Frame::Other => {}
        }
        Ok(())
    }

    /// Some firmware tells its attributes while paused no more (elegoo.md 2.3), but each status says whose it is.
    fn look_who(&mut self, frame: &str) {
        if self.recognised || self.online {
            return;
        }
        let Some(known) = &self.driver.known else { return };
        self.stranger = wire::sender(frame).filter(|id| !known.serial.eq_ignore_ascii_case(id));
    }

    fn take_status(&mut self, status: &Value) {
        let Some(writer) = self.state.clone() else { return };
        let codes = wire::current_status(status);
        self.reported = Instant::now();
        self.stale = false;
        self.next_poll = self.reported + self.driver.timing.poll;
        self.codes.clone_from(&codes);
        self.told = true;
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
        if wish.past && !self.asks_history() {
            self.want(Sdcp::HistoryIds);
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
        if job.stage.active() {
            self.started = None;
        }
        self.watch_stop(job.stage, job.token.as_deref());
        if !self.driver.memory.is_homing() {
            self.homed();
        }
        self.come_online(&writer);
    }

    /// The homing that was asked for is over, as far as anybody can tell.
    pub(super) fn homed(&mut self) {
        if let Some(homing) = self.homing.take() {
            homing.batch.answer();
        }
    }

    /// Online is a printer whose job and trays are known, or could not be had: what clients read first is then whole,
    /// and nothing that belongs to it appears a moment later.
    fn come_online(&mut self, writer: &StateWriter) {
        let trays_known = !writer.state().device.filament.units.is_empty();
        let trays_missing = self.may_ask_canvas() && !self.canvas_asked && !trays_known;
        // A printer that told who it is does so again before it is given anything.
        let asked = self.is_waiting(&Sdcp::Attributes) || self.stranger.is_some();
        let unrecognised = self.driver.known.is_some() && !self.recognised && asked;
        if !self.online && (unrecognised || trays_missing || self.driver.memory.runs.is_unseen()) {
            return;
        }
        self.online = true;
        self.phase(LinkPhase::Online);
        self.driver.memory.told();
    }

    fn asks_history(&self) -> bool {
        let asks = |call: &Sdcp| matches!(call, Sdcp::HistoryIds | Sdcp::HistoryDetail(_));
        self.outstanding.as_ref().is_some_and(|outstanding| asks(&outstanding.call))
            || self.queue.iter().any(|work| matches!(work, Work::Own(own) if asks(own)))
    }

    fn learn_canvas(&mut self, writer: &StateWriter, attached: bool) {
        if Some(attached) != self.has_canvas {
            self.has_canvas = Some(attached);
            writer.set_capabilities(models::capabilities(self.driver.model, attached));
            if !attached {
                writer.report(|device| device.filament = Default::default());
            }
        }
    }

    fn take_attributes(&mut self, attributes: &Value) -> Result<(), LinkFault> {
        let Some(writer) = self.state.clone() else { return Ok(()) };
        let told = |key| field::text(attributes, key);
        self.driver.recognise(told("MainboardID"), told("MainboardMAC"))?;
        self.recognised = true;
        let mut who = reduce::Identification::default();
        let mut free = None;
        writer.report(|device| {
            who = reduce::attributes(attributes, device);
            free = device.storage.free_bytes;
        });
        self.driver.door.note(|seen| {
            seen.free = free;
            seen.usb = who.usb.unwrap_or(seen.usb);
        });
        if let Some(stick) = who.usb
            && self.stick.replace(stick).is_some_and(|before| before != stick)
        {
            writer.event(Event::PrinterFilesChanged);
        }
        if let Some(name) = &who.machine_name {
            self.driver.learn_model(name)?;
            writer.set_capabilities(models::capabilities(self.driver.model, self.has_canvas == Some(true)));
        }
        self.firmware = who.firmware.unwrap_or_else(|| std::mem::take(&mut self.firmware));
        Ok(())
    }

    /// The frame that answers Cmd 0 or 1, or a push. With the id of the request it is the whole answer.
    fn framed(&mut self, call: &Sdcp, request: Option<&str>) {
        let places = [&mut self.outstanding, &mut self.overtaken];
        let asked = |place: &Option<Outstanding>| place.as_ref().is_some_and(|asked| asked.call == *call);
        let Some(place) = places.into_iter().find(|place| asked(place)) else { return };
        let Some(outstanding) = place.as_mut() else { return };
        outstanding.framed = true;
        outstanding.acked |= request == Some(outstanding.id.as_str());
        outstanding.until = outstanding.until.min(Instant::now() + HALF);
        if outstanding.acked
            && let Some(done) = place.take()
        {
            self.finish(done, Ok(Value::Null));
        }
    }

    /// An answer that does not name its request is the one to the request in flight with the same command.
    fn take_response(&mut self, request: &str, command: Option<i64>, data: Value) {
        let places = [&mut self.outstanding, &mut self.overtaken];
        let fits = |asked: &Outstanding| match request {
            "" => command == Some(asked.call.number().into()),
            id => asked.id.eq_ignore_ascii_case(id),
        };
        let asked = |place: &Option<Outstanding>| place.as_ref().is_some_and(fits);
        let Some(place) = places.into_iter().find(|place| asked(place)) else { return };
        let Some(outstanding) = place.as_mut() else { return };
        let refused = wire::ack(&data) != 0;
        outstanding.acked = true;
        if outstanding.call.answered_by_frame() && !outstanding.framed && !refused {
            outstanding.until = outstanding.until.min(Instant::now() + HALF);
            return;
        }
        if let Some(done) = place.take() {
            // The printer answers in order: what it did not answer before is lost.
            let soon = Instant::now() + HALF;
            self.overtaken.iter_mut().for_each(|overtaken| overtaken.until = overtaken.until.min(soon));
            let result = if refused { Err(AskError::Refused(wire::ack(&data))) } else { Ok(data) };
            self.finish(done, result);
        }
    }

    pub(super) fn unanswered(&mut self, late: Outstanding) {
        // A frame or Ack alone is enough for a poll: pushes cross the answers.
        let result = if late.acked || late.framed { Ok(Value::Null) } else { Err(AskError::Timeout) };
        self.finish(late, result);
    }

    fn finish(&mut self, done: Outstanding, result: Answer) {
        let Outstanding { call, work, .. } = done;
        match work {
            Work::Own(call) => self.own_done(&call, result),
            Work::History(task) => self.take_verdict(task, result),
            Work::Ask(ask) => ask.answer(result),
            Work::Command(batch) => self.step_done(*batch, &call, result),
        }
    }

    /// The entry of a run can be written a moment after its end: until it tells, or was asked for often enough, the run
    /// counts as under way.
    fn take_verdict(&mut self, task: String, result: Answer) {
        let verdict = result.ok().and_then(|data| reduce::verdict(&data, &task));
        let asked = self.verdict_again.take().map_or(1, |again| again.asked + 1);
        if verdict.is_none() && asked < VERDICTS {
            let at = Instant::now() + self.driver.timing.poll;
            self.verdict_again = Some(VerdictAgain { task: Some(task), asked, at });
            return;
        }
        self.driver.memory.judge(verdict);
        self.queue.push_front(Work::Own(Sdcp::Status));
    }

    fn own_done(&mut self, call: &Sdcp, result: Answer) {
        match (call, result) {
            (Sdcp::Canvas, result) => {
                self.canvas_asked = true;
                if let (Ok(data), Some(writer)) = (&result, self.state.clone()) {
                    writer.report(|device| canvas::reduce(data, &mut device.filament));
                    if self.has_canvas.is_none() && !writer.state().device.filament.units.is_empty() {
                        self.learn_canvas(&writer, true);
                    }
                }
                self.look_again();
            }
            (Sdcp::HistoryIds, Ok(data)) if !reduce::newest_runs(&data).is_empty() => {
                self.queue.push_front(Work::Own(Sdcp::HistoryDetail(reduce::newest_runs(&data))));
            }
            (Sdcp::HistoryIds | Sdcp::HistoryDetail(_), result) => {
                let history = result.map(|data| reduce::history(&data)).unwrap_or_default();
                self.driver.memory.recall(&history);
                self.look_again();
            }
            _ => {}
        }
    }

    /// A printer that waits to be called online is read at once.
    fn look_again(&mut self) {
        if !self.online {
            self.queue.push_front(Work::Own(Sdcp::Status));
        }
    }

    fn step_done(&mut self, mut batch: Batch, call: &Sdcp, result: Answer) {
        match (&result, call) {
            (Ok(_), Sdcp::Stop) => {
                let run = self.state.as_ref().and_then(|state| state.state().device.job.token.clone());
                self.stop = Some(StopWatch { since: Instant::now(), repeated: false, run });
            }
            (Ok(_), Sdcp::Start(_)) => self.started = Some(Instant::now()),
            (Ok(_), Sdcp::Home(axes)) => self.driver.memory.homes(homed_by(*axes)),
            (Err(AskError::Refused(_)), Sdcp::Start(_)) => self.driver.memory.runs.forget(),
            _ => {}
        }
        let busy = matches!((&result, call), (Err(AskError::Refused(BUSY)), Sdcp::Start(_)));
        if busy && !batch.overruled(self.halted) && batch.try_again(call, self.stage(), START_AGAIN) {
            self.queue.push_front(Work::Command(Box::new(batch)));
            self.next_poll = Instant::now();
            return;
        }
        // A stop without a job is no failure of an emergency stop.
        let harmless = batch.goes_on() && *call == Sdcp::Stop && matches!(result, Err(AskError::Refused(_)));
        let trouble = result.err().filter(|_| !harmless).map(|error| refusal(call, &error));
        if batch.step_done(trouble) && !batch.overruled(self.halted) {
            self.queue.push_front(Work::Command(Box::new(batch)));
            return;
        }
        if let Sdcp::Home(_) = call
            && !batch.failed()
        {
            let until = Instant::now() + HOMING;
            self.homing = Some(Homing { batch, until });
        } else {
            batch.answer();
        }
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

fn homed_by(axes: HomeAxes) -> Homed {
    match axes {
        HomeAxes::X => Homed { x: true, ..Homed::default() },
        HomeAxes::Y => Homed { y: true, ..Homed::default() },
        HomeAxes::Z => Homed { z: true, ..Homed::default() },
        HomeAxes::Xy => Homed { x: true, y: true, ..Homed::default() },
        HomeAxes::Xyz => Homed::ALL,
    }
}

fn lossy(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
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
