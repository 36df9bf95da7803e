//! What of `deny.toml` can be judged without cargo-deny and the network: banned crates and where crates come from.
//! Licences and advisories are `cargo deny check`, which `.ci/run` calls where it is installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use std::path::Path;

use toml::{Table, Value};

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn read(name: &str) -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap().parse().unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn text<'t>(table: &'t Value, key: &str) -> Option<&'t str> {
    table.get(key)?.as_str()
}

#[test]
fn no_banned_crate_and_no_foreign_source() {
    let deny = read("deny.toml");
    let banned: Vec<&str> = deny["bans"]["deny"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| text(entry, "crate").expect("a crate and a reason"))
        .collect();
    assert!(banned.contains(&"openssl-sys") && banned.contains(&"aws-lc-rs"), "{banned:?}");
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let lock = read(lock);
        let packages = lock["package"].as_array().unwrap();
        assert!(packages.len() > 100);
        for package in packages {
            let name = text(package, "name").unwrap();
            assert!(!banned.contains(&name), "{name} is banned by deny.toml");
            let source = text(package, "source");
            assert!(source.is_none_or(|source| source == REGISTRY), "{name} comes from {source:?}");
            assert!(source.is_none() || text(package, "checksum").is_some(), "{name} has no checksum");
        }
    }
}

/// Nothing is ignored or let through without a reason, and only what the graph still holds.
#[test]
fn every_exception_has_a_reason_and_a_use() {
    let (deny, lock) = (read("deny.toml"), read("Cargo.lock"));
    let packages = lock["package"].as_array().unwrap();
    let held = |wanted: &str| {
        let (name, version) = wanted.split_once('@').unwrap_or((wanted, ""));
        packages.iter().any(|package| {
            text(package, "name") == Some(name) && text(package, "version").unwrap().starts_with(version)
        })
    };
    for (list, key) in [("skip", "crate"), ("skip-tree", "crate"), ("deny", "crate")] {
        for entry in deny["bans"][list].as_array().unwrap() {
            let name = text(entry, key).unwrap();
            assert!(text(entry, "reason").is_some_and(|reason| reason.len() > 3), "{name} has no reason");
            assert!(list == "deny" || held(name), "{name} is skipped and not used any more");
        }
    }
    for entry in deny["advisories"]["ignore"].as_array().unwrap() {
        assert!(text(entry, "id").is_some_and(|id| id.starts_with("RUSTSEC-")), "{entry:?}");
        let reason = text(entry, "reason").expect("a reason");
        assert!(held(reason.split_whitespace().next().unwrap()), "{reason}: not in the graph any more");
    }
}
