//! Faults of the simulated CC2, and the truth about it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Shared;
use super::canvas::Tray;
use super::machine::Counters;
use crate::sim::camera_faults::CameraFault;
use crate::sim::elegoo_life::{from_now, lasts};
use crate::sim::physics::Stage;
use crate::sim::traffic::{Connections, Received};

/// Bytes that are no MQTT packet: packet type 15 with a length that never ends.
const NOT_MQTT: &[u8] = &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

/// Something that goes wrong, or right again. Durations are real seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// Every MQTT session ends without a farewell.
    Drop,
    /// From the next session on another printer answers here: its serial number.
    Identity { serial: String },
    /// The broker lives, the printer behind it neither answers nor pushes.
    Silence { seconds: f64 },
    /// A status message that is no JSON, on `api_status`.
    Garbage,
    /// Exactly this text on `api_status`.
    Publish { text: String },
    /// A message of about this many bytes on `api_status`.
    Oversized { bytes: usize },
    /// Bytes that are no MQTT, to every session.
    GarbageBytes,
    /// New TCP connections to the broker are closed at once.
    Refuse { on: bool },
    /// Registrations end in `too many clients`.
    RefuseRegistration { on: bool },
    /// Uploads end in HTTP 429.
    RefuseUpload { on: bool },
    /// The access code was changed: CONNACK 5 and HTTP 401.
    WrongCode { on: bool },
    /// Every answer is late by this much; 0 ends it.
    Slow { millis: u64 },
    /// Uploads find no room.
    DiskFull { on: bool },
    /// The next delta's id jumps by this much.
    Gap { by: i64 },
    /// All registrations are forgotten while the sessions stay up.
    ForgetClients,
    /// The next request of each of these methods is lost, as in a burst.
    Swallow { methods: Vec<i64> },
    /// The next request of each of these methods is done, and its answer is lost.
    LoseAnswers { methods: Vec<i64> },
    /// PING is heard and not answered.
    NoPongs { on: bool },
    /// So many chunks of uploads are written, and the connection breaks before the answer.
    LoseChunkAnswers { chunks: u32 },
    /// So many starts are answered with 1009, which is transient (dossier 3.12).
    Busy { starts: u32 },
    /// Listings tell how many files there are, and begin where they are asked to.
    Listings { total: bool, offset: bool },
    /// A USB stick with one file is plugged in or pulled out.
    UsbStick { on: bool },
    /// Power goes: everything, and the print until somebody decides (status 15).
    PowerCut,
    /// Power returns.
    PowerOn,
    /// The filament runs out (2505, exception 109).
    Runout,
    /// Filament is in place again.
    FilamentLoaded,
    /// The Canvas jams (2506, exception 1243).
    CanvasJam,
    /// A spool of this material and colour (`#RRGGBB`) is put into a tray; without them it is taken out.
    Spool { tray: i64, material: Option<String>, color: Option<String> },
    /// The Canvas is plugged in or pulled out; the status tells it (dossier 3.7).
    Canvas { on: bool },
    /// The print fails with exception 103.
    Fail,
    /// A Canvas tool change in mid-print: looks alarming and is normal.
    FilamentSwap { tray: i64 },
    /// The camera keeps its connection and sends nothing.
    CameraStall { seconds: f64 },
    /// What the camera does from now on.
    Camera { how: CameraFault },
}

/// Faults that last.
#[derive(Debug, Clone, Default)]
pub struct Active {
    pub silent_until: Option<Instant>,
    pub stalled_until: Option<Instant>,
    pub camera: CameraFault,
    pub refuse: bool,
    pub refuse_registration: bool,
    pub refuse_upload: bool,
    pub wrong_code: bool,
    pub delay: Duration,
    pub disk_full: bool,
    pub usb_stick: bool,
    pub swallow: Vec<i64>,
    pub lose_answers: Vec<i64>,
    pub lose_chunk_answers: u32,
    pub no_pongs: bool,
    pub busy_starts: u32,
    pub lists_without_total: bool,
    pub lists_from_the_first: bool,
}

impl Active {
    pub fn silent(&self) -> bool {
        lasts(self.silent_until)
    }

