//! Login tokens: JSON Web Tokens signed with EdDSA by a key that belongs to one login of one user, so that ending the
//! login ends them all (moonraker.md 2.3).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Seconds that a token is good for.
const ACCESS_LIFE: u64 = 3600;
const REFRESH_LIFE: u64 = 90 * 24 * 3600;
pub const PAGE_LIFE: u64 = 30 * 24 * 3600;
/// Bytes; ours are about 400.
const LONGEST: usize = 4096;
const ISSUER: &str = "moongate";

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    Access,
    Refresh,
    /// The cookie of the status page, which only looks (`visit`).
    Page,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub aud: String,
    pub iat: u64,
    pub exp: u64,
    pub username: String,
    pub token_type: Use,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

/// A token taken apart; nothing of it is believed before [`Parsed::verify`].
pub struct Parsed<'t> {
    signed: &'t str,
    signature: Vec<u8>,
    pub kid: String,
    claims: Claims,
}

/// Makes a token. `None` where the seed is no key.
pub fn issue(seed: &[u8], kid: &str, username: &str, wanted: Use, now: u64) -> Option<String> {
    let life = match wanted {
        Use::Access => ACCESS_LIFE,
        Use::Refresh => REFRESH_LIFE,
        Use::Page => PAGE_LIFE,
    };
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: "Moonraker".to_owned(),
        iat: now,
        exp: now + life,
        username: username.to_owned(),
        token_type: wanted,
    };
    let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": kid}).to_string();
    let claims = serde_json::to_string(&claims).ok()?;
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()));
    Some(format!("{signed}.{signature}"))
}

impl<'t> Parsed<'t> {
    /// Takes a token apart. Any algorithm but EdDSA is refused, "none" among them.
    pub fn of(token: &'t str) -> Option<Self> {
        if token.len() > LONGEST {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        (header.alg == "EdDSA").then_some(Self { signed, signature, kid: header.kid, claims })
    }

    /// The name that the token claims, to find the key.
    pub fn username(&self) -> &str {
        &self.claims.username
    }

    /// True where the key of `seed` signed it for this use and it is still good.
    pub fn verify(&self, seed: &[u8], wanted: Use, now: u64) -> bool {
        let Ok(pair) = Ed25519KeyPair::from_seed_unchecked(seed) else { return false };
        let key = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref());
        key.verify(self.signed.as_bytes(), &self.signature).is_ok()
            && self.claims.iss == ISSUER
            && self.claims.aud == "Moonraker"
            && self.claims.token_type == wanted
            && now < self.claims.exp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u8; 32] = [7; 32];

    fn verified(token: &str, wanted: Use, now: u64) -> bool {
        Parsed::of(token).is_some_and(|parsed| parsed.verify(&SEED, wanted, now))
    }

    #[test]
    fn a_token_is_good_for_its_use_and_time_only() {
        let token = issue(&SEED, "k", "alice", Use::Access, 1000).expect("a token");
        assert!(verified(&token, Use::Access, 1000));
        assert!(verified(&token, Use::Access, 1000 + ACCESS_LIFE - 1));
        assert!(!verified(&token, Use::Access, 1000 + ACCESS_LIFE));
        assert!(!verified(&token, Use::Refresh, 1000));
        let page = issue(&SEED, "k", "alice", Use::Page, 1000).expect("a token");
        assert!(verified(&page, Use::Page, 1000 + PAGE_LIFE - 1));
        assert!(!verified(&page, Use::Page, 1000 + PAGE_LIFE));
        assert!(!verified(&page, Use::Access, 1000) && !verified(&page, Use::Refresh, 1000));
        let other = Parsed::of(&token).expect("parses");
        assert!(!other.verify(&[8; 32], Use::Access, 1000), "another login's key");
        assert_eq!((other.username(), other.kid.as_str()), ("alice", "k"));
    }

    #[test]
    fn a_changed_token_is_worth_nothing() {
        let token = issue(&SEED, "k", "alice", Use::Access, 1000).expect("a token");
        let parts: Vec<&str> = token.split('.').collect();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"k"}"#);
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).expect("base64")).expect("text");
        let bob = URL_SAFE_NO_PAD.encode(claims.replace("alice", "bob"));
        for forged in [
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{}.{bob}.{}", parts[0], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            "x.y.z".to_owned(),
            "..".to_owned(),
            String::new(),
            "a".repeat(100_000),
        ] {
            assert!(!verified(&forged, Use::Access, 1000), "{forged:.80}");
        }
    }
}
