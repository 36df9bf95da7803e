//! The `moongate` program.

use std::process::ExitCode;

use clap::Parser;

// musl's own allocator has one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    moongate::cli::main(moongate::cli::Cli::parse())
}
