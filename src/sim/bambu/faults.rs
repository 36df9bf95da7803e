//! Faults as commands: what a test, or a person at the control port, does to the simulated printer.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use super::core::{Core, lock};
use super::feed::SpoolIn;
use super::printer::{Hms, stage};
use crate::sim::camera_faults::CameraFault;

/// One fault. In JSON: `{"fault":"power_cut","seconds":3}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// Closes all connections; new ones are welcome.
    DropLink,
    /// Reports go on, requests are swallowed (dossier 2.3 "zombie").
    Zombie { on: bool },
    /// Requests are carried out, none is acknowledged, as bridges and emulated printers do.
    Mute { on: bool },
    /// A message of another QoS than 0 ends the connection, as in emulated printers that read no other.
    PlainOnly { on: bool },
    /// Sockets stay open without any MQTT data.
    Dead { on: bool },
    /// Publishes bytes that are no JSON.
    Garbage,
    /// Publishes a JSON report of about this many bytes.
    Oversized { bytes: usize },
    /// Publishes exactly this text on the report topic.
    Publish { text: String },
    /// So many small reports as fast as they are taken, each with another temperature.
    Flood { messages: u64 },
    /// Every login is refused, as while the printer restarts its services.
    RefuseLogin { on: bool },
    /// The access code becomes another one, as when Developer Mode is toggled.
    AccessCode { code: String },
    /// Signatures wanted: Developer Mode off.
    Gate { on: bool },
    /// Nothing is reported while no job runs, and of the requests for reports only `pushall` is answered.
    QuietWhenIdle { on: bool },
    /// `M1002 gcode_claim_action` does nothing, as in emulated printers.
    IgnoreClaims { on: bool },
    /// The ids that come with a job are not reported: `subtask_id` keeps what it was.
    KeepIds { on: bool },
    /// Changes of the detectors are carried out without an acknowledgement (dossier 4.1).
    MuteXcam { on: bool },
    /// So many data connections are refused with 425, as by a busy printer.
    BusyData { times: u32 },
    /// So many transfers lose both their connections before the data is encrypted.
    CutHandshakes { times: u32 },
    /// So many uploads lose both their connections midway.
    CutUploads { times: u32 },
    /// get_version names neither product nor project, as firmware before 2025.
    Anonymous { on: bool },
    /// Accepted jobs start this many real seconds late.
    DelayedStart { seconds: f64 },
    /// The running job ends as if stopped at the screen: FAILED with 0300_400C.
    CancelAtScreen,
    /// The running job is paused at the screen.
    PauseAtScreen,
    /// The running job fails with this `print_error`.
    FailJob { code: u32 },
    /// Feeding from the AMS gets stuck, at each load and retry until switched off.
    AmsJam { on: bool },
    /// The spool that feeds is used up: an equal one takes over, else PAUSE, error and HMS.
    Runout,
    /// A spool is put into a slot; without `spool` it is taken out.
    Spool { unit: u32, slot: usize, spool: Option<SpoolIn> },
    /// A filament unit is plugged in or pulled out.
    Unit { unit: u32, on: bool },
    /// What happens when a spool runs empty, as set at the screen.
    AutoRefill { on: bool },
    /// A spool is put into the empty slots again.
    Refill,
    /// The door is opened or closed.
    Door { open: bool },
    /// All sockets closed and refused, job lost.
    PowerCut { seconds: f64 },
    /// Uploads end with 552.
    FullDisk { on: bool },
    /// Uploads break with 426 after 7 x 64 KiB (dossier 5.1 step 6).
    Abort426 { on: bool },
    /// Uploads are stored whole and answered 426.
    Late426 { on: bool },
    /// Data connections are encrypted before 150 is said, as ftp-srv does, not after it.
    EncryptFirst { on: bool },
    /// Data must be encrypted, whatever the model wants, as with another firmware.
    EncryptData { on: bool },
    /// Transfers run at this many bytes per second; 0 = full speed.
    SlowFtp { bytes_per_second: u64 },
    /// No storage card or stick.
    StorageMissing { on: bool },
    /// A health message appears, as the printer codes it.
    RaiseHms { attr: u32, code: u32 },
    /// All health messages are taken back.
    ClearHms,
    /// Another key and certificate from the next handshake on.
    CertificateChange,
    /// What the camera does from now on; `closed` also switches the RTSP address of the reports off.
    Camera { how: CameraFault },
}

/// Faults that stay on, and the login of the moment.
#[derive(Debug, Default)]
pub(super) struct Switches {
    pub access_code: String,
    pub refuse_login: bool,
    pub zombie: bool,
    pub mute: bool,
    pub plain_only: bool,
    pub dead: bool,
    pub full_disk: bool,
    pub abort_426: bool,
    pub late_426: bool,
    pub encrypt_first: bool,
    pub encrypt_data: bool,
    pub quiet_when_idle: bool,
    pub mute_xcam: bool,
    /// Data connections still to be refused or cut off, and uploads still to be cut.
    pub busy_data: u32,
    pub cut_handshakes: u32,
    pub cut_uploads: u32,
    /// 0 = full speed.
    pub bytes_per_second: u64,
    /// Which certificate is shown.
    pub generation: usize,
    pub camera: CameraFault,
}

