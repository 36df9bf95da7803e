//! The commands of the program. Each has a file; this one names them and maps their ends to exit codes.
//!
//! Exit codes are stable (docs/ref/cli.md): 0 done; 1 failed or refused; 2 the command line is wrong; 64 the
//! configuration is wrong; 69 a port, directory or the running gateway cannot be had; 75 the printer is away or busy,
//! try again later.
//!
//! `run`, `check`, `demo`, `simulate`, `discover`, `probe` and `init` do their work themselves; all others are thin
//! clients of a running gateway.

#[macro_use]
mod words;

pub mod check;
pub mod client;
pub mod demo;
pub mod dump;
pub mod files;
pub mod generate;
pub mod init;
mod key;
mod login;
mod patience;
pub mod print;
pub mod probe;
pub mod run;
pub mod simulate;
pub mod status;
mod timelapse;
mod tunnel;

use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::config::{Config, ConfigError, EXIT_CONFIG, Environment};
use crate::logging::Format;

/// It failed, or was refused.
pub const EXIT_FAILED: u8 = 1;
/// The printer is away or busy (`EX_TEMPFAIL` of sysexits).
pub const EXIT_TRY_LATER: u8 = 75;
/// A port, directory or device that the program needs cannot be had (`EX_UNAVAILABLE` of sysexits).
pub const EXIT_UNAVAILABLE: u8 = 69;

/// What a shell shows of a program that SIGINT ended.
const EXIT_INTERRUPTED: u8 = 130;
/// What a shell shows of a program that SIGPIPE ended.
const READER_GONE: u8 = 141;
/// Between two looks whether what follows something is still read.
const READER_LOOK: Duration = Duration::from_millis(500);

/// Below the list of commands.
const BEGIN: &str = "Begin with `moongate demo` (simulated printers) or `moongate init` (your own), then `moongate run`.\n\
Exit codes: 0 done, 1 failed or refused, 2 wrong command line, 64 wrong configuration, 69 a port or the running gateway \
cannot be had, 75 the printer is away or busy.";

/// One gateway between closed-protocol 3D printers and every Moonraker and OctoPrint client.
#[derive(Debug, Parser)]
#[command(name = "moongate", version, about, max_term_width = 100, after_help = BEGIN)]
pub struct Cli {
    /// What to log, as in RUST_LOG: "debug", "moongate=trace".
    #[arg(long, global = true, help_heading = "Log", value_name = "FILTER", value_parser = crate::logging::known_filter)]
    pub log: Option<String>,
    /// How to log: "text" for people, "json" for collectors, one object per line; MOONGATE_LOG_FORMAT sets it as well.
    #[arg(long, global = true, help_heading = "Log", value_name = "FORM", value_enum)]
    pub log_format: Option<Format>,
    #[command(subcommand)]
    pub command: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the gateway.
    Run(ConfigArgs),
    /// Check the configuration only; tells every mistake with its line and remedy.
    Check(check::CheckArgs),
    /// Run simulated printers and the gateway in front of them: nothing to own, nothing to configure.
    Demo(demo::DemoArgs),
    /// Run one simulated printer by itself.
    Simulate(simulate::SimulateArgs),
    /// Find printers, ask for their codes, test them, and write a configuration.
    Init(init::InitArgs),
    /// List the printers of this network.
    Discover(probe::DiscoverArgs),
    /// Go through the connection to one printer step by step: what works, what does not, what to do.
    Probe(probe::ProbeArgs),
    /// Show the printers.
    Status(status::StatusArgs),
    /// Print a file.
    Print(print::PrintArgs),
    /// Pause the print.
    Pause(print::SteerArgs),
    /// Go on with a paused print.
    Resume(print::SteerArgs),
    /// End the print, or the transfer before it.
    Cancel(print::SteerArgs),
    /// Take the printer that answers next for this one: after a change of its mainboard.
    Trust(print::SteerArgs),
    /// Log in at a gateway that asks who one is; the other commands use the login.
    Login(login::LoginArgs),
    /// End the login, in all programs of the user.
    Logout(login::LogoutArgs),
    /// Show the gateway's API key, for programs whose address is not trusted.
    Key(key::KeyArgs),
    /// Put a file into a printer's library.
    Upload(files::UploadArgs),
    /// List what can be printed.
    Files(files::FilesArgs),
    /// List the timelapses of a printer, or fetch one.
    Timelapse(timelapse::TimelapseArgs),
    /// Show a printer's console and follow it.
    Console(files::ConsoleArgs),
    /// Collect what a bug report needs in one file, without secrets.
    Dump(dump::DumpArgs),
    /// Write the completions for a shell.
    Completions(generate::CompletionsArgs),
    /// Write the manual.
    Man(generate::ManArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArgs {
    /// The configuration file; looked for in the usual places where it is not named.
    #[arg(long, short)]
    pub config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Whether somebody said which file it is.
    pub fn is_named(&self, environment: &Environment) -> bool {
        self.config.is_some() || environment.get("MOONGATE_CONFIG").is_some()
    }

    /// Reads the named file, or the one in the usual place.
    ///
    /// # Errors
    /// Every mistake of the file.
    pub fn load(&self, environment: &Environment) -> Result<(PathBuf, Config), ConfigError> {
        let path = self.config.clone().unwrap_or_else(|| environment.config_file());
        Config::load(&path, environment).map(|config| (path, config))
    }

    /// The same as a running gateway reads it, which may be systemd's.
    ///
    /// # Errors
    /// Every mistake of the file.
    pub fn load_of_gateway(&self, environment: &Environment) -> Result<(PathBuf, Config), ConfigError> {
        let path = self.config.clone().unwrap_or_else(|| environment.config_file());
        self.load(&environment.of_gateway(&path))
    }
}

/// Runs one command to its end.
pub fn main(cli: Cli) -> ExitCode {
    let environment = Environment::of_process();
    // The gateway logs what it does; commands answer, and log only what is wrong.
    let quiet = match cli.command {
        Verb::Run(_) => None,
        // Their steps tell what is wrong, in the same words.
        Verb::Init(_) | Verb::Probe(_) => Some("error"),
        _ => Some("moongate=warn,warn"),
    };
    crate::logging::init(
        cli.log.as_deref().or_else(|| environment.get("RUST_LOG")).or(quiet),
        log_format(cli.log_format, &environment),
    );
    if !matches!(cli.command, Verb::Run(_)) {
        end_with_the_reader();
    }
    match cli.command {
        Verb::Run(args) => run::run(&args, &environment),
        Verb::Check(args) => check::check(&args, &environment),
        Verb::Demo(args) => demo::demo(&args, &environment),
        Verb::Simulate(args) => simulate::simulate(&args),
        Verb::Init(args) => block_on(init::init(&args, &environment)),
        Verb::Discover(args) => block_on(probe::discover(&args)),
        Verb::Probe(args) => block_on(probe::probe(&args, &environment)),
        Verb::Dump(args) => block_on(dump::dump(&args, &environment)),
        Verb::Completions(args) => generate::completions(&args),
        Verb::Man(args) => generate::man(&args),
        client => block_on(talk(client, &environment)),
    }
}

fn log_format(asked: Option<Format>, environment: &Environment) -> Format {
    let Some(wanted) = environment.get("MOONGATE_LOG_FORMAT").filter(|_| asked.is_none()) else {
        return asked.unwrap_or_default();
    };
    Format::from_str(wanted, true).unwrap_or_else(|_| {
        complain!("MOONGATE_LOG_FORMAT must be \"text\" or \"json\"; \"{wanted}\" is taken for \"text\".");
        Format::Text
    })
}

/// Ends quietly where nobody reads the output any more (`moongate files p1s | head -1`), and with the reason where it
/// cannot be written: std's printing would panic.
fn end_with_the_reader() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let told = panic.to_string();
        match told.split_once("failed printing to stdout: ") {
            Some((_, reason)) if reason.starts_with("Broken pipe") => std::process::exit(READER_GONE.into()),
            Some((_, reason)) => {
                complain!("the output cannot be written: {reason}.");
                std::process::exit(EXIT_FAILED.into());
            }
            None => report(panic),
        }
    }));
}

