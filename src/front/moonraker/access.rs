//! Who may call: trusted addresses, the API key, one-shot tokens (moonraker.md 2.3). Users with passwords and their
//! signed tokens are judged here too once they exist.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use rand::RngCore;
use subtle::ConstantTimeEq;

use super::MoonrakerConfig;
use super::args::query_pairs;
use super::error::RpcError;
use crate::secret::Secret;
use crate::store::Store;

/// Life of a one-shot token, and how many may be open.
const TOKEN_LIFE: Duration = Duration::from_secs(5);
const TOKENS: usize = 256;
const STORE_SPACE: &str = "moonraker_access";
const STORE_KEY: &str = "api_key";

/// How a caller was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    Trusted,
    ApiKey,
}

impl User {
    /// The name that Moonraker gives to callers without a login.
    pub fn name(self) -> &'static str {
        match self {
            User::Trusted => "_TRUSTED_USER_",
            User::ApiKey => "_API_KEY_USER_",
        }
    }
}

pub struct Access {
    config: Arc<MoonrakerConfig>,
    store: Store,
    key: Mutex<Secret>,
    tokens: Mutex<HashMap<String, (Instant, Option<IpAddr>)>>,
}

impl Access {
    /// Takes the key of the configuration, else the stored one, else makes and stores one.
    pub fn new(config: &Arc<MoonrakerConfig>, store: &Store) -> Self {
        let stored = || match store.get(STORE_SPACE, STORE_KEY) {
            Ok(value) => value.and_then(|value| value.as_str().map(Secret::new)),
            Err(error) => {
                tracing::error!(%error, "The API key cannot be read; this run uses a fresh one.");
                None
            }
        };
        let key = config.api_key.clone().or_else(stored).unwrap_or_else(|| fresh_key(store));
        Self { config: config.clone(), store: store.clone(), key: Mutex::new(key), tokens: Mutex::default() }
    }

    pub fn api_key(&self) -> Secret {
        self.key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a new key; the old one is refused from then on.
    pub fn renew_api_key(&self) -> Secret {
        let key = fresh_key(&self.store);
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = key.clone();
        key
    }

    pub fn trusts(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| {
            self.config.trusted_clients.iter().any(|network| network.contains(address))
        })
    }

    /// Checks a key that a client shows.
    pub fn check_key(&self, shown: &str) -> Result<User, RpcError> {
        let key = self.api_key();
        let equal: bool = key.expose().as_bytes().ct_eq(shown.as_bytes()).into();
        if equal { Ok(User::ApiKey) } else { Err(RpcError::new(401, "Invalid API Key")) }
    }

    /// Judges a request in Moonraker's order; `None` is a stranger.
    ///
    /// # Errors
    /// 401 for credentials that are wrong, also from a trusted address.
    pub fn judge(
        &self,
        headers: &HeaderMap,
        query: &str,
        address: Option<IpAddr>,
    ) -> Result<Option<User>, RpcError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(bearer) =
            text(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "))
        {
            return self.check_key(bearer.trim()).map(Some).map_err(|_wrong| RpcError::unauthorized());
        }
        for (key, value) in query_pairs(query) {
            match key.as_str() {
                "token" => return self.spend_token(&value, address).map(Some),
                "access_token" => return Err(RpcError::unauthorized()),
                _ => {}
            }
        }
        if text("x-access-token").is_some() {
            return Err(RpcError::unauthorized());
        }
        if let Some(key) = text("x-api-key").filter(|key| !key.is_empty()) {
            return self.check_key(key).map(Some);
        }
        Ok(self.trusts(address).then_some(User::Trusted))
    }

    /// A token that lets one request of this address pass: 32 base32 characters.
    pub fn oneshot_token(&self, address: Option<IpAddr>) -> String {
        let mut bytes = [0u8; 20];
        rand::rng().fill_bytes(&mut bytes);
        let token = data_encoding::BASE32.encode(&bytes);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, (made, _)| made.elapsed() < TOKEN_LIFE);
        if tokens.len() < TOKENS {
            tokens.insert(token.clone(), (Instant::now(), address));
        }
        token
    }

    fn spend_token(&self, token: &str, address: Option<IpAddr>) -> Result<User, RpcError> {
        let known = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).remove(token);
        match known {
            Some((made, owner)) if made.elapsed() < TOKEN_LIFE && owner == address => Ok(User::Trusted),
            _ => Err(RpcError::unauthorized()),
        }
    }
}

fn fresh_key(store: &Store) -> Secret {
    let key = uuid::Uuid::new_v4().simple().to_string();
    if let Err(error) = store.put(STORE_SPACE, STORE_KEY, key.as_str().into()) {
        tracing::error!(%error, "The API key cannot be stored; the next start makes another.");
    }
    Secret::new(key)
}

/// Who really asks: behind a proxy on this host, the address that the proxy names.
pub fn client_address(peer: Option<SocketAddr>, headers: &HeaderMap) -> Option<IpAddr> {
    let peer = peer?.ip();
    if !peer.is_loopback() {
        return Some(peer);
    }
    let forwarded = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
    match forwarded.and_then(|list| list.rsplit(',').next()) {
        Some(last) => last.trim().parse().ok(),
        None => Some(peer),
    }
}
