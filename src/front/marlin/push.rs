//! Keeps the host's belief in step with the printer: the recipes of octoprint.md 7.2, and what came of its commands.

use std::time::Duration;

use super::catalog::NameChanges;
use super::dialogue::{Dialogue, Done, Effect, View};
use super::host::{Stage, Wanted, part_done};
use super::notice::notifications;
use crate::model::{Job, JobOrigin, JobPhase, LinkPhase};

/// For so long the commands that OctoPrint sends after every cancel are swallowed (rule 13).
pub(super) const BURST: Duration = Duration::from_secs(5);
/// The host needs this long to digest an end before it takes a new start.
const DIGEST: Duration = Duration::from_millis(1500);
/// OctoPrint lists the files at the end of its handshake, unless a print was begun in the middle of it.
pub(super) const LISTS_BY_ITSELF: Duration = Duration::from_secs(3);
const LIST_AGAIN: Duration = Duration::from_secs(10);
const LIST_TRIES: u32 = 3;
/// OctoPrint leaves "Starting" when its queue has come to the marker behind the start; its next M27 is behind that. A host
/// that does not poll has this time.
const SETTLE: Duration = Duration::from_secs(3);
/// A start that was taken, but that no snapshot shows.
const START_SHOWN: Duration = Duration::from_secs(30);

impl Dialogue {
    /// Compares what the host was told with the newest snapshot, and tells the difference.
    pub(super) fn reconcile(&mut self, view: &View) {
        if self.host.quiet_until.is_some_and(|until| view.now >= until) {
            self.host.quiet_until = None;
        }
        if !self.host.settling(view.now) {
            self.host.settles = None;
        }
        self.pause_overdue(view);
        if !self.can_tell() {
            return;
        }
        self.follow_media(view);
        if self.host.refused_at.is_some_and(|at| view.now >= at) {
            self.tell_stopped(view);
        }
        // What it started itself is followed for any host.
        if !self.session.listed && self.host.stage == Stage::Idle {
            return self.ask_for_list(view);
        }
        if self.host.quiet_until.is_none() {
            self.follow_job(view);
        }
    }

    /// A job could be shown, but the host knows no file yet.
    fn ask_for_list(&mut self, view: &View) {
        let (at, tries) = self.session.list_wanted;
        if view.now < at || tries == LIST_TRIES || !view.state.job.phase.active() || !view.state.online() {
            return;
        }
        self.session.list_wanted = (view.now + LIST_AGAIN, tries + 1);
        let known = self.session.media == Some(true);
        self.session.media = Some(true);
        self.push(if known { "// action:sd_updated" } else { "// action:sd_inserted" }.to_owned());
    }

    fn follow_job(&mut self, view: &View) {
        let job = &view.state.job;
        match self.host.stage {
            Stage::Idle => {
                let latched = self.host.cancelled == Some(job.serial);
                if job.phase.active() && job.phase != JobPhase::Cancelling && !latched {
                    self.tell_started(job, view);
                } else if !job.phase.active() {
                    let guest_left = self.catalog.drop_guest();
                    if std::mem::take(&mut self.session.stale_list) || guest_left {
                        self.push("// action:sd_updated".to_owned());
                    }
                }
            }
            Stage::Starting => {
                let ours = job.serial > self.host.start_base && job.origin == JobOrigin::Gateway;
                if ours && (job.phase.active() || job.phase.ended()) {
                    self.host.stage = Stage::Running;
                    self.host.serial = Some(job.serial);
                    self.host.owned = Some(job.serial);
                    self.host.refused_at = None;
                    self.follow_job(view);
                }
            }
            Stage::Running | Stage::Paused if self.host.settling(view.now) => {}
            Stage::Running | Stage::Paused => self.follow_shown(job, view),
        }
    }