/// The commands that are clients of a running gateway.
async fn talk(verb: Verb, environment: &Environment) -> ExitCode {
    let Some(gateway) = verb.gateway() else { return ExitCode::from(EXIT_FAILED) };
    let client = client::Client::new(gateway, environment).await;
    // It is the login that ends, whatever key the other commands show.
    let client =
        client.and_then(|client| if matches!(verb, Verb::Logout(_)) { client.as_user() } else { Ok(client) });
    let client = match client {
        Ok(client) => client,
        Err(error) => return client_failed(&error),
    };
    let result = match &verb {
        Verb::Status(args) => status::status(args, &client).await,
        Verb::Print(args) => print::print(args, &client).await,
        Verb::Pause(args) => print::steer("pause", args, &client).await,
        Verb::Resume(args) => print::steer("resume", args, &client).await,
        Verb::Cancel(args) => print::steer("cancel", args, &client).await,
        Verb::Trust(args) => print::trust(args, &client).await,
        Verb::Login(args) => login::login(args, &client).await,
        Verb::Logout(args) => login::logout(args, &client).await,
        Verb::Key(args) => key::key(args, &client).await,
        Verb::Upload(args) => files::upload(args, &client).await,
        Verb::Files(args) => files::files(args, &client).await,
        Verb::Timelapse(args) => timelapse::timelapse(args, &client).await,
        Verb::Console(args) => files::console(args, &client).await,
        _ => Ok(ExitCode::from(EXIT_FAILED)),
    };
    match result {
        Ok(code) => code,
        Err(client::ClientError::Unknown) => client_failed(&client.unknown(verb.printer()).await),
        Err(error) => client_failed(&error),
    }
}

fn client_failed(error: &client::ClientError) -> ExitCode {
    match error {
        client::ClientError::Config(error) => config_failed(error),
        error => {
            complain!("{error}");
            error.exit()
        }
    }
}

