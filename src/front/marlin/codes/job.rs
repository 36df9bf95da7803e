//! Files and jobs: M20 to M33, M524 and the named words for the same.

use std::time::Duration;

use super::super::catalog::Listed;
use super::super::dialogue::{Dialogue, Effect, Reply, View};
use super::super::host::Stage;
use super::super::numbers::number_and_body;
use super::plain;
use crate::gcode::Line;
use crate::gcode::translate::JobWord;
use crate::jobs::StartRequest;
use crate::model::JobPhase;

/// How long a deletion may hold up its `ok`; on a printer's own storage it can take longer, and is then told later.
const DELETE: Duration = Duration::from_secs(4);
/// After the `ok` of a refused M24 the host needs this long to believe that it prints.
const REFUSE_START: Duration = Duration::from_millis(300);

impl Dialogue {
    /// M20: from what is known; a fresh look is taken behind it.
    pub(super) fn list(&mut self, line: &Line, view: &View) -> Reply {
        let with_times = line.flag('T') || line.text.as_deref().is_some_and(|text| text.contains('T'));
        self.push("Begin file list".to_owned());
        for entry in self.catalog.listing(with_times) {
            self.push(entry);
        }
        self.push("End file list".to_owned());
        self.effects.push(Effect::RefreshFiles);
        self.session.listed = true;
        // Also lists that are made without M21 before them.
        self.session.media.get_or_insert(view.state.online());
        Reply::Ok
    }

    /// M33: the long name of a file with its folders, from the top as Marlin tells it.
    pub(super) fn long_name(&mut self, bytes: &[u8]) -> Reply {
        let body = String::from_utf8_lossy(number_and_body(bytes).1);
        let argument = body.split(';').next().and_then(|text| text.trim().split_once(' '));
        let name = argument.map_or("", |(_, name)| name.trim());
        let found =
            self.catalog.find(name).map(|file| file.path.clone().unwrap_or_else(|| file.long.clone()));
        self.push(match found {
            Some(path) => format!("/{}", plain(&path)),
            None => format!("open failed, File: {}.", plain(name)),
        });
        Reply::Ok
    }

    pub(super) fn job(&mut self, word: JobWord, line: &Line, view: &View) -> Reply {
        match word {
            JobWord::Select(name) => self.select(&name),
            JobWord::StartOrResume => self.start_or_resume(view),
            JobWord::PauseWord => return self.pause_word(view),
            JobWord::Seek(0) => {
                if self.host.pause_decided.is_some() || self.host.stage == Stage::Paused {
                    self.cancel(view);
                }
            }
            JobWord::Seek(_) | JobWord::Forget | JobWord::List | JobWord::Mount | JobWord::Unmount => {}
            JobWord::Progress(interval) => {
                if let Some(seconds) = interval {
                    self.session.progress.set(Some(seconds as f64), view.now);
                }
                let report = self.host.report(view);
                self.push(report);
                self.host.settles = None;
            }
            JobWord::BeginWrite(name) => return self.begin_write(&name, view),
            JobWord::EndWrite => self.push("Done saving file.".to_owned()),
            JobWord::Delete(name) => return self.delete(&name, view),
            JobWord::Print { file, plate, overrides } => {
                match self.catalog.find(&file).and_then(|file| file.path.clone()) {
                    Some(file) => {
                        let request = StartRequest { file, plate, overrides, ..StartRequest::default() };
                        self.effects.push(Effect::Start(Box::new(request)));
                    }
                    None => self.notify(&format!("There is no file {file} to print."), view),
                }
            }
            // Nothing is shown, but a start may just be asked for.
            JobWord::Cancel if self.host.stage == Stage::Idle && !view.state.job.phase.active() => {
                self.effects.push(Effect::Withdraw);
            }
            JobWord::Cancel => self.cancel(view),
            // Asked for by name, not by the host's own button: its belief follows the printer.
            JobWord::Pause => {
                self.host.pause_known = self.host.stage == Stage::Running;
                self.effects.push(Effect::Pause);
            }
            JobWord::Resume => self.effects.push(Effect::Resume),
            JobWord::Restart => self.effects.push(Effect::Restart),
            JobWord::Exclude(_) => {
                let head = plain(&crate::station::script::head(line));
                self.push(format!("echo:{head} is not available over the serial port."));
            }
        }
        Reply::Ok
    }

