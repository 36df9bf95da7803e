//! People with a password: their records, logins and the end of them (moonraker.md 2.3; `access.users_flow.json`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{MutexGuard, PoisonError};

use data_encoding::HEXLOWER;
use rand::RngCore;
use serde::{Deserialize, Serialize};

use super::password::{self, Hash};
use super::tokens::{Parsed, Use, issue};
use super::{Access, AccessError, AccessEvent, Identity, Role, USERS, now};
use crate::secret::Secret;
use crate::store::Store;

/// Users that are kept at most.
const MOST: usize = 100;
const LONGEST_NAME: usize = 64;
/// Names of callers without a record.
const RESERVED: [&str; 2] = ["_TRUSTED_USER_", "_API_KEY_USER_"];

/// What is stored of a user.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Record {
    password: Hash,
    created_on: f64,
    #[serde(default)]
    role: Role,
    /// The key of the present logins; gone after a logout.
    #[serde(default)]
    login: Option<LoginKey>,
}

/// Signs the tokens of a user until he logs out.
#[derive(Clone, Serialize, Deserialize)]
struct LoginKey {
    id: String,
    /// 32 bytes in hex.
    seed: String,
}

impl LoginKey {
    fn fresh() -> Self {
        let (mut id, mut seed) = ([0u8; 12], [0u8; 32]);
        rand::rng().fill_bytes(&mut id);
        rand::rng().fill_bytes(&mut seed);
        Self { id: HEXLOWER.encode(&id), seed: HEXLOWER.encode(&seed) }
    }

    fn seed(&self) -> Vec<u8> {
        HEXLOWER.decode(self.seed.as_bytes()).unwrap_or_default()
    }
}

/// What may be shown of a user.
#[derive(Debug, Clone, PartialEq)]
pub struct UserInfo {
    pub name: String,
    /// Seconds since 1970.
    pub created_on: f64,
}

/// The result of a login.
#[derive(Debug, Clone)]
pub struct Login {
    pub identity: Identity,
    pub token: Secret,
    pub refresh_token: Secret,
}

pub(super) fn load(store: &Store) -> HashMap<String, Record> {
    let stored = store.list(USERS).unwrap_or_else(|error| {
        tracing::error!(%error, "The users cannot be read; nobody can log in.");
        Vec::new()
    });
    stored
        .into_iter()
        .filter_map(|(name, value)| match serde_json::from_value(value) {
            Ok(record) => Some((name, record)),
            Err(_unreadable) => {
                tracing::error!(user = %name, "The record of a user is damaged; delete and make the user again.");
                None
            }
        })
        .collect()
}