    /// The answer to this chunk is one of those that get lost.
    pub fn loses_chunk_answer(&mut self) -> bool {
        let lost = self.lose_chunk_answers > 0;
        self.lose_chunk_answers -= u32::from(lost);
        lost
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
            Fault::Drop => shared.broker.drop_all(),
            Fault::Identity { serial } => {
                shared.core().options.serial = serial;
                shared.broker.drop_all();
            }
            Fault::Garbage => {
                shared.broker.publish(&status_topic(shared), b"\xff{\"id\":1,\"method\":60");
            }
            Fault::Publish { text } => shared.broker.publish(&status_topic(shared), text.as_bytes()),
            Fault::Oversized { bytes } => {
                let filler = "1,".repeat(bytes.min(64 << 20) / 2);
                let text = format!("{{\"id\":1,\"method\":6000,\"result\":[{filler}1]}}");
                shared.broker.publish(&status_topic(shared), text.as_bytes());
            }
            Fault::GarbageBytes => shared.broker.inject(NOT_MQTT),
            Fault::PowerCut => shared.power_off(),
            Fault::PowerOn => shared.power_on(),
            Fault::Gap { by } => shared.core().outgoing.push_id += by,
            Fault::ForgetClients => shared.core().registry.clear(),
            Fault::Runout => {
                let mut core = shared.core();
                printing(core.interrupt(2505, 109))?;
                core.detected = false;
            }
            Fault::FilamentLoaded => shared.core().detected = true,
            Fault::CanvasJam => printing(shared.core().interrupt(2506, 1243))?,
            Fault::FilamentSwap { tray } => printing(shared.core().swap(tray))?,
            Fault::Spool { tray, material, color } => {
                let mut core = shared.core();
                let held = core.canvas.tray(tray).ok_or("no such tray")?;
                held.status = i64::from(material.is_some());
                if let (Some(material), Some(color)) = (material, color) {
                    held.name.clone_from(&material);
                    (held.kind, held.colour) = (material, color);
                }
            }
            Fault::Canvas { on } => shared.core().canvas.connected = on,
            Fault::Fail => {
                let mut core = shared.core();
                printing(core.machine.stage.busy())?;
                core.exceptions = vec![103];
                core.machine.fail();
            }
            Fault::Silence { seconds } => shared.core().faults.silent_until = Some(from_now(seconds)),
            Fault::Camera { how } => shared.core().faults.camera = how,
            Fault::CameraStall { seconds } => shared.core().faults.stalled_until = Some(from_now(seconds)),
            Fault::Refuse { on } => shared.core().faults.refuse = on,
            Fault::RefuseRegistration { on } => shared.core().faults.refuse_registration = on,
            Fault::RefuseUpload { on } => shared.core().faults.refuse_upload = on,
            Fault::WrongCode { on } => shared.core().faults.wrong_code = on,
            Fault::Slow { millis } => shared.core().faults.delay = Duration::from_millis(millis.min(600_000)),
            Fault::DiskFull { on } => shared.core().faults.disk_full = on,
            Fault::UsbStick { on } => shared.core().faults.usb_stick = on,
            Fault::Swallow { methods } => shared.core().faults.swallow = methods,
            Fault::LoseAnswers { methods } => shared.core().faults.lose_answers = methods,
            Fault::NoPongs { on } => shared.core().faults.no_pongs = on,
            Fault::LoseChunkAnswers { chunks } => shared.core().faults.lose_chunk_answers = chunks,
            Fault::Busy { starts } => shared.core().faults.busy_starts = starts,
            Fault::Listings { total, offset } => {
                let mut core = shared.core();
                (core.faults.lists_without_total, core.faults.lists_from_the_first) = (!total, !offset);
            }
        }
        Ok(())
    }
}

fn status_topic(shared: &Shared) -> String {
    format!("elegoo/{}/api_status", shared.core().options.serial)
}

fn printing(done: bool) -> Result<(), String> {
    if done { Ok(()) } else { Err("nothing is being printed".to_owned()) }
}

/// What the simulator knows, at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Truth {
    /// Stage of the machine, for example `Printing`.
    pub stage: String,
    pub status: i64,
    pub sub_status: i64,
    pub exceptions: Vec<i64>,
    pub file: String,
    /// 0 to 1.
    pub progress: f64,
    pub layer: u32,
    /// °C.
    pub nozzle: f64,
    pub nozzle_target: f64,
    pub bed: f64,
    pub bed_target: f64,
    /// Part, auxiliary, chamber, 0 to 255.
    pub fans: [f64; 3],
    pub led: bool,
    pub speed_mode: i64,
    pub position: [f64; 3],
    pub homed: bool,
    pub active_tray: i64,
    /// Trays of the job by tool; empty without a map.
    pub mapping: Vec<i64>,
    pub trays: Vec<Tray>,
    pub auto_refill: bool,
    pub emergency_stopped: bool,
    #[serde(flatten)]
    pub counters: Counters,
    /// Clients registered now, registrations granted and refused since the start.
    pub registered: usize,
    pub connections: BTreeMap<&'static str, Connections>,
    pub commands: Vec<Received>,
    /// Simulated seconds since the start.
    pub now: f64,
}

impl Truth {
    pub(super) fn of(shared: &Shared) -> Self {
        let core = shared.core();
        let (status, sub_status) = core.codes();
        let run = core.machine.run.as_ref().filter(|_| core.machine.stage != Stage::Idle);
        let nozzle = core.machine.nozzles.first();
        Self {
            stage: format!("{:?}", core.machine.stage),
            status,
            sub_status,
            exceptions: core.exceptions.clone(),
            file: core.file.clone(),
            progress: run.map_or(0.0, |run| run.progress()),
            layer: run.map_or(0, |run| run.layer()),
            nozzle: nozzle.map_or(0.0, |n| n.actual),
            nozzle_target: nozzle.map_or(0.0, |n| n.target),
            bed: core.machine.bed.actual,
            bed_target: core.machine.bed.target,
            fans: core.fans,
            led: core.led == 1,
            speed_mode: core.speed_mode,
            position: core.position,
            homed: core.homed,
            active_tray: core.canvas.active,
            mapping: core.mapping.clone(),
            trays: core.canvas.trays.clone(),
            auto_refill: core.canvas.auto_refill,
            emergency_stopped: core.stopped,
            counters: core.counters.clone(),
            registered: core.registry.count(),
            connections: BTreeMap::from([
                ("mqtt", shared.sessions.read()),
                ("camera", shared.viewers.read()),
                ("http", shared.web.read()),
            ]),
            commands: core.log.to_vec(),
            now: core.now,
        }
    }
}
