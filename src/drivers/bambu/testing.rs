//! Fixtures for the tests of this folder.

use serde_json::Value;

use super::merge::Reports;
use super::models::{self, ModelRow};
use super::reduce::{self, Source, Versions};
use super::wire::{Extent, Incoming, StateFields, parse};
use crate::model::Device;

const FOLDER: &str = "fixtures/bambu";

pub(super) fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(format!("{FOLDER}/{name}.json")).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(super) fn json(name: &str) -> Value {
    serde_json::from_slice(&bytes(name)).expect("fixture")
}

/// Names of all fixtures that begin like this, without their ending.
pub(crate) fn names(prefix: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(FOLDER)
        .expect("fixtures")
        .filter_map(|entry| {
            entry.expect("entry").file_name().into_string().ok()?.strip_suffix(".json").map(str::to_owned)
        })
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    names
}

pub(super) fn state(name: &str) -> StateFields {
    let mut all = parse(&bytes(name)).expect("json");
    match all.remove(0) {
        Incoming::State(state) => state,
        other => panic!("{name}: {other:?}"),
    }
}

/// The device that a printer of this row with this full report is.
pub(super) fn shown(row: &'static ModelRow, tree: Value) -> Device {
    let Value::Object(fields) = tree else { panic!("a report is an object") };
    let mut reports = Reports::default();
    reports.merge(&StateFields { fields, extent: Extent::Full });
    Printer { reports, versions: Versions::default(), row }.device()
}

/// One printer as its full report and, where there is one, its module list make it.
#[derive(Clone)]
pub(crate) struct Printer {
    pub(super) reports: Reports,
    pub(super) versions: Versions,
    pub(super) row: &'static ModelRow,
}

impl Printer {
    /// By the suffix of its fixtures, e.g. `h2d-01.01.01.00-running`.
    pub fn load(suffix: &str) -> Self {
        let mut reports = Reports::default();
        reports.merge(&state(&format!("report-pushall-{suffix}")));
        let modules = format!("{FOLDER}/info-get_version-{suffix}.json");
        let versions = match std::fs::read(modules) {
            Ok(bytes) => parse(&bytes)
                .expect("json")
                .into_iter()
                .find_map(|part| match part {
                    Incoming::Versions(modules) => Some(Versions::read(&modules)),
                    _ => None,
                })
                .expect("modules"),
            Err(_) => Versions::default(),
        };
        let slug = suffix.split('-').next().unwrap_or_default();
        let code = match slug {
            "a1mini" => "A1 mini",
            "p1" => "P1P",
            other => other,
        };
        let row = models::identify(&versions.clues(Some(code), ""));
        Self { reports, versions, row }
    }

    pub fn device(&self) -> Device {
        reduce::device(Source { reports: &self.reports, versions: &self.versions, row: self.row }, &[], 100.0)
    }
}
