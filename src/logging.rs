//! Logs to standard error, with every known secret redacted, whoever wrote the line (crates.md section 6).

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, registry};

use crate::printer::clock::unix_now;
use crate::secret::redact;

/// Libraries that would log secrets or floods, and the most that they may say, whatever the user asks for.
const CAPS: [(&str, LevelFilter); 5] = [
    ("suppaftp", LevelFilter::DEBUG),
    ("rumqttc", LevelFilter::WARN),
    ("rustls", LevelFilter::INFO),
    ("hyper", LevelFilter::INFO),
    ("tungstenite", LevelFilter::INFO),
];

/// Takes complete, redacted lines.
pub type Sink = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Bytes of the last lines that are kept for those who ask a running gateway for its log.
const KEPT: usize = 512 << 10;
static RECENT: Mutex<Recent> = Mutex::new(Recent { lines: VecDeque::new(), bytes: 0 });

struct Recent {
    lines: VecDeque<LogLine>,
    bytes: usize,
}

/// One event of the log, redacted, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// Seconds since 1970.
    pub time: f64,
    pub text: String,
}

/// The last lines of the log of this process, oldest first.
pub fn recent() -> Vec<LogLine> {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner).lines.iter().cloned().collect()
}

fn keep(text: &str) {
    let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    recent.bytes += text.len();
    recent.lines.push_back(LogLine { time: unix_now(), text: text.to_owned() });
    while recent.bytes > KEPT {
        let Some(oldest) = recent.lines.pop_front() else { return };
        recent.bytes -= oldest.text.len();
    }
}

/// How each line is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line, for log collectors.
    Json,
}

/// Sets up logging to standard error once; `filter` is as of `RUST_LOG`, `info` where empty.
pub fn init(filter: Option<&str>, format: Format) {
    init_to(
        filter,
        format,
        Arc::new(|line| {
            let _closed_stderr = io::stderr().lock().write_all(line);
        }),
    );
}

/// As [`init`], with the lines going elsewhere.
pub fn init_to(filter: Option<&str>, format: Format, sink: Sink) {
    let base = filter.filter(|text| !text.is_empty()).unwrap_or("moongate=info,warn");
    let lines = tracing_subscriber::fmt::layer().with_writer(Redacting(sink)).with_ansi(false);
    let lines = match format {
        Format::Text => lines.boxed(),
        // One span is enough to tell whose line it is; the list of all would repeat it.
        Format::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    if registry().with(lines.with_filter(directives(base))).try_init().is_err() {
        tracing::debug!("Logging was set up before.");
    }
    if let Err(reason) = known_filter(base) {
        tracing::warn!(
            "What RUST_LOG asks for is not understood, \"{base}\": {reason}. This run logs at info."
        );
    }
    redact_panics();
}

/// A filter as it stands on the command line.
///
/// # Errors
/// It is none.
pub fn known_filter(text: &str) -> Result<String, String> {
    match text.parse::<Targets>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("a filter is a level such as \"debug\", or \"moongate=trace,warn\"".to_owned()),
    }
}

/// What the filter asks for, with the libraries held back that would say more than they may. One that is not
/// understood counts as `info`.
fn directives(filter: &str) -> Targets {
    let filter = if known_filter(filter).is_ok() { filter } else { "info" };
    let asked = filter.split(',').map(str::trim).filter(|text| !text.is_empty());
    // A library is held back where a part of the filter that speaks for it, or for everything, asks for more.
    let loud = |library: &str, most: LevelFilter| {
        asked.clone().any(|part| {
            let (target, level) = part.split_once('=').unwrap_or((part, part));
            let speaks = target == part || target.starts_with(library);
            // `library` alone asks for all that it has to say.
            speaks && level.parse::<LevelFilter>().map_or(target.starts_with(library), |level| level > most)
        })
    };
    let kept = asked
        .clone()
        .filter(|part| !CAPS.iter().any(|(library, most)| part.starts_with(library) && loud(library, *most)));
    let caps = CAPS
        .iter()
        .filter(|(library, most)| loud(library, *most))
        .map(|(library, most)| format!("{library}={most}"));
    kept.map(ToOwned::to_owned).chain(caps).collect::<Vec<_>>().join(",").parse().unwrap_or_default()
}

/// Panic messages can carry anything: they pass the same redaction.
fn redact_panics() {
    std::panic::set_hook(Box::new(|info| {
        tracing::error!("{}", redact(&info.to_string()));
    }));
}

struct Redacting(Sink);

impl<'a> MakeWriter<'a> for Redacting {
    type Writer = RedactingLine;

    fn make_writer(&'a self) -> RedactingLine {
        RedactingLine { text: Vec::new(), sink: self.0.clone() }
    }
}

/// Collects one log event, and writes it out redacted when it is complete.
struct RedactingLine {
    text: Vec<u8>,
    sink: Sink,
}

impl Write for RedactingLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for RedactingLine {
    fn drop(&mut self) {
        let line = redact(&String::from_utf8_lossy(&self.text));
        keep(&line);
        (self.sink)(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &str) {
        let sink: Sink = Arc::new(|_line| {});
        RedactingLine { text: text.as_bytes().to_vec(), sink };
    }

    #[test]
    fn libraries_say_no_more_than_they_may_and_no_more_than_was_asked() {
        let said = |filter: &str| {
            let mut parts: Vec<String> =
                directives(filter).to_string().split(',').map(ToOwned::to_owned).collect();
            parts.sort();
            parts.join(",")
        };
        assert_eq!(said("moongate=info,warn"), "moongate=info,warn");
        assert_eq!(said("suppaftp=warn,info"), "info,rumqttc=warn,suppaftp=warn");
        assert_eq!(
            said("trace"),
            "hyper=info,rumqttc=warn,rustls=info,suppaftp=debug,trace,tungstenite=info"
        );
        assert_eq!(said("moongate=trace,rustls=trace"), "moongate=trace,rustls=info");
        assert_eq!(said("suppaftp"), "suppaftp=debug");
        assert_eq!(said("suppaftp::inner=trace,off"), "off,suppaftp=debug");
        assert_eq!(said("moongate=loud,,="), "info,rumqttc=warn");
    }

    #[test]
    fn the_last_lines_are_kept_without_secrets_and_within_their_size() {
        let secret = crate::secret::Secret::new("hush-12345");
        write(&format!("code {}\n", secret.expose()));
        let found = recent().into_iter().rev().find(|line| line.text.starts_with("code "));
        assert!(found.is_some_and(|line| !line.text.contains("hush-12345") && line.time > 0.0));
        for _ in 0..12 {
            write(&"x".repeat(KEPT / 10));
        }
        let kept: usize = recent().iter().map(|line| line.text.len()).sum();
        assert!((KEPT / 2..=KEPT).contains(&kept), "{kept}");
    }
}
