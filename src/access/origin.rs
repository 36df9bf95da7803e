//! Which web pages may call (moonraker.md 2.4).

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::Access;

/// What Moonraker's stock configuration lists, and the names of local networks.
pub const DEFAULT_DOMAINS: &[&str] = &[
    "*://localhost",
    "*://localhost:*",
    "http://*.local",
    "http://*.local:*",
    "http://*.lan",
    "http://*.lan:*",
    "*://my.mainsail.xyz",
    "*://app.fluidd.xyz",
];
/// Names that the internet's name service never resolves to anybody else.
const LOCAL_NAMES: &[&str] =
    &[".local", ".lan", ".localhost", ".internal", ".home.arpa", ".home", ".fritz.box"];

impl Access {
    /// The origin of the request if pages from there may read answers.
    pub fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let value = headers.get(header::ORIGIN)?;
        self.is_allowed(value.to_str().ok()?).then(|| value.clone())
    }

    /// True where a WebSocket may be opened: no browser, the same host, or an allowed origin.
    pub fn socket_allowed(&self, headers: &HeaderMap) -> bool {
        !headers.contains_key(header::ORIGIN) || self.is_friendly_origin(headers)
    }

    /// The page is our own, or one that is allowed.
    pub(super) fn is_friendly_origin(&self, headers: &HeaderMap) -> bool {
        self.is_friendly(headers, header::ORIGIN)
    }

    /// As [`Self::is_friendly_origin`] by the page that a link or image stands on.
    pub(super) fn is_friendly_referer(&self, headers: &HeaderMap) -> bool {
        self.is_friendly(headers, header::REFERER)
    }

    fn is_friendly(&self, headers: &HeaderMap, name: HeaderName) -> bool {
        let text = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some((scheme, rest)) = text.split_once("://") else { return false };
        let authority = rest.split('/').next().unwrap_or_default();
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        host == Some(authority) || self.is_allowed(&format!("{scheme}://{authority}"))
    }

    fn is_allowed(&self, origin: &str) -> bool {
        // More than scheme, host and port is no origin, and could end like a local name.
        if origin.split_once("://").is_none_or(|(_, rest)| rest.contains(['/', '@', '\\', '?', '#'])) {
            return false;
        }
        self.settings.cors_domains.iter().any(|pattern| matches(pattern, origin))
            || origin_host(origin).is_some_and(|host| self.trusts(host.parse().ok()))
    }

    /// True where the `Host` header names this machine in a way that no foreign page can arrange.
    pub(super) fn is_own_host(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return true };
        let Some(name) = origin_host(&format!("http://{host}")) else { return false };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        name.parse::<std::net::IpAddr>().is_ok()
            || !name.contains('.')
            || LOCAL_NAMES.iter().any(|end| name.ends_with(end))
            || ["http", "https"].iter().any(|scheme| self.is_allowed(&format!("{scheme}://{host}")))
    }
}

/// The host of an origin, without brackets and port.
fn origin_host(origin: &str) -> Option<String> {
    let uri = origin.parse::<Uri>().ok()?;
    uri.host().map(|host| host.trim_matches(['[', ']']).to_owned())
}

/// Compares the whole origin with a pattern in which `*` stands for anything.
fn matches(pattern: &str, origin: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| origin.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.is_empty()
}