    fn follow_shown(&mut self, job: &Job, view: &View) {
        if self.host.serial != Some(job.serial) {
            return self.tell_stopped(view);
        }
        self.host.advance(view);
        match job.phase {
            JobPhase::Complete => self.tell_complete(view),
            JobPhase::Cancelled | JobPhase::Failed | JobPhase::Idle => {
                if let Some(reason) = &job.reason {
                    self.notify(&format!("The print has ended: {reason}"), view);
                }
                self.tell_stopped(view);
            }
            _ if self.host.wanted.is_some() || self.host.pause_decided.is_some() => {}
            _ if self.host.pause_early => self.pause_begun(view),
            JobPhase::Paused if self.host.stage == Stage::Running => {
                let known = std::mem::take(&mut self.host.pause_known);
                self.tell_paused(view);
                match &job.detail {
                    _ if known => {}
                    Some(why) => {
                        let why = why.strip_prefix("paused: ").unwrap_or(why);
                        self.notify(&format!("Paused: {why}"), view);
                    }
                    // Some printers show no more than that they paused (elegoo.md 2.7).
                    None if view.state.faults().next().is_none() => self.notify(
                        "The print was paused at the printer or by another client. The printer gives no reason here; \
                         look at its screen.",
                        view,
                    ),
                    None => {}
                }
            }
            JobPhase::Preparing | JobPhase::Printing | JobPhase::Resuming
                if self.host.stage == Stage::Paused =>
            {
                self.host.stage = Stage::Running;
                self.push("// action:resumed".to_owned());
            }
            _ => {}
        }
    }

    /// A job that began elsewhere, or before this client came.
    fn tell_started(&mut self, job: &Job, view: &View) {
        let file = self.catalog.entry_of_job(job.file.as_deref(), job.title.as_deref());
        if !self.catalog.told(&file.short) {
            // A name that is not in its list would crash OctoPrint 2.0: have it list first.
            if self.host.asked_to_list != Some(job.serial) {
                self.host.asked_to_list = Some(job.serial);
                self.push("// action:sd_updated".to_owned());
            }
            return;
        }
        let done = (part_done(view) * file.size as f64) as u64;
        let byte = done.min(file.size.saturating_sub(1)).max(1);
        self.host.begin(Stage::Running, &file, Some(job.serial), byte);
        self.push(format!("File opened: /{} Size: {}", file.short, self.host.size));
        self.push("File selected".to_owned());
        let report = self.host.report(view);
        self.push(report);
        // A pause told now would be undone when OctoPrint goes on from "Starting" to "Printing".
        self.host.settles = Some(view.now + SETTLE);
    }

    fn tell_paused(&mut self, view: &View) {
        let report = self.host.report(view);
        self.push(report);
        self.push("// action:paused".to_owned());
        self.host.stage = Stage::Paused;
    }

    fn tell_complete(&mut self, view: &View) {
        if self.host.shows_paused() {
            self.push("// action:resumed".to_owned());
        }
        self.push(format!("SD printing byte {0}/{0}", self.host.size));
        self.push("Done printing file".to_owned());
        self.host.end();
        self.host.quiet_until = Some(view.now + DIGEST);
    }

    /// The job is over without success, or was never begun. A paused host ignores the three lines; it is asked to cancel,
    /// and what it sends then is swallowed.
    pub(super) fn tell_stopped(&mut self, view: &View) {
        self.host.refused_at = None;
        if self.host.shows_paused() {
            self.push("// action:cancel".to_owned());
        } else {
            for _ in 0..3 {
                self.push("Not SD printing".to_owned());
            }
        }
        self.host.end();
        self.host.swallow_until = view.now + BURST;
        self.host.quiet_until = Some(view.now + DIGEST);
    }

    /// The card is there while the printer is: told when the host has nothing under way.
    fn follow_media(&mut self, view: &View) {
        let Some(told) = self.session.media else { return };
        if self.host.stage != Stage::Idle {
            return;
        }
        match view.state.link.phase {
            LinkPhase::Online if !told => {
                self.session.media = Some(true);
                self.push("// action:sd_inserted".to_owned());
            }
            LinkPhase::Backoff | LinkPhase::Off if told => {
                self.session.media = Some(false);
                self.session.listed = false;
                self.push("// action:sd_ejected".to_owned());
            }
            _ => {}
        }
    }

