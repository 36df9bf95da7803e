//! The walls of the house (design section 1): who may know whom, read off the sources' own paths.
#![allow(clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Room, and the rooms it must not name.
const WALLS: [(&str, &[&str]); 11] = [
    (
        "access",
        &[
            "printer", "drivers", "front", "sim", "net", "jobs", "library", "camera", "gcode", "station",
            "config", "metadata", "app", "cli",
        ],
    ),
    (
        "model",
        &[
            "printer", "drivers", "front", "sim", "net", "jobs", "library", "store", "camera", "gcode",
            "station", "config", "metadata", "app", "cli",
        ],
    ),
    (
        "printer",
        &["drivers", "front", "sim", "jobs", "library", "store", "gcode", "station", "config", "app", "cli"],
    ),
    (
        "net",
        &[
            "model", "printer", "drivers", "front", "sim", "jobs", "library", "store", "gcode", "station",
            "config", "app", "cli",
        ],
    ),
    ("drivers", &["front", "sim", "jobs", "library", "store", "gcode", "station", "config", "app", "cli"]),
    ("front", &["drivers", "sim", "app", "cli"]),
    ("filament", &["drivers", "front", "sim", "net", "jobs", "gcode", "station", "config", "app", "cli"]),
    (
        "sim",
        &[
            "model", "printer", "drivers", "front", "net", "jobs", "library", "store", "gcode", "station",
            "config", "app", "cli",
        ],
    ),
    (
        "gcode",
        &[
            "printer", "drivers", "front", "sim", "net", "jobs", "library", "store", "camera", "station",
            "config", "metadata", "app", "cli",
        ],
    ),
    ("station", &["drivers", "front", "sim", "net", "config", "app", "cli"]),
    (
        "metadata",
        &[
            "model", "printer", "drivers", "front", "sim", "jobs", "library", "store", "station", "config",
            "app", "cli",
        ],
    ),
];

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

#[test]
fn no_room_names_what_lies_behind_its_walls() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut breaches = Vec::new();
    for (room, forbidden) in WALLS {
        let mut files = Vec::new();
        sources(&root.join(room), &mut files);
        assert!(!files.is_empty(), "the room {room} is gone");
        for file in files.iter().filter(|file| !is_test(file)) {
            let text = fs::read_to_string(file).expect("a source");
            for word in forbidden {
                if product_part(&text).contains(&format!("crate::{word}")) {
                    breaches.push(format!("{} names crate::{word}", file.display()));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
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
