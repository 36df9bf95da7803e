//! One WebSocket from its first frame to its end: one request in flight, urgent ones first, polls where nothing is
//! pushed (elegoo.md 2.3, 2.9).

mod receiving;
mod sending;

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::link::{Cc1Driver, Socket};
use super::sdcp::{Parameter, Sdcp};
use super::{faults, models};
use crate::drivers::elegoo::work::{self, Event, next_event};
use crate::model::{DeviceStage, LinkFault, LinkPhase};
use crate::printer::{DriverIo, StateWriter};

/// Without a message of ours for 60 s the printer closes; protocol-level pings do not count (elegoo.md 2.3).
const PING_AFTER: Duration = Duration::from_secs(25);
/// Identity, free memory and address are read again.
const ATTRIBUTES_EVERY: Duration = Duration::from_secs(60);
const CANVAS_EVERY: Duration = Duration::from_secs(30);
/// Own requests and those of files that may wait; more are refused.
const MAX_QUEUE: usize = 32;

/// Times the history is asked how a run ended.
const VERDICTS: u32 = 3;

type Work = work::Work<Sdcp>;
type Batch = work::Batch<Sdcp>;

/// The other half of an answer to Cmd 0 or 1 that comes in two frames (elegoo.md 2.3), and an urgent command behind an
/// unanswered request, wait no longer than this.
const HALF: Duration = Duration::from_secs(1);

/// The one request that waits for its answer.
struct Outstanding {
    id: String,
    call: Sdcp,
    work: Work,
    sent: Instant,
    until: Instant,
    acked: bool,
    framed: bool,
}

/// A homing that was acknowledged: whoever asked for it is answered when it is over, so that a move right after it is not
/// refused for axes that are not homed yet.
struct Homing {
    batch: Batch,
    until: Instant,
}

/// The history had no entry of a run that ended.
struct VerdictAgain {
    /// `None` while it is asked.
    task: Option<String>,
    asked: u32,
    at: Instant,
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
    /// One whose answer was not waited for, because an urgent command went past it; its answer still counts.
    overtaken: Option<Outstanding>,
    state: Option<StateWriter>,
    /// Last codes of `CurrentStatus`.
    codes: Vec<i64>,
    /// `None` as long as no status tells; some firmware never does.
    has_canvas: Option<bool>,
    /// A status came.
    told: bool,
    /// The Canvas was asked for its trays, whatever came of it.
    canvas_asked: bool,
    firmware: String,
    stop: Option<StopWatch>,
    homing: Option<Homing>,
    verdict_again: Option<VerdictAgain>,
    /// When a start was acknowledged of which no job has been seen yet.
    started: Option<Instant>,
    /// When the last emergency stop was asked for.
    halted: Option<Instant>,
    heard: Instant,
    reported: Instant,
    sent: Instant,
    next_poll: Instant,
    next_attributes: Instant,
    next_canvas: Instant,
    /// When the light may be switched again.
    light_at: Instant,
    online: bool,
    /// The attributes of this link are those of the known printer.
    recognised: bool,
    /// The id that a status told, which is not that of the known printer.
    stranger: Option<String>,
    /// A USB stick is plugged in, as the attributes of this link told last.
    stick: Option<bool>,
    /// It was told that the values shown are old.
    stale: bool,
    camera_on: bool,
}

type Frame = Option<Result<Message, tokio_tungstenite::tungstenite::Error>>;

