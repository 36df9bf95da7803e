//! From messages to the state, and to the answers of what was asked.

use serde_json::Value;
use tokio::time::Instant;

use super::{Batch, GAP_REFRESH, Pending, Session, Work};
use crate::drivers::elegoo::door::AskError;
use crate::drivers::elegoo::field::int;
use crate::drivers::elegoo::place::Medium;
use crate::drivers::elegoo::work::Answer;
use crate::drivers::elegoo_cc2::encode::Call;
use crate::drivers::elegoo_cc2::wire::{self, Message};
use crate::drivers::elegoo_cc2::{codes, faults, models, reduce};
use crate::model::text::base_name;
use crate::model::{CommandError, Event, Homed, LinkFault, LinkPhase};
use crate::net::mqtt;
use crate::printer::clock::unix_now;

/// The printer's own work is in the way for the moment (elegoo.md 3.12).
const BUSY: i64 = 1009;

/// Not heard, or not now: asking again can help.
fn passing(error: &AskError) -> bool {
    matches!(error, AskError::Timeout | AskError::Refused(BUSY))
}

impl Session<'_> {
    pub(super) fn take_message(&mut self, message: &mqtt::Message) -> Result<(), LinkFault> {
        let ours = message.topic == self.topics.response;
        if !ours && message.topic != self.topics.status {
            return Ok(());
        }
        match wire::parse(&message.payload) {
            Message::Pong if ours => self.last_pong = Instant::now(),
            Message::Response { id, method, result } if ours => {
                let fits = |of: i64| method.is_none_or(|method| method == of);
                let matches = self.pending.get(&id).is_some_and(|pending| fits(pending.call.method()));
                if matches && let Some(pending) = self.pending.remove(&id) {
                    // Who is answered is registered, whatever became of the PING.
                    self.last_pong = Instant::now();
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
        let mut wish = reduce::Wish::default();
        if let Some(run) = self.state.take_expected_run() {
            memory.runs.expect_again(&run);
        }
        self.state.report(|device| wish = reduce::status(status, device, memory, unix_now()));
        let stage = self.state.state().device.job.stage;
        for pending in self.pending.values_mut() {
            pending.followed |= pending.stage != stage;
        }
        let attached = reduce::has_canvas(status);
        let stick = reduce::has_stick(status);
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
            seen.usb = stick.unwrap_or(seen.usb);
        });
        if let Some(stick) = stick
            && self.stick.replace(stick).is_some_and(|before| before != stick)
        {
            self.state.event(Event::PrinterFilesChanged);
        }
        if let Some(attached) = attached.filter(|attached| Some(*attached) != self.has_canvas) {
            self.canvas_plugged(attached);
        }
        if let Some(run) = wish.history {
            self.queue.push_front(Work::History(run));
        }
        if let Some(file) = wish.file_info {
            self.want(Call::FileInfo(self.driver.memory.medium_of(&file), file));
        }
        if let Some(mode) = wish.speed {
            self.want(Call::Speed(mode));
        }
        if wish.past {
            self.want(Call::History);
        }
        if self.has_canvas == Some(true) && (wish.canvas || !self.online && !self.canvas_asked) {
            self.want(Call::Canvas);
        }
        let soon = Instant::now() + self.poll_period();
        self.next_poll = self.next_poll.min(soon);
        if self.is_homed() {
            self.homed();
        }
        self.come_online();
    }

    fn is_homed(&self) -> bool {
        self.state.state().device.motion.homed == Some(Homed::ALL)
    }

    /// The axes are known to be homed, or the printer was asked once more and does not say so.
    fn homed(&mut self) {
        if let Some(batch) = self.homing.take() {
            batch.answer();
        }
    }

    fn canvas_plugged(&mut self, attached: bool) {
        self.has_canvas = Some(attached);
        self.state.set_capabilities(models::capabilities(self.driver.model, attached));
        self.next_canvas = Instant::now();
        if !attached {
            self.document.drop_canvas();
        }
    }

    /// Online is a printer whose job and trays are known, or could not be had: what clients read first is then whole,
    /// and nothing that belongs to it appears a moment later.
    fn come_online(&mut self) {
        let trays_known = !self.state.state().device.filament.units.is_empty();
        let trays_missing = self.has_canvas == Some(true) && !self.canvas_asked && !trays_known;
        if !self.online && (trays_missing || self.driver.memory.runs.is_unseen()) {
            return;
        }
        if !std::mem::replace(&mut self.online, true) {
            self.want(Call::SystemInfo);
        }
        self.state.link(LinkPhase::Online);
        self.driver.memory.told();
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

    pub(super) fn finish(&mut self, done: Pending, result: Answer) -> Result<(), LinkFault> {
        if result == Err(AskError::Refused(1000)) {
            // Not registered any more: only a new registration helps (elegoo.md 3.4).
            return Err(faults::unregistered(&self.driver.place()));
        }
        match (&done.call, &result) {
            (Call::FullStatus, Ok(full)) => {
                self.last_full = Instant::now();
                self.missed = 0;
                self.document.replace(full.clone());
                self.reduce();
                self.homed();
            }
            (Call::FullStatus, Err(_)) => {
                self.homed();
                self.next_poll = self.next_poll.min(Instant::now() + self.driver.timing.poll_printing);
            }
            _ => {}
        }
        match done.work {
            Work::Own(call) => return self.own_done(&call, result),
            Work::History(run) => self.take_verdict(run, result),
            Work::Ask(ask) => ask.answer(result),
            Work::Command(batch) => self.step_done(*batch, &done.call, result),
        }
        Ok(())
    }

    /// The history can be swallowed as any answer, and can be written a moment after the run's end: until it tells, or was
    /// asked often enough, the run counts as under way.
    fn take_verdict(&mut self, run: String, result: Answer) {
        let again = result.as_ref().map_or_else(passing, |_| true);
        let history = result.as_ref().map(reduce::history).unwrap_or_default();
        let end = self.driver.memory.end_in(&history);
        if end.is_none() && again && self.asks_again(&Call::History) {
            self.queue.push_front(Work::History(run));
            return;
        }
        self.unanswered.retain(|(asked, _)| *asked != Call::History);
        self.driver.memory.judge(end);
        self.reduce();
    }

    /// A question whose answer matters later too; those that are asked from time to time anyway matter before the printer
    /// counts as connected.
    fn worth_repeating(&self, call: &Call) -> bool {
        match call {
            Call::Canvas | Call::History => !self.online,
            Call::Speed(mode) => self.driver.memory.wanted_mode == Some(i64::from(*mode)),
            Call::SystemInfo | Call::FileInfo(..) | Call::DiskVolume => true,
            _ => false,
        }
    }

    fn own_done(&mut self, call: &Call, result: Answer) -> Result<(), LinkFault> {
        match &result {
            Err(error) if passing(error) && self.worth_repeating(call) && self.asks_again(call) => {
                // Swallowed, as an earlier gateway or another client asked just before.
                self.want(call.clone());
                return Ok(());
            }
            Err(_) => {
                tracing::debug!(method = call.method(), "A request of the gateway itself had no result.");
            }
            Ok(_) => self.unanswered.retain(|(asked, _)| asked != call),
        }
        if let (Call::FileInfo(medium, file), Err(AskError::Refused(1002 | 1017 | 1021))) = (call, &result) {
            self.look_elsewhere(*medium, file);
        }
        match (call, result.as_ref().ok()) {
            (Call::Canvas, result) => {
                self.canvas_asked = true;
                if let Some(info) = result.and_then(|result| result.get("canvas_info")) {
                    self.document.set_canvas(info.clone());
                }
                self.reduce();
            }
            (Call::History, result) => {
                self.driver.memory.recall(&result.map(reduce::history).unwrap_or_default());
                self.reduce();
            }
            (_, Some(result)) => return self.take_own(call, result),
            (_, None) => {}
        }
        Ok(())
    }

    /// The status does not say on which medium the job is: a file that is not on the likelier one is on the other.
    fn look_elsewhere(&mut self, asked: Medium, file: &str) {
        let other = match asked {
            Medium::Internal => Medium::Usb,
            Medium::Usb => Medium::Internal,
        };
        let there = other == Medium::Internal || self.driver.door.seen().usb;
        if there && asked == self.driver.memory.medium_of(file) {
            self.want(Call::FileInfo(other, file.to_owned()));
        }
    }

    fn take_own(&mut self, call: &Call, result: &Value) -> Result<(), LinkFault> {
        match call {
            Call::SystemInfo => return self.take_attributes(result),
            Call::FileInfo(_, file) => {
                self.driver.memory.learn_layers(file, result);
                self.reduce();
            }
            Call::DiskVolume => {
                let mut free = None;
                self.state.report(|device| free = reduce::disk(result, device));
                self.driver.door.note(|seen| seen.free = free);
            }
            _ => {}
        }
        Ok(())
    }

    fn step_done(&mut self, mut batch: Batch, call: &Call, result: Answer) {
        if matches!((&result, call), (Err(AskError::Refused(_)), Call::Start(_))) {
            self.driver.memory.runs.forget();
        }
        let overruled = batch.overruled(self.halted);
        if result == Err(AskError::Refused(BUSY))
            && !overruled
            && batch.try_again(call, self.stage(), self.driver.timing.spacing)
        {
            self.queue.push_front(Work::Command(Box::new(batch)));
            self.want(Call::FullStatus);
            return;
        }
        if batch.step_done(result.err().map(|error| refusal(&error))) && !overruled {
            self.queue.push_front(Work::Command(Box::new(batch)));
            return;
        }
        // The acknowledgement is not the effect (elegoo.md 5): look.
        if matches!(call, Call::EditTray(_) | Call::AutoRefill(_) | Call::LoadTray(..) | Call::UnloadTray(..))
        {
            self.want(Call::Canvas);
        }
        self.want(Call::FullStatus);
        // A move right after it must not be refused for axes that are not known to be homed yet.
        if matches!(call, Call::Home) && !batch.failed() && !self.is_homed() {
            self.homing = Some(batch);
        } else {
            batch.answer();
        }
    }
}

fn refusal(error: &AskError) -> CommandError {
    match error {
        AskError::Refused(BUSY) => CommandError::Busy(codes::error(BUSY)),
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
