//! What `--redact` takes out beyond secrets: addresses, serial numbers, names of machines, people, printers and files.
//!
//! The configuration is read as text here: one that is broken is the likeliest reason for a report, and names the same.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use serde_json::{Value, json};

use crate::config::Config;

/// Shorter names would take out parts of ordinary words.
const SHORTEST: usize = 3;
/// The same for names of files without their ending, and of folders.
const SHORTEST_STEM: usize = 6;
/// Files whose names are looked for; those of a larger library are found by their endings.
const FILES: usize = 20_000;
const ENDINGS: [&str; 7] = ["gcode", "gco", "bgcode", "3mf", "ufp", "mp4", "zip"];
/// Keys of the configuration, and what stands for their values.
const KEYS: [(&str, &str); 7] = [
    ("host", "<host>"),
    ("serial", "<serial>"),
    ("title", "<title>"),
    ("spoolman", "<host>"),
    ("cors_domains", "<host>"),
    ("viewers", "<user>"),
    ("operators", "<user>"),
];

/// Takes out of `bundle` whatever tells whose it is.
pub fn take_out(bundle: &mut Value, config: Option<&Config>, config_text: &str, state_dir: &Path) {
    let mut files = Vec::new();
    hide_files(bundle, &mut files);
    let mut names: Vec<(String, String)> = config.map(configured).unwrap_or_default();
    names.extend(written(config_text));
    // Below the printers' names, which stay.
    for (folder, below) in [("library", "gcodes"), ("timelapse", "")] {
        for printer in std::fs::read_dir(state_dir.join(folder)).into_iter().flatten().flatten() {
            kept_files(&printer.path().join(below), &mut files);
        }
    }
    names.extend(files.into_iter().map(|file| (file, "<file>".to_owned())));
    names.retain(|(name, _)| name.len() >= SHORTEST);
    // The first of equal ones stays: it says which printer is meant.
    names.sort_by(|(one, _), (other, _)| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    names.dedup_by(|(later, _), (earlier, _)| later == earlier);
    each_text(bundle, &|text| {
        let mut text = text.to_owned();
        for (name, stand_in) in &names {
            for form in [name.clone(), name.to_lowercase()] {
                if text.contains(&form) {
                    text = text.replace(&form, stand_in);
                }
            }
        }
        without_v6(&without_v4(&without_files(&text)))
    });
}

/// Changes every text of a JSON value; what is not a text stays JSON.
pub fn each_text(value: &mut Value, change: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = change(text),
        Value::Array(list) => list.iter_mut().for_each(|value| each_text(value, change)),
        Value::Object(map) => map.values_mut().for_each(|value| each_text(value, change)),
        _ => {}
    }
}

/// What identifies the user's machines, and what stands for it.
fn configured(config: &Config) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for printer in &config.printers {
        names.push((printer.host.clone(), format!("<host of {}>", printer.name)));
        if let Some(serial) = &printer.serial {
            names.push((serial.clone(), format!("<serial of {}>", printer.name)));
        }
        if printer.title != printer.name {
            names.push((printer.title.clone(), format!("<title of {}>", printer.name)));
        }
    }
    names
}

/// The same by the text alone, comments included.
fn written(config_text: &str) -> Vec<(String, String)> {
    let own = values(config_text, "name");
    let mut names = Vec::new();
    for (key, stand_in) in KEYS {
        for value in values(config_text, key) {
            let value = match value.split_once("://") {
                Some((_, place)) => place.split(['/', ':']).next().unwrap_or_default().to_owned(),
                None => value,
            };
            // A title like this names nobody: the name stays.
            if !own.contains(&value) {
                names.push((value, stand_in.to_owned()));
            }
        }
    }
    names
}

