//! One link's bookkeeping: what was asked when, what came back, and what follows from it. No sockets here beyond
//! handing messages to the open session.

mod answers;
mod commands;
mod deadlines;
mod echo;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use super::Shared;
use super::control;
use super::encode::HeatFallback;
use super::field::{at, int, text};
use super::link_faults::Place;
use super::merge::Reports;
use super::models::{self, ModelRow};
use super::pending::PendingList;
use super::reduce::{self, Source, Versions};
use super::wire::{self, Extent, Incoming, StateFields};
use crate::model::{CommandError, Control, Device, DeviceStage, Fault, FaultSource, LinkPhase, Severity};
use crate::net::mqtt::MqttClient;
use crate::printer::StateWriter;
use crate::printer::clock::unix_now;
use echo::Echo;
use settle::Settling;

/// A target that a P1 does not show after this long is asked for again in another way (bambu.md 4.3).
const HEAT_CHECK: Duration = Duration::from_secs(5);
/// Commands without any answer after which the link is taken as deaf (bambu.md 2.3).
const DEAF_AFTER: u32 = 2;
/// Two complete reports are at least this far apart, whatever happens.
const PUSHALL_GAP: Duration = Duration::from_secs(10);

/// The file cannot be read, and it is made for another hotend: such a start is not carried out.
const TURNED_DOWN: [&str; 2] = ["0500_4003", "0500_4047"];

/// What outlives a lost link.
pub(super) struct Memory {
    row: &'static ModelRow,
    reports: Reports,
    versions: Versions,
    /// Model code and name by the identity probe.
    code: Option<String>,
    name: Option<String>,
    sequence: u32,
    /// The start that was sent last, while its job is not seen; survives a lost link, so that nothing starts twice.
    digestion: Option<Digestion>,
    /// The same start as the printer shows it, to its end.
    echo: Option<Echo>,
    /// The number of a start came back at some time.
    echoes: bool,
    /// A file whose start was sent and never showed.
    not_landed: Option<String>,
    /// A command of ours was answered at some time.
    acknowledged: bool,
    /// Commands are carried out without an answer, or a link was given up because nothing was answered on it.
    mute: bool,
    /// The other end closed when it was spoken to with QoS 1: it is spoken to with QoS 0.
    plain: bool,
    /// The step number that was set last; each is another one, so that an old report cannot be taken for the new one.
    marker: i64,
    /// A step number of ours came back at some time: they are worth waiting for.
    markers_work: bool,
    /// Commands that were answered without their marker, before any ever came back.
    unmarked_runs: u32,
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
            digestion: None,
            echo: None,
            echoes: false,
            not_landed: None,
            acknowledged: false,
            mute: false,
            plain: false,
            marker: rand::rng().random_range(0..i64::from(u16::MAX)),
            markers_work: false,
            unmarked_runs: 0,
            markers_fail: false,
        }
    }

    /// No command was ever answered, and either they are carried out all the same or a new link did not help: bridges
    /// and emulated printers are like that, and a new link each time would only take the reports away too.
    pub fn never_acknowledges(&self) -> bool {
        self.mute && !self.acknowledged
    }

    /// What the identity probe told.
    pub fn learn(&mut self, code: Option<String>, name: Option<String>) {
        self.code = code.or(self.code.take());
        self.name = name.or(self.name.take());
    }
}

/// A start that was sent and whose job is not seen yet.
struct Digestion {
    token: String,
    since: Instant,
    /// What the printer showed before: its file and its faults say nothing about this job.
    file_before: Option<String>,
    faults_before: Vec<Fault>,
    landed: bool,
}

/// A sign of life that was asked for.
#[derive(Clone, Copy)]
struct Poke {
    at: Instant,
    /// By asking for a complete report: some printers answer nothing else while idle.
    full: bool,
}

