//! The one place where what is known of a printer changes, and from where everybody is told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, watch};

use super::clock::{Jumps, unix_now};
use super::{sane, track};
use crate::model::{
    Capabilities, ConsoleLine, Control, Device, Event, Job, Link, LinkFault, LinkPhase, PrinterState,
    Speaker, UnixSeconds,
};

/// The only way to change what is known of a printer.
#[derive(Clone)]
pub struct StateWriter {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub state: watch::Sender<Arc<PrinterState>>,
    pub capabilities: watch::Sender<Arc<Capabilities>>,
    pub events: broadcast::Sender<Event>,
    /// Bits of the f64 time of the last report.
    last_report: AtomicU64,
    jumps: Mutex<Jumps>,
    expected_run: Mutex<Option<ExpectedRun>>,
}

/// A run that an earlier gateway started. Printers that give runs ids of their own do not echo its token: their driver
/// finds it again by its file.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedRun {
    /// Path on the printer's storage.
    pub file: String,
    pub token: u32,
    /// The earlier gateway saw it running: an end that the printer shows is its end.
    pub ran: bool,
    /// When the earlier gateway started it, by its own clock.
    pub started_at: UnixSeconds,
}

/// Events wait for a slow reader up to this many; after that it is told that it missed some.
const EVENT_CAPACITY: usize = 64;

impl StateWriter {
    /// A writer for a printer that nothing is known of yet.
    pub fn new(capabilities: Capabilities) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: watch::Sender::new(Arc::new(PrinterState::default())),
                capabilities: watch::Sender::new(Arc::new(capabilities)),
                events: broadcast::Sender::new(EVENT_CAPACITY),
                last_report: AtomicU64::new(0),
                jumps: Mutex::default(),
                expected_run: Mutex::default(),
            }),
        }
    }

    /// Tells the driver which run of an earlier gateway it may find.
    pub fn expect_run(&self, run: ExpectedRun) {
        *self.shared.expected_run.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
    }

    /// For the driver, before it reads a report; told once.
    pub fn take_expected_run(&self) -> Option<ExpectedRun> {
        self.shared.expected_run.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The newest snapshot.
    pub fn state(&self) -> Arc<PrinterState> {
        self.shared.state.borrow().clone()
    }

    pub fn capabilities(&self) -> Arc<Capabilities> {
        self.shared.capabilities.borrow().clone()
    }

    /// Merges one report. The job is tracked and events are sent before front ends wake.
    pub fn report(&self, reduce: impl FnOnce(&mut Device)) {
        self.shared.last_report.store(unix_now().to_bits(), Ordering::Relaxed);
        self.change_from(|before, state| {
            reduce(&mut state.device);
            sane::keep_sane(&before.device, &mut state.device);
        });
    }

    /// The link moved on; `Online` forgets the fault of the last loss.
    pub fn link(&self, phase: LinkPhase) {
        self.change(|state| {
            if state.link.phase != phase {
                let new = phase == LinkPhase::Online && state.link.phase != LinkPhase::Stale;
                if new {
                    tracing::info!("Connected.");
                }
                let fault = state.link.fault.take().filter(|_| !new);
                let made = state.link.made + u64::from(new);
                state.link = Link { phase, since: unix_now(), retry_at: None, fault, made };
            }
        });
    }

    /// The link is lost and will be tried again at `retry_at`.
    pub fn link_lost(&self, fault: LinkFault, retry_at: UnixSeconds) {
        self.change(|state| {
            state.link = Link {
                phase: LinkPhase::Backoff,
                since: unix_now(),
                retry_at: Some(retry_at),
                fault: Some(fault),
                made: state.link.made,
            };
        });
    }

    /// What is known of the permission to control.
    pub fn control(&self, control: Control) {
        self.change(|state| state.control = control);
    }

    /// The capabilities became better known.
    pub fn set_capabilities(&self, capabilities: Capabilities) {
        let changed = self.shared.capabilities.send_if_modified(|current| {
            let differs = **current != capabilities;
            if differs {
                *current = Arc::new(capabilities);
            }
            differs
        });
        if changed {
            self.event(Event::CapabilitiesChanged);
        }
    }

    /// Changes the gateway's part of the job: transfer, start, request. For `jobs` and the command path.
    pub fn job(&self, change: impl FnOnce(&mut Job)) {
        self.change(|state| change(&mut state.job));
    }

    /// Says something on the printer's console.
    pub fn console(&self, speaker: Speaker, text: impl Into<String>) {
        let line = ConsoleLine { time: unix_now(), speaker, text: text.into() };
        self.event(Event::Console(Box::new(line)));
    }

    pub fn event(&self, event: Event) {
        let _nobody_listens = self.shared.events.send(event);
    }

    /// Seconds since the last report; `None` before the first.
    pub fn report_age(&self) -> Option<f64> {
        match f64::from_bits(self.shared.last_report.load(Ordering::Relaxed)) {
            0.0 => None,
            at => Some((unix_now() - at).max(0.0)),
        }
    }

    fn change(&self, apply: impl FnOnce(&mut PrinterState)) {
        self.change_from(|_before, state| apply(state));
    }

    fn change_from(&self, apply: impl FnOnce(&PrinterState, &mut PrinterState)) {
        let mut events = Vec::new();
        self.shared.state.send_if_modified(|current| {
            let mut next = PrinterState::clone(current);
            // Before the change: what it brings is told by the clock as it stands now.
            let set_by = self.shared.jumps.lock().unwrap_or_else(PoisonError::into_inner).look();
            track::shift(&mut next.job, set_by);
            apply(current, &mut next);
            if next == **current {
                return false;
            }
            track::follow(current, &mut next, unix_now(), &mut events);
            *current = Arc::new(next);
            true
        });
        for event in events {
            self.event(event);
        }
    }
}
