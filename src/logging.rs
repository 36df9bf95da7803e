//! Logs to standard error, with every known secret redacted, whoever wrote the line (crates.md section 6).

use std::io::{self, Write};
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::secret::redact;

/// Libraries that would log secrets or floods at trace level: capped whatever the user asks for.
const CAPS: [&str; 6] =
    ["suppaftp=debug", "rumqttc=warn", "rustls=info", "hyper=info", "h2=info", "tungstenite=info"];

/// Takes complete, redacted lines.
pub type Sink = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Sets up logging to standard error once; `filter` is as of `RUST_LOG`, `info` where empty.
pub fn init(filter: Option<&str>) {
    init_to(
        filter,
        Arc::new(|line| {
            let _closed_stderr = io::stderr().lock().write_all(line);
        }),
    );
}

/// As [`init`], with the lines going elsewhere.
pub fn init_to(filter: Option<&str>, sink: Sink) {
    let base = filter.filter(|text| !text.is_empty()).unwrap_or("moongate=info,suppaftp=warn,warn");
    let mut directives = EnvFilter::try_new(base).unwrap_or_else(|_| EnvFilter::new("info"));
    for cap in CAPS {
        let library = cap.split('=').next().unwrap_or(cap);
        let asked_for = base.contains("trace") || base.contains("debug") || base.contains(library);
        if asked_for && let Ok(directive) = cap.parse() {
            directives = directives.add_directive(directive);
        }
    }
    let already_set = tracing_subscriber::fmt()
        .with_env_filter(directives)
        .with_writer(Redacting(sink))
        .with_ansi(false)
        .try_init();
    if already_set.is_err() {
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
        (self.sink)(redact(&String::from_utf8_lossy(&self.text)).as_bytes());
    }
}
