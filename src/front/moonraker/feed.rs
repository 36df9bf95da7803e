//! Computes the view once per change and sends each client its difference (design D13).

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Endpoint;
use super::klippy::{self, Gate, Klippy};
use super::object_list::ObjectList;
use super::subscribe::View;
use super::view::{self, Input, JobFile, Kept};
use crate::filament::Choices;
use crate::model::{Capabilities, Control, JobPhase, LinkPhase, PrinterState};
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
    /// What clients were sent last.
    sent: Mutex<Arc<View>>,
    made: Mutex<Option<Made>>,
    gate: watch::Sender<Gate>,
    /// The library's record of the file of the current or last job.
    file: watch::Sender<Option<Arc<JobFile>>>,
    extremes: Mutex<BTreeMap<String, (f64, f64)>>,
    /// The objects that clients know; empty while nobody is connected.
    list: Mutex<ObjectList>,
}

/// The last view that was computed and all that it was computed from.
struct Made {
    at: Instant,
    from: Sources,
    view: Arc<View>,
    kept: Kept,
}

/// What a view shows, by identity: equal sources give an equal view, apart from the clock.
struct Sources {
    state: Arc<PrinterState>,
    caps: Arc<Capabilities>,
    gate: Gate,
    file: Option<Arc<JobFile>>,
    filament: Arc<Choices>,
}

impl Sources {
    fn same(&self, other: &Self) -> bool {
        let same_file = match (&self.file, &other.file) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (one, two) => one.is_none() && two.is_none(),
        };
        same_file
            && self.gate == other.gate
            && Arc::ptr_eq(&self.state, &other.state)
            && Arc::ptr_eq(&self.caps, &other.caps)
            && Arc::ptr_eq(&self.filament, &other.filament)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is said of an emergency stop of before the gateway's restart; at most 120 characters, as a driver's note.
const STOPPED_EARLIER: &str = "The emergency stop of before the gateway was restarted is still in force.";

impl Feed {
    pub fn new(station: &Station) -> Self {
        // An emergency stop outlives the gateway: who comes back finds the printer as it was left.
        let gate = station.jobs.held().map_or(Gate::Open, |_held| Gate::Stopped(STOPPED_EARLIER.into()));
        let klippy = Klippy::of(&station.printer.state(), &gate);
        Self {
            sent: Mutex::new(Arc::new(View::without_objects(eventtime(), klippy))),
            made: Mutex::default(),
            gate: watch::Sender::new(gate),
            file: watch::Sender::new(None),
            extremes: Mutex::default(),
            list: Mutex::default(),
        }
    }

