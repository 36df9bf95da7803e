//! Numbers of the host and of this process, read from `/proc` (moonraker.md 2.12).

use std::collections::{BTreeMap, VecDeque};
use std::fs::read_to_string;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Endpoint;
use super::view::HostLoad;
use crate::printer::clock::unix_now;

/// Samples of this process that `machine.proc_stats` returns.
const SAMPLES: usize = 30;
/// Clock ticks per second in `/proc/*/stat`: fixed at 100 in the Linux user interface.
const TICKS: f64 = 100.0;
/// Endpoints that ask for a sample sooner than this after another one get that one, in seconds.
const SHARED: f64 = 0.9;

/// What the last second was like; one for all endpoints of the process.
#[derive(Debug, Default)]
pub struct Monitor {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    own: VecDeque<Value>,
    load: HostLoad,
    before: Option<Raw>,
    cpu_usage: Map<String, Value>,
    network: Map<String, Value>,
}

/// Counters since boot.
#[derive(Debug)]
struct Raw {
    time: f64,
    own_seconds: f64,
    /// Busy and total ticks by processor.
    cpus: BTreeMap<String, (f64, f64)>,
    network: BTreeMap<String, [u64; 8]>,
}

impl Monitor {
    pub fn load(&self) -> HostLoad {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).load
    }

    /// Reads the counters, unless another endpoint has just done so; rates are those since the sample before.
    fn sample(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back is no reason to wait.
        let since = inner.before.as_ref().map(|before| unix_now() - before.time);
        if since.is_some_and(|seconds| (0.0..SHARED).contains(&seconds)) {
            return;
        }
        let now = Raw { time: unix_now(), own_seconds: own_cpu_seconds(), cpus: cpus(), network: network() };
        let elapsed = inner.before.as_ref().map_or(0.0, |before| now.time - before.time);
        let own = inner.before.as_ref().map_or(0.0, |before| now.own_seconds - before.own_seconds);
        let usage = if elapsed > 0.0 { own / elapsed * 100.0 } else { 0.0 };
        let sample = json!({"time": now.time, "cpu_usage": hundredths(usage), "memory": own_memory_kb(), "mem_units": "kB"});
        if inner.own.len() == SAMPLES {
            inner.own.pop_front();
        }
        inner.own.push_back(sample);
        inner.cpu_usage = cpu_usage(inner.before.as_ref(), &now);
        inner.network = traffic(inner.before.as_ref(), &now, elapsed);
        inner.load = HostLoad {
            load: first_number("/proc/loadavg").unwrap_or(0.0),
            cpu_seconds: hundredths(now.own_seconds),
            available_kb: memory("MemAvailable").unwrap_or(0),
        };
        inner.before = Some(now);
    }

    /// The answer of `machine.proc_stats`.
    pub fn proc_stats(&self, sockets: usize) -> Value {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stats = common(&inner, sockets);
        stats.insert("moonraker_stats".to_owned(), inner.own.iter().cloned().collect());
        stats.insert("throttled_state".to_owned(), Value::Null);
        stats.insert("system_uptime".to_owned(), json!(first_number("/proc/uptime").unwrap_or(0.0)));
        Value::Object(stats)
    }

    /// The parameter of `notify_proc_stat_update`.
    fn update(&self, sockets: usize) -> Value {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stats = common(&inner, sockets);
        stats.insert("moonraker_stats".to_owned(), inner.own.back().cloned().unwrap_or_default());
        Value::Object(stats)
    }
}

/// Samples and tells every second, whatever the printer does: Mainsail drops a socket that is silent for 10 s.
pub async fn run(endpoint: Arc<Endpoint>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = endpoint.cancel.cancelled() => return,
            _ = tick.tick() => {}
        }
        endpoint.config.host.sample();
        let sockets = endpoint.hub.count();
        if sockets > 0 {
            endpoint.hub.notify("notify_proc_stat_update", Some(endpoint.config.host.update(sockets)));
        }
    }
}

