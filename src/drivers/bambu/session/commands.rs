//! From a command to messages on the wire.

use std::time::Duration;

use tokio::time::Instant;

use super::{Digestion, Echo, HEAT_CHECK, Session, offline};
use crate::drivers::bambu::control;
use crate::drivers::bambu::encode::{self, Context, Message, Plan};
use crate::drivers::bambu::field::{at, text};
use crate::drivers::bambu::pending::Pending;
use crate::drivers::bambu::stages;
use crate::drivers::bambu::start::{self, UrlForm};
use crate::model::{Command, CommandError, Outcome, Seen};
use crate::net::mqtt::Qos;
use crate::printer::Request;

/// How long a printer that never acknowledged anything is waited for: long enough to notice one that does after all.
const MUTE_REPLY: Duration = Duration::from_secs(2);
/// How often one link asks for the module list.
const VERSIONS_ASKED: u32 = 3;

impl Session<'_> {
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
        let marker = self.marker();
        match self.plan(&request.command) {
            Ok(plan) => self.send(request, plan, marker),
            Err(error) => request.answer(Err(error)),
        }
    }

    fn plan(&mut self, command: &Command) -> Result<Plan, CommandError> {
        if self.rejected {
            return Err(control::refusal());
        }
        let mut url = UrlForm::Ftp;
        if let Command::StartJob(job) = command {
            if self.digests() {
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
        let context = Context {
            device: &device,
            tree,
            row: self.memory.row,
            url,
            marker: self.marker(),
            job_under_way: self.digests() || self.state.state().printing() || device.job.stage.active(),
        };
        let mut plan = encode::encode(command, &context)?;
        self.memory.marker += i64::from(plan.settles);
        plan.settles &= !self.memory.markers_fail;
        if let Command::StartJob(job) = command {
            self.memory.digestion = Some(Digestion {
                token: job.token.to_string(),
                since: Instant::now(),
                file_before: text(at(self.memory.reports.tree(), "/gcode_file")),
                faults_before: device.faults.clone(),
                landed: false,
            });
            let memory = &mut *self.memory;
            memory.echo = Some(Echo::expect(job, &start::title(job), memory.reports.tree(), memory.echoes));
            self.memory.not_landed = (url == UrlForm::Ftp).then(|| job.remote_path.clone());
        }
        Ok(plan)
    }

    /// A start was sent and its job is not seen yet.
    fn digests(&self) -> bool {
        self.memory.digestion.as_ref().is_some_and(|job| job.since.elapsed() < self.patience(job))
    }

    fn patience(&self, job: &Digestion) -> Duration {
        if job.landed { self.shared.config.timing.digestion } else { self.shared.config.timing.landing }
    }

    fn marker(&self) -> i64 {
        let (low, high) = (stages::MARKERS.start(), stages::MARKERS.end());
        low + self.memory.marker % (high - low + 1)
    }

    fn send(&mut self, request: Request, plan: Plan, marker: i64) {
        let now = Instant::now();
        let marker = plan.settles.then_some(marker);
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
                        (self.memory.digestion, self.memory.echo) = (None, None);
                    }
                    request.answer(Err(error));
                    return;
                }
            }
        }
        if let (Command::RawVendor(_), Some(message)) = (&request.command, plan.messages.first()) {
            let command = message.body.get("command").and_then(text).unwrap_or_default();
            tracing::info!(
                category = message.category,
                command,
                "A message of the maker's own was sent unchecked (allow_vendor_json)."
            );
        }
        self.commanded = Some(now);
        if matches!(request.command, Command::EmergencyStop | Command::Cancel) {
            // Nothing is heated once more behind it.
            self.checks.clear();
        }
        if let Some(fallback) = plan.fallback {
            self.watch_heat(now + HEAT_CHECK, fallback);
        }
        let reply = self.shared.config.timing.reply;
        let until = now + if self.memory.never_acknowledges() { reply.min(MUTE_REPLY) } else { reply };
        let before = self.state.state();
        let pending = Pending {
            request,
            open,
            until,
            before,
            marker,
            note: plan.note,
            bare: false,
            optional: plan.messages.iter().all(|message| !message.answered || message.may_be_silent()),
            starts_job,
            job_seen: false,
        };
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
        let qos = if self.memory.plain { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        self.client
            .publish(&self.topic, payload, qos)
            .map_err(|error| CommandError::Offline(format!("The printer could not be told: {error}.")))?;
        Ok(sequence.to_string())
    }

    /// As [`Self::say`] for what nobody waits for; a broken link shows by itself.
    pub(super) fn tell(&mut self, message: &Message) {
        if let Err(error) = self.say(message) {
            tracing::debug!(%error, "A message of the driver's own was not sent.");
        }
    }

    /// Module list; asked for again a few times, as small controllers drop messages while busy (bambu.md 2.4).
    pub(super) fn ask_versions(&mut self) {
        self.versions_asked += 1;
        self.versions_due = (self.versions_asked < VERSIONS_ASKED)
            .then(|| Instant::now() + self.shared.config.timing.reply * self.versions_asked);
        self.tell(&encode::get_version());
    }

    pub(super) fn pushall(&mut self) {
        self.pushall_at = Instant::now();
        self.full_report_due = None;
        self.tell(&encode::pushall());
    }

    /// Small controllers slow down for minutes when asked often (bambu.md 3.2).
    fn refresh(&mut self) -> Outcome {
        let age = self.pushall_at.elapsed();
        let every = Duration::from_secs(self.memory.row.pushall_every_s);
        if age < every {
            let due = self.pushall_at + every;
            self.full_report_due = Some(self.full_report_due.map_or(due, |known| known.min(due)));
            let note = format!(
                "The printer told everything {} s ago and reports each change by itself; it is asked again in {} s.",
                age.as_secs(),
                (every - age).as_secs()
            );
            return Outcome::noted(Seen::Sent, note);
        }
        self.pushall();
        Outcome::new(Seen::Sent)
    }
}
