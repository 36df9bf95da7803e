//! `moongate init`: finds printers, asks for their codes, tests each, and writes a commented configuration.
//!
//! Nothing is on the disk before the last answer: whoever stops it with Ctrl-C, or ends the input with Ctrl-D, finds the
//! machine as it was, and is told so.

mod interview;
mod text;

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nix::unistd::{AccessFlags, User, access, chown, geteuid};

use super::probe::{self, Step};
use super::{ConfigArgs, EXIT_FAILED, EXIT_INTERRUPTED, until_stopped};
use crate::config::{Config, Environment, PrinterConfig};
use crate::discovery::{self, FoundPrinter};
use interview::{Interview, Terminal};

/// Where the service has its configuration, and the user that runs it (deploy/systemd).
const SERVICE_FOLDER: &str = "/etc/moongate";
const SERVICE_USER: &str = "moongate";

#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Listen for printers this long; 0 does not look for any.
    #[arg(long, default_value_t = 12)]
    pub seconds: u64,
    /// Do not try the connections.
    #[arg(long)]
    pub no_test: bool,
    /// Where to write; nothing that exists is overwritten.
    #[command(flatten)]
    pub config: ConfigArgs,
}

pub async fn init(args: &InitArgs, environment: &Environment) -> ExitCode {
    match until_stopped(Box::pin(make(args, environment))).await {
        Some(code) => code,
        None => {
            // Below the question that stands there; who asked it holds standard output.
            super::words::tell(format_args!(""));
            complain!("stopped; nothing is written.");
            // A question may still wait for its answer, and the runtime for that.
            std::process::exit(EXIT_INTERRUPTED.into())
        }
    }
}

async fn make(args: &InitArgs, environment: &Environment) -> ExitCode {
    let path = args.config.config.clone().unwrap_or_else(|| environment.new_config_file());
    if let Err(why) = can_be_written(&path) {
        return failed(&why);
    }
    let found = look(args.seconds).await;
    let (test, surroundings) = (!args.no_test, environment.clone());
    let asked = tokio::task::spawn_blocking(move || {
        let terminal = Terminal { input: std::io::stdin().lock(), output: std::io::stdout().lock() };
        let runtime = tokio::runtime::Handle::current();
        let tester = |printer: &PrinterConfig, tell: &mut dyn FnMut(&Step)| {
            if test { runtime.block_on(probe::run(printer, tell)) } else { Vec::new() }
        };
        Interview::new(terminal, tester, surroundings).hold(&found)
    });
    let (printers, open) = match asked.await {
        Ok(Ok(answers)) => answers,
        Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => {
            println!();
            return failed("the input ended before the last answer; nothing is written");
        }
        Ok(Err(error)) => {
            return failed(&format!("the terminal cannot be used: {error}; nothing is written"));
        }
        Err(error) => return failed(&format!("the questions ended early: {error}; nothing is written")),
    };
    if printers.is_empty() {
        return failed("no printer was named, nothing is written");
    }
    let text = text::configuration(&printers, open);
    if let Err(error) = Config::parse(&text, environment) {
        return failed(&format!("these answers make no valid configuration:\n{error}"));
    }
    if let Err(error) = write(&path, &text) {
        // The answers are not lost.
        println!("\n{text}");
        return failed(&format!(
            "{} cannot be written: {error}. What it should hold is above: save that, for your own user only",
            path.display()
        ));
    }
    let handed = hand_to_service(&path).unwrap_or_else(|error| {
        complain!("{} cannot be given to the user {SERVICE_USER}: {error}.", path.display());
        false
    });
    let whose = if handed { "the service" } else { "you" };
    println!("\n{} is written, readable by {whose} only.", path.display());
    println!("Next: {}", next(handed, &path, &environment.config_file()));
    ExitCode::SUCCESS
}

/// The command that runs what was written; `usual` is the file that is taken where none is named.
fn next(handed: bool, path: &Path, usual: &Path) -> String {
    match std::path::absolute(path) {
        _ if handed => "sudo systemctl restart moongate".to_owned(),
        Ok(path) if path != usual => format!("moongate run --config '{}'", path.display()),
        _ => "moongate run".to_owned(),
    }
}

/// Before anybody is asked anything.
fn can_be_written(path: &Path) -> Result<(), String> {
    if path.symlink_metadata().is_ok() {
        return Err(format!(
            "{} exists and is left as it is. Edit it, or name another file with --config",
            path.display()
        ));
    }
    let absolute = std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let folder = absolute.ancestors().skip(1).find(|folder| folder.exists());
    let folder = folder.map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
    if !folder.is_dir() || access(&folder, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        return Err(format!(
            "{} cannot be written: {} is no folder that you may write to. Name another file with --config",
            path.display(),
            folder.display()
        ));
    }
    Ok(())
}

async fn look(seconds: u64) -> Vec<FoundPrinter> {
    if seconds == 0 {
        return Vec::new();
    }
    println!("Looking for printers for {seconds} s...");
    let findings = discovery::discover(Duration::from_secs(seconds.min(120))).await;
    findings.problems.iter().for_each(|problem| complain!("{problem}"));
    match findings.printers.len() {
        0 => println!("None made itself known; they can be added by their address."),
        1 => println!("One printer was found."),
        count => println!("{count} printers were found."),
    }
    findings.printers
}

fn failed(why: &str) -> ExitCode {
    complain!("{why}.");
    ExitCode::from(EXIT_FAILED)
}

/// For the owner only, as it holds access codes; all of it or nothing, and never over an existing file.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder)?;
    let mut file = super::fresh_file(folder, ".moongate-init-")?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map(drop).map_err(|error| error.error)
}

/// Root writes the service's configuration for the user that reads it; true where that was done.
fn hand_to_service(path: &Path) -> std::io::Result<bool> {
    if !geteuid().is_root() || !path.starts_with(SERVICE_FOLDER) {
        return Ok(false);
    }
    let Some(user) = User::from_name(SERVICE_USER)? else { return Ok(false) };
    chown(path, Some(user.uid), Some(user.gid))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_comes_next_names_a_file_that_would_not_be_found() {
        let usual = Path::new("/home/me/.config/moongate/moongate.toml");
        assert_eq!(next(false, usual, usual), "moongate run");
        assert_eq!(next(false, Path::new("/srv/a.toml"), usual), "moongate run --config '/srv/a.toml'");
        assert_eq!(
            next(true, Path::new("/etc/moongate/moongate.toml"), usual),
            "sudo systemctl restart moongate"
        );
    }

    #[test]
    fn the_file_is_private_and_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/moongate.toml");
        assert_eq!(can_be_written(&path), Ok(()));
        write(&path, "a = 1\n").expect("written");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(can_be_written(&path).is_err_and(|why| why.contains("left as it is")));
        assert!(write(&path, "b = 2\n").is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "a = 1\n");
        let left: Vec<_> = std::fs::read_dir(folder.path().join("new")).expect("a folder").collect();
        assert_eq!(left.len(), 1, "no part of a file stays behind");
        assert!(can_be_written(&path.join("below/a/file.toml")).is_err_and(|why| why.contains("no folder")));
    }
}
