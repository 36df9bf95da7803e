//! What the services of one simulated printer share: its state, its faults, its clients, its clock.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::certs::server_config;
use super::delta::Reporter;
use super::faults::Switches;
use super::printer::Printer;
use super::truth::{Connections, Truth};
use super::{DataChannel, Options};

/// Real time between two steps of the machine.
const TICK: Duration = Duration::from_millis(50);

/// One subscribed or subscribing MQTT client.
pub(super) struct Client {
    pub number: u64,
    pub client_id: String,
    /// Highest QoS granted on the report topic; `None` before a subscription that matches.
    pub subscribed: Option<u8>,
    pub outbox: mpsc::Sender<Bytes>,
    pub cut: CancellationToken,
}

pub(super) struct Core {
    pub options: Options,
    pub root: PathBuf,
    pub printer: Mutex<Printer>,
    pub switches: Mutex<Switches>,
    pub clients: Mutex<Vec<Client>>,
    pub connections: Mutex<BTreeMap<&'static str, Connections>>,
    /// Acceptors of MQTT and camera, and of FTPS: the latter keeps TLS sessions of its own.
    tls: Mutex<(TlsAcceptor, TlsAcceptor)>,
    pub shutdown: CancellationToken,
    /// Cancelled and replaced when every connection is to drop.
    links: Mutex<CancellationToken>,
    /// False while the printer is off.
    pub power: watch::Sender<bool>,
    /// One FTPS transfer at a time (dossier 5.2).
    pub transfers: Arc<Semaphore>,
    /// Wakes the reporter.
    pub changed: Notify,
    /// Another fault of the camera.
    pub camera_changed: Notify,
}

