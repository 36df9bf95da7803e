//! What each code is answered. Words of the serial dialogue itself are here and in `job`; all others go through the shared
//! translator. No word is answered with `Error:` (rule 14), none goes without its `ok`.

pub mod answers;
mod job;

use super::dialogue::{Dialogue, Effect, Reply, View};
use super::notice::plain;
use crate::gcode::Line;
use crate::gcode::translate::{Context, FilamentWord, Intent, Query, translate};
use crate::model::{Command, LinkPhase};

impl Dialogue {
    /// Answers a line that is no part of a file.
    pub(super) fn code(&mut self, line: &Line, bytes: &[u8], view: &View) -> Reply {
        match line.code() {
            Some(('M', 20)) => self.list(line, view),
            Some(('M', 21)) => self.mount(view),
            Some(('M', 22)) => {
                self.session.media = None;
                Reply::Ok
            }
            Some(('M', 33)) => self.long_name(bytes),
            Some(('M', 105)) => Reply::OkWith(answers::temperatures(view)),
            Some(('M', 112 | 876)) => self.emergency_word(line, view),
            Some(('M', 115)) => self.identify(line, view),
            Some(('M', 118)) => {
                let (prefix, text) = host_message(line.text.as_deref().unwrap_or_default());
                self.push(format!("{prefix}{}", plain(text)));
                Reply::Ok
            }
            Some(('M', 154)) => {
                self.session.positions.set(line.value('S'), view.now);
                Reply::Ok
            }
            Some(('M', 155)) => {
                self.session.temperatures.set(line.value('S'), view.now);
                Reply::Ok
            }
            Some(('M', 400)) => self.finish_moves(view),
            _ => self.translated(line, bytes, view),
        }
    }

    fn translated(&mut self, line: &Line, bytes: &[u8], view: &View) -> Reply {
        let context = Context { state: &view.state, caps: &view.caps };
        match translate(line, &mut self.session.gcode, context) {
            Intent::Nothing => {}
            Intent::Do(commands) => self.command(commands, line, view),
            // Waiting would hold up pause and cancel; the report shows the heating (octoprint.md 3).
            Intent::DoAndWait(command, _) => self.command(vec![command], line, view),
            Intent::Ask(query) => self.ask(query, view),
            Intent::Job(word) => return self.job(word, line, view),
            Intent::Filament(words) => self.filament(words, line, view),
            Intent::Note(text) if text.is_empty() => {}
            Intent::Note(text) => self.push(format!("echo:{}", plain(&text))),
            Intent::Refuse(reason) => {
                self.push(format!("echo:{}", plain(&reason)));
                self.notify(&reason, view);
            }
            Intent::Unknown => return self.unknown(bytes),
        }
        Reply::Ok
    }

    /// Hands commands on, but for those that a host sends after every cancel, also after one that it only believes in.
    fn command(&mut self, commands: Vec<Command>, line: &Line, view: &View) {
        if self.host.protects(view) && commands.iter().all(switches_off) {
            let why = "the printer looks after itself at the end of a print, and a print that was not started here is left alone";
            self.push(format!("echo:Ignored {}: {why}.", plain(&crate::station::script::head(line))));
            return;
        }
        self.effects.extend(commands.into_iter().map(|command| match command {
            Command::Pause => Effect::Pause,
            Command::Resume => Effect::Resume,
            Command::Cancel => Effect::Cancel,
            command => Effect::Send(command),
        }));
    }

    /// Plain commands go the way of all commands; the other words need the slots and the tool map that the gateway keeps.
    fn filament(&mut self, words: Vec<FilamentWord>, line: &Line, view: &View) {
        for word in words {
            match word {
                FilamentWord::Send(command) => self.command(vec![command], line, view),
                word => self.effects.push(Effect::Filament(vec![word])),
            }
        }
    }

    pub(super) fn position(&self, view: &View) -> String {
        let [x, y, z] = self.session.gcode.position(&view.state).map(|at| at.unwrap_or(0.0));
        format!("X:{x:.2} Y:{y:.2} Z:{z:.2} E:0.00 Count X:0 Y:0 Z:0")
    }

    fn ask(&mut self, query: Query, view: &View) {
        let lines = match query {
            Query::Temperatures => vec![answers::temperatures(view)],
            Query::Endstops => {
                vec![
                    "Reporting endstop status".to_owned(),
                    "echo:The printer does not report its endstops.".to_owned(),
                ]
            }
            // The line that OctoPrint's pause waits for: E is mandatory (rule 6), and a count follows in Marlin.
            Query::Position => vec![self.position(view)],
            other => crate::station::script::answer(other, &self.session.gcode, &view.state, &view.caps)
                .iter()
                .map(|text| format!("echo:{}", plain(text)))
                .collect(),
        };
        for line in lines {
            self.push(line);
        }
    }

    /// M115. With a line number it is the end of a handshake, also on a port that was never closed.
    fn identify(&mut self, line: &Line, view: &View) -> Reply {
        if line.number.is_some() && self.session.identified {
            self.forget_host();
            self.prompt.new_session();
            self.catalog.forget_told();
            (self.session.listed, self.session.media) = (false, None);
            (self.session.seen_plain, self.session.numbers_all) = (false, false);
        }
        (self.session.identified, self.session.greeted) = (true, false);
        self.session.list_wanted = (view.now + super::push::LISTS_BY_ITSELF, 0);
        self.session.armed = false;
        for text in answers::firmware(view) {
            self.push(text);
        }
        Reply::Ok
    }

    fn mount(&mut self, view: &View) -> Reply {
        let there = matches!(view.state.link.phase, LinkPhase::Online | LinkPhase::Stale);
        self.session.media = Some(there);
        self.push(if there { "SD card ok" } else { "echo:No media" }.to_owned());
        self.follow_faults(view);
        Reply::Ok
    }

    /// M112 and M876 act when they are read; here only what came past that, inside longer waits, is left to do.
    fn emergency_word(&mut self, line: &Line, view: &View) -> Reply {
        let code = line.code().unwrap_or(('M', 0));
        if self.session.acted.front() == Some(&code) {
            self.session.acted.pop_front();
        } else if code == ('M', 112) {
            self.emergency_stop(view);
        }
        Reply::Ok
    }
}

/// Marlin's M118: `A1` makes a host action of the text, `E1` an echo; any other text is an echo here, so that no word of it
/// is taken for a sign of ours.
fn host_message(text: &str) -> (&'static str, &str) {
    let mut text = text.trim_start();
    let mut prefix = "echo:";
    loop {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "A1" => prefix = "// ",
            "A0" | "E0" | "E1" | "P0" | "P1" | "P2" | "P3" => {}
            _ => return (prefix, text),
        }
        text = rest.trim_start();
    }
}

fn switches_off(command: &Command) -> bool {
    match command {
        Command::SetNozzle { target, .. } | Command::SetBed { target } | Command::SetChamber { target } => {
            *target == 0.0
        }
        Command::SetFan { speed, .. } => *speed == 0.0,
        Command::MotorsOff => true,
        _ => false,
    }
}
