//! The status of all printers as one JSON answer.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::model::{Control, Heater, JobPhase, LinkPhase};
use crate::printer::clock::unix_now;
use crate::station::{Station, Stations};

#[derive(Serialize)]
pub struct Status {
    version: &'static str,
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
    /// What is wrong with the link, with the remedy.
    link_fault: Option<String>,
    /// Why the printer takes no commands.
    read_only: Option<String>,
    nozzles: Vec<Heater>,
    bed: Heater,
    chamber: Heater,
    job: JobStatus,
    faults: Vec<String>,
    moonraker_port: u16,
}

#[derive(Serialize)]
struct JobStatus {
    phase: JobPhase,
    title: Option<String>,
    progress: f64,
    layer: Option<u32>,
    total_layers: Option<u32>,
    remaining_s: Option<f64>,
    elapsed_s: f64,
    detail: Option<String>,
    reason: Option<String>,
}

pub async fn status(State(stations): State<Stations>) -> Json<Status> {
    Json(Status { version: env!("CARGO_PKG_VERSION"), printers: stations.iter().map(printer).collect() })
}

fn printer(station: &Station) -> PrinterStatus {
    let state = station.printer.state();
    let caps = station.printer.capabilities();
    let job = &state.job;
    PrinterStatus {
        name: station.name().to_owned(),
        title: station.printer.title().to_owned(),
        vendor: caps.vendor.clone(),
        model: caps.model.clone(),
        firmware: state.device.identity.firmware.clone(),
        link: state.link.phase,
        link_fault: state.link.fault.as_ref().map(|fault| format!("{}: {}", fault.code, fault.sentence())),
        read_only: match &state.control {
            Control::ReadOnly(reason) => Some(reason.clone()),
            _ => None,
        },
        nozzles: state.device.nozzles.iter().map(|nozzle| nozzle.heater).collect(),
        bed: state.device.bed,
        chamber: state.device.chamber,
        job: JobStatus {
            phase: job.phase,
            title: job.file.clone().or_else(|| job.title.clone()),
            progress: job.progress,
            layer: job.layer,
            total_layers: job.total_layers,
            remaining_s: job.remaining_s,
            elapsed_s: job.total_seconds(unix_now()),
            detail: job.detail.clone(),
            reason: job.reason.clone(),
        },
        faults: state.device.faults.iter().map(crate::model::Fault::line).collect(),
        moonraker_port: station.moonraker_port,
    }
}
