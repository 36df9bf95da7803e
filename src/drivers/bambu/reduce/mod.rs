//! The merged tree as the canonical [`Device`]: pure, and a function of the tree alone.
//!
//! Each file reads one part of the tree; what a model does not have is left out by its row, what a field does not say
//! is `None`.

mod ams;
mod fans;
mod identity;
mod job;
mod machine;
mod options;
mod spool;
mod temperatures;

use serde_json::Value;

use super::faults;
use super::field::{at, bits32, hex};
use super::merge::Reports;
use super::models::ModelRow;
use crate::model::{Device, Fault, UnixSeconds};

pub(super) use identity::{AmsKind, Versions};

/// What one reduction reads.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub reports: &'a Reports,
    pub versions: &'a Versions,
    pub row: &'static ModelRow,
}

impl<'a> Source<'a> {
    fn tree(self) -> &'a Value {
        self.reports.tree()
    }

    fn at(self, pointer: &str) -> &'a Value {
        at(self.tree(), pointer)
    }

    /// The bit field `home_flag`, where it is reported.
    fn home_flag(self) -> Option<u128> {
        bits32(self.at("/home_flag")).map(u128::from)
    }

    fn hex(self, pointer: &str) -> Option<u128> {
        hex(self.at(pointer))
    }
}

/// Everything the printer says; `known` are the faults of before, which keep the time they were first seen.
pub(super) fn device(source: Source<'_>, known: &[Fault], now: UnixSeconds) -> Device {
    let tools = temperatures::nozzles(source);
    let active_tool = temperatures::active_tool(source).min(tools.len().saturating_sub(1));
    Device {
        identity: identity::identity(source),
        activity: job::activity(source),
        halted: None,
        job: job::job(source),
        active_tool,
        nozzles: tools,
        bed: temperatures::bed(source),
        chamber: temperatures::chamber(source),
        fans: fans::fans(source),
        air_mode: super::models::air_mode(source.at("/device/airduct/modeCur")),
        lights: machine::lights(source),
        motion: machine::motion(source),
        speed: machine::speed(source),
        filament: ams::filament(source, active_tool),
        faults: faults::reduce(source.tree(), known, now),
        storage: machine::storage(source),
        network: machine::network(source),
        camera: machine::camera(source),
        door_open: machine::door(source),
        options: options::options(source),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