/// Handle that applies faults.
#[derive(Clone)]
pub struct Faults {
    pub(super) core: Arc<Core>,
}

impl Faults {
    /// Applies one fault. Fails when a changed certificate cannot be made, and for slots and units that are not there.
    pub fn apply(&self, fault: Fault) -> io::Result<()> {
        let core = &self.core;
        let (switches, printer) = (|| lock(&core.switches), || lock(&core.printer));
        match fault {
            Fault::DropLink => core.drop_links(),
            Fault::PowerCut { seconds } => core.power_cut(seconds),
            Fault::CertificateChange => core.change_certificate()?,
            Fault::Garbage => {
                core.publish_bytes(Bytes::from_static(b"{\"print\":{\"nozzle_temper\":\xff\xfe,,"))
            }
            Fault::Publish { text } => core.publish_bytes(Bytes::from(text)),
            Fault::Flood { messages } => drop(tokio::spawn(core.clone().flood(messages))),
            Fault::Oversized { bytes } => {
                let filler = "x".repeat(bytes.min(64 << 20));
                core.publish(&serde_json::json!({"print": {"command": "push_status", "filler": filler}}));
            }
            Fault::Camera { how } => {
                switches().camera = how;
                printer().show_rtsp(how != CameraFault::Closed);
                // What is connected notices too.
                core.camera_changed.notify_waiters();
            }
            Fault::Zombie { on } => switches().zombie = on,
            Fault::PlainOnly { on } => switches().plain_only = on,
            Fault::Mute { on } => switches().mute = on,
            Fault::Dead { on } => switches().dead = on,
            Fault::RefuseLogin { on } => switches().refuse_login = on,
            Fault::AccessCode { code } => switches().access_code = code,
            Fault::FullDisk { on } => switches().full_disk = on,
            Fault::Abort426 { on } => switches().abort_426 = on,
            Fault::Late426 { on } => switches().late_426 = on,
            Fault::EncryptFirst { on } => switches().encrypt_first = on,
            Fault::EncryptData { on } => switches().encrypt_data = on,
            Fault::QuietWhenIdle { on } => switches().quiet_when_idle = on,
            Fault::MuteXcam { on } => switches().mute_xcam = on,
            Fault::BusyData { times } => switches().busy_data = times,
            Fault::CutHandshakes { times } => switches().cut_handshakes = times,
            Fault::CutUploads { times } => switches().cut_uploads = times,
            Fault::SlowFtp { bytes_per_second } => switches().bytes_per_second = bytes_per_second,
            Fault::Spool { unit, slot, spool } => {
                told(printer().put_spool(unit, slot, spool.as_ref()), "no such slot")?;
            }
            Fault::Unit { unit, on } => told(printer().plug(unit, on), "no such unit")?,
            Fault::Gate { on } => printer().gated = on,
            Fault::Anonymous { on } => printer().anonymous = on,
            Fault::IgnoreClaims { on } => printer().ignores_claims = on,
            Fault::KeepIds { on } => printer().keeps_ids = on,
            Fault::DelayedStart { seconds } => printer().start_delay = seconds.clamp(0.0, 3600.0),
            Fault::CancelAtScreen => {
                let mut printer = printer();
                printer.pending = None;
                printer.machine.cancel();
            }
            Fault::PauseAtScreen => {
                printer().pause(stage::USER_PAUSE);
            }
            Fault::FailJob { code } => printer().fail(code),
            Fault::AmsJam { on } => printer().ams.jammed = on,
            Fault::Door { open } => printer().door_open = open,
            Fault::StorageMissing { on } => printer().storage = !on,
            Fault::RaiseHms { attr, code } => printer().raise(Hms { attr, code }),
            Fault::ClearHms => printer().hms.clear(),
            Fault::Refill => {
                let mut printer = printer();
                let fresh = super::ams::Ams::from_template(&printer.template);
                for (unit, new) in printer.ams.units.iter_mut().zip(fresh.units) {
                    unit.slots = new.slots;
                }
            }
            Fault::Runout => printer().runout(),
            Fault::AutoRefill { on } => printer().set_auto_refill(on),
        }
        core.changed.notify_one();
        Ok(())
    }
}

impl super::printer::Printer {
    /// LAN live view on or off, in the reports of models that tell it.
    pub(super) fn show_rtsp(&mut self, on: bool) {
        if let Some(url) = self.ipcam.get_mut("rtsp_url") {
            *url = if on { "rtsps://192.168.1.50:322/streaming/live/1" } else { "disable" }.into();
        }
    }
}

fn told(done: bool, error: &str) -> io::Result<()> {
    if done { Ok(()) } else { Err(io::Error::other(error)) }
}
