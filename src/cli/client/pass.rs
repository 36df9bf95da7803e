//! What the commands show the gateway: the key of `MOONGATE_API_KEY`, else the login kept for its address, else nothing.

use std::sync::{Mutex, PoisonError};

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::{Method, Request, Response};
use serde_json::{Value, json};

use super::kept::{Kept, Logins, life};
use super::{ANSWER, Client, ClientError};
use crate::printer::clock::unix_now;
use crate::secret::Secret;

/// Seconds before its end from which on a token is renewed: a command may take a while until it is read.
const EARLY: u64 = 60;

/// See the module.
pub(super) enum Pass {
    Nothing,
    Key(HeaderValue),
    Login { kept: Mutex<Kept>, logins: Logins },
}

impl Pass {
    /// The kept login as it is now.
    fn kept(&self) -> Option<Kept> {
        match self {
            Pass::Login { kept, .. } => Some(kept.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            _ => None,
        }
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let (name, value) = match self {
            Pass::Nothing => return None,
            Pass::Key(key) => return Some((HeaderName::from_static("x-api-key"), key.clone())),
            Pass::Login { .. } => (AUTHORIZATION, format!("Bearer {}", self.kept()?.token.expose())),
        };
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    }

    fn show(&self, request: &mut Request) {
        if let Some((name, value)) = self.header() {
            request.headers_mut().insert(name, value);
        }
    }
}

impl Client {
    /// Sends a request with what there is to show; renews a login whose token has ended.
    pub(super) async fn show_and_send(&self, mut request: Request) -> Result<Response, ClientError> {
        let now = unix_now() as u64;
        if self.pass.kept().is_some_and(|kept| kept.renew_at <= now) {
            self.renew().await?;
        }
        // A body that is read from a file goes once only.
        let again = request.try_clone();
        self.pass.show(&mut request);
        let response = self.http.execute(request).await.map_err(|error| self.broken(&error))?;
        if response.status() != 401 || self.pass.kept().is_none() {
            return Ok(response);
        }
        self.renew().await?;
        let Some(mut again) = again else { return Ok(response) };
        self.pass.show(&mut again);
        self.http.execute(again).await.map_err(|error| self.broken(&error))
    }

    /// Takes a new token for the kept refresh token.
    async fn renew(&self) -> Result<(), ClientError> {
        let (Some(old), Pass::Login { kept, logins }) = (self.pass.kept(), &self.pass) else {
            return Ok(());
        };
        let answer: Value =
            match self.ask("/refresh", &json!({"refresh_token": old.refresh_token.expose()})).await {
                Err(ClientError::NotPermitted(_)) => {
                    return Err(ClientError::LoginEnded { user: old.user, url: self.base.clone() });
                }
                answer => answer?,
            };
        let token = answer.get("token").and_then(Value::as_str).ok_or_else(|| self.odd())?;
        let renewed = Kept { token: Secret::new(token), renew_at: renew_at(token), ..old };
        // The command goes on without the file: the next one renews again.
        if let Err(told) = logins.set(&self.entry, Some(&renewed)) {
            complain!("{told}");
        }
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }

    /// Logs in with name and password, and keeps the tokens; returns the name as the gateway has it.
    ///
    /// # Errors
    /// The gateway refuses, or the tokens cannot be kept.
    pub async fn log_in(&self, user: &str, password: &Secret) -> Result<String, ClientError> {
        let logins = self.logins.as_ref().ok_or(ClientError::NoHome)?;
        // Before the password goes anywhere: without a place for it the login would be of no use.
        let _old = logins.get(&self.entry).map_err(ClientError::Failed)?;
        let answer: Value =
            self.ask("/login", &json!({"username": user, "password": password.expose()})).await?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str).ok_or_else(|| self.odd());
        let (token, refresh_token) = (Secret::new(text("token")?), Secret::new(text("refresh_token")?));
        let user = text("username")?.to_owned();
        let renew_at = renew_at(token.expose());
        let kept = Kept { user: user.clone(), token, refresh_token, renew_at };
        logins.set(&self.entry, Some(&kept)).map_err(ClientError::Failed)?;
        Ok(user)
    }

    /// Ends all logins of the user whose login is kept here.
    ///
    /// # Errors
    /// No gateway, or the login has ended.
    pub async fn log_out(&self) -> Result<(), ClientError> {
        let _told: Value = self.post("/logout", &json!({})).await?;
        Ok(())
    }

    /// The same with the kept login where there is one, also beside a key.
    ///
    /// # Errors
    /// The file of logins cannot be read.
    pub fn as_user(mut self) -> Result<Self, ClientError> {
        let kept = self.logins.as_ref().map(|logins| logins.get(&self.entry)).transpose();
        if let (Some(Some(kept)), Some(logins)) = (kept.map_err(ClientError::Failed)?, &self.logins) {
            self.pass = Pass::Login { kept: Mutex::new(kept), logins: logins.clone() };
        }
        Ok(self)
    }

    /// A key is shown, and no login.
    pub fn shows_a_key(&self) -> bool {
        matches!(self.pass, Pass::Key(_))
    }

    /// Whether others of the network can read what is sent.
    pub fn is_readable_on_the_way(&self) -> bool {
        let Ok(url) = reqwest::Url::parse(&self.base) else { return true };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let near = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        url.scheme() == "http" && !near
    }

    /// Whose login is kept for this gateway, whatever else may be shown to it.
    ///
    /// # Errors
    /// The file of logins cannot be read.
    pub fn kept_user(&self) -> Result<Option<String>, ClientError> {
        let logins = self.logins.as_ref().ok_or(ClientError::NoHome)?;
        Ok(logins.get(&self.entry).map_err(ClientError::Failed)?.map(|kept| kept.user))
    }

    /// Forgets the login kept for this gateway.
    ///
    /// # Errors
    /// The file of logins cannot be written.
    pub fn forget_login(&self) -> Result<(), ClientError> {
        let logins = self.logins.as_ref().ok_or(ClientError::NoHome)?;
        logins.set(&self.entry, None).map_err(ClientError::Failed)
    }

    /// A small request without anything shown.
    async fn ask(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let request = self.http.request(Method::POST, format!("{}{path}", self.sent_to)).json(body);
        let response = request.timeout(ANSWER).send().await.map_err(|error| self.broken(&error))?;
        match self.answered(response).await {
            Ok(response) => self.decode(response).await,
            // Something else than a gateway, or one that is older than the command.
            Err(ClientError::Unknown) => Err(ClientError::NotAGateway(self.base.clone())),
            Err(ClientError::Refused { code, .. }) if code == "404" || code == "405" => {
                Err(ClientError::NotAGateway(self.base.clone()))
            }
            Err(error) => Err(error),
        }
    }

    fn odd(&self) -> ClientError {
        ClientError::Failed(format!("{} does not answer like a gateway of this version.", self.base))
    }
}

fn renew_at(token: &str) -> u64 {
    (unix_now() as u64).saturating_add(life(token)).saturating_sub(EARLY)
}
