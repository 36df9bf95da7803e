//! The questions of `moongate init`, on the terminal or on any other pair of streams.

use std::io::{BufRead, ErrorKind, Write};

use super::text::{Answered, configuration};
use crate::cli::probe::{Step, Verdict};
use crate::config::{Config, Environment, Kind, PrinterConfig};
use crate::discovery::FoundPrinter;
use crate::model::text::one_line;

pub struct Terminal<R, W> {
    pub input: R,
    pub output: W,
}

impl<R: BufRead, W: Write> Terminal<R, W> {
    /// The answer, or the default for an empty line; the end of the input is an error.
    fn ask(&mut self, question: &str, default: &str) -> std::io::Result<String> {
        let hint = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        write!(self.output, "{question}{hint}: ")?;
        self.output.flush()?;
        let mut line = Vec::new();
        if self.input.read_until(b'\n', &mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        // A terminal of another encoding spoils a letter, not all the answers before.
        let line = String::from_utf8_lossy(&line);
        let answer = line.trim();
        Ok(if answer.is_empty() { default.to_owned() } else { answer.to_owned() })
    }

    fn yes(&mut self, question: &str, default: bool) -> std::io::Result<bool> {
        loop {
            let answer = self.ask(&format!("{question} (y/n)"), if default { "y" } else { "n" })?;
            match answer.to_lowercase().as_str() {
                "n" | "no" => return Ok(false),
                "y" | "yes" => return Ok(true),
                _ => writeln!(self.output, "Please answer y or n.")?,
            }
        }
    }
}

/// Asks, and tries what was answered with `tester`, which tells each step as it ends.
pub struct Interview<R, W, T> {
    terminal: Terminal<R, W>,
    tester: T,
    environment: Environment,
    printers: Vec<Answered>,
}

/// What a test of one printer showed.
enum Tested {
    Fine,
    /// The printer refuses the code; all before it was right.
    WrongCode,
    Bad,
}

impl<R, W, T> Interview<R, W, T>
where
    R: BufRead,
    W: Write,
    T: FnMut(&PrinterConfig, &mut dyn FnMut(&Step)) -> Vec<Step>,
{
    pub fn new(terminal: Terminal<R, W>, tester: T, environment: Environment) -> Self {
        Self { terminal, tester, environment, printers: Vec::new() }
    }

    /// The printers, and whether to listen on the network.
    ///
    /// # Errors
    /// The input ends before the last answer ([`ErrorKind::UnexpectedEof`]), or a stream fails.
    pub fn hold(mut self, found: &[FoundPrinter]) -> std::io::Result<(Vec<Answered>, bool)> {
        for printer in found {
            self.found(printer)?;
        }
        while self.terminal.yes("\nAdd a printer by its address?", self.printers.is_empty())? {
            self.by_address()?;
        }
        let open = !self.printers.is_empty()
            && self.terminal.yes("\nMay other machines of this network use the gateway?", false)?;
        Ok((self.printers, open))
    }

    fn found(&mut self, printer: &FoundPrinter) -> std::io::Result<()> {
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == printer.kind) else {
            return Ok(());
        };
        let Some(address) = printer.address else { return Ok(()) };
        // Both come from the network.
        let label = printer.name.as_deref().or(printer.model.as_deref()).unwrap_or_default();
        let label = one_line(label, 60);
        let model = one_line(printer.model.as_deref().unwrap_or(printer.kind), 60);
        let called = if label.eq_ignore_ascii_case(&model) { String::new() } else { format!(" \"{label}\"") };
        if !self.terminal.yes(&format!("\nFound {model}{called} at {address}. Use it?"), true)? {
            return Ok(());
        }
        let name = self.free_name(&label);
        let title = Some(label).filter(|label| !label.is_empty() && *label != name);
        let (host, serial, about) =
            (address.to_string(), printer.serial.clone(), printer.model.clone().unwrap_or_default());
        let seen = Answered { name, title, kind, host, serial, code: None, about };
        self.settle(seen, printer.needs_code)
    }

    fn by_address(&mut self) -> std::io::Result<()> {
        let kinds = Kind::ALL.map(Kind::name).join(", ");
        let kind = loop {
            let text = self.terminal.ask(&format!("Kind ({kinds})"), "bambu")?;
            if let Some(kind) = Kind::ALL.into_iter().find(|known| known.name() == text) {
                break kind;
            }
            writeln!(self.terminal.output, "There is no kind \"{text}\".")?;
        };
        let name = self.free_name(kind.name());
        let (host, about) = (String::new(), String::new());
        let mut typed = Answered { name, title: None, kind, host, serial: None, code: None, about };
        if self.place(&mut typed)? { self.settle(typed, kind != Kind::ElegooCc1) } else { Ok(()) }
    }

