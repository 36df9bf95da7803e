//! docs/ref/permissions.md against the sources: a method or route without a row, or with another role than its row says,
//! fails here. `compat/trust/test_permissions.py` tries the rows at the running program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Rows of the page: the code of the first cell, and the two cells after it.
fn documented() -> Vec<(String, String, String)> {
    let page = fs::read_to_string(root().join("docs/ref/permissions.md")).unwrap();
    let row = |line: &str| {
        let (name, rest) = line.strip_prefix("| `")?.split_once('`')?;
        let mut cells = rest.trim_matches([' ', '|']).split(" | ").map(|cell| cell.trim().to_owned());
        Some((name.to_owned(), cells.next()?, cells.next()?))
    };
    page.lines().filter_map(row).collect()
}

/// The program's own sources below a folder, tests left out.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            text += &sources(&path);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            text += &fs::read_to_string(&path).unwrap();
        }
    }
    text
}

fn role(flags: &str) -> &'static str {
    let has = |flag: &str| flags.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == flag);
    match () {
        () if has("ANYONE") => "anyone",
        () if has("ADMIN") => "admin",
        () if has("OPERATE") => "operate",
        () => "view",
    }
}

/// Name and role of every row of the table of methods.
fn methods() -> BTreeMap<String, String> {
    let table = fs::read_to_string(root().join("src/front/moonraker/methods/mod.rs")).unwrap();
    let table = &table[table.find("static TABLE").unwrap()..];
    let table = &table[..table.find("\n};").unwrap()];
    let row = |line: &str| {
        let (name, rest) = line.trim().strip_prefix('"')?.split_once('"')?;
        let flags = rest.rsplit_once("=>")?.0.rsplit_once('"')?.1;
        Some((name.to_owned(), role(flags).to_owned()))
    };
    let rows: BTreeMap<_, _> = table.lines().filter_map(row).collect();
    assert!(rows.len() > 100, "the table is read: {}", rows.len());
    rows
}

#[test]
fn every_method_has_the_role_that_is_documented() {
    let methods = methods();
    let documented: BTreeMap<String, String> = documented()
        .into_iter()
        .filter(|(name, ..)| !name.starts_with('/'))
        .map(|(name, _, role)| (name, role))
        .collect();
    let differs = |name: &&String| documented.get(*name) != methods.get(*name);
    let names: BTreeSet<&String> = documented.keys().chain(methods.keys()).filter(differs).collect();
    let told = |role: Option<&String>| role.map_or("missing", String::as_str).to_owned();
    let differences: Vec<String> = names
        .into_iter()
        .map(|name| {
            let (page, table) = (told(documented.get(name)), told(methods.get(name)));
            format!("{name}: {page} in docs/ref/permissions.md, {table} in methods/mod.rs")
        })
        .collect();
    assert!(differences.is_empty(), "{differences:#?}");
}

/// What stands between quotes after `before`.
fn quoted_after(text: &str, before: &str) -> BTreeSet<String> {
    let pieces = text.split(before).skip(1);
    pieces.filter_map(|piece| piece.split('"').next()).map(str::to_owned).collect()
}

#[test]
fn every_route_has_a_row() {
    let documented: BTreeSet<String> = documented().into_iter().map(|(name, ..)| name).collect();
    let front = root().join("src/front");
    let mut routes = quoted_after(&sources(&front.join("webcam")), ".route(\"");
    for route in quoted_after(&sources(&front.join("admin")), ".route(\"") {
        let nested = format!("/printers/<name>/moongate{route}");
        let missing = !documented.contains(&route) && !documented.contains(&nested);
        assert!(!missing, "{route} of the gateway's port is in no row of docs/ref/permissions.md");
    }
    let words = |text: String| quoted_after(&text, "\"/api/").into_iter().map(|rest| format!("/api/{rest}"));
    routes.extend(words(sources(&front.join("moonraker/octoprint"))).filter(|path| !path.ends_with('/')));
    assert!(routes.len() > 25, "{routes:?}");
    for route in routes {
        assert!(documented.contains(&route), "{route} is in no row of docs/ref/permissions.md");
    }
}
