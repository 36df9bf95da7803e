//! The identity of a printer's key.
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// SHA-256 of a certificate's SubjectPublicKeyInfo in DER, written as 64 hex digits.
///
/// The key is pinned rather than the certificate, so a renewed certificate of the same key passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pin([u8; 32]);

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key pin is 64 hexadecimal digits (SHA-256 of the printer's public key)")]
pub struct InvalidPin;

impl Pin {
    /// The pin of the DER-encoded SubjectPublicKeyInfo `spki`.
    pub fn of_spki(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER_PERMISSIVE.encode(&self.0))
    }
}

impl FromStr for Pin {
    type Err = InvalidPin;

    fn from_str(text: &str) -> Result<Self, InvalidPin> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| InvalidPin)?;
        bytes.try_into().map(Self).map_err(|_| InvalidPin)
    }
}

impl TryFrom<String> for Pin {
    type Error = InvalidPin;

    fn try_from(text: String) -> Result<Self, InvalidPin> {
        text.parse()
    }
}

impl From<Pin> for String {
    fn from(pin: Pin) -> Self {
        pin.to_string()
    }
}

/// The keys of one printer: that of its main service, and of further services those that differ.
///
/// Stored as the main key alone where all services show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct KnownKeys {
    pub main: Option<Pin>,
    /// By name of the service.
    pub others: BTreeMap<String, Pin>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    One(Pin),
    Several {
        main: Option<Pin>,
        #[serde(default)]
        others: BTreeMap<String, Pin>,
    },
}

impl From<Stored> for KnownKeys {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::One(pin) => Self { main: Some(pin), ..Self::default() },
            Stored::Several { main, others } => Self { main, others },
        }
    }
}

impl From<KnownKeys> for Stored {
    fn from(keys: KnownKeys) -> Self {
        match keys.main {
            Some(pin) if keys.others.is_empty() => Self::One(pin),
            main => Self::Several { main, others: keys.others },
        }
    }
}
