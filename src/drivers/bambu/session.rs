//! One link's bookkeeping: what was asked when, what came back, and what follows from it. No sockets here beyond
//! handing messages to the open session.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use super::Shared;
use super::control;
use super::encode::{self, Context, HeatFallback, Message, Plan};
use super::field::{at, int, text};
use super::link_faults::Place;
use super::merge::Reports;
use super::models::{self, ModelRow};
use super::pending::{Effect, Pending, PendingList};
use super::reduce::{self, Source, Versions};
use super::stages;
use super::start::UrlForm;
use super::wire::{self, Ack, Extent, Incoming, StateFields};
use crate::model::text::base_name;
use crate::model::{
    Command, CommandError, Control, Device, DeviceStage, LinkFault, LinkPhase, Outcome, Seen,
};
use crate::net::mqtt::{MqttClient, Qos};
use crate::printer::clock::unix_now;
use crate::printer::{Request, StateWriter};

/// A target that a P1 does not show after this long is asked for again in another way (bambu.md 4.3).
const HEAT_CHECK: Duration = Duration::from_secs(5);
/// How long G-code may run until its marker is no longer waited for.
const SETTLE: Duration = Duration::from_secs(300);
/// A rejection on the screen belongs to a command of ours this long (bambu.md 4.8).
const REJECTION: Duration = Duration::from_secs(10);
/// Commands without any answer after which the link is taken as deaf (bambu.md 2.3).
const DEAF_AFTER: u32 = 2;
/// Two complete reports are at least this far apart, whatever happens.
const PUSHALL_GAP: Duration = Duration::from_secs(10);

/// What outlives a lost link.
pub(super) struct Memory {
    row: &'static ModelRow,
    reports: Reports,
    versions: Versions,
    /// Model code and name by the identity probe.
    code: Option<String>,
    name: Option<String>,
    sequence: u32,
    /// A file whose start was sent and never showed.
    not_landed: Option<String>,
    /// Step numbers never came back: G-code is confirmed by acknowledgement only.
    markers_fail: bool,
}

impl Memory {
    pub fn new(row: &'static ModelRow) -> Self {
        Self {
            row,
            reports: Reports::default(),
            versions: Versions::default(),
            code: None,
            name: None,
            // Not from 20000 as the slicer counts: its answers come on the same topic.
            sequence: rand::rng().random_range(100_000..1_000_000_000),
            not_landed: None,
            markers_fail: false,
        }
    }

    /// What the identity probe told.
    pub fn learn(&mut self, code: Option<String>, name: Option<String>) {
        self.code = code.or(self.code.take());
        self.name = name.or(self.name.take());
    }
}

/// A start that was sent and whose job is not seen yet.
struct Digestion {
    path: String,
    token: String,
    since: Instant,
    landed: bool,
}

/// Lines of G-code that were taken and whose marker is awaited.
struct Settling {
    pending: Box<Pending>,
    marker: i64,
    until: Instant,
}

pub(super) struct Session<'a> {
    shared: Arc<Shared>,
    memory: &'a mut Memory,
    client: MqttClient,
    place: Place,
    state: StateWriter,
    topic: String,
    pending: PendingList,
    settling: Option<Settling>,
    checks: Vec<(Instant, HeatFallback)>,
    digestion: Option<Digestion>,
    opened: Instant,
    heard: Option<Instant>,
    /// A sign of life was asked for.
    poked: Option<Instant>,
    pushall_at: Instant,
    commanded: Option<Instant>,
    rejected: bool,
    unanswered: u32,
    damaged: u64,
}