impl<'a> Session<'a> {
    pub fn new(driver: &'a mut Cc1Driver, socket: Socket) -> Self {
        let now = Instant::now();
        Self {
            driver,
            socket,
            // Not waiting for a pushed frame: none comes while paused (elegoo.md 2.3, connect sequence).
            queue: VecDeque::from([Work::Own(Sdcp::Attributes), Work::Own(Sdcp::Status)]),
            outstanding: None,
            overtaken: None,
            state: None,
            codes: Vec::new(),
            has_canvas: None,
            told: false,
            canvas_asked: false,
            firmware: String::new(),
            stop: None,
            homing: None,
            verdict_again: None,
            started: None,
            halted: None,
            heard: now,
            reported: now,
            sent: now,
            next_poll: now + Duration::from_secs(1),
            next_attributes: now + ATTRIBUTES_EVERY,
            next_canvas: now,
            light_at: now,
            online: false,
            recognised: false,
            stranger: None,
            stick: None,
            stale: false,
            camera_on: false,
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
            let due = self.next_timer();
            match next_event(&mut io.commands, self.socket.next(), &mut asks, due, cancel).await {
                Event::Cancelled => {
                    self.switch_camera_off().await;
                    break faults::lost(&self.driver.place(), "the gateway stops");
                }
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

    fn next_timer(&self) -> Instant {
        let mut due = self.next_poll.min(self.next_attributes).min(self.sent + PING_AFTER);
        due = due.min(self.heard + self.driver.timing.silent);
        if self.online && !self.stale {
            due = due.min(self.reported + self.driver.timing.stale);
        }
        if self.may_ask_canvas() {
            due = due.min(self.next_canvas);
        }
        for outstanding in self.outstanding.iter().chain(&self.overtaken) {
            due = due.min(outstanding.until);
        }
        if let Some(outstanding) =
            self.outstanding.as_ref().filter(|_| self.overtaken.is_none() && self.urgent_waits())
        {
            due = due.min(outstanding.sent + HALF);
        }
        if let Some(homing) = &self.homing {
            due = due.min(homing.until);
        }
        if let Some(again) = self.verdict_again.as_ref().filter(|again| again.task.is_some()) {
            due = due.min(again.at);
        }
        if self.light_at > Instant::now() && self.queue.iter().any(is_light) {
            due = due.min(self.light_at);
        }
        // A timer that was already served must not spin.
        due.max(Instant::now() + Duration::from_millis(20))
    }

    fn handle(&mut self, event: Event<Frame, Sdcp>) -> Result<(), LinkFault> {
        match event {
            Event::Command(Some(request)) => self.take_command(request),
            Event::Command(None) => return Err(self.lost("the gateway stops")),
            Event::Ask(ask) if self.queue.len() < MAX_QUEUE => self.queue.push_back(Work::Ask(ask)),
            Event::Ask(ask) => Work::Ask(ask).refuse("Too many requests wait for the printer."),
            Event::Message(Some(Ok(message))) => self.take_message(message)?,
            Event::Message(Some(Err(error))) => return Err(self.lost(&error.to_string())),
            Event::Message(None) => return Err(self.lost("the printer closed it")),
            Event::Timer | Event::Cancelled => {}
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
        if self.online && !self.stale && now >= self.reported + timing.stale {
            self.stale = true;
            self.phase(LinkPhase::Stale);
        }
        let is_late = |outstanding: &mut Outstanding| now >= outstanding.until;
        let late = [self.overtaken.take_if(is_late), self.outstanding.take_if(is_late)];
        late.into_iter().flatten().for_each(|late| self.unanswered(late));
        if self.homing.as_ref().is_some_and(|homing| now >= homing.until) {
            self.homed();
        }
        if let Some(again) = self.verdict_again.as_mut().filter(|again| now >= again.at)
            && let Some(task) = again.task.take()
        {
            self.queue.push_front(Work::History(task));
        }
        if let Some(id) = self.stranger.take_if(|_| !self.recognised)
            && !self.online
        {
            if !self.is_waiting(&Sdcp::Attributes) {
                return Err(self.driver.stranger(&id));
            }
            self.stranger = Some(id);
        }
        if now >= self.next_poll {
            self.next_poll = now + timing.poll;
            self.want(Sdcp::Status);
        }
        if now >= self.next_attributes {
            self.next_attributes = now + ATTRIBUTES_EVERY;
            self.want(Sdcp::Attributes);
        }
        if self.may_ask_canvas() && now >= self.next_canvas {
            self.next_canvas = now + CANVAS_EVERY;
            self.want(Sdcp::Canvas);
        }
        Ok(())
    }

    /// Queues a request of our own, once.
    fn want(&mut self, call: Sdcp) {
        if !self.is_waiting(&call) && self.queue.len() < MAX_QUEUE {
            self.queue.push_back(Work::Own(call));
        }
    }

    fn is_waiting(&self, call: &Sdcp) -> bool {
        self.outstanding.iter().chain(&self.overtaken).any(|outstanding| outstanding.call == *call)
            || self.queue.iter().any(|work| matches!(work, Work::Own(own) if own == call))
    }

    /// Only firmware above 1.1 knows the question: an unknown command kills the printer (elegoo.md 2.9, 2.14). Firmware
    /// that does not tell whether there is a Canvas is asked once.
    fn may_ask_canvas(&self) -> bool {
        let worth = self.has_canvas.unwrap_or(self.told && !self.canvas_asked);
        worth && models::has_canvas_command(&self.firmware)
    }

    fn urgent_waits(&self) -> bool {
        self.queue.iter().any(|work| is_urgent(work) && !work.waits(self.stage()))
    }

    fn stage(&self) -> DeviceStage {
        self.state.as_ref().map_or(DeviceStage::Unknown, |state| state.state().device.job.stage)
    }

    fn phase(&self, phase: LinkPhase) {
        if let Some(state) = &self.state {
            state.link(phase);
        }
    }
}

fn is_urgent(work: &Work) -> bool {
    matches!(work, Work::Command(batch) if batch.request.command.urgent())
}

/// The next request for it switches the light.
fn is_light(work: &Work) -> bool {
    matches!(work, Work::Command(batch) if matches!(batch.next(), Some(Sdcp::Set(Parameter::Light(_)))))
}

#[cfg(test)]
mod tests {
    use super::super::sdcp::HomeAxes;
    use super::super::{Cc1Config, assemble_driver};
    use super::*;
    use crate::drivers::elegoo::door::AskError;
    use crate::sim::elegoo_cc1 as sim;

    #[tokio::test]
    async fn nothing_moves_while_the_printer_moves_by_itself() {
        let printer = sim::start(sim::Options::default()).await.unwrap();
        let url = format!("ws://{}/websocket", printer.addresses().websocket);
        for (code, sent) in [(5, false), (10, false), (12, false), (9, true), (0, true)] {
            let (socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
            let mut driver = assemble_driver(Cc1Config::new("cc1", "127.0.0.1"));
            let door = std::sync::Arc::clone(&driver.door);
            let mut asks = door.open();
            let limit = Duration::from_millis(200);
            let asked = tokio::spawn(async move { door.ask(Sdcp::Home(HomeAxes::Xyz), limit).await });
            let ask = asks.recv().await.unwrap();
            let mut session = Session::new(&mut driver, socket);
            session.codes = vec![code];
            session.queue = VecDeque::from([Work::Ask(ask)]);
            session.pump().await.unwrap();
            assert_eq!(session.outstanding.is_some(), sent, "{code}");
            let answer = asked.await.unwrap();
            assert_eq!(matches!(answer, Err(AskError::NotNow(_))), !sent, "{code}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn a_stale_printer_is_waited_for_and_not_looked_after_all_the_time() {
        let printer = sim::start(sim::Options::default()).await.unwrap();
        let url = format!("ws://{}/websocket", printer.addresses().websocket);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let mut driver = assemble_driver(Cc1Config::new("cc1", "127.0.0.1"));
        driver.timing.stale = Duration::ZERO;
        let mut session = Session::new(&mut driver, socket);
        session.online = true;
        assert!(session.next_timer() < session.next_poll, "it gets stale before");
        assert_eq!(session.tick(), Ok(()));
        assert_eq!(session.next_timer(), session.next_poll);
    }
}