/// Locks, also when a test panicked inside.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub fn new(options: Options, root: PathBuf) -> io::Result<Self> {
        let shutdown = CancellationToken::new();
        let mut printer = Printer::new(options.model, &options.serial, options.gated);
        // Some reports were captured with the live view off.
        printer.show_rtsp(true);
        let switches = Switches { access_code: options.access_code.clone(), ..Switches::default() };
        let tls = acceptors(&options, 0)?;
        Ok(Self {
            root,
            printer: Mutex::new(printer),
            switches: Mutex::new(switches),
            clients: Mutex::default(),
            connections: Mutex::default(),
            tls: Mutex::new(tls),
            links: Mutex::new(shutdown.child_token()),
            shutdown,
            power: watch::Sender::new(true),
            transfers: Arc::new(Semaphore::new(1)),
            changed: Notify::new(),
            camera_changed: Notify::new(),
            options,
        })
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        lock(&self.tls).0.clone()
    }

    pub fn ftps_acceptor(&self) -> TlsAcceptor {
        lock(&self.tls).1.clone()
    }

    /// Shows another certificate from the next handshake on.
    /// What data connections are to be.
    pub fn data_channel(&self) -> DataChannel {
        if lock(&self.switches).encrypt_data { DataChannel::Tls } else { self.options.data_channel() }
    }

    pub fn change_certificate(&self) -> io::Result<()> {
        let generation = {
            let mut switches = lock(&self.switches);
            switches.generation += 1;
            switches.generation
        };
        *lock(&self.tls) = acceptors(&self.options, generation)?;
        Ok(())
    }

    /// Ends with the connections of the moment.
    pub fn link(&self) -> CancellationToken {
        lock(&self.links).clone()
    }

    /// Closes every connection at once.
    pub fn drop_links(&self) {
        let fresh = self.shutdown.child_token();
        std::mem::replace(&mut *lock(&self.links), fresh).cancel();
    }

    /// Off for `seconds`: sockets closed and refused, job and errors forgotten.
    pub fn power_cut(self: &Arc<Self>, seconds: f64) {
        self.power.send_replace(false);
        self.drop_links();
        lock(&self.printer).power_cycle();
        let core = self.clone();
        tokio::spawn(async move {
            let off = Duration::try_from_secs_f64(seconds.clamp(0.0, 3600.0)).unwrap_or_default();
            tokio::select! {
                () = tokio::time::sleep(off) => { core.power.send_replace(true); }
                () = core.shutdown.cancelled() => {}
            }
        });
    }

    /// The login every service checks.
    pub fn login_accepted(&self, user: &str, password: &str) -> bool {
        let switches = lock(&self.switches);
        let accepted = user == "bblp" && password == switches.access_code && !switches.refuse_login;
        drop(switches);
        if !accepted {
            lock(&self.printer).counters.failed_logins += 1;
        }
        accepted
    }

    pub fn report_topic(&self) -> String {
        format!("device/{}/report", self.options.serial)
    }

    pub fn request_topic(&self) -> String {
        format!("device/{}/request", self.options.serial)
    }

    /// Sends one payload to every subscriber; a client that does not read loses it.
    pub fn publish(&self, payload: &Value) {
        self.publish_bytes(Bytes::from(payload.to_string()));
    }

    pub fn publish_bytes(&self, payload: Bytes) {
        if lock(&self.switches).dead {
            return;
        }
        for client in lock(&self.clients).iter().filter(|client| client.subscribed.is_some()) {
            let _ = client.outbox.try_send(payload.clone());
        }
    }

    /// Publishes as fast as the subscribers read.
    pub async fn flood(self: Arc<Self>, messages: u64) {
        for number in 0..messages {
            let payload = format!(
                r#"{{"print":{{"bed_temper":{}.{},"command":"push_status","msg":1,"sequence_id":"{number}"}}}}"#,
                20 + number % 80,
                number % 10
            );
            let outboxes: Vec<_> = lock(&self.clients)
                .iter()
                .filter(|client| client.subscribed.is_some())
                .map(|client| client.outbox.clone())
                .collect();
            if outboxes.is_empty() {
                tokio::time::sleep(TICK).await;
            }
            for outbox in outboxes {
                let _gone = outbox.send(Bytes::from(payload.clone())).await;
            }
            lock(&self.printer).counters.flooded += 1;
        }
    }

    /// Counts a connection of `service` until the guard goes.
    pub fn count(self: &Arc<Self>, service: &'static str) -> Counted {
        let mut all = lock(&self.connections);
        let entry = all.entry(service).or_default();
        entry.open += 1;
        entry.total += 1;
        entry.peak = entry.peak.max(entry.open);
        Counted { core: self.clone(), service }
    }

    pub fn truth(&self) -> Truth {
        let p = lock(&self.printer);
        let run = p.machine.run.as_ref();
        let pair = |t: &crate::sim::physics::Thermal| (t.actual, t.target);
        let connections = lock(&self.connections).iter().map(|(name, c)| ((*name).to_owned(), *c)).collect();
        Truth {
            model: p.model.key.to_owned(),
            serial: p.serial.clone(),
            gcode_state: p.gcode_state().to_owned(),
            stage: p.stage(),
            print_error: p.print_error,
            nozzles: p.machine.nozzles.iter().map(pair).collect(),
            bed: pair(&p.machine.bed),
            chamber: pair(&p.machine.chamber),
            progress: run.map_or(0.0, |run| run.progress()),
            layer: run.map_or(0, |run| run.layer()),
            layers: run.map_or(0, |run| run.plan.layers),
            file: p.job.file.clone(),
            subtask_id: p.job.subtask_id.clone(),
            skipped: p.job.skipped.clone(),
            fans: p.fans,
            lights: p.lights.iter().cloned().collect(),
            speed_level: p.speed_level,
            position: p.queue.position,
            homed: p.machine.homed,
            tray_now: p.ams.now,
            mapping: p.job.mapping.clone(),
            slots: super::feed::slots(&p.ams.units),
            units: super::feed::units(&p.ams.units),
            auto_refill: p.auto_refill(),
            gated: p.gated,
            connections,
            counters: p.counters.clone(),
        }
    }

    /// Moves the machine and publishes, until shutdown.
    pub async fn clock(self: Arc<Self>) {
        let mut reporter = Reporter::default();
        let mut last = Instant::now();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = self.changed.notified() => {}
                _ = tick.tick() => {}
            }
            let now = Instant::now();
            let real = (now - last).as_secs_f64();
            last = now;
            if !*self.power.borrow() {
                reporter = Reporter::default();
                continue;
            }
            let quiet = lock(&self.switches).quiet_when_idle;
            let report = {
                let mut printer = lock(&self.printer);
                printer.tick(real, self.options.speed);
                let busy = printer.machine.stage.busy();
                reporter.due(&mut printer, self.options.report_interval).filter(|_| busy || !quiet)
            };
            if let Some(report) = report {
                self.publish(&report);
            }
        }
    }
}

fn acceptors(options: &Options, generation: usize) -> io::Result<(TlsAcceptor, TlsAcceptor)> {
    let make = || server_config(options.certificate, &options.serial, generation, options.tls13);
    Ok((TlsAcceptor::from(Arc::new(make()?)), TlsAcceptor::from(Arc::new(make()?))))
}

/// An open connection, counted.
pub(super) struct Counted {
    core: Arc<Core>,
    service: &'static str,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(entry) = lock(&self.core.connections).get_mut(self.service) {
            entry.open = entry.open.saturating_sub(1);
        }
    }
}