impl Verb {
    /// Where the gateway is, for the commands that talk to one.
    fn gateway(&self) -> Option<&client::GatewayArgs> {
        match self {
            Verb::Status(args) => Some(&args.gateway),
            Verb::Print(args) => Some(&args.gateway),
            Verb::Pause(args) | Verb::Resume(args) | Verb::Cancel(args) | Verb::Trust(args) => {
                Some(&args.gateway)
            }
            Verb::Login(args) => Some(&args.gateway),
            Verb::Logout(args) => Some(&args.gateway),
            Verb::Key(args) => Some(&args.gateway),
            Verb::Upload(args) => Some(&args.gateway),
            Verb::Files(args) => Some(&args.gateway),
            Verb::Timelapse(args) => Some(&args.gateway),
            Verb::Console(args) => Some(&args.gateway),
            _ => None,
        }
    }

    /// Whom the command is for.
    fn printer(&self) -> Option<&str> {
        match self {
            Verb::Status(args) => args.printer.as_deref(),
            Verb::Print(args) => Some(&args.printer),
            Verb::Pause(args) | Verb::Resume(args) | Verb::Cancel(args) | Verb::Trust(args) => {
                Some(&args.printer)
            }
            Verb::Upload(args) => Some(&args.printer),
            Verb::Files(args) => Some(&args.printer),
            Verb::Timelapse(args) => Some(&args.printer),
            Verb::Console(args) => Some(&args.printer),
            _ => None,
        }
    }
}

/// Prints what is wrong with the configuration; the exit code of all commands in that case.
fn config_failed(error: &ConfigError) -> ExitCode {
    words::tell(format_args!("{error}"));
    ExitCode::from(EXIT_CONFIG)
}

/// Runs the asynchronous part of a command.
fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            complain!("the asynchronous runtime cannot start: {error}");
            ExitCode::from(EXIT_UNAVAILABLE)
        }
    }
}

/// A file for its owner only, to be filled and then put in the place of another in one step. Its errors leave its own
/// name out: nobody has asked for a file of that name.
fn fresh_file(folder: &Path, prefix: &str) -> std::io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::OpenOptionsExt;
    let open = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    tempfile::Builder::new().prefix(prefix).make_in(folder, open)
}

/// Resolves when nobody can read standard output any more: what follows something would else notice it with its next
/// word only. Never where it is a file.
async fn reader_gone() {
    let output = std::io::stdout();
    loop {
        // Nothing is asked for: an error and an end are told unasked.
        let mut look = [PollFd::new(output.as_fd(), PollFlags::empty())];
        let ended = PollFlags::POLLERR | PollFlags::POLLHUP;
        let told = poll(&mut look, PollTimeout::ZERO).is_ok();
        if told && look.iter().filter_map(PollFd::revents).any(|told| told.intersects(ended)) {
            return;
        }
        tokio::time::sleep(READER_LOOK).await;
    }
}

/// Follows something until it ends by itself, somebody asks to stop, or nobody reads it any more.
async fn while_read(
    work: impl Future<Output = Result<ExitCode, client::ClientError>>,
) -> Result<ExitCode, client::ClientError> {
    let shown = async {
        tokio::select! {
            // What was asked for is shown before anybody looks whether it is read.
            biased;
            ended = work => ended,
            () = reader_gone() => Ok(ExitCode::from(READER_GONE)),
        }
    };
    until_stopped(shown).await.unwrap_or(Ok(ExitCode::SUCCESS))
}

/// Runs `work` to its end; `None` where somebody asked to stop before, whatever was under way then.
async fn until_stopped<T>(work: impl Future<Output = T>) -> Option<T> {
    unless(asked_to_stop(), work).await
}

async fn unless<T>(stop: impl Future<Output = ()>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        // First, so that no signal comes before anybody listens.
        biased;
        () = stop => None,
        done = work => Some(done),
    }
}

/// Resolves at Ctrl-C, at SIGTERM, and when the terminal is closed.
async fn asked_to_stop() {
    use tokio::signal::unix::{Signal, SignalKind, signal};
    let heard = async |signal: Option<Signal>| match signal {
        Some(mut signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // Listening would undo `nohup`.
    let hangup = hears_hangups(&status).then(|| signal(SignalKind::hangup()).ok()).flatten();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = heard(signal(SignalKind::terminate()).ok()) => {}
        () = heard(hangup) => {}
    }
}

/// Whether the process was not told to ignore SIGHUP (proc_pid_status(5)); false where the system does not say.
fn hears_hangups(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 is signal 1.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wish_to_stop_counts_whatever_is_under_way() {
        let asked = tokio::sync::Notify::new();
        let work = async {
            // As a signal comes while an answer is waited for.
            asked.notify_one();
            std::future::pending::<()>().await;
        };
        assert_eq!(unless(asked.notified(), work).await, None);
        assert_eq!(unless(std::future::pending(), async { 7 }).await, Some(7));
    }

    #[test]
    fn a_closed_terminal_counts_unless_it_is_to_be_ignored() {
        let status = |mask: &str| format!("Name:\tmoongate\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
        assert!(hears_hangups(&status("0000000000001000")));
        assert!(!hears_hangups(&status("0000000000001001")), "nohup");
        assert!(!hears_hangups(""), "a system that does not say");
    }
}
