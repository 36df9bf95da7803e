//! Tells the local network by mDNS where services are; what they are is the caller's business.
//!
//! mdns-sd runs a thread of its own and follows the interfaces of the machine as they come and go.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use mdns_sd::{ServiceDaemon, ServiceInfo};
use thiserror::Error;

/// Good-byes are sent within this time, or not at all: entries then fade by their own lifetime.
const GOODBYE: Duration = Duration::from_secs(2);
/// Longest name of an instance (RFC 6763, 4.1.1).
const NAME_MAX: usize = 63;

/// One service of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// `_moonraker._tcp`.
    pub service: &'static str,
    /// What people read, without control characters (RFC 6763, 4.1.1). It is made unique.
    pub instance: String,
    pub port: u16,
    /// Short facts, e.g. `path` and `/`.
    pub facts: Vec<(&'static str, String)>,
}

#[derive(Debug, Error)]
#[error("mDNS does not work: {0}")]
pub struct AnnounceError(String);

impl From<mdns_sd::Error> for AnnounceError {
    fn from(error: mdns_sd::Error) -> Self {
        Self(error.to_string())
    }
}

/// What this machine is called on its network; `moongate` where it has no name.
pub fn machine_name() -> String {
    let name = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.is_empty() { "moongate".to_owned() } else { name }
}

/// Announcements that hold until [`Self::end`].
pub struct Announcer {
    daemon: ServiceDaemon,
    names: Vec<String>,
}

impl Announcer {
    /// Announces `services` of the machine called `host`, at `listen` or, if that is unspecified, at all addresses.
    ///
    /// # Errors
    /// No socket for mDNS can be had, or a name cannot be announced.
    pub fn start(services: &[Announced], host: &str, listen: IpAddr) -> Result<Self, AnnounceError> {
        Self::with(ServiceDaemon::new()?, services, host, listen)
    }

    fn with(
        daemon: ServiceDaemon,
        services: &[Announced],
        host: &str,
        listen: IpAddr,
    ) -> Result<Self, AnnounceError> {
        let mut announcer = Self { daemon, names: Vec::new() };
        let mut taken = HashSet::new();
        for service in services {
            let info = info(service, &instance(service, &mut taken), host, listen)?;
            announcer.names.push(info.get_fullname().to_owned());
            announcer.daemon.register(info)?;
        }
        Ok(announcer)
    }

    /// Says good-bye and ends the daemon.
    pub async fn end(self) {
        let goodbyes = async {
            for name in &self.names {
                if let Ok(said) = self.daemon.unregister(name) {
                    let _ended_before = said.recv_async().await;
                }
            }
        };
        let _silent = tokio::time::timeout(GOODBYE, goodbyes).await;
        let _ended = self.daemon.shutdown();
    }
}

/// The name that nothing else of this machine has in its service, in whatever case (RFC 6763 appendix D: "name (2)"): the
/// daemon sees to those of other machines, and would keep only the last of two of its own.
fn instance(service: &Announced, taken: &mut HashSet<(&'static str, String)>) -> String {
    let mut number = 1_u64;
    loop {
        let suffix = if number == 1 { String::new() } else { format!(" ({number})") };
        let mut name = service.instance.clone();
        while name.len() + suffix.len() > NAME_MAX {
            name.pop();
        }
        name.push_str(&suffix);
        if taken.insert((service.service, name.to_lowercase())) {
            return name;
        }
        number += 1;
    }
}

fn info(
    service: &Announced,
    instance: &str,
    host: &str,
    listen: IpAddr,
) -> Result<ServiceInfo, AnnounceError> {
    let kind = format!("{}.local.", service.service);
    let host = format!("{}.local.", host.split('.').next().unwrap_or(host));
    let facts: Vec<(&str, &str)> = service.facts.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let info = if listen.is_unspecified() {
        ServiceInfo::new(&kind, instance, &host, "", service.port, &facts[..])?.enable_addr_auto()
    } else {
        ServiceInfo::new(&kind, instance, &host, listen, service.port, &facts[..])?
    };
    Ok(info)
}

#[cfg(test)]
mod tests {
    use mdns_sd::{IfKind, ServiceEvent};

    use super::*;

    fn moonraker(instance: &str) -> Announced {
        Announced {
            service: "_moonraker._tcp",
            instance: instance.to_owned(),
            port: 7125,
            facts: vec![("path", "/".to_owned())],
        }
    }

    #[test]
    fn what_is_announced_names_port_and_facts() {
        let listen = "192.168.1.5".parse().expect("an address");
        let info = info(&moonraker("P1S"), "P1S", "pi.lan", listen).expect("info");
        assert_eq!(
            (info.get_type(), info.get_hostname(), info.get_port()),
            ("_moonraker._tcp.local.", "pi.local.", 7125)
        );
        assert_eq!(info.get_property_val_str("path"), Some("/"));
        assert!(info.get_addresses().contains(&"192.168.1.5".parse::<IpAddr>().expect("an address")));
    }

    #[test]
    fn each_service_has_a_name_of_its_own() {
        let mut taken = HashSet::new();
        let mut named = |wanted: &str| instance(&moonraker(wanted), &mut taken);
        assert_eq!(named("P1S"), "P1S");
        assert_eq!(named("p1s"), "p1s (2)", "names are compared without case");
        assert_eq!(named("P1S"), "P1S (3)");
        assert_eq!(named(&"ü".repeat(40)), "ü".repeat(31), "cut between letters");
        assert_eq!(named(&"ü".repeat(40)), format!("{} (2)", "ü".repeat(29)));
        let other = Announced { service: "_octoprint._tcp", ..moonraker("P1S") };
        assert_eq!(instance(&other, &mut taken), "P1S", "another service");
    }

    /// On the loopback interface only, and on a port of its own.
    fn daemon(port: u16) -> ServiceDaemon {
        let daemon = ServiceDaemon::new_with_port(port).expect("a daemon");
        daemon.disable_interface(IfKind::All).expect("disabled");
        daemon.enable_interface(IfKind::LoopbackV4).expect("enabled");
        daemon
    }

    #[tokio::test]
    async fn a_browser_finds_what_is_announced() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("bound").port();
        drop(socket);
        let listen = "127.0.0.1".parse().expect("an address");
        let announcer = Announcer::with(daemon(port), &[moonraker("p1s")], "pi", listen).expect("announced");
        let browser = daemon(port);
        let events = browser.browse("_moonraker._tcp.local.").expect("browsing");
        let found = async {
            while let Ok(event) = events.recv_async().await {
                if let ServiceEvent::ServiceResolved(found) = event {
                    return (found.get_fullname().to_owned(), found.get_port());
                }
            }
            (String::new(), 0)
        };
        let found = tokio::time::timeout(Duration::from_secs(20), found).await.expect("found in time");
        assert_eq!(found, ("p1s._moonraker._tcp.local.".to_owned(), 7125));
        announcer.end().await;
        let _ended = browser.shutdown();
    }
}
