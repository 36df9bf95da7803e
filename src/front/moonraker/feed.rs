//! Computes the view once per change and sends each client its difference (design D13).

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Endpoint;
use super::klippy::{self, Gate, Klippy};
use super::object_list::ObjectList;
use super::subscribe::View;
use super::view::{self, Input, JobFile};
use crate::model::{Control, JobPhase, LinkPhase};
use crate::printer::clock::unix_now;
use crate::station::Station;

/// Least time between two updates; a change of the job's phase or of the link does not wait.
const CADENCE: Duration = Duration::from_millis(250);
/// Durations, host load and temperature samples move on without any report.
const TICK: Duration = Duration::from_secs(1);
/// How long clients see a restart before the printer is back: both UIs poll at 1.5 to 2 s.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// The newest view and the switches that the user has over it.
pub struct Feed {
    view: watch::Sender<Arc<View>>,
    gate: watch::Sender<Gate>,
    /// The library's record of the file of the current or last job.
    file: watch::Sender<Option<Arc<JobFile>>>,
    extremes: Mutex<BTreeMap<String, (f64, f64)>>,
}

impl Feed {
    pub fn new(station: &Station) -> Self {
        let klippy = Klippy::of(&station.printer.state(), Gate::Open);
        let view = View { eventtime: eventtime(), klippy, objects: BTreeMap::new() };
        Self {
            view: watch::Sender::new(Arc::new(view)),
            gate: watch::Sender::new(Gate::Open),
            file: watch::Sender::new(None),
            extremes: Mutex::default(),
        }
    }

    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    pub fn gate(&self) -> Gate {
        *self.gate.borrow()
    }

    pub fn set_gate(&self, gate: Gate) {
        self.gate.send_replace(gate);
    }

    /// Ends a restart; an emergency stop that came meanwhile stays.
    pub(super) fn reopen(&self) {
        self.gate.send_if_modified(|gate| {
            let restarting = *gate == Gate::Restarting;
            if restarting {
                *gate = Gate::Open;
            }
            restarting
        });
    }
}

/// Seconds of a monotonic clock, greater than zero; all printers of the process share it.
pub fn eventtime() -> f64 {
    static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    1.0 + START.elapsed().as_secs_f64()
}

impl Endpoint {
    /// The view of this very moment, so that an answer is never older than the command before it.
    pub fn fresh_view(&self) -> View {
        let file = self.feed.file.borrow().clone();
        let station = &self.station;
        let (state, caps) = (station.printer.state(), station.printer.capabilities());
        let klippy = Klippy::of(&state, self.feed.gate());
        let choices = station.jobs.filament().choices();
        let before = self.feed.view();
        let extremes = self.feed.extremes.lock().unwrap_or_else(PoisonError::into_inner);
        let input = Input {
            state: &state,
            caps: &caps,
            klippy: &klippy,
            file: file.as_deref(),
            library: station.library.root(),
            host: self.host.load(),
            filament: &choices,
            spoolman: station.jobs.filament().inventory().is_some(),
            extremes: &extremes,
            now: unix_now(),
            eventtime: eventtime(),
        };
        let objects = view::objects(&input);
        let now = input.eventtime;
        before.follow(now, klippy, objects)
    }

    /// Klipper's state at this moment.
    pub fn klippy(&self) -> Klippy {
        Klippy::of(&self.station.printer.state(), self.feed.gate())
    }

    /// Takes the printer into service again: clients see a restart and read everything anew. A connection that works is
    /// kept; one that is lost is tried, and one over which nothing is obeyed is made anew, as the user may have changed
    /// that at the printer.
    pub fn restart(self: &Arc<Self>) {
        self.feed.set_gate(Gate::Restarting);
        let state = self.station.printer.state();
        if state.link.phase != LinkPhase::Online {
            self.station.printer.reconnect();
        } else if matches!(state.control, Control::ReadOnly(_)) {
            self.station.printer.renew();
        }
        let endpoint = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(RESTART_PAUSE).await;
            endpoint.feed.reopen();
        });
    }
}

