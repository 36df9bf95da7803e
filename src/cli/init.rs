//! `moongate init`: finds printers, asks for their codes, tests each, and writes a commented configuration.

use std::io::{BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::probe::{self, Verdict};
use super::{ConfigArgs, EXIT_FAILED};
use crate::config::{Config, Environment, Kind};
use crate::discovery::{self, FoundPrinter};

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

/// What was answered for one printer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answered {
    name: String,
    kind: Kind,
    host: String,
    serial: Option<String>,
    code: Option<String>,
    about: String,
}

/// Questions on the terminal, or on any other pair of streams.
struct Terminal<R, W> {
    input: R,
    output: W,
}

impl<R: BufRead, W: Write> Terminal<R, W> {
    /// The answer, or the default for an empty line; `None` at the end of the input.
    fn ask(&mut self, question: &str, default: &str) -> std::io::Result<Option<String>> {
        let hint = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        write!(self.output, "{question}{hint}: ")?;
        self.output.flush()?;
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let answer = line.trim();
        Ok(Some(if answer.is_empty() { default.to_owned() } else { answer.to_owned() }))
    }

    fn yes(&mut self, question: &str, default: bool) -> std::io::Result<bool> {
        let answer = self.ask(&format!("{question} (y/n)"), if default { "y" } else { "n" })?;
        Ok(answer.is_some_and(|answer| answer.to_lowercase().starts_with('y')))
    }
}

