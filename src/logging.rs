//! Logs to standard error, with every known secret redacted, whoever wrote the line (crates.md section 6).

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::printer::clock::unix_now;
use crate::secret::redact;

/// Libraries that would log secrets or floods at trace level: capped whatever the user asks for.
const CAPS: [&str; 6] =
    ["suppaftp=debug", "rumqttc=warn", "rustls=info", "hyper=info", "h2=info", "tungstenite=info"];

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
    let base = filter.filter(|text| !text.is_empty()).unwrap_or("moongate=info,suppaftp=warn,warn");
    let mut directives = EnvFilter::try_new(base).unwrap_or_else(|_| EnvFilter::new("info"));
    for cap in CAPS {
        let library = cap.split('=').next().unwrap_or(cap);
        let asked_for = base.contains("trace") || base.contains("debug") || base.contains(library);
        if asked_for && let Ok(directive) = cap.parse() {
            directives = directives.add_directive(directive);
        }
    }
    let lines =
        tracing_subscriber::fmt().with_env_filter(directives).with_writer(Redacting(sink)).with_ansi(false);
    let set = match format {
        Format::Text => lines.try_init(),
        // One span is enough to tell whose line it is; the list of all would repeat it.
        Format::Json => lines.json().flatten_event(true).with_span_list(false).try_init(),
    };
    if set.is_err() {
        tracing::debug!("Logging was set up before.");
    }
    redact_panics();
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
