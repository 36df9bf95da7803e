//! The `moongate` program.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    moongate::cli::main(moongate::cli::Cli::parse())
}