impl Access {
    fn records(&self) -> MutexGuard<'_, HashMap<String, Record>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_users(&self) -> bool {
        !self.records().is_empty()
    }

    pub(super) fn is_user(&self, name: &str) -> bool {
        self.records().contains_key(name)
    }

    pub(super) fn user_role(&self, name: &str, login: &str) -> Option<Role> {
        let records = self.records();
        let record = records.get(name)?;
        record.login.as_ref().filter(|key| key.id == login)?;
        Some(self.settings.roles.get(name).copied().unwrap_or(record.role))
    }

    /// The secret of a login that has not ended.
    pub(super) fn login_seed(&self, name: &str, login: &str) -> Option<Vec<u8>> {
        let records = self.records();
        let key = records.get(name)?.login.as_ref().filter(|key| key.id == login)?;
        Some(key.seed()).filter(|seed| !seed.is_empty())
    }

    /// All users, by name.
    pub fn users(&self) -> Vec<UserInfo> {
        let mut users: Vec<UserInfo> = self
            .records()
            .iter()
            .map(|(name, record)| UserInfo { name: name.clone(), created_on: record.created_on })
            .collect();
        users.sort_by(|a, b| a.name.cmp(&b.name));
        users
    }

    /// The caller as a user: also those without a record have a name.
    pub fn describe(&self, identity: &Identity) -> UserInfo {
        let created_on = self.records().get(identity.name()).map_or(self.started, |record| record.created_on);
        UserInfo { name: identity.name().to_owned(), created_on }
    }

    /// Makes a user and logs him in.
    ///
    /// # Errors
    /// A name that is taken, reserved or unusable, an empty or very long password, or a store that cannot be written.
    pub async fn create_user(&self, name: &str, password: &str, role: Role) -> Result<Login, AccessError> {
        check_name(name)?;
        check_password(password)?;
        let taken = || AccessError::Invalid(format!("User {name} already exists"));
        if self.records().contains_key(name) {
            return Err(taken());
        }
        let hash = self.hash(password).await?;
        {
            let mut records = self.records();
            if records.contains_key(name) {
                return Err(taken());
            }
            if records.len() >= MOST {
                return Err(AccessError::Invalid(format!("There are {MOST} users already.")));
            }
            records.insert(
                name.to_owned(),
                Record { password: hash, created_on: now(), role, login: Some(LoginKey::fresh()) },
            );
        }
        self.keep(name).await?;
        self.tell(AccessEvent::UserCreated(name.to_owned()));
        self.logged_in(name)
    }

    /// Checks a password; several logins of one user share one key, so that a logout ends them together, as in
    /// Moonraker.
    ///
    /// # Errors
    /// Unknown user, wrong password, too many failures of this address.
    pub async fn login(
        &self,
        name: &str,
        password: &str,
        address: Option<IpAddr>,
    ) -> Result<Login, AccessError> {
        if let Some(wait) = self.login_failures.wait(address) {
            return Err(AccessError::TooMany(wait));
        }
        let known = self.records().get(name).map(|record| record.password.clone());
        let Some(hash) = known else {
            self.login_failures.note(address);
            return Err(AccessError::Invalid(format!(
                "Unregistered User: {}",
                crate::model::text::one_line(name, LONGEST_NAME)
            )));
        };
        if !self.matches(hash, password).await? {
            self.login_failures.note(address);
            tracing::warn!(user = %name, ?address, "A login failed: wrong password.");
            return Err(AccessError::Invalid("Invalid Password".to_owned()));
        }
        self.login_failures.forget(address);
        let fresh = match self.records().get_mut(name) {
            Some(record) if record.login.is_none() => {
                record.login = Some(LoginKey::fresh());
                true
            }
            _ => false,
        };
        if fresh {
            self.keep(name).await?;
        }
        self.logged_in(name)
    }

    /// Ends all logins of the caller.
    ///
    /// # Errors
    /// The caller is no user.
    pub async fn logout(&self, identity: &Identity) -> Result<(), AccessError> {
        let name = self.person(identity, "Invalid log out request for user")?;
        if let Some(record) = self.records().get_mut(&name) {
            record.login = None;
        }
        self.tell(AccessEvent::UserLoggedOut(name.clone()));
        self.keep(&name).await
    }

    /// Changes the caller's password and ends his other logins; the caller's own becomes the returned one.
    ///
    /// # Errors
    /// The caller is no user, or the old password is wrong.
    pub async fn change_password(
        &self,
        identity: &Identity,
        old: &str,
        new: &str,
        address: Option<IpAddr>,
    ) -> Result<Identity, AccessError> {
        let name = self.person(identity, "Invalid Reset Request for user")?;
        check_password(new)?;
        if let Some(wait) = self.login_failures.wait(address) {
            return Err(AccessError::TooMany(wait));
        }
        let hash = self.records().get(&name).map(|record| record.password.clone());
        if !self.matches(hash.ok_or(AccessError::Unauthorized)?, old).await? {
            self.login_failures.note(address);
            return Err(AccessError::Invalid("Invalid Password".to_owned()));
        }
        let hash = self.hash(new).await?;
        let key = LoginKey::fresh();
        let login = key.id.as_str().into();
        match self.records().get_mut(&name) {
            Some(record) => {
                record.password = hash;
                record.login = Some(key);
            }
            None => return Err(AccessError::Unauthorized),
        }
        self.tell(AccessEvent::LoginsRevoked(name.clone()));
        self.keep(&name).await?;
        Ok(Identity::User { name: name.into(), login })
    }

    /// Removes a user with all his logins.
    ///
    /// # Errors
    /// An unknown name, or the caller's own.
    pub async fn delete_user(&self, name: &str, caller: &Identity) -> Result<(), AccessError> {
        if RESERVED.contains(&name) {
            return Err(AccessError::Invalid(format!("Invalid Request for reserved user {name}")));
        }
        if caller.name() == name {
            return Err(AccessError::Invalid(format!("Cannot delete logged in user {name}")));
        }
        if self.records().remove(name).is_none() {
            return Err(AccessError::Invalid(format!(
                "No registered user: {}",
                crate::model::text::one_line(name, LONGEST_NAME)
            )));
        }
        self.tell(AccessEvent::UserDeleted(name.to_owned()));
        self.keep(name).await
    }

    /// A new access token for a refresh token.
    ///
    /// # Errors
    /// 401 for a token that is wrong, too old or revoked.
    pub fn refresh(&self, token: &str) -> Result<(UserInfo, Secret), AccessError> {
        let wrong = || AccessError::BadCredentials("Invalid Refresh Token");
        let identity = self.verify(token, Use::Refresh).ok_or_else(wrong)?;
        let token = self.token(identity.name(), Use::Access).ok_or_else(wrong)?;
        Ok((self.describe(&identity), token))
    }

    /// Who shows this access token.
    pub(super) fn bearer(&self, token: &str) -> Option<Identity> {
        self.verify(token, Use::Access)
    }

    pub(super) fn verify(&self, token: &str, wanted: Use) -> Option<Identity> {
        let parsed = Parsed::of(token)?;
        let key = self.records().get(parsed.username())?.login.clone()?;
        let good = key.id == parsed.kid && parsed.verify(&key.seed(), wanted, now() as u64);
        good.then(|| Identity::User { name: parsed.username().into(), login: key.id.into() })
    }

    pub(super) fn token(&self, name: &str, wanted: Use) -> Option<Secret> {
        let key = self.records().get(name)?.login.clone()?;
        // Not registered with the log writer: there is a new one every hour, and no log line holds headers or bodies.
        issue(&key.seed(), &key.id, name, wanted, now() as u64).map(Secret::unregistered)
    }

    fn logged_in(&self, name: &str) -> Result<Login, AccessError> {
        let login = self.records().get(name).and_then(|record| Some(record.login.as_ref()?.id.clone()));
        let tokens = self.token(name, Use::Access).zip(self.token(name, Use::Refresh));
        let (login, (token, refresh_token)) =
            login.zip(tokens).ok_or(AccessError::BadCredentials("Unauthorized"))?;
        Ok(Login {
            identity: Identity::User { name: name.into(), login: login.into() },
            token,
            refresh_token,
        })
    }

    fn person(&self, identity: &Identity, refusal: &str) -> Result<String, AccessError> {
        match identity {
            Identity::User { name, login } if self.user_role(name, login).is_some() => Ok(name.to_string()),
            Identity::User { .. } => Err(AccessError::Unauthorized),
            other => Err(AccessError::Invalid(format!("{refusal} {}", other.name()))),
        }
    }

    /// Brings the record of a user to the disk, or removes it there.
    async fn keep(&self, name: &str) -> Result<(), AccessError> {
        let record = self.records().get(name).map(serde_json::to_value);
        let kept = match record {
            Some(Ok(value)) => self.store.put_durably(USERS, name, value).await,
            Some(Err(error)) => return Err(AccessError::Failed(error.to_string())),
            None => match self.store.delete(USERS, name) {
                Ok(_) => self.store.flush().await,
                Err(error) => Err(error),
            },
        };
        kept.map_err(|error| AccessError::Failed(error.to_string()))
    }

    pub(super) fn tell(&self, event: AccessEvent) {
        tracing::info!(?event, "Who has access changes.");
        let _nobody_listens = self.events.send(event);
    }

    async fn hash(&self, password: &str) -> Result<Hash, AccessError> {
        let password = Secret::unregistered(password);
        self.in_peace(move || Hash::of(password.expose())).await
    }

    async fn matches(&self, hash: Hash, password: &str) -> Result<bool, AccessError> {
        if password.len() > password::LONGEST {
            return Ok(false);
        }
        let password = Secret::unregistered(password);
        self.in_peace(move || hash.matches(password.expose())).await
    }

    /// Runs slow work on a thread of its own, little of it at once.
    async fn in_peace<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AccessError> {
        let busy = |_| AccessError::Failed("The gateway is stopping.".to_owned());
        let _turn = self.hashing.acquire().await.map_err(busy)?;
        tokio::task::spawn_blocking(work).await.map_err(|error| AccessError::Failed(error.to_string()))
    }
}

fn check_name(name: &str) -> Result<(), AccessError> {
    if RESERVED.contains(&name) {
        return Err(AccessError::Invalid(format!("Invalid Request for reserved user {name}")));
    }
    let fits = !name.is_empty() && name.len() <= LONGEST_NAME && name.trim() == name;
    if fits && !name.chars().any(|c| c.is_control() || c == '/') {
        return Ok(());
    }
    Err(AccessError::Invalid(format!(
        "A user name must have 1 to {LONGEST_NAME} bytes, without slashes, control characters and blanks at its ends."
    )))
}

fn check_password(password: &str) -> Result<(), AccessError> {
    if password.is_empty() || password.len() > password::LONGEST {
        return Err(AccessError::Invalid(format!("A password must have 1 to {} bytes.", password::LONGEST)));
    }
    Ok(())
}
