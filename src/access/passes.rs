//! Passes for pictures: what a camera's URL carries, since image and video tags send no headers.
//!
//! A one-shot token is spent by the first picture; front ends load the same URL again and again. So those who are
//! logged in get URLs with a pass: good for looking at cameras only, and only as long as their login or key is.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use super::credentials::query_value;
use super::{Access, Identity};

/// Bound to this use: no other signature made with the same secret passes.
const USE: &[u8] = b"moongate picture pass";
/// Key of the query string.
const QUERY: &str = "pass";
/// Stands for an application where a user's name would; no base64 holds it.
const APP: &str = "~";

impl Access {
    /// The part of a query string, `pass=...`, that lets `identity` look at cameras. `None` where none is needed, from
    /// trusted addresses, and for ended logins.
    pub fn picture_pass(&self, identity: &Identity) -> Option<String> {
        let pass = match identity {
            Identity::Trusted => return None,
            Identity::ApiKey => format!("k.{}", sign(self.api_key().expose().as_bytes())),
            Identity::App { id, .. } => format!("{APP}.{id}.{}", sign(&self.apps.seed(id)?.0)),
            Identity::User { name, login } => {
                let signature = sign(&self.login_seed(name, login)?);
                format!("{}.{login}.{signature}", URL_SAFE_NO_PAD.encode(name.as_bytes()))
            }
        };
        Some(format!("{QUERY}={pass}"))
    }

    /// Who made the pass of a query string, while it is good.
    pub fn check_picture_pass(&self, query: &str) -> Option<Identity> {
        let pass = query_value(query, QUERY)?;
        let (owner, signature) = pass.rsplit_once('.')?;
        let (identity, secret) = match owner.split_once('.') {
            None if owner == "k" => (Identity::ApiKey, self.api_key().expose().as_bytes().to_vec()),
            Some((APP, id)) => {
                let (seed, name) = self.apps.seed(id)?;
                (Identity::App { id: id.into(), name: name.into() }, seed)
            }
            Some((name, login)) => {
                let name = String::from_utf8(URL_SAFE_NO_PAD.decode(name).ok()?).ok()?;
                let seed = self.login_seed(&name, login)?;
                (Identity::User { name: name.into(), login: login.into() }, seed)
            }
            None => return None,
        };
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        hmac::verify(&key(&secret), USE, &signature).ok()?;
        Some(identity)
    }
}

fn key(secret: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret)
}

fn sign(secret: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(&key(secret), USE))
}
