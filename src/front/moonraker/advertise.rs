//! What mDNS browsers are told: the services and facts that the real programs announce (Moonraker's `zeroconf`
//! component, OctoPrint's discovery plug-in), so that apps built for those find the printers.

use sha2::{Digest, Sha256};

use super::identity::{API_VERSION_STRING, MOONRAKER_VERSION};
use crate::model::text::one_line;
use crate::net::announce::Announced;

/// One printer as the network is told of it.
pub struct Advertised<'p> {
    pub name: &'p str,
    pub title: &'p str,
    /// Name of this machine.
    pub host: &'p str,
    /// Its own port.
    pub port: u16,
    pub https: bool,
}

impl Advertised<'_> {
    pub fn services(&self) -> [Announced; 2] {
        let https_port = if self.https { self.port.to_string() } else { String::new() };
        let fact = |key, value: &str| (key, value.to_owned());
        let printer = fact("printer", self.name);
        let mut octoprint = vec![
            fact("path", "/"),
            fact("version", API_VERSION_STRING),
            fact("api", "0.1"),
            fact("uuid", &uuid(self.host, self.name)),
            printer.clone(),
        ];
        if self.https {
            octoprint.push(fact("useHttps", "true"));
        }
        let moonraker = vec![
            fact("uuid", &uuid(self.host, self.name)),
            ("https_port", https_port),
            fact("version", MOONRAKER_VERSION),
            fact("route_prefix", ""),
            fact("path", "/"),
            printer,
        ];
        [("_moonraker._tcp", moonraker), ("_octoprint._tcp", octoprint)].map(|(service, facts)| Announced {
            service,
            // Some browsers stop at control characters.
            instance: one_line(self.title, self.title.len()),
            port: self.port,
            facts,
        })
    }
}

/// The same at every start, another for each printer of the network; `host` is the name of this machine.
pub fn uuid(host: &str, printer: &str) -> String {
    let digest = Sha256::digest(format!("moongate\n{host}\n{printer}"));
    let bytes: [u8; 16] = std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default());
    uuid::Builder::from_custom_bytes(bytes).into_uuid().simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_those_of_the_real_programs() {
        let printer = |name, https| Advertised { name, title: "My\nP1S\t", host: "pi", port: 7125, https };
        let [moonraker, octoprint] = printer("p1s", false).services();
        let fact = |service: &Announced, key: &str| {
            service.facts.iter().find(|(known, _)| *known == key).map(|(_, value)| value.clone())
        };
        assert_eq!((moonraker.service, moonraker.port), ("_moonraker._tcp", 7125));
        assert_eq!(moonraker.instance, "My P1S");
        assert_eq!(fact(&moonraker, "https_port").as_deref(), Some(""));
        assert_eq!(fact(&moonraker, "route_prefix").as_deref(), Some(""));
        assert_eq!(fact(&moonraker, "uuid").map(|uuid| uuid.len()), Some(32));
        assert_eq!(fact(&moonraker, "uuid"), fact(&octoprint, "uuid"));
        assert_eq!(fact(&octoprint, "path").as_deref(), Some("/"));
        let [other, secure] = printer("cc1", true).services();
        assert_ne!(fact(&other, "uuid"), fact(&moonraker, "uuid"));
        assert_eq!(fact(&other, "https_port").as_deref(), Some("7125"));
        assert_eq!(fact(&secure, "useHttps").as_deref(), Some("true"));
    }
}