/// The texts that are set for `key`, one or a list, as they are written and as they are meant.
pub fn values(config_text: &str, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (place, _) in config_text.match_indices(key) {
        let before = config_text.get(..place).and_then(|text| text.chars().next_back());
        let after = config_text.get(place + key.len()..).unwrap_or_default();
        let after = after.trim_start_matches(['"', '\'']).trim_start().strip_prefix('=').map(str::trim_start);
        let Some(after) = after else { continue };
        if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-')) {
            continue;
        }
        match after.strip_prefix('[') {
            Some(list) => {
                let mut rest = list.split(']').next().unwrap_or_default();
                while let Some((value, next)) = rest.find(['"', '\'']).and_then(|at| quoted(rest.get(at..)?))
                {
                    found.push(value);
                    rest = next;
                }
            }
            None => found.extend(quoted(after).map(|(value, _)| value)),
        }
    }
    let meant = found.iter().filter_map(|raw| serde_json::from_str::<String>(&format!("\"{raw}\"")).ok());
    let meant: Vec<String> = meant.filter(|meant| !found.contains(meant)).collect();
    found.extend(meant);
    found
}

/// The text in the quotes with which `text` begins, and what comes after them.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = text.get(1..)?;
    let mut escaped = false;
    for (place, c) in inner.char_indices() {
        if c == quote && !escaped {
            return Some((inner.get(..place)?.to_owned(), inner.get(place + 1..)?));
        }
        escaped = c == '\\' && quote == '"' && !escaped;
    }
    None
}

/// Names of the files and folders below `folder`; nothing where this user may not look.
fn kept_files(folder: &Path, names: &mut Vec<String>) {
    let mut folders = vec![folder.to_owned()];
    while let Some(entries) = folders.pop().map(std::fs::read_dir) {
        for entry in entries.into_iter().flatten().flatten() {
            if names.len() >= FILES {
                return;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let stem = name.split('.').next().unwrap_or_default();
            if stem.len() >= SHORTEST_STEM {
                names.push(stem.to_owned());
            }
            if is_folder {
                folders.push(entry.path());
            } else {
                names.push(name);
            }
        }
    }
}

/// Fields that hold names of files; titles of jobs are also looked for elsewhere.
fn hide_files(value: &mut Value, names: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, field) in map.iter_mut() {
                if matches!(key.as_str(), "thumbnail" | "config_file") && field.is_string() {
                    *field = json!("<path>");
                } else if key == "job" {
                    if let Some(title) = field.get_mut("title")
                        && let Some(name) = title.as_str()
                    {
                        names.push(name.to_owned());
                        *title = json!("<file>");
                    }
                    hide_files(field, names);
                } else if key == "/activity" {
                    // Lines that clients sent name files in every form.
                    for entry in field.as_array_mut().into_iter().flatten() {
                        if matches!(crate::cli::words::text(entry, "/what"), "asked" | "job") {
                            entry["text"] = json!("<line>");
                        }
                    }
                } else {
                    hide_files(field, names);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| hide_files(value, names)),
        _ => {}
    }
}

/// Names of files by their endings: what stands in quotes as a whole, else up to the next space.
fn without_files(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for (place, part) in text.split('"').enumerate() {
        if place > 0 {
            clean.push('"');
        }
        let inner = part.trim_end_matches('\\');
        if place % 2 == 1 && is_file(inner) {
            clean.push_str("<file>");
            clean.push_str(part.get(inner.len()..).unwrap_or_default());
            continue;
        }
        let ends = |c: char| c.is_whitespace() || "'()<>[]{},;=".contains(c);
        for word in part.split_inclusive(ends) {
            let name = word.trim_end_matches(|c| ends(c) || ".:!?".contains(c));
            clean.push_str(if is_file(name) { "<file>" } else { name });
            clean.push_str(word.get(name.len()..).unwrap_or_default());
        }
    }
    clean
}

