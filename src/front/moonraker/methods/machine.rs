//! `machine.*` (moonraker.md 2.12): real numbers of the gateway's host; its power and services are not ours to touch.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::net::IpAddr;
use std::path::Path;

use nix::sys::socket::SockaddrStorage;
use serde_json::{Map, Value, json};

use super::super::error::RpcError;
use super::super::host::memory;
use super::super::rpc::Call;
use crate::model::Speaker;

/// What `/sys/class/net/*/type` has for Ethernet and WLAN.
const ARPHRD_ETHER: &str = "1";

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
        "virtualization": virtualization(Path::new("/")),
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

/// The container that the gateway runs in, by what its kind leaves in the root folder; `none` as Moonraker has it where
/// nothing tells. Fluidd offers the host's power switches outside containers only, and shows every other word.
fn virtualization(root: &Path) -> Value {
    // systemd writes the kind of its containers there, and so do Podman and LXC.
    let told = read_to_string(root.join("run/systemd/container")).unwrap_or_default();
    let marked = |file: &str| root.join(file).exists();
    let kind = match told.trim() {
        "" if marked(".dockerenv") => "docker",
        "" if marked("run/.containerenv") => "podman",
        told => told,
    };
    let (kind, identifier) = if kind.is_empty() { ("none", "none") } else { ("container", kind) };
    json!({"virt_type": kind, "virt_identifier": identifier})
}

/// Ethernet interfaces of the host that are in use, with their addresses. Those without one are left out, as Moonraker
/// does it: Fluidd lists each with empty brackets, Mainsail with the traffic it never has.
fn network() -> Value {
    let mut interfaces: BTreeMap<String, (String, Vec<IpAddr>)> = BTreeMap::new();
    for one in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let class = |file: &str| read_to_string(format!("/sys/class/net/{}/{file}", one.interface_name)).ok();
        let ethernet = class("type").is_some_and(|kind| kind.trim() == ARPHRD_ETHER);
        let up = class("operstate").is_some_and(|state| state.trim() == "up");
        let (Some(address), Some(hardware), true, true) =
            (one.address.as_ref().and_then(ip), class("address"), ethernet, up)
        else {
            continue;
        };
        let entry = interfaces.entry(one.interface_name.clone());
        entry.or_insert_with(|| (hardware.trim().to_owned(), Vec::new())).1.push(address);
    }
    let described = |(name, (hardware, addresses)): (String, (String, Vec<IpAddr>))| {
        let addresses: Vec<Value> = addresses.into_iter().map(listed).collect();
        (name, json!({"mac_address": hardware, "ip_addresses": addresses}))
    };
    interfaces.into_iter().map(described).collect::<Map<_, _>>().into()
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

fn listed(address: IpAddr) -> Value {
    let (family, link_local) = match address {
        IpAddr::V4(address) => ("ipv4", address.is_link_local()),
        IpAddr::V6(address) => ("ipv6", address.is_unicast_link_local()),
    };
    json!({"family": family, "address": address.to_string(), "is_link_local": link_local})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_without_an_address_are_not_listed() {
        let network = network();
        let interfaces = network.as_object().expect("an object");
        assert!(!interfaces.contains_key("lo"), "{network}");
        for (name, interface) in interfaces {
            let addresses = interface["ip_addresses"].as_array().expect("a list");
            assert!(!addresses.is_empty(), "{name}");
            for address in addresses {
                let text = address["address"].as_str().expect("a text");
                let kind =
                    if text.parse::<IpAddr>().expect("an address").is_ipv4() { "ipv4" } else { "ipv6" };
                assert_eq!(address["family"], kind, "{text}");
            }
        }
    }

    #[test]
    fn a_container_is_known_by_its_marks() {
        let root = tempfile::tempdir().expect("a folder");
        let found = || virtualization(root.path())["virt_identifier"].clone();
        assert_eq!(virtualization(root.path()), json!({"virt_type": "none", "virt_identifier": "none"}));
        std::fs::write(root.path().join(".dockerenv"), "").expect("written");
        assert_eq!(found(), "docker");
        assert_eq!(virtualization(root.path())["virt_type"], "container");
        std::fs::create_dir_all(root.path().join("run/systemd")).expect("made");
        std::fs::write(root.path().join("run/systemd/container"), "lxc\n").expect("written");
        assert_eq!(found(), "lxc");
    }

    #[test]
    fn an_address_is_told_as_moonraker_does() {
        let told = |text: &str| listed(text.parse().expect("an address"));
        let plain = json!({"family": "ipv4", "address": "192.168.1.5", "is_link_local": false});
        assert_eq!(told("192.168.1.5"), plain);
        let local = json!({"family": "ipv6", "address": "fe80::1", "is_link_local": true});
        assert_eq!(told("fe80::1"), local);
        assert_eq!(told("169.254.3.4")["is_link_local"], true);
    }
}
