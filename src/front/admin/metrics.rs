//! Numbers for Prometheus (docs/ref/metrics.md); labels name the printer, its kind and a result, heater or phase, nothing
//! else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::Served;
use super::readings::Readings;
use crate::camera::Health;
use crate::model::{CameraKind, CommandError, Event, JobPhase, LinkPhase};
use crate::station::Station;

/// The content type of the answer.
pub const CONTENT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PrinterLabels {
    pub(super) printer: String,
    pub(super) kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    printer: String,
    kind: &'static str,
    result: String,
}

/// A gauge of any number, not of whole ones only.
pub(super) type Number = Gauge<f64, std::sync::atomic::AtomicU64>;

/// All numbers of this process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    /// By printer name.
    printers: HashMap<String, Source>,
    link_up: Family<PrinterLabels, Gauge>,
    report_age: Family<PrinterLabels, Number>,
    clients: Family<PrinterLabels, Gauge>,
    faults: Family<PrinterLabels, Gauge>,
    camera: CameraMetrics,
    readings: Readings,
    reconnects: Family<PrinterLabels, Counter>,
    commands: Family<ResultLabels, Counter>,
    jobs: Family<ResultLabels, Counter>,
    /// Of the database in the state folder.
    kept: Gauge,
    memory: Gauge,
    /// One scrape at a time reads the gauges it has just set.
    scrape: Mutex<()>,
}

/// Where the numbers of one printer are read.
struct Source {
    labels: PrinterLabels,
    station: Station,
    clients: Arc<dyn Fn() -> usize + Send + Sync>,
}

impl Metrics {
    pub fn new(printers: &[Served]) -> Self {
        let mut registry = Registry::default();
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("moongate", "The running program", Info::new(version));
        let mut gateway = Gauges { registry: registry.sub_registry_with_prefix("moongate") };
        let kept = gateway.add("state_kept", "1 while what the gateway keeps reaches its disk");
        let link_up = gateway.add("link_up", "1 while the printer is connected and its values are current");
        let faults = gateway.add("faults", "Active faults of the printer");
        let clients = gateway.add("clients", "Clients connected to the printer's endpoint");
        let reconnects: Family<PrinterLabels, Counter> =
            gateway.add("reconnects", "Times the connection came up again after the first");
        let commands = gateway.add("commands", "Commands by how they ended");
        let jobs: Family<ResultLabels, Counter> = gateway.add("jobs", "Jobs by how they ended");
        let camera = CameraMetrics::new(&mut gateway);
        let help = "Time since the printer's last report; absent before the first";
        let report_age = gateway.add_with_unit("report_age", help, Unit::Seconds);
        let readings = Readings::new(&mut gateway);
        let memory = Gauge::default();
        let help = "Memory of the process that is in RAM";
        registry.register_with_unit("process_resident_memory", help, Unit::Bytes, memory.clone());
        let sources: HashMap<_, _> =
            printers.iter().map(|served| (served.station.name().to_owned(), Source::new(served))).collect();
        // A counter that appears with its first event has no increase at it, and an alert on the increase stays silent.
        for Source { labels, .. } in sources.values() {
            reconnects.get_or_create(labels).inc_by(0);
            for phase in [JobPhase::Complete, JobPhase::Cancelled, JobPhase::Failed] {
                jobs.get_or_create(&labels.with_result(&super::word(&phase))).inc_by(0);
            }
        }
        Self {
            inner: Arc::new(Inner {
                registry,
                printers: sources,
                link_up,
                report_age,
                clients,
                faults,
                camera,
                readings,
                reconnects,
                commands,
                jobs,
                kept,
                memory,
                scrape: Mutex::new(()),
            }),
        }
    }

    /// Everything in the text form of OpenMetrics; `kept` is false while the state does not reach its disk.
    ///
    /// # Errors
    /// Only if the encoder fails.
    pub fn text(&self, kept: bool) -> Result<String, std::fmt::Error> {
        let inner = &self.inner;
        let _one = inner.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        inner.kept.set(i64::from(kept));
        inner.readings.forget();
        for source in inner.printers.values() {
            let state = source.station.printer.state();
            inner.readings.read(&source.labels, &state);
            inner.link_up.get_or_create(&source.labels).set(i64::from(state.online()));
            inner.faults.get_or_create(&source.labels).set(whole(state.faults().count()));
            inner.clients.get_or_create(&source.labels).set(whole((source.clients)()));
            if source.station.camera.kind() != CameraKind::None {
                inner.camera.read(&source.labels, &source.station.camera.health());
            }
            if let Some(age) = source.station.printer.writer().report_age() {
                inner.report_age.get_or_create(&source.labels).set(age);
            }
        }
        if let Some(bytes) = resident_bytes() {
            inner.memory.set(bytes);
        }
        inner.encoded()
    }

