//! One registered session from its first full status to its end: requests spaced, urgent ones at once, late answers
//! matched by id (elegoo.md 3.5).

mod receiving;
mod sending;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::encode::Call;
use super::faults;
use super::link::{Cc2Driver, Topics};
use super::wire::Document;
use crate::drivers::elegoo::door::AskError;
use crate::drivers::elegoo::work::{self, Event, next_event};
use crate::model::{DeviceStage, LinkFault, LinkPhase};
use crate::net::mqtt::{MqttClient, MqttEvents};
use crate::printer::{DriverIo, StateWriter};

const DISK_EVERY: Duration = Duration::from_secs(300);
/// After a gap in the deltas the full status is read, but not more often than this.
const GAP_REFRESH: Duration = Duration::from_secs(5);
/// Requests that may wait; more are refused.
const MAX_QUEUE: usize = 32;
/// Times a question of the gateway itself is asked: the printer swallows requests (elegoo.md 3.5).
const QUESTIONS: u32 = 3;

type Work = work::Work<Call>;
type Batch = work::Batch<Call>;

struct Pending {
    call: Call,
    work: Work,
    sent: Instant,
    /// Where the print was then.
    stage: DeviceStage,
    /// The print was elsewhere since: the printer follows, though its answer may never come.
    followed: bool,
    repeated: bool,
    until: Instant,
}

impl Pending {
    /// The printer speaks again, and does nothing about an order of this kind. One that it followed is over, wherever
    /// the print is by now: said again it would hit the print that was resumed, or the next one.
    fn is_lost(&self, heard: Instant, again: Duration) -> bool {
        let order = matches!(self.call, Call::Pause | Call::Resume | Call::Cancel | Call::EmergencyStop);
        order && !self.repeated && !self.followed && heard > self.sent && self.sent.elapsed() >= again
    }
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
    /// `None` before this link was told: one that was pulled out while the link was down is news.
    has_canvas: Option<bool>,
    /// A USB stick is plugged in, as this link told last.
    stick: Option<bool>,
    /// The Canvas was asked for its trays, whatever came of it.
    canvas_asked: bool,
    /// Questions of our own without an answer so far, and how often each was asked.
    unanswered: Vec<(Call, u32)>,
    /// Full statuses in a row that did not come.
    missed: u32,
    /// When the last emergency stop was asked for.
    halted: Option<Instant>,
    /// A homing that was carried out, of which no status tells yet.
    homing: Option<Batch>,
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
            queue: VecDeque::from([Work::Own(Call::FullStatus)]),
            pending: HashMap::new(),
            // Ids of other clients start low as well; the topic tells them apart, this helps reading logs.
            next_id: i64::from(rand::random::<u16>()) + 1,
            has_canvas: None,
            stick: None,
            canvas_asked: false,
            unanswered: Vec::new(),
            missed: 0,
            halted: None,
            homing: None,
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

    /// Until the link is lost; then the printer's place for a client is free again.
    pub async fn run(mut self, io: &mut DriverIo, cancel: &CancellationToken) -> LinkFault {
        let fault = self.serve(io, cancel).await;
        self.events.close().await;
        fault
    }

    async fn serve(&mut self, io: &mut DriverIo, cancel: &CancellationToken) -> LinkFault {
        let mut asks = self.driver.door.open();
        loop {
            if let Err(fault) = self.pump() {
                return fault;
            }
            let due = self.next_timer();
            let event = next_event(&mut io.commands, self.events.next(), &mut asks, due, cancel).await;
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

    fn next_timer(&self) -> Instant {
        let mut due = self.next_ping.max(self.free_at).min(self.next_poll).min(self.next_disk);
        if self.has_canvas == Some(true) {
            due = due.min(self.next_canvas);
        }
        let stage = self.stage();
        if self.queue.iter().any(|work| !work.waits(stage)) {
            due = due.min(self.free_at);
        }
        if let Some(first) = self.pending.values().map(|pending| pending.until).min() {
            due = due.min(first);
        }
        let again = self.driver.timing.again;
        if let Some(sent) = self.pending.values().filter(|p| !p.repeated).map(|p| p.sent).min() {
            due = due.min((sent + again).max(Instant::now() + again / 4));
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
        let late: Vec<i64> = self.pending.iter().filter(|(_, p)| now >= p.until).map(|(id, _)| *id).collect();
        for id in late {
            if let Some(pending) = self.pending.remove(&id) {
                let status = pending.call == Call::FullStatus;
                self.finish(pending, Err(AskError::Timeout))?;
                if status {
                    self.status_missed();
                }
            }
        }
        self.repeat_lost()?;
        if now >= self.next_poll {
            self.next_poll = now + self.poll_period();
            self.want(Call::FullStatus);
        }
        if self.has_canvas == Some(true) && now >= self.next_canvas {
            self.next_canvas = now + timing.canvas;
            self.want(Call::Canvas);
        }
        if now >= self.next_disk {
            self.next_disk = now + DISK_EVERY;
            self.want(Call::DiskVolume);
        }
        Ok(())
    }

    /// One lost answer is nothing: the printer swallows requests. It is asked at once again, and after the second one in a
    /// row the values shown are old.
    fn status_missed(&mut self) {
        self.missed += 1;
        if self.online && self.missed > 1 {
            self.state.link(LinkPhase::Stale);
        }
        self.want(Call::FullStatus);
    }

    fn poll_period(&self) -> Duration {
        let timing = self.driver.timing;
        if self.stage().active() || !self.online { timing.poll_printing } else { timing.poll_idle }
    }

    fn stage(&self) -> DeviceStage {
        self.state.state().device.job.stage
    }
}
