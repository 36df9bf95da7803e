//! Which web pages may call (moonraker.md 2.4).

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::MoonrakerConfig;

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
const METHODS: &str = "GET, POST, PUT, DELETE, OPTIONS";
const HEADERS: &str =
    "Origin, Accept, Content-Type, X-Requested-With, X-CRSF-Token, Authorization, X-Access-Token, X-Api-Key";

/// The origin of the request if pages from there may read answers.
pub fn allowed_origin(headers: &HeaderMap, config: &MoonrakerConfig) -> Option<HeaderValue> {
    let value = headers.get(header::ORIGIN)?;
    let origin = value.to_str().ok()?;
    let listed = config.cors_domains.iter().any(|pattern| matches(pattern, origin));
    (listed || is_trusted_address(origin, config)).then(|| value.clone())
}

/// True where a WebSocket may be opened: no browser, the same host, or an allowed origin.
pub fn socket_allowed(headers: &HeaderMap, config: &MoonrakerConfig) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest);
    (host.is_some() && host == authority) || allowed_origin(headers, config).is_some()
}

/// The headers of an answer to a page from `origin`.
pub fn answer_headers(origin: Option<&HeaderValue>, preflight: Option<&HeaderMap>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(origin) = origin else { return headers };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if let Some(request) = preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
        let private = HeaderName::from_static("access-control-request-private-network");
        if request.get(private).is_some_and(|wanted| wanted == "true") {
            let answer = HeaderName::from_static("access-control-allow-private-network");
            headers.insert(answer, HeaderValue::from_static("true"));
        }
    }
    headers
}

/// True for the question a browser asks before the real request.
pub fn is_preflight(method: &Method) -> bool {
    method == Method::OPTIONS
}

fn is_trusted_address(origin: &str, config: &MoonrakerConfig) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let address = uri.host().and_then(|host| host.trim_matches(['[', ']']).parse().ok());
    address.is_some_and(|address| config.trusted_clients.iter().any(|network| network.contains(address)))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origin: &str) -> bool {
        let headers = HeaderMap::from_iter([(header::ORIGIN, origin.parse().expect("header"))]);
        allowed_origin(&headers, &MoonrakerConfig::default()).is_some()
    }

    #[test]
    fn local_pages_pass_and_foreign_ones_do_not() {
        for good in [
            "http://mainsail.local",
            "http://mainsail.local:8080",
            "http://127.0.0.1:8080",
            "http://192.168.1.2",
            "http://[fd00::1]:80",
            "https://my.mainsail.xyz",
            "http://app.fluidd.xyz",
            "http://localhost:3000",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in ["http://evil.example", "http://8.8.8.8", "https://my.mainsail.xyz.evil.example", "null"] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn a_socket_opens_from_the_same_host() {
        let mut headers = HeaderMap::from_iter([
            (header::ORIGIN, HeaderValue::from_static("http://printer.example:7125")),
            (header::HOST, HeaderValue::from_static("printer.example:7125")),
        ]);
        assert!(socket_allowed(&headers, &MoonrakerConfig::default()));
        headers.insert(header::HOST, HeaderValue::from_static("printer.example:7126"));
        assert!(!socket_allowed(&headers, &MoonrakerConfig::default()));
    }
}
