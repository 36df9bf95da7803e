//! The status of all printers as one JSON answer, for the page, the commands and scripts.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;

use super::{Gateway, StateFault};
use crate::camera::Health;
use crate::model::{
    CameraKind, Control, Fault, FilamentSystem, Heater, Job, JobPhase, LinkPhase, PrinterState, Severity,
    Slot, SlotId, Transfer, UnixSeconds,
};
use crate::printer::clock::unix_now;
use crate::station::Station;

#[derive(Serialize)]
pub struct Status {
    version: &'static str,
    /// When this was put together.
    time: UnixSeconds,
    /// The question came through a reverse proxy: the printers' own ports may not be reached where it came from.
    behind_proxy: bool,
    /// What is kept does not reach the disk.
    state_fault: Option<StateFault>,
    printers: Vec<PrinterStatus>,
}

#[derive(Serialize)]
struct PrinterStatus {
    name: String,
    title: String,
    vendor: String,
    model: String,
    firmware: Option<String>,
    link: LinkPhase,
    link_since: UnixSeconds,
    retry_at: Option<UnixSeconds>,
    link_fault: Option<LinkFaultStatus>,
    /// Seconds since the printer's last report.
    report_age_s: Option<f64>,
    /// Why the printer takes no commands.
    read_only: Option<String>,
    /// What the machine does while it has no job, in plain words; no job starts meanwhile.
    occupation: Option<String>,
    /// The machine takes no order at all; a fault tells why.
    halted: bool,
    /// Why no print starts: an emergency stop that was not taken back.
    held: Option<String>,
    nozzles: Vec<Heater>,
    active_tool: usize,
    bed: Heater,
    chamber: Heater,
    job: JobStatus,
    faults: Vec<FaultStatus>,
    filament: FilamentStatus,
    /// A picture can be asked for.
    camera: bool,
    /// Why there is no picture, with the remedy.
    camera_blocked: Option<String>,
    /// Absent where there is no camera.
    camera_health: Option<Health>,
    moonraker_port: u16,
    /// The virtual serial port, as other programs open it.
    serial_port: Option<String>,
}

/// What is wrong with the link.
#[derive(Serialize)]
struct LinkFaultStatus {
    code: String,
    text: String,
    remedy: String,
    permanent: bool,
}

#[derive(Serialize)]
struct FaultStatus {
    code: String,
    severity: Severity,
    module: Option<String>,
    text: String,
    link: Option<String>,
}

#[derive(Serialize)]
struct JobStatus {
    phase: JobPhase,
    title: Option<String>,
    /// Path below `/printers/<name>/` of a picture of the file; another one for each content of it.
    thumbnail: Option<String>,
    transfer: Option<Transfer>,
    progress: f64,
    layer: Option<u32>,
    total_layers: Option<u32>,
    remaining_s: Option<f64>,
    elapsed_s: f64,
    detail: Option<String>,
    reason: Option<String>,
}

#[derive(Serialize)]
struct FilamentStatus {
    units: Vec<UnitStatus>,
    external: Vec<SlotStatus>,
}

#[derive(Serialize)]
struct UnitStatus {
    name: String,
    product: Option<String>,
    humidity_percent: Option<f64>,
    dryness_level: Option<u8>,
    slots: Vec<SlotStatus>,
}

#[derive(Serialize)]
struct SlotStatus {
    /// As the commands take it: `0.2`, `external`.
    id: SlotId,
    /// False for a slot that is known to be empty.
    present: Option<bool>,
    material: Option<String>,
    name: Option<String>,
    /// `#RRGGBB`, several for filament of several colours.
    colors: Vec<String>,
    remaining: Option<f64>,
    active: bool,
}

/// Answers `/status`.
pub async fn status(State(gateway): State<Gateway>, headers: HeaderMap) -> Json<Status> {
    let mut printers = Vec::new();
    for station in gateway.stations.iter() {
        let serial_port = gateway.serial_ports.get(station.name()).cloned();
        printers.push(printer(station, serial_port).await);
    }
    let behind_proxy = crate::access::was_forwarded(&headers);
    let state_fault = gateway.state.borrow().clone();
    Json(Status { version: env!("CARGO_PKG_VERSION"), time: unix_now(), behind_proxy, state_fault, printers })
}