pub async fn init(args: &InitArgs, environment: &Environment) -> ExitCode {
    let path = args.config.config.clone().unwrap_or_else(|| environment.config_file());
    if path.exists() {
        eprintln!(
            "moongate: {} exists and is left as it is. Edit it, or name another file with --config.",
            path.display()
        );
        return ExitCode::from(EXIT_FAILED);
    }
    let found = if args.seconds == 0 {
        Vec::new()
    } else {
        println!("Looking for printers for {} s...", args.seconds);
        let findings = discovery::discover(Duration::from_secs(args.seconds.min(120))).await;
        findings.problems.iter().for_each(|problem| eprintln!("moongate: {problem}"));
        findings.printers
    };
    let asked = tokio::task::spawn_blocking(move || {
        let mut terminal = Terminal { input: std::io::stdin().lock(), output: std::io::stdout().lock() };
        interview(&mut terminal, &found)
    });
    let (printers, open) = match asked.await {
        Ok(Ok(answers)) => answers,
        Ok(Err(error)) => return failed(&format!("the terminal cannot be read: {error}")),
        Err(error) => return failed(&format!("the questions ended early: {error}")),
    };
    if printers.is_empty() {
        return failed("no printer was named, nothing is written");
    }
    let text = configuration(&printers, open);
    let config = match Config::parse(&text, environment) {
        Ok(config) => config,
        Err(error) => return failed(&format!("these answers make no valid configuration:\n{error}")),
    };
    if !args.no_test {
        for printer in &config.printers {
            println!("\nTesting {}:", printer.name);
            let steps = probe::run(printer, |step| println!("  {} {}", step.what, step.told)).await;
            if steps.iter().any(|step| step.verdict == Verdict::Bad) {
                println!(
                    "  Something is wrong there; the configuration is written all the same. Later: moongate probe {}",
                    printer.name
                );
            }
        }
    }
    match write(&path, &text) {
        Ok(()) => {
            println!("\n{} is written. Next: moongate run (or: systemctl restart moongate).", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => failed(&format!("{} cannot be written: {error}", path.display())),
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("moongate: {why}.");
    ExitCode::from(EXIT_FAILED)
}

/// The printers, and whether to listen on the network.
fn interview(
    terminal: &mut Terminal<impl BufRead, impl Write>,
    found: &[FoundPrinter],
) -> std::io::Result<(Vec<Answered>, bool)> {
    let mut printers: Vec<Answered> = Vec::new();
    for printer in found {
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == printer.kind) else { continue };
        let Some(address) = printer.address else { continue };
        let label = printer.name.clone().or_else(|| printer.model.clone()).unwrap_or_default();
        let about = format!("{} {} at {address}", printer.model.as_deref().unwrap_or(printer.kind), label);
        if terminal.yes(&format!("\nFound {about}. Use it?"), true)? {
            let seen = Answered {
                name: free_name(&label, &printers),
                kind,
                host: address.to_string(),
                serial: printer.serial.clone(),
                code: None,
                about: printer.model.clone().unwrap_or_default(),
            };
            printers.extend(details(terminal, seen, printer.needs_code)?);
        }
    }
    while terminal.yes("\nAdd a printer by its address?", printers.is_empty())? {
        let kinds = Kind::ALL.map(Kind::name).join(", ");
        let Some(kind) = terminal.ask(&format!("Kind ({kinds})"), "bambu")? else { break };
        let Some(kind) = Kind::ALL.into_iter().find(|known| known.name() == kind) else {
            writeln!(terminal.output, "There is no kind \"{kind}\".")?;
            continue;
        };
        let Some(host) = terminal.ask("Address", "")?.filter(|host| !host.is_empty()) else { break };
        let serial = if kind == Kind::Bambu {
            terminal.ask("Serial number (printer: Settings > Device)", "")?
        } else {
            None
        };
        let name = free_name(kind.name(), &printers);
        let typed = Answered { name, kind, host, serial, code: None, about: String::new() };
        printers.extend(details(terminal, typed, kind != Kind::ElegooCc1)?);
    }
    let open = !printers.is_empty()
        && terminal.yes("\nMay other machines of this network use the gateway?", false)?;
    Ok((printers, open))
}

fn details(
    terminal: &mut Terminal<impl BufRead, impl Write>,
    mut printer: Answered,
    needs_code: bool,
) -> std::io::Result<Option<Answered>> {
    let Some(name) = terminal.ask("Short name", &printer.name)? else { return Ok(None) };
    printer.name = name;
    if needs_code {
        let place = match printer.kind {
            Kind::Bambu => "Access code (printer: Settings > Network)",
            Kind::ElegooCc1 | Kind::ElegooCc2 => "Access code (printer: network settings; empty for none)",
        };
        printer.code = terminal.ask(place, "")?.filter(|code| !code.is_empty());
    }
    Ok(Some(printer))
}

/// A valid name made of what the printer is called, with a number where it is taken.
fn free_name(label: &str, taken: &[Answered]) -> String {
    let lower = label.to_lowercase();
    let clean: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let words: Vec<&str> = clean.split('-').filter(|word| !word.is_empty()).collect();
    let short: String = words.join("-").chars().take(24).collect();
    let base = match short.trim_matches('-') {
        "" | "printers" | "static" => "printer",
        base => base,
    };
    let is_free = |name: &String| taken.iter().all(|printer| printer.name != *name);
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    std::iter::once(base.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}

fn configuration(printers: &[Answered], open: bool) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut text = String::from(
        "# Written by `moongate init`. Every key: docs/ref/config.md; after a change: moongate check\n\n[gateway]\n",
    );
    text.push_str("# 127.0.0.1 serves this machine only, 0.0.0.0 the network.\n");
    text.push_str(&format!(
        "listen = \"{}\"\n# Status page, and every printer below /printers/<name>/.\nport = 7100\n",
        if open { "0.0.0.0" } else { "127.0.0.1" }
    ));
    if open {
        text.push_str("\n[access]\n# Private networks need no credentials, all others the API key. This asks everybody but this machine for it:\n# trusted_clients = [\"127.0.0.0/8\", \"::1/128\"]\n");
    }
    for printer in printers {
        text.push_str("\n[[printer]]\n");
        if !printer.about.is_empty() {
            text.push_str(&format!("# {}\n", crate::model::text::one_line(&printer.about, 80)));
        }
        text.push_str(&format!(
            "name = {}\nkind = \"{}\"\nhost = {}\n",
            quoted(&printer.name),
            printer.kind.name(),
            quoted(&printer.host)
        ));
        if let Some(serial) = &printer.serial {
            text.push_str(&format!("serial = {}\n", quoted(serial)));
        }
        if let Some(code) = &printer.code {
            text.push_str(&format!(
                "access_code = {}   # or access_code_file, access_code_env\n",
                quoted(code)
            ));
        }
    }
    text
}

/// For the owner only: it holds access codes. Never over an existing file.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(PathBuf::from(path))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn found(kind: &'static str, name: &str) -> FoundPrinter {
        FoundPrinter {
            kind,
            address: "192.168.1.50".parse().ok(),
            name: Some(name.to_owned()),
            model: Some("P1S".to_owned()),
            serial: (kind == "bambu").then(|| "01P00A000000001".to_owned()),
            firmware: None,
            needs_code: kind == "bambu",
            lan_only: None,
        }
    }

    fn talk(found: &[FoundPrinter], answers: &str) -> (Vec<Answered>, bool) {
        let mut terminal = Terminal { input: answers.as_bytes(), output: Vec::new() };
        interview(&mut terminal, found).expect("streams in memory")
    }

    #[test]
    fn answers_become_a_configuration_that_checks() {
        let seen = [found("bambu", "My \"P1S\"!"), found("elegoo_cc1", "My P1S")];
        let (printers, open) = talk(&seen, "\n\n12345678\ny\n\ny\nelegoo_cc2\n10.0.0.7\ncc2\n\nn\ny\n");
        let names: Vec<&str> = printers.iter().map(|printer| printer.name.as_str()).collect();
        assert_eq!(names, ["my-p1s", "my-p1s-2", "cc2"]);
        assert!(open);
        let config = Config::parse(&configuration(&printers, open), &Environment::of(&[])).expect("valid");
        assert_eq!(
            config.printers[0].access_code.as_ref().map(crate::secret::Secret::expose),
            Some("12345678")
        );
        assert_eq!(config.printers[2].host, "10.0.0.7");
        assert!(!config.gateway.listen.is_loopback());
    }

    #[test]
    fn the_end_of_the_input_ends_the_questions() {
        assert_eq!(talk(&[found("bambu", "x")], ""), (Vec::new(), false));
        let (printers, open) = talk(&[], "y\nbambu\n10.0.0.7\n01P\" x\np1s\n12\"3\n");
        assert_eq!((printers.len(), open), (1, false));
        let config = Config::parse(&configuration(&printers, open), &Environment::of(&[])).expect("quoted");
        assert_eq!(config.printers[0].access_code.as_ref().map(crate::secret::Secret::expose), Some("12\"3"));
    }

    #[test]
    fn the_file_is_private_and_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/moongate.toml");
        write(&path, "a = 1\n").expect("written");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(write(&path, "b = 2\n").is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "a = 1\n");
    }
}
