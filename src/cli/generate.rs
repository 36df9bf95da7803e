//! `moongate completions` and `moongate man`: made from the commands themselves, so that they cannot lag behind.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory;

use super::{Cli, EXIT_FAILED, READER_GONE};

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
    let Some(folder) = &args.folder else {
        return finish(first_page().and_then(|page| std::io::stdout().lock().write_all(page.as_bytes())));
    };
    match write_pages(folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err((path, error)) => {
            complain!("{} cannot be written: {error}.", path.display());
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// # Errors
/// What could not be written, and why.
fn write_pages(folder: &Path) -> Result<(), (PathBuf, std::io::Error)> {
    std::fs::create_dir_all(folder).map_err(|error| (folder.to_owned(), error))?;
    let write = |name: &str, page: std::io::Result<String>| {
        let path = folder.join(format!("{name}.1"));
        page.and_then(|page| std::fs::write(&path, page)).map_err(|error| (path, error))
    };
    write("moongate", first_page())?;
    let mut program = Cli::command();
    program.build();
    for verb in program.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let name = format!("moongate-{}", verb.get_name());
        write(&name, page(&name, verb.clone()))?;
    }
    Ok(())
}

/// The page of the program itself: what clap knows, and what else manuals tell.
fn first_page() -> std::io::Result<String> {
    Ok(page("moongate", Cli::command())? + MORE)
}

/// One page, without the empty breaks that formatters complain of.
fn page(name: &str, command: clap::Command) -> std::io::Result<String> {
    let manual = clap_mangen::Man::new(command).title(name.to_uppercase()).manual("moongate");
    let mut roff = Vec::new();
    manual.source(concat!("moongate ", env!("CARGO_PKG_VERSION"))).render(&mut roff)?;
    // No date: two builds of one commit are equal. Its place is kept, or the next word is taken for it.
    let roff = String::from_utf8_lossy(&roff).replacen(" 1  \"", " 1 \"\" \"", 1);
    let lines: Vec<&str> = roff.lines().collect();
    let mut page = String::with_capacity(roff.len());
    for (at, line) in lines.iter().enumerate() {
        let beside = |other: Option<&&str>| other.is_some_and(|other| matches!(*other, ".sp" | ""));
        if *line == ".br"
            && (beside(lines.get(at + 1)) || beside(at.checked_sub(1).and_then(|at| lines.get(at))))
        {
            continue;
        }
        page.push_str(line);
        page.push('\n');
    }
    Ok(page)
}

/// Exit codes, files and environment as docs/ref has them; a line that begins with a dot is markup.
const MORE: &str = r#".SH "EXIT STATUS"
.TP
\fB0\fR
Done.
.TP
\fB1\fR
It failed, or was refused; the reason is on standard error.
.TP
\fB2\fR
The command line is wrong.
.TP
\fB64\fR
The configuration is wrong.
.TP
\fB69\fR
A port, a directory or the running gateway cannot be had.
.TP
\fB75\fR
The printer is away or busy, or did not answer in time: try again later.
.TP
\fB130\fR
\fBinit\fR was stopped by Ctrl-C or SIGTERM; nothing is written.
.SH FILES
The configuration is the first of these that exists; \fB\-\-config\fR names another.
.TP
\fI$CONFIGURATION_DIRECTORY/moongate.toml\fR
Set by systemd for the service.
.TP
\fI$XDG_CONFIG_HOME/moongate/moongate.toml\fR, \fI~/.config/moongate/moongate.toml\fR
Of a user.
.TP
\fI/etc/moongate/moongate.toml\fR
Of the machine.
.PP
Database, uploaded files and keys are in \fI$STATE_DIRECTORY\fR, else \fI~/.local/state/moongate\fR; serial ports
in \fI$RUNTIME_DIRECTORY\fR, else \fI$XDG_RUNTIME_DIR/moongate\fR. Logins of \fBmoongate login\fR are in
\fI$XDG_STATE_HOME/moongate/logins.json\fR, else \fI~/.local/state/moongate/logins.json\fR.
.SH ENVIRONMENT
.TP
\fBMOONGATE_CONFIG\fR
The configuration, where \fB\-\-config\fR does not name one.
.TP
\fBMOONGATE_API_KEY\fR
The gateway's key, for callers that it does not trust by their address; it goes before a login.
.TP
\fBMOONGATE_LOG_FORMAT\fR, \fBRUST_LOG\fR
As \fB\-\-log\-format\fR and \fB\-\-log\fR.
.TP
\fBNO_COLOR\fR
Set to anything: no colours.
"#;

fn finish(result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // `moongate man | head` ends as other commands do.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(READER_GONE),
        Err(error) => {
            complain!("the output cannot be written: {error}.");
            ExitCode::from(EXIT_FAILED)
        }
    }
}
