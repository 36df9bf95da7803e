//! `moongate check`: the configuration only.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{ConfigArgs, EXIT_CONFIG, config_failed};
use crate::config::{Config, ConfigError, Environment};

#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Print what was found as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Exit code 0 and one line per printer, or 64 and every mistake.
pub fn check(args: &CheckArgs, environment: &Environment) -> ExitCode {
    let loaded = args.config.load(environment);
    if args.json {
        println!("{:#}", as_json(loaded.as_ref().map(|(_, config)| config)));
        return ExitCode::from(if loaded.is_ok() { 0 } else { EXIT_CONFIG });
    }
    let (path, config) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return config_failed(&error),
    };
    for warning in &config.warnings {
        super::words::tell(format_args!("config warning: {warning}"));
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

fn as_json(loaded: Result<&Config, &ConfigError>) -> Value {
    match loaded {
        Ok(config) => {
            let printers: Vec<Value> = config
                .printers
                .iter()
                .map(|printer| {
                    json!({"name": printer.name, "kind": printer.kind.name(), "host": printer.host,
                        "moonraker_port": printer.moonraker_port})
                })
                .collect();
            json!({"fine": true, "mistakes": [], "warnings": config.warnings, "printers": printers})
        }
        Err(error) => {
            let mistakes: Vec<Value> = error
                .0
                .iter()
                .map(|mistake| json!({"file": mistake.file, "line": mistake.line, "text": mistake.text}))
                .collect();
            json!({"fine": false, "mistakes": mistakes, "warnings": [], "printers": []})
        }
    }
}