    /// The library's files are known anew; `changed` if they differ.
    pub fn files(&mut self, entries: &[crate::library::Entry], view: &View) -> NameChanges {
        let (names, changed) = self.catalog.update(entries);
        // While it finishes or cancels a print the host ignores it.
        let digests = self.host.quiet_until.is_some_and(|until| view.now < until);
        let idle =
            self.host.stage == Stage::Idle && self.session.listed && !self.session.mode.busy() && !digests;
        if changed && idle && self.session.media == Some(true) {
            self.push("// action:sd_updated".to_owned());
        }
        self.session.stale_list |= changed && !idle && self.session.listed;
        self.reconcile(view);
        names
    }

    /// What came of an effect.
    pub fn done(&mut self, done: Done, view: &View) {
        match done {
            Done::Sent(Ok(None)) => {}
            Done::Sent(Ok(Some(note))) => self.push(format!("echo:{}", super::notice::plain(&note))),
            Done::Sent(Err(error)) => self.notify_always(&error, view),
            // The pause was taken back meanwhile: what counts is what came of the resume.
            Done::Paused(_) if self.host.wanted == Some(Wanted::Resume) => {}
            Done::Paused(result) | Done::Resumed(result) => {
                self.host.wanted = None;
                if let Err(error) = result {
                    self.host.pause_known = false;
                    self.notify(&error, view);
                }
            }
            Done::Cancelled(result) => {
                if let Err(error) = result {
                    self.notify(&error, view);
                    // It goes on: the host must see it again.
                    self.host.cancelled = None;
                }
            }
            Done::Started(Ok(())) => {
                if self.host.stage == Stage::Starting {
                    self.host.refused_at = Some(view.now + START_SHOWN);
                }
            }
            Done::Started(Err(error)) => {
                self.notify_always(&format!("The print was not started: {error}"), view);
                let never = self.host.start_base + 1;
                if self.host.stage == Stage::Starting {
                    self.host.refused_at = Some(self.host.settles.unwrap_or(view.now));
                } else if self.host.cancelled == Some(never) && view.state.job.serial < never {
                    // Cancelled before it was a job: the next one of that number is another.
                    self.host.cancelled = None;
                }
            }
            Done::Deleted { short, result } => self.deleted(&short, result, view),
            Done::Written(result) => self.write_ended(result, view),
            Done::Streamed(Ok(())) => self.host.owned = Some(view.state.job.serial),
            Done::Streamed(Err(error)) => {
                self.notify(
                    &format!(
                        "The streamed print was not started; the file is in the list as streamed-*.gcode. {error}"
                    ),
                    view,
                );
            }
        }
        self.reconcile(view);
    }

    fn deleted(&mut self, short: &str, result: Result<(), String>, view: &View) {
        match result {
            Ok(()) => {
                self.catalog.remove(short);
                self.push(format!("File deleted:{short}"));
            }
            Err(error) => {
                self.push(format!("Deletion failed, File:{short}."));
                self.notify(&error, view);
            }
        }
        self.effects.push(Effect::RefreshFiles);
        self.effect_done(view);
    }

    /// The answer to something that was asked for: as [`Self::notify`], and in the terminal each time.
    pub(super) fn notify_always(&mut self, text: &str, view: &View) {
        // What stands behind the colon is never a signal of its own: a reason may begin with "busy" (rule 16).
        self.push(format!("echo:Not done: {}", super::notice::plain(text)));
        self.notify(text, view);
    }

    /// A text in the host's list of notifications, once.
    pub(super) fn notify(&mut self, text: &str, view: &View) {
        if self.session.open && self.prompt.fresh(text, view.now) {
            for line in notifications(text) {
                self.push(line);
            }
        }
    }
}
