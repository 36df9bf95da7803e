//! The running gateway as the commands see it: HTTP or HTTPS, with errors that say what to do.

mod kept;
mod pass;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use self::kept::Logins;
use self::pass::Pass;
use super::status::{meant, names};
use super::tunnel::{Tunnel, pin_of_file};
use super::{ConfigArgs, EXIT_FAILED, EXIT_TRY_LATER, EXIT_UNAVAILABLE};
use crate::config::{Config, ConfigError, EXIT_CONFIG, Environment, GATEWAY_PORT, Tls};
use crate::net::server;
use crate::net::tls::Pin;
use crate::secret::Secret;

/// Longer than the gateway may take for the slowest command (`printer::handle`: 310 s).
pub const ANSWER: Duration = Duration::from_secs(330);
const CONNECT: Duration = Duration::from_secs(5);

/// Where the running gateway is.
#[derive(Debug, Clone, clap::Args)]
pub struct GatewayArgs {
    /// Address of the running gateway; else that of the configuration, else http://127.0.0.1:7100.
    #[arg(long, value_name = "URL")]
    pub gateway: Option<String>,
    /// HTTPS: the gateway's certificate (PEM); else that of the configuration.
    #[arg(long, value_name = "FILE")]
    pub gateway_cert: Option<PathBuf>,
    /// HTTPS: SHA-256 of the gateway's public key, as it logs it at its start.
    #[arg(long, value_name = "HEX", conflicts_with = "gateway_cert")]
    pub gateway_pin: Option<Pin>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Why a command did not work.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error(
        "the gateway does not answer at {url}: {reason}. Is it running (`moongate run`, `systemctl status moongate`)? --gateway names another address.{hint}"
    )]
    NoGateway { url: String, reason: String, hint: String },
    #[error(
        "{0} is not a gateway's own address: --gateway takes that of its status page (port 7100 unless the configuration says otherwise), not a printer's port or path."
    )]
    NotAGateway(String),
    /// The configuration that was named for this command is wrong.
    #[error("{0}")]
    Config(ConfigError),
    #[error(
        "--gateway \"{0}\" must be an address such as http://127.0.0.1:7100 or https://printers.lan:7100."
    )]
    BadAddress(String),
    #[error(
        "nothing says which key {0} must have: give --gateway-cert FILE (its certificate) or --gateway-pin HEX (as it logs it at its start)."
    )]
    NoPin(String),
    #[error(
        "the gateway does not let this caller in ({0}): log in with `moongate login`, or set MOONGATE_API_KEY to its key, which `moongate key` shows to those whom it lets in (api_key_file in its configuration sets one)."
    )]
    NotPermitted(String),
    #[error(
        "the login of {user} at {url} has ended: logged out, given a new password, or too old. `moongate login` renews it, `moongate logout` goes on without it."
    )]
    LoginEnded { user: String, url: String },
    #[error("there is no place to keep a login: neither XDG_STATE_HOME nor HOME is set.")]
    NoHome,
    #[error("MOONGATE_API_KEY holds what no key has in it.")]
    BadKey,
    /// No such printer or file, without a word of which.
    #[error("the gateway knows no such printer or file; `moongate status` lists the printers.")]
    Unknown,
    /// The gateway or the printer refused.
    #[error("{text}")]
    Refused { code: String, text: String },
    #[error("{0}")]
    Failed(String),
}

