//! What follows from time alone: answers that stay out, silence, targets that were ignored.

use tokio::time::Instant;

use super::{DEAF_AFTER, HeatCheck, Session};
use crate::drivers::bambu::encode::{self, HeatFallback};
use crate::drivers::bambu::field::at;
use crate::model::{LinkFault, LinkPhase, Seen};

/// How often a complete report is asked for on one link while only parts of it come.
const ASK_AGAIN: u32 = 1;

impl Session<'_> {
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
            self.checks.iter().map(|check| check.at).min(),
            self.full_report_due,
        ];
        others.into_iter().flatten().fold(alive, Instant::min)
    }

    /// Everything that follows from time alone; a fault ends the link.
    pub fn tick(&mut self) -> Option<LinkFault> {
        let now = Instant::now();
        self.check_heat(now);
        if self.full_report_due.is_some_and(|due| due <= now) {
            self.pushall();
        }
        if self.settling.as_ref().is_some_and(|settling| settling.until <= now)
            && let Some(mut settling) = self.settling.take()
        {
            self.memory.markers_fail = true;
            settling.pending.note = Some("The printer did not tell when it had executed this.".into());
            settling.pending.confirm(Seen::Acknowledged);
        }
        let seconds = self.shared.config.timing.reply.as_secs();
        let state = self.state.state();
        for pending in self.pending.overdue(now) {
            if pending.carried_out(&state) {
                self.unanswered = 0;
                self.memory.mute = true;
                pending.confirm(Seen::Effect);
                continue;
            }
            self.unanswered += 1;
            if self.memory.never_acknowledges() {
                pending.unconfirmed();
            } else {
                pending.time_out(seconds);
            }
        }
        let digesting = self
            .memory
            .digestion
            .as_ref()
            .is_some_and(|job| now.duration_since(job.since) < self.shared.config.timing.digestion);
        if !digesting {
            self.memory.digestion = None;
        }
        if self.unanswered >= DEAF_AFTER && !digesting && !self.memory.never_acknowledges() {
            self.memory.mute = true;
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
            let nothing_known = at(self.memory.reports.tree(), "/gcode_state").is_null();
            if self.heard.is_some() && self.asked_again < ASK_AGAIN {
                // A busy P1 answers slowly (bambu.md 3.2).
                self.asked_again += 1;
                self.opened = now;
                self.pushall();
                return None;
            }
            // Reports came, none of them complete: better what there is than nothing.
            if self.heard.is_none() || nothing_known {
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

    /// Firmware that ignores M104 and M140 is asked with the codes that wait, but only while nothing prints and
    /// only where the target still is the old one: a new one was set by somebody else meanwhile.
    fn check_heat(&mut self, now: Instant) {
        let due: Vec<_> = self.checks.extract_if(.., |check| check.at <= now).collect();
        for HeatCheck { before, fallback, .. } in due {
            let shown = self.shown_target(&fallback);
            let missed = shown.is_some_and(|target| (target - fallback.target).abs() > 1.0);
            if missed && shown == before && !self.state.state().printing() && !self.rejected {
                tracing::info!(
                    "The printer ignored a target temperature; it is asked with the code that waits."
                );
                self.tell(&fallback.message);
            }
        }
    }
}
