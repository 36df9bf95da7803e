//! What a request may show: API key, login token, one-shot token; and the order in which they are judged
//! (moonraker.md 2.3).

use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use percent_encoding::percent_decode_str;
use rand::RngCore;
use subtle::ConstantTimeEq;

use super::trust::client_address;
use super::visit::Visitor;
use super::{API_KEY, Access, AccessError, Identity, OneShot, Role, SPACE};
use crate::secret::Secret;
use crate::store::Store;

/// Life of a one-shot token, and how many may be open.
const TOKEN_LIFE: Duration = Duration::from_secs(5);
const TOKENS: usize = 256;

pub(super) fn stored_key(store: &Store) -> Option<Secret> {
    match store.get(SPACE, API_KEY) {
        Ok(value) => value.and_then(|value| value.as_str().map(Secret::new)),
        Err(error) => {
            tracing::error!(%error, "The API key cannot be read; this run uses a fresh one.");
            None
        }
    }
}

fn random_key() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

pub(super) fn fresh_key(store: &Store) -> Secret {
    let key = random_key();
    if let Err(error) = store.put(SPACE, API_KEY, key.as_str().into()) {
        tracing::error!(%error, "The API key cannot be stored; the next start makes another.");
    }
    Secret::new(key)
}

impl Access {
    pub fn api_key(&self) -> Secret {
        self.key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a new key; the old one is refused from then on, everywhere.
    ///
    /// # Errors
    /// The key is set in the configuration, or the new one cannot be kept; the old one is good then.
    pub async fn renew_api_key(&self) -> Result<Secret, AccessError> {
        if self.settings.api_key.is_some() {
            return Err(AccessError::Forbidden(
                "The API key is set in the configuration of the gateway; change it there.".to_owned(),
            ));
        }
        let key = random_key();
        // On disk first: after the next start the old key would open the gateway again.
        if let Err(error) = self.store.put_durably(SPACE, API_KEY, key.as_str().into()).await {
            let old = self.api_key().expose().into();
            let _tried_again_by_the_store = self.store.put(SPACE, API_KEY, old);
            return Err(AccessError::Failed(format!("The API key stays as it is: {error}.")));
        }
        // Of two renewals at once the one counts that is on the disk.
        let key = stored_key(&self.store).unwrap_or_else(|| Secret::new(key));
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = key.clone();
        Ok(key)
    }

    /// Checks a key that a client shows. The right one passes whatever wrong ones came from its address before: it
    /// cannot be guessed, and a neighbour with a stale key must not lock others out.
    ///
    /// # Errors
    /// Wrong key, also as "too many" with the time to wait.
    pub fn check_key(&self, shown: &str, address: Option<IpAddr>) -> Result<Identity, AccessError> {
        if let Some(identity) = self.known_key(shown) {
            return Ok(identity);
        }
        if let Some(wait) = self.key_failures.wait(address) {
            return Err(AccessError::TooMany(wait));
        }
        self.key_failures.note(address);
        Err(AccessError::BadCredentials("Invalid API Key"))
    }

    /// Checks a name and password as programs send them that know no other login: those of a user, or an API key as the
    /// password with any name.
    ///
    /// # Errors
    /// As [`Self::check_key`] and [`Self::login`].
    pub async fn check_basic(
        &self,
        name: &str,
        password: &str,
        address: Option<IpAddr>,
    ) -> Result<Identity, AccessError> {
        if let Some(identity) = self.known_key(password) {
            return Ok(identity);
        }
        if self.is_user(name) {
            return self.login(name, password, address).await.map(|login| login.identity);
        }
        self.check_key(password, address)
    }

    fn known_key(&self, shown: &str) -> Option<Identity> {
        let equal: bool = self.api_key().expose().as_bytes().ct_eq(shown.as_bytes()).into();
        if equal { Some(Identity::ApiKey) } else { self.apps.identify(shown) }
    }

    /// Checks an access token that a client shows.
    ///
    /// # Errors
    /// Unauthorized for one that is wrong, too old or revoked.
    pub fn check_token(&self, shown: &str) -> Result<Identity, AccessError> {
        self.bearer(shown).ok_or(AccessError::Unauthorized)
    }

    /// Judges a request in Moonraker's order; `None` is a stranger.
    ///
    /// # Errors
    /// For credentials that are wrong, also from a trusted address.
    pub fn judge(
        &self,
        headers: &HeaderMap,
        query: &str,
        address: Option<IpAddr>,
    ) -> Result<Option<Identity>, AccessError> {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}"));
        let bearer = text(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
        if let Some(shown) = bearer.or_else(|| text("x-access-token")).map(str::trim) {
            // OctoPrint clients send the API key as a bearer; a login token has dots, a key never.
            if shown.contains('.') || bearer.is_none() {
                return self.check_token(shown).map(Some);
            }
            return self.check_key(shown, address).map(Some);
        }
        if let Some(shown) = query_value(query, "access_token") {
            return self.check_token(&shown).map(Some);
        }
        // One that lets nobody in is overlooked, as by the real server: without a key KlipperScreen sends `?token=False`.
        if let Some(identity) =
            query_value(query, "token").and_then(|shown| self.spend_oneshot(&shown, address))
        {
            return Ok(Some(identity));
        }
        if let Some(key) = text("x-api-key").filter(|key| !key.is_empty()) {
            return self.check_key(key, address).map(Some);
        }
        if self.login_required() || !self.trusts(address) {
            return Ok(None);
        }
        let trusted = self.is_no_rebound_page(headers);
        if !trusted {
            self.tell_unknown_name(headers);
        }
        Ok(trusted.then_some(Identity::Trusted))
    }

    /// Judges a request of any front end as it arrived; see [`Self::judge`]. Where it shows nothing, a [`Visitor`] that was
    /// put into it counts.
    ///
    /// # Errors
    /// As [`Self::judge`].
    pub fn judge_request(&self, parts: &Parts) -> Result<Option<Identity>, AccessError> {
        let query = parts.uri.query().unwrap_or_default();
        let judged = self.judge(&parts.headers, query, self.address(parts))?;
        Ok(judged.or_else(|| parts.extensions.get::<Visitor>().map(|visitor| visitor.0.clone())))
    }

    /// Who really asks.
    pub fn address(&self, parts: &Parts) -> Option<IpAddr> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        client_address(peer, &parts.headers, &self.settings.trusted_proxies)
    }