    fn link_phase(&self, printer: &str) -> LinkPhase {
        let source = self.inner.printers.get(printer);
        source.map_or(LinkPhase::Off, |source| source.station.printer.state().link.phase)
    }

    fn count(&self, printer: &str, event: &Event, session: &mut Session) {
        let inner = &self.inner;
        let Some(source) = inner.printers.get(printer) else { return };
        match event {
            Event::LinkChanged(phase) if session.came_back(*phase) => {
                inner.reconnects.get_or_create(&source.labels).inc();
            }
            Event::CommandDone { error, .. } => {
                inner.commands.get_or_create(&source.labels.with_result(result(error.as_deref()))).inc();
            }
            Event::JobEnded(job) => {
                inner.jobs.get_or_create(&source.labels.with_result(&super::word(&job.phase))).inc();
            }
            _ => {}
        }
    }
}

impl Inner {
    fn encoded(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Tells a connection that came back from the first one, and from one that was only silent.
struct Session {
    online_before: bool,
    lost: bool,
}

impl Session {
    /// `phase` as it is when counting begins: a fast printer is online by then.
    fn new(phase: LinkPhase) -> Self {
        Self { online_before: matches!(phase, LinkPhase::Online | LinkPhase::Stale), lost: false }
    }

    fn came_back(&mut self, phase: LinkPhase) -> bool {
        match phase {
            LinkPhase::Online => {
                let lost = std::mem::take(&mut self.lost);
                std::mem::replace(&mut self.online_before, true) && lost
            }
            LinkPhase::Stale => false,
            _ => {
                self.lost = true;
                false
            }
        }
    }
}

/// Of each printer with a camera.
struct CameraMetrics {
    open: Family<PrinterLabels, Gauge>,
    dark: Family<PrinterLabels, Gauge>,
    viewers: Family<PrinterLabels, Gauge>,
    fps: Family<PrinterLabels, Number>,
    age: Family<PrinterLabels, Number>,
    frames: Family<PrinterLabels, Counter>,
    discarded: Family<PrinterLabels, Counter>,
    opened: Family<PrinterLabels, Counter>,
}

impl CameraMetrics {
    fn new(gateway: &mut Gauges<'_>) -> Self {
        let open = gateway.add("camera_open", "1 while the connection to the camera stands");
        let dark = gateway.add("camera_dark", "1 while the camera gives no pictures though they are wanted");
        let viewers = gateway.add("camera_viewers", "Viewers of the camera");
        let fps = gateway.add("camera_fps", "Pictures per second over the last ten seconds");
        let frames = gateway.add("camera_frames", "Pictures received");
        let discarded = gateway.add("camera_discarded", "What came instead of pictures and was thrown away");
        let opened = gateway.add("camera_connections", "Connections opened to the camera");
        let help = "Time since the camera's last picture; absent before the first";
        let age = gateway.add_with_unit("camera_frame_age", help, Unit::Seconds);
        Self { open, dark, viewers, fps, age, frames, discarded, opened }
    }

    fn read(&self, labels: &PrinterLabels, health: &Health) {
        self.open.get_or_create(labels).set(i64::from(health.open));
        self.dark.get_or_create(labels).set(i64::from(health.reason.is_some()));
        self.viewers.get_or_create(labels).set(whole(health.viewers));
        self.fps.get_or_create(labels).set(health.fps);
        if let Some(age) = health.last_frame_age {
            self.age.get_or_create(labels).set(age);
        }
        for (counter, now) in [
            (&self.frames, health.frames),
            (&self.discarded, health.discarded),
            (&self.opened, health.opened),
        ] {
            // The hub counts; here it is only copied, one scrape at a time.
            let counter = counter.get_or_create(labels);
            counter.inc_by(now.saturating_sub(counter.get()));
        }
    }
}

/// The registry below the gateway's prefix.
pub(super) struct Gauges<'r> {
    pub(super) registry: &'r mut Registry,
}

impl Gauges<'_> {
    pub(super) fn add<M: Metric + Default + Clone>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.registry.register(name, help, metric.clone());
        metric
    }

    /// The unit becomes the end of the name.
    pub(super) fn add_with_unit<M: Metric + Default + Clone>(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
    ) -> M {
        let metric = M::default();
        self.registry.register_with_unit(name, help, unit, metric.clone());
        metric
    }
}

