//! Trust by address: who really asks behind a proxy, and when a browser must not lend its address to a foreign page.

use std::net::IpAddr;
use std::sync::PoisonError;

use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};

use super::{Access, AccessError, Cidr, Identity};

/// Names of hosts that are told at most.
const UNKNOWN_NAMES: usize = 8;
/// What says that a request was passed on.
const FORWARDED: [&str; 3] = ["x-forwarded-for", "x-real-ip", "forwarded"];
/// Entries of `X-Forwarded-For` that are looked at.
const HOPS: usize = 32;

/// Whether a proxy says that it passed the request on.
pub fn was_forwarded(headers: &HeaderMap) -> bool {
    FORWARDED.iter().any(|name| headers.contains_key(*name))
}

/// Who really asks: the peer, or behind trusted proxies the last address before them.
///
/// `None` where that cannot be known; nobody trusts it then. A peer that is no trusted proxy and yet passes a request
/// on counts as unknown: a proxy on this network must not lend its own address to the whole internet.
pub fn client_address(peer: Option<IpAddr>, headers: &HeaderMap, proxies: &[Cidr]) -> Option<IpAddr> {
    let peer = peer?.to_canonical();
    let is_proxy = |address: IpAddr| proxies.iter().any(|network| network.contains(address));
    if !was_forwarded(headers) {
        return Some(peer);
    }
    if !is_proxy(peer) {
        return None;
    }
    let mut hops = Vec::new();
    for value in headers.get_all("x-forwarded-for") {
        hops.extend(value.to_str().ok()?.split(',').map(str::trim));
    }
    if hops.is_empty() {
        return headers.get("x-real-ip").and_then(|value| host_address(value.to_str().ok()?));
    }
    if hops.len() > HOPS {
        return None;
    }
    for hop in hops.iter().rev() {
        let address = host_address(hop)?;
        if !is_proxy(address) {
            return Some(address);
        }
    }
    // Everybody on the way is a proxy of ours: the first of them asks.
    hops.first().and_then(|first| host_address(first))
}

/// An address, perhaps with a port: `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`.
fn host_address(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|a| a.ip()));
    let address = address.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    address.map(|address: IpAddr| address.to_canonical())
}

impl Access {
    /// True for addresses that need no credentials.
    pub fn trusts(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| {
            self.settings.trusted_clients.iter().any(|network| network.contains(address))
        })
    }

    /// False for a browser that believes us to be a host of the internet: a page there has pointed its own name at us
    /// to use the trust in the browser's address (DNS rebinding). Programs other than browsers run no foreign pages.
    pub(super) fn is_no_rebound_page(&self, headers: &HeaderMap) -> bool {
        !is_browser(headers) || self.is_own_host(headers)
    }

    /// Says once per name why a browser is asked for a login: it may well be the owner's, who put a proxy or a name of his
    /// own before the gateway.
    pub(super) fn tell_unknown_name(&self, headers: &HeaderMap) {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = crate::model::text::one_line(host.unwrap_or_default(), 100);
        let mut told = self.unknown_names.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < UNKNOWN_NAMES && told.insert(host.clone()) {
            tracing::warn!(
                "A browser on a trusted address calls this gateway \"{host}\", a name that it does not know: it needs a login. \
                 If the name is yours, add \"https://{host}\" (or http) to cors_domains in [access]."
            );
        }
    }

    /// A page of a foreign origin can make a browser send requests, though it cannot read the answers. What changes
    /// anything is refused to it where only the browser's address would let it pass.
    ///
    /// # Errors
    /// Forbidden, with the remedy.
    pub fn refuse_foreign_page(&self, identity: &Identity, parts: &Parts) -> Result<(), AccessError> {
        if *identity != Identity::Trusted {
            return Ok(());
        }
        let headers = &parts.headers;
        let friendly = if headers.contains_key(header::ORIGIN) {
            self.is_friendly_origin(headers)
        } else if is_browser(headers) && matches!(parts.method, Method::GET | Method::HEAD) {
            // An image tag or a link: browsers tell no origin there. They send one with all else.
            self.is_friendly_referer(headers)
        } else {
            true
        };
        if friendly {
            return Ok(());
        }
        Err(AccessError::Forbidden(
            "A web page of another origin may not do this without credentials: use the API key or a login, send a \
             POST, or add the page's origin to cors_domains."
                .to_owned(),
        ))
    }
}

/// Browsers name themselves like this; Qt's default is the bare "Mozilla/5.0" and runs no foreign pages.
fn is_browser(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    headers.contains_key(header::ORIGIN)
        || headers.contains_key("sec-fetch-site")
        || agent.is_some_and(|agent| agent.starts_with("Mozilla/5.0 ("))
}

#[cfg(test)]
mod tests {
    use super::super::network::loopback;
    use super::*;

    fn asks(peer: &str, headers: &[(&'static str, &'static str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header"));
        }
        let mut proxies = loopback();
        proxies.push("10.0.0.9".parse().expect("a network"));
        client_address(peer.parse().ok(), &map, &proxies).map(|address| address.to_string())
    }

    #[test]
    fn only_trusted_proxies_say_who_asks() {
        let told = |address: &str| Some(address.to_owned());
        for (peer, headers, expected) in [
            ("192.168.1.5", &[][..], told("192.168.1.5")),
            ("::ffff:192.168.1.5", &[], told("192.168.1.5")),
            ("127.0.0.1", &[("x-forwarded-for", "8.8.8.8")], told("8.8.8.8")),
            ("127.0.0.1", &[("x-forwarded-for", "192.168.1.1, 8.8.8.8")], told("8.8.8.8")),
            ("127.0.0.1", &[("x-forwarded-for", "8.8.8.8, 10.0.0.9")], told("8.8.8.8")),
            (
                "127.0.0.1",
                &[("x-forwarded-for", "192.168.1.1"), ("x-forwarded-for", "8.8.8.8")],
                told("8.8.8.8"),
            ),
            ("127.0.0.1", &[("x-forwarded-for", "[2001:db8::1]:443")], told("2001:db8::1")),
            ("127.0.0.1", &[("x-forwarded-for", "8.8.8.8:1234")], told("8.8.8.8")),
            ("127.0.0.1", &[("x-forwarded-for", "unknown")], None),
            ("127.0.0.1", &[("x-forwarded-for", "")], None),
            ("127.0.0.1", &[("forwarded", "for=8.8.8.8")], None),
            ("127.0.0.1", &[("x-real-ip", "8.8.8.8")], told("8.8.8.8")),
            // Claims of anybody else make him unknown, never somebody better.
            ("192.168.1.5", &[("x-forwarded-for", "127.0.0.1")], None),
            ("8.8.8.8", &[("x-forwarded-for", "192.168.1.5")], None),
            ("8.8.8.8", &[("x-real-ip", "192.168.1.5")], None),
        ] {
            assert_eq!(asks(peer, headers), expected, "{peer} {headers:?}");
        }
    }
}
