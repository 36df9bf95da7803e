//! `moongate completions` and `moongate man`: made from the commands themselves, so that they cannot lag behind.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;

use super::{Cli, EXIT_FAILED};

#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// bash, zsh, fish, elvish or powershell.
    pub shell: clap_complete::Shell,
}

/// Writes the script for one shell to standard output.
pub fn completions(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "moongate", &mut script);
    finish(std::io::stdout().lock().write_all(&script))
}

#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write one page per command into this folder instead of the first page to standard output.
    #[arg(long)]
    pub folder: Option<PathBuf>,
}

/// Writes manual pages in roff.
pub fn man(args: &ManArgs) -> ExitCode {
    finish(match &args.folder {
        Some(folder) => {
            std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        }
        None => clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout().lock()),
    })
}

fn finish(result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // `moongate man | head` is no mistake.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("moongate: it cannot be written: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}