/// Publishes views until the endpoint ends.
pub async fn run(endpoint: Arc<Endpoint>) {
    let mut file = endpoint.feed.file.subscribe();
    let mut state = endpoint.station.printer.watch();
    let mut caps = endpoint.station.printer.watch_capabilities();
    let mut gate = endpoint.feed.gate.subscribe();
    let mut choices = endpoint.station.jobs.filament().watch();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut urgency = Urgency::of(&endpoint);
    publish(&endpoint);
    let mut next = Instant::now();
    let mut objects = ObjectList::default();
    loop {
        let second = tokio::select! {
            () = endpoint.cancel.cancelled() => return,
            changed = state.changed() => { if changed.is_err() { return }; false }
            changed = caps.changed() => { if changed.is_err() { return }; false }
            _ = gate.changed() => false,
            changed = choices.changed() => { if changed.is_err() { return }; false }
            changed = file.changed() => { if changed.is_err() { return }; false }
            _ = tick.tick() => true,
        };
        state.mark_unchanged();
        while Urgency::of(&endpoint) == urgency && !second && Instant::now() < next {
            tokio::select! {
                () = endpoint.cancel.cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
                changed = state.changed() => if changed.is_err() { return },
                _ = gate.changed() => {}
            }
        }
        urgency = Urgency::of(&endpoint);
        next = Instant::now() + CADENCE;
        let view = publish(&endpoint);
        if second {
            sample(&endpoint, &view);
        }
        if let Some(changes) = objects.follow(&view, Instant::now()) {
            announce_other_objects(&endpoint, &changes);
        }
    }
}

/// What clients must see at once.
#[derive(PartialEq)]
struct Urgency(u64, JobPhase, &'static str);

impl Urgency {
    fn of(endpoint: &Endpoint) -> Self {
        let state = endpoint.station.printer.state();
        Self(state.job.serial, state.job.phase, Klippy::of(&state, endpoint.feed.gate()).state)
    }
}

/// Sends updates first, then the notification of the change that they show (moonraker.md 2.7, sequence on e-stop).
fn publish(endpoint: &Endpoint) -> Arc<View> {
    let before = endpoint.feed.view();
    let view = Arc::new(endpoint.fresh_view());
    endpoint.feed.view.send_replace(view.clone());
    endpoint.hub.publish(&view);
    for method in klippy::notifications(&before.klippy, &view.klippy) {
        endpoint.hub.notify(method, None);
    }
    view
}

fn sample(endpoint: &Endpoint, view: &View) {
    if !view.klippy.connected || view.klippy.state == "startup" {
        return;
    }
    endpoint.stores.lock().unwrap_or_else(PoisonError::into_inner).sample(view);
    let mut extremes = endpoint.feed.extremes.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, object) in view.objects.iter().filter(|(name, _)| name.starts_with("temperature_sensor ")) {
        if let Some(actual) = object.get("temperature").and_then(Value::as_f64) {
            let (low, high) = extremes.entry(name.clone()).or_insert((actual, actual));
            (*low, *high) = (low.min(actual), high.max(actual));
        }
    }
}

/// Clients forget and read everything; the printer is served all the while (moonraker.md 3.5).
fn announce_other_objects(endpoint: &Endpoint, changes: &str) {
    let printer = endpoint.station.name();
    tracing::info!(printer, changes, "The printer's objects changed; clients read them anew.");
    for method in ["notify_klippy_disconnected", "notify_klippy_ready"] {
        endpoint.hub.notify(method, None);
    }
}

/// Keeps the record of the job's file at hand for the views.
pub async fn follow_file(endpoint: Arc<Endpoint>) {
    let mut state = endpoint.station.printer.watch();
    let mut known: Option<(u64, String)> = None;
    loop {
        let (serial, file) = {
            let state = state.borrow_and_update();
            (state.job.serial, state.job.file.clone())
        };
        let wanted = file.map(|file| (serial, file));
        if wanted != known {
            let record = match &wanted {
                Some((_, path)) => read_file(&endpoint, path).await,
                None => None,
            };
            endpoint.feed.file.send_replace(record);
            known = wanted;
        }
        tokio::select! {
            () = endpoint.cancel.cancelled() => return,
            changed = state.changed() => if changed.is_err() { return },
        }
    }
}

async fn read_file(endpoint: &Endpoint, path: &str) -> Option<Arc<JobFile>> {
    let record = endpoint.station.library.record(path).await.ok()?;
    Some(Arc::new(JobFile {
        path: path.to_owned(),
        size: record.entry.size,
        plate: record.plate,
        metadata: serde_json::to_value(&record.metadata).unwrap_or_default(),
        objects: crate::metadata::named_objects(&record.metadata, record.plate),
    }))
}
