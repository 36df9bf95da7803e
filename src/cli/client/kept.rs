//! The logins that `moongate login` keeps: one file of the user's own, an entry per gateway.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Environment;
use crate::secret::Secret;

const FILE: &str = "logins.json";
/// Held while the file is written anew: logins at two gateways may be renewed at once.
const LOCK: &str = "logins.lock";
/// Bytes; an entry takes about one kB.
const LARGEST: u64 = 1 << 20;

/// A login at one gateway.
#[derive(Debug, Clone)]
pub struct Kept {
    pub user: String,
    pub token: Secret,
    pub refresh_token: Secret,
    /// Seconds since 1970, by this machine's clock, from when on the token is renewed before it is shown.
    pub renew_at: u64,
}

/// [`Kept`] as it lies in the file.
#[derive(Serialize, Deserialize)]
struct Entry {
    user: String,
    token: String,
    refresh_token: String,
    renew_at: u64,
}

/// The file of them all.
#[derive(Debug, Clone)]
pub struct Logins {
    folder: PathBuf,
}

impl Logins {
    /// `$XDG_STATE_HOME/moongate` or `~/.local/state/moongate`; `None` for who has neither. Not the folder of a service:
    /// a login belongs to a person.
    pub fn of(environment: &Environment) -> Option<Self> {
        environment.own_state_dir().map(|folder| Self { folder })
    }

    pub fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// The login at a gateway.
    ///
    /// # Errors
    /// What is wrong with the file, and what to do; never what stands in it.
    pub fn get(&self, gateway: &str) -> Result<Option<Kept>, String> {
        let Some(entry) = self.read()?.remove(gateway) else { return Ok(None) };
        Ok(Some(Kept {
            user: entry.user,
            token: Secret::new(entry.token),
            refresh_token: Secret::new(entry.refresh_token),
            renew_at: entry.renew_at,
        }))
    }

    /// Puts the login at a gateway into the file, or takes it out.
    ///
    /// # Errors
    /// As [`Self::get`], or it cannot be written.
    pub fn set(&self, gateway: &str, kept: Option<&Kept>) -> Result<(), String> {
        let failed = |error: std::io::Error| {
            format!(
                "{} cannot be written: {error}. XDG_STATE_HOME names another place.",
                self.file().display()
            )
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(failed)?;
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(self.folder.join(LOCK));
        let lock = lock.map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut entries = self.read()?;
        match kept {
            Some(kept) => entries.insert(gateway.to_owned(), Entry::from(kept)),
            None => entries.remove(gateway),
        };
        write(&self.folder, &self.file(), &entries).map_err(failed)
    }

    fn read(&self) -> Result<BTreeMap<String, Entry>, String> {
        let path = self.file();
        let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}.", path.display());
        let file = match File::open(&path) {
            Ok(file) => file,
            // One that this user may not even open is somebody else's, as with `sudo -E`.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                return Ok(BTreeMap::new());
            }
            Err(error) => return Err(unreadable(error)),
        };
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(format!(
                "{} holds logins and others can read it (mode {:o}): delete it, change the password if somebody may have \
                 looked, and log in again.",
                path.display(),
                mode & 0o777
            ));
        }
        let mut text = zeroize::Zeroizing::new(String::new());
        file.take(LARGEST).read_to_string(&mut text).map_err(unreadable)?;
        // The parser's own words could repeat a token.
        serde_json::from_str(&text).map_err(|error| {
            format!("{} is damaged (line {}): delete it and log in again.", path.display(), error.line())
        })
    }
}

impl From<&Kept> for Entry {
    fn from(kept: &Kept) -> Self {
        Self {
            user: kept.user.clone(),
            token: kept.token.expose().to_owned(),
            refresh_token: kept.refresh_token.expose().to_owned(),
            renew_at: kept.renew_at,
        }
    }
}

