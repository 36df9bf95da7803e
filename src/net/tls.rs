//! TLS towards printers: one verified identity per printer, explicit provider, explicit versions.
//!
//! Facts: crates.md section 2 traps 3 and 5, bambu.md 2.1.
mod pin;
#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
mod tests;
mod verifier;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use pin::{InvalidPin, KnownKeys, Pin};
use verifier::PinVerifier;

/// Sessions one FTPS session may have open or resumable at once: one control, one data, spares.
const FTPS_SESSIONS: usize = 8;

/// Why a server is not the printer it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// Another printer answers at this address; correct the address or the serial number.
    #[error(
        "the certificate names {found:?} where {expected:?} was expected: wrong address or serial number"
    )]
    WrongName {
        /// The configured serial number.
        expected: String,
        /// The common name in the certificate; empty if it has none.
        found: String,
    },
    /// The key is not the one seen before: a replaced board, a reset, or an impostor.
    #[error(
        "the printer's key changed from {expected} to {found}: accept it only after a known board change"
    )]
    ChangedPin {
        /// The stored pin, or the first one seen by this [`PrinterTls`].
        expected: Pin,
        /// The pin the server presents now.
        found: Pin,
    },
    /// The certificate cannot be read.
    #[error("unreadable certificate: {0}")]
    BadCertificate(String),
    /// The server shows a certificate whose private key it does not hold.
    #[error("the server does not hold the key of its certificate: {0}")]
    BadSignature(String),
}

/// TLS versions to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersions {
    /// Only 1.2: what every printer accepts, and P2S-class FTPS breaks on 1.3 (bambu.md 2.1).
    #[default]
    Only12,
    /// 1.2 and 1.3.
    Upto13,
}

/// Why a connection attempt through [`PrinterTls::connect`] failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsConnectError {
    /// The server is not the expected printer; trying again does not help.
    #[error(transparent)]
    Fault(#[from] TlsFault),
    /// No finished handshake within the deadline.
    #[error("no TLS handshake within {0:?}")]
    Timeout(Duration),
    /// The address is neither an IP address nor a DNS name.
    #[error("{0:?} is neither an IP address nor a host name")]
    BadHost(String),
    /// The connection broke or the handshake failed.
    #[error("TLS handshake failed: {0}")]
    Io(#[from] io::Error),
}

/// The TLS identity of one printer, shared by all its connections.
///
/// Trust on first use: without a known pin the first key that proves itself is accepted, binds all
/// later connections of this value, and can be read with [`PrinterTls::keys`] to be stored. All services of a printer
/// show the same key; only where its certificate does not carry the expected name does each service have one of its
/// own ([`PrinterTls::of_service`]).
#[derive(Debug, Clone)]
pub struct PrinterTls {
    verifier: Arc<PinVerifier>,
    base: Arc<ClientConfig>,
}

impl PrinterTls {
    /// TLS 1.2 towards the server whose certificate has the common name `expected_name` (`None`:
    /// any) and whose key has the pin `pin` (`None`: trust on first use).
    ///
    /// # Errors
    /// Only if the TLS provider cannot serve the versions, which is a build fault.
    pub fn new(expected_name: Option<String>, pin: Option<Pin>) -> Result<Self, rustls::Error> {
        Self::with_versions(expected_name, pin, TlsVersions::default())
    }

    /// As [`PrinterTls::new`] with the keys that [`PrinterTls::keys`] told earlier.
    ///
    /// # Errors
    /// As [`PrinterTls::new`].
    pub fn with_keys(expected_name: Option<String>, keys: KnownKeys) -> Result<Self, rustls::Error> {
        Self::build(expected_name, keys, TlsVersions::default())
    }

    /// As [`PrinterTls::new`] with a choice of TLS versions.
    ///
    /// # Errors
    /// As [`PrinterTls::new`].
    pub fn with_versions(
        expected_name: Option<String>,
        pin: Option<Pin>,
        versions: TlsVersions,
    ) -> Result<Self, rustls::Error> {
        Self::build(expected_name, KnownKeys { main: pin, ..KnownKeys::default() }, versions)
    }

    fn build(
        expected_name: Option<String>,
        keys: KnownKeys,
        versions: TlsVersions,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(ring::default_provider());
        let verifier =
            Arc::new(PinVerifier::new(expected_name, keys, provider.signature_verification_algorithms));
        let offered: &[&rustls::SupportedProtocolVersion] = match versions {
            TlsVersions::Only12 => &[&rustls::version::TLS12],
            TlsVersions::Upto13 => &[&rustls::version::TLS12, &rustls::version::TLS13],
        };
        let mut base = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(offered)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
        // rustls keys resumption by server name without the port, so an MQTT or camera connection
        // would offer a ticket of another service. These connect rarely: always verify in full.
        base.resumption = Resumption::disabled();
        Ok(Self { verifier, base: Arc::new(base) })
    }

    /// The same printer's service of this name, beside the main one that this value stands for.
    pub fn of_service(&self, service: &'static str) -> Self {
        let verifier = Arc::new(self.verifier.of_service(service));
        let mut base = ClientConfig::clone(&self.base);
        base.dangerous().set_certificate_verifier(verifier.clone());
        Self { verifier, base: Arc::new(base) }
    }

    /// The configuration for everything but FTPS; it never resumes a session.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        self.base.clone()
    }

    /// A configuration for exactly one FTPS session: servers demand that its data connections
    /// resume the session of its control connection, and a foreign ticket is refused with 522.
    pub fn ftps_config(&self) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.base);
        config.resumption = Resumption::in_memory_sessions(FTPS_SESSIONS);
        Arc::new(config)
    }

    /// All keys known now, stored ones and new ones.
    pub fn keys(&self) -> KnownKeys {
        self.verifier.keys()
    }

    /// Forgets all keys, the stored ones too: the next one that proves itself is accepted. Only for a person's explicit
    /// wish.
    pub fn forget_key(&self) {
        self.verifier.forget();
    }

    /// The pin of the main service that passed every check since the start, if any has.
    pub fn observed(&self) -> Option<Pin> {
        self.verifier.observed()
    }

    /// Why the last full handshake was refused, `None` if it was accepted.
    ///
    /// Libraries report only a flattened TLS error; read this after one.
    pub fn fault(&self) -> Option<TlsFault> {
        self.verifier.fault()
    }

    /// Forgets why the last handshake was refused, before one with another address.
    pub fn forget_fault(&self) {
        self.verifier.set_fault(None);
    }

    /// Completes a TLS handshake on `stream` within `deadline`; `host` as for [`server_name`].
    ///
    /// # Errors
    /// [`TlsConnectError::Fault`] if the server is not the expected printer.
    pub async fn connect<S>(
        &self,
        stream: S,
        host: &str,
        deadline: Duration,
    ) -> Result<TlsStream<S>, TlsConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = server_name(host)?;
        let handshake = TlsConnector::from(self.client_config()).connect(name, stream);
        match tokio::time::timeout(deadline, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) if is_verdict(&error) => {
                Err(self.fault().map_or(TlsConnectError::Io(error), TlsConnectError::Fault))
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(TlsConnectError::Timeout(deadline)),
        }
    }
}

/// Whether the verifier ended this handshake, as opposed to the network or the protocol.
fn is_verdict(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

/// The TLS server name for `host`. An IP address sends no SNI, which every printer accepts
/// (bambu.md 2.1); the certificate is checked by [`PrinterTls`], not against this name.
///
/// # Errors
/// [`TlsConnectError::BadHost`] if `host` is neither an IP address nor a DNS name.
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsConnectError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsConnectError::BadHost(host.to_owned()))
}
