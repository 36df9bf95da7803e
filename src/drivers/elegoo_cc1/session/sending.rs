//! From commands and questions to frames: one request in flight.

use std::time::Duration;

use futures_util::SinkExt;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::{Batch, HALF, Outstanding, PING_AFTER, Session, Work, is_light, is_urgent};
use crate::drivers::elegoo::work;
use crate::drivers::elegoo_cc1::sdcp::{Envelope, Parameter, Sdcp, frame};
use crate::drivers::elegoo_cc1::{codes, encode};
use crate::model::{Command, LinkFault};
use crate::printer::Request;
use crate::printer::clock::unix_now;

/// The socket takes a frame within this time, or it is dead.
const SEND: Duration = Duration::from_secs(5);

impl Session<'_> {
    pub(super) fn take_command(&mut self, request: Request) {
        let Some(state) = &self.state else { return };
        match encode::plan(&request.command, &state.state()) {
            Err(error) => request.answer(Err(error)),
            Ok(plan) => {
                work::withdraw_for(&request.command, &mut self.queue);
                if request.command == Command::EmergencyStop {
                    self.halted = Some(Instant::now());
                    self.homed();
                }
                let urgent = request.command.urgent();
                let work = Work::Command(Box::new(Batch::new(request, plan)));
                if urgent { self.queue.push_front(work) } else { self.queue.push_back(work) }
            }
        }
    }

    /// Sends the next request if none is in flight, and the keep-alive if nothing else was sent.
    pub(super) async fn pump(&mut self) -> Result<(), LinkFault> {
        while self.may_send() {
            let (stage, early) = (self.stage(), Instant::now() < self.light_at);
            let behind = self.overtaken.is_some();
            // The job before is over, but its 1 is not gone yet: a start waits for that.
            let lingers = self.codes.contains(&1) && !stage.active();
            // Nothing is asked of whoever may be another printer (elegoo.md 2.2).
            let unproved = self.driver.known.is_some() && !self.recognised && !self.online;
            let ready = |work: &Work| {
                !(work.waits(stage)
                    || early && is_light(work)
                    || lingers && work.is_patient_start()
                    || unproved && matches!(work, Work::Ask(_)))
            };
            let next = self.queue.iter().position(|work| ready(work) && (!behind || is_urgent(work)));
            let Some(mut work) = next.and_then(|at| self.queue.remove(at)) else { break };
            let history = |task: &str| Sdcp::HistoryDetail(vec![task.to_owned()]);
            let Some(call) = work.take_call(history) else { continue };
            if self.codes.contains(&1) && !call.allowed_while_printing() {
                work.refuse("A job is under way at the printer; this is not sent.");
                continue;
            }
            // What it makes of a move in the middle of its own is not known, and it is easily killed (elegoo.md 2.9).
            if let Some(what) = self.codes.iter().find_map(|code| codes::moves_itself(*code))
                && !call.allowed_while_printing()
            {
                work.refuse(&format!("The printer is {what}; this is not sent. Try again when it is done."));
                continue;
            }
            self.send(call, work).await?;
        }
        if self.sent.elapsed() >= PING_AFTER {
            self.write(Message::Text(Utf8Bytes::from_static("ping"))).await?;
        }
        Ok(())
    }

    /// One request is in flight at a time; an urgent one does not wait long for the answer before it.
    fn may_send(&mut self) -> bool {
        let Some(outstanding) = &self.outstanding else { return true };
        if !self.urgent_waits() || self.overtaken.is_some() {
            return false;
        }
        if outstanding.acked || outstanding.framed {
            if let Some(half) = self.outstanding.take() {
                self.unanswered(half);
            }
            return true;
        }
        let over = outstanding.sent.elapsed() >= HALF;
        if over {
            self.overtaken = self.outstanding.take();
        }
        over
    }

    /// The last word of a gateway that stops: otherwise the camera's place leaks until the printer is switched off
    /// (elegoo.md 2.13). Whoever holds the camera ends at the same moment, too late to ask for it.
    pub(super) async fn switch_camera_off(&mut self) {
        if self.camera_on {
            let off = Sdcp::Video(false);
            let _as_far_as_it_goes = self.send(off.clone(), Work::Own(off)).await;
        }
    }

    async fn send(&mut self, call: Sdcp, work: Work) -> Result<(), LinkFault> {
        let id = format!("{:016x}", rand::random::<u64>());
        let envelope =
            Envelope { request: &id, mainboard: &self.driver.mainboard, time: unix_now().max(0.0) as u64 };
        let Ok(text) = frame(&call, &envelope) else {
            work.refuse("The request cannot be written.");
            return Ok(());
        };
        if let (Sdcp::Start(start), Work::Command(batch)) = (&call, &work)
            && let Command::StartJob(job) = &batch.request.command
        {
            self.driver.memory.runs.expect(&start.file, job.token);
            self.driver.memory.file_error = None;
        }
        if let Sdcp::Video(on) = call {
            self.camera_on = on;
        }
        tracing::trace!(command = call.number(), "Request sent.");
        let sent = Instant::now();
        if matches!(call, Sdcp::Set(Parameter::Light(_))) {
            self.light_at = sent + self.driver.timing.light;
        }
        let until = sent + self.driver.timing.answer;
        self.outstanding = Some(Outstanding { id, call, work, sent, until, acked: false, framed: false });
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
}
