//! Access codes, keys and tokens: never displayed, wiped when dropped, and known to the log writer, which redacts them.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use percent_encoding::NON_ALPHANUMERIC;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroize;

/// A text that must not reach a log, an answer or a panic message.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Wiped>);

#[derive(PartialEq, Eq)]
struct Wiped(String);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Secret {
    /// Takes a secret and registers it with the redacting log writer.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        register(&text);
        Self(Arc::new(Wiped(text)))
    }

    /// As [`Self::new`] for what changes too often to be known to the log writer, e.g. tokens of an hour. The caller
    /// sees to it that it is never logged.
    pub fn unregistered(text: impl Into<String>) -> Self {
        Self(Arc::new(Wiped(text.into())))
    }

    /// The text itself, for the wire only.
    pub fn expose(&self) -> &str {
        &self.0.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// Accepts a string or an integer, and never repeats the value in its error (crates.md section 5).
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Text(String),
            Number(u64),
        }
        match Raw::deserialize(deserializer) {
            Ok(Raw::Text(text)) => Ok(Secret::new(text)),
            Ok(Raw::Number(number)) => Ok(Secret::new(number.to_string())),
            Err(_) => Err(serde::de::Error::custom("a secret must be written as text in quotes")),
        }
    }
}

/// Shorter ones would redact ordinary words.
const SHORTEST_REDACTED: usize = 4;

fn registry() -> &'static Mutex<Vec<String>> {
    static REGISTRY: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
    REGISTRY.get_or_init(Mutex::default)
}

fn register(text: &str) {
    if text.len() < SHORTEST_REDACTED {
        return;
    }
    let mut known = registry().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Some encode the unreserved characters of an address too.
    let [encoded, spare] = [NON_ALPHANUMERIC, crate::url::SEGMENT]
        .map(|set| percent_encoding::utf8_percent_encode(text, set).to_string());
    // As it stands within a JSON text, without the quotes around it.
    let quoted = serde_json::Value::from(text).to_string();
    let escaped = quoted.get(1..quoted.len() - 1).unwrap_or(text).to_owned();
    for form in [text.to_owned(), encoded, spare, escaped] {
        if !known.contains(&form) {
            known.push(form);
        }
    }
    known.sort_by_key(|form| std::cmp::Reverse(form.len()));
}

/// The text with every known secret, also in its URL-encoded form, replaced by `***`.
pub fn redact(text: &str) -> String {
    let known = registry().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    known.iter().fold(text.to_owned(), |text, secret| {
        if text.contains(secret.as_str()) { text.replace(secret.as_str(), "***") } else { text }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nowhere() {
        let code = Secret::new("s3cr&t77");
        assert_eq!(format!("{code:?}"), "***");
        assert_eq!(redact("PASS s3cr&t77, token=s3cr%26t77."), "PASS ***, token=***.");
        let _dashed = Secret::new("s4-cr&t77");
        assert_eq!(redact("token=s4-cr%26t77, token=s4%2Dcr%26t77."), "token=***, token=***.");
        let quoted = Secret::new("s3c\"ret");
        assert_eq!(
            redact(&format!("{{\"code\":{}}}", serde_json::json!(quoted.expose()))),
            "{\"code\":\"***\"}"
        );
        let wrong: Result<Secret, _> = serde_json::from_str("[\"s3cr\"]");
        assert!(!wrong.expect_err("no list").to_string().contains("s3cr"));
        assert_eq!(
            serde_json::from_str::<Secret>("12345678").map(|s| s.expose().to_owned()).ok().as_deref(),
            Some("12345678")
        );
    }
}