    /// Asks where the printer is, and which it is, until that can stand in a configuration; false where nothing is
    /// answered.
    fn place(&mut self, printer: &mut Answered) -> std::io::Result<bool> {
        loop {
            printer.host = self.terminal.ask("Address", &printer.host)?;
            if printer.host.is_empty() {
                return Ok(false);
            }
            if printer.kind == Kind::Bambu || printer.serial.is_some() {
                let before = printer.serial.clone().unwrap_or_default();
                let serial = self.terminal.ask("Serial number (printer: Settings > Device)", &before)?;
                printer.serial = Some(serial).filter(|serial| !serial.is_empty());
            }
            // Name and code have questions of their own.
            let (name, code) = (self.free_name("printer"), Some("not asked for yet".to_owned()));
            let Err(mistakes) = self.check(&Answered { name, code, ..printer.clone() }) else {
                return Ok(true);
            };
            writeln!(self.terminal.output, "{mistakes}")?;
            if !self.terminal.yes("Answer again?", true)? {
                return Ok(false);
            }
        }
    }

    /// Asks for name and code until they make a valid configuration and, unless the user leaves it at that, the
    /// printer answers.
    fn settle(&mut self, mut printer: Answered, needs_code: bool) -> std::io::Result<()> {
        let mut asks_name = true;
        loop {
            if asks_name {
                printer.name = self.terminal.ask("Short name", &printer.name)?;
            }
            if needs_code {
                self.code(&mut printer)?;
            }
            let config = match self.check(&printer) {
                Ok(config) => config,
                Err(mistakes) => {
                    writeln!(self.terminal.output, "{mistakes}")?;
                    if !self.terminal.yes("Answer again?", true)? {
                        writeln!(self.terminal.output, "{} is left out.", printer.host)?;
                        return Ok(());
                    }
                    asks_name = true;
                    continue;
                }
            };
            asks_name = false;
            match self.test(&config)? {
                Tested::Fine => break,
                Tested::WrongCode => {
                    if !self.terminal.yes("The printer refuses this code. Type it again?", true)? {
                        break;
                    }
                }
                Tested::Bad => {
                    if !self.terminal.yes("Put it right and test again?", true)?
                        || !self.place(&mut printer)?
                    {
                        if !self.terminal.yes("Leave it out?", false)? {
                            break;
                        }
                        writeln!(self.terminal.output, "{} is left out.", printer.host)?;
                        return Ok(());
                    }
                }
            }
        }
        self.printers.push(printer);
        Ok(())
    }

    fn code(&mut self, printer: &mut Answered) -> std::io::Result<()> {
        let place = match printer.kind {
            Kind::Bambu => "Access code (printer: Settings > Network)",
            Kind::ElegooCc1 | Kind::ElegooCc2 => "Access code (printer: network settings; empty for none)",
        };
        let before = printer.code.clone().unwrap_or_default();
        let code = self.terminal.ask(place, &before)?;
        printer.code = Some(code).filter(|code| !code.is_empty());
        Ok(())
    }

    /// The printer as the gateway would read it from the file.
    fn check(&self, printer: &Answered) -> Result<PrinterConfig, String> {
        let mut all = self.printers.clone();
        all.push(printer.clone());
        let mut config = Config::parse(&configuration(&all, false), &self.environment).map_err(|error| {
            error.0.iter().map(|mistake| mistake.text.as_str()).collect::<Vec<_>>().join("\n")
        })?;
        config.printers.pop().ok_or_else(|| "no printer came out of these answers.".to_owned())
    }

    fn test(&mut self, config: &PrinterConfig) -> std::io::Result<Tested> {
        let output = &mut self.terminal.output;
        let mut shown = Ok(());
        let steps = (self.tester)(config, &mut |step| {
            let mark = match step.verdict {
                Verdict::Fine => "ok",
                Verdict::Note => "note",
                Verdict::Bad => "BAD",
            };
            let told =
                writeln!(output, "  {mark:<4} {}: {}", step.what, step.told).and_then(|()| output.flush());
            shown = std::mem::replace(&mut shown, Ok(())).and(told);
        });
        shown?;
        let bad = |step: &&Step| step.verdict == Verdict::Bad;
        Ok(match steps.iter().find(bad) {
            None => Tested::Fine,
            Some(step) if step.refuses_code() => Tested::WrongCode,
            Some(_) => {
                writeln!(self.terminal.output, "Something is wrong there.")?;
                Tested::Bad
            }
        })
    }

    /// A valid name made of what the printer is called, with a number where it is taken.
    fn free_name(&self, label: &str) -> String {
        let lower = label.to_lowercase();
        let clean: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let words: Vec<&str> = clean.split('-').filter(|word| !word.is_empty()).collect();
        let short: String = words.join("-").chars().take(24).collect();
        let base = match short.trim_matches('-') {
            "" | "printers" | "static" => "printer",
            base => base,
        };
        let is_free = |name: &String| self.printers.iter().all(|printer| printer.name != *name);
        let numbered = (2..).map(|number| format!("{base}-{number}"));
        std::iter::once(base.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