    /// M23; a failed one clears the selection, for the host may send M24 after it (rule 20). One that comes while a job is
    /// shown is the first half of "begin it again".
    fn select(&mut self, name: &str) {
        // Hosts that never ask for the firmware are past their handshake here.
        self.session.identified = true;
        self.host.selected = self.catalog.find(name).filter(|file| file.path.is_some()).cloned();
        self.host.select_failed = self.host.selected.is_none();
        self.host.begins_again = self.host.selected.is_some() && self.host.stage != Stage::Idle;
        let shown = plain(name.trim());
        match &self.host.selected {
            Some(file) => {
                let size = file.size;
                self.push(format!("File opened: {shown} Size: {size}"));
                self.push("File selected".to_owned());
            }
            None => self.push(format!("open failed, File: {shown}.")),
        }
    }

    /// M24.
    fn start_or_resume(&mut self, view: &View) {
        if std::mem::take(&mut self.host.begins_again) {
            return self.refuse_again(view);
        }
        match self.host.stage {
            Stage::Paused => return self.resume(view),
            // Said twice, or a pause that was not yet one.
            Stage::Running | Stage::Starting => {
                (self.host.pause_decided, self.host.pause_early) = (None, false);
                return;
            }
            Stage::Idle => {}
        }
        let job = &view.state.job;
        let failed = std::mem::take(&mut self.host.select_failed);
        match self.host.selected.clone() {
            Some(Listed { path: Some(path), short, long, size, modified }) => {
                let file = Listed { path: Some(path.clone()), short, long, size, modified };
                self.host.cancelled = self.host.cancelled.filter(|_| job.phase.active());
                self.host.begin(Stage::Starting, &file, None, 0);
                self.host.start_base = job.serial;
                self.host.settles = Some(view.now + REFUSE_START);
                self.host.quiet_until = None;
                let request = StartRequest { file: path, ..StartRequest::default() };
                self.effects.push(Effect::Start(Box::new(request)));
            }
            _ if !failed && job.phase == JobPhase::Paused && self.host.cancelled != Some(job.serial) => {
                self.effects.push(Effect::Resume);
            }
            _ => {
                for line in super::super::notice::notifications(
                    "No file is selected, so nothing was started. Choose a file of the list first.",
                ) {
                    self.push_after(line);
                }
                self.host.refused_at = Some(view.now + REFUSE_START);
            }
        }
    }

    /// M23 and M24 of a job that is under way: OctoPrint's "Restart" of a paused one (octoprint.md 5.4), which resumed
    /// would print into what lies on the bed. The host believes that it prints then, and is told the pause again.
    fn refuse_again(&mut self, view: &View) {
        self.notify_always(
            "A print cannot be begun again while it is under way; cancel it, then start the file.",
            view,
        );
        if self.host.stage == Stage::Paused {
            self.host.stage = Stage::Running;
            self.host.pause_known = true;
            self.host.settles = Some(view.now + REFUSE_START);
        }
    }

    fn delete(&mut self, name: &str, view: &View) -> Reply {
        let Some(file) = self.catalog.find(name).cloned() else {
            self.push(format!("Deletion failed, File:{}.", plain(name)));
            return Reply::Ok;
        };
        let Some(path) = file.path else {
            self.push(format!("Deletion failed, File:{}.", file.short));
            return Reply::Ok;
        };
        self.effects.push(Effect::Delete { path, short: file.short });
        Reply::OkWhenDone(view.now + DELETE)
    }
}
