//! The pages that people read: their links lead somewhere, and the program understands what they tell to type.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use clap::error::ErrorKind;
use moongate::cli::Cli;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn markdown(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            markdown(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "md") {
            found.push(entry);
        }
    }
}

/// Each page with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let mut found = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for folder in ["docs", "fixtures", "deploy"] {
        markdown(&root().join(folder), &mut found);
    }
    assert!(found.len() > 25, "{found:?}");
    found.into_iter().map(|path| (path.clone(), fs::read_to_string(path).expect("a page"))).collect()
}

/// How a heading is called in a link to it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let (mut followed, mut dead) = (0, Vec::new());
    for (page, text) in pages() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let there = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            let has = |heading: &str| {
                let text = fs::read_to_string(&there).unwrap_or_default();
                text.lines()
                    .any(|line| line.starts_with('#') && anchor(line.trim_start_matches('#')) == heading)
            };
            if !there.exists() || (!heading.is_empty() && !has(heading)) {
                dead.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(followed > 30, "{followed}");
    assert!(dead.is_empty(), "{dead:#?}");
}

/// What a page tells to type: lines of code blocks, and code that begins with the program's name and a word.
fn typed(text: &str) -> Vec<String> {
    let spans = text.split('`').skip(1).step_by(2);
    let lines = text.split("```").skip(1).step_by(2).flat_map(str::lines);
    let lines = lines.map(|line| line.trim().trim_start_matches("$ ").trim_start_matches("sudo "));
    let begins = |command: &&str| {
        let rest = command.strip_prefix("moongate ");
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    spans.chain(lines).filter(begins).map(str::to_owned).collect()
}

#[test]
fn every_command_of_the_pages_is_understood() {
    let (mut tried, mut wrong) = (0, Vec::new());
    for (page, text) in pages() {
        for command in typed(&text) {
            // Up to what is the shell's own; words in brackets may be left out.
            let words = command.split([' ', '\n']).filter(|word| !word.is_empty());
            let words = words.take_while(|word| !["<", ">", "|", "&&", "#", "&"].contains(word));
            let words: Vec<&str> = words
                .filter(|word| !word.starts_with('[') && !word.ends_with(']'))
                .map(|word| if word == "SHELL" { "bash" } else { word })
                .collect();
            tried += 1;
            if let Err(error) = Cli::try_parse_from(&words) {
                // A verb that is only named needs nothing behind it.
                let named = words.len() == 2 && error.kind() == ErrorKind::MissingRequiredArgument;
                if !named && error.kind() != ErrorKind::DisplayHelp {
                    wrong.push(format!("{}: {command}: {error}", page.display()));
                }
            }
        }
    }
    assert!(tried > 40, "{tried}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
