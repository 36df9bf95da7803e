//! The running gateway as the commands see it: HTTP on loopback, with errors that say what to do.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use super::{ConfigArgs, EXIT_FAILED, EXIT_TRY_LATER, EXIT_UNAVAILABLE};
use crate::config::{Environment, GATEWAY_PORT};
use crate::secret::Secret;

/// Longer than the gateway may take for the slowest command (`printer::handle`: 310 s).
const ANSWER: Duration = Duration::from_secs(330);
const CONNECT: Duration = Duration::from_secs(5);
/// What may be in a path segment as it is.
const SEGMENT: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Where the running gateway is.
#[derive(Debug, Clone, clap::Args)]
pub struct GatewayArgs {
    /// Address of the running gateway; else that of the configuration, else http://127.0.0.1:7100.
    #[arg(long, value_name = "URL")]
    pub gateway: Option<String>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Why a command did not work.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error(
        "the gateway does not answer at {url}: {reason}. Is it running (`moongate run`, `systemctl status moongate`)? --gateway names another address."
    )]
    NoGateway { url: String, reason: String },
    #[error(
        "--gateway \"{0}\" must be an address such as http://127.0.0.1:7100; for https use the gateway's own port."
    )]
    BadAddress(String),
    #[error("the gateway does not let this caller in: set MOONGATE_API_KEY, or call from a trusted address.")]
    NotPermitted,
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
            ClientError::BadAddress(_) => 2,
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
    base: String,
    key: Option<Secret>,
}

impl Client {
    /// # Errors
    /// An address that cannot be one.
    pub fn new(args: &GatewayArgs, environment: &Environment) -> Result<Self, ClientError> {
        let base = match &args.gateway {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => configured(&args.config, environment),
        };
        if !base.starts_with("http://") || reqwest::Url::parse(&base).is_err() {
            return Err(ClientError::BadAddress(base));
        }
        // The gateway is near: proxies of the environment would only be in the way.
        let http = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT).build();
        let http = http.map_err(|error| ClientError::Failed(format!("no HTTP client: {error}")))?;
        Ok(Self { http, base, key: environment.get("MOONGATE_API_KEY").map(Secret::new) })
    }

    /// The address of the gateway, without a slash at the end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A path of one printer: `/printers/NAME` and then `rest`.
    pub fn of(printer: &str, rest: &str) -> String {
        format!("/printers/{}{rest}", percent_encoding::utf8_percent_encode(printer, SEGMENT))
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.header("X-Api-Key", key.expose()),
            None => request,
        }
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

    /// Sends a request and turns every refusal into its own words.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.text().await.unwrap_or_default();
        if let Some((code, text)) = refusal(&body) {
            return Err(ClientError::Refused { code, text });
        }
        Err(match status.as_u16() {
            401 => ClientError::NotPermitted,
            404 => ClientError::Failed(
                "the gateway knows no such printer or file; `moongate status` lists the printers.".to_owned(),
            ),
            _ => ClientError::Failed(format!(
                "the gateway answers {status}: {}",
                crate::model::text::one_line(&body, 200)
            )),
        })
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
        ClientError::NoGateway { url: self.base.clone(), reason }
    }
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

/// The address that the configuration gives the gateway; a configuration that cannot be read leaves the usual one.
fn configured(args: &ConfigArgs, environment: &Environment) -> String {
    let (listen, port) = match args.load(environment) {
        Ok((_, config)) => (config.gateway.listen, config.gateway.port),
        Err(_) => (IpAddr::from([127, 0, 0, 1]), GATEWAY_PORT),
    };
    let host = match listen {
        IpAddr::V4(address) if address.is_unspecified() => "127.0.0.1".to_owned(),
        IpAddr::V6(address) if address.is_unspecified() => "[::1]".to_owned(),
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    format!("http://{host}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_in_both_forms() {
        let own = refusal(r#"{"error":{"code":"busy","text":"Printing."}}"#);
        assert_eq!(own, Some(("busy".to_owned(), "Printing.".to_owned())));
        let moonraker = refusal(r#"{"error":{"code":404,"message":"File not found","traceback":""}}"#);
        assert_eq!(moonraker, Some(("404".to_owned(), "File not found".to_owned())));
        assert_eq!(refusal("<html>"), None);
    }

    #[test]
    fn the_address_comes_from_the_configuration() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("moongate.toml");
        let printer = "[[printer]]\nname=\"a\"\nkind=\"elegoo_cc1\"\nhost=\"h\"\n";
        let environment = Environment::of(&[]);
        let args = GatewayArgs { gateway: None, config: ConfigArgs { config: Some(file.clone()) } };
        for (text, base) in [
            ("[gateway]\nlisten=\"0.0.0.0\"\nport=7200\n", "http://127.0.0.1:7200"),
            ("[gateway]\nlisten=\"::\"\n", "http://[::1]:7100"),
            ("", "http://127.0.0.1:7100"),
        ] {
            std::fs::write(&file, format!("{text}{printer}")).expect("written");
            assert_eq!(Client::new(&args, &environment).expect("a client").base(), base);
        }
        let https = GatewayArgs { gateway: Some("https://x/".to_owned()), ..args };
        assert!(matches!(Client::new(&https, &environment), Err(ClientError::BadAddress(_))));
    }

    #[test]
    fn exit_codes_tell_what_to_do_next() {
        let refused = |code: &str| ClientError::Refused { code: code.to_owned(), text: String::new() }.exit();
        assert_eq!(format!("{:?}", refused("busy")), format!("{:?}", ExitCode::from(75)));
        assert_eq!(format!("{:?}", refused("filament")), format!("{:?}", ExitCode::from(1)));
    }
}