/// A sentence about `.gcode.3mf` names no file.
fn is_file(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    !name.starts_with('.') && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// IPv4 addresses other than loopback become `<address>`.
fn without_v4(text: &str) -> String {
    words(
        text,
        |c| c.is_ascii_digit() || c == '.',
        |word| {
            let address = word.trim_end_matches('.').parse::<Ipv4Addr>();
            address.is_ok_and(|address| !address.is_loopback() && !address.is_unspecified())
        },
    )
}

/// The same for IPv6.
fn without_v6(text: &str) -> String {
    words(
        text,
        |c| c.is_ascii_alphanumeric() || c == ':',
        |word| {
            let address = word.parse::<Ipv6Addr>().or_else(|_| word.trim_end_matches(':').parse());
            address.is_ok_and(|address| !address.is_loopback() && !address.is_unspecified())
        },
    )
}

/// The text with `<address>` in the place of every run of `belongs` that is one.
fn words(text: &str, belongs: impl Fn(char) -> bool, is_address: impl Fn(&str) -> bool) -> String {
    let mut clean = String::with_capacity(text.len());
    for part in text.split_inclusive(|c| !belongs(c)) {
        let word = part.trim_end_matches(|c| !belongs(c));
        clean.push_str(if is_address(word) { "<address>" } else { word });
        clean.push_str(part.get(word.len()..).unwrap_or_default());
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    const CONFIG: &str = "[gateway]\nspoolman = \"http://spool.lan:7912\"\n[access]\nviewers = [\"ana.m\", \"bob-k\"]\n\
                          cors_domains = [\n  'https://site.example.org',\n]\n[[printer]]\nname = \"p1s\"\ntitle = \"Ana's \\\"P1S\\\"\"\n\
                          kind = \"bambu\"\nhost = \"printer.lan\"\nserial = \"01P00A000000001\"\naccess_code = \"87654321\"\n\
                          [[printer]]\nname = \"cc1\"\ntitle = \"cc1\"\nkind = \"elegoo_cc1\"\nhost = \"10.0.0.7\"\n";

    fn bundle() -> Value {
        json!({
            "config": CONFIG.lines().collect::<Vec<_>>(),
            "number": 1000,
            "gateway": {
                "/status": {"printers": [{"name": "cc1", "title": "Ana's \"P1S\"",
                                          "job": {"title": "secret project.gcode", "thumbnail": "a/secret.png"}}]},
                "/activity": [{"what": "asked", "text": "start secret project.gcode"}, {"what": "refused", "text": "pause: no"},
                              {"what": "refused", "text": "There is no file \"secret two.gcode\"."}],
            },
            "journal": [
                "login refused by 192.168.1.50:8883 for 01p00a000000001. Version 1.2.3, 127.0.0.1, at 12:34:56",
                "moongate::front::moonraker: fe80::a:1: refused, [2001:db8::1]:443, ::1. Only .gcode.3mf are printed.",
                "upload file=secret_three.gcode.3mf size=3, and secret project.gcode was not found",
                "spool.lan does not answer ana.m at site.example.org; the printer calls it kept_thing",
            ],
        })
    }

    #[test]
    fn whatever_tells_whose_it_is_is_taken_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let library = folder.path().join("library/p1s/gcodes");
        std::fs::create_dir_all(&library).expect("made");
        std::fs::write(library.join("kept_thing.gcode"), "").expect("written");
        let config = Config::parse(CONFIG, &Environment::of(&[])).expect("good");
        for (config, text) in
            [(Some(&config), CONFIG.to_owned()), (None, format!("{CONFIG}mistyped = 1\n[["))]
        {
            let mut told = bundle();
            take_out(&mut told, config, &text, folder.path());
            let shown = told.to_string();
            for hidden in [
                "secret",
                "192.168.1.50",
                "01P00A000000001",
                "01p00a000000001",
                "printer.lan",
                "10.0.0.7",
                "Ana's",
                "spool.lan",
                "ana.m",
                "bob-k",
                "site.example.org",
                "fe80",
                "2001:db8",
                "kept_thing",
            ] {
                assert!(!shown.contains(hidden), "{hidden} in {shown}");
            }
            for kept in [
                "<address>:8883",
                "[<address>]:443",
                "1.2.3",
                "127.0.0.1",
                "::1",
                "12:34:56",
                "moongate::front::moonraker",
                "pause: no",
                "Only .gcode.3mf are",
                "http://<host>:7912",
                "There is no file \\\"<file>\\\".",
                "elegoo_cc1",
                "\"cc1\"",
                "\"number\":1000",
                "file=<file> size=3",
            ] {
                assert!(shown.contains(kept), "{kept} missing in {shown}");
            }
            assert_eq!(shown.contains("<serial of p1s>"), config.is_some(), "{shown}");
        }
    }
}
