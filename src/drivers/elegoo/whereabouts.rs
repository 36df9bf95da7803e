//! Where a printer is looked for: at its configured address, or where a search by its serial number has found it since.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

/// Called with the serial number or mainboard id of the printer that a link was made to.
pub type OnIdentity = Arc<dyn Fn(&str) + Send + Sync>;

/// The address of one printer, asked anew for each connection.
#[derive(Clone)]
pub struct Whereabouts {
    configured: String,
    moved_to: Option<watch::Receiver<Option<IpAddr>>>,
    on_identity: Option<OnIdentity>,
}

impl Whereabouts {
    /// An address or host name that nobody follows.
    pub fn fixed(host: impl Into<String>) -> Self {
        Self { configured: host.into(), moved_to: None, on_identity: None }
    }

    /// One that is followed: `moved_to` holds the address where it was seen last, if it is another.
    #[must_use]
    pub fn followed(
        self,
        moved_to: Option<watch::Receiver<Option<IpAddr>>>,
        on_identity: Option<OnIdentity>,
    ) -> Self {
        Self { moved_to, on_identity, ..self }
    }

    /// Address or host name to connect to now.
    pub fn now(&self) -> String {
        let moved = self.moved_to.as_ref().and_then(|address| *address.borrow());
        moved.map_or_else(|| self.configured.clone(), |address| address.to_string())
    }

    /// The printer there has told who it is.
    pub fn identified(&self, identity: &str) {
        if let Some(tell) = &self.on_identity {
            tell(identity);
        }
    }
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
            Arc::new(move |identity| kept.lock().unwrap().push(identity.to_owned()));
        let place = Whereabouts::fixed("printer.lan").followed(Some(moved_to), Some(on_identity));
        assert_eq!(place.now(), "printer.lan");
        moved.send_replace(Some("192.0.2.7".parse().unwrap()));
        assert_eq!(place.clone().now(), "192.0.2.7");
        moved.send_replace(None);
        assert_eq!(place.now(), "printer.lan");
        place.identified("F01");
        assert_eq!(*told.lock().unwrap(), ["F01"]);
        assert_eq!(Whereabouts::fixed("192.0.2.1").now(), "192.0.2.1");
    }
}
