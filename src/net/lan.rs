//! Where a search must be sent so that every machine nearby hears it.

use std::net::Ipv4Addr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// The addresses of a search: the limited broadcast, which takes one interface only, the broadcast of each interface,
/// and this machine, where bridges and emulators of printers run.
pub fn search_targets() -> Vec<Ipv4Addr> {
    let mut targets = vec![Ipv4Addr::BROADCAST, Ipv4Addr::LOCALHOST];
    // Without a list of interfaces the first two have to do.
    for interface in getifaddrs().into_iter().flatten() {
        let usable = interface.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_BROADCAST);
        let address = interface.broadcast.filter(|_| usable);
        if let Some(address) = address.and_then(|address| address.as_sockaddr_in().map(|at| at.ip()))
            && !targets.contains(&address)
        {
            targets.push(address);
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_named_once() {
        let targets = search_targets();
        assert_eq!(targets.first(), Some(&Ipv4Addr::BROADCAST));
        assert!(targets.contains(&Ipv4Addr::LOCALHOST));
        let mut unique = targets.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), targets.len(), "{targets:?}");
    }
}
