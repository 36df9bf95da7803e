//! Faults of the simulated CC1, and the truth about it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::machine::Counters;
use super::{Cast, Shared};
use crate::sim::camera_faults::CameraFault;
use crate::sim::elegoo_life::{from_now, lasts};
use crate::sim::physics::Stage;
use crate::sim::traffic::{Connections, Received};

/// Something that goes wrong, or right again. Durations are real seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// Every WebSocket is closed; the printer lives on.
    Drop,
    /// Commands are neither taken nor answered, nothing is pushed.
    Silence { seconds: f64 },
    /// One frame that is not JSON to every connection.
    Garbage,
    /// Exactly this text to every connection.
    Publish { text: String },
    /// A status frame with a list of about this many bytes.
    Oversized { bytes: usize },
    /// Frames carry their length in front of the first brace.
    LengthPrefix { on: bool },
    /// WebSocket handshakes end in HTTP 500 `too many client`.
    Refuse { on: bool },
    /// Uploads end in HTTP 503 with an empty body.
    RefuseUpload { on: bool },
    /// Every frame and upload answer is late by this much; 0 ends it.
    Slow { millis: u64 },
    /// Uploads find no room.
    DiskFull { on: bool },
    /// A USB stick with one file is plugged in or pulled out.
    UsbStick { on: bool },
    /// Power goes: all sockets, discovery and the print.
    PowerCut,
    /// Power returns, or the process is started again after a crash.
    PowerOn,
    /// The process dies on its own.
    Crash,
    /// The filament runs out: the print pauses, nothing in the status says why.
    Runout,
    /// The Canvas is plugged in or pulled out.
    Canvas { on: bool },
    /// The Canvas jams: the print pauses.
    CanvasJam,
    /// The print ends with status 14.
    Fail,
    /// A Canvas tool change in mid-print.
    FilamentSwap { tray: i64 },
    /// The camera keeps its connection and sends nothing.
    CameraStall { seconds: f64 },
    /// What the camera does from now on.
    Camera { how: CameraFault },
    /// Camera slots taken by clients that are gone, until Cmd 386 with 0.
    CameraLeak { slots: usize },
    /// The camera is not there (Ack 2).
    NoCamera { on: bool },
    /// The next request of each of these commands is neither carried out nor answered.
    Swallow { commands: Vec<i64> },
    /// How Cmd 0 and 1 are answered from now on.
    Answers { how: Answers },
    /// The next stop during levelling is acknowledged and lost.
    LoseStop,
    /// The next starts are refused with Ack 1, as by a printer that still checks the file.
    Busy { starts: u32 },
    /// Files are not deleted (Ack 1), as shortly after a print.
    RefuseDelete { on: bool },
    /// From the next connection on another machine is at this address; with the same `mac`, one whose firmware has given
    /// it another id.
    Identity { mainboard_id: String, mac: String },
}

/// The two frames that answer Cmd 0 and 1, in whichever form they come (dossier 2.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    #[default]
    TwoFrames,
    /// The Ack gets lost.
    FrameOnly,
    /// The content gets lost.
    AckOnly,
    /// One response with Ack and content, as proxies send it.
    Combined,
}

/// Faults that last.
#[derive(Debug, Clone, Default)]
pub struct Active {
    pub silent_until: Option<Instant>,
    pub stalled_until: Option<Instant>,
    pub camera: CameraFault,
    pub length_prefix: bool,
    pub refuse: bool,
    pub refuse_upload: bool,
    pub delay: Duration,
    pub disk_full: bool,
    pub usb_stick: bool,
    pub no_camera: bool,
    pub leaked_viewers: usize,
    pub lose_stop: bool,
    pub refuse_delete: bool,
    pub busy_starts: u32,
    pub swallow: Vec<i64>,
    pub answers: Answers,
}

impl Active {
    pub fn silent(&self) -> bool {
        lasts(self.silent_until)
    }

    /// This request is one of those that get lost.
    pub fn swallows(&mut self, command: i64) -> bool {
        let lost = self.swallow.iter().position(|lost| *lost == command);
        lost.map(|at| self.swallow.remove(at)).is_some()
    }

    pub fn camera_stalled(&self) -> bool {
        lasts(self.stalled_until)
    }
}

/// Applies faults to a running simulator.
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

