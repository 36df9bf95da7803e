//! The commands of the program. Each has a file; this one names them and maps their ends to exit codes.
//!
//! Exit codes are stable: 0 done; 1 failed; 2 the command line is wrong; 64 the configuration is wrong; 69 a port or
//! directory cannot be had.

pub mod check;
pub mod demo;
pub mod run;
pub mod simulate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError, EXIT_CONFIG, Environment};

/// A port, directory or device that the program needs cannot be had (`EX_UNAVAILABLE` of sysexits).
pub const EXIT_UNAVAILABLE: u8 = 69;

/// One gateway between closed-protocol 3D printers and every Moonraker and OctoPrint client.
#[derive(Debug, Parser)]
#[command(name = "moongate", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to log, as in RUST_LOG: "debug", "moongate=trace".
    #[arg(long, global = true)]
    pub log: Option<String>,
    #[command(subcommand)]
    pub command: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the gateway.
    Run(ConfigArgs),
    /// Check the configuration only; tells every mistake with its line and remedy.
    Check(ConfigArgs),
    /// Run simulated printers and the gateway in front of them: nothing to own, nothing to configure.
    Demo(demo::DemoArgs),
    /// Run one simulated printer by itself.
    Simulate(simulate::SimulateArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArgs {
    /// The configuration file; looked for in the usual places where it is not named.
    #[arg(long, short)]
    pub config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Reads the named file, or the one in the usual place.
    ///
    /// # Errors
    /// Every mistake of the file.
    pub fn load(&self, environment: &Environment) -> Result<(PathBuf, Config), ConfigError> {
        let path = self.config.clone().unwrap_or_else(|| environment.config_file());
        Config::load(&path, environment).map(|config| (path, config))
    }
}

/// Runs one command to its end.
pub fn main(cli: Cli) -> ExitCode {
    let environment = Environment::of_process();
    let quiet = matches!(cli.command, Verb::Demo(_) | Verb::Simulate(_)).then_some("moongate=warn,warn");
    crate::logging::init(cli.log.as_deref().or_else(|| environment.get("RUST_LOG")).or(quiet));
    match cli.command {
        Verb::Run(args) => run::run(&args, &environment),
        Verb::Check(args) => check::check(&args, &environment),
        Verb::Demo(args) => demo::demo(&args, &environment),
        Verb::Simulate(args) => simulate::simulate(&args),
    }
}

/// Prints what is wrong with the configuration; the exit code of all commands in that case.
fn config_failed(error: &ConfigError) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(EXIT_CONFIG)
}

/// Runs the asynchronous part of a command.
fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            eprintln!("moongate: the asynchronous runtime cannot start: {error}");
            ExitCode::from(EXIT_UNAVAILABLE)
        }
    }
}

/// Resolves at Ctrl-C or SIGTERM.
async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _no_signals = tokio::signal::ctrl_c().await;
        }
    }
}
