//! The running gateway as the commands see it: HTTP or HTTPS, with errors that say what to do.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use super::tunnel::{Tunnel, pin_of_file};
use super::{ConfigArgs, EXIT_FAILED, EXIT_TRY_LATER, EXIT_UNAVAILABLE};
use crate::config::{Config, Environment, GATEWAY_PORT, Tls};
use crate::net::server;
use crate::net::tls::Pin;
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
        "the gateway does not answer at {url}: {reason}. Is it running (`moongate run`, `systemctl status moongate`)? --gateway names another address."
    )]
    NoGateway { url: String, reason: String },
    #[error(
        "--gateway \"{0}\" must be an address such as http://127.0.0.1:7100 or https://printers.lan:7100."
    )]
    BadAddress(String),
    #[error(
        "nothing says which key {0} must have: give --gateway-cert FILE (its certificate) or --gateway-pin HEX (as it logs it at its start)."
    )]
    NoPin(String),
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
            ClientError::BadAddress(_) | ClientError::NoPin(_) => 2,
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
    key: Option<Secret>,
    _tunnel: Option<Tunnel>,
}

impl Client {
    /// # Errors
    /// An address that cannot be one; for HTTPS also no gateway there, or another one than expected.
    pub async fn new(args: &GatewayArgs, environment: &Environment) -> Result<Self, ClientError> {
        let config = args.config.load(environment).ok().map(|(_, config)| config);
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
        let key = environment.get("MOONGATE_API_KEY").map(Secret::new);
        Ok(Self { http, base, sent_to, key, _tunnel: tunnel })
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
        let request = self.http.request(method, format!("{}{path}", self.sent_to));
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

    fn args(gateway: Option<&str>, config: PathBuf) -> GatewayArgs {
        GatewayArgs {
            gateway: gateway.map(str::to_owned),
            gateway_cert: None,
            gateway_pin: None,
            config: ConfigArgs { config: Some(config) },
        }
    }

    #[tokio::test]
    async fn the_address_comes_from_the_configuration() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("moongate.toml");
        let printer = "[[printer]]\nname=\"a\"\nkind=\"elegoo_cc1\"\nhost=\"h\"\n";
        let environment = Environment::of(&[]);
        for (text, base) in [
            ("[gateway]\nlisten=\"0.0.0.0\"\nport=7200\n", "http://127.0.0.1:7200"),
            ("[gateway]\nlisten=\"::\"\n", "http://[::1]:7100"),
            ("", "http://127.0.0.1:7100"),
        ] {
            std::fs::write(&file, format!("{text}{printer}")).expect("written");
            let client = Client::new(&args(None, file.clone()), &environment).await;
            assert_eq!(client.expect("a client").base(), base);
        }
        for wrong in ["ftp://x", "x", "unix:/tmp/a"] {
            let made = Client::new(&args(Some(wrong), file.clone()), &environment).await;
            assert!(matches!(made, Err(ClientError::BadAddress(_))), "{wrong}");
        }
    }

    #[tokio::test]
    async fn https_wants_to_know_the_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let environment = Environment::of(&[]);
        let nothing = folder.path().join("missing.toml");
        let made = Client::new(&args(Some("https://127.0.0.1:9/"), nothing), &environment).await;
        assert!(matches!(made, Err(ClientError::NoPin(_))));
        let file = folder.path().join("moongate.toml");
        let text = format!("[gateway]\ntls=\"self-signed\"\nstate_dir={:?}\n", folder.path());
        let printer = "[[printer]]\nname=\"a\"\nkind=\"elegoo_cc1\"\nhost=\"h\"\n";
        std::fs::write(&file, format!("{text}{printer}")).expect("written");
        let made = Client::new(&args(None, file), &environment).await;
        let told = made.err().expect("no certificate yet").to_string();
        assert!(told.contains("cert.pem") && told.contains("--gateway-pin"), "{told}");
    }

    #[test]
    fn exit_codes_tell_what_to_do_next() {
        let refused = |code: &str| ClientError::Refused { code: code.to_owned(), text: String::new() }.exit();
        assert_eq!(format!("{:?}", refused("busy")), format!("{:?}", ExitCode::from(75)));
        assert_eq!(format!("{:?}", refused("filament")), format!("{:?}", ExitCode::from(1)));
    }
}
