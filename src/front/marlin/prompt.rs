//! Faults of printer and link as notifications, and as dialogs whose buttons do what can be done.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::dialogue::{Dialogue, Effect, View};
use super::host::Stage;
use super::notice::plain;
use crate::model::{Command, Fault, FaultAction, FilamentAction, JobPhase, LinkPhase};

/// The same sentence is not repeated within this time.
const REPEAT: Duration = Duration::from_secs(30);
const REMEMBERED: usize = 16;

/// What the client was told of faults.
#[derive(Debug, Default)]
pub struct Prompt {
    /// The dialog on the client's screen: the fault's code and the meaning of its buttons.
    open: Option<(String, Vec<FaultAction>)>,
    /// Faults by code, and whether a dialog was shown for them: the remedy may come after the fault.
    told: BTreeMap<String, bool>,
    link: Option<String>,
    recent: VecDeque<(Duration, String)>,
    /// Told to the next client: its predecessor left before it could read it.
    carried: Vec<String>,
}

impl Prompt {
    pub fn new_session(&mut self) {
        *self = Self { carried: std::mem::take(&mut self.carried), ..Self::default() };
    }

    /// True unless the same was said just before.
    pub fn fresh(&mut self, text: &str, now: Duration) -> bool {
        self.recent.retain(|(said, _)| now < *said + REPEAT);
        if self.recent.iter().any(|(_, said)| said == text) {
            return false;
        }
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((now, text.to_owned()));
        true
    }

    pub fn carry(&mut self, text: &str) {
        if !self.carried.iter().any(|carried| carried == text) {
            self.carried.push(text.to_owned());
        }
    }
}

impl Dialogue {
    /// Tells what is new among the faults. Nothing is said before the handshake is over: a word of it could restart it.
    pub(super) fn follow_faults(&mut self, view: &View) {
        if !self.session.open || !self.session.identified {
            return;
        }
        for text in std::mem::take(&mut self.prompt.carried) {
            self.notify(&text, view);
        }
        let link = match view.state.link.phase {
            LinkPhase::Online => None,
            _ => view.state.link.fault.as_ref().map(|fault| fault.sentence()),
        };
        if self.prompt.link != link {
            match &link {
                Some(sentence) => self.notify(sentence, view),
                None if view.state.online() => self.notify("The printer is connected again.", view),
                None => {}
            }
            self.prompt.link = link;
        }
        let active: Vec<Fault> = view.state.faults().cloned().collect();
        self.prompt.told.retain(|code, _| active.iter().any(|fault| fault.code == *code));
        let asks = |fault: &Fault, code: &str| fault.code == code && !fault.actions.is_empty();
        let gone = |code: &String| !active.iter().any(|fault| asks(fault, code));
        if self.prompt.open.as_ref().is_some_and(|(code, _)| gone(code)) {
            self.prompt.open = None;
            self.push("// action:prompt_end".to_owned());
        }
        for fault in &active {
            let asked = self.prompt.told.get(&fault.code).copied();
            if asked.is_none() {
                self.tell_fault(fault, view);
            }
            let asks = !fault.actions.is_empty();
            if asks && asked != Some(true) {
                self.ask_about(fault);
            }
            self.prompt.told.insert(fault.code.clone(), asks);
        }
    }

    fn tell_fault(&mut self, fault: &Fault, view: &View) {
        self.notify(&fault.line(), view);
        if runs_out(fault) && view.state.job.phase.active() {
            // OctoEverywhere takes this as "out of filament" (octoprint.md 7).
            self.push("echo:M600 filament change".to_owned());
        }
    }

    /// A dialog with a button for each remedy.
    fn ask_about(&mut self, fault: &Fault) {
        if self.prompt.open.is_some() {
            self.push("// action:prompt_end".to_owned());
        }
        self.push(format!("// action:prompt_begin {}", plain(&fault.line())));
        for action in &fault.actions {
            self.push(format!("// action:prompt_choice {}", label(*action)));
        }
        self.push("// action:prompt_show".to_owned());
        self.prompt.open = Some((fault.code.clone(), fault.actions.clone()));
    }

    /// M876 S: a button of the open dialog.
    pub(super) fn choose(&mut self, choice: usize, view: &View) {
        let Some((code, actions)) = self.prompt.open.take() else { return };
        let Some(action) = actions.get(choice) else { return };
        let still = view.state.faults().any(|fault| fault.code == code);
        if !still {
            return;
        }
        self.effects.push(match action {
            FaultAction::Resume if view.state.job.phase == JobPhase::Paused => {
                if self.host.stage == Stage::Paused {
                    self.host.wanted = None;
                }
                Effect::Resume
            }
            FaultAction::Resume | FaultAction::RetryFilament => {
                Effect::Send(Command::FilamentAction(FilamentAction::Resume))
            }
            FaultAction::Cancel => Effect::Cancel,
            FaultAction::Unload => Effect::Send(Command::UnloadFilament),
            FaultAction::Clear => Effect::Send(Command::ClearFault { code: Some(code) }),
        });
    }
}

fn label(action: FaultAction) -> &'static str {
    match action {
        FaultAction::Resume => "Resume",
        FaultAction::Cancel => "Stop the print",
        FaultAction::RetryFilament => "Try again",
        FaultAction::Unload => "Unload filament",
        FaultAction::Clear => "Dismiss",
    }
}

fn runs_out(fault: &Fault) -> bool {
    let text = fault.text.to_lowercase();
    text.contains("filament") && ["ran out", "run out", "runs out", "runout"].iter().any(|w| text.contains(w))
}
