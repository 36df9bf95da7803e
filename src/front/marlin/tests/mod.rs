//! Transcripts: what goes in, what comes out, without a pty. Names of tests carry the number of the dossier's rule.

mod any_bytes;
mod files;
mod ports;
mod recipes;
mod refusals;
mod rules;
mod slow_disk;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use super::catalog::Catalog;
use super::dialogue::{Dialogue, Done, Effect, View};
use crate::config::{SerialStop, StreamedPrints};
use crate::jobs::StartRequest;
use crate::library::{Entry, EntryKind};
use crate::model::*;

/// A dialogue, the snapshot it sees, and a clock.
struct Rig {
    dialogue: Dialogue,
    view: View,
    effects: Vec<Effect>,
}

impl Rig {
    /// An idle printer that is online, and an opened port.
    fn new() -> Self {
        Self::with(StreamedPrints::Assemble)
    }

    fn with(streamed: StreamedPrints) -> Self {
        let mut state = PrinterState::default();
        state.link.phase = LinkPhase::Online;
        state.device.nozzles =
            vec![Nozzle { heater: Heater { actual: Some(21.0), target: Some(0.0) }, ..Nozzle::default() }];
        state.device.bed = Heater { actual: Some(22.0), target: Some(0.0) };
        let caps = Capabilities {
            vendor: "Bambu Lab".into(),
            model: "P1S".into(),
            volume_mm: [256.0; 3],
            nozzles: vec![HeaterCaps { max: Some(300.0) }],
            bed: HeaterCaps { max: Some(100.0) },
            fans: [FanId::Part].into(),
            files: FileCaps { archives: true, ..FileCaps::default() },
            gcode_markers: vec!["M1002".to_owned()],
            motion: MotionCaps {
                home: true,
                jog: true,
                extrude: true,
                motors_off: true,
                ..MotionCaps::default()
            },
            ..Capabilities::default()
        };
        let now = Duration::from_secs(100);
        let view = View { state: Arc::new(state), caps: Arc::new(caps), now, unix: 1_760_000_000.0 };
        let mut dialogue = Dialogue::new(streamed, Catalog::default());
        let entries = [entry("cube.gcode", 1000), entry("Long name 20mm.gcode", 500)];
        dialogue.files(&entries, &view);
        dialogue.opened();
        Self { dialogue, view, effects: Vec::new() }
    }

    /// After OctoPrint's whole handshake.
    fn connected() -> Self {
        let mut rig = Self::new();
        rig.handshake();
        rig
    }

    fn handshake(&mut self) {
        for line in ["N0 M110 N0*125", "N0 M110 N0*125", "N0 M110 N0*125", "N1 M115*39"] {
            self.send(line);
        }
        for line in ["M21", "M155 S0", "M876 P1", "M20 L T"] {
            self.send(line);
        }
        self.effects.clear();
    }

    /// The lines that answer one line.
    fn send(&mut self, line: &str) -> Vec<String> {
        self.dialogue.bytes(format!("{line}\n").as_bytes(), &self.view);
        self.lines()
    }

    /// The same with number and checksum.
    fn numbered(&mut self, number: i64, line: &str) -> Vec<String> {
        let body = format!("N{number} {line}");
        let checksum = body.bytes().fold(0, |sum, byte| sum ^ byte);
        self.send(&format!("{body}*{checksum}"))
    }

    fn lines(&mut self) -> Vec<String> {
        let out = String::from_utf8(self.dialogue.output().to_vec()).expect("output is UTF-8");
        self.dialogue.written(out.len());
        self.effects.extend(self.dialogue.take_effects());
        out.lines().map(ToOwned::to_owned).collect()
    }

    /// Lets time pass, as the outer loop does.
    fn wait(&mut self, milliseconds: u64) -> Vec<String> {
        let end = self.view.now + Duration::from_millis(milliseconds);
        while let Some(at) = self.dialogue.deadline().filter(|at| *at <= end) {
            self.view.now = self.view.now.max(at);
            self.dialogue.tick(&self.view);
        }
        self.view.unix += milliseconds as f64 / 1000.0;
        self.view.now = end;
        self.lines()
    }

    /// A new snapshot.
    fn printer(&mut self, change: impl FnOnce(&mut PrinterState)) -> Vec<String> {
        change(Arc::make_mut(&mut self.view.state));
        self.dialogue.changed(&self.view);
        self.lines()
    }

    fn phase(&mut self, phase: JobPhase) -> Vec<String> {
        self.printer(|state| state.job.phase = phase)
    }

    fn done(&mut self, done: Done) -> Vec<String> {
        self.dialogue.done(done, &self.view);
        self.lines()
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// A print that was started over this port and prints.
    fn printing() -> Self {
        let mut rig = Self::connected();
        rig.send("M23 /cube.gco");
        rig.send("M23 /cube.gco");
        assert_eq!(rig.send("M24"), ["ok"]);
        assert_eq!(rig.effects(), [start("cube.gcode")]);
        rig.printer(|state| state.job = job(1, JobOrigin::Gateway));
        rig.done(Done::Started(Ok(())));
        // OctoPrint polls each second; from the first poll on it is past its "Starting".
        rig.send("M27");
        rig
    }
}

fn start(path: &str) -> Effect {
    Effect::Start(Box::new(StartRequest { file: path.to_owned(), ..StartRequest::default() }))
}

fn entry(path: &str, size: u64) -> Entry {
    Entry {
        path: path.to_owned(),
        kind: EntryKind::Printable,
        size,
        modified: 1_760_000_000.0,
        on_printer: false,
    }
}

/// A job that prints since 100 s and needs 100 s more.
fn job(serial: u64, origin: JobOrigin) -> Job {
    Job {
        serial,
        origin,
        phase: JobPhase::Printing,
        file: Some("cube.gcode".into()),
        progress: 0.5,
        remaining_s: Some(100.0),
        started_at: Some(1_760_000_000.0 - 100.0),
        printed_s: 100.0,
        ..Job::default()
    }
}
