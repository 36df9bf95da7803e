//! The walls of the house (design section 1): who may know whom, read off the sources' own paths.
#![allow(clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of the house from the ground up, each with the rooms that it may name: only such as come before it here.
const ROOMS: [(&str, &[&str]); 22] = [
    ("url", &[]),
    ("secret", &["url"]),
    ("model", &[]),
    ("sim", &[]),
    ("store", &["model"]),
    ("net", &["secret"]),
    ("gcode", &["model"]),
    ("metadata", &["gcode"]),
    ("access", &["secret", "model", "store"]),
    ("config", &["secret", "model", "metadata", "access"]),
    ("printer", &["model", "net"]),
    ("logging", &["secret", "printer"]),
    ("console", &["model", "printer"]),
    ("camera", &["secret", "model", "net", "printer"]),
    ("library", &["model", "store", "metadata", "printer"]),
    ("filament", &["model", "store", "metadata", "printer", "library"]),
    ("jobs", &["model", "store", "metadata", "printer", "library", "filament"]),
    ("drivers", &["url", "secret", "model", "net", "metadata", "printer"]),
    ("discovery", &["model", "store", "config", "printer", "drivers"]),
    ("station", &["model", "store", "gcode", "printer", "console", "camera", "library", "jobs"]),
    (
        "front",
        &[
            "url", "secret", "model", "store", "net", "gcode", "metadata", "access", "config", "printer",
            "logging", "camera", "library", "filament", "jobs", "station",
        ],
    ),
    (
        "app",
        &[
            "secret",
            "model",
            "store",
            "net",
            "access",
            "config",
            "printer",
            "camera",
            "library",
            "filament",
            "jobs",
            "drivers",
            "discovery",
            "station",
            "front",
        ],
    ),
];
/// They stand on top: the commands know the whole house, the doors for the fuzzer lead into any room.
const ON_TOP: [&str; 2] = ["cli", "fuzzing"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

/// Tests may look over walls (a driver against its simulator); the product may not.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().to_string_lossy().contains("test"))
}

fn product_part(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

/// The rooms of the crate that a text names, comments left out.
fn named(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    assert!(!code.contains("use crate::{"), "name one room in each `use`");
    let word = |rest: &str| rest.split(|c: char| !c.is_ascii_lowercase()).next().map(str::to_owned);
    code.split("crate::").skip(1).filter_map(word).collect()
}

/// Each room with the files of the product in it.
fn rooms() -> BTreeMap<String, Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut rooms: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in files.into_iter().filter(|file| !is_test(file)) {
        let inside = file.strip_prefix(&root).expect("below src").components().next().expect("a name");
        let room = inside.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        rooms.entry(room).or_default().push(file);
    }
    for name in ["lib", "main"] {
        rooms.remove(name);
    }
    rooms
}

#[test]
fn a_room_names_only_what_it_may() {
    let rooms = rooms();
    let mut breaches = Vec::new();
    for (room, files) in &rooms {
        if ON_TOP.contains(&room.as_str()) {
            continue;
        }
        let Some((_, allowed)) = ROOMS.iter().find(|(known, _)| known == room) else {
            breaches.push(format!("src/{room} has no row in ROOMS of tests/layering.rs"));
            continue;
        };
        let mut used = BTreeSet::new();
        for file in files {
            let text = fs::read_to_string(file).expect("a source");
            for other in named(product_part(&text)) {
                if other != *room && rooms.contains_key(&other) && !allowed.contains(&other.as_str()) {
                    breaches.push(format!("{} names crate::{other}", file.display()));
                }
                used.insert(other);
            }
        }
        let idle = allowed.iter().filter(|other| !used.contains(**other));
        breaches
            .extend(idle.map(|other| format!("{room} may name {other} and does not: take it off its row")));
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

/// So no two rooms ever need each other.
#[test]
fn the_rooms_stand_on_those_before_them() {
    let mut before = Vec::new();
    for (room, allowed) in ROOMS {
        for other in allowed {
            assert!(before.contains(other), "{room} names {other}, which does not come before it");
        }
        before.push(room);
    }
}

#[test]
fn drivers_and_front_ends_do_not_know_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for side in ["drivers", "front", "sim"] {
        let folders: Vec<String> = fs::read_dir(root.join(side))
            .expect("a side")
            .map(|entry| entry.expect("an entry"))
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        for own in &folders {
            let mut files = Vec::new();
            sources(&root.join(side).join(own), &mut files);
            for file in files {
                let text = fs::read_to_string(&file).expect("a source");
                // `drivers/elegoo` is what the two Elegoo protocols share, not a driver.
                for other in folders.iter().filter(|other| *other != own && *other != "elegoo") {
                    for path in [format!("crate::{side}::{other}::"), format!("super::{other}::")] {
                        assert!(!text.contains(&path), "{} names {path}", file.display());
                    }
                }
            }
        }
    }
}

/// Words of one vendor or client that must not leak into the middle.
#[test]
fn the_model_speaks_no_dialect() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let dialect = ["gcode_state", "tray_now", "CurrentStatus", "print_stats", "virtual_sdcard", "subtask"];
    let mut files = Vec::new();
    sources(&root.join("model"), &mut files);
    sources(&root.join("printer"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).expect("a source");
        for word in dialect {
            assert!(!text.contains(word), "{} speaks of {word}", file.display());
        }
    }
}