impl<'a> Session<'a> {
    pub fn new(
        shared: Arc<Shared>,
        memory: &'a mut Memory,
        client: MqttClient,
        place: Place,
        state: StateWriter,
    ) -> Self {
        let topic = format!("device/{}/request", shared.config.serial);
        let now = Instant::now();
        Self {
            shared,
            memory,
            client,
            place,
            state,
            topic,
            pending: PendingList::default(),
            settling: None,
            checks: Vec::new(),
            digestion: None,
            opened: now,
            heard: None,
            poked: None,
            pushall_at: now,
            commanded: None,
            rejected: false,
            unanswered: 0,
            damaged: 0,
        }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// First words on a new link: who are you, and tell everything, once.
    pub fn begin(&mut self) {
        self.memory.reports.await_full();
        // A new link may mean that Developer Mode was switched: what was learned by a rejection is asked anew.
        self.set_control(Control::Unknown, true);
        self.tell(&encode::get_version());
        self.pushall();
    }

    /// One payload from the report topic.
    pub fn take(&mut self, payload: &[u8]) {
        let parts = match wire::parse(payload) {
            Ok(parts) => parts,
            Err(error) => {
                self.damaged += 1;
                if self.damaged == 1 {
                    tracing::warn!(%error, "The printer sent an unreadable report; more of them are only counted.");
                }
                return;
            }
        };
        self.heard = Some(Instant::now());
        self.poked = None;
        for part in parts {
            match part {
                Incoming::State(fields) => self.report(&fields),
                Incoming::Ack(ack) => self.acknowledged(&ack),
                Incoming::Versions(modules) => self.identify(&modules),
            }
        }
    }

    fn report(&mut self, fields: &StateFields) {
        let shown_before = control::rejection_shown(self.memory.reports.tree());
        self.memory.reports.merge(fields);
        let stage_before = self.state.state().device.job.stage;
        if self.memory.reports.synced() {
            if fields.extent != Extent::Delta {
                self.refine();
            }
            self.publish();
        }
        self.learn_permission(shown_before);
        self.follow_start();
        self.follow_marker(fields);
        let stage = self.state.state().device.job.stage;
        let begins = stage.active() && !stage_before.active() && stage_before != DeviceStage::Unknown;
        if begins && fields.extent == Extent::Delta && self.pushall_at.elapsed() >= PUSHALL_GAP {
            // The layer total is told once, sometimes before the job itself (bambu.md T9).
            self.pushall();
        }
    }

    /// Shows the merged tree; the first complete one makes the link Online.
    fn publish(&mut self) {
        let device = self.device();
        self.state.report(|current| *current = device);
        self.state.link(LinkPhase::Online);
    }

    fn device(&self) -> Device {
        let memory = &*self.memory;
        let source = Source { reports: &memory.reports, versions: &memory.versions, row: memory.row };
        let before = self.state.state();
        let mut device = reduce::device(source, &before.device.faults, unix_now());
        device.identity.name.clone_from(&memory.name);
        device
    }

    fn identify(&mut self, modules: &serde_json::Value) {
        self.memory.versions = Versions::read(modules);
        let code = self.shared.config.model.as_deref().or(self.memory.code.as_deref());
        self.memory.row = models::identify(&self.memory.versions.clues(code, &self.shared.config.serial));
        if self.memory.reports.synced() {
            self.refine();
            self.publish();
        }
    }

    fn refine(&mut self) {
        self.state.set_capabilities(self.memory.row.capabilities(self.memory.reports.tree()));
    }

    fn learn_permission(&mut self, rejection_was_shown: bool) {
        let tree = self.memory.reports.tree();
        let recent = self.commanded.is_some_and(|at| at.elapsed() < REJECTION);
        if recent && !rejection_was_shown && control::rejection_shown(tree) {
            self.reject_all();
            return;
        }
        if self.rejected {
            return;
        }
        match control::from_reports(tree, self.memory.row) {
            Some(control) => self.set_control(control, false),
            None if self.memory.row.controllable => {
                let unknown_model = Control::ReadOnly(control::UNKNOWN_MODEL.to_owned());
                if self.state.state().control == unknown_model {
                    self.set_control(Control::Unknown, false);
                }
            }
            None => {}
        }
    }

    /// Only what this driver set itself is changed: the configuration may forbid control as well.
    fn set_control(&self, control: Control, only_learned: bool) {
        let current = self.state.state().control.clone();
        let ours = match &current {
            Control::ReadOnly(text) => text == control::GATE || text == control::UNKNOWN_MODEL,
            Control::Unknown | Control::Allowed => !only_learned,
        };
        if ours && current != control {
            self.state.control(control);
        }
    }

    /// The printer wants signatures: everything under way is refused for the same reason.
    fn reject_all(&mut self) {
        self.rejected = true;
        self.digestion = None;
        self.set_control(Control::ReadOnly(control::GATE.to_owned()), false);
        for pending in self.pending.take_all() {
            pending.fail(control::refusal());
        }
        if let Some(settling) = self.settling.take() {
            settling.pending.fail(control::refusal());
        }
    }

    fn acknowledged(&mut self, ack: &Ack) {
        let foreign = control::rejects(ack) && ack.sequence.is_some();
        match self.pending.acknowledge(ack) {
            // Another client's rejection teaches as well, without anything of ours under way.
            Effect::Nothing if foreign => self.reject_all(),
            Effect::Nothing => {}
            Effect::Refused(pending, error) => {
                self.unanswered = 0;
                if pending.starts_job {
                    self.digestion = None;
                }
                pending.fail(error);
                if control::rejects(ack) {
                    self.reject_all();
                }
            }
            Effect::Done(pending) => {
                self.unanswered = 0;
                // `ledctrl` passes the gate, so only `print` commands prove the permission (bambu.md 4.8).
                if ack.success == Some(true) && ack.category == "print" {
                    self.set_control(Control::Allowed, false);
                }
                self.settle_or_confirm(pending);
            }
        }
    }

    fn settle_or_confirm(&mut self, pending: Box<Pending>) {
        match pending.marker {
            Some(marker) => {
                if let Some(old) = self.settling.take() {
                    old.pending.confirm(Seen::Acknowledged);
                }
                self.settling = Some(Settling { pending, marker, until: Instant::now() + SETTLE });
            }
            None => pending.confirm(Seen::Acknowledged),
        }
    }

    /// The step number that we set behind the lines has come back: they are executed.
    fn follow_marker(&mut self, fields: &StateFields) {
        let step = fields.fields.get("stg_cur").and_then(int);
        if self.settling.as_ref().is_some_and(|settling| Some(settling.marker) == step)
            && let Some(settling) = self.settling.take()
        {
            settling.pending.confirm(Seen::Effect);
            self.tell(&encode::clear_marker());
        }
    }

    fn follow_start(&mut self) {
        let Some(digestion) = &mut self.digestion else { return };
        let tree = self.memory.reports.tree();
        let active = self.state.state().device.job.stage.active();
        let token = text(at(tree, "/subtask_id")).is_some_and(|id| id == digestion.token);
        let file = text(at(tree, "/gcode_file"));
        digestion.landed |=
            active || token || file.is_some_and(|file| base_name(&file) == base_name(&digestion.path));
        if digestion.landed {
            self.memory.not_landed = None;
        }
        if active {
            self.digestion = None;
        }
    }

    /// One command of a front end.
    pub fn request(&mut self, request: Request) {
        if !self.memory.reports.synced() {
            request.answer(Err(offline()));
            return;
        }
        if matches!(request.command, Command::Refresh) {
            let outcome = self.refresh();
            request.answer(Ok(outcome));
            return;
        }
        match self.plan(&request.command) {
            Ok(plan) => self.send(request, plan),
            Err(error) => request.answer(Err(error)),
        }
    }

    fn plan(&mut self, command: &Command) -> Result<Plan, CommandError> {
        if self.rejected {
            return Err(control::refusal());
        }
        let mut url = UrlForm::Ftp;
        if let Command::StartJob(job) = command {
            if self.digestion.as_ref().is_some_and(|job| job.since.elapsed() < self.patience(job)) {
                return Err(CommandError::Busy(
                    "The printer still digests the job that was started before; a second start is not sent."
                        .into(),
                ));
            }
            if self.memory.row.sdcard_url && self.memory.not_landed.as_deref() == Some(&*job.remote_path) {
                url = UrlForm::SdCard;
            }
        }
        let device = self.device();
        let tree = self.memory.reports.tree();
        let context = Context { device: &device, tree, row: self.memory.row, url, marker: self.marker() };
        let mut plan = encode::encode(command, &context)?;
        plan.settles &= !self.memory.markers_fail;
        if let Command::StartJob(job) = command {
            self.digestion = Some(Digestion {
                path: job.remote_path.clone(),
                token: job.token.to_string(),
                since: Instant::now(),
                landed: false,
            });
            self.memory.not_landed = (url == UrlForm::Ftp).then(|| job.remote_path.clone());
        }
        Ok(plan)
    }

    fn patience(&self, job: &Digestion) -> Duration {
        if job.landed { self.shared.config.timing.digestion } else { self.shared.config.timing.landing }
    }

    /// Alternates, so that an old report cannot be taken for the new marker.
    fn marker(&self) -> i64 {
        let (low, high) = (stages::MARKERS.start(), stages::MARKERS.end());
        low + i64::from(self.memory.sequence) % (high - low + 1)
    }

    fn send(&mut self, request: Request, plan: Plan) {
        let now = Instant::now();
        let marker = plan.settles.then(|| self.marker());
        let starts_job = matches!(request.command, Command::StartJob(_));
        let mut open = Vec::new();
        for message in &plan.messages {
            match self.say(message) {
                Ok(sequence) if message.answered => {
                    let command = message.body.get("command").and_then(text).unwrap_or_default();
                    open.push((sequence, command));
                }
                Ok(_) => {}
                Err(error) => {
                    if starts_job {
                        self.digestion = None;
                    }
                    request.answer(Err(error));
                    return;
                }
            }
        }
        self.commanded = Some(now);
        if let Some(fallback) = plan.fallback {
            self.checks.push((now + HEAT_CHECK, fallback));
        }
        let until = now + self.shared.config.timing.reply;
        let pending = Pending { request, open, until, marker, note: plan.note, bare: false, starts_job };
        if pending.open.is_empty() {
            pending.confirm(Seen::Sent);
        } else {
            self.pending.push(pending);
        }
    }

    /// Publishes one message and returns its sequence number.
    fn say(&mut self, message: &Message) -> Result<String, CommandError> {
        self.memory.sequence = (self.memory.sequence + 1) % (i32::MAX as u32);
        let sequence = self.memory.sequence;
        let payload = message.payload(sequence).to_string();
        self.client
            .publish(&self.topic, payload, Qos::AtLeastOnce)
            .map_err(|error| CommandError::Offline(format!("The printer could not be told: {error}.")))?;
        Ok(sequence.to_string())
    }

    /// As [`Self::say`] for what nobody waits for; a broken link shows by itself.
    fn tell(&mut self, message: &Message) {
        if let Err(error) = self.say(message) {
            tracing::debug!(%error, "A message of the driver's own was not sent.");
        }
    }

    fn pushall(&mut self) {
        self.pushall_at = Instant::now();
        self.tell(&encode::pushall());
    }

    /// Small controllers slow down for minutes when asked often (bambu.md 3.2).
    fn refresh(&mut self) -> Outcome {
        let age = self.pushall_at.elapsed();
        if age < Duration::from_secs(self.memory.row.pushall_every_s) {
            let note = format!(
                "The printer told everything {} s ago and reports each change by itself; it was not asked again.",
                age.as_secs()
            );
            return Outcome::noted(Seen::Sent, note);
        }
        self.pushall();
        Outcome::new(Seen::Sent)
    }

    /// When to look again although nothing comes.
    pub fn next_deadline(&self) -> Instant {
        let timing = &self.shared.config.timing;
        let alive = match (self.heard, self.poked) {
            (_, Some(poked)) => poked + timing.reply,
            (Some(heard), None) if self.memory.reports.synced() => heard + timing.silence,
            _ => self.opened + timing.reply,
        };
        let others = [
            self.pending.next_deadline(),
            self.settling.as_ref().map(|settling| settling.until),
            self.checks.iter().map(|(at, _)| *at).min(),
        ];
        others.into_iter().flatten().fold(alive, Instant::min)
    }

    /// Everything that follows from time alone; a fault ends the link.
    pub fn tick(&mut self) -> Option<LinkFault> {
        let now = Instant::now();
        self.check_heat(now);
        if self.settling.as_ref().is_some_and(|settling| settling.until <= now)
            && let Some(mut settling) = self.settling.take()
        {
            self.memory.markers_fail = true;
            settling.pending.note = Some("The printer did not tell when it had executed this.".into());
            settling.pending.confirm(Seen::Acknowledged);
        }
        let seconds = self.shared.config.timing.reply.as_secs();
        for pending in self.pending.overdue(now) {
            self.unanswered += 1;
            pending.time_out(seconds);
        }
        let digesting = self
            .digestion
            .as_ref()
            .is_some_and(|job| now.duration_since(job.since) < self.shared.config.timing.digestion);
        if !digesting {
            self.digestion = None;
        }
        if self.unanswered >= DEAF_AFTER && !digesting {
            return Some(self.place.deaf());
        }
        self.check_alive(now, digesting)
    }

    fn check_alive(&mut self, now: Instant, digesting: bool) -> Option<LinkFault> {
        let timing = self.shared.config.timing;
        if !self.memory.reports.synced() {
            if now < self.opened + timing.reply {
                return None;
            }
            // Reports came, none of them complete: better what there is than nothing.
            if self.heard.is_none() || at(self.memory.reports.tree(), "/gcode_state").is_null() {
                return Some(self.place.silent(timing.reply.as_secs()));
            }
            self.memory.reports.assume_full();
            self.refine();
            self.publish();
        }
        let last = self.heard.unwrap_or(self.opened);
        match self.poked {
            None if now >= last + timing.silence => {
                self.state.link(LinkPhase::Stale);
                self.poked = Some(now);
                self.tell(&encode::push_start());
                None
            }
            Some(poked) if now >= poked + timing.reply => {
                // Never give up a link while the printer unpacks a job: it would lose the job (bambu.md T15).
                if digesting {
                    self.poked = Some(now);
                    return None;
                }
                Some(self.place.silent(now.duration_since(last).as_secs()))
            }
            _ => None,
        }
    }

    /// Firmware that ignores M104 and M140 is asked with the codes that wait, but only while nothing prints.
    fn check_heat(&mut self, now: Instant) {
        let due: Vec<_> = self.checks.extract_if(.., |(at, _)| *at <= now).map(|(_, check)| check).collect();
        for check in due {
            let state = self.state.state();
            let heater = match check.tool {
                Some(tool) => state.device.nozzles.get(tool).map(|nozzle| nozzle.heater),
                None => Some(state.device.bed),
            };
            let shown = heater.and_then(|heater| heater.target);
            let missed = shown.is_some_and(|target| (target - check.target).abs() > 1.0);
            if missed && !state.printing() && !self.rejected {
                tracing::info!(
                    "The printer ignored a target temperature; it is asked with the code that waits."
                );
                self.tell(&check.message);
            }
        }
    }

    /// The link is over: what is under way is not known to have happened.
    pub fn close(&mut self) {
        let lost = || {
            CommandError::Offline(
                "The connection was lost before the printer answered; look at it before trying again.".into(),
            )
        };
        for pending in self.pending.take_all() {
            pending.fail(lost());
        }
        if let Some(settling) = self.settling.take() {
            settling.pending.fail(lost());
        }
    }
}

/// Refusal of a command that meets no link.
pub(super) fn offline() -> CommandError {
    CommandError::Offline("The printer is not connected yet; the command was not sent.".to_owned())
}