impl Source {
    fn new(served: &Served) -> Self {
        let labels = PrinterLabels { printer: served.station.name().to_owned(), kind: served.kind };
        Self { labels, station: served.station.clone(), clients: served.clients.clone() }
    }
}

impl PrinterLabels {
    fn with_result(&self, result: &str) -> ResultLabels {
        ResultLabels { printer: self.printer.clone(), kind: self.kind, result: result.to_owned() }
    }
}

/// Counts what happens at one printer until `cancel`.
pub async fn follow(
    mut events: broadcast::Receiver<Event>,
    printer: String,
    metrics: Metrics,
    cancel: CancellationToken,
) {
    let mut session = Session::new(metrics.link_phase(&printer));
    loop {
        let received = tokio::select! {
            () = cancel.cancelled() => return,
            received = events.recv() => received,
        };
        match received {
            Ok(event) => metrics.count(&printer, &event, &mut session),
            // Counters then stay a little behind the truth; they never run ahead of it.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn result(error: Option<&CommandError>) -> &'static str {
    match error {
        None => "ok",
        Some(CommandError::Offline(_)) => "offline",
        Some(CommandError::Unsupported(_)) => "unsupported",
        Some(CommandError::NotAllowed(_)) => "not_allowed",
        Some(CommandError::Busy(_)) => "busy",
        Some(CommandError::Invalid(_)) => "invalid",
        Some(CommandError::Refused { .. }) => "refused",
        Some(CommandError::Timeout(_)) => "timeout",
        Some(CommandError::Internal(_)) => "internal",
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// From `VmRSS` of `/proc/self/status`, which is in kB; `None` on other systems.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<i64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio_util::task::TaskTracker;

    use crate::camera::CameraHub;

    use super::*;

    #[test]
    fn only_a_lost_connection_that_came_back_counts() {
        use LinkPhase::{Backoff, Connecting, Off, Online, Stale};
        let back = |first: LinkPhase, phases: &[LinkPhase]| {
            let mut session = Session::new(first);
            phases.iter().filter(|phase| session.came_back(**phase)).count()
        };
        let fresh = [Connecting, Online, Stale, Online, Backoff, Connecting, Online];
        assert_eq!(back(Off, &fresh), 1, "the first time, and silence, are none");
        assert_eq!(back(Online, &[Online]), 0, "the event of the state that was read");
        assert_eq!(back(Online, &[Backoff, Connecting, Online]), 1, "online before counting began");
        assert_eq!(back(Off, &[Backoff, Connecting, Backoff, Connecting, Online]), 0, "never online before");
    }

    #[test]
    fn every_metric_is_documented_and_no_other() {
        let metrics = Metrics::new(&[]);
        let inner = &metrics.inner;
        let labels = PrinterLabels { printer: "p1s".to_owned(), kind: "bambu" };
        for gauge in [&inner.link_up, &inner.clients, &inner.faults] {
            gauge.get_or_create(&labels).set(1);
        }
        inner.report_age.get_or_create(&labels).set(0.5);
        let health =
            CameraHub::new(None, CameraKind::Jpeg, &TaskTracker::new(), CancellationToken::new()).health();
        inner.camera.read(&labels, &Health { last_frame_age: Some(0.5), frames: 3, ..health });
        inner.reconnects.get_or_create(&labels).inc();
        for counter in [&inner.commands, &inner.jobs] {
            counter.get_or_create(&labels.with_result("ok")).inc();
        }
        inner.readings.read(&labels, &super::super::readings::tests::printing());
        let text = inner.encoded().expect("encoded");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let told: BTreeSet<&str> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
        let page = include_str!("../../../docs/ref/metrics.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let documented: BTreeSet<&str> = rows.filter(|name| !name.starts_with('/')).collect();
        assert_eq!(told, documented, "{text}");
        assert!(
            text.contains("moongate_commands_total{printer=\"p1s\",kind=\"bambu\",result=\"ok\"} 1"),
            "{text}"
        );
    }
}
