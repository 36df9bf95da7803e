//! Address ranges: who is trusted without credentials (moonraker.md 2.3).

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A network such as `192.168.0.0/16`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    base: u128,
    mask: u128,
}

impl Cidr {
    pub fn contains(&self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.base
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{text}\" is not a network: write an address such as 192.168.1.7 or 192.168.0.0/16");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let (width, offset) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let length = length.unwrap_or(width);
        if length > width {
            return Err(wrong());
        }
        let mask = u128::MAX.checked_shl(128 - offset - length).unwrap_or(0);
        Ok(Self { base: bits(address) & mask, mask })
    }
}

/// All addresses as IPv6, so that a mapped IPv4 peer of a dual-stack socket is found in an IPv4 network.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(Ipv6Addr::from(v6.octets())),
    }
}

/// Loopback, link-local and private ranges: what the distributions' own configuration trusts, and fc00::/7.
pub fn private_networks() -> Vec<Cidr> {
    [
        "10.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",
        "fe80::/10",
        "::1/128",
    ]
    .iter()
    .filter_map(|network| network.parse().ok())
    .collect()
}

/// This host itself: where reverse proxies usually run.
pub fn loopback() -> Vec<Cidr> {
    ["127.0.0.0/8", "::1/128"].iter().filter_map(|network| network.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(address: &str) -> bool {
        let address: IpAddr = address.parse().expect("address");
        private_networks().iter().any(|network| network.contains(address))
    }

    #[test]
    fn private_addresses_are_trusted_and_no_others() {
        assert_eq!(private_networks().len(), 8);
        for inside in
            ["127.0.0.1", "192.168.1.5", "::ffff:10.1.2.3", "::1", "fe80::1", "fd12::1", "172.31.0.1"]
        {
            assert!(trusted(inside), "{inside}");
        }
        for outside in ["8.8.8.8", "172.32.0.1", "2001:db8::1", "::ffff:8.8.8.8", "11.0.0.1"] {
            assert!(!trusted(outside), "{outside}");
        }
    }

    #[test]
    fn odd_networks_are_refused() {
        for wrong in ["", "10.0.0.0/33", "::/129", "host", "10.0.0/8", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
        assert!("0.0.0.0/0".parse::<Cidr>().is_ok_and(|all| all.contains("8.8.8.8".parse().expect("ip"))));
    }
}