/// A target temperature to be looked at again.
struct HeatCheck {
    at: Instant,
    /// The target that was shown before the command.
    before: Option<f64>,
    fallback: HeatFallback,
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
    checks: Vec<HeatCheck>,
    opened: Instant,
    /// Until when the first complete report may take, and how often it was asked for again on this link.
    first_due: Instant,
    asked_again: u32,
    heard: Option<Instant>,
    /// When a report came last.
    reported: Option<Instant>,
    /// A report of this link told the stage of the job.
    stage_told: bool,
    poked: Option<Poke>,
    /// When the module list is asked for again, and how often it was asked for.
    versions_due: Option<Instant>,
    versions_asked: u32,
    pushall_at: Instant,
    /// When to ask for everything again.
    full_report_due: Option<Instant>,
    commanded: Option<Instant>,
    rejected: bool,
    unanswered: u32,
    damaged: u64,
    /// The report just taken tells of the job just started what stood there of the one before.
    fails_anew: bool,
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
        let first_due = now + shared.config.timing.reply;
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
            opened: now,
            first_due,
            asked_again: 0,
            heard: None,
            reported: None,
            stage_told: false,
            poked: None,
            versions_due: None,
            versions_asked: 0,
            pushall_at: now,
            full_report_due: None,
            commanded: None,
            rejected: false,
            unanswered: 0,
            damaged: 0,
            fails_anew: false,
        }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// First words on a new link: who are you, and tell everything, once.
    pub fn begin(&mut self) {
        self.memory.reports.await_full();
        self.settle_model();
        // A new link may mean that Developer Mode was switched: what was learned by a rejection is asked anew.
        self.set_control(Control::Unknown, true);
        self.ask_versions();
        self.pushall();
    }

    /// Whether a complete report made this link Online.
    pub fn was_online(&self) -> bool {
        self.memory.reports.synced()
    }

    /// The topic is the one where this printer reports.
    pub fn is_report(&self, topic: &str) -> bool {
        let of_request = self.topic.strip_suffix("/request");
        of_request.is_some() && topic.strip_suffix("/report").is_some_and(|of| Some(of) == of_request)
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
        self.reported = self.heard;
        self.stage_told |= fields.fields.contains_key("gcode_state");
        let shown_before = control::rejection_shown(self.memory.reports.tree());
        let doubtful_before = self.memory.reports.doubtful() || self.memory.reports.storage_in_doubt();
        let error_before = int(at(self.memory.reports.tree(), "/print_error"));
        self.memory.reports.merge(fields);
        let in_doubt = self.memory.reports.doubtful() || self.memory.reports.storage_in_doubt();
        if in_doubt && !doubtful_before {
            self.full_report_due = Some(Instant::now().max(self.pushall_at + PUSHALL_GAP));
        }
        let stage_before = self.state.state().device.job.stage;
        self.fails_anew = self.fails_anew(fields, error_before);
        if self.memory.reports.synced() {
            if fields.extent != Extent::Delta {
                self.refine();
            }
            self.publish();
        }
        self.fails_anew = false;
        self.follow_heat();
        self.learn_permission(shown_before);
        self.follow_start();
        self.follow_marker(fields);
        let stage = self.state.state().device.job.stage;
        let begins = stage.active() && !stage_before.active() && stage_before != DeviceStage::Unknown;
        if begins && fields.extent == Extent::Delta {
            // The layer total is told once, sometimes before the job itself (bambu.md T9).
            self.full_report_due = Some(Instant::now().max(self.pushall_at + PUSHALL_GAP));
        }
    }

    /// Shows the merged tree; the first complete one makes the link Online.
    fn publish(&mut self) {
        let mut device = self.device();
        let timing = &self.shared.config.timing;
        let memory = &mut *self.memory;
        let mute = memory.never_acknowledges();
        let tree = memory.reports.tree();
        if let Some(echo) = &mut memory.echo {
            memory.echoes |= echo.is_echoed(tree);
            if mute {
                echo.taken();
            }
            let known = self.state.state();
            let unwatched = known.link.phase == LinkPhase::Syncing && known.job.phase.active();
            let reached = unwatched.then_some(known.job.progress);
            if !echo.follow(tree, &mut device.job, reached, timing.digestion, timing.landing) {
                memory.echo = None;
            }
        }
        self.state.report(|current| *current = device);
        self.state.link(LinkPhase::Online);
    }

    fn device(&self) -> Device {
        let memory = &*self.memory;
        let source = Source { reports: &memory.reports, versions: &memory.versions, row: memory.row };
        let mut known = self.state.state().device.faults.clone();
        if self.fails_anew {
            known.retain(|fault| fault.source != FaultSource::Job);
        }
        let mut device = reduce::device(source, &known, unix_now());
        device.identity.name.clone_from(&memory.name);
        device.storage.free_bytes = device.storage.free_bytes.or(self.shared.free_bytes());
        device
    }

    fn identify(&mut self, modules: &serde_json::Value) {
        self.versions_due = None;
        self.memory.versions = Versions::read(modules);
        self.settle_model();
        if self.memory.reports.synced() {
            self.refine();
            self.publish();
        }
    }

    /// By get_version, else by the configuration, the detect port or an announcement, else by the serial number.
    fn settle_model(&mut self) {
        let announced = self.shared.announced_model();
        let code =
            self.shared.config.model.as_deref().or(self.memory.code.as_deref()).or(announced.as_deref());
        self.memory.row = models::identify(&self.memory.versions.clues(code, &self.shared.config.serial));
        self.shared.row.send_replace(self.memory.row);
    }

    fn refine(&mut self) {
        self.state.set_capabilities(self.memory.row.capabilities(self.memory.reports.tree()));
    }

    /// The job that was just started failed of what the one before failed of, whose error still stands: a part of a
    /// report tells what happened since the last one, so the same words are news.
    fn fails_anew(&self, fields: &StateFields, error_before: Option<i64>) -> bool {
        let Some(digestion) = &self.memory.digestion else { return false };
        let told = fields.fields.get("print_error").and_then(int);
        let failed = fields.fields.get("gcode_state").and_then(text);
        let shown = text(at(self.memory.reports.tree(), "/subtask_id"));
        fields.extent == Extent::Delta
            && failed.is_some_and(|state| state.eq_ignore_ascii_case("FAILED"))
            && told.is_some_and(|code| code != 0)
            && told == error_before
            && (digestion.landed || shown.is_some_and(|id| id == digestion.token))
    }

    fn follow_start(&mut self) {
        let memory = &mut *self.memory;
        let Some(digestion) = &mut memory.digestion else { return };
        let tree = memory.reports.tree();
        let state = self.state.state();
        let stage = state.device.job.stage;
        let token = text(at(tree, "/subtask_id")).is_some_and(|id| id == digestion.token);
        let file = text(at(tree, "/gcode_file"));
        digestion.landed |= stage.active() || token || (file.is_some() && file != digestion.file_before);
        // A job can fail before it is seen running.
        let fresh = |fault: &Fault| {
            fault.source == FaultSource::Job
                && fault.severity >= Severity::Serious
                && !fault.is_among(&digestion.faults_before)
        };
        let mut faults = state.device.faults.iter().filter(|fault| fresh(fault));
        // It can be turned down without being shown at all (bambu.md 3.9): nothing is digested then.
        let failed =
            faults.any(|fault| digestion.landed && stage.ended() || TURNED_DOWN.contains(&&*fault.code));
        if digestion.landed {
            memory.not_landed = None;
        }
        if stage.active() {
            self.pending.see_job();
        }
        if stage.active() || failed {
            memory.digestion = None;
        }
    }

    /// Everything that had come is dealt with.
    pub fn rest(&mut self) {
        self.memory.reports.pack();
    }

    /// The other end closed the link. Small servers do so when they cannot read what came: the next link tries the
    /// other QoS, where not even a first report was heard. True where nothing was heard.
    pub fn closed(&mut self) -> bool {
        self.memory.plain ^= self.heard.is_none();
        self.heard.is_none()
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
        if let Some(pending) = self.settling.take().and_then(|settling| settling.pending) {
            pending.fail(lost());
        }
    }
}

/// Refusal of a command that meets no link.
pub(super) fn offline() -> CommandError {
    CommandError::Offline("The printer is not connected yet; the command was not sent.".to_owned())
}

#[cfg(test)]
mod tests;
