//! Clients that take an answer for something else than it says. They are known by nothing but their `User-Agent`, so this
//! is where it ends: whoever sends another one is answered as everybody.

use axum::http::{HeaderMap, header};

/// What Home Assistant puts before its version in each request.
const HOME_ASSISTANT: &str = "HomeAssistant/";
/// What Apple's library makes of the program's name in each request.
const OCTOPOD: &str = "OctoPod/";

/// The client takes the error of a call for its result: Home Assistant's Moonraker integration (1.13.3 with moonraker-api
/// 2.0.6) goes on showing the last state and temperatures of a printer that is away. Only a lost connection makes its
/// entities unavailable (docs/decisions/006).
pub fn takes_errors_for_results(headers: &HeaderMap) -> bool {
    agent_begins_with(headers, HOME_ASSISTANT)
}

/// The client takes any content for a failure: OctoPrint answers commands with 204, Moonraker with 200 and `{}`, and
/// OctoPod (94914b4) counts the former alone as success.
pub fn takes_content_for_failure(headers: &HeaderMap) -> bool {
    agent_begins_with(headers, OCTOPOD)
}

fn agent_begins_with(headers: &HeaderMap, name: &str) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    agent.is_some_and(|agent| agent.starts_with(name))
}
