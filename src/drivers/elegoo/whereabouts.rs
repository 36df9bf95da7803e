//! Where a printer is looked for: at its configured address, or where a search by its serial number has found it since.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// What tells one printer from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Serial number or mainboard id.
    pub serial: String,
    /// Hardware address where the printer tells it: a firmware update changes the mainboard id, nothing this one
    /// (elegoo.md 2.2).
    pub mac: Option<String>,
}

impl Identity {
    /// A printer of which only this is known.
    pub fn of(serial: impl Into<String>) -> Self {
        Self { serial: serial.into(), mac: None }
    }
}

/// Called with the printer that a link was made to.
pub type OnIdentity = Arc<dyn Fn(&Identity) + Send + Sync>;

/// The address of one printer, asked anew for each connection.
#[derive(Clone)]
pub struct Whereabouts {
    /// Address or host name.
    pub configured: String,
    /// Where it was seen last, if that is another address.
    pub moved_to: watch::Receiver<Option<IpAddr>>,
    pub on_identity: OnIdentity,
    /// Who was here in an earlier life of the gateway.
    pub kept: Option<Identity>,
    /// Set where a person confirms that the printer was replaced by another.
    pub another_confirmed: Arc<AtomicBool>,
}

impl Whereabouts {
    /// An address or host name that nobody follows.
    pub fn fixed(host: impl Into<String>) -> Self {
        Self {
            configured: host.into(),
            moved_to: watch::channel(None).1,
            on_identity: Arc::new(|_identity| {}),
            kept: None,
            another_confirmed: Arc::default(),
        }
    }

    /// True once after a person has confirmed that another printer is here now; then nothing is kept any more.
    pub fn another_confirmed(&mut self) -> bool {
        let confirmed = self.another_confirmed.swap(false, Ordering::Relaxed);
        if confirmed {
            self.kept = None;
        }
        confirmed
    }

    /// Address or host name to connect to now.
    pub fn now(&self) -> String {
        let moved = *self.moved_to.borrow();
        moved.map_or_else(|| self.configured.clone(), |address| address.to_string())
    }

    /// The printer there has told who it is.
    pub fn identified(&self, identity: &Identity) {
        (self.on_identity)(identity);
    }
}

/// What to do where another printer answers at the address of `name`: `found` is its serial number, `configured` is true
/// where the configuration names the right one, `right` says when this one is the right one after all.
pub fn remedy(right: &str, name: &str, found: &str, configured: bool) -> String {
    let confirm = if configured {
        format!("put {found} in serial, and restart the gateway")
    } else {
        format!("confirm it with `moongate trust {name}`")
    };
    format!(
        "The printer is looked for at other addresses by itself; give it a fixed address in the router. If {right} {confirm}."
    )
}

impl fmt::Debug for Whereabouts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.now())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn the_last_address_seen_counts_until_it_is_taken_back() {
        let (moved, moved_to) = watch::channel(None);
        let told = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&told);
        let on_identity: OnIdentity =
            Arc::new(move |identity| kept.lock().unwrap().push(identity.serial.clone()));
        let place = Whereabouts { moved_to, on_identity, ..Whereabouts::fixed("printer.lan") };
        assert_eq!(place.now(), "printer.lan");
        moved.send_replace(Some("192.0.2.7".parse().unwrap()));
        assert_eq!(place.clone().now(), "192.0.2.7");
        moved.send_replace(None);
        assert_eq!(place.now(), "printer.lan");
        place.identified(&Identity::of("F01"));
        assert_eq!(*told.lock().unwrap(), ["F01"]);
        assert_eq!(Whereabouts::fixed("192.0.2.1").now(), "192.0.2.1");
    }
}