impl ClientError {
    /// Of a refusal: its code, e.g. `busy`.
    pub fn code(&self) -> Option<&str> {
        match self {
            ClientError::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// The exit code of the command.
    pub fn exit(&self) -> ExitCode {
        ExitCode::from(match self {
            ClientError::NoGateway { .. } => EXIT_UNAVAILABLE,
            ClientError::BadAddress(_) | ClientError::NoPin(_) | ClientError::BadKey => 2,
            ClientError::Config(_) => EXIT_CONFIG,
            ClientError::Refused { code, .. } if matches!(code.as_str(), "offline" | "busy" | "timeout") => {
                EXIT_TRY_LATER
            }
            _ => EXIT_FAILED,
        })
    }
}

/// A connection to the running gateway.
pub struct Client {
    http: reqwest::Client,
    /// As people write it.
    base: String,
    /// As requests are sent: within the tunnel there is no TLS.
    sent_to: String,
    /// Under which its login is kept: the address in one spelling.
    entry: String,
    logins: Option<Logins>,
    pass: Pass,
    /// Why the configuration does not say where the gateway is.
    no_config: Option<String>,
    _tunnel: Option<Tunnel>,
}

impl Client {
    /// # Errors
    /// An address that cannot be one; a named configuration that is wrong, where it should tell the address; for HTTPS
    /// also no gateway there, or another one than expected.
    pub async fn new(args: &GatewayArgs, environment: &Environment) -> Result<Self, ClientError> {
        let (config, no_config) = match args.config.load_of_gateway(environment) {
            Ok((_, config)) => (Some(config), None),
            // At the usual address there may be another gateway than the one that is meant.
            Err(error) if args.gateway.is_none() && args.config.is_named(environment) => {
                return Err(ClientError::Config(error));
            }
            Err(error) => (None, error.0.into_iter().next().filter(|_| args.gateway.is_none())),
        };
        let base = match &args.gateway {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => configured(config.as_ref()),
        };
        let Ok(url) = reqwest::Url::parse(&base) else { return Err(ClientError::BadAddress(base)) };
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(ClientError::BadAddress(base));
        };
        let tunnel = match url.scheme() {
            "http" => None,
            "https" => {
                let pin =
                    known_pin(args, config.as_ref())?.ok_or_else(|| ClientError::NoPin(base.clone()))?;
                Some(Tunnel::open(host, port, pin).await?)
            }
            _ => return Err(ClientError::BadAddress(base)),
        };
        // The gateway is near: proxies of the environment would only be in the way.
        let http = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT);
        let http = match &tunnel {
            Some(tunnel) => http.unix_socket(tunnel.socket()),
            None => http,
        };
        let http = http.build().map_err(|error| ClientError::Failed(format!("no HTTP client: {error}")))?;
        let sent_to = base.replacen("https://", "http://", 1);
        let entry = entry(url);
        let logins = Logins::of(environment);
        let key = environment.get("MOONGATE_API_KEY").map(header).transpose()?;
        let pass = match (key, &logins) {
            (Some(key), _) => Pass::Key(key),
            (None, Some(logins)) => match logins.get(&entry).map_err(ClientError::Failed)? {
                Some(kept) => Pass::Login { kept: Mutex::new(kept), logins: logins.clone() },
                None => Pass::Nothing,
            },
            (None, None) => Pass::Nothing,
        };
        let no_config = no_config.map(|mistake| mistake.to_string());
        Ok(Self { http, base, sent_to, entry, logins, pass, no_config, _tunnel: tunnel })
    }

    /// The address of the gateway, without a slash at the end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A path of one printer: `/printers/NAME` and then `rest`.
    pub fn of(printer: &str, rest: &str) -> String {
        format!("/printers/{}{rest}", percent_encoding::utf8_percent_encode(printer, crate::url::SEGMENT))
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.sent_to))
    }

    /// # Errors
    /// No gateway, or it refuses.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let response = self.send(self.request(Method::GET, path).timeout(ANSWER)).await?;
        self.decode(response).await
    }

    /// # Errors
    /// As [`Self::get`].
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        let response = self.send(self.request(Method::GET, path).timeout(ANSWER)).await?;
        response.text().await.map_err(|error| self.broken(&error))
    }

    /// # Errors
    /// As [`Self::get`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let response = self.send(self.request(Method::POST, path).json(body).timeout(ANSWER)).await?;
        self.decode(response).await
    }

    /// Sends a request, with the key or login that there is, and turns every refusal into its own words.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let request = request.build().map_err(|error| self.broken(&error))?;
        let response = self.show_and_send(request).await?;
        self.answered(response).await
    }

    async fn answered(&self, response: Response) -> Result<Response, ClientError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let path = response.url().path();
        let (is_status, is_file) = (path.ends_with("/status"), path.contains("/server/files/timelapse/"));
        let body = response.text().await.unwrap_or_default();
        Err(match (status.as_u16(), refusal(&body)) {
            (401, told) => ClientError::NotPermitted(told.map_or_else(|| status.to_string(), |told| told.1)),
            // The answer of a printer's own endpoint to a path that it does not have.
            (404, Some((_, text))) if text == "Not Found" && !is_file => {
                ClientError::NotAGateway(self.base.clone())
            }
            (404, None) if is_status => ClientError::NotAGateway(self.base.clone()),
            (_, Some((code, text))) => ClientError::Refused { code, text },
            (404, None) => ClientError::Unknown,
            // A proxy before it, whose gateway is away.
            (502..=504, None) => self.silent(status.to_string()),
            (_, None) => ClientError::Failed(format!(
                "the gateway answers {status}: {}",
                crate::model::text::one_line(&body, 200)
            )),
        })
    }

    /// What to say of [`ClientError::Unknown`] where a printer was named.
    pub async fn unknown(&self, printer: Option<&str>) -> ClientError {
        let (Some(name), Ok(answer)) = (printer, self.get::<Value>("/status").await) else {
            return ClientError::Unknown;
        };
        let known = names(answer.get("printers").and_then(Value::as_array).map_or(&[], Vec::as_slice));
        if known.iter().any(|known| known == name) {
            return ClientError::Unknown;
        }
        let hint = meant(name, &known);
        ClientError::Failed(format!("the gateway knows no such printer \"{name}\"; {hint}"))
    }

    /// # Errors
    /// The answer is not what it should be.
    pub async fn decode<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let bytes = response.bytes().await.map_err(|error| self.broken(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            ClientError::Failed(format!(
                "{} does not answer like a gateway of this version: {error}.",
                self.base
            ))
        })
    }

    fn broken(&self, error: &reqwest::Error) -> ClientError {
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            reason = next.to_string();
            cause = next.source();
        }
        self.silent(reason)
    }

    /// The gateway is not there, or does not go on.
    pub fn silent(&self, reason: String) -> ClientError {
        let mut hint = String::new();
        if self.base.starts_with("http://") && reason.contains("HTTP version") {
            hint.push_str(" It may speak HTTPS: try https://.");
        }
        if let Some(mistake) = &self.no_config {
            hint.push_str(&format!(" (The configuration does not say where it is. {mistake})"));
        }
        ClientError::NoGateway { url: self.base.clone(), reason, hint }
    }
}