    pub fn gate(&self) -> Gate {
        self.gate.borrow().clone()
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
    /// What the view shows at this moment.
    fn sources(&self) -> Sources {
        let station = &self.station;
        Sources {
            state: station.printer.state(),
            caps: station.printer.capabilities(),
            gate: self.feed.gate(),
            file: self.feed.file.borrow().clone(),
            filament: station.jobs.filament().choices(),
        }
    }

    /// The view of this very moment, so that an answer is never older than the command before it. While nothing
    /// changes it is computed once in a [`CADENCE`], however many ask.
    pub fn fresh_view(&self) -> Arc<View> {
        let from = self.sources();
        let mut made = locked(&self.feed.made);
        if let Some(made) = made.as_ref().filter(|made| made.at.elapsed() < CADENCE && made.from.same(&from))
        {
            return made.view.clone();
        }
        let (before, kept) = made.take().map(|made| (made.view, made.kept)).unzip();
        let mut kept = kept.unwrap_or_default();
        let (klippy, eventtime) = (Klippy::of(&from.state, &from.gate), eventtime());
        let objects = self.with_input(&from, &klippy, |input| view::objects(input, &mut kept));
        let empty = || Arc::new(View::without_objects(eventtime, klippy.clone()));
        let view = Arc::new(before.unwrap_or_else(empty).follow(eventtime, klippy.clone(), objects));
        *made = Some(Made { at: Instant::now(), from, view: view.clone(), kept });
        view
    }

    fn with_input<T>(&self, from: &Sources, klippy: &Klippy, compute: impl FnOnce(&Input<'_>) -> T) -> T {
        let extremes = locked(&self.feed.extremes);
        compute(&Input {
            state: &from.state,
            caps: &from.caps,
            klippy,
            file: from.file.as_deref(),
            library: self.station.library.root(),
            host: self.config.host.load(),
            filament: &from.filament,
            spoolman: self.station.jobs.filament().inventory().is_some(),
            extremes: &extremes,
            now: unix_now(),
        })
    }

    /// Called for each client before its first request: from now on changes of the list of objects are told.
    pub fn attend(&self) {
        follow_objects(self, &self.fresh_view());
    }

    /// Klipper's state at this moment.
    pub fn klippy(&self) -> Klippy {
        Klippy::of(&self.station.printer.state(), &self.feed.gate())
    }

    /// Not for the moment of a restart, which is over before anybody asks again.
    pub fn printer_is_away(&self) -> bool {
        let gate = self.feed.gate();
        gate != Gate::Restarting && !Klippy::of(&self.station.printer.state(), &gate).connected
    }

    /// An emergency stop that was taken back by another door is taken back here too.
    fn follow_release(self: &Arc<Self>) {
        if matches!(self.feed.gate(), Gate::Stopped(_)) && self.station.jobs.held().is_none() {
            self.restart();
        }
    }

    /// Takes the printer into service again: clients see a restart and read everything anew. A connection that works is
    /// kept; one that is lost is tried, and one over which nothing is obeyed is made anew, as the user may have changed
    /// that at the printer.
    pub fn restart(self: &Arc<Self>) {
        self.feed.set_gate(Gate::Restarting);
        self.station.jobs.release();
        let state = self.station.printer.state();
        if state.link.phase != LinkPhase::Online {
            self.station.printer.reconnect();
        } else if matches!(state.control, Control::ReadOnly(_)) {
            self.station.printer.renew();
        }
        let endpoint = self.clone();
        self.spawn(async move {
            tokio::time::sleep(RESTART_PAUSE).await;
            endpoint.feed.reopen();
        });
    }
}

/// Publishes views until the endpoint ends. While nobody is connected none are computed: most printers of a fleet are
/// watched by nobody.
pub async fn run(endpoint: Arc<Endpoint>) {
    let mut file = endpoint.feed.file.subscribe();
    let mut state = endpoint.station.printer.watch();
    let mut caps = endpoint.station.printer.watch_capabilities();
    let mut gate = endpoint.feed.gate.subscribe();
    let mut choices = endpoint.station.jobs.filament().watch();
    let mut held = endpoint.station.jobs.watch_held();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut urgency = Urgency::of(&endpoint);
    publish(&endpoint);
    let (mut reported, mut next) = (Instant::now(), Instant::now());
    loop {
        let second = tokio::select! {
            () = endpoint.cancel.cancelled() => return,
            changed = state.changed() => { if changed.is_err() { return }; false }
            changed = caps.changed() => { if changed.is_err() { return }; false }
            _ = gate.changed() => false,
            changed = held.changed() => {
                if changed.is_err() { return }
                endpoint.follow_release();
                false
            }
            changed = choices.changed() => { if changed.is_err() { return }; false }
            changed = file.changed() => { if changed.is_err() { return }; false }
            _ = tick.tick() => true,
        };
        if second {
            sample(&endpoint);
            // Reports tell the time as well: the next one is not to wait for this. One that came in the same moment is
            // still to be looked at.
            if reported.elapsed() < TICK * 5 / 4 {
                continue;
            }
        }
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
        if !second {
            reported = Instant::now();
        }
        publish(&endpoint);
    }
}

/// What clients must see at once.
#[derive(PartialEq)]
struct Urgency(u64, JobPhase, &'static str);

impl Urgency {
    fn of(endpoint: &Endpoint) -> Self {
        let state = endpoint.station.printer.state();
        Self(state.job.serial, state.job.phase, Klippy::of(&state, &endpoint.feed.gate()).state)
    }
}

/// Sends updates first, then the notification of the change that they show (moonraker.md 2.7, sequence on e-stop).
fn publish(endpoint: &Arc<Endpoint>) {
    let view = if endpoint.hub.count() == 0 {
        *locked(&endpoint.feed.made) = None;
        Arc::new(View::without_objects(eventtime(), endpoint.klippy()))
    } else {
        endpoint.fresh_view()
    };
    let before = std::mem::replace(&mut *locked(&endpoint.feed.sent), view.clone());
    endpoint.hub.publish(&view);
    for method in klippy::notifications(&before.klippy, &view.klippy) {
        endpoint.hub.notify(method, None);
    }
    if !view.klippy.connected && endpoint.printer_is_away() {
        endpoint.hub.close_unaware();
    }
    follow_objects(endpoint, &view);
}

/// Keeps the temperatures of this second, whether or not somebody is connected.
fn sample(endpoint: &Endpoint) {
    let from = endpoint.sources();
    let klippy = Klippy::of(&from.state, &from.gate);
    if !klippy.connected || klippy.state == "startup" {
        return;
    }
    let readings = endpoint.with_input(&from, &klippy, view::readings);
    locked(&endpoint.stores).sample(&readings);
    let mut extremes = locked(&endpoint.feed.extremes);
    for (name, object) in readings.iter().filter(|(name, _)| name.starts_with("temperature_sensor ")) {
        if let Some(actual) = object.get("temperature").and_then(Value::as_f64) {
            let (low, high) = extremes.entry(name.clone()).or_insert((actual, actual));
            (*low, *high) = (low.min(actual), high.max(actual));
        }
    }
}

/// Clients forget and read everything when another list of objects has come to stay (moonraker.md 3.5); the printer is
/// served all the while.
fn follow_objects(endpoint: &Endpoint, view: &View) {
    let mut list = locked(&endpoint.feed.list);
    if view.objects.is_empty() {
        // Whoever connected meanwhile has been told the newest list.
        if endpoint.hub.count() == 0 {
            *list = ObjectList::default();
        }
        return;
    }
    let Some(changes) = list.follow(view, Instant::now()) else { return };
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
