//! Who may do what: one room for all front ends, in Moonraker's own semantics (moonraker.md 2.3, design D16).
//!
//! ```text
//!  request --> address (proxies) --> credentials: login token, one-shot token, API key, trusted address --> Identity
//!  Identity --> role (view < operate < admin) --> allowed, or 401 / 403
//! ```
//! [`Access`] is made once and shared: a key renewed or a user logged out is so for every printer at once.

mod apps;
mod credentials;
mod gate;
mod limits;
mod network;
mod origin;
mod passes;
mod password;
#[cfg(test)]
mod tests;
mod tokens;
mod trust;
mod users;
mod visit;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use thiserror::Error;
use tokio::sync::broadcast;

use crate::secret::Secret;
use crate::store::Store;

#[cfg(any(test, fuzzing, feature = "doors"))]
pub(crate) use tokens::Parsed as ParsedToken;

pub use apps::AppAnswer;
pub use gate::{Gate, gate};
pub use network::{Cidr, private_networks};
pub use origin::DEFAULT_DOMAINS;
pub use trust::was_forwarded;
pub use users::{Login, UserInfo};
pub use visit::Visitor;

/// Space of the store with the API key.
const SPACE: &str = "access";
const API_KEY: &str = "api_key";
/// Space of the store with one record per user.
const USERS: &str = "users";
/// Events that wait for a slow listener.
const EVENTS: usize = 64;

/// What a caller may do; each includes the ones before.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See everything, change nothing.
    View,
    /// Print, steer, upload, delete files.
    Operate,
    /// Users, keys, the gateway itself.
    #[default]
    Admin,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::View, Role::Operate, Role::Admin];

    /// As it is written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Role::View => "view",
            Role::Operate => "operate",
            Role::Admin => "admin",
        }
    }
}

/// How a caller was recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// By the address alone.
    Trusted,
    ApiKey,
    /// One application, by a key of its own that can be taken back.
    App {
        id: Arc<str>,
        name: Arc<str>,
    },
    /// A person, by a login that can be revoked.
    User {
        name: Arc<str>,
        login: Arc<str>,
    },
}

impl Identity {
    /// The user's name, or what Moonraker calls callers without a login.
    pub fn name(&self) -> &str {
        match self {
            Identity::Trusted => "_TRUSTED_USER_",
            Identity::ApiKey => "_API_KEY_USER_",
            Identity::App { name, .. } | Identity::User { name, .. } => name,
        }
    }
}

/// What the configuration says of access.
#[derive(Debug, Clone)]
pub struct AccessSettings {
    /// 32 lower-case hex characters; made at the first start and kept in the store where it is not set.
    pub api_key: Option<Secret>,
    /// Addresses that need no credentials.
    pub trusted_clients: Vec<Cidr>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Cidr>,
    /// Origins of web pages that may call, `*` matches anything; trusted addresses pass besides.
    pub cors_domains: Vec<String>,
    /// Trusted addresses need a login too, as soon as there are users.
    pub force_logins: bool,
    /// What callers from trusted addresses may do.
    pub trusted_role: Role,
    /// Roles by user name; they win over what is stored with the user.
    pub roles: HashMap<String, Role>,
}

impl Default for AccessSettings {
    fn default() -> Self {
        Self {
            api_key: None,
            trusted_clients: private_networks(),
            trusted_proxies: network::loopback(),
            cors_domains: DEFAULT_DOMAINS.iter().map(|&domain| domain.to_owned()).collect(),
            force_logins: false,
            trusted_role: Role::Admin,
            roles: HashMap::new(),
        }
    }
}

/// Why access is refused; the texts are Moonraker's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AccessError {
    #[error("Unauthorized")]
    Unauthorized,
    #[error("{0}")]
    BadCredentials(&'static str),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    Invalid(String),
    /// Come again after so many seconds.
    #[error("Too many failed attempts from this address; try again in {0} s")]
    TooMany(u64),
    #[error("{0}")]
    Failed(String),
}