impl Faults {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Applies one fault; the error says why it cannot happen now.
    pub fn apply(&self, fault: Fault) -> Result<(), String> {
        let shared = &self.shared;
        match fault {
            Fault::Drop => cast(shared, Cast::Close),
            Fault::Garbage => cast(shared, Cast::Frame("\u{fffd}{\"Topic\":\"sdcp/sta".to_owned())),
            Fault::Publish { text } => cast(shared, Cast::Frame(text)),
            Fault::Oversized { bytes } => {
                let filler = "1,".repeat(bytes.min(64 << 20) / 2);
                cast(shared, Cast::Frame(format!("{{\"Topic\":\"sdcp/status/x\",\"Status\":[{filler}1]}}")));
            }
            Fault::PowerCut => shared.power_off(),
            Fault::PowerOn => shared.power_on(),
            Fault::Crash => shared.crash("(fault)"),
            Fault::Runout => paused(shared.core().interrupt(3))?,
            Fault::Canvas { on } => shared.core().options.canvas = on,
            Fault::Identity { mainboard_id, mac } => {
                let mut core = shared.core();
                core.options.mainboard_id = mainboard_id;
                core.options.mac = mac;
                drop(core);
                cast(shared, Cast::Close);
            }
            Fault::CanvasJam => paused(shared.core().interrupt(6))?,
            Fault::FilamentSwap { tray } => paused(shared.core().swap(tray))?,
            Fault::Fail => {
                let mut core = shared.core();
                core.error_number = 2;
                core.machine.fail();
            }
            Fault::Silence { seconds } => shared.core().faults.silent_until = Some(from_now(seconds)),
            Fault::Camera { how } => shared.core().faults.camera = how,
            Fault::CameraStall { seconds } => shared.core().faults.stalled_until = Some(from_now(seconds)),
            Fault::LengthPrefix { on } => shared.core().faults.length_prefix = on,
            Fault::Refuse { on } => shared.core().faults.refuse = on,
            Fault::RefuseUpload { on } => shared.core().faults.refuse_upload = on,
            Fault::Slow { millis } => shared.core().faults.delay = Duration::from_millis(millis.min(600_000)),
            Fault::DiskFull { on } => shared.core().faults.disk_full = on,
            Fault::UsbStick { on } => shared.core().faults.usb_stick = on,
            Fault::CameraLeak { slots } => shared.core().faults.leaked_viewers = slots,
            Fault::NoCamera { on } => shared.core().faults.no_camera = on,
            Fault::LoseStop => shared.core().faults.lose_stop = true,
            Fault::Busy { starts } => shared.core().faults.busy_starts = starts,
            Fault::RefuseDelete { on } => shared.core().faults.refuse_delete = on,
            Fault::Swallow { commands } => shared.core().faults.swallow = commands,
            Fault::Answers { how } => shared.core().faults.answers = how,
        }
        Ok(())
    }
}

fn cast(shared: &Shared, what: Cast) {
    let _ = shared.cast.send(what);
}

fn paused(done: bool) -> Result<(), String> {
    if done { Ok(()) } else { Err("nothing is being printed".to_owned()) }
}

/// What the simulator knows, at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Truth {
    /// Stage of the machine, for example `Printing`.
    pub stage: String,
    /// `CurrentStatus` and `PrintInfo.Status` as reported.
    pub current_status: Vec<i64>,
    pub print_status: i64,
    pub file: String,
    /// 0 to 1.
    pub progress: f64,
    pub layer: u32,
    /// °C.
    pub nozzle: f64,
    pub nozzle_target: f64,
    pub bed: f64,
    pub bed_target: f64,
    /// Part, auxiliary, chamber, percent.
    pub fans: [f64; 3],
    pub light: bool,
    pub speed_percent: i64,
    pub position: [f64; 3],
    #[serde(flatten)]
    pub counters: Counters,
    pub connections: BTreeMap<&'static str, Connections>,
    pub commands: Vec<Received>,
    /// Simulated seconds since the start.
    pub now: f64,
}

impl Truth {
    pub(super) fn of(shared: &Shared) -> Self {
        let core = shared.core();
        let (current_status, print_status) = core.codes();
        let run = core.machine.run.as_ref().filter(|_| core.machine.stage != Stage::Idle);
        let nozzle = core.machine.nozzles.first();
        Self {
            stage: format!("{:?}", core.machine.stage),
            current_status,
            print_status,
            file: core.file.clone(),
            progress: run.map_or(0.0, |run| run.progress()),
            layer: run.map_or(0, |run| run.layer()),
            nozzle: nozzle.map_or(0.0, |n| n.actual),
            nozzle_target: nozzle.map_or(0.0, |n| n.target),
            bed: core.machine.bed.actual,
            bed_target: core.machine.bed.target,
            fans: core.fans,
            light: core.light == 1,
            speed_percent: core.speed_pct,
            position: core.position,
            counters: core.counters.clone(),
            connections: BTreeMap::from([
                ("websocket", shared.sockets.read()),
                ("camera", shared.viewers.read()),
                ("http", shared.web.read()),
            ]),
            commands: core.log.to_vec(),
            now: core.now,
        }
    }
}
