//! What follows from time alone: answers that stay out, silence, targets that were ignored.

use tokio::time::Instant;

use super::{DEAF_AFTER, HeatCheck, Poke, Session};
use crate::drivers::bambu::encode::{self, HeatFallback};
use crate::model::{LinkFault, LinkPhase, Seen};

/// How often a complete report is asked for on one link while only parts of it come.
const ASK_AGAIN: u32 = 1;
/// The waits for a complete report double this often.
const SLOWEST: u32 = 5;

/// What to do about a link on which no complete report has come in time.
enum Unsynced {
    Wait,
    TakeWhatCame,
    GiveUp,
}

impl Session<'_> {
    /// When to look again although nothing comes.
    pub fn next_deadline(&self) -> Instant {
        let timing = &self.shared.config.timing;
        let alive = match (self.heard, self.poked) {
            (_, Some(poked)) => poked.at + timing.reply,
            (Some(heard), None) if self.memory.reports.synced() => heard + timing.silence,
            _ => self.first_due,
        };
        let others = [
            self.pending.next_deadline(),
            self.settle_deadline(),
            self.checks.iter().map(|check| check.at).min(),
            self.full_report_due,
            self.versions_due,
        ];
        others.into_iter().flatten().fold(alive, Instant::min)
    }

    /// Everything that follows from time alone; a fault ends the link.
    pub fn tick(&mut self) -> Option<LinkFault> {
        let now = Instant::now();
        self.check_heat(now);
        self.check_settling(now);
        if self.full_report_due.is_some_and(|due| due <= now) {
            self.pushall();
        }
        if self.versions_due.is_some_and(|due| due <= now) {
            self.ask_versions();
        }
        self.check_overdue(now);
        let digesting = self
            .memory
            .digestion
            .as_ref()
            .is_some_and(|job| now.duration_since(job.since) < self.shared.config.timing.digestion);
        if !digesting {
            self.memory.digestion = None;
        }
        // Small printers answer no ping either while they unpack a job (bambu.md T15).
        self.client.excuse_silence(digesting);
        if self.unanswered >= DEAF_AFTER && !digesting && !self.memory.never_acknowledges() {
            self.memory.mute = true;
            return Some(self.place.deaf());
        }
        self.check_alive(now, digesting)
    }

    fn check_overdue(&mut self, now: Instant) {
        let seconds = self.shared.config.timing.reply.as_secs();
        let state = self.state.state();
        for pending in self.pending.overdue(now) {
            if pending.carried_out(&state) {
                self.unanswered = 0;
                self.memory.mute = true;
                pending.confirm(Seen::Effect);
                continue;
            }
            if pending.optional {
                self.ask_what_deltas_hide(&pending.request.command);
                pending.unanswered();
                continue;
            }
            self.unanswered += 1;
            if self.memory.never_acknowledges() {
                pending.unconfirmed();
            } else {
                pending.time_out(seconds);
            }
        }
    }

    fn check_alive(&mut self, now: Instant, digesting: bool) -> Option<LinkFault> {
        let timing = self.shared.config.timing;
        if !self.memory.reports.synced() {
            if now < self.first_due {
                return None;
            }
            match self.without_complete_report(now, digesting) {
                Unsynced::Wait => return None,
                Unsynced::GiveUp => {
                    return Some(self.place.silent(now.duration_since(self.opened).as_secs()));
                }
                Unsynced::TakeWhatCame => {
                    self.memory.reports.assume_full();
                    self.refine();
                    self.publish();
                }
            }
        }
        let last = self.heard.unwrap_or(self.opened);
        match self.poked {
            // Still Online: many a printer is simply quiet while it has nothing to tell.
            None if now >= last + timing.silence => {
                self.poked = Some(Poke { at: now, full: false });
                self.tell(&encode::push_start());
                None
            }
            Some(poked) if now < poked.at + timing.reply => None,
            Some(Poke { full: false, .. }) => {
                self.poked = Some(Poke { at: now, full: true });
                self.pushall();
                None
            }
            // Never give up a link while the printer unpacks a job: it would lose the job (bambu.md T15).
            Some(Poke { full: true, .. }) if digesting => {
                self.state.link(LinkPhase::Stale);
                self.poked = Some(Poke { at: now, full: true });
                None
            }
            Some(_) => Some(self.place.silent(now.duration_since(last).as_secs())),
            None => None,
        }
    }

    /// The time for the first complete report is over.
    fn without_complete_report(&mut self, now: Instant, digesting: bool) -> Unsynced {
        let timing = self.shared.config.timing;
        let arriving = self.reported.is_some_and(|at| now < at + timing.silence);
        if self.asked_again >= ASK_AGAIN && self.stage_told {
            // Reports came, none of them complete: better what there is than nothing.
            return Unsynced::TakeWhatCame;
        }
        // A busy P1 answers slowly (bambu.md 3.2), and one that unpacks a job must not lose its link (T15).
        if (self.heard.is_some() && self.asked_again < ASK_AGAIN) || arriving || digesting {
            self.first_due = now + timing.reply * (1 << self.asked_again.min(SLOWEST));
            self.asked_again += 1;
            self.pushall();
            return Unsynced::Wait;
        }
        Unsynced::GiveUp
    }

    /// Looks at `at` whether the printer took the target; what an older command wanted no longer counts.
    pub(super) fn watch_heat(&mut self, at: Instant, fallback: HeatFallback) {
        self.checks.retain(|check| check.fallback.tool != fallback.tool);
        let before = self.shown_target(&fallback);
        self.checks.push(HeatCheck { at, before, fallback });
    }

    fn shown_target(&self, fallback: &HeatFallback) -> Option<f64> {
        let state = self.state.state();
        let heater = match fallback.tool {
            Some(tool) => state.device.nozzles.get(tool).map(|nozzle| nozzle.heater),
            None => Some(state.device.bed),
        };
        heater.and_then(|heater| heater.target)
    }

    /// A target that was shown was taken: what is shown later is somebody else's wish, were it the old one.
    pub(super) fn follow_heat(&mut self) {
        let mut checks = std::mem::take(&mut self.checks);
        checks.retain(|check| {
            let shown = self.shown_target(&check.fallback);
            shown.is_none_or(|target| (target - check.fallback.target).abs() > 1.0)
        });
        self.checks = checks;
    }

    /// Firmware that ignores M104 and M140 is asked with the codes that wait, but only while nothing prints or is
    /// being started, and only where the target still is the old one: a new one was set by somebody else meanwhile.
    fn check_heat(&mut self, now: Instant) {
        let due: Vec<_> = self.checks.extract_if(.., |check| check.at <= now).collect();
        for HeatCheck { before, fallback, .. } in due {
            let shown = self.shown_target(&fallback);
            let missed = shown.is_some_and(|target| (target - fallback.target).abs() > 1.0);
            let busy = self.state.state().printing() || self.memory.digestion.is_some();
            if missed && shown == before && !busy && !self.rejected {
                tracing::info!(
                    "The printer ignored a target temperature; it is asked with the code that waits."
                );
                self.tell(&fallback.message);
            }
        }
    }
}
