//! The certificate of our own ports: the user's, or one that we make and keep.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::net::tls::Pin;

/// Browsers refuse certificates that are good for much longer.
const LIFE: Duration = Duration::from_secs(800 * 24 * 3600);
/// A start with less than this left makes a new one.
const RENEW: Duration = Duration::from_secs(60 * 24 * 3600);
/// Folder of the state directory.
const FOLDER: &str = "tls";
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";

/// Why there is no HTTPS.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{path} cannot be used: {reason}")]
    File { path: String, reason: String },
    #[error("the certificate and its key do not work together: {0}")]
    Pair(String),
}

fn file_error(path: &Path, reason: impl ToString) -> CertificateError {
    CertificateError::File { path: path.display().to_string(), reason: reason.to_string() }
}

/// Reads a certificate chain and its key, both PEM.
///
/// # Errors
/// A file that cannot be read or holds something else, or a key of another certificate.
pub fn from_files(certificate: &Path, key: &Path) -> Result<TlsAcceptor, CertificateError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| file_error(certificate, error))?;
    if chain.is_empty() {
        return Err(file_error(certificate, "it holds no certificate"));
    }
    let pin = chain.first().and_then(|der| {
        let (_, leaf) = x509_parser::parse_x509_certificate(der).ok()?;
        Some(Pin::of_spki(leaf.public_key().raw))
    });
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| file_error(key, error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|error| CertificateError::Pair(error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if let Some(pin) = pin {
        tracing::info!(%pin, certificate = %certificate.display(), "HTTPS with this key (`--gateway-pin`).");
    }
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Where [`self_signed`] keeps its certificate.
pub fn self_signed_certificate(state_dir: &Path) -> PathBuf {
    state_dir.join(FOLDER).join(CERTIFICATE)
}

/// Takes the certificate kept below `state_dir`, or makes one for `names` (host names and addresses) where there is none or
/// it ends soon. The key is readable for its owner only.
///
/// # Errors
/// The folder cannot be written, or what is kept there is damaged.
pub fn self_signed(state_dir: &Path, names: &[String]) -> Result<TlsAcceptor, CertificateError> {
    let folder = &state_dir.join(FOLDER);
    let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
    if !is_good(&certificate) || !key.exists() {
        make(folder, names)?;
    }
    from_files(&certificate, &key)
}

fn is_good(certificate: &Path) -> bool {
    let Ok(der) = CertificateDer::from_pem_file(certificate) else { return false };
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(&der) else { return false };
    let left = parsed.validity().time_to_expiration();
    left.is_some_and(|left| left.whole_seconds() > i64::try_from(RENEW.as_secs()).unwrap_or(i64::MAX))
}

fn make(folder: &Path, names: &[String]) -> Result<(), CertificateError> {
    let pair_error = |error: rcgen::Error| CertificateError::Pair(error.to_string());
    std::fs::create_dir_all(folder).map_err(|error| file_error(folder, error))?;
    let key = KeyPair::generate().map_err(pair_error)?;
    let mut params = CertificateParams::new(names.to_vec()).map_err(pair_error)?;
    params.distinguished_name.push(DnType::CommonName, "moongate");
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + LIFE).into();
    let certificate = params.self_signed(&key).map_err(pair_error)?;
    write(&folder.join(KEY), &key.serialize_pem())?;
    write(&folder.join(CERTIFICATE), &certificate.pem())
}

/// Beside and over it: a crash leaves the old file or the new one.
fn write(path: &Path, text: &str) -> Result<(), CertificateError> {
    let beside = path.with_extension("new");
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| file_error(path, error))
}