impl AccessError {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            AccessError::Unauthorized | AccessError::BadCredentials(_) => 401,
            AccessError::Forbidden(_) => 403,
            AccessError::Invalid(_) => 400,
            AccessError::TooMany(_) => 429,
            AccessError::Failed(_) => 500,
        }
    }
}

/// What changed with the users; open sockets act on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessEvent {
    UserCreated(String),
    UserDeleted(String),
    UserLoggedOut(String),
    /// All logins of the user ended, e.g. by a new password.
    LoginsRevoked(String),
    /// An application would like a key; somebody must decide.
    AppAsked {
        app: String,
        address: Option<IpAddr>,
    },
    AppAdmitted(String),
    /// The key of this id is worth nothing any more.
    AppRevoked(String),
}

/// The judge. Shared by all front ends.
pub struct Access {
    settings: AccessSettings,
    store: Store,
    key: Mutex<Secret>,
    users: Mutex<HashMap<String, users::Record>>,
    apps: apps::Apps,
    oneshots: Mutex<HashMap<String, OneShot>>,
    login_failures: limits::Failures,
    key_failures: limits::Failures,
    /// Few passwords are hashed at once: each takes a core for a good part of a second.
    hashing: tokio::sync::Semaphore,
    events: broadcast::Sender<AccessEvent>,
    /// Names by which browsers called us and that the log has told of.
    unknown_names: Mutex<BTreeSet<String>>,
    /// When the callers without a record were "created".
    started: f64,
}

/// A token that lets one request pass.
struct OneShot {
    made: Instant,
    owner: Option<IpAddr>,
    identity: Identity,
}

impl Access {
    /// Takes the key of the configuration, else the stored one, else makes and stores one.
    pub fn open(settings: AccessSettings, store: &Store) -> Arc<Self> {
        let configured = settings.api_key.clone();
        let key = configured
            .or_else(|| credentials::stored_key(store))
            .unwrap_or_else(|| credentials::fresh_key(store));
        Arc::new(Self {
            key: Mutex::new(key),
            users: Mutex::new(users::load(store)),
            apps: apps::Apps::load(store),
            store: store.clone(),
            oneshots: Mutex::default(),
            login_failures: limits::Failures::default(),
            key_failures: limits::Failures::default(),
            hashing: tokio::sync::Semaphore::new(2),
            events: broadcast::channel(EVENTS).0,
            unknown_names: Mutex::default(),
            started: now(),
            settings,
        })
    }

    pub fn settings(&self) -> &AccessSettings {
        &self.settings
    }

    pub fn events(&self) -> broadcast::Receiver<AccessEvent> {
        self.events.subscribe()
    }

    /// True where trusted addresses must log in too.
    pub fn login_required(&self) -> bool {
        self.settings.force_logins && self.has_users()
    }

    /// What a caller may do now; `None` where his login has ended since.
    pub fn role(&self, identity: &Identity) -> Option<Role> {
        match identity {
            Identity::Trusted => (!self.login_required()).then_some(self.settings.trusted_role),
            Identity::ApiKey => Some(Role::Admin),
            Identity::App { id, .. } => self.apps.knows(id).then_some(Role::Operate),
            Identity::User { name, login } => self.user_role(name, login),
        }
    }

    /// Whether a caller may do what needs `role`.
    ///
    /// # Errors
    /// Unauthorized for strangers and ended logins, forbidden for those whose role is too small.
    pub fn require(&self, identity: Option<&Identity>, role: Role) -> Result<(), AccessError> {
        let has = identity.and_then(|identity| self.role(identity)).ok_or(AccessError::Unauthorized)?;
        if has >= role {
            return Ok(());
        }
        let (who, remedy) = match identity {
            Some(Identity::Trusted) => ("this address", "Log in as a user who may, or see trusted_role"),
            who => {
                (who.map_or("the caller", Identity::name), "Who may what stands below viewers and operators")
            }
        };
        Err(AccessError::Forbidden(format!(
            "This needs the role \"{}\"; {who} has \"{}\". {remedy} in [access] of the gateway's configuration.",
            role.name(),
            has.name()
        )))
    }
}

/// Seconds since 1970 with fractions.
fn now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |elapsed| elapsed.as_secs_f64())
}
