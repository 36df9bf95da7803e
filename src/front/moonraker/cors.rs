//! The headers of answers to web pages (moonraker.md 2.4); which pages may call is judged in `crate::access`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

const METHODS: &str = "GET, POST, PUT, DELETE, OPTIONS";
const HEADERS: &str =
    "Origin, Accept, Content-Type, X-Requested-With, X-CRSF-Token, Authorization, X-Access-Token, X-Api-Key";

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
