//! `machine.*` (moonraker.md 2.12): real numbers of the gateway's host; its power and services are not ours to touch.

use std::collections::BTreeMap;
use std::fs::read_to_string;

use serde_json::{Map, Value, json};

use super::super::error::RpcError;
use super::super::host::memory;
use super::super::rpc::Call;
use crate::model::Speaker;

pub async fn proc_stats(call: Call) -> Result<Value, RpcError> {
    Ok(call.endpoint.config.host.proc_stats(call.endpoint.hub.count()))
}

/// Fluidd's only button while the printer is away restarts `klipper`, here the connection to the printer; `moonraker` is
/// what `server.restart` restarts.
pub async fn restart_service(call: Call) -> Result<Value, RpcError> {
    match call.args.text("service")?.as_str() {
        "klipper" => {
            call.endpoint.restart();
            Ok(json!("ok"))
        }
        "moonraker" => super::server::restart(call).await,
        _ => refused(call).await,
    }
}

/// Also told on the console: neither web UI shows why its power menu did nothing.
pub async fn refused(call: Call) -> Result<Value, RpcError> {
    let reason = "The gateway does not switch its host or other services; use the host's own means.";
    call.endpoint.station.say(Speaker::Error, reason);
    Err(RpcError::forbidden(reason))
}

pub async fn system_info(_call: Call) -> Result<Value, RpcError> {
    Ok(json!({"system_info": {
        "python": {"version": [0, 0, 0, "final", 0], "version_string": "none: moongate is no Python program"},
        "cpu_info": cpu_info(),
        "sd_info": {},
        "distribution": distribution(),
        "virtualization": {"virt_type": "unknown", "virt_identifier": "unknown"},
        "network": network(),
        "canbus": {},
        "provider": "none",
        "available_services": [],
        "service_state": {},
        "instance_ids": {"moonraker": "moonraker", "klipper": "klipper"},
    }}))
}

fn cpu_info() -> Value {
    let table = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = |names: &[&str]| {
        let found = table.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            names.contains(&key.trim()).then(|| value.trim().to_owned())
        });
        found.unwrap_or_default()
    };
    json!({
        "cpu_count": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "bits": if cfg!(target_pointer_width = "64") { "64bit" } else { "32bit" },
        "processor": std::env::consts::ARCH,
        "cpu_desc": line(&["model name"]),
        "serial_number": "",
        "hardware_desc": line(&["Hardware"]),
        "model": line(&["Model"]),
        "total_memory": memory("MemTotal"),
        "memory_units": "kB",
    })
}

fn distribution() -> Value {
    let release = read_to_string("/etc/os-release").unwrap_or_default();
    let fields: BTreeMap<&str, &str> = release
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(k, v)| (k, v.trim_matches('"')))
        .collect();
    let field = |name: &str| fields.get(name).copied().unwrap_or_default();
    let version = field("VERSION_ID");
    let mut parts = version.split('.');
    let mut part = || parts.next().unwrap_or_default();
    json!({
        "name": field("PRETTY_NAME"),
        "id": field("ID"),
        "version": version,
        "version_parts": {"major": part(), "minor": part(), "build_number": part()},
        "like": field("ID_LIKE"),
        "codename": field("VERSION_CODENAME"),
        "release_info": {},
        "kernel_version": read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
    })
}

/// Interfaces of the host with their hardware addresses; their IP addresses are not listed.
fn network() -> Value {
    let table = read_to_string("/proc/net/dev").unwrap_or_default();
    let interface = |line: &str| {
        let name = line.split_once(':')?.0.trim().to_owned();
        let address = read_to_string(format!("/sys/class/net/{name}/address")).ok()?;
        (name != "lo").then(|| (name, json!({"mac_address": address.trim(), "ip_addresses": []})))
    };
    table.lines().filter_map(interface).collect::<Map<_, _>>().into()
}
