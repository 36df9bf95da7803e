//! Passwords at rest: salted PBKDF2-HMAC-SHA256; the salt and the number of rounds are kept beside each hash.

use std::num::NonZeroU32;

use data_encoding::HEXLOWER;
use rand::RngCore;
use ring::pbkdf2;
use serde::{Deserialize, Serialize};

/// Rounds of new hashes. Old ones keep theirs.
const ROUNDS: u32 = 310_000;
const LENGTH: usize = 32;
/// Bytes. A longer one is refused before any work is done with it.
pub const LONGEST: usize = 256;

/// What is kept of a password.
#[derive(Clone, Serialize, Deserialize)]
pub struct Hash {
    rounds: u32,
    salt: String,
    hash: String,
}

impl Hash {
    /// Takes a good part of a second: not for an asynchronous thread.
    pub fn of(password: &str) -> Self {
        let mut salt = [0u8; 16];
        rand::rng().fill_bytes(&mut salt);
        let rounds = NonZeroU32::new(ROUNDS).unwrap_or(NonZeroU32::MIN);
        let mut hash = [0u8; LENGTH];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut hash);
        Self { rounds: ROUNDS, salt: HEXLOWER.encode(&salt), hash: HEXLOWER.encode(&hash) }
    }

    /// Compares in constant time; as slow as [`Self::of`].
    pub fn matches(&self, password: &str) -> bool {
        let (Some(rounds), Ok(salt), Ok(hash)) = (
            NonZeroU32::new(self.rounds),
            HEXLOWER.decode(self.salt.as_bytes()),
            HEXLOWER.decode(self.hash.as_bytes()),
        ) else {
            return false;
        };
        pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &hash).is_ok()
    }
}
