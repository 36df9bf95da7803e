//! HTTPS to the running gateway: a private socket whose connections go on over TLS, to the one certificate that the
//! caller knows.
//!
//! A gateway's certificate is often its own making, so no authority vouches for it: its key is compared instead, which
//! is as good for a certificate of an authority.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::net::{TcpStream, UnixListener, UnixStream};

use super::client::ClientError;
use crate::net::tls::{Pin, PrinterTls, TlsVersions};

const CONNECT: Duration = Duration::from_secs(5);

/// The socket that leads to the gateway; it goes with this value.
pub struct Tunnel {
    folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tunnel {
    /// Leads to `host:port`, whose key must be that of `pin`.
    ///
    /// # Errors
    /// No connection, or somebody else answers; no place for the socket.
    #[expect(clippy::disallowed_methods, reason = "aborted with the tunnel, whose program ends with it")]
    pub async fn open(host: &str, port: u16, pin: Pin) -> Result<Self, ClientError> {
        let failed = |error: String| ClientError::Failed(format!("no way to the gateway: {error}"));
        let tls = PrinterTls::with_versions(None, Some(pin), TlsVersions::Upto13)
            .map_err(|error| failed(error.to_string()))?;
        let (host, url) = (host.trim_matches(['[', ']']).to_owned(), format!("https://{host}:{port}"));
        // The first connection tells at once whether this is the right gateway.
        let first = reach(&host, port, &tls).await;
        drop(first.map_err(|reason| ClientError::NoGateway { url, reason, hint: String::new() })?);
        let folder = tempfile::Builder::new()
            .prefix("moongate-")
            .tempdir()
            .map_err(|error| failed(error.to_string()))?;
        let listener =
            UnixListener::bind(socket(folder.path())).map_err(|error| failed(error.to_string()))?;
        let told = Told::default();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(pass(near, host.clone(), port, tls.clone(), told.clone()));
            }
        });
        Ok(Self { folder, task })
    }

    pub fn socket(&self) -> PathBuf {
        socket(self.folder.path())
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("gateway")
}

async fn reach(
    host: &str,
    port: u16,
    tls: &PrinterTls,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let connected = tokio::time::timeout(CONNECT, TcpStream::connect((host, port))).await;
    let stream = connected
        .map_err(|_| "no answer".to_owned())
        .and_then(|tcp| tcp.map_err(|error| error.to_string()))?;
    tls.connect(stream, host, CONNECT).await.map_err(|error| {
        if tls.fault().is_some() {
            return "another key than that of --gateway-pin or --gateway-cert answers there".to_owned();
        }
        error.to_string()
    })
}

/// The last failure: what follows a gateway tries again and again.
type Told = Arc<Mutex<Option<String>>>;

async fn pass(mut near: UnixStream, host: String, port: u16, tls: PrinterTls, told: Told) {
    let reached = reach(&host, port, &tls).await;
    let failure = reached.as_ref().err().cloned();
    let before =
        std::mem::replace(&mut *told.lock().unwrap_or_else(PoisonError::into_inner), failure.clone());
    if let Some(error) = failure.filter(|failure| before.as_ref() != Some(failure)) {
        tracing::warn!(%error, "The connection to the gateway could not be opened.");
    }
    if let Ok(mut far) = reached {
        let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    }
}

/// The pin of the first certificate of a PEM file.
///
/// # Errors
/// The file cannot be read or holds no certificate.
pub fn pin_of_file(path: &Path) -> Result<Pin, ClientError> {
    let failed = |reason: String| {
        ClientError::Failed(format!(
            "{} cannot be used as the gateway's certificate: {reason}. --gateway-pin takes what the gateway logs at its start.",
            path.display()
        ))
    };
    let der = CertificateDer::from_pem_file(path).map_err(|error| failed(error.to_string()))?;
    pin_of(&der).ok_or_else(|| failed("it holds no certificate".to_owned()))
}

fn pin_of(der: &CertificateDer<'_>) -> Option<Pin> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
    Some(Pin::of_spki(parsed.public_key().raw))
}