/// An address in one spelling, without what may stand in it besides.
fn entry(mut url: reqwest::Url) -> String {
    // Refused only by addresses that are no base, which have no host either.
    let _no_name = url.set_username("");
    let _no_password = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.as_str().trim_end_matches('/').to_owned()
}

/// The key as it goes to the gateway, and nowhere into a log.
fn header(key: &str) -> Result<HeaderValue, ClientError> {
    let key = key.trim();
    let _known_to_the_log = Secret::new(key);
    let mut value = HeaderValue::from_str(key).map_err(|_| ClientError::BadKey)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Code and text of our own refusals and of Moonraker's.
fn refusal(body: &str) -> Option<(String, String)> {
    let value: Value = serde_json::from_str(body).ok()?;
    let error = value.get("error")?;
    let text = error.get("text").or_else(|| error.get("message"))?.as_str()?.to_owned();
    let code = match error.get("code") {
        Some(Value::String(code)) => code.clone(),
        Some(code) => code.to_string(),
        None => String::new(),
    };
    Some((code, text))
}

/// The key that the gateway must show, where anything says so.
fn known_pin(args: &GatewayArgs, config: Option<&Config>) -> Result<Option<Pin>, ClientError> {
    if let Some(pin) = args.gateway_pin {
        return Ok(Some(pin));
    }
    if let Some(file) = &args.gateway_cert {
        return pin_of_file(file).map(Some);
    }
    match config.map(|config| (&config.gateway.tls, &config.gateway.state_dir)) {
        Some((Tls::Files { certificate, .. }, _)) => pin_of_file(certificate).map(Some),
        Some((Tls::SelfSigned, state)) => pin_of_file(&server::self_signed_certificate(state)).map(Some),
        Some((Tls::Off, _)) | None => Ok(None),
    }
}

/// The address that the configuration gives the gateway; a configuration that cannot be read leaves the usual one.
pub fn configured(config: Option<&Config>) -> String {
    let (listen, port, scheme) = match config.map(|config| &config.gateway) {
        Some(gateway) => {
            (gateway.listen, gateway.port, if matches!(gateway.tls, Tls::Off) { "http" } else { "https" })
        }
        None => (IpAddr::from([127, 0, 0, 1]), GATEWAY_PORT, "http"),
    };
    let host = match listen {
        IpAddr::V4(address) if address.is_unspecified() => "127.0.0.1".to_owned(),
        IpAddr::V6(address) if address.is_unspecified() => "[::1]".to_owned(),
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    format!("{scheme}://{host}:{port}")
}

#[cfg(test)]
mod tests;