async fn printer(station: &Station, serial_port: Option<String>) -> PrinterStatus {
    let state = station.printer.state();
    let caps = station.printer.capabilities();
    let device = &state.device;
    PrinterStatus {
        name: station.name().to_owned(),
        title: station.printer.title().to_owned(),
        vendor: caps.vendor.clone(),
        model: caps.model.clone(),
        firmware: device.identity.firmware.clone(),
        link: state.link.phase,
        link_since: state.link.since,
        retry_at: state.link.retry_at,
        link_fault: link_fault(&state),
        report_age_s: station.printer.writer().report_age(),
        read_only: match &state.control {
            Control::ReadOnly(reason) => Some(reason.clone()),
            _ => None,
        },
        occupation: device.activity.occupation().map(str::to_owned),
        halted: device.halted.is_some(),
        held: station.jobs.held().as_deref().map(str::to_owned),
        nozzles: device.nozzles.iter().map(|nozzle| nozzle.heater).collect(),
        active_tool: device.active_tool,
        bed: device.bed,
        chamber: device.chamber,
        job: job(&state.job, thumbnail(station, &state.job).await),
        faults: device.faults.iter().map(fault).collect(),
        filament: filament(&device.filament),
        camera: caps.camera != CameraKind::None && station.printer.camera().is_some(),
        camera_blocked: device.camera.blocked.clone(),
        camera_health: (caps.camera != CameraKind::None).then(|| station.camera.health()),
        moonraker_port: station.moonraker_port,
        serial_port,
    }
}

fn link_fault(state: &PrinterState) -> Option<LinkFaultStatus> {
    let fault = state.link.fault.as_ref()?;
    Some(LinkFaultStatus {
        code: fault.code.clone(),
        text: fault.text.clone(),
        remedy: fault.remedy.clone(),
        permanent: fault.permanent,
    })
}

fn fault(fault: &Fault) -> FaultStatus {
    FaultStatus {
        code: fault.code.clone(),
        severity: fault.severity,
        module: fault.module.clone(),
        text: fault.text.clone(),
        link: fault.link.clone(),
    }
}

fn job(job: &Job, thumbnail: Option<String>) -> JobStatus {
    JobStatus {
        phase: job.phase,
        title: job.file.clone().or_else(|| job.title.clone()),
        thumbnail,
        transfer: job.transfer,
        progress: job.progress,
        layer: job.layer,
        total_layers: job.total_layers,
        remaining_s: job.remaining_s,
        elapsed_s: job.total_seconds(unix_now()),
        detail: job.detail.clone(),
        reason: job.reason.clone(),
    }
}

/// The picture nearest to the size the page shows, if the library holds the file.
async fn thumbnail(station: &Station, job: &Job) -> Option<String> {
    const WANTED: u32 = 300;
    let file = job.file.as_deref().filter(|_| job.phase != JobPhase::Idle)?;
    let record = station.library.record(file).await.ok()?;
    let best = record.thumbnails.iter().min_by_key(|picture| picture.width.abs_diff(WANTED))?;
    let folder = file.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let path = format!("server/files/gcodes/{folder}{}", best.relative_path);
    // A new file of the same name has its pictures under the same path: browsers would go on showing the old one.
    Some(format!("{}?content={}", percent_encoding::utf8_percent_encode(&path, PATH), record.uuid))
}

/// What a path within a URL must not hold as it is.
const PATH: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'?').add(b'<').add(b'>');

fn filament(system: &FilamentSystem) -> FilamentStatus {
    let shown = |slots: &[Slot]| slots.iter().map(|slot| filament_slot(slot, system)).collect();
    let units = system.units.iter().map(|unit| UnitStatus {
        name: unit.name.clone(),
        product: unit.product.clone(),
        humidity_percent: unit.humidity_percent,
        dryness_level: unit.dryness_level,
        slots: shown(&unit.slots),
    });
    FilamentStatus { units: units.collect(), external: shown(&system.external) }
}

fn filament_slot(slot: &Slot, system: &FilamentSystem) -> SlotStatus {
    let filament = slot.filament.as_ref();
    let mut colors: Vec<_> = filament.map(|filament| filament.colors.clone()).unwrap_or_default();
    if colors.is_empty() {
        colors.extend(filament.and_then(|filament| filament.color));
    }
    SlotStatus {
        id: slot.id,
        present: slot.present,
        material: filament.and_then(|filament| filament.material.clone()),
        name: filament.and_then(|filament| filament.name.clone()),
        colors: colors.into_iter().map(|color| format!("#{}", color.rgb_hex())).collect(),
        remaining: slot.remaining,
        active: system.active == Some(slot.id),
    }
}