fn common(inner: &Inner, sockets: usize) -> Map<String, Value> {
    let total = memory("MemTotal").unwrap_or(0);
    let available = memory("MemAvailable").unwrap_or(0);
    let memory = json!({"total": total, "available": available, "used": total.saturating_sub(available)});
    Map::from_iter([
        ("cpu_temp".to_owned(), cpu_temperature().map_or(Value::Null, Value::from)),
        ("network".to_owned(), Value::Object(inner.network.clone())),
        ("system_cpu_usage".to_owned(), Value::Object(inner.cpu_usage.clone())),
        ("system_memory".to_owned(), memory),
        ("websocket_connections".to_owned(), Value::from(sockets)),
    ])
}

fn first_number(path: &str) -> Option<f64> {
    read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

/// A line of `/proc/meminfo`, in kB.
pub fn memory(name: &str) -> Option<u64> {
    let table = read_to_string("/proc/meminfo").ok()?;
    let line = table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cpu_temperature() -> Option<f64> {
    first_number("/sys/class/thermal/thermal_zone0/temp").map(|milli| milli / 1000.0)
}

fn own_memory_kb() -> u64 {
    let status = read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn own_cpu_seconds() -> f64 {
    let stat = read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th field after it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS
}

fn cpus() -> BTreeMap<String, (f64, f64)> {
    let stat = read_to_string("/proc/stat").unwrap_or_default();
    stat.lines()
        .filter(|line| line.starts_with("cpu"))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?.to_owned();
            let ticks: Vec<f64> = words.filter_map(|word| word.parse().ok()).take(8).collect();
            let total: f64 = ticks.iter().sum();
            let idle = ticks.get(3).unwrap_or(&0.0) + ticks.get(4).unwrap_or(&0.0);
            Some((name, (total - idle, total)))
        })
        .collect()
}

fn cpu_usage(before: Option<&Raw>, now: &Raw) -> Map<String, Value> {
    let percent = |(name, (busy, total)): (&String, &(f64, f64))| {
        let (busy_before, total_before) = before.and_then(|b| b.cpus.get(name)).copied().unwrap_or_default();
        let span = total - total_before;
        let usage = if span > 0.0 { (busy - busy_before) / span * 100.0 } else { 0.0 };
        (name.clone(), json!(hundredths(usage)))
    };
    now.cpus.iter().map(percent).collect()
}

fn network() -> BTreeMap<String, [u64; 8]> {
    let table = read_to_string("/proc/net/dev").unwrap_or_default();
    let interface = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let numbers: Vec<u64> = counters.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
        Some((name.trim().to_owned(), [at(0), at(8), at(1), at(9), at(2), at(10), at(3), at(11)]))
    };
    table.lines().filter_map(interface).collect()
}

fn traffic(before: Option<&Raw>, now: &Raw, elapsed: f64) -> Map<String, Value> {
    let described = |(name, counters): (&String, &[u64; 8])| {
        let [rx, tx, rx_packets, tx_packets, rx_errs, tx_errs, rx_drop, tx_drop] = *counters;
        let [rx_before, tx_before, ..] =
            before.and_then(|b| b.network.get(name)).copied().unwrap_or(*counters);
        let bytes = rx.saturating_sub(rx_before) + tx.saturating_sub(tx_before);
        let bandwidth = if elapsed > 0.0 { bytes as f64 / elapsed } else { 0.0 };
        let value = json!({
            "rx_bytes": rx, "tx_bytes": tx, "rx_packets": rx_packets, "tx_packets": tx_packets,
            "rx_errs": rx_errs, "tx_errs": tx_errs, "rx_drop": rx_drop, "tx_drop": tx_drop,
            "bandwidth": hundredths(bandwidth),
        });
        (name.clone(), value)
    };
    now.network.iter().map(described).collect()
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
