//! The parts that compute and wait for nothing: reports, views, G-code, metadata.
//!
//! `cargo bench --features doors`, or `-- reports/bambu` for some of it. Criterion compares with the run before.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use moongate::front::moonraker::fuzz_doors::{Kept, difference, view};
use moongate::fuzzing::door;
use moongate::model::{Capabilities, Heater, HeaterCaps, LinkPhase, Nozzle, PrinterState};

/// The fixtures of a folder whose names begin and end so, in order.
fn fixtures(folder: &str, prefix: &str, ending: &str) -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(root).expect("fixtures").map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    let name = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    paths.retain(|path| path.extension().is_some_and(|found| found == ending));
    let chosen = paths.into_iter().filter(|path| name(path).is_some_and(|name| name.starts_with(prefix)));
    chosen.map(|path| (name(&path).unwrap_or_default(), fs::read(path).expect("fixture"))).collect()
}

/// Bytes of each captured report to the printer's state.
fn reports(c: &mut Criterion) {
    for (group, name, folder, prefix) in [
        ("reports/bambu", "bambu_json", "bambu", "report-pushall-"),
        ("reports/bambu-delta", "bambu_json", "bambu", "delta-"),
        ("reports/cc1", "sdcp", "elegoo/captured", "cc1-status-"),
        ("reports/cc2", "cc2_json", "elegoo/captured", "cc2-1002-status-"),
    ] {
        let read = door(name).expect("a door");
        let mut group = c.benchmark_group(group);
        for (name, bytes) in fixtures(folder, prefix, "json") {
            group.throughput(Throughput::Bytes(bytes.len() as u64));
            group.bench_function(name, |b| b.iter(|| read(black_box(&bytes))));
        }
    }
}

fn printer(temperature: f64) -> (PrinterState, Capabilities) {
    let mut state = PrinterState::default();
    state.link.phase = LinkPhase::Online;
    let heater = Heater { actual: Some(temperature), target: Some(220.0) };
    state.device.nozzles = vec![Nozzle { heater, ..Nozzle::default() }];
    state.device.bed = Heater { actual: Some(60.0), target: Some(60.0) };
    let caps = Capabilities { nozzles: vec![HeaterCaps { max: Some(300.0) }], ..Capabilities::default() };
    (state, caps)
}

/// State to view, and what one changed temperature sends to a client that subscribed to everything.
fn views(c: &mut Criterion) {
    let ((cold, caps), (warm, _)) = (printer(200.0), printer(201.5));
    let (caps, mut kept) = (Arc::new(caps), Kept::default());
    let before = view(&cold, &caps, None, &mut kept);
    let after = view(&warm, &caps, Some(&before), &mut kept);
    assert!(difference(&before, &after).contains("201.5"));
    c.bench_function("view/whole", |b| {
        b.iter(|| view(black_box(&warm), &caps, Some(&before), &mut kept));
    });
    c.bench_function("view/difference", |b| b.iter(|| difference(black_box(&before), black_box(&after))));
}

fn gcode(c: &mut Criterion) {
    let read = door("gcode_line").expect("a door");
    let mut group = c.benchmark_group("gcode_line");
    for line in [
        "G1 X101.325 Y98.117 E.04521 F7200",
        "N4711 M104 T0 S215 ; nozzle*57",
        "SET_FAN_SPEED FAN=aux SPEED=0.5",
    ] {
        group.bench_function(line, |b| b.iter(|| read(black_box(line.as_bytes()))));
    }
}

fn metadata(c: &mut Criterion) {
    let read = door("gcode_metadata").expect("a door");
    let mut group = c.benchmark_group("metadata");
    for folder in ["gcode/constructed", "gcode/curaengine-4.13.0", "gcode/prusaslicer-2.5.0"] {
        for (name, bytes) in fixtures(folder, "", "gcode") {
            group.throughput(Throughput::Bytes(bytes.len() as u64));
            group.bench_function(name, |b| b.iter(|| read(black_box(&bytes))));
        }
    }
    let archive = moongate::sim::sample::cube_3mf("C12").expect("the sample");
    let read = door("three_mf").expect("a door");
    group.throughput(Throughput::Bytes(archive.len() as u64));
    group.bench_function("sample.gcode.3mf", |b| b.iter(|| read(black_box(&archive))));
}

criterion_group!(benches, reports, views, gcode, metadata);
criterion_main!(benches);