/// In one step: a kill in between leaves the old file.
fn write(folder: &Path, path: &Path, entries: &BTreeMap<String, Entry>) -> std::io::Result<()> {
    let mut fresh = crate::cli::fresh_file(folder, ".logins-")?;
    let text = zeroize::Zeroizing::new(serde_json::to_vec_pretty(entries)?);
    fresh.write_all(&text)?;
    fresh.as_file().sync_all()?;
    fresh.persist(path).map(drop).map_err(|error| error.error)
}

/// Seconds that a token of the gateway is good for, as it says of itself; 0 where it does not.
pub fn life(token: &str) -> u64 {
    use base64::Engine;
    let claims = token.split('.').nth(1).and_then(|claims| {
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok()
    });
    let second = |name: &str| claims.as_ref().and_then(|claims| claims.get(name)).and_then(Value::as_u64);
    second("exp").zip(second("iat")).map_or(0, |(end, begin)| end.saturating_sub(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(user: &str) -> Kept {
        Kept {
            user: user.to_owned(),
            token: Secret::new(format!("token-of-{user}")),
            refresh_token: Secret::new(format!("refresh-of-{user}")),
            renew_at: 7,
        }
    }

    #[test]
    fn one_entry_per_gateway_for_the_owner_s_eyes_only() {
        let home = tempfile::tempdir().expect("a folder");
        let environment = Environment::of(&[("HOME", home.path().to_str().expect("text"))]);
        let logins = Logins::of(&environment).expect("a home");
        assert!(logins.get("http://a").expect("no file").is_none());
        logins.set("http://a", Some(&kept("alice"))).expect("kept");
        logins.set("http://b", Some(&kept("bob"))).expect("kept");
        logins.set("http://a", Some(&kept("vera"))).expect("kept");
        let mode = std::fs::metadata(logins.file()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mode = std::fs::metadata(&logins.folder).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let there = logins.get("http://a").expect("read").expect("an entry");
        assert_eq!((there.user.as_str(), there.token.expose(), there.renew_at), ("vera", "token-of-vera", 7));
        assert!(!format!("{there:?}").contains("token-of"));
        logins.set("http://a", None).expect("taken out");
        assert!(logins.get("http://a").expect("read").is_none());
        assert!(logins.get("http://b").expect("read").is_some());
        let left: Vec<_> = std::fs::read_dir(&logins.folder).expect("a folder").flatten().collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn a_file_that_is_damaged_or_open_to_others_is_told_without_what_is_in_it() {
        let home = tempfile::tempdir().expect("a folder");
        let environment = Environment::of(&[("XDG_STATE_HOME", home.path().to_str().expect("text"))]);
        let logins = Logins::of(&environment).expect("a home");
        assert_eq!(logins.file(), home.path().join("moongate/logins.json"));
        logins.set("http://a", Some(&kept("alice"))).expect("kept");
        std::fs::set_permissions(logins.file(), PermissionsExt::from_mode(0o640)).expect("set");
        let told = logins.get("http://a").expect_err("others read it");
        assert!(told.contains("mode 640") && logins.set("http://b", Some(&kept("bob"))).is_err(), "{told}");
        std::fs::set_permissions(logins.file(), PermissionsExt::from_mode(0o600)).expect("set");
        std::fs::write(logins.file(), "\n\"token-of-alice\"").expect("written");
        let told = logins.get("http://a").expect_err("no map");
        assert!(told.contains("line 2") && !told.contains("token-of"), "{told}");
        assert!(Logins::of(&Environment::of(&[("STATE_DIRECTORY", "/var/lib/moongate")])).is_none());
    }

    #[test]
    fn a_token_says_how_long_it_lives() {
        use base64::Engine;
        let claims = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        assert_eq!(life(&format!("a.{}.c", claims(r#"{"iat":1000,"exp":4600}"#))), 3600);
        assert_eq!(life(&format!("a.{}.c", claims(r#"{"iat":4600,"exp":1000}"#))), 0);
        assert_eq!(life("no token"), 0);
    }
}
