//! What the gateway needs before its parts can start: its ports, directories and certificate, and why they cannot be had.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use thiserror::Error;
use tokio::net::TcpListener;

use crate::config::{Config, Tls};
use crate::net::server;

/// Why the gateway cannot start, with what to do.
#[derive(Debug, Error)]
pub enum StartupError {
    #[error(
        "port {port} is in use by another program (another moongate? a Moonraker?): change {key}, or end that program."
    )]
    PortTaken { port: u16, key: String },
    #[error("cannot listen on {address}: {reason}. {remedy}")]
    Listen { address: SocketAddr, reason: String, remedy: String },
    #[error("{path} cannot be used: {reason}. Check {key} in [gateway].")]
    Directory { path: String, reason: String, key: &'static str },
    #[error("HTTPS: {0}. Check tls, tls_cert and tls_key in [gateway].")]
    Tls(#[from] server::CertificateError),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// Another gateway has the name of this printer's serial port.
    #[error("printer \"{name}\": {reason}")]
    SerialPortTaken { name: String, reason: String },
    #[error("printer \"{name}\": {reason}")]
    Printer { name: String, reason: String },
}

/// How to start, apart from the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct AppOptions {
    /// Take free ports where the configured ones are in use.
    pub any_port: bool,
}

/// What the ports show, if they are to speak HTTPS.
pub(super) fn tls(config: &Config) -> Result<Option<tokio_rustls::TlsAcceptor>, StartupError> {
    let gateway = &config.gateway;
    Ok(match &gateway.tls {
        Tls::Off => None,
        Tls::Files { certificate, key } => Some(server::from_files(certificate, key)?),
        Tls::SelfSigned => {
            let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
            let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
            names.extend(host.into_iter().flat_map(|name| [format!("{name}.local"), name]));
            if !gateway.listen.is_unspecified() {
                names.push(gateway.listen.to_string());
            }
            Some(server::self_signed(&gateway.state_dir, &names)?)
        }
    })
}

pub(super) async fn listen(
    address: SocketAddr,
    key: &str,
    options: AppOptions,
) -> Result<TcpListener, StartupError> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse && options.any_port => {
            let any = TcpListener::bind(SocketAddr::new(address.ip(), 0)).await;
            any.map_err(|error| refused(address, key, &error))
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Err(StartupError::PortTaken { port: address.port(), key: key.to_owned() })
        }
        Err(error) => Err(refused(address, key, &error)),
    }
}

fn refused(address: SocketAddr, key: &str, error: &std::io::Error) -> StartupError {
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied => format!("Ports below 1024 are not for every user: change {key}."),
        ErrorKind::AddrNotAvailable => {
            format!("This machine does not have that address: check `listen` and {key}.")
        }
        _ => format!("Check `listen` and {key}."),
    };
    StartupError::Listen { address, reason: error.to_string(), remedy }
}

pub(super) fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().map_or(0, |address| address.port())
}

/// State holds keys and users: for the gateway's own user only.
pub(super) fn make_private(path: &Path, key: &'static str) -> Result<(), StartupError> {
    make_directory(path, 0o700, key)
}

/// Print hosts of other users follow the links in it.
pub(super) fn make_public(path: &Path, key: &'static str) -> Result<(), StartupError> {
    make_directory(path, 0o755, key)
}

fn make_directory(path: &Path, mode: u32, key: &'static str) -> Result<(), StartupError> {
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(|error| {
        StartupError::Directory { path: path.display().to_string(), reason: error.to_string(), key }
    })
}
