//! `moongate check`: the configuration only.

use std::process::ExitCode;

use super::{ConfigArgs, config_failed};
use crate::config::Environment;

/// Exit code 0 and one line per printer, or 64 and every mistake.
pub fn check(args: &ConfigArgs, environment: &Environment) -> ExitCode {
    let (path, config) = match args.load(environment) {
        Ok(loaded) => loaded,
        Err(error) => return config_failed(&error),
    };
    for warning in &config.warnings {
        eprintln!("config warning: {warning}");
    }
    println!("{}: fine, {} printer(s).", path.display(), config.printers.len());
    for printer in &config.printers {
        println!(
            "  {:<16} {:<10} {} -> Moonraker port {}",
            printer.name,
            printer.kind.name(),
            printer.host,
            printer.moonraker_port
        );
    }
    ExitCode::SUCCESS
}
