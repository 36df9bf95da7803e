//! `moongate dump`: one JSON file for a bug report. Secrets are never in it; `--redact` also takes out what tells whose
//! it is (`anonymous`).

mod anonymous;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, ClientError, GatewayArgs, configured};
use super::{EXIT_FAILED, fresh_file};
use crate::config::Environment;
use crate::printer::clock::unix_now;
use crate::secret;

const JOURNAL_LINES: &str = "1000";
const JOURNAL: Duration = Duration::from_secs(15);

#[derive(Debug, clap::Args)]
pub struct DumpArgs {
    /// Take out addresses, serial numbers, titles of printers, and names of files and users as well.
    #[arg(long)]
    pub redact: bool,
    /// Where to write; moongate-dump.json in this folder where not given, "-" for standard output.
    #[arg(long, short)]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

pub async fn dump(args: &DumpArgs, environment: &Environment) -> ExitCode {
    let path = args.gateway.config.config.clone().unwrap_or_else(|| environment.config_file());
    let config_text = std::fs::read_to_string(&path);
    let config = args.gateway.config.load_of_gateway(environment);
    let mut bundle = json!({
        "time": unix_now(),
        "version": env!("CARGO_PKG_VERSION"),
        "system": system(),
        "config_file": path.display().to_string(),
        "config": match &config_text {
            Ok(text) => Value::from(without_codes(text)),
            Err(error) => json!({"unreadable": error.to_string()}),
        },
        "config_check": match &config {
            Ok((_, config)) => json!({"warnings": config.warnings}),
            Err(error) => json!({"mistakes": error.0.iter().map(ToString::to_string).collect::<Vec<_>>()}),
        },
        "gateway": gateway(args, environment).await,
        "journal": journal().await,
    });
    if let (Some(map), Ok((_, config))) = (bundle.as_object_mut(), &config) {
        map.insert("state".to_owned(), state(&config.gateway.state_dir));
    }
    let config = config.as_ref().ok().map(|(_, config)| config);
    // Before names are replaced, which could be part of a secret.
    anonymous::each_text(&mut bundle, &secret::redact);
    if args.redact {
        let text = config_text.unwrap_or_default();
        let written = || anonymous::values(&text, "state_dir").pop().map(PathBuf::from);
        let state_dir = config.map(|config| config.gateway.state_dir.clone()).or_else(written);
        let state_dir = state_dir.unwrap_or_else(|| environment.state_dir());
        anonymous::take_out(&mut bundle, config, &text, &state_dir);
    }
    write(args, &serde_json::to_string_pretty(&bundle).unwrap_or_default())
}

fn write(args: &DumpArgs, text: &str) -> ExitCode {
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from("moongate-dump.json"));
    if path.as_os_str() == "-" {
        println!("{text}");
        return ExitCode::SUCCESS;
    }
    match keep(&path, text.as_bytes()) {
        Ok(()) => {
            println!("{} is written. Read it before you pass it on.", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain!("{} cannot be written: {error}. --output names another place.", path.display());
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// A file for its owner only, whole or not at all, in place of an older one. Pipes and devices are written as they are.
fn keep(path: &Path, content: &[u8]) -> std::io::Result<()> {
    match path.symlink_metadata() {
        // In a folder that others write to it could lead anywhere, and its target could be open to them.
        Ok(found) if found.is_symlink() => {
            return Err(std::io::Error::other(
                "it is a link, and those are not followed (\"-\" is standard output)",
            ));
        }
        Ok(found) if found.is_dir() => {
            return Err(std::io::Error::other("it is a folder"));
        }
        Ok(found) if !found.is_file() => {
            return std::fs::OpenOptions::new().write(true).open(path)?.write_all(content);
        }
        _ => {}
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = fresh_file(folder, ".moongate-dump-")?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// Everything the running gateway tells of itself.
async fn gateway(args: &DumpArgs, environment: &Environment) -> Value {
    let client = match Client::new(&args.gateway, environment).await {
        // A wrong configuration is what many reports are about; its gateway may run all the same, where most do.
        Err(ClientError::Config(_)) => {
            let usual = GatewayArgs { gateway: Some(configured(None)), ..args.gateway.clone() };
            Client::new(&usual, environment).await
        }
        made => made,
    };
    let client = match client {
        Ok(client) => client,
        Err(error) => return unanswered(error),
    };
    let mut told = serde_json::Map::new();
    for path in ["/status", "/activity"] {
        let answer = client.get::<Value>(path).await;
        told.insert(path.to_owned(), answer.unwrap_or_else(unanswered));
    }
    let metrics = client.text("/metrics").await;
    let metrics = metrics.map_or_else(unanswered, |text| json!(text.lines().collect::<Vec<_>>()));
    told.insert("/metrics".to_owned(), metrics);
    Value::Object(told)
}

/// Without the name of who is logged in: nobody needs it to mend anything.
fn unanswered(error: ClientError) -> Value {
    let error = match error {
        ClientError::LoginEnded { url, .. } => ClientError::LoginEnded { user: "<user>".to_owned(), url },
        other => other,
    };
    json!({"error": error.to_string()})
}

fn system() -> Value {
    let first = |path: &str| {
        std::fs::read_to_string(path).ok().and_then(|text| text.lines().next().map(ToOwned::to_owned))
    };
    json!({
        "os": first("/etc/os-release"),
        "kernel": first("/proc/version"),
        "arch": std::env::consts::ARCH,
        "uptime": first("/proc/uptime"),
    })
}

/// The newest lines of the service's journal, where there is one and this user may read it.
async fn journal() -> Value {
    let mut command = tokio::process::Command::new("journalctl");
    command.args([
        "--unit=moongate.service",
        "--no-pager",
        "--no-hostname",
        "--output=short-iso",
        "--lines",
        JOURNAL_LINES,
    ]);
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(JOURNAL, command.output()).await {
        Ok(Ok(output)) => {
            let text = String::from_utf8_lossy(&output.stdout);
            json!(text.lines().collect::<Vec<_>>())
        }
        Ok(Err(error)) => json!({"absent": error.to_string()}),
        Err(_late) => json!({"absent": "journalctl did not end in time"}),
    }
}

/// What the state directory holds: sizes and counts, no names.
fn state(folder: &Path) -> Value {
    let mut by_ending: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    let mut seen = 0;
    while let Some(entries) = folders.pop().map(std::fs::read_dir) {
        for entry in entries.into_iter().flatten().flatten() {
            seen += 1;
            // A library of this size is a matter for other means.
            if seen > 100_000 {
                return json!({"too_many_files": seen});
            }
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => {
                    let path = entry.path();
                    let ending = path
                        .extension()
                        .map_or_else(String::new, |ending| ending.to_string_lossy().into_owned());
                    let sum = by_ending.entry(ending).or_default();
                    *sum = (sum.0 + 1, sum.1 + found.len());
                }
                Err(_) => {}
            }
        }
    }
    let told = by_ending
        .into_iter()
        .map(|(ending, (files, bytes))| (ending, json!({"files": files, "bytes": bytes})));
    Value::Object(told.collect())
}

/// The configuration with inline codes taken out, also from a file too broken to be read as TOML.
fn without_codes(text: &str) -> Vec<String> {
    let line = |line: &str| {
        let bare = line.trim_start().trim_start_matches('#').trim_start();
        let quoted = bare.trim_start_matches(['"', '\'']);
        match quoted.strip_prefix("access_code") {
            Some(rest) if !rest.starts_with("_file") && !rest.starts_with("_env") => {
                "access_code = \"***\"".to_owned()
            }
            // Tables written on one line can hold a code anywhere.
            _ if line.contains("access_code") && !bare.starts_with("access_code") => {
                "# a line with a code was here".to_owned()
            }
            _ => line.to_owned(),
        }
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_report_takes_the_place_of_an_older_one_and_not_its_mode() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("dump.json");
        std::fs::write(&path, "old, and longer than what comes").expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("opened to all");
        let reader = std::fs::File::open(&path).expect("somebody has it open");
        keep(&path, b"new").expect("kept");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "new");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(std::io::read_to_string(reader).expect("read"), "old, and longer than what comes");

        let link = folder.path().join("link.json");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        assert!(keep(&link, b"x").is_err_and(|error| error.to_string().contains("is a link")));
        assert!(keep(folder.path(), b"x").is_err_and(|error| error.to_string().contains("is a folder")));
        let nowhere =
            keep(&folder.path().join("none/dump.json"), b"x").expect_err("no such folder").to_string();
        assert!(nowhere.starts_with("No such file") && !nowhere.contains(".moongate-dump-"), "{nowhere}");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "new");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 2, "no part stays behind");
        keep(Path::new("/dev/null"), b"x").expect("a device is written");
        assert!(std::fs::symlink_metadata("/dev/null").is_ok_and(|found| !found.is_file()), "and stays one");
    }

    #[test]
    fn codes_are_taken_out_wherever_they_stand() {
        let text = "[[printer]]\nname=\"p1s\"\naccess_code = \"87654321\"\n# access_code=11112222\n\
                    x = {access_code = \"33334444\"}\naccess_code_file = \"f\"\n";
        let told = without_codes(text).join("\n");
        for code in ["87654321", "11112222", "33334444"] {
            assert!(!told.contains(code), "{told}");
        }
        assert!(told.contains("access_code_file = \"f\""));
    }
}