    /// Judges a request for a route without a table of its own: reading needs `View`, all else `write`.
    ///
    /// # Errors
    /// Strangers, wrong credentials, a role that is too small, a page of a foreign origin that writes.
    pub fn permit(&self, parts: &Parts, write: Role) -> Result<Identity, AccessError> {
        let identity = self.judge_request(parts)?;
        let reads = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
        self.require(identity.as_ref(), if reads { Role::View } else { write })?;
        let identity = identity.ok_or(AccessError::Unauthorized)?;
        if !reads {
            self.refuse_foreign_page(&identity, parts)?;
        }
        Ok(identity)
    }

    /// A token that lets one request of this address pass as its maker: 32 base32 characters.
    pub fn oneshot_token(&self, address: Option<IpAddr>, identity: Identity) -> String {
        let mut bytes = [0u8; 20];
        rand::rng().fill_bytes(&mut bytes);
        let token = data_encoding::BASE32.encode(&bytes);
        let mut tokens = self.oneshots.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, token| token.made.elapsed() < TOKEN_LIFE);
        if tokens.len() < TOKENS {
            tokens.insert(token.clone(), OneShot { made: Instant::now(), owner: address, identity });
        }
        token
    }

    /// KlipperScreen puts the API key where the one-shot token belongs (moonraker.md 2.3).
    fn spend_oneshot(&self, shown: &str, address: Option<IpAddr>) -> Option<Identity> {
        let known = self.oneshots.lock().unwrap_or_else(PoisonError::into_inner).remove(shown);
        let Some(token) = known else {
            // Only what could be the key counts as an attempt at it.
            let may_be_key = shown.len() == self.api_key().expose().len();
            return may_be_key.then(|| self.check_key(shown, address).ok()).flatten();
        };
        (token.made.elapsed() < TOKEN_LIFE && token.owner == address).then_some(token.identity)
    }
}

/// The first value of a key of a query string, decoded.
pub(super) fn query_value(query: &str, wanted: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == wanted).then(|| percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
    })
}
